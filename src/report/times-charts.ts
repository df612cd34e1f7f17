/** Charts of the HTML report: the times of each mode over the window, as data. */
import { runValue } from '../measure/run-values.js';
import { medianOfKnown } from '../measure/statistics.js';
import { completedWindows, requireMetric } from '../model/metrics.js';
import type { Point } from '../model/point.js';
import type { CompletedWindow, Phase, Report, TimePercentiles } from '../model/report-schema.js';
import { bucketsPerSecond, coloredRuns, type Chart, type ColoredRun, type Series } from './charts.js';
import { modeInWords } from './view.js';

/** A chart per mode; empty for reports without a timeline. */
export function timesCharts(report: Report, point: Point): Chart[] {
  const runs = coloredRuns(report, point);
  const isOpen = runs.some(({ run }) => completedWindows(run, 'latency').length > 0);
  const phase = isOpen ? 'latency' : 'capacity';
  // One note explains all charts.
  const hasParts = runs.some(({ run }) => completedWindows(run, phase).some(isInParts));
  return runs.flatMap((run) => timesChart(run, phase, hasParts) ?? []);
}

type Values = (number | null)[];

function isInParts({ time_percentiles: parts = [] }: CompletedWindow): boolean {
  return parts.some(({ p50_ns: p50 }) => p50 !== null);
}

function timesChart(colored: ColoredRun, phase: Phase, hasParts: boolean): Chart | null {
  const all = completedWindows(colored.run, phase).filter(({ timeline }) => timeline.length > 1);
  const inParts = all.filter(isInParts);
  const windows = hasParts && inParts.length > 0 ? inParts : all;
  const isOpen = phase === 'latency';
  const length = Math.max(0, ...windows.map(({ timeline }) => timeline.length));
  const slowestOf = ({ timeline }: CompletedWindow, bucket: number): number | null => {
    const row = timeline[bucket];
    const value = (isOpen ? row?.response_max_ns : row?.service_max_ns) ?? null;
    // A bucket in which nothing was answered has no slowest request.
    return value !== null && value > 0 ? value : null;
  };
  const slowest = perBucket(windows, length, slowestOf);
  if (!slowest.some((values) => values.length > 0)) return null;
  const end = medianOfKnown(windows.map(({ duration_ms: ms }) => ms / 1000));
  const percentile = (name: 'p50_ns' | 'p99_ns'): Values =>
    perBucket(windows, length, (window, bucket) => partAt(window, bucket)?.[name] ?? null).map((values) =>
      // Without the figures of some trials, the median would be of other trials from one moment to the next.
      values.length === windows.length ? medianOfKnown(values) : null,
    );
  const [p50, p99] = [percentile('p50_ns'), percentile('p99_ns')];
  const ofParts = perBucket(windows, length, (window, bucket) => slowestOfPart(window, bucket, slowestOf));
  const lines = hasParts ? percentileLines(colored, ofParts, p50, p99) : slowestLine(colored, phase, slowest);
  return {
    title: `${isOpen ? 'Response' : 'Service'} time over the window`,
    name: modeInWords(colored.run),
    x: 'seconds',
    y: 'duration',
    ...(end !== null && { end }),
    ...lines,
    data: [Array.from({ length }, (_, bucket) => bucket / bucketsPerSecond), ...lines.data],
  };
}

type Lines = Pick<Chart, 'note' | 'series' | 'bands' | 'levels' | 'data'>;

function percentileLines({ color }: ColoredRun, slowest: readonly number[][], p50: Values, p99: Values): Lines {
  const line = (label: string, isThin: boolean): Series => ({ label, color, dashed: false, isThin });
  const most = slowest.map((values) => medianOfKnown(values));
  return {
    note:
      'From below: p50, p99 and (thin) the slowest of the requests answered at each moment, median of the trials. ' +
      'The area between p50 and p99 is filled, that above it pale.',
    series: [line('slowest', true), line('p99', false), line('p50', false)],
    bands: [
      { series: 0, low: p99, high: most, between: 'pale' },
      { series: 1, low: p50, high: p99, between: 'full' },
    ],
    data: [most, p99, p50],
  };
}

/** Percentiles of the whole window, as lines for comparison. */
const levelNames = ['p50', 'p99'] as const;

/** For reports that know only the slowest request of each bucket. */
function slowestLine({ run, color }: ColoredRun, phase: Phase, slowest: readonly number[][]): Lines {
  const trials = completedWindows(run, phase).length;
  const edge = (of: (...values: number[]) => number): Values =>
    slowest.map((values) => (values.length === 0 ? null : of(...values)));
  return {
    note:
      'Line: the slowest request of each 100 ms, median of the trials. Area: from the lowest to the highest trial. ' +
      'Dotted: p50 and p99 of the whole window.',
    series: [{ label: modeInWords(run), color, dashed: false }],
    ...(trials > 1 && { bands: [{ series: 0, low: edge(Math.min), high: edge(Math.max) }] }),
    levels: levelNames.flatMap((name) => {
      const value = runValue(requireMetric(`${phase === 'latency' ? 'response' : 'service'}_time_${name}`), run, phase);
      return value === null || value <= 0 ? [] : [{ label: name, value }];
    }),
    data: [slowest.map((values) => medianOfKnown(values))],
  };
}

/** The known values of all trials, per bucket of 100 ms. */
function perBucket(
  windows: readonly CompletedWindow[],
  length: number,
  read: (window: CompletedWindow, bucket: number) => number | null,
): number[][] {
  return Array.from({ length }, (_, bucket) => windows.flatMap((window) => read(window, bucket) ?? []));
}

const bucketMs = 1000 / bucketsPerSecond;

/** The slowest request of all buckets that the part of this one touches: that of this bucket alone may be below the p99 of its part. */
function slowestOfPart(
  window: CompletedWindow,
  bucket: number,
  slowestOf: (window: CompletedWindow, bucket: number) => number | null,
): number | null {
  const part = partAt(window, bucket);
  if (part === undefined) return slowestOf(window, bucket);
  const touched = window.timeline.flatMap(({ offset_ms: from }, place) =>
    from < part.end_ms && from + bucketMs > part.start_ms ? (slowestOf(window, place) ?? []) : [],
  );
  return touched.length === 0 ? null : Math.max(...touched);
}

/** The part of the window in which the middle of a bucket lies. */
function partAt({ time_percentiles: parts = [] }: CompletedWindow, bucket: number): TimePercentiles | undefined {
  const middle = (bucket + 0.5) * bucketMs;
  return parts.find(({ start_ms, end_ms }) => start_ms <= middle && middle < end_ms);
}
