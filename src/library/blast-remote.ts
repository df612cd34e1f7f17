/** `blast --server-on / --clients-on`: makes the plan of a run on other machines, and the hosts that the conductor uses for it. */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { Agent } from '../agent/agent-host.js';
import { Broker } from '../agent/broker.js';
import { divideWithProbes } from '../agent/division.js';
import { canReach } from '../agent/networks.js';
import { findAgents, Fleet, type Member } from '../agent/fleet.js';
import { callRoll } from '../agent/roll-call.js';
import type { Facts, RemoteLoadTask } from '../agent/protocol.js';
import { RemoteLoad, type Part } from '../agent/remote-load.js';
import { startRemoteServer } from '../agent/remote-server.js';
import { checkLimits, requirements } from '../measure/limits.js';
import { BenchError } from '../model/errors.js';
import { serverOptionValues } from '../model/options.js';
import {
  connectionCounts,
  connectWindow,
  splitCpus,
  type BlastPlan,
  type ModeSpec,
  type Target,
} from '../model/plan.js';
import type { Environment, Machine } from '../model/report-schema.js';
import { hasToEcho, serverProtocolOf } from '../model/server-protocol.js';
import { nearest } from '../model/spelling.js';
import { grouped } from '../model/words.js';
import { findTarget } from '../run/target.js';
import { attachServer } from '../server/process.js';
import type { TrialHooks, TrialTask } from '../run/trial.js';
import type { BlastOptions } from './blast-options.js';
import { engineFor, makePlan, parseModeCommand, planModes } from './blast-plan.js';
import { joinBroker } from './join.js';

const hereName = 'here';

/** An agent that hosts load. */
interface LoadAgent {
  readonly facts: Facts;
  readonly label: string;
  readonly weight: number;
  readonly threads: number;
  readonly cpus: readonly number[] | null;
  readonly isProbe: boolean;
}

export interface RemoteRun {
  readonly plan: BlastPlan;
  readonly fallback: string | null;
  readonly environment: () => Environment;
  readonly machines: readonly Machine[];
  readonly hooks: Pick<TrialHooks, 'startServer' | 'makeLoad'>;
  /** Frees the agents. Never rejects. */
  readonly end: () => Promise<void>;
}

interface Named {
  readonly name: string;
  readonly weight: number | null;
  readonly isProbe?: boolean;
}

/** "a", "a:2,b:1". */
export function parseClientsOn(text: string): Named[] {
  const named = text.split(',').map((part): Named => {
    const [name = '', weight, ...rest] = part.trim().split(':');
    const value = weight === undefined ? null : Number(weight);
    if (name === '' || rest.length > 0 || (value !== null && !(value > 0 && value <= 1_000_000))) {
      throw new BenchError(
        'usage',
        `--clients-on "${text}" is not a list of agents`,
        'for example --clients-on a,b or, with weights, --clients-on a:2,b:1',
      );
    }
    return { name, weight: value };
  });
  const names = named.map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new BenchError('usage', `--clients-on names ${twice} twice`, 'name each agent once');
  const weighted = named.filter(({ weight }) => weight !== null).length;
  if (weighted > 0 && weighted < named.length) {
    throw new BenchError(
      'usage',
      '--clients-on gives some agents a weight and others none',
      'give all of them a weight, or none',
    );
  }
  return named;
}

