/**
 * The order in which the modes of a run are measured: interleaved and balanced, so that a machine that warms up, slows down or is
 * shared hits every mode alike, and never all of A before all of B.
 */
import { seededRandom, shuffled } from './random.js';

/**
 * The modes of each trial in the order they run. Two modes: AB BA BA AB, and on by the Thue-Morse sequence, which cancels trends
 * of first, second, ... order over 4, 8, ... trials. More: rows of a Williams square, in which every mode is once at each
 * position and follows every other mode equally often. The seed decides which mode is A, B, ...
 */
export function trialOrder(modes: readonly string[], trials: number, seed: number): string[][] {
  const labelled = shuffled(modes, seededRandom(seed));
  const rows = modes.length === 2 ? thueMorseRows(trials) : williamsRows(modes.length);
  return Array.from({ length: trials }, (_, trial) => {
    const row = rows[trial % rows.length] ?? [];
    return row.map((position) => labelled[position] ?? '');
  });
}

function thueMorseRows(trials: number): number[][] {
  return Array.from({ length: Math.max(trials, 1) }, (_, trial) => (hasOddParity(trial) ? [1, 0] : [0, 1]));
}

function hasOddParity(value: number): boolean {
  let odd = false;
  for (let rest = value; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) odd = !odd;
  }
  return odd;
}

/**
 * E. J. Williams, "Experimental designs balanced for the estimation of residual effects of treatments", 1949: the first row is
 * 0, 1, n-1, 2, n-2, ...; the others are its rotations. An odd number of treatments needs the mirrored rows too; they come
 * last, so that already the first n trials give every mode each position once.
 */
function williamsRows(size: number): number[][] {
  const first = Array.from({ length: size }, (_, column) =>
    column % 2 === 1 ? (column + 1) / 2 : (size - column / 2) % size,
  );
  const square = first.map((_, shift) => first.map((position) => (position + shift) % size));
  return size % 2 === 0 ? square : [...square, ...square.map((row) => [...row].reverse())];
}

/**
 * The number of trials, from this one up, in which every mode runs equally often in each position; null where the given order does so.
 * Without that a drift of the machine between the first and the last mode of a trial does not cancel.
 */
export function trialsToBalance(order: readonly (readonly string[])[]): number | null {
  const modes = [...new Set(order.flat())];
  if (modes.length < 2 || order.length < 2) return null;
  const counts = modes.flatMap((mode) =>
    modes.map((_, position) => order.filter((row) => row[position] === mode).length),
  );
  if (Math.max(...counts) === Math.min(...counts)) return null;
  return Math.ceil((order.length + 1) / modes.length) * modes.length;
}
