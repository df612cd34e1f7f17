/**
 * The headline of a report: one sentence that answers the question of the run. It is made only of valid figures: a figure that a warning
 * calls invalid is left out, and where the load generator limited the throughput, the server's CPU time per request takes its place.
 */
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatDurationUs,
  formatRate,
  formatRatio,
  listInWords,
  plural,
  printable,
} from '../model/format.js';
import { completedWindows, isBeyondTimeout, lowerBoundReason, requireMetric, trialValues } from '../model/metrics.js';
import type { Metric } from '../model/metrics.js';
import {
  distinctPoints,
  hasRate,
  pointKey,
  samePoint,
  serviceInWords,
  sweptDimensions,
  type Point,
} from '../model/point.js';
import type { Comparison, Phase, Report, Run } from '../model/report-schema.js';
import { percent, valueInWords } from '../model/words.js';
import { preference } from './headline.js';
import { curvePoints, curvesOf, describeDifferences, describeKnee } from './load-curve.js';
import { runValue } from './run-values.js';
import { amountInWords, ratioSentence, type RatioInWords } from './sentences.js';
import { describeServiceSweeps } from './service-sweep.js';
import { invalidating } from './validity.js';

/** What a headline is made of. */
export type Answerable = Pick<
  Report,
  'plan' | 'runs' | 'comparisons' | 'warnings' | 'environment' | 'partial' | 'noise'
>;

/** The headline that the report has, or the one that follows from its figures; safe to print. */
export function headlineText(report: Report): string {
  return printable(report.headline ?? headlineOf(report));
}

/** The report with the headline of its present figures. */
export function withHeadline(report: Report): Report {
  return { ...report, headline: headlineOf(report) };
}

/** One sentence, with its full stop. */
export function headlineOf(report: Answerable): string {
  const { compatibility } = report.environment;
  const circumstances = [
    ...(report.partial ? ['interrupted run'] : []),
    ...(compatibility === null ? [] : [`${compatibility}, not Windows`]),
  ];
  const lead = circumstances.length === 0 ? '' : `${circumstances.join(', ')}: `;
  const sentence = `${lead}${answer(report)}`;
  return `${sentence.charAt(0).toUpperCase()}${sentence.slice(1)}${sentence.endsWith('.') ? '' : '.'}`;
}

/** Begins with a word of ours, never with a name of the user's. */
function answer(report: Answerable): string {
  const measured = report.runs.filter((run) => isMeasured(run));
  const [first] = measured;
  if (first === undefined) return nothingMeasured(report);
  return (
    ownNoise(report) ??
    loadCurve(report) ??
    serviceSweep(report) ??
    (isComparison(report) ? comparisonAt(report, measured) : singleAt(report, measured))
  );
}

function isMeasured(run: Run): boolean {
  return run.trials.some(({ state }) => state === 'completed') || (run.max_rate ?? []).length > 0;
}

function isComparison({ plan }: Answerable): boolean {
  return plan.modes.length > 1;
}

/** "at 6,000 connections", "at 6,000 connections with 100 µs of work per request". */
function at(point: Point): string {
  const service = serviceInWords(point);
  const what = service === '' ? '' : ` ${service} per request`;
  return `at ${formatCount(point.clients)} ${point.clients === 1 ? 'connection' : 'connections'}${what}`;
}

/** Of a run that is no point of a load curve, the one with the most connections, work and wait. */
function largestPoint(runs: readonly Run[]): Point | null {
  const points = distinctPoints(runs);
  const most = Math.max(...points.map(({ clients }) => clients));
  return points.filter(({ clients }) => clients === most).at(-1) ?? null;
}

function runsAt(report: Answerable, point: Point): Run[] {
  const order = report.plan.modes.map(({ mode }) => mode);
  return report.runs
    .filter((run) => samePoint(run, point))
    .sort((one, other) => order.indexOf(one.mode) - order.indexOf(other.mode));
}

/* --------------------------------------------------------------------------------------------------- valid figures */

function isValid(report: Answerable, metric: Metric, run: Point & Pick<Run, 'mode'>, phase: Phase): boolean {
  return invalidating(report.warnings, metric, run, phase) === undefined;
}

