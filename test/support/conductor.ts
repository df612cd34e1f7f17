/** A conductor that starts a server of each kind, reports them to its parent, and waits to be killed. */
import { startCommandServer } from '../../src/server/command.js';
import { spawnServer } from '../../src/server/process.js';
import { smallServer as options } from './server-options.js';

const servers = [
  await spawnServer(options),
  await spawnServer({ ...options, mode: 'node' }),
  await startCommandServer({
    command: 'socat TCP-LISTEN:{port},bind={host},fork,reuseaddr EXEC:cat',
    host: options.host,
    cpus: null,
  }),
];
process.send?.({ pids: servers.map(({ pid }) => pid), ports: servers.map(({ port }) => port) });
setInterval(() => undefined, 1_000);
