/** An engine without sockets: a control block that answers commands as a test defines, and a pool that runs nothing. */
import { ControlBlock, type Command } from '../../src/run/control.js';
import type { EnginePool } from '../../src/run/pool.js';
import { controlHeaderBytes, errorClassValues } from '../../src/model/abi.generated.js';
import { fieldOffset } from '../../src/native/abi.js';

export class FakeControl extends ControlBlock {
  readonly commands: Command[] = [];
  /** Settles when the trial has stopped its engines. */
  readonly stopped: Promise<void>;
  private latest = 0;
  private tellStopped: () => void = () => undefined;

  /** @param answer handles a command; returns false to leave it incomplete */
  constructor(
    timelineCapacity: number,
    private readonly answer: (command: Command, control: FakeControl) => boolean,
  ) {
    super(1, timelineCapacity);
    this.setRunning(true);
    this.stopped = new Promise((resolve) => {
      this.tellStopped = resolve;
    });
  }

  override command(command: Command): number {
    const sequence = super.command(command);
    this.commands.push(command);
    this.latest = sequence;
    if (this.answer(command, this)) this.finish();
    return sequence;
  }

  /** Completes the last command. */
  finish(): void {
    const at = controlHeaderBytes + fieldOffset('ib_engine_block', 'sequence_done');
    new Uint32Array(this.buffer)[at / 4] = this.latest;
  }

  override stop(): void {
    super.stop();
    this.tellStopped();
  }

  setRunning(running: boolean): void {
    const at = controlHeaderBytes + fieldOffset('ib_engine_block', 'running');
    new Uint32Array(this.buffer)[at / 4] = running ? 1 : 0;
  }

  /** Sets counters of the engine by their names in struct ib_engine_block. */
  set(counters: Readonly<Record<string, number>>): void {
    const words = new BigUint64Array(this.buffer);
    for (const [name, value] of Object.entries(counters)) {
      words[(controlHeaderBytes + fieldOffset('ib_engine_block', name)) / 8] = BigInt(value);
    }
  }

  setErrors(name: keyof typeof errorClassValues, count: number): void {
    const at = controlHeaderBytes + fieldOffset('ib_engine_block', 'errors') + errorClassValues[name] * 8;
    new BigUint64Array(this.buffer)[at / 8] = BigInt(count);
  }
}

/** Runs nothing. Every engine returns without figures when the trial stops them. */
export function idlePool(control: FakeControl): Pick<EnginePool, 'run' | 'destroy'> {
  return {
    run: async () => {
      await control.stopped;
      return [];
    },
    destroy: () => Promise.resolve(),
  };
}
