/** The headline: one sentence of valid figures that answers the question of the run. */
import t from 'tap';
import { headlineOf, headlineText } from '../../../src/measure/answer.js';
import { conclude } from '../../../src/measure/conclusions.js';
import type { CompletedWindow, Plan, Report, Run } from '../../../src/model/report-schema.js';
import {
  capacityWindow,
  environmentWith,
  latencyWindow,
  planWith,
  reportOf,
  runWithMaxRates,
  runWithP99,
  runWithRates,
  times,
  withFailedTrial,
  type Changes,
} from './build.js';

const saturated: Changes<CompletedWindow> = { client: { saturated: true, saturated_by: 'busy', busy_fraction: 0.99 } };

function modesOf(runs: readonly Run[]): Plan['modes'] {
  return [...new Set(runs.map(({ mode }) => mode))].map((mode) => ({ mode, backend: mode, command: null }));
}

/** A report of these runs with everything concluded. */
function reportWith(runs: Run[], changes: Partial<Plan> = {}, more: Partial<Report> = {}): Report {
  const plan = planWith({
    modes: modesOf(runs),
    clients: [...new Set(runs.map(({ clients }) => clients))],
    ...changes,
  });
  const report = reportOf(runs, { plan, ...more });
  return { ...report, ...conclude({ runs, plan, environment: report.environment, noise: report.noise }), ...more };
}

/** Rates that differ between trials by a hundredth, as real ones do. */
function rates(center: number): number[] {
  return [center, center * 1.01, center * 0.995, center * 1.005];
}

function withServer(run: Run, server: { cpuUs: number; mebibytes: number }): Run {
  for (const window of run.trials) {
    if (window.state !== 'completed' || window.server === null) continue;
    window.server.cpu_us_per_request = server.cpuUs * (1 + window.index / 1000);
    window.server.resident_bytes = server.mebibytes * 1024 ** 2 + window.index;
  }
  return run;
}

const capacityOnly: Partial<Plan> = { phases: ['capacity'] };

t.test('two modes: the throughput, and the memory where it differs', (t) => {
  const runs = [
    withServer(runWithRates('blocking', rates(50e3)), { cpuUs: 10, mebibytes: 412 }),
    withServer(runWithRates('iocp', rates(75e3)), { cpuUs: 6, mebibytes: 61 }),
  ];
  t.match(
    headlineOf(reportWith(runs, capacityOnly)),
    /^At 1,000 connections, iocp answered 50% more requests per second than blocking \(95% interval: .*\), with 61 MiB of memory instead of 412 MiB\.$/,
  );
  const [blocking, iocp] = runs;
  if (blocking === undefined || iocp === undefined) throw new Error('two runs');
  withServer(iocp, { cpuUs: 6, mebibytes: 500 });
  t.match(headlineOf(reportWith(runs, capacityOnly)), /, but with 500 MiB of memory instead of 412 MiB\.$/);
  withServer(iocp, { cpuUs: 6, mebibytes: 420 });
  t.notMatch(headlineOf(reportWith(runs, capacityOnly)), /memory/, 'a difference of 2% is not mentioned');
  t.end();
});

t.test('server CPU per request where the load generator limited the throughput', (t) => {
  const runs = [
    withServer(runWithRates('blocking', rates(50e3)), { cpuUs: 10, mebibytes: 412 }),
    withServer(runWithRates('iocp', rates(75e3), saturated), { cpuUs: 5.7, mebibytes: 61 }),
  ];
  t.match(
    headlineOf(reportWith(runs, capacityOnly)),
    /^At 1,000 connections, iocp used 43% less server CPU per request than blocking \(95% interval: .*\), with 61 MiB of memory instead of 412 MiB\.$/,
  );
  for (const run of runs) {
    for (const window of run.trials) if (window.state === 'completed') window.server = null;
  }
  t.match(
    headlineOf(reportWith(runs, capacityOnly)),
    /iocp answered at least 50% more requests per second/,
    'a bound, if nothing sharper is known',
  );
  t.end();
});

t.test('no difference shown, and the figure that does differ', (t) => {
  const runs = [runWithRates('blocking', rates(50e3)), runWithRates('iocp', [50.2e3, 50e3, 50.1e3, 50e3])];
  t.match(
    headlineOf(reportWith(runs, capacityOnly)),
    /^At 1,000 connections, no difference was shown in throughput between iocp and blocking \(95% interval: [\d.]+x to [\d.]+x\)\.$/,
  );
  const [blocking, iocp] = runs;
  if (blocking === undefined || iocp === undefined) throw new Error('two runs');
  withServer(blocking, { cpuUs: 10, mebibytes: 100 });
  withServer(iocp, { cpuUs: 5, mebibytes: 100 });
  t.match(
    headlineOf(reportWith(runs, capacityOnly)),
    /\), but iocp used 50% less server CPU per request than blocking \(/,
  );
  t.end();
});

