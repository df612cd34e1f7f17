/**
 * The processes of a command on Linux, from /proc: which ones belong to it, and what they have used together. On systems without
 * /proc, no process is found.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { processUsage } from '../native/binding.js';
import { isLinux } from '../platform.js';
import { unknownProcessUsage, type ProcessUsage } from '../model/figures.js';

export interface ProcessRow {
  readonly pid: number;
  readonly parent: number;
  /** Process group. */
  readonly group: number;
  /** At most 15 characters, as the system stores it. */
  readonly name: string;
  /** It has ended, but its parent has not waited for it yet. It holds no memory, and its CPU time still counts as its own. */
  readonly zombie: boolean;
  /** CPU time of descendants that have ended and were waited for. */
  readonly childrenUserNs: number;
  readonly childrenSystemNs: number;
  /** Start time in ticks since the system started. Together with the pid it identifies a process uniquely. */
  readonly startedTicks: number;
}

export type ProcessTable = ReadonlyMap<number, ProcessRow>;

/** USER_HZ, the unit of times in /proc/PID/stat: 100 per second on every architecture that Node runs on. */
const tickNs = 10_000_000;

/**
 * Parses a line of /proc/PID/stat (proc_pid_stat(5)); null if it is not valid. The name in parentheses may contain anything, so the
 * fields are counted from its end.
 */
export function parseProcessStat(text: string): ProcessRow | null {
  const open = text.indexOf('(');
  const close = text.lastIndexOf(')');
  if (open < 0 || close < open) return null;
  const [state, parent, group, ...fields] = text
    .slice(close + 2)
    .trim()
    .split(' ');
  // Fields 16, 17 and 22 of the line; the group is field 5.
  const [childrenUser, childrenSystem] = [Number(fields[10]), Number(fields[11])];
  const row = {
    pid: Number(text.slice(0, open)),
    parent: Number(parent),
    group: Number(group),
    name: text.slice(open + 1, close),
    zombie: state === 'Z' || state === 'X',
    childrenUserNs: childrenUser * tickNs,
    childrenSystemNs: childrenSystem * tickNs,
    startedTicks: Number(fields[16]),
  };
  const numbers = [row.pid, row.parent, row.group, row.childrenUserNs, row.childrenSystemNs, row.startedTicks];
  return numbers.every(Number.isSafeInteger) ? row : null;
}

/** Every visible process; empty without /proc. */
export function readProcesses(): ProcessTable {
  const table = new Map<number, ProcessRow>();
  for (const pid of processIds()) {
    const row = parseProcessStat(readProcess(pid, 'stat') ?? '');
    if (row !== null) table.set(pid, row);
  }
  return table;
}

export function processIds(): number[] {
  if (!isLinux) return [];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** A file of /proc/PID; null if the process has ended or the file may not be read. */
export function readProcess(pid: number | 'self', file: string): string | null {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1');
  } catch {
    return null;
  }
}

/** The `roots` that are in the table, and all their descendants. */
export function withDescendants(table: ProcessTable, roots: Iterable<number>): Set<number> {
  const children = new Map<number, number[]>();
  for (const { pid, parent } of table.values()) {
    const known = children.get(parent);
    if (known === undefined) children.set(parent, [pid]);
    else known.push(pid);
  }
  const found = new Set([...roots].filter((pid) => table.has(pid)));
  // Iterating over a set includes the elements that are added meanwhile.
  for (const pid of found) for (const child of children.get(pid) ?? []) found.add(child);
  return found;
}

/** A process and all its ancestors. */
export function withAncestors(table: ProcessTable, pid: number): Set<number> {
  const line = new Set<number>();
  for (let at = table.get(pid); at !== undefined && !line.has(at.pid); at = table.get(at.parent)) line.add(at.pid);
  return line;
}

/**
 * The processes that were started with `marker` ("NAME=value") in their environment, wherever they are in the tree. A daemon has
 * left its parents, but its environment still shows where it comes from.
 */
