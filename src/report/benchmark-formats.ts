/**
 * Reports for services that track figures over time: Bencher (https://bencher.dev/docs/reference/bencher-metric-format/) and
 * github-action-benchmark (https://github.com/benchmark-action/github-action-benchmark). Both keep one value per run and name. They
 * compare runs of different times, and of different machines if CI has several: a gate on an interleaved run decides better.
 */
import { metrics, trialValues, type Metric } from '../model/metrics.js';
import { pointKey } from '../model/point.js';
import type { Phase, Report, Run } from '../model/report-schema.js';
import { runValue } from '../measure/run-values.js';

/** Figures worth following over time: the primary ones, the median response time, and memory. */
const followed = new Set(['response_time_p50', 'resident_bytes_per_connection', 'max_rate']);
const isFollowed = (entry: Metric): boolean => entry.primary || followed.has(entry.name);

interface Figure {
  readonly entry: Metric;
  readonly phase: Phase;
  readonly value: number;
  /** The least and the greatest of the trials. */
  readonly least: number;
  readonly greatest: number;
}

/** The figures of a run that are known, in the order of the table of metrics. */
function figuresOf(run: Run): Figure[] {
  return metrics.filter(isFollowed).flatMap((entry) => {
    const phases = entry.oncePerTrial ? entry.phases.slice(0, 1) : entry.phases;
    return phases.flatMap((phase) => {
      const value = runValue(entry, run, phase);
      const values = trialValues(entry, run, phase).flatMap((trial) => (trial.value === null ? [] : [trial.value]));
      if (value === null || values.length === 0) return [];
      return [{ entry, phase, value, least: Math.min(...values), greatest: Math.max(...values) }];
    });
  });
}

/** "iocp@6000", as gates name a run. */
function nameOf(run: Run): string {
  return `${run.mode}@${pointKey(run)}`;
}

/** "server-cpu-us-per-request"; "...-at-offered-rate" if the figure has another phase, too, and this is the latency phase. */
function measureOf({ entry, phase }: Figure): string {
  const slug = entry.name.replaceAll('_', '-');
  return phase === 'latency' && entry.phases.includes('capacity') ? `${slug}-at-offered-rate` : slug;
}

/**
 * Bencher Metric Format: one benchmark per mode and point of the sweep; a measure per metric, in the metric's unit, with the median of
 * the trials as value, and the least and greatest trial as lower and upper value.
 */
export function renderBmf(report: Report): string {
  const benchmarks = report.runs.map((run) => {
    const measures = figuresOf(run).map((figure) => [
      measureOf(figure),
      { value: figure.value, lower_value: figure.least, upper_value: figure.greatest },
    ]);
    return [nameOf(run), Object.fromEntries(measures)] as const;
  });
  return `${JSON.stringify(Object.fromEntries(benchmarks), null, 2)}\n`;
}

/**
 * The list of entries for github-action-benchmark's tool "customSmallerIsBetter". One list has one direction, so figures of which more
 * is better are shown as the time per request: throughput as microseconds per request at full load.
 */
export function renderGithubBenchmark(report: Report): string {
  const entries = report.runs.flatMap((run) =>
    figuresOf(run).map((figure) => {
      const { entry, value, least, greatest } = figure;
      const isRate = entry.better === 'higher';
      const shown = (rate: number): number => (isRate ? 1e6 / rate : rate);
      const [low, high] = isRate ? [shown(greatest), shown(least)] : [least, greatest];
      return {
        name: `${nameOf(run)}: ${isRate ? `time per request (${entry.title})` : entry.title}${measureOf(figure).endsWith('-at-offered-rate') ? ' at the offered rate' : ''}`,
        unit: isRate ? 'us' : entry.unit,
        value: shown(value),
        range: `${rounded(low)} to ${rounded(high)}`,
        extra: `median of ${run.trials.filter((window) => window.phase === figure.phase).length} trials; iocp-bench ${report.tool.version}`,
      };
    }),
  );
  return `${JSON.stringify(entries, null, 2)}\n`;
}

function rounded(value: number): string {
  return String(Number(value.toPrecision(4)));
}
