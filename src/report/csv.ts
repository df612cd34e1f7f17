/**
 * One row per measured window, one column per metric, for spreadsheets and data frames. Every trial has its own row: medians
 * and means are left to the reader. Empty is unknown; `missing` says which percentiles are beyond the timeout or have too few samples.
 */
import { metrics, readMetric, requireMetric, trialValues, type Metric } from '../model/metrics.js';
import { waitOf, workOf } from '../model/point.js';
import type { Distribution, Report, Run, Window } from '../model/report-schema.js';

const columns = metrics.filter(({ name }) => name !== 'max_rate');

export function renderCsv(report: Report): string {
  const header = [
    'mode',
    'backend',
    'clients',
    'trial',
    'phase',
    'state',
    'sequence',
    'started_at',
    'duration_ms',
    'offered_per_second',
    ...columns.map(columnName),
    'max_rate_per_second',
    'client_saturated',
    'missing',
    'reason',
    // At the end, so that the columns from before work and wait keep their places.
    'work_us',
    'wait_ms',
  ];
  const rows = report.runs.flatMap((run) => run.trials.map((window) => rowOf(run, window)));
  return [header, ...rows].map((row) => `${row.map(field).join(',')}\r\n`).join('');
}

/** Names end in their unit. */
function columnName({ name, unit }: Metric): string {
  if (unit === 'ns') return `${name}_ns`;
  return unit === 'requests/s' && !name.endsWith('per_second') ? `${name}_per_second` : name;
}

type Value = string | number | boolean | null | undefined;

function rowOf(run: Run, window: Window): Value[] {
  const isCompleted = window.state === 'completed';
  return [
    run.mode,
    run.backend,
    run.clients,
    window.index,
    window.phase,
    window.state,
    window.sequence,
    window.started_at,
    isCompleted ? window.duration_ms : null,
    window.requests?.offered_per_second,
    ...columns.map((metric) => readMetric(metric, window)),
    window.phase === 'latency' ? maxRateOf(run, window.index) : null,
    window.client?.saturated,
    isCompleted ? missingOf(window.response_time_ns, window.service_time_ns) : null,
    isCompleted ? null : window.reason,
    workOf(run),
    waitOf(run),
  ];
}

function maxRateOf(run: Run, index: number): number | null {
  return trialValues(requireMetric('max_rate'), run, 'latency').find(({ trial }) => trial === index)?.value ?? null;
}

/** "response_time_p99=timeout service_time_p99_9=too_few_samples" */
function missingOf(response: Distribution | null, service: Distribution): string {
  const of = (name: string, distribution: Distribution | null): string[] =>
    Object.entries(distribution?.missing ?? {}).map(([percentile, reason]) => `${name}_${percentile}=${reason}`);
  return [...of('response_time', response), ...of('service_time', service)].join(' ');
}

/**
 * RFC 4180, and one thing more: a text that a spreadsheet would run as a formula is made a text again. Names of modes and messages
 * of servers are other people's.
 */
function field(value: Value): string {
  if (value === null || value === undefined) return '';
  if (typeof value !== 'string') return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
