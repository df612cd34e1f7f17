/**
 * Two saved reports against each other. Their trials are not paired in time, so the ratio head / base of each figure is one of two
 * independent samples: Welch's interval on the logs. A change is claimed only where the whole interval is beyond 2% and beyond
 * both reports' measured noise floors, and only on primary metrics.
 */
import type { Gate, Phase, Report, Run } from '../model/report-schema.js';
import { claimFloor, clientLimit, noiseOf, offeredRateTolerance, type LimitedRatio } from './comparisons.js';
import { gateOf, holds, isAtPoint, type GateExpression, type JudgedFigure } from './gate-expression.js';
import {
  completedWindows,
  isBeyondTimeout,
  metrics,
  resolutionOf,
  trialValues,
  type Metric,
  type TrialValue,
} from '../model/metrics.js';
import { runValue, worstValue } from './run-values.js';
import { pointFields, pointName, samePoint, type Point } from '../model/point.js';
import { sameSearchLimits, searchLimitsInWords } from '../model/search-result.js';
import { holmRejections, median, probabilityWithin, unpairedRatioInterval, type RatioInterval } from './statistics.js';
import { leftOut } from './left-out.js';
import { differencesOf, type Differences } from './plan-differences.js';
import { invalidating } from './validity.js';
import { formatRatio } from '../model/format.js';
import { changeSentence } from './sentences.js';
import { grouped, percent, valueInWords } from '../model/words.js';

export interface Change {
  mode: string;
  clients: number;
  work_us?: number | null;
  wait_ms?: number | null;
  rate_per_second?: number | null;
  rate_fraction?: number | null;
  phase: Phase;
  metric: string;
  title: string;
  unit: Metric['unit'];
  primary: boolean;
  /** What each report's table shows. */
  base: number | null;
  head: number | null;
  /** head / base, geometric means over trials. */
  ratio: number | null;
  ci_low: number | null;
  ci_high: number | null;
  /** The share below which no change is claimed. */
  floor: number;
  verdict_code: 'better' | 'worse' | 'no_change_shown' | 'not_judged';
  verdict: string;
  /** Whether something prevents a claim, such as a failed trial or a client that was the limit. A gate on it is undecided. */
  blocked: boolean;
  /** Of a change that is judged: how likely it is without one, before Holm's correction for all of them; null elsewhere. */
  p_value: number | null;
}

export interface ReportDiff extends Differences {
  changes: Change[];
  /** Runs that only one of the reports has. */
  unmatched: string[];
}

/** Compares what both reports measured. Where `refusals` is not empty there are no changes: the figures mean different things. */
export function diffReports(base: Report, head: Report): ReportDiff {
  const differences = differencesOf(base, head);
  const unmatched = [
    ...base.runs.filter((run) => sameRun(head, run) === undefined).map((run) => `${nameOf(run)} is only in the base`),
    ...head.runs.filter((run) => sameRun(base, run) === undefined).map((run) => `${nameOf(run)} is only in the head`),
  ];
  const matched = base.runs.flatMap((run) => {
    const other = sameRun(head, run);
    return other === undefined ? [] : [{ base: run, head: other }];
  });
  const refusals = [...differences.refusals];
  if (matched.length === 0) refusals.push(nothingInCommon(base, head));
  if (refusals.length > 0) return { ...differences, refusals, changes: [], unmatched };
  const changes = corrected(matched.flatMap((runs) => changesOf(runs, base, head, differences.otherMachine)));
  return { ...differences, refusals, changes, unmatched };
}

/** As for the comparisons of one report: all judged changes are one family. */
function corrected(changes: readonly Change[]): Change[] {
  const family = changes.filter(({ p_value: p }) => p !== null);
  const rejected = holmRejections(family.map(({ p_value: p }) => p ?? 1));
  return changes.map((change) => {
    const place = family.indexOf(change);
    const isClaim = change.verdict_code === 'better' || change.verdict_code === 'worse';
    if (!isClaim || place < 0 || rejected[place] === true) return change;
    const claim = change.verdict.replace(/, (better|worse)$/, '');
    const verdict = `no change shown: ${claim}; one of ${family.length} such ratios may be this far from 1 by chance`;
    return { ...change, verdict_code: 'no_change_shown', verdict };
  });
}

function sameRun(report: Report, run: Run): Run | undefined {
  return report.runs.find((other) => other.mode === run.mode && samePoint(other, run));
}

function nothingInCommon(base: Report, head: Report): string {
  const isOtherService = base.runs.some((run) =>
    head.runs.some((other) => other.mode === run.mode && other.clients === run.clients),
  );
  return isOtherService
    ? 'the reports have no work and wait per request in common'
    : 'the reports have no mode and number of clients in common';
}

function nameOf(run: Run): string {
  return pointName(run.mode, run);
}

interface RunPair {
  base: Run;
  head: Run;
}

function changesOf(runs: RunPair, base: Report, head: Report, otherMachine: boolean): Change[] {
  return metrics.flatMap((entry) => {
    if (entry.aggregate === 'worst') return countChange(entry, runs);
    const phases = entry.oncePerTrial ? entry.compared.slice(0, 1) : entry.compared;
    return phases.flatMap((phase) => metricChange(entry, phase, runs, { base, head, otherMachine }));
  });
}

