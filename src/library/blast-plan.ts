/**
 * Makes a plan from the options of `blast`. This is the second stage of option checking: do the values fit each other and this
 * machine? Every plan that cannot run is refused here, before the first socket is opened.
 */
import { BenchError } from '../model/errors.js';
import { thisMachine } from '../run/machine.js';
import {
  connectionCounts,
  spinMicroseconds,
  splitCpus,
  type BlastPlan,
  type ModeSpec,
  type Target,
  type OutOfReach,
} from '../model/plan.js';
import { ephemeralPorts } from '../measure/sources.js';
import { checkLimits, mostConnections, requirements, type RunShape } from '../measure/limits.js';
import { parseLimit } from '../measure/search.js';
import { trialNumbers } from '../measure/stopping.js';
import type { Limits } from '../model/figures.js';
import { engines, getAffinity, limits } from '../native/binding.js';
import { formatCount, plural } from '../model/format.js';
import { givenOrNull } from '../model/options.js';
import { isLoopback, modeNames, parseModes, type ModeGroup, type ModeName, type OfferedRate } from '../model/parse.js';
import type { Phase } from '../model/report-schema.js';
import { plannedBodySize } from '../model/server-protocol.js';
import { checkService, checkServiceApplies } from '../model/service.js';
import { duration } from '../model/words.js';
import { requireEngine, resolveModes, type ModeAvailability } from '../server/modes.js';
import type { BlastOptions } from './blast-options.js';
import { planExchange } from './exchange-plan.js';
import { planTls } from './tls-plan.js';
import { isLinux } from '../platform.js';

/** Splits "name=./server --port {port}". */
export function parseModeCommand(text: string): ModeSpec {
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
      'write {port} where the command takes the port to listen on',
    );
  }
  if ((modeNames as readonly string[]).includes(mode) || ['all', 'classic', 'any', 'target'].includes(mode)) {
    throw new BenchError(
      'usage',
      `--mode-command: the name ${mode} is taken by iocp-bench itself`,
      'choose another name',
    );
  }
  return { mode, backend: 'command', serverMode: null, command };
}

export function refuseSameNames(commands: readonly ModeSpec[]): void {
  const names = commands.map(({ mode }) => mode);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice === undefined) return;
  throw new BenchError(
    'usage',
    `--mode-command: two commands are named ${twice}`,
    `give each its own name, for example ${twice}-2=...`,
  );
}

/** The other machine that the servers run on: which modes run there, and the commands that it offers by name. */
export interface ServerMachine {
  readonly probes: readonly ModeAvailability[];
  readonly commands: readonly { readonly mode: string; readonly command: string }[];
}

interface PlannedModes {
  readonly specs: readonly ModeSpec[];
  readonly fallback: string | null;
}

/** The servers that a run compares, in the order the user named them. */
export function planModes(options: BlastOptions, host: ServerMachine | null = null): PlannedModes {
  if (options.target !== undefined) {
    for (const [name, given] of [
      ['--modes', options.modes],
      ['--aa', options.aa],
      ['--mode-command', options.modeCommand[0]],
    ] as const) {
      if (given !== undefined)
        throw new BenchError(
          'usage',
          `${name} cannot be used with --target`,
          '--target loads one server that is already running',
        );
    }
    checkServiceApplies(options, 'target');
    return { specs: [{ mode: 'target', backend: 'external', serverMode: null, command: null }], fallback: null };
  }
  const offered = (host?.commands ?? []).map(({ mode, command }): ModeSpec => ({
    mode,
    backend: 'command',
    serverMode: null,
    command,
  }));
  const given = options.modeCommand.map(parseModeCommand);
  refuseSameNames(given);
  const commands = [...given, ...offered.filter(({ mode }) => isAsked(options, mode))];
  const named =
    options.modes === undefined
      ? null
      : parseModes(
          '--modes',
          commands.map(({ mode }) => mode),
        )(options.modes);
  if (options.aa !== undefined) return { specs: againstItself(options.aa, commands, host), fallback: null };
  const own = ownModes(named, commands);
  const resolved =
    own === null ? { modes: [], fallback: null } : resolveModes(own === 'default' ? null : own, host?.probes);
  const natives = resolved.modes.map(({ mode, backend }): ModeSpec => ({
    mode,
    backend,
    serverMode: mode,
    command: null,
  }));
  const all = [...natives, ...commands];
  // The first one that the user named is the b of every ratio.
  const order =
    named === null || typeof named === 'string'
      ? all.map(({ mode }) => mode)
      : [...named, ...commands.map(({ mode }) => mode)];
  const specs = [...new Set(order)].flatMap((mode) => all.find((spec) => spec.mode === mode) ?? []);
  checkServiceApplies(options, specs.every(({ command }) => command !== null) ? 'commands' : 'modes');
  return { specs, fallback: resolved.fallback };
}

