/**
 * Finds a rate that the client can keep: where it sends behind its schedule, the response times include its own lateness and say little about
 * the server. One short open-loop window is measured per rate, from the given rate downwards.
 */
import { clientSendsLate } from '../measure/open-loop.js';
import { clientStopped } from '../measure/rules.js';
import type { Plan, Window } from '../model/report-schema.js';
import type { NextWindow } from './trial.js';
import type { WindowTask } from './window-figures.js';

/** Each step offers this share of the rate before it. */
const lowering = 0.75;
/** The last step offers a quarter of the first rate. Where that is too much as well, a lower rate is not what the client lacks. */
const stepsMost = 6;

/** A search for the highest of these rates that the client keeps with one mode. */
export class KeepableRate {
  private step = 0;

  /** @param round makes a readable rate of a number */
  constructor(
    private readonly firstRate: number,
    private readonly window: Pick<WindowTask, 'warmupMs' | 'durationMs'>,
    private readonly plan: Pick<Plan, 'pipeline'>,
    private readonly round: (rate: number) => number,
  ) {}

  /** The windows to measure; ends as soon as one was on schedule. */
  readonly next: NextWindow = (done) => {
    const last = done.at(-1);
    if (last !== undefined) {
      if (!this.isLate(last)) return null;
      this.step += 1;
      if (this.step >= stepsMost) return null;
    }
    return { phase: 'latency', ratePerSecond: this.rateOfStep(), ...this.window, mayBeEmpty: true };
  };

  /** The rate of the window that was on schedule; null where none was. */
  get rate(): number | null {
    return this.step >= stepsMost ? null : this.rateOfStep();
  }

  private rateOfStep(): number {
    return this.round(this.firstRate * lowering ** this.step);
  }

  /** A client that was stopped may be on schedule the next time, and a server that failed says nothing about the client. */
  private isLate(window: Window): boolean {
    if (window.state !== 'completed' || clientStopped(window)) return false;
    return window.client.saturated === true || clientSendsLate(window, this.plan);
  }
}
