/**
 * Gates: conditions on the figures of a report that make a run fail. A gate judges the figure that the table shows: the median of
 * the trials, the worst for counts, and for a ratio the geometric mean of the paired trials; its interval is printed with it but
 * not required, so that a gate means the same with one trial as with ten. A figure that is missing, invalid, or only bounded by a
 * saturated client on the wrong side leaves the gate undecided, which is never a pass.
 */
import { BenchError } from '../model/errors.js';
import type { Gate, Phase, Plan, Report, Run } from '../model/report-schema.js';
import { clientLimit, intervalOf, isMeasuredAt, pairUp, phasesAt, ratioBeyondTimeout } from './comparisons.js';
import {
  gateOf,
  holds,
  isAtPoint,
  isSameTime,
  rateInWords,
  selectionInWords,
  type FigureBound,
  type GateExpression,
  type JudgedFigure,
} from './gate-expression.js';
import type { OfferedRate } from '../model/parse.js';
import { lowerBoundReason, preferredPhase, trialValues } from '../model/metrics.js';
import { lowerBoundBeyondTimeout, runValue, worstValue } from './run-values.js';
import { failedInWords, leftOut, leftOutOfBoth } from './left-out.js';
import { invalidating } from './validity.js';
import { formatRatioWithInterval } from '../model/format.js';
import { pointFields, pointName, samePoint, timeText, waitOf, workOf } from '../model/point.js';
import { grouped, valueInWords } from '../model/words.js';

export { parseChangeGate, parseGate, type GateExpression } from './gate-expression.js';

function checkRate({ rate: wanted, expression }: GateExpression, rates: readonly OfferedRate[]): void {
  if (wanted === null) return;
  const isWanted = ({ perSecond, fraction }: OfferedRate): boolean =>
    wanted.perSecond === perSecond && wanted.fraction === fraction;
  if (rates.some(isWanted)) return;
  throw new BenchError(
    'usage',
    `'${expression}' selects a rate that is not measured:${rateInWords(wanted)}`,
    rates.length === 0
      ? 'only a load curve has several rates, for example --rate 30%,50%,70%'
      : `the rates are${rates.map(rateInWords).join(',')}`,
  );
}

/** Refuses, before any work, a gate on a mode, size or phase that the plan does not have. */
export function checkGate(
  gate: GateExpression,
  plan: {
    modes: readonly string[];
    clients: readonly number[];
    /** µs per request. */
    works: readonly number[];
    /** ms per request. */
    waits: readonly number[];
    /** Of a load curve; empty for a single rate. */
    rates: readonly OfferedRate[];
    phases: readonly Phase[];
    maxRate: boolean;
  },
): void {
  for (const mode of [gate.mode, gate.base]) {
    if (mode !== null && mode !== 'any' && !plan.modes.includes(mode)) {
      throw new BenchError(
        'usage',
        `'${gate.expression}' names the mode '${mode}', which is not compared`,
        `expected one of ${plan.modes.join(', ')}${mode === gate.mode ? ' or any' : ''}`,
      );
    }
  }
  if (gate.clients !== null && !plan.clients.includes(gate.clients)) {
    throw new BenchError(
      'usage',
      `'${gate.expression}' asks for ${grouped(gate.clients)} clients, which are not measured`,
      `expected one of ${plan.clients.join(', ')}`,
    );
  }
  for (const [name, asked, measured, unitNs] of [
    ['work', gate.workUs, plan.works, 1e3],
    ['wait', gate.waitMs, plan.waits, 1e6],
  ] as const) {
    if (asked === null || measured.some((value) => isSameTime(value, asked))) continue;
    const inWords = (value: number): string => timeText(value * unitNs);
    throw new BenchError(
      'usage',
      `'${gate.expression}' selects ${name}=${inWords(asked)}, which is not measured`,
      `expected one of ${measured.map(inWords).join(', ')}`,
    );
  }
  checkRate(gate, plan.rates);
  if (gate.metric.name === 'max_rate') {
    if (!plan.maxRate) throw new BenchError('usage', `'${gate.expression}' needs a search`, 'add --find-max-rate');
    return;
  }
  if (!gate.metric.phases.some((phase) => plan.phases.includes(phase))) {
    throw new BenchError(
      'usage',
      `'${gate.expression}' is about the ${gate.metric.phases.join(' or ')} phase, which is not measured`,
      'add it to --phases',
    );
  }
}

