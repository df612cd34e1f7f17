/**
 * HDR histograms as the native engines fill them, and the distributions that a report shows. The indexing is HdrHistogram's
 * (http://hdrhistogram.org) for lowest 1 ns, highest 1 h and 3 significant digits, so that a saved histogram is read by any of
 * its tools; the percentiles are computed here, since a request without an echo has to rank above every recorded value.
 */
import { build, decodeFromCompressedBase64, encodeIntoCompressedBase64, type Histogram } from 'hdr-histogram-js';
import { histogramCounts, histogramHighestNs as histogramHighest } from '../model/abi.generated.js';
import {
  percentileNames,
  type Distribution,
  type PercentileInterval,
  type PercentileName,
} from '../model/report-schema.js';
import { quantileRanks } from './quantile-interval.js';

export { histogramCounts };
export const histogramHighestNs = Number(histogramHighest);
const significantDigits = 3;

/** 2048 sub-buckets of one unit each; every later bucket uses its upper half. */
const subBucketCount = 2048;
const subBucketHalfCount = subBucketCount / 2;

/** A percentile needs this many samples beyond it. With fewer, a single request decides it. */
export const samplesBeyondPercentile = 10;

/** Percentiles per thousand: ranks are computed in whole numbers, so that no rounding skips a sample. */
export const perThousand: Readonly<Record<PercentileName, number>> = { p50: 500, p90: 900, p99: 990, p99_9: 999 };

/** One struct ib_histogram of the control block. min_ns means nothing while count is 0. */
export interface RawHistogram {
  count: bigint;
  min_ns: bigint;
  max_ns: bigint;
  sum_ns: bigint;
  counts: BigUint64Array;
}

/** Index of a value in `counts`; values above the highest are counted as the highest. */
export function histogramIndex(valueNs: number): number {
  const value = Math.min(valueNs, histogramHighestNs);
  // Exact for every trackable value: 2^42 - 1 and 2^42 have logarithms that differ as doubles.
  const bucket = value < subBucketCount ? 0 : Math.floor(Math.log2(value)) + 1 - Math.log2(subBucketCount);
  return bucket * subBucketHalfCount + Math.floor(value / 2 ** bucket);
}

/** The lowest value that has this index. */
export function histogramLowestValue(index: number): number {
  const bucket = Math.floor(index / subBucketHalfCount) - 1;
  if (bucket < 0) return index;
  return ((index % subBucketHalfCount) + subBucketHalfCount) * 2 ** bucket;
}

/** The highest value that has this index: what a percentile reports, so that it never promises too little. */
export function histogramHighestValue(index: number): number {
  return histogramLowestValue(index + 1) - 1;
}

/** The indices of `counts` from that of the smallest value to that of the largest one: everything outside is 0. */
export function filledIndices({ count, min_ns, max_ns }: RawHistogram): { first: number; last: number } {
  if (count === 0n) return { first: 0, last: -1 };
  return { first: histogramIndex(Number(min_ns)), last: histogramIndex(Number(max_ns)) };
}

/** Calls with the index and the count of each of `counts` that is not 0, in ascending order. */
export function eachCount(histogram: RawHistogram, use: (index: number, count: bigint) => void): void {
  const { first, last } = filledIndices(histogram);
  for (let index = first; index <= last; index++) {
    const count = histogram.counts[index] ?? 0n;
    if (count !== 0n) use(index, count);
  }
}

interface Merged {
  count: number;
  min: number;
  max: number;
  mean: number;
  counts: Float64Array;
}

function merge(histograms: readonly RawHistogram[]): Merged | null {
  const filled = histograms.filter((histogram) => histogram.count > 0n);
  if (filled.length === 0) return null;
  const counts = new Float64Array(histogramCounts);
  let count = 0n;
  let sum = 0n;
  let min = Infinity;
  let max = 0;
  for (const histogram of filled) {
    count += histogram.count;
    sum += histogram.sum_ns;
    min = Math.min(min, Number(histogram.min_ns));
    max = Math.max(max, Number(histogram.max_ns));
    eachCount(histogram, (index, value) => {
      counts[index] = (counts[index] ?? 0) + Number(value);
    });
  }
  return { count: Number(count), min, max, mean: Number(sum) / Number(count), counts };
}

