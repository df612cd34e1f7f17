/**
 * The search for the highest offered rate within a latency limit, as a pure stepper: a geometric ramp until one rate was sustained and
 * a higher one was not, then bisection on the logarithm. It asks for a rate, receives the result, and ends within a bounded number of steps.
 */
import { BenchError } from '../model/errors.js';
import type { CompletedWindow, MaxRate, Plan } from '../model/report-schema.js';
import type { SearchStep } from '../model/search-result.js';
import { findMetric, readMetric, type Metric } from '../model/metrics.js';
import { parseQuantity } from '../model/quantity.js';
import { answeredShare, carriedShare } from './open-loop.js';
import { heldBackBy } from './rules.js';

export interface LatencyLimit {
  metric: Metric;
  limit_ns: number;
  /** True for '<=': a figure of exactly the limit is within it. */
  inclusive: boolean;
  /** As the user wrote it. */
  expression: string;
}

const limitPattern = /^\s*(?<name>[a-z][a-z0-9_.]*)\s*(?<operator><=?)\s*(?<quantity>\S+)\s*$/i;

/** Parses 'p99<10ms'; a percentile without more is that of the response time. */
export function parseLimit(expression: string): LatencyLimit {
  const expected = "expected a limit such as 'p99<10ms', 'p99.9<1s' or 'max<50ms'";
  const match = limitPattern.exec(expression);
  const name = match?.groups?.['name'];
  const text = match?.groups?.['quantity'];
  if (name === undefined || text === undefined) {
    throw new BenchError('usage', `'${expression}' is not a latency limit`, expected);
  }
  const plain = name.toLowerCase().replace('.', '_');
  const metric = findMetric(plain) ?? findMetric(`response_time_${plain}`);
  if (metric?.unit !== 'ns') throw new BenchError('usage', `'${name}' is not a duration that can be limited`, expected);
  const limitNs = parseQuantity(text, 'ns');
  if (limitNs === null || limitNs <= 0)
    throw new BenchError('usage', `'${text}' is not a duration above zero`, expected);
  return { metric, limit_ns: limitNs, inclusive: match?.groups?.['operator'] === '<=', expression };
}

export interface SearchState {
  readonly nextRate: number;
  /** The highest rate that was sustained, and the lowest above it that was not. */
  readonly carried: number | null;
  readonly missed: number | null;
  readonly steps: readonly SearchStep[];
  readonly done: boolean;
}

/** Each step of the ramp doubles or halves the rate. */
const rampFactor = 2;
/** Bisection ends when the two rates are this close: finer than the spread of most machines helps nobody. */
const searchResolution = 1.03;
/** Lower than one request per second nothing can be measured in a window of seconds. */
const lowestRate = 1;
/** 2 x 10 steps of the ramp would be a factor of 1000 from the start; bisection of a factor of 2 takes five. */
export const searchStepsMost = 18;

/** Begins at a rate, best one that is likely to be near: half of the mode's capacity, say. */
export function startSearch(firstRate: number): SearchState {
  return { nextRate: roundedRate(firstRate), carried: null, missed: null, steps: [], done: false };
}

/** The rate to offer next; null when the search is over. */
export function nextRate(state: SearchState): number | null {
  return state.done ? null : state.nextRate;
}

/** What happened at nextRate(state): value_ns is null when the limited figure is missing, which is never within the limit. */
export type Observation = Omit<SearchStep, 'rate_per_second'>;

export function observe(state: SearchState, observation: Observation): SearchState {
  if (state.done) return state;
  const rate = state.nextRate;
  const steps = [...state.steps, { rate_per_second: rate, ...observation }];
  const carried = observation.carried ? Math.max(rate, state.carried ?? 0) : state.carried;
  const missed = observation.carried ? state.missed : Math.min(rate, state.missed ?? Infinity);
  const next = followingRate(carried, missed, rate);
  const isOver =
    steps.length >= searchStepsMost ||
    (carried === null && rate <= lowestRate) ||
    (carried !== null && missed !== null && missed / carried <= searchResolution) ||
    steps.some((step) => step.rate_per_second === next);
  return { nextRate: next, carried, missed, steps, done: isOver };
}

