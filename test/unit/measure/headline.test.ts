/** The line above the table: the comparison that answers the question. */
import t from 'tap';
import { compareRuns } from '../../../src/measure/comparisons.js';
import { headlines } from '../../../src/measure/headline.js';
import type { CompletedWindow, Run } from '../../../src/model/report-schema.js';
import { planWith, runWithMaxRates, runWithP99, runWithRates, soundPlan, type Changes } from './build.js';

const saturated: Changes<CompletedWindow> = { client: { saturated: true, saturated_by: 'busy' } };

function withCpu(run: Run, cpuUs: number): Run {
  for (const window of run.trials) {
    if (window.state === 'completed' && window.server) window.server.cpu_us_per_request = cpuUs + window.index / 100;
  }
  return run;
}

function headlineOf(runs: Run[], plan = soundPlan): string {
  return headlines(compareRuns(runs, plan, []))
    .map(({ metric, phase }) => `${metric} ${phase}`)
    .join();
}

t.test('throughput, where the servers were the limit', (t) => {
  const runs = [runWithRates('blocking', [50e3, 51e3, 50e3]), runWithRates('iocp', [100e3, 101e3, 99e3])];
  t.equal(headlineOf(runs), 'throughput capacity');
  t.end();
});

t.test('"no difference shown" is an answer', (t) => {
  const runs = [runWithRates('blocking', [50e3, 51e3, 50e3]), runWithRates('iocp', [51e3, 50e3, 50e3])];
  t.equal(headlineOf(runs), 'throughput capacity');
  t.end();
});

t.test('server CPU per request, where the load generator was the limit of both', (t) => {
  const runs = [
    withCpu(runWithRates('blocking', [50e3, 51e3, 50e3], saturated), 10),
    withCpu(runWithRates('iocp', [52e3, 51e3, 50e3], saturated), 5),
  ];
  t.equal(headlineOf(runs), 'server_cpu_us_per_request capacity');
  t.end();
});

t.test('response time, without a capacity phase', (t) => {
  const runs = [runWithP99('blocking', [2e6, 2.1e6, 1.9e6]), runWithP99('iocp', [1e6, 1.1e6, 0.9e6])];
  t.equal(headlineOf(runs, planWith({ phases: ['latency'] })), 'response_time_p99 latency');
  t.end();
});

t.test('the highest rate, where it was searched for', (t) => {
  const found = (run: Run, rates: number[]): Run => {
    const { max_rate } = runWithMaxRates(run.mode, rates);
    return { ...run, ...(max_rate === undefined ? {} : { max_rate }) };
  };
  const runs = [
    found(runWithRates('blocking', [50e3, 51e3, 50e3]), [30e3, 31e3, 30e3]),
    found(runWithRates('iocp', [100e3, 101e3, 99e3]), [60e3, 61e3, 60e3]),
  ];
  t.equal(headlineOf(runs), 'max_rate latency');
  t.end();
});

t.test('with one trial: that there is none', (t) => {
  const plan = planWith({ trials: 1 });
  const [only] = headlines(compareRuns([runWithRates('blocking', [1]), runWithRates('iocp', [2])], plan, []));
  t.match(only, { metric: 'throughput', verdict: /^one trial/ });
  t.strictSame(headlines([]), []);
  t.end();
});
