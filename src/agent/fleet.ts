/**
 * The agents of one run, as the conductor sees them: it holds them, measures their clocks, hears their heartbeats, and finds out
 * which one is lost. Load is never handed from one agent to another.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { randomBytes } from 'node:crypto';
import { BenchError, exitCodes, type ErrorCode } from '../model/errors.js';
import { clockNowNs } from '../native/binding.js';
import { HostFault } from '../run/load.js';
import { NoAnswer, type Broker } from './broker.js';
import { bestOffset, ownClock, type ClockOffset } from './clocks.js';
import { inLanes } from './lanes.js';
import { ListeningClock } from './listening.js';
import { clockId } from './networks.js';
import {
  beatSchema,
  decodeMessage,
  encodeMessage,
  failureSchema,
  leaseLost,
  speaks,
  subjects,
  successSchema,
  type Answer,
  type AnswerType,
  type Beat,
  type Facts,
  type RequestBody,
} from './protocol.js';

/** An agent without a heartbeat for this long is lost, by the ListeningClock. */
export const lostAfterMs = 3_000;
/** The run ends if the broker stays away for this long: the agents are then free. */
const brokerLostAfterMs = 5_000;
const beatEveryMs = 500;
const listenEveryMs = 100;
const tryEveryMs = 100;
/** One attempt of a request. It is sent again until its deadline, and carried out once. */
const attemptMs = 2_000;
/** How long an agent may take to answer when it is taken, and a lost one to come back before the next trial. */
const takeWithinMs = 6_000;
const clockRounds = 8;
const clocksAtOnce = 4;
const clockDeadlineMs = 10_000;
const shortestStartLeadMs = 600;
const longestStartLeadMs = 5_000;

export interface Member {
  readonly facts: Facts;
  /** As the user names it: 'here', or the agent's name. */
  readonly label: string;
  clock: ClockOffset;
  beat: Beat | null;
  /** When it was last heard, by the fleet's ListeningClock. */
  beatAt: number;
}

/** The sender of an answer to a question to all. What it refuses, it refuses by its name. */
const anyAgent = 'an agent';

/** The agents of a group that answer within the time, by name. */
export async function findAgents(broker: Broker, group: string, durationMs: number): Promise<FoundAgents> {
  const question = encodeMessage({ speaks, id: randomId(), run: null, body: { type: 'facts' } });
  const facts: Facts[] = [];
  const others: string[] = [];
  for (const bytes of await broker.requestMany(subjects.roll(group), question, durationMs)) {
    try {
      facts.push(readAnswer('facts', bytes, anyAgent));
    } catch (error) {
      others.push(error instanceof Error ? error.message : String(error));
    }
  }
  return { facts: facts.sort((a, b) => a.name.localeCompare(b.name)), others };
}

export interface FoundAgents {
  readonly facts: Facts[];
  /** Why the others cannot be used: agents of another version. */
  readonly others: string[];
}

/** The agent was started again, or heard nothing of its conductor for too long. */
class LeaseLost extends Error {}

function randomId(): string {
  return randomBytes(9).toString('hex');
}

/**
 * @throws BenchError as the agent sent it, or 'fault' if the answer is not valid
 */
function readAnswer<Type extends AnswerType>(type: Type, bytes: Uint8Array, sender: string): Answer<Type> {
  const failed = failureSchema.safeParse(tryJson(bytes));
  if (failed.success) {
    const { code, message, hint } = failed.data.error;
    if (code === leaseLost) throw new LeaseLost();
    const isNamed = message.includes(sender) || sender === anyAgent;
    throw new BenchError(errorCodeOf(code), isNamed ? message : `${sender}: ${message}`, hint);
  }
  return decodeMessage(successSchema(type), bytes, sender).answer as Answer<Type>;
}

function tryJson(bytes: Uint8Array): unknown {
  // Failures are short, so they are never compressed.
  if (bytes[0] !== 0x7b) return null;
  try {
    return JSON.parse(Buffer.from(bytes).toString()) as unknown;
  } catch {
    return null;
  }
}

function errorCodeOf(text: string): ErrorCode {
  return Object.hasOwn(exitCodes, text) && text !== 'done' ? (text as ErrorCode) : 'fault';
}

/** One request to an agent by name, without a lease. */
export async function askFacts(broker: Broker, group: string, name: string): Promise<Facts> {
  const question = encodeMessage({ speaks, id: randomId(), run: null, body: { type: 'facts' } });
  const bytes = await broker.request(subjects.peer(group, name), question, attemptMs);
  return readAnswer('facts', bytes, `agent ${name}`);
}

