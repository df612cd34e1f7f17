/**
 * `serve`: one echo server in this process, until it is stopped. If a user starts it, it reacts to signals and shows what it does.
 * If the conductor forks it (there is an IPC channel), it reacts to messages, prints nothing, and ends with the conductor.
 */
import { Command } from 'commander';
import { BenchError } from '../model/errors.js';
import {
  clockNowNs,
  countExecution,
  processRunDelay,
  processUsage,
  raiseDescriptorLimit,
  setAffinity,
  setThreadAffinity,
} from '../native/binding.js';
import {
  addOptions,
  defaulted,
  givenValues,
  optional,
  serverOptions,
  serviceOptions,
  type Given,
} from '../model/options.js';
import {
  bounds,
  hostPortText,
  isLoopback,
  modeNames,
  parseChoice,
  parseCount,
  parseCpuList,
  parseHost,
  parseMode,
  parsePort,
  parseSizeBytes,
  type ModeName,
} from '../model/parse.js';
import { checkServerProtocol, serverProtocols, type ServerProtocol } from '../model/server-protocol.js';
import { checkService } from '../model/service.js';
import { thisMachine } from '../run/machine.js';
import { loopback } from '../measure/limits.js';
import { formatBytes, formatCount, formatNumber, plural, unknownText } from '../model/format.js';
import { executionScopeOf, type ProcessUsage, type ServerStats } from '../model/figures.js';
import { parseToServer, type FromServer, type ServerSample, type StartOptions } from '../server/messages.js';
import { requireMode, substitutionNotice } from '../server/modes.js';
import { endingSignals, onFault } from '../signals.js';
import { addressesFrom, startRunningServer, type RunningServer } from '../server/running.js';

const placement = {
  mode: optional(
    '-m, --mode <mode>',
    `${modeNames.slice(0, -1).join(', ')} or ${modeNames.at(-1) ?? ''}`,
    parseMode('--mode'),
  ),
  host: defaulted('--host <address>', 'address to listen on', parseHost('--host'), '127.0.0.1'),
  port: defaulted('-p, --port <port>', 'port to listen on; 0 chooses a free one', parsePort('--port'), 7000),
  addressCount: defaulted(
    '--addresses <n>',
    'listen on host, host+1, ...',
    parseCount('--addresses', bounds.addresses),
    1,
  ),
  protocol: defaulted(
    '--protocol <name>',
    'what the server speaks: echo or http',
    parseChoice('--protocol', serverProtocols),
    'echo',
  ),
  messageSizeBytes: optional(
    '--message-size <bytes>',
    'echo: size of a request, used with --work and --wait (default: 64)',
    parseSizeBytes('--message-size', bounds.messageSizeBytes),
  ),
  cpus: optional('--cpus <list>', 'CPUs to run on, e.g. 0,2 or 0-3', parseCpuList('--cpus')),
  format: defaulted(
    '--format <format>',
    'pretty, or ndjson: one JSON event per line',
    parseChoice('--format', ['pretty', 'ndjson']),
    'pretty',
  ),
} as const;

const serveTable = { ...placement, ...serverOptions, ...serviceOptions } as const;

/** How long a stop waits for unfinished echoes. */
const stopDeadlineMs = 5_000;
/** The same if the conductor is gone and nobody waits for the figures. */
const orphanDeadlineMs = 500;
const statsIntervalMs = 1_000;

export function serveCommand(): Command {
  const command = new Command('serve').description('run one server until Ctrl-C');
  addOptions(command, serveTable);
  return command
    .addHelpText(
      'after',
      `
Examples:
  iocp-bench serve --mode iocp
  iocp-bench serve --mode epoll --work 50us --wait 5ms
  iocp-bench serve --mode blocking --protocol http --body-size 1KiB
  iocp-bench serve --mode blocking --port 0 --format ndjson`,
    )
    .action((parsed: Record<string, unknown>) => serve(givenValues(serveTable, parsed)));
}

