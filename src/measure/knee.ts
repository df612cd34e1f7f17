/** Conclusions of a sweep over numbers of clients, in words, and only where the intervals support them. */
import type { Plan, Run } from '../model/report-schema.js';
import { claimFloor } from './comparisons.js';
import { leftOut } from './left-out.js';
import { completedWindows, requireMetric, trialValues } from '../model/metrics.js';
import { confidenceLevel, geometricMean, median, unpairedRatioInterval, type RatioInterval } from './statistics.js';
import { hasRate, sameService, serviceInWords } from '../model/point.js';
import { listInWords } from '../model/format.js';
import { grouped, percent } from '../model/words.js';

interface Size {
  clients: number;
  rates: number[];
  mean: number;
  saturated: boolean;
  /** Some of its trials failed: the others may be the better ones. */
  failed: boolean;
}

/** A mode whose knee is not known. */
interface NoKnee {
  mode: string;
  reason: string;
}

/** One sentence per mode that was measured at several numbers of clients, where there is something to say. */
export function describeKnees(runs: readonly Run[], plan: Plan): string[] {
  // In a load curve the runs of the rates say nothing about the capacity.
  const sizes = runs.every(hasRate) ? runs : runs.filter((run) => !hasRate(run));
  const modes = [...new Set(sizes.map((run) => run.mode))];
  const found = modes.flatMap((mode): (string | NoKnee)[] => {
    const ofMode = sizes.filter((run) => run.mode === mode).sort((a, b) => a.clients - b.clients);
    return [
      ...services(ofMode).flatMap((service) => {
        const inWords = serviceInWords(service);
        const alike = ofMode.filter((run) => sameService(run, service));
        return describeKnee(inWords === '' ? mode : `${mode} ${inWords}`, sizesOf(alike, plan));
      }),
      ...describeCarried(mode, ofMode),
      ...describeLimit(mode, ofMode),
    ];
  });
  return [
    ...found.filter((one) => typeof one === 'string'),
    ...noKneesInWords(found.filter((one) => typeof one !== 'string')),
  ];
}

/** Modes of which the same can be said share a sentence. */
function noKneesInWords(modes: readonly NoKnee[]): string[] {
  const reasons = [...new Set(modes.map(({ reason }) => reason))];
  return reasons.map((reason) => {
    const alike = modes.filter((one) => one.reason === reason).map(({ mode }) => mode);
    return `${listInWords(alike)}: ${reason}, so no knee can be reported`;
  });
}

/** A run of each work and wait: sizes are compared where both are the same. */
function services(runs: readonly Run[]): Run[] {
  return runs.filter((run, place) => runs.findIndex((other) => sameService(other, run)) === place);
}

function sizesOf(runs: readonly Run[], plan: Plan): Size[] {
  if (!plan.phases.includes('capacity')) return [];
  return runs.flatMap((run) => {
    const values = trialValues(requireMetric('throughput'), run, 'capacity');
    const rates = values.map(({ value }) => value).filter((value): value is number => value !== null && value > 0);
    const mean = geometricMean(rates);
    if (mean === null) return [];
    const saturated = values.some(({ window }) => window?.client?.saturated === true);
    const failed = leftOut(requireMetric('throughput'), run, 'capacity').failed.size > 0;
    return [{ clients: run.clients, rates, mean, saturated, failed }];
  });
}

function describeKnee(mode: string, sizes: readonly Size[]): (string | NoKnee)[] {
  const first = sizes[0];
  const last = sizes.at(-1);
  if (first === undefined || last === undefined || first === last) return [];
  // A rate that the client could not exceed says nothing about where the server's knee is.
  const limited = sizes.filter((size) => size.saturated).map((size) => grouped(size.clients));
  if (limited.length > 0)
    return [{ mode, reason: `the load generator was the limit at ${listInWords(limited)} clients` }];
  const failed = sizes.filter((size) => size.failed).map((size) => grouped(size.clients));
  if (failed.length > 0) return [{ mode, reason: `trials failed at ${listInWords(failed)} clients` }];
  const peak = sizes.reduce((best, size) => (size.mean > best.mean ? size : best));
  // The best of several sizes looks better than it is, and any of the others could have been it: each interval has the confidence that keeps
  // all of them together at 95% (Bonferroni).
  const confidence = 1 - (1 - confidenceLevel) / (sizes.length - 1);
  const fromPeak = (size: Size): RatioInterval | null => unpairedRatioInterval(peak.rates, size.rates, { confidence });
  const alike = sizes.filter((size) => size === peak || !isLower(fromPeak(size)));
  const top = alike.length === 1 ? `at ${grouped(peak.clients)}` : betweenWords(alike);
  const loss = fromPeak(last);
  if (last !== peak && isLower(loss)) {
    return [`${mode} peaks ${top} and loses ${lossWords(loss)} by ${grouped(last.clients)} clients`];
  }
  const growth = unpairedRatioInterval(last.rates, first.rates);
  if (isLower(growth)) {
    const gain = last.mean / first.mean - 1;
    return [`${mode} gains ${percent(gain)} from ${grouped(first.clients)} to ${grouped(last.clients)} clients`];
  }
  return canTell(loss ?? growth)
    ? [`${mode} shows no loss of throughput from ${grouped(first.clients)} to ${grouped(last.clients)} clients`]
    : [];
}

/** The whole interval lies below 1 by more than what may be claimed. */
function isLower(interval: RatioInterval | null): interval is RatioInterval & { low: number; high: number } {
  return interval !== null && interval.high !== null && interval.high < 1 / (1 + claimFloor);
}

/** One trial per size gives no interval, so nothing can be said. */
function canTell(interval: RatioInterval | null): boolean {
  return interval !== null && interval.high !== null;
}

function betweenWords(sizes: readonly Size[]): string {
  const clients = sizes.map((size) => size.clients);
  return `between ${grouped(Math.min(...clients))} and ${grouped(Math.max(...clients))}`;
}

function lossWords({ ratio, low, high }: RatioInterval & { low: number; high: number }): string {
  return `${percent(1 - ratio)} (95% interval: ${percent(1 - high)} to ${percent(1 - low)})`;
}

/** The largest number of connections that a mode served, where it refused more. */
function describeCarried(mode: string, runs: readonly Run[]): string[] {
  const largest = runs.at(-1);
  if (largest === undefined) return [];
  const windows = (['capacity', 'latency'] as const).flatMap((phase) => completedWindows(largest, phase));
  const refusing = windows.filter((window) => (window.errors.by_class['refused_by_server'] ?? 0) > 0);
  const made = median(refusing.map((window) => window.connections.made));
  if (made === null || refusing.length < windows.length) return [];
  return [`${mode} served ${grouped(made)} of ${grouped(largest.clients)} connections and refused the others`];
}

/** "select: 1,024 clients at most here, since ...": what a mode could not be run at is its result. */
function describeLimit(mode: string, runs: readonly Run[]): string[] {
  const limited = runs.filter(({ limit }) => limit !== undefined);
  const [first] = limited;
  if (first?.limit === undefined) return [];
  const { limit, value, command, most } = first.limit;
  const sizes = [...new Set(limited.map(({ clients }) => grouped(clients)))].join(', ');
  const further = command === '' ? '' : `; to go further: ${command}`;
  return [
    `${mode}: ${grouped(most)} clients at most here, so it was not run at ${sizes} (the limit is ${limit}: ${grouped(value)}${further})`,
  ];
}
