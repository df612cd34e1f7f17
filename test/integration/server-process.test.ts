/**
 * Servers as the conductor sees them: each kind starts, answers and stops, and its death is reported. However a conductor ends, it
 * leaves nothing behind.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { BenchError } from '../../src/model/errors.js';
import { getAffinity } from '../../src/native/binding.js';
import { startCommandServer } from '../../src/server/command.js';
import { attachServer, spawnServer, type ServerProcess } from '../../src/server/process.js';
import { skipOutsideLinux, skipWithout } from '../support/environment.js';
import { smallServer as options } from '../support/server-options.js';
import { until, within } from '../support/wait.js';

t.setTimeout(240_000);

const socatCommand = 'socat TCP-LISTEN:{port},bind={host},fork,reuseaddr EXEC:cat';

/** Sends to a server, and waits for the echo. */
async function checkEcho(test: Test, { host, port }: { host: string; port: number }): Promise<void> {
  const socket = connect(port, host);
  const echo = new Promise<string>((resolve, reject) => {
    socket.once('data', (bytes) => {
      resolve(bytes.toString());
    });
    socket.once('error', reject);
  });
  socket.write('hello');
  test.equal(await within(echo, 'an echo'), 'hello', 'it echoes');
  socket.destroy();
}

function isAlive(pid: number | null): boolean {
  if (pid === null) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function refusal(promise: Promise<ServerProcess>): Promise<BenchError> {
  try {
    const server = await promise;
    await server.stop(1_000);
  } catch (error) {
    if (error instanceof BenchError) return error;
    throw error;
  }
  throw new Error('the server should not have started');
}

for (const mode of ['blocking', 'node'] as const) {
  t.test(`${mode}: starts, answers and stops`, async (test) => {
    const server = await spawnServer({ ...options, mode });
    test.equal(server.backend, mode);
    test.ok(server.port > 0, 'the port really bound');
    test.equal((await server.sample())?.stats?.accepted, 0, 'no connection yet');
    await checkEcho(test, server);
    await until(async () => (await server.sample())?.stats?.closed === 1);
    const [one, two] = await Promise.all([server.sample(), server.sample()]);
    test.match(one?.stats, { accepted: 1, bytes_received: 5, bytes_sent: 5 });
    test.ok(
      (two?.usage.taken_at_ns ?? 0) >= (one?.usage.taken_at_ns ?? Infinity),
      'samples in the order of the requests',
    );
    let told: string | null = null;
    server.onExit((reason) => {
      told = reason;
    });
    const stopped = await server.stop(5_000);
    test.equal(stopped.deadline_missed, false);
    test.match(stopped.sample?.stats, { accepted: 1, closed: 1 }, 'with its last figures');
    test.match(await server.exited, { code: 0, signal: null });
    test.equal(told, null, 'a requested stop is not reported as an error');
    test.same(await server.stop(5_000), stopped, 'a second stop returns the result of the first');
    test.notOk(isAlive(server.pid));
  });
}

t.test('a server that cannot start says why, with its code', async (test) => {
  const elsewhere = await refusal(spawnServer({ ...options, host: '192.0.2.1' }));
  test.equal(elsewhere.code, 'unavailable');
  test.match(elsewhere.message, /192\.0\.2\.1/);
  test.not(elsewhere.hint, '');
  const first = await spawnServer(options);
  const taken = await refusal(spawnServer({ ...options, port: first.port }));
  test.equal(taken.code, 'unavailable');
  test.match(taken.message, new RegExp(String(first.port)));
  await first.stop(1_000);
});

t.test('a server that dies', async (test) => {
  const server = await spawnServer(options);
  const told = new Promise<string>((resolve) => {
    server.onExit(resolve);
  });
  process.kill(server.pid ?? 0, 'SIGKILL');
  test.match(await within(told, 'the report of its end'), /^the server (was killed by SIGKILL|exited)/);
  await test.rejects(server.sample(), { code: 'runFailed' }, 'has no figures');
  test.same(await server.stop(1_000), { sample: null, deadline_missed: false }, 'and nothing to stop');
});

t.test('a forked server ignores signals', { skip: skipOutsideLinux('a signal to one process') }, async (test) => {
  const server = await spawnServer(options);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.kill(server.pid ?? 0, signal);
  await checkEcho(test, server);
  await server.stop(1_000);
  test.match(await server.exited, { code: 0, signal: null });
});

t.test('a server that does not stop in time is killed', { skip: skipOutsideLinux('SIGSTOP') }, async (test) => {
  const server = await spawnServer(options);
  process.kill(server.pid ?? 0, 'SIGSTOP');
  const stopped = await within(server.stop(100), 'a stop');
  test.equal(stopped.deadline_missed, true);
  test.match(await server.exited, { signal: 'SIGKILL' });
});

t.test('a server that is already running', async (test) => {
  const server = attachServer('127.0.0.1', 7);
  test.equal(server.pid, null);
  test.equal(await server.sample(), null, 'has no figures');
  test.same(await server.stop(1_000), { sample: null, deadline_missed: false });
});

const skipSocat = skipOutsideLinux('a process group') || skipWithout('socat');
t.test("a command of the user's own", { skip: skipSocat }, async (test) => {
  const affinity = getAffinity();
  const [cpu = 0] = affinity;
  const server = await startCommandServer({ command: socatCommand, host: '127.0.0.1', cpus: [cpu] });
  test.equal(server.backend, 'command');
  const status = readFileSync(`/proc/${server.pid ?? 0}/status`, 'utf8');
  test.match(status, new RegExp(`^Cpus_allowed_list:\\s*${cpu}$`, 'm'), 'it runs on the requested CPU');
  test.same(getAffinity(), affinity, 'the conductor is back on its own CPUs');
  await checkEcho(test, server);
  test.equal((await server.sample())?.stats, null, 'it reports no counters');
  const held = connect(server.port, server.host);
  held.on('error', () => undefined);
  // socat forks for a connection, and the fork starts cat: at least three processes, which all belong to the server.
  const grown = await until(async () => ((await server.sample())?.usage.threads ?? 0) >= 3);
  test.ok(grown, 'its children are counted with it');
  held.destroy();
  const { pid } = server;
  test.equal((await server.stop(5_000)).deadline_missed, false);
  test.notOk(isAlive(pid), 'nothing is left of it');
});

t.test('commands that are not servers', { skip: skipSocat }, async (test) => {
  const start = (command: string): Promise<BenchError> =>
    refusal(startCommandServer({ command, host: '127.0.0.1', cpus: null }));
  const ended = await start('echo "no such file" >&2; exit 3 # {port}');
  test.equal(ended.code, 'runFailed');
  test.match(ended.message, /ended before it echoed: the server exited with code 3: no such file/);
  test.match((await start('kill -9 $$')).message, /was killed by SIGKILL/);
  test.match((await start('no-such-program-anywhere {port}')).message, /code 127: .*not found/);
});

t.test('a command that ignores SIGTERM is killed, and its children with it', { skip: skipSocat }, async (test) => {
  const command = `trap '' TERM; ${socatCommand} & child=$!; while :; do wait $child; done`;
  const server = await startCommandServer({ command, host: '127.0.0.1', cpus: null });
  const stopped = await within(server.stop(300), 'a stop');
  test.equal(stopped.deadline_missed, true);
  const gone = await until(async () => await refused(server.port));
  test.ok(gone, 'no process listens any more');
});

async function refused(port: number): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(false);
    });
    socket.once('error', () => {
      resolve(true);
    });
  });
}

t.test('a conductor that is killed leaves nothing behind', { skip: skipSocat }, async (test) => {
  const conductor: ChildProcess = fork(fileURLToPath(new URL('../support/conductor.js', import.meta.url)), {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    execArgv: [],
  });
  const started = new Promise<{ pids: number[]; ports: number[] }>((resolve) => {
    conductor.once('message', (message) => {
      resolve(message as { pids: number[]; ports: number[] });
    });
  });
  const { pids, ports } = await within(started, 'the servers of the conductor');
  test.ok(pids.every(isAlive), 'they run');
  conductor.kill('SIGKILL');
  for (const pid of pids) test.ok(await until(() => !isAlive(pid)), `process ${pid} has ended`);
  for (const port of ports) test.ok(await until(async () => await refused(port)), `nobody listens on port ${port}`);
});
