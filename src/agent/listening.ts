/** How long this process has listened: the time by which the silence of others is judged. */

/** A process that did nothing else would be late by less. */
const longestStepMs = 500;

/**
 * Time in which messages of others could be heard. A process that is stopped, gets no CPU or is busy for seconds finds their messages
 * afterwards, and they were not silent. So a step between two ticks counts for 0.5 s at most, however long it took: in each second of this
 * clock, the process has received what had arrived.
 */
export class ListeningClock {
  private listenedMs = 0;
  private lastAt: number;

  /** @param now in ms; tests replace it */
  constructor(private readonly now: () => number = () => performance.now()) {
    this.lastAt = now();
  }

  /** Call from a timer, several times within the longest step. */
  tick(): void {
    const at = this.now();
    this.listenedMs += this.stepMs(at);
    this.lastAt = at;
  }

  /** Since it was made. */
  get elapsedMs(): number {
    return this.listenedMs + this.stepMs(this.now());
  }

  private stepMs(at: number): number {
    return Math.min(at - this.lastAt, longestStepMs);
  }
}
