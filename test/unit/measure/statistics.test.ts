/** Against published values, known closed forms and seeded synthetic data. */
import t from 'tap';
import { seededRandom } from '../../../src/measure/random.js';
import {
  geometricMean,
  isSteady,
  jainIndex,
  median,
  holmRejections,
  pairedRatioInterval,
  probabilityWithin,
  quantile,
  studentTQuantile,
  trend,
  unpairedRatioInterval,
} from '../../../src/measure/statistics.js';
import { intervalCoverage, normal } from '../../support/synthetic.js';

t.test("quantiles of Student's t as published", (t) => {
  // NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.6.7.2, "Critical Values of the Student's t Distribution".
  const table: [degreesOfFreedom: number, t90: number, t95: number, t975: number, t99: number, t995: number][] = [
    [1, 3.078, 6.314, 12.706, 31.821, 63.657],
    [2, 1.886, 2.92, 4.303, 6.965, 9.925],
    [3, 1.638, 2.353, 3.182, 4.541, 5.841],
    [4, 1.533, 2.132, 2.776, 3.747, 4.604],
    [7, 1.415, 1.895, 2.365, 2.998, 3.499],
    [10, 1.372, 1.812, 2.228, 2.764, 3.169],
    [30, 1.31, 1.697, 2.042, 2.457, 2.75],
    [100, 1.29, 1.66, 1.984, 2.364, 2.626],
  ];
  for (const [df, ...row] of table) {
    [0.9, 0.95, 0.975, 0.99, 0.995].forEach((p, column) => {
      t.equal(studentTQuantile(p, df).toFixed(3), (row[column] ?? 0).toFixed(3), `t(${p}, ${df})`);
    });
  }
  t.end();
});

t.test('quantiles and medians as R has them (type 7)', (t) => {
  // R: quantile(c(1, 2, 4, 8, 16), c(0, .1, .25, .5, .9, 1)) gives 1.0 1.4 2.0 4.0 12.8 16.0
  const values = [16, 1, 8, 2, 4];
  const expected = [1, 1.4, 2, 4, 12.8, 16];
  [0, 0.1, 0.25, 0.5, 0.9, 1].forEach((p, index) => {
    t.ok(Math.abs((quantile(values, p) ?? NaN) - (expected[index] ?? 0)) < 1e-12, `at ${p}`);
  });
  t.equal(median([3, 1]), 2);
  t.equal(median([]), null);
  t.end();
});

t.test('geometric mean', (t) => {
  t.ok(Math.abs((geometricMean([2, 8]) ?? 0) - 4) < 1e-12);
  t.equal(geometricMean([]), null);
  t.equal(geometricMean([1, 0]), null);
  t.equal(geometricMean([1, -1]), null);
  t.end();
});

t.test("the paired interval is Student's on the logs", (t) => {
  // By hand: logs 0, ln 2, ln 4 have mean ln 2 and deviation ln 2; half width 4.30265 x ln 2 / sqrt 3 = 1.72192.
  const interval = pairedRatioInterval([1, 2, 4]);
  t.ok(interval);
  t.ok(Math.abs((interval?.ratio ?? 0) - 2) < 1e-12);
  t.ok(Math.abs((interval?.high ?? 0) / 2 - Math.exp(1.72192)) < 1e-3);
  t.ok(Math.abs(2 / (interval?.low ?? 1) - Math.exp(1.72192)) < 1e-3);
  t.match(interval, { rangeLow: 1, rangeHigh: 4 });
  t.match(pairedRatioInterval([1, 2]), { low: null, high: null, rangeLow: 1, rangeHigh: 2 });
  t.equal(pairedRatioInterval([]), null);
  t.end();
});

t.test('the paired interval turns over with the ratio', (t) => {
  const random = seededRandom(1);
  for (let round = 0; round < 50; round++) {
    const ratios = Array.from({ length: 5 }, () => Math.exp(normal(random)));
    const there = pairedRatioInterval(ratios);
    const back = pairedRatioInterval(ratios.map((ratio) => 1 / ratio));
    t.ok(Math.abs((there?.low ?? 0) * (back?.high ?? 0) - 1) < 1e-9);
  }
  t.end();
});

