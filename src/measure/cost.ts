/**
 * The cost of a run: what server, client and kernel spent, as ratios of counters that were read at the same moments. What a
 * counter does not tell stays null through every formula.
 */
import type { ClientCost, Distribution, Fairness, ServerCost, SystemFigures } from '../model/report-schema.js';
import {
  executionScopeOf,
  type ProcessUsage,
  type RunDelay,
  type ServerStats,
  type SystemSample,
} from '../model/figures.js';
import { distribution, type RawHistogram } from './histogram.js';
import { jainIndex } from './statistics.js';

type Known = number | null;

/** A moment of a server; stats is null for one that is known by its process id alone (--mode-command). */
export interface CostSample {
  usage: ProcessUsage;
  stats: ServerStats | null;
}

/** A moment of a server with its run delay; absent if it cannot be read. */
export interface WaitSample {
  stats: ServerStats | null;
  runDelay?: RunDelay | undefined;
}

/** What the kernel holds for sockets and threads, system-wide. */
export type KernelMemory = Pick<SystemSample, 'tcp_memory_bytes' | 'slab_bytes' | 'kernel_stack_bytes'>;

/** b - a, unknown where either is, or where a counter ran backwards. */
function delta(a: Known | undefined, b: Known | undefined): Known {
  if (a === null || a === undefined || b === null || b === undefined || b < a) return null;
  return b - a;
}

function divide(part: Known, whole: Known): Known {
  return part === null || whole === null || whole <= 0 ? null : part / whole;
}

function sumOf(...parts: readonly Known[]): Known {
  return parts.reduce<Known>((sum, part) => (sum === null || part === null ? null : sum + part), 0);
}

function scale(value: Known, factor: number): Known {
  return value === null ? null : value * factor;
}

function largest(...values: readonly (Known | undefined)[]): Known {
  const known = values.filter((value): value is number => typeof value === 'number');
  return known.length === 0 ? null : Math.max(...known);
}

/* ------------------------------------------------------------------------------------------------ kernel memory */

/**
 * The idle system may drift by at most this share of the growth: the drift enters the figure as it is, so a tenth of the growth
 * is an error of a tenth. Beyond it the figure is somebody else's memory and is not printed.
 */
export const kernelDriftTolerated = 0.1;

/**
 * Kernel memory per connection, both ends and system-wide: slab (socket structures, small buffers), kernel stacks and the pages
 * of socket buffers. Heads of buffers in flight count in slab and in socket buffers: at most about 1 KiB per message in flight.
 * @param idleBefore, idleAfter two moments without connections, between which nothing should have moved
 */
export function kernelBytesPerConnection(
  idleBefore: KernelMemory | null,
  idleAfter: KernelMemory | null,
  loaded: KernelMemory | null,
  connections: number,
): number | null {
  const before = kernelBytes(idleBefore);
  const after = kernelBytes(idleAfter);
  const full = kernelBytes(loaded);
  if (before === null || after === null || full === null || connections <= 0) return null;
  const growth = full - (before + after) / 2;
  if (growth <= 0 || Math.abs(after - before) > kernelDriftTolerated * growth) return null;
  return growth / connections;
}

function kernelBytes(memory: KernelMemory | null): Known {
  if (memory === null) return null;
  return sumOf(memory.slab_bytes, memory.kernel_stack_bytes, memory.tcp_memory_bytes);
}

/* ------------------------------------------------------------------------------------------------------- server */

export interface ServerCostInput {
  /** Before the first connection. */
  idle: CostSample;
  /** First and last moment of the window, under load. */
  start: CostSample;
  end: CostSample;
  connections_made: number;
  message_size_bytes: number;
  /** Null where the system's memory cannot be read. */
  kernel: { idle_before: KernelMemory | null; idle_after: KernelMemory | null; loaded: KernelMemory | null } | null;
  /** Requests between start and end by the client's count, for a server that does not count requests. */
  requests_counted?: number;
  /** Moments with the run delay, shortly before and after the window. */
  waits?: { start: WaitSample | null; end: WaitSample | null };
}

/** Samples that were taken later than this share of the window say too little about it: their figures are not printed. */
export const sampleLagTolerated = 0.2;

/**
 * How late the two samples of a server were taken, as a share of the window: the larger of the two. A server whose CPUs are crowded
 * may not come to answer, and the time between two late samples is not the window's.
 */
