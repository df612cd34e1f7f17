/** Ratios of p99: what a single pause of the machine does to them, and whether their intervals hold what they promise. */
import t from 'tap';
import { claimFloor, compareRuns } from '../../../src/measure/comparisons.js';
import { seededRandom, type Random } from '../../../src/measure/random.js';
import { pairedRatioInterval, probabilityWithin, type RatioInterval } from '../../../src/measure/statistics.js';
import { leastServerShare, pooledRatioInterval, type Times } from '../../../src/measure/tails.js';
import { lagging, normal, recorded, upTo } from '../../support/synthetic.js';
import { latencyWindow, planWith } from './build.js';
import type { Run } from '../../../src/model/report-schema.js';

function timesOf(values: readonly number[]): Times {
  const descending = Float64Array.from(values).sort().reverse();
  return { values: descending, counts: descending.map(() => 1), total: descending.length };
}

/** The value that 1% of them exceed, as the percentile of a window is defined. */
function p99(values: readonly number[]): number {
  return [...values].sort((x, y) => x - y)[Math.ceil(values.length * 0.99) - 1] ?? 0;
}

t.test('the ratio is that of the percentiles of all requests', (t) => {
  const a = [upTo(1_000, 3), upTo(1_500, 2), upTo(600, 5)];
  const b = [upTo(1_000, 1), upTo(1_000, 1.002), upTo(1_000, 1.001)];
  const found = pooledRatioInterval(a.map(timesOf), b.map(timesOf), 990, 0);
  t.ok(Math.abs((found?.ratio ?? 0) - p99(a.flat()) / p99(b.flat())) < 1e-9);
  // The jackknife by hand: the same with each pair left out.
  const all = Math.log(p99(a.flat()) / p99(b.flat()));
  const pseudo = [0, 1, 2].map((out) => {
    const rest = (side: number[][]): number[] => side.filter((_, trial) => trial !== out).flat();
    return 3 * all - 2 * Math.log(p99(rest(a)) / p99(rest(b)));
  });
  const center = pseudo.reduce((sum, value) => sum + value, 0) / 3;
  const squares = pseudo.reduce((sum, value) => sum + (value - center) ** 2, 0);
  t.ok(Math.abs((found?.standardError ?? 0) - Math.sqrt(squares / 2 / 3)) < 1e-9);
  t.end();
});

t.test('no pooled ratio', (t) => {
  const even = [upTo(1_000, 1), upTo(1_000, 1), upTo(1_000, 1)].map(timesOf);
  t.ok(pooledRatioInterval(even, even, 990, 0));
  t.equal(pooledRatioInterval(even.slice(1), even.slice(1), 990, 0), null, 'of two pairs');
  const slow = [upTo(1_000, 1), upTo(1_000, 1), upTo(1_000, 2)].map(timesOf);
  t.equal(pooledRatioInterval(slow, even, 990, 0), null, 'all slow requests come from one trial');
  const lost = even.map(({ values, counts, total }) => ({
    values: Float64Array.from([Infinity, ...values]),
    counts: Float64Array.from([20, ...counts]),
    total: total + 20,
  }));
  t.equal(pooledRatioInterval(lost, even, 990, 0), null, 'the percentile is among requests without an echo');
  t.end();
});

t.test('the degrees of freedom are fewer where some trials have most of the slow requests', (t) => {
  // Of 4,000 requests the slowest 40: from 20, 10, 5 and 5 of the trials.
  const trial = (slow: number): Times => timesOf([...upTo(1_000 - slow, 0.001), ...upTo(slow, 1).map((n) => 100 + n)]);
  const uneven = [20, 10, 5, 5].map(trial);
  const even = [10, 10, 10, 10].map(trial);
  t.equal(pooledRatioInterval(even, even, 990, 0.001)?.degreesOfFreedom, 3);
  const degrees = pooledRatioInterval(uneven, even, 990, 0.001)?.degreesOfFreedom ?? 0;
  t.ok(Math.abs(degrees - (40 ** 2 / (20 ** 2 + 10 ** 2 + 5 ** 2 + 5 ** 2) - 1)) < 1e-9, `${degrees}`);
  t.end();
});

t.test('the least share of the server holds however the late requests are spread', (t) => {
  const random = seededRandom(11);
  const shareOf = (responses: readonly number[], lags: readonly number[]): number | null =>
    leastServerShare(
      latencyWindow(0, { response_time_ns: recorded(responses), client: { own_lag_ns: recorded(lags) } }),
      990,
    );
  const near = (share: number | null, expected: number): boolean => Math.abs((share ?? 0) - expected) < 0.005;
  const even = upTo(1_000, 1_000);
  t.ok(near(shareOf(even, lagging(1_000, 20, 5_000, 1)), 985 / 990), 'all lags are small');
  t.ok(near(shareOf(even, lagging(1_000, 20, 500_000, 1)), 970 / 990), 'or the 2% that are late are the slowest');
  t.ok(near(shareOf(even, lagging(1_000, 1_000, 99_000)), 0.9), 'all requests are late');
  t.equal(shareOf(even, lagging(1_000, 1_000, 2_000_000)), 0);
  for (let round = 0; round < 20; round++) {
    // The lateness of each request is a part of its time; in half of the rounds the slowest are the late ones.
    const own = Array.from({ length: 1_000 }, () => Math.round(1e5 * Math.exp(normal(random)))).sort((x, y) => y - x);
    const lags = own.map((_, n) => Math.round((round % 2 === 0 ? n < 30 : random() < 0.03) ? 3e5 * random() : 100));
    const responses = own.map((time, n) => time + (lags[n] ?? 0));
    const share = shareOf(responses, lags) ?? 1;
    t.ok(share <= (p99(own) / p99(responses)) * 1.01, `${share} of ${p99(own) / p99(responses)}`);
    t.ok(share > 0.1);
  }
  t.end();
});

