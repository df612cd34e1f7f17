/**
 * Charts for a terminal: one line per x value, and on it a mark per series along a logarithmic axis. Values that agree share a mark,
 * which is what a reader looks for where two modes come together. ASCII alone, so that every terminal shows the same.
 */
import { printable } from '../model/format.js';
import { kindText } from './axis.js';
import type { AxisKind, Chart, Series } from './charts.js';

/** By slot of the palette: a mode has one mark in every report. */
const marks = ['o', 'x', '+', '%', '#', '@', '&', '$', '=', '~'];
/** Several series at one place. */
const sharedMark = '*';
const tickMark = '.';
/** A longer axis is not easier to read. */
const widestAxis = 72;

function markOf(series: Series | undefined): string {
  return marks[(series?.color ?? 0) % marks.length] ?? sharedMark;
}

export interface TextChart {
  readonly title: string;
  /** The axis, then a line per x value, then the legend. */
  readonly lines: readonly string[];
}

/** The chart in lines of at most `width` columns; null if it has no value above 0, which a logarithmic axis cannot show. */
export function textChart(chart: Chart, width: number): TextChart | null {
  const [xs = [], ...series] = chart.data;
  const positive = (value: number | null | undefined): value is number => typeof value === 'number' && value > 0;
  const values = series.flat().filter(positive);
  if (values.length === 0) return null;
  const labels = xs.map((x) => valueText(chart.x, x ?? 0));
  const labelWidth = Math.max(...labels.map(({ length }) => length));
  const lead = ' '.repeat(labelWidth + 2);
  const axis = axisOf(Math.min(...values), Math.max(...values), Math.min(widestAxis, width - lead.length - 2));
  const rows = labels.map((label, row) => {
    const cells = axis.ticks.reduce((line, tick) => put(line, axis.place(tick), tickMark), ' '.repeat(axis.width));
    const taken = new Map<number, string>();
    for (const [index, line] of series.entries()) {
      const value = line[row];
      if (!positive(value)) continue;
      const place = axis.place(value);
      taken.set(place, taken.has(place) ? sharedMark : markOf(chart.series[index]));
    }
    const drawn = [...taken].reduce((line, [place, mark]) => put(line, place, mark), cells);
    return `${label.padStart(labelWidth)}  ${drawn}`.trimEnd();
  });
  const legend = [
    ...chart.series.map((one) => `${markOf(one)} ${printable(one.label)}`),
    ...(rows.some((row) => row.includes(sharedMark)) ? [`${sharedMark} more than one`] : []),
  ];
  return {
    title: `${printable(chart.title)} (logarithmic axis)`,
    lines: [`${lead}${tickLine(axis, chart.y)}`.trimEnd(), ...rows, ...legendLines(legend, lead, width)],
  };
}

interface Axis {
  readonly width: number;
  readonly ticks: readonly number[];
  /** The column of a value. */
  readonly place: (value: number) => number;
}

/** From a round value below the lowest to one above the highest, both included. */
function axisOf(lowest: number, highest: number, width: number): Axis {
  const steps = highest / lowest > 100 ? [1] : [1, 2, 5];
  const round: number[] = [];
  for (let power = Math.floor(Math.log10(lowest)) - 1; power <= Math.ceil(Math.log10(highest)) + 1; power += 1) {
    for (const step of steps) round.push(step * 10 ** power);
  }
  const low = round.findLast((value) => value < lowest) ?? lowest / 2;
  const high = round.find((value) => value > highest) ?? highest * 2;
  const scale = (width - 1) / Math.log(high / low);
  return {
    width,
    ticks: round.filter((value) => value >= low && value <= high),
    place: (value) => Math.round(Math.log(value / low) * scale),
  };
}

/** The values of the ticks, each in the middle above its tick where there is room. */
function tickLine({ width, ticks, place }: Axis, kind: AxisKind): string {
  let line = '';
  for (const tick of ticks) {
    const text = valueText(kind, tick);
    const start = Math.min(Math.max(0, place(tick) - Math.floor(text.length / 2)), width - text.length);
    if (line !== '' && start < line.length + 2) continue;
    line = line.padEnd(start) + text;
  }
  return line;
}

function put(line: string, place: number, mark: string): string {
  return line.slice(0, place) + mark + line.slice(place + 1);
}

function legendLines(entries: readonly string[], lead: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const entry of entries) {
    const longer = line === '' ? entry : `${line}   ${entry}`;
    if (line !== '' && lead.length + longer.length > width) {
      lines.push(lead + line);
      line = entry;
    } else line = longer;
  }
  return line === '' ? lines : [...lines, lead + line];
}

function valueText(kind: AxisKind, value: number): string {
  if (kind === 'seconds') return `${value} s`;
  if (kind === 'nines') return String(value);
  const text = kindText(kind, value);
  return kind === 'rate' || kind === 'duration' ? withoutZeros(text) : text;
}

/** "100k/s" and "1 ms" of "100.0k/s" and "1.00 ms": the values of ticks are round. */
function withoutZeros(text: string): string {
  return text.replace(/\.0+(?=\D|$)/, '');
}
