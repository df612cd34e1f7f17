/** Each warning: a rigged case that triggers it, and one that must not. */
import t, { type Test } from 'tap';
import { findMetric, requireMetric } from '../../../src/model/metrics.js';
import { findWarnings, invalidating, isInvalid } from '../../../src/measure/validity.js';
import type { CompletedWindow, Environment, Plan, Run, Warning } from '../../../src/model/report-schema.js';
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
  type Changes,
} from './build.js';
import { lagging, recorded, upTo } from '../../support/synthetic.js';

interface Rigged {
  plan?: Partial<Plan>;
  environment?: Partial<Environment>;
  runs?: Run[];
}

/** As on a machine of two CPUs that are not split. */
const shared = { cpus_shared: true, cpus_server: [0, 1], cpus_client: [0, 1] };

function warningsOf({ plan = {}, environment = {}, runs = [] }: Rigged): Warning[] {
  return findWarnings({ plan: planWith(plan), environment: environmentWith(environment), runs });
}

function runOf(...trials: CompletedWindow[]): Run {
  return { mode: 'iocp', backend: 'iocp', clients: 1000, trials };
}

function capacity(changes: Changes<CompletedWindow>, rest: Rigged = {}): Warning[] {
  return warningsOf({ ...rest, runs: [runOf(capacityWindow(0, changes))] });
}

function latency(changes: Changes<CompletedWindow>, rest: Rigged = {}): Warning[] {
  return warningsOf({ ...rest, runs: [runOf(latencyWindow(0, changes))] });
}

/** Exactly this code is among the warnings, with this severity; returns it. */
function expectWarning(t: Test, warnings: readonly Warning[], code: string, severity: Warning['severity']): Warning {
  const found = warnings.filter((warning) => warning.code === code);
  t.equal(found.length, 1, `${code} is told once`);
  const [warning] = found;
  if (warning === undefined) throw new Error(`no ${code} in ${warnings.map((entry) => entry.code).join(', ')}`);
  t.equal(warning.severity, severity, `${code} is ${severity}`);
  t.ok(warning.message.length > 0 && warning.hint.length > 0, 'it says what and what to do');
  return warning;
}

function expectNone(t: Test, warnings: readonly Warning[], code: string): void {
  t.notOk(
    warnings.some((warning) => warning.code === code),
    `no ${code}`,
  );
}

t.test('a sound run has no warnings', (t) => {
  const trials = [0, 1, 2, 3].flatMap((index) => [capacityWindow(index), latencyWindow(index)]);
  t.strictSame(warningsOf({ runs: [runOf(...trials)] }), []);
  t.strictSame(warningsOf({}), []);
  t.end();
});

t.test('client_stopped', (t) => {
  const stopped = capacity({ client: { stopped_ns: 1.5e9, stopped_longest_ns: 1.5e9, run_delay_fraction: 0.01 } });
  const told = expectWarning(t, stopped, 'client_stopped', 'invalid');
  t.match(told.message, /the load generator did not run for 1\.50? s/);
  t.match(told.figures, { stopped_ns: 1.5e9, stopped_longest_ns: 1.5e9, run_delay_fraction: 0.01 }, 'the evidence');
  const run = { mode: 'iocp', clients: 1000 };
  t.equal(invalidating(stopped, requireMetric('throughput'), run, 'capacity')?.code, 'client_stopped');
  t.equal(
    invalidating(stopped, requireMetric('server_cpu_us_per_request'), run, 'capacity'),
    undefined,
    'what is counted at the server stays right',
  );
  expectWarning(t, capacity({ client: { stopped_ns: 9e6, stopped_longest_ns: 9e6 } }), 'client_stopped', 'warning');
  expectWarning(t, capacity({ client: { stopped_ns: 80e6, stopped_longest_ns: 40e6 } }), 'client_stopped', 'invalid');
  expectNone(
    t,
    capacity({ client: { stopped_ns: 0, stopped_longest_ns: 0, run_delay_fraction: 0.9 } }),
    'client_stopped',
  );
  t.end();
});

t.test('started_late', (t) => {
  const late = expectWarning(t, capacity({ client: { started_late_ns: 2e8 } }), 'started_late', 'warning');
  t.match(late.message, /began the window 200 ms late/);
  expectNone(t, capacity({ client: { started_late_ns: 9e6 } }), 'started_late');
  t.end();
});

