/**
 * `doctor`: shows which modes this machine can run and why not the others, its clock and CPUs, and which of its limits are too low
 * for thousands of clients, with the command that raises each.
 */
import { Command } from 'commander';
import { readEnvironment } from '../run/environment.js';
import { thisMachine } from '../run/machine.js';
import { measureNoise } from '../run/noise.js';
import { splitCpus, type CpuSplit } from '../model/plan.js';
import type { Limits } from '../model/figures.js';
import {
  advisoryLimits,
  checkLimits,
  loopback,
  modelLimits,
  requirements,
  type LimitProblem,
  type Machine,
} from '../measure/limits.js';
import {
  engines,
  getAffinity,
  libraryLocation,
  limits,
  raiseDescriptorLimit,
  tlsProbe,
  type Probe,
} from '../native/binding.js';
import { addOptions, brokerOptions, type Given } from '../model/options.js';
import { modeNames, serverDefaults } from '../model/parse.js';
import { formatBytes, formatCount, formatDuration, formatPercent, plural, unknownText } from '../model/format.js';
import { hanging } from '../report/text.js';
import type { Environment, Noise } from '../model/report-schema.js';
import { probeModes, type ModeAvailability } from '../server/modes.js';
import { terminal } from '../terminal.js';

/** Numbers of clients in the outlook. */
const sizes = [6_000, 20_000, 100_000, 1_000_000] as const;
/** Trials of the default comparison: four of each of two modes. */
const defaultTrials = 8;
/** Where the servers started by blast listen. */
const loadedHost = '127.0.0.1';

/** Whether one mode can serve a number of clients. */
interface Outlook {
  clients: number;
  mode: string;
  verdict: 'yes' | 'partly' | 'no' | 'unavailable';
  problems: LimitProblem[];
}

interface Diagnosis {
  environment: Environment;
  library: string;
  /** The OpenSSL that the client uses for TLS, or why there is none. */
  tls: Probe;
  modes: ModeAvailability[];
  engines: Probe[];
  limits: Limits;
  outlook: Outlook[];
  advice: LimitProblem[];
  /** One mode against itself; null with --no-noise, or if it cannot be measured. */
  noise: { mode: string; floor: Noise[] } | null;
}

export function doctorCommand(): Command {
  const command = new Command('doctor')
    .description('show what this machine can run, and which limits are in the way')
    .option('--json', 'print the same as one JSON object', false)
    .option('--no-noise', "skip measuring this machine's noise (five seconds of load)")
    .addHelpText('after', '\nExamples:\n  iocp-bench doctor\n  iocp-bench doctor --nats nats://10.0.0.5:4222');
  addOptions(command, brokerOptions);
  return command.action(async (options: { json: boolean; noise: boolean } & Given<typeof brokerOptions>) => {
    if (options.nats !== undefined) {
      // Loaded on demand: the diagnosis of this machine needs no broker.
      const { diagnoseAgents } = await import('./doctor-agents.js');
      await diagnoseAgents(options, options.group, options.json);
      return;
    }
    const diagnosis = await diagnose(options.noise);
    terminal.print(options.json ? terminal.json(JSON.stringify(diagnosis, null, 2)) : render(diagnosis));
  });
}

async function diagnose(withNoise: boolean): Promise<Diagnosis> {
  // As a run does, so that these are the limits a run would meet.
  raiseDescriptorLimit();
  const allowed = limits();
  const machine = thisMachine();
  const isMeasurable = withNoise && loopback({ host: loadedHost }, machine) === null;
  const modes = probeModes();
  const clientEngines = engines();
  const ringsAvailable = clientEngines.some(({ name, available }) => name === 'io_uring' && available);
  const cpus = splitCpus(getAffinity(), true);
  const environment = readEnvironment(cpus);
  return {
    environment,
    library: libraryLocation().path,
    tls: tlsProbe(),
    modes,
    engines: clientEngines,
    limits: allowed,
    outlook: sizes.flatMap((clients) => modes.map((mode) => outlook(allowed, machine, mode, clients, ringsAvailable))),
    advice: advisoryLimits(allowed, serverDefaults.backlog),
    noise: isMeasurable ? await noiseOf(modes, cpus, environment) : null,
  };
}