/** Commands that a server machine offers run only if the user names them. */
function isAsked({ modes = '', aa = '' }: BlastOptions, mode: string): boolean {
  return [...modes.split(','), aa].some((word) => word.trim() === mode);
}

/** The built-in modes that run; null if the user named only commands. */
function ownModes(
  named: ModeGroup | string[] | null,
  commands: readonly ModeSpec[],
): ModeGroup | 'default' | ModeName[] | null {
  if (typeof named === 'string') return named;
  if (named === null) return commands.length === 0 ? 'default' : null;
  const own = modeNames.filter((mode) => named.includes(mode));
  return own.length === 0 ? null : own;
}

function oneModeExpected(): BenchError {
  return new BenchError('usage', '--aa takes one mode', `for example --aa iocp; the modes are ${modeNames.join(', ')}`);
}

/** The same mode twice, under two names. */
function againstItself(name: string, commands: readonly ModeSpec[], host: ServerMachine | null): ModeSpec[] {
  const parsed = parseModes(
    '--aa',
    commands.map((spec) => spec.mode),
  )(name);
  if (typeof parsed === 'string' || parsed.length !== 1) throw oneModeExpected();
  const [mode] = parsed;
  const command = commands.find((spec) => spec.mode === mode);
  const [own] = command === undefined ? resolveModes([mode as ModeName], host?.probes).modes : [];
  const spec: ModeSpec | undefined =
    command ??
    (own === undefined ? undefined : { mode: own.mode, backend: own.backend, serverMode: own.mode, command: null });
  if (spec === undefined) throw oneModeExpected();
  return [spec, { ...spec, mode: `${spec.mode}-again` }];
}

/**
 * The frozen plan; throws if options contradict each other.
 * @param target the running server, if the options name one
 */
export function makePlan(options: BlastOptions, specs: readonly ModeSpec[], target: Target | null): BlastPlan {
  const cpus = splitCpus(getAffinity(), options.pin && target === null);
  const phases: Phase[] = options.phases === 'both' ? ['capacity', 'latency'] : [options.phases];
  const threads =
    options.threads ?? Math.max(1, target === null ? cpus.client.length : Math.ceil(cpus.client.length / 2));
  const smallest = Math.min(...options.clients);
  if (threads > smallest) {
    throw new BenchError(
      'usage',
      `${threads} client threads cannot share ${smallest} clients`,
      `use --threads ${smallest} or fewer, or more --clients`,
    );
  }
  checkCombinations(options);
  const exchange = planExchange(options);
  checkService(options);
  if (target === null) checkEchoTime(options, options.serverOn === undefined ? cpus.server.length : null);
  const machine = limits();
  return Object.freeze<BlastPlan>({
    ...givenOrNull(options),
    ...plannedRates(options.ratePerSecond ?? [], target),
    protocol: exchange?.protocol ?? 'echo',
    exchange,
    bodySizeBytes: plannedBodySize({
      protocol: exchange?.protocol ?? 'echo',
      bodySizeBytes: options.bodySizeBytes,
      servers: target !== null ? 'target' : specs.some(({ serverMode }) => serverMode !== null) ? 'modes' : 'commands',
    }),
    modes: specs,
    target,
    host: target?.host ?? options.host,
    ...trialNumbers(options, target === null ? 4 : 1),
    phases,
    tls: planTls(options, specs),
    messageSizeBytes: exchange?.requestBytes ?? options.messageSizeBytes ?? (options.stream ? 65_536 : 64),
    pipeline: options.pipeline ?? (options.stream ? 4 : 1),
    threads,
    engine: chooseEngine(options, machine),
    cpus,
    spinUs: spinMicroseconds({
      cpus,
      threads,
      target,
      compatibility: machine.compatibility,
    }),
    outOfReach: [],
    ephemeralPorts: ephemeralPorts(machine),
    aa: options.aa !== undefined,
  });
}

/** A single rate is a field of the plan of its own, so that a report of it reads as it always did. */
function plannedRates(
  rates: readonly OfferedRate[],
  target: Target | null,
): Pick<BlastPlan, 'ratePerSecond' | 'rates' | 'rateFraction'> {
  if (target !== null && rates.some(({ fraction }) => fraction !== null)) {
    throw new BenchError(
      'usage',
      '--rate in percent cannot be used with --target',
      'it is a share of the capacity of servers that iocp-bench starts; give requests/s, for example --rate 5k/s',
    );
  }
  const [single] = rates.length === 1 ? rates : [];
  return {
    ratePerSecond: single?.perSecond ?? null,
    rates: rates.length === 1 ? [] : rates,
    rateFraction: single?.fraction ?? null,
  };
}

/**
 * Throws if work and wait alone make every echo later than the timeout.
 * @param serverCpus null: not known yet, since the server runs on another machine
 */
