/**
 * The conductor: runs every trial of a plan in its balanced order. Its report is complete at any moment, so that no result is lost
 * whatever happens next.
 */
import { trialOrder } from '../measure/order.js';
import { noiseFloor } from '../measure/comparisons.js';
import { withHeadline } from '../measure/answer.js';
import { conclude } from '../measure/conclusions.js';
import { StoppingRule } from '../measure/stopping.js';
import { median } from '../measure/statistics.js';
import { BenchError } from '../model/errors.js';
import { grouped, percent } from '../model/words.js';
import {
  schemaName,
  schemaVersion,
  type CompletedWindow,
  type Environment,
  type Machine,
  type Plan,
  type Report,
  type Run,
  type Warning,
  type Window,
} from '../model/report-schema.js';
import { reportedOptions } from '../model/options.js';
import { hostPortText } from '../model/parse.js';
import { toolVersion } from '../version.js';
import { calibrationFraction, sweepPoints, type BlastPlan, type ModeSpec } from '../model/plan.js';
import {
  hasRate,
  pointFields,
  pointInWords,
  pointKey,
  pointName,
  sameRate,
  sameService,
  waitOf,
  type Point,
} from '../model/point.js';
import { KeepableRate } from './keepable-rate.js';
import { searchMaxRate } from './max-rate.js';
import {
  calibrationIndex,
  runTrial,
  type NextWindow,
  type RefusedWindow,
  type TrialHooks,
  type TrialOutcome,
  type TrialTask,
} from './trial.js';
import type { WindowTask } from './window-figures.js';

export interface ConductorHooks extends Omit<TrialHooks, 'nextSequence'> {
  /** Called after every trial with the report so far. */
  readonly onReport: (report: Report) => void;
  /** Called before each trial with its number and their total. */
  readonly onTrial: (task: TrialTask, number: number, of: number) => void;
}

/** A rate of a load curve, as a run of the report has it. */
interface CurveRate {
  readonly rate_per_second: number;
  readonly rate_fraction?: number;
}

/** A window of a trial, and the rate of the load curve whose run it belongs to; null outside a load curve. */
interface PlannedWindow {
  readonly window: WindowTask | RefusedWindow;
  readonly rate: CurveRate | null;
}

/** The latency window needs no long warm-up, because the capacity window has just run. */
const latencyWarmupShare = 0.5;
const calibration = { warmupMs: 500, durationMs: 1_000 };
/** A window that checks whether the client keeps a rate. */
const check = { warmupMs: 300, durationMs: 1_000 };
/** How often a trial is repeated because a host of load or server was lost or late. */
const mostRepetitions = 2;

export class Conductor {
  private readonly points: readonly Point[];
  private readonly runs: Run[];
  private readonly order: string[][];
  private readonly offeredRates = new Map<string, number>();
  /** Load curve: the rates by point of the sweep, ascending. */
  private readonly curveRates = new Map<string, readonly CurveRate[]>();
  private readonly createdAt = new Date();
  /** Why a point of the sweep has no offered rate. */
  private readonly missingRates = new Map<string, string>();
  /** Modes that made no connection at all. Each further trial would wait in vain again. */
  private readonly givenUp = new Set<string>();
  private readonly lateWarnings: Warning[] = [];
  private windowSequence = 0;
  private trialSequence = 0;
  /** Trials of the point of the sweep that needed most of them. */
  private rounds = 0;

  constructor(
    private readonly plan: BlastPlan,
    private readonly environment: Environment,
    private readonly commandLine: readonly string[],
    /** Warnings from before the run, such as a fallback. */
    private readonly earlyWarnings: readonly Warning[],
    private readonly hooks: ConductorHooks,
    /** Tests replace it. */
    private readonly trial: typeof runTrial = runTrial,
    /** The machines of a run with agents. */
    private readonly machines?: readonly Machine[],
  ) {
    this.points = sweepPoints(plan);
    this.runs = this.points.flatMap((point) =>
      plan.modes.map(({ mode, backend }): Run => {
        const limited = plan.outOfReach.find((one) => one.mode === mode && one.clients === point.clients);
        const run = { mode, backend, ...pointFields(point), trials: [] };
        if (limited === undefined) return run;
        const { limit, value, needed, command, most } = limited;
        return { ...run, limit: { limit, value, needed, command, most } };
      }),
    );
    this.order = trialOrder(
      plan.modes.map(({ mode }) => mode),
      plan.trialsMax ?? plan.trials,
      plan.seed,
    );
  }

