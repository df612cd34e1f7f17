/** What a server of this machine has reached, as Linux shows it of any process: its descriptors, and the queue of its listening sockets. */
import { processUsage } from '../native/binding.js';
import { listenersOn, ownersOf, reachable } from './port-owner.js';
import type { ServerLimits } from './process.js';
import { processIds, readProcess } from './process-tree.js';

/** Soft limit of descriptors in /proc/PID/limits; null where it has none, or says nothing. */
export function descriptorLimit(limits: string): number | null {
  const soft = /^Max open files\s+(\d+)\s/m.exec(limits)?.[1];
  return soft === undefined ? null : Number(soft);
}

/** @returns null where no listening socket is to be seen. Processes of other users cannot be looked into. */
export function limitsOfServer(host: string, port: number): ServerLimits | null {
  const sockets = reachable(listenersOn(port), host);
  if (sockets.length === 0) return null;
  // This process, whose descriptors are thousands of connections, is not the server.
  const owners = ownersOf(
    sockets,
    processIds().filter((pid) => pid !== process.pid),
  );
  return { waiting: sockets.reduce((sum, { waiting }) => sum + waiting, 0), descriptors: fullest(owners) };
}

/** The process with the fewest descriptors left. */
function fullest(pids: readonly number[]): ServerLimits['descriptors'] {
  const known = pids.flatMap((pid) => {
    const limit = descriptorLimit(readProcess(pid, 'limits') ?? '');
    const open = descriptorsOf(pid);
    const name = readProcess(pid, 'comm')?.trim() ?? null;
    return limit === null || open === null ? [] : [{ process: { pid, name }, open, limit }];
  });
  return known.sort((a, b) => a.limit - a.open - (b.limit - b.open))[0] ?? null;
}

function descriptorsOf(pid: number): number | null {
  try {
    return processUsage(pid).descriptors;
  } catch {
    return null;
  }
}
