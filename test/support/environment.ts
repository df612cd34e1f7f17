/** Where the tests run: paths, the system, and the installed programs. Nothing here starts the tool. */
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

/** A port that was free a moment ago, for programs that cannot choose one and report it. */
export async function freePort(host = '127.0.0.1'): Promise<number> {
  return await new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, host, () => {
      const address = server.address();
      const port = address !== null && typeof address === 'object' ? address.port : 0;
      server.close(() => {
        resolve(port);
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
