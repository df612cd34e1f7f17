/** Says whether the result of a search for the highest rate is a figure of the server or only a lower bound of it. */
import type { MaxRate, Run } from './report-schema.js';
import { duration } from './words.js';

export type SearchStep = MaxRate['steps'][number];

/** The lowest rate above the found one that was not carried. It is the upper end of the search. */
export function lowestMissed({ rate_per_second: found, steps, confirmations = [] }: MaxRate): SearchStep | null {
  const missed = [...steps, ...confirmations].filter((step) => !step.carried && step.rate_per_second > (found ?? 0));
  return missed.reduce<SearchStep | null>(
    (lowest, step) => (lowest === null || step.rate_per_second < lowest.rate_per_second ? step : lowest),
    null,
  );
}

/**
 * Why the found rate is only a lower bound of what the server carries: the client or the machine failed at the rate that ended the
 * search, the search ended early or found no rate that was too high, or the report does not say which side failed. null if the
 * server was the limit.
 */
export type SearchLimit = 'client' | 'machine' | 'unfinished' | 'unrecorded' | null;

export function searchLimit(found: MaxRate): SearchLimit {
  const missed = lowestMissed(found);
  if (missed === null || found.ended_early !== undefined) return 'unfinished';
  if (missed.limited_by === undefined) return 'unrecorded';
  if (missed.limited_by === null) return null;
  return missed.limited_by === 'machine' ? 'machine' : 'client';
}

/** The share by which the server's true highest rate may exceed the found one: the gap to the rate that ended the search. */
export function searchResolution(found: MaxRate): number {
  const missed = lowestMissed(found);
  if (missed === null || found.rate_per_second === null || found.rate_per_second <= 0) return 0;
  return missed.rate_per_second / found.rate_per_second - 1;
}

/** "response time p99 within 10 ms", for each limit of the run's searches. */
export function searchLimitsInWords(run: Run): string {
  const limits = (run.max_rate ?? []).map(
    ({ metric, limit_ns }) => `${metric.replaceAll('_', ' ')} within ${duration(limit_ns)}`,
  );
  return [...new Set(limits)].sort().join(' and ');
}

/** False if both runs have a search but with different limits, because the two rates then answer different questions. */
export function sameSearchLimits(a: Run, b: Run): boolean {
  const [first, second] = [searchLimitsInWords(a), searchLimitsInWords(b)];
  return first === '' || second === '' || first === second;
}
