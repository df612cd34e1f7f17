/**
 * Tells whether a server was killed because memory ran out. The kernel sends the same SIGKILL as a person would, but counts its
 * kills.
 */
import { readFileSync } from 'node:fs';

/**
 * `oom_kill` of /proc/vmstat: processes that the system killed because the machine or a control group ran out of memory; null:
 * unknown.
 */
export function parseMemoryKills(vmstat: string): number | null {
  const found = /^oom_kill (\d+)$/m.exec(vmstat)?.[1];
  return found === undefined ? null : Number(found);
}

/** Counts kills since its construction. */
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