t.test("Welch's interval against R", (t) => {
  // Equal variances and sizes: df = 4, standard error = sd x sqrt(2/3). Logs (0, 1, 2) against (1, 2, 3): difference 1.
  // R: t.test(c(1,2,3), c(0,1,2))$conf.int gives -1.266963 3.266963
  const exp = (values: number[]): number[] => values.map(Math.exp);
  const interval = unpairedRatioInterval(exp([0, 1, 2]), exp([1, 2, 3]));
  t.ok(Math.abs(Math.log(interval?.low ?? 1) + 1.266963) < 1e-4);
  t.ok(Math.abs(Math.log(interval?.high ?? 1) - 3.266963) < 1e-4);
  t.match(unpairedRatioInterval([1], [2, 3]), { low: null });
  t.match(unpairedRatioInterval([2, 2], [4, 4]), { ratio: 2, low: 2, high: 2 });
  t.equal(unpairedRatioInterval([0, 1], [1, 1]), null);
  t.end();
});

t.test('values that agree to the last digit still have the error of their last digit', (t) => {
  t.match(pairedRatioInterval([2, 2, 2, 2]), { low: 2, high: 2 }, 'exact where there is no step');
  const paired = pairedRatioInterval([2, 2, 2, 2], { resolution: 0.03 });
  // Two values, each within a step of log(1.03): sd = log(1.03) / sqrt(6) = 0.01207; t(3) = 3.182; / sqrt(4)
  t.ok(Math.abs(Math.log((paired?.high ?? 0) / 2) - (3.18245 * 0.0120674) / 2) < 1e-5);
  const unpaired = unpairedRatioInterval([1, 1, 1], [2, 2, 2], { resolution: 0.001 });
  t.ok((unpaired?.low ?? 2) < 1.999 && (unpaired?.high ?? 2) > 2.001);
  const wide = [1, 2, 4, 3];
  t.match(pairedRatioInterval(wide, { resolution: 0.001 }), { high: pairedRatioInterval(wide)?.high ?? 0 });
  t.end();
});

t.test("Holm's procedure", (t) => {
  // In ascending order: 0.005 < 0.05 / 4, 0.01 < 0.05 / 3, 0.02 < 0.05 / 2, 0.03 < 0.05.
  t.strictSame(holmRejections([0.01, 0.02, 0.03, 0.005]), [true, true, true, true]);
  // 0.01 < 0.05 / 4, but 0.02 > 0.05 / 3: that one and all above it stand.
  t.strictSame(holmRejections([0.04, 0.01, 0.03, 0.02]), [false, true, false, false]);
  t.strictSame(holmRejections([0.05]), [true], 'one alone is not corrected');
  t.strictSame(holmRejections([0.001, 0.03]), [true, true]);
  t.strictSame(holmRejections([]), []);
  t.end();
});

t.test('the p of a ratio agrees with its interval', (t) => {
  // t = 0.65 / 0.06455 = 10.07 with three degrees of freedom, where the distribution has a closed form.
  const u = 0.65 / Math.sqrt(0.05 / 3 / 4) / Math.sqrt(3);
  const expected = 1 - (2 / Math.PI) * (u / (1 + u * u) + Math.atan(u));
  const exp = [0.5, 0.7, 0.6, 0.8].map(Math.exp);
  const interval = pairedRatioInterval(exp);
  if (interval === null) throw new Error('four pairs have an interval');
  t.ok(Math.abs((probabilityWithin(interval, 0) ?? 1) / expected - 1) < 1e-6);
  const floor = (interval.low ?? 0) - 1;
  t.ok(Math.abs((probabilityWithin(interval, floor) ?? 1) - 0.05) < 1e-6, 'p is 0.05 where the end of the interval is');
  t.equal(probabilityWithin(interval, 1), 1, 'within the floor');
  t.equal(probabilityWithin({ ratio: 2, standardError: null, degreesOfFreedom: null }, 0), null);
  t.end();
});