t.test('client_saturated', (t) => {
  const busy = { client: { saturated: true, saturated_by: 'busy', busy_fraction: 0.98 } } as const;
  const told = expectWarning(t, capacity(busy), 'client_saturated', 'invalid');
  t.match(told.message, /iocp at 1,000 clients, capacity: the load generator was the limit.*98%/);
  t.match(told, { mode: 'iocp', clients: 1000, phase: 'capacity', trial: 0, figures: { busy_fraction: 0.98 } });
  t.match(told.hint, /server CPU per request/, 'as many threads as CPUs already');
  const more = capacity(busy, { environment: { cpus_client: [1, 2, 3] } });
  t.match(expectWarning(t, more, 'client_saturated', 'invalid').hint, /--threads 3/);
  t.match(expectWarning(t, latency(busy), 'client_saturated', 'invalid').hint, /--rate/);
  const asked = latency(busy, { plan: { rate_per_second: 5000 } });
  t.match(expectWarning(t, asked, 'client_saturated', 'invalid').hint, /less than --rate 5000/);
  const throttled = capacity({ client: { saturated: true, saturated_by: 'throttled', throttled_fraction: 0.9 } });
  t.match(expectWarning(t, throttled, 'client_saturated', 'invalid').message, /quota throttled it for 90%/);
  const crowded = { client: { saturated: true, saturated_by: 'run_delay', run_delay_fraction: 0.5 } } as const;
  const unpinned = capacity(crowded, { plan: { pinned: false }, environment: shared });
  t.match(expectWarning(t, unpinned, 'client_saturated', 'invalid').hint, /leave out --no-pin/);
  t.match(expectWarning(t, capacity(crowded), 'client_saturated', 'invalid').hint, /stop other programs/);
  expectNone(t, capacity({ client: { saturated: false, busy_fraction: 0.94 } }), 'client_saturated');
  expectNone(t, capacity({ client: { saturated: null } }), 'client_saturated');
  t.end();
});

t.test('behind_schedule', (t) => {
  // 1000 connections at 50,000/s need their place again after 20 ms; the slowest echo took 2.7 ms.
  const late = latency({ client: { send_lag_ns: times(150_000) } });
  const told = expectWarning(t, late, 'behind_schedule', 'invalid');
  t.match(told.figures, { send_lag_p99_ns: 150_000, response_time_p99_ns: 1_000_000 });
  expectNone(t, latency({ client: { send_lag_ns: times(90_000) } }), 'behind_schedule');
  expectNone(t, latency({ client: { send_lag_ns: { ...times(1), p99: null } } }), 'behind_schedule');
  expectNone(t, capacity({}), 'behind_schedule');
  t.end();
});

t.test('behind_schedule is not the fault of the client when an echo held the place', (t) => {
  const stalled = {
    client: { send_lag_ns: times(150_000_000) },
    response_time_ns: times(190_000_000),
    service_time_ns: { ...times(4_000_000), max: 200_000_000 },
  };
  t.match(
    expectWarning(t, latency(stalled), 'behind_schedule', 'warning').message,
    /waited in the client for a free slot/,
  );
  const hintWith = (plan: NonNullable<Rigged['plan']>): string =>
    expectWarning(t, latency(stalled, { plan }), 'behind_schedule', 'warning').hint;
  t.match(hintWith({ pipeline: 1, requests_per_connection: null }), /raise --pipeline or lower --rate/);
  t.match(hintWith({ pipeline: 1, requests_per_connection: 100 }), /raise --pipeline or lower --rate/);
  t.match(
    hintWith({ pipeline: 1, requests_per_connection: 1 }),
    /raise --clients or lower --rate/,
    'a connection with one request has no use for a longer pipeline',
  );
  const saturated = { ...stalled, client: { ...stalled.client, saturated: true, saturated_by: 'busy' as const } };
  expectWarning(t, latency(saturated), 'behind_schedule', 'invalid');
  t.end();
});

t.test('behind_schedule goes by the lag of the client alone, where it is known', (t) => {
  const waited = { send_lag_ns: times(150_000), own_lag_ns: times(50_000) };
  const even = expectWarning(t, latency({ client: waited }), 'behind_schedule', 'warning');
  t.match(even.message, /waited in the client for a free slot/);
  const random = latency({ client: waited }, { plan: { arrivals: 'poisson' } });
  expectWarning(t, random, 'behind_schedule', 'info');
  const own = { send_lag_ns: times(150_000), own_lag_ns: times(120_000) };
  const told = expectWarning(
    t,
    latency({ client: own, service_time_ns: { ...times(4_000_000), max: 200_000_000 } }),
    'behind_schedule',
    'invalid',
  );
  t.match(told.figures, { send_lag_p99_ns: 120_000 }, 'although echoes held places as well');
  t.end();
});

