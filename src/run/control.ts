/**
 * The control block: one SharedArrayBuffer per trial, shared by the conductor and the engines. Commands and counters are exchanged
 * with atomics; nothing is sent per request. The layout is struct ib_control / ib_engine_block of the native header.
 */
import {
  abiVersion,
  controlHeaderBytes,
  errorClassValues,
  fieldGroups,
  histogramCounts,
  phaseValues,
  protocolValues,
  unknown,
} from '../model/abi.generated.js';
import type { Figures } from '../model/figures.js';
import { describeForeign, describeReply } from '../model/wrong-reply.js';
import { fieldOffset, structSize } from '../native/abi.js';
import { histogramIndex, type RawHistogram } from '../measure/histogram.js';

/** The width of a timeline bucket: 100 ms. */
export const timelineBucketNs = 100_000_000n;

export type EnginePhase = keyof typeof phaseValues;

/** The names of errors.by_class in a report. */
export type ErrorClass = keyof typeof errorClassValues;
const errorClasses = Object.keys(errorClassValues) as ErrorClass[];

/** A command to the engines; for its phase see enum ib_phase. Times are in ns of the native clock. */
export interface Command {
  phase: EnginePhase;
  windowStartNs?: bigint;
  windowEndNs?: bigint;
  /** Offered requests/s over all engines; 0 = closed loop. */
  ratePerSecond?: number;
  /** Live active connections over all engines. They share the rate. */
  connectionsTotal?: number;
}

const { live: liveNames, window: windowNames, ends: endNames } = fieldGroups.ib_engine_block;
export type LiveCounters = Record<(typeof liveNames)[number], number>;

/** The histograms of an engine's window. */
export const histogramNames = [
  'service',
  'response',
  'send_lag',
  'turn_lag',
  'turn_noticed',
  'connect',
  'first_echo',
  'round_trip',
  'handshake',
] as const;

type BlockFigures = Figures<'ib_engine_block'>;

/** Figures of one engine over its last window; null if the system does not provide the figure. */
export type EngineWindow = Pick<BlockFigures, (typeof windowNames)[number] | 'fairness_sum' | 'fairness_sum_squares'> &
  Record<(typeof histogramNames)[number], RawHistogram>;

export interface ErrorSample {
  class: ErrorClass;
  connection: number;
  message: string;
}

/** The replies of an HTTP server. */
export interface Replies {
  readonly first: { readonly status: number; readonly body_bytes: number; readonly body_hash: string };
  /** Whole replies with another body than the first one. */
  readonly differing: number;
}

/**
 * The replies of several engines or agents together; null if none had a whole reply. Each counts against the first reply of its own, so a
 * first reply with another body than the first one's counts as one more.
 */
export function mergeReplies(parts: readonly (Replies | null)[]): Replies | null {
  const known = parts.filter((part) => part !== null);
  const [one] = known;
  if (one === undefined) return null;
  const { first } = one;
  const others = known.filter((part) => part.first.body_hash !== first.body_hash).length;
  return { first, differing: known.reduce((sum, { differing }) => sum + differing, others) };
}

export interface TimelineRow {
  requests: number;
  errors: number;
  service_max_ns: number;
  response_max_ns: number;
}

/** Sizes and atomics of one trial's control block. */
export class ControlBlock {
  readonly buffer: SharedArrayBuffer;
  private readonly words32: Uint32Array;
  private readonly words64: BigUint64Array;
  private readonly doubles: Float64Array;
  private readonly bytes: Uint8Array;
  private readonly strideBytes: number;
  private sequence = 0;