export function sampleLagFraction(
  samples: { start: CostSample | null; end: CostSample | null },
  window: { start_ns: number; end_ns: number },
): number | null {
  if (samples.start === null || samples.end === null || window.end_ns <= window.start_ns) return null;
  const lateNs = Math.max(
    samples.start.usage.taken_at_ns - window.start_ns,
    samples.end.usage.taken_at_ns - window.end_ns,
  );
  return Math.max(0, lateNs) / (window.end_ns - window.start_ns);
}

/** The server's cost over a window. */
export function serverCost(input: ServerCostInput): ServerCost {
  const { idle, start, end } = input;
  const requests = requestsBetween(input);
  const perRequest = (name: CounterName, factor = 1): Known =>
    scale(divide(delta(start.usage[name], end.usage[name]), requests), factor);
  const perConnection = (name: MemoryName): Known =>
    divide(delta(idle.usage[name], end.usage[name]), input.connections_made);
  const voluntary = delta(start.usage.voluntary_switches, end.usage.voluntary_switches);
  const involuntary = delta(start.usage.involuntary_switches, end.usage.involuntary_switches);
  // Windows counts both kinds of switches together; the sum is in the voluntary field.
  const countedAsOne = end.usage.involuntary_switches === null;
  const switches = countedAsOne ? voluntary : sumOf(voluntary, involuntary);
  // Requests cost CPU time: none at all is what another process than the server used, or a clock too coarse to see any.
  const counted = cpuBetween(start.usage, end.usage);
  const cpuNs = counted === 0 && (requests ?? 0) > 0 ? null : counted;
  const split = (name: 'cpu_user_ns' | 'cpu_system_ns'): Known => (cpuNs === null ? null : perRequest(name, 1e-3));
  const stats = end.stats;
  return {
    cpu_us_per_request: scale(divide(cpuNs, requests), 1e-3),
    cpu_user_us_per_request: split('cpu_user_ns'),
    cpu_system_us_per_request: split('cpu_system_ns'),
    cpu_fraction: divide(cpuNs, delta(start.usage.taken_at_ns, end.usage.taken_at_ns)),
    context_switches_per_request: divide(switches, requests),
    voluntary_switches_per_request: countedAsOne ? null : perRequest('voluntary_switches'),
    involuntary_switches_per_request: perRequest('involuntary_switches'),
    run_delay_us_per_request: runDelayPerRequest(input),
    system_calls_per_request: divide(delta(start.stats?.system_calls, stats?.system_calls), requests),
    operations_per_request: divide(delta(start.stats?.operations_posted, stats?.operations_posted), requests),
    ...executionFigures({
      instructions: delta(start.usage.instructions, end.usage.instructions),
      cycles: delta(start.usage.cycles, end.usage.cycles),
      scope: end.usage.execution_scope,
      requests,
    }),
    threads_max: threadsMax(input),
    threads_idle: idle.usage.threads,
    resident_bytes: end.usage.resident_bytes,
    resident_bytes_idle: idle.usage.resident_bytes,
    resident_bytes_per_connection: perConnection('resident_bytes'),
    page_table_bytes_per_connection: perConnection('page_table_bytes'),
    kernel_bytes_per_connection:
      // Each counter of a thread is kernel memory too, which the connections did not ask for.
      input.kernel === null || end.usage.execution_scope !== null
        ? null
        : kernelBytesPerConnection(
            input.kernel.idle_before,
            input.kernel.idle_after,
            input.kernel.loaded,
            input.connections_made,
          ),
    nonpaged_pool_bytes_per_connection: perConnection('nonpaged_pool_bytes'),
    requests_counted: requests,
    accepted: stats?.accepted ?? null,
    refused: stats?.refused ?? null,
    workers: stats?.workers ?? null,
    connections_queued: stats?.connections_queued ?? null,
    worker_connections_min: stats?.worker_connections_min ?? null,
    worker_connections_max: stats?.worker_connections_max ?? null,
    backlog: stats?.backlog ?? null,
    receives_paused: stats?.receives_paused ?? null,
    errors: stats === null ? {} : serverErrors(stats),
    features: stats === null ? [] : words(stats.features),
    ...serviceFigures(start.stats, stats),
  };
}

interface Execution {
  instructions: Known;
  cycles: Known;
  /** Of enum ib_execution_scope. */
  scope: Known;
  requests: Known;
}