t.test('many modes: each against the first, best first', (t) => {
  const runs = [
    runWithRates('blocking', rates(50e3)),
    runWithRates('poll', [50.2e3, 50e3, 50.1e3, 50e3]),
    runWithRates('epoll', rates(80e3)),
    runWithRates('iocp', rates(150e3)),
    runWithRates('node', rates(40e3)),
  ];
  t.match(
    headlineOf(reportWith(runs, capacityOnly)),
    /^At 1,000 connections, throughput compared with blocking: iocp 3\.0 times as many \(95% interval: .*\), epoll 60% more \(.*\) and node 20% fewer \(.*\); no difference shown for poll\.$/,
  );
  const more = Array.from({ length: 6 }, (_, n) => runWithRates(`mode${n}`, rates(100e3 + n * 10e3)));
  t.match(
    headlineOf(reportWith([...runs, ...more], capacityOnly)),
    / \d+ more in the table; no difference shown for poll\.$/,
  );
  t.end();
});

t.test('one mode, and a server that already ran: its own figures', (t) => {
  const run = runWithRates('epoll', rates(80e3));
  run.trials.push(...[0, 1, 2, 3].map((index) => latencyWindow(index, { response_time_ns: times(1e6) })));
  t.equal(
    headlineOf(reportWith([run])),
    'At 1,000 connections, epoll answered 80.2k requests/s, used 10.0 µs of server CPU per request and had a response time p99 of ' +
      '1.00 ms at 50.0k requests/s.',
  );
  const target = { ...runWithRates('target', rates(80e3)), backend: 'external' };
  for (const window of target.trials) if (window.state === 'completed') window.server = null;
  const plan = { ...capacityOnly, target: 'db:7000' };
  t.equal(headlineOf(reportWith([target], plan)), 'At 1,000 connections, db:7000 answered 80.2k requests/s.');
  const limited = { ...target, trials: rates(80e3).map((_, index) => capacityWindow(index, saturated)) };
  for (const window of limited.trials) window.server = null;
  t.match(
    headlineOf(reportWith([limited], plan)),
    /answered at least 100k requests\/s \(the load generator was the limit\)\.$/,
  );
  const searched = runWithMaxRates('iocp', rates(30e3));
  t.match(
    headlineOf(reportWith([searched], { phases: [] })),
    /iocp sustained 30\.1k requests\/s with response time p99 within 10\.0 ms/,
  );
  t.end();
});

t.test('a sweep over connections: the largest, and the smallest', (t) => {
  const at = (clients: number, blocking: number, iocp: number): Run[] => [
    { ...runWithRates('blocking', rates(blocking)), clients },
    { ...runWithRates('iocp', rates(iocp)), clients },
  ];
  const report = reportWith([...at(100, 60e3, 66e3), ...at(1000, 60e3, 80e3), ...at(6000, 50e3, 75e3)], capacityOnly);
  t.match(
    headlineOf(report),
    /^At 6,000 connections, iocp answered 50% more requests per second than blocking \(.*\); at 100 connections, 10% more\.$/,
  );
  const alike = reportWith([...at(100, 60e3, 60.1e3), ...at(6000, 50e3, 75e3)], capacityOnly);
  t.match(headlineOf(alike), /; at 100 connections, no difference was shown\.$/);
  t.end();
});

t.test('a sweep over work: from which work on the modes no longer differ', (t) => {
  const at = (work_us: number, blocking: number, iocp: number): Run[] => [
    { ...runWithRates('blocking', rates(blocking)), work_us },
    { ...runWithRates('iocp', rates(iocp)), work_us },
  ];
  const report = reportWith([...at(0, 50e3, 75e3), ...at(10, 30e3, 40e3), ...at(1000, 1000, 1001)], capacityOnly);
  t.match(
    headlineOf(report),
    /^At 1,000 connections, from 1 ms of work per request on, no difference in throughput is shown between iocp and blocking .*; at 10 µs: iocp answered 33% more/,
  );
  t.end();
});

t.test('a load curve: at which rates the modes differ; the knee of one mode', (t) => {
  const at = (mode: string, rate_fraction: number, p99: number): Run => ({
    ...runWithP99(mode, [p99, p99 * 1.01, p99 * 0.995, p99 * 1.005]),
    rate_per_second: rate_fraction * 100e3,
    rate_fraction,
  });
  const runs = [
    ...[at('blocking', 0.1, 1e6), at('iocp', 0.1, 1.001e6)],
    ...[at('blocking', 0.7, 20e6), at('iocp', 0.7, 2e6)],
  ];
  const plan: Partial<Plan> = {
    phases: ['latency'],
    rates: [
      { per_second: null, fraction: 0.1 },
      { per_second: null, fraction: 0.7 },
    ],
  };
  t.equal(
    headlineOf(reportWith(runs, plan)),
    'At 1,000 connections, response time p99 of iocp against blocking: lower at 70.0k/s (70%); no difference shown at 10.0k/s (10%).',
  );
  t.match(
    headlineOf(
      reportWith(
        runs.filter(({ mode }) => mode === 'blocking'),
        plan,
      ),
    ),
    /^At 1,000 connections, blocking: response time p99 stays within 10 times its value at 10\.0k\/s \(10%\)/,
  );
  t.end();
});

