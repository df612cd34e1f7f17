/** How clients are divided between agents: in proportion to their weights, in whole connections, and always all of them. */

/**
 * @param weights one per agent, each more than 0
 * @returns one number per agent; their sum is `total`. Largest remainders get the rest, the first of equal ones before the others.
 */
export function divide(total: number, weights: readonly number[]): number[] {
  const sum = weights.reduce((all, weight) => all + weight, 0);
  const exact = weights.map((weight) => (total * weight) / sum);
  const shares = exact.map(Math.floor);
  let rest = total - shares.reduce((all, share) => all + share, 0);
  const order = exact
    .map((value, index) => ({ index, remainder: value - Math.floor(value) }))
    .sort((a, b) => b.remainder - a.remainder || a.index - b.index);
  for (const { index } of order) {
    if (rest <= 0) break;
    shares[index] = (shares[index] ?? 0) + 1;
    rest -= 1;
  }
  return shares;
}

/** A probe makes one in a hundred of the connections, but enough for a percentile and few enough to stay lightly loaded. */
const probe = { share: 0.01, least: 10, most: 100 };

/** Shares of agents of which some are probes: those get a fixed number, the others the rest by weight. */
export function divideWithProbes(
  total: number,
  agents: readonly { readonly weight: number; readonly isProbe: boolean }[],
): number[] {
  const probes = agents.filter(({ isProbe }) => isProbe).length;
  const wanted = Math.min(probe.most, Math.max(probe.least, Math.round(total * probe.share)));
  const each = probes === 0 ? 0 : Math.min(wanted, Math.max(1, Math.floor(total / 2 / probes)));
  const others = agents.filter(({ isProbe }) => !isProbe);
  const rest = divide(
    total - each * probes,
    others.map(({ weight }) => weight),
  );
  return agents.map((agent) => (agent.isProbe ? each : (rest[others.indexOf(agent)] ?? 0)));
}
