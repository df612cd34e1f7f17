/** Agents on one machine: a whole run with server and load on other processes, and what the report says of each. */
import t, { type Test } from 'tap';
import { decodeHistogram, mergeEncoded } from '../../src/measure/histogram.js';
import type { CompletedWindow, Report } from '../../src/model/report-schema.js';
import { ArrivalLog, gapsOf } from '../support/arrival-log.js';
import { checkNothingLeft, checkRefusal, makePlace, run, shortBlast, type Place } from '../support/cli.js';
import { isLinux, isRoot, skipOutsideLinux, skipWithout } from '../support/environment.js';
import { startAgent, startNats, skipWithoutNats } from '../support/nats.js';
import { checkHealthyRun, parseReport, runOf, wasSampledLate } from '../support/report.js';
import { whyUnavailable } from '../support/server.js';

t.setTimeout(300_000);
const skip = skipWithoutNats;

function completed(test: Test, report: Report, mode: string, clients: number): CompletedWindow[] {
  const windows = runOf(report, mode, clients).trials;
  test.ok(
    windows.every(({ state }) => state === 'completed'),
    `${mode}: every window was completed`,
  );
  return windows.filter((window): window is CompletedWindow => window.state === 'completed');
}

/** Count by count: the histogram of the window is the sum of the agents'. */
function checkSums(test: Test, window: CompletedWindow): void {
  const agents = window.agents ?? [];
  const sum = (read: (agent: (typeof agents)[number]) => number): number =>
    agents.reduce((all, one) => all + read(one), 0);
  test.equal(
    sum(({ requests }) => requests.count),
    window.requests.count,
    'requests add up',
  );
  test.equal(
    sum(({ connections }) => connections.made),
    window.connections.made,
    'connections add up',
  );
  for (const name of ['service_time_ns', 'response_time_ns'] as const) {
    const whole = window[name];
    if (whole === null) continue;
    const parts = agents.flatMap((agent) => agent[name]?.histogram ?? []);
    const merged = mergeEncoded(parts);
    test.equal(
      whole.count,
      sum((agent) => agent[name]?.count ?? 0),
      `${name}: counts add up`,
    );
    test.equal(
      merged?.outputPercentileDistribution(),
      decodeHistogram(whole.histogram ?? '').outputPercentileDistribution(),
      `${name}: equal at every value`,
    );
  }
}

/** Every engine of Linux can describe its connections, except io_uring before Linux 6.8. */
function checkNetwork(test: Test, window: CompletedWindow): void {
  const { network } = window;
  const parts = (window.agents ?? []).map((agent) => agent.network);
  if (network === null || network === undefined) {
    test.ok(window.client.engine === 'io_uring' || !isLinux, 'why the network is not known');
    test.ok(parts.every((part) => part === null));
    return;
  }
  test.equal(network.connections, window.connections.made, 'the network of every connection is known');
  test.strictSame(
    parts.map((part) => part?.connections),
    window.agents?.map(({ connections }) => connections.made),
  );
  test.ok((network.rtt_p50_ns ?? 0) >= 1_000 && network.rtt_max_ns < 1e9, `round trips: ${network.rtt_p50_ns} ns`);
  test.equal(network.rtt_max_ns, Math.max(...parts.map((part) => part?.rtt_max_ns ?? 0)), 'the longest of all agents');
}

async function endAgents(
  place: Place,
  test: Test,
  agents: readonly Awaited<ReturnType<typeof startAgent>>[],
): Promise<void> {
  for (const agent of agents) agent.child.kill('SIGINT');
  for (const agent of agents) test.equal((await agent.finished).code, 0, 'the agent leaves with exit code 0');
  await checkNothingLeft(test, place);
}

t.test('server and load on three agents', { skip }, async (test) => {
  const place = makePlace(test);
  const broker = await startNats(test);
  const agents = await Promise.all(['srv', 'one', 'two'].map((name) => startAgent(test, place, broker.url, name)));
  const outcome = await run(
    place,
    shortBlast(
      ...['--nats', broker.url, '--server-on', 'srv', '--clients-on', 'one:2,two:1'],
      ...['--modes', 'blocking,epoll', '--clients', '90', '--rate', '2000', '--json', '-'],
    ),
  );
  test.equal(outcome.code, 0, outcome.stderr);
  const report = parseReport(test, outcome.stdout);
  test.strictSame(
    report.machines?.map(({ name, roles, weight }) => ({ name, roles, weight })),
    [
      { name: 'srv', roles: ['server'], weight: null },
      { name: 'one', roles: ['load'], weight: 2 },
      { name: 'two', roles: ['load'], weight: 1 },
    ],
  );
  for (const mode of ['blocking', 'epoll']) {
    checkHealthyRun(test, runOf(report, mode, 90));
    for (const window of completed(test, report, mode, 90)) {
      test.strictSame(
        window.agents?.map(({ name, connections }) => ({ name, ...connections })),
        [
          { name: 'one', asked: 60, made: 60 },
          { name: 'two', asked: 30, made: 30 },
        ],
        'divided as asked',
      );
      checkSums(test, window);
      checkNetwork(test, window);
      if (wasSampledLate(report, window)) continue;
      test.ok((window.server?.cpu_us_per_request ?? 0) > 0, "the server's own cost is known");
    }
  }
  await endAgents(place, test, agents);
});

