/**
 * A load curve: response time against offered load. In a report, the run of each rate holds the latency windows of that rate. Here they are
 * put together, and the knee of each mode is found.
 */
import { isBeyondTimeout, resolutionOf, requireMetric, trialValues, type Metric } from '../model/metrics.js';
import { distinctPoints, hasRate, pointInWords, pointKey, rateLabel, type Point } from '../model/point.js';
import type { Comparison, CompletedWindow, Phase, Plan, Run } from '../model/report-schema.js';
import { duration } from '../model/words.js';
import { heldBackBy } from './rules.js';
import { runValue } from './run-values.js';
import { curveSentence, kneeSentence, noKneeSentence, unknownKneeSentence } from './sentences.js';
import { pairedRatioInterval } from './statistics.js';

/** A mode is beyond its knee where its p99 exceeds this many times its value at the lowest rate. */
const kneeFactor = 10;

/** A figure of a run, at one rate or at full load: the median of the trials, and the interval of their mean; with two trials their range. */
export interface CurveFigure {
  readonly value: number | null;
  readonly low: number | null;
  readonly high: number | null;
}

export function figureAt(entry: Metric, run: Run, phase: Phase = 'latency'): CurveFigure {
  const values = trialValues(entry, run, phase);
  const known = values.flatMap(({ value }) => (value !== null && value > 0 ? [value] : []));
  const isWhole = known.length === values.length;
  const interval = isWhole ? pairedRatioInterval(known, { resolution: resolutionOf(entry, values) }) : null;
  const [low, high] =
    known.length < 2 ? [null, null] : [interval?.low ?? interval?.rangeLow, interval?.high ?? interval?.rangeHigh];
  return { value: runValue(entry, run, phase), low: low ?? null, high: high ?? null };
}

/** What is the same at all rates of a load curve: one point per curve of the report. */
export function curvesOf(runs: readonly Run[]): Point[] {
  return distinctPoints(
    runs.filter(hasRate).map(({ clients, work_us, wait_ms }): Point => ({ clients, work_us, wait_ms })),
  );
}

/** The points of one curve, by ascending rate. */
export function curvePoints(runs: readonly Run[], around: Point): Point[] {
  const isOfCurve = ({ clients, work_us, wait_ms }: Run): boolean =>
    pointKey({ clients, work_us, wait_ms }) === pointKey(around);
  return distinctPoints(runs.filter((run) => hasRate(run) && isOfCurve(run))).sort(
    (a, b) => (a.rate_per_second ?? 0) - (b.rate_per_second ?? 0),
  );
}

/** The knee of each mode, and at which rates the modes differ: a sentence each. */
export function describeLoadCurves(runs: readonly Run[], comparisons: readonly Comparison[], plan: Plan): string[] {
  const curves = curvesOf(runs);
  return curves.flatMap((around) => {
    const where = curves.length === 1 ? '' : `at ${pointInWords(around)}: `;
    const points = curvePoints(runs, around);
    const keys = new Set(points.map(pointKey));
    const modes = [...new Set(runs.filter((run) => keys.has(pointKey(run))).map(({ mode }) => mode))];
    const ofMode = (mode: string): Run[] =>
      points.flatMap((point) => runs.find((run) => run.mode === mode && pointKey(run) === pointKey(point)) ?? []);
    return [
      ...modes.flatMap((mode) => describeKnee(mode, ofMode(mode), plan).map(({ text }) => text)),
      ...describeDifferences(comparisons.filter((comparison) => keys.has(pointKey(comparison)))),
    ].map((text) => where + text);
  });
}

/** A sentence on the knee of a mode. `isKnown`: it says where the knee is, or that there is none. */
export interface KneeConclusion {
  readonly text: string;
  readonly isKnown: boolean;
}

/**
 * The knee of one mode; empty with fewer than two measured rates.
 * @param runs of one mode, by ascending rate
 */
export function describeKnee(mode: string, runs: readonly Run[], plan: Plan): KneeConclusion[] {
  const unknown = (reason: string): KneeConclusion[] => [{ text: unknownKneeSentence(mode, reason), isKnown: false }];
  const p99 = requireMetric('response_time_p99');
  const measured = runs.filter((run) => run.trials.length > 0);
  const [lowest] = measured;
  const highest = measured.at(-1);
  if (lowest === undefined || highest === undefined || lowest === highest) return [];
  const first = runValue(p99, lowest, 'latency');
  if (first === null || first <= 0) {
    return unknown(`response time p99 at the lowest rate, ${rateLabel(lowest)}, is not known`);
  }
  let last = lowest;
  for (const run of measured) {
    const limited = limitedBy(run, plan);
    if (limited !== null) return unknown(`${limited} at ${rateLabel(run)}`);
    const value = runValue(p99, run, 'latency');
    if (value !== null && value <= kneeFactor * first) {
      last = run;
      continue;
    }
    if (value === null && !trialValues(p99, run, 'latency').some(({ window }) => isBeyondTimeout(p99, window))) {
      return unknown(`response time p99 at ${rateLabel(run)} is not known`);
    }
    const beyond = { at: rateLabel(run), p99: value === null ? 'beyond the timeout' : duration(value) };
    const start = { at: rateLabel(lowest), p99: duration(first) };
    const text = kneeSentence({ mode, factor: kneeFactor, lowest: start, last: rateLabel(last), beyond });
    return [{ text, isKnown: true }];
  }
  const ratio = (runValue(p99, highest, 'latency') ?? first) / first;
  const text = noKneeSentence({ mode, lowest: rateLabel(lowest), highest: rateLabel(highest), ratio });
  return [{ text, isKnown: true }];
}

const limits = {
  client_saturated: 'the client was saturated',
  client_behind_schedule: 'the client sent behind its schedule',
  client_stopped: 'the client did not run for a part of the time',
  machine: "other programs or the hypervisor took the machine's CPU time",
} as const;

/** What other than the server made most of the times at this rate, in words; null: nothing did. */
function limitedBy(run: Run, plan: Plan): string | null {
  const completed = run.trials.filter((window): window is CompletedWindow => window.state === 'completed');
  const held = completed.flatMap((window) => heldBackBy(window, plan) ?? []);
  const [first] = held;
  return first === undefined || held.length * 2 <= completed.length ? null : limits[first];
}

/** At which rates of one curve the modes differ in response time p99: a sentence per pair of modes that was judged. */
export function describeDifferences(comparisons: readonly Comparison[]): string[] {
  const p99 = requireMetric('response_time_p99');
  const ofP99 = comparisons.filter(({ metric }) => metric === p99.name);
  const pairs = [...new Set(ofP99.map(({ a }) => a))];
  return pairs.flatMap((mode) => {
    const ofPair = ofP99.filter(({ a }) => a === mode);
    const [first] = ofPair;
    if (first === undefined || ofPair.every(({ verdict_code: code }) => code === 'not_judged')) return [];
    const ratesWith = (code: Comparison['verdict_code']): string[] =>
      ofPair.filter((comparison) => comparison.verdict_code === code).map(rateLabel);
    return [
      curveSentence({
        title: p99.title,
        a: first.a,
        b: first.b,
        lower: ratesWith('lower'),
        higher: ratesWith('higher'),
        none: ratesWith('no_difference_shown'),
        unjudged: ratesWith('not_judged'),
      }),
    ];
  });
}