type ExecutionFigures = Required<
  Pick<ServerCost, 'instructions_per_request' | 'cycles_per_request' | 'instructions_scope'>
>;

/** A request is not served without instructions: a count that stands still is that of a counter that does not work. */
function executionFigures({ instructions, cycles, scope, requests }: Execution): ExecutionFigures {
  const perRequest = (count: Known): Known => divide(count === 0 ? null : count, requests);
  const figures = { instructions_per_request: perRequest(instructions), cycles_per_request: perRequest(cycles) };
  const isCounted = figures.instructions_per_request !== null || figures.cycles_per_request !== null;
  return { ...figures, instructions_scope: isCounted ? executionScopeOf(scope) : null };
}

/** What the server really did for its requests between two samples; nothing if it only echoed. */
function serviceFigures(start: ServerStats | null, end: ServerStats | null): Pick<ServerCost, 'service'> {
  if (start === null || end === null || (end.served ?? null) === null) return {};
  const between = (name: 'served' | 'work_burnt_ns' | 'work_measured' | 'waits' | 'waited_ns'): Known =>
    delta(start[name], end[name]);
  return {
    service: {
      served: between('served'),
      dropped: end.dropped,
      work_us_per_request: scale(divide(between('work_burnt_ns'), between('work_measured')), 1e-3),
      work_measured: between('work_measured'),
      work_spread: scale(end.work_spread_ppm, 1e-6),
      wait_ms_per_request: scale(divide(between('waited_ns'), between('waits')), 1e-6),
    },
  };
}

type CounterName = 'cpu_user_ns' | 'cpu_system_ns' | 'voluntary_switches' | 'involuntary_switches';
type MemoryName = 'resident_bytes' | 'page_table_bytes' | 'nonpaged_pool_bytes';

/** Requests by the server's own count between the very samples that its CPU time is taken from. */
function requestsBetween(input: ServerCostInput): Known {
  const bytes = delta(input.start.stats?.bytes_received, input.end.stats?.bytes_received);
  return divide(bytes, input.message_size_bytes) ?? input.requests_counted ?? null;
}

/** null if a thread ended or began meanwhile: the wait of one that ended is lost. */
function runDelayPerRequest({ waits, message_size_bytes }: ServerCostInput): Known {
  const [start, end] = [waits?.start?.runDelay, waits?.end?.runDelay];
  if (start?.threads !== end?.threads || start?.thread_ids !== end?.thread_ids) return null;
  const bytes = delta(waits?.start?.stats?.bytes_received, waits?.end?.stats?.bytes_received);
  const requests = divide(bytes, message_size_bytes);
  return scale(divide(delta(start?.run_delay_ns, end?.run_delay_ns), requests), 1e-3);
}

function cpuBetween(start: ProcessUsage, end: ProcessUsage): Known {
  return (
    delta(start.cpu_total_ns, end.cpu_total_ns) ??
    sumOf(delta(start.cpu_user_ns, end.cpu_user_ns), delta(start.cpu_system_ns, end.cpu_system_ns))
  );
}

/**
 * Threads of the process: what a sample saw, or what the native server had at most, plus the threads that are not its own
 * (Node's), where that is more.
 */
function threadsMax({ idle, start, end }: ServerCostInput): Known {
  const foreign = delta(idle.stats?.threads, idle.usage.threads);
  return largest(
    idle.usage.threads,
    start.usage.threads,
    end.usage.threads,
    sumOf(foreign, end.stats?.threads_max ?? null),
  );
}

/** Errors since the server's start, by class. */
function serverErrors(stats: ServerStats): Record<string, number> {
  const classes: Record<string, Known> = {
    reset: stats.errors_reset,
    aborted: stats.errors_aborted,
    descriptors: stats.errors_descriptors,
    memory: stats.errors_memory,
    threads: stats.errors_threads,
    other: stats.errors_other,
  };
  return Object.fromEntries(Object.entries(classes).filter((entry): entry is [string, number] => (entry[1] ?? 0) > 0));
}

/** Space-separated words of a feature list. */
function words(text: string): string[] {
  return text.split(' ').filter((word) => word !== '');
}

/* ------------------------------------------------------------------------------------------------------- client */

