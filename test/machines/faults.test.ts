/** What happens to a run when an agent, the conductor or the broker fails, and when somebody sends what they should not. */
import { connect as connectNats, type NatsConnection } from '@nats-io/transport-node';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { encodeMessage, speaks, subjects } from '../../src/agent/protocol.js';
import {
  checkMessage,
  checkNothingLeft,
  leftProcesses,
  makePlace,
  Running,
  run,
  serversOf,
  type Place,
} from '../support/cli.js';
import { skipOutsideLinux } from '../support/environment.js';
import { startAgent, startNats, skipWithoutNats, type NatsServer } from '../support/nats.js';
import { checkHealthyRun, parseReport, runOf } from '../support/report.js';
import { sleep, until, within } from '../support/wait.js';

t.setTimeout(300_000);
// These tests mostly wait, each for a broker and agents of its own.
t.jobs = 3;
// The faults are made with signals; what follows is the same code on every system.
const skip = skipWithoutNats === false ? skipOutsideLinux('SIGSTOP') : skipWithoutNats;

interface Group {
  readonly place: Place;
  readonly broker: NatsServer;
  readonly agents: readonly Running[];
}

async function startGroup(test: Test, names: readonly string[], args: readonly string[] = []): Promise<Group> {
  const place = makePlace(test);
  const broker = await startNats(test);
  const agents = await Promise.all(names.map((name) => startAgent(test, place, broker.url, name, args)));
  return { place, broker, agents };
}

/**
 * A run with server on `srv` and load on `one` and `two`. The load leaves the CPUs idle most of the time: several tests run at the same time,
 * and agents that get their CPU late have their trial repeated.
 */
function blast(test: Test, { place, broker }: Group, ...more: string[]): Running {
  const machines = ['--nats', broker.url, '--server-on', 'srv', '--clients-on', 'one,two'];
  const load = ['--modes', 'epoll', '--clients', '40', '--phases', 'capacity', '--think-time', '20ms'];
  const short = ['--trials', '1', '--warmup', '100ms', '--json', '-'];
  const running = new Running(place, ['blast', ...machines, ...load, ...short, ...more]);
  test.teardown(() => {
    running.kill();
  });
  return running;
}

/**
 * Waits until each of so many agents has had the order to begin a window, which it does within a second or two.
 * @param start starts the run
 */
async function beginsWindow(test: Test, { broker }: Group, agents: number, start: () => Running): Promise<Running> {
  const connection = await connectNats({ servers: broker.url });
  let orders = 0;
  connection.subscribe('>', {
    callback: (_, message) => {
      if (message.string().includes('"type":"load-go"')) orders++;
    },
  });
  await connection.flush();
  const running = start();
  test.ok(await until(() => orders >= agents || running.child.exitCode !== null, 60_000), 'a window is to begin');
  await connection.close();
  return running;
}

/** Waits until an agent has said something as often as given. */
async function said(agent: Running, what: RegExp, times = 1): Promise<boolean> {
  return await until(() => [...agent.stdout.matchAll(new RegExp(what, 'g'))].length >= times, 60_000);
}

async function end({ place, agents }: Group, test: Test): Promise<void> {
  for (const agent of agents) if (agent.child.exitCode === null) agent.child.kill('SIGINT');
  for (const agent of agents) await within(agent.finished, 'the end of an agent');
  await checkNothingLeft(test, place);
}

t.test('an agent that stops for 4.5 s is named, and its trial is repeated', { skip, buffered: true }, async (test) => {
  const group = await startGroup(test, ['srv', 'one', 'two']);
  // The window lasts far beyond the stop.
  const running = await beginsWindow(test, group, 2, () => blast(test, group, '--duration', '10s'));
  const [, one] = group.agents;
  if (one === undefined) throw new Error('there is no agent');
  await sleep(1_500);
  one.child.kill('SIGSTOP');
  await sleep(4_500);
  one.child.kill('SIGCONT');
  const outcome = await within(running.finished, 'the run', 60_000);
  test.equal(outcome.code, 0, outcome.stderr);
  const report = parseReport(test, outcome.stdout);
  // On a busy machine the trial may have been repeated for another reason before.
  const why = report.warnings.filter(({ code }) => code === 'trial_repeated').map(({ message }) => message);
  test.match(why.join('\n'), /agent one is lost: no heartbeat for 3 s; the trial was repeated/);
  checkHealthyRun(test, runOf(report, 'epoll', 40));
  await end(group, test);
});

t.test('an agent that is killed ends the run, and its name is given', { skip, buffered: true }, async (test) => {
  const group = await startGroup(test, ['srv', 'one', 'two']);
  const running = blast(test, group, '--duration', '3s', '--trials', '2');
  const [srv, , two] = group.agents;
  if (srv === undefined || two === undefined) throw new Error('there is no agent');
  test.ok(await running.says(/\[2\/2\]/), 'the second trial has begun');
  test.ok(await said(two, /loading/, 2), 'the second trial runs');
  await sleep(500);
  two.child.kill('SIGKILL');
  const outcome = await within(running.finished, 'the run', 60_000);
  checkMessage(test, outcome, { code: 4, says: [/agent two is lost/, /in the report/] });
  const [first] = runOf(parseReport(test, outcome.stdout), 'epoll', 40).trials;
  test.equal(first?.state, 'completed', 'what was measured before is kept');
  test.ok(await said(srv, /free again/), 'the other agents are free');
  test.strictSame(serversOf(group.place), [], 'no server is left');
  await end(group, test);
});

