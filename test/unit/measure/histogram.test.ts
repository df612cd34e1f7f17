/** Indexing is hdr-histogram-js' at every bucket edge; percentiles rank requests without an echo; what is saved is read again. */
import { build, JsHistogram } from 'hdr-histogram-js';
import t from 'tap';
import {
  decodeHistogram,
  distribution,
  histogramCounts,
  histogramHighestNs,
  histogramHighestValue,
  histogramIndex,
  histogramLowestValue,
  mergeEncoded,
} from '../../../src/measure/histogram.js';
import { histogramOf, upTo } from '../../support/synthetic.js';
import { seededRandom } from '../../../src/measure/random.js';

t.test('the index is that of hdr-histogram-js at every bucket edge', (t) => {
  const reference = build({
    bitBucketSize: 64,
    autoResize: false,
    lowestDiscernibleValue: 1,
    highestTrackableValue: histogramHighestNs,
    numberOfSignificantValueDigits: 3,
  });
  if (!(reference instanceof JsHistogram)) throw new Error('expected the JavaScript implementation');
  t.equal(reference.countsArrayLength, histogramCounts);
  let wrong = 0;
  for (let index = 0; index < histogramCounts; index++) {
    const lowest = histogramLowestValue(index);
    const highest = histogramHighestValue(index);
    if (reference.valueFromIndex(index) !== lowest) wrong += 1;
    if (lowest <= histogramHighestNs && histogramIndex(lowest) !== index) wrong += 1;
    if (highest <= histogramHighestNs) {
      if (reference.countsArrayIndex(lowest) !== index || reference.countsArrayIndex(highest) !== index) wrong += 1;
      if (histogramIndex(highest) !== index || reference.highestEquivalentValue(lowest) !== highest) wrong += 1;
    }
  }
  t.equal(wrong, 0, 'no edge differs');
  t.equal(
    histogramIndex(histogramHighestNs * 10),
    histogramIndex(histogramHighestNs),
    'beyond the highest is the highest',
  );
  t.end();
});

t.test('percentiles, exact minimum, maximum and mean', (t) => {
  const { missing, histogram, ...figures } = distribution([histogramOf(upTo(20_000))], 0);
  t.strictSame(missing, {});
  t.type(histogram, 'string');
  t.equal(figures.min, 1);
  t.equal(figures.max, 20_000);
  t.equal(figures.mean, 10_000.5);
  t.equal(figures.count, 20_000);
  // 3 significant digits: the value reported is the highest that shares the bucket.
  t.equal(figures.p50, histogramHighestValue(histogramIndex(10_000)));
  t.equal(figures.p90, histogramHighestValue(histogramIndex(18_000)));
  t.equal(figures.p99, histogramHighestValue(histogramIndex(19_800)));
  t.equal(figures.p99_9, histogramHighestValue(histogramIndex(19_980)));
  t.end();
});

t.test('engines are merged as if one had recorded all', (t) => {
  const values = upTo(20_000, 37);
  const even = values.filter((_, index) => index % 2 === 0);
  const odd = values.filter((_, index) => index % 2 === 1);
  t.strictSame(
    distribution([histogramOf(even), histogramOf(odd), histogramOf([])], 3),
    distribution([histogramOf(values)], 3),
  );
  t.end();
});

t.test('a percentile among requests without an echo is null, and so is the maximum', (t) => {
  // 1000 requests in all, of which 20 had no echo: p99 is the 990th, p90 the 900th.
  const shown = distribution([histogramOf(upTo(980))], 20);
  t.equal(shown.p50, 500);
  t.equal(shown.p90, 900);
  t.equal(shown.p99, null);
  t.equal(shown.p99_9, null);
  t.equal(shown.max, null);
  t.strictSame(shown.missing, { p99: 'timeout', p99_9: 'timeout', max: 'timeout' });
  t.end();
});

t.test('one request without an echo shifts the ranks of all', (t) => {
  // 20 of 2000 above everything: p99 is the 1980th of 2000, which is the last that was answered.
  t.equal(distribution([histogramOf(upTo(1980))], 20).p99, 1980);
  t.equal(distribution([histogramOf(upTo(1979))], 21).p99, null);
  t.end();
});

t.test('a percentile needs ten samples beyond it', (t) => {
  const just = distribution([histogramOf(upTo(1000))], 0);
  t.equal(just.p99, 990);
  t.equal(just.p99_9, null);
  t.strictSame(just.missing, { p99_9: 'too_few_samples' });
  t.equal(distribution([histogramOf(upTo(999))], 0).p99, null);
  t.equal(distribution([histogramOf(upTo(20))], 0).p50, 10);
  t.equal(distribution([histogramOf(upTo(19))], 0).p50, null);
  t.end();
});

t.test('nothing recorded', (t) => {
  const nothing = distribution([histogramOf([])], 0);
  t.match(nothing, { p50: null, max: null, min: null, mean: null, count: 0, histogram: null });
  t.equal(nothing.missing.p50, 'too_few_samples');
  t.equal(distribution([], 5).missing.p50, 'timeout');
  t.equal(distribution([], 5).missing.max, 'timeout');
  t.end();
});

t.test('a percentile never exceeds the exact maximum', (t) => {
  const alike = distribution([histogramOf(Array.from({ length: 1000 }, () => 5000))], 0);
  t.match(alike, { p50: 5000, p99: 5000, max: 5000 });
  const random = seededRandom(7);
  for (let round = 0; round < 20; round++) {
    const values = Array.from({ length: 10_000 }, () => Math.floor(random() * 1e9) + 1);
    const shown = distribution([histogramOf(values)], 0);
    const sorted = values.sort((a, b) => a - b);
    for (const [name, share] of [
      ['p50', 0.5],
      ['p90', 0.9],
      ['p99', 0.99],
      ['p99_9', 0.999],
    ] as const) {
      const exact = sorted[Math.ceil(share * sorted.length) - 1] ?? 0;
      const value = shown[name] ?? 0;
      t.ok(value >= exact && value <= exact * 1.001 && value <= (shown.max ?? 0), `${name}: ${value} for ${exact}`);
    }
  }
  t.end();
});

t.test('the saved histogram is read again, and several are merged', (t) => {
  const first = distribution([histogramOf(upTo(1000, 1000))], 0);
  const second = distribution([histogramOf(upTo(3000, 500))], 0);
  const read = decodeHistogram(first.histogram ?? '');
  t.equal(read.totalCount, 1000);
  t.equal(read.getValueAtPercentile(50), first.p50);
  t.equal(read.getValueAtPercentile(99), first.p99);
  const both = mergeEncoded([first.histogram ?? '', second.histogram ?? '']);
  t.equal(both?.totalCount, 4000);
  t.equal(
    both?.getValueAtPercentile(99),
    distribution([histogramOf([...upTo(1000, 1000), ...upTo(3000, 500)])], 0).p99,
  );
  t.equal(mergeEncoded([]), null);
  t.end();
});

t.test('counts beyond 32 bits and values of an hour survive saving', (t) => {
  const counts = new BigUint64Array(histogramCounts);
  counts[histogramIndex(1000)] = 6_000_000_000n;
  counts[histogramIndex(histogramHighestNs)] = 11n;
  const raw = {
    count: 6_000_000_011n,
    min_ns: 1000n,
    max_ns: 3_600_000_000_000n,
    sum_ns: 6_039_600_000_000_000n,
    counts,
  };
  const shown = distribution([raw], 0);
  t.equal(decodeHistogram(shown.histogram ?? '').totalCount, 6_000_000_011);
  t.equal(shown.max, histogramHighestNs);
  t.end();
});
