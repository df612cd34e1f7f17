/** Work on many agents, of which only some are busy at once. */

/** At most `count` at once. Rejects with the first error; what has begun goes on. */
export async function inLanes<Item>(
  items: readonly Item[],
  count: number,
  work: (item: Item) => Promise<void>,
): Promise<void> {
  const waiting = items.values();
  const lanes = Array.from({ length: Math.min(count, items.length) }, async () => {
    for (const item of waiting) await work(item);
  });
  await Promise.all(lanes);
}

/** An agent's machine, as far as its CPUs are shared. */
export interface Machine {
  /** See machineId(). */
  readonly machine: string;
  /** The CPUs that the agent may use. */
  readonly cpus: readonly number[];
}

/** Two for each CPU: while one waits for an answer, the other one uses the CPU. */
const lanesPerCpu = 2;

/**
 * Like inLanes(), with lanes of its own for every machine: twice the number of CPUs that its agents may use. With a hundred agents busy at
 * once on two CPUs, none of them would get a CPU for long enough to be heard from in time.
 */
export async function inLanesOfMachines<Item>(
  items: readonly Item[],
  machineOf: (item: Item) => Machine,
  work: (item: Item) => Promise<void>,
): Promise<void> {
  const names = new Set(items.map((item) => machineOf(item).machine));
  const machines = [...names].map(async (name) => {
    const own = items.filter((item) => machineOf(item).machine === name);
    const cpus = new Set(own.flatMap((item) => machineOf(item).cpus));
    await inLanes(own, lanesPerCpu * Math.max(1, cpus.size), work);
  });
  await Promise.all(machines);
}