/** One engine's figures over a window: fields of struct ib_engine_block, null where the system does not tell. */
export interface EngineFigures {
  window_completions: Known;
  wait_ns: Known;
  wall_ns: Known;
  cpu_user_ns: Known;
  cpu_system_ns: Known;
  run_delay_ns: Known;
  stopped_ns: Known;
  stopped_longest_ns: Known;
  voluntary_switches: Known;
  involuntary_switches: Known;
  window_system_calls: Known;
  window_operations: Known;
  instructions: Known;
  cycles: Known;
  /** Of enum ib_execution_scope; null: not counted. */
  execution_scope: Known;
  fairness_connections: Known;
  fairness_min: Known;
  fairness_max: Known;
  fairness_starved: Known;
  fairness_slowest: Known;
  fairness_sum: number;
  fairness_sum_squares: number;
  /** Of messages that were sent without waiting for their turn. */
  send_lag: RawHistogram;
  /** Of those that waited for their turn. */
  turn_lag: RawHistogram;
  /** The part of turn_lag until the engine found the message due. */
  turn_noticed: RawHistogram;
}

export interface ClientCostInput {
  engines: readonly EngineFigures[];
  /** The engine really used, and its features. */
  engine: string;
  features: readonly string[];
  /** Throttling of the client's control group over the window; null where there is none to read. */
  throttled_ns: number | null;
  resident_bytes: number | null;
  memory_bytes: number | null;
  /** How much later than planned the last engine began the window. */
  started_late_ns: number | null;
}

/** An engine that spends this share of the window outside its wait is the limit of the run. */
export const saturatedFraction = 0.95;
/** A client that was not allowed to run for this share of the window was held back by its CPU quota. */
export const throttledFraction = 0.05;

export function clientCost(input: ClientCostInput): ClientCost {
  const { engines } = input;
  const total = (read: (engine: EngineFigures) => Known): Known => sumOf(...engines.map(read));
  const completions = total((engine) => engine.window_completions);
  const user = total((engine) => engine.cpu_user_ns);
  const system = total((engine) => engine.cpu_system_ns);
  const switches = total((engine) => sumOf(engine.voluntary_switches, engine.involuntary_switches));
  const scopes = new Set(engines.map((engine) => engine.execution_scope));
  const merged = (...names: ('send_lag' | 'turn_lag' | 'turn_noticed')[]): Distribution | null => {
    const raw = engines.flatMap((engine) => names.map((name) => engine[name])).filter(({ count }) => count > 0n);
    return raw.length === 0 ? null : distribution(raw, 0);
  };
  return {
    engine: input.engine,
    features: [...input.features],
    threads: engines.length,
    cpu_us_per_request: scale(divide(sumOf(user, system), completions), 1e-3),
    cpu_user_us_per_request: scale(divide(user, completions), 1e-3),
    cpu_system_us_per_request: scale(divide(system, completions), 1e-3),
    context_switches_per_request: divide(switches, completions),
    system_calls_per_request: divide(
      total((engine) => engine.window_system_calls),
      completions,
    ),
    operations_per_request: divide(
      total((engine) => engine.window_operations),
      completions,
    ),
    ...executionFigures({
      // Machines may allow different scopes, whose sum would mean nothing.
      instructions: scopes.size === 1 ? total((engine) => engine.instructions) : null,
      cycles: scopes.size === 1 ? total((engine) => engine.cycles) : null,
      scope: engines[0]?.execution_scope ?? null,
      requests: completions,
    }),
    ...saturation(input),
    stopped_ns: largest(...engines.map((engine) => engine.stopped_ns)),
    stopped_longest_ns: largest(...engines.map((engine) => engine.stopped_longest_ns)),
    started_late_ns: input.started_late_ns,
    send_lag_ns: merged('send_lag', 'turn_lag'),
    own_lag_ns: merged('send_lag', 'turn_noticed'),
    resident_bytes: input.resident_bytes,
    memory_bytes: input.memory_bytes,
  };
}

type Saturation = Pick<
  ClientCost,
  'busy_fraction' | 'run_delay_fraction' | 'throttled_fraction' | 'saturated' | 'saturated_by'
>;

/**
 * Whether the load generator was the limit. Told from the engines' wall time outside their wait, never from thread CPU alone: a thread
 * that is ready but not on a CPU uses none. Its run-queue delay also hides inside the wait (woken, not yet running), so an engine
 * whose wait is nothing but delay had no time left either. One saturated engine is enough: its connections got less than they
 * could have had. Time in which a thread was stopped is neither work nor a lack of CPU, so it is a separate figure.
 */
