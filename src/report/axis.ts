/** Axes of the HTML report's charts: where a value lies between two ends, and which values are labelled. */
import { formatCount, formatDuration, formatRate } from '../model/format.js';
import { duration } from '../model/words.js';
import type { AxisKind } from './charts.js';

export interface Tick {
  readonly value: number;
  /** From 0, the low end, to 1. */
  readonly at: number;
  readonly label: string;
  /** The label has no room on a phone. */
  readonly isWideOnly?: boolean;
}

export interface Axis {
  readonly low: number;
  readonly high: number;
  /** From 0 to 1; below 0 and above 1 for values beyond the ends. */
  readonly at: (value: number) => number;
  readonly ticks: readonly Tick[];
}

type Transform = (value: number) => number;

function axisOf(
  low: number,
  high: number,
  values: readonly number[],
  label: (value: number) => string,
  transform: Transform = (value) => value,
): Axis {
  const [from, to] = [transform(low), transform(high)];
  const at = (value: number): number => (to === from ? 0.5 : (transform(value) - from) / (to - from));
  const seen = new Set<number>();
  const ticks = values.flatMap((value): Tick[] => {
    // Rounding may put the end of an axis a hair beyond it.
    const place = at(value);
    if (seen.has(value) || place < -1e-9 || place > 1 + 1e-9) return [];
    seen.add(value);
    return [{ value, at: Math.min(1, Math.max(0, place)), label: label(value) }];
  });
  return { low, high, at, ticks };
}

/** "3.00 ms" is "3 ms" on an axis, "2.50 ms" is "2.5 ms". */
export function shortLabel(text: string): string {
  return text.replace(/\.0+(?=\D|$)|(\.\d*?)0+(?=\D|$)/, '$1');
}

/** A linear axis from 0 with about `count` round ticks. */
export function linearAxis(high: number, count: number, label: (value: number) => string): Axis {
  const step = roundStep(high / count);
  const values = Array.from({ length: Math.floor(high / step + 1e-9) + 1 }, (_, place) => place * step);
  return axisOf(0, high, values, label);
}

/** 1, 2 or 5 times a power of ten, at least `least`. */
function roundStep(least: number): number {
  if (!(least > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(least));
  return ([1, 2, 5, 10].find((factor) => factor * power >= least * 0.999) ?? 10) * power;
}

/** A logarithmic axis with at most `most` ticks: powers of ten, and what lies between them where the axis is short. */
export function logAxis(low: number, high: number, most: number, label: (value: number) => string): Axis {
  const choices = [[1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8], [1, 2, 5], [1, 3], [1]];
  const found = choices.map((factors) => powersWithin(low, high, factors)).find((values) => values.length <= most);
  const sparse = powersWithin(low, high, [1]);
  const every = Math.ceil(sparse.length / most);
  return axisOf(low, high, found ?? sparse.filter((_, place) => place % every === 0), label, Math.log);
}

function powersWithin(low: number, high: number, factors: readonly number[]): number[] {
  const values: number[] = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high) + 1e-9; power += 1) {
    for (const factor of factors) values.push(Number((factor * 10 ** power).toPrecision(6)));
  }
  return values.filter((value) => value >= low * 0.999_999 && value <= high * 1.000_001);
}

/** One label per measured value, as far as they have room. */
function measuredAxis(
  values: readonly number[],
  low: number,
  high: number,
  label: (value: number) => string,
  transform: Transform,
): Axis {
  const all = axisOf(low, high, values, label, transform);
  const narrow = withRoom(all.ticks, labelRoom.phone);
  const wide = withRoom(all.ticks, labelRoom.laptop, narrow);
  return { ...all, ticks: wide.map((tick) => (narrow.includes(tick) ? tick : { ...tick, isWideOnly: true })) };
}

