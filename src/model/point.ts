/**
 * A point of a sweep: the number of clients, the work, the wait and (in a load curve) the offered rate that every mode is run with, and
 * compared at. Work is CPU time that the server burns per request, wait is time that it waits per request.
 */
import { formatRate } from './format.js';
import { duration, grouped } from './words.js';

/** As runs, comparisons and warnings have it. Reports from before work and wait lack them; null and absent mean 0. */
export interface Point {
  readonly clients: number;
  /** Microseconds. */
  readonly work_us?: number | null | undefined;
  /** Milliseconds. */
  readonly wait_ms?: number | null | undefined;
  /** Load curve: the offered rate; null or absent elsewhere. */
  readonly rate_per_second?: number | null | undefined;
  /** The rate as a fraction of the slower mode's capacity, if it was given so. */
  readonly rate_fraction?: number | null | undefined;
}

type Rate = Pick<Point, 'rate_per_second' | 'rate_fraction'>;

/** True for a point of a load curve. */
export function hasRate({ rate_per_second: rate }: Rate): boolean {
  return rate !== undefined && rate !== null;
}

/** Rates that were given as fractions are the same if those are: the capacity differs a little between two reports. */
export function sameRate(a: Rate, b: Rate): boolean {
  if (!hasRate(a) || !hasRate(b)) return hasRate(a) === hasRate(b);
  const [one, other] = [a.rate_fraction ?? null, b.rate_fraction ?? null];
  if (one !== null || other !== null) return one === other;
  return a.rate_per_second === b.rate_per_second;
}

/** The two dimensions of the server's share, by their names in gates. */
export const serviceNames = ['work', 'wait'] as const;
export type ServiceName = (typeof serviceNames)[number];

/** Microseconds of work per request. */
export function workOf({ work_us: work }: Pick<Point, 'work_us'>): number {
  return work ?? 0;
}

/** Milliseconds of wait per request. */
export function waitOf({ wait_ms: wait }: Pick<Point, 'wait_ms'>): number {
  return wait ?? 0;
}

/** Nanoseconds of work or wait per request. */
export function serviceNs(name: ServiceName, point: Omit<Point, 'clients'>): number {
  return name === 'work' ? workOf(point) * 1e3 : waitOf(point) * 1e6;
}

export function samePoint(a: Point, b: Point): boolean {
  return a.clients === b.clients && sameService(a, b) && sameRate(a, b);
}

/** True if work and wait are the same, whatever the number of clients. */
export function sameService(a: Omit<Point, 'clients'>, b: Omit<Point, 'clients'>): boolean {
  return workOf(a) === workOf(b) && waitOf(a) === waitOf(b);
}

/** The fields of a point alone, to be copied into what is said about it. Fields that are absent stay so. */
export function pointFields({ clients, work_us, wait_ms, rate_per_second, rate_fraction }: Point): {
  clients: number;
  work_us?: number | null;
  wait_ms?: number | null;
  rate_per_second?: number | null;
  rate_fraction?: number | null;
} {
  return {
    clients,
    ...(work_us === undefined ? {} : { work_us }),
    ...(wait_ms === undefined ? {} : { wait_ms }),
    ...(rate_per_second === undefined ? {} : { rate_per_second }),
    ...(rate_fraction === undefined ? {} : { rate_fraction }),
  };
}

/** "1000" without work and wait, so that reports from before them have the same keys; else "1000,work=100us,wait=5ms". */
export function pointKey(point: Point): string {
  const parts = serviceNames.filter((name) => serviceNs(name, point) > 0).map((name) => selectorOf(name, point));
  return [String(point.clients), ...parts, ...rateSelector(point)].join(',');
}

/** A run as gates name it: "iocp@1000", or "iocp@1000,work=100us" in a report that knows of work. */
export function pointName(mode: string, point: Point): string {
  const parts = serviceNames.filter((name) => isGiven(name, point)).map((name) => selectorOf(name, point));
  return `${mode}@${[String(point.clients), ...parts, ...rateSelector(point)].join(',')}`;
}

