/**
 * The plan of a blast: everything that is decided before the first socket is opened, frozen. src/library/blast-plan.ts makes it,
 * and checks that the options fit each other; src/model/parse.ts has already checked the single values.
 */
import type { Exchange } from './exchange.js';
import type { PlannedOptions } from './options.js';
import type { TlsPlan, TlsSettings } from './tls.js';
import { isLoopback, type HostPort, type ModeName, type OfferedRate } from './parse.js';
import type { Point } from './point.js';

/** The ports that the system gives to sockets that connect, both ends included. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** A server that a run compares: its name, and what really serves it. */
export interface ModeSpec {
  /** The name that the user gave, as in tables, reports and gates. */
  readonly mode: string;
  /** What serves it: a native backend, `node`, `command` or `external`. */
  readonly backend: string;
  /** The mode that `serve` is started with; null for a command or a target. Differs from `mode` when a mode runs against itself. */
  readonly serverMode: ModeName | null;
  /** Command line of a --mode-command; otherwise null. */
  readonly command: string | null;
}

/** How the CPUs are divided between the two sides. */
export interface CpuSplit {
  readonly server: readonly number[];
  readonly client: readonly number[];
  /** Both sides run on the same CPUs. */
  readonly shared: boolean;
  /** Engines are bound to one CPU each, and servers confined to theirs. */
  readonly pinned: boolean;
}

/** Result of the first connection to an address of a name. */
export type AddressOutcome = 'answered' | 'refused' | 'unreachable' | 'timeout' | 'only';

export interface TriedAddress {
  readonly address: string;
  /** `only`: it was not tried, because the name has no other address. */
  readonly outcome: AddressOutcome;
}

/** A server that is already running, with the one address that is loaded. */
export interface Target extends HostPort {
  /** As the user named it: "localhost:7000". */
  readonly asked: string;
  /** Every address of the name, in the order in which they were tried; empty if the user gave an address. */
  readonly tried: readonly TriedAddress[];
}

/** A number of clients that a mode cannot run with, and the limit that prevents it. The limit is the result of the mode there. */
export interface OutOfReach {
  readonly mode: string;
  readonly clients: number;
  /** "descriptors of a process", its value, how much the run needs, and the command that raises it. */
  readonly limit: string;
  readonly value: number;
  readonly needed: number;
  readonly command: string;
  /** The highest number of clients that the mode can run with here. */
  readonly most: number;
}

/** What clients send and which replies are right, with the same in words for the report. */
export type PlannedExchange = Exchange & {
  readonly words: {
    /** "GET /path"; the bytes of a message. */
    readonly request: string;
    /** What a right reply has: "status 200 to 399", "is "+PONG\\r\\n"". */
    readonly reply: string;
    /** The same for the same requests and expected replies. */
    readonly fingerprint: string;
  };
  readonly requestBytes: number;
};

/** How clients speak TLS, with the same for the report. */
export type PlannedTls = TlsSettings & { readonly words: TlsPlan };

/** The planned values of the options, and what is derived from them and from this machine. */
export interface BlastPlan extends PlannedOptions {
  readonly modes: readonly ModeSpec[];
  /** Absent or null: the echo protocol. */
  readonly exchange?: PlannedExchange | null;
  /** Absent or null: without TLS. */
  readonly tls?: PlannedTls | null;
  /** Set when one running server is loaded (--target). */
  readonly target: Target | null;
  readonly cpus: CpuSplit;
  /** Load curve: the rates that every trial offers in turn, ascending; empty for a single rate. */
  readonly rates: readonly OfferedRate[];
  /** Single rate that is to be found: its share of the slower mode's capacity; null: the default one, or less where the client needs it. */
  readonly rateFraction: number | null;
  /** In a sweep: the modes that cannot run with a number of clients that other modes can run with. */
  readonly outOfReach: readonly OutOfReach[];
  /** Open loop: how long, at the end of a wait for a due message, the client polls instead of sleeping; 0: it only sleeps. */
  readonly spinUs: number;
  /** Ports that the system gives to connections, inclusive; null if they cannot be read. */
  readonly ephemeralPorts: PortRange | null;
}

/** Offered rate of the latency phase as a share of the slower mode's capacity. */
export const calibrationFraction = 0.7;

/**
 * A sleeping thread wakes 20 to 60 us late if its CPU has to be woken, above all in a virtual machine. A fast server answers in
 * that time. So the client polls during the last part of each wait, but only where that slows down nobody else: each of its threads
 * needs a CPU that the server does not use. (Not under Wine, where each poll is a request to the one process that serves all
 * others.)
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

/** The points of a sweep in the order in which they run: all works of a wait, all waits of a number of clients. */
export function sweepPoints({
  clients,
  worksUs,
  waitsMs,
}: Pick<BlastPlan, 'clients' | 'worksUs' | 'waitsMs'>): Point[] {
  // Without work and wait, reports are as they were before both.
  const given = (values: readonly number[]): boolean => values.some((value) => value > 0);
  return clients.flatMap((count) =>
    waitsMs.flatMap((wait) =>
      worksUs.map((work) => ({
        clients: count,
        ...(given(worksUs) ? { work_us: work } : {}),
        ...(given(waitsMs) ? { wait_ms: wait } : {}),
      })),
    ),
  );
}

/** The number of connections of one run that send, and of all of them. */
export function connectionCounts(plan: BlastPlan, clients: number): { total: number; active: number } {
  const active = plan.activeFraction === null ? clients : Math.max(1, Math.round(clients * plan.activeFraction));
  return { total: clients + plan.idle, active };
}

/** How many connections may wait for their first echo while connecting: min(256, backlog / 4), so that no queue overflows. */
export function connectWindow(backlog: number): number {
  return Math.max(1, Math.min(256, Math.floor(backlog / 4)));
}

/**
 * CPUs of each side: one each on two CPUs, otherwise one third for the server and two thirds for the client. Both do the same
 * socket work, but the client also verifies and times. They share a single CPU.
 */
export function splitCpus(available: readonly number[], pin: boolean): CpuSplit {
  if (!pin || available.length < 2) return { server: available, client: available, shared: true, pinned: false };
  const servers = available.length === 2 ? 1 : Math.max(1, Math.round(available.length / 3));
  return { server: available.slice(0, servers), client: available.slice(servers), shared: false, pinned: true };
}