/** The rank (1-based) of a percentile among `total` values. @param thousandths of the percentile: 990 for p99 */
export function percentileRank(total: number, thousandths: number): number {
  return Math.max(1, Math.ceil((total * thousandths) / 1000));
}

/** The index in `counts` of the value at a rank (1-based), or null when fewer values were recorded. */
export function indexAtRank(counts: ArrayLike<number>, rank: number): number | null {
  let seen = 0;
  for (let index = 0; index < counts.length; index++) {
    seen += counts[index] ?? 0;
    if (seen >= rank) return index;
  }
  return null;
}

function valueAtRank(merged: Merged, rank: number): number | null {
  const index = indexAtRank(merged.counts, rank);
  return index === null ? null : Math.min(histogramHighestValue(index), merged.max);
}

/** Of a percentile among `total` requests. A value is somewhere in its bucket, so the interval takes in the whole of both. */
function intervalOf(merged: Merged, total: number, name: PercentileName): PercentileInterval {
  const { low, high } = quantileRanks(total, perThousand[name] / 1000);
  const lowest = low === null ? null : indexAtRank(merged.counts, low);
  return {
    low: lowest === null ? null : Math.max(histogramLowestValue(lowest), merged.min),
    high: high === null ? null : valueAtRank(merged, high),
  };
}

function encode(merged: Merged): string {
  const histogram = emptyHistogram();
  merged.counts.forEach((count, index) => {
    if (count > 0) histogram.recordValueWithCount(histogramLowestValue(index), count);
  });
  return encodeIntoCompressedBase64(histogram);
}

function emptyHistogram(): Histogram {
  return build({
    bitBucketSize: 64,
    autoResize: false,
    lowestDiscernibleValue: 1,
    highestTrackableValue: histogramHighestNs,
    numberOfSignificantValueDigits: significantDigits,
  });
}

/**
 * The distribution of everything that the engines recorded, with `unanswered` requests ranked above every recorded value: a
 * percentile that falls among them is null ('timeout'), as is the maximum while there is one. Mean and minimum are those of the
 * answered requests.
 */
export function distribution(raw: readonly RawHistogram[], unanswered: number): Distribution {
  const merged = merge(raw);
  const total = (merged?.count ?? 0) + unanswered;
  const percentiles: Record<PercentileName, number | null> = { p50: null, p90: null, p99: null, p99_9: null };
  const missing: Distribution['missing'] = {};
  const intervals: NonNullable<Distribution['intervals']> = {};
  for (const name of percentileNames) {
    const rank = percentileRank(total, perThousand[name]);
    if (unanswered > 0 && rank > (merged?.count ?? 0)) missing[name] = 'timeout';
    else if (merged === null || total - rank < samplesBeyondPercentile) missing[name] = 'too_few_samples';
    else {
      percentiles[name] = valueAtRank(merged, rank);
      intervals[name] = intervalOf(merged, total, name);
    }
  }
  if (unanswered > 0) missing.max = 'timeout';
  return {
    ...percentiles,
    max: merged === null || unanswered > 0 ? null : merged.max,
    min: merged?.min ?? null,
    mean: merged?.mean ?? null,
    count: merged?.count ?? 0,
    missing,
    intervals,
    histogram: merged === null ? null : encode(merged),
  };
}

/** Reads a histogram of a report. */
export function decodeHistogram(base64: string): Histogram {
  return decodeFromCompressedBase64(base64, 64, false);
}

/** Several histograms of a report as one, for charts; null when there is none. */
export function mergeEncoded(encoded: readonly string[]): Histogram | null {
  if (encoded.length === 0) return null;
  const sum = emptyHistogram();
  for (const base64 of encoded) sum.add(decodeHistogram(base64));
  return sum;
}
