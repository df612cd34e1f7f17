/**
 * The load of a trial on several agents, with the interface of a local one. The agents of one machine start their engines a few at a time.
 * Commands go to all agents at once; a window starts in two phases (arm, all armed, go), at a time of each agent's own clock. Counters and
 * histograms are added up. An agent that is lost, stalled or late makes the trial's figures invalid: its load is never given to the others.
 */
import { BenchError } from '../model/errors.js';
import { mergeReplies, type LiveCounters } from '../run/control.js';
import type { Command, EngineWindow, ErrorSample, TimelineRow, histogramNames } from '../run/control.js';
import { HostFault, type ClientMoment, type LoadControl, type LoadHost, type ServerAddress } from '../run/load.js';
import { clockNowNs, type EngineResult } from '../native/binding.js';
import type { CompletedWindow } from '../model/report-schema.js';
import { describeAgents, type AgentWindow } from './agent-figures.js';
import { bestOffset, type ClockOffset, type ClockReading } from './clocks.js';
import type { Fleet, Member } from './fleet.js';
import { inLanesOfMachines } from './lanes.js';
import type { Beat, LoadFigures, RemoteLoadTask } from './protocol.js';
import { emptyHistogram, unpackHistogram } from './sparse.js';

/** One agent's part of the load. */
export interface Part {
  readonly member: Member;
  readonly task: Omit<RemoteLoadTask, 'server' | 'share'>;
  /** Its requests alone give the latency figures. */
  readonly isProbe: boolean;
  /** Number of its first connection in the whole run. */
  readonly firstConnection: number;
}

/** Until the engines of an agent run. A thousand threads take a machine half a minute. */
const prepareDeadlineMs = 120_000;
const commandDeadlineMs = 10_000;
const figuresDeadlineMs = 20_000;
const stopDeadlineMs = 10_000;
/** Engines of an agent that begin later than this have not measured the window of the others. */
const latestStartNs = 20_000_000;
/** An agent whose requests do not advance for this long, while those of others do, is stalled. */
const stalledAfterMs = 3_000;
/** An agent that is not armed this long before the start may be too late for 'go'. */
const armMarginMs = 120;

/** The times of connecting stay, which no load disturbs. */
const withoutLatency = {
  service: emptyHistogram,
  response: emptyHistogram,
  send_lag: emptyHistogram,
  turn_lag: emptyHistogram,
  turn_noticed: emptyHistogram,
};

type Live = NonNullable<Beat['load']>;

/** What is known of one agent's load. */
interface PartState extends Part {
  /** Its engines were started for this trial. Heartbeats from before are about an earlier load. */
  isPrepared: boolean;
  live: Live | null;
  figures: LoadFigures | null;
  /** Its engines with these figures, on this machine's clock, with all times. */
  engines: readonly EngineWindow[];
  /** Sequence that `figures` belong to. */
  figuresOf: number;
  /** Its clock after the window. */
  clockAfter: ClockOffset | null;
  fetching: number;
  /** Segments that its system sent again, at the last two samples: the edges of a window. */
  retransmits: readonly [number | null, number | null];
  progressAt: number;
  requests: number;
}

/** The window that is being measured: its start in each agent's clock. */
interface ArmedWindow {
  readonly sequence: number;
  readonly starts: ReadonlyMap<string, bigint>;
}

/** What a load needs of the fleet; tests replace it. */
export type LoadFleet = Pick<
  Fleet,
  'ask' | 'onBeat' | 'fault' | 'isLost' | 'clockOf' | 'startLeadMs' | 'allowSlowerStart'
>;

export class RemoteLoad implements LoadHost {
  readonly control: LoadControl;
  readonly leadNs: bigint;
  private readonly parts: PartState[];
  private readonly shrinkNs: bigint;
  private readonly hasProbe: boolean;
  private fault: unknown = null;
  private sequence = 0;
  private phase: Command['phase'] = 'idle';
  private window: ArmedWindow | null = null;
  private results: Promise<readonly EngineResult[]> | null = null;
  private isStarted = false;
  private readonly forget: () => void;

