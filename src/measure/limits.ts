/**
 * What a run needs of the machine, against what the machine allows. Pure: the same computation refuses a run before any work and fills
 * `doctor`. A limit that the system does not report is null and never blocks a run.
 */
import { isIPv6 } from 'node:net';
import { isLoopbackIpv4 } from './sources.js';
import { eventSelectConnectionsPerThread, eventSelectThreadsMax } from '../model/abi.generated.js';
import type { Limits } from '../model/figures.js';
import { bounds, isLoopback } from '../model/parse.js';
import { formatBytes, formatCount } from '../model/format.js';

export interface RunShape {
  /** Held at one time. */
  readonly connections: number;
  /** Of these, how many send. */
  readonly active: number;
  readonly mode: string;
  readonly backend: string;
  /** Client engine; 'auto' where it is chosen later. */
  readonly engine: string;
  /** Numeric address of the server. */
  readonly host: string;
  readonly stack_size_bytes: number;
  /** Of `pool`. */
  readonly pool_threads: number;
  /** Trials of the whole run, over all modes. */
  readonly trials: number;
  readonly close: 'reset' | 'fin';
}

export interface Requirements {
  readonly connections: number;
  readonly mode: string;
  readonly host: string;
  readonly client_descriptors: number;
  /** null: the server is not ours. Sockets in rings, and sockets of a process each, need none. */
  readonly server_descriptors: number | null;
  readonly system_files: number;
  /** Local ports of one source address that the run needs; 0 where source addresses rotate, since as many are used as the range asks for. */
  readonly ports_per_address: number;
  /** Threads of the server, of all its processes together; 0 where the model does not start one per connection. */
  readonly threads: number;
  /** Each of these threads is a process of its own. */
  readonly forks: boolean;
  /** Connections that the model serves at one time, however many there are; null: all of them. */
  readonly served_at_once: number | null;
  /** The most connections that the model can hold at all; null: as many as the machine can. */
  readonly connections_max: number | null;
  /** Memory mappings of the server: a stack and its guard page each. */
  readonly mappings: number;
  readonly memory_bytes: number;
  readonly tcp_memory_bytes: number;
}

export interface LimitProblem {
  readonly limit: string;
  readonly value: number;
  readonly needed: number;
  /** What raises it; '' when nothing can. */
  readonly command: string;
  readonly message: string;
}

/** Descriptors that a process needs besides its sockets: Node, the library, rings, pipes. */
const reservedDescriptors = 128;
/** What a conductor and a server process take before the first connection. */
const baseMemoryBytes = 256 * 2 ** 20;
/**
 * Both sockets of a loopback connection in the kernel (9.8 KB: socket, inode, directory entry and file at either end) and the state of
 * server and client for it (0.5 KB), as measured alike at 100,000 and at 1,000,000.
 */
const connectionMemoryBytes = 10_500;
/** The kernel's part of a thread: its stack of 16 KiB, its task and its page tables. */
const threadKernelBytes = 28 * 1024;
/** A process has a thread's part, its page tables (48 KiB) and its copies of the pages that it writes to (34 KiB), as measured. */
const processBytes = 128 * 1024;
/** The part of a thread's stack that echoing touches. */
const stackTouchedBytes = 12 * 1024;
/** libuv's handle and the JavaScript objects of one socket. */
const nodeSocketBytes = 12 * 1024;
/** The kernel charges socket buffers by the page. */
const tcpPageBytes = 4096;
/**
 * A message in flight holds a page or two of them, an idle connection none. So it is those that send which count, and, while connecting,
 * those whose last echo is not acknowledged yet: of 1,000,000 connections 90,000 at the most.
 */
const connectionsUnacknowledged = 100_000;
/** Ports of one address that can be used at all: 1025 to 65535. */
const portsOfAddress = 64_511;

/** Backends that hold sockets in their rings' tables instead of the process's. */
function usesRingTables(name: string): boolean {
  return name === 'io_uring';
}

/** Threads or processes of the server, other than those that every model has. */
function threadsOf({ backend, connections, pool_threads }: RunShape): number {
  switch (backend) {
    case 'blocking':
    case 'process':
      return connections;
    case 'pool':
      return pool_threads;
    case 'event_select':
      return Math.ceil(connections / eventSelectConnectionsPerThread);
    default:
      return 0;
  }
}

