/**
 * A server as the conductor sees it: a process that can be sampled and stopped, and that may die at any moment. Three kinds share
 * one interface: a forked `serve`, a command of the user (src/server/command.ts), and a running server of which only the address is
 * known.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { BenchError, exitCodes, type ErrorCode } from '../model/errors.js';
import type { ProcessUsage, RunDelay, ServerStats, SystemSample } from '../model/figures.js';
import { MemoryKills } from './memory-kills.js';
import { childEnvironment } from './child-environment.js';
import { parseFromServer, type FromServer, type StartOptions, type ToServer } from './messages.js';

/** A sample of a server; stats is null if only its process can be observed. */
export interface ServerMoment {
  /** Absent if it was not requested, or cannot be read. */
  runDelay?: RunDelay | undefined;
  usage: ProcessUsage;
  stats: ServerStats | null;
  /** The system that the server runs on, read at the same moment; absent: this machine's. */
  system?: SystemSample;
}

export interface ServerStop {
  /** The last figures; null if the server cannot be sampled, or died before it could report them. */
  sample: ServerMoment | null;
  /** True if connections had to be reset, or the process had to be killed. */
  deadline_missed: boolean;
  /** A process that still listens on the server's port. The run did not start it and does not end it. Absent: no such process. */
  left?: ProcessName;
}

/** name is null if the system does not show it. */
export interface ProcessName {
  readonly pid: number;
  readonly name: string | null;
}

/** The visible part of a server's own limits. */
export interface ServerLimits {
  /** Descriptors of the listening process; null if they cannot be read. */
  readonly descriptors: { readonly process: ProcessName; readonly open: number; readonly limit: number } | null;
  /** Connections in its listen queue that it has not accepted. */
  readonly waiting: number;
}

/** "process 123 (python3)". */
export function processInWords({ pid, name }: ProcessName): string {
  return `process ${pid}${name === null ? '' : ` (${name})`}`;
}

/**
 * The processes that a server's figures come from. For a command this is not obvious, because the process that serves may be
 * elsewhere.
 */
export interface ServerIdentity {
  /** The listening process: 'command': in the command's process tree; 'outside': not in it; 'unseen': not visible. */
  readonly listener: 'command' | 'outside' | 'unseen';
  /** The listening process; the first if there are several. */
  readonly process: ProcessName | null;
  /** Why its CPU time is not known; null if it is known. */
  readonly cpu_unknown: string | null;
}

export interface ServerExit {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** The system killed a process because memory ran out while the server ran. After a SIGKILL, it was most likely the server. */
  memoryKill?: boolean;
}

export interface ServerProcess {
  /** null: not a process of this run. */
  readonly pid: number | null;
  readonly host: string;
  readonly port: number;
  readonly backend: string;
  /**
   * Resolves to null for a server that cannot be observed. Rejects if the process has ended or does not answer.
   * @param withRunDelay true: with the run delay if the server is one process of this machine
   * @param withMemory false: memory, which can take long to read, is not needed and may be unknown
   */
  sample(withMemory?: boolean, withRunDelay?: boolean): Promise<ServerMoment | null>;
  /** The system that the server runs on; absent: this machine's. */
  system?(): Promise<SystemSample>;
  /** The server's own limits at this moment; null or absent if they are not visible. */
  limits?(): ServerLimits | null;
  /** What is known so far about the processes that the figures come from; absent if the server is a single process of this run. */
  identity?(): ServerIdentity | null;
  /** Never rejects: a server that does not stop in time is killed. */
  stop(deadlineMs: number): Promise<ServerStop>;
  kill(): void;
  /** Settles when the process has ended; never for a server that this run did not start. */
  readonly exited: Promise<ServerExit>;
  /** Calls back with the reason, in words, if the process ends without a request to stop. */
  onExit(listener: (reason: string) => void): void;
}

/** Time to start node, load the library and listen. It is generous, because Wine and busy machines need seconds. */
const listenDeadlineMs = 60_000;
const sampleDeadlineMs = 10_000;
/** How much longer than its own deadline a stop may take before the process is killed. */
const stopGraceMs = 2_000;
const stderrKept = 2_000;

/**
 * Memory per connection is what the process grew by since it was idle, so its heap must not shrink meanwhile: by default V8 gives 9 MB
 * back when a process has allocated little for some seconds. The garbage of the start is collected once (serve.ts, sendListening).
 */
const steadyHeap = ['--expose-gc', '--no-memory-reducer'];

/**
 * Forks a `serve` and waits until it listens.
 * @throws BenchError with the code that the server sent, or 'runFailed' if it died without sending one
 */
export async function spawnServer(options: StartOptions): Promise<ServerProcess> {
  const child = fork(fileURLToPath(new URL('../cli.js', import.meta.url)), ['serve'], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    serialization: 'json',
    // Options of a debugger or profiler apply to the conductor only.
    execArgv: steadyHeap,
    env: childEnvironment(),
  });
  const server = new ForkedServer(child, options.host);
  try {
    await server.start(options, listenDeadlineMs);
  } catch (error) {
    server.kill();
    throw error;
  }
  return server;
}

type Listening = Extract<FromServer, { type: 'listening' }>;

class ForkedServer implements ServerProcess {
  readonly exited: Promise<ServerExit>;
  private started: Listening | null = null;
  private last: ServerMoment | null = null;
  private stderr = '';
  private ended = false;
  private stopping: Promise<ServerStop> | null = null;
  private deadlineMissed = false;
  private nextId = 1;
  private readonly memoryKills = new MemoryKills();
  private readonly samples = new Map<number, (moment: ServerMoment) => void>();
  private onListening: (message: Listening) => void = () => undefined;
  private onError: (error: BenchError) => void = () => undefined;

