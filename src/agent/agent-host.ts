/**
 * An agent: hosts a server, load, or both for one conductor at a time, with the hosts that local runs use. It acts only on messages
 * that fit the schema and the version, runs no command line that came over the wire, and stops everything if it hears nothing of its
 * conductor for 5 s.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { BenchError } from '../model/errors.js';
import { splitCpus, spinMicroseconds } from '../model/plan.js';
import { hostPortText, type ModeName } from '../model/parse.js';
import { ephemeralPorts } from '../measure/sources.js';
import { clockNowNs, engines, getAffinity, limits, processUsage, systemSample } from '../native/binding.js';
import { platform } from '../platform.js';
import { readEnvironment } from '../run/environment.js';
import { LocalLoad } from '../run/load.js';
import { startCommandServer } from '../server/command.js';
import { probeModes } from '../server/modes.js';
import { spawnServer, type ServerMoment, type ServerProcess } from '../server/process.js';
import { NoAnswer, type Broker } from './broker.js';
import { ListeningClock } from './listening.js';
import { loadBeat, loadFigures } from './load-messages.js';
import { beatEveryMs, lookEveryMs, nextLookMs } from './looks.js';
import { clockId, isWithin, machineId, networkId, type AddressRange } from './networks.js';
import {
  conductorBeatSchema,
  decodeMessage,
  encodeMessage,
  leaseLost,
  requestSchema,
  servesSchema,
  speaks,
  subjects,
  type AnswerInput,
  type AnswerType,
  type Facts,
  type ReceivedRequest,
  type RemoteLoadTask,
  type RemoteServerStart,
  type Request,
} from './protocol.js';

export interface AgentOptions {
  readonly name: string;
  readonly group: string;
  /** The address that its servers listen on. */
  readonly address: string;
  /** The address was chosen by whoever started the agent. */
  readonly isAddressGiven: boolean;
  /** Targets that it may load besides the servers of agents of its group. */
  readonly allowTargets: readonly AddressRange[];
  /** Commands that it may run as servers, by their names. */
  readonly commands: readonly { readonly mode: string; readonly command: string }[];
  readonly maxClients: number | null;
  /** Part of a conductor's own process: answers its conductor, and is not listed. */
  readonly isPrivate: boolean;
}

export type AgentEvent =
  | { readonly event: 'held'; readonly by: string }
  | { readonly event: 'free'; readonly reason: 'released' | 'conductor_silent' }
  | { readonly event: 'server'; readonly mode: string; readonly address: string }
  | { readonly event: 'load'; readonly connections: number; readonly target: string }
  | { readonly event: 'refused'; readonly reason: string };

/** Without a message of its conductor for this long, by the ListeningClock, an agent stops everything and is free. */
export const silenceMs = 5_000;
/** While engines start. */
const startLookEveryMs = 5;
/** How long another agent may take to say whether it hosts a server. */
const servesDeadlineMs = 10_000;
/** How long a server may take to stop when nobody waits for its figures. */
const orphanStopMs = 500;
/** Answers that are kept for repeated requests. */
const answersKept = 64;
/** How much earlier than a window's start the command for it must arrive: engines look for commands every 20 ms. */
const leastLeadNs = 40_000_000n;

/** Requests of the conductor that holds the agent. */
type HeldRequest = Exclude<ReceivedRequest, { type: 'facts' | 'clock' | 'serves' | 'hold' }>;

interface Lease {
  readonly run: string;
  readonly conductor: string;
  /** When the conductor was last heard, by the agent's ListeningClock. */
  heardAt: number;
}

interface Load {
  readonly local: LocalLoad;
  readonly task: RemoteLoadTask;
  /** Sequences of the conductor, by those of the control block. */
  readonly sequences: Map<number, number>;
  armed: { sequence: number; start: () => void } | null;
  completed: number;
  /** The end of the window that is measured or about to begin, in ns of this clock; null: the last command was another one. */
  windowEndNs: bigint | null;
}

