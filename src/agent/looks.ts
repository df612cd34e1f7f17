/** How often an agent looks what is new. */

/** Heartbeats without news. */
export const beatEveryMs = 250;
/** While engines carry out a command, whose end is news. */
export const lookEveryMs = 20;

/**
 * Time until the next look in ms. Looks take CPU time from the engines of a small machine, and a hundred agents that only wait take it from
 * each other. So they are rare where nothing can be new: without a load, and within a window.
 * @param load windowEndNs: the end of the window that is measured or about to begin; null: the last command was another one
 * @param nowNs of the same clock
 */
export function nextLookMs(load: { readonly windowEndNs: bigint | null } | null, nowNs: bigint): number {
  if (load === null) return beatEveryMs;
  const leftMs = load.windowEndNs === null ? 0 : Number(load.windowEndNs - nowNs) / 1e6;
  return Math.min(beatEveryMs, Math.max(lookEveryMs, leftMs));
}
