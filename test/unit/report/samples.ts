/**
 * Sample reports: what a good day, a sweep over five modes, a bad day and a run under Wine look like. Made by a fixed seed, with
 * everything that is concluded from the figures concluded by the tool itself, so that they are as consistent as real ones.
 */
import { compareRuns } from '../../../src/measure/comparisons.js';
import { evaluateGate, parseGate } from '../../../src/measure/gates.js';
import { distribution, histogramCounts, histogramIndex, type RawHistogram } from '../../../src/measure/histogram.js';
import { describeKnees } from '../../../src/measure/knee.js';
import { seededRandom, type Random } from '../../../src/measure/random.js';
import { normal } from '../../support/synthetic.js';
import { describeServiceSweeps } from '../../../src/measure/service-sweep.js';
import { findWarnings } from '../../../src/measure/validity.js';
import { pointKey } from '../../../src/model/point.js';
import {
  reportSchema,
  schemaName,
  schemaVersion,
  type BrokenWindow,
  type CompletedWindow,
  type Distribution,
  type Environment,
  type Phase,
  type Plan,
  type Report,
  type Run,
} from '../../../src/model/report-schema.js';

/** What makes one mode different from another; times in µs at full load of 1000 clients. */
export interface Character {
  readonly mode: string;
  readonly backend: string;
  /** Requests per second at best. */
  readonly capacity: number;
  /** Share of the capacity that is lost with every further 1000 clients. */
  readonly lossPerThousand: number;
  readonly medianUs: number;
  /** Sigma of the logarithm: how long the tail is. */
  readonly spread: number;
  readonly cpuUs: number;
  readonly switches: number;
  readonly threadPerConnection: boolean;
  readonly residentBytes: number;
  readonly kernelBytes: number | null;
}

export const characters = {
  blocking: {
    mode: 'blocking',
    backend: 'blocking',
    capacity: 62_000,
    lossPerThousand: 0.025,
    medianUs: 240,
    spread: 0.7,
    cpuUs: 15.8,
    switches: 1.02,
    threadPerConnection: true,
    residentBytes: 13_200,
    kernelBytes: 29_400,
  },
  iocp: {
    mode: 'iocp',
    backend: 'io_uring',
    capacity: 104_000,
    lossPerThousand: 0.008,
    medianUs: 150,
    spread: 0.45,
    cpuUs: 9.1,
    switches: 0.031,
    threadPerConnection: false,
    residentBytes: 1_240,
    kernelBytes: 11_900,
  },
  epoll: {
    mode: 'epoll',
    backend: 'epoll',
    capacity: 96_000,
    lossPerThousand: 0.009,
    medianUs: 160,
    spread: 0.5,
    cpuUs: 9.9,
    switches: 0.042,
    threadPerConnection: false,
    residentBytes: 510,
    kernelBytes: 11_700,
  },
  io_uring: {
    mode: 'io_uring',
    backend: 'io_uring',
    capacity: 104_000,
    lossPerThousand: 0.008,
    medianUs: 150,
    spread: 0.45,
    cpuUs: 9.2,
    switches: 0.03,
    threadPerConnection: false,
    residentBytes: 1_240,
    kernelBytes: 11_900,
  },
  node: {
    mode: 'node',
    backend: 'node',
    capacity: 41_000,
    lossPerThousand: 0.012,
    medianUs: 420,
    spread: 0.8,
    cpuUs: 23.9,
    switches: 0.11,
    threadPerConnection: false,
    residentBytes: 6_900,
    kernelBytes: 11_800,
  },
} as const satisfies Record<string, Character>;

/** Of the modes that count them. */
const systemCalls: Partial<Record<string, number>> = { blocking: 2, iocp: 0.09, epoll: 2.03, io_uring: 0.09 };

