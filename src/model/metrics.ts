/**
 * The table of metrics. Comparisons, gates, exports and searches all use it, so that a figure has the same name, unit and direction
 * everywhere. Values are read from the windows of a report; unknown ones are null.
 */
import {
  percentileNames,
  type CompletedWindow,
  type MaxRate,
  type Phase,
  type Run,
  type Window,
} from './report-schema.js';
import { searchLimit, searchResolution } from './search-result.js';

export type Unit = 'requests/s' | '1/s' | 'bytes/s' | 'bytes' | 'ns' | 'us' | 'ms' | 'count' | 'fraction';

/**
 * What the figure means if the client is saturated: a 'rate' is a lower bound of what the server can do, a 'time' an upper bound of
 * what it needs. 'none' is measured at the server and stays correct.
 */
export type ClientLimit = 'rate' | 'time' | 'none';

export interface Metric {
  /** Name in gates and exports. */
  name: string;
  /** Name in tables and sentences. */
  title: string;
  unit: Unit;
  better: 'higher' | 'lower';
  /** Phases that have the figure. A gate uses the first one that the report contains. */
  phases: readonly Phase[];
  /** Phases in which modes are compared by this metric. Percentiles of a closed loop are never compared. */
  compared: readonly Phase[];
  /** True if a trial has the figure once, not once per window. It is compared in the first phase only. */
  oncePerTrial: boolean;
  /** True for the metrics on which a difference is claimed. */
  primary: boolean;
  /** How trials and windows are combined: the median, or the worst value for counts of failures. */
  aggregate: 'median' | 'worst';
  clientLimit: ClientLimit;
  /** Resolution of its values, as a share of the value; 0: exact. */
  resolution: number;
  /** Its path in a trial's entry of the report. */
  path: string;
}

/**
 * Resolution of the figures on which differences are claimed. Histograms keep three significant digits, and rates or CPU times that
 * agree more closely between trials do so by chance. No difference is claimed on the other figures; some of them are exact
 * (threads, page tables).
 */
const primaryResolution = 0.001;

const both: readonly Phase[] = ['capacity', 'latency'];

type Row = Pick<Metric, 'name' | 'title' | 'unit' | 'better' | 'path'> & Partial<Metric>;

function metric(row: Row): Metric {
  const phases = row.phases ?? both;
  return {
    phases,
    compared: phases,
    oncePerTrial: false,
    primary: false,
    aggregate: 'median',
    clientLimit: 'none',
    resolution: row.primary === true ? primaryResolution : 0,
    ...row,
  };
}

/** A count. It is a fact whatever the quality of the measurement, and it is never compared as a ratio. */
function counted(row: Row): Metric {
  return metric({ ...row, aggregate: 'worst', compared: [] });
}

const percentileTitles = { p50: 'p50', p90: 'p90', p99: 'p99', p99_9: 'p99.9', max: 'max', mean: 'mean' } as const;
const distributionFields = [...percentileNames, 'max', 'mean'] as const;

const responseTimes = distributionFields.map((field) =>
  metric({
    name: `response_time_${field}`,
    title: `response time ${percentileTitles[field]}`,
    unit: 'ns',
    better: 'lower',
    phases: ['latency'],
    primary: field === 'p99',
    clientLimit: 'time',
    path: `response_time_ns.${field}`,
  }),
);

const serviceTimes = distributionFields.map((field) =>
  metric({
    name: `service_time_${field}`,
    title: `service time ${percentileTitles[field]}`,
    unit: 'ns',
    better: 'lower',
    phases: ['latency', 'capacity'],
    // In a closed loop only the mean is a figure of the server: N x pipeline / throughput (Little's law).
    compared: field === 'mean' ? both : ['latency'],
    clientLimit: 'time',
    path: `service_time_ns.${field}`,
  }),
);

/** Times of connections that are closed and made again. That is a closed loop, so their percentiles are not compared. */
const churnTimes = (['connect_time', 'first_echo_time'] as const).flatMap((figure) =>
  (['p50', 'p99'] as const).map((field) =>
    metric({
      name: `churn_${figure}_${field}`,
      title: `${figure.replaceAll('_', ' ')} ${field} of connections made again`,
      unit: 'ns',
      better: 'lower',
      phases: ['capacity'],
      compared: [],
      clientLimit: 'time',
      path: `churn.${figure}_ns.${field}`,
    }),
  ),
);

/** TLS handshakes: those of making the connections, and those of connections that are made again. */
const handshakes = (['connections', 'churn'] as const).flatMap((where) => {
  const prefix = where === 'churn' ? 'churn_handshake' : 'handshake';
  const of = where === 'churn' ? ' of connections made again' : '';
  const row = where === 'churn' ? { phases: ['capacity'] as const } : { oncePerTrial: true };
  return [
    metric({
      ...row,
      name: `${prefix}s_per_second`,
      title: `TLS handshakes${of}`,
      unit: '1/s',
      better: 'higher',
      compared: [],
      clientLimit: 'rate',
      path: `${where}.tls.per_second`,
    }),
    ...(['p50', 'p99'] as const).map((field) =>
      metric({
        ...row,
        name: `${prefix}_time_${field}`,
        title: `TLS handshake ${field}${of}`,
        unit: 'ns',
        better: 'lower',
        compared: [],
        clientLimit: 'time',
        path: `${where}.tls.time_ns.${field}`,
      }),
    ),
  ];
});

