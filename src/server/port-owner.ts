/**
 * Finds the processes that listen on a port of this machine. On Linux, /proc/net/tcp has the inode of every listening socket, and
 * the descriptors of processes link to those inodes. On other systems nothing is found.
 */
import { closeSync, openSync, readdirSync, readlinkSync, readSync } from 'node:fs';
import { isIPv4 } from 'node:net';
import { endianness } from 'node:os';

export interface ListeningSocket {
  /** Numeric; "0.0.0.0" and "::" listen on every address. */
  readonly address: string;
  readonly port: number;
  readonly inode: number;
  /** Connections waiting to be accepted. */
  readonly waiting: number;
}

/** State TCP_LISTEN as /proc/net/tcp writes it. */
const listenState = '0A';

/** Parses a row of /proc/net/tcp or /proc/net/tcp6; null if the socket does not listen. */
export function parseSocketRow(line: string, order: 'LE' | 'BE' = endianness()): ListeningSocket | null {
  const [, local = '', , state, queues = '', , , , , inode] = line.trim().split(/\s+/);
  if (state !== listenState) return null;
  const [address = '', port = ''] = local.split(':');
  const waiting = parseInt(queues.split(':')[1] ?? '', 16);
  const row = { address: addressOf(address, order), port: parseInt(port, 16), inode: Number(inode), waiting };
  return Number.isInteger(row.port) && Number.isInteger(row.inode) ? row : null;
}

/** The kernel writes each 32-bit word as a number in native byte order. */
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
  // Only :: and ::1 are shortened, because no other short form is compared here.
  return groups
    .join(':')
    .replace(/^(0:){7}/, '::')
    .replace(/^::0$/, '::');
}

/** Every listening socket of this network namespace. */
export function listeners(): ListeningSocket[] {
  return ['/proc/net/tcp', '/proc/net/tcp6'].flatMap(listeningRows);
}

/** Sockets that listen on `port`, on any address. */
export function listenersOn(port: number): ListeningSocket[] {
  return listeners().filter((socket) => socket.port === port);
}

/** The sockets that a connection to `host` can reach. */
export function reachable(sockets: readonly ListeningSocket[], host: string): ListeningSocket[] {
  // "::" accepts IPv4 too, unless the server set IPV6_V6ONLY, which /proc does not show. Here the server has already answered.
  const addresses = isIPv4(host) ? [host, '0.0.0.0', '::'] : [host, '::'];
  return sockets.filter(({ address }) => addresses.includes(address));
}

const chunkBytes = 65_536;

/** Reads only the listening sockets, which the kernel lists first, and not the rows of the connections after them. */
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

/** The processes that have a descriptor of one of the sockets. Other users' processes cannot be checked. */
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