/** The noise is the machine's, not the mode's. An event-driven mode that most systems have shows it best. */
async function noiseOf(
  modes: readonly ModeAvailability[],
  cpus: CpuSplit,
  environment: Environment,
): Promise<Diagnosis['noise']> {
  const mode = ['epoll', 'iocp', 'node'].flatMap(
    (name) => modes.find((one) => one.mode === name && one.available) ?? [],
  )[0];
  return mode === undefined ? null : { mode: mode.mode, floor: await measureNoise(mode, cpus, environment) };
}

function outlook(
  allowed: Limits,
  machine: Machine,
  mode: ModeAvailability,
  clients: number,
  ringsAvailable: boolean,
): Outlook {
  if (!mode.available) return { clients, mode: mode.mode, verdict: 'unavailable', problems: [] };
  const shape = {
    connections: clients,
    active: clients,
    mode: mode.mode,
    backend: mode.backend,
    engine: 'auto',
    host: loadedHost,
    stack_size_bytes: serverDefaults.stackSizeBytes,
    pool_threads: serverDefaults.poolThreads,
    trials: defaultTrials,
    close: 'reset',
  } as const;
  // When descriptors run out, a run uses the client engine that needs none.
  const need = [requirements(shape), ...(ringsAvailable ? [requirements({ ...shape, engine: 'io_uring' })] : [])];
  const refusals = need
    .map((one) => checkLimits(allowed, one, machine))
    .reduce((a, b) => (b.length < a.length ? b : a));
  const ends = need.slice(0, 1).flatMap((one) => modelLimits(allowed, one, machine));
  const verdict = refusals.length > 0 ? 'no' : ends.length > 0 ? 'partly' : 'yes';
  return { clients, mode: mode.mode, verdict, problems: [...refusals, ...ends] };
}

// --------------------------------------------------------------------------------------------------------------- for people

function render(diagnosis: Diagnosis): string {
  const sections = [
    ['Machine', machineLines(diagnosis)],
    ['Modes', diagnosis.modes.flatMap(modeLines)],
    ['Client engines', diagnosis.engines.flatMap((engine) => probeLines(engine.name, '', engine))],
    ['Clients at one time', outlookLines(diagnosis)],
    ['In the way', problemLines(diagnosis)],
    ['Noise', noiseLines(diagnosis)],
  ] as const;
  return sections
    .filter(([, lines]) => lines.length > 0)
    .map(([title, lines]) => [title, ...lines].join('\n'))
    .join('\n\n');
}

/** Width of a row's name, including its indent. */
const nameWidth = 3 + Math.max(...modeNames.map((name) => name.length));

/** A name and its text, wrapped. */
function row(name: string, text: string): string[] {
  return hanging(`  ${name}`.padEnd(nameWidth), text, terminal.width());
}

function paragraph(text: string): string[] {
  return hanging('  ', text, terminal.width());
}

/** What --count-instructions can count. */
function countersText(instructions: Environment['instructions']): string {
  const { scope, reason, hint } = instructions ?? { scope: null, reason: unknownText, hint: '' };
  if (scope === null) return `instructions and cycles cannot be counted: ${reason}${hint === '' ? '' : `; ${hint}`}`;
  return scope === 'user' ? 'instructions and cycles in user mode' : 'instructions and cycles';
}

