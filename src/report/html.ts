/**
 * The report as one self-contained page: verdict first, then tables and charts, then the rest. Everything but the charts is
 * there without JavaScript; nothing is ever requested, which the page's own policy enforces. A pure function of its arguments.
 */
import { requireMetric } from '../model/metrics.js';
import { chartInWords, loadCurveCharts, pointCharts, sweepCharts, type Chart } from './charts.js';
import { escapeMarkup, scriptJson } from './escape.js';
import { formatCount, formatRate } from '../model/format.js';
import { pageScript, pageStyle } from './page.js';
import { serviceNames, serviceNs, type ServiceName } from '../model/point.js';
import type { Report, Run, Window } from '../model/report-schema.js';
import { duration } from '../model/words.js';
import type { ChartLibrary } from './uplot.js';
import { readMetricText, wideIntervalText } from './values.js';
import {
  buildView,
  errorSamples,
  gateOutcome,
  modeInWords,
  severityTitles,
  type Cell,
  type Row,
  type Table,
  type View,
} from './view.js';

export function renderHtml(report: Report, library: ChartLibrary): string {
  const view = buildView(report);
  const charts: Chart[] = [];
  // Charts are numbered in the order of the page; the script finds each by its number.
  const figures = (added: readonly Chart[]): string =>
    added.map((chart) => figure(chart, charts.push(chart) - 1)).join('');
  const body = [
    headHtml(view),
    gatesHtml(view),
    ...view.tables.map((table) => tableSection(table, figures(chartsOf(report, table)))),
    listSection('Not measured to the end', view.broken),
    warningsHtml(view),
    listSection('Errors, the first of them', errorSamples(report, 12)),
    windowsHtml(report),
    recordHtml('Environment', report.environment),
    recordHtml('Plan', report.plan),
    `<p class="dim">Made by iocp-bench ${escapeMarkup(report.tool.version)}, ${escapeMarkup(report.created_at)}: ` +
      `<code>${escapeMarkup(report.command_line.join(' '))}</code></p>`,
  ];
  return [
    '<!doctype html>',
    '<html lang="en">',
    '<head>',
    '<meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">`,
    `<title>${escapeMarkup(view.title)} - iocp-bench</title>`,
    `<style>${library.style}${pageStyle}</style>`,
    '</head>',
    '<body>',
    '<main>',
    ...body.filter((part) => part !== ''),
    '</main>',
    `<script type="application/json" id="chart-data">${scriptJson(charts)}</script>`,
    `<script>${library.script}</script>`,
    `<script>${pageScript}</script>`,
    '</body>',
    '</html>',
    '',
  ].join('\n');
}

function chartsOf(report: Report, table: Table): Chart[] {
  if (table.curve !== undefined) return loadCurveCharts(report, table.curve);
  return table.point === null ? sweepCharts(report) : pointCharts(report, table.point);
}

function figure(chart: Chart, index: number): string {
  return (
    `<figure><figcaption><b>${escapeMarkup(chart.title)}</b>${escapeMarkup(chart.note)}</figcaption>` +
    `<div id="chart-${index}" role="img" aria-label="${escapeMarkup(chartInWords(chart))}"></div></figure>`
  );
}

function headHtml({ title, facts, verdict, findings }: View): string {
  return [
    `<h1>${escapeMarkup(title)}</h1>`,
    ...facts.map((fact) => `<p class="dim">${escapeMarkup(fact)}</p>`),
    `<ul class="verdict">${[...verdict, ...findings].map((text) => `<li>${escapeMarkup(text)}</li>`).join('')}</ul>`,
  ].join('\n');
}

/* ---------------------------------------------------------------------------------------------------------- tables */

function tableSection(table: Table, charts: string): string {
  // The last line says how often it was measured; the others name what the table is about.
  const lines = Math.max(1, table.corner.length - 1);
  const title = table.corner.slice(0, lines).join(', ');
  const notes = table.notes.map((note) => `<li>${escapeMarkup(note)}</li>`).join('');
  return [
    `<section><h2>${escapeMarkup(title)}</h2>`,
    tableHtml(table, table.corner.slice(lines).join(', ')),
    notes === '' ? '' : `<ul class="notes">${notes}</ul>`,
    `${charts}</section>`,
  ].join('\n');
}

function tableHtml(table: Table, corner: string): string {
  const heads = [
    `<th scope="col" class="dim">${escapeMarkup(corner)}</th>`,
    ...table.columns.map(
      ({ mode, backend }) =>
        `<th scope="col">${escapeMarkup(mode)}${backend === '' ? '' : `<br>(${escapeMarkup(backend)})`}</th>`,
    ),
    ...(table.ratioHeader === null ? [] : [`<th scope="col">${escapeMarkup(table.ratioHeader)}</th>`]),
  ];
  const groups = table.groups.map(
    (group) =>
      `<tbody><tr class="group"><th scope="rowgroup" colspan="${heads.length}">${escapeMarkup(group.title)}</th></tr>\n` +
      `${group.rows.map((row) => rowHtml(row, table.ratioHeader !== null)).join('\n')}</tbody>`,
  );
  return `<div class="scroll"><table><thead><tr>${heads.join('')}</tr></thead>\n${groups.join('\n')}</table></div>`;
}

