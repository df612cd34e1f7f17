/** How close a server on this machine is to its limits: its descriptors and its listen queues, which Linux shows for any process. */
import { processUsage } from '../native/binding.js';
import { listenersOn, ownersOf, reachable } from './port-owner.js';
import type { ServerLimits } from './process.js';
import { processIds, readProcess } from './process-tree.js';

/** Soft limit of descriptors in /proc/PID/limits; null if there is none, or the file does not show it. */
export function descriptorLimit(limits: string): number | null {
  const soft = /^Max open files\s+(\d+)\s/m.exec(limits)?.[1];
  return soft === undefined ? null : Number(soft);
}

/** @returns null if no listening socket is visible. Descriptors of other users' processes cannot be read. */
export function limitsOfServer(host: string, port: number): ServerLimits | null {
  const sockets = reachable(listenersOn(port), host);
  if (sockets.length === 0) return null;
  // This process is not the server, and its thousands of connections would take long to check.
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
