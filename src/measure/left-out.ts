/** The trials of a run that a comparison leaves out: those that remain may be the better ones. */
import { isBeyondTimeout, trialValues, type Metric } from '../model/metrics.js';
import type { Phase, Run } from '../model/report-schema.js';

export interface LeftOut {
  /** Trials in which a window failed, a search found no rate, or a figure was 0, which has no ratio. */
  failed: ReadonlySet<number>;
  /** Trials whose window was measured, but without this figure. Those beyond the timeout count elsewhere. */
  unknown: ReadonlySet<number>;
}

/** Trials that were interrupted count as neither: they say nothing about the mode. */
export function leftOut(entry: Metric, run: Run, phase: Phase): LeftOut {
  const values = trialValues(entry, run, phase);
  const measured = new Set(values.map(({ trial }) => trial));
  const broken = entry.name === 'max_rate' ? [] : run.trials.filter((window) => window.state === 'failed');
  // A window that failed ends its trial: those that would have followed are in no list.
  const failed = new Set(broken.map(({ index }) => index).filter((trial) => !measured.has(trial)));
  const unknown = new Set<number>();
  for (const { trial, value, window, search } of values) {
    if (value === 0 || (value === null && search !== null)) failed.add(trial);
    else if (value === null && !isBeyondTimeout(entry, window)) unknown.add(trial);
  }
  return { failed, unknown };
}

/** "without 2 trials that failed"; empty where none did. */
export function failedInWords({ failed }: Pick<LeftOut, 'failed'>): string {
  if (failed.size === 0) return '';
  return `without ${failed.size} ${failed.size === 1 ? 'trial' : 'trials'} that failed`;
}

/** The trials that either run leaves out. */
export function leftOutOfBoth(a: LeftOut, b: LeftOut): LeftOut {
  const failed = new Set([...a.failed, ...b.failed]);
  return { failed, unknown: new Set([...a.unknown, ...b.unknown].filter((trial) => !failed.has(trial))) };
}
