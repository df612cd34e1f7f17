/** Percentiles of the parts of a window, from readings of a histogram that the engines fill meanwhile. */
import type { TimePercentiles } from '../model/report-schema.js';
import {
  histogramCounts,
  histogramHighestValue,
  indexAtRank,
  percentileRank,
  perThousand,
  samplesBeyondPercentile,
} from './histogram.js';

/** The counts of a histogram at one moment. They grow from the start of the window on. */
export interface HistogramReading {
  /** Since the start of the window. */
  readonly atMs: number;
  readonly counts: Uint32Array;
}

/** Parts with fewer requests are joined: a few slow ones would decide their p99. */
const requestsWanted = 2_000;
/** Parts are not joined to fewer than this: a chart of two would show nothing. */
const partsLeast = 5;

/**
 * The percentiles of the requests that were answered between the readings.
 * @param within readings during the window at equal distances, the last one at its end
 * @param drained the reading after the last answer; what followed the window becomes a part of its own
 * @returns null if a count became smaller: an engine began the window late, and the readings before belong to another window
 */
export function timePercentiles(
  within: readonly HistogramReading[],
  drained: HistogramReading,
): TimePercentiles[] | null {
  const start: HistogramReading = { atMs: 0, counts: new Uint32Array(histogramCounts) };
  const all = [start, ...within, drained];
  const grows = all.every((to, place) =>
    to.counts.every((count, index) => count >= (all[place - 1]?.counts[index] ?? 0)),
  );
  if (!grows) return null;
  const every = readingsPerPart(within);
  const ends = within.filter((_, place) => (within.length - 1 - place) % every === 0);
  const parts = ends.map((end, place) => partBetween(ends[place - 1] ?? start, end));
  const after = partBetween(ends.at(-1) ?? start, drained);
  return after.requests > 0 ? [...parts, after] : parts;
}

function readingsPerPart(within: readonly HistogramReading[]): number {
  const requests = sumOf(within.at(-1)?.counts ?? new Uint32Array());
  const wanted = Math.ceil((requestsWanted * within.length) / Math.max(1, requests));
  return Math.max(1, Math.min(wanted, Math.floor(within.length / partsLeast)));
}

function sumOf(counts: Uint32Array): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

function partBetween(from: HistogramReading, to: HistogramReading): TimePercentiles {
  const counts = to.counts.map((count, index) => count - (from.counts[index] ?? 0));
  const requests = sumOf(counts);
  return {
    start_ms: from.atMs,
    end_ms: to.atMs,
    requests,
    p50_ns: valueAt(counts, requests, perThousand.p50),
    p99_ns: valueAt(counts, requests, perThousand.p99),
  };
}

/** null: too few samples beyond it, as for every percentile. */
function valueAt(counts: Uint32Array, requests: number, thousandths: number): number | null {
  const rank = percentileRank(requests, thousandths);
  if (requests - rank < samplesBeyondPercentile) return null;
  const index = indexAtRank(counts, rank);
  return index === null ? null : histogramHighestValue(index);
}