t.test('behind_schedule goes by the requests of all trials, where their histograms are known', (t) => {
  const window = (index: number, responses: readonly number[], lags: readonly number[]): CompletedWindow =>
    latencyWindow(index, {
      response_time_ns: recorded(responses),
      client: { send_lag_ns: recorded(lags), own_lag_ns: recorded(lags) },
    });
  const p99 = requireMetric('response_time_p99');
  const of = (...trials: CompletedWindow[]): { warnings: Warning[]; isValid: boolean } => {
    const run = runOf(...trials);
    const warnings = warningsOf({ runs: [run] });
    return { warnings, isValid: invalidating(warnings, p99, run, 'latency') === undefined };
  };
  const sound = (index: number): CompletedWindow => window(index, upTo(1000, 10_000), lagging(1000, 0, 0));
  const late = (index: number): CompletedWindow => window(index, upTo(1000, 10_000), lagging(1000, 20, 5e6));

  const one = of(sound(0), sound(1), late(2));
  const told = expectWarning(t, one.warnings, 'behind_schedule', 'warning');
  t.match(told.message, /5 ms late at p99, of a response time of 9\.9\d? ms \(1 of 3 trials\)$/);
  t.match(told.hint, /among the requests of all trials/);
  t.equal(told.trial, 2);
  t.ok(one.isValid, '20 of 3,000 requests are not 1%');

  const two = of(sound(0), late(1), late(2));
  t.match(expectWarning(t, two.warnings, 'behind_schedule', 'invalid').message, /\(2 of 3 trials\)$/);
  t.notOk(two.isValid, '40 of 3,000 requests are');

  // Neither trial is late by a tenth of its own p99, but 98 µs are more than a tenth of the 900 µs of both.
  const fast = window(0, upTo(1000, 1_000), lagging(1000, 150, 98_000));
  const faster = window(1, upTo(9000, 55), lagging(9000, 0, 0));
  const both = of(fast, faster);
  t.match(expectWarning(t, both.warnings, 'behind_schedule', 'invalid').message, /\(all trials together\)$/);
  t.notOk(both.isValid);
  expectNone(t, of(fast).warnings, 'behind_schedule');
  expectNone(t, of(faster).warnings, 'behind_schedule');

  const { client } = late(2);
  const shortened = { ...late(2), client: { ...client, own_lag_ns: times(5e6), send_lag_ns: times(5e6) } };
  expectWarning(t, of(sound(0), sound(1), shortened).warnings, 'behind_schedule', 'invalid');
  t.end();
});

t.test('rate_not_carried at random goes by what was due', (t) => {
  const poisson = { plan: { arrivals: 'poisson' as const } };
  const fewer = { per_second: 48_000, count: 48_000, offered: 48_000 };
  expectNone(t, latency({ requests: fewer }, poisson), 'rate_not_carried');
  expectWarning(t, latency({ requests: { ...fewer, offered: 50_000 } }, poisson), 'rate_not_carried', 'warning');
  t.end();
});

t.test('rate_not_carried', (t) => {
  expectWarning(t, latency({ requests: { per_second: 40_000 } }), 'rate_not_carried', 'warning');
  expectNone(t, latency({ requests: { per_second: 49_600 } }), 'rate_not_carried');
  expectNone(t, capacity({ requests: { per_second: 1 } }), 'rate_not_carried');
  t.end();
});

t.test('requests_failed', (t) => {
  const timeouts = latency({ requests: { failed: 7 }, errors: { total: 7, by_class: { timeout: 7 } } });
  t.match(expectWarning(t, timeouts, 'requests_failed', 'warning').hint, /--timeout 10s/);
  expectNone(t, latency({}), 'requests_failed');
  t.end();
});

t.test('connections_lost', (t) => {
  const lost = capacity({ connections: { lost: 3 }, errors: { total: 3, by_class: { reset: 3 } } });
  t.match(expectWarning(t, lost, 'connections_lost', 'invalid').hint, /reset/);
  expectNone(t, capacity({ connections: { lost: 0 } }), 'connections_lost');
  t.end();
});

