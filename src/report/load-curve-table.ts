/** The table of a load curve, rates down and modes across, and the same as a chart in characters. */
import { curvePoints, curvesOf, figureAt, type CurveFigure } from '../measure/load-curve.js';
import { formatDuration, formatRate, plural, printable } from '../model/format.js';
import { requireMetric } from '../model/metrics.js';
import { rateLabel, samePoint, type Point } from '../model/point.js';
import type { Report, Run } from '../model/report-schema.js';
import { columnOf, markedCell, pointLines, ratioCell } from './sections.js';
import { invalidNote } from './marks.js';
import type { Cell, Row, Table } from './view.js';

const figures = [
  ['Response time p50', 'response_time_p50'],
  ['Response time p99', 'response_time_p99'],
  ['Response time p99.9', 'response_time_p99_9'],
] as const;

/** One table per number of clients, work and wait; none without a load curve. */
export function loadCurveTables(report: Report): Table[] {
  return curvesOf(report.runs).map((around) => loadCurveTable(report, around));
}

function loadCurveTable(report: Report, around: Point): Table {
  const points = curvePoints(report.runs, around);
  const modes = report.plan.modes.filter(({ mode }) => findRun(report, mode, points[0]) !== undefined);
  const [first, second, third] = modes;
  const pair = first && second && !third ? { a: second.mode, b: first.mode } : null;
  const groups = figures.map(([title, name]) => {
    const metric = requireMetric(name);
    const rows = points.map((point): Row => ({
      label: rateLabel(point),
      brief: rateLabel(point),
      cells: modes.map(({ mode }): Cell => {
        const run = findRun(report, mode, point);
        if (run === undefined) return { text: '', tone: 'plain' };
        const cell = markedCell(report, metric, run, 'latency');
        return { ...cell, text: cell.text + intervalText(figureAt(metric, run)) };
      }),
      ratio: ratioCell({ report, point, pair }, metric, 'latency'),
    }));
    return { title: `${title} by offered load`, rows };
  });
  const isInvalid = groups.some(({ rows }) => rows.some(({ cells }) => cells.some(({ tone }) => tone === 'invalid')));
  const hasRatio = groups.some(({ rows }) => rows.some(({ ratio }) => (ratio?.text ?? '') !== ''));
  const plot = plotOf(report, points, modes);
  const trials = Math.max(0, ...report.runs.map((run) => new Set(run.trials.map(({ index }) => index)).size));
  return {
    point: null,
    curve: around,
    corner: ['Load curve', ...pointLines(around), trials === 1 ? 'one trial' : `median of ${plural(trials, 'trial')}`],
    columns: modes.map(columnOf),
    ratioHeader: pair !== null && hasRatio ? `${printable(pair.a)} / ${printable(pair.b)}` : null,
    groups,
    notes: [
      'Load curve: in brackets the 95% interval of the geometric mean of the trials; with two trials their range.',
      ...(isInvalid ? [invalidNote] : []),
    ],
    ...(plot.length > 0 && { plot }),
  };
}

function findRun(report: Report, mode: string, point: Point | undefined): Run | undefined {
  return report.runs.find((run) => run.mode === mode && point !== undefined && samePoint(run, point));
}

function intervalText({ low, high }: CurveFigure): string {
  return low === null || high === null ? '' : `\n[${formatDuration(low)}, ${formatDuration(high)}]`;
}

/* ---------------------------------------------------------------------------------------------------------- chart */

const plotHeight = 12;
const plotWidth = 56;
const axisWidth = 9;

/** Response time p99 of each mode over the offered rate, on a logarithmic axis; empty if fewer than two points are known. */
function plotOf(report: Report, points: readonly Point[], modes: readonly { mode: string }[]): string[] {
  const metric = requireMetric('response_time_p99');
  const signs = 'abcdefghijklmnopqrstuvwxyz';
  const highestRate = Math.max(...points.map(({ rate_per_second: rate }) => rate ?? 0));
  const dots = modes.flatMap(({ mode }, place) =>
    points.flatMap((point) => {
      const run = findRun(report, mode, point);
      const value = run === undefined ? null : figureAt(metric, run).value;
      const rate = point.rate_per_second ?? 0;
      return value === null || value <= 0 ? [] : [{ x: rate / highestRate, value, sign: signs[place] ?? '?' }];
    }),
  );
  const values = dots.map(({ value }) => value);
  if (values.length < 2) return [];
  const [low, high] = [Math.log(Math.min(...values)), Math.log(Math.max(...values) * 1.001)];
  const rows = Array.from({ length: plotHeight }, () => Array.from({ length: plotWidth }, () => ' '));
  for (const { x, value, sign } of dots) {
    const row = rows[plotHeight - 1 - Math.round(((Math.log(value) - low) / (high - low)) * (plotHeight - 1))];
    const column = Math.round(x * (plotWidth - 1));
    if (row === undefined) continue;
    // Two modes at one place.
    row[column] = row[column] === ' ' || row[column] === sign ? sign : '*';
  }
  const scale = (place: number): string => {
    if (place % 4 !== 0 && place !== plotHeight - 1) return '';
    return formatDuration(Math.exp(high - ((high - low) * place) / (plotHeight - 1)));
  };
  const ends = `0${formatRate(highestRate).padStart(plotWidth - 1)}`;
  return [
    'Response time p99 against offered load (logarithmic)',
    ...rows.map((row, place) => `${scale(place).padStart(axisWidth)} |${row.join('').trimEnd()}`),
    `${' '.repeat(axisWidth)} +${'-'.repeat(plotWidth)}`,
    `${' '.repeat(axisWidth)}  ${ends}`,
    `${' '.repeat(axisWidth)}  ${modes.map(({ mode }, place) => `${signs[place] ?? '?'} = ${printable(mode)}`).join(', ')}, * = several`,
  ];
}
