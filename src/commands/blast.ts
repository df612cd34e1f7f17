/**
 * `blast`: opens thousands of connections, measures, and compares. Parses, makes a plan, lets the conductor run it, prints. What can
 * be refused is refused before the first socket is opened.
 */
import { Command } from 'commander';
import { BenchError, type ErrorCode, exitPrecedence } from '../errors.js';
import { Conductor } from '../load/conductor.js';
import { readEnvironment } from '../load/environment.js';
import { connectionCounts, splitCpus, type BlastPlan, type ModeSpec } from '../load/plan.js';
import { ProgressLine } from '../load/progress.js';
import { serverStarter } from '../load/servers.js';
import { checkGate, evaluateGate, parseGate, type GateExpression } from '../measure/gates.js';
import { checkLimits, requirements } from '../measure/limits.js';
import { parseLimit } from '../measure/search.js';
import { isInvalid } from '../measure/validity.js';
import { getAffinity, limits, raiseDescriptorLimit, setAffinity } from '../native/binding.js';
import {
  bounds,
  hostPortText,
  isLoopback,
  modeNames,
  parseChoice,
  parseCount,
  parseCountList,
  parseDurationMs,
  parseFraction,
  parseHost,
  parseHostPort,
  parseModes,
  parseRatePerSecond,
  parseSizeBytes,
  type HostPort,
  type ModeName,
} from '../options.js';
import { renderCsv } from '../report/csv.js';
import { renderHtml } from '../report/html.js';
import { serializeReport } from '../report/json.js';
import { renderJunit } from '../report/junit.js';
import { renderMarkdown } from '../report/markdown.js';
import { prepareOutput, writeOutput } from '../report/output.js';
import type { Phase, Report, Run, Warning } from '../report/schema.js';
import { renderTable } from '../report/table.js';
import { chartLibrary } from '../report/uplot.js';
import { resolveModes } from '../server/modes.js';
import { terminal } from '../terminal.js';

interface BlastOptions {
  clients: number[];
  modes?: string;
  modeCommand: string[];
  target?: HostPort;
  host: string;
  duration: number;
  warmup: number;
  trials?: number;
  phases: 'capacity' | 'latency' | 'both';
  messageSize?: number;
  pipeline?: number;
  rate?: number;
  connectRate?: number;
  requestsPerConnection?: number;
  thinkTime: number;
  stream: boolean;
  idle: number;
  active?: number;
  threads?: number;
  engine: string;
  seed: number;
  timeout: number;
  close: 'reset' | 'fin';
  workers?: number;
  backlog: number;
  receiveBuffer: number;
  stackSize: number;
  zeroByteRecv: boolean;
  edgeTriggered: boolean;
  aa?: string;
  findMaxRate?: string;
  pin: boolean;
  strict: boolean;
  quiet: boolean;
  failIf: GateExpression[];
  json?: string;
  html?: string;
  markdown?: string;
  csv?: string;
  junit?: string;
}

const collect =
  <Value>(parse: (text: string) => Value) =>
  (text: string, previous: Value[]): Value[] => [...previous, parse(text)];

export function blastCommand(): Command {
  const command = new Command('blast')
    .summary('open thousands of connections, measure, compare')
    .description(
      'Opens thousands of connections to an echo server, verifies every byte of every echo, and measures throughput, latency and ' +
        'cost. Without --target it starts a server per mode in turn and compares them.',
    );
  addLoadOptions(command);
  addServerOptions(command);
  addRunOptions(command);
  return command.action(async (options: BlastOptions) => {
    await blast(options);
  });
}

