/** Commands for --mode-command: the echo servers of test/support/echo_server.py, started in the ways in which people start servers. */
import { join } from 'node:path';
import { root } from './environment.js';

export type PythonKind = 'threads' | 'forks' | 'ignores' | 'burns' | 'eats';

/** CPU time of each process of the kind 'burns', when its connection has ended. */
export const burnedMs = 50;

/** `host`: where it listens. */
export function pythonEcho(kind: PythonKind = 'threads', host = '{host}'): string {
  return `python3 ${join(root, 'test', 'support', 'echo_server.py')} {port} ${kind} ${host}`;
}

/** As `docker run` and service managers do: the server is no child of the command, which waits for something else. */
export function daemonOf(command: string): string {
  return `setsid -f ${command}; exec sleep 1000`;
}
