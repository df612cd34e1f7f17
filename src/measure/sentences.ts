/** Ratios as sentences. Tables, Markdown, HTML, JUnit and `diff` all print what is made here. */
import { formatRatio, listInWords } from '../model/format.js';
import type { Metric } from '../model/metrics.js';

/** A ratio a / b with its 95% interval. `limit`: the true ratio is known to be above or below. */
export interface RatioInWords {
  readonly entry: Pick<Metric, 'name' | 'title'>;
  readonly a: string;
  readonly b: string;
  readonly ratio: number;
  readonly low: number;
  readonly high: number;
  readonly limit: 'at_least' | 'at_most' | null;
}

interface Phrase {
  readonly verb: string;
  readonly noun: string;
  /** "2 times as many", "2 times as much", "2 times the". */
  readonly kind: 'many' | 'much' | 'level';
}

const phrases: Readonly<Record<string, Phrase>> = {
  throughput: { verb: 'answered', noun: 'requests per second', kind: 'many' },
  max_rate: { verb: 'sustained', noun: 'requests per second within the limit', kind: 'many' },
  server_cpu_us_per_request: { verb: 'used', noun: 'server CPU per request', kind: 'much' },
};

function phraseOf({ name, title }: RatioInWords['entry']): Phrase {
  return phrases[name] ?? { verb: 'had', noun: title, kind: 'level' };
}

/** From here on "3.8 times as many" reads better than "280% more". */
const timesFrom = 2;

/** "43%", "4.3%", "99.7%", "more than 99.9%". */
function percentText(fraction: number): string {
  const percent = Math.abs(fraction) * 100;
  // A reduction comes ever closer to 100% and never reaches it.
  if (fraction < -0.999) return 'more than 99.9%';
  return `${percent < 9.95 || (fraction < 0 && percent > 99) ? Number(percent.toFixed(1)) : Math.round(percent)}%`;
}

/** "3.8", "38", "380": two significant digits, more only in whole numbers. */
function timesText(ratio: number): string {
  return ratio >= 9.95 ? String(Math.round(ratio)) : ratio.toFixed(1);
}

const smaller = { many: 'fewer', much: 'less', level: 'lower' } as const;
const larger = { many: 'more', much: 'more', level: 'higher' } as const;

/** "(95% interval: 37% to 48% less)"; in the form "0.95x to 1.06x" where it includes equality. */
function intervalText({ kind }: Phrase, { ratio, low, high }: RatioInWords): string {
  if (low <= 1 && high >= 1) return `95% interval: ${formatRatio(low)} to ${formatRatio(high)}`;
  if (ratio >= timesFrom) return `95% interval: ${timesText(low)} to ${timesText(high)} times`;
  const [near, far] = ratio > 1 ? [low, high] : [high, low];
  return `95% interval: ${percentRange(near, far)} ${(ratio > 1 ? larger : smaller)[kind]}`;
}

/** "37% to 48%"; one figure where both ends read alike. */
function percentRange(near: number, far: number): string {
  const [first, last] = [percentText(near - 1), percentText(far - 1)];
  return first === last ? first : `${first} to ${last}`;
}

/** "a 12% ", "an 86% ", and none before "25% higher system calls per request". */
function articleFor(amount: string, noun: string): string {
  if (/\b(calls|switches|threads|connections|errors|requests)\b/.test(noun)) return '';
  return /^(8|11%|18%|at)/.test(amount) ? 'an ' : 'a ';
}

function comparedTo(phrase: Phrase, ratio: number, atLeast: string, b: string): string {
  const { noun, kind } = phrase;
  if (ratio >= timesFrom) {
    const times = `${atLeast}${timesText(ratio)} times`;
    return kind === 'level' ? `${times} the ${noun} of ${b}` : `${times} as ${kind} ${noun} as ${b}`;
  }
  const size = percentText(ratio - 1);
  const word = (ratio > 1 ? larger : smaller)[kind];
  const amount = `${atLeast}${size}`;
  return `${kind === 'level' ? articleFor(amount, noun) : ''}${amount} ${word} ${noun} than ${b}`;
}

