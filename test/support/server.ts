/**
 * A `serve` process of the tool, controlled over the IPC channel like by the conductor. Windows has no signals, so every test stops
 * its servers in this way; signals have separate tests.
 */
import { execFile, fork, type ChildProcess } from 'node:child_process';
import { promisify } from 'node:util';
import type { FromServer, ServerSample } from '../../src/server/messages.js';
import { cliPath, isLinux, isWindows } from './environment.js';
import { within } from './wait.js';

/** Modes in the order of the table. `doctor` says which of them this machine can run. */
export const allModes = [
  'blocking',
  'process',
  'pool',
  'select',
  'poll',
  'event_select',
  'epoll',
  'completion_routine',
  'io_uring',
  'iocp',
  'thread_pool_io',
  'node',
] as const;
export type Mode = (typeof allModes)[number];

/** Modes that every machine with this system runs. If one is refused, the test fails and is not skipped. */
const certainModes: readonly string[] = isWindows
  ? ['blocking', 'pool', 'select', 'poll', 'event_select', 'completion_routine', 'iocp', 'thread_pool_io', 'node']
  : isLinux
    ? ['blocking', 'process', 'pool', 'select', 'poll', 'epoll', 'node']
    : [];

/** Modes that the run requires (for CI on a machine that has them) are not skipped either. */
const requiredModes = (process.env['IOCP_BENCH_TEST_REQUIRE_MODES'] ?? '').split(',').filter((mode) => mode !== '');

/** Modes under test: all, or those in IOCP_BENCH_TEST_MODES (for work on one backend). */
export function modesUnderTest(): readonly string[] {
  const named = (process.env['IOCP_BENCH_TEST_MODES'] ?? '').split(',').filter((mode) => mode !== '');
  return named.length > 0 ? named : allModes;
}

export interface ServerOptions {
  mode: string;
  host?: string;
  args?: readonly string[];
  /** Linux: started under prlimit with this hard limit of descriptors. */
  descriptors?: number;
}

export interface StoppedServer {
  sample: ServerSample;
  deadlineMissed: boolean;
  exitCode: number | null;
  signal: NodeJS.Signals | null;
  elapsedMs: number;
}

export class TestServer {
  readonly child: ChildProcess;
  readonly host: string;
  backend = '';
  port = 0;
  stderr = '';
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  /** Settles when the process has ended and no message of it can come any more: 'exit' may come before its last message. */
  readonly #gone: Promise<unknown>;
  #waiting: { accepts: (message: FromServer) => boolean; resolve: (message: FromServer) => void }[] = [];
  #nextSample = 1;

  private constructor(child: ChildProcess, host: string) {
    this.child = child;
    this.host = host;
    this.exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        resolve({ code, signal });
      });
    });
    const disconnected = new Promise<void>((resolve) => {
      child.once('disconnect', resolve);
    });
    this.#gone = Promise.all([this.exited, disconnected]);
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    child.stdout?.resume();
    child.on('message', (message) => {
      this.#deliver(message as FromServer);
    });
  }

  /** Starts `serve` and waits until it listens. */
  static async start(options: ServerOptions): Promise<TestServer> {
    const host = options.host ?? '127.0.0.1';
    const limited = options.descriptors !== undefined;
    const child = fork(
      cliPath,
      ['serve', '--mode', options.mode, '--host', host, '--port', '0', '--format', 'ndjson', ...(options.args ?? [])],
      {
        stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
        serialization: 'json',
        // prlimit replaces itself with node, so the process is still the child and inherits the IPC channel.
        ...(limited
          ? { execPath: 'prlimit', execArgv: [`--nofile=${options.descriptors ?? 0}`, process.execPath] }
          : { execArgv: [] }),
      },
    );
    const server = new TestServer(child, host);
    const listening = server.#expect((message) => message.type === 'listening' || message.type === 'error');
    const first = await within(
      Promise.race([listening, server.exited]),
      `serve --mode ${options.mode} to listen`,
      60_000,
    ).catch((error: unknown) => {
      server.kill();
      throw error;
    });
    if ('type' in first && first.type === 'listening') {
      server.port = first.port;
      server.backend = first.backend;
      return server;
    }
    await server.#refuse(first, options.mode);
    throw new Error('unreachable');
  }

  /** Counters and usage of the server's process, now. */
  async sample(): Promise<ServerSample> {
    const id = this.#nextSample++;
    const answer = this.#expect((message) => message.type === 'sample' && message.id === id);
    this.child.send({ type: 'sample', id });
    const message = await within(Promise.race([answer, this.#gone.then(() => null)]), 'a sample of the server');
    if (message?.type !== 'sample') throw new Error(`the server ended instead of giving a sample: ${this.stderr}`);
    return message.sample;
  }

  /** Requests a stop and waits for the last figures and the exit. */
  async stop(deadlineMs = 5_000): Promise<StoppedServer> {
    const started = performance.now();
    const answer = this.#expect((message) => message.type === 'stopped');
    this.child.send({ type: 'stop', deadline_ms: deadlineMs });
    const message = await within(
      Promise.race([answer, this.#gone.then(() => null)]),
      'the server to stop',
      deadlineMs + 30_000,
    );
    const exit = await within(this.exited, "the server's exit");
    if (message?.type !== 'stopped') {
      throw new Error(`the server ended without its last figures (exit ${exit.code ?? exit.signal}): ${this.stderr}`);
    }
    return {
      sample: message.sample,
      deadlineMissed: message.deadline_missed,
      exitCode: exit.code,
      signal: exit.signal,
      elapsedMs: performance.now() - started,
    };
  }

  /** Kills the process, at the end of a test. */
  kill(): void {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill('SIGKILL');
  }

  async #expect(accepts: (message: FromServer) => boolean): Promise<FromServer> {
    return await new Promise((resolve) => {
      this.#waiting.push({ accepts, resolve });
    });
  }

  #deliver(message: FromServer): void {
    const at = this.#waiting.findIndex((one) => one.accepts(message));
    if (at < 0) return;
    const [one] = this.#waiting.splice(at, 1);
    one?.resolve(message);
  }

  async #refuse(first: FromServer | { code: number | null }, mode: string): Promise<never> {
    const exit = await within(this.exited, "the refused server's exit").catch(() => ({ code: null }));
    this.kill();
    const told = 'type' in first && first.type === 'error' ? first.message : this.stderr.trim();
    throw new Error(`serve --mode ${mode} did not start (exit ${exit.code ?? 'unknown'}): ${told}`);
  }
}

let diagnosed: Promise<ReadonlyMap<string, string>> | null = null;

/** Why each mode cannot run here, '' if it can: one `doctor` is quicker than a server of each mode. */
async function diagnose(): Promise<ReadonlyMap<string, string>> {
  const { stdout } = await promisify(execFile)(process.execPath, [cliPath, 'doctor', '--json', '--no-noise']);
  const { modes } = JSON.parse(stdout) as { modes: { mode: string; available: boolean; reason: string }[] };
  return new Map(modes.map(({ mode, available, reason }) => [mode, available ? '' : reason]));
}

/** For tap's `skip`: false if the mode runs here, otherwise the reason. Throws if it is a mode that has to run here. */
export async function whyUnavailable(mode: string): Promise<string | false> {
  diagnosed ??= diagnose();
  const reason = (await diagnosed).get(mode);
  if (reason === undefined) throw new Error(`doctor does not know mode ${mode}`);
  if (reason === '') return false;
  if (certainModes.includes(mode) || requiredModes.includes(mode))
    throw new Error(`mode ${mode} cannot run here: ${reason}`);
  return `mode ${mode} cannot run here: ${reason}`;
}
