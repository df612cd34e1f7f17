/**
 * Readings of the engines' times while a window is measured, at the looks that the conductor takes anyway. The engines do nothing for them:
 * their histograms lie in shared memory.
 */
import { timePercentiles, type HistogramReading } from '../measure/time-percentiles.js';
import type { TimePercentiles } from '../model/report-schema.js';
import { clockNowNs } from '../native/binding.js';
import type { LoadControl } from './load.js';

/** At most about this many readings of a window, so that a long one costs no more than a short one. */
const readingsMost = 30;

export class WindowReadings {
  private readonly within: HistogramReading[] = [];
  private readonly everyMs: number;

  /**
   * @param time what the percentiles are of
   * @param startNs of the window, by clockNowNs()
   */
  constructor(
    private readonly control: Pick<LoadControl, 'histogramCounts'>,
    private readonly time: 'service' | 'response',
    private readonly startNs: bigint,
    durationMs: number,
  ) {
    this.everyMs = durationMs / readingsMost;
  }

  /** Call at every look. Reads if enough time has passed since the last reading. */
  look(): void {
    const sinceMs = this.nowMs() - (this.within.at(-1)?.atMs ?? 0);
    // A look comes a little early or late; one that is left out would double the length of a part.
    if (sinceMs >= 0.9 * this.everyMs) this.read();
  }

  /** Call at the end of the window. A reading shortly before it is replaced: too few requests lie between the two. */
  end(): void {
    if (this.nowMs() - (this.within.at(-1)?.atMs ?? -Infinity) < this.everyMs / 2) this.within.pop();
    this.read();
  }

  /** Call when the last request was answered. null: the load runs on other machines, or an engine began late. */
  percentiles(): TimePercentiles[] | null {
    const drained = this.reading();
    return drained === null ? null : timePercentiles(this.within, drained);
  }

  private read(): void {
    const reading = this.reading();
    if (reading !== null) this.within.push(reading);
  }

  private reading(): HistogramReading | null {
    const counts = this.control.histogramCounts?.(this.time);
    return counts === undefined ? null : { atMs: this.nowMs(), counts };
  }

  private nowMs(): number {
    return Number(clockNowNs() - this.startNs) / 1e6;
  }
}