/** A value that the tables show, unless it is not valid, is not known in every trial, or is only a bound. */
function soundValue(report: Answerable, name: string, run: Run, phase: Phase): number | null {
  const metric = requireMetric(name);
  if (!isValid(report, metric, run, phase)) return null;
  const values = trialValues(metric, run, phase);
  const isBound = metric.clientLimit === 'rate' && values.some((value) => lowerBoundReason(value) !== null);
  if (isBound || values.some(({ window }) => isBeyondTimeout(metric, window))) return null;
  return runValue(metric, run, phase);
}

function isValidComparison(report: Answerable, comparison: Comparison): boolean {
  const metric = requireMetric(comparison.metric);
  return [comparison.a, comparison.b].every((mode) =>
    isValid(report, metric, { ...comparison, mode }, comparison.phase),
  );
}

/** The judged comparisons of valid figures at a point, in the order in which they answer the question; bounds last. */
function claimsAt(report: Answerable, point: Point): Comparison[] {
  const judged = report.comparisons.filter(
    (one) => samePoint(one, point) && one.verdict_code !== 'not_judged' && isValidComparison(report, one),
  );
  const ranked = preference.flatMap(([metric, phase]) =>
    judged.filter((one) => one.metric === metric && one.phase === phase && asRatio(one) !== null),
  );
  const isBound = ({ bound }: Comparison): boolean => bound !== null;
  return [...ranked.filter((one) => !isBound(one)), ...ranked.filter(isBound)];
}

function asRatio({ metric, a, b, ratio, ci_low: low, ci_high: high, bound }: Comparison): RatioInWords | null {
  if (ratio === null || low === null || high === null) return null;
  return { entry: requireMetric(metric), a: printable(a), b: printable(b), ratio, low, high, limit: bound };
}

function isDifference({ verdict_code: code }: Comparison): boolean {
  return code === 'higher' || code === 'lower';
}

/** " at the offered rate" for a figure of both phases. */
function phaseInWords({ metric, phase }: Comparison): string {
  return phase === 'latency' && requireMetric(metric).compared.length === 2 ? ' at the offered rate' : '';
}

function claimInWords(claim: Comparison): string {
  const subject = asRatio(claim);
  if (subject === null) return claim.verdict;
  if (isDifference(claim)) return ratioSentence(subject) + phaseInWords(claim);
  const { entry, a, b, low, high } = subject;
  const where = `between ${a} and ${b} (95% interval: ${formatRatio(low)} to ${formatRatio(high)})`;
  return `no difference was shown in ${entry.title} ${where}${phaseInWords(claim)}`;
}

/* ------------------------------------------------------------------------------------------------------ comparisons */

function comparisonAt(report: Answerable, measured: readonly Run[]): string {
  const candidates = measured.filter((run) => !hasRate(run));
  const points = distinctPoints(candidates.length > 0 ? candidates : measured);
  const largest = largestPoint(candidates.length > 0 ? candidates : measured);
  if (largest === null) return nothingMeasured(report);
  const judged = points.filter((point) => claimsAt(report, point).length > 0);
  const most = Math.max(...judged.map(({ clients }) => clients));
  const point = claimsAt(report, largest).length > 0 ? largest : judged.findLast(({ clients }) => clients === most);
  if (point === undefined) return withoutClaims(report, largest);
  const claims = claimsAt(report, point);
  const names = new Set(claims.map(({ a }) => a));
  const isPair = report.plan.modes.length === 2;
  const words = isPair || names.size === 1 ? pairInWords(report, point, claims) : manyInWords(report, claims);
  return `${at(point)}, ${troubles(report, point)}${words}${isPair ? smallestInWords(report, points, point, claims[0]) : ''}`;
}

/** The first claim; where it shows no difference, also the first that does; and the memory, where it differs beyond doubt. */
function pairInWords(report: Answerable, point: Point, claims: readonly Comparison[]): string {
  const [first] = claims;
  if (first === undefined) return '';
  const other = isDifference(first) ? undefined : claims.find((one) => isDifference(one) && one.bound === null);
  const second = other === undefined ? '' : `, but ${claimInWords(other)}`;
  return claimInWords(first) + second + memoryInWords(report, point, other ?? first);
}

