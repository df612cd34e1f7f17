/**
 * Comparisons of modes, each with its verdict in words. A ratio is the geometric mean over trials of
 * a / b, where both values come from the same trial index: what drifts between trials hits both and cancels.
 */
import {
  percentileNames,
  type Comparison,
  type CompletedWindow,
  type Noise,
  type Phase,
  type Plan,
  type Run,
  type Window,
} from '../model/report-schema.js';
import {
  completedWindows,
  isBeyondTimeout,
  lowerBoundReason,
  metrics,
  resolutionOf,
  trialValues,
  type Metric,
  type TrialValue,
} from '../model/metrics.js';
import { failedInWords, leftOut, leftOutOfBoth, type LeftOut } from './left-out.js';
import { clientSendsLate, ownLatenessOfAll } from './open-loop.js';
import { clientStopped } from './rules.js';
import {
  geometricMean,
  holmRejections,
  median,
  pairedRatioInterval,
  probabilityWithin,
  type RatioInterval,
} from './statistics.js';
import { perThousand } from './histogram.js';
import { leastServerShare, pooledRatioInterval, timesOf, type Times } from './tails.js';
import { formatRatioRange } from '../model/format.js';
import { distinctPoints, hasRate, pointFields, samePoint, type Point } from '../model/point.js';
import { noDifferenceSentence, ratioSentence } from './sentences.js';
import { grouped, percent } from '../model/words.js';

/** No smaller difference is claimed, however narrow the interval. */
export const claimFloor = 0.02;
/** Latency is compared at equal offered load. */
export const offeredRateTolerance = 0.01;

/** Every mode against the first of the plan, per point of the sweep, phase and metric that may be compared. */
export function compareRuns(runs: readonly Run[], plan: Plan, noise: readonly Noise[]): Comparison[] {
  const points = distinctPoints(runs).filter(({ clients }) => plan.clients.includes(clients));
  const comparisons = points.flatMap((point) => {
    const ofPoint = runs.filter((run) => samePoint(run, point));
    const base = ofPoint.find((run) => run.mode === plan.modes[0]?.mode);
    if (base === undefined) return [];
    return ofPoint
      .filter((run) => run !== base)
      .flatMap((run) =>
        metrics.flatMap((entry) =>
          comparedPhases(entry, run, plan).flatMap((phase) => compareMetric(entry, phase, run, base, plan, noise)),
        ),
      );
  });
  return corrected(comparisons);
}

/**
 * Takes back what is not claimed once all primary ratios of the report are judged together: with fifty intervals of 95%, two or three
 * exclude 1 by chance.
 */
function corrected(comparisons: readonly Comparison[]): Comparison[] {
  const family = comparisons.filter(({ p_value: p }) => typeof p === 'number');
  const rejected = holmRejections(family.map(({ p_value: p }) => p ?? 1));
  return comparisons.map((comparison) => {
    const place = family.indexOf(comparison);
    const isClaim = comparison.verdict_code === 'higher' || comparison.verdict_code === 'lower';
    if (!isClaim || place < 0 || rejected[place] === true) return comparison;
    const verdict = `no difference shown: ${comparison.verdict}; one of ${family.length} such ratios may be this far from 1 by chance`;
    return { ...comparison, verdict_code: 'no_difference_shown', verdict };
  });
}

/** What says which phases a run has: of the report's plan, or the plan of a run. */
export interface PlannedPhases {
  readonly phases: readonly Phase[];
  readonly rates?: readonly unknown[] | undefined;
}

/**
 * The phases that a run has. With a load curve, the run of each rate has its latency windows, and the run without a rate has the rest of the
 * trial.
 */
export function phasesAt(point: Point, plan: PlannedPhases): readonly Phase[] {
  if (hasRate(point)) return ['latency'];
  return isLoadCurve(plan) ? plan.phases.filter((phase) => phase !== 'latency') : plan.phases;
}

function isLoadCurve({ rates }: PlannedPhases): boolean {
  return (rates?.length ?? 0) > 0;
}

/** Whether a run has the figure at all. */
export function isMeasuredAt(entry: Metric, run: Run, plan: PlannedPhases): boolean {
  if (!isLoadCurve(plan)) return true;
  if (entry.name === 'max_rate') return !hasRate(run);
  return phasesAt(run, plan).some((phase) => entry.phases.includes(phase));
}

