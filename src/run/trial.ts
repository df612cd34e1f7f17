/**
 * One trial: a fresh server, its connections, and the windows measured on them. The engines run in their own threads. This file
 * sends the commands, waits, and samples server and system at both edges of a window.
 */
import { BenchError } from '../model/errors.js';
import { clockNowNs, systemSample } from '../native/binding.js';
import type { CompletedWindow, Phase, Window } from '../model/report-schema.js';
import { processInWords, type ProcessName, type ServerMoment, type ServerProcess } from '../server/process.js';
import type { Point } from '../model/point.js';
import { connectionCounts, type BlastPlan, type ModeSpec } from '../model/plan.js';
import { HostFault, LocalLoad, loadTask, type LoadControl, type LoadHost } from './load.js';
import { noConnectionReason, noEchoReason } from './silence.js';
import { Stall } from './stall.js';
import {
  fillEngineResults,
  latenessInWords,
  WindowFigures,
  type IdleFigures,
  type Moment,
  type WindowName,
  type WindowTask,
} from './window-figures.js';
import { WindowReadings } from './window-readings.js';

/** How often the conductor reads the counters while it waits. */
const pollIntervalMs = 20;
/**
 * The same while a window is measured: the conductor's CPU time is the client's. With one connection 50 looks a second would be a twentieth
 * of it. A signal and the server's end are noticed at once in any case.
 */
const windowPollIntervalMs = 200;
/** How long server and system are left idle before the idle figures are taken. */
const idleSettleMs = 150;
/** In an open loop, the wait for an echo on every connection may take this many times the warm-up. */
const longestWarmup = 2;
/** How long a server may take to stop before it is killed. */
const stopDeadlineMs = 3_000;

/** Index of a trial that only calibrates the offered rate; its windows are not reported. */
export const calibrationIndex = -1;

/** With the point of the sweep that the trial is run at. */
export interface TrialTask extends Point {
  readonly spec: ModeSpec;
  /** The trial's index, or `calibrationIndex`. */
  readonly index: number;
  /** Number of the trial in the whole run, over all modes and sizes. */
  readonly sequence: number;
}

export interface Progress {
  readonly task: TrialTask;
  readonly step: 'server' | 'connect' | 'warm-up' | 'first-echoes' | Phase | 'drain' | 'verify' | 'close';
  readonly connected: number;
  /** Connections that the trial requests. */
  readonly asked: number;
  /** Connections with an echo since the step began. The steps `first-echoes` and `verify` wait for them. */
  readonly echoed: number;
  readonly failed: number;
  readonly requestsPerSecond: number | null;
  /** Time left in the step; null if unknown. */
  readonly secondsLeft: number | null;
}

export interface TrialHooks {
  readonly startServer: (task: TrialTask) => Promise<ServerProcess>;
  /** Absent: the load runs in this process. */
  readonly makeLoad?: (task: TrialTask) => LoadHost;
  readonly onProgress: (progress: Progress) => void;
  readonly nextSequence: () => number;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
}

/** Thrown from a wait if the trial cannot go on; its reason becomes the window's `reason`. */
class TrialEnded extends Error {
  constructor(
    readonly state: 'failed' | 'aborted',
    readonly reason: string,
  ) {
    super(reason);
  }
}

/** A window that cannot be measured; it becomes a failed window with this reason. */
export interface RefusedWindow {
  readonly phase: Phase;
  readonly refusal: string;
}

/** The next window of a trial, null after the last. Receives the windows so far, so that a search can choose its next rate. */
export type NextWindow = (done: readonly Window[]) => WindowTask | RefusedWindow | null;

export interface TrialOutcome {
  readonly windows: Window[];
  /** Not a single connection was made although the server ran, so another trial would wait in vain again. */
  readonly madeNone: boolean;
  /** The host that was lost or late, if one was. The trial can be repeated. */
  readonly fault?: HostFault | null;
}

/** Runs one trial. Failures of server or connections become windows in state `failed` or `aborted`; other errors are thrown. */
export async function runTrial(
  plan: BlastPlan,
  task: TrialTask,
  next: NextWindow,
  hooks: TrialHooks,
): Promise<TrialOutcome> {
  const trial = new Trial(plan, task, hooks);
  return trial.run(next);
}