/** A log-normal distribution of times, as it would be recorded. */
function times(random: Random, medianNs: number, spread: number, count: number, unanswered = 0): Distribution {
  const samples = count < 100_000 ? 300 : 1_000;
  const counts = new BigUint64Array(histogramCounts);
  const values = Array.from({ length: samples }, () => Math.round(medianNs * Math.exp(spread * normal(random))));
  const weight = BigInt(Math.max(1, Math.round(count / samples)));
  let sum = 0n;
  for (const value of values) {
    const index = histogramIndex(value);
    counts[index] = (counts[index] ?? 0n) + weight;
    sum += BigInt(value) * weight;
  }
  const raw: RawHistogram = {
    count: weight * BigInt(samples),
    min_ns: BigInt(Math.min(...values)),
    max_ns: BigInt(Math.max(...values)),
    sum_ns: sum,
    counts,
  };
  return distribution([raw], unanswered);
}

/** What no chart is drawn from needs no histogram in a sample. */
function withoutHistogram(distribution: Distribution): Distribution {
  return { ...distribution, histogram: null };
}

interface WindowInput {
  readonly plan: Plan;
  readonly character: Character;
  readonly clients: number;
  readonly index: number;
  readonly phase: Phase;
  readonly sequence: number;
  readonly random: Random;
}

/** 1 with an error of a percent. */
function noisy(random: Random): number {
  return Math.exp(0.01 * normal(random));
}

export function connectionsOf(asked: number, made: number, random: Random): CompletedWindow['connections'] {
  const duration = (asked / 42_000) * 1000 * noisy(random);
  return {
    asked,
    made,
    failed: asked - made,
    lost: 0,
    connect_duration_ms: duration,
    connect_rate_per_second: (made / duration) * 1000,
    connect_time_ns: withoutHistogram(times(random, 90_000, 0.5, made)),
    first_echo_time_ns: withoutHistogram(times(random, 1_400_000, 0.6, made)),
  };
}

function startedAt(sequence: number): string {
  return new Date(Date.UTC(2026, 0, 15, 9, 30) + sequence * 5_000).toISOString();
}

