/**
 * A comparison, from its options to its report: what the command `blast` and the function compare() share. It prints nothing, installs
 * no signal handler and never exits.
 */
import { checkGate } from '../measure/gates.js';
import type { GateExpression } from '../measure/gate-expression.js';
import type { BlastPlan } from '../model/plan.js';
import type { Environment, Machine, Report, Warning } from '../model/report-schema.js';
import { getAffinity, raiseDescriptorLimit, setAffinity } from '../native/binding.js';
import { Conductor, type ConductorHooks } from '../run/conductor.js';
import { readEnvironment } from '../run/environment.js';
import { serverStarter } from '../run/servers.js';
import { findTarget } from '../run/target.js';
import type { TrialHooks } from '../run/trial.js';
import type { BlastOptions } from './blast-options.js';
import { makePlan, planModes, withinLimits } from './blast-plan.js';

/** A checked plan, and what hosts its servers and its load: this machine, or agents on other machines. */
export interface ComparisonPlan {
  readonly plan: BlastPlan;
  /** Which modes replace those that cannot run here; null if all can. */
  readonly fallback: string | null;
  /** Whether the user named no modes. */
  readonly hasDefaultModes: boolean;
  readonly environment: () => Environment;
  /** Absent: this machine alone. */
  readonly machines?: readonly Machine[];
  readonly hosts: Pick<TrialHooks, 'startServer' | 'makeLoad'>;
  /** Frees the agents. Never rejects. */
  readonly end: () => Promise<void>;
}

/**
 * Checks the options against each other and against this machine, or the agents that they name, before any load. Raises this process'
 * soft limit of descriptors. The caller calls end().
 * @throws BenchError 'usage' or 'unavailable': what cannot run, and what to do
 */
export async function planComparison(options: BlastOptions): Promise<ComparisonPlan> {
  raiseDescriptorLimit();
  const hasDefaultModes = options.modes === undefined;
  if (options.serverOn !== undefined || options.clientsOn !== undefined || options.probeOn !== undefined) {
    // Loaded on demand, because local runs need neither a broker nor its client.
    const { prepareRemote } = await import('./blast-remote.js');
    const { hooks: hosts, ...remote } = await prepareRemote(options);
    try {
      checkGates(options.failIf, remote.plan);
    } catch (error) {
      await remote.end();
      throw error;
    }
    return { ...remote, hosts, hasDefaultModes };
  }
  const { specs, fallback } = planModes(options);
  const target = options.target === undefined ? null : await findTarget(options.target, options.timeoutMs);
  const asked = makePlan(options, specs, target);
  checkGates(options.failIf, asked);
  const plan = withinLimits(asked);
  return {
    plan,
    fallback,
    hasDefaultModes,
    environment: () => readEnvironment(plan.cpus),
    hosts: { startServer: serverStarter(plan) },
    end: () => Promise.resolve(),
  };
}

function checkGates(gates: readonly GateExpression[], plan: BlastPlan): void {
  for (const gate of gates) {
    const modes = plan.modes.map(({ mode }) => mode);
    checkGate(gate, {
      modes,
      clients: plan.clients,
      works: plan.worksUs,
      waits: plan.waitsMs,
      rates: plan.rates,
      phases: plan.phases,
      maxRate: plan.findMaxRate !== null,
    });
  }
}

export interface Comparison {
  /** Runs all trials, or until the signal is aborted; the report is then partial. */
  run(): Promise<Report>;
  /** The report of what has been measured so far. */
  report(partial: boolean): Report;
}

/** A comparison that is ready to run. `run` confines this process to the client's CPUs of the plan until it ends. */
export function prepareComparison(
  { plan, fallback, hasDefaultModes, environment, machines, hosts }: ComparisonPlan,
  commandLine: readonly string[],
  hooks: Omit<ConductorHooks, 'startServer' | 'makeLoad'>,
): Comparison {
  const warnings = fallback === null ? [] : [fallbackWarning(fallback, hasDefaultModes)];
  const conductor = new Conductor(
    plan,
    environment(),
    commandLine,
    warnings,
    { ...hooks, ...hosts },
    undefined,
    machines,
  );
  return {
    report: (partial) => conductor.report(partial),
    run: async () => {
      const before = getAffinity();
      if (plan.cpus.pinned) setAffinity(plan.cpus.client);
      try {
        return await conductor.run();
      } finally {
        if (plan.cpus.pinned) setAffinity(before);
      }
    },
  };
}

/** @param isDefault true: the user named no modes; false: a group of modes */
function fallbackWarning(fallback: string, isDefault: boolean): Warning {
  return {
    code: isDefault ? 'default_modes_replaced' : 'modes_left_out',
    severity: 'warning',
    message: fallback,
    hint: '`iocp-bench doctor` says what it needs to run',
    mode: null,
    clients: null,
    phase: null,
    trial: null,
    figures: {},
  };
}