/** Of memory that differs by less than this, nobody chooses a model. */
const memoryTold = 1.1;

/** ", with 61.0 MiB of memory instead of 412 MiB"; empty where it is not known or hardly differs. */
function memoryInWords(report: Answerable, point: Point, claim: Comparison): string {
  const runs = runsAt(report, point);
  const [a, b] = [claim.a, claim.b].map((mode) =>
    memoryOf(
      report,
      runs.find((run) => run.mode === mode),
    ),
  );
  if (a === undefined || b === undefined || a === null || b === null) return '';
  const [less, more] = a.high < b.low ? [a, b] : [b, a];
  if (less.high >= more.low || more.middle < memoryTold * less.middle) return '';
  const isBetter = claim.verdict_code === requireMetric(claim.metric).better;
  const word = isDifference(claim) && isBetter !== (a === less) ? ', but with' : ', with';
  const mode = isDifference(claim) ? '' : ` in ${printable(claim.a)}`;
  return `${word} ${formatBytes(a.middle)} of memory${mode} instead of ${formatBytes(b.middle)}`;
}

interface Memory {
  readonly low: number;
  readonly middle: number;
  readonly high: number;
}

/** Resident memory of the server at full load, over the trials. */
function memoryOf(report: Answerable, run: Run | undefined): Memory | null {
  const perConnection = requireMetric('resident_bytes_per_connection');
  if (run === undefined || shortfall(run) !== null) return null;
  const phase = completedWindows(run, 'capacity').length > 0 ? 'capacity' : 'latency';
  if (!isValid(report, perConnection, run, phase)) return null;
  const values = completedWindows(run, phase).map(({ server }) => server?.resident_bytes ?? null);
  const known = values.filter((value) => value !== null).sort((x, y) => x - y);
  const [low] = known;
  const high = known.at(-1);
  const middle = known[Math.floor(known.length / 2)];
  if (known.length < values.length || low === undefined || high === undefined || middle === undefined) return null;
  return { low, middle, high };
}

/** In a sweep over sizes: "; at 100 connections, 12% less". */
function smallestInWords(
  report: Answerable,
  points: readonly Point[],
  point: Point,
  claim: Comparison | undefined,
): string {
  const [smallest] = [...points].sort((x, y) => x.clients - y.clients);
  if (claim === undefined || smallest === undefined || smallest.clients === point.clients) return '';
  const same = claimsAt(report, smallest).find(
    ({ metric, phase, a }) => metric === claim.metric && phase === claim.phase && a === claim.a,
  );
  if (same === undefined) return '';
  const subject = asRatio(same);
  if (!isDifference(same) || subject === null) return `; ${at(smallest)}, no difference was shown`;
  const what = isDifference(claim) ? '' : ` ${subject.entry.title}`;
  return `; ${at(smallest)}, ${amountInWords(subject).size}${what}`;
}

/** Named in the sentence; a reader finds the others in the table. */
const modesNamed = 4;