function comparedPhases(entry: Metric, point: Point, plan: PlannedPhases): readonly Phase[] {
  const phases = phasesAt(point, plan);
  // What happens once per trial is compared once, where the trial begins.
  if (entry.oncePerTrial && phases[0] !== plan.phases[0]) return [];
  // A search measures its own windows, whatever phases the plan has.
  if (entry.name === 'max_rate') return entry.compared;
  const wanted = phases.filter((phase) => entry.compared.includes(phase));
  return entry.oncePerTrial ? wanted.slice(0, 1) : wanted;
}

/* -------------------------------------------------------------------------------------------------------- pairs */

interface Pair {
  ratio: number;
  a: TrialValue;
  b: TrialValue;
}

interface Pairs {
  pairs: Pair[];
  /** Pairs that were left out since the two windows offered different rates. */
  unequalLoad: number;
  /** Pairs in which a percentile fell among requests without an echo: to leave them out favours the side that failed. */
  beyondTimeout: number;
}

export function pairUp(entry: Metric, phase: Phase, a: Run, b: Run): Pairs {
  const ofB = new Map(trialValues(entry, b, phase).map((value) => [value.trial, value]));
  const result: Pairs = { pairs: [], unequalLoad: 0, beyondTimeout: 0 };
  for (const one of trialValues(entry, a, phase)) {
    const { trial, value, window } = one;
    const other = ofB.get(trial);
    if (other === undefined) continue;
    if (isBeyondTimeout(entry, window) || isBeyondTimeout(entry, other.window)) result.beyondTimeout += 1;
    if (value === null || other.value === null) continue;
    if (phase === 'latency' && !offeredAlike(window, other.window)) result.unequalLoad += 1;
    // A ratio with a zero in it has no logarithm and no meaning.
    else if (value > 0 && other.value > 0) result.pairs.push({ ratio: value / other.value, a: one, b: other });
  }
  return result;
}

function pairsResolution(entry: Metric, pairs: readonly Pair[]): number {
  return resolutionOf(
    entry,
    pairs.flatMap(({ a, b }) => [a, b]),
  );
}

export interface MetricInterval extends RatioInterval {
  /** True if the ratio is that of the percentiles of all requests; false: the geometric mean over the trials. */
  pooled: boolean;
}

/** The ratio of a metric over these pairs with its 95% interval; null without a pair. */
export function intervalOf(entry: Metric, pairs: readonly Pair[]): MetricInterval | null {
  const ratios = pairs.map(({ ratio }) => ratio);
  const resolution = pairsResolution(entry, pairs);
  const paired = pairedRatioInterval(ratios, { resolution });
  if (paired === null) return null;
  const pooled = pooledInterval(entry, pairs, resolution);
  return pooled === null ? { ...paired, pooled: false } : { ...paired, ...pooled, pooled: true };
}

/** Percentiles that are decided by few requests of each trial. The others of a trial say more about it than a pause of the machine. */
const pooledPercentiles = ['p99', 'p99_9'] as const;

function pooledInterval(
  { path }: Metric,
  pairs: readonly Pair[],
  resolution: number,
): ReturnType<typeof pooledRatioInterval> {
  const [holder, field] = path.split('.');
  const percentile = pooledPercentiles.find((name) => name === field);
  if (percentile === undefined || (holder !== 'response_time_ns' && holder !== 'service_time_ns')) return null;
  const timesOfSide = (side: 'a' | 'b'): Times[] =>
    windowsOf(pairs, side).flatMap((window) => timesOf(window, holder) ?? []);
  const [a, b] = [timesOfSide('a'), timesOfSide('b')];
  // An old report, or one that somebody shortened, may lack histograms.
  if (a.length < pairs.length || b.length < pairs.length) return null;
  return pooledRatioInterval(a, b, perThousand[percentile], resolution);
}

function windowsOf(pairs: readonly Pair[], side: 'a' | 'b'): CompletedWindow[] {
  return pairs.flatMap((pair) => {
    const { window } = pair[side];
    return window?.state === 'completed' ? [window] : [];
  });
}

/** The least share of each side's figure that is the server's, 0 to 1; 0: the figure may be the client's alone. */
type ServerShares = Readonly<Record<'a' | 'b', number>>;

/**
 * A ratio of the requests of all trials is spoilt where the client was late at the percentile of all. One of the trials' percentiles is
 * not, as long as the requests of all trials are not late: the least share of the server in each late trial bounds it.
 */
