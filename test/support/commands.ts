/** Commands for --mode-command: the servers of test/support/echo_server.py, started in the ways that people start servers. */
import { join } from 'node:path';
import { root } from './environment.js';

export type PythonKind = 'threads' | 'forks' | 'ignores' | 'burns' | 'eats';

/** CPU time that each process of the kind 'burns' uses after its connection has ended, in ms. */
export const burnedMs = 50;

/** `host`: where it listens. */
export function pythonEcho(kind: PythonKind = 'threads', host = '{host}'): string {
  return `python3 ${join(root, 'test', 'support', 'echo_server.py')} {port} ${kind} ${host}`;
}

/** Like `docker run` and service managers: the server is not a child of the command, which waits for something else. */
export function daemonOf(command: string): string {
  return `setsid -f ${command}; exec sleep 1000`;
}