/** The same for the plan of a saved report. */
export function checkGateAgainst(gate: GateExpression, report: { plan: Plan; runs: readonly Run[] }): void {
  checkGate(gate, {
    modes: report.plan.modes.map(({ mode }) => mode),
    clients: report.plan.clients,
    works: [...new Set(report.runs.map(workOf))],
    waits: [...new Set(report.runs.map(waitOf))],
    rates: (report.plan.rates ?? []).map(({ per_second: perSecond, fraction }) => ({ perSecond, fraction })),
    phases: report.plan.phases,
    maxRate: report.runs.some((run) => run.max_rate !== undefined),
  });
}

export function evaluateGate(gate: GateExpression, report: Report): Gate {
  const runs = report.runs.filter(
    (run) =>
      (gate.mode === 'any' ? run.mode !== gate.base : run.mode === gate.mode) &&
      isAtPoint(gate, run) &&
      isMeasuredAt(gate.metric, run, report.plan),
  );
  const figures = runs.map((run) =>
    gate.base === null ? judgeFigure(gate, run, report) : judgeRatio(gate, run, gate.base, report),
  );
  return gateOf(gate, figures, `the report has no run of ${gate.mode}${selectionInWords(gate)}`);
}

/* ------------------------------------------------------------------------------------------------ plain figures */

function judgeFigure(gate: GateExpression, run: Run, report: Report): JudgedFigure {
  const { metric } = gate;
  const place = pointName(run.mode, run);
  if (metric.aggregate === 'worst') return judgeCount(gate, run, place);
  const phase = preferredPhase(metric, run);
  const value = runValue(metric, run, phase);
  const undecided = (reason: string): JudgedFigure => ({ ...asked(run, phase), value, held: null, reason });
  if (value === null) return judgeBeyondTimeout(gate, run, phase, report);
  const text = `${place}: ${metric.title} ${valueInWords(value, metric.unit)}`;
  const invalid = invalidating(report.warnings, metric, run, phase);
  if (invalid !== undefined) return undecided(`${text} is not valid (${invalid.code})`);
  const limited =
    metric.clientLimit === 'rate'
      ? trialValues(metric, run, phase)
          .map(lowerBoundReason)
          .find((text) => text !== null)
      : undefined;
  const bound: FigureBound = limited === undefined ? 'exact' : 'at_least';
  const held = holds(value, bound, gate.operator, gate.threshold);
  if (held === null) return undecided(`${text} or more: ${limited ?? ''}`);
  const failure = failedInWords(leftOut(metric, run, phase));
  // Those that failed may have been the slow ones: the others are no pass.
  if (!held && failure !== '') return undecided(`${text}, ${failure}`);
  return { ...asked(run, phase), value, held, reason: text };
}

/** A percentile among requests without an echo has no value, but it is known to exceed the timeout. */
function judgeBeyondTimeout(gate: GateExpression, run: Run, phase: Phase, report: Report): JudgedFigure {
  const { metric } = gate;
  const place = pointName(run.mode, run);
  const figure = { ...asked(run, phase), value: null };
  const bound = lowerBoundBeyondTimeout(metric, run, phase, report.plan.timeout_ms);
  if (bound === null) return { ...figure, held: null, reason: `${place}: the ${metric.title} is not known` };
  const text = `${place}: ${metric.title} above ${valueInWords(bound, metric.unit)}, since requests had no echo within the timeout`;
  const invalid = invalidating(report.warnings, metric, run, phase);
  if (invalid !== undefined) return { ...figure, held: null, reason: `${text}, is not valid (${invalid.code})` };
  return { ...figure, held: holds(bound, 'above', gate.operator, gate.threshold), reason: text };
}