t.test('connections_lost: after how many echoes the server closes', (t) => {
  const closed = (count: number, min: number, max: number): string =>
    expectWarning(
      t,
      capacity({ connections: { lost: count, closed_after_echoes: { count, min, max } } }),
      'connections_lost',
      'invalid',
    ).hint;
  t.match(closed(1000, 1, 1), /closes each connection after 1 echo: --requests-per-connection 1 /);
  t.match(closed(1000, 100, 100), /after 100 echoes: --requests-per-connection 100 /);
  t.match(closed(1000, 80, 3000), /closed 1,000 connections after 80 to 3,000 echoes/);
  t.notMatch(closed(3, 7, 7), /each/, 'three of a thousand show no rule');
  t.end();
});

t.test('connections_closed_idle', (t) => {
  const idle = { count: 500, active: 0, after_min_ns: 1.99e9, after_max_ns: 2.04e9 };
  const told = capacity({ connections: { lost: 500, closed_idle: idle } });
  const warning = expectWarning(t, told, 'connections_closed_idle', 'warning');
  t.match(
    warning.message,
    /closed 500 of 1,000 connections after 1\.99 s without traffic; the active ones stayed open/,
  );
  expectNone(t, told, 'connections_lost');
  const both = capacity({ connections: { lost: 503, closed_idle: idle } });
  t.match(expectWarning(t, both, 'connections_lost', 'invalid').message, /3 of 1,000 connections were lost/);
  const active = latency({
    connections: { lost: 9, closed_idle: { ...idle, count: 9, active: 9, after_max_ns: 3e9 } },
  });
  const low = expectWarning(t, active, 'connections_closed_idle', 'warning');
  t.match(low.message, /after 1\.99 s to 3 s without traffic; 9 of them were active/);
  t.match(low.hint, /raise --rate .* each sends every/);
  expectNone(t, capacity({}), 'connections_closed_idle');
  t.end();
});

t.test('fin_unanswered', (t) => {
  const churn = { connections_per_second: 31, connect_time_ns: times(1e5), first_echo_time_ns: times(2e5) };
  const told = capacity({ churn: { ...churn, fins_unanswered: 31, requests_held: 0 } });
  t.match(expectWarning(t, told, 'fin_unanswered', 'warning').message, /FIN of 31 connections/);
  expectNone(t, capacity({ churn: { ...churn, fins_unanswered: 0, requests_held: 0 } }), 'fin_unanswered');
  const before = capacity({ churn: { ...churn, fins_unanswered: 31, fin_wait_fraction: 0.005 } });
  t.match(expectWarning(t, before, 'fin_unanswered', 'warning').message, /No figure of this window/);
  const within = { ...churn, fins_unanswered: 31, fin_wait_fraction: 0.4 };
  t.match(expectWarning(t, capacity({ churn: within }), 'fin_unanswered', 'invalid').message, /40% of the window/);
  const slow = { offered_per_second: 1_000, per_second: 500 };
  expectNone(t, latency({ churn: within, requests: slow }), 'rate_not_carried');
  expectWarning(t, latency({ requests: slow }), 'rate_not_carried', 'warning');
  expectNone(t, capacity({ churn }), 'fin_unanswered');
  t.end();
});

t.test('a pool that has fewer threads than connections', (t) => {
  const window = capacityWindow(0, {
    connections: { made: 200 },
    errors: { total: 800, by_class: { timeout: 800 } },
    server: { connections_queued: 56 },
  });
  const ofMode = (mode: string, plan = {}): ReturnType<typeof warningsOf> =>
    warningsOf({ runs: [{ mode, backend: mode, clients: 1000, trials: [window] }], plan });
  const told = expectWarning(t, ofMode('pool'), 'connections_missing', 'warning');
  t.match(told.message, /200 of 1,000 connections: each of its 200 threads stays/);
  t.match(told, { hint: /--pool-threads 1000/, figures: { pool_threads: 200, queued: 56, unanswered: 800 } });
  expectWarning(t, ofMode('poll'), 'connections_missing', 'invalid');
  expectWarning(t, ofMode('pool', { pool_threads: 1000 }), 'connections_missing', 'invalid');
  t.end();
});

