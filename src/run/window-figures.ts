/**
 * Makes a window of the report from the figures of engines, server and system that a trial sampled at both edges. Nothing here
 * waits.
 */
import {
  clientCost,
  fairness,
  sampleLagFraction,
  sampleLagTolerated,
  serverCost,
  systemFigures,
  type KernelMemory,
} from '../measure/cost.js';
import { networkFigures } from '../measure/network.js';
import { distribution, type RawHistogram } from '../measure/histogram.js';
import { duration } from '../model/words.js';
import { isSteady, sum } from '../measure/statistics.js';
import type { SystemSample } from '../model/figures.js';
import type { EngineResult } from '../native/binding.js';
import type {
  CompletedWindow,
  Connections,
  Distribution,
  Errors,
  Phase,
  TimelineBucket,
  Window,
} from '../model/report-schema.js';
import type { ServerIdentity, ServerLimits, ServerMoment } from '../server/process.js';
import { timelineBucketNs, type EngineWindow, type LiveCounters } from './control.js';
import type { ClientMoment, LoadControl } from './load.js';
import { whyNoRequest } from './no-request.js';
import type { BlastPlan } from '../model/plan.js';

/** A window to measure. */
export interface WindowTask {
  readonly phase: Phase;
  /** 0: closed loop. */
  readonly ratePerSecond: number;
  readonly warmupMs: number;
  readonly durationMs: number;
  /** A window without an answered request is a result, not a failure: in a search, the rate was too high for the server. */
  readonly mayBeEmpty?: boolean;
}

const timelineBucketMs = Number(timelineBucketNs) / 1e6;

/** An engine that begins its window later than this share of it has not measured the planned window. */
const latenessLimit = 0.5;

/** Everything that is read at one edge of a window. */
export interface Moment {
  readonly system: SystemSample;
  readonly client: ClientMoment['usage'];
  readonly server: ServerMoment | null;
  readonly identity: ServerIdentity | null;
  /** Only at the end of a window. */
  readonly limits: ServerLimits | null;
  /** Echoes received by the client, for servers that do not count requests. */
  readonly completed: number;
}

/** Server and system without load, before and after the settling time. */
export interface IdleFigures {
  readonly server: ServerMoment | null;
  readonly before: SystemSample;
  readonly after: SystemSample;
}

/** Both edges of a window: when they were due, by clockNowNs(), and what was read there. */
export interface Edges {
  readonly due: { readonly start_ns: number; readonly end_ns: number };
  readonly start: Moment;
  readonly end: Moment;
  /** The server with its run delay, shortly before and after the window; null or without it if it cannot be read. */
  readonly waits: { readonly start: ServerMoment | null; readonly end: ServerMoment | null };
}

/** Identifies a window of the run. */
export interface WindowName {
  readonly sequence: number;
  readonly startedAt: Date;
  /** Index of its trial. */
  readonly index: number;
}

type ConnectTimes = readonly { connect: RawHistogram; first_echo: RawHistogram; handshake: RawHistogram }[];

/** The figures of one trial's windows. */
export class WindowFigures {
  private connectTimes: ConnectTimes | null = null;
  private handshakes: { count: number; resumed: number } | null = null;

  /** @param asked connections that the trial requests */
  constructor(
    private readonly plan: BlastPlan,
    private readonly control: LoadControl,
    private readonly asked: number,
  ) {}

  /** Call before the first window: a window resets the engines' histograms, including those of connecting. */
  keepConnectTimes(): void {
    if (this.connectTimes !== null) return;
    this.connectTimes = this.control
      .windows()
      .map(({ connect, first_echo, handshake }) => ({ connect, first_echo, handshake }));
    const { handshakes, handshakes_resumed } = this.control.live();
    this.handshakes = { count: handshakes, resumed: handshakes_resumed };
  }