export class Agent {
  private lease: Lease | null = null;
  private server: ServerProcess | null = null;
  private serverEnded: string | null = null;
  private load: Load | null = null;
  private ending: Promise<void> | null = null;
  private lastBeatAt = 0;
  private lastDone = -1;
  /** Changes with every request to prepare or stop a load: one that is still being prepared is then not started. */
  private loadTurn = 0;
  private hasLeft = false;
  private readonly listening = new ListeningClock();
  private readonly answers = new Map<string, Promise<Uint8Array>>();
  private timer: NodeJS.Timeout | undefined;
  private readonly subscriptions: { unsubscribe(): void }[] = [];
  private runSubscription: { unsubscribe(): void } | null = null;
  private readonly machine = machineId();
  private readonly network = networkId();
  private readonly clock = clockId();

  constructor(
    private readonly broker: Broker,
    private readonly options: AgentOptions,
    private readonly onEvent: (event: AgentEvent) => void = () => undefined,
  ) {
    const { group, name, isPrivate } = options;
    const listen = (subject: string, from: 'conductor' | 'peer'): void => {
      const receive = (bytes: Uint8Array, _: string, answer: (reply: Uint8Array) => void): void => {
        void this.receive(bytes, from).then(answer);
      };
      this.subscriptions.push(broker.subscribe(subject, receive));
    };
    listen(subjects.agent(group, name), 'conductor');
    listen(subjects.peer(group, name), 'peer');
    if (!isPrivate) listen(subjects.roll(group), 'peer');
    this.lookLater();
  }

  facts(): Facts {
    const cpus = getAffinity();
    const { name, group, address, isAddressGiven, allowTargets, commands, maxClients, isPrivate } = this.options;
    return {
      speaks,
      name,
      group,
      machine: this.machine,
      network: this.network,
      clock: this.clock,
      pid: process.pid,
      platform: platform === 'linux' || platform === 'win32' ? platform : 'other',
      root: process.getuid?.() === 0,
      address,
      address_given: isAddressGiven,
      // A conductor may load every target from its own machine, which says nothing about where its loopback interface leads.
      allow_targets: isPrivate ? [] : [...allowTargets],
      cpus,
      modes: probeModes(),
      engines: engines().flatMap((engine) => (engine.available ? [engine.name] : [])),
      commands: [...commands],
      max_clients: maxClients,
      limits: limits(),
      environment: readEnvironment(splitCpus(cpus, false)),
      held_by: this.lease?.conductor ?? null,
    };
  }

  /** Who holds the agent, what it hosts: for a status line. */
  status(): { heldBy: string | null; server: string | null; connections: number } {
    const { server, load } = this;
    return {
      heldBy: this.lease?.conductor ?? null,
      server: server === null ? null : hostPortText(server.host, server.port),
      connections: load?.local.control.live().connections_live ?? 0,
    };
  }

  /** Stops everything that it hosts, and leaves. */
  async leave(): Promise<void> {
    this.hasLeft = true;
    clearTimeout(this.timer);
    for (const subscription of this.subscriptions) subscription.unsubscribe();
    await this.free(null);
  }

  // -------------------------------------------------------------------------------------------------------------- requests

  private async receive(bytes: Uint8Array, from: 'conductor' | 'peer'): Promise<Uint8Array> {
    let request: Request;
    try {
      request = this.read(bytes);
      if (from === 'peer' && request.body.type !== 'facts' && request.body.type !== 'serves') {
        throw new BenchError('unavailable', `${request.body.type} is only accepted from a conductor`);
      }
    } catch (error) {
      this.onEvent({ event: 'refused', reason: error instanceof Error ? error.message : String(error) });
      return encodeMessage(failureOf(error));
    }
    const known = this.answers.get(request.id);
    if (known !== undefined) return known;
    const answer = this.answer(request);
    this.answers.set(request.id, answer);
    if (this.answers.size > answersKept) this.answers.delete([...this.answers.keys()][0] ?? '');
    return answer;
  }