  /** Runs the plan to its end, or until the abort signal; the report is then partial. */
  async run(): Promise<Report> {
    for (const point of this.points) {
      if (this.aborted()) break;
      await this.calibrate(point);
      await this.trials(point);
      if (this.plan.findMaxRate !== null) await this.searches(point, this.plan.findMaxRate);
    }
    return this.report(this.aborted());
  }

  /** The report of what has been measured so far. */
  report(partial: boolean): Report {
    const plan = this.reportPlan();
    const noise = this.plan.aa ? noiseFloor(this.runs, plan) : [];
    const runs = this.reportedRuns();
    const { comparisons, warnings, ...others } = conclude({ runs, plan, environment: this.environment, noise });
    return withHeadline({
      schema: schemaName,
      schema_version: schemaVersion,
      tool: { name: 'iocp-bench', version: toolVersion },
      created_at: this.createdAt.toISOString(),
      command_line: [...this.commandLine],
      partial,
      environment: this.environment,
      ...(this.machines !== undefined && { machines: [...this.machines] }),
      plan,
      runs,
      comparisons,
      warnings: [...this.earlyWarnings, ...this.lateWarnings, ...warnings],
      gates: [],
      noise,
      ...others,
    });
  }

  private aborted(): boolean {
    return this.hooks.signal.aborted;
  }

  private async trials(point: Point): Promise<void> {
    const runs = this.points.flatMap(({ clients }) =>
      this.plan.modes.filter(
        ({ mode }) => !this.plan.outOfReach.some((one) => one.mode === mode && one.clients === clients),
      ),
    ).length;
    const total = this.order.length * runs;
    const rule = this.stoppingRule();
    for (const [index, row] of this.order.entries()) {
      if (rule?.isEnough(index, () => this.isPrecise(point, (metric) => metric !== 'max_rate')) === true) break;
      this.rounds = Math.max(this.rounds, index + 1);
      for (const mode of row) {
        if (this.aborted()) return;
        if (this.isLeftOut(mode, point)) continue;
        const spec = this.spec(mode);
        const task = this.task(spec, point, index);
        this.hooks.onTrial(task, this.reportedTrials() + 1, total);
        const planned = this.plannedWindows(point, index);
        const next: NextWindow = (done) => planned[done.length]?.window ?? null;
        const outcome = await this.repeated(this.plan, task, next, this.trialHooks());
        this.keep(mode, point, planned, outcome.windows);
        if (outcome.madeNone) this.giveUp(mode, point, 1 + index);
        this.hooks.onReport(this.report(true));
      }
    }
  }

  /** null: the number of trials is fixed. */
  private stoppingRule(): StoppingRule | null {
    const { until, trials, trialsMax, modes } = this.plan;
    if (until === null) return null;
    return new StoppingRule({ trialsLeast: trials, trialsMost: trialsMax ?? trials, modes: modes.length });
  }

  /** Whether the interval of every primary metric among these is narrow enough (--until). */
  private isPrecise(point: Point, isAsked: (metric: string) => boolean): boolean {
    const { precision = [] } = this.report(true);
    return precision.every((entry) => !isHere(entry, point) || !isAsked(entry.metric) || entry.reached);
  }

  /**
   * Runs a trial. If a host of load or server was lost or late, its figures mean nothing, and it is repeated.
   * @throws BenchError 'runFailed' that names the host if that happens again and again; the windows are then in the report
   */
  private async repeated(plan: BlastPlan, task: TrialTask, next: NextWindow, hooks: TrialHooks): Promise<TrialOutcome> {
    for (let repetition = 0; ; repetition++) {
      const outcome = await this.trial(plan, repetition === 0 ? task : { ...task, ...this.nextTrial() }, next, hooks);
      const fault = outcome.fault ?? null;
      if (fault === null || this.aborted()) return outcome;
      if (repetition === mostRepetitions) {
        if (task.index !== calibrationIndex) this.runOf(task.spec.mode, task).trials.push(...outcome.windows);
        const times = `the trial was repeated ${mostRepetitions} times`;
        throw new BenchError('runFailed', `${fault.reason}; ${times}`, 'what was measured before is in the report');
      }
      this.lateWarnings.push({
        code: 'trial_repeated',
        severity: 'warning',
        message: `${task.spec.mode} at ${pointInWords(task)}: ${fault.reason}; the trial was repeated`,
        hint: 'check that machine and its network',
        mode: task.spec.mode,
        ...pointFields(task),
        phase: null,
        trial: task.index === calibrationIndex ? null : task.index,
        figures: {},
      });
    }
  }

  /** Whether a mode is skipped at this point of the sweep: it made no connection before, or a limit of the machine is too low. */
  private isLeftOut(mode: string, point: Point): boolean {
    return this.givenUp.has(mode) || this.runOf(mode, point).limit !== undefined;
  }