t.test('connections_missing', (t) => {
  const refused = { connections: { made: 400 }, errors: { total: 600, by_class: { refused_by_server: 600 } } };
  t.match(
    expectWarning(t, capacity(refused), 'connections_missing', 'warning').message,
    /400 of 1,000 .* limit of its model/,
  );
  const [window] = [capacityWindow(0, refused)];
  const blocking: Run = { mode: 'blocking', backend: 'blocking', clients: 1000, trials: [window] };
  t.match(expectWarning(t, warningsOf({ runs: [blocking] }), 'connections_missing', 'warning').hint, /thread/);
  const bound = warningsOf({ runs: [blocking], environment: { limits: { pid_max: 32_768, cgroup_pids_max: 420 } } });
  const warning = expectWarning(t, bound, 'connections_missing', 'warning');
  t.match(warning.message, /400 of 1,000 .* pids of the cgroup is 420/, 'the limit that ended it is named');
  t.match(warning.hint, /pids\.max/, 'and what raises it');
  t.equal(warning.figures['limit'], 420);
  for (const [name, hint] of [
    ['descriptors', /descriptor/],
    ['ports', /ports/],
    ['timeout', /--connect-rate/],
    ['other', /class/],
  ] as const) {
    const failed = capacity({ connections: { made: 990 }, errors: { total: 10, by_class: { [name]: 10 } } });
    t.match(expectWarning(t, failed, 'connections_missing', 'invalid').hint, hint, name);
  }
  const own = (open: number, waiting: number) =>
    capacity({
      connections: { made: 295 },
      errors: { total: 705, by_class: { timeout: 705 } },
      server_limits: { descriptors: { process: { pid: 7, name: 'mine' }, open, limit: 300 }, waiting },
    });
  const full = expectWarning(t, own(300, 20), 'connections_missing', 'invalid').hint;
  t.match(full, /process 7 \(mine\) has 300 descriptors open, and its limit is 300: .*ulimit -n 1005/);
  t.match(expectWarning(t, own(200, 20), 'connections_missing', 'invalid').hint, /20 connections still wait/);
  t.match(expectWarning(t, own(200, 0), 'connections_missing', 'invalid').hint, /--connect-rate/);
  expectNone(t, capacity({}), 'connections_missing');
  t.end();
});

t.test('server_sampled_late', (t) => {
  const late = { server: null, server_sample_lag_fraction: 0.9 };
  const pinned = expectWarning(t, capacity(late), 'server_sampled_late', 'warning');
  t.match(pinned.message, /90% of the window too late/);
  t.match(pinned.hint, /--duration/);
  t.match(
    expectWarning(t, capacity(late, { plan: { pinned: false }, environment: shared }), 'server_sampled_late', 'warning')
      .hint,
    /--no-pin/,
  );
  expectNone(t, capacity({ server: null, server_sample_lag_fraction: 0.1 }), 'server_sampled_late');
  expectNone(t, capacity({ server: null, server_sample_lag_fraction: null }), 'server_sampled_late');
  expectNone(t, capacity({ server_sample_lag_fraction: 0 }), 'server_sampled_late');
  t.end();
});

t.test('instructions_unknown: the counters were shared, on a machine that has some', (t) => {
  const found = (
    scope: 'user+kernel' | null,
    counts: boolean,
    server: number | null,
    client: number | null,
  ): Warning[] =>
    capacity(
      { server: { instructions_per_request: server }, client: { instructions_per_request: client } },
      { plan: { count_instructions: counts }, environment: { instructions: { scope, reason: '', hint: '' } } },
    );
  const both = expectWarning(t, found('user+kernel', true, null, null), 'instructions_unknown', 'warning');
  t.match(both.message, /instructions of the server and the client are not known/);
  const one = expectWarning(t, found('user+kernel', true, 20_000, null), 'instructions_unknown', 'warning');
  t.match(one.message, /instructions of the client are not known/);
  expectNone(t, found('user+kernel', true, 20_000, 10_000), 'instructions_unknown');
  expectNone(t, found('user+kernel', false, null, null), 'instructions_unknown');
  expectNone(t, found(null, true, null, null), 'instructions_unknown');
  t.end();
});

t.test('servers of --mode-command: whose figures they are', (t) => {
  const process = { pid: 77, name: 'python3' };
  const found = (listener: 'command' | 'outside' | 'unseen', cpu_unknown: string | null) =>
    capacity({ server_process: { listener, process: listener === 'unseen' ? null : process, cpu_unknown } });
  const outside = expectWarning(t, found('outside', null), 'server_outside_command', 'warning');
  t.match(outside.message, /process 77 \(python3\) listens on the port and is not in the process tree/);
  expectNone(t, found('command', null), 'server_outside_command');
  expectNone(t, found('command', null), 'server_cpu_unknown');
  const lost = expectWarning(t, found('command', 'process 77 ignores SIGCHLD'), 'server_cpu_unknown', 'warning');
  t.match(lost.message, /CPU time is not shown: process 77 ignores SIGCHLD/);
  t.match(expectWarning(t, found('unseen', 'nothing'), 'server_cpu_unknown', 'warning').hint, /as the same user/);
  const left = expectWarning(t, capacity({ server_left: process }), 'server_left', 'warning');
  t.match(left, { message: /process 77 \(python3\) still listens/, hint: /kill 77/, figures: { pid: 77 } });
  t.end();
});

