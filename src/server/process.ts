/**
 * A server as the conductor sees it: a process that can be asked for figures, stopped, and that may die at any moment. Three kinds with
 * one interface: a forked `serve`; a command of the user's own (src/server/command.ts); and a server that already runs, of which
 * nothing but its address is known.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { BenchError, exitCodes, type ErrorCode } from '../model/errors.js';
import type { ProcessUsage, ServerStats } from '../model/figures.js';
import { MemoryKills } from './memory-kills.js';
import { childEnvironment } from './child-environment.js';
import { parseFromServer, type FromServer, type StartOptions, type ToServer } from './messages.js';

/** A moment of a server; stats is null for one that is known by its process alone. */
export interface ServerMoment {
  usage: ProcessUsage;
  stats: ServerStats | null;
}

export interface ServerStop {
  /** The last figures; null where the server was not ours to ask, or died before it could tell. */
  sample: ServerMoment | null;
  /** Something had to be reset, or the process had to be killed. */
  deadline_missed: boolean;
  /** What still listens on the server's port and was not started by the run, hence not ended by it; absent: nothing. */
  left?: ProcessName;
}

/** name is null where the system does not show it. */
export interface ProcessName {
  readonly pid: number;
  readonly name: string | null;
}

/** What can be seen of a server's own limits. */
export interface ServerLimits {
  /** Of the process that listens; null where it cannot be looked into. */
  readonly descriptors: { readonly process: ProcessName; readonly open: number; readonly limit: number } | null;
  /** Connections in its listen queue, which it has not accepted. */
  readonly waiting: number;
}

/** "process 123 (python3)". */
export function processInWords({ pid, name }: ProcessName): string {
  return `process ${pid}${name === null ? '' : ` (${name})`}`;
}

/** Whose figures a server's are, where that is not plain: a command may start the process that really serves anywhere. */
export interface ServerIdentity {
  /** 'command': a process of the command's tree listens; 'outside': one that is not in it; 'unseen': none that can be seen. */
  readonly listener: 'command' | 'outside' | 'unseen';
  /** The process that listens; the first where several do. */
  readonly process: ProcessName | null;
  /** Why its CPU time is not known; null: it is. */
  readonly cpu_unknown: string | null;
}

export interface ServerExit {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** The system ended a process for want of memory while the server ran; with SIGKILL it was most likely this one. */
  memoryKill?: boolean;
}

export interface ServerProcess {
  /** null: not ours. */
  readonly pid: number | null;
  readonly host: string;
  readonly port: number;
  readonly backend: string;
  /** Before the first connection; null where it counts nothing for us. */
  readonly initial: ServerStats | null;
  /**
   * null for a server that is not ours to look at. Rejects when the process has gone or does not answer.
   * @param withMemory false where memory is not needed: it can take long to read, and may be unknown then
   */
  sample(withMemory?: boolean): Promise<ServerMoment | null>;
  /** The server's own limits as they are now; null or absent where nothing of them can be seen. */
  limits?(): ServerLimits | null;
  /** What is known so far of whose figures these are; absent where the server is one process of ours. */
  identity?(): ServerIdentity | null;
  /** Never rejects: what does not stop in time is killed. */
  stop(deadline_ms: number): Promise<ServerStop>;
  kill(): void;
  /** Settles when the process has ended; never for a server that is not ours. */
  readonly exited: Promise<ServerExit>;
  /** Calls back with the reason, in words, when the process ends without having been told to. */
  onExit(listener: (reason: string) => void): void;
}

/** Starting node, loading the library and listening; generous, since Wine and a loaded machine take seconds for it. */
const listenDeadlineMs = 60_000;
const sampleDeadlineMs = 10_000;
/** How much longer than its own deadline a stop may take before the process is killed. */
const stopGraceMs = 2_000;
const stderrKept = 2_000;

/**
 * Forks a `serve` and waits until it listens.
 * @throws BenchError with the code that the server sent, or 'runFailed' when it died without a word
 */
export async function spawnServer(options: StartOptions): Promise<ServerProcess> {
  const child = fork(fileURLToPath(new URL('../cli.js', import.meta.url)), ['serve'], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    serialization: 'json',
    // A debugger's or profiler's options are the conductor's own.
    execArgv: [],
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
    // A channel that breaks is told by the exit that follows.
    child.on('error', () => undefined);
    this.exited = new Promise((resolve) => {
      // 'close' comes after the last of stderr, 'exit' may not.
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

  get initial(): ServerStats | null {
    return this.started?.stats ?? null;
  }

  async start(options: StartOptions, deadline_ms: number): Promise<void> {
    const told = new Promise<Listening>((resolve, reject) => {
      this.onListening = resolve;
      this.onError = reject;
    });
    const died = this.exited.then((exit): never => {
      throw new BenchError('runFailed', `the server did not start: ${this.reasonOf(exit)}`);
    });
    this.send({ type: 'start', options });
    this.started = await withDeadline(Promise.race([told, died]), deadline_ms, 'the server did not listen');
  }

  async sample(): Promise<ServerMoment> {
    const id = this.nextId;
    this.nextId += 1;
    const answer = new Promise<ServerMoment>((resolve) => {
      this.samples.set(id, resolve);
    });
    const died = this.exited.then((exit): never => {
      throw new BenchError('runFailed', this.reasonOf(exit));
    });
    this.send({ type: 'sample', id });
    try {
      this.last = await withDeadline(Promise.race([answer, died]), sampleDeadlineMs, 'the server does not answer');
      return this.last;
    } finally {
      this.samples.delete(id);
    }
  }

  stop(deadline_ms: number): Promise<ServerStop> {
    this.stopping ??= this.stopOnce(deadline_ms);
    return this.stopping;
  }

  private async stopOnce(deadline_ms: number): Promise<ServerStop> {
    if (this.ended) return { sample: null, deadline_missed: false };
    this.last = null;
    this.send({ type: 'stop', deadline_ms });
    const timer = setTimeout(() => {
      this.deadlineMissed = true;
      this.child.kill('SIGKILL');
    }, deadline_ms + stopGraceMs);
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
    // Between the death of the process and its 'close' the channel is gone already.
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
  const killed = `was killed by ${signal ?? ''}${isMemory ? ', while the system ended a process for want of memory' : ''}`;
  const how = signal === null ? `exited with code ${code ?? 'unknown'}` : killed;
  return `the server ${how}${lastLine === '' ? '' : `: ${lastLine}`}`;
}

/** The last line that is not empty; '' where there is none. */
export function lastLineOf(text: string): string {
  return text.trim().split('\n').at(-1)?.trim() ?? '';
}

function errorCodeOf(text: string): ErrorCode {
  return Object.hasOwn(exitCodes, text) && text !== 'done' ? (text as ErrorCode) : 'fault';
}

/** Rejects with 'runFailed' when the promise has not settled in time. */
export async function withDeadline<Value>(promise: Promise<Value>, deadline_ms: number, what: string): Promise<Value> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new BenchError('runFailed', `${what} within ${deadline_ms / 1000} s`));
    }, deadline_ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A server that already runs: it has an address, and nothing else that we could see or stop. */
export function attachServer(host: string, port: number): ServerProcess {
  return {
    pid: null,
    host,
    port,
    backend: 'external',
    initial: null,
    sample: () => Promise.resolve(null),
    stop: () => Promise.resolve({ sample: null, deadline_missed: false }),
    kill: () => undefined,
    exited: new Promise(() => undefined),
    onExit: () => undefined,
  };
}
