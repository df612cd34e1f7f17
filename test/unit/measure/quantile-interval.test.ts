/** Intervals of percentiles: exact ranks, and the share of them that hold the true percentile. */
import jstat from 'jstat';
import t from 'tap';
import { quantileRanks } from '../../../src/measure/quantile-interval.js';
import { distribution } from '../../../src/measure/histogram.js';
import { seededRandom } from '../../../src/measure/random.js';
import { histogramOf } from '../../support/synthetic.js';

t.test('ranks as published', (t) => {
  // The median of n samples: tables of the sign test, such as W. J. Conover, "Practical Nonparametric Statistics".
  t.strictSame(quantileRanks(10, 0.5), { low: 2, high: 9 });
  t.strictSame(quantileRanks(20, 0.5), { low: 6, high: 15 });
  t.strictSame(quantileRanks(100, 0.5), { low: 40, high: 61 });
  t.strictSame(quantileRanks(5, 0.5), { low: null, high: null }, 'of five samples the extremes hold only 93.75%');
  t.end();
});

t.test('each end has at most half of the error, and the next rank has more', (t) => {
  const { binomial } = jstat.jStat;
  for (const count of [1, 7, 50, 299, 1000, 2000]) {
    for (const p of [0.5, 0.9, 0.99, 0.999]) {
      const { low, high } = quantileRanks(count, p);
      // The true quantile is below the sample of rank `low` if fewer than that many samples are below it.
      const errorLow = low === null ? 0 : binomial.cdf(low - 1, count, p);
      t.ok(errorLow <= 0.025, `${count} samples, ${p}: below ${low}`);
      t.ok(binomial.cdf(low ?? 0, count, p) > 0.025, `${count} samples, ${p}: a rank higher is too high`);
      const errorHigh = high === null ? 0 : 1 - binomial.cdf(high - 1, count, p);
      t.ok(errorHigh <= 0.025 + 1e-12, `${count} samples, ${p}: above ${high}`);
      t.ok(
        1 - binomial.cdf((high ?? count + 1) - 2, count, p) > 0.025,
        `${count} samples, ${p}: a rank lower is too low`,
      );
    }
  }
  t.end();
});

t.test('a thousand million samples', (t) => {
  const { low, high } = quantileRanks(1e9, 0.99);
  // The normal approximation is exact to a few ranks here.
  const halfWidth = 1.959964 * Math.sqrt(1e9 * 0.99 * 0.01);
  t.ok(Math.abs((low ?? 0) - (0.99e9 - halfWidth)) < 5, `${low}`);
  t.ok(Math.abs((high ?? 0) - (0.99e9 + 1 + halfWidth)) < 5, `${high}`);
  t.end();
});

t.test('95% of the intervals hold the true percentile', (t) => {
  const random = seededRandom(6);
  const draws = 1_000;
  const truth = { p50: Math.log(2), p90: Math.log(10), p99: Math.log(100) };
  const covered = { p50: 0, p90: 0, p99: 0 };
  for (let draw = 0; draw < draws; draw++) {
    // Exponential with a mean of 1 ms, in ns.
    const values = Array.from({ length: 1_200 }, () => Math.max(1, Math.round(-1e6 * Math.log(1 - random()))));
    const { intervals = {} } = distribution([histogramOf(values)], 0);
    for (const name of ['p50', 'p90', 'p99'] as const) {
      const { low = null, high = null } = intervals[name] ?? {};
      if (low !== null && high !== null && low <= truth[name] * 1e6 && truth[name] * 1e6 <= high) covered[name] += 1;
    }
  }
  for (const [name, count] of Object.entries(covered)) {
    t.ok(count >= 0.935 * draws && count <= 0.985 * draws, `${name}: ${count} of ${draws}`);
  }
  t.end();
});

t.test('the interval takes in the buckets of both ends', (t) => {
  // 3000 and 3001 ns share a bucket of 2 ns; every other value is far away.
  const values = Array.from({ length: 1_000 }, (_, rank) => (rank < 400 ? 2_000 : rank < 600 ? 3_001 : 9_000));
  const { p50, intervals } = distribution([histogramOf(values)], 0);
  t.equal(p50, 3_001);
  t.strictSame(intervals?.p50, { low: 3_000, high: 3_001 });
  t.end();
});

t.test('an end is null where no recorded value is one', (t) => {
  const values = Array.from({ length: 990 }, (_, rank) => 1_000_000 + rank * 1_000);
  const lost = distribution([histogramOf(values)], 10);
  t.not(lost.p99, null);
  t.equal(lost.intervals?.p99?.high, null, 'it is among the requests without an echo');
  t.ok((lost.intervals?.p99?.low ?? 0) < (lost.p99 ?? 0));
  t.strictSame(Object.keys(lost.intervals ?? {}), ['p50', 'p90', 'p99'], 'of the known percentiles alone');
  t.end();
});