t.test('service_not_applied: a command does not get --work and --wait', (t) => {
  const run: Run = { mode: 'mine', backend: 'command', clients: 1000, work_us: 100, trials: [capacityWindow(0)] };
  const report = reportOf([run, { ...run, work_us: 0 }]);
  report.plan.modes = [{ mode: 'mine', backend: 'command', command: './mine {port}' }];
  const found = findWarnings(report).filter(({ code }) => code === 'service_not_applied');
  const message =
    /^mine at 1,000 clients with 100 µs of work, .* knows nothing of --work: its requests are plain echoes/;
  t.match(found, [{ severity: 'warning', work_us: 100, message }]);
  t.equal(found.length, 1, 'not where there is no work');
  t.end();
});

t.test('backlog_overflow', (t) => {
  t.match(
    expectWarning(t, capacity({ system: { listen_overflows: 5 } }), 'backlog_overflow', 'warning').hint,
    /--backlog above 4096/,
  );
  const overflowed = capacityWindow(0, { system: { listen_overflows: 5 } });
  for (const backend of ['command', 'external']) {
    const foreign = warningsOf({ runs: [{ mode: 'mine', backend, clients: 1000, trials: [overflowed] }] });
    const { hint } = expectWarning(t, foreign, 'backlog_overflow', 'warning');
    t.match(hint, /backlog that the server passes to listen/);
    t.notMatch(hint, /--backlog/, 'an option that does not reach it');
  }
  const cut = capacity({ system: { listen_drops: 5 }, server: { backlog: 128 } });
  t.match(expectWarning(t, cut, 'backlog_overflow', 'warning').hint, /net\.core\.somaxconn=4096/);
  expectNone(t, capacity({ system: { listen_overflows: 0, listen_drops: null } }), 'backlog_overflow');
  t.end();
});

t.test('ports_near_exhaustion', (t) => {
  const waiting = { system: { time_wait_sockets: 25_000 } };
  const fin = capacity(waiting, { plan: { close: 'fin' } });
  t.match(expectWarning(t, fin, 'ports_near_exhaustion', 'warning').hint, /--close reset/);
  t.match(expectWarning(t, capacity(waiting), 'ports_near_exhaustion', 'warning').hint, /doctor/);
  const failed = capacity({ errors: { total: 1, by_class: { ports: 1 } } });
  t.match(expectWarning(t, failed, 'ports_near_exhaustion', 'warning').message, /no port was free/);
  const far = capacity({ connections: { asked: 25_000, made: 25_000 } }, { plan: { host: '192.0.2.1' } });
  expectWarning(t, far, 'ports_near_exhaustion', 'warning');
  expectNone(t, capacity({ connections: { asked: 25_000, made: 25_000 } }), 'ports_near_exhaustion');
  expectNone(t, capacity({ system: { time_wait_sockets: 1000 } }), 'ports_near_exhaustion');
  const explicit = capacity({ ...waiting, connections: { asked: 100_000, made: 100_000 } });
  expectNone(t, explicit, 'ports_near_exhaustion');
  expectNone(t, capacity(waiting, { environment: { limits: {} } }), 'ports_near_exhaustion');
  t.end();
});

t.test('cpu_stolen and cpu_taken_by_others', (t) => {
  expectWarning(t, capacity({ system: { cpu_steal_fraction: 0.02 } }), 'cpu_stolen', 'warning');
  expectWarning(t, capacity({ system: { cpu_steal_fraction: 0.2 } }), 'cpu_stolen', 'invalid');
  expectNone(t, capacity({ system: { cpu_steal_fraction: 0.005 } }), 'cpu_stolen');
  expectNone(t, capacity({ system: { cpu_steal_fraction: null } }), 'cpu_stolen');
  expectWarning(t, capacity({ system: { cpu_others_fraction: 0.1 } }), 'cpu_taken_by_others', 'warning');
  expectWarning(t, capacity({ system: { cpu_others_fraction: 0.4 } }), 'cpu_taken_by_others', 'invalid');
  expectNone(t, capacity({ system: { cpu_others_fraction: 0.04 } }), 'cpu_taken_by_others');
  t.end();
});

