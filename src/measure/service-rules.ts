/** Validity rules of work and wait per request (--work, --wait). */
import type { CompletedWindow, Environment } from '../model/report-schema.js';
import { waitOf, workOf } from '../model/point.js';
import { duration, grouped, percent } from '../model/words.js';
import type { RuleContext, WindowRule } from './rules.js';

/** How far the burnt work may be from the work that was asked for, and repeated calibrations from each other. */
export const workTolerated = 0.05;
/** Fewer measured requests say little about the others. */
const measuredNeeded = 30;
/** Less steal time than this does not move a measurement by the tolerated share. */
const stealNoticed = 0.01;
/** A server that reaches this share of the rate that its sleeping workers allow is limited by them. */
const sleepLimited = 0.7;

type Service = NonNullable<NonNullable<CompletedWindow['server']>['service']>;

function serviceOf(window: CompletedWindow): Service | null {
  return window.server?.service ?? null;
}

interface Cause {
  cause: string;
  hint: string;
}

/** What the window shows that makes the same loop take more CPU time: the CPU quota, and the hypervisor. */
function measuredCauses({ client, system }: CompletedWindow): Cause[] {
  const throttled = client.throttled_fraction ?? 0;
  const stolen = system.cpu_steal_fraction ?? 0;
  return [
    ...(throttled > 0
      ? [
          {
            cause: `the CPU quota throttled the control group for ${percent(throttled)} of the window`,
            hint: 'raise the CPU quota of the control group (cpu.max)',
          },
        ]
      : []),
    ...(stolen > stealNoticed
      ? [
          {
            cause: `the hypervisor took ${percent(stolen)} of the machine's CPU time, which a thread's CPU clock can include`,
            hint: 'use a machine that is not shared',
          },
        ]
      : []),
  ];
}

/** Why the same loop took more or less CPU time than at the calibration: what was measured, or what is possible here. */
function speedCauses(window: CompletedWindow, environment: Environment, slower: boolean): Cause[] {
  const measured = slower ? measuredCauses(window) : [];
  if (measured.length > 0) return measured;
  const { cpu_governor: governor, cpu_turbo: turbo, virtual_machine: machine } = environment;
  const known = [
    ...(governor === null ? [] : [`governor "${governor}"`]),
    ...(turbo === null ? [] : [`turbo ${turbo ? 'on' : 'off'}`]),
  ];
  const frequency = {
    cause: `the clock frequency may have changed after the calibration${known.length > 0 ? ` (${known.join(', ')})` : ''}`,
    hint: 'fix the clock frequency (governor "performance", no turbo)',
  };
  if (!slower || machine === null) return [frequency];
  const reported = window.system.cpu_steal_fraction === null ? 'it reports no steal time' : 'its steal time is low';
  return [
    frequency,
    {
      cause: `or the hypervisor (${machine}) may have taken CPU time without reporting it: ${reported}`,
      hint: 'use a machine that is not shared',
    },
  ];
}

const workDiffers: WindowRule = {
  code: 'work_differs',
  check(window, { run, environment }) {
    const service = serviceOf(window);
    const asked = workOf(run);
    const burnt = service?.work_us_per_request ?? null;
    if (burnt === null || asked === 0 || (service?.work_measured ?? 0) < measuredNeeded) return null;
    const off = burnt / asked - 1;
    if (Math.abs(off) <= workTolerated) return null;
    const causes = speedCauses(window, environment, off > 0);
    return {
      severity: 'warning',
      badness: Math.abs(off),
      message: `each request burnt ${duration(burnt * 1e3)} of CPU time instead of ${duration(asked * 1e3)}: ${causes.map(({ cause }) => cause).join('; ')}`,
      hint: causes.map(({ hint }) => hint).join(', or '),
      figures: {
        work_us: asked,
        work_us_per_request: burnt,
        throttled_fraction: window.client.throttled_fraction,
        cpu_steal_fraction: window.system.cpu_steal_fraction,
      },
    };
  },
};

const workUnsettled: WindowRule = {
  code: 'work_unsettled',
  check(window, { run }) {
    const spread = serviceOf(window)?.work_spread ?? null;
    if (spread === null || spread <= workTolerated) return null;
    const causes = measuredCauses(window);
    return {
      severity: 'warning',
      badness: spread,
      message: `the work of ${duration(workOf(run) * 1e3)} could not be calibrated well: repeated measurements differed by ${percent(spread)}${causes.map(({ cause }) => `, and ${cause}`).join('')}`,
      hint:
        causes.length > 0
          ? causes.map(({ hint }) => hint).join(', or ')
          : 'stop other programs, or use a machine that is not shared; the report has the work that was really burnt',
      figures: {
        work_spread: spread,
        throttled_fraction: window.client.throttled_fraction,
        cpu_steal_fraction: window.system.cpu_steal_fraction,
      },
    };
  },
};

/** Requests/s that workers allow which sleep in every request; null if they do not. */
function sleepingLimit(
  window: CompletedWindow,
  { run, plan }: RuleContext,
): { workers: number; perSecond: number } | null {
  const workers = window.server?.workers ?? null;
  const waitMs = waitOf(run);
  if (plan.wait_blocks !== true || workers === null || waitMs === 0) return null;
  return { workers, perSecond: (workers * 1e3) / waitMs };
}

const workersSleep: WindowRule = {
  code: 'workers_sleep',
  check(window, context) {
    const limit = sleepingLimit(window, context);
    if (limit === null || window.requests.per_second < sleepLimited * limit.perSecond) return null;
    const { workers, perSecond } = limit;
    const wait = duration(waitOf(context.run) * 1e6);
    const who = workers === 1 ? 'the one worker sleeps' : `each of the ${grouped(workers)} workers sleeps`;
    return {
      severity: 'info',
      badness: window.requests.per_second / perSecond,
      message: `${who} ${wait} per request (--wait-blocks), so it serves nobody else meanwhile: at most ${grouped(perSecond)} requests/s`,
      hint: 'leave out --wait-blocks, so that a timer ends the wait, or raise --workers',
      figures: { workers, requests_per_second_possible: perSecond },
    };
  },
};

export const serviceRules: readonly WindowRule[] = [workDiffers, workUnsettled, workersSleep];