export function requirements(shape: RunShape): Requirements {
  const { connections, backend, engine, mode, host } = shape;
  const ours = backend !== 'external';
  const counted = ours && backend !== 'command';
  const forks = backend === 'process';
  const threads = threadsOf(shape);
  const clientSockets = usesRingTables(engine) ? 0 : connections;
  const serverSockets = usesRingTables(backend) || forks ? 0 : connections;
  // A connection closed with FIN keeps its port in TIME_WAIT for a minute: the trials add up.
  const portsAtOnce = connections * (shape.close === 'fin' ? shape.trials : 1);
  const threadBytes = threadKernelBytes + Math.min(shape.stack_size_bytes, stackTouchedBytes);
  const perConnection =
    connectionMemoryBytes +
    (backend === 'blocking' ? threadBytes : 0) +
    (forks ? processBytes : 0) +
    (backend === 'node' ? nodeSocketBytes : 0);
  return {
    connections,
    mode,
    host,
    client_descriptors: clientSockets + reservedDescriptors,
    server_descriptors: counted ? serverSockets + reservedDescriptors : null,
    system_files: connections * (ours ? 2 : 1),
    ports_per_address: isLoopbackIpv4(host) ? 0 : portsAtOnce,
    threads,
    forks,
    connections_max: backend === 'event_select' ? eventSelectConnectionsPerThread * eventSelectThreadsMax : null,
    served_at_once: backend === 'pool' ? shape.pool_threads : null,
    mappings: forks ? 0 : threads * 2,
    memory_bytes:
      baseMemoryBytes + connections * perConnection + (backend === 'event_select' ? threads * threadBytes : 0),
    tcp_memory_bytes: Math.max(shape.active, Math.min(connections, connectionsUnacknowledged)) * tcpPageBytes,
  };
}

export interface Machine {
  readonly platform: NodeJS.Platform;
  /** The superuser is not bound by the number of processes of a user. */
  readonly root: boolean;
  /** Windows Subsystem for Linux. */
  readonly wsl: boolean;
  /** Whether the loopback interface is up with an address of each family; null where the system does not say. */
  readonly loopback: { readonly ipv4: boolean; readonly ipv6: boolean } | null;
}

/** Rounded up so that the command that raises a limit leaves some room. */
function withRoom(needed: number): number {
  return Math.ceil((needed * 1.1) / 1000) * 1000;
}

/** Limits that make the run impossible; the first is the one to name in a refusal. */
export function checkLimits(limits: Limits, need: Requirements, machine: Machine): LimitProblem[] {
  return [
    connectionsOfModel(need),
    loopback(need, machine),
    descriptorsPerProcess(limits, need),
    filesOfSystem(limits, need),
    ports(limits, need, machine),
    memory(limits, need),
    cgroupMemory(limits, need),
    tcpMemory(limits, need),
  ].filter((problem) => problem !== null);
}

/** The most connections, at most those of the shape, that the limits allow; 0: none at all. */
export function mostConnections(limits: Limits, shape: RunShape, machine: Machine): number {
  const fits = (connections: number): boolean => {
    const active = Math.min(shape.active, connections);
    return checkLimits(limits, requirements({ ...shape, connections, active }), machine).length === 0;
  };
  let lowest = 0;
  let highest = shape.connections;
  while (lowest < highest) {
    const middle = Math.ceil((lowest + highest) / 2);
    if (fits(middle)) lowest = middle;
    else highest = middle - 1;
  }
  return lowest;
}

export type ThreadLimits = Pick<
  Limits,
  'pid_max' | 'threads_system_max' | 'map_count_max' | 'processes_user_max' | 'cgroup_pids_max'
>;

/**
 * Limits at which a model with a thread or process per connection itself ends: the run goes on, with fewer connections made, since that is a result about the model
 * and no failure of the machine.
 */
export function modelLimits(limits: ThreadLimits, need: Requirements, machine: Pick<Machine, 'root'>): LimitProblem[] {
  const ofPool = threadsOfPool(need);
  if (ofPool !== null) return [ofPool];
  if (need.threads === 0) return [];
  const raised = withRoom(need.threads);
  const checks: [string, number | null, number, string][] = [
    ['kernel.pid_max', limits.pid_max, need.threads, `sudo sysctl -w kernel.pid_max=${raised}`],
    ['kernel.threads-max', limits.threads_system_max, need.threads, `sudo sysctl -w kernel.threads-max=${raised}`],
    [
      'vm.max_map_count',
      limits.map_count_max,
      need.mappings,
      `sudo sysctl -w vm.max_map_count=${withRoom(need.mappings)}`,
    ],
    ['processes of a user', machine.root ? null : limits.processes_user_max, need.threads, `ulimit -u ${raised}`],
    [
      'pids of the cgroup',
      limits.cgroup_pids_max,
      need.threads,
      `raise pids.max of the cgroup to ${raised} (docker: --pids-limit)`,
    ],
  ];
  return checks.flatMap(([limit, value, needed, command]) => {
    if (value === null || value >= needed) return [];
    const what = limit === 'vm.max_map_count' ? 'memory mappings' : need.forks ? 'processes' : 'threads';
    const message = `${subject(need)} need ${formatCount(needed)} ${what}; ${limit} is ${formatCount(value)}`;
    return [{ limit, value, needed, command, message }];
  });
}