export const metrics: readonly Metric[] = [
  metric({
    name: 'throughput',
    title: 'throughput',
    unit: 'requests/s',
    better: 'higher',
    // In the latency phase it is the offered rate, which says nothing about the server.
    phases: ['capacity'],
    primary: true,
    clientLimit: 'rate',
    path: 'requests.per_second',
  }),
  metric({
    name: 'bytes_per_second',
    title: 'payload',
    unit: 'bytes/s',
    better: 'higher',
    phases: ['capacity'],
    clientLimit: 'rate',
    path: 'requests.bytes_per_second',
  }),
  metric({
    name: 'reconnects_per_second',
    title: 'reconnects',
    unit: '1/s',
    better: 'higher',
    phases: ['capacity'],
    clientLimit: 'rate',
    path: 'requests.reconnects',
  }),
  ...churnTimes,
  ...handshakes,
  ...responseTimes,
  ...serviceTimes,
  metric({
    name: 'server_cpu_us_per_request',
    title: 'server CPU per request',
    unit: 'us',
    better: 'lower',
    primary: true,
    path: 'server.cpu_us_per_request',
  }),
  metric({
    name: 'server_cpu_user_us_per_request',
    title: 'server user CPU per request',
    unit: 'us',
    better: 'lower',
    path: 'server.cpu_user_us_per_request',
  }),
  metric({
    name: 'server_cpu_system_us_per_request',
    title: 'server kernel CPU per request',
    unit: 'us',
    better: 'lower',
    path: 'server.cpu_system_us_per_request',
  }),
  metric({
    name: 'server_work_us_per_request',
    title: 'work burnt per request',
    unit: 'us',
    better: 'lower',
    // It is what was asked for, the same in every mode.
    compared: [],
    path: 'server.service.work_us_per_request',
  }),
  metric({
    name: 'server_wait_ms_per_request',
    title: 'wait per request',
    unit: 'ms',
    better: 'lower',
    compared: [],
    path: 'server.service.wait_ms_per_request',
  }),
  metric({
    name: 'server_context_switches_per_request',
    title: 'server context switches per request',
    unit: 'count',
    better: 'lower',
    path: 'server.context_switches_per_request',
  }),
  metric({
    name: 'server_run_delay_us_per_request',
    title: 'server wait for a CPU per request',
    unit: 'us',
    better: 'lower',
    path: 'server.run_delay_us_per_request',
  }),
  metric({
    name: 'server_system_calls_per_request',
    title: 'server system calls per request',
    unit: 'count',
    better: 'lower',
    path: 'server.system_calls_per_request',
  }),
  metric({
    name: 'server_instructions_per_request',
    title: 'server instructions per request',
    unit: 'count',
    better: 'lower',
    path: 'server.instructions_per_request',
  }),
  metric({
    name: 'server_cycles_per_request',
    title: 'server CPU cycles per request',
    unit: 'count',
    better: 'lower',
    path: 'server.cycles_per_request',
  }),
  metric({
    name: 'server_threads',
    title: 'server threads',
    unit: 'count',
    better: 'lower',
    path: 'server.threads_max',
  }),
  metric({
    name: 'resident_bytes_per_connection',
    title: 'resident memory per connection',
    unit: 'bytes',
    better: 'lower',
    path: 'server.resident_bytes_per_connection',
  }),
  metric({
    name: 'page_table_bytes_per_connection',
    title: 'page tables per connection',
    unit: 'bytes',
    better: 'lower',
    path: 'server.page_table_bytes_per_connection',
  }),
  metric({
    name: 'kernel_bytes_per_connection',
    title: 'kernel memory per connection, both ends',
    unit: 'bytes',
    better: 'lower',
    path: 'server.kernel_bytes_per_connection',
  }),
  metric({
    name: 'nonpaged_pool_bytes_per_connection',
    title: 'non-paged pool per connection',
    unit: 'bytes',
    better: 'lower',
    path: 'server.nonpaged_pool_bytes_per_connection',
  }),
  metric({
    name: 'client_cpu_us_per_request',
    title: 'client CPU per request',
    unit: 'us',
    better: 'lower',
    path: 'client.cpu_us_per_request',
  }),
  metric({
    name: 'client_system_calls_per_request',
    title: 'client system calls per request',
    unit: 'count',
    better: 'lower',
    path: 'client.system_calls_per_request',
  }),
  metric({
    name: 'client_instructions_per_request',
    title: 'client instructions per request',
    unit: 'count',
    better: 'lower',
    path: 'client.instructions_per_request',
  }),
  metric({
    name: 'client_cycles_per_request',
    title: 'client CPU cycles per request',
    unit: 'count',
    better: 'lower',
    path: 'client.cycles_per_request',
  }),
  metric({
    name: 'connect_duration_ms',
    title: 'time to connect all',
    unit: 'ms',
    better: 'lower',
    oncePerTrial: true,
    path: 'connections.connect_duration_ms',
  }),
  metric({
    name: 'jain_index',
    title: "Jain's fairness index",
    unit: 'fraction',
    better: 'higher',
    path: 'fairness.jain_index',
  }),
  metric({
    name: 'max_rate',
    title: 'highest rate within the limit',
    unit: 'requests/s',
    better: 'higher',
    phases: ['latency'],
    // Primary because it was explicitly requested.
    primary: true,
    clientLimit: 'rate',
    path: 'max_rate.rate_per_second',
  }),
  counted({ name: 'errors', title: 'errors', unit: 'count', better: 'lower', path: 'errors.total' }),
  counted({
    name: 'connections_made',
    title: 'connections made',
    unit: 'count',
    better: 'higher',
    path: 'connections.made',
  }),
  counted({
    name: 'connections_failed',
    title: 'connections failed',
    unit: 'count',
    better: 'lower',
    path: 'connections.failed',
  }),
  counted({
    name: 'connections_lost',
    title: 'connections lost',
    unit: 'count',
    better: 'lower',
    path: 'connections.lost',
  }),
  counted({
    name: 'starved_connections',
    title: 'starved connections',
    unit: 'count',
    better: 'lower',
    path: 'fairness.starved',
  }),
];

