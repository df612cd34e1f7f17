/** A plan of one small run, for tests of the code that runs plans. */
import { initialOrNull } from '../../src/model/options.js';
import type { BlastPlan } from '../../src/model/plan.js';

export const smallPlan: BlastPlan = {
  ...initialOrNull(),
  modes: [{ mode: 'blocking', backend: 'blocking', serverMode: 'blocking', command: null }],
  target: null,
  host: '127.0.0.1',
  clients: [10],
  trials: 1,
  phases: ['capacity', 'latency'],
  durationMs: 20,
  aa: false,
  messageSizeBytes: 64,
  pipeline: 1,
  warmupMs: 20,
  threads: 1,
  engine: 'auto',
  seed: 1,
  timeoutMs: 2_000,
  cpus: { server: [0], client: [0], shared: true, pinned: false },
  spinUs: 0,
  ephemeralPorts: null,
  backlog: 128,
  receiveBufferBytes: 16_384,
  stackSizeBytes: 65_536,
  outOfReach: [],
  ratePerSecond: null,
  rates: [],
  rateFraction: null,
};
