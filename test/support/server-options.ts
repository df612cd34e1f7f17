/** Options of a small server, for tests that start one like the conductor. */
import type { StartOptions } from '../../src/server/messages.js';

export const smallServer: StartOptions = {
  mode: 'blocking',
  host: '127.0.0.1',
  port: 0,
  addressCount: 1,
  workers: null,
  backlog: 128,
  receiveBufferBytes: 16_384,
  stackSizeBytes: 65_536,
  poolThreads: 200,
  connectionsExpected: 10,
  zeroByteRecv: false,
  edgeTriggered: false,
  workUs: 0,
  waitMs: 0,
  waitBlocks: false,
  messageSizeBytes: 64,
  protocol: 'echo',
  bodySizeBytes: null,
  countInstructions: false,
  cpus: null,
  controlCpus: null,
};