/** Connects, finds the agents, checks that they can run the plan, and holds them. */
export async function prepareRemote(options: BlastOptions): Promise<RemoteRun> {
  const named = checkNames(options);
  const target = options.target === undefined ? null : await findTarget(options.target, options.timeoutMs);
  const id = randomBytes(4).toString('hex');
  const broker = await joinBroker(options, `conductor ${process.pid}`);
  const closers: (() => Promise<void>)[] = [() => broker.close()];
  const end = async (): Promise<void> => {
    for (const close of closers.splice(0).reverse()) await close().catch(() => undefined);
  };
  try {
    const names = [
      ...new Set([...(options.serverOn === undefined ? [] : [options.serverOn]), ...named.map(({ name }) => name)]),
    ];
    let own: Facts | null = null;
    if (names.includes(hereName)) own = await startHere(options, `here-${id}`, closers);
    const found = await resolveAgents(broker, options.group, names, own);
    const server = options.serverOn === undefined ? null : factsOf(found, options.serverOn);
    const run = plannedRun(options, target, server, named, found);
    const fleet = new Fleet(broker, options.group, `${hostname()} (process ${process.pid})`, run.agents);
    closers.push(() => fleet.release());
    await fleet.hold();
    return { ...run, hooks: hooksOf(fleet, run.plan, server, run.loads), end };
  } catch (error) {
    await end();
    throw error;
  }
}

function checkNames(options: BlastOptions): Named[] {
  const { serverOn, clientsOn, probeOn, modeCommand, target } = options;
  if (serverOn !== undefined && target !== undefined) {
    throw new BenchError(
      'usage',
      '--server-on cannot be used with --target',
      '--target loads a server that already runs',
    );
  }
  if (serverOn === undefined && target === undefined) {
    throw new BenchError(
      'usage',
      '--clients-on needs a server to load',
      'name the machine of the servers with --server-on, or a running server with --target',
    );
  }
  if (modeCommand.length > 0 && serverOn !== undefined && serverOn !== hereName) {
    throw new BenchError(
      'usage',
      '--mode-command cannot be sent to another machine',
      `start that agent with --mode-command, and name it here: --modes ${modeCommand[0]?.split('=')[0] ?? 'mine'}`,
    );
  }
  const named = parseClientsOn(clientsOn ?? hereName);
  if (probeOn === undefined) return named;
  if (named.some(({ name }) => name === probeOn)) {
    throw new BenchError(
      'usage',
      `--probe-on ${probeOn} is also in --clients-on`,
      'a probe must not carry load: name another agent',
    );
  }
  return [...named, { name: probeOn, weight: null, isProbe: true }];
}

/** This machine as an agent of the run, with a connection of its own; nobody else can use it. */
async function startHere(options: BlastOptions, name: string, closers: (() => Promise<void>)[]): Promise<Facts> {
  const broker = await joinBroker(options, name);
  closers.push(() => broker.close());
  const agent = new Agent(broker, {
    name,
    group: options.group,
    address: options.host,
    isAddressGiven: false,
    allowTargets: [
      { address: '0.0.0.0', bits: 0 },
      { address: '::', bits: 0 },
    ],
    commands: options.modeCommand.map(parseModeCommand).map(({ mode, command }) => ({ mode, command: command ?? '' })),
    maxClients: null,
    isPrivate: true,
  });
  closers.push(() => agent.leave());
  await broker.flush();
  return agent.facts();
}

type Found = ReadonlyMap<string, Facts>;

function factsOf(found: Found, name: string): Facts {
  const facts = found.get(name);
  if (facts === undefined) throw new Error(`agent ${name} was not resolved`);
  return facts;
}

/** @throws BenchError 'unavailable' that names the agent that does not answer, and those that do */
async function resolveAgents(
  broker: Broker,
  group: string,
  names: readonly string[],
  own: Facts | null,
): Promise<Found> {
  const away = names.filter((name) => name !== hereName);
  const { found, others } = await callRoll(away, (durationMs) => findAgents(broker, group, durationMs));
  const missing = away.find((name) => !found.has(name));
  if (missing === undefined) return own === null ? found : new Map([...found, [hereName, own]]);
  const present = [...found.keys()].filter((name) => name !== hereName);
  const meant = nearest(missing, present);
  const list =
    present.length === 0 ? `no agent is in group ${group}` : `the agents of group ${group} are ${present.join(', ')}`;
  const other = others[0] === undefined ? '' : `; ${others[0]}`;
  throw new BenchError(
    'unavailable',
    `agent ${missing} does not answer`,
    `${meant === null ? '' : `did you mean ${meant}? `}${list}${other}; start one with: iocp-bench agent --nats URL --name ${missing}`,
  );
}

