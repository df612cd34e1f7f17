/**
 * Who listens on a port of this machine. On Linux from /proc/net/tcp, which has the inode of every listening socket, and from the
 * descriptors of processes, which lead to those inodes; elsewhere nothing can be seen.
 */
import { closeSync, openSync, readdirSync, readlinkSync, readSync } from 'node:fs';
import { isIPv4 } from 'node:net';
import { endianness } from 'node:os';

export interface ListeningSocket {
  /** Numeric; "0.0.0.0" and "::" listen on every address. */
  readonly address: string;
  readonly port: number;
  readonly inode: number;
  /** Connections that wait to be accepted. */
  readonly waiting: number;
}

/** State TCP_LISTEN as /proc/net/tcp writes it. */
const listenState = '0A';

/** A row of /proc/net/tcp or /proc/net/tcp6; null for one that does not listen. */
export function parseSocketRow(line: string, order: 'LE' | 'BE' = endianness()): ListeningSocket | null {
  const [, local = '', , state, queues = '', , , , , inode] = line.trim().split(/\s+/);
  if (state !== listenState) return null;
  const [address = '', port = ''] = local.split(':');
  const waiting = parseInt(queues.split(':')[1] ?? '', 16);
  const row = { address: addressOf(address, order), port: parseInt(port, 16), inode: Number(inode), waiting };
  return Number.isInteger(row.port) && Number.isInteger(row.inode) ? row : null;
}

/** The kernel writes each word of 32 bits as a number in its own order of bytes. */
function addressOf(hex: string, order: 'LE' | 'BE'): string {
  const words = hex.match(/.{8}/g) ?? [];
  const bytes = words.flatMap((word) => {
    const read = [...Buffer.from(word, 'hex')];
    return order === 'LE' ? read.reverse() : read;
  });
  if (bytes.length === 4) return bytes.join('.');
  const isMapped = bytes.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
  if (isMapped) return bytes.slice(12).join('.');
  const groups = Array.from({ length: 8 }, (_, index) =>
    (((bytes[2 * index] ?? 0) << 8) | (bytes[2 * index + 1] ?? 0)).toString(16),
  );
  // The longest forms are those of ::1 and ::, which are all that is compared here.
  return groups
    .join(':')
    .replace(/^(0:){7}/, '::')
    .replace(/^::0$/, '::');
}

/** Every listening socket of this network namespace. */
export function listeners(): ListeningSocket[] {
  return ['/proc/net/tcp', '/proc/net/tcp6'].flatMap(listeningRows);
}

/** Those that listen on `port`, whatever their address. */
export function listenersOn(port: number): ListeningSocket[] {
  return listeners().filter((socket) => socket.port === port);
}

/** Of these, those that a connection to `host` can reach. */
export function reachable(sockets: readonly ListeningSocket[], host: string): ListeningSocket[] {
  // "::" takes IPv4 too, unless the server said IPV6_V6ONLY, which /proc does not show: it had to answer to be asked for here.
  const addresses = isIPv4(host) ? [host, '0.0.0.0', '::'] : [host, '::'];
  return sockets.filter(({ address }) => addresses.includes(address));
}

const chunkBytes = 65_536;

/** The kernel lists listening sockets first: what comes after them, a row for each connection, is not read. */
function listeningRows(path: string): ListeningSocket[] {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch {
    return [];
  }
  try {
    const found: ListeningSocket[] = [];
    const chunk = Buffer.alloc(chunkBytes);
    let rest = '';
    for (let isHeading = true; ;) {
      const length = readSync(file, chunk, 0, chunkBytes, null);
      if (length === 0) return found;
      const lines = (rest + chunk.toString('latin1', 0, length)).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const socket = isHeading ? null : parseSocketRow(line);
        if (!isHeading && socket === null) return found;
        isHeading = false;
        if (socket !== null) found.push(socket);
      }
    }
  } catch {
    return [];
  } finally {
    closeSync(file);
  }
}

/** Which of these processes have a descriptor of one of the sockets. Those of other users cannot be looked into. */
export function ownersOf(sockets: readonly ListeningSocket[], pids: Iterable<number>): number[] {
  const names = new Set(sockets.map(({ inode }) => `socket:[${inode}]`));
  return [...pids].filter((pid) => {
    try {
      return readdirSync(`/proc/${pid}/fd`).some((descriptor) => names.has(linkOf(`/proc/${pid}/fd/${descriptor}`)));
    } catch {
      return false;
    }
  });
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