/** Counts are reported where they differ. A ratio of counts that should be zero would say nothing. */
function countChange(entry: Metric, runs: RunPair): Change[] {
  const base = worstValue(entry, runs.base);
  const head = worstValue(entry, runs.head);
  if (base === head || base === null || head === null) return [];
  return [
    withoutRatio(
      entry,
      entry.phases[0] ?? 'capacity',
      runs,
      { base, head },
      `${entry.title} of ${runs.head.mode}: ${grouped(base)}, then ${grouped(head)}`,
    ),
  ];
}

function subjectOf(
  entry: Metric,
  phase: Phase,
  { head }: RunPair,
): Pick<Change, 'mode' | keyof Point | 'phase' | 'metric' | 'title' | 'unit' | 'primary'> {
  return {
    mode: head.mode,
    ...pointFields(head),
    phase,
    metric: entry.name,
    title: entry.title,
    unit: entry.unit,
    primary: entry.primary,
  };
}

/** A change of which no ratio is made, with what is said in its place. */
function withoutRatio(
  entry: Metric,
  phase: Phase,
  runs: RunPair,
  figures: Pick<Change, 'base' | 'head'>,
  verdict: string,
): Change {
  return {
    ...subjectOf(entry, phase, runs),
    ...figures,
    ratio: null,
    ci_low: null,
    ci_high: null,
    floor: 0,
    p_value: null,
    verdict_code: 'not_judged',
    verdict,
    blocked: true,
  };
}

interface Reports {
  base: Report;
  head: Report;
  otherMachine: boolean;
}

/** A percentile that is beyond the timeout in every trial of a side has no ratio, and is reported all the same. */
function beyondTimeoutChange(
  entry: Metric,
  phase: Phase,
  runs: RunPair,
  before: readonly TrialValue[],
  after: readonly TrialValue[],
): Change[] {
  const isBeyond = (values: readonly TrialValue[]): boolean =>
    values.some(({ window }) => isBeyondTimeout(entry, window));
  if (!isBeyond(before) && !isBeyond(after)) return [];
  const [base, head] = [runValue(entry, runs.base, phase), runValue(entry, runs.head, phase)];
  const inWords = (value: number | null, values: readonly TrialValue[]): string =>
    isBeyond(values) ? 'beyond the timeout' : value === null ? 'not known' : valueInWords(value, entry.unit);
  return [
    withoutRatio(
      entry,
      phase,
      runs,
      { base, head },
      `${runs.head.mode}: the ${entry.title} was ${inWords(base, before)}, then ${inWords(head, after)}: not judged`,
    ),
  ];
}

/** Two searches within different limits found different figures: no ratio is made of them. */
function searchLimitsChange(entry: Metric, phase: Phase, runs: RunPair): Change[] {
  const [before, after] = [runs.base, runs.head].map(searchLimitsInWords);
  return [
    withoutRatio(
      entry,
      phase,
      runs,
      { base: runValue(entry, runs.base, phase), head: runValue(entry, runs.head, phase) },
      `${runs.head.mode}: the ${entry.title} is not judged: it was searched with ${before ?? ''}, then with ${after ?? ''}`,
    ),
  ];
}

function metricChange(entry: Metric, phase: Phase, runs: RunPair, reports: Reports): Change[] {
  if (entry.name === 'max_rate' && !sameSearchLimits(runs.base, runs.head)) {
    return searchLimitsChange(entry, phase, runs);
  }
  const before = trialValues(entry, runs.base, phase);
  const after = trialValues(entry, runs.head, phase);
  const positive = (values: typeof before): number[] =>
    values.map(({ value }) => value).filter((value): value is number => value !== null && value > 0);
  const resolution = resolutionOf(entry, [...before, ...after]);
  const interval = unpairedRatioInterval(positive(before), positive(after), { resolution });
  if (interval === null) return beyondTimeoutChange(entry, phase, runs, before, after);
  const floor = Math.max(
    claimFloor,
    resolution,
    noiseOf(entry.name, phase, runs.base, reports.base.noise) ?? 0,
    noiseOf(entry.name, phase, runs.head, reports.head.noise) ?? 0,
  );
  const limit = clientLimit(entry, phase, after, before);
  const beyondTimeout = [...before, ...after].some(({ window }) => isBeyondTimeout(entry, window));
  const obstacle = obstacleOf(entry, phase, runs, reports, limit, beyondTimeout);
  const judgement = judge(entry, runs.head.mode, interval, floor, limit, obstacle);
  return [
    {
      ...subjectOf(entry, phase, runs),
      base: runValue(entry, runs.base, phase),
      head: runValue(entry, runs.head, phase),
      ratio: interval.ratio,
      ci_low: interval.low,
      ci_high: interval.high,
      floor,
      p_value: judgement.verdict_code === 'not_judged' ? null : probabilityWithin(interval, floor),
      ...judgement,
    },
  ];
}

