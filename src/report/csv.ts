/** The report as CSV (RFC 4180): a row per window, a column per metric of the one table of metrics, units in the header. */
import { metrics, readMetric } from '../measure/metrics.js';
import type { Report } from './schema.js';

/** Figures of a window only: what a search found belongs to a run. */
const columns = metrics.filter(({ name }) => name !== 'max_rate');

function field(value: string | number | null | undefined): string {
  if (value === null || value === undefined) return '';
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function renderCsv(report: Report): string {
  const header = [
    ...['mode', 'backend', 'clients', 'trial', 'phase', 'state', 'sequence', 'started_at', 'offered (requests/s)'],
    ...columns.map(({ name, unit }) => `${name} (${unit})`),
  ];
  const rows = report.runs.flatMap((run) =>
    run.trials.map((window) => [
      ...[run.mode, run.backend, run.clients, window.index + 1, window.phase, window.state],
      ...[window.sequence, window.started_at, window.requests?.offered_per_second],
      ...columns.map((metric) => readMetric(metric, window)),
    ]),
  );
  return [header, ...rows].map((row) => `${row.map(field).join(',')}\r\n`).join('');
}
