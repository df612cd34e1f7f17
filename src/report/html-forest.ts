/** Ratios with their intervals as a forest plot: a table whose middle column is drawn, on one logarithmic axis. */
import { formatCount, formatRatioWithInterval } from '../model/format.js';
import { logAxis, type Axis } from './axis.js';
import { escapeMarkup } from './escape.js';
import { percentOf } from './html-parts.js';
import { invalidNote, markSigns } from './marks.js';

export interface ForestRow {
  readonly label: string;
  readonly ratio: number;
  /** null: no interval. */
  readonly low: number | null;
  readonly high: number | null;
  /** Drawn thin where there is no interval. */
  readonly range: readonly [number, number] | null;
  readonly bound: 'at_least' | 'at_most' | null;
  /** null: nothing is claimed. */
  readonly claim: 'better' | 'worse' | null;
  readonly isJudged: boolean;
  /** One of the two figures is not valid. */
  readonly isInvalid: boolean;
  /** The verdict in a sentence. */
  readonly words: string;
}

export interface ForestGroup {
  readonly title: string;
  readonly rows: readonly ForestRow[];
}

/** What is further from 1 is drawn as an arrow at the edge. */
const furthest = 1000;

/** @param label names the table */
export function forestHtml(groups: readonly ForestGroup[], label: string): string {
  const filled = groups.filter(({ rows }) => rows.length > 0);
  const rows = filled.flatMap((group) => group.rows);
  if (rows.length === 0) return '';
  const axis = axisFor(rows);
  const body = filled.map(({ title, rows: own }) => {
    const head =
      title === ''
        ? ''
        : `<tr role="row" class="group"><th scope="rowgroup" role="rowheader" colspan="3">${escapeMarkup(title)}</th></tr>`;
    return `<tbody role="rowgroup">${head}${own.map((row) => rowHtml(row, axis)).join('\n')}</tbody>`;
  });
  const ticks = axis.ticks.map(({ at, label: text }) => {
    const anchor = at < 0.06 ? '' : at > 0.94 ? ' end' : ' middle';
    return `<text class="tick${anchor}" x="${percentOf(at)}" y="13">${escapeMarkup(text)}</text>`;
  });
  return (
    `<table class="forest" role="table" aria-label="${escapeMarkup(label)}"><thead role="rowgroup"><tr role="row">` +
    `<th role="columnheader" scope="col"><span class="hidden">figure</span></th>` +
    `<th role="columnheader" scope="col" class="plot"><span class="hidden">chart</span>` +
    `<svg width="100%" height="16" aria-hidden="true">${ticks.join('')}</svg></th>` +
    `<th role="columnheader" scope="col"><span class="hidden">ratio and 95% interval</span></th></tr></thead>\n${body.join('\n')}</table>`
  );
}

function axisFor(rows: readonly ForestRow[]): Axis {
  const values = rows.flatMap(({ ratio, low, high, range }) => [ratio, low ?? ratio, high ?? ratio, ...(range ?? [])]);
  const shown = values.map((value) => Math.min(furthest, Math.max(1 / furthest, value)));
  // At least from 0.8 to 1.25: a difference of a percent must not fill the chart.
  const low = Math.min(0.8, ...shown) / 1.08;
  const high = Math.max(1.25, ...shown) * 1.08;
  return logAxis(low, high, 5, tickText);
}

/** "0.01x", "1x", "50x". */
function tickText(value: number): string {
  return `${Number(value.toPrecision(3))}x`;
}

function rowHtml(row: ForestRow, axis: Axis): string {
  const { label, ratio, low, high, bound, claim, words } = row;
  const sign = bound === 'at_least' ? '≥ ' : bound === 'at_most' ? '≤ ' : '';
  const text = (row.isInvalid ? markSigns.invalid : '') + sign + formatRatioWithInterval(ratio, low, high);
  const said = claim === null ? '' : ` <b>${claim}</b>`;
  const tone = row.isInvalid ? 'invalid' : (claim ?? (row.isJudged ? 'muted' : 'plain'));
  return (
    `<tr role="row"><th scope="row" role="rowheader">${escapeMarkup(label)}</th>` +
    `<td role="cell" class="plot"><svg width="100%" height="24" aria-hidden="true">${rowSvg(row, axis)}</svg></td>` +
    `<td role="cell" class="ratio ${tone}">${escapeMarkup(text)}${said}` +
    `${words === '' ? '' : `<span class="hidden">: ${escapeMarkup(words)}</span>`}</td></tr>`
  );
}

function rowSvg({ ratio, low, high, range, bound, claim }: ForestRow, axis: Axis): string {
  const share = (value: number): number => Math.min(1, Math.max(0, axis.at(value)));
  const at = (value: number): string => percentOf(share(value));
  const grid = axis.ticks.map(
    ({ at: place, value }) =>
      `<line class="${value === 1 ? 'one' : 'grid'}" x1="${percentOf(place)}" x2="${percentOf(place)}" y1="0" y2="24"/>`,
  );
  const look = claim ?? 'ink';
  const symbol = (name: string, place: number): string =>
    `<svg class="mark" x="${percentOf(share(place))}" y="12"><use href="#${name}" class="${look}"/></svg>`;
  const ends = low !== null && high !== null ? ([low, high] as const) : range;
  const line =
    ends === null
      ? ''
      : `<line class="range ${look}${low === null ? ' thin' : ''}" x1="${at(ends[0])}" x2="${at(ends[1])}" y1="12" y2="12"/>` +
        (axis.at(ends[0]) < 0 ? symbol('nearer', ends[0]) : '') +
        (axis.at(ends[1]) > 1 ? symbol('further', ends[1]) : '');
  const mark = bound === 'at_least' ? 'further' : bound === 'at_most' ? 'nearer' : claim === null ? 'open' : 'claimed';
  return grid.join('') + line + symbol(mark, ratio);
}

/** What the signs of a forest plot mean. @param lead says what is divided by what, without a full stop */
export function forestKey(rows: readonly ForestRow[], lead: string): string {
  const parts = [
    `${lead}; 1x means that they are the same.`,
    ...(rows.some(({ low }) => low !== null) ? ['Lines: 95% intervals.'] : []),
    ...(rows.some(({ low, range }) => low === null && range !== null) ? ['Thin lines: the range of two trials.'] : []),
    ...(rows.some(({ claim }) => claim !== null) ? ['Filled diamonds: a claimed difference.'] : []),
    'Circles: nothing is claimed.',
    ...(rows.some(({ isInvalid }) => isInvalid) ? [invalidNote] : []),
    ...(rows.some(({ bound }) => bound !== null)
      ? ['Triangles: the load generator was the limit; the true ratio lies in their direction.']
      : []),
  ];
  return parts.join(' ');
}

/** Groups that are less important, folded away with their number. */
export function foldedForest(groups: readonly ForestGroup[], label: string): string {
  const count = groups.reduce((sum, { rows }) => sum + rows.length, 0);
  if (count === 0) return '';
  return (
    `<details class="more"><summary>${formatCount(count)} other ${count === 1 ? 'ratio' : 'ratios'}, on which nothing is claimed</summary>` +
    `${forestHtml(groups, label)}</details>`
  );
}