  /**
   * @param engineCount number of engines that share it, at least 1
   * @param timelineCapacity number of 100 ms buckets per engine
   */
  constructor(
    readonly engineCount: number,
    readonly timelineCapacity: number,
  ) {
    const blockBytes = structSize('ib_engine_block') + timelineCapacity * structSize('ib_timeline_bucket');
    this.strideBytes = Math.ceil(blockBytes / 4096) * 4096;
    this.buffer = new SharedArrayBuffer(controlHeaderBytes + engineCount * this.strideBytes);
    this.words32 = new Uint32Array(this.buffer);
    this.words64 = new BigUint64Array(this.buffer);
    this.doubles = new Float64Array(this.buffer);
    this.bytes = new Uint8Array(this.buffer);
    this.set32('size', structSize('ib_control'));
    this.set32('abi_version', abiVersion);
    this.set32('engine_count', engineCount);
    this.set32('timeline_capacity', timelineCapacity);
    this.set64('engine_stride_bytes', BigInt(this.strideBytes));
    this.set64('timeline_bucket_ns', timelineBucketNs);
  }

  /** Sends a command; engines see it within 20 ms. Returns its sequence for isDone(). */
  command(command: Command): number {
    this.set32('phase', phaseValues[command.phase]);
    this.set64('window_start_ns', command.windowStartNs ?? 0n);
    this.set64('window_end_ns', command.windowEndNs ?? 0n);
    this.doubles[fieldOffset('ib_control', 'rate_per_second') / 8] = command.ratePerSecond ?? 0;
    this.set64('connections_total', BigInt(command.connectionsTotal ?? 0));
    this.sequence += 1;
    Atomics.store(this.words32, fieldOffset('ib_control', 'sequence') / 4, this.sequence);
    return this.sequence;
  }

  /** Makes every engine return within 100 ms. */
  stop(): void {
    Atomics.store(this.words32, fieldOffset('ib_control', 'stop') / 4, 1);
  }

  /** True when every engine has completed the command with this sequence. */
  isDone(sequence: number): boolean {
    return this.engines().every((engine) => this.load32(engine, 'sequence_done') >= sequence);
  }

  /** True as soon as every engine runs. */
  isRunning(): boolean {
    return this.engines().every((engine) => this.load32(engine, 'running') === 1);
  }

  /** Live counters, summed over the engines. */
  live(): LiveCounters {
    const sums = Object.fromEntries(liveNames.map((name) => [name, 0])) as LiveCounters;
    for (const engine of this.engines()) {
      for (const name of liveNames) sums[name] += Number(this.load64(engine, name));
    }
    return sums;
  }

  /** Extremes over all engines: echoes on connections that the server closed, and idle time of those it closed while idle. */
  ends(): Record<(typeof endNames)[number], number> {
    const live = this.engines().map((engine) => ({
      idle: this.load64(engine, 'connections_closed_idle') > 0n,
      ended: this.load64(engine, 'connections_ended') > 0n,
      figures: Object.fromEntries(endNames.map((name) => [name, Number(this.load64(engine, name))])) as Record<
        (typeof endNames)[number],
        number
      >,
    }));
    const least = (which: 'idle' | 'ended', name: (typeof endNames)[number]): number => {
      const values = live.filter((engine) => engine[which]).map(({ figures }) => figures[name]);
      return values.length === 0 ? 0 : Math.min(...values);
    };
    const most = (name: (typeof endNames)[number]): number => Math.max(...live.map(({ figures }) => figures[name]));
    return {
      closed_idle_after_min_ns: least('idle', 'closed_idle_after_min_ns'),
      closed_idle_after_max_ns: most('closed_idle_after_max_ns'),
      ended_echoes_min: least('ended', 'ended_echoes_min'),
      ended_echoes_max: most('ended_echoes_max'),
    };
  }

  /** http: the first whole reply, and how many replies had another body; null without a whole reply. See mergeReplies(). */
  replies(): Replies | null {
    return mergeReplies(this.engines().map((engine) => this.repliesOf(engine)));
  }

