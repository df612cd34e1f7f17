/**
 * The native library as typed functions. This is the only file that uses koffi; the rest of the tool sees numbers, strings and null
 * ("the system does not provide this figure"). Structs cross as bytes, laid out by src/native/abi.ts.
 */
import { createRequire } from 'node:module';
import { BenchError, type ErrorCode } from '../model/errors.js';
import { abiVersion, prototypes, serverFlagValues, statusValues } from '../model/abi.generated.js';
import type {
  Figures,
  Limits,
  ProcessUsage,
  RunDelay,
  ServerStats,
  StructName,
  SystemSample,
} from '../model/figures.js';
import { checkLayout, decodeFigures, decodeStruct, encodeStruct, newStruct, type StructInput } from './abi.js';
import { locateLibrary, type LibraryLocation } from './library.js';

type Argument = number | bigint | Uint8Array | Uint32Array | BigUint64Array | null;
type Result = number | bigint | string | null;

interface NativeFunction {
  (...values: Argument[]): Result;
  /** The same call on one of koffi's threads, so that the JavaScript thread continues. The last argument is the callback. */
  async: (...values: (Argument | ((error: Error | null, result: Result) => void))[]) => void;
}

type FunctionName = keyof typeof prototypes;

interface NativeLibrary {
  readonly location: LibraryLocation;
  readonly functions: Readonly<Record<FunctionName, NativeFunction>>;
}

/** The error code for each status of a failed call. */
const statusCodes: Readonly<Record<keyof typeof statusValues, ErrorCode>> = {
  ok: 'fault',
  usage: 'usage',
  // This program and the library do not match.
  abi: 'fault',
  unavailable: 'unavailable',
  address_in_use: 'unavailable',
  address: 'unavailable',
  permission: 'unavailable',
  descriptors: 'unavailable',
  ports: 'unavailable',
  memory: 'unavailable',
  threads: 'unavailable',
  deadline: 'runFailed',
  os: 'runFailed',
};
const codeOfStatus = new Map(
  Object.entries(statusValues).map(([name, value]) => [
    value as number,
    statusCodes[name as keyof typeof statusValues],
  ]),
);

let loaded: NativeLibrary | null = null;

/** The library, loaded and checked once per thread. */
function native(): NativeLibrary['functions'] {
  loaded ??= load(locateLibrary());
  return loaded.functions;
}

/** Where the library comes from, for the report. */
export function libraryLocation(): LibraryLocation {
  native();
  return loaded?.location ?? locateLibrary();
}

function load(location: LibraryLocation): NativeLibrary {
  const library = openLibrary(location.path);
  const functions = resolvedAtFirstUse(library, location.path);
  const version = Number(functions.ib_abi_version());
  if (version !== abiVersion) throw unfit(location.path, `its ABI is version ${version}, not ${abiVersion}`);
  checkLayout(String(functions.ib_layout()), location.path);
  return { location, functions };
}

/** The functions. Each is looked up when it is first called, because an engine's worker needs only one of them. */
function resolvedAtFirstUse(library: import('koffi').LibraryHandle, path: string): NativeLibrary['functions'] {
  const functions = {} as Record<FunctionName, NativeFunction>;
  for (const [name, [result, ...parameters]] of Object.entries(prototypes) as [FunctionName, readonly [string]][]) {
    let found: NativeFunction | null = null;
    Object.defineProperty(functions, name, {
      get: () => {
        try {
          return (found ??= library.func(name, result, [...parameters]) as NativeFunction);
        } catch (error) {
          throw unfit(path, `it has no function ${name}`, error);
        }
      },
    });
  }
  return functions;
}

function unfit(path: string, reason: string, cause?: unknown): BenchError {
  return new BenchError(
    'fault',
    `the native library ${path} does not fit this version: ${reason}`,
    'build it again with `npm run build`, or unset IOCP_BENCH_LIBRARY',
    cause,
  );
}

function openLibrary(path: string): import('koffi').LibraryHandle {
  const koffi = requireKoffi();
  try {
    return koffi.load(path);
  } catch (error) {
    throw new BenchError(
      'unavailable',
      `the native library ${path} cannot be loaded: ${firstLine(error)}`,
      'build it for this system with `npm run build` (a C compiler and CMake are needed)',
      error,
    );
  }
}

/**
 * Loads koffi when it is first needed. It throws on systems that it has no binary for, but saved reports can still be read there.
 * @throws BenchError 'unavailable'
 */