function checkEchoTime(options: BlastOptions, serverCpus: number | null): void {
  const wait = Math.max(...options.waitsMs);
  const timeout = duration(options.timeoutMs * 1e6);
  if (wait >= options.timeoutMs) {
    throw new BenchError(
      'usage',
      `with --wait ${duration(wait * 1e6)}, no echo can come within the timeout of ${timeout}`,
      'use a shorter --wait or a longer --timeout',
    );
  }
  if (serverCpus === null || options.phases === 'latency') return;
  const clients = Math.max(...options.clients) * (options.activeFraction ?? 1);
  const workUs = Math.max(...options.worksUs);
  const roundMs = (clients * (options.pipeline ?? 1) * workUs) / 1e3 / Math.max(1, serverCpus);
  if (roundMs < options.timeoutMs) return;
  throw new BenchError(
    'usage',
    `${formatCount(clients)} clients with ${duration(workUs * 1e3)} of work per request keep ${plural(serverCpus, 'server CPU')} ` +
      `busy for ${duration(roundMs * 1e6)} per round, longer than the timeout of ${timeout}`,
    'use fewer --clients, less --work or a longer --timeout',
  );
}

/** Throws if options contradict each other. */
function checkCombinations(options: BlastOptions): void {
  if (options.ratePerSecond !== undefined && options.phases === 'capacity') {
    throw new BenchError(
      'usage',
      '--rate only applies to the latency phase',
      'the capacity phase is a closed loop; leave out --phases or --rate',
    );
  }
  if (options.thinkTimeMs > 0 && options.phases === 'latency') {
    throw new BenchError(
      'usage',
      '--think-time only applies to the capacity phase',
      'in the latency phase, the timetable decides when a message is due',
    );
  }
  if (options.findMaxRate !== undefined) parseLimit(options.findMaxRate);
  const { host } = options;
  if (options.target === undefined && options.serverOn === undefined && !isLoopback(host)) {
    throw new BenchError(
      'usage',
      `--host ${host} is not a loopback address`,
      'servers started by blast listen on 127.0.0.0/8 or ::1; to test another machine, start `serve` there and use --target',
    );
  }
}

/** The named engine, if it runs here, else the one for so many connections. */
function chooseEngine(options: BlastOptions, { descriptors_soft }: Limits): string {
  requireEngine(options.engine);
  const available = engines().flatMap((engine) => (engine.available ? [engine.name] : []));
  const most = Math.max(...options.clients) + options.idle;
  return isLinux ? engineFor(options.engine, most, descriptors_soft, available) : options.engine;
}

/**
 * The engine for as many connections on Linux. With more of them than descriptors, auto is io_uring, which holds them in its rings'
 * tables. If it is not available, the check of the limits names the limit that is too low.
 */
export function engineFor(
  engine: string,
  connections: number,
  descriptors: number | null,
  available: readonly string[],
): string {
  const isEnough = descriptors === null || connections + reservedDescriptors <= descriptors;
  return engine === 'auto' && !isEnough && available.includes('io_uring') ? 'io_uring' : engine;
}

/** Descriptors that the conductor may need in addition to its sockets. */
const reservedDescriptors = 256;

/**
 * Throws if a limit of this machine is too low; names the limit and the command that raises it. In a sweep over several numbers of
 * clients, a mode that reaches a limit before the others is skipped at the sizes that it cannot run, and the limit is its result:
 * the returned plan lists them. A number of clients that no mode can run is still refused.
 */
export function withinLimits(plan: BlastPlan): BlastPlan {
  const allowed = limits();
  const machine = thisMachine();
  const outOfReach: OutOfReach[] = [];
  for (const clients of plan.clients) {
    const refused = plan.modes.flatMap((spec) => {
      const shape = shapeOf(plan, spec, clients);
      const [problem] = checkLimits(allowed, requirements(shape), machine);
      return problem === undefined ? [] : [{ spec, shape, problem }];
    });
    const [first] = refused;
    if (first !== undefined && (plan.clients.length === 1 || refused.length === plan.modes.length)) {
      throw new BenchError('unavailable', first.problem.message, first.problem.command);
    }
    for (const { spec, shape, problem } of refused) {
      const { limit, value, needed, command } = problem;
      const most = Math.max(0, mostConnections(allowed, shape, machine) - plan.idle);
      outOfReach.push({ mode: spec.mode, clients, limit, value, needed, command, most });
    }
  }
  return outOfReach.length === 0 ? plan : Object.freeze({ ...plan, outOfReach });
}

function shapeOf(plan: BlastPlan, spec: ModeSpec, clients: number): RunShape {
  const { total, active } = connectionCounts(plan, clients);
  return {
    connections: total,
    active,
    mode: spec.mode,
    backend: spec.backend,
    engine: plan.engine,
    host: plan.host,
    stack_size_bytes: plan.stackSizeBytes,
    pool_threads: plan.poolThreads,
    trials: (plan.trialsMax ?? plan.trials) * plan.modes.length * plan.worksUs.length * plan.waitsMs.length,
    close: plan.close,
  };
}