/** "iocp used 43% less server CPU per request than blocking (95% interval: 37% to 48% less)". */
export function ratioSentence(subject: RatioInWords): string {
  const { a, b, ratio, limit } = subject;
  const phrase = phraseOf(subject.entry);
  const interval = intervalText(phrase, subject);
  // A bound that points towards equality says little; it is given as the ratio that it is.
  if (limit !== null && ratio > 1 !== (limit === 'at_least')) {
    const bound = limit === 'at_least' ? 'at least' : 'at most';
    return `${a} ${phrase.verb} ${bound} ${formatRatio(ratio)} the ${phrase.noun} of ${b} (${interval})`;
  }
  const atLeast = limit === null ? '' : 'at least ';
  return `${a} ${phrase.verb} ${comparedTo(phrase, ratio, atLeast, b)} (${interval})`;
}

/** The size of a ratio in a list: "43% less", "3.8 times as much", "2.1 times"; and its interval: "37% to 48%", "3.5 to 4.2 times". */
export function amountInWords(subject: RatioInWords): { size: string; interval: string } {
  const { ratio, low, high, limit } = subject;
  const { kind } = phraseOf(subject.entry);
  const bound = limit === null ? '' : limit === 'at_least' ? 'at least ' : 'at most ';
  if (limit !== null && ratio > 1 !== (limit === 'at_least')) {
    return { size: bound + formatRatio(ratio), interval: `${formatRatio(low)} to ${formatRatio(high)}` };
  }
  const atLeast = limit === null ? '' : 'at least ';
  if (ratio >= timesFrom) {
    const times = `${atLeast}${timesText(ratio)} times`;
    return {
      size: kind === 'level' ? times : `${times} as ${kind}`,
      interval: `${timesText(low)} to ${timesText(high)}`,
    };
  }
  const [near, far] = ratio > 1 ? [low, high] : [high, low];
  const size = `${atLeast}${percentText(ratio - 1)} ${(ratio > 1 ? larger : smaller)[kind]}`;
  return {
    size,
    interval: low <= 1 && high >= 1 ? `${formatRatio(low)} to ${formatRatio(high)}` : percentRange(near, far),
  };
}

/** "no difference shown in response time p99 between iocp and blocking (0.90x to 1.20x)". */
export function noDifferenceSentence({ entry, a, b, low, high }: RatioInWords): string {
  return `no difference shown in ${entry.title} between ${a} and ${b} (95% interval: ${formatRatio(low)} to ${formatRatio(high)})`;
}

/** What became of a figure between two reports: "iocp: throughput fell by 12% (95% interval: 10% to 14%)". */
export function changeSentence({ entry, a: mode, ratio, low, high, limit }: Omit<RatioInWords, 'b'>): string {
  const straddles = low <= 1 && high >= 1;
  const atLeast = limit !== null && ratio > 1 === (limit === 'at_least') ? 'at least ' : '';
  if (straddles || (limit !== null && atLeast === '')) {
    const bound = limit === 'at_least' ? 'at least ' : limit === 'at_most' ? 'at most ' : '';
    return `${mode}: ${bound}${formatRatio(ratio)} the ${entry.title} (95% interval: ${formatRatio(low)} to ${formatRatio(high)})`;
  }
  if (ratio >= timesFrom) {
    const interval = `95% interval: ${timesText(low)} to ${timesText(high)} times`;
    return `${mode}: ${entry.title} rose to ${atLeast}${timesText(ratio)} times what it was (${interval})`;
  }
  const [near, far] = ratio > 1 ? [low, high] : [high, low];
  const interval = `95% interval: ${percentRange(near, far)}`;
  return `${mode}: ${entry.title} ${ratio > 1 ? 'rose' : 'fell'} by ${atLeast}${percentText(ratio - 1)} (${interval})`;
}

/** The highest offered rate at which a mode's p99 is within `factor` times its value at the lowest rate. Times are in words. */
export interface KneeInWords {
  readonly mode: string;
  readonly factor: number;
  /** The lowest rate, and the p99 there. */
  readonly lowest: { readonly at: string; readonly p99: string };
  /** The last rate within the factor. */
  readonly last: string;
  /** The first rate beyond it, and the p99 there; 'beyond the timeout' where it is not known. */
  readonly beyond: { readonly at: string; readonly p99: string };
}

/** "blocking: response time p99 stays within 10 times its value at 5.00k/s (1.2 ms) up to 23.0k/s; at 32.0k/s it is 45 ms". */
export function kneeSentence({ mode, factor, lowest, last, beyond }: KneeInWords): string {
  return (
    `${mode}: response time p99 stays within ${factor} times its value at ${lowest.at} (${lowest.p99}) up to ${last}; ` +
    `at ${beyond.at} it is ${beyond.p99}`
  );
}