interface Machine {
  /** Pauses per second, and their mean length in ms (exponential). */
  readonly pauses: number;
  readonly lengthMs: number;
  /** Standard deviation of the logarithm of a whole trial. */
  readonly trialSpread: number;
  /** Of a request's. */
  readonly spread: number;
}

/** One second of 2,000 requests that take about `ms` each, on a machine that pauses. Descending. */
function simulatedWindow(random: Random, ms: number, machine: Machine): number[] {
  const level = ms * Math.exp(machine.trialSpread * normal(random));
  const times = Array.from({ length: 2_000 }, () => level * Math.exp(machine.spread * Math.abs(normal(random))));
  if (machine.pauses === 0) return times;
  const gap = (): number => (-1_000 / machine.pauses) * Math.log(1 - random());
  for (let start = gap(); start < 1_000; start += gap()) {
    const end = start - machine.lengthMs * Math.log(1 - random());
    for (let due = Math.ceil(start * 2); due < Math.min(2_000, end * 2); due++) {
      times[due] = (times[due] ?? 0) + end - due / 2;
    }
  }
  return times;
}

type Interval = Omit<RatioInterval, 'rangeLow' | 'rangeHigh'> | null;

/** How often comparisons of four trials claim a difference: by the pooled ratio where there is one, and by that of the trials alone. */
function claims(random: Random, rounds: number, ratio: number, machine: Machine): { used: number; paired: number } {
  const found = { used: 0, paired: 0 };
  for (let round = 0; round < rounds; round++) {
    const side = (ms: number): number[][] => Array.from({ length: 4 }, () => simulatedWindow(random, ms, machine));
    const [a, b] = [side(5 * ratio), side(5)];
    const paired = pairedRatioInterval(
      a.map((times, trial) => p99(times) / p99(b[trial] ?? [])),
      { resolution: 0.001 },
    );
    const pooled = pooledRatioInterval(a.map(timesOf), b.map(timesOf), 990, 0.001);
    const isClaimed = (interval: Interval): boolean =>
      interval !== null && (probabilityWithin(interval, claimFloor) ?? 1) <= 0.05;
    if (isClaimed(pooled ?? paired)) found.used += 1;
    if (isClaimed(paired)) found.paired += 1;
  }
  return found;
}

t.test('false claims stay below 5%, on machines of every kind', (t) => {
  const random = seededRandom(99);
  const rounds = 200;
  const machines: Record<string, Machine> = {
    'few pauses': { pauses: 0.3, lengthMs: 8, trialSpread: 0, spread: 0.01 },
    'many pauses': { pauses: 4, lengthMs: 8, trialSpread: 0, spread: 0.02 },
    'trials that differ': { pauses: 0.3, lengthMs: 5, trialSpread: 0.2, spread: 0.02 },
    'requests that differ': { pauses: 0, lengthMs: 1, trialSpread: 0.03, spread: 0.5 },
  };
  for (const [name, machine] of Object.entries(machines)) {
    const { used } = claims(random, rounds, 1, machine);
    // 200 rounds at 5% give more than 17 in 1% of the cases.
    t.ok(used <= 17, `${name}: ${used} of ${rounds}`);
  }
  t.end();
});

t.test('a difference of a fifth is shown in spite of rare pauses', (t) => {
  const machine = { pauses: 0.1, lengthMs: 8, trialSpread: 0, spread: 0.01 };
  const rounds = 200;
  const { used, paired } = claims(seededRandom(7), rounds, 1.2, machine);
  t.ok(used >= 0.93 * rounds, `${used} of ${rounds}`);
  t.ok(paired <= 0.88 * rounds, `and the trials alone show it in ${paired}`);
  t.end();
});

t.test('comparisons of p99 pool the histograms of the report', (t) => {
  const random = seededRandom(3);
  const run = (mode: string, ms: number, pausedTrial: number | null): Run => ({
    mode,
    backend: mode,
    clients: 1000,
    trials: [0, 1, 2, 3].map((index) => {
      const times = simulatedWindow(random, ms, { pauses: 0, lengthMs: 1, trialSpread: 0, spread: 0.01 });
      // A pause of 15 ms delays 30 of 2,000 requests.
      if (index === pausedTrial) for (let due = 0; due < 30; due++) times[due] = (times[due] ?? 0) + 15 - due / 2;
      const response_time_ns = recorded(times.map((time) => Math.round(time * 1e6)));
      return latencyWindow(index, { response_time_ns });
    }),
  });
  const plan = planWith({ phases: ['latency'] });
  const [a, b] = [run('iocp', 6, null), run('blocking', 5, 2)];
  const p99Of = (runs: Run[]) => compareRuns(runs, plan, []).find(({ metric }) => metric === 'response_time_p99');
  t.match(p99Of([b, a]), { pooled: true, verdict_code: 'higher', pairs: 4 });
  t.ok(Math.abs((p99Of([b, a])?.ratio ?? 0) - 1.2) < 0.01);
  const shortened = a.trials.map((window) =>
    window.state === 'completed' && window.response_time_ns !== null
      ? { ...window, response_time_ns: { ...window.response_time_ns, histogram: null } }
      : window,
  );
  const paired = p99Of([b, { ...a, trials: shortened }]);
  t.match(paired, { pooled: undefined, verdict_code: 'no_difference_shown' }, 'without a histogram, trial by trial');
  t.end();
});