const byName = new Map(metrics.map((entry) => [entry.name, entry]));

export function findMetric(name: string): Metric | undefined {
  return byName.get(name);
}

/** A metric that the code names. If it does not exist, that is a bug in the tool. */
export function requireMetric(name: string): Metric {
  const found = byName.get(name);
  if (found === undefined) throw new Error(`no metric is called ${name}`);
  return found;
}

/** The figure of one window; null if unknown, or if the window was not measured completely and does not have it. */
export function readMetric(entry: Metric, window: Window): number | null {
  const value = readPath(window, entry.path);
  if (entry.name === 'reconnects_per_second' && value !== null && window.state === 'completed') {
    if (window.churn) return window.churn.connections_per_second;
    return window.duration_ms > 0 ? (value * 1000) / window.duration_ms : null;
  }
  return value;
}

function readPath(window: Window, path: string): number | null {
  let value: unknown = window;
  for (const key of path.split('.')) {
    if (typeof value !== 'object' || value === null) return null;
    value = (value as Record<string, unknown>)[key];
  }
  return typeof value === 'number' ? value : null;
}

export interface TrialValue {
  trial: number;
  value: number | null;
  /** The window that the value comes from; null for figures of a whole trial. */
  window: Window | null;
  /** The search that found the value; null for figures of a window. */
  search: MaxRate | null;
}

/** Resolution of these values of a metric. A search ends between two rates; its resolution is their distance. */
export function resolutionOf(entry: Metric, values: readonly TrialValue[]): number {
  const searches = values.flatMap(({ search }) => (search === null ? [] : [searchResolution(search)]));
  return Math.max(entry.resolution, ...searches);
}

/** Why a rate is only a lower bound of the server's, in words; null if it is the server's own. */
export function lowerBoundReason({ window, search }: TrialValue): string | null {
  if (window?.client?.saturated === true) return 'the load generator was the limit';
  switch (search === null ? null : searchLimit(search)) {
    case 'client':
      return 'the load generator was the limit';
    case 'machine':
      return 'other work took CPU time from the machine';
    case 'unfinished':
      return 'the search did not end';
    case 'unrecorded':
      return 'the report does not say whether the load generator was the limit';
    case null:
      return null;
  }
}

/** The figure in every trial of a run, from the completed windows of one phase. */
export function trialValues(entry: Metric, run: Run, phase: Phase): TrialValue[] {
  if (entry.name === 'max_rate') {
    return (run.max_rate ?? []).map((found, place) => ({
      trial: found.index ?? place,
      value: found.rate_per_second,
      window: null,
      search: found,
    }));
  }
  return completedWindows(run, phase).map((window) => ({
    trial: window.index,
    value: readMetric(entry, window),
    window,
    search: null,
  }));
}

export function completedWindows(run: Run, phase: Phase): CompletedWindow[] {
  return run.trials.filter(
    (window): window is CompletedWindow => window.state === 'completed' && window.phase === phase,
  );
}

/** True if the figure is a percentile or maximum among requests without an echo: its value is above the timeout. */
export function isBeyondTimeout(entry: Metric, window: Window | null): boolean {
  if (window?.state !== 'completed') return false;
  const [holder, field] = entry.path.split('.');
  const shown =
    holder === 'response_time_ns'
      ? window.response_time_ns
      : holder === 'service_time_ns'
        ? window.service_time_ns
        : null;
  return shown !== null && (shown.missing as Record<string, string | undefined>)[field ?? ''] === 'timeout';
}

/** The phase that a gate uses: the metric's first phase with a completed window in the run, otherwise its first phase. */
export function preferredPhase(entry: Metric, run: Run): Phase {
  const measured = entry.phases.find((phase) => completedWindows(run, phase).length > 0);
  return measured ?? entry.phases[0] ?? 'capacity';
}