  constructor(
    private readonly fleet: LoadFleet,
    parts: readonly Part[],
    /** Whose CPU time is part of the server's machine: the names of agents there. */
    private readonly onServerMachine: ReadonlySet<string>,
  ) {
    const now = performance.now();
    this.parts = parts.map((part) => ({
      ...part,
      isPrepared: false,
      live: null,
      figures: null,
      engines: [],
      figuresOf: -1,
      clockAfter: null,
      fetching: -1,
      retransmits: [null, null],
      progressAt: now,
      requests: 0,
    }));
    const worst = largestOf(parts.map(({ member }) => member.clock.uncertaintyNs));
    this.shrinkNs = worst;
    this.hasProbe = parts.some(({ isProbe }) => isProbe);
    const slowest = largestOf(parts.map(({ member }) => member.clock.roundTripNs));
    this.leadNs = BigInt(fleet.startLeadMs) * 1_000_000n + 4n * slowest + BigInt(parts.length) * 4_000_000n;
    this.control = this.makeControl();
    this.forget = fleet.onBeat((member) => {
      this.hear(member);
    });
  }

  get error(): unknown {
    return this.fault ?? this.fleet.fault() ?? this.stalled();
  }

  get hasEnded(): boolean {
    return this.isStarted && this.parts.every(({ live }) => live?.ended === true);
  }

  start({ host, port }: ServerAddress): void {
    this.isStarted = true;
    const server = { host, port };
    const origin = clockNowNs();
    const machineOf = ({ member }: PartState): Member['facts'] => member.facts;
    void inLanesOfMachines(this.parts, machineOf, async (part) => {
      // The trial ended meanwhile, and its agents were told to stop.
      if (this.results !== null) return;
      await this.prepare(part, server, origin);
    });
  }

  /** Never rejects: an agent that fails does not keep the others waiting. */
  private async prepare(part: PartState, server: ServerAddress, origin: bigint): Promise<void> {
    const { member, task } = part;
    const originNs = String(origin + member.clock.offsetNs);
    const share = { index: this.parts.indexOf(part), count: this.parts.length, originNs };
    try {
      await this.fleet.ask(member, { type: 'load-prepare', task: { ...task, server, share } }, prepareDeadlineMs);
      part.isPrepared = true;
    } catch (error) {
      if (this.results === null) this.fault ??= error;
    }
  }

  ended(): Promise<readonly EngineResult[]> {
    this.results ??= this.end();
    return this.results;
  }

  private async end(): Promise<readonly EngineResult[]> {
    if (!this.isStarted) return [];
    const results = await Promise.all(
      this.parts.map(async ({ member }) => {
        if (this.fleet.isLost(member)) return [];
        try {
          return (await this.fleet.ask(member, { type: 'load-stop' }, stopDeadlineMs)).results;
        } catch (error) {
          // An agent that is gone, or has stopped by itself, has no load any more.
          if (error instanceof HostFault || error instanceof BenchError) return [];
          throw error;
        }
      }),
    );
    this.forget();
    return results.flat();
  }

  async sample(): Promise<ClientMoment> {
    const samples = await Promise.all(
      this.parts.map(async (part) => {
        const sample = await this.fleet.ask(part.member, { type: 'load-sample' }, commandDeadlineMs);
        part.retransmits = [part.retransmits[1], sample.tcp_retransmits];
        return { name: part.member.facts.name, sample };
      }),
    );
    // Compared with the CPU time of the server's machine, so agents on other machines do not count.
    const beside = samples.filter(({ name }) => this.onServerMachine.has(name));
    return {
      usage: {
        cpu_total_ns: sumKnown(beside.map(({ sample }) => sample.cpu_total_ns)),
        resident_bytes: sumKnown(samples.map(({ sample }) => sample.resident_bytes)),
      },
      completed: samples.reduce((sum, { sample }) => sum + sample.completed, 0),
    };
  }

  async describe(window: CompletedWindow): Promise<void> {
    const total = this.parts.reduce((sum, { task }) => sum + task.connections, 0);
    const clocks = this.parts.flatMap(({ clockAfter, member }): ClockReading[] =>
      clockAfter === null ? [] : [{ clock: member.facts.clock, measured: clockAfter }],
    );
    window.agents = await describeAgents(
      this.parts.map((part): AgentWindow => {
        const { member, task } = part;
        return {
          name: member.label,
          cpus: member.facts.cpus.length,
          share: task.connections / total,
          connections: part.live?.live.connections_made ?? 0,
          asked: task.connections,
          engines: this.enginesOf(part, true),
          clock: member.clock,
          retransmits: differenceOf(part.retransmits),
          ...startOf(part, clocks),
        };
      }),
      typeof window.requests.offered_per_second === 'number',
    );
  }