/** What a pool serves at one time; the other connections wait in its queue until one of these has ended. */
function threadsOfPool(need: Requirements): LimitProblem | null {
  const { served_at_once: value, connections: needed } = need;
  if (value === null || value >= needed) return null;
  return {
    limit: 'threads of the pool',
    value,
    needed,
    command:
      needed <= bounds.poolThreads.max
        ? `--pool-threads ${needed}`
        : `use another mode: a pool has ${formatCount(bounds.poolThreads.max)} threads at most`,
    message: `${subject(need)} need ${formatCount(needed)} threads to be served at one time; the pool has ${formatCount(value)}, and the others wait`,
  };
}

/** Threads on the system other than the server's. A limit that was reached shows as at most this many fewer. */
const threadsOfOthers = 2_000;

/**
 * The limit at which such a model ended with `reached` threads: of those below what was asked, the tightest, if it is near what was
 * reached. null: none of them explains it.
 */
export function limitReached(
  limits: ThreadLimits,
  need: Requirements,
  reached: number,
  machine: Pick<Machine, 'root'>,
): LimitProblem | null {
  const threadsAllowed = ({ limit, value }: LimitProblem): number =>
    limit === 'vm.max_map_count' ? Math.floor((value * need.threads) / need.mappings) : value;
  const [tightest] = modelLimits(limits, need, machine).sort((a, b) => threadsAllowed(a) - threadsAllowed(b));
  if (tightest === undefined) return null;
  const allowed = threadsAllowed(tightest);
  const least = Math.max(allowed - threadsOfOthers, allowed / 2);
  return reached >= least && reached <= allowed ? tightest : null;
}

/** Limits that make a run slower or less telling than it could be. */
export function advisoryLimits(limits: Limits, backlog: number): LimitProblem[] {
  const value = limits.listen_backlog_max;
  if (value === null || value >= backlog) return [];
  return [
    {
      limit: 'net.core.somaxconn',
      value,
      needed: backlog,
      command: `sudo sysctl -w net.core.somaxconn=${backlog}`,
      message: `servers ask for a backlog of ${formatCount(backlog)}; the system makes it ${formatCount(value)}`,
    },
  ];
}

/** "6,000 connections in mode blocking". */
function subject(need: Requirements): string {
  return `${formatCount(need.connections)} connections in mode ${need.mode}`;
}

function connectionsOfModel(need: Requirements): LimitProblem | null {
  const { connections_max: value, connections: needed } = need;
  if (value === null || value >= needed) return null;
  return {
    limit: 'threads of event_select',
    value,
    needed,
    command: 'use fewer --clients, or another mode: iocp serves any number',
    message:
      `${subject(need)} need ${formatCount(need.threads)} threads, one for every ` +
      `${eventSelectConnectionsPerThread} connections; the mode has ${formatCount(eventSelectThreadsMax)} at most`,
  };
}

function descriptorsPerProcess(limits: Limits, need: Requirements): LimitProblem | null {
  // The soft limit is raised to the hard one by the tool itself.
  const value = limits.descriptors_hard ?? limits.descriptors_soft;
  const serverNeeds = need.server_descriptors ?? 0;
  const needed = Math.max(need.client_descriptors, serverNeeds);
  if (value === null || value >= needed) return null;
  const side =
    need.client_descriptors > value ? (serverNeeds > value ? 'client and server' : 'the client') : 'the server';
  const perProcessMax = limits.descriptors_per_process_max;
  const first =
    perProcessMax !== null && perProcessMax < needed ? `sudo sysctl -w fs.nr_open=${withRoom(needed)} && ` : '';
  return {
    limit: 'descriptors of a process',
    value,
    needed,
    command: `${first}sudo prlimit --pid $$ --nofile=${needed}`,
    message: `${subject(need)} need ${formatCount(needed)} descriptors in ${side}; the limit is ${formatCount(value)}`,
  };
}

