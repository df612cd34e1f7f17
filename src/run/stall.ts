/** Notices that the other side answers nothing, so that a run does not wait one timeout after the other for it. */

export interface StallFigures {
  /** Any clock that only goes forward. */
  readonly atMs: number;
  /** What was answered so far; anything new is progress. */
  readonly answered: number;
  /** What had no answer within the timeout so far. */
  readonly timedOut: number;
  /** What awaits its answer now. */
  readonly inFlight: number;
}

/** With a timeout of milliseconds a server that is only starting must not be taken for a mute one. */
const patienceMs = 1_000;

/** A stall: since the last answer as many timed out as were in flight when the first of them did, so all of these had their chance. */
export class Stall {
  private answered = 0;
  private timedOutBefore = 0;
  private inFlightMost = 0;

  /** @param sinceMs when the waiting began, on the clock of `atMs` */
  constructor(private sinceMs: number) {}

  /** Looks at the figures as they are now, to be called every few milliseconds; true once there is a stall. */
  observe({ atMs, answered, timedOut, inFlight }: StallFigures): boolean {
    if (answered !== this.answered) {
      this.answered = answered;
      this.timedOutBefore = timedOut;
      this.inFlightMost = 0;
      this.sinceMs = atMs;
    }
    const timedOutSince = timedOut - this.timedOutBefore;
    if (timedOutSince === 0 || this.inFlightMost === 0) this.inFlightMost = Math.max(this.inFlightMost, inFlight);
    return timedOutSince > 0 && timedOutSince >= this.inFlightMost && atMs - this.sinceMs >= patienceMs;
  }
}