function serverShares({ path }: Metric, pairs: readonly Pair[], pooled: boolean, plan: Plan): ServerShares {
  const [holder, field] = path.split('.');
  const percentile = percentileNames.find((name) => name === field);
  const shareOf = (side: 'a' | 'b'): number => {
    const windows = windowsOf(pairs, side);
    const overall = ownLatenessOfAll(windows);
    if (pooled && overall !== undefined) return overall === null ? 1 : 0;
    if (!windows.some((window) => clientSendsLate(window, plan))) return 1;
    if (overall !== null || holder !== 'response_time_ns' || percentile === undefined) return 0;
    const shares = windows.map((window) =>
      clientSendsLate(window, plan) ? (leastServerShare(window, perThousand[percentile]) ?? 0) : 1,
    );
    return geometricMean(shares) ?? 0;
  };
  return { a: shareOf('a'), b: shareOf('b') };
}

/** The same interval around the ratio that says least about the servers. */
function nearestToOne(interval: MetricInterval, { a, b }: ServerShares): MetricInterval {
  const { ratio } = interval;
  return { ...interval, ratio: ratio > 1 ? Math.max(1, ratio * a) : Math.min(1, ratio / b) };
}

/** The interval of the servers' ratio, whatever share of a late trial's figure was the client's. */
function widened(interval: MetricInterval | null, { a, b }: ServerShares): MetricInterval | null {
  if (interval === null || a === 0 || b === 0) return interval;
  const { low, high } = interval;
  return { ...interval, low: low === null ? null : low * a, high: high === null ? null : high / b };
}

/**
 * The bound of the ratio a / b where one side's percentile is beyond the timeout in some pairs: the geometric
 * mean with the timeout in its place. null where none or both sides have such a pair, or a pair has no figure at all.
 */
export function ratioBeyondTimeout(
  entry: Metric,
  phase: Phase,
  a: Run,
  b: Run,
  timeoutMs: number,
): { ratio: number; bound: 'above' | 'below' } | null {
  const ofB = new Map(trialValues(entry, b, phase).map((value) => [value.trial, value]));
  const sides = { a: false, b: false };
  const known = ({ value, window }: TrialValue, side: 'a' | 'b'): number | null => {
    if (!isBeyondTimeout(entry, window)) return value;
    sides[side] = true;
    return timeoutMs * 1e6;
  };
  const ratios = trialValues(entry, a, phase).map((one) => {
    const other = ofB.get(one.trial);
    if (other === undefined || !offeredAlike(one.window, other.window)) return null;
    const [value, from] = [known(one, 'a'), known(other, 'b')];
    return value === null || from === null || from <= 0 ? null : value / from;
  });
  const complete = ratios.filter((ratio) => ratio !== null);
  if (complete.length < ratios.length || sides.a === sides.b) return null;
  const ratio = geometricMean(complete);
  return ratio === null ? null : { ratio, bound: sides.a ? 'above' : 'below' };
}

/** True unless both rates are known and differ by more than 1%. */
export function offeredAlike(a: Window | null, b: Window | null): boolean {
  const first = a?.requests?.offered_per_second ?? null;
  const second = b?.requests?.offered_per_second ?? null;
  if (first === null || second === null || second === 0) return true;
  return Math.abs(first / second - 1) <= offeredRateTolerance;
}

/* ----------------------------------------------------------------------------------------------------- verdicts */

function compareMetric(entry: Metric, phase: Phase, a: Run, b: Run, plan: Plan, noise: readonly Noise[]): Comparison[] {
  const { pairs, unequalLoad, beyondTimeout } = pairUp(entry, phase, a, b);
  // One side does not have this figure, and it is not a primary one.
  if (pairs.length === 0 && !entry.primary) return [];
  if (pairs.length === 0 && entry.name === 'max_rate' && a.max_rate === undefined) return [];
  const measured = intervalOf(entry, pairs);
  const shares: ServerShares =
    phase === 'latency' && entry.clientLimit === 'time'
      ? serverShares(entry, pairs, measured?.pooled === true, plan)
      : { a: 1, b: 1 };
  const interval = widened(measured, shares);
  const { limit, reason: limitReason } = clientLimit(
    entry,
    phase,
    pairs.map((pair) => pair.a),
    pairs.map((pair) => pair.b),
  );
  const subject: Subject = { entry, phase, a: a.mode, b: b.mode, interval, pairs: pairs.length, limit, limitReason };
  const floor = floorOf(entry, phase, a, noise, pairsResolution(entry, pairs));
  const judgement = judge(subject, {
    unequalLoad,
    beyondTimeout,
    stopped: pairs.some(({ a: of, b: from }) => clientStopped(of.window) || clientStopped(from.window)),
    sentLate: shares.a === 0 || shares.b === 0,
    floor,
    connections: unequalConnections(a, b, phase),
    left: leftOutOfBoth(leftOut(entry, a, phase), leftOut(entry, b, phase)),
  });
  const shown = pairs.length >= 2 ? interval : null;
  return [
    {
      a: a.mode,
      b: b.mode,
      ...pointFields(a),
      phase,
      metric: entry.name,
      ratio: shown?.ratio ?? null,
      ci_low: shown?.low ?? null,
      ci_high: shown?.high ?? null,
      range_low: shown?.rangeLow ?? null,
      range_high: shown?.rangeHigh ?? null,
      pairs: pairs.length,
      ...(shown?.pooled === true ? { pooled: true } : {}),
      bound: limit === 'at_least' || limit === 'at_most' ? limit : null,
      primary: entry.primary,
      p_value:
        judgement.code === 'not_judged' || interval === null
          ? null
          : probabilityWithin(nearestToOne(interval, shares), floor.fraction),
      verdict_code: judgement.code,
      verdict: judgement.text,
    },
  ];
}

