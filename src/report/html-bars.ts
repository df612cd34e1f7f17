/** The first chart of the HTML report: what each mode does, as bars with intervals and a dot per trial. Tables that look like charts. */
import { pairedRatioInterval } from '../measure/statistics.js';
import { runValue } from '../measure/run-values.js';
import { invalidating } from '../measure/validity.js';
import { formatCount, formatDuration, formatRate, plural } from '../model/format.js';
import {
  completedWindows,
  isBeyondTimeout,
  lowerBoundReason,
  requireMetric,
  resolutionOf,
  trialValues,
  type Metric,
} from '../model/metrics.js';
import {
  distinctPoints,
  hasRate,
  pointInWords,
  rateLabel,
  samePoint,
  sameService,
  type Point,
} from '../model/point.js';
import type { Phase, Report, Run } from '../model/report-schema.js';
import { escapeMarkup } from './escape.js';
import { percentOf } from './html-parts.js';
import { modeColors } from './mode-colors.js';
import { metricText, metricValueText } from './values.js';
import { modeInWords } from './view.js';

/** A figure of one mode in one report. */
export interface Bar {
  readonly label: string;
  /** Slot of the palette. */
  readonly color: number;
  /** Drawn as the paler one of two: the base of a comparison. */
  readonly isPale: boolean;
  /** The value as the tables show it, "≥ 253k/s" and "> timeout" included. */
  readonly text: string;
  /** null: the bar cannot be drawn. */
  readonly value: number | null;
  readonly low: number | null;
  readonly high: number | null;
  readonly trials: readonly number[];
  /** Beyond the timeout: longer than anything that can be drawn. */
  readonly isEndless: boolean;
  /** The true value is at least this. */
  readonly isBound: boolean;
  /** Why the figure does not say what it seems to; empty if it does. */
  readonly invalid: string;
}

export interface Panel {
  readonly title: string;
  /** "higher is better", and what else has to be known. */
  readonly note: string;
  readonly metric: Metric;
  readonly bars: readonly Bar[];
}

interface PanelKind {
  readonly metric: string;
  readonly phase: Phase;
  readonly title: string;
}

/** The first of each list that a report knows is shown. */
const panelKinds: readonly (readonly PanelKind[])[] = [
  [
    { metric: 'max_rate', phase: 'latency', title: 'Highest rate within the limit' },
    { metric: 'throughput', phase: 'capacity', title: 'Throughput at full load' },
  ],
  [
    { metric: 'server_cpu_us_per_request', phase: 'capacity', title: 'Server CPU per request' },
    { metric: 'server_cpu_us_per_request', phase: 'latency', title: 'Server CPU per request' },
  ],
  [{ metric: 'response_time_p99', phase: 'latency', title: 'Response time p99' }],
  [
    { metric: 'resident_bytes_per_connection', phase: 'capacity', title: 'Server memory per connection' },
    { metric: 'resident_bytes_per_connection', phase: 'latency', title: 'Server memory per connection' },
  ],
];

/** The point of a sweep that the first chart shows: the largest number of clients, as the verdicts do; null: nothing was measured. */
export function mainPoint(report: Report): Point | null {
  const measured = report.runs.filter((run) => run.trials.some(({ state }) => state === 'completed'));
  const points = distinctPoints(measured);
  const plain = points.filter((point) => !hasRate(point));
  const candidates = plain.length > 0 ? plain : points;
  const largest = Math.max(...candidates.map(({ clients }) => clients));
  return candidates.find(({ clients }) => clients === largest) ?? null;
}

/** The panels of one point of a sweep. In a load curve, times are those of its highest rate. */
export function panelsOf(report: Report, point: Point): Panel[] {
  return panelKinds.flatMap((kinds): Panel[] => {
    for (const kind of kinds) {
      const panel = panelOf(report, point, kind) ?? curvePanel(report, point, kind);
      if (panel !== null) return [panel];
    }
    return [];
  });
}

function panelOf(report: Report, point: Point, kind: PanelKind): Panel | null {
  const metric = requireMetric(kind.metric);
  const colors = modeColors(report.plan.modes.map(({ mode }) => mode));
  const bars = report.plan.modes.flatMap((entry, place): Bar[] => {
    const run = report.runs.find((one) => one.mode === entry.mode && samePoint(one, point));
    return run === undefined ? [] : [barOf(report, run, metric, kind.phase, modeInWords(entry), colors[place] ?? 0)];
  });
  if (!bars.some(({ value, isEndless }) => value !== null || isEndless)) return null;
  return { title: kind.title, note: panelNote(report, point, metric, kind.phase), metric, bars };
}