t.test('nothing valid: why', (t) => {
  const taken: Changes<CompletedWindow> = {
    connections: { made: 900, failed: 100 },
    errors: { by_class: { descriptors: 100 } },
  };
  const runs = [runWithRates('blocking', rates(50e3), taken), runWithRates('iocp', rates(75e3), taken)];
  const report = reportWith(runs, capacityOnly);
  t.ok(
    report.comparisons.some(({ verdict_code: code }) => code === 'higher'),
    'there is a verdict on the invalid figures',
  );
  t.equal(
    headlineOf(report),
    'At 1,000 connections, no figure allows a comparison: 900 of 1,000 connections were made.',
  );
  t.equal(headlineOf(reportOf([])), 'No window was measured to its end.');
  t.end();
});

t.test('an invalid figure is passed over for a valid one', (t) => {
  const noisy: Changes<CompletedWindow> = { system: { cpu_others_fraction: 0.4 } };
  const runs = [
    withServer(runWithRates('blocking', rates(50e3), noisy), { cpuUs: 10, mebibytes: 100 }),
    withServer(runWithRates('iocp', rates(75e3), noisy), { cpuUs: 5, mebibytes: 100 }),
  ];
  t.match(
    headlineOf(reportWith(runs, capacityOnly)),
    /^At 1,000 connections, iocp used 50% less server CPU per request/,
  );
  t.end();
});

t.test('one and two trials: the figures without an interval', (t) => {
  const two = [runWithRates('blocking', [50e3, 51e3]), runWithRates('iocp', [75e3, 76e3])];
  t.equal(
    headlineOf(reportWith(two, { ...capacityOnly, trials: 2 })),
    'At 1,000 connections, throughput was 50.5k/s with blocking and 75.5k/s with iocp; two trials give no interval.',
  );
  const one = [runWithRates('blocking', [50e3]), runWithRates('iocp', [75e3])];
  t.match(headlineOf(reportWith(one, { ...capacityOnly, trials: 1 })), /; one trial gives no interval\.$/);
  t.end();
});

t.test('what a mode could not do is part of the answer', (t) => {
  const refused: Changes<CompletedWindow> = {
    connections: { made: 200, failed: 800 },
    errors: { by_class: { refused_by_server: 800 } },
  };
  const runs = [runWithRates('blocking', rates(50e3), refused), runWithRates('iocp', rates(75e3))];
  t.match(
    headlineOf(reportWith(runs, capacityOnly)),
    /^At 1,000 connections, blocking served 200 of 1,000 connections; iocp answered 50% more/,
  );
  const failed = [withFailedTrial(runWithRates('blocking', rates(50e3)), 1), runWithRates('iocp', rates(75e3))];
  t.match(
    headlineOf(reportWith(failed, capacityOnly)),
    /^At 1,000 connections, blocking failed in 1 of 4 trials; throughput was /,
  );
  t.end();
});

t.test('circumstances come first: an interrupted run, Wine', (t) => {
  const runs = [runWithRates('blocking', rates(50e3)), runWithRates('iocp', rates(75e3))];
  const environment = environmentWith({ compatibility: 'Wine 8.0' });
  t.match(
    headlineOf(reportWith(runs, capacityOnly, { partial: true, environment })),
    /^Interrupted run, Wine 8\.0, not Windows: at 1,000 connections, iocp answered 50% more/,
  );
  t.end();
});

t.test('the noise floor, where a mode ran against itself', (t) => {
  const runs = [runWithRates('iocp', rates(50e3)), runWithRates('iocp again', rates(50e3))];
  const noise: Report['noise'] = [{ metric: 'throughput', clients: 1000, phase: 'capacity', fraction: 0.031 }];
  t.equal(
    headlineOf(reportWith(runs, { ...capacityOnly, aa: true }, { noise })),
    'Two runs of iocp differ by up to 3.1% in throughput on this machine: smaller differences are noise.',
  );
  t.end();
});

t.test('the headline of the report is used, without characters that a terminal obeys', (t) => {
  const report = reportWith([runWithRates('iocp', rates(50e3))], capacityOnly);
  t.equal(headlineText({ ...report, headline: 'Measured.\u001b[2J' }), 'Measured.[2J');
  t.equal(headlineText(report), headlineOf(report));
  t.match(
    headlineOf(reportWith([runWithRates('a\u001b[2Jb', rates(50e3))], capacityOnly)),
    /connections, a\[2Jb answered/,
  );
  t.end();
});