function filesOfSystem(limits: Limits, need: Requirements): LimitProblem | null {
  const { files_system_max: value, files_system_open: open } = limits;
  const needed = need.system_files + (open ?? 0);
  if (value === null || value >= needed) return null;
  return {
    limit: 'fs.file-max',
    value,
    needed,
    command: `sudo sysctl -w fs.file-max=${withRoom(needed)}`,
    message: `${subject(need)} need ${formatCount(needed)} open files system-wide; fs.file-max is ${formatCount(value)}`,
  };
}

/** Without its loopback interface, as in a new network namespace, a machine cannot connect to itself. */
export function loopback({ host }: Pick<Requirements, 'host'>, machine: Machine): LimitProblem | null {
  if (machine.loopback === null || !isLoopback(host)) return null;
  const { ipv4, ipv6 } = machine.loopback;
  const isV6 = isIPv6(host);
  if (isV6 ? ipv6 : ipv4) return null;
  const common = { limit: 'loopback interface', value: 0, needed: 1 };
  return isV6 && ipv4
    ? {
        ...common,
        command: 'sudo sysctl -w net.ipv6.conf.lo.disable_ipv6=0',
        message: `the loopback interface lo has no IPv6 address, so nothing can connect to ${host}`,
      }
    : {
        ...common,
        command: 'sudo ip link set lo up',
        message: `the loopback interface lo is down, so nothing can connect to ${host}`,
      };
}

function ports(limits: Limits, need: Requirements, machine: Machine): LimitProblem | null {
  const { port_first: first, port_last: last } = limits;
  if (first === null || last === null) return null;
  const value = last - first + 1;
  const needed = need.ports_per_address;
  if (value >= needed) return null;
  const message = `${subject(need)} need ${formatCount(needed)} local ports; the dynamic range has ${formatCount(value)}`;
  return { limit: 'local ports', value, needed, command: portAdvice(need, machine), message };
}

function portAdvice({ ports_per_address: needed, host }: Requirements, { platform, wsl }: Machine): string {
  if (needed > portsOfAddress) {
    return `one address has ${formatCount(portsOfAddress)} ports at most: load 127.0.0.1, where source addresses rotate`;
  }
  if (platform === 'win32')
    return `netsh int ${isIPv6(host) ? 'ipv6' : 'ipv4'} set dynamicport tcp start=1025 num=${portsOfAddress}`;
  return wsl
    ? // In mirrored mode Windows has reserved this range for WSL: a wider one gives out ports that Windows does not pass on.
      'use fewer --clients, or load 127.0.0.1; WSL shares its ports with Windows (networkingMode=nat in .wslconfig gives it its own)'
    : 'sudo sysctl -w net.ipv4.ip_local_port_range="1025 65535"';
}

function memory(limits: Limits, need: Requirements): LimitProblem | null {
  const value = limits.memory_available_bytes;
  const needed = need.memory_bytes;
  if (value === null || value >= needed) return null;
  return {
    limit: 'memory',
    value,
    needed,
    command: 'use fewer --clients, or free memory',
    message: `${subject(need)} need about ${formatBytes(needed)} of memory; ${formatBytes(value)} are available`,
  };
}

/** A container has less than its machine: what it needs beyond that is not refused by the kernel, but ends in a kill. */
function cgroupMemory(limits: Limits, need: Requirements): LimitProblem | null {
  const { cgroup_memory_max_bytes: max, cgroup_memory_left_bytes: value } = limits;
  const needed = need.memory_bytes;
  if (max === null || value === null || value >= needed) return null;
  const raised = Math.ceil((max + needed - value) / 2 ** 20);
  return {
    limit: 'memory of the cgroup',
    value,
    needed,
    command: `use fewer --clients, or raise memory.max of the cgroup to ${raised} MiB (docker: --memory ${raised}m)`,
    message:
      `${subject(need)} need about ${formatBytes(needed)} of memory; ` +
      `the control group has ${formatBytes(value)} left of ${formatBytes(max)}`,
  };
}

function tcpMemory(limits: Limits, need: Requirements): LimitProblem | null {
  const value = limits.tcp_memory_max_bytes;
  const needed = need.tcp_memory_bytes;
  if (value === null || value >= needed) return null;
  const pages = withRoom(needed / tcpPageBytes);
  return {
    limit: 'net.ipv4.tcp_mem',
    value,
    needed,
    command: `sudo sysctl -w net.ipv4.tcp_mem="${pages} ${pages} ${pages}"`,
    message: `${subject(need)} need ${formatBytes(needed)} of socket buffers; net.ipv4.tcp_mem allows ${formatBytes(value)}`,
  };
}