t.test('cpu_in_network_threads', (t) => {
  const share = (cpu_network_threads_fraction: number | null) => capacity({ system: { cpu_network_threads_fraction } });
  expectWarning(t, share(0.06), 'cpu_in_network_threads', 'warning');
  expectWarning(t, share(0.6), 'cpu_in_network_threads', 'warning');
  expectNone(t, share(0.04), 'cpu_in_network_threads');
  expectNone(t, share(null), 'cpu_in_network_threads');
  t.end();
});

t.test('too_few_samples', (t) => {
  const few = {
    ...times(1e6, 500),
    p99: null,
    p99_9: null,
    missing: { p99: 'too_few_samples', p99_9: 'too_few_samples' },
  } as const;
  const told = expectWarning(
    t,
    latency({ response_time_ns: few, requests: { count: 500 } }),
    'too_few_samples',
    'warning',
  );
  t.match(told.message, /500 requests are too few for p99 to p99\.9: 10,000 are needed/);
  t.equal(told.hint, '--duration 22s would be enough');
  const rare = { ...times(1e6, 5000), p99_9: null, missing: { p99_9: 'too_few_samples' } } as const;
  expectWarning(t, latency({ response_time_ns: rare, requests: { count: 5000 } }), 'too_few_samples', 'info');
  const late = { ...times(1e6), p99_9: null, missing: { p99_9: 'timeout' } } as const;
  expectNone(t, latency({ response_time_ns: late }), 'too_few_samples');
  t.end();
});

t.test('not_steady', (t) => {
  t.match(expectWarning(t, capacity({ steady: false }), 'not_steady', 'warning').hint, /--warmup 1s/);
  expectNone(t, capacity({ steady: null }), 'not_steady');
  t.end();
});

t.test('trials_disagree', (t) => {
  const told = expectWarning(
    t,
    warningsOf({ runs: [runWithRates('iocp', [100e3, 130e3, 101e3])] }),
    'trials_disagree',
    'warning',
  );
  t.match(told.message, /throughput of the trials differs by 30%/);
  expectNone(t, warningsOf({ runs: [runWithRates('iocp', [100e3, 120e3, 101e3])] }), 'trials_disagree');
  expectNone(t, warningsOf({ runs: [runWithRates('iocp', [100e3])] }), 'trials_disagree');
  expectNone(t, warningsOf({ runs: [runWithP99('iocp', [1e6, 1.9e6])] }), 'trials_disagree');
  expectWarning(t, warningsOf({ runs: [runWithP99('iocp', [1e6, 2.1e6])] }), 'trials_disagree', 'warning');
  t.end();
});

t.test('several trials make one warning with the worst figures', (t) => {
  const stolen = (index: number, share: number): CompletedWindow =>
    capacityWindow(index, { system: { cpu_steal_fraction: share } });
  const told = expectWarning(
    t,
    warningsOf({ runs: [runOf(stolen(0, 0.02), stolen(1, 0), stolen(2, 0.3))] }),
    'cpu_stolen',
    'invalid',
  );
  t.match(told, { trial: null, figures: { cpu_steal_fraction: 0.3, trials: 2 }, message: /\(2 of 3 trials\)$/ });
  t.end();
});

t.test('threads_crowded', (t) => {
  const crowded = expectWarning(t, warningsOf({ plan: { threads: 64 } }), 'threads_crowded', 'warning');
  t.match(crowded.message, /64 client threads took turns on 1 CPU:/);
  t.match(crowded.hint, /--threads 1$/);
  expectNone(t, warningsOf({ plan: { threads: 2 }, environment: { cpus_client: [1, 2] } }), 'threads_crowded');
  t.end();
});

