/** Clocks of other machines, compared with this one's, and what follows when several agents read one and the same clock. */

/** The clock of another machine, compared with this one's. */
export interface ClockOffset {
  /** Its time minus ours, in ns. */
  readonly offsetNs: bigint;
  /** The offset is right within this. */
  readonly uncertaintyNs: bigint;
  /** The fastest round trip of the measurement. */
  readonly roundTripNs: bigint;
}

/** One measurement of a clock. */
export interface ClockReading {
  /** See clockId(); null: not known. */
  readonly clock: string | null;
  readonly measured: ClockOffset;
}

/** This process's own clock. */
export function ownClock(id: string | null): ClockReading {
  return { clock: id, measured: { offsetNs: 0n, uncertaintyNs: 0n, roundTripNs: 0n } };
}

/**
 * The best offset of a clock: of all measurements of the same clock, the one with the smallest uncertainty. So the offset of a clock that
 * this process reads too is exactly 0. Copies of a virtual machine have the same identifiers and different clocks, so only measurements
 * that do not contradict this one count.
 */
export function bestOffset({ clock, measured }: ClockReading, all: readonly ClockReading[]): ClockOffset {
  let best = measured;
  for (const other of all) {
    if (clock === null || other.clock !== clock) continue;
    const { offsetNs, uncertaintyNs } = other.measured;
    const apart = offsetNs > measured.offsetNs ? offsetNs - measured.offsetNs : measured.offsetNs - offsetNs;
    if (apart <= uncertaintyNs + measured.uncertaintyNs && uncertaintyNs < best.uncertaintyNs) best = other.measured;
  }
  return { ...best, roundTripNs: measured.roundTripNs };
}
