/** The local TCP ports of another process's connections (Linux). */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** IPv4 only. Sockets without a descriptor, as io_uring has them, are not found. */
export function localPortsOf(pid: number): Set<number> {
  const own = new Set(socketsOf(pid));
  const rows = readFileSync(`/proc/${pid}/net/tcp`, 'utf8').trim().split('\n').slice(1);
  return new Set(
    rows.flatMap((row) => {
      const [, local = '', , , , , , , , inode = ''] = row.trim().split(/\s+/);
      return own.has(inode) ? [parseInt(local.split(':')[1] ?? '', 16)] : [];
    }),
  );
}

function socketsOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((name) => {
    try {
      return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${name}`))?.[1] ?? [];
    } catch {
      // It was closed meanwhile.
      return [];
    }
  });
}