function rowHtml({ label, cells, ratio }: Row, hasRatio: boolean): string {
  // Two spaces before a label say that it is a part of the line above.
  const part = label.startsWith(' ') ? ' class="part"' : '';
  const all = hasRatio && ratio !== null ? [...cells, ratio] : cells;
  return `<tr><th scope="row"${part}>${escapeMarkup(label.trim())}</th>${all.map(cellHtml).join('')}</tr>`;
}

function cellHtml({ text, tone }: Cell): string {
  const lines = text.split('\n').map(escapeMarkup).join('<br>');
  return tone === 'plain' ? `<td>${lines}</td>` : `<td class="${tone}">${lines}</td>`;
}

/* ------------------------------------------------------------------------------------------------------- the rest */

function listSection(title: string, texts: readonly string[]): string {
  if (texts.length === 0) return '';
  return `<section><h2>${title}</h2><ul class="list">${texts.map((text) => `<li>${escapeMarkup(text)}</li>`).join('')}</ul></section>`;
}

function warningsHtml({ warnings }: View): string {
  if (warnings.length === 0) return '';
  const items = warnings.map(({ severity, messages, hint }) => {
    const text = messages.map(escapeMarkup).join('<br>');
    const advice = hint === '' ? '' : `<br><span class="dim">&rarr; ${escapeMarkup(hint)}</span>`;
    return `<li class="${severity}"><b>${severityTitles[severity]}</b> ${text}${advice}</li>`;
  });
  return `<section><h2>Warnings</h2><ul class="list">${items.join('\n')}</ul></section>`;
}

function gatesHtml({ gates }: View): string {
  if (gates.length === 0) return '';
  const items = gates.map((gate) => {
    const outcome = gateOutcome(gate);
    return `<li class="${outcome}"><b>${outcome}</b> <code>${escapeMarkup(gate.expression)}</code> ${escapeMarkup(gate.reason)}</li>`;
  });
  return `<section><h2>Gates: fail if</h2><ul class="list">${items.join('\n')}</ul></section>`;
}

/** Every window by itself, in the order of the run: medians hide what a single trial did. */
function windowsHtml(report: Report): string {
  const windows = report.runs
    .flatMap((run) => run.trials.map((window) => ({ run, window })))
    .sort((a, b) => a.window.sequence - b.window.sequence);
  if (windows.length === 0) return '';
  const given = serviceNames.filter((name) => report.runs.some((run) => serviceNs(name, run) > 0));
  const heads = [
    'mode',
    'clients',
    ...given,
    'trial',
    'phase',
    'connected',
    'requests',
    'response p99',
    'service p99',
    'server CPU',
    'errors',
  ];
  return (
    `<details><summary>Every window, in the order of the run</summary><div class="scroll"><table><thead><tr>` +
    `${heads.map((head) => `<th scope="col">${head}</th>`).join('')}</tr></thead><tbody>\n` +
    `${windows.map(({ run, window }) => windowRow(run, window, given)).join('\n')}</tbody></table></div></details>`
  );
}

function windowRow(run: Run, window: Window, services: readonly ServiceName[]): string {
  const metric = (name: string): string =>
    [readMetricText(requireMetric(name), window), wideIntervalText(requireMetric(name), window)].join(' ').trim();
  const figures =
    window.state === 'completed'
      ? [
          formatRate(window.requests.per_second),
          metric('response_time_p99'),
          metric('service_time_p99'),
          metric('server_cpu_us_per_request'),
        ]
      : [window.state, '', '', ''];
  const cells = [
    formatCount(run.clients),
    ...services.map((name) => (serviceNs(name, run) === 0 ? '0' : duration(serviceNs(name, run)))),
    String(window.index + 1),
    window.phase,
    formatCount(window.connections.made),
    ...figures,
    formatCount(window.errors.total),
  ];
  return `<tr><th scope="row">${escapeMarkup(modeInWords(run))}</th>${cells.map((cell) => `<td>${escapeMarkup(cell)}</td>`).join('')}</tr>`;
}

function recordHtml(title: string, record: object): string {
  const rows = Object.entries(record).map(
    ([key, value]) =>
      `<tr><th scope="row">${escapeMarkup(key)}</th><td class="left">${escapeMarkup(valueText(value))}</td></tr>`,
  );
  return `<details><summary>${title}</summary><table class="wrap"><tbody>${rows.join('\n')}</tbody></table></details>`;
}

function valueText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