t.test(
  'a killed conductor leaves no load and no server, and the agents are free',
  { skip, buffered: true },
  async (test) => {
    const group = await startGroup(test, ['srv', 'one', 'two']);
    const running = blast(test, group, '--duration', '30s');
    for (const agent of group.agents.slice(1)) test.ok(await said(agent, /loading/), 'the load runs');
    await sleep(500);
    test.equal(serversOf(group.place).length, 1, 'the server runs');
    running.kill();
    const freed = until(() => group.agents.every(({ stdout }) => stdout.includes('conductor was silent for 5 s')));
    test.ok(await freed, 'all agents are free');
    test.strictSame(serversOf(group.place), [], 'no server is left');
    const again = await run(group.place, ['agents', '--nats', group.broker.url, '--json']);
    const states = again.stdout
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { held_by: unknown }).held_by);
    test.strictSame(states, [null, null, null]);
    await end(group, test);
  },
);

t.test(
  'a broker that restarts within 3 s costs nothing; one that stays away ends the run',
  { skip, buffered: true },
  async (test) => {
    const group = await startGroup(test, ['srv', 'one', 'two']);
    const { broker, agents } = group;
    const running = await beginsWindow(test, group, 2, () => blast(test, group, '--duration', '4s'));
    await sleep(1_500);
    await broker.kill();
    await sleep(1_000);
    await broker.start();
    const outcome = await within(running.finished, 'the run', 60_000);
    test.equal(outcome.code, 0, outcome.stderr);
    const report = parseReport(test, outcome.stdout);
    // A busy machine may have begun a window too late before.
    const beganLate = /began the window \d+ ms late|did not confirm the start of the window in time/;
    test.strictSame(
      report.warnings.filter(({ code, message }) => code === 'trial_repeated' && !beganLate.test(message)),
      [],
      'no trial was repeated',
    );
    checkHealthyRun(test, runOf(report, 'epoll', 40));

    const second = blast(test, group, '--duration', '20s');
    for (const agent of agents.slice(1)) test.ok(await said(agent, /loading/, 2), 'the load runs again');
    await sleep(500);
    await broker.kill();
    const ended = await within(second.finished, 'the run', 60_000);
    checkMessage(test, ended, { code: 4, says: [/the broker .* has been gone for 5 s/] });
    test.ok(await until(() => serversOf(group.place).length === 0), 'no server is left');
    for (const agent of agents) test.ok(await said(agent, /free again/, 2), 'every agent is free');
    await end(group, test);
  },
);

t.test('Ctrl-C ends a run on agents, with what was measured', { skip, buffered: true }, async (test) => {
  const group = await startGroup(test, ['srv', 'one', 'two']);
  const running = blast(test, group, '--duration', '1s', '--trials', '20');
  const [srv] = group.agents;
  if (srv === undefined) throw new Error('there is no agent');
  test.ok(await running.says(/\[2\/20\]/), 'the second trial has begun');
  running.child.kill('SIGINT');
  const outcome = await within(running.finished, 'the run', 30_000);
  test.equal(outcome.code, 130, outcome.stderr);
  const report = parseReport(test, outcome.stdout);
  test.equal(report.partial, true);
  test.equal(runOf(report, 'epoll', 40).trials[0]?.state, 'completed');
  test.ok(await said(srv, /free again/), 'the agents are free');
  await end(group, test);
});

t.test('two conductors at once: the second is told who holds the agent', { skip, buffered: true }, async (test) => {
  const group = await startGroup(test, ['srv', 'one', 'two']);
  // Far longer than the second takes to be refused, on any machine.
  const first = blast(test, group, '--duration', '1s', '--trials', '60');
  for (const agent of group.agents.slice(1)) test.ok(await said(agent, /loading/), 'the first runs');
  const second = await within(blast(test, group).finished, 'the second');
  checkMessage(test, second, { code: 3, says: [/agent \w+ is held by \S+ \(process \d+\)/] });
  const trial = Number([...first.stderr.matchAll(/\[(\d+)\/60\]/g)].at(-1)?.[1]);
  test.ok(await first.says(new RegExp(`\\[${trial + 2}/60\\]`)), 'the first goes on');
  first.child.kill('SIGINT');
  const undisturbed = await within(first.finished, 'the first', 60_000);
  test.equal(undisturbed.code, 130, undisturbed.stderr);
  const { trials } = runOf(parseReport(test, undisturbed.stdout), 'epoll', 40);
  test.strictSame(
    trials.slice(0, trial + 1).map(({ state }) => state),
    Array.from({ length: trial + 1 }, () => 'completed'),
    'and is not disturbed',
  );
  await end(group, test);
});