function requireKoffi(): typeof import('koffi') {
  try {
    return createRequire(import.meta.url)('koffi') as typeof import('koffi');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ERR_DLOPEN_DISABLED') {
      throw new BenchError(
        'unavailable',
        'Node was started with --no-addons, so the native library cannot be loaded',
        'leave out --no-addons, also in NODE_OPTIONS (saved reports can be read with it)',
        error,
      );
    }
    throw new BenchError(
      'unavailable',
      `the koffi package, which calls the native library, cannot be loaded: ${firstLine(error)}`,
      'its binary is an optional dependency: install iocp-bench again without --omit=optional (saved reports can be read without it)',
      error,
    );
  }
}

function firstLine(error: unknown): string {
  return error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
}

/** Throws the library's error as a BenchError. */
function check(result: Result, error: Uint8Array, name: FunctionName): void {
  const status = Number(result);
  if (status === statusValues.ok) return;
  const { message, hint, os_code } = decodeStruct('ib_error', error);
  const code = codeOfStatus.get(status) ?? 'fault';
  const told = message === '' ? `${name} failed with status ${status}, system code ${os_code}` : message;
  throw new BenchError(code, told, hint);
}

/** Calls a function that fills one struct. */
function filled<Name extends StructName>(
  name: Name,
  call: FunctionName,
  fill: (bytes: Uint8Array, error: Uint8Array) => Result,
): ReturnType<typeof decodeFigures<Name>> {
  const bytes = newStruct(name);
  const error = newStruct('ib_error');
  check(fill(bytes, error), error, call);
  return decodeFigures(name, bytes);
}

// ------------------------------------------------------------------------------------------ backends, engines and clock

/** A backend or an engine, and whether this machine can run it. */
export interface Probe {
  name: string;
  available: boolean;
  /** Why not; '' when available. */
  reason: string;
  /** How to make it run; '' if that is impossible. */
  hint: string;
  /** System features that it found and will use, separated by spaces. */
  features: string;
}

function probe(name: 'ib_backend_probe' | 'ib_engine_probe', index: number): Probe {
  const bytes = newStruct('ib_probe');
  const status = Number(native()[name](index, bytes));
  if (status !== statusValues.ok) throw new BenchError('fault', `${name}(${index}) failed with status ${status}`);
  return probeOf(bytes);
}

function probeOf(bytes: Uint8Array): Probe {
  const { name, available, reason, hint, features } = decodeStruct('ib_probe', bytes);
  return { name, available: available === 1, reason, hint, features };
}

/** Every server backend of the library, in the order in which `--modes all` runs them. */
export function backends(): Probe[] {
  const count = Number(native().ib_backend_count());
  return Array.from({ length: count }, (_, index) => probe('ib_backend_probe', index));
}

/** Every client engine, in the order in which "auto" prefers them. */
export function engines(): Probe[] {
  const count = Number(native().ib_engine_count());
  return Array.from({ length: count }, (_, index) => probe('ib_engine_probe', index));
}

/** The current time in nanoseconds, on the clock that the whole ABI uses. */
export function clockNowNs(): bigint {
  return BigInt(native().ib_clock_now_ns() ?? 0);
}

// ------------------------------------------------------------------------------------------------------------------- server

export interface ServerOptions {
  backend: string;
  host: string;
  port: number;
  /** Listen on host, host+1, ... */
  address_count: number;
  /** 0: one per CPU of the affinity mask. */
  workers: number;
  backlog: number;
  receive_buffer_bytes: number;
  stack_size_bytes: number;
  /** 0: the library's default. */
  pool_threads: number;
  /** 0: unknown. */
  connections_expected: number;
  zero_byte_recv: boolean;
  edge_triggered: boolean;
  /** Event-driven backends: a wait blocks its worker. */
  wait_blocks: boolean;
  /** Size of a request; used with work or wait. */
  message_size_bytes: number;
  /** A value of `protocolValues`. */
  protocol: number;
  /** http: size of the body of a reply. */
  body_size_bytes: number;
  /** CPU time that each request burns; 0: none. */
  work_ns: number;
  /** Time that each request waits; 0: none. */
  wait_ns: number;
}

export interface StoppedServer {
  stats: ServerStats;
  /** True if connections had to be reset. */
  deadline_missed: boolean;
}

/** A server that runs in this process, on its own threads. */
export class NativeServer {
  private stopping: Promise<StoppedServer> | null = null;
  private last: ServerStats;

  constructor(
    private readonly handle: bigint,
    readonly port: number,
  ) {
    this.last = this.read();
  }

  /** Counters since the start. After stop() was called, the last ones before it, because the handle may become invalid at any moment. */
  stats(): ServerStats {
    if (this.stopping === null) this.last = this.read();
    return this.last;
  }