t.test('95% intervals cover 95% of 10,000 synthetic comparisons', (t) => {
  for (const [pairs, ratio, spread] of [
    [4, 1, 0.03],
    [4, 1.9, 0.1],
    [8, 0.5, 0.02],
  ] as const) {
    const options = { draws: 10_000, pairs, ratio, spread, sharedSpread: 0.2 };
    const coverage = intervalCoverage(options, seededRandom(20_260_101 + pairs));
    t.ok(coverage >= 0.94 && coverage <= 0.96, `${pairs} pairs, ratio ${ratio}: ${coverage}`);
  }
  t.end();
});

t.test('trend: a drift is found, a level series and one stalled bucket are not', (t) => {
  const random = seededRandom(5);
  const noisy = (slope: number): number[] =>
    Array.from({ length: 30 }, (_, index) => 1000 * (1 + (slope * index) / 29) + 10 * normal(random));
  t.equal(trend(noisy(0.2))?.significant, true);
  t.ok(Math.abs((trend(noisy(0.2))?.changeFraction ?? 0) - 0.18) < 0.03, 'of the median, which is 1.1 times the start');
  t.equal(isSteady(noisy(0.2)), false);
  t.equal(isSteady(noisy(-0.2)), false);
  t.equal(isSteady(noisy(0)), true);
  t.equal(isSteady(noisy(0.02)), true, 'significant, but too small to matter');
  const stalled = noisy(0);
  stalled[29] = 0;
  t.equal(isSteady(stalled), true);
  t.equal(isSteady(Array.from({ length: 30 }, () => 7)), true, 'all alike');
  t.equal(isSteady(noisy(0).slice(0, 9)), null, 'too short to tell');
  t.equal(isSteady([]), null);
  // Six zeros, six ones: S = 36, z = 35 / sqrt((3828 - 1020) / 18) = 2.80; without the correction for ties 2.40.
  t.equal(trend([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1])?.significant, true, 'ties make the test more certain');
  t.equal(isSteady(Array.from({ length: 6000 }, (_, index) => 1000 + index)), false, 'ten minutes');
  t.end();
});

t.test('steadiness rarely complains about a steady series', (t) => {
  const random = seededRandom(9);
  let complaints = 0;
  for (let round = 0; round < 1000; round++) {
    const series = Array.from({ length: 30 }, () => 1000 + 100 * normal(random));
    if (isSteady(series) === false) complaints += 1;
  }
  t.ok(complaints <= 20, `${complaints} of 1000 at the 1% level`);
  t.end();
});

t.test('few requests that come at random do not look like a drift, and a drift of many is found', (t) => {
  const random = seededRandom(11);
  const poisson = (mean: number): number => {
    let left = Math.exp(-mean);
    let count = -1;
    for (let product = 1; product > left; count++) {
      product *= random();
      // exp(-mean) is 0 for a large mean.
      left = Math.max(left, Number.MIN_VALUE);
    }
    return count;
  };
  let complaints = 0;
  for (let round = 0; round < 2000; round++) {
    const series = Array.from({ length: 30 }, () => poisson(20));
    if (isSteady(series, { isRandom: true }) === false) complaints += 1;
  }
  t.equal(complaints, 0, 'of 2000 windows of 600 requests');
  const rising = Array.from({ length: 30 }, (_, index) => poisson(500 * (1 + (0.2 * index) / 29)));
  t.equal(isSteady(rising, { isRandom: true }), false);
  t.end();
});

t.test("Jain's index", (t) => {
  // R. Jain, D. Chiu, W. Hawe, DEC-TR-301 (1984): k of n served alike, the others not at all, is k/n.
  t.equal(jainIndex(4, 40, 400), 1);
  t.equal(jainIndex(4, 10, 100), 0.25);
  t.equal(jainIndex(10, 20, 200), 0.2);
  t.equal(jainIndex(0, 0, 0), null);
  t.equal(jainIndex(5, 0, 0), null, 'nobody got anything');
  t.end();
});