  /** A window that the engines have drained. @param idle null: the server's figures stay unknown */
  completed(window: WindowTask, name: WindowName, edges: Edges, idle: IdleFigures | null): CompletedWindow {
    const { start, end, due } = edges;
    const sampleLag = sampleLagFraction({ start: start.server, end: end.server }, due);
    const engines = this.control.windows();
    const lateNs = startedLateNs(engines, due);
    const open = window.ratePerSecond > 0;
    const failed = totalOf(engines, 'window_errors');
    const timeline = this.timeline(window.durationMs, open);
    const fullBuckets = timeline.filter((bucket) => bucket.offset_ms + timelineBucketMs <= window.durationMs);
    return {
      sequence: name.sequence,
      started_at: name.startedAt.toISOString(),
      index: name.index,
      phase: window.phase,
      state: 'completed',
      connections: this.connections(),
      errors: this.errors(),
      duration_ms: window.durationMs,
      steady: isSteady(
        fullBuckets.map((bucket) => bucket.requests),
        { isRandom: open && this.plan.arrivals === 'poisson' },
      ),
      requests: requestCounts(engines, window),
      response_time_ns: open ? distributionOf(engines, 'response', failed) : null,
      service_time_ns: distributionOf(engines, 'service', failed),
      churn: this.plan.requestsPerConnection === null ? null : this.churn(engines, window.durationMs),
      ...this.replies(),
      server_sample_lag_fraction: sampleLag,
      ...(end.limits !== null && { server_limits: end.limits }),
      ...(end.identity !== null && { server_process: end.identity }),
      server: sampleLag !== null && sampleLag <= sampleLagTolerated ? this.serverFigures(edges, idle) : null,
      client: clientCost({
        engines,
        engine: this.plan.engine,
        features: [],
        throttled_ns: difference(start.system.throttled_ns, end.system.throttled_ns),
        resident_bytes: end.client.resident_bytes,
        memory_bytes: null,
        started_late_ns: lateNs,
      }),
      fairness: fairness(engines),
      network: networkFigures(engines),
      system: systemFigures(start.system, end.system, ownCpuNs(start, end)),
      timeline,
    };
  }

  /** A window that ended early, or a trial that ended before its first window. */
  broken(phase: Phase, name: WindowName, ended: { state: 'failed' | 'aborted'; reason: string }): Window {
    return {
      sequence: name.sequence,
      started_at: name.startedAt.toISOString(),
      index: name.index,
      phase,
      state: ended.state,
      reason: ended.reason,
      connections: this.connections(),
      errors: this.errors(),
      requests: null,
      response_time_ns: null,
      service_time_ns: null,
      server: null,
      client: null,
      timeline: [],
    };
  }

  /** After every connection, idle ones included, was asked for one more echo: adds those that are gone to the last window. */
  fillVerified(last: Window): void {
    const live = this.control.live();
    last.connections.lost = live.connections_lost;
    Object.assign(last.connections, this.ends(live));
    last.connections.alive_at_end = totalOf(this.control.windows(), 'window_requests');
    last.errors = this.errors();
  }

  private connections(): Connections {
    const live = this.control.live();
    const span = this.control.connectSpanNs();
    const times = (name: keyof ConnectTimes[number]): Distribution | null => {
      const raw = this.connectTimes?.map((engine) => engine[name]).filter(({ count }) => count > 0n) ?? [];
      return raw.length === 0 ? null : distribution(raw, 0);
    };
    return {
      asked: this.asked,
      made: live.connections_made,
      failed: live.connections_failed,
      lost: live.connections_lost,
      ...this.ends(live),
      connect_duration_ms: span === null ? null : span / 1e6,
      connect_rate_per_second: span === null || span === 0 ? null : (live.connections_made / span) * 1e9,
      connect_time_ns: times('connect'),
      ...(isOverTls(this.plan) && { tls: this.connectHandshakes(span, times('handshake')) }),
      first_echo_time_ns: times('first_echo'),
    };
  }

  /** Before the end of connecting: of all handshakes so far. */
  private connectHandshakes(spanNs: number | null, times: Distribution | null): NonNullable<Connections['tls']> {
    const { handshakes, handshakes_resumed } = this.control.live();
    const { count, resumed } = this.handshakes ?? { count: handshakes, resumed: handshakes_resumed };
    return {
      count,
      resumed,
      per_second: spanNs === null || spanNs === 0 ? null : (count / spanNs) * 1e9,
      time_ns: times,
    };
  }

  private ends(live: LiveCounters): Pick<Connections, 'closed_idle' | 'closed_after_echoes'> {
    const ends = this.control.ends();
    return {
      ...(live.connections_closed_idle > 0 && {
        closed_idle: {
          count: live.connections_closed_idle,
          active: live.connections_closed_idle_active,
          after_min_ns: ends.closed_idle_after_min_ns,
          after_max_ns: ends.closed_idle_after_max_ns,
        },
      }),
      ...(live.connections_ended > 0 && {
        closed_after_echoes: {
          count: live.connections_ended,
          min: ends.ended_echoes_min,
          max: ends.ended_echoes_max,
        },
      }),
    };
  }