export function makeWindow(input: WindowInput): CompletedWindow {
  const { plan, character, clients, index, phase, sequence, random } = input;
  const capacity = character.capacity * (1 - (character.lossPerThousand * clients) / 1000) * noisy(random);
  const offered = plan.offered_rate_per_second[String(clients)] ?? 30_000;
  const rate = phase === 'capacity' ? capacity : offered;
  const count = Math.round((rate * plan.duration_ms) / 1000);
  const queue = (clients / capacity) * 1e9;
  const loaded = character.medianUs * 1000 * (1 + clients / 6000);
  const service =
    phase === 'capacity' ? times(random, queue * 0.97, 0.12, count) : times(random, loaded, character.spread, count);
  const threads = character.threadPerConnection ? clients + 12 : 13;
  const cpu = character.cpuUs * noisy(random) * (phase === 'latency' ? 1.12 : 1);
  return {
    sequence,
    started_at: startedAt(sequence),
    index,
    phase,
    state: 'completed',
    duration_ms: plan.duration_ms,
    steady: true,
    connections: connectionsOf(clients, clients, random),
    errors: { total: 0, by_class: {}, samples: [] },
    requests: {
      count,
      per_second: rate,
      offered_per_second: phase === 'latency' ? offered : null,
      offered: count,
      failed: 0,
      unsent: 0,
      sent_late: 0,
      bytes_per_second: rate * plan.message_size_bytes,
    },
    response_time_ns: phase === 'latency' ? times(random, loaded * 1.08, character.spread, count) : null,
    service_time_ns: service,
    server: {
      cpu_us_per_request: cpu,
      cpu_user_us_per_request: cpu * 0.14,
      cpu_system_us_per_request: cpu * 0.86,
      cpu_fraction: Math.min(1, (cpu * rate) / 1e6),
      context_switches_per_request: character.switches * noisy(random),
      voluntary_switches_per_request: character.switches * 0.9,
      involuntary_switches_per_request: character.switches * 0.1,
      run_delay_us_per_request: character.threadPerConnection ? 14 : 0.6,
      system_calls_per_request: systemCalls[character.mode] ?? null,
      threads_max: threads,
      threads_idle: 12,
      resident_bytes: 52_000_000 + clients * character.residentBytes,
      resident_bytes_idle: 52_000_000,
      resident_bytes_per_connection: character.residentBytes * noisy(random),
      page_table_bytes_per_connection: character.threadPerConnection ? 8_300 : 24,
      kernel_bytes_per_connection: character.kernelBytes === null ? null : character.kernelBytes * noisy(random),
      nonpaged_pool_bytes_per_connection: null,
      requests_counted: count,
      accepted: clients,
      refused: 0,
      workers: character.threadPerConnection ? null : 1,
      worker_connections_min: character.threadPerConnection ? null : clients,
      worker_connections_max: character.threadPerConnection ? null : clients,
      backlog: 4096,
      receives_paused: 0,
      errors: {},
      features: [],
    },
    client: {
      engine: 'epoll',
      features: ['epoll_pwait2'],
      threads: 1,
      cpu_us_per_request: 8.4 * noisy(random),
      cpu_user_us_per_request: 2.1,
      cpu_system_us_per_request: 6.3,
      context_switches_per_request: 0.05,
      busy_fraction: Math.min(0.9, (8.4 * rate) / 1e6),
      run_delay_fraction: 0.004,
      throttled_fraction: 0,
      saturated: false,
      saturated_by: null,
      send_lag_ns: phase === 'latency' ? withoutHistogram(times(random, 9_000, 0.5, count)) : null,
      resident_bytes: 71_000_000,
      memory_bytes: clients * 420,
    },
    fairness: {
      connections: clients,
      jain_index: character.threadPerConnection ? 0.981 : 0.9994,
      starved: 0,
      min_requests: Math.floor((count / clients) * 0.8),
      max_requests: Math.ceil((count / clients) * 1.2),
      slowest_connection: Math.floor(clients / 3),
    },
    system: {
      cpu_steal_fraction: 0,
      cpu_others_fraction: 0.011,
      listen_overflows: 0,
      listen_drops: 0,
      retransmits: 0,
      time_wait_sockets: 3,
      tcp_memory_bytes: 4_194_304,
    },
    timeline: Array.from({ length: Math.floor(plan.duration_ms / 100) }, (_, bucket) => ({
      offset_ms: bucket * 100,
      requests: Math.round((rate / 10) * Math.exp(0.02 * normal(random))),
      errors: 0,
      service_max_ns: Math.round((service.p99 ?? 1e6) * noisy(random) * 1.4),
      response_max_ns: phase === 'latency' ? Math.round((service.p99 ?? 1e6) * noisy(random) * 1.6) : null,
    })),
  };
}

export const sampleEnvironment: Environment = {
  system: 'Linux 6.1.0-18-amd64 x86_64',
  compatibility: null,
  cpu_model: 'Example CPU @ 2.80GHz',
  cpus_online: 2,
  cpus_server: [0],
  cpus_client: [1],
  cpus_shared: false,
  memory_total_bytes: 8_589_934_592,
  node_version: 'v20.19.0',
  library: '0.1.0 (built)',
  clock_source: 'tsc',
  clock_resolution_ns: 1,
  cpu_governor: 'performance',
  cpu_turbo: false,
  virtual_machine: null,
  limits: { descriptors_soft: 20_000, descriptors_hard: 20_000, port_first: 32_768, port_last: 60_999 },
};

function orderOf(modes: readonly string[], trials: number): string[][] {
  return Array.from({ length: trials }, (_, index) => (index % 2 === 0 ? [...modes] : [...modes].reverse()));
}

export function samplePlan(used: readonly Character[], changes: Partial<Plan> = {}): Plan {
  const plan: Plan = {
    modes: used.map(({ mode, backend }) => ({ mode, backend, command: null })),
    target: null,
    host: '127.0.0.1',
    clients: [6000],
    active: null,
    idle: 0,
    trials: 4,
    order: [],
    phases: ['capacity', 'latency'],
    duration_ms: 3_000,
    warmup_ms: 1_000,
    message_size_bytes: 64,
    pipeline: 1,
    rate_per_second: null,
    offered_rate_per_second: {},
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
    backlog: 4_096,
    receive_buffer_bytes: 16_384,
    stack_size_bytes: 65_536,
    zero_byte_recv: false,
    aa: false,
    ...changes,
  };
  const slowest = Math.min(...used.map(({ capacity }) => capacity));
  const offered = Object.fromEntries(
    plan.clients.map((clients) => [String(clients), Math.round((slowest * 0.7 * (1 - clients / 50_000)) / 100) * 100]),
  );
  return {
    ...plan,
    order: orderOf(
      used.map(({ mode }) => mode),
      plan.trials,
    ),
    offered_rate_per_second: plan.phases.includes('latency') ? offered : {},
  };
}