/** Why nothing may be claimed on a figure, in words; null when nothing is in the way. */
function obstacleOf(
  entry: Metric,
  phase: Phase,
  runs: RunPair,
  reports: Reports,
  { limit, reason: limitReason }: LimitedRatio,
  beyondTimeout: boolean,
): string | null {
  if (reports.otherMachine) return 'the reports are from different machines';
  if (entry.name !== 'max_rate' && phase === 'latency' && !sameOfferedRate(runs)) return 'the offered rates differ';
  const failed = leftOut(entry, runs.base, phase).failed.size + leftOut(entry, runs.head, phase).failed.size;
  if (failed > 0) return `${failed} ${failed === 1 ? 'trial' : 'trials'} failed`;
  if (beyondTimeout) return 'it was beyond the timeout in some trials';
  if (limit === 'unknown') return limitReason;
  const invalid =
    invalidating(reports.base.warnings, entry, runs.base, phase) ??
    invalidating(reports.head.warnings, entry, runs.head, phase);
  return invalid === undefined ? null : `it is not valid (${invalid.code})`;
}

function sameOfferedRate({ base, head }: RunPair): boolean {
  const [before, after] = [base, head].map((run) =>
    median(completedWindows(run, 'latency').map((window) => window.requests.offered_per_second ?? 0)),
  );
  if (!before || !after) return false;
  return Math.abs(after / before - 1) <= offeredRateTolerance;
}

type Judgement = Pick<Change, 'verdict_code' | 'verdict' | 'blocked'>;

function judge(
  entry: Metric,
  mode: string,
  interval: RatioInterval,
  floor: number,
  { limit, reason: limitReason }: LimitedRatio,
  obstacle: string | null,
): Judgement {
  const notJudged = (text: string, blocked: boolean): Judgement => ({
    verdict_code: 'not_judged',
    verdict: text,
    blocked,
  });
  const { ratio, low, high } = interval;
  if (low === null || high === null) {
    const obstacleText = obstacle === null ? '' : `; not judged: ${obstacle}`;
    return notJudged(
      `${mode}: ${formatRatio(ratio)} the ${entry.title}; one trial gives no interval${obstacleText}`,
      true,
    );
  }
  const sentence = changeSentence({ entry, a: mode, ratio, low, high, limit: limit === 'unknown' ? null : limit });
  if (obstacle !== null) return notJudged(`${sentence}, not judged: ${obstacle}`, true);
  if (!entry.primary) return notJudged(sentence, false);
  const higher = low > 1 + floor && limit !== 'at_most';
  const lower = high < 1 / (1 + floor) && limit !== 'at_least';
  if (higher || lower) {
    const better = higher === (entry.better === 'higher');
    return {
      verdict_code: better ? 'better' : 'worse',
      verdict: `${sentence}, ${better ? 'better' : 'worse'}`,
      blocked: false,
    };
  }
  if (limit !== null) return notJudged(`${sentence}, not judged: ${limitReason}`, true);
  return {
    verdict_code: 'no_change_shown',
    verdict: `no change shown: ${sentence}; changes beyond ${percent(floor)} are claimed`,
    blocked: false,
  };
}

/* -------------------------------------------------------------------------------------------------------- gates */

/**
 * A gate on a change: held where the ratio meets the condition and differs from 1 by more than its own error and both noise
 * floors; a ratio that meets it within the noise is no change shown and does not hold. Without an interval, or with something in
 * the way of a claim, it is undecided.
 */
export function evaluateChangeGate(gate: GateExpression, diff: ReportDiff): Gate {
  const changes = diff.changes.filter(
    (change) =>
      change.metric === gate.metric.name &&
      (gate.mode === 'any' || change.mode === gate.mode) &&
      isAtPoint(gate, change),
  );
  // As for a report: of a metric with two phases, the first that was measured.
  const phase = gate.metric.phases.find((candidate) => changes.some((change) => change.phase === candidate));
  const figures = changes.filter((change) => change.phase === phase).map((change) => judgeChange(gate, change));
  return gateOf(gate, figures, `no change of ${gate.metric.title} of ${gate.mode} could be computed`);
}

function judgeChange(gate: GateExpression, change: Change): JudgedFigure {
  const figure = { mode: change.mode, ...pointFields(change), phase: change.phase, value: change.ratio };
  const before = change.base === null ? '?' : valueInWords(change.base, change.unit);
  const after = change.head === null ? '?' : valueInWords(change.head, change.unit);
  const text = `${change.verdict} (${before}, then ${after})`;
  const { ratio, ci_low: low, ci_high: high } = change;
  if (ratio === null || low === null || high === null || change.blocked) return { ...figure, held: null, reason: text };
  const meets = holds(ratio, 'exact', gate.operator, gate.threshold) === true;
  const isChange = low > 1 + change.floor || high < 1 / (1 + change.floor);
  // A threshold on the near side of 1 ("> 0.9") asks for sameness: then there is no change to show.
  const asksForChange = holds(1, 'exact', gate.operator, gate.threshold) !== true;
  return { ...figure, held: meets && (isChange || !asksForChange), reason: text };
}
