/**
 * The plan of a blast: everything decided before the first socket is opened, frozen. The second stage of option checking
 * (single values are checked by src/model/parse.ts) happens in src/commands/blast.ts, which makes one.
 */
import type { PlannedOptions } from './options.js';
import { isLoopback, type HostPort, type ModeName } from './parse.js';

/** The ports that the system gives to sockets that connect, both ends included. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** A server that a run compares: how it is called, and what really serves it. */
export interface ModeSpec {
  /** What the user asked for, and its name in tables, reports and gates. */
  readonly mode: string;
  /** What serves it: a native backend, `node`, `command` or `external`. */
  readonly backend: string;
  /** The mode that `serve` is asked for; null for a command or a target. Differs from `mode` where a mode runs against itself. */
  readonly serverMode: ModeName | null;
  /** Command line of a --mode-command; null else. */
  readonly command: string | null;
}

/** How the CPUs are shared out. */
export interface CpuSplit {
  readonly server: readonly number[];
  readonly client: readonly number[];
  /** Both sides run on the same CPUs. */
  readonly shared: boolean;
  /** Engines are bound to one CPU each, and servers confined to theirs. */
  readonly pinned: boolean;
}

/** What an address of a name did when it was connected to. */
export type AddressOutcome = 'answered' | 'refused' | 'unreachable' | 'timeout' | 'only';

export interface TriedAddress {
  readonly address: string;
  /** `only`: it was not connected to, since there is no other. */
  readonly outcome: AddressOutcome;
}

/** A server that already runs, with the one address that is loaded. */
export interface Target extends HostPort {
  /** As the user named it: "localhost:7000". */
  readonly asked: string;
  /** Every address of the name, in the order in which they were tried; empty where an address was given. */
  readonly tried: readonly TriedAddress[];
}

/** A number of clients that a mode cannot be run at, and the limit that is in the way: the result of that mode there. */
export interface OutOfReach {
  readonly mode: string;
  readonly clients: number;
  /** "descriptors of a process", its value, what the run needs of it, and what raises it. */
  readonly limit: string;
  readonly value: number;
  readonly needed: number;
  readonly command: string;
  /** The most clients with which the mode can be run here. */
  readonly most: number;
}

/** The planned values of the options, and what follows from them and from this machine. */
export interface BlastPlan extends PlannedOptions {
  readonly modes: readonly ModeSpec[];
  /** Set when one server that already runs is loaded. */
  readonly target: Target | null;
  readonly cpus: CpuSplit;
  /** Of a sweep: what a mode cannot run at a number of clients, where other modes can. */
  readonly outOfReach: readonly OutOfReach[];
  /** Open loop: the end of a wait for a due message that is polled and not slept; 0: all is slept. */
  readonly spinUs: number;
  /** Ports that the system gives to connections, inclusive; null where it does not tell. */
  readonly ephemeralPorts: PortRange | null;
}

/** Offered rate of the latency phase as a share of the slower mode's capacity. */
export const calibrationFraction = 0.7;

/**
 * A sleeping thread is 20 to 60 us late where its CPU has to be woken, in a virtual machine above all: as much as a fast server takes to
 * answer. So the client looks for the last part of each wait instead, where that costs nobody else: with a CPU for each of its threads,
 * of which the server has none. (Not under Wine, where each look is a request to the process that serves all.)
 */
export function spinMicroseconds(use: {
  cpus: CpuSplit;
  threads: number;
  target: { host: string } | null;
  compatibility: string | null;
}): number {
  const { cpus, threads, target, compatibility } = use;
  const apart = target === null ? cpus.pinned : !isLoopback(target.host);
  return apart && threads <= cpus.client.length && !compatibility ? 100 : 0;
}

/** Connections of one run that send, and all of them. */
export function connectionCounts(plan: BlastPlan, clients: number): { total: number; active: number } {
  const active = plan.activeFraction === null ? clients : Math.max(1, Math.round(clients * plan.activeFraction));
  return { total: clients + plan.idle, active };
}

/** How many connections may wait for their first echo while connecting: at most min(256, backlog / 4), so that no queue overflows. */
export function connectWindow(backlog: number): number {
  return Math.max(1, Math.min(256, Math.floor(backlog / 4)));
}

/**
 * CPUs of each side: 1:1 on two CPUs, otherwise one third to the server and two thirds to the client, since both do the same
 * socket work and the client verifies and times besides On one CPU they share it.
 */
export function splitCpus(available: readonly number[], pin: boolean): CpuSplit {
  if (!pin || available.length < 2) return { server: available, client: available, shared: true, pinned: false };
  const servers = available.length === 2 ? 1 : Math.max(1, Math.round(available.length / 3));
  return { server: available.slice(0, servers), client: available.slice(servers), shared: false, pinned: true };
}
