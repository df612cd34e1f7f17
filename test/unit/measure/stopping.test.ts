/** When `--until` ends the trials, what that does to the intervals, and what the report says about it. */
import t from 'tap';
import { claimFloor, compareRuns } from '../../../src/measure/comparisons.js';
import { seededRandom, type Random } from '../../../src/measure/random.js';
import { pairedRatioInterval, probabilityWithin, type RatioInterval } from '../../../src/measure/statistics.js';
import {
  halfWidth,
  precisionInWords,
  precisionOf,
  StoppingRule,
  trialNumbers,
  untilTrialsLeast,
  untilTrialsMost,
} from '../../../src/measure/stopping.js';
import { normal } from '../../support/synthetic.js';
import { planWith, runWithP99, runWithRates, withFailedTrial } from './build.js';

const plan = { trialsLeast: 4, trialsMost: 20, modes: 2 };

/** The number of trials at the end, when the looks find these. */
function trialsOf(rule: StoppingRule, isNarrow: (trials: number) => boolean): number {
  let trials = 0;
  do trials += 1;
  while (!rule.isEnough(trials, () => isNarrow(trials)));
  return trials;
}

t.test('two narrow looks in a row end the trials', (t) => {
  t.equal(
    trialsOf(new StoppingRule(plan), () => true),
    6,
  );
  t.equal(
    trialsOf(new StoppingRule(plan), (trials) => trials !== 6),
    10,
    'a wide interval in between starts the count again',
  );
  t.equal(
    trialsOf(new StoppingRule(plan), () => false),
    20,
  );
  t.equal(
    trialsOf(new StoppingRule({ ...plan, trialsMost: 5 }), () => true),
    5,
    'at most so many',
  );
  t.end();
});

t.test('it looks only after trials in which every mode had each position', (t) => {
  const looks = (modes: number): number[] => {
    const seen: number[] = [];
    trialsOf(new StoppingRule({ ...plan, modes }), (trials) => {
      seen.push(trials);
      return false;
    });
    return seen;
  };
  t.strictSame(looks(1), [4, 6, 8, 10, 12, 14, 16, 18]);
  t.strictSame(looks(2), [4, 6, 8, 10, 12, 14, 16, 18]);
  t.strictSame(looks(3), [6, 9, 12, 15, 18]);
  t.strictSame(looks(8), [8, 16]);
  t.end();
});

/** One comparison of two modes with --until: trials with this spread go on until the rule ends them. */
function simulate(random: Random, ratio: number, spread: number): RatioInterval | null {
  const rule = new StoppingRule({ trialsLeast: untilTrialsLeast, trialsMost: untilTrialsMost, modes: 2 });
  const ratios: number[] = [];
  let interval: RatioInterval | null = null;
  do {
    ratios.push(ratio * Math.exp(spread * normal(random)));
    interval = pairedRatioInterval(ratios);
  } while (!rule.isEnough(ratios.length, () => (halfWidth(interval ?? { ratio: null, high: null }) ?? 1) <= 0.03));
  return interval;
}

t.test('looking again and again does not make false claims', (t) => {
  const random = seededRandom(14);
  const draws = 2_000;
  // From spreads that need the fewest trials to one that never gets there.
  for (const spread of [0.015, 0.03, 0.045, 0.06, 0.12]) {
    let [claimed, onTheFloor, covered] = [0, 0, 0];
    for (let draw = 0; draw < draws; draw++) {
      const same = simulate(random, 1, spread);
      if (same !== null && (probabilityWithin(same, claimFloor) ?? 1) <= 0.05) claimed += 1;
      // The hardest case: the modes differ by exactly what is not to be claimed.
      const interval = simulate(random, 1 + claimFloor, spread);
      if (interval === null) continue;
      if ((probabilityWithin(interval, claimFloor) ?? 1) <= 0.05) onTheFloor += 1;
      if ((interval.low ?? 2) <= 1 + claimFloor && 1 + claimFloor <= (interval.high ?? 0)) covered += 1;
    }
    t.ok(claimed <= 0.05 * draws, `spread ${spread}: ${claimed} false claims in ${draws}`);
    t.ok(onTheFloor <= 0.05 * draws, `spread ${spread}: ${onTheFloor} claims on the floor in ${draws}`);
    t.ok(covered >= 0.92 * draws, `spread ${spread}: ${covered} of ${draws} intervals hold the ratio`);
  }
  t.end();
});

const phases: ('capacity' | 'latency')[] = ['capacity'];
const capacityPlan = planWith({ phases });

