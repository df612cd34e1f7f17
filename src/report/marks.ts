/** Marks of figures that are not what they seem to be: not valid, or only a bound. */
import { lowerBoundReason, readMetric, trialValues, type Metric } from '../model/metrics.js';
import type { Comparison, CompletedWindow, Phase, Report, Run } from '../model/report-schema.js';
import { runValue } from '../measure/run-values.js';
import { invalidating } from '../measure/validity.js';

export type Mark = 'invalid' | 'at_least' | null;

/** What a reader has to know about a figure of a run; null: it is what it seems to be. */
export function markOf(report: Pick<Report, 'warnings'>, metric: Metric, run: Run, phase: Phase): Mark {
  // Counts of what happened are facts, and what is not known has a reason of its own.
  if (metric.aggregate === 'worst' || runValue(metric, run, phase) === null) return null;
  if (invalidating(report.warnings, metric, run, phase) !== undefined) return 'invalid';
  if (metric.clientLimit !== 'rate') return null;
  return trialValues(metric, run, phase).some((value) => lowerBoundReason(value) !== null) ? 'at_least' : null;
}

/** The same for a figure of a single window. A warning about several of the trials concerns every one: it does not say which they are. */
export function windowMarkOf(
  report: Pick<Report, 'warnings'>,
  metric: Metric,
  run: Run,
  window: CompletedWindow,
): Mark {
  if (metric.aggregate === 'worst' || readMetric(metric, window) === null) return null;
  const warnings = report.warnings.filter(({ trial }) => trial === null || trial === window.index);
  if (invalidating(warnings, metric, run, window.phase) !== undefined) return 'invalid';
  if (metric.clientLimit !== 'rate') return null;
  const own = trialValues(metric, run, window.phase).find((value) => value.window === window);
  return own !== undefined && lowerBoundReason(own) !== null ? 'at_least' : null;
}

/** Whether a figure of a comparison is not valid: then its ratio is not, either. */
export function isInvalidRatio(
  { warnings }: Pick<Report, 'warnings'>,
  comparison: Comparison,
  metric: Metric,
): boolean {
  return [comparison.a, comparison.b].some(
    (mode) => invalidating(warnings, metric, { ...comparison, mode }, comparison.phase) !== undefined,
  );
}

/** Before the figure, so that figures in a column stay aligned. */
export const markSigns = { invalid: '! ', at_least: '≥ ' } as const;

/** The tone of a cell and the class of a mark in a page. */
export const markTones = { invalid: 'invalid', at_least: 'bound' } as const;

/** The figure with its sign. One that a search found has "≥" already. */
export function markedText(text: string, mark: Mark): string {
  return mark === null || text.startsWith('≥') ? text : markSigns[mark] + text;
}

export const invalidNote = '! marks a figure that is not valid; the warnings say why.';
