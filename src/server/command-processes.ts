/**
 * The processes that serve for a command: its process tree, processes that have left the tree (recognised by a marker in their
 * environment), and the process that really listens on the port, which a container or a service manager may have started. The
 * server's figures are the sum over them. If a part of it cannot be known, the CPU time is unknown, with the reason.
 */
import { BenchError } from '../model/errors.js';
import { unknownProcessUsage, type ProcessUsage } from '../model/figures.js';
import { portOwners, processUsage } from '../native/binding.js';
import { isLinux } from '../platform.js';
import { listeners, listenersOn, ownersOf, reachable, type ListeningSocket } from './port-owner.js';
import { processInWords, type ProcessName, type ServerIdentity, type ServerLimits } from './process.js';
import {
  addUsage,
  ignoresChildren,
  isMarked,
  markedProcesses,
  parseProcessStat,
  processIds,
  readProcess,
  readProcesses,
  usageOf,
  withAncestors,
  withDescendants,
  type ProcessRow,
  type ProcessTable,
} from './process-tree.js';
import { limitsOfServer } from './server-limits.js';

export class CommandProcesses {
  private listener: Omit<ServerIdentity, 'cpu_unknown'> | null = null;
  /** Listening processes that are not the command's. */
  private outside: number[] = [];
  /** Processes whose parent is not counted. When one ends, its CPU time is lost. */
  private readonly orphans = new Map<number, ProcessRow>();
  private cpuUnknown: string | null = null;
  /** Start times, by pid, of processes that are known not to be the command's. */
  private readonly strangers = new Map<number, number>();

  /** @param marker "NAME=value" in the environment of all processes that the command starts */
  constructor(
    private readonly host: string,
    private readonly port: number,
    private readonly marker: string,
  ) {}

  /** Call when the server echoes: finds the process that listens. */
  findListener(root: number): void {
    if (!isLinux) {
      this.findListenerByPort(root);
      return;
    }
    const table = readProcesses();
    const sockets = this.sockets();
    const tree = withDescendants(table, [root]);
    const [inTree] = ownersOf(sockets, tree);
    if (inTree !== undefined) {
      this.listener = { listener: 'command', process: nameIn(table, inTree) };
      return;
    }
    // A service manager holds the sockets of its services but does not serve them, and everything descends from it.
    const above = withAncestors(table, process.pid);
    const others = [...table.keys()].filter((pid) => !tree.has(pid));
    const owners = ownersOf(sockets, others);
    this.outside = owners.filter((pid) => !above.has(pid));
    const [first] = this.outside;
    if (first !== undefined) {
      this.listener = { listener: 'outside', process: nameIn(table, first) };
      return;
    }
    this.listener = { listener: 'unseen', process: null };
    this.cpuUnknown = unseenInWords(sockets, this.port);
  }

  /** Windows: a command is started without a shell, so its process is the server, unless it has started another one to serve. */
  private findListenerByPort(root: number): void {
    const owners = portOwners(this.port);
    this.outside = owners.filter((pid) => pid !== root);
    const [first] = this.outside;
    if (owners.includes(root)) {
      this.outside = [];
      this.listener = { listener: 'command', process: { pid: root, name: null } };
    } else if (first !== undefined) {
      this.listener = { listener: 'outside', process: { pid: first, name: null } };
    } else {
      this.listener = { listener: 'unseen', process: null };
      this.cpuUnknown = `the system does not show which process listens on port ${this.port}`;
    }
  }

  /** Windows: of the command's process and of the one that listens. */
  private usageByPort(root: number): ProcessUsage {
    const usage = [root, ...this.outside].map((pid) => processUsage(pid)).reduce(addUsage);
    return this.listener?.listener === 'unseen' ? { ...unknownProcessUsage, taken_at_ns: usage.taken_at_ns } : usage;
  }

  identity(): ServerIdentity | null {
    return this.listener === null ? null : { ...this.listener, cpu_unknown: this.cpuUnknown };
  }

