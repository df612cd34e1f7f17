/**
 * What hosts a trial's load: engines, their control block, and their results. The engines of this process are the default. Agents on
 * other machines (src/agent) implement the same interface.
 */
import { arrivalsValues, closeModeValues } from '../model/abi.generated.js';
import type { ProcessUsage } from '../model/figures.js';
import type { Exchange } from '../model/exchange.js';
import { connectionCounts, connectWindow, type BlastPlan } from '../model/plan.js';
import type { CompletedWindow } from '../model/report-schema.js';
import { planSources } from '../measure/sources.js';
import { encodeExchange } from '../native/encode-exchange.js';
import { encodeTls } from '../native/encode-tls.js';
import type { TlsSettings } from '../model/tls.js';
import { processUsage, type EngineOptions, type EngineResult } from '../native/binding.js';
import { ControlBlock, timelineBucketNs } from './control.js';
import { EnginePool } from './pool.js';

/** The commands and counters of a trial's engines, whichever machine they run on. */
export type LoadControl = Pick<
  ControlBlock,
  | 'command'
  | 'stop'
  | 'isDone'
  | 'isRunning'
  | 'live'
  | 'ends'
  | 'connectSpanNs'
  | 'connectedCount'
  | 'errorsByClass'
  | 'errorSamples'
  | 'replies'
  | 'windows'
  | 'timeline'
> &
  // Agents send their histograms when a window has ended.
  Partial<Pick<ControlBlock, 'histogramCounts'>>;

/** The address that a trial loads. */
export interface ServerAddress {
  readonly host: string;
  readonly port: number;
}

/** What the load generator had used at one moment. */
export interface ClientMoment {
  readonly usage: Pick<ProcessUsage, 'cpu_total_ns' | 'resident_bytes'>;
  /** Echoes received so far. */
  readonly completed: number;
}

/** A host of load or of a server was lost, or did not do its part. The figures of the trial mean nothing; it can be repeated. */
export class HostFault extends Error {
  /** @param reason names the host */
  constructor(
    readonly host: string,
    readonly reason: string,
  ) {
    super(reason);
  }
}

export interface LoadHost {
  readonly control: LoadControl;
  /** Starts the engines. Problems appear in `error`. */
  start(server: ServerAddress): void;
  /** True when all engines have returned. */
  readonly hasEnded: boolean;
  /** Why the load cannot continue; null if it can. */
  readonly error: unknown;
  /** Resolves when all engines have returned; at once if none was started. Never rejects. */
  ended(): Promise<readonly EngineResult[]>;
  sample(): Promise<ClientMoment>;
  /** Time between the command for a window and its start, in ns. */
  readonly leadNs: bigint;
  /** Adds to a measured window what only this kind of host knows. */
  describe?(window: CompletedWindow): Promise<void>;
}

/** Processes that share a load take turns with their messages. */
export interface LoadShare {
  readonly index: number;
  readonly count: number;
  /** A moment that is the same for all of them, in ns of this process's clock. */
  readonly originNs: bigint;
}

/** A share of a trial's load, as one process runs it. */
export interface LoadTask extends Pick<
  BlastPlan,
  | 'engine'
  | 'threads'
  | 'seed'
  | 'messageSizeBytes'
  | 'pipeline'
  | 'timeoutMs'
  | 'durationMs'
  | 'thinkTimeMs'
  | 'requestsPerConnection'
  | 'close'
  | 'connectRatePerSecond'
  | 'arrivals'
  | 'countInstructions'
  | 'spinUs'
  | 'ephemeralPorts'
> {
  /** Absent or null: the echo protocol. */
  readonly exchange?: Exchange | null | undefined;
  /** Absent or null: without TLS. */
  readonly tls?: TlsSettings | null | undefined;
  readonly connections: number;
  readonly active: number;
  /** Connections that may wait for their first echo at one time. */
  readonly connectWindow: number;
  /** Number of the trial in the whole run; trials take turns on the source addresses. */
  readonly sequence: number;
  /**
   * Selects the random arrivals, together with the seed. All modes of a trial have the same one, so that they meet the same arrivals.
   * Processes that share a load need different ones.
   */
  readonly arrivalsStream: number;
  /** Even arrivals: which share of the load this process has; absent: all of it. */
  readonly share?: LoadShare;
  /** The CPU of each engine, in turn; null: not bound. */
  readonly cpus: readonly number[] | null;
}

