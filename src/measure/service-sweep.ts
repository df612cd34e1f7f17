/**
 * Conclusions of a sweep over the server's work or wait per request, in words: from which work on the choice of the model no longer
 * shows. They are read from the comparisons, so that they claim no more than the verdicts do. "No difference shown" is not "no
 * difference": the intervals in each sentence say how large a difference may still be.
 */
import { requireMetric } from '../model/metrics.js';
import { pointInWords, pointKey, serviceNames, serviceNs, type ServiceName } from '../model/point.js';
import type { Comparison, Phase } from '../model/report-schema.js';
import { duration } from '../model/words.js';
import {
  convergenceSentence,
  nowhereDifferentSentence,
  stillDifferentSentence,
  type IntervalsInWords,
  type LevelInWords,
  type SweepInWords,
} from './sentences.js';

/** Figures that conclusions are drawn on, the one that matters most first. Of a figure with two phases, the first that was compared. */
const concluded: readonly (readonly [metric: string, phases: readonly Phase[]])[] = [
  ['max_rate', ['latency']],
  ['throughput', ['capacity']],
  ['server_cpu_us_per_request', ['capacity', 'latency']],
  ['response_time_p99', ['latency']],
];

/** With more pairs of modes, only the first figure is concluded on: one sentence per pair is enough to read. */
const pairsWithAllFigures = 2;

interface Sweep {
  readonly name: ServiceName;
  /** One per value of the sweep, ascending; a, b, metric, phase, clients and the other dimension are the same. */
  readonly levels: readonly Comparison[];
}

/** Sentences on each pair of modes that was compared at two or more values of work or wait, all else being the same. */
export function describeServiceSweeps(comparisons: readonly Comparison[]): string[] {
  const primary = comparisons.filter((comparison) => comparison.primary);
  const surroundings = serviceNames.map((name) => new Set(sweepsOf(name, primary).map(surroundingsOf)));
  return serviceNames.flatMap((name, place) => {
    const sweeps = sweepsOf(name, primary);
    const isOne = surroundings[place]?.size === 1;
    return sweeps.flatMap((sweep) =>
      conclusion(sweep).map((text) => (isOne ? '' : `at ${surroundingsOf(sweep)}: `) + text),
    );
  });
}

/** "1,000 clients with 5 ms of wait": what is the same at all values of a sweep. */
function surroundingsOf({ name, levels }: Sweep): string {
  const [first] = levels;
  return first === undefined ? '' : pointInWords(withoutDimension(name, first));
}

function withoutDimension(
  name: ServiceName,
  { clients, work_us, wait_ms, rate_per_second, rate_fraction }: Comparison,
): Parameters<typeof pointKey>[0] {
  const rest = { clients, rate_per_second, rate_fraction };
  return name === 'work' ? { ...rest, wait_ms } : { ...rest, work_us };
}

function sweepsOf(name: ServiceName, comparisons: readonly Comparison[]): Sweep[] {
  const groups = new Map<string, Comparison[]>();
  for (const comparison of comparisons) {
    const key = JSON.stringify([pointKey(withoutDimension(name, comparison)), comparison.a, comparison.b]);
    groups.set(key, [...(groups.get(key) ?? []), comparison]);
  }
  const pairs = new Set(comparisons.map(({ a, b }) => JSON.stringify([a, b])));
  return [...groups.values()].flatMap((ofPair) => {
    const figures = concluded.flatMap(([metric, phases]) => {
      const ofMetric = ofPair.filter((comparison) => comparison.metric === metric);
      const phase = phases.find((one) => ofMetric.some((comparison) => comparison.phase === one));
      const levels = ofMetric
        .filter((comparison) => comparison.phase === phase)
        .sort((x, y) => serviceNs(name, x) - serviceNs(name, y));
      return levels.length < 2 ? [] : [{ name, levels }];
    });
    if (pairs.size <= pairsWithAllFigures) return figures;
    const judged = figures.find(({ levels }) => levels.some(({ verdict_code: code }) => code !== 'not_judged'));
    return [judged ?? figures[0]].filter((sweep) => sweep !== undefined);
  });
}

function isClaim({ verdict_code: code }: Comparison): boolean {
  return code === 'higher' || code === 'lower';
}

/**
 * The sentence on one sweep; none where the figure was not judged at any value. Everything from a value on counts, so that one value
 * without a difference between two with one is no end of it. Values at which the figure was not judged are not called alike.
 */
function conclusion({ name, levels }: Sweep): string[] {
  const judged = levels.filter(({ verdict_code: code }) => code !== 'not_judged');
  const last = judged.at(-1);
  if (last === undefined) return [];
  const isMost = last === levels.at(-1);
  const subject: SweepInWords = { name, title: requireMetric(last.metric).title, a: last.a, b: last.b };
  if (isClaim(last)) return [stillDifferentSentence(subject, levelInWords(name, last), isMost)];
  const lastOther = levels
    .slice(0, levels.indexOf(last))
    .findLastIndex(({ verdict_code: code }) => code !== 'no_difference_shown');
  const alike = levels.slice(lastOther + 1, levels.indexOf(last) + 1);
  const [from = last] = alike;
  const intervals = intervalsOf(alike);
  const upTo = valueInWords(name, last);
  const differing = levels.findLast(isClaim);
  return differing === undefined
    ? [nowhereDifferentSentence(subject, valueInWords(name, from), upTo, intervals)]
    : [
        convergenceSentence(
          subject,
          valueInWords(name, from),
          intervals,
          levelInWords(name, differing),
          isMost ? null : upTo,
        ),
      ];
}

function valueInWords(name: ServiceName, level: Comparison): string {
  const ns = serviceNs(name, level);
  return ns === 0 ? '0' : duration(ns);
}

function levelInWords(name: ServiceName, level: Comparison): LevelInWords {
  return { at: valueInWords(name, level), verdict: level.verdict };
}

function intervalsOf(levels: readonly Comparison[]): IntervalsInWords {
  return {
    low: Math.min(...levels.map(({ ci_low: low, ratio }) => low ?? ratio ?? 1)),
    high: Math.max(...levels.map(({ ci_high: high, ratio }) => high ?? ratio ?? 1)),
  };
}
