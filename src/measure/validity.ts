/**
 * Validity is a part of the result: what could make a figure say something else than it seems to, as data. Every rule looks at
 * one window and knows a threshold with its reason; its advice depends on what the user already set. Severities:
 *
 *   info      the reader should know it; the figures are what they seem
 *   warning   the figures are right, but under conditions that may not be the ones that were meant
 *   invalid   some figures of the window do not say what they seem to; with --strict the run exits 5
 */
import type {
  CompletedWindow,
  Environment,
  MaxRate,
  Phase,
  Plan,
  Report,
  Run,
  Warning,
} from '../model/report-schema.js';
import { environmentWarnings } from './environment-rules.js';
import { completedWindows, requireMetric, trialValues, type Metric } from '../model/metrics.js';
import { windowRules, type Finding, type WindowRule } from './rules.js';
import { lowestMissed, searchLimit, type SearchLimit, type SearchStep } from '../model/search-result.js';
import { pointFields, pointInWords, samePoint, type Point } from '../model/point.js';
import { grouped, percent } from '../model/words.js';

/** What the warnings are found in: a report, or what there is of one while it is measured. */
export type Measured = Pick<Report, 'plan' | 'environment' | 'runs'>;

/** Every warning of a run, the environment's first. */
export function findWarnings(measured: Measured): Warning[] {
  return [
    ...environmentWarnings(measured),
    ...measured.runs.flatMap((run) => runWarnings(run, measured.plan, measured.environment)),
  ];
}

/** True when a figure is not valid: with --strict the run exits 5. */
export function isInvalid(warnings: readonly Warning[]): boolean {
  return warnings.some((warning) => warning.severity === 'invalid');
}

function runWarnings(run: Run, plan: Plan, environment: Environment): Warning[] {
  const phases: Phase[] = ['capacity', 'latency'];
  return phases
    .flatMap((phase) => {
      const windows = completedWindows(run, phase);
      const found = windowRules.map((rule) => windowWarning(rule, run, phase, windows, plan, environment));
      return [...found, ...disagreements(run, phase)].filter((warning) => warning !== null);
    })
    .concat(searchWarnings(run));
}

/** What the searches for the highest rate did not find: the windows of their steps are in no list of trials. */
function searchWarnings(run: Run): Warning[] {
  const searches = (run.max_rate ?? []).map((found, place) => ({ found, trial: found.index ?? place }));
  const about = (
    of: readonly { trial: number }[],
    warning: Pick<Warning, 'code' | 'severity' | 'message' | 'hint' | 'figures'>,
  ): Warning[] => {
    const [first] = of;
    if (first === undefined) return [];
    const often = searches.length > 1 ? ` (${of.length} of ${searches.length} searches)` : '';
    return [
      {
        ...warning,
        message: `${run.mode} at ${pointInWords(run)}, highest rate: ${warning.message}${often}`,
        mode: run.mode,
        ...pointFields(run),
        phase: 'latency',
        trial: of.length === 1 ? first.trial : null,
      },
    ];
  };
  const limited = searches.filter(({ found }) => isHeldBack(searchLimit(found)));
  const endless = searches.filter(
    ({ found }) => searchLimit(found) === 'unfinished' && found.ended_early === undefined,
  );
  const broken = searches.filter(({ found }) => found.ended_early !== undefined);
  const lowered = searches.filter(({ found }) => lowering(found) > 0 && found.rate_per_second !== null);
  const [worst] = limited;
  const step = worst === undefined ? null : lowestMissed(worst.found);
  return [
    ...about(limited, {
      code: 'search_held_back',
      severity: 'invalid',
      message: `the server was not the limit: ${heldBackInWords(step)}; the found rate is a lower bound`,
      hint:
        step?.limited_by === 'machine'
          ? 'stop other programs on this machine, or use one that is not shared'
          : 'compare by server CPU per request, or run the client on a machine with more CPUs (--target)',
      figures: {
        rate_per_second: step?.rate_per_second ?? null,
        busy_fraction: step?.client_busy_fraction ?? null,
        send_lag_p99_ns: step?.client_send_lag_p99_ns ?? null,
      },
    }),
    ...about(lowered, {
      code: 'search_lowered',
      severity: 'info',
      message: `the rate that the search found was not sustained once more; the reported rate, ${percent(lowering(lowered[0]?.found))} lower, was`,
      hint: 'the machine is noisy, or the limit is met by chance near the highest rate',
      figures: { rate_per_second: lowered[0]?.found.rate_per_second ?? null },
    }),
    ...about(endless, {
      code: 'search_unfinished',
      severity: 'warning',
      message: 'no rate was too high for the limit; the highest that was tried is a lower bound',
      hint: 'search within a shorter limit (--find-max-rate)',
      figures: {},
    }),
    ...about(broken, {
      code: 'search_broken',
      severity: 'invalid',
      message: `the search ended early: ${broken[0]?.found.ended_early ?? ''}`,
      hint: 'a rate that it found until then is a lower bound',
      figures: { steps: broken[0]?.found.steps.length ?? null },
    }),
  ];
}

/** The share by which the confirming windows lowered the rate that the search found. */
function lowering(found: MaxRate | undefined): number {
  const first = found?.confirmations?.[0]?.rate_per_second ?? 0;
  const last = found?.rate_per_second ?? 0;
  return first > last && last > 0 ? 1 - last / first : 0;
}

function isHeldBack(limit: SearchLimit): boolean {
  return limit === 'client' || limit === 'machine';
}

