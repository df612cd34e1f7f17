/**
 * The report as one self-contained page: the answer and the main figures first, then ratios and charts, then the tables and the rest.
 * Everything is there without JavaScript; nothing is ever requested, which the page's own policy enforces. A pure function of its argument.
 */
import { headlineText } from '../measure/answer.js';
import { curvesOf } from '../measure/load-curve.js';
import { findMetric, requireMetric } from '../model/metrics.js';
import { loadCurveCharts, pointCharts, sweepCharts } from './charts.js';
import { escapeMarkup } from './escape.js';
import { formatCount, formatRate, listInWords, plural, printable } from '../model/format.js';
import { barsHtml, mainPoint, panelsOf, pointTitle } from './html-bars.js';
import { costHtml } from './html-cost.js';
import { foldedForest, forestHtml, forestKey, type ForestGroup, type ForestRow } from './html-forest.js';
import { chartHtml, multiplesHtml } from './html-lines.js';
import { scrollBox } from './html-parts.js';
import {
  cellHtml,
  gatesSection,
  listOf,
  navigation,
  sectionHtml,
  tablesSection,
  type Section,
} from './html-sections.js';
import { isInvalidRatio, markedText, markTones, windowMarkOf } from './marks.js';
import { pageHtml } from './page.js';
import {
  distinctPoints,
  hasRate,
  pointInWords,
  samePoint,
  serviceNames,
  serviceNs,
  type Point,
  type ServiceName,
} from '../model/point.js';
import type { Comparison, CompletedWindow, Report, Run, Window } from '../model/report-schema.js';
import { duration } from '../model/words.js';
import { readMetricText, wideIntervalText } from './values.js';
import { timesCharts } from './times-charts.js';
import { buildView, errorSamples, modeInWords, severityTitles, type Cell, type View } from './view.js';

/** The report as one self-contained HTML page, as `iocp-bench report --html` writes it. */
export function renderHtml(report: Report): string {
  const view = buildView(report);
  const main = mainPoint(report);
  const sections: readonly (Section | null)[] = [
    listOf('verdict', 'Verdict', [...view.verdict, ...view.findings]),
    gatesSection(view.gates),
    ratiosSection(report),
    chartsSection(report),
    pointsSection(report, main),
    // The last line says how often it was measured.
    tablesSection(view.tables, ({ corner }) => Math.max(1, corner.length - 1)),
    listOf('broken', 'Not measured to the end', view.broken),
    warningsSection(view),
    listOf('errors', 'First errors', errorSamples(report, 12)),
    readingSection,
    recordsSection(report),
  ];
  const present = sections.filter((section) => section !== null);
  return pageHtml(view.title, [
    headHtml(report, view, main),
    navigation(present),
    ...present.map(sectionHtml),
    `<p class="dim">Made by iocp-bench ${escapeMarkup(report.tool.version)}, ${escapeMarkup(report.created_at)}: ` +
      `<code>${escapeMarkup(report.command_line.join(' '))}</code></p>`,
  ]);
}

/* ------------------------------------------------------------------------------------------------- above the fold */

function headHtml(report: Report, view: View, main: Point | null): string {
  const label = main === null ? '' : `Main figures, ${pointTitle(report, main)}`;
  const bars = main === null ? '' : barsHtml(panelsOf(report, main), label);
  return [
    '<header>',
    `<h1>${escapeMarkup(view.title)}</h1>`,
    `<p class="headline">${escapeMarkup(headlineText(report))}</p>`,
    bars === '' ? '' : `<div class="main" id="main-figures"><p class="dim">${escapeMarkup(label)}</p>\n${bars}</div>`,
    ...view.facts.map((fact) => `<p class="dim">${escapeMarkup(fact)}</p>`),
    '</header>',
  ].join('\n');
}

/* --------------------------------------------------------------------------------------------------------- ratios */