function followingRate(carried: number | null, missed: number | null, rate: number): number {
  if (carried === null) return roundedRate(rate / rampFactor);
  if (missed === null) return roundedRate(rate * rampFactor);
  return roundedRate(Math.sqrt(carried * missed));
}

/** Three significant digits: readable, and finer than the resolution. */
function roundedRate(rate: number): number {
  return Math.max(lowestRate, Number(rate.toPrecision(3)));
}

/**
 * Whether a window kept within the limit. The client's own failure to offer the rate counts as not carried, and is recorded, so that the
 * result is reported as a lower bound.
 */
export function observationOf(
  limit: LatencyLimit,
  window: CompletedWindow,
  plan: Pick<Plan, 'pipeline' | 'arrivals'>,
): Observation {
  const value = readMetric(limit.metric, window) ?? upperBound(limit, window);
  const answered = (answeredShare(window, plan) ?? 0) >= carriedShare;
  return {
    value_ns: value,
    carried: value !== null && isWithin(value, limit) && answered && window.requests.failed === 0,
    limited_by: heldBackBy(window, plan),
    client_busy_fraction: window.client.busy_fraction,
    client_send_lag_p99_ns: window.client.send_lag_ns?.p99 ?? null,
  };
}

/**
 * Confirms the result of a search by windows that the search did not choose its result by. The highest of several rates that seemed to be
 * sustained is more often a lucky one than any other (a winner's curse), so a rate that is not sustained again is lowered.
 */
export interface Confirmation {
  /** The rate to offer next. */
  readonly nextRate: number;
  readonly attempts: readonly SearchStep[];
  /** The rate that was sustained once more; null: none yet. */
  readonly confirmed: number | null;
  readonly done: boolean;
}

/** The rates are lowered by one, three, six and ten steps of the resolution: to three quarters in the end. */
export const confirmationsMost = 5;

export function startConfirmation(carried: number): Confirmation {
  return { nextRate: carried, attempts: [], confirmed: null, done: false };
}

export function confirm(state: Confirmation, observation: Observation): Confirmation {
  if (state.done) return state;
  const rate = state.nextRate;
  const attempts = [...state.attempts, { rate_per_second: rate, ...observation }];
  if (observation.carried) return { nextRate: rate, attempts, confirmed: rate, done: true };
  const next = roundedRate(rate / searchResolution ** attempts.length);
  const isOver = attempts.length >= confirmationsMost || next >= rate;
  return { nextRate: next, attempts, confirmed: null, done: isOver };
}

function isWithin(value: number, { limit_ns, inclusive }: LatencyLimit): boolean {
  return inclusive ? value <= limit_ns : value < limit_ns;
}

/** At low rates a short window has too few samples for a high percentile; the maximum, which bounds it, serves instead. */
function upperBound({ metric }: LatencyLimit, window: CompletedWindow): number | null {
  const shown = metric.path.startsWith('service_time_ns') ? window.service_time_ns : window.response_time_ns;
  return shown?.max ?? null;
}

/**
 * The result as the report has it, of the trial with this index.
 * @param endedEarly why the search ended before its end; null when it did not
 * @param confirmation null: the search found no rate, or ended before that
 */
export function foundMaxRate(
  limit: LatencyLimit,
  state: SearchState,
  index: number,
  endedEarly: string | null = null,
  confirmation: Confirmation | null = null,
): MaxRate {
  const isUnconfirmed = confirmation?.done === true && confirmation.confirmed === null;
  const ended = isUnconfirmed ? (endedEarly ?? 'no rate that the search found was sustained once more') : endedEarly;
  return {
    index,
    metric: limit.metric.name,
    limit_ns: limit.limit_ns,
    rate_per_second: isUnconfirmed ? null : (confirmation?.confirmed ?? state.carried),
    steps: [...state.steps],
    ...(confirmation === null ? {} : { confirmations: [...confirmation.attempts] }),
    ...(ended === null ? {} : { ended_early: ended }),
  };
}
