/** Finding the agents of a run: all agents of the group are asked until those that it names have answered. */
import { setTimeout as pause } from 'node:timers/promises';
import type { FoundAgents } from './fleet.js';
import type { Facts } from './protocol.js';

/** An agent is not there if none answers for the first time in this time. */
const findWithinMs = 3_000;
const firstRoundMs = 400;
/** Timers may fire early, and what is left then is no time for an answer. */
const shortestRoundMs = 20;
const longestRoundMs = 1_600;

export interface RollCall {
  /** All that answered, by name. */
  readonly found: ReadonlyMap<string, Facts>;
  /** Why others cannot be used. */
  readonly others: readonly string[];
}

/**
 * Ends when all these agents have answered, or no further one does. Each round is longer than the one before: a hundred agents of a busy
 * machine need seconds for their answers, and what arrives after the end of a round is not heard.
 * @param ask one round that lasts so many ms
 * @param now in ms; tests replace it
 */
export async function callRoll(
  names: readonly string[],
  ask: (durationMs: number) => Promise<FoundAgents>,
  now: () => number = () => performance.now(),
): Promise<RollCall> {
  const found = new Map<string, Facts>();
  let others: readonly string[] = [];
  let roundMs = firstRoundMs;
  let newestAt = now();
  while (names.some((name) => !found.has(name))) {
    const startedAt = now();
    const lastsMs = Math.min(roundMs, newestAt + findWithinMs - startedAt);
    if (lastsMs < shortestRoundMs) break;
    const round = await ask(lastsMs);
    const before = found.size;
    for (const facts of round.facts) found.set(facts.name, facts);
    ({ others } = round);
    if (found.size > before) newestAt = now();
    // The broker answers at once that nobody listens.
    const leftMs = startedAt + lastsMs - now();
    if (leftMs > 0) await pause(leftMs);
    roundMs = Math.min(longestRoundMs, 2 * roundMs);
  }
  return { found, others };
}
