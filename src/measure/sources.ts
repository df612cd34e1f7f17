/**
 * Where client sockets come from: addresses of 127.0.0.0/8 and, for very many connections, explicit ports.
 */

import type { Limits } from '../model/figures.js';
import type { PortRange } from '../model/plan.js';

export interface SourcePlan {
  /** First source address, host byte order; 0 with count 0. */
  readonly addressFirst: number;
  /** 0: the system chooses the address. */
  readonly addressCount: number;
  readonly portFirst: number;
  /** 0: the port is left to connect(). */
  readonly portCount: number;
}

/** Connections that one source address gets before the next is used. */
const connectionsPerAddressMax = 10_000;
/** The kernel's search for a free port slows down as the range fills up, and a port in TIME_WAIT is not free. */
const rangeShare = 0.4;
/** From here on ports are named outright: no search at all. */
const explicitPortsFrom = 20_000;
/** 127.0.0.2 to 127.0.234.97: enough that the turns of the trials do not meet again within a minute of TIME_WAIT. */
const addressesOfRun = 60_000;
const loopbackFirst = 0x7f00_0001;

/** True for 127.0.0.0/8, where every address is ours. */
export function isLoopbackIpv4(host: string): boolean {
  return /^127(\.\d{1,3}){3}$/.test(host);
}

/**
 * Ports that the system finds for the connections of each source address of 127.0.0.0/8; 0 where ports are named outright.
 * @param ports ephemeral range, inclusive; null where the system does not say
 */
export function systemPortsPerAddress(connections: number, ports: PortRange | null): number {
  return connections > explicitPortsFrom && ports !== null ? 0 : Math.min(connections, connectionsPerAddress(ports));
}

/** At least 1, however small the range: WSL's mirrored mode has 4,096 ports, and hosts of many containers a few hundred. */
function connectionsPerAddress(ports: PortRange | null): number {
  if (ports === null) return connectionsPerAddressMax;
  const share = Math.floor((ports.last - ports.first + 1) * rangeShare);
  return Math.min(connectionsPerAddressMax, Math.max(1, share));
}

/** The range as set; null where the system does not say. */
export function ephemeralPorts({ port_first, port_last }: Pick<Limits, 'port_first' | 'port_last'>): PortRange | null {
  return port_first === null || port_last === null ? null : { first: port_first, last: port_last };
}

/**
 * @param host numeric address of the target
 * @param connections of the trial
 * @param sequence number of the trial in the whole run: trials take turns on the addresses, so that one never waits for the
 *   TIME_WAIT of another
 * @param ports ephemeral range, inclusive; null where the system does not say
 * @param asOthers use 127.0.0.1 while it has enough ports: some servers serve no other address (Redis in its protected mode)
 */
export function planSources(
  host: string,
  connections: number,
  sequence: number,
  ports: PortRange | null,
  asOthers = false,
): SourcePlan {
  const none: SourcePlan = { addressFirst: 0, addressCount: 0, portFirst: 0, portCount: 0 };
  if (!isLoopbackIpv4(host) || (asOthers && connections <= connectionsPerAddress(ports))) return none;
  if (ports === null || connections <= explicitPortsFrom) {
    const addressCount = Math.max(1, Math.ceil(connections / connectionsPerAddress(ports)));
    return {
      ...none,
      // 127.0.0.1 is left to the server and to whatever else runs on this machine.
      addressFirst: loopbackFirst + 1 + ((sequence * addressCount) % addressesOfRun),
      addressCount,
    };
  }
  // The ports below the ephemeral range collide with no socket whose port the system chose.
  const portFirst = 10_000;
  const portCount = Math.max(1, ports.first - portFirst);
  const span =
    ports.first > portFirst + 5_000
      ? { portFirst, portCount }
      : { portFirst: ports.first, portCount: ports.last - ports.first + 1 };
  const addressCount = Math.ceil(connections / span.portCount);
  return {
    ...span,
    addressCount,
    // Another /16 per trial: room for 65,000 addresses, far from the addresses above.
    addressFirst: 0x7f01_0001 + (sequence % 100) * 0x1_0000,
  };
}
