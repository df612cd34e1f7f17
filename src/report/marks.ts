/** Marks of figures that are not what they seem to be: not valid, or only a bound. */
import { lowerBoundReason, trialValues, type Metric } from '../model/metrics.js';
import type { Phase, Report, Run } from '../model/report-schema.js';
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

/** Before the figure, so that figures in a column stay aligned. */
export const markSigns = { invalid: '! ', at_least: '≥ ' } as const;

export const invalidNote = '! marks a figure that is not valid; the warnings say why.';
