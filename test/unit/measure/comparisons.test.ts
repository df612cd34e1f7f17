/** Ratios, bounds and verdicts, each on a rigged pair of runs. */
import t from 'tap';
import { compareRuns, noiseFloor, noiseOf } from '../../../src/measure/comparisons.js';
import { seededRandom } from '../../../src/measure/random.js';
import { normal, recorded, upTo } from '../../support/synthetic.js';
import type { Comparison, CompletedWindow, Noise, Plan, Run } from '../../../src/model/report-schema.js';
import type { SearchStep } from '../../../src/model/search-result.js';
import {
  latencyWindow,
  planWith,
  runWithMaxRates,
  runWithP99,
  runWithRates,
  soundPlan,
  times,
  withFailedTrial,
  type Changes,
} from './build.js';

function compared(
  metric: string,
  runs: readonly Run[],
  {
    plan = soundPlan,
    noise = [] as readonly Noise[],
    phase = 'capacity',
  }: { plan?: Plan; noise?: readonly Noise[]; phase?: string } = {},
): Comparison | undefined {
  return compareRuns(runs, plan, noise).find((entry) => entry.metric === metric && entry.phase === phase);
}

function throughput(
  blocking: readonly number[],
  iocp: readonly number[],
  options: { noise?: readonly Noise[]; ofA?: Changes<CompletedWindow>; ofB?: Changes<CompletedWindow> } = {},
): Comparison {
  const runs = [runWithRates('blocking', blocking, options.ofB), runWithRates('iocp', iocp, options.ofA)];
  const found = compared('throughput', runs, { noise: options.noise ?? [] });
  if (found === undefined) throw new Error('throughput is always compared');
  return found;
}

const stopped = { client: { stopped_ns: 1.5e9, stopped_longest_ns: 1.5e9 } } as const;
const saturated = { client: { saturated: true, saturated_by: 'busy' } } as const;

t.test('a difference, in words', (t) => {
  const found = throughput([50e3, 52e3, 51e3, 49e3], [95e3, 99e3, 96e3, 94e3]);
  t.match(found, { a: 'iocp', b: 'blocking', pairs: 4, bound: null, primary: true, verdict_code: 'higher' });
  t.equal(found.verdict, 'iocp answered 90% more requests per second than blocking (95% interval: 88% to 92% more)');
  t.match(throughput([100e3, 104e3, 102e3], [50e3, 52e3, 51e3]), { verdict_code: 'lower' });
  t.end();
});

t.test('trials are paired: what drifts between them cancels', (t) => {
  const found = throughput([100e3, 50e3, 20e3, 80e3], [121e3, 60e3, 24e3, 96e3]);
  t.equal(found.verdict_code, 'higher');
  t.ok((found.ci_low ?? 0) > 1.18 && (found.ci_high ?? 9) < 1.22);
  t.end();
});