  limits(): ServerLimits | null {
    return limitsOfServer(this.host, this.port);
  }

  /**
   * What all these processes have used.
   * @throws BenchError 'runFailed' if the command has ended
   */
  usage(root: number, withMemory: boolean): ProcessUsage {
    if (!isLinux) return this.usageByPort(root);
    const table = readProcesses();
    const members = this.members(table, root);
    const usage = members.has(root) ? usageOf(table, members, withMemory) : null;
    this.judge(table, members, root);
    if (usage === null) throw new BenchError('runFailed', 'the server has ended');
    if (this.listener?.listener === 'unseen') return { ...unknownProcessUsage, taken_at_ns: usage.taken_at_ns };
    if (this.cpuUnknown === null) return usage;
    return { ...usage, cpu_user_ns: null, cpu_system_ns: null, cpu_total_ns: null };
  }

  private members(table: ProcessTable, root: number): Set<number> {
    const known = withDescendants(table, [root, ...this.outside]);
    const marked = [...table.values()].filter((row) => !known.has(row.pid) && this.isOurs(row)).map(({ pid }) => pid);
    return new Set([...known, ...withDescendants(table, marked)]);
  }

  /** Remembers the processes of others, because checking every process of the machine takes long. */
  private isOurs({ pid, startedTicks }: ProcessRow): boolean {
    if (this.strangers.get(pid) === startedTicks) return false;
    const marked = isMarked(pid, this.marker);
    if (marked === false) this.strangers.set(pid, startedTicks);
    return marked === true;
  }

  /** Checks whether CPU time of processes that have ended is lost. It is then missing from every later sum. */
  private judge(table: ProcessTable, members: ReadonlySet<number>, root: number): void {
    for (const row of this.orphans.values()) {
      if (members.has(row.pid)) continue;
      this.cpuUnknown ??= `${processInWords(row)} ended; it was not a child of the command, so its CPU time is not known`;
    }
    for (const pid of members) {
      const row = table.get(pid);
      if (row === undefined) continue;
      if (pid !== root && !members.has(row.parent)) this.orphans.set(pid, row);
      if (this.cpuUnknown !== null || !ignoresChildren(pid)) continue;
      this.cpuUnknown = `${processInWords(row)} ignores SIGCHLD, so the system does not keep the CPU time of its children that ended`;
    }
  }

  /** Living processes that the command started, wherever they are; none on Windows. */
  marked(): ProcessRow[] {
    return markedProcesses(processIds(), this.marker).flatMap((pid) => {
      const row = parseProcessStat(readProcess(pid, 'stat') ?? '');
      return row === null || row.zombie ? [] : [row];
    });
  }

  /** Where the command's processes listen by mistake: on the right port but other addresses, or on other ports. */
  listensElsewhere(root: number, on: 'its-port' | 'other-ports'): ListeningSocket[] {
    const candidates = listeners().filter(({ port }) => (port === this.port) === (on === 'its-port'));
    const others = candidates.filter((socket) => on === 'other-ports' || reachable([socket], this.host).length === 0);
    if (others.length === 0) return [];
    const members = this.members(readProcesses(), root);
    return others.filter((socket) => ownersOf([socket], members).length > 0);
  }

  /** The process that listens on the port now; null if none is visible. */
  listenerNow(): ProcessName | null {
    const sockets = this.sockets();
    if (sockets.length === 0) return null;
    const table = readProcesses();
    const [first] = ownersOf(sockets, table.keys());
    return first === undefined ? null : nameIn(table, first);
  }

  private sockets(): ListeningSocket[] {
    return reachable(listenersOn(this.port), this.host);
  }
}

function nameIn(table: ProcessTable, pid: number): ProcessName {
  return { pid, name: table.get(pid)?.name ?? null };
}

function unseenInWords(sockets: readonly ListeningSocket[], port: number): string {
  return sockets.length === 0
    ? `no process that listens on port ${port} is visible here, as with a server in a container or another network namespace`
    : `the process that listens on port ${port} is not visible: it belongs to another user or to the service manager`;
}