function heldBackInWords(step: SearchStep | null): string {
  const rate = step === null ? 'the rate that ended the search' : `${grouped(step.rate_per_second)} requests/s`;
  switch (step?.limited_by) {
    case 'client_stopped':
      return `the client did not run for a part of the time at ${rate}`;
    case 'client_behind_schedule':
      return `the client sent behind its schedule at ${rate}`;
    case 'machine':
      return `other programs or the hypervisor took the machine's CPU time at ${rate}`;
    case 'client_saturated':
    case null:
    case undefined:
      return `the client was saturated at ${rate}`;
  }
}

/** One warning for all windows of a phase that a rule complains about, with the figures of the worst. */
function windowWarning(
  rule: WindowRule,
  run: Run,
  phase: Phase,
  windows: readonly CompletedWindow[],
  plan: Plan,
  environment: Environment,
): Warning | null {
  const context = { run, plan, environment };
  const overall = windows.length > 1 ? rule.checkAll?.(windows, context) : undefined;
  const hits = windows.flatMap((window) => {
    const finding = rule.check(window, context);
    return finding === null ? [] : [{ window, finding: overall === null ? asPartOfAll(finding) : finding }];
  });
  const [worst] = [...hits].sort((a, b) => rank(b.finding) - rank(a.finding));
  const alike = hits.filter(({ finding }) => subjectOf(finding) === subjectOf(worst?.finding));
  const ofAll = overall?.severity === 'invalid' && worst?.finding.severity !== 'invalid' ? overall : null;
  const finding = ofAll ?? worst?.finding;
  if (finding === undefined) return null;
  const often = ofAll === null ? `${alike.length} of ${windows.length} trials` : 'all trials together';
  return {
    code: rule.code,
    severity: finding.severity,
    message: `${place(run, phase)}: ${finding.message}${windows.length > 1 ? ` (${often})` : ''}`,
    hint: finding.hint,
    mode: run.mode,
    ...pointFields(run),
    phase,
    trial: ofAll === null && alike.length === 1 ? (worst?.window.index ?? null) : null,
    figures: { ...finding.figures, trials: ofAll === null ? alike.length : windows.length },
  };
}

/** Findings of one rule may be about different things, which have figures of different names. */
function subjectOf(finding: Finding | undefined): string {
  return Object.keys(finding?.figures ?? {}).join(' ');
}

/** A window whose figures are not valid, of a run whose figures are: they are those of the requests of all its windows. */
function asPartOfAll(finding: Finding): Finding {
  if (finding.severity !== 'invalid') return finding;
  return {
    ...finding,
    severity: 'warning',
    hint: `among the requests of all trials it is within bounds, so their figures are valid; to avoid it, ${finding.hint}`,
  };
}

const severityRank = { info: 0, warning: 1, invalid: 2 } as const;

/** Severity first, then how bad it is (badness is below 1e9 for every rule). */
function rank(finding: Finding): number {
  return severityRank[finding.severity] * 1e9 + Math.min(finding.badness, 1e9 - 1);
}

function place(run: Run, phase: Phase): string {
  return `${run.mode} at ${pointInWords(run)}, ${phase}`;
}

/**
 * How far the largest trial may be from the smallest. Four trials that differ by a quarter give an interval of about +-15%, which
 * hides most of what one compares for; a p99 is a rare event's time and differs more by nature.
 */
const disagreementTolerated: readonly (readonly [string, number])[] = [
  ['throughput', 1.25],
  ['server_cpu_us_per_request', 1.25],
  ['response_time_p99', 2],
];

function disagreements(run: Run, phase: Phase): Warning[] {
  return disagreementTolerated.flatMap(([name, tolerated]) => {
    const entry = requireMetric(name);
    if (!entry.phases.includes(phase)) return [];
    const values = trialValues(entry, run, phase)
      .map(({ value }) => value)
      .filter((value): value is number => value !== null && value > 0);
    if (values.length < 2) return [];
    const spread = Math.max(...values) / Math.min(...values);
    if (spread <= tolerated) return [];
    return [
      {
        code: 'trials_disagree',
        severity: 'warning',
        message: `${place(run, phase)}: the ${entry.title} of the trials differs by ${percent(spread - 1)}`,
        hint: 'quiet the machine, or take more and longer trials (--trials, --duration)',
        mode: run.mode,
        ...pointFields(run),
        phase,
        trial: null,
        figures: { smallest: Math.min(...values), largest: Math.max(...values), trials: values.length },
      },
    ];
  });
}

/* --------------------------------------------------------------------------- what a warning does to which figures */

const everything = (entry: Metric): boolean => entry.aggregate === 'median';
const atTheClient = (entry: Metric): boolean => entry.clientLimit !== 'none';

/** Metrics that an 'invalid' warning of a code spoils; counts of what happened stay facts whatever else was wrong. */
const spoils: Record<string, (entry: Metric) => boolean> = {
  // Rates become bounds (comparisons and gates treat them so); what is measured at the server stays right.
  client_saturated: (entry) => entry.clientLimit === 'time',
  behind_schedule: (entry) => entry.name.startsWith('response_time_'),
  client_stopped: atTheClient,
  // The rate becomes a bound; the windows of the trials are other windows than the search's.
  search_held_back: () => false,
  search_broken: () => false,
  cpu_stolen: atTheClient,
  cpu_taken_by_others: atTheClient,
};

/** The warning that makes a figure of a run and phase invalid; undefined when it is valid. */
export function invalidating(
  warnings: readonly Warning[],
  entry: Metric,
  run: Point & Pick<Run, 'mode'>,
  phase: Phase,
): Warning | undefined {
  return warnings.find(
    (warning) =>
      warning.severity === 'invalid' &&
      (warning.mode === null || warning.mode === run.mode) &&
      (warning.clients === null || samePoint({ ...warning, clients: warning.clients }, run)) &&
      (warning.phase === null || warning.phase === phase) &&
      (spoils[warning.code] ?? everything)(entry),
  );
}