export function saturation(input: Pick<ClientCostInput, 'engines' | 'throttled_ns'>): Saturation {
  // A suspended machine's clock may have stood still: then the stop is longer than the window was for the engine.
  const awake = (engine: EngineFigures): Known => delta(engine.stopped_ns, engine.wall_ns) ?? engine.wall_ns;
  const outsideWait = (engine: EngineFigures): Known => delta(engine.wait_ns, awake(engine));
  const busy = largest(...input.engines.map((engine) => divide(outsideWait(engine), awake(engine))));
  const runDelay = largest(...input.engines.map((engine) => divide(engine.run_delay_ns, engine.wall_ns)));
  const occupied = largest(
    ...input.engines.map((engine) => divide(sumOf(outsideWait(engine), engine.run_delay_ns), awake(engine))),
  );
  const wall = largest(...input.engines.map((engine) => engine.wall_ns));
  const throttled = divide(input.throttled_ns, wall);
  const by = saturatedBy(busy, occupied, throttled);
  return {
    busy_fraction: busy,
    run_delay_fraction: runDelay,
    throttled_fraction: throttled,
    saturated: by === null && busy === null ? null : by !== null,
    saturated_by: by,
  };
}

/** A quota explains all the rest; an engine that is outside its wait is the limit whatever else; then a crowded CPU. */
function saturatedBy(busy: Known, occupied: Known, throttled: Known): ClientCost['saturated_by'] {
  if (throttled !== null && throttled >= throttledFraction) return 'throttled';
  if (busy !== null && busy >= saturatedFraction) return 'busy';
  if (occupied !== null && occupied >= saturatedFraction) return 'run_delay';
  return null;
}

/** How evenly the connections were served, over all engines. */
export function fairness(engines: readonly EngineFigures[]): Fairness {
  const active = engines.filter((engine) => (engine.fairness_connections ?? 0) > 0);
  const sum = (read: (engine: EngineFigures) => number): number =>
    active.reduce((total, engine) => total + read(engine), 0);
  const connections = sum((engine) => engine.fairness_connections ?? 0);
  const least = active
    .filter((engine) => engine.fairness_min !== null)
    .sort((a, b) => (a.fairness_min ?? 0) - (b.fairness_min ?? 0))[0];
  return {
    connections,
    jain_index: jainIndex(
      connections,
      sum((engine) => engine.fairness_sum),
      sum((engine) => engine.fairness_sum_squares),
    ),
    starved: sum((engine) => engine.fairness_starved ?? 0),
    min_requests: least?.fairness_min ?? null,
    max_requests: largest(...active.map((engine) => engine.fairness_max)),
    slowest_connection: least?.fairness_slowest ?? null,
  };
}

/* ------------------------------------------------------------------------------------------------------- system */

/**
 * What else went on in the machine during a window.
 * @param ownCpuNs CPU time of server and client together in the window; null where either is unknown
 */
export function systemFigures(start: SystemSample, end: SystemSample, ownCpuNs: number | null): SystemFigures {
  const busy = delta(start.cpu_busy_ns, end.cpu_busy_ns);
  const steal = delta(start.cpu_steal_ns, end.cpu_steal_ns);
  const machine = sumOf(busy, delta(start.cpu_idle_ns, end.cpu_idle_ns), steal ?? 0);
  // Threads of the kernel, but for the load's packets: not others.
  const networkThreads = delta(start.cpu_network_threads_ns, end.cpu_network_threads_ns);
  // The system counts in ticks and the processes in ns: a difference below zero is rounding.
  const others = busy === null || ownCpuNs === null ? null : Math.max(0, busy - ownCpuNs - (networkThreads ?? 0));
  return {
    cpu_steal_fraction: divide(steal, machine),
    cpu_others_fraction: divide(others, machine),
    cpu_network_threads_fraction: divide(networkThreads, machine),
    listen_overflows: delta(start.listen_overflows, end.listen_overflows),
    listen_drops: delta(start.listen_drops, end.listen_drops),
    retransmits: delta(start.tcp_retransmits, end.tcp_retransmits),
    time_wait_sockets: end.time_wait_sockets,
    tcp_memory_bytes: end.tcp_memory_bytes,
  };
}
