/**
 * Ratios of high percentiles. The p99 of one trial is decided by its slowest requests: in a window of 2,000 requests, one pause of 10 ms
 * somewhere in the machine delays the 20 that are beyond it. Such a trial says nothing about the mode, but the geometric mean of the
 * trials and its interval are made of it as much as of the others. Among the requests of all trials together the same 20 are a quarter of
 * those beyond the p99, and hardly move it.
 */
import { JsHistogram } from 'hdr-histogram-js';
import type { CompletedWindow, Distribution } from '../model/report-schema.js';
import { decodeHistogram, percentileRank, perThousand } from './histogram.js';
import { intervalAround, stepVariance, sum, variance, type RatioInterval } from './statistics.js';

/** The requests of one window by their times. */
export interface Times {
  /** Descending, each time once. Requests without an echo are at Infinity. */
  readonly values: Float64Array;
  readonly counts: Float64Array;
  readonly total: number;
}

/** What a window recorded; kept, because a report is concluded from after every trial. */
const known = new WeakMap<Distribution, Times>();

/** The times of a window's requests, or what the client was late by (own_lag_ns); null if the report does not have them. */
export function timesOf(
  window: CompletedWindow,
  holder: 'response_time_ns' | 'service_time_ns' | 'own_lag_ns',
): Times | null {
  const isLag = holder === 'own_lag_ns';
  const distribution = isLag ? window.client.own_lag_ns : window[holder];
  if (!distribution?.histogram) return null;
  const kept = known.get(distribution);
  if (kept !== undefined) return kept;
  const times = decoded(distribution.histogram, isLag ? 0 : window.requests.failed);
  known.set(distribution, times);
  return times;
}

/** The p99 among the requests of several windows, in ns; null if the report lacks the histogram of one. */
export function p99OfAll(
  windows: readonly CompletedWindow[],
  holder: 'response_time_ns' | 'own_lag_ns',
): number | null {
  const times = windows.flatMap((window) => timesOf(window, holder) ?? []);
  return times.length < windows.length ? null : new Tail(times, perThousand.p99).percentile();
}

function decoded(base64: string, unanswered: number): Times {
  const histogram = decodeHistogram(base64);
  if (!(histogram instanceof JsHistogram)) throw new Error('the WebAssembly histogram was not asked for');
  const values: number[] = [];
  const counts: number[] = [];
  for (let index = histogram.countsArrayLength - 1; index >= 0; index--) {
    const count = histogram.getCountAtIndex(index);
    if (count === 0) continue;
    values.push(histogram.highestEquivalentValue(histogram.valueFromIndex(index)));
    counts.push(count);
  }
  return withUnanswered(values, counts, unanswered);
}

function withUnanswered(values: readonly number[], counts: readonly number[], unanswered: number): Times {
  const isComplete = unanswered === 0;
  return {
    values: Float64Array.from(isComplete ? values : [Infinity, ...values]),
    counts: Float64Array.from(isComplete ? counts : [unanswered, ...counts]),
    total: sum(counts) + unanswered,
  };
}

/**
 * The least share of a percentile of a window's response times that is the server's, 0 to 1, however its late requests are spread: if L is
 * exceeded by a share e of the requests' lateness, and R by a share 1 - p + e of their times, then a share 1 - p of them took at least R - L
 * without their lateness. The largest R - L over all e counts. Null if the report lacks a histogram.
 * @param perThousand of the percentile: 990 for p99
 */
export function leastServerShare(window: CompletedWindow, perThousand: number): number | null {
  const [lags, responses] = [timesOf(window, 'own_lag_ns'), timesOf(window, 'response_time_ns')];
  if (lags === null || responses === null || responses.total === 0) return null;
  const whole = new Tail([responses], perThousand).percentile();
  let least = 0;
  // Requests that may be slower, and those up to the response time at `at`. Both only grow.
  let slower = responses.total - percentileRank(responses.total, perThousand);
  let [at, seen] = [0, responses.counts[0] ?? 0];
  for (const [index, lag] of lags.values.entries()) {
    while (seen <= slower && at < responses.values.length) {
      at += 1;
      seen += responses.counts[at] ?? 0;
    }
    least = Math.max(least, (responses.values[at] ?? 0) - lag);
    slower += lags.counts[index] ?? 0;
  }
  return whole > 0 ? Math.min(1, least / whole) : 0;
}

interface Entry {
  readonly value: number;
  readonly count: number;
  readonly trial: number;
}

/** The slowest requests of several trials in one order, as far down as a percentile needs them. */
class Tail {
  private readonly entries: Entry[];

