/** One figure for all trials of a run: the median, or for counts of what went wrong the worst. */
import { medianOfKnown } from './statistics.js';
import { isBeyondTimeout, readMetric, trialValues, type Metric } from '../model/metrics.js';
import type { Phase, Run } from '../model/report-schema.js';

/**
 * What a table shows for a run and phase: the median of the trials, or the worst for counts; null when unknown. A
 * trial whose percentile is beyond the timeout ranks above all others, so that it cannot make a mode look better.
 */
export function runValue(entry: Metric, run: Run, phase: Phase): number | null {
  const values = trialValues(entry, run, phase);
  if (entry.aggregate === 'worst') {
    return worstOf(
      entry,
      values.map(({ value }) => value),
    );
  }
  const center = medianOfKnown(
    values.map(({ value, window }) => (isBeyondTimeout(entry, window) ? Number.POSITIVE_INFINITY : value)),
  );
  return center !== null && Number.isFinite(center) ? center : null;
}

/**
 * What the median of the trials is known to exceed, where requests without an echo hide it: the same median with the timeout in the place of
 * every percentile beyond it. null where none is beyond it.
 */
export function lowerBoundBeyondTimeout(entry: Metric, run: Run, phase: Phase, timeoutMs: number): number | null {
  const values = trialValues(entry, run, phase);
  if (!values.some(({ window }) => isBeyondTimeout(entry, window))) return null;
  return medianOfKnown(values.map(({ value, window }) => (isBeyondTimeout(entry, window) ? timeoutMs * 1e6 : value)));
}

/** The worst over every window of a run, the ones that broke included; null when none is known. */
export function worstValue(entry: Metric, run: Run): number | null {
  return worstOf(
    entry,
    run.trials.map((window) => readMetric(entry, window)),
  );
}

function worstOf(entry: Metric, values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  if (known.length === 0) return null;
  return entry.better === 'lower' ? Math.max(...known) : Math.min(...known);
}