  // -------------------------------------------------------------------------------------------------------------- commands

  private command(command: Command): number {
    this.sequence += 1;
    const { sequence } = this;
    this.phase = command.phase;
    const { ratePerSecond: rate_per_second = 0, connectionsTotal: connections_total = 0 } = command;
    const now = performance.now();
    for (const part of this.parts) part.progressAt = now;
    if (command.phase === 'measure') {
      void this.startWindow(sequence, command).catch((error: unknown) => {
        this.fault ??= error;
      });
      return sequence;
    }
    const { phase } = command;
    if (phase !== 'connect' && phase !== 'warmup' && phase !== 'verify' && phase !== 'close') {
      throw new Error(`agents have no command ${phase}`);
    }
    this.toAll(async ({ member }) => {
      const request = { type: 'load-command', sequence, phase, rate_per_second, connections_total } as const;
      await this.fleet.ask(member, request, commandDeadlineMs);
    });
    return sequence;
  }

  /** Two phases: an agent that is not armed in time means that nobody starts. */
  private async startWindow(sequence: number, command: Command): Promise<void> {
    const { windowStartNs = 0n, windowEndNs = 0n, ratePerSecond = 0, connectionsTotal = 0 } = command;
    const startNs = windowStartNs + this.shrinkNs;
    const endNs = windowEndNs - this.shrinkNs;
    const starts = new Map<string, bigint>();
    for (const { member } of this.parts) starts.set(member.facts.name, startNs + member.clock.offsetNs);
    this.window = { sequence, starts };
    const leftMs = (): number => Number(windowStartNs - clockNowNs()) / 1e6 - armMarginMs;
    await Promise.all(
      this.parts.map(async ({ member }) => {
        const { offsetNs } = member.clock;
        const request = {
          type: 'load-arm',
          sequence,
          rate_per_second: ratePerSecond,
          connections_total: connectionsTotal,
          start_ns: String(startNs + offsetNs),
          end_ns: String(endNs + offsetNs),
        } as const;
        try {
          await this.fleet.ask(member, request, Math.max(1, leftMs()));
        } catch (error) {
          throw this.notStarted(member, error);
        }
      }),
    );
    if (this.sequence !== sequence) return;
    await Promise.all(
      this.parts.map(async ({ member }) => {
        await this.fleet.ask(member, { type: 'load-go', sequence }, commandDeadlineMs);
      }),
    );
  }

  private notStarted(member: Member, error: unknown): unknown {
    if (error instanceof BenchError && error.code !== 'runFailed') return error;
    if (error instanceof HostFault && this.fleet.isLost(member)) return error;
    this.fleet.allowSlowerStart();
    return new HostFault(member.label, `agent ${member.label} did not confirm the start of the window in time`);
  }

  private toAll(send: (part: PartState) => Promise<void>): void {
    for (const part of this.parts) {
      send(part).catch((error: unknown) => {
        this.fault ??= error;
      });
    }
  }

  // -------------------------------------------------------------------------------------------------------------- counters

  private hear({ facts, beat }: Member): void {
    const part = this.parts.find(({ member }) => member.facts.name === facts.name);
    if (part === undefined || beat === null || !part.isPrepared) return;
    const { load } = beat;
    if (load === null) {
      // It answered the request to prepare, and then lost its load: it was started again, or heard nothing for too long.
      if (this.results === null) {
        this.fault ??= new HostFault(part.member.label, `agent ${part.member.label} stopped its load by itself`);
      }
      return;
    }
    part.live = load;
    if (load.error !== null) {
      this.fault ??= new BenchError('runFailed', `agent ${part.member.label}: ${load.error}`);
    }
    if (load.live.requests_completed !== part.requests) {
      part.requests = load.live.requests_completed;
      part.progressAt = performance.now();
    }
    const hasFigures = this.phase === 'connect' || this.phase === 'measure' || this.phase === 'verify';
    if (hasFigures && load.done >= this.sequence && part.fetching !== this.sequence) void this.fetch(part);
  }

  private async fetch(part: PartState): Promise<void> {
    const { sequence } = this;
    part.fetching = sequence;
    try {
      const figures = await this.fleet.ask(part.member, { type: 'load-figures' }, figuresDeadlineMs);
      const late = this.lateness(part, figures);
      if (late !== null) this.fault ??= late;
      if (this.phase === 'measure') part.clockAfter = await this.fleet.clockOf(part.member);
      part.figures = figures;
      part.engines = this.enginesIn(figures, part);
      part.figuresOf = sequence;
    } catch (error) {
      this.fault ??= error;
    }
  }