async function serve({ mode, format, cpus, workers, ...rest }: Given<typeof serveTable>): Promise<void> {
  // Only a process forked by the conductor has an IPC channel.
  const isForked = process.send !== undefined;
  if (mode === undefined && isForked) {
    await serveConductor(await startMessage());
    return;
  }
  // Checked here because commander would report a missing --mode before a misspelt option.
  if (mode === undefined) {
    throw new BenchError(
      'usage',
      'serve needs a --mode',
      `for example --mode iocp; the modes are ${modeNames.join(', ')}`,
    );
  }
  checkService({ worksUs: [rest.workUs], waitsMs: [rest.waitMs], waitBlocks: rest.waitBlocks });
  checkServerProtocol(rest);
  const options: StartOptions = {
    ...rest,
    bodySizeBytes: rest.bodySizeBytes ?? null,
    messageSizeBytes: rest.messageSizeBytes ?? 64,
    mode,
    workers: workers ?? null,
    cpus: cpus ?? null,
    controlCpus: null,
    connectionsExpected: 0,
  };
  if (isForked) await serveConductor(options);
  else await serveUser(options, format);
}

interface Started {
  readonly server: RunningServer;
  readonly mode: ModeName;
  readonly backend: string;
  readonly host: string;
  readonly protocol: ServerProtocol;
  /** Why instructions are not counted although they were asked for. A conductor finds the reason itself. */
  readonly uncounted: string | null;
}

async function start({ mode, cpus, controlCpus, ...options }: StartOptions): Promise<Started> {
  const { backend } = requireMode(mode);
  addressesFrom(options.host, options.addressCount);
  if (cpus !== null) setAffinity(cpus);
  raiseDescriptorLimit();
  // Before the server starts its threads, which are counted because this one is.
  const uncounted = options.countInstructions ? countedOrReason() : null;
  const server = await startRunningServer({ ...options, backend });
  // Only after the server has started, because its threads inherit the CPUs of the thread that starts them.
  if (controlCpus !== null && backend !== 'node') leaveServerCpus(controlCpus);
  return { server, mode, backend, host: options.host, protocol: options.protocol, uncounted };
}

/** Why instructions cannot be counted here; null: they are. A figure that cannot be counted does not stop a server. */
function countedOrReason(): string | null {
  try {
    countExecution();
    return null;
  } catch (error) {
    if (!(error instanceof BenchError && error.code === 'unavailable')) throw error;
    return error.hint === '' ? error.message : `${error.message}; ${error.hint}`;
  }
}

/**
 * This thread only reads figures, but among thousands of runnable threads it would wait seconds for a CPU and read them after the
 * window. So it runs on CPUs that the server does not use. (Not for `node`, whose server is this thread.)
 */
function leaveServerCpus(cpus: readonly number[]): void {
  try {
    setThreadAffinity(cpus);
  } catch (error) {
    // Not available on Windows. The conductor reports samples that are taken too late.
    if (!(error instanceof BenchError && error.code === 'unavailable')) throw error;
  }
}

/** If the two halves of a sample are this close, their distance does not matter: 0.1% of a window of one second. */
const sampleSpanWantedNs = 1_000_000;
const sampleAttempts = 5;

/**
 * Counters and CPU time together. Among thousands of runnable threads this one may lose its CPU between the two readings, and their
 * ratio would be wrong. So it reads a few pairs and takes the closest one.
 */
function sample(server: RunningServer, withMemory: boolean): ServerSample {
  if (server.sample !== undefined) return server.sample(withMemory);
  let closest: ServerSample | null = null;
  let closestSpanNs = Infinity;
  for (let attempt = 0; attempt < sampleAttempts && closestSpanNs > sampleSpanWantedNs; attempt++) {
    const usage = processUsage(0);
    const stats = server.stats();
    const spanNs = Number(clockNowNs()) - usage.taken_at_ns;
    if (spanNs < closestSpanNs) {
      closest = { usage, stats };
      closestSpanNs = spanNs;
    }
  }
  return closest ?? { usage: processUsage(0), stats: server.stats() };
}

/** The last usage of a server with processes of its own, which are gone after the stop; null if it is this process alone. */
function usageBeforeStop(server: RunningServer): ProcessUsage | null {
  try {
    return server.sample?.(true).usage ?? null;
  } catch {
    // One of them has ended. The stop reports it.
    return null;
  }
}