function ratiosSection(report: Report): Section | null {
  const known = report.comparisons.filter(({ ratio }) => ratio !== null && ratio > 0);
  if (known.length === 0) return null;
  const points = distinctPoints(known);
  const [base = ''] = known.map(({ b }) => printable(b));
  const several = new Set(known.map(({ a }) => a)).size > 1;
  const rows = known.map((one) => forestRow(report, one));
  const blocks = points.map((point) => {
    const where = pointInWords(point);
    const here = known.filter((comparison) => samePoint(comparison, point));
    const plots = [true, false].map((isPrimary) => {
      const chosen = here.filter(({ primary }) => primary === isPrimary);
      const groups = several
        ? groupsByMetric(report, chosen)
        : [{ title: '', rows: chosen.map((one) => forestRow(report, one)) }];
      const label = `${isPrimary ? 'Ratios' : 'Other ratios'} to ${base}, ${where}`;
      return isPrimary ? forestHtml(groups, label) : foldedForest(groups, label);
    });
    const heading = points.length > 1 ? `<h3>${escapeMarkup(where)}</h3>` : '';
    return `${heading}${plots.join('\n')}`;
  });
  return {
    id: 'ratios',
    title: `Ratios to ${base}`,
    body: `<p class="key">${escapeMarkup(forestKey(rows, `Each ratio is of a mode to ${base}`))}</p>\n${blocks.join('\n')}`,
  };
}

function groupsByMetric(report: Report, comparisons: readonly Comparison[]): ForestGroup[] {
  const groups = new Map<string, ForestRow[]>();
  for (const comparison of comparisons) {
    const title = figureTitle(comparison);
    groups.set(title, [
      ...(groups.get(title) ?? []),
      { ...forestRow(report, comparison), label: printable(comparison.a) },
    ]);
  }
  return [...groups].map(([title, rows]) => ({ title, rows }));
}

/** "server CPU per request, offered rate": the phase where both have the figure. */
function figureTitle({ metric: name, phase }: Comparison): string {
  const metric = findMetric(name);
  const where = metric?.compared.length === 2 && !metric.oncePerTrial;
  return `${metric?.title ?? name}${where ? (phase === 'capacity' ? ', full load' : ', offered rate') : ''}`;
}

function forestRow(report: Report, comparison: Comparison): ForestRow {
  const { ratio, ci_low: low, ci_high: high, range_low: from, range_high: to, bound, verdict_code: code } = comparison;
  const metric = findMetric(comparison.metric);
  const isClaim = comparison.primary && (code === 'higher' || code === 'lower');
  return {
    label: figureTitle(comparison),
    ratio: ratio ?? 1,
    low,
    high,
    range: from !== null && to !== null && from > 0 ? [from, to] : null,
    bound,
    claim: isClaim ? (code === metric?.better ? 'better' : 'worse') : null,
    isJudged: code !== 'not_judged',
    isInvalid: metric !== undefined && isInvalidRatio(report, comparison, metric),
    words: comparison.verdict,
  };
}

/* --------------------------------------------------------------------------------------------------------- charts */

/** Sweeps and load curves: what no table shows at a glance. */
function chartsSection(report: Report): Section | null {
  const curves = curvesOf(report.runs).flatMap((around) => loadCurveCharts(report, around));
  const charts = [...curves, ...sweepCharts(report)];
  if (charts.length === 0) return null;
  const titles = [...(curves.length > 0 ? ['load'] : []), ...(charts.length > curves.length ? ['sweep'] : [])];
  return { id: 'curves', title: `Curves over ${listInWords(titles)}`, body: charts.map(chartHtml).join('\n') };
}

/** The charts of each point of a sweep. */
function pointsSection(report: Report, main: Point | null): Section | null {
  const points = distinctPoints(report.runs.filter(({ trials }) => trials.length > 0));
  const sections = points.flatMap((point, place): Section[] => {
    const isMain = main !== null && samePoint(point, main);
    const body = [
      isMain || hasRate(point) ? '' : barsHtml(panelsOf(report, point), `Main figures, ${pointTitle(report, point)}`),
      ...pointCharts(report, point).map(chartHtml),
      timesHtml(report, point),
      costHtml(report, point),
    ].filter((part) => part !== '');
    return body.length === 0 ? [] : [{ id: `point-${place}`, title: pointInWords(point), body: body.join('\n') }];
  });
  const [first, second] = sections;
  if (first === undefined || second === undefined) return first ?? null;
  return { id: 'points', title: 'Each point of the run', body: '', parts: sections };
}

function timesHtml(report: Report, point: Point): string {
  const charts = timesCharts(report, point);
  const [first] = charts;
  if (first === undefined) return '';
  const isAfter = charts.some(({ end, data }) => end !== undefined && (data[0]?.at(-1) ?? 0) > end);
  const where = isAfter
    ? ' Grey: after the window.'
    : ' The chart covers the window; the warm-up before it is not recorded.';
  return multiplesHtml(first.title, `${first.note}${where}`, charts);
}