function addLoadOptions(command: Command): void {
  command
    .optionsGroup('Load:')
    .option(
      '-c, --clients <n[,n...]>',
      'connections; several sizes run in turn',
      parseCountList('--clients', bounds.clients),
      [6000],
    )
    .option('-d, --duration <time>', 'measured window of each phase', parseDurationMs('--duration'), 3_000)
    .option(
      '--warmup <time>',
      'before a window; at least until every connection had an echo',
      parseDurationMs('--warmup', { min: 0, max: 3_600_000 }),
      1_000,
    )
    .option(
      '--trials <n>',
      'fresh server and connections each (default: 4; 1 with --target)',
      parseCount('--trials', bounds.trials),
    )
    .option(
      '--phases <which>',
      'capacity, latency or both',
      parseChoice('--phases', ['capacity', 'latency', 'both']),
      'both',
    )
    .option(
      '--message-size <bytes>',
      'of a request and its echo (default: 64)',
      parseSizeBytes('--message-size', bounds.messageSizeBytes),
    )
    .option(
      '--pipeline <n>',
      'requests in flight per connection (default: 1)',
      parseCount('--pipeline', bounds.pipeline),
    )
    .option(
      '--rate <n/s>',
      'offered requests/s of the latency phase (default: 70% of the slower mode)',
      parseRatePerSecond('--rate'),
    )
    .option(
      '--connect-rate <n/s>',
      'connections opened per second (default: paced by the echoes)',
      parseRatePerSecond('--connect-rate'),
    )
    .option(
      '--requests-per-connection <n>',
      'churn: close after n requests and connect again',
      parseCount('--requests-per-connection', { min: 1, max: 1e9 }),
    )
    .option(
      '--think-time <time>',
      'pause between an echo and the next message',
      parseDurationMs('--think-time', { min: 0, max: 3_600_000 }),
      0,
    )
    .option('--stream', 'bulk: 64 KiB messages, 4 in flight (both can be set)', false)
    .option('--active <share>', 'share of the connections that send; the rest is held open', parseFraction('--active'))
    .option(
      '--idle <n>',
      'connections held open beside the active ones',
      parseCount('--idle', { min: 0, max: bounds.clients.max }),
      0,
    )
    .option('--timeout <time>', 'for a connection or an echo', parseDurationMs('--timeout'), 10_000)
    .option('--close <how>', 'reset (no TIME_WAIT) or fin', parseChoice('--close', ['reset', 'fin']), 'reset')
    .option('--threads <n>', 'client threads (default: one per client CPU)', parseCount('--threads', bounds.threads))
    .option(
      '--engine <name>',
      'client engine: auto, epoll, io_uring, iocp',
      parseChoice('--engine', ['auto', 'epoll', 'io_uring', 'iocp']),
      'auto',
    )
    .option('--seed <n>', 'of payload and order', parseCount('--seed', bounds.seed), 1);
}

function addServerOptions(command: Command): void {
  command
    .optionsGroup('Servers:')
    .option('-m, --modes <list>', `${modeNames.join(', ')}, or all (default: blocking,iocp)`)
    .option('--mode-command <name=command>', 'any echo server as a mode; {port} is replaced', collect(String), [])
    .option('-t, --target <host:port>', 'load a server that already runs', parseHostPort('--target'))
    .option('--host <address>', 'where servers listen', parseHost('--host'), '127.0.0.1')
    .option('--workers <n>', 'event loops (default: one per server CPU)', parseCount('--workers', bounds.workers))
    .option('--backlog <n>', 'listen backlog, the same for every mode', parseCount('--backlog', bounds.backlog), 4_096)
    .option(
      '--receive-buffer <bytes>',
      'of one receive, the same for every mode',
      parseSizeBytes('--receive-buffer', bounds.receiveBufferBytes),
      16_384,
    )
    .option(
      '--stack-size <bytes>',
      'of a blocking connection thread',
      parseSizeBytes('--stack-size', bounds.stackSizeBytes),
      65_536,
    )
    .option('--zero-byte-recv', 'iocp on Windows: idle connections wait on a receive of zero bytes', false)
    .option('--edge-triggered', 'epoll: edge- instead of level-triggered', false);
}

