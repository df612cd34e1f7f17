/** The client threads of one trial: a Piscina pool with one worker per engine, each in one native call. */
import { Piscina } from 'piscina';
import type { EngineResult } from '../native/binding.js';
import type { EngineTask } from './worker.js';

export class EnginePool {
  private readonly pool: Piscina<EngineTask, EngineResult>;

  /** @param threads number of engines that run at the same time */
  constructor(threads: number) {
    this.pool = new Piscina<EngineTask, EngineResult>({
      filename: new URL('./worker.js', import.meta.url).href,
      minThreads: threads,
      maxThreads: threads,
      concurrentTasksPerWorker: 1,
      idleTimeout: Infinity,
    });
  }

  /** Starts one engine per task and settles after all have returned. Rejects with the error of the first one that failed. */
  async run(tasks: readonly EngineTask[]): Promise<EngineResult[]> {
    const settled = await Promise.allSettled(tasks.map((task) => this.pool.run(task)));
    const failed = settled.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    return settled.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  }

  /** Ends the workers. Call only if none is in a native call, because terminate() cannot interrupt one. */
  async destroy(): Promise<void> {
    await this.pool.destroy();
  }
}