t.test('the environment and the plan', (t) => {
  const wine = warningsOf({ environment: { compatibility: 'Wine 8.0' } });
  t.match(expectWarning(t, wine, 'wine', 'warning').message, /Wine 8\.0, not Windows/);
  expectNone(t, warningsOf({}), 'wine');
  t.match(expectWarning(t, warningsOf({ environment: shared }), 'cpus_shared', 'warning').hint, /--no-pin/);
  const single = warningsOf({ environment: { ...shared, cpus_online: 1 } });
  t.match(expectWarning(t, single, 'cpus_shared', 'warning').hint, /two CPUs/);
  const taskset = warningsOf({ environment: { ...shared, cpus_server: [1], cpus_client: [1] } });
  t.match(expectWarning(t, taskset, 'cpus_shared', 'warning').hint, /at least two CPUs: taskset/);
  expectNone(t, warningsOf({ environment: shared, plan: { target: '192.0.2.1:7' } }), 'cpus_shared');
  const linux = { modes: [{ mode: 'iocp', backend: 'io_uring', command: null }] };
  t.equal(expectWarning(t, warningsOf({ plan: linux }), 'iocp_is_io_uring', 'info').mode, 'iocp');
  expectNone(t, warningsOf({}), 'iocp_is_io_uring');
  expectWarning(
    t,
    warningsOf({ plan: { modes: [{ mode: 'node', backend: 'node', command: null }] } }),
    'node_differs',
    'info',
  );
  expectWarning(t, warningsOf({ plan: { trials: 1 } }), 'one_trial', 'info');
  expectNone(t, warningsOf({ plan: { trials: 2 } }), 'one_trial');
  expectNone(t, warningsOf({ plan: { trials: 1, ...linux } }), 'one_trial');
  t.end();
});

t.test('what an invalid window spoils', (t) => {
  const saturated = latency({ client: { saturated: true, saturated_by: 'busy' } });
  t.ok(isInvalid(saturated));
  t.notOk(isInvalid(capacity({ steady: false })));
  const run = { mode: 'iocp', clients: 1000 };
  const spoiled = (name: string, phase: 'capacity' | 'latency'): boolean =>
    invalidating(saturated, requireMetric(name), run, phase) !== undefined;
  t.ok(spoiled('response_time_p99', 'latency'));
  t.notOk(spoiled('response_time_p99', 'capacity'), 'another phase');
  t.notOk(spoiled('server_cpu_us_per_request', 'latency'), 'measured at the server');
  t.notOk(spoiled('errors', 'latency'), 'a fact');
  t.equal(
    invalidating(saturated, requireMetric('response_time_p99'), { mode: 'blocking', clients: 1000 }, 'latency'),
    undefined,
  );
  const lost = capacity({ connections: { lost: 1 } });
  t.ok(invalidating(lost, requireMetric('server_cpu_us_per_request'), run, 'capacity'));
  t.notOk(invalidating(lost, findMetric('connections_lost') ?? requireMetric('errors'), run, 'capacity'));
  t.end();
});

t.test('a search that the client ended, and one that broke', (t) => {
  const codes = (run: Run): Warning[] => findWarnings(reportOf([run])).filter(({ code }) => code.startsWith('search_'));
  t.strictSame(codes(runWithMaxRates('iocp', [1000, 1000])), []);
  const limited = runWithMaxRates('iocp', [1000, 1000], { client: 'client_saturated' });
  t.match(codes(limited), [
    {
      code: 'search_held_back',
      severity: 'invalid',
      message:
        /iocp at 1,000 clients, highest rate: the server was not the limit: the client was saturated at 1,030 requests\/s.*2 of 2 searches/,
      trial: null,
    },
  ]);
  t.equal(
    invalidating(codes(limited), requireMetric('max_rate'), limited, 'latency'),
    undefined,
    'the rate is a bound, which comparisons and gates know',
  );
  const [found] = limited.max_rate ?? [];
  if (found === undefined) throw new Error('there is no search');
  const broken = { ...limited, max_rate: [{ ...found, steps: [], rate_per_second: null, ended_early: 'it died' }] };
  t.match(codes(broken), [{ code: 'search_broken', message: /ended early: it died/, trial: 0 }]);
  const endless = { ...limited, max_rate: [{ ...found, steps: found.steps.slice(0, 1) }] };
  t.match(codes(endless), [{ code: 'search_unfinished', severity: 'warning' }]);
  t.end();
});

t.test('order_unbalanced', (t) => {
  const order = [
    ['blocking', 'iocp'],
    ['iocp', 'blocking'],
    ['iocp', 'blocking'],
  ];
  t.match(
    warningsOf({ plan: { order, trials: 3 } }).filter(({ code }) => code === 'order_unbalanced'),
    [{ severity: 'info', hint: /--trials 4/ }],
  );
  t.match(
    warningsOf({ plan: { order, trials: 3, until: 0.03 } }).filter(({ code }) => code === 'order_unbalanced'),
    [{ hint: /^--trials-max 4/ }],
    'with --until, --trials is the least number',
  );
  t.notOk(warningsOf({}).some(({ code }) => code === 'order_unbalanced'));
  t.end();
});