/** What a saturated client does to a ratio: makes it a bound, or (where it was the limit on both sides) takes its meaning. */
export type RatioLimit = 'at_least' | 'at_most' | 'unknown' | null;

export interface LimitedRatio {
  limit: RatioLimit;
  /** What limited it, in words; empty where nothing did. */
  reason: string;
}

/** The limit of a ratio a / b of these values. */
export function clientLimit(
  entry: Metric,
  phase: Phase,
  valuesOfA: readonly TrialValue[],
  valuesOfB: readonly TrialValue[],
): LimitedRatio {
  if (entry.clientLimit === 'none') return { limit: null, reason: '' };
  const [a, b] = [valuesOfA, valuesOfB].map((values) => values.map(lowerBoundReason).find((text) => text !== null));
  const reason = a ?? b;
  if (reason === undefined) return { limit: null, reason: '' };
  const isOfBoth = a !== undefined && b !== undefined;
  // Under an offered rate a saturated client adds to the times of either side by an amount that nobody knows.
  if (isOfBoth || (phase === 'latency' && entry.clientLimit === 'time')) return { limit: 'unknown', reason };
  return { limit: (a !== undefined) === (entry.clientLimit === 'rate') ? 'at_least' : 'at_most', reason };
}

interface Subject {
  entry: Metric;
  phase: Phase;
  a: string;
  b: string;
  interval: RatioInterval | null;
  pairs: number;
  limit: RatioLimit;
  /** In words; empty where there is no limit. */
  limitReason: string;
}

interface Circumstances {
  unequalLoad: number;
  beyondTimeout: number;
  stopped: boolean;
  sentLate: boolean;
  floor: Floor;
  /** In words, where one side had fewer connections; else empty. */
  connections: string;
  left: LeftOut;
}

interface Judgement {
  code: Comparison['verdict_code'];
  text: string;
}

function judge(subject: Subject, circumstances: Circumstances): Judgement {
  const { entry, interval, pairs } = subject;
  const { failed, unknown } = circumstances.left;
  const failure = failedInWords(circumstances.left);
  const notJudged = (text: string): Judgement => ({
    code: 'not_judged',
    text: failure === '' ? text : `${text}, ${failure}`,
  });
  if (interval === null) return notJudged(withoutPairs(subject, circumstances));
  if (pairs === 1) return notJudged(`one trial gives no ratio for ${entry.title}: its error is not known`);
  const { ratio, low, high } = interval;
  if (low === null || high === null) return notJudged(rangeInWords(subject, interval));
  const known = unknown.size === 0 ? '' : ` (known in ${pairs} of ${pairs + unknown.size} trials)`;
  const limit = subject.limit === 'unknown' ? null : subject.limit;
  const words = { entry, a: subject.a, b: subject.b, ratio, low, high, limit };
  const sentence = ratioSentence(words) + circumstances.connections + known;
  if (!entry.primary) return notJudged(sentence);
  // Those that failed may have been the slow ones: the mode is not judged by the others.
  if (failed.size > 0) return notJudged(sentence);
  if (circumstances.beyondTimeout > 0) {
    return notJudged(`${sentence}, without ${circumstances.beyondTimeout} trials in which it was beyond the timeout`);
  }
  if (circumstances.stopped && entry.clientLimit !== 'none') {
    return notJudged(`${sentence}, but the load generator did not run for a part of a window`);
  }
  if (subject.limit === 'unknown') return notJudged(`${sentence}, but ${subject.limitReason}: ${insteadOf(subject)}`);
  if (circumstances.sentLate) {
    return notJudged(`${sentence}, but the client sent behind its schedule`);
  }
  const { fraction, reason: floorReason } = circumstances.floor;
  const higher = low > 1 + fraction && limit !== 'at_most';
  const lower = high < 1 / (1 + fraction) && limit !== 'at_least';
  if (higher || lower) {
    const reason = limit === null ? '' : `: ${subject.limitReason}`;
    return { code: higher ? 'higher' : 'lower', text: sentence + reason };
  }
  if (limit !== null) return notJudged(`${sentence}: ${subject.limitReason}; ${insteadOf(subject)}`);
  const excludesOne = low > 1 || high < 1;
  const reason = excludesOne ? `; ${floorReason} ${percent(fraction)}` : '';
  return { code: 'no_difference_shown', text: noDifferenceSentence(words) + circumstances.connections + reason };
}

