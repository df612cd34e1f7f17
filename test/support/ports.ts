/** The TCP connections of another process (Linux). IPv4 only. Sockets without a descriptor, as io_uring has them, are not found. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

interface Socket {
  readonly localPort: number;
  readonly isEstablished: boolean;
}

/** Its local ports, those it listens on included. */
export function localPortsOf(pid: number): Set<number> {
  return new Set(tcpOf(pid).map(({ localPort }) => localPort));
}

/** How many established connections it has. 0 if it has ended. */
export function connectionsOf(pid: number): number {
  try {
    return tcpOf(pid).filter(({ isEstablished }) => isEstablished).length;
  } catch {
    return 0;
  }
}

function tcpOf(pid: number): Socket[] {
  const own = new Set(socketsOf(pid));
  const rows = readFileSync(`/proc/${pid}/net/tcp`, 'utf8').trim().split('\n').slice(1);
  return rows.flatMap((row) => {
    const [, local = '', , state = '', , , , , , inode = ''] = row.trim().split(/\s+/);
    if (!own.has(inode)) return [];
    return [{ localPort: parseInt(local.split(':')[1] ?? '', 16), isEstablished: state === '01' }];
  });
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