class Trial {
  private readonly load: LoadHost;
  private readonly control: LoadControl;
  private readonly counts: { total: number; active: number };
  private readonly figures: WindowFigures;
  private readonly windows: Window[] = [];
  private server: ServerProcess | null = null;
  private serverExit: string | null = null;
  private idle: IdleFigures | null = null;
  private step: Progress['step'] = 'server';
  private stepEndsAt: number | null = null;
  private lastCount: { at: number; requests: number } | null = null;
  private rate: number | null = null;
  private phase: Phase;
  private sequence: number;
  private startedAt = new Date();
  private madeNone = false;
  private fault: HostFault | null = null;
  /** Ends the pause in progress. */
  private wake: () => void = () => undefined;

  constructor(
    private readonly plan: BlastPlan,
    private readonly task: TrialTask,
    private readonly hooks: TrialHooks,
  ) {
    this.counts = connectionCounts(plan, task.clients);
    this.load = hooks.makeLoad?.(task) ?? new LocalLoad(loadTask(plan, task.clients, task.sequence, 1 + task.index));
    this.control = this.load.control;
    this.figures = new WindowFigures(plan, this.control, this.counts.total);
    this.phase = plan.phases[0] ?? 'capacity';
    this.sequence = hooks.nextSequence();
  }

  async run(next: NextWindow): Promise<TrialOutcome> {
    let complete = false;
    const onAbort = (): void => {
      this.wake();
    };
    this.hooks.signal.addEventListener('abort', onAbort);
    try {
      await this.startServer();
      await this.takeIdleFigures();
      this.startEngines();
      await this.connect();
      await this.measure(next);
      await this.closeConnections();
      complete = true;
    } catch (error) {
      const ended = this.endOf(error);
      if (ended === null) throw error;
      // Completed windows are kept; the interrupted one is reported as broken.
      this.windows.push(this.figures.broken(this.phase, this.windowName(), ended));
    } finally {
      this.hooks.signal.removeEventListener('abort', onAbort);
      await this.end();
    }
    // An engine failed while it ended. If the trial ended early, the broken window already says why.
    // A host that was lost after the last window does not matter to its figures.
    const { error } = this.load;
    if (complete && error !== null && !(error instanceof HostFault)) throw error as Error;
    return { windows: this.windows, madeNone: this.madeNone, fault: this.fault };
  }

  /** How an error ends the trial; null if it ends the run. */
  private endOf(error: unknown): TrialEnded | null {
    if (error instanceof TrialEnded) return error;
    if (!(error instanceof HostFault)) return null;
    this.fault = error;
    return new TrialEnded('failed', error.reason);
  }

  // ------------------------------------------------------------------------------------------------------- server and idle

  private async startServer(): Promise<void> {
    this.report('server');
    try {
      this.server = await this.hooks.startServer(this.task);
    } catch (error) {
      // Ctrl-C reaches the whole foreground group, and a server that is still starting does not ignore it yet.
      if (error instanceof BenchError && this.hooks.signal.aborted) throw new TrialEnded('aborted', 'interrupted');
      // A machine that cannot run the mode, or wrong usage, ends the run. A server that died is a result.
      if (error instanceof BenchError && error.code === 'runFailed') {
        throw new TrialEnded('failed', error.hint === '' ? error.message : `${error.message}; ${error.hint}`);
      }
      throw error;
    }
    this.server.onExit((reason) => {
      this.serverExit = reason;
      this.wake();
    });
  }

  private async takeIdleFigures(): Promise<void> {
    const before = (await this.server?.system?.()) ?? systemSample();
    await this.sleep(idleSettleMs);
    const server = await this.sampleServer(true);
    this.idle = { server, before, after: server?.system ?? systemSample() };
  }

  private async sampleServer(withMemory: boolean, withRunDelay = false): Promise<ServerMoment | null> {
    const { server } = this;
    if (server === null) return null;
    try {
      return await server.sample(withMemory, withRunDelay);
    } catch {
      // The server died between two samples; the next wait reports it.
      return null;
    }
  }

  // --------------------------------------------------------------------------------------------------------------- engines

  private startEngines(): void {
    if (this.server === null) throw new Error('engines start after the server');
    this.load.start(this.server);
  }

  private async connect(): Promise<void> {
    this.report('connect');
    // Starting the client's threads takes seconds for a hundred of them and is not part of the time to connect.
    await this.until(() => this.control.isRunning() || this.load.hasEnded);
    const sequence = this.control.command({ phase: 'connect' });
    const stall = new Stall(performance.now());
    const noEcho = (): string | null => noEchoReason(this.control.live(), this.plan.timeoutMs);
    await this.until(() => this.control.isDone(sequence) || this.isStalled(stall) || noEcho() !== null);
    if (this.control.live().connections_made === 0) {
      this.madeNone = true;
      throw new TrialEnded('failed', noConnectionReason(this.control, this.plan.timeoutMs, this.plan.protocol));
    }
    const reason = noEcho();
    if (reason !== null) throw new TrialEnded('failed', reason);
  }

