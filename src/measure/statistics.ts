/**
 * The statistics of the report. Ratios are compared on their logarithms, where "twice" and "half" are equally far from "the same"
 * and where run-to-run noise, which multiplies, becomes noise that adds. That is why means are geometric and Student's t is taken on logarithms.
 */
import jstat from 'jstat';

export const confidenceLevel = 0.95;

export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

export function mean(values: readonly number[]): number {
  return sum(values) / values.length;
}

/** Unbiased (n - 1). */
export function variance(values: readonly number[]): number {
  const center = mean(values);
  return sum(values.map((value) => (value - center) ** 2)) / (values.length - 1);
}

/** Quantile by linear interpolation between order statistics (Hyndman and Fan's type 7, R's default); null when empty. */
export function quantile(values: readonly number[], probability: number): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  const position = (sorted.length - 1) * probability;
  const below = sorted[Math.floor(position)];
  const above = sorted[Math.ceil(position)];
  if (below === undefined || above === undefined) return null;
  return below + (above - below) * (position - Math.floor(position));
}

export function median(values: readonly number[]): number | null {
  return quantile(values, 0.5);
}

/** Median of the values that are known; null when none is. */
export function medianOfKnown(values: readonly (number | null)[]): number | null {
  return median(values.filter((value) => value !== null));
}

/** Of positive values; null when empty or when a value has no logarithm. */
export function geometricMean(values: readonly number[]): number | null {
  if (values.length === 0 || values.some((value) => !(value > 0))) return null;
  return Math.exp(mean(values.map(Math.log)));
}

/** The t with P(T <= t) = probability. */
export function studentTQuantile(probability: number, degreesOfFreedom: number): number {
  return jstat.jStat.studentt.inv(probability, degreesOfFreedom);
}

export interface RatioInterval {
  /** Geometric mean. */
  ratio: number;
  /** null with fewer than three pairs: two points say almost nothing about their own spread (t = 12.7). */
  low: number | null;
  high: number | null;
  /** Of the ratio's logarithm, with the degrees of freedom it has; null where there is no interval. */
  standardError: number | null;
  degreesOfFreedom: number | null;
  /** Smallest and largest single ratio. */
  rangeLow: number;
  rangeHigh: number;
}

export interface IntervalOptions {
  /** 0 to 1. */
  confidence?: number;
  /**
   * How finely the values are known, as a share of them. A value anywhere within a step is as likely (a variance of step² / 12), so trials
   * that agree to the last digit have at least the error of that step, and no interval is narrower than it allows.
   */
  resolution?: number;
}

export function stepVariance(resolution: number): number {
  return Math.log1p(resolution) ** 2 / 12;
}

/** Geometric mean of paired ratios with its interval, 95% by default; null without a pair. Every ratio must be positive. */
export function pairedRatioInterval(
  ratios: readonly number[],
  { confidence = confidenceLevel, resolution = 0 }: IntervalOptions = {},
): RatioInterval | null {
  const ratio = geometricMean(ratios);
  if (ratio === null) return null;
  const range = { rangeLow: Math.min(...ratios), rangeHigh: Math.max(...ratios) };
  if (ratios.length < 3) return { ratio, low: null, high: null, standardError: null, degreesOfFreedom: null, ...range };
  const logs = ratios.map(Math.log);
  // Both values of a pair have a step of their own.
  const standardError = Math.sqrt(Math.max(variance(logs), 2 * stepVariance(resolution)) / logs.length);
  return { ...intervalAround(ratio, standardError, logs.length - 1, confidence), ...range };
}

/** Student's interval around a ratio. The standard error is that of its logarithm. */
export function intervalAround(
  ratio: number,
  standardError: number,
  degreesOfFreedom: number,
  confidence = confidenceLevel,
): Omit<RatioInterval, 'rangeLow' | 'rangeHigh'> {
  const halfWidth = studentTQuantile(1 - (1 - confidence) / 2, degreesOfFreedom) * standardError;
  const [low, high] = [ratio * Math.exp(-halfWidth), ratio * Math.exp(halfWidth)];
  return { ratio, low, high, standardError, degreesOfFreedom };
}

/**
 * Ratio of the geometric means of two independent samples (after / before) with Welch's interval on the logs, 95% by default, degrees of
 * freedom by Welch and Satterthwaite. The interval is null with fewer than two values on a side.
 */
export function unpairedRatioInterval(
  before: readonly number[],
  after: readonly number[],
  { confidence = confidenceLevel, resolution = 0 }: IntervalOptions = {},
): RatioInterval | null {
  const base = geometricMean(before);
  const head = geometricMean(after);
  if (base === null || head === null) return null;
  const ratio = head / base;
  const range = {
    rangeLow: Math.min(...after) / Math.max(...before),
    rangeHigh: Math.max(...after) / Math.min(...before),
  };
  const none = { low: null, high: null, standardError: null, degreesOfFreedom: null };
  if (before.length < 2 || after.length < 2) return { ratio, ...none, ...range };
  const errorOf = (values: readonly number[]): number =>
    Math.max(variance(values.map(Math.log)), stepVariance(resolution)) / values.length;
  const [beforeError, afterError] = [errorOf(before), errorOf(after)];
  const squaredError = beforeError + afterError;
  // Figures without any spread and any step (thread counts, say) have an exact ratio.
  if (squaredError === 0) {
    return {
      ratio,
      low: ratio,
      high: ratio,
      standardError: 0,
      degreesOfFreedom: before.length + after.length - 2,
      ...range,
    };
  }
  const degreesOfFreedom =
    squaredError ** 2 / (beforeError ** 2 / (before.length - 1) + afterError ** 2 / (after.length - 1));
  return { ...intervalAround(ratio, Math.sqrt(squaredError), degreesOfFreedom, confidence), ...range };
}

