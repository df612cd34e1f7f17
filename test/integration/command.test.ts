/** Servers of --mode-command, started as people start them: daemons, a process per connection, commands that leave processes behind. */
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { startCommandServer } from '../../src/server/command.js';
import type { ServerMoment, ServerProcess } from '../../src/server/process.js';
import { checkMessage, checkNothingLeft, leftProcesses, makePlace, run, Running, shortBlast } from '../support/cli.js';
import { memoryGroup, skipWithoutGroup } from '../support/groups.js';
import { burnedMs, daemonOf, pythonEcho } from '../support/commands.js';
import { hasIpv6, skipOutsideLinux, skipWithout } from '../support/environment.js';
import { checkHealthyRun, parseReport, runOf } from '../support/report.js';
import { until, within } from '../support/wait.js';

const skip = skipOutsideLinux('/proc') || skipWithout('python3', 'setsid');
const host = '127.0.0.1';

async function start(test: Test, command: string): Promise<ServerProcess> {
  const server = await startCommandServer({ command, host, cpus: null });
  test.teardown(() => {
    server.kill();
  });
  return server;
}

async function moment(server: ServerProcess): Promise<ServerMoment> {
  const sample = await server.sample();
  if (sample === null) throw new Error('the command has no figures');
  return sample;
}

/** Makes connections one after the other; each gets an echo and is closed. */
async function visit(server: ServerProcess, times: number): Promise<void> {
  for (let visited = 0; visited < times; visited++) {
    await within(
      new Promise<void>((resolve, reject) => {
        const socket = connect(server.port, server.host, () => socket.write('x'));
        socket.once('data', () => socket.destroy());
        socket.once('error', reject);
        socket.once('close', () => {
          resolve();
        });
      }),
      'an echo',
    );
  }
}

/** Each connection has its own process, which uses CPU time after the connection has ended. */
async function checkBurned(test: Test, server: ServerProcess): Promise<void> {
  const before = await moment(server);
  const visits = 6;
  await visit(server, visits);
  const usedMs = async (): Promise<number> =>
    ((await moment(server)).usage.cpu_total_ns ?? 0) / 1e6 - (before.usage.cpu_total_ns ?? 0) / 1e6;
  // Two times of each child are cut to 10 ms.
  const least = visits * (burnedMs - 20);
  test.ok(await until(async () => (await usedMs()) >= least), `at least ${least} ms: ${await usedMs()}`);
  test.ok((await usedMs()) < visits * burnedMs * 4, 'and none is counted twice');
  test.equal(server.identity?.()?.cpu_unknown, null);
}

t.test('with a process per connection, the CPU time includes all processes that have ended', { skip }, async (test) => {
  const server = await start(test, pythonEcho('burns'));
  test.equal(server.identity?.()?.listener, 'command');
  await checkBurned(test, server);
  await server.stop(2_000);
});

t.test('the CPU time of a server that has left the process tree of its command', { skip }, async (test) => {
  const server = await start(test, daemonOf(pythonEcho('burns')));
  const identity = server.identity?.();
  test.equal(identity?.listener, 'outside');
  test.match(identity?.process?.name, /^python3/);
  await checkBurned(test, server);
  test.equal((await server.stop(2_000)).left, undefined, 'it ends with the command');
});

t.test('memory that forks share counts once', { skip }, async (test) => {
  const server = await start(test, pythonEcho('forks'));
  const idle = (await moment(server)).usage.resident_bytes ?? 0;
  const sockets = Array.from({ length: 8 }, () =>
    connect(server.port, host, function (this: { write(text: string): void }) {
      this.write('x');
    }),
  );
  for (const socket of sockets) socket.on('error', () => undefined);
  test.ok(await until(async () => ((await moment(server)).usage.threads ?? 0) >= 9), 'a process for each connection');
  const loaded = (await moment(server)).usage.resident_bytes ?? Infinity;
  test.ok(idle > 0 && loaded < idle * 4, `${loaded} bytes for nine processes, where one has ${idle}`);
  for (const socket of sockets) socket.destroy();
  await server.stop(2_000);
});

t.test('the CPU time of children that nobody waits for is unknown', { skip }, async (test) => {
  const server = await start(test, pythonEcho('ignores'));
  const { usage } = await moment(server);
  test.equal(usage.cpu_total_ns, null);
  test.equal(usage.cpu_user_ns, null);
  test.not(usage.threads, null, 'the rest is known');
  test.match(server.identity?.()?.cpu_unknown, /process \d+ \(python3\S*\) ignores SIGCHLD/);
  await server.stop(2_000);
});

t.test(
  'a server that has left the process tree of its command is reported, and ends with the run',
  { skip },
  async (test) => {
    const place = makePlace(test);
    const args = ['--mode-command', `far=${daemonOf(pythonEcho())}`, '--clients', '10', '--phases', 'capacity'];
    const outcome = await run(place, shortBlast(...args, '--explain'));
    test.equal(outcome.code, 0, outcome.stderr);
    const said = outcome.stdout.replaceAll(/\s+/g, ' ');
    test.match(said, /process \d+ \(python3\S*\) listens on the port and is not in the process tree of the command/);
    test.notMatch(said, /CPU per request │ 0 ns/);
    await checkNothingLeft(test, place);
  },
);

t.test('a daemon ends when the conductor is killed', { skip }, async (test) => {
  const place = makePlace(test);
  const args = ['--mode-command', `far=${daemonOf(pythonEcho())}`, '--clients', '10', '--duration', '60s'];
  const running = new Running(place, ['blast', ...args]);
  // Not the conductor or the shell, whose command lines contain its name too.
  const isDaemon = (line: string): boolean => /^\d+ \S*python\S* \S*echo_server\.py/.test(line);
  test.ok(await until(() => leftProcesses(place).some(isDaemon)), 'the daemon runs');
  running.kill();
  await within(running.finished, 'the end');
  await checkNothingLeft(test, place);
});