  private read(bytes: Uint8Array): Request {
    const request = decodeMessage(requestSchema, bytes, 'a conductor');
    if (request.speaks !== speaks) {
      throw new BenchError(
        'unavailable',
        `agent ${this.options.name} is version ${speaks}, and the message is of version ${request.speaks}`,
        'install the same version of iocp-bench on every machine',
      );
    }
    return request;
  }

  private async answer(request: Request): Promise<Uint8Array> {
    try {
      const answer = await this.carryOut(request);
      const sent = encodeMessage({ speaks, answer });
      if (sent.length > this.broker.longestBytes) {
        throw new BenchError('runFailed', `an answer of ${sent.length} bytes is longer than the broker takes`);
      }
      return sent;
    } catch (error) {
      return encodeMessage(failureOf(error));
    }
  }

  private async carryOut({ body, run }: Request): Promise<AnswerInput<AnswerType>> {
    if (body.type === 'facts') return this.facts();
    if (body.type === 'clock') return { now_ns: String(clockNowNs()) };
    if (body.type === 'serves') return { serves: this.serves(body) };
    if (body.type === 'hold') return this.hold(run, body.conductor);
    this.requireLease(run);
    return await this.carryOutHeld(body);
  }

  private async carryOutHeld(body: HeldRequest): Promise<AnswerInput<AnswerType>> {
    switch (body.type) {
      case 'release':
        await this.free('released');
        return {};
      case 'server-start':
        return await this.startServer(body.options);
      case 'server-sample':
        return await this.sampleServer(body.memory);
      case 'server-system':
        return { system: systemSample() };
      case 'server-stop':
        return await this.stopServer(body.deadline_ms);
      case 'load-prepare':
        await this.prepareLoad(body.task);
        return {};
      case 'load-command': {
        const { sequence, phase, rate_per_second: ratePerSecond, connections_total: connectionsTotal } = body;
        this.command(sequence, { phase, ratePerSecond, connectionsTotal });
        return {};
      }
      case 'load-arm':
        this.arm(body);
        return {};
      case 'load-go':
        this.go(body.sequence);
        return {};
      case 'load-sample': {
        const { cpu_total_ns, resident_bytes } = processUsage(0);
        const { requests_completed } = this.requireLoad().local.control.live();
        const { tcp_retransmits } = systemSample();
        return { cpu_total_ns, resident_bytes, completed: requests_completed, tcp_retransmits };
      }
      case 'load-figures':
        return loadFigures(this.requireLoad().local);
      case 'load-stop':
        return { results: await this.stopLoad() };
    }
  }

  // ----------------------------------------------------------------------------------------------------------------- lease

  private hold(run: string | null, conductor: string): Record<string, never> {
    if (run === null) throw new BenchError('fault', 'hold needs a run');
    if (this.lease !== null && this.lease.run !== run) {
      throw new BenchError(
        'unavailable',
        `agent ${this.options.name} is held by ${this.lease.conductor}`,
        'wait until that run has ended, or use another agent',
      );
    }
    if (this.ending !== null) {
      throw new BenchError('unavailable', `agent ${this.options.name} is still stopping its last run`, 'try again');
    }
    if (this.lease === null) {
      this.lease = { run, conductor, heardAt: this.listening.elapsedMs };
      const { group } = this.options;
      this.runSubscription = this.broker.subscribe(subjects.conductor(group, run), (bytes) => {
        this.hear(bytes);
      });
      this.onEvent({ event: 'held', by: conductor });
    }
    this.lease.heardAt = this.listening.elapsedMs;
    return {};
  }