  /** @param perThousand of the percentile: 990 for p99 */
  constructor(
    private readonly trials: readonly Times[],
    private readonly perThousand: number,
  ) {
    const needed = this.beyond(null);
    this.entries = trials.flatMap((times, trial) => slowest(times, needed, trial)).sort((a, b) => b.value - a.value);
  }

  /** The percentile among the requests of all trials, or of all but one. */
  percentile(without: number | null = null): number {
    let left = this.beyond(without);
    for (const { value, count, trial } of this.entries) {
      if (trial === without) continue;
      left -= count;
      if (left < 0) return value;
    }
    return 0;
  }

  /** How many requests are slower than the percentile. */
  private beyond(without: number | null): number {
    const total = sum(this.trials.map((trial, index) => (index === without ? 0 : trial.total)));
    return total - percentileRank(total, this.perThousand);
  }

  /**
   * Over how many trials the requests beyond the percentile are spread: (sum x)² / sum x², with x those of one trial. It is their
   * number when each has as many, and 1 when all are in one.
   */
  spread(): number {
    const shares = this.trials.map(() => 0);
    let left = this.beyond(null);
    let at = 0;
    while (left > 0 && at < this.entries.length) {
      // Requests of one time are taken alike from all trials.
      let end = at + 1;
      while (this.entries[end]?.value === this.entries[at]?.value) end += 1;
      const tied = this.entries.slice(at, end);
      const count = sum(tied.map((entry) => entry.count));
      const taken = Math.min(1, left / count);
      for (const entry of tied) shares[entry.trial] = (shares[entry.trial] ?? 0) + taken * entry.count;
      left -= count;
      at = end;
    }
    const squares = sum(shares.map((share) => share ** 2));
    return squares === 0 ? this.trials.length : sum(shares) ** 2 / squares;
  }
}

/** The slowest requests of a trial: more than `needed` of them, or all. */
function slowest({ values, counts }: Times, needed: number, trial: number): Entry[] {
  const entries: Entry[] = [];
  for (let index = 0, taken = 0; index < values.length && taken <= needed; index++) {
    const count = counts[index] ?? 0;
    entries.push({ value: values[index] ?? 0, count, trial });
    taken += count;
  }
  return entries;
}

/** From here on the slow requests are taken as spread over all trials alike; chance alone gives 0.95 with 20 of them in each of four. */
const evenSpread = 0.75;
const leastSpread = 1 / 3;
/** A single trial has no spread to judge by. */
const leastTrials = 2;

/**
 * The ratio a / b of a percentile among the requests of all trials, with its 95% interval; null with fewer than three pairs of trials,
 * where the percentile is beyond the timeout, or where the slow requests of one side come from so few trials that these are better
 * compared one by one.
 *
 * The interval is Student's t on the logarithms by the jackknife that leaves out one pair of trials at a time (J. Shao, D. Tu, "The
 * Jackknife and Bootstrap", 1995, section 3.1). Its degrees of freedom are those of the trials, or fewer where some of the trials have
 * most of the slow requests: as many as there are clusters that count (A. V. Carter, K. T. Schnepel, D. G. Steigerwald, "Asymptotic
 * Behavior of a t-Test Robust to Cluster Heterogeneity", Review of Economics and Statistics 99, 2017).
 *
 * @param a one per trial, in the same order as b
 * @param perThousand of the percentile: 990 for p99
 * @param resolution how finely the values are known, as a share of them
 */
export function pooledRatioInterval(
  a: readonly Times[],
  b: readonly Times[],
  perThousand: number,
  resolution: number,
): Omit<RatioInterval, 'rangeLow' | 'rangeHigh'> | null {
  const trials = a.length;
  if (trials < 3 || b.length !== trials) return null;
  const [tailA, tailB] = [new Tail(a, perThousand), new Tail(b, perThousand)];
  const logRatio = (without: number | null): number => Math.log(tailA.percentile(without) / tailB.percentile(without));
  const all = logRatio(null);
  const others = a.map((_, trial) => logRatio(trial));
  if (![all, ...others].every(Number.isFinite)) return null;
  const spread = Math.min(tailA.spread(), tailB.spread());
  if (spread < Math.max(leastTrials, leastSpread * trials)) return null;
  const pseudoValues = others.map((other) => trials * all - (trials - 1) * other);
  const error = Math.sqrt(Math.max(variance(pseudoValues), 2 * stepVariance(resolution)) / trials);
  const degrees = spread >= evenSpread * trials ? trials - 1 : spread - 1;
  return intervalAround(Math.exp(all), error, degrees);
}