  constructor(
    private readonly child: ChildProcess,
    readonly host: string,
  ) {
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-stderrKept);
    });
    child.on('message', (message) => {
      this.receive(message);
    });
    // A broken channel is followed by an exit, which is reported.
    child.on('error', () => undefined);
    this.exited = new Promise((resolve) => {
      // 'close' comes after the end of stderr; 'exit' may come before it.
      child.once('close', (code, signal) => {
        this.ended = true;
        resolve({ code, signal, memoryKill: this.memoryKills.happened() });
      });
    });
  }

  get pid(): number | null {
    return this.child.pid ?? null;
  }

  get port(): number {
    return this.started?.port ?? 0;
  }

  get backend(): string {
    return this.started?.backend ?? '';
  }

  async start(options: StartOptions, deadlineMs: number): Promise<void> {
    const told = new Promise<Listening>((resolve, reject) => {
      this.onListening = resolve;
      this.onError = reject;
    });
    const died = this.exited.then((exit): never => {
      throw new BenchError('runFailed', `the server did not start: ${this.reasonOf(exit)}`);
    });
    this.send({ type: 'start', options });
    this.started = await withDeadline(Promise.race([told, died]), deadlineMs, 'the server did not listen');
  }

  async sample(withMemory = true, withRunDelay = false): Promise<ServerMoment> {
    const id = this.nextId;
    this.nextId += 1;
    const answer = new Promise<ServerMoment>((resolve) => {
      this.samples.set(id, resolve);
    });
    const died = this.exited.then((exit): never => {
      throw new BenchError('runFailed', this.reasonOf(exit));
    });
    this.send({ type: 'sample', id, memory: withMemory, runDelay: withRunDelay });
    try {
      this.last = await withDeadline(Promise.race([answer, died]), sampleDeadlineMs, 'the server does not answer');
      return this.last;
    } finally {
      this.samples.delete(id);
    }
  }

  stop(deadlineMs: number): Promise<ServerStop> {
    this.stopping ??= this.stopOnce(deadlineMs);
    return this.stopping;
  }

  private async stopOnce(deadlineMs: number): Promise<ServerStop> {
    if (this.ended) return { sample: null, deadline_missed: false };
    this.last = null;
    this.send({ type: 'stop', deadline_ms: deadlineMs });
    const timer = setTimeout(() => {
      this.deadlineMissed = true;
      this.child.kill('SIGKILL');
    }, deadlineMs + stopGraceMs);
    await this.exited;
    clearTimeout(timer);
    return { sample: this.last, deadline_missed: this.deadlineMissed };
  }

  kill(): void {
    this.stopping ??= Promise.resolve({ sample: null, deadline_missed: true });
    if (!this.ended) this.child.kill('SIGKILL');
  }

  onExit(listener: (reason: string) => void): void {
    void this.exited.then((exit) => {
      if (this.stopping === null) listener(this.reasonOf(exit));
    });
  }

  private receive(received: unknown): void {
    const message = parseFromServer(received);
    switch (message.type) {
      case 'listening':
        this.onListening(message);
        break;
      case 'error':
        this.onError(new BenchError(errorCodeOf(message.code), message.message, message.hint));
        break;
      case 'sample':
        this.samples.get(message.id)?.(message.sample);
        break;
      case 'stopped':
        this.last = message.sample;
        this.deadlineMissed = message.deadline_missed;
        break;
    }
  }

  private send(message: ToServer): void {
    // The channel is already closed between the death of the process and its 'close' event.
    if (this.child.connected) this.child.send(message, () => undefined);
  }

  private reasonOf(exit: ServerExit): string {
    return exitReason(exit, this.stderr);
  }
}

/** "the server was killed by SIGKILL", "the server exited with code 1: its last line of stderr". */
export function exitReason({ code, signal, memoryKill = false }: ServerExit, stderr: string): string {
  const lastLine = lastLineOf(stderr);
  const isMemory = signal === 'SIGKILL' && memoryKill;
  const killed = `was killed by ${signal ?? ''}${isMemory ? ', while the system killed a process because memory ran out' : ''}`;
  const how = signal === null ? `exited with code ${code ?? 'unknown'}` : killed;
  return `the server ${how}${lastLine === '' ? '' : `: ${lastLine}`}`;
}

/** The last line that is not empty; '' if there is none. */
export function lastLineOf(text: string): string {
  return text.trim().split('\n').at(-1)?.trim() ?? '';
}

function errorCodeOf(text: string): ErrorCode {
  return Object.hasOwn(exitCodes, text) && text !== 'done' ? (text as ErrorCode) : 'fault';
}

/** Rejects with 'runFailed' if the promise does not settle in time. */
export async function withDeadline<Value>(promise: Promise<Value>, deadlineMs: number, what: string): Promise<Value> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new BenchError('runFailed', `${what} within ${deadlineMs / 1000} s`));
    }, deadlineMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A server that is already running. Only its address is known, and it cannot be stopped. */
export function attachServer(host: string, port: number): ServerProcess {
  return {
    pid: null,
    host,
    port,
    backend: 'external',
    sample: () => Promise.resolve(null),
    stop: () => Promise.resolve({ sample: null, deadline_missed: false }),
    kill: () => undefined,
    exited: new Promise(() => undefined),
    onExit: () => undefined,
  };
}