t.test('the precision of ratios', (t) => {
  const runs = [runWithRates('blocking', [100, 110, 90, 100]), runWithRates('iocp', [201, 219, 181, 199])];
  const found = precisionOf(runs, compareRuns(runs, capacityPlan, []), capacityPlan, 0.03);
  t.match(found, [
    { a: 'iocp', b: 'blocking', clients: 1000, phase: 'capacity', metric: 'throughput', trials: 4, reached: true },
    { metric: 'server_cpu_us_per_request', reached: true },
  ]);
  const interval = pairedRatioInterval([2.01, 219 / 110, 181 / 90, 1.99]);
  t.ok(interval?.high && Math.abs((found[0]?.half_width ?? 0) - (interval.high / interval.ratio - 1)) < 1e-9);
  t.match(precisionOf(runs, compareRuns(runs, capacityPlan, []), capacityPlan, 0.005)[0], { reached: false });
  t.end();
});

t.test('the precision of a single mode is that of its own figures', (t) => {
  const plan = planWith({ phases: ['capacity', 'latency'], modes: [{ mode: 'target', backend: '', command: null }] });
  const run = runWithRates('target', [100, 110, 90, 100]);
  run.trials.push(...runWithP99('target', [1e6, 1e6, 1e6, 1e6], { server: null }).trials);
  const found = precisionOf([run], [], plan, 0.03);
  t.match(found, [
    { a: 'target', b: null, phase: 'capacity', metric: 'throughput', trials: 4, reached: false },
    { phase: 'latency', metric: 'response_time_p99', reached: true },
    { phase: 'capacity', metric: 'server_cpu_us_per_request', reached: true },
  ]);
  t.equal(found.length, 3, 'what no window has is left out');
  t.end();
});

t.test('an interval that is missing is not narrow', (t) => {
  const failed = withFailedTrial(withFailedTrial(runWithRates('iocp', [100, 100, 100, 100]), 1), 2);
  const runs = [runWithRates('blocking', [100, 100, 100, 100]), failed];
  const found = precisionOf(runs, compareRuns(runs, capacityPlan, []), capacityPlan, 0.03);
  t.match(found[0], { metric: 'throughput', trials: 2, half_width: null, reached: false });
  t.match(precisionInWords(found, runs, 0.03).warnings[0], {
    message: /throughput of iocp \/ blocking \(no interval\)/,
  });
  t.end();
});

t.test('the report says what was reached and what was not', (t) => {
  const runs = [runWithRates('blocking', [100, 110, 90, 100]), runWithRates('iocp', [210, 190, 210, 190])];
  const words = (until: number): ReturnType<typeof precisionInWords> =>
    precisionInWords(precisionOf(runs, compareRuns(runs, capacityPlan, []), capacityPlan, until), runs, until);
  t.match(words(0.03).warnings, [
    {
      code: 'precision_not_reached',
      clients: 1000,
      message:
        /^1,000 clients: after 4 trials the interval is wider than ±3% for throughput of iocp \/ blocking \(±\d+%\); within it: server CPU per request$/,
      figures: { until: 0.03, trials: 4, missed: 1, reached: 1 },
    },
  ]);
  t.strictSame(words(0.03).findings, []);
  t.strictSame(words(0.5), {
    findings: ['1,000 clients: throughput and server CPU per request are within ±50% (95% interval) after 4 trials'],
    warnings: [],
  });
  t.end();
});

t.test('the numbers of trials of a plan', (t) => {
  const numbers = (until?: number, trials?: number, trialsMax?: number): unknown =>
    trialNumbers({ until, trials, trialsMax }, 1);
  t.strictSame(numbers(), { trials: 1, trialsMax: null });
  t.strictSame(numbers(undefined, 7), { trials: 7, trialsMax: null });
  t.strictSame(numbers(0.03), { trials: 4, trialsMax: 20 });
  t.strictSame(numbers(0.03, 30), { trials: 30, trialsMax: 30 });
  t.strictSame(numbers(0.03, 6, 8), { trials: 6, trialsMax: 8 });
  t.throws(() => numbers(undefined, 4, 8), { code: 'usage', message: '--trials-max only applies to --until' });
  t.throws(() => numbers(0.03, 3), { code: 'usage', message: '--until needs at least 4 trials, and --trials is 3' });
  t.throws(() => numbers(0.03, undefined, 3), { code: 'usage', hint: 'use --trials-max 4 or more' });
  t.end();
});