  private hear(bytes: Uint8Array): void {
    try {
      if (decodeMessage(conductorBeatSchema, bytes, 'a conductor').speaks !== speaks) return;
    } catch {
      return;
    }
    if (this.lease !== null) this.lease.heardAt = this.listening.elapsedMs;
  }

  private requireLease(run: string | null): void {
    if (this.lease?.run !== run || this.ending !== null) {
      throw new NotHeld(`agent ${this.options.name} is not held by this run`);
    }
    this.lease.heardAt = this.listening.elapsedMs;
  }

  /** Stops load and server. @param reason null: the agent leaves */
  private free(reason: 'released' | 'conductor_silent' | null): Promise<void> {
    this.ending ??= this.freeOnce(reason).finally(() => {
      this.ending = null;
    });
    return this.ending;
  }

  private async freeOnce(reason: 'released' | 'conductor_silent' | null): Promise<void> {
    await Promise.all([this.stopLoad(), this.stopServer(orphanStopMs)]);
    this.runSubscription?.unsubscribe();
    this.runSubscription = null;
    if (this.lease !== null && reason !== null) this.onEvent({ event: 'free', reason });
    this.lease = null;
  }

  // ---------------------------------------------------------------------------------------------------------------- server

  private serves({ host, port }: { host: string; port: number }): boolean {
    return this.server !== null && this.server.host === host && this.server.port === port;
  }

  private async startServer(options: RemoteServerStart): Promise<AnswerInput<'server-start'>> {
    await this.stopServer(orphanStopMs);
    this.serverEnded = null;
    const server = await this.spawn(options);
    if (this.lease === null || this.ending !== null) {
      await server.stop(orphanStopMs);
      throw new BenchError('unavailable', 'the run ended while the server started');
    }
    this.server = server;
    server.onExit((reason) => {
      if (this.server === server) this.serverEnded = reason;
    });
    this.onEvent({ event: 'server', mode: options.mode, address: hostPortText(server.host, server.port) });
    return { host: server.host, port: server.port, backend: server.backend, pid: server.pid };
  }

  private async spawn(options: RemoteServerStart): Promise<ServerProcess> {
    const { mode, isCommand, cpus, echoes, ...rest } = options;
    const { address, commands, name } = this.options;
    if (isCommand) {
      const own = commands.find((command) => command.mode === mode);
      if (own === undefined) {
        throw new BenchError(
          'unavailable',
          `agent ${name} has no command named ${mode}`,
          `start it with --mode-command '${mode}=...'`,
        );
      }
      return await startCommandServer({ command: own.command, host: address, cpus, echoes });
    }
    const probe = probeModes().find((candidate) => candidate.mode === mode);
    if (probe?.available !== true) {
      throw new BenchError('unavailable', `mode ${mode} cannot run on agent ${name}: ${probe?.reason ?? 'unknown'}`);
    }
    return await spawnServer({ ...rest, mode: mode as ModeName, cpus, host: address, port: 0, addressCount: 1 });
  }

  private async sampleServer(withMemory: boolean): Promise<AnswerInput<'server-sample'>> {
    if (this.server === null) throw new BenchError('runFailed', 'the server has ended');
    const moment = await this.server.sample(withMemory);
    if (moment === null) throw new BenchError('runFailed', 'the server cannot be observed');
    return this.sampleOf(moment, withMemory ? (this.server.limits?.() ?? null) : null);
  }

  private sampleOf(
    moment: ServerMoment,
    own: ReturnType<NonNullable<ServerProcess['limits']>>,
  ): AnswerInput<'server-sample'> {
    return {
      usage: moment.usage,
      stats: moment.stats,
      system: systemSample(),
      identity: this.server?.identity?.() ?? null,
      limits: own,
    };
  }

  private async stopServer(deadlineMs: number): Promise<AnswerInput<'server-stop'>> {
    const { server } = this;
    if (server === null) return { sample: null, deadline_missed: false };
    const { sample, deadline_missed, left } = await server.stop(deadlineMs);
    const answer = {
      sample: sample === null ? null : this.sampleOf(sample, null),
      deadline_missed,
      ...(left !== undefined && { left }),
    };
    if (this.server === server) this.server = null;
    return answer;
  }