// ---------------------------------------------------------------------------------------------------------- for a conductor

/** The first message of the conductor. If the channel breaks before, the process ends, because nobody waits for this server. */
async function startMessage(): Promise<StartOptions> {
  const received = await new Promise<unknown>((resolve, reject) => {
    process.once('message', resolve);
    process.once('disconnect', () => {
      reject(new BenchError('interrupted', 'the conductor ended before the server was started'));
    });
  });
  const message = parseToServer(received);
  if (message.type !== 'start') {
    throw new BenchError('fault', `the first message of the conductor is ${message.type}, not start`);
  }
  return message.options;
}

async function serveConductor(options: StartOptions): Promise<void> {
  // Ctrl-C, a closed terminal and `timeout` signal the whole process group. Only the conductor decides when this process ends.
  const ignore = (): void => undefined;
  for (const signal of endingSignals) process.on(signal, ignore);
  try {
    const started = await start(options);
    await sendListening(started);
    await untilStopped(started.server);
  } catch (error) {
    if (error instanceof BenchError) {
      await tell({ type: 'error', code: error.code, message: error.message, hint: error.hint });
    }
    throw error;
  }
}

async function sendListening({ server, mode, backend, host }: Started): Promise<void> {
  const { port } = server;
  // The figures of the idle process are taken next; see steadyHeap in process.ts.
  globalThis.gc?.();
  await tell({ type: 'listening', mode, backend, host, port, pid: process.pid, stats: server.stats() });
}

function requestedSample(server: RunningServer, wanted: { memory: boolean; runDelay: boolean }): ServerSample {
  // First, so that the counters are read at the end of what may take long.
  const runDelay = wanted.runDelay && server.sample === undefined ? { runDelay: processRunDelay() } : {};
  return { ...sample(server, wanted.memory), ...runDelay };
}

/** Answers samples until `stop` arrives or the channel breaks, so that a killed conductor leaves no orphan. */
async function untilStopped(server: RunningServer): Promise<void> {
  const deadlineMs = await new Promise<number | null>((resolve) => {
    process.on('message', (received) => {
      const message = parseToServer(received);
      if (message.type === 'stop') resolve(message.deadline_ms);
      else if (message.type === 'sample')
        void tell({ type: 'sample', id: message.id, sample: requestedSample(server, message) });
    });
    process.once('disconnect', () => {
      resolve(null);
    });
    if (!process.connected) resolve(null);
  });
  const before = usageBeforeStop(server);
  const { stats, deadline_missed: deadlineMissed } = await server.stop(deadlineMs ?? orphanDeadlineMs);
  const usage = before ?? processUsage(0);
  await tell({ type: 'stopped', sample: { usage, stats }, deadline_missed: deadlineMissed });
}

/** Sends a message and waits until it is sent. Does nothing if the conductor is gone. */
async function tell(message: FromServer): Promise<void> {
  if (!process.connected) return;
  await new Promise<void>((resolve) => {
    process.send?.(message, undefined, undefined, () => {
      resolve();
    });
  });
}

// ---------------------------------------------------------------------------------------------------------------- for a user

async function serveUser(options: StartOptions, format: 'pretty' | 'ndjson'): Promise<void> {
  const notice = substitutionNotice(options.mode, requireMode(options.mode).backend);
  const pretty = format === 'pretty';
  if (notice !== null) (pretty ? process.stdout : process.stderr).write(`${notice}\n`);
  const unreachable = loopback({ host: options.host }, thisMachine());
  if (unreachable !== null) process.stderr.write(`warning: ${unreachable.message}: ${unreachable.command}\n`);
  if (!isLoopback(options.host)) {
    process.stderr.write(
      `warning: ${options.host} can be reached from other machines, and this server has no authentication.\n`,
    );
  }
  const signals = listenToSignals();
  const started = await start(options);
  if (started.uncounted !== null) process.stderr.write(`warning: ${started.uncounted}\n`);
  const view = pretty ? new PrettyView(started) : new EventView(started);
  view.listening();
  const timer = setInterval(() => {
    view.stats(sample(started.server, true));
  }, statsIntervalMs);
  try {
    await signals.first;
    clearInterval(timer);
    view.stopping();
    const before = usageBeforeStop(started.server);
    // A second Ctrl-C ends the stop immediately.
    const stopped = await Promise.race([started.server.stop(stopDeadlineMs), signals.second]);
    view.stopped({ usage: before ?? processUsage(0), stats: stopped.stats }, stopped.deadline_missed);
  } finally {
    clearInterval(timer);
  }
}

