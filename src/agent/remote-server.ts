/** A server on an agent, with the interface of a local one. */
import { BenchError } from '../model/errors.js';
import type { SystemSample } from '../model/figures.js';
import type {
  ServerExit,
  ServerIdentity,
  ServerLimits,
  ServerMoment,
  ServerProcess,
  ServerStop,
} from '../server/process.js';
import { HostFault } from '../run/load.js';
import type { Fleet, Member } from './fleet.js';
import type { Answer, RemoteServerStart } from './protocol.js';

/** The agent's own deadline for a start is shorter, so that its reason arrives. */
const startDeadlineMs = 75_000;
const sampleDeadlineMs = 10_000;
const stopGraceMs = 4_000;

/** @throws HostFault if the agent is lost, BenchError with the agent's reason if the server does not start */
export async function startRemoteServer(
  fleet: Fleet,
  member: Member,
  options: RemoteServerStart,
): Promise<ServerProcess> {
  const started = await fleet.ask(member, { type: 'server-start', options }, startDeadlineMs);
  return new RemoteServer(fleet, member, started);
}

class RemoteServer implements ServerProcess {
  readonly pid: number | null;
  readonly host: string;
  readonly port: number;
  readonly backend: string;
  readonly exited: Promise<ServerExit>;
  private ended: (exit: ServerExit) => void = () => undefined;
  private lastIdentity: ServerIdentity | null = null;
  private lastLimits: ServerLimits | null = null;
  private stopping: Promise<ServerStop> | null = null;
  private onEnd: (reason: string) => void = () => undefined;
  private readonly forget: () => void;

  constructor(
    private readonly fleet: Fleet,
    private readonly member: Member,
    started: Answer<'server-start'>,
  ) {
    this.pid = started.pid;
    this.host = started.host;
    this.port = started.port;
    this.backend = started.backend;
    this.exited = new Promise((resolve) => {
      this.ended = resolve;
    });
    this.forget = fleet.onBeat(({ facts, beat }) => {
      if (facts.name !== member.facts.name || typeof beat?.server_ended !== 'string' || this.stopping !== null) return;
      this.onEnd(beat.server_ended);
      this.ended({ code: null, signal: null });
    });
  }

  async sample(withMemory = true): Promise<ServerMoment> {
    const sample = await this.fleet.ask(this.member, { type: 'server-sample', memory: withMemory }, sampleDeadlineMs);
    this.lastIdentity = sample.identity;
    this.lastLimits = sample.limits;
    return this.momentOf(sample);
  }

  /** Moments are on the conductor's clock. */
  private momentOf({ usage, stats, system }: Answer<'server-sample'>): ServerMoment {
    const taken_at_ns = usage.taken_at_ns - Number(this.member.clock.offsetNs);
    return { usage: { ...usage, taken_at_ns }, stats, system };
  }

  async system(): Promise<SystemSample> {
    return (await this.fleet.ask(this.member, { type: 'server-system' }, sampleDeadlineMs)).system;
  }

  limits(): ServerLimits | null {
    return this.lastLimits;
  }

  identity(): ServerIdentity | null {
    return this.lastIdentity;
  }

  stop(deadlineMs: number): Promise<ServerStop> {
    this.stopping ??= this.stopOnce(deadlineMs);
    return this.stopping;
  }

  private async stopOnce(deadlineMs: number): Promise<ServerStop> {
    this.forget();
    if (this.fleet.fault() !== null && this.fleet.isLost(this.member)) return { sample: null, deadline_missed: true };
    try {
      const request = { type: 'server-stop', deadline_ms: deadlineMs } as const;
      const { sample, deadline_missed, left } = await this.fleet.ask(this.member, request, deadlineMs + stopGraceMs);
      return {
        sample: sample === null ? null : this.momentOf(sample),
        deadline_missed,
        ...(left !== undefined && { left }),
      };
    } catch (error) {
      // The agent is gone, or has stopped the server by itself.
      if (error instanceof HostFault || error instanceof BenchError) return { sample: null, deadline_missed: true };
      throw error;
    }
  }

  kill(): void {
    void this.stop(0);
  }

  onExit(listener: (reason: string) => void): void {
    this.onEnd = listener;
  }
}