  // ------------------------------------------------------------------------------------------------------------------ load

  /** Resolves when all engines run or one has failed, so that the conductor knows when the CPUs are free for other agents. */
  private async prepareLoad(task: RemoteLoadTask): Promise<void> {
    this.loadTurn += 1;
    const turn = this.loadTurn;
    await this.endLoad();
    await this.checkTarget(task);
    if (turn !== this.loadTurn) throw new BenchError('unavailable', 'the trial ended while its load was prepared');
    const { maxClients, name } = this.options;
    if (maxClients !== null && task.connections > maxClients) {
      throw new BenchError(
        'unavailable',
        `agent ${name} makes at most ${maxClients} connections, not ${task.connections}`,
        'start it with a higher --max-clients, or give it a smaller share with --clients-on',
      );
    }
    const machine = limits();
    const { server, serverAgent, pinned, cpus, ...plain } = task;
    const own = cpus ?? getAffinity();
    const local = new LocalLoad({
      ...plain,
      cpus: pinned ? own : null,
      spinUs: spinMicroseconds({
        cpus: { server: [], client: own, shared: false, pinned },
        threads: task.threads,
        target: serverAgent === null ? server : null,
        compatibility: machine.compatibility,
      }),
      ephemeralPorts: ephemeralPorts(machine),
    });
    this.load = { local, task, sequences: new Map(), armed: null, completed: 0, windowEndNs: null };
    this.lastDone = -1;
    local.start(server);
    this.onEvent({ event: 'load', connections: task.connections, target: hostPortText(server.host, server.port) });
    while (!local.control.isRunning() && !local.hasEnded) await pause(startLookEveryMs);
    // The conductor only counts what is said after this answer.
    this.lastBeatAt = 0;
    this.lookLater();
  }

  /** Only a server that an agent of the group says it hosts, or a target that the agent was allowed to load. */
  private async checkTarget({ server, serverAgent }: RemoteLoadTask): Promise<void> {
    const { name, group, allowTargets } = this.options;
    const target = hostPortText(server.host, server.port);
    if (serverAgent === null) {
      if (isWithin(server.host, allowTargets)) return;
      this.onEvent({ event: 'refused', reason: `load on ${target}` });
      throw new BenchError(
        'unavailable',
        `agent ${name} may not load ${target}`,
        `start it with --allow-target ${server.host}`,
      );
    }
    if (serverAgent === name ? this.serves(server) : await this.isServedBy(serverAgent, server)) return;
    this.onEvent({ event: 'refused', reason: `load on ${target}, which ${serverAgent} does not serve` });
    throw new BenchError('unavailable', `agent ${serverAgent} of group ${group} has no server on ${target}`);
  }

  private async isServedBy(serverAgent: string, server: RemoteLoadTask['server']): Promise<boolean> {
    const body = { type: 'serves', ...server } as const;
    const id = `${this.options.name}-${clockNowNs()}`;
    const question = encodeMessage({ speaks, id, run: null, body });
    const deadline = performance.now() + servesDeadlineMs;
    for (;;) {
      try {
        const bytes = await this.broker.request(subjects.peer(this.options.group, serverAgent), question, 2_000);
        return decodeMessage(servesSchema, bytes, `agent ${serverAgent}`).answer.serves;
      } catch (error) {
        if (error instanceof BenchError) return false;
        if (!(error instanceof NoAnswer)) throw error;
        // A machine that is too busy for an answer is asked again.
        if (error.isAbsent || performance.now() > deadline) return false;
        await pause(startLookEveryMs);
      }
    }
  }

  private requireLoad(): Load {
    if (this.load === null) throw new BenchError('runFailed', `agent ${this.options.name} has no load`);
    return this.load;
  }