function rangeInWords({ entry, a, b }: Subject, { rangeLow, rangeHigh }: RatioInterval): string {
  return `${a} had ${formatRatioRange(rangeLow, rangeHigh)} the ${entry.title} of ${b}; two trials give no interval`;
}

function withoutPairs({ entry, a, b }: Subject, { unequalLoad, beyondTimeout }: Circumstances): string {
  if (beyondTimeout > 0) return `${entry.title} of ${a} or ${b} was beyond the timeout and is not compared`;
  return unequalLoad > 0
    ? `${a} and ${b} were offered different rates: ${entry.title} is not compared`
    : `${entry.title} is not known for both ${a} and ${b}`;
}

/** Where to look when the load generator was the limit. */
function insteadOf({ entry }: Subject): string {
  return entry.clientLimit === 'rate' ? 'see server CPU per request' : 'offer a lower rate';
}

function unequalConnections(a: Run, b: Run, phase: Phase): string {
  const made = [a, b].map((run) => {
    const windows = completedWindows(run, phase);
    return median(windows.map((window) => window.connections.made)) ?? 0;
  });
  const [ofA = 0, ofB = 0] = made;
  if (Math.min(ofA, ofB) >= 0.99 * Math.max(ofA, ofB)) return '';
  const [fewer, count] = ofA < ofB ? [a, ofA] : [b, ofB];
  return ` (${fewer.mode} with ${grouped(count)} connections, the other with ${grouped(Math.max(ofA, ofB))})`;
}

/* -------------------------------------------------------------------------------------------------- noise floor */

interface Floor {
  fraction: number;
  /** Where it comes from, to be followed by its size. */
  reason: string;
}

function floorOf(entry: Metric, phase: Phase, point: Point, noise: readonly Noise[], resolution: number): Floor {
  const floors: Floor[] = [
    { fraction: claimFloor, reason: 'no claim is made below' },
    { fraction: resolution, reason: 'the searches were no finer than' },
    { fraction: noiseOf(entry.name, phase, point, noise) ?? 0, reason: 'the noise floor is' },
  ];
  return floors.reduce((highest, floor) => (floor.fraction > highest.fraction ? floor : highest));
}

/** The measured floor at this point of the sweep, else the largest at any; null where none was measured. */
export function noiseOf(metric: string, phase: Phase, point: Point, noise: readonly Noise[]): number | null {
  const known = noise.filter((entry) => entry.metric === metric && entry.phase === phase);
  const exact = known.filter((entry) => samePoint(entry, point));
  const used = exact.length > 0 ? exact : known;
  return used.length === 0 ? null : Math.max(...used.map((entry) => entry.fraction));
}

/**
 * The noise floor of the machine, from runs of one mode against itself: how far the interval of a ratio that is truly 1 reaches
 * from 1 (with fewer than three pairs: how far the single ratios do). The first two runs of each point are compared.
 */
export function noiseFloor(runs: readonly Run[], plan: PlannedPhases): Noise[] {
  return distinctPoints(runs).flatMap((point) => {
    const [b, a] = runs.filter((run) => samePoint(run, point));
    if (a === undefined || b === undefined) return [];
    return metrics.flatMap((entry) =>
      comparedPhases(entry, point, plan).flatMap((phase) => {
        const { pairs } = pairUp(entry, phase, a, b);
        const interval = intervalOf(entry, pairs);
        if (interval === null) return [];
        const low = interval.low ?? interval.rangeLow;
        const high = interval.high ?? interval.rangeHigh;
        const fraction = Math.max(Math.abs(high - 1), Math.abs(1 - low));
        return [{ metric: entry.name, ...pointFields(point), phase, fraction }];
      }),
    );
  });
}