/* ------------------------------------------------------------------------------------------------------- the rest */

function warningsSection({ warnings }: View): Section | null {
  if (warnings.length === 0) return null;
  const items = warnings.map(({ severity, messages, hint }) => {
    const text = messages.map(escapeMarkup).join('<br>');
    const advice = hint === '' ? '' : `<br><span class="dim">&rarr; ${escapeMarkup(hint)}</span>`;
    return `<li class="${severity}"><b>${severityTitles[severity]}</b> ${text}${advice}</li>`;
  });
  const count = warnings.reduce((sum, { messages }) => sum + messages.length, 0);
  return {
    id: 'warnings',
    title: `Warnings (${formatCount(count)})`,
    body: `<ul class="list">${items.join('\n')}</ul>`,
  };
}

/** What somebody needs who sees such a page for the first time. METHOD.md has the rest. */
const readingLines: readonly (readonly [string, string])[] = [
  [
    'Full load',
    'is a closed loop: every client sends its next message when the last echo is complete. It shows throughput and cost.',
  ],
  [
    'Offered rate',
    'is an open loop: every mode gets the same load on a timetable, and a response time starts when its message was due. Compare response times there.',
  ],
  [
    'CPU per request',
    'is the user and kernel time of the server. It stays right when the load generator was the limit.',
  ],
  ['p99', 'means that 99% of the requests were at least this fast.'],
  [
    'Ratios',
    'are geometric means over paired, interleaved trials. Each has a 95% interval: with more trials it becomes narrower.',
  ],
  ['No difference shown', 'means that the trials did not show one. It does not mean that the modes are equal.'],
  ['n/a', 'means that the system does not report the figure. An unknown figure is never shown as 0.'],
  ['≥', 'marks a lower bound: the load generator was the limit, and the server may be faster.'],
  ['!', 'marks a figure that is not valid. The warnings give the reason and what to do about it.'],
];

const readingSection: Section = {
  id: 'reading',
  title: 'How to read this report',
  body: `<ul class="list">${readingLines.map(([term, text]) => `<li><b>${escapeMarkup(term)}</b> ${escapeMarkup(text)}</li>`).join('\n')}</ul>`,
};

function recordsSection(report: Report): Section {
  return {
    id: 'records',
    title: 'Windows, environment and plan',
    body: [windowsHtml(report), recordHtml('Environment', report.environment), recordHtml('Plan', report.plan)].join(
      '\n',
    ),
  };
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
    `<details><summary>${plural(windows.length, 'window')}, in the order of the run</summary>` +
    scrollBox(
      'Every window',
      `<table><thead><tr>${heads.map((head) => `<th scope="col">${head}</th>`).join('')}</tr></thead><tbody>\n` +
        `${windows.map(({ run, window }) => windowRow(report, run, window, given)).join('\n')}</tbody></table>`,
    ) +
    '</details>'
  );
}

function windowRow(report: Report, run: Run, window: Window, services: readonly ServiceName[]): string {
  const texts = [
    formatCount(run.clients),
    ...services.map((name) => (serviceNs(name, run) === 0 ? '0' : duration(serviceNs(name, run)))),
    String(window.index + 1),
    window.phase,
    formatCount(window.connections.made),
  ];
  const figures =
    window.state === 'completed'
      ? [
          windowCell(report, run, window, 'throughput', formatRate(window.requests.per_second)),
          ...['response_time_p99', 'service_time_p99', 'server_cpu_us_per_request'].map((name) =>
            windowCell(report, run, window, name),
          ),
        ]
      : [window.state, '', '', ''].map(plainCell);
  const cells = [...texts.map(plainCell), ...figures, plainCell(formatCount(window.errors.total))];
  return `<tr><th scope="row">${escapeMarkup(modeInWords(run))}</th>${cells.map(cellHtml).join('')}</tr>`;
}

function plainCell(text: string): Cell {
  return { text, tone: 'plain' };
}

/** A figure of a window, with a sign if it is not valid or a bound. @param shown absent: the metric's value in the window */
function windowCell(report: Report, run: Run, window: CompletedWindow, name: string, shown?: string): Cell {
  const metric = requireMetric(name);
  const text = shown ?? [readMetricText(metric, window), wideIntervalText(metric, window)].join(' ').trim();
  const mark = metric.phases.includes(window.phase) ? windowMarkOf(report, metric, run, window) : null;
  return mark === null ? plainCell(text) : { text: markedText(text, mark), tone: markTones[mark] };
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
