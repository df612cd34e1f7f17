/** Ranges of addresses that an agent may load (`--allow-target`), and what tells two agents on one machine from two machines. */
import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { BlockList, isIPv4, isIPv6 } from 'node:net';
import { hostname } from 'node:os';
import { BenchError } from '../model/errors.js';
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

/** The same for all processes of one running system. */
export function machineId(): string {
  return digest(readText('/proc/sys/kernel/random/boot_id') ?? hostname());
}

/** The same for all processes that share a loopback interface. On Linux, network namespaces of one machine do not. */
export function networkId(): string {
  return digest(`${machineId()} ${isLinux ? (readLink('/proc/self/ns/net') ?? '') : ''}`);
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
