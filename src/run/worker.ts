/**
 * One client thread: a Piscina worker that spends the whole trial in one blocking native call. Commands and counters go through the
 * control block; no request passes through this file.
 */
import { runEngine, type EngineOptions, type EngineResult } from '../native/binding.js';

export interface EngineTask {
  options: EngineOptions;
  /** struct ib_exchange with its texts; null: echo. */
  exchange: Uint8Array | null;
  /** struct ib_tls with its texts; null: without TLS. */
  tls: Uint8Array | null;
  control: SharedArrayBuffer;
}

export default function runEngineTask(task: EngineTask): EngineResult {
  return runEngine(task.options, task.exchange, task.tls, task.control);
}
