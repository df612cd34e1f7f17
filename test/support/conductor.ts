/** A conductor that starts a server of each kind, tells its parent where they are, and waits to be killed. */
import { startCommandServer } from '../../src/server/command.js';
import { spawnServer, type SpawnServerOptions } from '../../src/server/process.js';

const options: SpawnServerOptions = {
  mode: 'blocking',
  host: '127.0.0.1',
  port: 0,
  addressCount: 1,
  workers: null,
  backlog: 128,
  receiveBufferBytes: 16_384,
  stackSizeBytes: 65_536,
  connectionsExpected: 10,
  zeroByteRecv: false,
  edgeTriggered: false,
  cpus: null,
};

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