export function makeRuns(plan: Plan, used: readonly Character[], seed: number): Run[] {
  const random = seededRandom(seed);
  let sequence = 0;
  return plan.clients.flatMap((clients) =>
    used.map((character): Run => ({
      mode: character.mode,
      backend: character.backend,
      clients,
      trials: Array.from({ length: plan.trials }, (_, index) =>
        plan.phases.map((phase) =>
          makeWindow({ plan, character, clients, index, phase, sequence: sequence++, random }),
        ),
      ).flat(),
    })),
  );
}

/** A whole report, everything concluded, and a valid one: a sample that the schema refuses is a mistake here. */
export function conclude(
  plan: Plan,
  runs: Run[],
  changes: Partial<Report> = {},
  gates: readonly string[] = [],
): Report {
  const environment = changes.environment ?? sampleEnvironment;
  const comparisons = compareRuns(runs, plan, []);
  const report: Report = {
    schema: schemaName,
    schema_version: schemaVersion,
    tool: { name: 'iocp-bench', version: '0.1.0' },
    created_at: '2026-01-15T09:32:00.000Z',
    command_line: ['iocp-bench', 'blast', '--clients', plan.clients.join(',')],
    partial: false,
    environment,
    plan,
    runs,
    comparisons,
    warnings: findWarnings({ plan, environment, runs }),
    gates: [],
    noise: [],
    findings: [...describeServiceSweeps(comparisons), ...describeKnees(runs, plan)],
    ...changes,
  };
  return reportSchema.parse({ ...report, gates: gates.map((gate) => evaluateGate(parseGate(gate), report)) });
}

/* -------------------------------------------------------------------------------------------------------- samples */

/** The default command on a good day. */
export function twoModes(): Report {
  const used = [characters.blocking, characters.iocp];
  const plan = samplePlan(used);
  return conclude(plan, makeRuns(plan, used, 1), {}, [
    'iocp/blocking.throughput < 1.2',
    'any.errors > 0',
    'blocking@6000.response_time_p99 > 1ms',
  ]);
}

/** `--modes all --clients 100,1000,6000`. */
export function fiveModesSweep(): Report {
  const used = [
    characters.blocking,
    { ...characters.iocp, backend: 'io_uring' },
    characters.epoll,
    characters.io_uring,
    characters.node,
  ];
  const plan = samplePlan(used, { clients: [100, 1000, 6000], trials: 3, duration_ms: 1_000 });
  return conclude(plan, makeRuns(plan, used, 2));
}

/** A mode whose server burns so much CPU time for each request. */
function working(character: Character, workUs: number): Character {
  return {
    ...character,
    capacity: 1e6 / (1e6 / character.capacity + workUs),
    cpuUs: character.cpuUs + workUs,
    medianUs: character.medianUs + workUs,
  };
}

/** `--clients 1000 --work 0,10us,100us,1ms`: from some work on, the modes are alike. */
export function workSweep(): Report {
  const used = [characters.blocking, characters.iocp];
  const works = [0, 10, 100, 1000];
  const offered: Record<string, number> = {};
  const plan = samplePlan(used, { clients: [1000], trials: 4, duration_ms: 1_000 });
  const runs = works.flatMap((work, place) => {
    const slowed = used.map((character) => working(character, work));
    const ofWork = samplePlan(slowed, { clients: [1000], trials: 4, duration_ms: 1_000 });
    offered[pointKey({ clients: 1000, work_us: work })] = ofWork.offered_rate_per_second['1000'] ?? 0;
    return makeRuns(ofWork, slowed, 20 + place).map((run) => ({ ...run, work_us: work }));
  });
  return conclude({ ...plan, offered_rate_per_second: offered }, runs, {}, [
    'iocp@1000,work=100us.throughput < 1k/s',
    'iocp/blocking.throughput < 0.9',
  ]);
}