  private command(sequence: number, command: Parameters<LocalLoad['control']['command']>[0]): void {
    const load = this.requireLoad();
    load.armed = null;
    load.windowEndNs = command.windowEndNs ?? null;
    load.sequences.set(load.local.control.command(command), sequence);
    this.lookLater();
  }

  /** Remembers a window that begins at a time of this agent's clock. Without a 'go' it does not begin. */
  private arm(body: Extract<ReceivedRequest, { type: 'load-arm' }>): void {
    const load = this.requireLoad();
    const leftNs = body.start_ns - clockNowNs();
    if (leftNs < leastLeadNs) {
      throw new BenchError('runFailed', `agent ${this.options.name} received the start of a window too late`);
    }
    const { sequence, start_ns: windowStartNs, end_ns: windowEndNs } = body;
    const { rate_per_second: ratePerSecond, connections_total: connectionsTotal } = body;
    const start = (): void => {
      this.command(sequence, { phase: 'measure', ratePerSecond, connectionsTotal, windowStartNs, windowEndNs });
    };
    load.armed = { sequence, start };
  }

  private go(sequence: number): void {
    const { armed } = this.requireLoad();
    if (armed?.sequence !== sequence) throw new BenchError('runFailed', 'the agent is not armed for this window');
    armed.start();
  }

  private async stopLoad(): Promise<{ engine: string; features: string; memory_bytes: number }[]> {
    this.loadTurn += 1;
    return await this.endLoad();
  }

  private async endLoad(): Promise<{ engine: string; features: string; memory_bytes: number }[]> {
    const { load } = this;
    if (load === null) return [];
    load.local.control.stop();
    const results = await load.local.ended();
    if (this.load === load) this.load = null;
    return results.map(({ engine, features, memory_bytes }) => ({ engine, features, memory_bytes }));
  }

  // ----------------------------------------------------------------------------------------------------------------- beats

  private lookLater(): void {
    clearTimeout(this.timer);
    if (this.hasLeft) return;
    this.timer = setTimeout(
      () => {
        this.look();
        this.lookLater();
      },
      nextLookMs(this.load, clockNowNs()),
    );
  }

  /** The dead-man switch, and heartbeats. */
  private look(): void {
    this.listening.tick();
    const { lease } = this;
    if (lease === null || this.ending !== null) return;
    if (this.listening.elapsedMs - lease.heardAt > silenceMs) {
      void this.free('conductor_silent');
      return;
    }
    const now = performance.now();
    const done = this.doneSequence();
    const hasNews = done !== this.lastDone;
    // A timer may be a little early. A heartbeat that waits for the next look would come late.
    if (!hasNews && now - this.lastBeatAt < beatEveryMs - lookEveryMs) return;
    this.lastDone = done;
    this.lastBeatAt = now;
    const { group, name } = this.options;
    const beat = {
      speaks,
      name,
      server_ended: this.serverEnded,
      load: this.load === null ? null : loadBeat(this.load.local, done),
    };
    this.broker.publish(subjects.beat(group, lease.run, name), encodeMessage(beat));
  }

  /** The conductor's sequence of the last command that all engines have completed; 0: none yet. */
  private doneSequence(): number {
    const { load } = this;
    if (load === null) return 0;
    for (const [own, conductors] of load.sequences) {
      if (!load.local.control.isDone(own)) break;
      load.completed = conductors;
      load.sequences.delete(own);
    }
    return load.completed;
  }
}

/** The request needs a lease that the agent does not have. */
class NotHeld extends Error {}

function failureOf(error: unknown): { speaks: string; error: { code: string; message: string; hint: string } } {
  if (error instanceof BenchError) {
    const { code, message, hint } = error;
    return { speaks, error: { code, message, hint } };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { speaks, error: { code: error instanceof NotHeld ? leaseLost : 'fault', message, hint: '' } };
}
