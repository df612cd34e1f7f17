/** `--find-max-rate`: runs the search with real windows, all on the connections of one trial. */
import { foundMaxRate, nextRate, observationOf, observe, parseLimit, startSearch } from '../measure/search.js';
import type { MaxRate } from '../model/report-schema.js';
import type { BlastPlan } from '../model/plan.js';
import { runTrial, type NextWindow, type TrialHooks, type TrialTask } from './trial.js';

/** Where a search starts if no capacity is known. Any machine carries this rate, and the ramp doubles it. */
const blindFirstRate = 1_000;
/** A step needs little warm-up: the drain has emptied the queues of a rate that was too high. */
const stepWarmupMs = 200;
/** Longest window of a step. A search has at most 18 of them. */
const stepDurationMs = 1_000;

/**
 * @param capacityPerSecond what the mode carried in a closed loop; null if that was not measured
 * @returns a result without a rate if no step was measured (the server failed, or Ctrl-C)
 */
export async function searchMaxRate(
  expression: string,
  plan: BlastPlan,
  task: TrialTask,
  capacityPerSecond: number | null,
  hooks: TrialHooks,
  trial: typeof runTrial = runTrial,
): Promise<MaxRate> {
  const limit = parseLimit(expression);
  let state = startSearch(capacityPerSecond === null ? blindFirstRate : capacityPerSecond / 2);
  let judged = 0;
  const next: NextWindow = (done) => {
    const last = done[judged];
    if (last?.state === 'completed') {
      state = observe(state, observationOf(limit, last, plan));
      judged += 1;
    }
    const ratePerSecond = nextRate(state);
    if (ratePerSecond === null) return null;
    const durationMs = Math.min(plan.durationMs, stepDurationMs);
    return { phase: 'latency', ratePerSecond, warmupMs: stepWarmupMs, durationMs, mayBeEmpty: true };
  };
  const { windows } = await trial(plan, task, next, hooks);
  const broken = windows.find((window) => window.state !== 'completed');
  return foundMaxRate(limit, state, task.index, broken?.reason ?? null);
}