/** The clock of an agent: the best of several round trips. */
export async function measureClock(broker: Broker, group: string, name: string): Promise<ClockOffset> {
  let best: ClockOffset | null = null;
  for (let round = 0; round < clockRounds; round++) {
    const question = encodeMessage({ speaks, id: randomId(), run: null, body: { type: 'clock' } });
    const before = clockNowNs();
    const bytes = await broker.request(subjects.agent(group, name), question, attemptMs);
    const after = clockNowNs();
    const { now_ns } = readAnswer('clock', bytes, `agent ${name}`);
    const roundTripNs = after - before;
    const uncertaintyNs = (roundTripNs + 1n) / 2n;
    if (best === null || uncertaintyNs < best.uncertaintyNs) {
      best = { offsetNs: now_ns - (before + after) / 2n, uncertaintyNs, roundTripNs };
    }
  }
  if (best === null) throw new Error('a clock is measured in at least one round');
  return best;
}

export class Fleet {
  readonly run = randomId();
  private readonly members = new Map<string, Member>();
  private readonly beatTimer: NodeJS.Timeout;
  private readonly listenTimer: NodeJS.Timeout;
  private readonly subscription: { unsubscribe(): void };
  private readonly listeners = new Set<(member: Member) => void>();
  private leadMs = shortestStartLeadMs;
  private readonly own = ownClock(clockId());

  constructor(
    private readonly broker: Broker,
    private readonly group: string,
    /** Shown to others who find the agents held. */
    private readonly conductor: string,
    agents: readonly { readonly facts: Facts; readonly label: string }[],
    /** Tests replace it. */
    private readonly listening = new ListeningClock(),
  ) {
    for (const { facts, label } of agents) {
      const clock = { offsetNs: 0n, uncertaintyNs: 0n, roundTripNs: 0n };
      this.members.set(facts.name, { facts, label, clock, beat: null, beatAt: this.listening.elapsedMs });
    }
    this.subscription = broker.subscribe(subjects.beats(group, this.run), (bytes) => {
      this.hear(bytes);
    });
    // Nobody was heard while there was no connection.
    broker.onChange(() => {
      if (broker.lostForMs() === null) for (const member of this.all()) member.beatAt = this.listening.elapsedMs;
    });
    this.listenTimer = setInterval(() => {
      this.listening.tick();
    }, listenEveryMs);
    this.beatTimer = setInterval(() => {
      this.broker.publish(subjects.conductor(this.group, this.run), encodeMessage({ speaks, conductor: true }));
    }, beatEveryMs);
  }

  /** Time for the two phases of a start, besides the round trips. The load of the warm-up goes on meanwhile. */
  get startLeadMs(): number {
    return this.leadMs;
  }

  /** An agent was too slow to confirm a start: its machine is busier than its idle round trips show. */
  allowSlowerStart(): void {
    this.leadMs = Math.min(longestStartLeadMs, this.leadMs * 2);
  }

  member(name: string): Member {
    const found = this.members.get(name);
    if (found === undefined) throw new Error(`agent ${name} is not part of this run`);
    return found;
  }

  all(): Member[] {
    return [...this.members.values()];
  }