/** The whole load of a trial. @param arrivalsStream the same for all modes of a trial, another one for each trial */
export function loadTask(plan: BlastPlan, clients: number, sequence: number, arrivalsStream: number): LoadTask {
  const { total, active } = connectionCounts(plan, clients);
  return {
    ...plan,
    connections: total,
    active,
    connectWindow: connectWindow(plan.backlog),
    sequence,
    arrivalsStream,
    cpus: plan.cpus.pinned ? plan.cpus.client : null,
  };
}

/** The control block and the pool of a trial's engines; tests replace them. */
export interface EngineParts {
  readonly makeControl: (engineCount: number, timelineCapacity: number) => ControlBlock;
  readonly makePool: (threads: number) => Pick<EnginePool, 'run' | 'destroy'>;
}

const nativeParts: EngineParts = {
  makeControl: (engineCount, timelineCapacity) => new ControlBlock(engineCount, timelineCapacity),
  makePool: (threads) => new EnginePool(threads),
};

/**
 * A window starts this long after its command. Engines check for commands every 20 ms but may have to wait for a CPU. Requests sent
 * before an engine has the command do not count in any window.
 */
const commandLeadNs = 150_000_000n;

/** The engines of this process. */
export class LocalLoad implements LoadHost {
  readonly control: ControlBlock;
  readonly leadNs = commandLeadNs;
  hasEnded = false;
  error: unknown = null;
  private engines: Promise<readonly EngineResult[]> = Promise.resolve([]);

  constructor(
    private readonly task: LoadTask,
    private readonly parts: EngineParts = nativeParts,
  ) {
    const longestNs = BigInt(Math.ceil(task.durationMs + task.timeoutMs)) * 1_000_000n;
    this.control = parts.makeControl(task.threads, Number(longestNs / timelineBucketNs) + 1);
  }

  start(server: ServerAddress): void {
    const exchange = this.task.exchange ?? null;
    const encoded = exchange === null ? null : encodeExchange(exchange);
    const tls = this.task.tls ?? null;
    const encodedTls = tls === null ? null : encodeTls(tls);
    const tasks = Array.from({ length: this.task.threads }, (_, index) => ({
      options: this.engineOptions(server, index),
      exchange: encoded,
      tls: encodedTls,
      control: this.control.buffer,
    }));
    this.engines = this.run(this.parts.makePool(this.task.threads), tasks);
  }

  ended(): Promise<readonly EngineResult[]> {
    return this.engines;
  }

  sample(): Promise<ClientMoment> {
    return Promise.resolve({ usage: processUsage(0), completed: this.control.live().requests_completed });
  }

  /** Never rejects: the trial's waits check `error`, so that the server is always stopped. */
  private async run(
    pool: Pick<EnginePool, 'run' | 'destroy'>,
    tasks: Parameters<EnginePool['run']>[0],
  ): Promise<readonly EngineResult[]> {
    let results: EngineResult[] = [];
    try {
      results = await pool.run(tasks);
    } catch (error) {
      this.error = error;
    }
    this.hasEnded = true;
    try {
      await pool.destroy();
    } catch (error) {
      this.error ??= error;
    }
    return results;
  }

  private engineOptions(server: ServerAddress, index: number): EngineOptions {
    const { task } = this;
    const isEcho = (task.exchange ?? null) === null;
    const sources = planSources(server.host, task.connections, task.sequence, task.ephemeralPorts, !isEcho);
    return {
      engine: task.engine,
      host: server.host,
      port: server.port,
      address_count: 1,
      engine_index: index,
      engine_count: task.threads,
      connections: task.connections,
      connections_active: task.active,
      seed: task.seed,
      message_size_bytes: task.messageSizeBytes,
      pipeline: task.pipeline,
      timeout_ns: BigInt(Math.round(task.timeoutMs * 1e6)),
      think_time_ns: BigInt(Math.round(task.thinkTimeMs * 1e6)),
      requests_per_connection: task.requestsPerConnection ?? 0,
      connect_window: Math.max(1, Math.floor(task.connectWindow / task.threads)),
      close_mode: closeModeValues[task.close],
      connect_rate_per_second: task.connectRatePerSecond ?? 0,
      spin_ns: task.spinUs * 1000,
      source_address_first: sources.addressFirst,
      source_address_count: sources.addressCount,
      source_port_first: sources.portFirst,
      source_port_count: sources.portCount,
      cpu: task.cpus === null ? null : (task.cpus[index % task.cpus.length] ?? null),
      descriptors: 0,
      arrivals: arrivalsValues[task.arrivals],
      arrivals_stream: task.arrivalsStream,
      share_index: task.share?.index ?? 0,
      share_count: task.share?.count ?? 0,
      share_origin_ns: task.share?.originNs ?? 0n,
      count_execution: task.countInstructions ? 1 : 0,
    };
  }
}
