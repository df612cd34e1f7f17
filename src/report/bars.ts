/**
 * The primary figures of each mode as bars, for a terminal. Plain ASCII: every terminal shows the same. A bar is drawn from 0 to the upper
 * end of the interval, on a linear axis that the modes share.
 */
import { figureAt, type CurveFigure } from '../measure/load-curve.js';
import { formatRate, printable } from '../model/format.js';
import { completedWindows, requireMetric, type Metric } from '../model/metrics.js';
import { samePoint, type Point } from '../model/point.js';
import type { Phase, Report, Run } from '../model/report-schema.js';
import { medianOfKnown } from '../measure/statistics.js';
import { markedText, markOf, type Mark } from './marks.js';
import { painter, type Tone } from './text.js';
import { metricText } from './values.js';

interface Bar {
  readonly label: string;
  readonly text: string;
  readonly mark: Mark;
  readonly figure: CurveFigure;
}

interface BarGroup {
  readonly title: string;
  readonly bars: readonly Bar[];
}

/** Up to the lower end of the interval, and within it. */
const solid = '#';
const within = '=';
/** With more modes, only the first two figures have bars; the table has the others. */
const modesWithAllFigures = 3;
const longestLabel = 24;

const figures: readonly (readonly [metric: string, title: string, phases: readonly Phase[]])[] = [
  ['max_rate', 'Highest rate within the limit', ['latency']],
  ['throughput', 'Throughput at full load', ['capacity']],
  ['server_cpu_us_per_request', 'Server CPU per request', ['capacity', 'latency']],
  ['response_time_p99', 'Response time p99', ['latency']],
  ['resident_bytes_per_connection', 'Resident memory per connection', ['capacity', 'latency']],
];

/** The lines, with a legend; none where fewer than two modes have figures at this point. */
export function barLines(report: Report, point: Point, { width, color }: { width: number; color: boolean }): string[] {
  const order = report.plan.modes.map(({ mode }) => mode);
  const runs = report.runs
    .filter((run) => samePoint(run, point))
    .sort((one, other) => order.indexOf(one.mode) - order.indexOf(other.mode));
  if (runs.length < 2) return [];
  const all = figures.flatMap(([name, title, phases]) => groupOf(report, runs, requireMetric(name), title, phases));
  const groups = runs.length > modesWithAllFigures ? all.slice(0, 2) : all;
  if (groups.length === 0) return [];
  const bars = groups.flatMap((group) => group.bars);
  const label = Math.min(longestLabel, Math.max(...bars.map((bar) => bar.label.length)));
  const text = Math.max(...bars.map((bar) => bar.text.length));
  const room = width - label - text - 6;
  const paint = painter(color);
  const tones: Record<'invalid' | 'at_least', Tone> = { invalid: 'red', at_least: 'yellow' };
  const lines = groups.flatMap((group) => {
    const longest = Math.max(...group.bars.map(({ figure }) => figure.high ?? figure.value ?? 0));
    return [
      paint('bold', group.title),
      ...group.bars.map((bar) => {
        const lead = `  ${bar.label.slice(0, label).padEnd(label)}  `;
        const figure = bar.text.padStart(text);
        const drawn = drawBar(bar.figure, longest, room);
        return `${lead}${bar.mark === null ? figure : paint(tones[bar.mark], figure)}  ${drawn}`.trimEnd();
      }),
    ];
  });
  return [...lines, ...legendOf(bars).map((line) => paint('dim', line))];
}

function groupOf(
  report: Report,
  runs: readonly Run[],
  metric: Metric,
  title: string,
  phases: readonly Phase[],
): BarGroup[] {
  const phase = phases.find((one) => runs.some((run) => figureAt(metric, run, one).value !== null));
  if (phase === undefined) return [];
  const bars = runs.map((run): Bar => {
    const mark = markOf(report, metric, run, phase);
    const text = metricText(metric, run, phase);
    return { label: printable(run.mode), text: markedText(text, mark), mark, figure: figureAt(metric, run, phase) };
  });
  const better = metric.better === 'higher' ? 'more is better' : 'less is better';
  return [{ title: `${title}${circumstances(runs, phase, phases)}, ${better}`, bars }];
}

/** " at 38.2k/s" for a figure of the offered rate. */
function circumstances(runs: readonly Run[], phase: Phase, phases: readonly Phase[]): string {
  if (phase === 'capacity') return phases.length > 1 ? ' at full load' : '';
  const rates = runs.flatMap((run) =>
    completedWindows(run, 'latency').map(({ requests }) => requests.offered_per_second ?? null),
  );
  const rate = medianOfKnown(rates);
  const known = rates.filter((one) => one !== null);
  if (rate === null || Math.max(...known) > 1.01 * Math.min(...known)) return ' at the offered rate';
  return ` at ${formatRate(rate)}`;
}

function drawBar({ value, low, high }: CurveFigure, longest: number, room: number): string {
  if (value === null || longest <= 0) return '';
  const place = (one: number): number => Math.round((one / longest) * room);
  const ends = { low: place(low ?? value), high: place(high ?? value) };
  return solid.repeat(Math.max(ends.low, ends.high > ends.low ? 0 : 1)) + within.repeat(ends.high - ends.low);
}

function legendOf(bars: readonly Bar[]): string[] {
  const hasInterval = bars.some(({ figure }) => figure.low !== null && figure.high !== null);
  const parts = [
    ...(hasInterval ? [`${solid} up to the 95% interval of the trials' mean, ${within} within it`] : []),
    ...(bars.some(({ mark }) => mark === 'invalid') ? ['! not valid'] : []),
    ...(bars.some(({ text }) => text.startsWith('≥')) ? ['≥ lower bound'] : []),
  ];
  return parts.length === 0 ? [] : [`  ${parts.join('; ')}`];
}