/** Every mode against the first of the plan, in the one figure that most of them can be judged by. */
function manyInWords(report: Answerable, claims: readonly Comparison[]): string {
  const isSharp = ({ bound }: Comparison): boolean => bound === null;
  const families = preference.flatMap(([metric, phase]) => {
    const family = claims.filter((one) => one.metric === metric && one.phase === phase);
    return family.length === 0 ? [] : [family];
  });
  const most = Math.max(...families.map((family) => family.filter(isSharp).length));
  const family = families.find((one) => one.filter(isSharp).length === most) ?? claims;
  const [first] = family;
  if (first === undefined) return '';
  const metric = requireMetric(first.metric);
  const worth = ({ ratio }: Comparison): number => (metric.better === 'higher' ? -(ratio ?? 1) : (ratio ?? 1));
  const differing = family.filter(isDifference).sort((x, y) => worth(x) - worth(y));
  const alike = family.filter((one) => !isDifference(one)).map(({ a }) => printable(a));
  const others = report.plan.modes.length - 1 - family.length;
  const named = differing.slice(0, modesNamed).map((one, place) => {
    const subject = asRatio(one);
    if (subject === null) return printable(one.a);
    const { size, interval } = amountInWords(subject);
    return `${printable(one.a)} ${size} (${place === 0 ? '95% interval: ' : ''}${interval})`;
  });
  const more = differing.length - named.length;
  const parts = [
    ...(named.length === 0 ? [] : [listInWords(named) + (more > 0 ? `, ${formatCount(more)} more in the table` : '')]),
    ...(alike.length === 0 ? [] : [`no difference shown for ${listInWords(alike)}`]),
    ...(others > 0 ? [`${plural(others, 'other mode')} not judged`] : []),
  ];
  return `${metric.title}${phaseInWords(first)} compared with ${printable(first.b)}: ${parts.join('; ')}`;
}

/* ---------------------------------------------------------------------------------------------- what did not hold */

/** The fewest connections that a mode served, where it is its own limit; null where it served all. */
function shortfall(run: Run): { made: number; asked: number } | null {
  const windows = [...completedWindows(run, 'capacity'), ...completedWindows(run, 'latency')];
  const worst = windows.sort((x, y) => x.connections.made - y.connections.made)[0]?.connections;
  return worst === undefined || worst.made >= 0.99 * worst.asked ? null : worst;
}

/** "blocking served 2,031 of 6,000 connections, pool failed in 1 of 2 trials; "; empty where every mode held. */
function troubles(report: Answerable, point: Point): string {
  const runs = runsAt(report, point);
  const texts = runs.flatMap((run) => {
    const mode = printable(run.mode);
    if (run.limit !== undefined) return [`${mode} can serve ${formatCount(run.limit.most)} at most here`];
    const missing = shortfall(run);
    // Connections that the client could not make say nothing about the server.
    const isServers = missing !== null && isValid(report, requireMetric('throughput'), run, 'capacity');
    const failed = new Set(run.trials.filter(({ state }) => state === 'failed').map(({ index }) => index)).size;
    const trials = new Set(run.trials.map(({ index }) => index)).size;
    const parts = [
      ...(isServers ? [`served ${formatCount(missing.made)} of ${formatCount(missing.asked)} connections`] : []),
      ...(failed === 0 ? [] : [`failed in ${failed === trials ? 'every trial' : `${failed} of ${trials} trials`}`]),
    ];
    return parts.length === 0 ? [] : [`${mode} ${listInWords(parts)}`];
  });
  return texts.length === 0 ? '' : `${listInWords(texts)}; `;
}

/** Where no comparison was judged: the figures next to each other, if one is valid for all modes; else why none is. */
function withoutClaims(report: Answerable, point: Point): string {
  const runs = runsAt(report, point).filter(isMeasured);
  const trouble = troubles(report, point);
  const shown = preference.flatMap(([name, phase]) => {
    const values = runs.map((run) => ({ run, value: soundValue(report, name, run, phase) }));
    return values.some(({ value }) => value === null) ? [] : [{ metric: requireMetric(name), phase, values }];
  });
  const [figure] = shown;
  const [first] = figure?.values ?? [];
  if (figure === undefined || first === undefined) return noneValid(report, point, trouble);
  const why = whyNotJudged(figure.metric, figure.phase, runs);
  const named = figure.values
    .slice(0, modesNamed + 1)
    .map(({ run, value }) => `${valueText(figure.metric, value ?? 0)} with ${printable(run.mode)}`);
  const more = figure.values.length - named.length;
  const rest = more > 0 ? `, ${formatCount(more)} more in the table` : '';
  const when = figure.phase === 'latency' && figure.metric.compared.length === 2 ? ' at the offered rate' : '';
  return `${at(point)}, ${trouble}${figure.metric.title}${when} was ${listInWords(named)}${rest}${why}`;
}