/** The panels of two reports: the base's bar of each mode above the head's. */
export function overlaidPanels(base: Report, head: Report, point: Point): Panel[] {
  const before = panelsOf(base, point);
  return panelsOf(head, point).flatMap((panel): Panel[] => {
    const other = before.find(({ title }) => title === panel.title);
    if (other === undefined) return [];
    const bars = panel.bars.flatMap((bar): Bar[] => {
      const own = other.bars.filter(({ label }) => label === bar.label);
      return [
        ...own.map((one) => ({ ...one, label: `${one.label}, base`, color: bar.color, isPale: true })),
        { ...bar, label: `${bar.label}, head` },
      ];
    });
    return [{ ...panel, bars }];
  });
}

/** The panel of the highest rate of a load curve around the point. */
function curvePanel(report: Report, point: Point, kind: PanelKind): Panel | null {
  if (kind.phase !== 'latency' || hasRate(point)) return null;
  const rates = distinctPoints(
    report.runs.filter((run) => hasRate(run) && run.clients === point.clients && sameService(run, point)),
  ).sort((a, b) => (b.rate_per_second ?? 0) - (a.rate_per_second ?? 0));
  for (const rate of rates) {
    const panel = panelOf(report, rate, kind);
    if (panel !== null) return panel;
  }
  return null;
}

function panelNote(report: Report, point: Point, metric: Metric, phase: Phase): string {
  const parts = [`${metric.better} is better`];
  if (phase === 'latency' && metric.name !== 'max_rate') {
    const rates = report.runs
      .filter((run) => samePoint(run, point))
      .flatMap((run) => completedWindows(run, 'latency').flatMap(({ requests }) => requests.offered_per_second ?? []));
    const [first] = rates;
    if (hasRate(point)) parts.unshift(`at ${rateLabel(point)} offered`);
    else if (first !== undefined && Math.max(...rates) <= 1.01 * Math.min(...rates)) {
      parts.unshift(`at ${formatRate(first)} offered`);
    }
  }
  if (metric.name === 'max_rate') {
    const limit = report.runs.flatMap((run) => run.max_rate ?? [])[0]?.limit_ns;
    if (limit !== undefined) parts.unshift(`limit ${formatDuration(limit)}`);
  }
  return parts.join(', ');
}

/** A figure of a run, with the interval of the geometric mean of its trials; with two trials their range. */
function barOf(report: Report, run: Run, metric: Metric, phase: Phase, label: string, color: number): Bar {
  const values = trialValues(metric, run, phase);
  const known = values.flatMap(({ value }) => (value !== null && value > 0 ? [value] : []));
  const isWhole = known.length === values.length && known.length > 1;
  const interval = isWhole ? pairedRatioInterval(known, { resolution: resolutionOf(metric, values) }) : null;
  const value = runValue(metric, run, phase);
  const isBound = metric.clientLimit === 'rate' && values.some((one) => lowerBoundReason(one) !== null);
  const text = metricText(metric, run, phase);
  return {
    label,
    color,
    isPale: false,
    text: isBound && value !== null && !text.startsWith('≥') ? `≥ ${text}` : text,
    value,
    low: interval === null ? null : (interval.low ?? interval.rangeLow),
    high: interval === null ? null : (interval.high ?? interval.rangeHigh),
    trials: known,
    isEndless: value === null && values.some(({ window }) => isBeyondTimeout(metric, window)),
    isBound,
    invalid: invalidating(report.warnings, metric, run, phase)?.message ?? '',
  };
}

/* --------------------------------------------------------------------------------------------------------- drawing */

/** An interval that reaches further than this many times the largest value is cut off: it would press the bars together. */
const intervalRoom = 1.6;

export function barsHtml(panels: readonly Panel[], label: string): string {
  if (panels.length === 0) return '';
  return (
    `<div class="panels" role="group" aria-label="${escapeMarkup(label)}">` +
    `${panels.map(panelHtml).join('\n')}</div>\n${legendHtml(panels)}`
  );
}

function panelHtml({ title, note, metric, bars }: Panel): string {
  const values = bars.flatMap(({ value, trials }) => [...trials, ...(value === null ? [] : [value])]);
  const most = Math.max(0, ...values);
  const ends = bars.flatMap(({ high }) => (high === null ? [] : [high]));
  const end = Math.max(most, Math.min(Math.max(0, ...ends), most * intervalRoom)) * 1.03 || 1;
  return (
    `<figure class="panel"><figcaption><b>${escapeMarkup(title)}</b> ${escapeMarkup(note)}</figcaption>` +
    `<table class="bars" role="table" aria-label="${escapeMarkup(title)}"><tbody>` +
    `${bars.map((bar) => barRow(bar, end, metric)).join('')}</tbody></table></figure>`
  );
}