function addRunOptions(command: Command): void {
  command
    .optionsGroup('Results:')
    .option('--json <file>', 'the report; "-" prints it alone on stdout')
    .option('--html <file>', 'the report as a page with charts')
    .option('--markdown <file>', 'the report for a GitHub step summary')
    .option('--csv <file>', 'every window as a row')
    .option('--junit <file>', 'gates as JUnit XML')
    .option(
      '--fail-if <expression>',
      "exit 99 if it holds, e.g. 'iocp/blocking.throughput < 1.2'; repeatable",
      collect(parseGate),
      [],
    )
    .option('--strict', 'exit 5 when figures are not valid', false)
    .option('--aa <mode>', 'run one mode against itself: the noise floor of this machine')
    .option('--find-max-rate <limit>', "highest offered rate within a limit, e.g. 'p99<10ms'")
    .option('--no-pin', 'do not split the CPUs between server and client')
    .option('-q, --quiet', 'no progress', false);
}

/** Splits "name=./server --port {port}". */
function parseModeCommand(text: string): ModeSpec {
  const match = /^([A-Za-z][\w-]*)=(.+)$/s.exec(text);
  const [, mode, command] = match ?? [];
  if (mode === undefined || command === undefined) {
    throw new BenchError(
      'usage',
      `--mode-command "${text}" is not name=command`,
      "for example: --mode-command 'mine=./server --port {port}'",
    );
  }
  if (!command.includes('{port}')) {
    throw new BenchError(
      'usage',
      `--mode-command ${mode}: the command has no {port}`,
      'the port that the server must listen on is put in place of {port}',
    );
  }
  if ((modeNames as readonly string[]).includes(mode) || ['all', 'any', 'target'].includes(mode)) {
    throw new BenchError('usage', `--mode-command: ${mode} is a name of the tool's own`, 'choose another name');
  }
  return { mode, backend: 'command', serverMode: null, command };
}

interface PlannedModes {
  readonly specs: readonly ModeSpec[];
  readonly fallback: string | null;
}

function planModes(options: BlastOptions): PlannedModes {
  if (options.target !== undefined) {
    for (const [name, given] of [
      ['--modes', options.modes],
      ['--aa', options.aa],
      ['--mode-command', options.modeCommand[0]],
    ] as const) {
      if (given !== undefined)
        throw new BenchError(
          'usage',
          `${name} and --target exclude each other`,
          '--target loads one server that already runs',
        );
    }
    return { specs: [{ mode: 'target', backend: 'external', serverMode: null, command: null }], fallback: null };
  }
  const commands = options.modeCommand.map(parseModeCommand);
  const named =
    options.modes === undefined
      ? null
      : parseModes(
          '--modes',
          commands.map(({ mode }) => mode),
        )(options.modes);
  if (options.aa !== undefined) return { specs: againstItself(options.aa, commands), fallback: null };
  const own = ownModes(named, commands);
  const resolved = own === null ? { modes: [], fallback: null } : resolveModes(own === 'default' ? null : own);
  const natives = resolved.modes.map(({ mode, backend }): ModeSpec => ({
    mode,
    backend,
    serverMode: mode,
    command: null,
  }));
  const all = [...natives, ...commands];
  // The order in which the user named them decides which is the first, the b of every ratio.
  const order =
    named === null || named === 'all' ? all.map(({ mode }) => mode) : [...named, ...commands.map(({ mode }) => mode)];
  const specs = [...new Set(order)].flatMap((mode) => all.find((spec) => spec.mode === mode) ?? []);
  return { specs, fallback: resolved.fallback };
}

/** Which of the tool's own modes run: with commands alone, none of them. */
function ownModes(
  named: 'all' | string[] | null,
  commands: readonly ModeSpec[],
): 'all' | 'default' | ModeName[] | null {
  if (named === 'all') return 'all';
  if (named === null) return commands.length === 0 ? 'default' : null;
  const own = modeNames.filter((mode) => named.includes(mode));
  return own.length === 0 ? null : own;
}