t.test('a command gets the limit of descriptors and the Node options of the user', { skip }, async (test) => {
  const place = makePlace(test);
  const command = `own=ulimit -Sn >limit.txt; echo "$NODE_OPTIONS" >options.txt; exec ${pythonEcho()}`;
  const args = shortBlast('--mode-command', command, '--clients', '5', '--phases', 'capacity');
  const shell = ['sh', '-c', 'ulimit -Sn 333; "$@"; exit $?', 'sh'];
  const env = { NODE_OPTIONS: '--inspect=0 --max-old-space-size=500' };
  const outcome = await run(place, args, { under: shell, env });
  test.equal(outcome.code, 0, outcome.stderr);
  test.equal(
    readFileSync(join(place.folder, 'limit.txt'), 'utf8').trim(),
    '333',
    'not what the tool raises for itself',
  );
  test.equal(readFileSync(join(place.folder, 'options.txt'), 'utf8').trim(), '--max-old-space-size=500');
});

t.test('Node without native addons says so', { skip }, async (test) => {
  const place = makePlace(test);
  const outcome = await run(place, shortBlast(), { env: { NODE_OPTIONS: '--no-addons' } });
  checkMessage(test, outcome, { code: 3, says: [/started with --no-addons/, /NODE_OPTIONS/] });
  test.notMatch(outcome.stderr, /optional/);
});

t.test('the memory limit of a control group', { skip: skip || skipWithoutGroup() }, async (test) => {
  const place = makePlace(test);
  const enter = memoryGroup(test, 500);
  const under = ['sh', '-c', `${enter} && exec "$@"`, 'sh'];
  const doctor = await run(place, ['doctor', '--no-noise'], { under });
  test.match(doctor.stdout.replaceAll(/\s+/g, ' '), /the control group may use 500 MiB, \d+ MiB left/);
  const refused = await run(place, ['blast', '--modes', 'blocking', '--clients', '6000'], { under });
  checkMessage(test, refused, { code: 3, says: [/the control group has \d+ MiB left of 500 MiB/, /memory\.max/] });
  const args = [
    '--mode-command',
    `big=${enter} && exec ${pythonEcho('eats')}`,
    '--clients',
    '5',
    '--phases',
    'capacity',
  ];
  const killed = await run(place, shortBlast(...args, '--duration', '20s'));
  checkMessage(test, killed, {
    code: 4,
    says: [/killed by SIGKILL, while the system killed a process because memory ran out/],
  });
});

t.test("a server's own limit of descriptors is named", { skip }, async (test) => {
  const place = makePlace(test);
  const command = `small=ulimit -n 40; exec ${pythonEcho()}`;
  const outcome = await run(
    place,
    shortBlast('--mode-command', command, '--clients', '60', '--phases', 'capacity', '--timeout', '2s', '--explain'),
  );
  const said = outcome.stdout.replaceAll(/\s+/g, ' ');
  test.match(said, /process \d+ \(python3\S*\) has \d+ descriptors open, and its limit is 40/, outcome.stderr);
  test.notMatch(said, /--connect-rate/);
});

t.test('a process that the run did not start is named and left alone', { skip }, async (test) => {
  // Without the marker in its environment it could belong to anyone.
  const command = daemonOf(`env -u IOCP_BENCH_COMMAND ${pythonEcho()}`);
  const server = await start(test, command);
  test.equal(server.identity?.()?.listener, 'outside');
  const { left } = await server.stop(2_000);
  test.match(left?.name, /^python3/);
  test.ok(left !== undefined && left.pid > 0);
  if (left !== undefined) process.kill(left.pid, 'SIGKILL');
});

const skipIpv6 = skip || (!(await hasIpv6()) && 'this machine has no IPv6 loopback');
t.test('a command that listens on another address is reported at once', { skip: skipIpv6 }, async (test) => {
  const began = performance.now();
  await test.rejects(startCommandServer({ command: pythonEcho('threads', '::1'), host, cpus: null }), {
    code: 'runFailed',
    message: /listens on \[::1\]:\d+ and not on 127\.0\.0\.1:\d+/,
    hint: /--host ::1.*\{host\}/,
  });
  test.ok(performance.now() - began < 15_000, 'and not after the 30 s that a start may take');
});

t.test('a command that goes into the background is reported at once', { skip }, async (test) => {
  const began = performance.now();
  const failed = startCommandServer({ command: `setsid -f ${pythonEcho()}`, host, cpus: null });
  await test.rejects(failed, {
    code: 'runFailed',
    message: /ended and left process \d+ \(.+\) running in the background/,
    hint: /in the foreground/,
  });
  test.ok(performance.now() - began < 15_000, 'and not after the 30 s that a start may take');
});

t.test(
  'a server of another protocol is ready when it listens, and a run with that protocol finds it',
  { skip },
  async (test) => {
    const web = 'web=python3 -m http.server {port} --bind {host}';
    const args = [
      '--mode-command',
      web,
      '--modes',
      'web',
      '--protocol',
      'http',
      '--phases',
      'capacity',
      '--clients',
      '4',
    ];
    const place = makePlace(test);
    const outcome = await run(place, shortBlast(...args, '--json', '-'));
    test.equal(outcome.code, 0, outcome.stderr);
    const measured = runOf(parseReport(test, outcome.stdout), 'web', 4);
    checkHealthyRun(test, measured);
    for (const window of measured.trials) {
      if (window.state === 'completed') test.match(window.replies, { first: { status: 200 }, differing: 0 });
    }
    await checkNothingLeft(test, place);
  },
);
