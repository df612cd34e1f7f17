/**
 * The report as one self-contained page: verdict first, then tables, then charts. A pure function of report and chart library; no
 * request leaves the page, and without JavaScript all but the charts is there.
 */
import { mergeEncoded } from '../measure/histogram.js';
import { completedWindows, findMetric, runValue } from '../measure/metrics.js';
import { formatCount } from './format.js';
import { serializeReport } from './json.js';
import type { Phase, Report, Run } from './schema.js';
import { brokenWindows, conditions, headingOf, summarize, verdicts, type SummarySection } from './summary.js';
import type { ChartLibrary } from './uplot.js';

function escapeHtml(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
  return text.replace(/[&<>"']/g, (character) => entities[character] ?? '');
}

/** A chart as data: what the script at the end of the page hands to uPlot. */
interface Chart {
  title: string;
  x: { label: string; kind: 'seconds' | 'nines' | 'clients' };
  y: { label: string; isLog: boolean };
  series: string[];
  data: (number | null)[][];
}

export function renderHtml(report: Report, library: ChartLibrary): string {
  const charts = chartsOf(report);
  const data = JSON.stringify(charts).replaceAll('<', '\\u003c');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>iocp-bench: ${escapeHtml(report.plan.modes.map(({ mode }) => mode).join(' against '))}</title>
<style>${library.css}${pageStyle}</style>
</head>
<body>
<main>
<h1>${escapeHtml(report.plan.modes.map(headingOf).join(' against '))}</h1>
${report.partial ? '<p class="bad">Partial: the run ended before all windows were measured.</p>' : ''}
<ul class="verdicts">${verdicts(report)
    .map((line) => `<li>${escapeHtml(line)}</li>`)
    .join('')}</ul>
<p class="dim">${escapeHtml(conditions(report))}</p>
${summarize(report).map(sectionHtml).join('\n')}
<section id="charts">${charts.map((_, index) => `<div class="chart" id="chart${index}"></div>`).join('')}</section>
${listHtml('Failed windows', brokenWindows(report))}
${warningsHtml(report)}
${gatesHtml(report)}
${detailsHtml('Environment', report.environment)}
${detailsHtml('Plan', report.plan)}
<p class="dim">iocp-bench ${escapeHtml(report.tool.version)}, ${escapeHtml(report.created_at)}, <code>${escapeHtml(report.command_line.join(' '))}</code></p>
<script type="application/json" id="report">${serializeReport(report).replaceAll('<', '\\u003c')}</script>
</main>
<script>${library.script}</script>
<script>const charts = ${data};${chartScript}</script>
</body>
</html>
`;
}

function sectionHtml({ clients, headings, ratioHeading, groups }: SummarySection): string {
  const columns = [...headings, ...(ratioHeading === null ? [] : [ratioHeading])];
  const cell = (text: string): string => `<td>${escapeHtml(text)}</td>`;
  const body = groups.map(
    (group) =>
      `<tr class="group"><th colspan="${columns.length + 1}" scope="rowgroup">${escapeHtml(group.title)}</th></tr>` +
      group.rows
        .map(
          ({ label, cells, ratio }) =>
            `<tr><th scope="row">${escapeHtml(label.trim())}</th>${cells.map(cell).join('')}${ratioHeading === null ? '' : cell(ratio)}</tr>`,
        )
        .join('') +
      (group.note === ''
        ? ''
        : `<tr class="note"><td colspan="${columns.length + 1}">${escapeHtml(group.note)}</td></tr>`),
  );
  return `<section><h2>${formatCount(clients)} clients</h2><div class="scroll"><table><thead><tr><th></th>${columns
    .map((heading) => `<th scope="col">${escapeHtml(heading)}</th>`)
    .join('')}</tr></thead><tbody>${body.join('')}</tbody></table></div></section>`;
}

function listHtml(title: string, items: readonly string[]): string {
  if (items.length === 0) return '';
  return `<section><h2>${title}</h2><ul>${items.map((item) => `<li>${escapeHtml(item)}</li>`).join('')}</ul></section>`;
}

function warningsHtml(report: Report): string {
  if (report.warnings.length === 0) return '';
  const items = report.warnings.map(
    ({ severity, message, hint }) =>
      `<li class="${severity}"><strong>${severity === 'invalid' ? 'not valid' : severity}</strong> ${escapeHtml(message)}${hint === '' ? '' : `<br><span class="dim">${escapeHtml(hint)}</span>`}</li>`,
  );
  return `<section><h2>Warnings</h2><ul class="warnings">${items.join('')}</ul></section>`;
}

function gatesHtml(report: Report): string {
  return listHtml(
    'Gates',
    report.gates.map(
      ({ expression, held, reason }) =>
        `${held === null ? 'undecided' : held ? 'HELD' : 'passed'}: ${expression}: ${reason}`,
    ),
  );
}

function detailsHtml(title: string, value: object): string {
  return `<details><summary>${title}</summary><pre>${escapeHtml(JSON.stringify(value, null, 2))}</pre></details>`;
}

// --------------------------------------------------------------------------------------------------------------------- charts

function chartsOf(report: Report): Chart[] {
  const largest = Math.max(...report.plan.clients);
  const runs = report.runs.filter(({ clients, trials }) => clients === largest && trials.length > 0);
  const at = `${formatCount(largest)} clients`;
  return [
    timelineChart(runs, at, 'capacity'),
    percentileChart(runs, at),
    ...(report.plan.clients.length > 1 ? [sweepChart(report)] : []),
  ].filter((chart) => chart !== null);
}

/** Answers per second over the window, of every mode's middle trial. */
function timelineChart(runs: readonly Run[], at: string, phase: Phase): Chart | null {
  const windows = runs.flatMap((run) => {
    const all = completedWindows(run, phase);
    const middle = all.toSorted((a, b) => a.requests.per_second - b.requests.per_second)[Math.floor(all.length / 2)];
    return middle === undefined ? [] : [{ run, window: middle }];
  });
  const [first] = windows;
  if (first === undefined) return null;
  const buckets = first.window.timeline.filter(({ offset_ms }) => offset_ms + 100 <= first.window.duration_ms);
  return {
    title: `Throughput over the capacity window, ${at} (each mode's median trial)`,
    x: { label: 'seconds', kind: 'seconds' },
    y: { label: 'requests/s', isLog: false },
    series: windows.map(({ run }) => headingOf(run)),
    data: [
      buckets.map(({ offset_ms }) => offset_ms / 1_000),
      ...windows.map(({ window }) => buckets.map((_, index) => (window.timeline[index]?.requests ?? 0) * 10)),
    ],
  };
}

const percentilesShown = [0, 25, 50, 75, 90, 95, 97.5, 99, 99.5, 99.75, 99.9, 99.95, 99.99];

/** Response time (or service time where no latency was measured) by percentile, merged over trials; an axis of nines. */
function percentileChart(runs: readonly Run[], at: string): Chart | null {
  const isOpen = runs.some((run) => completedWindows(run, 'latency').length > 0);
  const phase: Phase = isOpen ? 'latency' : 'capacity';
  const merged = runs.flatMap((run) => {
    const encoded = completedWindows(run, phase).flatMap(
      (window) => (isOpen ? window.response_time_ns : window.service_time_ns)?.histogram ?? [],
    );
    const histogram = mergeEncoded(encoded);
    return histogram === null ? [] : [{ run, histogram }];
  });
  if (merged.length === 0) return null;
  return {
    title: `${isOpen ? 'Response' : 'Service'} time by percentile, ${at}, ${phase} phase, all trials merged`,
    x: { label: 'percentile', kind: 'nines' },
    y: { label: 'ms', isLog: true },
    series: merged.map(({ run }) => headingOf(run)),
    data: [
      // Each nine is one step: x = -log10(1 - p).
      percentilesShown.map((percentile) => -Math.log10(1 - percentile / 100)),
      ...merged.map(({ histogram }) =>
        percentilesShown.map((percentile) => histogram.getValueAtPercentile(percentile) / 1e6),
      ),
    ],
  };
}

function sweepChart(report: Report): Chart | null {
  const metric = findMetric('throughput');
  if (metric === undefined || !report.plan.phases.includes('capacity')) return null;
  const sizes = [...report.plan.clients].sort((a, b) => a - b);
  return {
    title: 'Throughput as connections grow (median of trials)',
    x: { label: 'clients', kind: 'clients' },
    y: { label: 'requests/s', isLog: false },
    series: report.plan.modes.map(headingOf),
    data: [
      sizes,
      ...report.plan.modes.map(({ mode }) =>
        sizes.map((clients) => {
          const run = report.runs.find((candidate) => candidate.mode === mode && candidate.clients === clients);
          return run === undefined ? null : runValue(metric, run, 'capacity');
        }),
      ),
    ],
  };
}

const pageStyle = `
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#5b6570;--line:#d8dee4;--back:#fff;--soft:#f4f6f8;--bad:#b42318;--warn:#9a6700}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--dim:#9aa4ae;--line:#343b43;--back:#15181c;--soft:#1d2126;--bad:#ff8a80;--warn:#e3b341}}
body{margin:0;background:var(--back);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:960px;margin:0 auto;padding:24px}
h1{font-size:24px;margin:0 0 12px}h2{font-size:18px;margin:28px 0 8px}
.verdicts{font-size:18px;font-weight:600;padding-left:20px;margin:8px 0}
.dim,.note td{color:var(--dim)}.note td{font-size:13px;text-align:left!important;white-space:normal}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:3px 10px;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th[scope=row],.group th{text-align:left;font-weight:400}.group th{background:var(--soft);font-weight:600;white-space:normal}
.warnings{padding-left:20px}.warnings li{margin:6px 0}.invalid strong,.bad{color:var(--bad)}.warning strong{color:var(--warn)}
.chart{margin:20px 0}.uplot{color:var(--ink)}.u-title{font-size:15px}pre{overflow-x:auto;background:var(--soft);padding:12px;font-size:12px}
summary{cursor:pointer;margin-top:16px;font-weight:600}code{font-size:12px}
`;

/** Runs in the page. */
const chartScript = `
const ink = getComputedStyle(document.documentElement).getPropertyValue('--ink').trim();
const line = getComputedStyle(document.documentElement).getPropertyValue('--line').trim();
const colors = ['#d1495b', '#2e86ab', '#3a9d5d', '#b07d2b', '#7b4ea3', '#555e66'];
const nines = (x) => x === 0 ? '0%' : x < 1 ? (100 * (1 - 10 ** -x)).toFixed(0) + '%' : (100 * (1 - 10 ** -x)).toFixed(Math.max(0, Math.ceil(x) - 2)) + '%';
charts.forEach((chart, index) => {
  const target = document.getElementById('chart' + index);
  const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
  const xAxis = { ...axis, label: chart.x.label };
  if (chart.x.kind === 'nines') Object.assign(xAxis, { splits: () => [0, 1, 2, 3, 4], values: (_, ticks) => ticks.map(nines) });
  new uPlot({
    title: chart.title,
    width: Math.min(900, target.clientWidth),
    height: 300,
    scales: { x: { time: false }, y: chart.y.isLog ? { distr: 3 } : { range: (_, low, high) => [0, high * 1.05] } },
    axes: [xAxis, { ...axis, label: chart.y.label, size: 80 }],
    series: [{ label: chart.x.label, value: (_, v) => v == null ? '' : chart.x.kind === 'nines' ? nines(v) : String(v) },
      ...chart.series.map((label, i) => ({ label, stroke: colors[i % colors.length], width: 2, points: { show: chart.x.kind !== 'seconds' } }))],
  }, chart.data, target);
});
`;