t.test('no difference shown', (t) => {
  const wide = throughput([100e3, 104e3, 98e3, 101e3], [103e3, 99e3, 100e3, 104e3]);
  t.equal(wide.verdict_code, 'no_difference_shown');
  t.match(wide.verdict, /^no difference shown in throughput between iocp and blocking \(95% interval: 0\.9/);
  t.end();
});

t.test('a difference below 2% is not claimed, however narrow the interval', (t) => {
  const found = throughput([100_000, 100_010, 100_005], [101_500, 101_510, 101_505]);
  t.ok((found.ci_low ?? 0) > 1.01);
  t.equal(found.verdict_code, 'no_difference_shown');
  t.match(found.verdict, /no claim is made below 2\.0%/);
  t.end();
});

t.test('nor one below the measured noise floor', (t) => {
  const noise: Noise[] = [{ metric: 'throughput', clients: 1000, phase: 'capacity', fraction: 0.1 }];
  const found = throughput([100e3, 100.1e3, 100.2e3], [105e3, 105.1e3, 105.2e3], { noise });
  t.equal(found.verdict_code, 'no_difference_shown');
  t.match(found.verdict, /the noise floor is 10%/);
  t.equal(throughput([100e3, 100.1e3, 100.2e3], [105e3, 105.1e3, 105.2e3]).verdict_code, 'higher');
  t.end();
});

t.test('two trials: the range; one: nothing', (t) => {
  const two = throughput([50e3, 50e3], [90e3, 100e3]);
  t.match(two, { ci_low: null, ci_high: null, range_low: 1.8, range_high: 2, pairs: 2, verdict_code: 'not_judged' });
  t.equal(two.verdict, 'iocp had 1.80x to 2.00x the throughput of blocking; two trials give no interval');
  const one = throughput([50e3], [100e3]);
  t.match(one, { ratio: null, ci_low: null, range_low: null, pairs: 1, verdict_code: 'not_judged' });
  t.match(one.verdict, /^one trial/);
  t.end();
});

t.test('the load generator was the limit of the faster mode: at least', (t) => {
  const found = throughput([50e3, 52e3, 51e3], [95e3, 99e3, 96e3], { ofA: saturated });
  t.match(found, { bound: 'at_least', verdict_code: 'higher' });
  t.match(
    found.verdict,
    /^iocp answered at least \d+% more requests per second than blocking .*: the load generator was the limit$/,
  );
  t.match(throughput([95e3, 99e3, 96e3], [50e3, 52e3, 51e3], { ofB: saturated }), {
    bound: 'at_most',
    verdict_code: 'lower',
  });
  t.end();
});

t.test('a bound on the wrong side, or on both, is not judged', (t) => {
  t.match(
    throughput([95e3, 99e3, 96e3], [50e3, 52e3, 51e3], { ofB: stopped }),
    { verdict_code: 'not_judged', verdict: /the load generator did not run for a part of a window/ },
    'a stopped client gives no verdict',
  );
  const slower = throughput([95e3, 99e3, 96e3], [50e3, 52e3, 51e3], { ofA: saturated });
  t.match(slower, { bound: 'at_least', verdict_code: 'not_judged' });
  t.match(slower.verdict, /see server CPU per request/);
  const faster = throughput([50e3, 52e3, 51e3], [95e3, 99e3, 96e3], { ofB: saturated });
  t.match(faster, { bound: 'at_most', verdict_code: 'not_judged' });
  t.equal(throughput([100e3, 101e3, 99e3], [100e3, 99e3, 101e3], { ofA: saturated }).verdict_code, 'not_judged');
  const both = throughput([50e3, 52e3, 51e3], [95e3, 99e3, 96e3], { ofA: saturated, ofB: saturated });
  t.match(both, { bound: null, verdict_code: 'not_judged' });
  t.match(both.verdict, /the load generator was the limit/);
  t.end();
});

t.test('a highest rate that the client limited is a bound', (t) => {
  const of = (
    a: readonly number[],
    b: readonly number[],
    clientOfA: SearchStep['limited_by'],
    clientOfB: SearchStep['limited_by'],
  ): Comparison | undefined => {
    const runs = [
      runWithMaxRates('blocking', b, { client: clientOfB }),
      runWithMaxRates('iocp', a, { client: clientOfA }),
    ];
    return compared('max_rate', runs, { phase: 'latency' });
  };
  const fast = [96e3, 99e3, 95e3];
  const slow = [50e3, 52e3, 51e3];
  t.match(of(fast, slow, null, null), {
    bound: null,
    verdict_code: 'higher',
    verdict: /^iocp sustained \d+% more requests/,
  });
  for (const client of ['client_saturated', 'client_behind_schedule', 'client_stopped'] as const) {
    t.match(of(fast, slow, client, null), {
      bound: 'at_least',
      verdict_code: 'higher',
      verdict: /^iocp sustained at least /,
    });
  }
  t.match(of(slow, fast, 'client_saturated', null), {
    bound: 'at_least',
    verdict_code: 'not_judged',
    verdict: /: the load generator was the limit; /,
  });
  t.match(of(slow, fast, null, 'client_saturated'), { bound: 'at_most', verdict_code: 'lower' });
  t.match(of(fast, slow, 'client_saturated', 'client_behind_schedule'), {
    bound: null,
    verdict_code: 'not_judged',
    verdict: /but the load generator was the limit/,
  });
  const older = (run: Run): Run => ({
    ...run,
    max_rate: (run.max_rate ?? []).map(({ steps, ...found }) => ({
      ...found,
      steps: steps.map(({ rate_per_second, value_ns, carried }) => ({ rate_per_second, value_ns, carried })),
    })),
  });
  const runs = [older(runWithMaxRates('blocking', slow)), older(runWithMaxRates('iocp', fast))];
  t.match(compared('max_rate', runs, { phase: 'latency' }), {
    verdict_code: 'not_judged',
    verdict: /the report does not say whether the load generator was the limit/,
  });
  t.end();
});

t.test('a highest rate is known to its resolution alone', (t) => {
  const of = (a: number, b: number): Comparison | undefined =>
    compared('max_rate', [runWithMaxRates('blocking', [b, b, b, b]), runWithMaxRates('iocp', [a, a, a, a])], {
      phase: 'latency',
    });
  const step = of(1030, 1000);
  t.match(step, { verdict_code: 'no_difference_shown' }, 'one step of the search is no difference');
  t.ok((step?.ci_low ?? 9) < 1.02 && (step?.ci_high ?? 0) > 1.04, 'and four equal answers have an error');
  t.match(of(1048, 1000), {
    verdict_code: 'no_difference_shown',
    verdict: /the searches were no finer than 3\.0%/,
  });
  t.match(of(2000, 1000), { verdict_code: 'higher' });
  t.end();
});

t.test('figures that agree to the last digit have an interval', (t) => {
  const found = throughput([100e3, 100e3, 100e3], [102_050, 102_050, 102_050]);
  t.ok((found.ci_low ?? 9) < 1.0205 && (found.ci_high ?? 0) > 1.0205);
  t.equal(found.verdict_code, 'no_difference_shown');
  t.end();
});

t.test('searches are paired by the trial, not by their place', (t) => {
  const a = runWithMaxRates('iocp', [200e3, 400e3, 800e3]);
  const b = runWithMaxRates('blocking', [100e3, 200e3, 400e3]);
  a.max_rate?.shift();
  t.match(compared('max_rate', [b, a], { phase: 'latency' }), { pairs: 2, range_low: 2, range_high: 2 });
  t.end();
});

t.test('server CPU per request is judged whatever the client did', (t) => {
  const cpu = (values: readonly number[], mode: string): Run => {
    const run = runWithRates(
      mode,
      values.map(() => 100e3),
      saturated,
    );
    run.trials.forEach((window, index) => {
      if (window.state === 'completed' && window.server) window.server.cpu_us_per_request = values[index] ?? null;
    });
    return run;
  };
  const found = compared('server_cpu_us_per_request', [cpu([10, 10.1, 9.9], 'blocking'), cpu([5, 5.1, 4.9], 'iocp')]);
  t.match(found, {
    verdict_code: 'lower',
    bound: null,
    verdict: /^iocp used 50% less server CPU per request than blocking/,
  });
  t.end();
});

t.test('percentiles have no ratio in the capacity phase', (t) => {
  const runs = [runWithRates('blocking', [1e3, 1e3, 1e3]), runWithRates('iocp', [2e3, 2e3, 2e3])];
  const all = compareRuns(runs, soundPlan, []);
  t.notOk(all.some((entry) => entry.phase === 'capacity' && /_time_(p|max)/.test(entry.metric)));
  t.ok(all.some((entry) => entry.phase === 'capacity' && entry.metric === 'service_time_mean'));
  t.end();
});

t.test('latency is compared at equal offered load alone', (t) => {
  const a = runWithP99('iocp', [1e6, 1.1e6, 0.9e6]);
  const b = runWithP99('blocking', [2e6, 2.2e6, 1.8e6]);
  t.match(compared('response_time_p99', [b, a], { phase: 'latency' }), { verdict_code: 'lower', pairs: 3 });
  const slower = runWithP99('blocking', [2e6, 2.2e6, 1.8e6], {
    requests: { ...latencyWindow(0).requests, offered_per_second: 40_000 },
  });
  t.match(compared('response_time_p99', [slower, a], { phase: 'latency' }), {
    pairs: 0,
    ratio: null,
    verdict_code: 'not_judged',
    verdict: /offered different rates/,
  });
  t.end();
});

t.test('latency is not judged where the client was late or the limit', (t) => {
  const late = { client: { send_lag_ns: times(900_000) }, service_time_ns: times(1_000) } as const;
  const a = runWithP99('iocp', [1e6, 1.1e6, 0.9e6]);
  const of = (changes: Changes<CompletedWindow>): Comparison | undefined =>
    compared('response_time_p99', [mergedP99(changes), a], { phase: 'latency' });
  t.match(of(late), { verdict_code: 'not_judged', verdict: /behind its schedule/ });
  t.match(of(saturated), { verdict_code: 'not_judged', verdict: /load generator was the limit/ });
  t.match(of({}), { verdict_code: 'lower' });
  const limited = runWithP99('iocp', [1e6, 1.1e6, 0.9e6], {
    client: { ...latencyWindow(0).client, ...saturated.client },
  });
  t.match(compared('response_time_p99', [mergedP99({}), limited], { phase: 'latency' }), {
    verdict_code: 'not_judged',
    bound: null,
  });
  t.end();

  function mergedP99(changes: Changes<CompletedWindow>): Run {
    const trials = [2e6, 2.2e6, 1.8e6].map((p99, index) =>
      latencyWindow(index, { response_time_ns: times(p99), ...changes }),
    );
    return { mode: 'blocking', backend: 'blocking', clients: 1000, trials };
  }
});

t.test('a p99 of all requests is judged unless the client was late at the p99 of all', (t) => {
  const run = (mode: string, scale: number, lateTrials: number): Run => {
    const trials = [0, 1, 2, 3].map((index) => {
      // Late by half of the p99, in 2% of the requests.
      const late = index < lateTrials ? 20 : 0;
      const lags = Array.from({ length: 1000 }, (_, n) => (n < late ? 500 * scale : 100));
      return latencyWindow(index, {
        response_time_ns: recorded(upTo(1000, scale)),
        client: { own_lag_ns: recorded(lags), send_lag_ns: recorded(lags) },
      });
    });
    return { mode, backend: mode, clients: 1000, trials };
  };
  const of = (late: number): Comparison | undefined =>
    compared('response_time_p99', [run('blocking', 2e4, 0), run('iocp', 1e4, late)], { phase: 'latency' });
  t.match(of(0), { pooled: true, verdict_code: 'lower' });
  t.match(of(1), { pooled: true, verdict_code: 'lower' }, '20 of 4,000 requests are below 1%');
  t.match(of(3), { pooled: true, verdict_code: 'not_judged', verdict: /behind its schedule/ });
  t.end();
});

t.test("where trials are compared one by one, a late one widens the interval by what may be the client's", (t) => {
  // The slowest requests of iocp come from the last trial, so its p99s are compared one by one.
  const run = (mode: string, scales: readonly number[], lateTrial: number | null): Run => {
    const trials = scales.map((scale, index) => {
      const lags = Array.from({ length: 1000 }, (_, n) => (index === lateTrial && n < 20 ? 400 * scale : 100));
      return latencyWindow(index, {
        response_time_ns: recorded(upTo(1000, scale)),
        client: { own_lag_ns: recorded(lags), send_lag_ns: recorded(lags) },
      });
    });
    return { mode, backend: mode, clients: 1000, trials };
  };
  const slow = [100e3, 101e3, 99e3, 100e3];
  const fast = [1e3, 1.1e3, 1e3, 5e3];
  const of = (lateSlow: number | null, lateFast: number | null): Comparison => {
    const runs = [run('blocking', slow, lateSlow), run('iocp', fast, lateFast)];
    const found = compared('response_time_p99', runs, { phase: 'latency' });
    if (found === undefined) throw new Error('p99 is always compared');
    t.equal(found.pooled, undefined);
    return found;
  };
  const sound = of(null, null);
  t.equal(sound.verdict_code, 'lower');
  const [slowLate, fastLate] = [of(1, null), of(null, 1)];
  t.match(slowLate, { verdict_code: 'lower', ratio: sound.ratio, ci_low: sound.ci_low });
  t.match(fastLate, { verdict_code: 'lower', ratio: sound.ratio, ci_high: sound.ci_high });
  // Of one of four trials, at least 970 of 990 are the server's: see tails.test.ts.
  const share = (970 / 990) ** (1 / 4);
  t.ok(Math.abs((slowLate.ci_high ?? 0) / ((sound.ci_high ?? 1) / share) - 1) < 0.002);
  t.ok(Math.abs((fastLate.ci_low ?? 0) / ((sound.ci_low ?? 1) * share) - 1) < 0.002);
  t.end();
});

t.test('trials beyond the timeout are not dropped in silence', (t) => {
  const a = runWithP99('iocp', [1e6, 1.1e6, 0.9e6, 1e6]);
  const b = runWithP99('blocking', [2e6, 2.2e6, 1.8e6, 2e6]);
  const window = a.trials[3];
  if (window?.response_time_ns) Object.assign(window.response_time_ns, { p99: null, missing: { p99: 'timeout' } });
  const found = compared('response_time_p99', [b, a], { phase: 'latency' });
  t.match(found, { pairs: 3, verdict_code: 'not_judged', verdict: /1 trials in which it was beyond the timeout/ });
  t.end();
});

t.test('fewer connections on one side are said', (t) => {
  const found = throughput([50e3, 52e3, 51e3], [95e3, 99e3, 96e3], { ofB: { connections: { made: 200 } } });
  t.match(found.verdict, /\(blocking with 200 connections, the other with 1,000\)$/);
  t.end();
});

t.test('figures that a side does not have', (t) => {
  const foreign = runWithRates('mine', [1e3, 1e3, 1e3]);
  for (const window of foreign.trials) if (window.state === 'completed') window.server = null;
  const plan = planWith({
    modes: [
      { mode: 'blocking', backend: 'blocking', command: null },
      { mode: 'mine', backend: 'command', command: './mine' },
    ],
  });
  const runs = [runWithRates('blocking', [1e3, 1e3, 1e3]), foreign];
  t.match(compared('server_cpu_us_per_request', runs, { plan }), { pairs: 0, ratio: null, verdict: /is not known/ });
  t.equal(compared('server_threads', runs, { plan }), undefined, 'only primary metrics are missed');
  t.end();
});

t.test('every other mode against the first, per number of clients', (t) => {
  const plan = planWith({
    clients: [1000, 2000],
    modes: ['blocking', 'iocp', 'node'].map((mode) => ({ mode, backend: mode, command: null })),
  });
  const runs = [1000, 2000].flatMap((clients) =>
    ['node', 'blocking', 'iocp'].map((mode) => ({ ...runWithRates(mode, [1e3, 1.1e3, 1e3]), clients })),
  );
  const pairs = compareRuns(runs, plan, [])
    .filter((entry) => entry.metric === 'throughput')
    .map(({ a, b, clients }) => `${a}/${b}@${clients}`);
  t.strictSame(pairs.sort(), ['iocp/blocking@1000', 'iocp/blocking@2000', 'node/blocking@1000', 'node/blocking@2000']);
  t.strictSame(compareRuns([], plan, []), []);
  t.end();
});

t.test('the noise floor of a mode against itself', (t) => {
  const runs = [runWithRates('iocp', [100e3, 102e3, 98e3, 101e3]), runWithRates('iocp', [101e3, 99e3, 100e3, 102e3])];
  const noise = noiseFloor(runs, { phases: ['capacity'] });
  const floor = noiseOf('throughput', 'capacity', { clients: 1000 }, noise) ?? 0;
  t.ok(floor > 0.02 && floor < 0.1, `${floor}`);
  t.equal(noiseOf('throughput', 'capacity', { clients: 9999 }, noise), floor, 'another size: the largest known');
  t.equal(noiseOf('throughput', 'latency', { clients: 1000 }, noise), null);
  t.equal(
    throughput([100e3, 102e3, 98e3, 101e3], [101e3, 99e3, 100e3, 102e3], { noise }).verdict_code,
    'no_difference_shown',
  );
  t.end();
});

t.test('a mode against itself is rarely called different', (t) => {
  const random = seededRandom(31);
  const draw = (): number[] => Array.from({ length: 4 }, () => 100e3 * Math.exp(0.03 * normal(random)));
  let claims = 0;
  for (let round = 0; round < 500; round++) {
    if (throughput(draw(), draw()).verdict_code !== 'no_difference_shown') claims += 1;
  }
  t.ok(claims <= 25, `${claims} of 500: at most the 5% that the interval allows`);
  t.end();
});

t.test('of many comparisons without a difference, hardly ever one is claimed', (t) => {
  const random = seededRandom(77);
  const sizes = Array.from({ length: 20 }, (_, index) => index + 1);
  const plan = planWith({ clients: sizes, phases: ['capacity'] });
  const draw = (): number[] => Array.from({ length: 4 }, () => 100e3 * Math.exp(0.3 * normal(random)));
  let withClaims = 0;
  let beyondAlone = 0;
  for (let round = 0; round < 100; round++) {
    const runs = sizes.flatMap((clients) =>
      ['blocking', 'iocp'].map((mode) => ({ ...runWithRates(mode, draw()), clients })),
    );
    const found = compareRuns(runs, plan, []).filter(({ metric }) => metric === 'throughput');
    if (found.some(({ verdict_code: code }) => code !== 'no_difference_shown')) withClaims += 1;
    if (found.some(({ p_value: p }) => (p ?? 1) < 0.05)) beyondAlone += 1;
  }
  t.ok(withClaims <= 10, `${withClaims} of 100 runs claim a difference that is none`);
  t.ok(beyondAlone >= 40, `without the correction ${beyondAlone} would`);
  t.end();
});

t.test('a claim that does not survive the correction says so', (t) => {
  const sizes = Array.from({ length: 20 }, (_, index) => index + 1);
  const plan = planWith({ clients: sizes, phases: ['capacity'] });
  const runs = sizes.flatMap((clients) => [
    { ...runWithRates('blocking', [100e3, 103e3, 98e3, 101e3]), clients },
    { ...runWithRates('iocp', clients === 1 ? [113e3, 115e3, 107e3, 114e3] : [101e3, 100e3, 99e3, 102e3]), clients },
  ]);
  const first = compareRuns(runs, plan, []).find(({ metric, clients }) => metric === 'throughput' && clients === 1);
  t.match(first, {
    verdict_code: 'no_difference_shown',
    verdict:
      /^no difference shown: iocp answered 12% more requests .* one of 40 such ratios may be this far from 1 by chance$/,
  });
  t.ok((first?.p_value ?? 1) < 0.05);
  const alone = compareRuns(runs.slice(0, 2), planWith({ clients: [1], phases: ['capacity'] }), []);
  t.match(
    alone.find(({ metric }) => metric === 'throughput'),
    { verdict_code: 'higher' },
    'with two ratios in all it does',
  );
  t.end();
});

t.test('a mode is not judged by the trials that did not fail', (t) => {
  const slow = runWithRates('blocking', [50e3, 52e3, 51e3, 49e3, 50e3]);
  const fast = runWithRates('iocp', [95e3, 99e3, 96e3, 94e3, 95e3]);
  t.match(compared('throughput', [slow, fast]), { verdict_code: 'higher', pairs: 5 });
  for (const runs of [
    [slow, withFailedTrial(fast, 2)],
    [withFailedTrial(slow, 2), fast],
  ]) {
    t.match(compared('throughput', runs), {
      verdict_code: 'not_judged',
      p_value: null,
      pairs: 4,
      verdict: /more requests per second than blocking .*, without 1 trial that failed$/,
    });
  }
  t.match(compared('throughput', [withFailedTrial(slow, 1), withFailedTrial(fast, 2)]), {
    verdict: /without 2 trials that failed$/,
  });
  const none = runWithRates('iocp', [95e3, 99e3, 0, 94e3, 95e3]);
  t.match(compared('throughput', [slow, none]), { verdict_code: 'not_judged' }, 'nor with one that answered nothing');
  const searched = runWithMaxRates('iocp', [2e3, 2e3, 2e3, 2e3]);
  const [first] = searched.max_rate ?? [];
  if (first !== undefined) Object.assign(first, { rate_per_second: null, steps: [], ended_early: 'it died' });
  t.match(compared('max_rate', [runWithMaxRates('blocking', [1e3, 1e3, 1e3, 1e3]), searched], { phase: 'latency' }), {
    verdict_code: 'not_judged',
    verdict: /without 1 trial that failed$/,
  });
  t.end();
});

t.test('a capacity window that failed took the latency window with it', (t) => {
  const fast = runWithP99('iocp', [1e6, 1.1e6, 0.9e6, 1e6]);
  const slow = runWithP99('blocking', [2e6, 2.2e6, 1.8e6, 2e6]);
  const failed = withFailedTrial(fast, 3);
  const window = failed.trials.at(-1);
  if (window !== undefined) window.phase = 'capacity';
  t.match(compared('response_time_p99', [slow, failed], { phase: 'latency' }), {
    verdict_code: 'not_judged',
    verdict: /without 1 trial that failed$/,
  });
  t.end();
});

t.test('an unknown figure of one trial is said, and does not hide the others', (t) => {
  const slow = runWithRates('blocking', [50e3, 52e3, 51e3, 49e3]);
  const fast = runWithRates('iocp', [95e3, 99e3, 96e3, 94e3]);
  for (const window of fast.trials)
    if (window.state === 'completed' && window.server) window.server.cpu_us_per_request = 5;
  const [first] = fast.trials;
  if (first?.state === 'completed') first.server = null;
  t.match(compared('server_cpu_us_per_request', [slow, fast]), {
    verdict_code: 'lower',
    verdict: /\(known in 3 of 4 trials\)$/,
  });
  t.end();
});
