/** The charts of the HTML report, as data: what is drawn, not how. */
import { mergeEncoded } from '../measure/histogram.js';
import { quantileRanks } from '../measure/quantile-interval.js';
import { completedWindows, requireMetric } from '../model/metrics.js';
import { runValue } from '../measure/run-values.js';
import { medianOfKnown } from '../measure/statistics.js';
import { formatCount } from '../model/format.js';
import { curvePoints, figureAt, type CurveFigure } from '../measure/load-curve.js';
import {
  hasRate,
  isGiven,
  samePoint,
  serviceLabel,
  serviceNames,
  serviceNs,
  type Point,
  type ServiceName,
} from '../model/point.js';
import type { CompletedWindow, Distribution, Phase, Report, Run } from '../model/report-schema.js';
import { markOf, type Mark } from './marks.js';
import { modeColors } from './mode-colors.js';
import { modeInWords } from './view.js';

export interface Series {
  readonly label: string;
  /** The mode's slot of the palette: a mode has one colour in every report. */
  readonly color: number;
  readonly dashed: boolean;
  /** A thinner line: the less important of several. */
  readonly isThin?: boolean;
}

/**
 * How an axis counts. 'nines': 1 / (1 - p), so that 90%, 99% and 99.9% are equally far apart on a logarithmic axis. 'work' and
 * 'wait': nanoseconds per request on an axis that is logarithmic except near 0, which it has, too.
 */
export type AxisKind = 'seconds' | 'nines' | 'clients' | 'work' | 'wait' | 'rate' | 'duration';

export interface Band {
  readonly series: number;
  readonly low: readonly (number | null)[];
  readonly high: readonly (number | null)[];
  /** An area between two lines of the chart, which its table has anyway; absent: an interval. */
  readonly between?: 'pale' | 'full';
}

export interface Chart {
  readonly title: string;
  /** Names one of several charts with the same title. */
  readonly name?: string;
  readonly note: string;
  readonly x: AxisKind;
  readonly y: AxisKind;
  readonly series: readonly Series[];
  /** Areas around some of the series, by their places in `series`: mostly 95% intervals, one value per x. */
  readonly bands?: readonly Band[];
  /** What has to be known about single values, per series and x; absent: they are what they seem to be. */
  readonly marks?: readonly (readonly Mark[])[];
  /** Values of y for the whole of a series, such as a percentile of its window: horizontal lines. */
  readonly levels?: readonly { readonly label: string; readonly value: number }[];
  /** The x at which the measured window ends. */
  readonly end?: number;
  /** x values, then the y values of each series; null where there is no point. */
  readonly data: readonly (readonly (number | null)[])[];
}

/** A figure over a sweep. */
interface SweepFigure {
  readonly metric: string;
  readonly phase: Phase;
  readonly title: string;
  readonly note: string;
  readonly y: AxisKind;
  /** Of its values to the y axis, which counts times in nanoseconds. */
  readonly factor: number;
}

const median = 'Median of the trials.';
const throughput: SweepFigure = {
  metric: 'throughput',
  phase: 'capacity',
  title: 'Throughput at full load',
  note: median,
  y: 'rate',
  factor: 1,
};
const serverCpu: SweepFigure = {
  metric: 'server_cpu_us_per_request',
  phase: 'capacity',
  title: 'Server CPU per request at full load',
  note: median,
  y: 'duration',
  factor: 1e3,
};
const responseTime: SweepFigure = {
  metric: 'response_time_p99',
  phase: 'latency',
  title: 'Response time p99',
  note: `${median} Every mode was offered the same rate; that rate differs between points of the sweep.`,
  y: 'duration',
  factor: 1,
};
const responseTimeByClients: SweepFigure = {
  ...responseTime,
  note: `${median} Every mode was offered the same rate; that rate differs between numbers of clients.`,
};

/** Charts over a dimension of the sweep, all else being the same; empty without a sweep. */
export function sweepCharts(report: Report): Chart[] {
  return [...chartsOver(report, 'clients', [throughput, responseTimeByClients]), ...serviceCharts(report)];
}

/** Charts over work and over wait per request; empty if only one value of each was measured. */
export function serviceCharts(report: Report): Chart[] {
  return serviceNames.flatMap((name) => chartsOver(report, name, [throughput, serverCpu, responseTime]));
}

/** The charts of a report for a terminal: what a sweep over work or wait is run for. */
export function terminalCharts(report: Report): Chart[] {
  return serviceNames.flatMap((name) => chartsOver(report, name, [throughput, serverCpu]));
}

