/**
 * Finds a rate that the client can keep: where it sends behind its schedule, the response times include its own lateness and say little about
 * the server. Short open-loop windows are measured at each rate, from the given rate downwards.
 */
import { clientSendsLate, ownLatenessOfAll } from '../measure/open-loop.js';
import { clientStopped } from '../measure/rules.js';
import type { CompletedWindow, Plan, Window } from '../model/report-schema.js';
import type { NextWindow } from './trial.js';
import type { WindowTask } from './window-figures.js';

/** Each step offers this share of the rate before it. */
const lowering = 0.75;
/**
 * The last step offers 42% of the first rate. Further down response times become as short as the time that a thread takes to wake up, so the
 * client's lateness is a larger part of them again.
 */
const stepsMost = 4;
/** A rate is given up after as many windows: in a single one, a pause of the machine looks like a client that is too slow. */
const windowsPerRate = 3;

/** A search for the highest of these rates that the client keeps with one mode. */
export class KeepableRate {
  private step = 0;
  /** The number of the first window at this step's rate. */
  private first = 0;

  /** @param round makes a readable rate of a number */
  constructor(
    private readonly firstRate: number,
    private readonly window: Pick<WindowTask, 'warmupMs' | 'durationMs'>,
    private readonly plan: Pick<Plan, 'pipeline'>,
    private readonly round: (rate: number) => number,
  ) {}

  /** The windows to measure; ends as soon as the windows of a rate together were on schedule. */
  readonly next: NextWindow = (done) => {
    const atRate = done.slice(this.first);
    if (atRate.length > 0 && !this.isLate(atRate)) return null;
    if (atRate.length >= windowsPerRate) {
      this.step += 1;
      this.first = done.length;
      if (this.step >= stepsMost) return null;
    }
    return { phase: 'latency', ratePerSecond: this.rateOfStep(), ...this.window, mayBeEmpty: true };
  };

  /** The rate whose windows were on schedule; null where there was none. */
  get rate(): number | null {
    return this.step >= stepsMost ? null : this.rateOfStep();
  }

  private rateOfStep(): number {
    return this.round(this.firstRate * lowering ** this.step);
  }

  /** Judges as the report does: by the requests of all windows. */
  private isLate(windows: readonly Window[]): boolean {
    const completed = windows.filter((window): window is CompletedWindow => window.state === 'completed');
    // A client that was stopped may be on schedule the next time, and a server that failed says nothing about the client.
    if (completed.length < windows.length || completed.some((window) => clientStopped(window))) return false;
    const saturated = completed.filter(({ client }) => client.saturated === true).length;
    if (saturated > windows.length / 2) return true;
    const late = ownLatenessOfAll(completed);
    return late === undefined ? completed.every((window) => clientSendsLate(window, this.plan)) : late !== null;
  }
}