  private repliesOf(engine: number): Replies | null {
    const status = Number(this.load64(engine, 'first_status'));
    if (status === 0) return null;
    return {
      first: {
        status,
        body_bytes: Number(this.load64(engine, 'first_body_bytes')),
        body_hash: this.load64(engine, 'first_body_hash').toString(16).padStart(16, '0'),
      },
      differing: Number(this.load64(engine, 'replies_differing')),
    };
  }

  /** Time from the first connect() to the last verified first echo in ns; null if no connection was made. */
  connectSpanNs(): number | null {
    let first = unknown;
    let last = 0n;
    for (const engine of this.engines()) {
      const engineFirst = this.load64(engine, 'connect_first_ns');
      if (engineFirst !== 0n && engineFirst < first) first = engineFirst;
      const engineLast = this.load64(engine, 'connect_last_ns');
      if (engineLast > last) last = engineLast;
    }
    return last === 0n || first === unknown ? null : Number(last - first);
  }

  /** How often connect() has succeeded since connecting began, whether or not an echo followed. */
  connectedCount(): number {
    const offset = fieldOffset('ib_engine_block', 'connect') + fieldOffset('ib_histogram', 'count');
    return this.engines().reduce((sum, engine) => sum + Number(this.loadAt64(this.engineBase(engine) + offset)), 0);
  }

  /** Errors since the start by class; only classes that occurred. */
  errorsByClass(): Partial<Record<ErrorClass, number>> {
    const sums: Partial<Record<ErrorClass, number>> = {};
    const base = fieldOffset('ib_engine_block', 'errors');
    for (const engine of this.engines()) {
      errorClasses.forEach((name, index) => {
        const value = Number(this.loadAt64(this.engineBase(engine) + base + index * 8));
        if (value > 0) sums[name] = (sums[name] ?? 0) + value;
      });
    }
    return sums;
  }

  /** The first few errors of each engine, in words; for a wrong reply with the bytes received and what they look like. */
  errorSamples(): ErrorSample[] {
    return this.engines().flatMap((engine) => {
      const filled = Number(this.load64(engine, 'error_samples_count'));
      return Array.from({ length: filled }, (_, index) => this.errorSample(engine, index));
    });
  }

  /** The figures of every engine's last window. Call only after its command is done. */
  windows(): EngineWindow[] {
    return this.engines().map((engine) => {
      const base = this.engineBase(engine);
      const figures = Object.fromEntries(
        windowNames.map((name) => {
          const value = this.load64(engine, name);
          return [name, value === unknown ? null : Number(value)];
        }),
      );
      const histograms = Object.fromEntries(
        histogramNames.map((name) => [name, this.histogram(base + fieldOffset('ib_engine_block', name))]),
      );
      return {
        ...figures,
        ...histograms,
        fairness_sum: this.doubles[(base + fieldOffset('ib_engine_block', 'fairness_sum')) / 8] ?? 0,
        fairness_sum_squares: this.doubles[(base + fieldOffset('ib_engine_block', 'fairness_sum_squares')) / 8] ?? 0,
      } as EngineWindow;
    });
  }

  /**
   * The counts of a histogram of the last window, added up over the engines. They may record meanwhile: what is recorded during a reading is
   * in it or in the next one.
   */
  histogramCounts(name: 'service' | 'response'): Uint32Array {
    const sums = new Uint32Array(histogramCounts);
    for (const engine of this.engines()) {
      const base = this.engineBase(engine) + fieldOffset('ib_engine_block', name);
      const at = (field: string): number => Number(this.loadAt64(base + fieldOffset('ib_histogram', field)));
      if (at('count') === 0) continue;
      // The low half of a count: a window of four thousand million requests is beyond what is measured.
      const low = (base + fieldOffset('ib_histogram', 'counts')) / 4;
      const last = histogramIndex(at('max_ns'));
      for (let index = histogramIndex(at('min_ns')); index <= last; index += 1) {
        sums[index] = (sums[index] ?? 0) + (this.words32[low + 2 * index] ?? 0);
      }
    }
    return sums;
  }