/** "iocp: no knee was reached: at 43.0k/s, the highest rate, response time p99 is 2.1 times its value at 5.00k/s". */
export function noKneeSentence(subject: { mode: string; lowest: string; highest: string; ratio: number }): string {
  const { mode, lowest, highest, ratio } = subject;
  return (
    `${mode}: no knee was reached: at ${highest}, the highest rate, response time p99 is ` +
    `${timesText(ratio)} times its value at ${lowest}`
  );
}

/** "blocking: no knee can be reported: the client sent behind its schedule at 32.0k/s". */
export function unknownKneeSentence(mode: string, reason: string): string {
  return `${mode}: no knee can be reported: ${reason}`;
}

/** The verdicts on two modes over the rates of a load curve: at which of them the figure of a is lower or higher than that of b. */
export interface CurveInWords {
  readonly title: string;
  readonly a: string;
  readonly b: string;
  readonly lower: readonly string[];
  readonly higher: readonly string[];
  readonly none: readonly string[];
  readonly unjudged: readonly string[];
}

/** "response time p99 of iocp against blocking: lower at 50% and 70%; no difference shown at 10%". */
export function curveSentence({ title, a, b, lower, higher, none, unjudged }: CurveInWords): string {
  const parts = [
    ['lower at', lower],
    ['higher at', higher],
    ['no difference shown at', none],
    ['not judged at', unjudged],
  ] as const;
  const said = parts.filter(([, rates]) => rates.length > 0).map(([what, rates]) => `${what} ${listInWords(rates)}`);
  return `${title} of ${a} against ${b}: ${said.join('; ')}`;
}

/** Two modes and a figure over a sweep of work or wait per request. */
export interface SweepInWords {
  /** "work" or "wait". */
  readonly name: string;
  readonly title: string;
  readonly a: string;
  readonly b: string;
}

/** A value of the sweep, "100 µs", and the verdict there. */
export interface LevelInWords {
  readonly at: string;
  readonly verdict: string;
}

/** Ends of all intervals together: "95% intervals within 0.97x to 1.04x". */
export interface IntervalsInWords {
  readonly low: number;
  readonly high: number;
}

function intervalsText({ low, high }: IntervalsInWords): string {
  return `95% intervals within ${formatRatio(low)} to ${formatRatio(high)}`;
}

/** "at 100 µs"; "without work" for 0. */
function atText(at: string, name: string): string {
  return at === '0' ? `without ${name}` : `at ${at}`;
}

/** ", judged up to 100 µs"; empty where the figure was judged at every value. */
function judgedText(upTo: string | null): string {
  return upTo === null ? '' : `, judged up to ${upTo}`;
}

/**
 * "from 100 µs of work per request on, no difference in throughput is shown between iocp and blocking (95% intervals within 0.97x to
 * 1.04x); at 10 µs: iocp answered 12% more ...".
 * @param differing the highest value at which they differ
 * @param judgedUpTo the highest value at which the figure was judged; null: the highest that was measured
 */
export function convergenceSentence(
  { name, title, a, b }: SweepInWords,
  from: string,
  intervals: IntervalsInWords,
  differing: LevelInWords,
  judgedUpTo: string | null,
): string {
  return (
    `from ${from} of ${name} per request on, no difference in ${title} is shown between ${a} and ${b} ` +
    `(${intervalsText(intervals)}${judgedText(judgedUpTo)}); ${atText(differing.at, name)}: ${differing.verdict}`
  );
}

/** "no difference in throughput is shown between iocp and blocking at 100 µs to 1 ms of work per request (...)". */
export function nowhereDifferentSentence(
  { name, title, a, b }: SweepInWords,
  from: string,
  to: string,
  intervals: IntervalsInWords,
): string {
  const range = from === to ? atText(from, name) : `at ${from} to ${to}`;
  const unit = range.startsWith('at') ? ` of ${name} per request` : '';
  return `no difference in ${title} is shown between ${a} and ${b} ${range}${unit} (${intervalsText(intervals)})`;
}

/**
 * "iocp and blocking still differ in throughput at 1 ms of work per request, the most that was measured: iocp answered ...".
 * @param isMost the value is the highest that was measured; false: the highest at which the figure was judged
 */
export function stillDifferentSentence(
  { name, title, a, b }: SweepInWords,
  { at, verdict }: LevelInWords,
  isMost: boolean,
): string {
  const most = isMost ? 'the most that was measured' : 'the most at which it could be judged';
  const where = at === '0' ? atText(at, name) : `${atText(at, name)} of ${name} per request`;
  return `${a} and ${b} still differ in ${title} ${where}, ${most}: ${verdict}`;
}
