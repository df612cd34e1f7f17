/**
 * Work and wait per request (--work, --wait) in the `node` mode, as native/src/server/service.h has them for the native models.
 *
 * The work is the library's calibrated loop: a call of it takes less than a microsecond more. A wait is a timer of Node's own, which
 * counts in whole milliseconds from the time at which the loop last woke up: it can fire early, and then another one waits for the rest.
 * So a wait of 5 ms takes 5 to 6.5 ms, and a wait of less than 1 ms takes 1 ms. All timers of one length are in one list of Node's, so
 * thousands of them cost no more than a few. With --wait-blocks the JavaScript thread sleeps, as in a handler that calls a synchronous
 * function.
 */
import { openWork, type NativeWork } from '../native/binding.js';
import type { ServerStats } from '../model/figures.js';

export interface NodeServiceOptions {
  readonly workUs: number;
  readonly waitMs: number;
  readonly waitBlocks: boolean;
  readonly messageSizeBytes: number;
}

type ServiceStats = Pick<
  ServerStats,
  'served' | 'dropped' | 'waits' | 'waited_ns' | 'work_burnt_ns' | 'work_measured' | 'work_spread_ppm'
>;

/** A request that waits. */
export interface Waiting {
  cancel(): void;
}

export class NodeService {
  readonly messageSizeBytes: number;
  private readonly work: NativeWork | null;
  private readonly sleepCell = new Int32Array(new SharedArrayBuffer(4));
  private served = 0;
  private dropped = 0;
  private waits = 0;
  private waitedNs = 0;

  private constructor(private readonly options: NodeServiceOptions) {
    this.messageSizeBytes = options.messageSizeBytes;
    this.work = options.workUs > 0 ? openWork(options.workUs * 1e3) : null;
  }

  /** null if requests cost no more than their echo. Calibrates the work on this thread. */
  static start(options: NodeServiceOptions): NodeService | null {
    return options.workUs > 0 || options.waitMs > 0 ? new NodeService(options) : null;
  }

  /** A request is whole: burns its work and, if waits block, sleeps. True: the reply has to wait for `later`. */
  begin(later: () => void): Waiting | null {
    const { waitMs, waitBlocks } = this.options;
    this.work?.burn();
    if (waitMs > 0) {
      const start = process.hrtime.bigint();
      if (!waitBlocks) return this.wait(start, later);
      Atomics.wait(this.sleepCell, 0, 0, waitMs);
      this.waitOver(start);
    }
    this.served += 1;
    return null;
  }

  private wait(start: bigint, later: () => void): Waiting {
    const { waitMs } = this.options;
    const fired = (): void => {
      const restMs = waitMs - Number(process.hrtime.bigint() - start) / 1e6;
      if (restMs > 0) {
        timer = setTimeout(fired, restMs);
        return;
      }
      this.waitOver(start);
      this.served += 1;
      later();
    };
    let timer = setTimeout(fired, waitMs);
    return {
      cancel: () => {
        clearTimeout(timer);
      },
    };
  }

  private waitOver(start: bigint): void {
    this.waits += 1;
    this.waitedNs += Number(process.hrtime.bigint() - start);
  }

  drop(requests: number): void {
    this.dropped += requests;
  }

  stats(): ServiceStats {
    const { work_burnt_ns, work_measured, work_spread_ppm } = this.work?.stats() ?? {
      work_burnt_ns: 0,
      work_measured: 0,
      work_spread_ppm: null,
    };
    return {
      served: this.served,
      dropped: this.dropped,
      waits: this.waits,
      waited_ns: this.waitedNs,
      work_burnt_ns,
      work_measured,
      work_spread_ppm,
    };
  }
}

/** The requests of one connection, served one after another. */
export class ServedConnection {
  private readonly queue: Buffer[] = [];
  /** Bytes of a request that were echoed already, because it was not whole. */
  private phase = 0;
  private waiting: Waiting | null = null;

  /**
   * @param reply sends bytes to the peer
   * @param onIdle called when nothing waits any more
   */
  constructor(
    private readonly service: NodeService,
    private readonly reply: (bytes: Buffer) => void,
    private readonly onIdle: () => void,
  ) {}

  /** A request waits, and others may wait behind it. */
  get isBusy(): boolean {
    return this.waiting !== null;
  }

  receive(chunk: Buffer): void {
    this.queue.push(chunk);
    if (!this.isBusy) this.run();
  }

  /** The connection has ended: what it still waits for is dropped. */
  abandon(): void {
    const unserved = this.queue.reduce((total, { length }) => total + length, this.phase);
    this.service.drop((this.isBusy ? 1 : 0) + Math.floor(unserved / this.service.messageSizeBytes));
    this.waiting?.cancel();
    this.waiting = null;
    this.queue.length = 0;
    this.phase = 0;
  }

  private run(): void {
    for (let chunk = this.queue.shift(); chunk !== undefined; chunk = this.queue.shift()) {
      const missing = this.service.messageSizeBytes - this.phase;
      // The reply is whole only with its last byte, so the bytes before it need not wait.
      if (chunk.length < missing) {
        this.phase += chunk.length;
        this.reply(chunk);
        continue;
      }
      if (chunk.length > missing) this.queue.unshift(chunk.subarray(missing));
      const answer = chunk.subarray(0, missing);
      this.phase = 0;
      this.waiting = this.service.begin(() => {
        this.waiting = null;
        this.reply(answer);
        this.run();
        if (!this.isBusy) this.onIdle();
      });
      if (this.isBusy) return;
      this.reply(answer);
    }
  }
}