export function markedProcesses(candidates: Iterable<number>, marker: string): number[] {
  return [...candidates].filter((pid) => isMarked(pid, marker) === true);
}

/** null if there is no environment: for kernel threads, and for a process at the moment of an exec. */
export function isMarked(pid: number, marker: string): boolean | null {
  const environment = readProcess(pid, 'environ');
  return environment === '' ? null : `\0${environment ?? ''}`.includes(`\0${marker}\0`);
}

/** Whether the process ignores SIGCHLD. The system then keeps nothing of its children's CPU time (wait(2), getrusage(2)). */
export function ignoresChildren(pid: number): boolean {
  const mask = /^SigIgn:\s*([0-9a-f]+)$/m.exec(readProcess(pid, 'status') ?? '')?.[1];
  return mask !== undefined && ((BigInt(`0x${mask}`) >> BigInt(constants.signals.SIGCHLD - 1)) & 1n) === 1n;
}

/**
 * What a set of processes has used together: the CPU time of each, and that of its children that have ended.
 * @param withMemory false leaves memory unknown; reading it walks the page tables of every process
 */
export function usageOf(table: ProcessTable, pids: Iterable<number>, withMemory: boolean): ProcessUsage | null {
  const rows = [...pids].flatMap((pid) => table.get(pid) ?? []);
  const usages = rows.flatMap((row) => {
    try {
      return [{ row, usage: withChildren(row, processUsage(row.pid)) }];
    } catch {
      // It has ended since the table was read. From now on its CPU time counts as its parent's.
      return [];
    }
  });
  // Reading memory takes long, so it comes after all CPU times.
  const parts = usages.map(({ row, usage }) => ({ ...usage, ...memoryOf(row, usage, withMemory) }));
  return parts.length === 0 ? null : parts.reduce(addUsage);
}

function withChildren(row: ProcessRow, usage: ProcessUsage): ProcessUsage {
  const { cpu_user_ns: user, cpu_system_ns: system, cpu_total_ns: total } = usage;
  return {
    ...usage,
    cpu_user_ns: user === null ? null : user + row.childrenUserNs,
    cpu_system_ns: system === null ? null : system + row.childrenSystemNs,
    cpu_total_ns: total === null ? null : total + row.childrenUserNs + row.childrenSystemNs,
  };
}

type Memory = Pick<ProcessUsage, 'resident_bytes' | 'resident_peak_bytes' | 'page_table_bytes'>;

/**
 * The proportional set: pages shared by processes, for example after a fork, count once in the sum. With resident sets they would
 * count once per process.
 */
function memoryOf({ pid, zombie }: ProcessRow, usage: ProcessUsage, isWanted: boolean): Memory {
  if (zombie) return { resident_bytes: 0, resident_peak_bytes: null, page_table_bytes: 0 };
  const proportional = isWanted ? proportionalBytes(readProcess(pid, 'smaps_rollup') ?? '') : null;
  return { resident_bytes: proportional, resident_peak_bytes: null, page_table_bytes: usage.page_table_bytes };
}

/** "Pss:" of /proc/PID/smaps_rollup in bytes; null if it is missing (Linux before 4.14, or a process of another user). */
export function proportionalBytes(rollup: string): number | null {
  const kib = /^Pss:\s*(\d+) kB$/m.exec(rollup)?.[1];
  return kib === undefined ? null : Number(kib) * 1024;
}

/** The sum of every figure that both have, and the later of the two times. */
export function addUsage(a: ProcessUsage, b: ProcessUsage): ProcessUsage {
  const names = Object.keys(unknownProcessUsage) as (keyof ProcessUsage)[];
  const sums = names.map((name) => {
    const [left, right] = [a[name], b[name]];
    return [name, left === null || right === null ? null : left + right];
  });
  return { ...(Object.fromEntries(sums) as ProcessUsage), taken_at_ns: Math.max(a.taken_at_ns, b.taken_at_ns) };
}