interface PlannedRun extends Pick<RemoteRun, 'plan' | 'fallback' | 'environment' | 'machines'> {
  readonly agents: readonly { readonly facts: Facts; readonly label: string }[];
  readonly loads: readonly LoadAgent[];
}

function plannedRun(
  options: BlastOptions,
  target: Target | null,
  server: Facts | null,
  named: readonly Named[],
  found: Found,
): PlannedRun {
  const offered = server === null ? null : { probes: server.modes, commands: server.commands };
  const { specs, fallback } = planModes(options, offered);
  const loads = loadAgents(options, server, named, found);
  refuseUnreachable(server, loads);
  for (const { facts, label } of loads) requireEngineOn(options.engine, facts, label);
  const threads = loads.reduce((sum, load) => sum + load.threads, 0);
  // The limits and engines of this machine do not matter: it hosts neither server nor load, or does so as an agent.
  // Requests and certificates name the server's machine.
  const host = target?.host ?? server?.address ?? options.host;
  const local = makePlan({ ...options, host, engine: 'auto', threads: 1, pin: false }, specs, target);
  const smallest = Math.min(...options.clients);
  if (threads > smallest) {
    throw new BenchError(
      'usage',
      `${threads} client threads on ${loads.length} agents cannot share ${smallest} clients`,
      'use fewer --threads per agent, fewer agents, or more --clients',
    );
  }
  const plan: BlastPlan = Object.freeze({
    ...local,
    threads,
    engine: options.engine,
    host,
    cpus: { server: server?.cpus ?? [], client: [], shared: false, pinned: false },
    spinUs: 0,
    ephemeralPorts: null,
  });
  for (const clients of plan.clients) checkAgents(plan, clients, server, loads);
  const machines = machinesOf(options.serverOn ?? null, server, loads);
  const first = server ?? loads[0]?.facts;
  if (first === undefined) throw new Error('a run has at least one agent');
  const environment: Environment = {
    ...first.environment,
    cpus_server: server === null ? [] : [...serverCpus(server, loads)],
    cpus_client: [],
    cpus_shared: server !== null && serverShares(server, loads),
  };
  const agents = new Map(loads.map(({ facts, label }) => [facts.name, { facts, label }]));
  if (server !== null && !agents.has(server.name)) {
    agents.set(server.name, { facts: server, label: options.serverOn ?? server.name });
  }
  return { plan, fallback, environment: () => environment, machines, agents: [...agents.values()], loads };
}

/** Threads and CPUs of each agent's load. A machine that also hosts the server is split; several agents on one machine share it. */
function loadAgents(options: BlastOptions, server: Facts | null, named: readonly Named[], found: Found): LoadAgent[] {
  return named.map(({ name, weight, isProbe = false }) => {
    const facts = factsOf(found, name);
    const neighbours = named.filter((other) => factsOf(found, other.name).machine === facts.machine).length;
    const withServer = server?.machine === facts.machine;
    const own = withServer ? splitCpus(facts.cpus, true).client : facts.cpus;
    const threads = isProbe ? 1 : (options.threads ?? Math.max(1, Math.floor(own.length / neighbours)));
    const pinned = options.pin && neighbours === 1 && (!withServer || facts.cpus.length > 1);
    return { facts, label: name, weight: weight ?? threads, threads, cpus: pinned ? own : null, isProbe };
  });
}

function serverShares(server: Facts, loads: readonly LoadAgent[]): boolean {
  return loads.some(({ facts }) => facts.machine === server.machine) && server.cpus.length < 2;
}

/** All CPUs of its agent, unless load runs on the same machine. */
function serverCpus(server: Facts, loads: readonly LoadAgent[]): readonly number[] {
  const isAlone = !loads.some(({ facts }) => facts.machine === server.machine);
  return isAlone ? server.cpus : splitCpus(server.cpus, true).server;
}