/** "; two trials give no interval", "; it is known in 2 of 4 trials". */
function whyNotJudged(metric: Metric, phase: Phase, runs: readonly Run[]): string {
  const values = runs.map((run) => trialValues(metric, run, phase));
  const known = Math.min(...values.map((ofRun) => ofRun.filter(({ value }) => value !== null).length));
  const trials = Math.max(...values.map(({ length }) => length));
  if (known < trials) return `; it is known in ${known} of ${trials} trials`;
  return trials === 1 ? '; one trial gives no interval' : trials === 2 ? '; two trials give no interval' : '';
}

function valueText(metric: Metric, value: number): string {
  if (metric.unit === 'requests/s') return formatRate(value);
  if (metric.unit === 'us') return formatDurationUs(value);
  return metric.unit === 'ns' ? formatDuration(value) : valueInWords(value, metric.unit);
}

function noneValid(report: Answerable, point: Point, trouble: string): string {
  const cause = causeOf(report);
  const what = report.plan.modes.length > 1 ? 'no figure allows a comparison' : 'no figure is valid';
  return `${at(point)}, ${trouble}${what}${cause === '' ? '' : `: ${cause}`}`;
}

/** What the first invalid warning says happened, without its place in the run; empty without one. */
function causeOf({ warnings }: Answerable): string {
  const message = warnings.find(({ severity }) => severity === 'invalid')?.message ?? '';
  const [, cause = message] = /, (?:capacity|latency|highest rate): (.*)$/s.exec(message) ?? [];
  return printable(cause.replace(/ \(\d+ of \d+ trials\)$/, ''));
}

function nothingMeasured({ runs }: Answerable): string {
  const broken = runs.flatMap(({ trials }) => trials.filter(({ state }) => state === 'failed'))[0];
  const reason = broken !== undefined && 'reason' in broken ? `: ${printable(broken.reason)}` : '';
  return `no window was measured to its end${reason}`;
}

/* ------------------------------------------------------------------------------------------------------ other questions */

/** --aa: how far two runs of one mode are apart. */
function ownNoise({ plan, noise }: Answerable): string | null {
  if (!plan.aa || noise.length === 0) return null;
  const parts = preference.flatMap(([name, phase]) => {
    const found = noise.filter((one) => one.metric === name && one.phase === phase);
    if (found.length === 0) return [];
    return [`${percent(Math.max(...found.map(({ fraction }) => fraction)))} in ${requireMetric(name).title}`];
  });
  const [first, second] = parts;
  if (first === undefined) return null;
  const mode = printable(plan.modes[0]?.mode ?? '');
  const rest = second === undefined ? '' : ` and ${second}`;
  return `two runs of ${mode} differ by up to ${first}${rest} on this machine: smaller differences are noise`;
}

/** Invalid comparisons as ones that were not judged. */
function onlyValid(report: Answerable, comparisons: readonly Comparison[]): Comparison[] {
  return comparisons.map((one) => (isValidComparison(report, one) ? one : { ...one, verdict_code: 'not_judged' }));
}

/** Where the modes differ along a load curve; of one mode, its knee. null without a curve, or if nothing can be said of it. */
function loadCurve(report: Answerable): string | null {
  const { runs, plan, comparisons } = report;
  const around = largestOf(curvesOf(runs));
  if (around === null) return null;
  const points = curvePoints(runs, around);
  const keys = new Set(points.map(pointKey));
  const ofCurve = comparisons.filter((one) => hasRate(one) && keys.has(pointKey(one)));
  const differences = describeDifferences(onlyValid(report, ofCurve));
  const [first, ...others] = differences;
  if (first !== undefined) return `${at(around)}, ${printable(first)}${alsoInFindings(others.length)}`;
  if (plan.modes.length > 1) return null;
  const [knee] = describeKnee(printable(plan.modes[0]?.mode ?? ''), runsOfCurve(runs, points), plan);
  return knee?.isKnown === true ? `${at(around)}, ${knee.text}` : null;
}

function runsOfCurve(runs: readonly Run[], points: readonly Point[]): Run[] {
  return points.flatMap((point) => runs.filter((run) => pointKey(run) === pointKey(point)).slice(0, 1));
}