/** The ticks whose labels do not touch, `kept` among them. @param room the least distance of two labels, from 0 to 1 */
function withRoom(ticks: readonly Tick[], room: number, kept: readonly Tick[] = []): Tick[] {
  const last = ticks.at(-1);
  // The largest value is the one that is asked about: it has its label in any case. It ends where the axis does.
  const chosen: Tick[] = kept.length > 0 ? [...kept] : last === undefined ? [] : [last];
  for (const tick of ticks) {
    const isFree = chosen.every((other) => Math.abs(tick.at - other.at) >= room * (other === last ? 1.3 : 1));
    if (isFree) chosen.push(tick);
  }
  return chosen.sort((a, b) => a.at - b.at);
}

/** Share of the width of a plot that a label needs. */
const labelRoom = { phone: 0.2, laptop: 0.07 } as const;

const nineLabels: readonly (readonly [number, string])[] = [
  [2, '50%'],
  [10, '90%'],
  [100, '99%'],
  [1e3, '99.9%'],
  [1e4, '99.99%'],
  [1e5, '99.999%'],
];

/** Time in seconds is linear, the percentiles are by their nines, and sweeps have the values that were measured. */
export function xAxis(kind: AxisKind, values: readonly number[]): Axis {
  const [first = 0] = values;
  const low = values.reduce((least, value) => Math.min(least, value), first);
  const high = values.reduce((most, value) => Math.max(most, value), first);
  const label = axisLabel(kind);
  switch (kind) {
    case 'seconds': {
      // A value is that of the time until the next one.
      const [start = 0, next = start] = values;
      return linearAxis(high + next - start, 4, label);
    }
    case 'nines': {
      const labels = new Map(nineLabels);
      return measuredAxis(
        [...labels.keys()].filter((step) => step <= high),
        1,
        high,
        (value) => labels.get(value) ?? '',
        Math.log,
      );
    }
    case 'clients':
      return measuredAxis(values, low / 1.05, high * 1.05, label, Math.log);
    case 'work':
    case 'wait': {
      // Logarithmic, with a place for 0.
      const unit = values.find((value) => value > 0) ?? 1;
      return measuredAxis(values, 0, high, label, (value) => Math.asinh(value / unit));
    }
    case 'rate':
      return measuredAxis(values, 0, high, label, (value) => value);
    case 'duration':
      return logAxis(low, high, 6, label);
  }
}

/**
 * Times are logarithmic; everything else begins at 0, so that twice as high is twice as much.
 * @param most ticks
 */
export function yAxis(kind: AxisKind, values: readonly number[], most = 7): Axis {
  const positive = values.filter((value) => value > 0);
  const label = axisLabel(kind);
  if (kind !== 'duration') return linearAxis(Math.max(1e-9, ...bounds(values)) * 1.08, Math.min(5, most), label);
  const [low, high] = bounds(positive.length === 0 ? [1, 10] : positive);
  // A range of less than a tenth would make noise look large.
  const middle = Math.sqrt(low * high);
  return logAxis(Math.min(low / 1.15, middle / 1.5), Math.max(high * 1.15, middle * 1.5), most, label);
}

function bounds(values: readonly number[]): [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}

function axisLabel(kind: AxisKind): (value: number) => string {
  return (value) => shortLabel(kindText(kind, value));
}

/** A value of an axis as a table shows it. */
export function kindText(kind: AxisKind, value: number): string {
  switch (kind) {
    case 'seconds':
      return `${value.toFixed(1)} s`;
    case 'nines':
      return percentileText(value);
    case 'clients':
      return formatCount(value);
    case 'work':
    case 'wait':
      return value === 0 ? '0' : duration(value);
    case 'rate':
      return formatRate(value);
    case 'duration':
      return formatDuration(value);
  }
}

/** "p50", "p99.9": of 1 / (1 - p). */
export function percentileText(step: number): string {
  return `p${Number((100 - 100 / step).toFixed(step < 1e3 ? 1 : 4))}`;
}
