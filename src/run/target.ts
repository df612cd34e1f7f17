/** Finds the address of a target given by name. The name is looked up once, before the run, so that all trials load the same server. */
import { lookup } from 'node:dns/promises';
import { connect } from 'node:net';
import { BenchError } from '../model/errors.js';
import { hostPortText, isLinkLocal, isNumericAddress, type HostPort } from '../model/parse.js';
import type { AddressOutcome, Target } from '../model/plan.js';

/** How long an address may take to accept. Connections to addresses that drop packets would wait for minutes. */
const longestProbeMs = 2_000;
/** A name may have hundreds of addresses, but only one is loaded. */
const mostAddresses = 16;

export interface TargetHooks {
  /** Addresses of a name, in the order of the system's preference. */
  readonly addressesOf: (name: string) => Promise<readonly string[]>;
  readonly probe: (address: string, port: number, timeoutMs: number) => Promise<AddressOutcome>;
}

/**
 * The first address of the target that accepts a connection; if none does, the first address, so that the run reports why.
 * @param timeoutMs the user's longest wait for a connection
 * @throws BenchError 'usage' if the name has no address, 'unavailable' if it cannot be looked up
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
  // A single address needs no probe, and a server that serves a single connection must not waste it on one.
  if (others.length === 0) return { host: first, port, asked, tried: [{ address: first, outcome: 'only' }] };
  const limit = Math.min(longestProbeMs, timeoutMs);
  const tried = await Promise.all(
    addresses.map(async (address) => ({ address, outcome: await hooks.probe(address, port, limit) })),
  );
  const chosen = tried.find(({ outcome }) => outcome === 'answered') ?? tried[0];
  return { host: chosen?.address ?? first, port, asked, tried };
}

/** A note about the chosen address for the user; null if there was no choice. */
export function choiceInWords({ asked, host, tried }: Target): string | null {
  if (tried.length < 2) return null;
  const others = tried.filter(({ address }) => address !== host);
  const answering = others.filter(({ outcome }) => outcome === 'answered').map(({ address }) => address);
  const outcomes = tried.map(({ address, outcome }) => `${address} ${outcomeInWords[outcome]}`);
  if (!tried.some(({ outcome }) => outcome === 'answered')) {
    return `no address of ${asked} answers (${outcomes.join(', ')}); trying ${host}`;
  }
  if (answering.length > 0) {
    return `several addresses of ${asked} answer; all load goes to the first, ${host}, none to ${answering.join(', ')}`;
  }
  const failed = others.map(({ address, outcome }) => `${address} ${outcomeInWords[outcome]}`);
  return `${asked} is loaded at ${host} (${failed.join(', ')})`;
}

const outcomeInWords: Readonly<Record<AddressOutcome, string>> = {
  answered: 'answered',
  refused: 'refused',
  unreachable: 'cannot be reached',
  timeout: 'did not answer',
  only: 'is the only address',
};

/** RFC 6761, section 6.3: localhost and names under it are the loopback addresses, whatever a resolver says. */
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
    `--target: ${name} has only link-local addresses, and the name does not say on which interface`,
    `give the address and the interface: [${address}%eth0]:7000`,
  );
}

function nothingFound(name: string, code: string, cause?: unknown): BenchError {
  if (code === 'ENOTFOUND' || code === 'ENODATA') {
    const hint = 'is it spelled correctly? if this machine does not know the name, give a numeric address';
    return new BenchError('usage', `--target: the name ${name} has no address`, hint, cause);
  }
  const reason = code === 'EAI_AGAIN' ? 'the name server does not answer' : code;
  return new BenchError(
    'unavailable',
    `--target: the name ${name} cannot be looked up: ${reason}`,
    'give a numeric address, or add the name to the hosts file',
    cause,
  );
}

/** Connects once and closes immediately. */
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
      // If nothing listens on a port of the ephemeral range, the system may give it to the probe, which then connects to itself.
      const isSelf = socket.localPort === port && socket.localAddress === socket.remoteAddress;
      end(isSelf ? 'refused' : 'answered');
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      end(error.code === 'ECONNREFUSED' ? 'refused' : error.code === 'ETIMEDOUT' ? 'timeout' : 'unreachable');
    });
  });
}
