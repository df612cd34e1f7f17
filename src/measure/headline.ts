/** Which of the many comparisons answers the question that was asked: the one line above the table. */
import { pointKey } from '../model/point.js';
import type { Comparison } from '../model/report-schema.js';

/**
 * The order in which figures answer it. Whoever searched for the highest rate compares by it; else the throughput of the capacity
 * phase; where the client was its limit, server CPU per request; without a capacity phase, the response time.
 */
export const preference: readonly (readonly [metric: string, phase: Comparison['phase']])[] = [
  ['max_rate', 'latency'],
  ['throughput', 'capacity'],
  ['server_cpu_us_per_request', 'capacity'],
  ['response_time_p99', 'latency'],
  ['server_cpu_us_per_request', 'latency'],
];

/** One comparison per mode and point of the sweep, in the order of the report: the first that is judged, else the first there is. */
export function headlines(comparisons: readonly Comparison[]): Comparison[] {
  const pairs = new Map<string, Comparison[]>();
  for (const comparison of comparisons) {
    const key = JSON.stringify([pointKey(comparison), comparison.a, comparison.b]);
    pairs.set(key, [...(pairs.get(key) ?? []), comparison]);
  }
  return [...pairs.values()].flatMap((ofPair) => {
    const ranked = preference.flatMap(([metric, phase]) =>
      ofPair.filter((comparison) => comparison.metric === metric && comparison.phase === phase),
    );
    const headline = ranked.find((comparison) => comparison.verdict_code !== 'not_judged') ?? ranked[0];
    return headline === undefined ? [] : [headline];
  });
}
