/** Rigged reports: a window, a run or a report with sound figures, of which a test changes what it is about. */
import {
  schemaName,
  schemaVersion,
  type BrokenWindow,
  type CompletedWindow,
  type Distribution,
  type Environment,
  type Plan,
  type Report,
  type Run,
  type Window,
} from '../../../src/model/report-schema.js';
import type { SearchStep } from '../../../src/model/search-result.js';

/** What a test may change, at any depth. */
export type Changes<T> = {
  [K in keyof T]?: NonNullable<T[K]> extends readonly unknown[] ? T[K] : Changes<T[K]> | T[K];
};

function merged<T>(base: T, changes: Changes<T> | undefined): T {
  if (changes === undefined) return base;
  const result: Record<string, unknown> = { ...(base as Record<string, unknown>) };
  for (const [key, value] of Object.entries(changes)) {
    const old = result[key];
    const isNested = isPlainObject(value) && isPlainObject(old);
    result[key] = isNested ? merged(old, value as Changes<typeof old>) : value;
  }
  return result as T;
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function times(p99: number, count = 100_000): Distribution {
  return {
    p50: p99 / 4,
    p90: p99 / 2,
    p99,
    p99_9: p99 * 2,
    max: p99 * 3,
    min: p99 / 10,
    mean: p99 / 3,
    count,
    missing: {},
    histogram: null,
  };
}

const soundWindow: CompletedWindow = {
  sequence: 0,
  started_at: '2026-01-01T00:00:00.000Z',
  index: 0,
  phase: 'capacity',
  state: 'completed',
  connections: {
    asked: 1000,
    made: 1000,
    failed: 0,
    lost: 0,
    connect_duration_ms: 100,
    connect_rate_per_second: 10_000,
    connect_time_ns: null,
    first_echo_time_ns: null,
  },
  errors: { total: 0, by_class: {}, samples: [] },
  duration_ms: 1000,
  steady: true,
  requests: {
    count: 100_000,
    per_second: 100_000,
    offered_per_second: null,
    offered: 100_000,
    failed: 0,
    unsent: 0,
    sent_late: 0,
    bytes_per_second: 6_400_000,
  },
  response_time_ns: null,
  service_time_ns: times(20_000_000),
  server: {
    cpu_us_per_request: 10,
    cpu_user_us_per_request: 2,
    cpu_system_us_per_request: 8,
    cpu_fraction: 1,
    context_switches_per_request: 0.1,
    run_delay_us_per_request: 1.5,
    system_calls_per_request: 2.1,
    instructions_per_request: 20_000,
    cycles_per_request: 30_000,
    instructions_scope: 'user+kernel',
    voluntary_switches_per_request: 0.05,
    involuntary_switches_per_request: 0.05,
    threads_max: 12,
    threads_idle: 12,
    resident_bytes: 100_000_000,
    resident_bytes_idle: 50_000_000,
    resident_bytes_per_connection: 50_000,
    page_table_bytes_per_connection: 100,
    kernel_bytes_per_connection: 8_000,
    nonpaged_pool_bytes_per_connection: null,
    requests_counted: 100_000,
    accepted: 1000,
    refused: 0,
    workers: 1,
    worker_connections_min: 1000,
    worker_connections_max: 1000,
    backlog: 4096,
    receives_paused: 0,
    errors: {},
    features: [],
  },
  client: {
    engine: 'epoll',
    features: [],
    threads: 1,
    cpu_us_per_request: 8,
    cpu_user_us_per_request: 2,
    cpu_system_us_per_request: 6,
    context_switches_per_request: 0.1,
    system_calls_per_request: 2.1,
    instructions_per_request: 20_000,
    cycles_per_request: 30_000,
    instructions_scope: 'user+kernel',
    busy_fraction: 0.7,
    run_delay_fraction: 0.01,
    throttled_fraction: 0,
    saturated: false,
    saturated_by: null,
    send_lag_ns: null,
    resident_bytes: 60_000_000,
    memory_bytes: 1_000_000,
  },
  fairness: {
    connections: 1000,
    jain_index: 0.999,
    starved: 0,
    min_requests: 90,
    max_requests: 110,
    slowest_connection: 17,
  },
  system: {
    cpu_steal_fraction: 0,
    cpu_others_fraction: 0.01,
    listen_overflows: 0,
    listen_drops: 0,
    retransmits: 0,
    time_wait_sockets: 0,
    tcp_memory_bytes: 1_000_000,
  },
  timeline: [],
};

export function capacityWindow(index: number, changes?: Changes<CompletedWindow>): CompletedWindow {
  return merged({ ...structuredClone(soundWindow), index, sequence: index }, changes);
}

export function latencyWindow(index: number, changes?: Changes<CompletedWindow>): CompletedWindow {
  const open: CompletedWindow = {
    ...structuredClone(soundWindow),
    index,
    sequence: index,
    phase: 'latency',
    requests: {
      ...soundWindow.requests,
      per_second: 50_000,
      count: 50_000,
      offered: 50_000,
      offered_per_second: 50_000,
    },
    response_time_ns: times(1_000_000),
    service_time_ns: times(900_000),
    client: { ...soundWindow.client, send_lag_ns: times(20_000) },
  };
  return merged(open, changes);
}

/** A run whose capacity windows have these rates. */
export function runWithRates(mode: string, rates: readonly number[], changes?: Changes<CompletedWindow>): Run {
  const trials = rates.map((rate, index) =>
    merged(capacityWindow(index, changes), { requests: { per_second: rate, count: Math.round(rate) } }),
  );
  return { mode, backend: mode, clients: 1000, trials };
}

/** A run whose latency windows have these p99 in ns. */
export function runWithP99(mode: string, p99s: readonly number[], changes?: Changes<CompletedWindow>): Run {
  const trials = p99s.map((p99, index) => latencyWindow(index, { response_time_ns: times(p99), ...changes }));
  return { mode, backend: mode, clients: 1000, trials };
}

/** A run whose searches found these rates, each ended by a rate 3% higher that was not carried for this reason of the client. */
export function runWithMaxRates(
  mode: string,
  rates: readonly number[],
  { client = null, limitNs = 1e7 }: { client?: SearchStep['limited_by']; limitNs?: number } = {},
): Run {
  const searches = rates.map((rate, index) => ({
    metric: 'response_time_p99',
    limit_ns: limitNs,
    rate_per_second: rate,
    index,
    steps: [
      { rate_per_second: rate, value_ns: limitNs / 2, carried: true, limited_by: null },
      { rate_per_second: rate * 1.03, value_ns: limitNs * 2, carried: false, limited_by: client },
    ],
  }));
  return { mode, backend: mode, clients: 1000, trials: [], max_rate: searches };
}

export const soundPlan: Plan = {
  modes: [
    { mode: 'blocking', backend: 'blocking', command: null },
    { mode: 'iocp', backend: 'iocp', command: null },
  ],
  target: null,
  host: '127.0.0.1',
  clients: [1000],
  active: null,
  idle: 0,
  trials: 4,
  order: [
    ['blocking', 'iocp'],
    ['iocp', 'blocking'],
    ['iocp', 'blocking'],
    ['blocking', 'iocp'],
  ],
  phases: ['capacity', 'latency'],
  duration_ms: 1000,
  warmup_ms: 1000,
  message_size_bytes: 64,
  pipeline: 1,
  rate_per_second: null,
  offered_rate_per_second: { '1000': 50_000 },
  calibration_fraction: 0.7,
  connect_rate_per_second: null,
  requests_per_connection: null,
  think_time_ms: 0,
  stream: false,
  threads: 1,
  engine: 'auto',
  seed: 1,
  timeout_ms: 10_000,
  close: 'reset',
  pinned: true,
  workers: null,
  backlog: 4096,
  receive_buffer_bytes: 65_536,
  stack_size_bytes: 65_536,
  zero_byte_recv: false,
  aa: false,
};

export const soundEnvironment: Environment = {
  system: 'Windows 10.0.20348',
  compatibility: null,
  cpu_model: 'A CPU',
  cpus_online: 2,
  cpus_server: [0],
  cpus_client: [1],
  cpus_shared: false,
  memory_total_bytes: 8e9,
  node_version: 'v20.0.0',
  library: '0.1.0 (built)',
  clock_source: 'qpc',
  clock_resolution_ns: 100,
  cpu_governor: null,
  cpu_turbo: null,
  virtual_machine: null,
  limits: { port_first: 32768, port_last: 60999 },
};

export function planWith(changes: Partial<Plan>): Plan {
  return { ...soundPlan, ...changes };
}

export function environmentWith(changes: Partial<Environment>): Environment {
  return { ...soundEnvironment, ...changes };
}

/** A report of these runs, with nothing concluded yet. */
export function reportOf(runs: Run[], changes: Partial<Report> = {}): Report {
  return {
    schema: schemaName,
    schema_version: schemaVersion,
    tool: { name: 'iocp-bench', version: '0.1.0' },
    created_at: '2026-01-01T00:00:00.000Z',
    command_line: ['blast'],
    partial: false,
    environment: soundEnvironment,
    plan: planWith({ clients: [...new Set(runs.map((run) => run.clients))] }),
    runs,
    comparisons: [],
    warnings: [],
    gates: [],
    noise: [],
    findings: [],
    ...changes,
  };
}

/** The same window, which failed before it had figures. */
export function failedWindow(window: Window, reason: string): BrokenWindow {
  const { sequence, started_at, index, phase, connections, errors } = window;
  const nothing = { requests: null, response_time_ns: null, service_time_ns: null, server: null, client: null };
  return { sequence, started_at, index, phase, connections, errors, ...nothing, timeline: [], state: 'failed', reason };
}

/** The same run with this trial's windows failed. */
export function withFailedTrial(run: Run, index: number): Run {
  const [first] = run.trials;
  if (first === undefined) throw new Error('a run without trials cannot fail');
  const failed = { ...failedWindow(first, 'the server was killed by SIGKILL'), index };
  return { ...run, trials: [...run.trials.filter((window) => window.index !== index), failed] };
}
