/** Whether a server that was killed was killed for want of memory: the kernel sends the same SIGKILL as a person does, but counts its own. */
import { readFileSync } from 'node:fs';

/** `oom_kill` of /proc/vmstat: processes that the system has ended for want of memory, its own or that of a control group; null: unknown. */
export function parseMemoryKills(vmstat: string): number | null {
  const found = /^oom_kill (\d+)$/m.exec(vmstat)?.[1];
  return found === undefined ? null : Number(found);
}

/** Counts from its making on. */
export class MemoryKills {
  private readonly before = memoryKills();

  happened(): boolean {
    const now = memoryKills();
    return this.before !== null && now !== null && now > this.before;
  }
}

function memoryKills(): number | null {
  try {
    return parseMemoryKills(readFileSync('/proc/vmstat', 'latin1'));
  } catch {
    return null;
  }
}
