/** Detects that the server answers nothing, so that a run does not wait for one timeout after the other. */

export interface StallFigures {
  /** Time on any monotonic clock. */
  readonly atMs: number;
  /** Connections answered so far; any increase is progress. */
  readonly answered: number;
  /** Connections that timed out so far. */
  readonly timedOut: number;
  /** Connections that are waiting for an answer now. */
  readonly inFlight: number;
}

/** With a timeout of milliseconds, a server that is still starting must not be mistaken for a silent one. */
const patienceMs = 1_000;

/**
 * A stall: since the last answer, as many timed out as were in flight at the first of these timeouts, so all of them had a chance
 * to be answered.
 */
export class Stall {
  private answered = 0;
  private timedOutBefore = 0;
  private inFlightMost = 0;

  /** @param sinceMs start of the wait, on the clock of `atMs` */
  constructor(private sinceMs: number) {}

  /** Call every few milliseconds with the current figures. Returns true if there is a stall. */
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