function judgeCount(gate: GateExpression, run: Run, place: string): JudgedFigure {
  const value = worstValue(gate.metric, run);
  const figure = { ...asked(run, null), value };
  if (value === null) return { ...figure, held: null, reason: `${place}: the ${gate.metric.title} are not known` };
  return {
    ...figure,
    held: holds(value, 'exact', gate.operator, gate.threshold),
    reason: `${place}: ${grouped(value)} ${gate.metric.title}`,
  };
}

function asked(run: Run, phase: Phase | null): Omit<JudgedFigure, 'value' | 'held' | 'reason'> {
  return { mode: run.mode, ...pointFields(run), phase };
}

/* ------------------------------------------------------------------------------------------------------- ratios */

function judgeRatio(gate: GateExpression, run: Run, baseMode: string, report: Report): JudgedFigure {
  const { metric } = gate;
  const base = report.runs.find((other) => other.mode === baseMode && samePoint(other, run));
  const phase =
    metric.compared.find((candidate) => phasesAt(run, report.plan).includes(candidate)) ?? preferredPhase(metric, run);
  const figure = { ...asked(run, phase), mode: `${run.mode}/${baseMode}` };
  const place = pointName(figure.mode, run);
  const undecided = (reason: string, value: number | null = null): JudgedFigure => ({
    ...figure,
    value,
    held: null,
    reason,
  });
  if (base === undefined) return undecided(`${place}: the report has no run of ${baseMode}`);
  const { pairs, unequalLoad, beyondTimeout } = pairUp(metric, phase, run, base);
  const interval = intervalOf(metric, pairs);
  const invalid = [run, base].map((side) => invalidating(report.warnings, metric, side, phase)).find(Boolean);
  const beyond = ratioBeyondTimeout(metric, phase, run, base, report.plan.timeout_ms);
  if (beyond !== null) {
    const side = `${beyond.bound} ${valueInWords(beyond.ratio, 'x')}`;
    const text = `${place}: ${metric.title} ${side}, since requests had no echo within the timeout`;
    if (invalid !== undefined) return undecided(`${text}, is not valid (${invalid.code})`);
    const held = holds(beyond.ratio, beyond.bound, gate.operator, gate.threshold);
    return { ...figure, value: null, held, reason: text };
  }
  if (interval === null) {
    return undecided(
      unequalLoad > 0
        ? `${place}: the modes were offered different rates`
        : `${place}: the ${metric.title} is not known for both`,
    );
  }
  const text = `${place}: ${metric.title} ${formatRatioWithInterval(interval.ratio, interval.low, interval.high)}`;
  if (beyondTimeout > 0) return undecided(`${text}, without trials beyond the timeout`, interval.ratio);
  if (invalid !== undefined) return undecided(`${text} is not valid (${invalid.code})`, interval.ratio);
  const { limit, reason: limitReason } = clientLimit(
    metric,
    phase,
    pairs.map((pair) => pair.a),
    pairs.map((pair) => pair.b),
  );
  if (limit === 'unknown') return undecided(`${text}: ${limitReason}`, interval.ratio);
  const held = holds(interval.ratio, limit ?? 'exact', gate.operator, gate.threshold);
  if (held === null) {
    return undecided(`${text} or ${limit === 'at_least' ? 'more' : 'less'}: ${limitReason}`, interval.ratio);
  }
  const failure = failedInWords(leftOutOfBoth(leftOut(metric, run, phase), leftOut(metric, base, phase)));
  if (!held && failure !== '') return undecided(`${text}, ${failure}`, interval.ratio);
  return { ...figure, value: interval.ratio, held, reason: text };
}

/**
 * The gates of a run that was repeated: each is true only if it was true in both runs.
 * @param earlier the gates of the first run, in the same order
 */
export function confirmedGates(earlier: readonly Gate[], again: readonly Gate[]): Gate[] {
  return again.map((gate, index) => {
    const before = earlier[index];
    if (before === undefined || before.held === gate.held) return gate;
    if (before.held === true) return { ...gate, reason: `${gate.reason}; true in an earlier run: ${before.reason}` };
    if (gate.held === true) return { ...before, reason: `${before.reason}; true in a later run: ${gate.reason}` };
    return gate;
  });
}