async function ask(connection: NatsConnection, name: string, message: Uint8Array): Promise<string> {
  const answer = await connection.request(subjects.agent('default', name), message, { timeout: 20_000 });
  return answer.string();
}

t.test('forged messages are refused', { skip, buffered: true }, async (test) => {
  const place = makePlace(test);
  const broker = await startNats(test, ['-c', bigMessages(place)]);
  const agent = await startAgent(test, place, broker.url, 'one', ['--mode-command', 'mine=sleep 1000 {port}']);
  const connection = await connectNats({ servers: broker.url });
  test.teardown(() => connection.close());
  const request = (body: object, run: string | null = null): Uint8Array =>
    encodeMessage({ speaks, id: String(Math.random()), run, body });

  test.match(await ask(connection, 'one', Buffer.from('{"speaks": ')), /is not JSON/, 'malformed JSON');
  test.match(await ask(connection, 'one', Buffer.alloc(10_000_000, 'x')), /is longer than/, '10 MB');
  const command = { type: 'server-start', options: { mode: 'touch /tmp/forged {port}', isCommand: true } };
  test.match(await ask(connection, 'one', request(command, 'run')), /is not valid/, 'a command line');
  test.match(
    await ask(connection, 'one', request({ type: 'release' }, 'other')),
    /is not held by this run/,
    'no lease',
  );
  const old = encodeMessage({ speaks: '0.0.1/0', id: 'x', run: null, body: { type: 'clock' } });
  test.match(await ask(connection, 'one', old), /install the same version/, 'another version');

  test.match(await ask(connection, 'one', request({ type: 'hold', conductor: 'a stranger' }, 'run')), /"answer":{}/);
  const server = {
    workers: null,
    backlog: 128,
    receiveBufferBytes: 16_384,
    stackSizeBytes: 65_536,
    poolThreads: 10,
    messageSizeBytes: 64,
    protocol: 'echo',
    echoes: true,
    workUs: 0,
    waitMs: 0,
  };
  const rest = { zeroByteRecv: false, edgeTriggered: false, connectionsExpected: 1, cpus: null, controlCpus: null };
  const whole = { ...(await serverDefaults()), ...server, ...rest };
  const forged = { type: 'server-start', options: { ...whole, mode: 'touch /tmp/forged', isCommand: true } };
  test.match(
    await ask(connection, 'one', request(forged, 'run')),
    /has no command named touch/,
    'a command that it does not offer',
  );
  agent.child.kill('SIGINT');
  await within(agent.finished, 'the end of the agent');
  await checkNothingLeft(test, place, ['nats.conf']);
});

/** Values of all server options, so that a forged message passes the schema. */
async function serverDefaults(): Promise<Record<string, unknown>> {
  const { serverOptions } = await import('../../src/model/options.js');
  return Object.fromEntries(Object.entries(serverOptions).map(([key, row]) => [key, row.initial ?? null]));
}

function bigMessages(place: Place): string {
  const path = join(place.folder, 'nats.conf');
  writeFileSync(path, 'max_payload: 20MB\nmax_pending: 64MB\n');
  return path;
}

t.test(
  'a target outside the list is refused, and a stranger without the token',
  { skip, buffered: true },
  async (test) => {
    const place = makePlace(test);
    const tokens = join(place.folder, 'tokens');
    mkdirSync(tokens);
    writeFileSync(join(tokens, 'right'), 'open sesame\n');
    writeFileSync(join(tokens, 'wrong'), 'open barley\n');
    const broker = await startNats(test, ['--auth', 'open sesame']);
    const right = ['--nats-token-file', join(tokens, 'right')];
    const agent = await startAgent(test, place, broker.url, 'one', [...right, '--allow-target', '10.9.0.0/16']);
    const target = ['--target', '127.0.0.1:9', '--clients-on', 'one', '--clients', '2', '--phases', 'capacity'];
    const outside = await run(place, ['blast', '--nats', broker.url, ...right, ...target]);
    checkMessage(test, outside, {
      code: 3,
      says: [/agent one may not load 127\.0\.0\.1:9/, /--allow-target 127\.0\.0\.1/],
    });
    for (const credentials of [['--nats-token-file', join(tokens, 'wrong')], []]) {
      const stranger = await run(place, ['agents', '--nats', broker.url, ...credentials]);
      checkMessage(test, stranger, { code: 3, says: [/refuses these credentials/, /--nats-token-file/] });
    }
    test.notMatch(agent.stdout + agent.stderr, /open sesame/, 'the token is not shown');
    test.notOk(
      leftProcesses(place).some((line) => line.includes('sesame')),
      'nor in a command line',
    );
    agent.child.kill('SIGINT');
    await within(agent.finished, 'the end of the agent');
    test.equal(readFileSync(join(tokens, 'right'), 'utf8'), 'open sesame\n');
  },
);
