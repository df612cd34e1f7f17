/**
 * Intervals of percentiles from order statistics: how far the percentile of all requests that a server would have answered may be from the
 * one of those that were sent. The number of n independent samples that are below the true quantile p is binomial (n, p), whatever the
 * distribution of the samples, so two ranks enclose the quantile with a known probability (W. R. Thompson, "On Confidence Ranges for the
 * Median and Other Expectation Distributions for Populations of Unknown Distribution Form", Annals of Mathematical Statistics 7, 1936).
 */
import { confidenceLevel } from './statistics.js';

export interface Ranks {
  /** 1-based rank of the sample at the lower end; null if the quantile may be below every sample. */
  readonly low: number | null;
  /** Of the sample at the upper end; null if the quantile may be above every sample. */
  readonly high: number | null;
}

/**
 * The ranks of the samples between which a quantile is, each end with at most half of the error: exact, from the binomial distribution.
 * @param count samples, at least 1
 * @param probability of the quantile, between 0 and 1
 */
export function quantileRanks(count: number, probability: number, confidence = confidenceLevel): Ranks {
  const error = (1 - confidence) / 2;
  // P(fewer than `low` samples are below the quantile) and P(at least `high` are) stay within the error.
  const belowLow = tailSize(count, probability, error);
  const aboveHigh = tailSize(count, 1 - probability, error);
  return {
    low: belowLow === 0 ? null : belowLow,
    high: aboveHigh === 0 ? null : count + 1 - aboveHigh,
  };
}

/** A smaller term does not change the sum in double precision. */
const negligible = 1e-18;

/**
 * The largest k with P(B < k) <= error, for B binomial (count, probability); 0 if there is none.
 * The terms are summed relative to the largest, from one to the next by their quotient: no factorials, and no more terms than about
 * eighteen standard deviations, so that a thousand million samples are exact as well.
 */
function tailSize(count: number, probability: number, error: number): number {
  const odds = probability / (1 - probability);
  const mode = Math.min(count, Math.floor((count + 1) * probability));
  const lower: number[] = [];
  for (let k = mode, term = 1; k >= 0 && term > negligible; k -= 1) {
    lower.push(term);
    term *= k / (count - k + 1) / odds;
  }
  let total = lower.reduce((sum, term) => sum + term, 0);
  for (let k = mode, term = 1; k < count && term > negligible; k += 1) {
    term *= ((count - k) / (k + 1)) * odds;
    total += term;
  }
  let size = mode - lower.length + 1;
  let below = 0;
  for (const term of lower.reverse()) {
    below += term / total;
    if (below > error) return size;
    size += 1;
  }
  return size;
}