  /**
   * Counters and the usage of all processes of the server, of each process at the same moment.
   * @param withMemory false: the memory of a server with several processes may be unknown
   * @throws BenchError 'runFailed' if a process of the server has ended that should not
   */
  sample(withMemory: boolean): { usage: ProcessUsage; stats: ServerStats } {
    if (this.stopping !== null) return { usage: processUsage(0), stats: this.last };
    const usage = newStruct('ib_process_usage');
    const stats = newStruct('ib_server_stats');
    const error = newStruct('ib_error');
    const status = native().ib_server_sample(this.handle, withMemory ? 1 : 0, usage, stats, error);
    check(status, error, 'ib_server_sample');
    this.last = decodeFigures('ib_server_stats', stats);
    return { usage: decodeFigures('ib_process_usage', usage), stats: this.last };
  }

  /** Stops accepting, echoes the bytes received so far and closes. Connections left at the deadline are reset. */
  stop(deadlineMs: number): Promise<StoppedServer> {
    this.stopping ??= this.stopOnce(deadlineMs);
    return this.stopping;
  }

  private read(): ServerStats {
    return filled('ib_server_stats', 'ib_server_stats', (bytes, error) =>
      native().ib_server_stats(this.handle, bytes, error),
    );
  }

  private async stopOnce(deadlineMs: number): Promise<StoppedServer> {
    const bytes = newStruct('ib_server_stats');
    const error = newStruct('ib_error');
    const status = await new Promise<number>((resolve, reject) => {
      native().ib_server_stop.async(this.handle, deadlineMs, bytes, error, (failure, result) => {
        if (failure === null) resolve(Number(result));
        else reject(failure);
      });
    });
    if (status !== statusValues.deadline) check(status, error, 'ib_server_stop');
    return { stats: decodeFigures('ib_server_stats', bytes), deadline_missed: status === statusValues.deadline };
  }
}

export function startServer(options: ServerOptions): NativeServer {
  const { zero_byte_recv, edge_triggered, wait_blocks, ...plain } = options;
  const flags =
    (zero_byte_recv ? serverFlagValues.zero_byte_recv : 0) |
    (edge_triggered ? serverFlagValues.edge_triggered : 0) |
    (wait_blocks ? serverFlagValues.wait_blocks : 0);
  const handle = new BigUint64Array(1);
  const port = new Uint32Array(1);
  const error = newStruct('ib_error');
  const status = native().ib_server_start(encodeStruct('ib_server_options', { ...plain, flags }), handle, port, error);
  check(status, error, 'ib_server_start');
  return new NativeServer(handle[0] ?? 0n, port[0] ?? 0);
}

// --------------------------------------------------------------------------------------------------------------------- work

/** CPU time to burn on this thread, for a server that is not the library's own. It lives as long as the process. */
export class NativeWork {
  constructor(private readonly handle: bigint) {}

  burn(): void {
    native().ib_work_burn(this.handle);
  }

  stats(): Figures<'ib_work_stats'> {
    return filled('ib_work_stats', 'ib_work_stats', (bytes, error) =>
      native().ib_work_stats(this.handle, bytes, error),
    );
  }
}

/** Calibrates a burn on this thread, which takes 20 ms or more. */
export function openWork(workNs: number): NativeWork {
  const handle = new BigUint64Array(1);
  const error = newStruct('ib_error');
  check(native().ib_work_open(Math.round(workNs), handle, error), error, 'ib_work_open');
  return new NativeWork(handle[0] ?? 0n);
}

// ------------------------------------------------------------------------------------------------------- process and system

/** What a process has used since its start. @param pid 0: this process */
export function processUsage(pid: number): ProcessUsage {
  return filled('ib_process_usage', 'ib_process_usage', (bytes, error) => native().ib_process_usage(pid, bytes, error));
}

/** Whether the CPU's counters of instructions and cycles can be used here; `features`: "user" or "user+kernel". */
export function executionProbe(): Probe {
  const bytes = newStruct('ib_probe');
  const status = Number(native().ib_execution_probe(bytes));
  if (status !== statusValues.ok) throw new BenchError('fault', `ib_execution_probe failed with status ${status}`);
  return probeOf(bytes);
}

/**
 * Counts from now on what this process executes, and the threads and processes that it starts: see ProcessUsage.
 * @throws BenchError 'unavailable' if the system has no such counters, or does not allow it
 */
export function countExecution(): void {
  const error = newStruct('ib_error');
  check(native().ib_execution_count(error), error, 'ib_execution_count');
}

/** How long the threads of this process were ready to run without a CPU. */
export function processRunDelay(): RunDelay {
  return filled('ib_run_delay', 'ib_process_run_delay', (bytes, error) => native().ib_process_run_delay(bytes, error));
}

export function systemSample(): SystemSample {
  return filled('ib_system_sample', 'ib_system_sample', (bytes, error) => native().ib_system_sample(bytes, error));
}