function refuseUnreachable(server: Facts | null, loads: readonly LoadAgent[]): void {
  const other = server === null ? undefined : loads.find(({ facts }) => !canReach(server, facts));
  if (server === null || other === undefined) return;
  const { name, address } = server;
  throw new BenchError(
    'unavailable',
    `agent ${other.label} cannot reach servers on ${address} of agent ${name}`,
    `start agent ${name} with --address and an address that the other machines can reach. If both are on one machine (Wine), start ` +
      `${name} with --address ${address} and ${other.label} with --allow-target ${address}`,
  );
}

function requireEngineOn(engine: string, facts: Facts, label: string): void {
  if (engine === 'auto' || facts.engines.includes(engine)) return;
  throw new BenchError(
    'unavailable',
    `the client engine ${engine} cannot run on agent ${label}`,
    `engines that run there: ${['auto', ...facts.engines].join(', ')}`,
  );
}

/** The engine of each agent: one for all sizes of the run, as on one machine. */
function enginesOf(plan: BlastPlan, loads: readonly LoadAgent[]): string[] {
  const { total } = connectionCounts(plan, Math.max(...plan.clients));
  const most = divideWithProbes(total, loads);
  return loads.map(({ facts: { platform, limits, engines } }, index) =>
    platform === 'linux' ? engineFor(plan.engine, most[index] ?? 0, limits.descriptors_soft, engines) : plan.engine,
  );
}

/** @throws BenchError 'unavailable' that names the agent whose limit is too low */
function checkAgents(plan: BlastPlan, clients: number, server: Facts | null, loads: readonly LoadAgent[]): void {
  const { total, active } = connectionCounts(plan, clients);
  const shares = divideWithProbes(total, loads);
  const engines = enginesOf(plan, loads);
  const shape = {
    mode: plan.modes[0]?.mode ?? '',
    host: plan.host,
    stack_size_bytes: plan.stackSizeBytes,
    pool_threads: plan.poolThreads,
    trials: plan.trials * plan.modes.length,
    close: plan.close,
  };
  loads.forEach(({ facts, label, threads }, index) => {
    const connections = shares[index] ?? 0;
    if (connections < threads) {
      throw new BenchError(
        'usage',
        `agent ${label} would get ${connections} of ${grouped(clients)} clients for ${threads} threads`,
        'use more --clients, or fewer agents or --threads',
      );
    }
    if (facts.max_clients !== null && connections > facts.max_clients) {
      throw new BenchError(
        'unavailable',
        `agent ${label} makes at most ${grouped(facts.max_clients)} connections, not ${grouped(connections)}`,
        'give it a smaller weight in --clients-on, or start it with a higher --max-clients',
      );
    }
    const need = {
      ...shape,
      connections,
      active: Math.min(active, connections),
      backend: 'external',
      engine: engines[index] ?? plan.engine,
    };
    refuseLimit(facts, label, need);
  });
  if (server === null) return;
  for (const { mode, backend } of plan.modes) {
    refuseLimit(server, server.name, { ...shape, mode, backend, engine: 'io_uring', connections: total, active });
  }
}

function refuseLimit(facts: Facts, label: string, shape: Parameters<typeof requirements>[0]): void {
  const machine = {
    platform: facts.platform === 'other' ? 'linux' : facts.platform,
    root: facts.root,
    wsl: false,
    loopback: null,
  } as const;
  const [problem] = checkLimits(facts.limits, requirements(shape), machine);
  if (problem === undefined) return;
  throw new BenchError('unavailable', `agent ${label}: ${problem.message}`, problem.command);
}

function machinesOf(serverLabel: string | null, server: Facts | null, loads: readonly LoadAgent[]): Machine[] {
  const machines = loads.map(({ facts, label, weight, isProbe }): Machine => ({
    name: label,
    roles: [...(facts.name === server?.name ? (['server'] as const) : []), isProbe ? 'probe' : 'load'],
    weight: isProbe ? null : weight,
    environment: facts.environment,
  }));
  if (server === null || loads.some(({ facts }) => facts.name === server.name)) return machines;
  const own: Machine = {
    name: serverLabel ?? server.name,
    roles: ['server'],
    weight: null,
    environment: server.environment,
  };
  return [own, ...machines];
}