  private lateness({ member }: PartState, figures: LoadFigures): HostFault | null {
    const due = this.window?.sequence === this.sequence ? this.window.starts.get(member.facts.name) : undefined;
    if (due === undefined) return null;
    const lateNs = Math.max(...figures.engines.map((engine) => (engine.figures.window_start_ns ?? 0) - Number(due)));
    if (lateNs <= latestStartNs) return null;
    const late = `${(lateNs / 1e6).toFixed(0)} ms`;
    return new HostFault(member.label, `agent ${member.label} began the window ${late} late`);
  }

  /** In a window, requests of an agent with open connections do not advance, while those of others do. */
  private stalled(): HostFault | null {
    if (this.phase !== 'measure' && this.phase !== 'warmup') return null;
    const now = performance.now();
    const waits = this.parts.filter(
      ({ live, progressAt }) =>
        (live?.live.requests_outstanding ?? 0) > 0 && live?.done !== this.sequence && now - progressAt > stalledAfterMs,
    );
    const [first] = waits;
    const othersAdvance = this.parts.some(({ progressAt }) => now - progressAt < stalledAfterMs / 3);
    if (first === undefined || !othersAdvance) return null;
    const { label } = first.member;
    return new HostFault(
      label,
      `agent ${label} stalled: none of its requests was answered for 3 s, those of others were`,
    );
  }

  private makeControl(): LoadControl {
    return {
      command: (command) => this.command(command),
      // The engines of the agents stop with ended(), which every trial awaits.
      stop: () => void this.ended(),
      isDone: (sequence) => this.isDone(sequence),
      isRunning: () => this.parts.every(({ live }) => live?.running === true),
      live: () => this.live(),
      ends: () => this.ends(),
      connectSpanNs: () => largestKnown(this.parts.map(({ live }) => live?.connect_span_ns ?? null)),
      connectedCount: () => this.parts.reduce((sum, { live }) => sum + (live?.connected ?? 0), 0),
      errorsByClass: () => this.errorsByClass(),
      errorSamples: () => this.errorSamples(),
      replies: () => mergeReplies(this.parts.map(({ figures }) => figures?.replies ?? null)),
      windows: () => this.parts.flatMap((part) => this.enginesOf(part, part.isProbe || !this.hasProbe)),
      timeline: (length) => this.timeline(length),
    };
  }

  private isDone(sequence: number): boolean {
    const needsFigures = this.phase === 'connect' || this.phase === 'measure' || this.phase === 'verify';
    return this.parts.every(
      ({ live, figuresOf }) => live !== null && live.done >= sequence && (!needsFigures || figuresOf >= sequence),
    );
  }

  private live(): LiveCounters {
    const [first, ...others] = this.parts.flatMap(({ live }) => (live === null ? [] : [live.live]));
    if (first === undefined) return zeroLive();
    const sums = { ...first };
    for (const live of others) {
      for (const name of Object.keys(sums) as (keyof LiveCounters)[]) sums[name] += live[name];
    }
    return sums;
  }

  private ends(): ReturnType<LoadControl['ends']> {
    const lives = this.parts.flatMap(({ live }) => (live === null ? [] : [live]));
    const idle = lives.filter(({ live }) => live.connections_closed_idle > 0).map(({ ends }) => ends);
    const ended = lives.filter(({ live }) => live.connections_ended > 0).map(({ ends }) => ends);
    return {
      closed_idle_after_min_ns: leastOf(idle.map((one) => one.closed_idle_after_min_ns)),
      closed_idle_after_max_ns: Math.max(0, ...idle.map((one) => one.closed_idle_after_max_ns)),
      ended_echoes_min: leastOf(ended.map((one) => one.ended_echoes_min)),
      ended_echoes_max: Math.max(0, ...ended.map((one) => one.ended_echoes_max)),
    };
  }

  private errorsByClass(): ReturnType<LoadControl['errorsByClass']> {
    const sums: Record<string, number> = {};
    for (const { live } of this.parts) {
      for (const [name, count] of Object.entries(live?.errors ?? {})) sums[name] = (sums[name] ?? 0) + count;
    }
    return sums;
  }