  /** Why a window has no answered request. @param offered null: the window did not begin */
  whyNoRequest(window: WindowTask, offered: number | null, answeredBefore: number): string {
    return whyNoRequest({
      connections: this.connections(),
      errors: this.errors(),
      offered,
      answeredBefore,
      ratePerSecond: window.ratePerSecond,
      durationMs: window.durationMs,
      timeoutMs: this.plan.timeoutMs,
      arrivals: this.plan.arrivals,
      protocol: this.plan.protocol,
      timeoutPlaces: this.control.live(),
    });
  }

  private errors(): Errors {
    const byClass = this.control.errorsByClass();
    return {
      total: sum(Object.values(byClass)),
      by_class: byClass,
      samples: this.control.errorSamples().map(({ class: name, connection, message }) => ({
        class: name,
        connection,
        message,
      })),
    };
  }

  private replies(): Pick<CompletedWindow, 'replies'> {
    if (this.plan.protocol !== 'http') return {};
    const { replies_differing, connections_ended_by_reply } = this.control.live();
    const known = this.control.replies();
    return {
      replies: {
        first: known?.first ?? null,
        differing: known?.differing ?? replies_differing,
        connections_ended: connections_ended_by_reply,
      },
    };
  }

  private churn(engines: readonly EngineWindow[], durationMs: number): NonNullable<CompletedWindow['churn']> {
    const live = this.control.live();
    const connectionTimeNs = live.connections_active * durationMs * 1e6;
    return {
      ...churnFigures(engines, isOverTls(this.plan)),
      ...(this.plan.close === 'fin' && {
        fins_unanswered: live.fins_unanswered,
        ...(connectionTimeNs > 0 && { fin_wait_fraction: totalOf(engines, 'fin_wait_ns') / connectionTimeNs }),
        requests_held: totalOf(engines, 'held'),
      }),
    };
  }

  private serverFigures({ start, end, waits }: Edges, idle: IdleFigures | null): CompletedWindow['server'] {
    const idleServer = idle?.server ?? null;
    if (idle === null || idleServer === null || start.server === null || end.server === null) return null;
    return serverCost({
      idle: idleServer,
      start: start.server,
      end: end.server,
      connections_made: this.control.live().connections_made,
      message_size_bytes: this.plan.messageSizeBytes,
      kernel: { idle_before: kernel(idle.before), idle_after: kernel(idle.after), loaded: kernel(end.system) },
      requests_counted: end.completed - start.completed,
      waits,
    });
  }

  private timeline(durationMs: number, open: boolean): TimelineBucket[] {
    const rows = this.control.timeline(Math.ceil((durationMs + this.plan.timeoutMs) / timelineBucketMs));
    const used = rows.findLastIndex((row) => row.requests > 0 || row.errors > 0);
    const shown = Math.max(used + 1, Math.ceil(durationMs / timelineBucketMs));
    return rows.slice(0, shown).map((row, index) => ({
      offset_ms: index * timelineBucketMs,
      requests: row.requests,
      errors: row.errors,
      service_max_ns: row.requests > 0 ? row.service_max_ns : null,
      response_max_ns: open && row.requests > 0 ? row.response_max_ns : null,
    }));
  }
}

/** Fills in the engine that was really used, and its memory, which are only known when the engines return. */
export function fillEngineResults(windows: readonly Window[], results: readonly EngineResult[]): void {
  const [first] = results;
  if (first === undefined) return;
  for (const window of windows) {
    if (window.state !== 'completed') continue;
    window.client.engine = first.engine;
    window.client.features = first.features.split(' ').filter((word) => word !== '');
    window.client.memory_bytes = sum(results.map((result) => result.memory_bytes));
  }
}

/** Names of the counters of an engine's window. */
type Counter = {
  [Name in keyof EngineWindow]: EngineWindow[Name] extends number | null ? Name : never;
}[keyof EngineWindow];

/** Sum over all engines; a count that an engine does not know is 0. */
function totalOf(engines: readonly EngineWindow[], name: Counter): number {
  return sum(engines.map((engine) => engine[name] ?? 0));
}