  /** Calls back after every heartbeat. @returns takes the listener back */
  onBeat(listener: (member: Member) => void): () => void {
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
    };
  }

  /**
   * Takes all agents for this run.
   * @throws BenchError 'unavailable' that names the agent and who holds it, or that it does not answer
   */
  async hold(): Promise<void> {
    try {
      for (const member of this.all()) await this.take(member);
      await this.measureClocks();
    } catch (error) {
      throw error instanceof HostFault
        ? new BenchError('unavailable', error.reason, 'is it still running, and is its machine less busy later?', error)
        : error;
    }
  }

  /** Before a trial: all agents are there and held, and their clocks are measured again. */
  async ready(): Promise<void> {
    await Promise.all(this.all().map((member) => this.take(member)));
    await this.measureClocks();
  }

  private async take(member: Member): Promise<void> {
    const deadline = performance.now() + takeWithinMs;
    for (;;) {
      try {
        await this.attempt(member, { type: 'hold', conductor: this.conductor }, randomId(), 1_000);
        member.beatAt = this.listening.elapsedMs;
        return;
      } catch (error) {
        this.checkBroker();
        if (performance.now() > deadline) {
          if (error instanceof NoAnswer) throw goneFault(member);
          throw error;
        }
        if (!(error instanceof NoAnswer) && !isStopping(error)) throw error;
        await pause(tryEveryMs);
      }
    }
  }

  /** The clock of one agent, now. One that is this process's own, as found before the trial, needs no further measurement. */
  async clockOf(member: Member): Promise<ClockOffset> {
    return this.isOwnClock(member) ? member.clock : await this.measureClockOf(member);
  }

  private isOwnClock({ facts, clock }: Member): boolean {
    return this.own.clock !== null && facts.clock === this.own.clock && clock.uncertaintyNs === 0n;
  }

  private async measureClockOf(member: Member): Promise<ClockOffset> {
    const deadline = performance.now() + clockDeadlineMs;
    for (;;) {
      try {
        return await measureClock(this.broker, this.group, member.facts.name);
      } catch (error) {
        if (!(error instanceof NoAnswer)) throw error;
        this.checkBroker();
        // One that sends heartbeats was too busy for an answer.
        if (error.isAbsent || this.isLost(member)) throw goneFault(member);
        if (performance.now() > deadline) throw lateFault(member, clockDeadlineMs);
        await pause(tryEveryMs);
      }
    }
  }

  /** One after the other, so that they do not delay each other; a few at a time, so that a hundred agents take no longer than ten. */
  async measureClocks(): Promise<void> {
    const readings: { member: Member; clock: string | null; measured: ClockOffset }[] = [];
    await inLanes(this.all(), clocksAtOnce, async (member) => {
      readings.push({ member, clock: member.facts.clock, measured: await this.measureClockOf(member) });
    });
    for (const reading of readings) reading.member.clock = bestOffset(reading, [this.own, ...readings]);
  }

  /**
   * Sends a request, again if no answer comes, until the deadline; the agent carries it out once.
   * @throws HostFault if the agent is lost, BenchError with the agent's own error or if the broker is gone
   */
  async ask<Type extends AnswerType>(
    member: Member,
    body: Extract<RequestBody, { type: Type }>,
    deadlineMs: number,
  ): Promise<Answer<Type>> {
    const id = randomId();
    const deadline = performance.now() + deadlineMs;
    let absentSince: number | null = null;
    for (;;) {
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) throw lateFault(member, deadlineMs);
      try {
        return await this.attempt(member, body, id, Math.min(leftMs, attemptMs));
      } catch (error) {
        if (error instanceof LeaseLost) throw leftFault(member);
        if (!(error instanceof NoAnswer)) throw error;
        this.checkBroker();
        absentSince = error.isAbsent ? (absentSince ?? performance.now()) : null;
        const isGone = absentSince !== null && performance.now() - absentSince > lostAfterMs;
        if (isGone || this.isLost(member)) throw goneFault(member);
        await pause(tryEveryMs);
      }
    }
  }

  private async attempt<Type extends AnswerType>(
    member: Member,
    body: Extract<RequestBody, { type: Type }>,
    id: string,
    deadlineMs: number,
  ): Promise<Answer<Type>> {
    const question = encodeMessage({ speaks, id, run: this.run, body });
    const bytes = await this.broker.request(subjects.agent(this.group, member.facts.name), question, deadlineMs);
    return readAnswer<Type>(body.type, bytes, `agent ${member.label}`);
  }

  /** Why the run or its trial cannot continue; null if it can. */
  fault(): HostFault | BenchError | null {
    try {
      this.checkBroker();
    } catch (error) {
      if (error instanceof BenchError) return error;
      throw error;
    }
    const lost = this.all().find((member) => this.isLost(member));
    return lost === undefined ? null : goneFault(lost);
  }

  isLost(member: Member): boolean {
    if (this.broker.lostForMs() !== null) return false;
    return this.listening.elapsedMs - member.beatAt > lostAfterMs;
  }

  /** @throws BenchError 'runFailed' if the broker is gone for good */
  private checkBroker(): void {
    const { failure, where } = this.broker;
    const lostForMs = this.broker.lostForMs() ?? 0;
    if (failure === null && lostForMs <= brokerLostAfterMs) return;
    throw new BenchError(
      'runFailed',
      failure === null
        ? `the broker ${where} has been gone for ${brokerLostAfterMs / 1000} s`
        : `the broker ${where} ended the connection: ${failure.message}`,
      'what was measured before is in the report; the agents stop by themselves',
    );
  }

  /** Ends the run on all agents: nothing of it is left there. Never rejects. */
  async release(): Promise<void> {
    clearInterval(this.beatTimer);
    await Promise.all(
      this.all().map(async (member) => {
        if (this.isLost(member)) return;
        // An agent that cannot be reached stops by itself.
        await this.ask(member, { type: 'release' }, lostAfterMs).catch(() => undefined);
      }),
    );
    clearInterval(this.listenTimer);
    this.subscription.unsubscribe();
  }

  private hear(bytes: Uint8Array): void {
    let beat: Beat;
    try {
      beat = decodeMessage(beatSchema, bytes, 'an agent');
    } catch {
      return;
    }
    const member = this.members.get(beat.name);
    if (member === undefined || beat.speaks !== speaks) return;
    member.beat = beat;
    member.beatAt = this.listening.elapsedMs;
    for (const listener of this.listeners) listener(member);
  }
}

function goneFault({ label }: Member): HostFault {
  return new HostFault(label, `agent ${label} is lost: no heartbeat for ${lostAfterMs / 1000} s`);
}

function lateFault({ label }: Member, deadlineMs: number): HostFault {
  return new HostFault(label, `agent ${label} did not answer within ${deadlineMs / 1000} s`);
}

function leftFault({ label }: Member): HostFault {
  const why = 'it was started again, or heard nothing of its conductor for 5 s';
  return new HostFault(label, `agent ${label} left the run: ${why}`);
}

/** The agent still stops what it hosted before. */
function isStopping(error: unknown): boolean {
  return error instanceof BenchError && error.message.includes('is still stopping');
}
