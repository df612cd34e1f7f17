/**
 * The noise of this machine: one mode against itself for about five seconds. What differs between two runs of the same thing is what a
 * difference between two things has to exceed.
 */
import { BenchError } from '../errors.js';
import { noiseFloor } from '../measure/comparisons.js';
import { serverDefaults } from '../options.js';
import type { Environment, Noise } from '../report/schema.js';
import type { ModeAvailability } from '../server/modes.js';
import { Conductor } from './conductor.js';
import type { BlastPlan, CpuSplit } from './plan.js';
import { serverStarter } from './servers.js';

const clients = 200;
const trials = 3;
const windowMs = 400;
const warmupMs = 100;

function noisePlan({ mode, backend }: ModeAvailability, cpus: CpuSplit): BlastPlan {
  const spec = { mode, backend, serverMode: mode, command: null };
  return {
    modes: [spec, { ...spec, mode: `${mode}-again` }],
    target: null,
    host: '127.0.0.1',
    clients: [clients],
    activeFraction: null,
    idle: 0,
    trials,
    phases: ['capacity'],
    durationMs: windowMs,
    warmupMs,
    messageSizeBytes: 64,
    pipeline: 1,
    ratePerSecond: null,
    connectRatePerSecond: null,
    requestsPerConnection: null,
    thinkTimeMs: 0,
    stream: false,
    threads: 1,
    engine: 'auto',
    seed: 1,
    timeoutMs: 2_000,
    close: 'reset',
    cpus,
    spinUs: 0,
    // Two hundred connections need no thought about ports.
    ephemeralPorts: null,
    workers: null,
    ...serverDefaults,
    zeroByteRecv: false,
    edgeTriggered: false,
    aa: true,
    findMaxRate: null,
  };
}

/** The floor of every metric of the capacity phase; empty when the mode could not be measured. */
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
    // A machine that cannot start a server has its reasons elsewhere in the diagnosis.
    if (error instanceof BenchError) return [];
    throw error;
  }
}
