/**
 * The noise of this machine: one mode against itself for about five seconds. A difference between two modes is only credible if it
 * exceeds that between two runs of the same mode.
 */
import { BenchError } from '../model/errors.js';
import { noiseFloor } from '../measure/comparisons.js';
import { initialOrNull } from '../model/options.js';
import type { Environment, Noise } from '../model/report-schema.js';
import type { ModeAvailability } from '../server/modes.js';
import { Conductor } from './conductor.js';
import type { BlastPlan, CpuSplit } from '../model/plan.js';
import { serverStarter } from './servers.js';

const clients = 200;
const trials = 3;
const windowMs = 400;
const warmupMs = 100;

function noisePlan({ mode, backend }: ModeAvailability, cpus: CpuSplit): BlastPlan {
  const spec = { mode, backend, serverMode: mode, command: null };
  return {
    ...initialOrNull(),
    modes: [spec, { ...spec, mode: `${mode}-again` }],
    target: null,
    outOfReach: [],
    ratePerSecond: null,
    rates: [],
    rateFraction: null,
    clients: [clients],
    trials,
    phases: ['capacity'],
    durationMs: windowMs,
    warmupMs,
    messageSizeBytes: 64,
    pipeline: 1,
    threads: 1,
    timeoutMs: 2_000,
    cpus,
    spinUs: 0,
    // Two hundred connections never run out of ports.
    ephemeralPorts: null,
    aa: true,
  };
}

/** The noise floor of every metric of the capacity phase; empty if the mode could not be measured. */
export async function measureNoise(mode: ModeAvailability, cpus: CpuSplit, environment: Environment): Promise<Noise[]> {
  const plan = noisePlan(mode, cpus);
  const conductor = new Conductor(plan, environment, [], [], {
    startServer: serverStarter(plan),
    onProgress: () => undefined,
    onTrial: () => undefined,
    onReport: () => undefined,
    signal: new AbortController().signal,
  });
  try {
    const { runs } = await conductor.run();
    return noiseFloor(runs, plan);
  } catch (error) {
    // If the machine cannot start a server, other parts of the diagnosis say why.
    if (error instanceof BenchError) return [];
    throw error;
  }
}