function machineLines({ environment, library, limits: machine, tls }: Diagnosis): string[] {
  const { cpu_turbo, cpu_governor, clock_source, clock_resolution_ns, compatibility, virtual_machine } = environment;
  const usable = new Set([...environment.cpus_server, ...environment.cpus_client]).size;
  const split = environment.cpus_shared
    ? 'server and client share them'
    : `server ${environment.cpus_server.join(',')}, client ${environment.cpus_client.join(',')}`;
  const turbo = cpu_turbo === null ? unknownText : cpu_turbo ? 'on' : 'off';
  return [
    ...row('System', `${environment.system}${compatibility === null ? '' : `, under ${compatibility}`}`),
    ...(virtual_machine === null ? [] : row('Virtual', `guest (${virtual_machine}): other guests may take CPU time`)),
    ...row('CPUs', `${formatCount(environment.cpus_online)} online, ${formatCount(usable)} usable (${split})`),
    ...row('', environment.cpu_model),
    ...row('Governor', `${cpu_governor ?? unknownText}, turbo ${turbo}`),
    ...row('Clock', `${clock_source ?? unknownText}, measured resolution ${formatDuration(clock_resolution_ns)}`),
    ...row(
      'Memory',
      `${formatBytes(machine.memory_total_bytes)}, ${formatBytes(machine.memory_available_bytes)} available`,
    ),
    ...(machine.cgroup_memory_max_bytes === null
      ? []
      : row(
          '',
          `the control group may use ${formatBytes(machine.cgroup_memory_max_bytes)}, ` +
            `${formatBytes(machine.cgroup_memory_left_bytes)} left`,
        )),
    ...row('Node', environment.node_version),
    ...row('Counters', countersText(environment.instructions)),
    ...row('TLS', tls.available ? `by ${tls.features}` : `not available: ${tls.reason}`),
    ...row('Library', library),
  ];
}

function modeLines(mode: ModeAvailability): string[] {
  return probeLines(mode.mode, mode.backend === mode.mode ? '' : `, served by ${mode.backend}`, mode);
}

interface Availability {
  readonly available: boolean;
  readonly reason: string;
  readonly hint: string;
}

function probeLines(name: string, how: string, { available, reason, hint }: Availability): string[] {
  if (available) return row(name, `yes${how}`);
  return [...row(name, `no${how}: ${reason}`), ...(hint === '' ? [] : row('', hint))];
}

/** A row per mode, a column per number of clients. */
function outlookLines({ outlook: all, modes }: Diagnosis): string[] {
  const cellsOf = (name: string, cells: readonly string[]): string =>
    `  ${name}`.padEnd(nameWidth) +
    cells
      .map((cell) => cell.padEnd(10))
      .join('')
      .trimEnd();
  const heading = cellsOf('', sizes.map(formatCount));
  const rows = modes.map(({ mode }) => {
    const cells = sizes.map((size) => all.find((one) => one.mode === mode && one.clients === size)?.verdict ?? '');
    return cellsOf(
      mode,
      cells.map((cell) => (cell === 'unavailable' ? '-' : cell)),
    );
  });
  return [heading, ...rows];
}

/** Every limit once per number of clients, with the highest need of any mode. */
function problemLines({ outlook: all, advice }: Diagnosis): string[] {
  const worst = new Map<string, LimitProblem>();
  for (const { clients, problems } of all) {
    for (const problem of problems) {
      const key = `${clients} ${problem.limit}`;
      const known = worst.get(key);
      if (known === undefined || known.needed < problem.needed) worst.set(key, problem);
    }
  }
  // A limit that blocks every number of clients is listed once.
  const problems = [...new Map([...worst.values(), ...advice].map((problem) => [problem.message, problem])).values()];
  if (problems.length === 0)
    return paragraph(`nothing: every mode that runs here can serve ${plural(sizes.at(-1) ?? 0, 'client')}`);
  return problems.flatMap(({ message, command }) => [
    ...paragraph(message),
    // A command is never wrapped, so that it can be copied.
    ...(command === '' ? [] : [`    ${command}`]),
  ]);
}

function noiseLines({ noise }: Diagnosis): string[] {
  if (noise === null) return [];
  const of = (name: string): string =>
    formatPercent(noise.floor.find(({ metric }) => metric === name)?.fraction ?? null);
  return paragraph(
    `${noise.mode} against itself, five seconds: throughput within ${of('throughput')}, server CPU per request within ` +
      `${of('server_cpu_us_per_request')} (95% interval). To show smaller differences, use longer or more trials.`,
  );
}