  /** @param trial its index: a load curve offers its rates in another order in each trial, balanced like the modes */
  private plannedWindows(point: Point, trial: number): PlannedWindow[] {
    const { durationMs, warmupMs, phases } = this.plan;
    const planned: PlannedWindow[] = [];
    for (const phase of phases) {
      if (phase === 'capacity') {
        planned.push({ window: { phase, warmupMs, ratePerSecond: 0, durationMs }, rate: null });
        continue;
      }
      const single = this.offeredRates.get(pointKey(point));
      const curve = this.curveRates.get(pointKey(point)) ?? [];
      // Without a rate the engines would run a closed loop, whose response times mean something else.
      if (single === undefined && curve.length === 0) {
        const refusal = this.missingRates.get(pointKey(point)) ?? 'the offered rate is not known';
        planned.push({ window: { phase, refusal }, rate: null });
      }
      for (const rate of single === undefined ? this.inOrder(curve, trial) : [null]) {
        planned.push({
          window: {
            phase,
            warmupMs: planned.length > 0 ? warmupMs * latencyWarmupShare : warmupMs,
            ratePerSecond: rate?.rate_per_second ?? single ?? 0,
            durationMs,
          },
          rate,
        });
      }
    }
    return planned;
  }

  private inOrder(rates: readonly CurveRate[], trial: number): CurveRate[] {
    const names = rates.map((_, index) => String(index));
    const row = trialOrder(names, this.order.length, this.plan.seed)[trial] ?? names;
    return row.flatMap((name) => rates[Number(name)] ?? []);
  }

  /** Adds the windows of a trial to the run of their rate. */
  private keep(mode: string, point: Point, planned: readonly PlannedWindow[], windows: readonly Window[]): void {
    const last = windows.at(-1);
    for (const [place, { rate }] of planned.entries()) {
      const run = this.runOf(mode, point, rate);
      const window = windows[place];
      if (window !== undefined) run.trials.push(window);
      // The rates that a failed trial did not come to failed with it: the trials that remain may be the better ones.
      else if (last?.state === 'failed' && rate !== null) {
        run.trials.push({ ...last, phase: 'latency', reason: `not measured: ${last.reason}` });
      }
    }
  }

  /** Adds a run for each rate of a load curve, after the run that has the rest of the trials. */
  private setCurve(point: Point, rates: readonly CurveRate[]): void {
    this.curveRates.set(pointKey(point), rates);
    const place = this.runs.findLastIndex((run) => isHere(run, point)) + 1;
    const added = rates.flatMap((rate) =>
      this.plan.modes
        .filter(({ mode }) => this.runOf(mode, point).limit === undefined)
        .map(({ mode, backend }): Run => ({ mode, backend, ...pointFields(point), ...rate, trials: [] })),
    );
    this.runs.splice(place, 0, ...added);
  }

  /** A load curve without a capacity phase leaves nothing for the run that has no rate. */
  private reportedRuns(): Run[] {
    if (this.plan.rates.length === 0 || this.plan.phases.includes('capacity')) return this.runs;
    const isEmpty = (run: Run): boolean =>
      !hasRate(run) && run.trials.length === 0 && run.limit === undefined && run.max_rate === undefined;
    return this.runs.filter((run) => !isEmpty(run));
  }

  private giveUp(mode: string, point: Point, trial: number): void {
    this.givenUp.add(mode);
    const isLast = trial === this.order.length && point === this.points.at(-1);
    if (isLast) return;
    this.lateWarnings.push({
      code: 'not_tried_again',
      severity: 'warning',
      message: `${mode} made no connection in trial ${trial} at ${pointInWords(point)} and was not tried again`,
      hint: 'the failed window gives the reason',
      mode,
      ...pointFields(point),
      phase: null,
      trial: trial - 1,
      figures: {},
    });
  }