/** "rate=50%", "rate=50000/s": as it is typed. Empty outside a load curve. */
function rateSelector(point: Rate): string[] {
  const { rate_per_second: perSecond, rate_fraction: fraction } = point;
  if (perSecond === undefined || perSecond === null) return [];
  const isFraction = fraction !== undefined && fraction !== null;
  return [isFraction ? `rate=${percentOf(fraction)}` : `rate=${Number(perSecond.toPrecision(12))}/s`];
}

/** 0.55 is "55%". */
function percentOf(fraction: number): string {
  return `${Number((fraction * 100).toPrecision(12))}%`;
}

/** "23.0k/s (50%)": the rate of a point of a load curve; empty elsewhere. */
export function rateLabel({ rate_per_second: perSecond, rate_fraction: fraction }: Rate): string {
  if (perSecond === undefined || perSecond === null) return '';
  const share = fraction === undefined || fraction === null ? '' : ` (${percentOf(fraction)})`;
  return `${formatRate(perSecond)}${share}`;
}

/** "work=100us": in ASCII, as it is typed. */
function selectorOf(name: ServiceName, point: Omit<Point, 'clients'>): string {
  return `${name}=${timeText(serviceNs(name, point))}`;
}

/** "0", "100us", "1.5ms": a time as it is typed in options and gates. */
export function timeText(ns: number): string {
  if (ns === 0) return '0';
  if (ns < 1e6) return `${Number((ns / 1e3).toPrecision(12))}us`;
  if (ns < 1e9) return `${Number((ns / 1e6).toPrecision(12))}ms`;
  return `${Number((ns / 1e9).toPrecision(12))}s`;
}

/** True if the report knows of the work, or the wait, of this point; 0 counts, null does not. */
export function isGiven(name: ServiceName, point: Omit<Point, 'clients'>): boolean {
  const value = name === 'work' ? point.work_us : point.wait_ms;
  return value !== undefined && value !== null;
}

/** "1,000 clients", "1,000 clients with 100 µs of work and 5 ms of wait", "1,000 clients without work". */
export function pointInWords(point: Point): string {
  const service = serviceInWords(point);
  const rate = hasRate(point) ? ` at ${rateLabel(point)}` : '';
  return `${grouped(point.clients)} clients${service === '' ? '' : ` ${service}`}${rate}`;
}

/** "with 100 µs of work, without wait"; empty if the report does not know of either. */
export function serviceInWords(point: Omit<Point, 'clients'>): string {
  const given = serviceNames.filter((name) => isGiven(name, point));
  const some = given.filter((name) => serviceNs(name, point) > 0).map((name) => serviceLabel(name, point));
  const none = given.filter((name) => serviceNs(name, point) === 0);
  const parts = [
    ...(some.length === 0 ? [] : [`with ${some.join(' and ')}`]),
    ...(none.length === 0 ? [] : [`without ${none.join(' or ')}`]),
  ];
  return parts.join(', ');
}

/** "100 µs of work", "no wait". */
export function serviceLabel(name: ServiceName, point: Omit<Point, 'clients'>): string {
  const ns = serviceNs(name, point);
  return ns === 0 ? `no ${name}` : `${duration(ns)} of ${name}`;
}

/** The distinct points of runs, or of what is said about them, in their order. */
export function distinctPoints<P extends Point>(points: readonly P[]): P[] {
  const seen = new Map<string, P>();
  for (const point of points) if (!seen.has(pointKey(point))) seen.set(pointKey(point), point);
  return [...seen.values()];
}

/** Which dimensions have more than one value among these points. */
export function sweptDimensions(points: readonly Point[]): ('clients' | ServiceName)[] {
  const isSwept = (values: readonly number[]): boolean => new Set(values).size > 1;
  return [
    ...(isSwept(points.map(({ clients }) => clients)) ? (['clients'] as const) : []),
    ...serviceNames.filter((name) => isSwept(points.map((point) => serviceNs(name, point)))),
  ];
}