/** The first signal resolves `first`; the second rejects `second` as an interruption. */
function listenToSignals(): { first: Promise<void>; second: Promise<never> } {
  let count = 0;
  let onFirst: () => void = () => undefined;
  let onSecond: (error: BenchError) => void = () => undefined;
  const first = new Promise<void>((resolve) => {
    onFirst = resolve;
  });
  const second = new Promise<never>((_, reject) => {
    onSecond = reject;
  });
  second.catch(() => undefined);
  const onSignal = (signal: NodeJS.Signals): void => {
    count += 1;
    if (count === 1) onFirst();
    // A closed terminal often sends SIGHUP several times.
    else if (signal !== 'SIGHUP') onSecond(new BenchError('interrupted', ''));
  };
  for (const signal of endingSignals) process.on(signal, onSignal);
  onFault(onFirst);
  return { first, second };
}

interface View {
  listening(): void;
  stats(sample: ServerSample): void;
  stopping(): void;
  stopped(sample: ServerSample, deadlineMissed: boolean): void;
}

/** One JSON object per line on stdout, for scripts. */
class EventView implements View {
  constructor(private readonly started: Started) {}

  listening(): void {
    const { server, mode, backend, host } = this.started;
    this.print('listening', { mode, backend, host, port: server.port, pid: process.pid, stats: server.stats() });
  }

  stats({ stats, usage }: ServerSample): void {
    this.print('stats', { stats, usage });
  }

  stopping(): void {
    this.print('stopping', { deadline_ms: stopDeadlineMs });
  }

  stopped({ stats, usage }: ServerSample, deadlineMissed: boolean): void {
    this.print('stopped', { deadline_missed: deadlineMissed, stats, usage });
  }

  private print(event: string, rest: object): void {
    const at = new Date().toISOString();
    process.stdout.write(`${JSON.stringify({ event, at, at_ns: Number(clockNowNs()), ...rest })}\n`);
  }
}

/** Lines for people on stdout and, on a terminal, a live status line on stderr. */
class PrettyView implements View {
  private readonly live = process.stderr.isTTY && process.env['TERM'] !== 'dumb';
  private readonly startedAt = performance.now();
  private last: ServerSample | null = null;
  private shown = 0;

  constructor(private readonly started: Started) {}

  listening(): void {
    const { server, backend, host, protocol } = this.started;
    const stats = server.stats();
    const facts = [
      ...(protocol === 'http' ? ['HTTP/1.1'] : []),
      threadsInWords(backend, stats),
      `backlog ${formatCount(stats.backlog)}`,
    ];
    const reachable = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
    const target = `${protocol === 'http' ? 'http://' : ''}${hostPortText(reachable, server.port)}`;
    process.stdout.write(
      `${backend} listens on ${hostPortText(host, server.port)} (${facts.join(', ')})\n` +
        `Blast it: iocp-bench blast --target ${target}\n` +
        'Stop it:  Ctrl-C\n',
    );
  }

  stats(now: ServerSample): void {
    if (!this.live) return;
    const text = statusLine(this.last, now);
    this.last = now;
    // A line longer than the terminal would wrap, and the next one could not overwrite it.
    const width = (process.stderr.columns || 80) - 1;
    const line = text.slice(0, width);
    process.stderr.write(`\r${line.padEnd(Math.min(this.shown, width))}`);
    this.shown = line.length;
  }

  stopping(): void {
    this.endLine();
    process.stderr.write('Stopping. Press Ctrl-C again to quit immediately.\n');
  }

