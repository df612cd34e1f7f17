/** Warnings about the whole run: what the machine is, what really served a mode, how often it was measured. */
import type { Report, Warning } from '../report/schema.js';

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
  return [...wine(measured), ...sharedCpus(measured), ...backends(measured), ...fewTrials(measured)];
}

function wine({ environment }: Measured): Warning[] {
  if (!environment.compatibility) return [];
  return [
    warning(
      'wine',
      'warning',
      `this is ${environment.compatibility}, not Windows: its speed says nothing about Windows`,
      'use it to see that everything works; measure on Windows',
    ),
  ];
}

function sharedCpus({ environment, plan }: Measured): Warning[] {
  if (!environment.cpus_shared || plan.target !== null) return [];
  const figures = { cpus_online: environment.cpus_online };
  return [
    warning(
      'cpus_shared',
      'warning',
      'client and server ran on the same CPUs: each took time that the other needed',
      environment.cpus_online < 2 ? 'measure on a machine with two CPUs or more' : 'leave out --no-pin',
      { figures },
    ),
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
          'run on Windows for completion ports',
          { mode },
        ),
      ];
    }
    if (backend === 'node') {
      return [
        warning(
          'node_differs',
          'info',
          'the node server reads into a buffer of its own, and closes uncounted what it cannot accept',
          'see the header of the node server for the list',
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

/** Of the warning that the default modes were replaced: only whoever chose them can give it, and a merge carries it over. */
export const fallbackCode = 'default_modes_replaced';
