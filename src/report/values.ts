/** A metric's value of a run as text, with the reason where there is none. */
import {
  completedWindows,
  lowerBoundReason,
  readMetric,
  trialValues,
  type Metric,
  type Unit,
} from '../model/metrics.js';
import { runValue } from '../measure/run-values.js';
import {
  formatByteRate,
  formatBytes,
  formatCount,
  formatDuration,
  formatDurationMs,
  formatDurationUs,
  formatMissing,
  formatNumber,
  formatRate,
  timeoutText,
} from '../model/format.js';
import {
  percentileNames,
  type CompletedWindow,
  type Distribution,
  type Phase,
  type Run,
  type Window,
} from '../model/report-schema.js';

function unitText(value: number | null, unit: Unit): string {
  switch (unit) {
    case 'ns':
      return formatDuration(value);
    case 'us':
      return formatDurationUs(value);
    case 'ms':
      return formatDurationMs(value);
    case 'bytes':
      return formatBytes(value);
    case 'bytes/s':
      return formatByteRate(value);
    case 'requests/s':
    case '1/s':
      return formatRate(value);
    case 'count':
    case 'fraction':
      return formatNumber(value);
  }
}

/** A value of a metric, in the form that suits it. */
export function metricValueText(metric: Metric, value: number): string {
  // An index that lives just below 1 needs its digits there.
  if (metric.name === 'jain_index') return value.toFixed(4);
  // Counts of things are whole, whatever their size.
  const isCount = metric.aggregate === 'worst' || metric.name === 'server_threads';
  return isCount ? formatCount(value) : unitText(value, metric.unit);
}

/** What the table shows: the median over trials, or "> timeout", "few samples", "n/a". */
export function metricText(metric: Metric, run: Run, phase: Phase): string {
  const value = runValue(metric, run, phase);
  if (value !== null) return lowerBoundSign(metric, run, phase) + metricValueText(metric, value);
  const reasons = completedWindows(run, phase).map((window) => missingIn(window, metric));
  return formatMissing(worstReason(reasons));
}

/** Nothing else in the table says that a search ended at what the client can; of a window, the client's rows do. */
function lowerBoundSign(metric: Metric, run: Run, phase: Phase): string {
  if (metric.name !== 'max_rate') return '';
  return trialValues(metric, run, phase).some((value) => lowerBoundReason(value) !== null) ? '≥ ' : '';
}

/** The same for a single window. */
export function readMetricText(metric: Metric, window: Window): string {
  const value = readMetric(metric, window);
  if (value !== null) return metricValueText(metric, value);
  return formatMissing(window.state === 'completed' ? missingIn(window, metric) : undefined);
}

/** A narrower interval does not change what a reader concludes. */
const wideInterval = 0.1;

/** "[28.1 ms, 31.0 ms]": the interval of a percentile within its window, where it is wider than a tenth of it; empty otherwise. */
export function wideIntervalText({ path }: Metric, window: Window): string {
  const [holder, field] = path.split('.');
  const shown = distributionOf(window, holder);
  const name = percentileNames.find((known) => known === field);
  const value = name === undefined ? null : (shown?.[name] ?? null);
  const interval = name === undefined ? undefined : shown?.intervals?.[name];
  if (value === null || interval === undefined) return '';
  const { low, high } = interval;
  if (low === null || (high !== null && high - low <= wideInterval * value)) return '';
  return `[${formatDuration(low)}, ${high === null ? timeoutText : formatDuration(high)}]`;
}

function distributionOf(window: Window, holder: string | undefined): Distribution | null {
  if (holder === 'response_time_ns') return window.response_time_ns;
  return holder === 'service_time_ns' ? window.service_time_ns : null;
}

type Missing = 'timeout' | 'too_few_samples' | undefined;

/** Beyond the timeout outranks too few samples: it says something about the server, and the other about the plan. */
function worstReason(reasons: readonly Missing[]): Missing {
  if (reasons.includes('timeout')) return 'timeout';
  return reasons.includes('too_few_samples') ? 'too_few_samples' : undefined;
}

function missingIn(window: CompletedWindow, { path }: Metric): Missing {
  const [holder, field = ''] = path.split('.');
  const missing: Readonly<Record<string, Missing>> = distributionOf(window, holder)?.missing ?? {};
  return missing[field];
}

/** What serves a mode, where its name says more than the mode's own; empty else. */
export function backendInWords({ mode, backend }: { mode: string; backend: string }): string {
  return backend === mode || backend === 'command' || backend === 'external' ? '' : backend;
}