  /**
   * Sets the offered rate of the latency phase: the requested rate, or a share of the slower mode's capacity, measured in one short
   * closed-loop window per mode. These windows are not reported; they only select a load that every mode can carry.
   */
  private async calibrate(point: Point): Promise<void> {
    if (!this.plan.phases.includes('latency')) return;
    if (this.plan.ratePerSecond !== null) {
      this.offeredRates.set(pointKey(point), this.plan.ratePerSecond);
      return;
    }
    const asked = this.plan.rates.flatMap(({ perSecond }) =>
      perSecond === null ? [] : { rate_per_second: perSecond },
    );
    if (asked.length > 0) {
      this.setCurve(point, asked);
      return;
    }
    const capacities: number[] = [];
    const reasons: string[] = [];
    for (const spec of this.plan.modes) {
      if (this.aborted()) return;
      if (this.isLeftOut(spec.mode, point)) continue;
      const measured = await this.calibrationWindow(spec, point);
      if (measured?.state === 'completed' && measured.requests.per_second > 0) {
        capacities.push(measured.requests.per_second);
      } else if (measured !== undefined) {
        const reason = measured.state === 'completed' ? 'no request was answered' : measured.reason;
        reasons.push(`${spec.mode}: ${reason}`);
      }
    }
    if (capacities.length > 0) {
      await this.setRates(point, Math.min(...capacities));
    } else {
      this.missingRates.set(
        pointKey(point),
        `the offered rate is not known because the calibration failed (${reasons.join('; ')}); set it with --rate`,
      );
    }
  }

  private async setRates(point: Point, capacity: number): Promise<void> {
    const { rates, rateFraction } = this.plan;
    if (rates.length === 0) {
      const rate = roundRate(capacity * (rateFraction ?? calibrationFraction));
      this.offeredRates.set(pointKey(point), rateFraction === null ? await this.keepableRate(point, rate) : rate);
      return;
    }
    const curve = rates.map(({ fraction }) => ({
      rate_per_second: roundRate(capacity * (fraction ?? 1), curveDigits),
      rate_fraction: fraction ?? 1,
    }));
    this.setCurve(point, curve);
  }

  /**
   * The default rate, or a lower one where the client sends behind its schedule with one of the modes: the latencies of that mode would be
   * the client's. Where no lower rate helps, the default stays, and the windows say what is wrong with them.
   */
  private async keepableRate(point: Point, firstRate: number): Promise<number> {
    let rate = firstRate;
    let lowered: string | null = null;
    for (const spec of this.plan.modes) {
      if (this.aborted()) return rate;
      if (this.isLeftOut(spec.mode, point)) continue;
      const window = {
        warmupMs: Math.min(check.warmupMs, this.plan.warmupMs),
        durationMs: Math.min(check.durationMs, this.plan.durationMs),
      };
      const search = new KeepableRate(rate, window, this.plan, roundRate);
      const hooks = { ...this.trialHooks(), nextSequence: () => 0 };
      const plan = { ...this.plan, thinkTimeMs: 0 };
      await this.repeated(plan, this.task(spec, point, calibrationIndex), search.next, hooks);
      const found = search.rate;
      if (found === null) return firstRate;
      if (found < rate) lowered = spec.mode;
      rate = found;
    }
    if (lowered !== null) this.tellLowered(point, firstRate, rate, lowered);
    return rate;
  }

  private tellLowered(point: Point, from: number, to: number, mode: string): void {
    this.lateWarnings.push({
      code: 'rate_lowered',
      severity: 'info',
      message:
        `at ${pointInWords(point)} the client sent behind its schedule with ${mode} at ${grouped(from)}/s, ` +
        `${percent(calibrationFraction)} of the slower mode's capacity; ${grouped(to)}/s are offered, which it keeps`,
      hint: 'more client CPUs keep a higher rate; --rate offers one all the same',
      mode: null,
      ...pointFields(point),
      phase: 'latency',
      trial: null,
      figures: { rate_per_second: to, default_rate_per_second: from },
    });
  }

  private async calibrationWindow(spec: ModeSpec, point: Point): Promise<Window | undefined> {
    // A server that waits answers nothing in the first part of a window.
    const wait = waitOf(point);
    const warmupMs = Math.max(calibration.warmupMs, wait);
    const durationMs = Math.max(calibration.durationMs, 2 * wait);
    const window: WindowTask = { phase: 'capacity', ratePerSecond: 0, warmupMs, durationMs };
    const once: NextWindow = (done) => (done.length === 0 ? window : null);
    // A pause between requests limits the closed loop but not the timetable, whose rate is calibrated here.
    const plan = { ...this.plan, thinkTimeMs: 0 };
    const hooks = { ...this.trialHooks(), nextSequence: () => 0 };
    const { windows, madeNone } = await this.repeated(plan, this.task(spec, point, calibrationIndex), once, hooks);
    const [measured] = windows;
    if (madeNone && measured !== undefined) {
      // Reported as the first trial, which would end in the same way.
      const failed = { ...measured, index: 0, sequence: this.nextSequence(), phase: this.plan.phases[0] ?? 'capacity' };
      this.runOf(spec.mode, point).trials.push(failed);
      this.giveUp(spec.mode, point, 1);
      this.hooks.onReport(this.report(true));
    }
    return measured;
  }