function colorsOf(report: Report): number[] {
  return modeColors(report.plan.modes.map(({ mode }) => mode));
}

const dimensionTitles = { clients: 'clients', work: 'work per request', wait: 'wait per request' } as const;

function chartsOver(report: Report, dimension: 'clients' | ServiceName, figures: readonly SweepFigure[]): Chart[] {
  const valueOf = (point: Point): number => (dimension === 'clients' ? point.clients : serviceNs(dimension, point));
  const colors = colorsOf(report);
  // What is the same at all points of one chart: the other dimensions.
  const others = new Map<string, Run[]>();
  for (const run of report.runs.filter((one) => !hasRate(one))) {
    const rest = JSON.stringify(dimensions.filter((name) => name !== dimension).map((name) => otherText(name, run)));
    others.set(rest, [...(others.get(rest) ?? []), run]);
  }
  return [...others].flatMap(([rest, runs]) => {
    const values = [...new Set(runs.map(valueOf))].sort((a, b) => a - b);
    if (values.length < 2) return [];
    const where =
      others.size === 1 ? '' : `, ${(JSON.parse(rest) as string[]).filter((text) => text !== '').join(', ')}`;
    return figures.flatMap((figure) => {
      const metric = requireMetric(figure.metric);
      const measured = report.plan.modes.map(({ mode }) =>
        values.map((value) => runs.find((one) => one.mode === mode && valueOf(one) === value)),
      );
      const lines = measured.map((line) =>
        line.map((run) => {
          const found = run === undefined ? null : runValue(metric, run, figure.phase);
          return found === null ? null : found * figure.factor;
        }),
      );
      const marks = measured.map((line) =>
        line.map((run) => (run === undefined ? null : markOf(report, metric, run, figure.phase))),
      );
      if (!lines.flat().some((value) => value !== null)) return [];
      return [
        {
          title: `${figure.title} by ${dimensionTitles[dimension]}${where}`,
          note: figure.note,
          x: dimension,
          y: figure.y,
          series: report.plan.modes.map((entry, at) => ({
            label: modeInWords(entry),
            color: colors[at] ?? 0,
            dashed: false,
          })),
          marks,
          data: [values, ...lines],
        },
      ];
    });
  });
}

const curveFigures = [
  ['response_time_p50', 'p50'],
  ['response_time_p99', 'p99'],
  ['response_time_p99_9', 'p99.9'],
] as const;

/** Response time against offered load, with the interval of each mode; one chart per percentile. @param around what is the same at all rates */
export function loadCurveCharts(report: Report, around: Point): Chart[] {
  const points = curvePoints(report.runs, around);
  const rates = points.map(({ rate_per_second: rate }) => rate ?? 0);
  const colors = colorsOf(report);
  return curveFigures.flatMap(([name, label]) => {
    const metric = requireMetric(name);
    const lines = report.plan.modes.flatMap((entry, place) => {
      const measured = points.map((point) =>
        report.runs.find((one) => one.mode === entry.mode && samePoint(one, point)),
      );
      const found = measured.map((run) => (run === undefined ? null : figureAt(metric, run)));
      const line = (read: (figure: CurveFigure) => number | null): (number | null)[] =>
        found.map((figure) => (figure === null ? null : read(figure)));
      const values = line(({ value }) => value);
      if (values.every((value) => value === null)) return [];
      return [
        {
          series: { label: modeInWords(entry), color: colors[place] ?? 0, dashed: false },
          values,
          marks: measured.map((run) => (run === undefined ? null : markOf(report, metric, run, 'latency'))),
          low: line(({ low }) => low),
          high: line(({ high }) => high),
        },
      ];
    });
    if (lines.length === 0) return [];
    const bands = lines.flatMap(({ low, high }, series) =>
      low.some((value) => value !== null) ? [{ series, low, high }] : [],
    );
    return [
      {
        title: `Response time ${label} against offered load`,
        note: `${median}${bands.length > 0 ? ' The area around a line is the 95% interval (with two trials the range).' : ''} A line has a gap where the figure is not known or beyond the timeout.`,
        x: 'rate' as const,
        y: 'duration' as const,
        series: lines.map(({ series }) => series),
        ...(bands.length > 0 && { bands }),
        marks: lines.map(({ marks }) => marks),
        data: [rates, ...lines.map(({ values }) => values)],
      },
    ];
  });
}

