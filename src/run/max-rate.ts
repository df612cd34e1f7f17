/** `--find-max-rate`: runs the search with real windows, all on the connections of one trial. */
import {
  confirm,
  foundMaxRate,
  nextRate,
  observationOf,
  observe,
  parseLimit,
  startConfirmation,
  startSearch,
  type Confirmation,
} from '../measure/search.js';
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
  let confirmation: Confirmation | null = null;
  let judged = 0;
  const next: NextWindow = (done) => {
    const last = done[judged];
    if (last?.state === 'completed') {
      const seen = observationOf(limit, last, plan);
      if (confirmation === null) state = observe(state, seen);
      else confirmation = confirm(confirmation, seen);
      judged += 1;
    }
    const step = { phase: 'latency', warmupMs: stepWarmupMs, mayBeEmpty: true } as const;
    const ratePerSecond = nextRate(state);
    if (ratePerSecond !== null) {
      return { ...step, ratePerSecond, durationMs: Math.min(plan.durationMs, stepDurationMs) };
    }
    if (state.carried === null) return null;
    confirmation ??= startConfirmation(state.carried);
    // As long as any other window: a queue that grows slowly shows in a long one.
    return confirmation.done ? null : { ...step, ratePerSecond: confirmation.nextRate, durationMs: plan.durationMs };
  };
  const { windows } = await trial(plan, task, next, hooks);
  const broken = windows.find((window) => window.state !== 'completed');
  return foundMaxRate(limit, state, task.index, broken?.reason ?? null, confirmation);
}
