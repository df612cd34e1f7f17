/**
 * The messages between the conductor and a forked `serve` (Node's IPC channel, serialization 'json'). The server's figures are
 * taken inside its own process, counters and CPU in one go, so that a slow channel shifts the moment of a sample and never its ratio.
 */

import type { ProcessUsage, ServerStats } from '../model/figures.js';

export interface ServerSample {
  usage: ProcessUsage;
  stats: ServerStats;
}

export type ToServer = { type: 'sample'; id: number } | { type: 'stop'; deadline_ms: number };

export type FromServer =
  | { type: 'listening'; mode: string; backend: string; host: string; port: number; pid: number; stats: ServerStats }
  | { type: 'sample'; id: number; sample: ServerSample }
  | { type: 'stopped'; sample: ServerSample; deadline_missed: boolean }
  | { type: 'error'; code: string; message: string; hint: string };