/** One mode twice, under two names. */
function againstItself(name: string, commands: readonly ModeSpec[]): ModeSpec[] {
  const [mode] = parseModes(
    '--aa',
    commands.map((spec) => spec.mode),
  )(name);
  const command = commands.find((spec) => spec.mode === mode);
  const [own] = command === undefined ? resolveModes([mode as ModeName]).modes : [];
  const spec: ModeSpec | undefined =
    command ??
    (own === undefined ? undefined : { mode: own.mode, backend: own.backend, serverMode: own.mode, command: null });
  if (spec === undefined || name === 'all') {
    throw new BenchError(
      'usage',
      '--aa takes one mode',
      `for example --aa iocp; the modes are ${modeNames.join(', ')}`,
    );
  }
  return [spec, { ...spec, mode: `${spec.mode}-again` }];
}

function makePlan(options: BlastOptions, specs: readonly ModeSpec[]): BlastPlan {
  const cpus = splitCpus(getAffinity(), options.pin && options.target === undefined);
  const phases: Phase[] = options.phases === 'both' ? ['capacity', 'latency'] : [options.phases];
  const threads =
    options.threads ??
    Math.max(1, options.target === undefined ? cpus.client.length : Math.ceil(cpus.client.length / 2));
  const smallest = Math.min(...options.clients);
  if (threads > smallest) {
    throw new BenchError(
      'usage',
      `${threads} client threads cannot share ${smallest} clients`,
      `--threads ${smallest} or fewer, or more --clients`,
    );
  }
  checkCombinations(options);
  return Object.freeze<BlastPlan>({
    modes: specs,
    target: options.target ?? null,
    host: options.target?.host ?? options.host,
    clients: options.clients,
    activeFraction: options.active ?? null,
    idle: options.idle,
    trials: options.trials ?? (options.target === undefined ? 4 : 1),
    phases,
    durationMs: options.duration,
    warmupMs: options.warmup,
    messageSizeBytes: options.messageSize ?? (options.stream ? 65_536 : 64),
    pipeline: options.pipeline ?? (options.stream ? 4 : 1),
    ratePerSecond: options.rate ?? null,
    connectRatePerSecond: options.connectRate ?? null,
    requestsPerConnection: options.requestsPerConnection ?? null,
    thinkTimeMs: options.thinkTime,
    stream: options.stream,
    threads,
    engine: chooseEngine(options),
    seed: options.seed,
    timeoutMs: options.timeout,
    close: options.close,
    cpus,
    workers: options.workers ?? null,
    backlog: options.backlog,
    receiveBufferBytes: options.receiveBuffer,
    stackSizeBytes: options.stackSize,
    zeroByteRecv: options.zeroByteRecv,
    edgeTriggered: options.edgeTriggered,
    aa: options.aa !== undefined,
    findMaxRate: options.findMaxRate ?? null,
  });
}

/** Options that contradict each other. */
function checkCombinations(options: BlastOptions): void {
  if (options.rate !== undefined && options.phases === 'capacity') {
    throw new BenchError(
      'usage',
      '--rate belongs to the latency phase',
      'the capacity phase is a closed loop; leave --phases out, or --rate',
    );
  }
  if (options.thinkTime > 0 && options.phases === 'latency') {
    throw new BenchError(
      'usage',
      '--think-time belongs to the capacity phase',
      'in the latency phase the timetable says when a message is due',
    );
  }
  if (options.findMaxRate !== undefined) parseLimit(options.findMaxRate);
  const { host } = options.target ?? options;
  if (options.target === undefined && !isLoopback(host)) {
    throw new BenchError(
      'usage',
      `--host ${host} is not a loopback address`,
      'servers that blast starts listen on 127.0.0.0/8 or ::1; for another machine start `serve` there and use --target',
    );
  }
}

/** More connections than descriptors need the engine that holds them in tables of the ring. */
function chooseEngine(options: BlastOptions): string {
  if (options.engine !== 'auto' || process.platform !== 'linux') return options.engine;
  const { descriptors_soft } = limits();
  const most = Math.max(...options.clients) + options.idle;
  return descriptors_soft !== null && most + reservedDescriptors > descriptors_soft ? 'io_uring' : 'auto';
}

/** Descriptors that the conductor itself may need beside its sockets. */
const reservedDescriptors = 256;

