/**
 * Finds the address of a target that is given by name. A name is looked up once, before the run: a load that moved from one address to
 * another between trials would be a load on several servers.
 */
import { lookup } from 'node:dns/promises';
import { connect } from 'node:net';
import { BenchError } from '../model/errors.js';
import { hostPortText, isLinkLocal, isNumericAddress, type HostPort } from '../model/parse.js';
import type { AddressOutcome, Target } from '../model/plan.js';

/** An address is given this long to accept: connections to addresses that drop packets would wait for minutes. */
const longestProbeMs = 2_000;
/** A name may have hundreds of addresses, of which one is loaded. */
const mostAddresses = 16;

export interface TargetHooks {
  /** Addresses of a name, in the order of the system's preference. */
  readonly addressesOf: (name: string) => Promise<readonly string[]>;
  readonly probe: (address: string, port: number, timeoutMs: number) => Promise<AddressOutcome>;
}

/**
 * The first address of the target that accepts a connection; the first of all where none does, so that the run reports why.
 * @param timeoutMs longest wait for a connection, as the user chose it
 * @throws BenchError 'usage' where the name has no address, 'unavailable' where it cannot be looked up
 */
export async function findTarget(
  { host, port }: HostPort,
  timeoutMs: number,
  hooks: TargetHooks = { addressesOf, probe },
): Promise<Target> {
  const asked = hostPortText(host, port);
  if (isNumericAddress(host)) return { host, port, asked, tried: [] };
  const addresses = [...new Set(await hooks.addressesOf(host))].slice(0, mostAddresses);
  const [first, ...others] = addresses;
  if (first === undefined) throw nothingFound(host, 'ENOTFOUND');
  // One address needs no choice, and a server that serves a single connection must not spend it on a probe.
  if (others.length === 0) return { host: first, port, asked, tried: [{ address: first, outcome: 'only' }] };
  const limit = Math.min(longestProbeMs, timeoutMs);
  const tried = await Promise.all(
    addresses.map(async (address) => ({ address, outcome: await hooks.probe(address, port, limit) })),
  );
  const chosen = tried.find(({ outcome }) => outcome === 'answered') ?? tried[0];
  return { host: chosen?.address ?? first, port, asked, tried };
}

/** What the user should know about the choice of the address; null where there was none. */
export function choiceInWords({ asked, host, tried }: Target): string | null {
  if (tried.length < 2) return null;
  const others = tried.filter(({ address }) => address !== host);
  const answering = others.filter(({ outcome }) => outcome === 'answered').map(({ address }) => address);
  const outcomes = tried.map(({ address, outcome }) => `${address} ${outcomeInWords[outcome]}`);
  if (!tried.some(({ outcome }) => outcome === 'answered')) {
    return `no address of ${asked} answers (${outcomes.join(', ')}); ${host} is tried`;
  }
  if (answering.length > 0) {
    return `several addresses of ${asked} answer; all load goes to the first, ${host} (not to ${answering.join(', ')})`;
  }
  const failed = others.map(({ address, outcome }) => `${address} ${outcomeInWords[outcome]}`);
  return `${asked} is loaded at ${host} (${failed.join(', ')})`;
}

const outcomeInWords: Readonly<Record<AddressOutcome, string>> = {
  answered: 'answered',
  refused: 'refused',
  unreachable: 'cannot be reached',
  timeout: 'did not answer',
  only: 'is the only one',
};

/** RFC 6761, section 6.3: names of localhost are the loopback addresses, whatever a resolver says. */
const loopbackAddresses = ['127.0.0.1', '::1'] as const;

async function addressesOf(name: string): Promise<readonly string[]> {
  if (/^(.+\.)?localhost\.?$/i.test(name)) return loopbackAddresses;
  try {
    const found = await lookup(name, { all: true });
    const usable = found
      .map(({ address }) => address)
      .filter((address) => !isLinkLocal(address) || address.includes('%'));
    if (usable.length === 0 && found.length > 0) throw onlyLinkLocal(name, found[0]?.address ?? '');
    return usable;
  } catch (error) {
    if (error instanceof BenchError) throw error;
    throw nothingFound(name, error instanceof Error && 'code' in error ? String(error.code) : '', error);
  }
}

function onlyLinkLocal(name: string, address: string): BenchError {
  return new BenchError(
    'usage',
    `--target: ${name} has link-local addresses only, and the name does not say on which interface`,
    `give the address and the interface: [${address}%eth0]:7000`,
  );
}

function nothingFound(name: string, code: string, cause?: unknown): BenchError {
  if (code === 'ENOTFOUND' || code === 'ENODATA') {
    const hint = 'is it spelled right? give a numeric address where the name is known elsewhere only';
    return new BenchError('usage', `--target: no address is known for the name ${name}`, hint, cause);
  }
  const reason = code === 'EAI_AGAIN' ? 'the name server does not answer' : code;
  return new BenchError(
    'unavailable',
    `--target: the name ${name} cannot be looked up: ${reason}`,
    'give a numeric address, or add the name to the hosts file',
    cause,
  );
}

/** Connects once and closes at once. */
function probe(address: string, port: number, timeoutMs: number): Promise<AddressOutcome> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port });
    const timer = setTimeout(() => {
      end('timeout');
    }, timeoutMs);
    const end = (outcome: AddressOutcome): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(outcome);
    };
    socket.once('connect', () => {
      // A port of the ephemeral range without a listener can be given to the probe itself, which then connects to itself.
      const isSelf = socket.localPort === port && socket.localAddress === socket.remoteAddress;
      end(isSelf ? 'refused' : 'answered');
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      end(error.code === 'ECONNREFUSED' ? 'refused' : error.code === 'ETIMEDOUT' ? 'timeout' : 'unreachable');
    });
  });
}
