/** The table of metrics matches the report: every path leads to a figure, and every name is unique. */
import t from 'tap';
import {
  findMetric,
  metrics,
  preferredPhase,
  readMetric,
  requireMetric,
  trialValues,
} from '../../../src/model/metrics.js';
import { runValue, worstValue } from '../../../src/measure/run-values.js';
import type { Run, Window } from '../../../src/model/report-schema.js';
import { capacityWindow, failedWindow, latencyWindow, runWithP99, runWithRates } from '../measure/build.js';

t.test('every path leads to a figure of a completed window', (t) => {
  const unknownHere = new Set([
    'max_rate',
    'nonpaged_pool_bytes_per_connection',
    'server_work_us_per_request',
    'server_wait_ms_per_request',
  ]);
  for (const entry of metrics) {
    if (unknownHere.has(entry.name)) continue;
    const window = entry.phases[0] === 'latency' ? latencyWindow(0) : capacityWindow(0);
    window.requests.reconnects = 500;
    const times = window.service_time_ns;
    const tls = { count: 100, resumed: 0, per_second: 50, time_ns: times };
    window.connections.tls = tls;
    window.churn = { connections_per_second: 500, connect_time_ns: times, tls, first_echo_time_ns: times };
    t.type(readMetric(entry, window), 'number', `${entry.name} at ${entry.path}`);
  }
  t.equal(new Set(metrics.map((entry) => entry.name)).size, metrics.length);
  t.equal(new Set(metrics.map((entry) => entry.title)).size, metrics.length);
  t.end();
});

t.test('the primary metrics are the documented ones', (t) => {
  const primary = metrics.filter((entry) => entry.primary).map((entry) => entry.name);
  t.strictSame(primary, ['throughput', 'response_time_p99', 'server_cpu_us_per_request', 'max_rate']);
  t.end();
});

t.test('no percentile is compared in a closed loop', (t) => {
  for (const entry of metrics.filter(({ name }) => /_time_(p|max)/.test(name))) {
    t.notOk(entry.compared.includes('capacity'), entry.name);
  }
  t.ok(requireMetric('service_time_mean').compared.includes('capacity'));
  t.end();
});

t.test('values of a run', (t) => {
  const run = runWithRates('iocp', [100, 400, 200, 300]);
  t.equal(runValue(requireMetric('throughput'), run, 'capacity'), 250);
  t.equal(runValue(requireMetric('throughput'), run, 'latency'), null);
  t.equal(findMetric('nonsense'), undefined);
  t.throws(() => requireMetric('nonsense'), /nonsense/);
  const reconnecting = capacityWindow(0, { duration_ms: 2000 });
  reconnecting.requests.reconnects = 500;
  t.equal(readMetric(requireMetric('reconnects_per_second'), reconnecting), 250);
  t.end();
});

t.test('a trial above the timeout ranks above all others', (t) => {
  const entry = requireMetric('response_time_p99');
  const run = runWithP99('iocp', [1e6, 2e6, 3e6]);
  t.equal(runValue(entry, run, 'latency'), 2e6);
  const [first] = run.trials;
  if (first?.response_time_ns) Object.assign(first.response_time_ns, { p99: null, missing: { p99: 'timeout' } });
  t.equal(runValue(entry, run, 'latency'), 3e6);
  const broken = runWithP99('iocp', [1e6], { response_time_ns: { p99: null, missing: { p99: 'timeout' } } });
  t.equal(runValue(entry, broken, 'latency'), null);
  t.end();
});

t.test('counts: the worst of all windows, including broken ones', (t) => {
  const broken: Window = {
    ...failedWindow(capacityWindow(1), 'the server died'),
    errors: { total: 9, by_class: { reset: 9 }, samples: [] },
    connections: { ...capacityWindow(1).connections, made: 10 },
  };
  const run: Run = { mode: 'iocp', backend: 'iocp', clients: 1000, trials: [capacityWindow(0), broken] };
  t.equal(worstValue(requireMetric('errors'), run), 9);
  t.equal(worstValue(requireMetric('connections_made'), run), 10);
  t.equal(trialValues(requireMetric('throughput'), run, 'capacity').length, 1);
  t.equal(worstValue(requireMetric('errors'), { ...run, trials: [] }), null);
  t.end();
});

t.test('the phase that a gate uses', (t) => {
  const latencyOnly = runWithP99('iocp', [1e6]);
  t.equal(preferredPhase(requireMetric('server_cpu_us_per_request'), latencyOnly), 'latency');
  t.equal(preferredPhase(requireMetric('server_cpu_us_per_request'), runWithRates('iocp', [1])), 'capacity');
  t.equal(preferredPhase(requireMetric('service_time_p99'), runWithRates('iocp', [1])), 'capacity');
  t.equal(preferredPhase(requireMetric('response_time_p99'), runWithRates('iocp', [1])), 'latency');
  t.end();
});

t.test('the highest rate belongs to the run, not to a window', (t) => {
  const run: Run = {
    ...runWithRates('iocp', [1]),
    max_rate: [{ metric: 'response_time_p99', limit_ns: 1e7, rate_per_second: 123, steps: [] }],
  };
  t.equal(runValue(requireMetric('max_rate'), run, 'latency'), 123);
  t.end();
});
