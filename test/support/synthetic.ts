/** Synthetic data for tests and for the proof: random figures with known parameters, and histograms of known values. */
import { distribution, histogramCounts, histogramIndex, type RawHistogram } from '../../src/measure/histogram.js';
import type { Distribution } from '../../src/model/report-schema.js';
import type { Random } from '../../src/measure/random.js';
import { pairedRatioInterval } from '../../src/measure/statistics.js';

/** Standard normal by Box and Muller's transform. */
export function normal(random: Random): number {
  // 1 - u lies in (0, 1]: the logarithm is finite.
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

export interface CoverageOptions {
  draws: number;
  pairs: number;
  /** The true ratio of the synthetic pairs. */
  ratio: number;
  /** Standard deviation of a trial's logarithm, and of what the two trials of a pair share. */
  spread: number;
  sharedSpread: number;
}

/** How many of the intervals on synthetic pairs of a known ratio contain it: the proof that "95%" means 95%. */
export function intervalCoverage(options: CoverageOptions, random: Random): number {
  let covered = 0;
  for (let draw = 0; draw < options.draws; draw++) {
    const ratios = Array.from({ length: options.pairs }, () => {
      const shared = normal(random) * options.sharedSpread;
      const a = options.ratio * Math.exp(shared + normal(random) * options.spread);
      const b = Math.exp(shared + normal(random) * options.spread);
      return a / b;
    });
    const interval = pairedRatioInterval(ratios);
    const low = interval?.low ?? Infinity;
    const high = interval?.high ?? -Infinity;
    if (low <= options.ratio && options.ratio <= high) covered += 1;
  }
  return covered / options.draws;
}

/** What the engines would have recorded. */
export function histogramOf(values: readonly number[]): RawHistogram {
  const counts = new BigUint64Array(histogramCounts);
  for (const value of values) {
    const index = histogramIndex(value);
    counts[index] = (counts[index] ?? 0n) + 1n;
  }
  return {
    count: BigInt(values.length),
    min_ns: values.length === 0 ? 0xffff_ffff_ffff_ffffn : BigInt(Math.min(...values)),
    max_ns: BigInt(Math.max(0, ...values)),
    sum_ns: BigInt(values.reduce((sum, value) => sum + value, 0)),
    counts,
  };
}

/** The distribution of requests that took so long, as a report has it. */
export function recorded(values: readonly number[]): Distribution {
  return distribution([histogramOf(values)], 0);
}

/** By how many ns each of so many requests was sent late: `late` of them by `lag`, the others by `onTime`. */
export function lagging(count: number, late: number, lag: number, onTime = 100): number[] {
  return Array.from({ length: count }, (_, n) => (n < late ? lag : onTime));
}

/** scale, 2 * scale, and so on. */
export function upTo(count: number, scale = 1): number[] {
  return Array.from({ length: count }, (_, n) => (n + 1) * scale);
}