export function limits(): Limits {
  return filled('ib_limits', 'ib_limits', (bytes, error) => native().ib_limits(bytes, error));
}

/** Confines all current and future threads of this process to these CPUs. */
export function setAffinity(cpus: readonly number[]): void {
  const error = newStruct('ib_error');
  const status = native().ib_process_set_affinity(Uint32Array.from(cpus), cpus.length, error);
  check(status, error, 'ib_process_set_affinity');
}

/** Confines only the calling thread, also to CPUs outside those of its process; 'unavailable' on Windows. */
export function setThreadAffinity(cpus: readonly number[]): void {
  const error = newStruct('ib_error');
  const status = native().ib_thread_set_affinity(Uint32Array.from(cpus), cpus.length, error);
  check(status, error, 'ib_thread_set_affinity');
}

/** The CPUs that this process may run on, ascending. */
export function getAffinity(): number[] {
  const cpus = new Uint32Array(1024);
  const count = Number(native().ib_process_get_affinity(cpus, cpus.length));
  return [...cpus.subarray(0, Math.min(count, cpus.length))];
}

/** The processes that listen on a TCP port, each once. Windows alone: empty elsewhere, and where the system shows none. */
export function portOwners(port: number): number[] {
  const pids = new Uint32Array(64);
  const count = Number(native().ib_port_owners(port, pids, pids.length));
  return [...new Set(pids.subarray(0, Math.min(count, pids.length)))];
}

/** Raises the soft descriptor limit to the hard one. Returns the new limit; null: none. */
export function raiseDescriptorLimit(): number | null {
  const limit = BigInt(native().ib_process_raise_descriptor_limit() ?? 0);
  return limit > BigInt(Number.MAX_SAFE_INTEGER) ? null : Number(limit);
}

// --------------------------------------------------------------------------------------------------------------------- load

export type EngineOptions = StructInput<'ib_engine_options'>;

/** Facts about an engine that has ended. */
export type EngineResult = Figures<'ib_engine_result'>;

/**
 * Runs one engine on the calling thread until a command closes or stops it. For workers only.
 * @param exchange struct ib_exchange with its texts; null: echo
 * @param tls struct ib_tls with its texts; null: without TLS
 */
export function runEngine(
  options: EngineOptions,
  exchange: Uint8Array | null,
  tls: Uint8Array | null,
  control: SharedArrayBuffer,
): EngineResult {
  const result = newStruct('ib_engine_result');
  const error = newStruct('ib_error');
  const status = native().ib_engine_run(
    encodeStruct('ib_engine_options', options),
    exchange,
    tls,
    new Uint8Array(control),
    result,
    error,
  );
  check(status, error, 'ib_engine_run');
  return decodeFigures('ib_engine_result', result);
}

/**
 * Checks TLS settings, struct ib_tls with its texts.
 * @throws BenchError 'usage' if a certificate or the key is not usable, 'unavailable' if Node exports no OpenSSL that can be used
 */
export function checkTls(settings: Uint8Array): void {
  const error = newStruct('ib_error');
  check(native().ib_tls_check(settings, error), error, 'ib_tls_check');
}

/** The OpenSSL that the client uses for TLS. */
export function tlsProbe(): Probe {
  const bytes = newStruct('ib_probe');
  const status = Number(native().ib_tls_probe(bytes));
  if (status !== statusValues.ok) throw new BenchError('fault', `ib_tls_probe() failed with status ${status}`);
  return probeOf(bytes);
}

// ---------------------------------------------------------------------------------------------------------------- for tests

/** Index of a value in the counts of a native histogram. */
export function histogramIndex(valueNs: bigint): number {
  return Number(native().ib_histogram_index(valueNs));
}

/** The lowest value with this index, in nanoseconds. */
export function histogramValue(index: number): bigint {
  return BigInt(native().ib_histogram_value(index) ?? 0);
}

/** A position in the payload stream. */
export interface PayloadPosition {
  seed: bigint;
  connection: bigint;
  offset: bigint;
  message_size_bytes: number;
}

/** `length` bytes of the payload stream. */
export function payloadBytes(length: number, at: PayloadPosition): Uint8Array {
  const bytes = new Uint8Array(length);
  native().ib_payload_fill(bytes, length, at.seed, at.connection, at.offset, at.message_size_bytes);
  return bytes;
}

/** Index of the first wrong byte, or the length if all are correct. */
export function payloadCheck(bytes: Uint8Array, at: PayloadPosition): number {
  const { seed, connection, offset, message_size_bytes } = at;
  return Number(native().ib_payload_check(bytes, bytes.length, seed, connection, offset, message_size_bytes));
}