function largestOf(points: readonly Point[]): Point | null {
  const most = Math.max(...points.map(({ clients }) => clients));
  return points.filter(({ clients }) => clients === most).at(-1) ?? null;
}

function alsoInFindings(more: number): string {
  return more === 0 ? '' : `; the findings cover ${plural(more, 'more pair')} of modes`;
}

/** From which work or wait per request on the modes no longer differ. null without such a sweep, or if nothing was judged. */
function serviceSweep(report: Answerable): string | null {
  const points = distinctPoints(report.runs).filter((point) => !hasRate(point));
  const swept = sweptDimensions(points);
  if (!isComparison(report) || !swept.some((dimension) => dimension !== 'clients')) return null;
  const most = Math.max(...points.map(({ clients }) => clients));
  const ofLargest = report.comparisons.filter((one) => one.clients === most && !hasRate(one));
  const sharp = onlyValid(report, ofLargest).filter(({ bound }) => bound === null);
  const pairs = new Set(sharp.map(({ a }) => a));
  const [mode] = pairs;
  const [sentence] = describeServiceSweeps(sharp.filter(({ a }) => a === mode));
  if (sentence === undefined) return null;
  return `${at({ clients: most })}, ${printable(sentence)}${alsoInFindings(pairs.size - 1)}`;
}

/** One mode, or a server that already ran: its own figures. */
function singleAt(report: Answerable, measured: readonly Run[]): string {
  const candidates = measured.filter((run) => !hasRate(run));
  const point = largestPoint(candidates.length > 0 ? candidates : measured);
  const run = point === null ? undefined : runsAt(report, point).find(isMeasured);
  if (point === null || run === undefined) return nothingMeasured(report);
  const parts = figuresInWords(report, run);
  const trouble = troubles(report, point);
  if (parts.length === 0) return noneValid(report, point, trouble);
  const name = run.mode === 'target' && report.plan.target !== null ? report.plan.target : run.mode;
  return `${at(point)}, ${trouble}${printable(name)} ${listInWords(parts)}`;
}

/** "answered 253k requests/s", "used 3.61 µs of server CPU per request", "had a response time p99 of 481 µs at 46.0k/s". */
function figuresInWords(report: Answerable, run: Run): string[] {
  const parts: string[] = [];
  const highest = soundValue(report, 'max_rate', run, 'latency');
  const [search] = run.max_rate ?? [];
  if (highest !== null && search !== undefined) {
    const limit = `${search.metric.replaceAll('_', ' ')} within ${formatDuration(search.limit_ns)}`;
    parts.push(`sustained ${rateInWords(highest)} with ${printable(limit)}`);
  }
  const rate = soundValue(report, 'throughput', run, 'capacity');
  if (rate !== null && highest === null) parts.push(`answered ${rateInWords(rate)}`);
  const phase = completedWindows(run, 'capacity').length > 0 ? 'capacity' : 'latency';
  const cpu = soundValue(report, 'server_cpu_us_per_request', run, phase);
  if (cpu !== null) parts.push(`used ${formatDurationUs(cpu)} of server CPU per request`);
  const p99 = soundValue(report, 'response_time_p99', run, 'latency');
  const offered = completedWindows(run, 'latency')[0]?.requests.offered_per_second ?? null;
  if (p99 !== null && offered !== null) {
    parts.push(`had a response time p99 of ${formatDuration(p99)} at ${rateInWords(offered)}`);
  }
  const bound = parts.length > 0 ? null : lowerBound(report, run);
  if (bound !== null) parts.push(`answered at least ${rateInWords(bound)} (the load generator was the limit)`);
  return parts;
}

/** The throughput where it is only a lower bound, because the load generator was the limit. */
function lowerBound(report: Answerable, run: Run): number | null {
  const metric = requireMetric('throughput');
  return isValid(report, metric, run, 'capacity') ? runValue(metric, run, 'capacity') : null;
}

/** "253k requests/s". */
function rateInWords(perSecond: number): string {
  return formatRate(perSecond).replace('/s', ' requests/s');
}