  private async searches(point: Point, expression: string): Promise<void> {
    const rule = this.stoppingRule();
    for (const [index, row] of this.order.entries()) {
      if (rule?.isEnough(index, () => this.isPrecise(point, (metric) => metric === 'max_rate')) === true) break;
      this.rounds = Math.max(this.rounds, index + 1);
      for (const mode of row) {
        if (this.aborted()) return;
        if (this.isLeftOut(mode, point)) continue;
        const task = this.task(this.spec(mode), point, index);
        const hooks = { ...this.trialHooks(), nextSequence: () => 0 };
        const capacity = this.capacityOf(mode, point);
        const found = await searchMaxRate(expression, this.plan, task, capacity, hooks, this.trial);
        const run = this.runOf(mode, point);
        run.max_rate = [...(run.max_rate ?? []), found];
        this.hooks.onReport(this.report(true));
      }
    }
  }

  /** Requests/s of the closed loop, the median of the trials; null if not measured, or if the think time limited it. */
  private capacityOf(mode: string, point: Point): number | null {
    if (this.plan.thinkTimeMs > 0) return null;
    const rates = this.runOf(mode, point)
      .trials.filter((window): window is CompletedWindow => isCompleted(window) && window.phase === 'capacity')
      .map((window) => window.requests.per_second);
    return median(rates);
  }

  private spec(mode: string): ModeSpec {
    const found = this.plan.modes.find((spec) => spec.mode === mode);
    if (found === undefined) throw new Error(`mode ${mode} is not in the plan`);
    return found;
  }

  /** @param rate of a load curve; null: the run that has no rate */
  private runOf(mode: string, point: Point, rate: CurveRate | null = null): Run {
    const found = this.runs.find((run) => run.mode === mode && isHere(run, point) && sameRate(run, rate ?? {}));
    if (found === undefined) throw new Error(`run ${pointName(mode, point)} is not in the plan`);
    return found;
  }

  private task(spec: ModeSpec, point: Point, index: number): TrialTask {
    return { spec, ...point, index, ...this.nextTrial() };
  }

  private nextTrial(): Pick<TrialTask, 'sequence'> {
    this.trialSequence += 1;
    return { sequence: this.trialSequence };
  }

  private trialHooks(): TrialHooks {
    return {
      ...this.hooks,
      nextSequence: () => this.nextSequence(),
    };
  }

  private nextSequence(): number {
    this.windowSequence += 1;
    return this.windowSequence;
  }

  private reportedTrials(): number {
    const trials = this.runs.flatMap((run) =>
      run.trials.map(({ index }) => `${pointName(run.mode, { ...run, rate_per_second: null })}#${index}`),
    );
    return new Set(trials).size;
  }

  private reportPlan(): Plan {
    const { plan } = this;
    // With --until, as many as were needed so far.
    const trials = Math.max(plan.trials, this.rounds);
    return {
      modes: plan.modes.map(({ mode, backend, command }) => ({ mode, backend, command })),
      target: plan.target?.asked ?? null,
      target_address: plan.target === null ? null : hostPortText(plan.target.host, plan.target.port),
      target_tried: plan.target === null ? [] : [...plan.target.tried],
      ...reportedOptions(plan),
      ...(plan.exchange !== undefined && plan.exchange !== null && { exchange: plan.exchange.words }),
      ...(plan.tls !== undefined && plan.tls !== null && { tls: plan.tls.words }),
      trials,
      order: this.order.slice(0, trials),
      offered_rate_per_second: Object.fromEntries(this.offeredRates),
      calibration_fraction:
        plan.ratePerSecond === null && plan.rates.length === 0 && plan.phases.includes('latency')
          ? (plan.rateFraction ?? calibrationFraction)
          : null,
      ...(plan.rates.length > 0 && {
        rates: plan.rates.map(({ perSecond, fraction }) => ({ per_second: perSecond, fraction })),
      }),
      pinned: plan.cpus.pinned,
      spin_us: plan.spinUs,
    };
  }
}

/** Whether this is at a point of the sweep, at any rate of its load curve. */
function isHere(one: Point, point: Point): boolean {
  return one.clients === point.clients && sameService(one, point);
}

function isCompleted(window: Window): window is CompletedWindow {
  return window.state === 'completed';
}

/** Rates of a load curve may be as close as 90% and 95%. */
const curveDigits = 3;

/** Two significant digits match the accuracy of a calibration of one second, and a round number is easier to read. */
function roundRate(rate: number, digits = 2): number {
  const step = 10 ** Math.max(0, Math.floor(Math.log10(rate)) - digits + 1);
  return Math.max(1, Math.floor(rate / step) * step);
}