  stopped({ stats }: ServerSample, deadlineMissed: boolean): void {
    this.endLine();
    const seconds = (performance.now() - this.startedAt) / 1_000;
    process.stdout.write(`${summary(stats, seconds)}\n`);
    if (deadlineMissed) {
      process.stderr.write(
        `warning: some connections still had bytes to send after ${stopDeadlineMs / 1_000} s; they were reset.\n`,
      );
    }
  }

  private endLine(): void {
    if (this.shown > 0) process.stderr.write('\n');
    this.shown = 0;
  }
}

/** What serves: "2 workers". */
function threadsInWords(backend: string, stats: ServerStats): string {
  if (stats.workers !== null) return plural(stats.workers, 'worker');
  return backend === 'pool' && stats.threads_max !== null
    ? `a pool, ${plural(stats.threads_max, 'thread')} in all`
    : backend === 'process'
      ? 'a process per connection'
      : 'a thread per connection';
}

/** "6,000 connections | 123,456 requests/s | 2 threads | CPU 98% | 61 MiB". */
function statusLine(before: ServerSample | null, now: ServerSample): string {
  const { stats, usage } = now;
  const elapsedNs = before === null ? 0 : usage.taken_at_ns - before.usage.taken_at_ns;
  const rate = before === null || elapsedNs <= 0 ? null : ((stats.requests - before.stats.requests) / elapsedNs) * 1e9;
  const errors = errorCount(stats);
  return [
    plural(stats.accepted - stats.closed, 'connection'),
    `${rate === null ? unknownText : formatCount(rate)} requests/s`,
    usage.threads === null ? null : plural(usage.threads, 'thread'),
    `CPU ${cpuText(cpuFraction(before?.usage ?? null, usage))}`,
    instructionsText(before, now),
    formatBytes(usage.resident_bytes),
    errors === 0 ? null : plural(errors, 'error'),
  ]
    .filter((part) => part !== null)
    .join(' | ');
}

/** Per request since the previous sample; null without --count-instructions, and where they cannot be counted. */
function instructionsText(before: ServerSample | null, { stats, usage }: ServerSample): string | null {
  if (usage.instructions === null) return null;
  const from = before?.usage.instructions ?? null;
  const requests = stats.requests - (before?.stats.requests ?? 0);
  const perRequest = from === null || requests <= 0 ? null : (usage.instructions - from) / requests;
  const scope = executionScopeOf(usage.execution_scope) === 'user' ? ' (user)' : '';
  return `${perRequest === null ? unknownText : formatCount(perRequest)} instructions/request${scope}`;
}

function cpuText(fraction: number | null): string {
  return fraction === null ? unknownText : `${formatCount(fraction * 100)}%`;
}

/** CPU time / wall time since the previous sample; 1 = one CPU. */
function cpuFraction(before: ProcessUsage | null, now: ProcessUsage): number | null {
  const [startNs, endNs] = [before?.cpu_total_ns ?? null, now.cpu_total_ns];
  if (before === null || startNs === null || endNs === null) return null;
  const elapsedNs = now.taken_at_ns - before.taken_at_ns;
  return elapsedNs <= 0 ? null : (endNs - startNs) / elapsedNs;
}

/** Resets do not count: a client that has received every echo may close with RST, and many do. */
function errorCount(stats: ServerStats): number {
  const { errors_aborted, errors_descriptors, errors_memory, errors_threads, errors_other } = stats;
  return (
    errors_other + (errors_aborted ?? 0) + (errors_descriptors ?? 0) + (errors_memory ?? 0) + (errors_threads ?? 0)
  );
}

function summary(stats: ServerStats, seconds: number): string {
  const refused = stats.refused ?? 0;
  const errors = errorCount(stats);
  return [
    `Stopped after ${formatNumber(seconds)} s: ${plural(stats.accepted, 'connection')}`,
    ...(refused === 0 ? [] : [`${formatCount(refused)} refused`]),
    ...(stats.errors_reset === 0 ? [] : [`${formatCount(stats.errors_reset)} reset by clients`]),
    plural(stats.requests, 'request'),
    `${formatBytes(stats.bytes_received)} in`,
    `${formatBytes(stats.bytes_sent)} out`,
    errors === 0 ? 'no errors' : plural(errors, 'error'),
  ].join(', ');
}