const dimensions = ['clients', ...serviceNames] as const;

/** "1,000 clients", "100 µs of work"; empty for a dimension that the report does not know of. */
function otherText(dimension: 'clients' | ServiceName, run: Run): string {
  if (dimension === 'clients') return `${formatCount(run.clients)} clients`;
  return isGiven(dimension, run) ? serviceLabel(dimension, run) : '';
}

/** Charts of one point of the sweep. */
export function pointCharts(report: Report, point: Point): Chart[] {
  const runs = coloredRuns(report, point);
  return [percentileChart(runs), timelineChart(runs)].filter((chart) => chart !== null);
}

/** The runs of a point, in the plan's order. */
export function coloredRuns(report: Report, point: Point): ColoredRun[] {
  const colors = colorsOf(report);
  return report.plan.modes.flatMap(({ mode }, at) => {
    const run = report.runs.find((one) => one.mode === mode && samePoint(one, point));
    return run === undefined ? [] : [{ run, color: colors[at] ?? 0 }];
  });
}

/**
 * The curves of one mode in two reports over each other: latency by percentile, and throughput over the window.
 * @param label the mode in words
 * @param report the head, whose modes have the colours
 */
export function overlayCharts(runs: { base: Run; head: Run }, label: string, report: Report): Chart[] {
  const color = colorsOf(report)[report.plan.modes.findIndex(({ mode }) => mode === runs.head.mode)] ?? 0;
  const sides = (['base', 'head'] as const).map((side) => ({
    run: runs[side],
    color,
    label: side,
    isOther: side === 'base',
  }));
  const dashed = 'Solid: head. Dashed: base.';
  return [percentileChart(sides, true), timelineChart(sides)].flatMap((chart) =>
    chart === null ? [] : [{ ...chart, title: `${label}: ${chart.title}`, note: `${dashed} ${chart.note}` }],
  );
}

export interface ColoredRun {
  readonly run: Run;
  readonly color: number;
  /** Takes the place of the mode's name. */
  readonly label?: string;
  /** Drawn dashed, since it has the colour of another. */
  readonly isOther?: boolean;
}

export const bucketsPerSecond = 10;

/** Answers per second over the capacity window: a server that stalls shows here, whatever its mean. */
function timelineChart(runs: readonly ColoredRun[]): Chart | null {
  const lines = runs.flatMap(({ run, color, label = modeInWords(run), isOther: dashed = false }) => {
    const windows = completedWindows(run, 'capacity').filter(({ timeline }) => timeline.length > 1);
    return windows.length === 0 ? [] : [{ label, color, dashed, rates: medianTimeline(windows) }];
  });
  const longest = Math.max(0, ...lines.map(({ rates }) => rates.length));
  if (longest < 2) return null;
  return {
    title: 'Throughput over the window, full load',
    note: 'Per bucket of 100 ms the median of the trials.',
    x: 'seconds',
    y: 'rate',
    series: lines.map(({ label, color, dashed }) => ({ label, color, dashed })),
    data: [
      Array.from({ length: longest }, (_, bucket) => bucket / bucketsPerSecond),
      ...lines.map(({ rates }) => Array.from({ length: longest }, (_, bucket) => rates[bucket] ?? null)),
    ],
  };
}

function medianTimeline(windows: readonly CompletedWindow[]): (number | null)[] {
  // The bucket in which the window ends is not a whole one, and would look like a loss.
  const whole = Math.min(
    ...windows.map(({ timeline, duration_ms }) => Math.min(timeline.length, Math.floor(duration_ms / 100))),
  );
  return Array.from({ length: whole }, (_, bucket) =>
    medianOfKnown(windows.map(({ timeline }) => (timeline[bucket]?.requests ?? 0) * bucketsPerSecond)),
  );
}

const pointsPerNine = 24;
/** Percentiles that the table behind the chart shows, besides the nines. */
const namedSteps = [2, 4, 20, 200];
/** With more modes, a second line for each would hide the first ones. */
const serviceModesMost = 3;

const bothTimes =
  'Solid: response time, from the moment a message was due. Dashed: service time, from when it was sent.';
const responseOnly = 'Response time, from the moment a message was due.';