  private isStalled(stall: Stall): boolean {
    const live = this.control.live();
    return stall.observe({
      atMs: performance.now(),
      answered: live.connections_made,
      timedOut: this.control.errorsByClass().timeout ?? 0,
      inFlight: live.connections_started - live.connections_made - live.connections_failed,
    });
  }

  private async closeConnections(): Promise<void> {
    if (this.counts.active < this.counts.total) await this.verifyAll();
    this.report('close');
    const sequence = this.control.command({ phase: 'close' });
    await this.until(() => this.control.isDone(sequence) || this.load.hasEnded);
  }

  /** Every connection, idle ones included, echoes once more. Those that are gone are added to the trial's last window. */
  private async verifyAll(): Promise<void> {
    this.report('verify');
    const sequence = this.control.command({ phase: 'verify' });
    await this.until(() => this.control.isDone(sequence));
    const last = this.windows.at(-1);
    if (last !== undefined) this.figures.fillVerified(last);
  }

  // --------------------------------------------------------------------------------------------------------------- windows

  private async measure(next: NextWindow): Promise<void> {
    let window = next(this.windows);
    let first = true;
    while (window !== null) {
      this.phase = window.phase;
      if (!first) this.sequence = this.hooks.nextSequence();
      first = false;
      this.windows.push('refusal' in window ? this.refusedWindow(window) : await this.measureWindow(window));
      window = next(this.windows);
    }
  }

  private refusedWindow({ phase, refusal }: RefusedWindow): Window {
    this.startedAt = new Date();
    return this.figures.broken(phase, this.windowName(), { state: 'failed', reason: refusal });
  }

  private async measureWindow(window: WindowTask): Promise<Window> {
    const load = { ratePerSecond: window.ratePerSecond, connectionsTotal: this.control.live().connections_active };
    this.report('warm-up', window.warmupMs);
    const warm = this.control.command({ phase: 'warmup', ...load });
    await this.sleep(window.warmupMs);
    if (waitsForEchoes(window, load.connectionsTotal) && !this.control.isDone(warm)) {
      this.report('first-echoes');
      await this.until(() => this.control.isDone(warm));
    }
    // It takes a second to find out that a server does not answer a FIN. That wait must not be measured.
    await this.until(() => this.control.live().fins_undecided === 0);
    if (this.control.live().connections_active === 0) {
      throw new TrialEnded('failed', this.figures.whyNoRequest(window, null, 0));
    }

    // Before the lead begins: reading the histograms of a hundred agents takes a large part of it.
    this.figures.keepConnectTimes();
    const startNs = clockNowNs() + this.load.leadNs;
    const endNs = startNs + BigInt(Math.round(window.durationMs * 1e6));
    this.startedAt = new Date(Date.now() + Number(this.load.leadNs) / 1e6);
    const sequence = this.control.command({ phase: 'measure', ...load, windowStartNs: startNs, windowEndNs: endNs });
    // Under load already, but before the window, which reading thousands of threads would disturb.
    const waitsBefore = await this.sampleServer(false, true);
    await this.sleepUntil(startNs);
    // The start of the window, not of its warm-up: the events of a server on another machine are matched by this time.
    this.startedAt = new Date();
    this.report(window.phase, window.durationMs);
    const start = await this.takeMoment(false);
    const readings = new WindowReadings(
      this.control,
      window.ratePerSecond > 0 ? 'response' : 'service',
      startNs,
      window.durationMs,
    );
    await this.sleepUntil(endNs, windowPollIntervalMs, () => {
      readings.look();
    });
    const ending = this.takeMoment(true);
    // While the server reads its own figures.
    readings.end();
    const end = await ending;
    const waits = { start: waitsBefore, end: await this.sampleServer(false, true) };
    this.report('drain');
    await this.until(() => this.control.isDone(sequence));
    const edges = { due: { start_ns: Number(startNs), end_ns: Number(endNs) }, start, end, waits };
    const lateness = latenessInWords(this.control.windows(), edges.due);
    if (lateness !== null) throw new TrialEnded('failed', lateness);
    const completed = {
      ...this.figures.completed(window, this.windowName(), edges, this.idle),
      ...percentilesOf(readings),
    };
    await this.load.describe?.(completed);
    if (completed.requests.count > 0 || window.mayBeEmpty === true) return completed;
    const answered = end.completed - start.completed;
    throw new TrialEnded('failed', this.figures.whyNoRequest(window, completed.requests.offered, answered));
  }