/** Times between two messages that arrived after one another. Each of two agents sends every 20 ms, the other one 10 ms later. */
async function gapsOfTwoAgents(test: Test): Promise<number[] | null> {
  const place = makePlace(test);
  const broker = await startNats(test);
  const log = new ArrivalLog(test);
  const target = `127.0.0.1:${await log.listen()}`;
  const allowed = ['--allow-target', '127.0.0.1'];
  const agents = await Promise.all(['one', 'two'].map((name) => startAgent(test, place, broker.url, name, allowed)));
  const outcome = await run(place, [
    ...['blast', '--nats', broker.url, '--target', target, '--clients-on', 'one,two', '--threads', '1'],
    ...['--clients', '4', '--phases', 'latency', '--rate', '100', '--arrivals', 'even', '--trials', '1'],
    ...['--warmup', '300ms', '--duration', '2s', '--quiet', '--json', '-'],
  ]);
  test.equal(outcome.code, 0, outcome.stderr);
  const lateMs = log.lateness();
  await endAgents(place, test, agents);
  test.ok(log.arrivals.length > 200, `${log.arrivals.length} messages`);
  test.comment(`the server was late by ${lateMs} ms at p99`);
  return lateMs < 3 ? gapsOf(log.arrivals.slice(20)) : null;
}

t.test('even arrivals of two agents take turns', { skip }, async (test) => {
  const shareOf = (gaps: readonly number[]): number => gaps.filter((ms) => ms > 5 && ms < 15).length / gaps.length;
  let even: number | null = null;
  // Agents that a busy machine delays are late, too. Agents that do not take turns never do.
  for (let attempt = 0; attempt < 3 && (even === null || even <= 0.8); attempt++) {
    const gaps = await gapsOfTwoAgents(test);
    if (gaps !== null) even = shareOf(gaps);
  }
  if (even === null) {
    test.pass('the arrivals', { skip: 'this machine was busy' });
    return;
  }
  test.ok(even > 0.8, `${(100 * even).toFixed(0)}% of the gaps are half of what each agent leaves`);
});

const skipFar =
  skip ||
  skipOutsideLinux('io_uring') ||
  skipWithout('prlimit') ||
  (isRoot ? false : 'there may not be enough locked memory for the rings') ||
  (await whyUnavailable('io_uring'));

t.test('agents with more connections than descriptors', { skip: skipFar }, async (test) => {
  const place = makePlace(test);
  const broker = await startNats(test);
  const limited = { under: ['prlimit', '--nofile=500'] };
  const agents = await Promise.all(
    ['srv', 'one', 'two'].map((name) => startAgent(test, place, broker.url, name, [], limited)),
  );
  const outcome = await run(
    place,
    shortBlast(
      ...['--nats', broker.url, '--server-on', 'srv', '--clients-on', 'one,two', '--phases', 'capacity'],
      ...['--modes', 'iocp', '--clients', '100,2000', '--json', '-'],
    ),
  );
  test.equal(outcome.code, 0, outcome.stderr);
  const report = parseReport(test, outcome.stdout);
  for (const clients of [100, 2_000]) {
    checkHealthyRun(test, runOf(report, 'iocp', clients));
    for (const { client } of completed(test, report, 'iocp', clients)) {
      test.equal(
        client.engine,
        'io_uring',
        'the engine that keeps connections in the tables of its rings, at every size',
      );
    }
  }
  await endAgents(place, test, agents);
});

t.test('this machine on both sides, and an agent that is not there', { skip }, async (test) => {
  const place = makePlace(test);
  const broker = await startNats(test);
  const base = ['--nats', broker.url, '--modes', 'epoll', '--clients', '20', '--phases', 'capacity', '--json', '-'];
  const outcome = await run(place, shortBlast('--server-on', 'here', '--clients-on', 'here', ...base));
  test.equal(outcome.code, 0, outcome.stderr);
  const report = parseReport(test, outcome.stdout);
  test.match(report.machines, [{ name: 'here', roles: ['server', 'load'] }]);
  checkHealthyRun(test, runOf(report, 'epoll', 20));
  const absent = await run(place, shortBlast('--server-on', 'srv', '--clients-on', 'here', ...base));
  checkRefusal(test, absent, { code: 3, says: [/agent srv does not answer/, /no agent is in group default/] });
  await checkNothingLeft(test, place);
});

t.test('options that do not fit each other are refused without a broker', async (test) => {
  const place = makePlace(test);
  const cases: [args: string[], says: RegExp[]][] = [
    [
      ['--clients-on', 'a'],
      [/--clients-on needs a server to load/, /--server-on/],
    ],
    [['--server-on', 'a', '--target', '127.0.0.1:7000'], [/--server-on cannot be used with --target/]],
    [['--server-on', 'a', '--clients-on', 'b,b'], [/names b twice/]],
    [['--server-on', 'a', '--clients-on', 'b:0'], [/is not a list of agents/]],
    [['--server-on', 'a', '--clients-on', 'b:1,c'], [/a weight/]],
    [['--server-on', 'a', '--mode-command', 'mine=./x {port}'], [/--mode-command cannot be sent to another machine/]],
    [
      ['--server-on', 'a', '--clients-on', 'b'],
      [/no broker is named/, /NATS_URL/],
    ],
    [['--server-on', 'a', '--nats', 'http://x'], [/--nats: http:\/\/ is not supported/]],
  ];
  for (const [args, says] of cases) {
    checkRefusal(test, await run(place, ['blast', ...args], { env: { NATS_URL: '' } }), { code: 2, says });
  }
});
