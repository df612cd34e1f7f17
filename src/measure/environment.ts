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
      `This is ${environment.compatibility}, not Windows: its speed says nothing about Windows.`,
      'Use it to see that everything works; measure on Windows.',
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
      'Client and server ran on the same CPUs: each took time that the other needed.',
      environment.cpus_online < 2 ? 'Measure on a machine with two CPUs or more.' : 'Leave out --no-pin.',
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
          'On Linux the mode iocp is served by io_uring, its completion-based counterpart.',
          'Run on Windows for completion ports.',
          { mode },
        ),
      ];
    }
    if (backend === 'node') {
      return [
        warning(
          'node_differs',
          'info',
          "Node's own server cannot do all as the others: it reads into a buffer of its own, and sockets that it cannot accept are closed uncounted.",
          'See the header of the node server for the list.',
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
      'One trial per mode: there is no interval, and no difference is claimed.',
      'The default of --trials 4 gives one.',
      { figures: { trials: 1 } },
    ),
  ];
}

export const fallbackCode = 'default_modes_replaced';

/** For the conductor, which alone knows that the user named no modes and why the default could not run. */
export function fallbackWarning(instead: string, reason: string): Warning {
  return warning(
    fallbackCode,
    'warning',
    `The default modes cannot all run here, so these were compared: ${instead}. ${reason}`,
    'Name the modes with --modes, or see `iocp-bench doctor`.',
  );
}
