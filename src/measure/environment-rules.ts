/** Warnings about the whole run: what the machine is, what really served a mode, how often it was measured. */
import { trialsToBalance } from './order.js';
import type { Report, Warning } from '../model/report-schema.js';

type Measured = Pick<Report, 'plan' | 'environment' | 'runs'>;

function warning(
  code: string,
  severity: Warning['severity'],
  message: string,
  hint: string,
  rest: Partial<Warning> = {},
): Warning {
  return { code, severity, message, hint, mode: null, clients: null, phase: null, trial: null, figures: {}, ...rest };
}

export function environmentWarnings(measured: Measured): Warning[] {
  return [
    ...wine(measured),
    ...sharedCpus(measured),
    ...crowdedThreads(measured),
    ...backends(measured),
    ...fewTrials(measured),
    ...unbalancedOrder(measured),
    ...instructions(measured),
  ];
}

function wine({ environment }: Measured): Warning[] {
  if (!environment.compatibility) return [];
  return [
    warning(
      'wine',
      'warning',
      `this is ${environment.compatibility}, not Windows: its speed says nothing about Windows`,
      'use Wine to check that everything works; measure on Windows',
    ),
  ];
}

function unbalancedOrder({ plan }: Measured): Warning[] {
  const trials = trialsToBalance(plan.order);
  if (trials === null) return [];
  return [
    warning(
      'order_unbalanced',
      'info',
      `${plan.order.length} trials of ${plan.modes.length} modes are not balanced: some modes ran earlier in the trials than others`,
      `${plan.until ? '--trials-max' : '--trials'} ${trials} lets every mode run equally often in each position`,
      { figures: { trials: plan.order.length, trials_to_balance: trials } },
    ),
  ];
}

/** How client and server get CPUs of their own; null where they have them, or where the server is not started by the tool. */
export function ownCpusHint({ environment, plan }: Pick<Measured, 'environment' | 'plan'>): string | null {
  if (!environment.cpus_shared || plan.target !== null) return null;
  if (environment.cpus_online < 2) return 'measure on a machine with at least two CPUs';
  if (environment.cpus_client.length < 2) return 'give it at least two CPUs: taskset, or the cpuset of the container';
  return 'leave out --no-pin, so that client and server run on different CPUs';
}

/** The CPUs of the client, where it has more threads than those. */
function crowdedThreads({ environment, plan }: Measured): Warning[] {
  const cpus = environment.cpus_client.length;
  if (cpus === 0 || plan.threads <= cpus) return [];
  return [
    warning(
      'threads_crowded',
      'warning',
      `${plan.threads} client threads took turns on ${cpus} ${cpus === 1 ? 'CPU' : 'CPUs'}: their waits are charged to the server`,
      `leave out --threads, or give --threads ${cpus}`,
      { figures: { threads: plan.threads, cpus_client: cpus } },
    ),
  ];
}

function sharedCpus({ environment, plan }: Measured): Warning[] {
  const hint = ownCpusHint({ environment, plan });
  if (hint === null) return [];
  const figures = { cpus_online: environment.cpus_online };
  return [
    warning('cpus_shared', 'warning', 'client and server ran on the same CPUs and took time from each other', hint, {
      figures,
    }),
  ];
}

function backends({ plan }: Measured): Warning[] {
  return plan.modes.flatMap(({ mode, backend }) => {
    if (mode === 'iocp' && backend === 'io_uring') {
      return [
        warning(
          'iocp_is_io_uring',
          'info',
          'on Linux the mode iocp is served by io_uring, its completion-based counterpart',
          'run on Windows to measure completion ports',
          { mode },
        ),
      ];
    }
    if (backend === 'node') {
      return [
        warning(
          'node_differs',
          'info',
          'the node server uses its own read buffer, and closes connections that it cannot accept without counting them',
          'METHOD.md lists what differs',
          { mode },
        ),
      ];
    }
    return [];
  });
}

function fewTrials({ plan }: Measured): Warning[] {
  if (plan.trials !== 1 || plan.modes.length < 2) return [];
  return [
    warning(
      'one_trial',
      'info',
      'one trial per mode: there is no interval, and no difference is claimed',
      'the default of --trials 4 gives one',
      { figures: { trials: 1 } },
    ),
  ];
}

/** What --count-instructions cannot count on this machine. */
function instructions({ plan, environment }: Measured): Warning[] {
  const { scope, reason, hint } = environment.instructions ?? { scope: null, reason: '', hint: '' };
  if (plan.count_instructions !== true || scope === 'user+kernel') return [];
  if (scope === 'user') {
    return [
      warning(
        'instructions_in_user_mode',
        'info',
        "instructions and cycles are those of user mode alone: the system does not let this process count the kernel's",
        "allow it with 'sudo sysctl -w kernel.perf_event_paranoid=1'",
      ),
    ];
  }
  return [warning('instructions_not_counted', 'warning', `instructions and cycles are not counted: ${reason}`, hint)];
}

/** Of the warning that the default modes were replaced: only whoever chose them can give it, and a merge carries it over. */
export const fallbackCode = 'default_modes_replaced';