/** The same report with p50 and p99 of each fifth of a second, as runs on one machine record them. */
export function withTimePercentiles(report: Report): Report {
  const copy = structuredClone(report);
  for (const window of copy.runs.flatMap((run) => run.trials)) {
    if (window.state !== 'completed') continue;
    const { p50, p99 } = window.response_time_ns ?? window.service_time_ns;
    const parts = Math.floor(window.duration_ms / 200);
    window.time_percentiles = Array.from({ length: parts }, (_, part) => ({
      start_ms: part * 200,
      end_ms: (part + 1) * 200,
      requests: Math.floor(window.requests.count / parts),
      p50_ns: p50 === null ? null : Math.round(p50 * (1 + 0.1 * Math.sin(part))),
      p99_ns: p99 === null ? null : Math.round(p99 * (1 + 0.2 * Math.sin(part * 2))),
    }));
  }
  return reportSchema.parse(copy);
}

/** `--rate 10%,50%,90%`: at the highest rate, and at full load, the load generator was the limit of the second mode. */
export function loadCurve(): Report {
  const used = [characters.blocking, characters.iocp];
  const fractions = [0.1, 0.5, 0.9];
  const plan = samplePlan(used, { clients: [1000], trials: 3, duration_ms: 1_000 });
  const saturated = (run: Run): Run => ({
    ...run,
    trials: run.trials.map((window) =>
      run.mode !== 'iocp' || window.state !== 'completed'
        ? window
        : { ...window, client: { ...window.client, saturated: true, saturated_by: 'busy', busy_fraction: 0.99 } },
    ),
  });
  const offered: Record<string, number> = {};
  const atRates = fractions.flatMap((fraction, place) => {
    const rate = Math.round(characters.blocking.capacity * fraction);
    const point = { clients: 1000, rate_per_second: rate, rate_fraction: fraction };
    offered[pointKey(point)] = rate;
    const atRate = { ...plan, phases: ['latency'] as Phase[], offered_rate_per_second: { '1000': rate } };
    const runs = makeRuns(atRate, used, 40 + place).map((run): Run => ({ ...run, ...point }));
    return fraction === 0.9 ? runs.map(saturated) : runs;
  });
  const atFullLoad = makeRuns({ ...plan, phases: ['capacity'] }, used, 43).map(saturated);
  return conclude(
    { ...plan, offered_rate_per_second: offered, rates: fractions.map((fraction) => ({ per_second: null, fraction })) },
    [...atFullLoad, ...atRates],
  );
}

/** The server of one mode was killed in the second trial, some requests of the other had no echo, and then came Ctrl-C. */
export function badDay(): Report {
  const used = [characters.blocking, characters.iocp];
  const plan = samplePlan(used, { duration_ms: 1_000 });
  const random = seededRandom(33);
  const runs = makeRuns(plan, used, 3).map((run): Run => {
    const kept = run.trials.filter(({ index }) => index < (run.mode === 'blocking' ? 1 : 2));
    if (run.mode === 'blocking') return { ...run, trials: [...kept.map(refusing), failedWindow(random)] };
    return {
      ...run,
      trials: kept.map((window) => (window.state === 'completed' ? unanswered(window, random) : window)),
    };
  });
  return conclude(plan, runs, { partial: true }, [
    'iocp/blocking.throughput < 1.2',
    'blocking.connections_made < 6000',
  ]);
}

/** A mode that could carry only a third of the clients. */
function refusing(window: Run['trials'][number]): Run['trials'][number] {
  return {
    ...window,
    connections: { ...window.connections, made: 2_031, failed: 3_969 },
    errors: {
      total: 3_969,
      by_class: { refused_by_server: 3_969 },
      samples: [{ class: 'refused_by_server', connection: 2_031, message: 'closed before the first echo' }],
    },
  };
}

