import t from 'tap';
import { histogramCounts, histogramIndex } from '../../../src/measure/histogram.js';
import { timePercentiles, type HistogramReading } from '../../../src/measure/time-percentiles.js';

/** Readings of a histogram that grows: so many answers of so many ns before each. */
function readings(
  parts: readonly (readonly [atMs: number, answers: Readonly<Record<number, number>>])[],
): HistogramReading[] {
  const counts = new Uint32Array(histogramCounts);
  return parts.map(([atMs, answers]) => {
    for (const [ns, count] of Object.entries(answers)) {
      const index = histogramIndex(Number(ns));
      counts[index] = (counts[index] ?? 0) + count;
    }
    return { atMs, counts: counts.slice() };
  });
}

function split(all: readonly HistogramReading[]): ReturnType<typeof timePercentiles> {
  const drained = all.at(-1);
  return drained === undefined ? null : timePercentiles(all.slice(0, -1), drained);
}

t.test('each part has the percentiles of its own answers', (t) => {
  const parts = split(
    readings([
      [200, { 1000: 4_000 }],
      [400, { 1000: 3_900, 2000: 100 }],
      [600, { 2000: 4_000 }],
      [610, { 500: 30 }],
    ]),
  );
  t.strictSame(parts, [
    { start_ms: 0, end_ms: 200, requests: 4_000, p50_ns: 1_000, p99_ns: 1_000 },
    { start_ms: 200, end_ms: 400, requests: 4_000, p50_ns: 1_000, p99_ns: 2_000 },
    { start_ms: 400, end_ms: 600, requests: 4_000, p50_ns: 2_000, p99_ns: 2_000 },
    { start_ms: 600, end_ms: 610, requests: 30, p50_ns: 500, p99_ns: null },
  ]);
  t.end();
});

t.test('parts with few requests are joined, from the end', (t) => {
  const few = readings([
    ...Array.from({ length: 11 }, (_, part) => [100 * (part + 1), { 1000: 1_100 }] as const),
    [1_100, {}],
  ]);
  t.strictSame(
    split(few)?.map(({ start_ms, end_ms, requests }) => [start_ms, end_ms, requests]),
    [
      [0, 100, 1_100],
      [100, 300, 2_200],
      [300, 500, 2_200],
      [500, 700, 2_200],
      [700, 900, 2_200],
      [900, 1_100, 2_200],
    ],
    'nothing followed the window',
  );
  const none = split(
    readings([...Array.from({ length: 12 }, (_, part) => [100 * (part + 1), { 1000: 1 }] as const), [1_200, {}]]),
  );
  t.equal(none?.length, 6, 'but not to a few parts');
  t.strictSame(new Set(none?.map(({ p50_ns }) => p50_ns)), new Set([null]), 'whose percentiles are not known');
  t.end();
});

t.test('counts of an earlier window show that an engine was late', (t) => {
  const stale = readings([[200, { 3000: 50 }]]);
  const own = readings([
    [400, { 1000: 5_000 }],
    [410, {}],
  ]);
  t.equal(split([...stale, ...own]), null);
  t.end();
});

t.test('without a reading within the window there is one part', (t) => {
  t.strictSame(
    split(readings([[100, { 1000: 5_000 }]]))?.map(({ start_ms, end_ms }) => [start_ms, end_ms]),
    [[0, 100]],
  );
  t.end();
});
