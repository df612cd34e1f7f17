/** Ranges of addresses that an agent may load (`--allow-target`), and what tells two agents on one machine from two machines. */
import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { BlockList, isIPv4, isIPv6 } from 'node:net';
import { hostname } from 'node:os';
import { BenchError } from '../model/errors.js';
import { isLoopback } from '../model/parse.js';
import { isLinux } from '../platform.js';

export interface AddressRange {
  readonly address: string;
  readonly bits: number;
}

/** "10.0.0.0/8", "2001:db8::/32", or a single address. */
export function parseAddressRange(name: string): (text: string) => AddressRange {
  return (text) => {
    const [address = '', digits, ...rest] = text.trim().split('/');
    const most = isIPv4(address) ? 32 : 128;
    const bits = digits === undefined ? most : /^\d{1,3}$/.test(digits) ? Number(digits) : NaN;
    if (rest.length > 0 || (!isIPv4(address) && !isIPv6(address)) || !(bits >= 0 && bits <= most)) {
      throw new BenchError(
        'usage',
        `${name} "${text}" is not a range of addresses`,
        `for example ${name} 10.0.0.0/8, or one address: ${name} 10.0.0.7`,
      );
    }
    return { address, bits };
  };
}

/** @param address a numeric address; a scope ("%eth0") is ignored */
export function isWithin(address: string, ranges: readonly AddressRange[]): boolean {
  const plain = address.replace(/%.*$/s, '');
  const list = new BlockList();
  for (const range of ranges) list.addSubnet(range.address, range.bits, isIPv4(range.address) ? 'ipv4' : 'ipv6');
  if (isIPv4(plain)) return list.check(plain, 'ipv4');
  return isIPv6(plain) && list.check(plain, 'ipv6');
}

/** What decides whether an agent can load a server on another. */
export interface Reach {
  readonly network: string;
  readonly address: string;
  /** The address was chosen by whoever started the agent. */
  readonly address_given: boolean;
  readonly allow_targets: readonly AddressRange[];
}

/**
 * Whether the load of one agent can reach servers of another. A loopback address is only reached from the same network. Two systems can share
 * one unnoticed, as a Windows agent under Wine and Linux agents do. Then the owners of both say so: the server has this --address, and the
 * load has it in its --allow-target.
 */
export function canReach(server: Reach, load: Reach): boolean {
  if (!isLoopback(server.address) || load.network === server.network) return true;
  return server.address_given && isWithin(server.address, load.allow_targets);
}

/** Linux's identifier of the running system. Programs under Wine find it on their drive Z. */
const bootIdFiles = ['/proc/sys/kernel/random/boot_id', 'Z:\\proc\\sys\\kernel\\random\\boot_id'];

/** The same for all processes of one running system, whose CPUs they share. */
export function machineId(): string {
  const [bootId] = bootIdFiles.flatMap((path) => readText(path) ?? []);
  return digest(bootId ?? hostname());
}

/** The same for all processes that share a loopback interface. On Linux, network namespaces of one machine do not. */
export function networkId(): string {
  return digest(`${machineId()} ${isLinux ? (readLink('/proc/self/ns/net') ?? '') : ''}`);
}

/**
 * The same for all processes that read one monotonic clock; null if this is not known. On Linux, the clock is that of the system and of
 * the time namespace.
 */
export function clockId(): string | null {
  const bootId = isLinux ? readText('/proc/sys/kernel/random/boot_id') : null;
  // Without time namespaces (before Linux 5.6), the system has a single clock.
  return bootId === null ? null : digest(`clock ${bootId} ${readLink('/proc/self/ns/time') ?? ''}`);
}

/** The identifiers of a machine are only compared, so they are not sent as they are. */
function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return null;
  }
}

function readLink(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}