function refuseWhatCannotRun(plan: BlastPlan): void {
  const machine = limits();
  for (const clients of plan.clients) {
    const { total } = connectionCounts(plan, clients);
    for (const spec of plan.modes) {
      const need = requirements({
        connections: total,
        mode: spec.mode,
        backend: spec.backend,
        engine: plan.engine,
        host: plan.host,
        stack_size_bytes: plan.stackSizeBytes,
        trials: plan.trials * plan.modes.length,
        close: plan.close,
      });
      const [problem] = checkLimits(machine, need);
      if (problem !== undefined) throw new BenchError('unavailable', problem.message, problem.command);
    }
  }
}

function fallbackWarning(fallback: string): Warning {
  return {
    code: 'default_modes_replaced',
    severity: 'warning',
    message: fallback,
    hint: '`iocp-bench doctor` says what would make it run',
    mode: null,
    clients: null,
    phase: null,
    trial: null,
    figures: {},
  };
}

const renderers = {
  json: serializeReport,
  html: (report: Report) => renderHtml(report, chartLibrary()),
  markdown: renderMarkdown,
  csv: renderCsv,
  junit: renderJunit,
} as const;
type Format = keyof typeof renderers;
const formats = Object.keys(renderers) as Format[];

async function blast(options: BlastOptions): Promise<void> {
  raiseDescriptorLimit();
  const { specs, fallback } = planModes(options);
  const plan = makePlan(options, specs);
  for (const gate of options.failIf) {
    const modes = plan.modes.map(({ mode }) => mode);
    checkGate(gate, { modes, clients: plan.clients, phases: plan.phases, maxRate: plan.findMaxRate !== null });
  }
  refuseWhatCannotRun(plan);
  const outputs = formats.flatMap((format) => {
    const path = options[format];
    return path === undefined ? [] : [{ format, path }];
  });
  if (outputs.filter(({ path }) => path === '-').length > 1) {
    throw new BenchError('usage', 'only one report can go to stdout', 'give all but one of them a file name');
  }
  for (const { path } of outputs) prepareOutput(path);
  if (plan.cpus.pinned) setAffinity(plan.cpus.client);

  const progress = new ProgressLine(plan, options.quiet);
  progress.announce(
    fallback,
    options.target === undefined ? null : hostPortText(options.target.host, options.target.port),
  );
  const interrupt = listenForInterrupt(progress);
  const json = outputs.find(({ format, path }) => format === 'json' && path !== '-');
  const conductor = new Conductor(
    plan,
    readEnvironment(plan.cpus),
    ['iocp-bench', ...process.argv.slice(2)],
    fallback === null ? [] : [fallbackWarning(fallback)],
    {
      startServer: serverStarter(plan),
      onProgress: (state) => {
        progress.update(state);
      },
      onTrial: (task, number, of) => {
        progress.trial(task, number, of);
      },
      onReport: (report) => {
        // Nothing measured is lost: the file holds what there is after every trial.
        if (json !== undefined) writeOutput(json.path, serializeReport(report));
      },
      signal: interrupt.signal,
    },
  );
  let report: Report;
  try {
    report = await conductor.run();
  } catch (error) {
    progress.end();
    const partial = conductor.report(true);
    const unwritten = partial.runs.some((run) => run.trials.length > 0) ? writeAll(outputs, partial, options) : [];
    // The error that ended the run is what the exit is about; where the report went is told beside it.
    for (const problem of unwritten) terminal.note(`${problem.message}; ${problem.hint}`);
    throw error;
  } finally {
    interrupt.stopListening();
  }
  progress.end();
  const judged = { ...report, gates: options.failIf.map((gate) => evaluateGate(gate, report)) };
  const unwritten = writeAll(outputs, judged, options);
  conclude(judged, options, unwritten);
}