  private windowName(): WindowName {
    return { sequence: this.sequence, startedAt: this.startedAt, index: this.task.index };
  }

  /** At the end of a window, also reads the server's limits and its memory, which is compared with its idle memory. */
  private async takeMoment(isEnd: boolean): Promise<Moment> {
    const here = systemSample();
    const [{ usage: client, completed }, server] = await Promise.all([this.load.sample(), this.sampleServer(isEnd)]);
    const system = server?.system ?? here;
    const identity = this.server?.identity?.() ?? null;
    return { system, client, completed, server, identity, limits: isEnd ? (this.server?.limits?.() ?? null) : null };
  }

  // ---------------------------------------------------------------------------------------------------------------- ending

  /** In every case: engines return, the server stops, nothing is left behind. */
  private async end(): Promise<void> {
    this.control.stop();
    try {
      fillEngineResults(this.windows, await this.load.ended());
    } finally {
      const left = (await this.server?.stop(stopDeadlineMs))?.left;
      if (left !== undefined) this.tellLeft(left);
    }
  }

  private tellLeft(left: ProcessName): void {
    const last = this.windows.at(-1);
    if (last?.state === 'completed') last.server_left = left;
    else if (last !== undefined) last.reason += `; ${processInWords(left)} still listens on the server's port`;
  }

  // --------------------------------------------------------------------------------------------------------------- waiting

  private check(): void {
    if (this.hooks.signal.aborted) throw new TrialEnded('aborted', 'interrupted');
    if (this.serverExit !== null) throw new TrialEnded('failed', this.serverExit);
    if (this.load.error !== null) throw this.load.error as Error;
  }

  private async until(condition: () => boolean): Promise<void> {
    for (;;) {
      this.check();
      if (condition()) return;
      await this.pause(pollIntervalMs);
    }
  }

  private async sleep(durationMs: number): Promise<void> {
    await this.sleepUntil(clockNowNs() + BigInt(Math.round(durationMs * 1e6)));
  }

  /** @param onLook called at each look before the end */
  private async sleepUntil(
    timeNs: bigint,
    lookEveryMs = pollIntervalMs,
    onLook: () => void = () => undefined,
  ): Promise<void> {
    for (;;) {
      this.check();
      const leftMs = Number(timeNs - clockNowNs()) / 1e6;
      if (leftMs <= 0) return;
      onLook();
      await this.pause(Math.min(leftMs, lookEveryMs));
    }
  }

  private async pause(durationMs: number): Promise<void> {
    this.tell();
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, durationMs);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  private report(step: Progress['step'], durationMs?: number): void {
    this.step = step;
    this.stepEndsAt = durationMs === undefined ? null : performance.now() + durationMs;
    this.tell();
  }

  private tell(): void {
    const now = performance.now();
    const live = this.control.live();
    this.lastCount ??= { at: now, requests: live.requests_completed };
    const elapsed = (now - this.lastCount.at) / 1_000;
    if (elapsed > 0.5) {
      this.rate = (live.requests_completed - this.lastCount.requests) / elapsed;
      this.lastCount = { at: now, requests: live.requests_completed };
    }
    this.hooks.onProgress({
      task: this.task,
      step: this.step,
      connected: live.connections_made,
      asked: this.counts.total,
      echoed: live.connections_echoed,
      failed: live.connections_failed,
      requestsPerSecond: this.rate,
      secondsLeft: this.stepEndsAt === null ? null : Math.max(0, (this.stepEndsAt - now) / 1_000),
    });
  }
}

function percentilesOf(readings: WindowReadings): Pick<CompletedWindow, 'time_percentiles'> {
  const percentiles = readings.percentiles();
  return percentiles === null ? {} : { time_percentiles: percentiles };
}

/**
 * Whether a window waits until every connection has had an echo. A closed loop sends on all of them at once, so this takes no
 * longer than the timeout. A timetable first sends on one after the other. If a round takes much longer than the warm-up, the window
 * begins without waiting, because each connection had a verified echo when it was made.
 */
function waitsForEchoes({ ratePerSecond, warmupMs }: WindowTask, connections: number): boolean {
  return ratePerSecond <= 0 || (connections / ratePerSecond) * 1_000 <= longestWarmup * warmupMs;
}