function unanswered(window: CompletedWindow, random: Random): CompletedWindow {
  if (window.phase === 'capacity') return window;
  const failed = 2_400;
  return {
    ...window,
    requests: { ...window.requests, failed, count: window.requests.count - failed },
    response_time_ns: times(random, 700_000, 0.6, window.requests.count, failed),
    errors: {
      total: failed,
      by_class: { timeout: failed },
      samples: [{ class: 'timeout', connection: 17, message: 'no echo of request 4 within 10 s' }],
    },
  };
}

function failedWindow(random: Random): BrokenWindow {
  return {
    sequence: 7,
    started_at: startedAt(7),
    index: 1,
    phase: 'capacity',
    state: 'failed',
    reason: 'the server was killed by SIGKILL',
    connections: { ...connectionsOf(6000, 6000, random), lost: 6000 },
    errors: {
      total: 6000,
      by_class: { reset: 6000 },
      samples: [{ class: 'reset', connection: 0, message: 'connection reset by peer' }],
    },
    requests: null,
    response_time_ns: null,
    service_time_ns: null,
    server: null,
    client: null,
    timeline: [],
  };
}

/** The Windows half under Wine: no switches and no kernel memory are known there. */
export function underWine(): Report {
  const used: Character[] = [
    { ...characters.blocking, capacity: 21_000, kernelBytes: null },
    { ...characters.iocp, backend: 'iocp', capacity: 26_000, kernelBytes: null },
  ];
  const plan = samplePlan(used, { clients: [500], trials: 2, duration_ms: 1_000 });
  const environment: Environment = {
    ...sampleEnvironment,
    system: 'Windows 10.0.19043',
    compatibility: 'Wine 8.0',
    clock_source: 'QueryPerformanceCounter',
    clock_resolution_ns: 100,
    cpu_governor: null,
    cpu_turbo: null,
    limits: { port_first: 49_152, port_last: 65_535 },
  };
  const runs = makeRuns(plan, used, 4).map((run): Run => ({
    ...run,
    trials: run.trials.map((window) =>
      window.state !== 'completed' || window.server === null
        ? window
        : {
            ...window,
            server: {
              ...window.server,
              context_switches_per_request: null,
              voluntary_switches_per_request: null,
              involuntary_switches_per_request: null,
              page_table_bytes_per_connection: null,
            },
          },
    ),
  }));
  return conclude(plan, runs, { environment });
}

/** A server that already runs, somewhere else: one trial, and nothing known of its cost. */
export function target(): Report {
  const used: Character[] = [{ ...characters.epoll, mode: 'target', backend: 'external' }];
  const plan = samplePlan(used, { target: '192.0.2.7:7000', trials: 1, clients: [1000], pinned: false });
  const environment: Environment = {
    ...sampleEnvironment,
    cpus_server: [0, 1],
    cpus_client: [0, 1],
    cpus_shared: true,
  };
  const runs = makeRuns(plan, used, 5).map((run): Run => ({
    ...run,
    trials: run.trials.map((window) => (window.state === 'completed' ? { ...window, server: null } : window)),
  }));
  return conclude(plan, runs, { environment });
}

/** The two modes again, the second a tenth slower. */
export function slowerHead(): Report {
  const used = [characters.blocking, { ...characters.iocp, capacity: characters.iocp.capacity * 0.9, cpuUs: 10.1 }];
  // The same offered rate, as a --rate of the plan makes it: else latencies could not be compared.
  const plan = { ...samplePlan(used), offered_rate_per_second: twoModes().plan.offered_rate_per_second };
  return conclude(plan, makeRuns(plan, used, 6));
}

export const samples = { twoModes, fiveModesSweep, workSweep, badDay, underWine, target, slowerHead } as const;
export type SampleName = keyof typeof samples;

/** File names of a sample's golden outputs. */
export const sampleFiles: Record<SampleName, string> = {
  twoModes: 'two-modes',
  fiveModesSweep: 'five-modes-sweep',
  workSweep: 'work-sweep',
  badDay: 'bad-day',
  underWine: 'wine',
  target: 'target',
  slowerHead: 'slower-head',
};
