/**
 * `--until`: how precise the primary metrics of a report are, and when there are enough trials.
 *
 * The trials go on until every interval is narrow enough, whatever it says: a rule that looked at the verdicts, and stopped at the first
 * one, would claim differences that do not exist (P. Armitage, C. K. McPherson, B. C. Rowe, "Repeated Significance Tests on Accumulating
 * Data", Journal of the Royal Statistical Society A 132, 1969). Stopping by the width alone keeps the level of the intervals as the number
 * of trials grows (Y. S. Chow, H. Robbins, "On the Asymptotic Theory of Fixed-Width Sequential Confidence Intervals for the Mean", Annals
 * of Mathematical Statistics 36, 1965). With few trials a width can be small by chance, so that the interval misses the true ratio too
 * often; as G. Simons has shown ("On the Cost of not Knowing the Variance when Making a Fixed-Width Confidence Interval for the Mean",
 * Annals of Mathematical Statistics 39, 1968), a few trials more than the first narrow interval make up for it. The rule therefore asks for
 * narrow intervals at two looks in a row.
 */
import { BenchError } from '../model/errors.js';
import type { Comparison, Phase, Plan, Precision, Run, Warning } from '../model/report-schema.js';
import { metrics, requireMetric, resolutionOf, trialValues, type Metric } from '../model/metrics.js';
import { listInWords, plural } from '../model/format.js';
import { distinctPoints, pointFields, pointInWords, samePoint, type Point } from '../model/point.js';
import { percent, typedPercent } from '../model/words.js';
import { pairedRatioInterval, type RatioInterval } from './statistics.js';

/** Looks in a row at which every interval has to be narrow enough. */
const narrowLooks = 2;
/** Three trials give an interval, but one with two degrees of freedom, which is narrow by chance too often. */
export const untilTrialsLeast = 4;
export const untilTrialsMost = 20;

export interface StoppingPlan {
  /** Trials before the first look. */
  readonly trialsLeast: number;
  readonly trialsMost: number;
  /** Number of modes: one look per that many trials (but at least two), so that the order of the modes is balanced at the end. */
  readonly modes: number;
}

/** Decides after each trial of one number of clients whether another one follows. */
export class StoppingRule {
  private looks = 0;

  constructor(private readonly plan: StoppingPlan) {}

  /**
   * Call it once after each trial.
   * @param trials how many there are
   * @param isNarrow true if every interval is narrow enough; only called when the rule looks
   */
  isEnough(trials: number, isNarrow: () => boolean): boolean {
    const { trialsLeast, trialsMost, modes } = this.plan;
    if (trials >= trialsMost) return true;
    if (trials < trialsLeast || trials % Math.max(2, modes) !== 0) return false;
    this.looks = isNarrow() ? this.looks + 1 : 0;
    return this.looks >= narrowLooks;
  }
}

/** `--until`, `--trials` and `--trials-max` as given. */
export interface TrialOptions {
  readonly until: number | undefined;
  readonly trials: number | undefined;
  readonly trialsMax: number | undefined;
}

/**
 * The numbers of trials of a plan. With --until, `trials` is the least number and `trialsMax` the most; without it `trialsMax` is null.
 * BenchError 'usage' if they do not fit each other.
 * @param usual the number of trials where nothing is given
 */
export function trialNumbers(options: TrialOptions, usual: number): { trials: number; trialsMax: number | null } {
  const { until, trials, trialsMax } = options;
  if (until === undefined) {
    if (trialsMax === undefined) return { trials: trials ?? usual, trialsMax: null };
    throw new BenchError(
      'usage',
      '--trials-max only applies to --until',
      `set the number of trials with --trials ${trialsMax}, or add --until 3%`,
    );
  }
  const least = trials ?? untilTrialsLeast;
  if (least < untilTrialsLeast) {
    throw new BenchError(
      'usage',
      `--until needs at least ${untilTrialsLeast} trials, and --trials is ${least}`,
      'the interval of fewer trials is too uncertain to stop by; leave out --trials or --until',
    );
  }
  const most = trialsMax ?? Math.max(untilTrialsMost, least);
  if (most < least) {
    throw new BenchError(
      'usage',
      `--trials-max ${most} is less than the ${least} trials that --until begins with`,
      `use --trials-max ${least} or more`,
    );
  }
  return { trials: least, trialsMax: most };
}

/** Half of the interval's width as a share of the ratio (0.03: the true ratio is within a factor of 1.03); null without an interval. */
export function halfWidth({ ratio, high }: { ratio: number | null; high: number | null }): number | null {
  return ratio === null || high === null || ratio <= 0 ? null : high / ratio - 1;
}