/** Length of an engine's window in s; shorter than planned if the engine took the command after the window's start. */
function secondsOf(engine: EngineWindow): number {
  return Math.max(0, engine.window_end_ns - engine.window_start_ns) / 1e9;
}

/** How much later than planned the last engine began its window, in ns. */
function startedLateNs(engines: readonly EngineWindow[], due: Edges['due']): number {
  return Math.max(0, ...engines.map((engine) => engine.window_start_ns - due.start_ns));
}

const latenessLead = 'the load generator began the window';

/**
 * Whether a window failed with a reason of latenessInWords(). Its errors are then the client's, so hints about the server do not
 * apply.
 */
export function isLateness(reason: string): boolean {
  return reason.startsWith(latenessLead);
}

/** Why a window cannot be used because an engine began it too late; null if it can. */
export function latenessInWords(engines: readonly EngineWindow[], due: Edges['due']): string | null {
  const lateNs = startedLateNs(engines, due);
  if (lateNs <= latenessLimit * (due.end_ns - due.start_ns)) return null;
  return `${latenessLead} ${duration(lateNs)} late because it was stopped or got no CPU; the window is not used`;
}

/** A counter per second, summed over all engines, each over the length of its own window. */
function perSecond(engines: readonly EngineWindow[], name: Counter): number {
  return sum(
    engines.map((engine) => {
      const seconds = secondsOf(engine);
      return seconds > 0 ? (engine[name] ?? 0) / seconds : 0;
    }),
  );
}

function requestCounts(engines: readonly EngineWindow[], window: WindowTask): CompletedWindow['requests'] {
  const count = totalOf(engines, 'window_requests');
  return {
    count,
    per_second: perSecond(engines, 'window_requests'),
    offered_per_second: window.ratePerSecond > 0 ? window.ratePerSecond : null,
    offered: totalOf(engines, 'window_offered'),
    failed: totalOf(engines, 'window_errors'),
    unsent: totalOf(engines, 'window_unsent'),
    sent_late: totalOf(engines, 'window_sent_late'),
    ...(window.ratePerSecond > 0 && { waited: sum(engines.map(({ turn_lag }) => Number(turn_lag.count))) }),
    bytes_per_second: perSecond(engines, 'window_bytes'),
    reconnects: totalOf(engines, 'reconnects'),
  };
}

function isOverTls({ tls }: BlastPlan): boolean {
  return tls !== undefined && tls !== null;
}

function windowHandshakes(engines: readonly EngineWindow[]): NonNullable<Connections['tls']> {
  const raw = engines.map(({ handshake }) => handshake).filter(({ count }) => count > 0n);
  return {
    count: totalOf(engines, 'window_handshakes'),
    resumed: totalOf(engines, 'window_handshakes_resumed'),
    per_second: perSecond(engines, 'window_handshakes'),
    time_ns: raw.length === 0 ? null : distribution(raw, 0),
  };
}

function churnFigures(engines: readonly EngineWindow[], overTls: boolean): NonNullable<CompletedWindow['churn']> {
  return {
    ...(overTls && { tls: windowHandshakes(engines) }),
    connections_per_second: perSecond(engines, 'reconnects'),
    connect_time_ns: distributionOf(engines, 'connect', 0),
    first_echo_time_ns: distributionOf(engines, 'first_echo', 0),
  };
}

function distributionOf(
  engines: readonly EngineWindow[],
  name: 'service' | 'response' | 'connect' | 'first_echo',
  unanswered: number,
): Distribution {
  return distribution(
    engines.map((engine) => engine[name]),
    unanswered,
  );
}

function kernel(sample: SystemSample): KernelMemory {
  const { tcp_memory_bytes, slab_bytes, kernel_stack_bytes } = sample;
  return { tcp_memory_bytes, slab_bytes, kernel_stack_bytes };
}

function difference(start: number | null, end: number | null): number | null {
  return start === null || end === null ? null : end - start;
}

/** CPU time of both sides over a window in ns; null if either is unknown. */
function ownCpuNs(start: Moment, end: Moment): number | null {
  const client = difference(start.client.cpu_total_ns, end.client.cpu_total_ns);
  const server = difference(start.server?.usage.cpu_total_ns ?? null, end.server?.usage.cpu_total_ns ?? null);
  return client === null || server === null ? null : client + server;
}