  private errorSamples(): ErrorSample[] {
    return this.parts.flatMap(({ live, member, firstConnection }) =>
      (live?.samples ?? []).map(({ class: name, connection, message }) => ({
        class: name as ErrorSample['class'],
        connection: firstConnection + connection,
        message: this.parts.length > 1 ? `${message} (agent ${member.label})` : message,
      })),
    );
  }

  /** @param withLatency false: its requests count, but their times do not */
  private enginesOf({ engines }: PartState, withLatency: boolean): readonly EngineWindow[] {
    return withLatency ? engines : engines.map((engine) => ({ ...engine, ...withoutLatency }));
  }

  /**
   * The engines of one agent, on this machine's clock. The agent's merged histograms are those of its first engine. Unpacked once, when they
   * arrive: those of a hundred agents at a time would keep this process from hearing anybody.
   */
  private enginesIn(figures: LoadFigures, { member, firstConnection }: PartState): EngineWindow[] {
    // A window begins later than planned only by what the agent was late, not by the uncertainty of its clock.
    const shiftNs = Number(member.clock.offsetNs + this.shrinkNs);
    const onOurClock = (ns: number | null): number => (ns === null || ns === 0 ? 0 : ns - shiftNs);
    return figures.engines.map((engine, index) => {
      const { fairness_sum, fairness_sum_squares } = engine;
      const own = Object.entries(figures.histograms).map(([name, histogram]) => [
        name,
        index === 0 ? unpackHistogram(histogram) : emptyHistogram,
      ]);
      return {
        ...engine.figures,
        window_start_ns: onOurClock(engine.figures.window_start_ns),
        window_end_ns: onOurClock(engine.figures.window_end_ns),
        window_begun_ns: onOurClock(engine.figures.window_begun_ns),
        fairness_slowest: (engine.figures.fairness_slowest ?? 0) + firstConnection,
        ...(Object.fromEntries(own) as Pick<EngineWindow, (typeof histogramNames)[number]>),
        fairness_sum,
        fairness_sum_squares,
      } as EngineWindow;
    });
  }

  private timeline(length: number): TimelineRow[] {
    return Array.from({ length }, (_, bucket) => {
      const row: TimelineRow = { requests: 0, errors: 0, service_max_ns: 0, response_max_ns: 0 };
      for (const { figures, isProbe } of this.parts) {
        const [requests, errors, service, response] = figures?.timeline[bucket] ?? [0, 0, 0, 0];
        row.requests += requests;
        row.errors += errors;
        if (this.hasProbe && !isProbe) continue;
        row.service_max_ns = Math.max(row.service_max_ns, service);
        row.response_max_ns = Math.max(row.response_max_ns, response);
      }
      return row;
    });
  }
}

function zeroLive(): LiveCounters {
  return new Proxy({} as LiveCounters, { get: () => 0 });
}

function differenceOf([start, end]: readonly [number | null, number | null]): number | null {
  return start === null || end === null ? null : end - start;
}

function sumKnown(values: readonly (number | null)[]): number | null {
  return values.reduce<number | null>((sum, value) => (sum === null || value === null ? null : sum + value), 0);
}

function leastOf(values: readonly number[]): number {
  return values.length === 0 ? 0 : Math.min(...values);
}

function largestOf(values: readonly bigint[]): bigint {
  return values.reduce((most, value) => (value > most ? value : most), 0n);
}

function largestKnown(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : Math.max(...known);
}

/**
 * When the last engine of an agent first ran in its window, on our clock as measured after the window.
 * @param clocks the clocks of all agents, measured then
 */
function startOf(
  { figures, clockAfter, member }: PartState,
  clocks: readonly ClockReading[],
): Pick<AgentWindow, 'begunAtNs' | 'startLagNs'> {
  const engines = (figures?.engines ?? []).map((engine) => engine.figures);
  const last = engines.reduce<(typeof engines)[number] | null>(
    (latest, engine) => ((engine.window_begun_ns ?? 0) > (latest?.window_begun_ns ?? 0) ? engine : latest),
    null,
  );
  const begunNs = last?.window_begun_ns ?? null;
  const startNs = last?.window_start_ns ?? null;
  if (clockAfter === null || begunNs === null || startNs === null) return { begunAtNs: null, startLagNs: null };
  const { offsetNs } = bestOffset({ clock: member.facts.clock, measured: clockAfter }, clocks);
  return { begunAtNs: begunNs - Number(offsetNs), startLagNs: begunNs - startNs };
}