/**
 * The precision of each primary metric: of the ratios where modes are compared, of the geometric mean over the trials where there is only one
 * mode. Metrics without any figure are left out, since more trials do not give them one.
 */
export function precisionOf(
  runs: readonly Run[],
  comparisons: readonly Comparison[],
  plan: Pick<Plan, 'modes' | 'phases'>,
  until: number,
): Precision[] {
  const found = plan.modes.length > 1 ? ofRatios(comparisons) : runs.flatMap((run) => ofRun(run, plan.phases));
  return found.map((entry) => ({ ...entry, reached: entry.half_width !== null && entry.half_width <= until }));
}

type Unjudged = Omit<Precision, 'reached'>;

function ofRatios(comparisons: readonly Comparison[]): Unjudged[] {
  return comparisons
    .filter(({ primary, pairs }) => primary && pairs > 0)
    .map(({ a, b, phase, metric, pairs, ratio, ci_high, ...point }) => ({
      a,
      b,
      ...pointFields(point),
      phase,
      metric,
      trials: pairs,
      half_width: halfWidth({ ratio, high: ci_high }),
    }));
}

function ofRun(run: Run, phases: readonly Phase[]): Unjudged[] {
  return metrics
    .filter(({ primary }) => primary)
    .flatMap((entry) =>
      // A search measures its own windows, whatever phases the plan has.
      entry.compared
        .filter((phase) => entry.name === 'max_rate' || phases.includes(phase))
        .flatMap((phase) => ofValues(entry, run, phase)),
    );
}

function ofValues(entry: Metric, run: Run, phase: Phase): Unjudged[] {
  const values = trialValues(entry, run, phase);
  const known = values.flatMap(({ value }) => (value !== null && value > 0 ? [value] : []));
  const interval: RatioInterval | null = pairedRatioInterval(known, { resolution: resolutionOf(entry, values) });
  if (interval === null) return [];
  const about = { a: run.mode, b: null, ...pointFields(run), phase, metric: entry.name, trials: known.length };
  return [{ ...about, half_width: halfWidth(interval) }];
}

/* -------------------------------------------------------------------------------------------------------- in words */

/** What `--until` reached and what it did not, per point of a sweep: a finding where it reached everything, else a warning. */
export function precisionInWords(
  precision: readonly Precision[],
  runs: readonly Run[],
  until: number,
): { findings: string[]; warnings: Warning[] } {
  const points = distinctPoints(precision.map((entry) => pointFields(entry))).map((point) => {
    const here = precision.filter((entry) => samePoint(entry, point));
    const missed = here.filter(({ reached }) => !reached);
    return { point, here, missed, trials: trialsOf(runs, point) };
  });
  const findings = points
    .filter(({ missed }) => missed.length === 0)
    .map(
      ({ point, trials, here }) =>
        `${pointInWords(point)}: ${listInWords(titles(here))} ${titles(here).length === 1 ? 'is' : 'are'} within ` +
        `±${typedPercent(until)} (95% interval) after ${plural(trials, 'trial')}`,
    );
  const warnings = points
    .filter(({ missed }) => missed.length > 0)
    .map(({ point, trials, here, missed }): Warning => {
      const reached = here.filter((entry) => entry.reached);
      return {
        code: 'precision_not_reached',
        severity: 'warning',
        message:
          `${pointInWords(point)}: after ${plural(trials, 'trial')} the interval is wider than ±${typedPercent(until)} for ` +
          listInWords(missed.map(missedInWords)) +
          (reached.length === 0 ? '' : `; within it: ${listInWords(titles(reached))}`),
        hint: 'take longer or more trials (--duration, --trials-max), or quiet the machine',
        mode: null,
        ...pointFields(point),
        phase: null,
        trial: null,
        figures: { until, trials, missed: missed.length, reached: reached.length },
      };
    });
  return { findings, warnings };
}

/** "response time p99 of iocp / blocking (±5.2%)" */
function missedInWords(entry: Precision): string {
  const { a, b, half_width: width } = entry;
  const of = b === null ? a : `${a} / ${b}`;
  return `${titleOf(entry)} of ${of} (${width === null ? 'no interval' : `±${percent(width)}`})`;
}

/** Each metric once, however many modes were compared by it. */
function titles(entries: readonly Precision[]): string[] {
  return [...new Set(entries.map(titleOf))];
}

function titleOf({ metric, phase }: Precision): string {
  const { title, compared } = requireMetric(metric);
  return compared.length > 1 && phase === 'latency' ? `${title} at the offered rate` : title;
}

/** The trials of the run that has most of them. */
function trialsOf(runs: readonly Run[], point: Point): number {
  const here = runs.filter((run) => samePoint(run, point));
  return Math.max(0, ...here.map((run) => new Set(run.trials.map(({ index }) => index)).size));
}