function barRow(bar: Bar, end: number, metric: Metric): string {
  const { label, text, low, high, trials, isBound, invalid } = bar;
  const valueText = (value: number): string => metricValueText(metric, value);
  const isExact = trials.length > 0 && Math.min(...trials) === Math.max(...trials);
  const spoken = [
    ...(low === null || high === null || isExact
      ? []
      : [`${trials.length > 2 ? '95% interval' : 'range'} ${valueText(low)} to ${valueText(high)}`]),
    ...(trials.length > 1 ? [`trials ${trials.map(valueText).join(', ')}`] : []),
    ...(invalid === '' ? [] : [`not valid: ${invalid}`]),
  ].join('; ');
  const mark = invalid === '' ? '' : `<span class="flag" aria-hidden="true">!</span>`;
  return (
    `<tr role="row"><th scope="row" role="rowheader"><span class="name">${escapeMarkup(label)}</span></th>` +
    `<td role="cell" class="plot"><svg width="100%" height="22" aria-hidden="true">${barSvg(bar, end)}</svg></td>` +
    `<td role="cell" class="value${invalid !== '' ? ' invalid' : isBound ? ' bound' : ''}">${mark}${escapeMarkup(text)}` +
    `${spoken === '' ? '' : `<span class="hidden">, ${escapeMarkup(spoken)}</span>`}</td></tr>`
  );
}

function barSvg(bar: Bar, end: number): string {
  const { value, low, high, trials, color, isEndless, isBound, invalid, isPale } = bar;
  const at = (figure: number): string => percentOf(Math.min(1, figure / end));
  const look = `c${color}${invalid !== '' || isBound || isEndless ? ' doubt' : ''}${isPale ? ' pale' : ''}`;
  const body =
    value === null && !isEndless
      ? ''
      : `<rect class="bar ${look}" y="4" height="14" width="${isEndless || value === null ? '100%' : at(value)}"/>`;
  const further =
    isBound && value !== null
      ? `<svg class="mark" x="${at(value)}" y="11"><use href="#further" class="c${color}"/></svg>`
      : '';
  // With a single value for all trials there is nothing to see of an interval.
  const isPoint = low === null || high === null || high - low < end * 0.004;
  const interval = isPoint
    ? ''
    : `<line class="range" x1="${at(low)}" x2="${at(high)}" y1="11" y2="11"/>` +
      `<line class="range" x1="${at(low)}" x2="${at(low)}" y1="7" y2="15"/>` +
      (high > end
        ? `<svg class="mark" x="100%" y="11"><use href="#further" class="ink"/></svg>`
        : `<line class="range" x1="${at(high)}" x2="${at(high)}" y1="7" y2="15"/>`);
  const dots =
    trials.length < 2
      ? ''
      : trials
          .map((trial, place) => `<circle class="dot" cx="${at(trial)}" cy="${8 + ((place * 2) % 4) * 2}" r="2.2"/>`)
          .join('');
  return body + interval + dots + further;
}

function legendHtml(panels: readonly Panel[]): string {
  const bars = panels.flatMap((panel) => panel.bars);
  const counts = bars.map(({ trials }) => trials.length);
  const most = Math.max(0, ...counts);
  const parts = [
    ...(most > 2
      ? [`Bar: median of up to ${plural(most, 'trial')}. Line: 95% interval of their geometric mean. Dots: the trials.`]
      : most === 2
        ? ['Bar: median of two trials. Line and dots: the two trials.']
        : ['One trial each.']),
    ...(bars.some(({ isBound }) => isBound)
      ? ['≥ and an open bar: the load generator was the limit; the true value is at least this.']
      : []),
    ...(bars.some(({ isEndless }) => isEndless)
      ? ['> timeout: so many requests had no echo in time that the figure lies among them.']
      : []),
  ];
  const doubt = bars.some(({ invalid }) => invalid !== '')
    ? ` <span class="flag">!</span> not valid: <a href="#warnings">the warnings</a> say why.`
    : '';
  return `<p class="key">${escapeMarkup(parts.join(' '))}${doubt}</p>`;
}

/** "6,000 clients, 4 trials": what the first chart is about. */
export function pointTitle(report: Report, point: Point): string {
  const runs = report.runs.filter((run) => samePoint(run, point));
  const trials = Math.max(0, ...runs.map((run) => new Set(run.trials.map(({ index }) => index)).size));
  return `${pointInWords(point)}, ${trials === 1 ? 'one trial' : `${formatCount(trials)} trials`}`;
}