/**
 * How likely a ratio this far from 1 is where the true one is no further from it than the floor: the two-sided p of Student's t, 1 within the
 * floor. It is below 0.05 exactly where the 95% interval is beyond the floor. null where there is no interval.
 *
 * @param floor a share, such as 0.02
 */
export function probabilityWithin(
  { ratio, standardError, degreesOfFreedom }: Pick<RatioInterval, 'ratio' | 'standardError' | 'degreesOfFreedom'>,
  floor: number,
): number | null {
  if (standardError === null || degreesOfFreedom === null) return null;
  const beyond = Math.abs(Math.log(ratio)) - Math.log1p(floor);
  if (beyond <= 0) return 1;
  if (standardError === 0) return 0;
  // The lower tail: in the upper one, 1 - cdf() has no digits left.
  return Math.min(1, 2 * jstat.jStat.studentt.cdf(-beyond / standardError, degreesOfFreedom));
}

/**
 * Which of several hypotheses are rejected, so that the chance of even one false rejection among them stays below 1 - confidence: the
 * smallest p is held against (1 - confidence) / n, the next against (1 - confidence) / (n - 1), until one fails. S. Holm, "A Simple
 * Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6, 1979.
 */
export function holmRejections(probabilities: readonly number[], confidence = confidenceLevel): boolean[] {
  const rejected = probabilities.map(() => false);
  const ascending = probabilities.map((p, index) => ({ p, index })).sort((a, b) => a.p - b.p);
  for (const [rank, { p, index }] of ascending.entries()) {
    if (p > (1 - confidence) / (probabilities.length - rank)) break;
    rejected[index] = true;
  }
  return rejected;
}

export interface Trend {
  /** Change over the whole series by the Theil-Sen slope, as a fraction of the median. */
  changeFraction: number;
  /** Of the Mann-Kendall test, two-sided, against "no trend". */
  significant: boolean;
}

/** Fewer points cannot show a trend at the level asked (ten buckets of 100 ms: one second). */
export const trendPointsNeeded = 10;
const trendSignificanceLevel = 0.01;

/**
 * Trend of evenly spaced figures: Mann and Kendall's rank test with its correction for ties, and Theil and Sen's slope. Both
 * shrug off the single stalled bucket that would tilt a least-squares line. null when too short.
 */
export function trend(series: readonly number[]): Trend | null {
  const length = series.length;
  if (length < trendPointsNeeded) return null;
  const slopes: number[] = [];
  let score = 0;
  for (let first = 0; first < length; first++) {
    for (let second = first + 1; second < length; second++) {
      const rise = (series[second] ?? 0) - (series[first] ?? 0);
      score += Math.sign(rise);
      slopes.push(rise / (second - first));
    }
  }
  const tieSizes = [...countEach(series).values()];
  const tied = sum(tieSizes.map((size) => size * (size - 1) * (2 * size + 5)));
  const scoreVariance = (length * (length - 1) * (2 * length + 5) - tied) / 18;
  const z = scoreVariance === 0 ? 0 : (score - Math.sign(score)) / Math.sqrt(scoreVariance);
  const center = median(series) ?? 0;
  const change = (median(slopes) ?? 0) * (length - 1);
  return {
    changeFraction: center === 0 ? 0 : change / center,
    significant: Math.abs(z) > jstat.jStat.normal.inv(1 - trendSignificanceLevel / 2, 0, 1),
  };
}

function countEach(values: readonly number[]): Map<number, number> {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return counts;
}

/** A smaller drift does not cast doubt on a figure, however significant it is. */
export const driftTolerated = 0.05;
/** A window of a minute has 600 buckets, whose 180,000 pairs no test needs: longer series are averaged in groups. */
const trendPointsMost = 120;

/**
 * How far the slope of counts that are Poisson distributed may move by chance, in standard deviations. The standard deviation of their
 * change over a window, as a share, is sqrt(12 / all requests).
 */
const driftByChance = 4;

/**
 * False when the requests of the buckets rise or fall over the window by more than 5%; null when too short to tell.
 * @param isRandom the requests come at random (a Poisson process), so that few of them seem to drift by more than that
 */
export function isSteady(
  requestsPerBucket: readonly number[],
  { isRandom = false }: { isRandom?: boolean } = {},
): boolean | null {
  const total = sum(requestsPerBucket);
  const byChance = isRandom && total > 0 ? driftByChance * Math.sqrt(12 / total) : 0;
  const groupSize = Math.ceil(requestsPerBucket.length / trendPointsMost);
  const grouped: number[] = [];
  for (let start = 0; start + groupSize <= requestsPerBucket.length && groupSize > 0; start += groupSize) {
    grouped.push(mean(requestsPerBucket.slice(start, start + groupSize)));
  }
  const found = trend(grouped);
  if (found === null) return null;
  return !(found.significant && Math.abs(found.changeFraction) > Math.max(driftTolerated, byChance));
}

/** Jain's index of fairness, (sum x)^2 / (n sum x^2): 1 when all are served alike, 1/n when one gets everything. */
export function jainIndex(count: number, total: number, sumOfSquares: number): number | null {
  if (count <= 0 || sumOfSquares <= 0) return null;
  return Math.min(1, total ** 2 / (count * sumOfSquares));
}
