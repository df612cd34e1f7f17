/** What an open-loop window says about its timetable: whether the client kept it, and how much of it the server answered. */
import type { CompletedWindow, Distribution, Plan, Window } from '../model/report-schema.js';
import { p99OfAll } from './tails.js';

/** Lateness of more than this share of the response time is a part of the figure that readers would take for the server's. */
const lagTolerated = 0.1;

/** The lateness of messages and the response time at the same percentile, in ns. */
export interface Lateness {
  readonly lag: number;
  readonly response: number;
}

type Percentile = 'p99' | 'max';

function tooLate(lags: Distribution | null, window: CompletedWindow, percentile: Percentile): Lateness | null {
  const lag = lags?.[percentile] ?? null;
  const response = window.response_time_ns?.[percentile] ?? null;
  return lag === null || response === null ? null : ifLarge({ lag, response });
}

function ifLarge(late: Lateness): Lateness | null {
  return late.lag > lagTolerated * late.response ? late : null;
}

/** The send lag where it is a large part of the response time, whoever caused it; null where it is not, or is not known. */
export function lateness(window: CompletedWindow, percentile: Percentile = 'p99'): Lateness | null {
  return tooLate(window.client.send_lag_ns, window, percentile);
}

/**
 * The same for the client's own lateness. A message that is due while its connection is busy waits for an echo, which is not the
 * client's fault.
 */
export function ownLateness(
  window: CompletedWindow,
  plan: Pick<Plan, 'pipeline'>,
  percentile: Percentile = 'p99',
): Lateness | null {
  const { own_lag_ns: own } = window.client;
  if (own !== undefined) return tooLate(own, window, percentile);
  return waitedForTheirTurn(window, plan) ? null : lateness(window, percentile);
}

/**
 * The client's own lateness at the p99 among the requests of several windows, where it is a large part of their response time; null where it is
 * not. A figure of all these requests is judged by it: one window in which the machine paused the client does not spoil the p99 of twenty.
 * Undefined where the report does not have what is needed, so that each window must be judged by itself.
 */
export function ownLatenessOfAll(windows: readonly CompletedWindow[]): Lateness | null | undefined {
  const [lag, response] = [p99OfAll(windows, 'own_lag_ns'), p99OfAll(windows, 'response_time_ns')];
  return lag === null || response === null ? undefined : ifLarge({ lag, response });
}

/** True when the client's own lateness is a part of the response times: they say nothing about the server then. */
export function clientSendsLate(window: Window | null, plan: Pick<Plan, 'pipeline'>): boolean {
  return window?.state === 'completed' && ownLateness(window, plan) !== null;
}

/**
 * For reports without the client's own lag, which have even arrivals. A message can wait for its connection only when some echo took
 * longer than the time until the connection's place is needed again.
 */
function waitedForTheirTurn(
  { requests, fairness, service_time_ns, client }: CompletedWindow,
  plan: Pick<Plan, 'pipeline'>,
): boolean {
  const offered = requests.offered_per_second ?? 0;
  if (offered <= 0 || client.saturated === true) return false;
  const placeNeededAfterNs = (fairness.connections * plan.pipeline * 1e9) / offered;
  return service_time_ns.max === null || service_time_ns.max > placeNeededAfterNs;
}

/** A rate was carried if at least this share of the offered requests was answered. */
export const carriedShare = 0.99;

/**
 * The answered share of what was offered; null in a closed loop. At random, a window has more or fewer requests than the rate says, so
 * they are compared with those that were due.
 */
export function answeredShare({ requests }: CompletedWindow, plan: Pick<Plan, 'arrivals'>): number | null {
  const offered = requests.offered_per_second ?? 0;
  if (offered <= 0) return null;
  if (plan.arrivals === 'poisson') return requests.offered > 0 ? requests.count / requests.offered : null;
  return requests.per_second / offered;
}