/** Prints the table and writes every output; returns what could not be written where it was asked for. */
function writeAll(
  outputs: readonly { format: Format; path: string }[],
  report: Report,
  options: BlastOptions,
): BenchError[] {
  if (!outputs.some(({ path }) => path === '-')) {
    terminal.print(renderTable(report, { width: terminal.width(), color: terminal.color() }));
  }
  const problems: BenchError[] = [];
  for (const { format, path } of outputs) {
    const written = writeOutput(path, renderers[format](report));
    if (written.problem !== null) problems.push(written.problem);
    else if (path !== '-' && !options.quiet) terminal.note(`${format} report: ${written.path}`);
  }
  return problems;
}

/** Ends with the first code that applies (DESIGN section 7). */
function conclude(report: Report, options: BlastOptions, unwritten: readonly BenchError[]): void {
  const problems: Partial<Record<ErrorCode, BenchError>> = {};
  if (report.partial)
    problems.interrupted = new BenchError('interrupted', 'interrupted: what was measured until then is above');
  const broken = report.runs.flatMap((run) =>
    run.trials.flatMap((window) => (window.state === 'failed' ? [{ run, window }] : [])),
  );
  const dataErrors = report.runs
    .flatMap((run) => run.trials)
    .find((window) => (window.errors.by_class['data'] ?? 0) > 0);
  if (dataErrors !== undefined) {
    const sample = dataErrors.errors.samples.find((entry) => entry.class === 'data');
    problems.runFailed = new BenchError(
      'runFailed',
      `an echo was not what was sent: ${sample?.message ?? 'data error'}`,
      'the server does not echo every byte in order',
    );
  } else if (broken[0] !== undefined) {
    const { run, window } = broken[0];
    problems.runFailed = new BenchError(
      'runFailed',
      `${nameOf(run, report)} at ${run.clients} clients failed: ${window.reason}`,
      failureHint(window.errors.by_class),
    );
  }
  if (options.strict && isInvalid(report.warnings)) {
    problems.notValid = new BenchError(
      'notValid',
      'the figures are not valid (--strict)',
      'the warnings above say why, and what to do',
    );
  }
  const undecided = report.gates.find((gate) => gate.held === null);
  if (undecided !== undefined)
    problems.notValid ??= new BenchError(
      'notValid',
      `gate undecided: ${undecided.expression}: ${undecided.reason}`,
      'an undecided gate is never a pass',
    );
  const held = report.gates.find((gate) => gate.held === true);
  if (held !== undefined)
    problems.gateHeld = new BenchError('gateHeld', `gate held: ${held.expression}: ${held.reason}`);
  const [lost] = unwritten;
  if (lost !== undefined) problems.runFailed ??= lost;
  const code = exitPrecedence.find((candidate) => problems[candidate] !== undefined);
  const ending = code === undefined ? undefined : problems[code];
  // Where a report went instead must be told, whatever else the run ends with.
  for (const problem of unwritten) if (problem !== ending) terminal.note(`${problem.message}; ${problem.hint}`);
  if (ending !== undefined) throw ending;
}

/** A target is known by its address, every other mode by its name. */
function nameOf(run: Run, report: Report): string {
  return run.mode === 'target' && report.plan.target !== null ? `target ${report.plan.target}` : run.mode;
}

function failureHint(byClass: Record<string, number>): string {
  if ((byClass['refused'] ?? 0) > 0) return 'is the server running, and on that port?';
  if ((byClass['timeout'] ?? 0) > 0)
    return 'the server accepts but does not echo; --timeout says how long an echo may take';
  if ((byClass['refused_by_server'] ?? 0) > 0) return 'the server closes connections before the first echo';
  return 'the errors above say what happened';
}

/** The first Ctrl-C ends the run and keeps what was measured; the second has its default effect, and ends the process at once. */
function listenForInterrupt(progress: ProgressLine): { signal: AbortSignal; stopListening: () => void } {
  const controller = new AbortController();
  const onSignal = (): void => {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
    progress.interrupted();
    controller.abort();
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  return {
    signal: controller.signal,
    stopListening: () => {
      process.off('SIGINT', onSignal);
      process.off('SIGTERM', onSignal);
    },
  };
}