function hooksOf(
  fleet: Fleet,
  plan: BlastPlan,
  server: Facts | null,
  loads: readonly LoadAgent[],
): Pick<TrialHooks, 'startServer' | 'makeLoad'> {
  return {
    startServer: async (task) => {
      const { spec, clients } = task;
      await fleet.ready();
      if (server === null) {
        if (plan.target === null) throw new Error('a run without a server has a target');
        return attachServer(plan.target.host, plan.target.port);
      }
      const cpus = serverCpus(server, loads);
      const isSplit = cpus.length < server.cpus.length;
      return await startRemoteServer(fleet, fleet.member(server.name), {
        mode: modeOn(spec),
        isCommand: spec.backend === 'command',
        connectionsExpected: connectionCounts(plan, clients).total,
        messageSizeBytes: plan.messageSizeBytes,
        protocol: serverProtocolOf(plan.protocol),
        echoes: hasToEcho(plan),
        cpus: isSplit ? [...cpus] : null,
        controlCpus: isSplit ? splitCpus(server.cpus, true).client.slice() : null,
        ...serverOptionValues(plan, task),
      });
    },
    makeLoad: (task) => new RemoteLoad(fleet, partsOf(fleet, plan, task, server, loads), besideServer(server, loads)),
  };
}

/** The mode, or the command's name, on the server's machine: a mode that runs against itself has a second name here. */
function modeOn({ mode, serverMode }: ModeSpec): string {
  return serverMode ?? mode.replace(/-again$/, '');
}

function besideServer(server: Facts | null, loads: readonly LoadAgent[]): ReadonlySet<string> {
  return new Set(loads.flatMap(({ facts }) => (facts.machine === server?.machine ? [facts.name] : [])));
}

function partsOf(
  fleet: Fleet,
  plan: BlastPlan,
  task: TrialTask,
  server: Facts | null,
  loads: readonly LoadAgent[],
): Part[] {
  const { total, active } = connectionCounts(plan, task.clients);
  const connections = divideWithProbes(total, loads);
  const actives = divideWithProbes(active, loads);
  const windows = divideWithProbes(connectWindow(plan.backlog), loads);
  const engines = enginesOf(plan, loads);
  let next = 0;
  return loads.map((load, index) => {
    const own = connections[index] ?? 0;
    const firstConnection = next;
    next += own;
    const member: Member = fleet.member(load.facts.name);
    const share: Omit<RemoteLoadTask, 'server' | 'share'> = {
      serverAgent: server?.name ?? null,
      connections: own,
      active: Math.min(own, actives[index] ?? 0),
      connectWindow: Math.max(1, windows[index] ?? 1),
      // Agents on one machine take turns on the source addresses, too.
      sequence: task.sequence * loads.length + index,
      arrivals: plan.arrivals,
      countInstructions: plan.countInstructions,
      // All modes of a trial meet the same arrivals; each agent has others.
      arrivalsStream: (1 + task.index) * loads.length + index,
      engine: engines[index] ?? plan.engine,
      threads: load.threads,
      // Connections of two agents have the same numbers there; another seed makes an echo to the wrong agent visible.
      seed: plan.seed + index,
      messageSizeBytes: plan.messageSizeBytes,
      pipeline: plan.pipeline,
      timeoutMs: plan.timeoutMs,
      durationMs: plan.durationMs,
      thinkTimeMs: plan.thinkTimeMs,
      requestsPerConnection: plan.requestsPerConnection,
      close: plan.close,
      connectRatePerSecond: plan.connectRatePerSecond === null ? null : (plan.connectRatePerSecond * own) / total,
      exchange: plan.exchange ?? null,
      tls: plan.tls ?? null,
      pinned: load.cpus !== null,
      cpus: load.cpus === null ? null : [...load.cpus],
    };
    return { member, task: share, isProbe: load.isProbe, firstConnection };
  });
}