  /** Buckets of the last window over all engines, at most `length`. */
  timeline(length: number): TimelineRow[] {
    const bucketBytes = structSize('ib_timeline_bucket');
    const at = (engine: number, bucket: number, name: string): number =>
      Number(
        this.loadAt64(
          this.engineBase(engine) +
            structSize('ib_engine_block') +
            bucket * bucketBytes +
            fieldOffset('ib_timeline_bucket', name),
        ),
      );
    return Array.from({ length: Math.min(length, this.timelineCapacity) }, (_, bucket) => {
      const row: TimelineRow = { requests: 0, errors: 0, service_max_ns: 0, response_max_ns: 0 };
      for (const engine of this.engines()) {
        row.requests += at(engine, bucket, 'requests');
        row.errors += at(engine, bucket, 'errors');
        row.service_max_ns = Math.max(row.service_max_ns, at(engine, bucket, 'service_max_ns'));
        row.response_max_ns = Math.max(row.response_max_ns, at(engine, bucket, 'response_max_ns'));
      }
      return row;
    });
  }

  private errorSample(engine: number, index: number): ErrorSample {
    const start =
      this.engineBase(engine) + fieldOffset('ib_engine_block', 'samples') + index * structSize('ib_error_sample');
    const word = (name: string): number => this.words32[(start + fieldOffset('ib_error_sample', name)) / 4] ?? 0;
    const bytes = (name: string, length: number): Uint8Array => {
      const at = start + fieldOffset('ib_error_sample', name);
      return this.bytes.slice(at, at + length);
    };
    const text = bytes(
      'message',
      fieldOffset('ib_error_sample', 'received') - fieldOffset('ib_error_sample', 'message'),
    );
    const end = text.indexOf(0);
    const message = new TextDecoder().decode(text.subarray(0, end === -1 ? text.length : end));
    const received = bytes('received', word('received_bytes'));
    const expected = bytes('expected', word('expected_bytes'));
    return {
      class: errorClasses[word('error_class')] ?? 'other',
      connection: Number(this.loadAt64(start + fieldOffset('ib_error_sample', 'connection'))),
      message: message + this.replyInWords(word('protocol'), { received, expected }),
    };
  }

  private replyInWords(protocol: number, reply: { received: Uint8Array; expected: Uint8Array }): string {
    if (reply.received.length === 0) return '';
    if (protocol === protocolValues.echo) return describeReply(reply);
    return describeForeign(reply.received, protocol === protocolValues.http ? 'http' : 'message');
  }

  private histogram(base: number): RawHistogram {
    const at = (name: string): bigint => this.loadAt64(base + fieldOffset('ib_histogram', name));
    const counts = base + fieldOffset('ib_histogram', 'counts');
    return {
      count: at('count'),
      min_ns: at('min_ns'),
      max_ns: at('max_ns'),
      sum_ns: at('sum_ns'),
      counts: this.words64.slice(counts / 8, counts / 8 + histogramCounts),
    };
  }

  private engines(): number[] {
    return Array.from({ length: this.engineCount }, (_, index) => index);
  }

  private engineBase(engine: number): number {
    return controlHeaderBytes + engine * this.strideBytes;
  }

  private load32(engine: number, name: string): number {
    return Atomics.load(this.words32, (this.engineBase(engine) + fieldOffset('ib_engine_block', name)) / 4);
  }

  private load64(engine: number, name: string): bigint {
    return this.loadAt64(this.engineBase(engine) + fieldOffset('ib_engine_block', name));
  }

  private loadAt64(offset: number): bigint {
    return Atomics.load(this.words64, offset / 8);
  }

  private set32(name: string, value: number): void {
    this.words32[fieldOffset('ib_control', name) / 4] = value;
  }

  private set64(name: string, value: bigint): void {
    this.words64[fieldOffset('ib_control', name) / 8] = value;
  }
}
