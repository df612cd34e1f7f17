/** Where the tests run: paths, the system, and the installed programs. Nothing here starts the tool. */
import { randomInt } from 'node:crypto';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The project's folder. This file is dist/test/support/environment.js when it runs. */
export const root = fileURLToPath(new URL('../../../', import.meta.url));
/** The script under test: this clone's, or that of another installation (IOCP_BENCH_TEST_CLI), such as an unpacked tarball. */
export const cliPath = process.env['IOCP_BENCH_TEST_CLI'] ?? join(root, 'bin', 'iocp-bench.js');
export const supportPath = join(root, 'dist', 'test', 'support');

export const isWindows = process.platform === 'win32';
export const isLinux = process.platform === 'linux';
export const isRoot = process.getuid?.() === 0;

/** Set by the Windows run if it uses Wine. Checks that a known defect of Wine affects are relaxed there and strict on real Windows. */
export const isWine = isWindows && (process.env['IOCP_BENCH_WINE'] ?? '') !== '';

/** Path of a program on PATH, or null. */
export function findProgram(name: string): string | null {
  const names = isWindows ? [`${name}.exe`] : [name];
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    for (const candidate of names) {
      const path = join(folder, candidate);
      if (folder !== '' && existsSync(path)) return path;
    }
  }
  return null;
}

/** For tap's `skip`: false if every program is installed, otherwise the reason. */
export function skipWithout(...names: string[]): string | false {
  const missing = names.filter((name) => findProgram(name) === null);
  return missing.length === 0 ? false : `${missing.join(', ')} is not installed`;
}

/** For tap's `skip`: tests that need POSIX signals, limits or process groups cannot run on Windows. */
export function skipOutsideLinux(what: string): string | false {
  return isLinux ? false : `${what} only exists on Linux`;
}

/**
 * Ports for programs that cannot choose one and report it. Both systems choose those of outgoing connections above them, so that no client
 * takes one before its server listens.
 */
const portsForServers = { first: 18_000, count: 12_000 };
const portsGiven = new Set<number>();

/** A port that was free a moment ago, and that this process has given to nobody else. */
export async function freePort(host = '127.0.0.1'): Promise<number> {
  for (let attempt = 0; attempt < 1_000; attempt++) {
    const port = portsForServers.first + randomInt(portsForServers.count);
    if (portsGiven.has(port)) continue;
    portsGiven.add(port);
    if (await isFree(port, host)) return port;
  }
  throw new Error(`no port is free from ${portsForServers.first} on`);
}

async function isFree(port: number, host: string): Promise<boolean> {
  return await new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE' || error.code === 'EACCES') resolve(false);
      else reject(error);
    });
    server.listen(port, host, () => {
      server.close(() => {
        resolve(true);
      });
    });
  });
}

/** Whether ::1 can be bound here (containers often have no IPv6). */
export async function hasIpv6(): Promise<boolean> {
  try {
    await freePort('::1');
    return true;
  } catch {
    return false;
  }
}