/** Response time by percentile (where it was measured, with the service time next to it), all trials in one histogram. */
function percentileChart(runs: readonly ColoredRun[], isOverlay = false): Chart | null {
  const isOpen = runs.some(({ run }) => completedWindows(run, 'latency').length > 0);
  const phase: Phase = isOpen ? 'latency' : 'capacity';
  const hasService = !isOpen || (runs.length <= serviceModesMost && !isOverlay);
  const curves = runs.flatMap(({ run, color, label: name = modeInWords(run), isOther = false }) => {
    const windows = completedWindows(run, phase);
    const service = hasService ? curveOf(windows, ({ service_time_ns }) => service_time_ns) : null;
    const response = curveOf(windows, ({ response_time_ns }) => response_time_ns);
    return [
      ...(response === null ? [] : [{ label: `${name}, response`, color, dashed: isOther, curve: response }]),
      ...(service === null ? [] : [{ label: `${name}, service`, color, dashed: isOpen || isOther, curve: service }]),
    ];
  });
  const most = Math.max(0, ...curves.map(({ curve }) => curve.total));
  if (most === 0) return null;
  // Ten samples are beyond the last point, as for every percentile that a table shows.
  const nines = Math.max(1, Math.log10(most / 10));
  const even = Array.from({ length: Math.floor(nines * pointsPerNine) + 1 }, (_, step) => 10 ** (step / pointsPerNine));
  const last = even.at(-1) ?? 1;
  const steps = [...even, ...namedSteps.filter((step) => step <= last)].sort((a, b) => a - b);
  const bands = curves.flatMap(({ dashed, curve }, series): Band[] => {
    const { interval } = curve;
    if (dashed || interval === null) return [];
    const ends = steps.map((step) => interval(1 - 1 / step));
    return [{ series, low: ends.map(({ low }) => low), high: ends.map(({ high }) => high) }];
  });
  const bandNote = ' The area around a curve is the 95% interval of its percentiles, if requests are independent.';
  return {
    title: isOpen ? 'Latency by percentile, at the offered rate' : 'Service time by percentile, full load',
    note:
      (isOpen
        ? `${hasService ? bothTimes : responseOnly} A curve that ends early has requests without an echo beyond its end.`
        : 'In a closed loop this shows only how evenly the queue is served.') + (bands.length > 0 ? bandNote : ''),
    ...(bands.length > 0 ? { bands } : {}),
    x: 'nines',
    y: 'duration',
    series: curves.map(({ label, color, dashed }) => ({ label, color, dashed })),
    data: [steps, ...curves.map(({ curve }) => steps.map((step) => curve.at(1 - 1 / step)))],
  };
}

interface Curve {
  /** Requests with and without an echo. */
  readonly total: number;
  readonly at: (fraction: number) => number | null;
  /** Of a single window; null for several, whose percentiles differ by more than chance. */
  readonly interval: ((fraction: number) => { low: number | null; high: number | null }) | null;
}

function curveOf(
  windows: readonly CompletedWindow[],
  read: (window: CompletedWindow) => Distribution | null,
): Curve | null {
  const encoded = windows.flatMap((window) => read(window)?.histogram ?? []);
  const histogram = mergeEncoded(encoded);
  if (histogram === null || histogram.totalCount === 0) return null;
  const answered = histogram.totalCount;
  // Requests without an echo rank above every recorded time; they do so in the response time alone.
  const isResponse = windows.some(
    (window) => window.response_time_ns !== null && read(window) === window.response_time_ns,
  );
  const total = answered + (isResponse ? windows.reduce((sum, { requests }) => sum + requests.failed, 0) : 0);
  const valueAt = (share: number): number | null => (share > 1 ? null : histogram.getValueAtPercentile(share * 100));
  const isKnown = (fraction: number): boolean => total * (1 - fraction) >= 10 - 1e-6;
  const intervalAt = (fraction: number): { low: number | null; high: number | null } => {
    if (fraction <= 0 || !isKnown(fraction)) return { low: null, high: null };
    const { low, high } = quantileRanks(total, fraction);
    return {
      low: low === null ? null : valueAt(low / answered),
      high: high === null ? null : valueAt(high / answered),
    };
  };
  return {
    total,
    at: (fraction) => (isKnown(fraction) ? valueAt((fraction * total) / answered) : null),
    interval: windows.length === 1 ? intervalAt : null,
  };
}

/** For those who cannot see a chart, and for pages without scripts. */
export function chartInWords(chart: Chart): string {
  const name = chart.name === undefined ? '' : `, ${chart.name}`;
  return `${chart.title}${name}: ${chart.series.map(({ label }) => label).join(', ')}, ${formatCount(chart.data[0]?.length)} points each`;
}
