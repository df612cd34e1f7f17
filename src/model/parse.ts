/**
 * Parsers of single values, used by every command: the first stage of option checking. Each takes what the user typed and returns
 * the value, or throws a BenchError 'usage'. Its message says what is wrong, and its hint what is expected. Whether values fit each
 * other is checked later, by the command that makes a plan of them.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { BenchError } from './errors.js';
import { nearest } from './spelling.js';
import { readNumber, unitFactor } from './units.js';
import { isWindows } from '../platform.js';

/**
 * The built-in modes, in the order of every list and table: first a thread or a process per connection, then readiness that each wait
 * asks for, then readiness that the kernel keeps track of, then completion.
 */
export const modeNames = [
  'blocking',
  'process',
  'pool',
  'select',
  'poll',
  'event_select',
  'epoll',
  'completion_routine',
  'iocp',
  'thread_pool_io',
  'io_uring',
  'node',
] as const;
export type ModeName = (typeof modeNames)[number];

/** Bounds of the options, in one place; the native library checks the same ones again. */
export const bounds = {
  clients: { min: 1, max: 4_000_000 },
  trials: { min: 1, max: 100 },
  /** A primary figure is known to 0.1% at best. */
  until: { min: 0.001, max: 0.5 },
  pipeline: { min: 1, max: 1024 },
  workers: { min: 1, max: 1024 },
  poolThreads: { min: 1, max: 16_384 },
  threads: { min: 1, max: 1024 },
  backlog: { min: 1, max: 65_535 },
  addresses: { min: 1, max: 256 },
  messageSizeBytes: { min: 1, max: 1 << 20 },
  bodySizeBytes: { min: 0, max: 1 << 20 },
  receiveBufferBytes: { min: 1 << 10, max: 1 << 20 },
  stackSizeBytes: { min: 16 << 10, max: 64 << 20 },
  ratePerSecond: { min: 0.001, max: 1e9 },
  durationMs: { min: 1, max: 24 * 3_600_000 },
  workUs: { min: 0, max: 10_000_000 },
  waitMs: { min: 0, max: 60_000 },
  seed: { min: 0, max: Number.MAX_SAFE_INTEGER },
} as const;

/** Defaults for servers. They are the same for every mode and command, so that the comparison is fair. */
export const serverDefaults = {
  backlog: 4_096,
  receiveBufferBytes: 16_384,
  stackSizeBytes: 65_536,
  poolThreads: 200,
} as const;

export interface Range {
  readonly min: number;
  readonly max: number;
}

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

function usage(message: string, hint: string): BenchError {
  return new BenchError('usage', message, hint);
}

/** A number with thousands separators: 4,000,000. */
function grouped(value: number): string {
  return value.toLocaleString('en-US', { maximumFractionDigits: 3 });
}

/** What the user typed, short enough for a message and without control characters. */
function quoted(text: string): string {
  const printable = text.replace(/\p{Cc}/gu, '?');
  return `"${printable.length > 40 ? `${printable.slice(0, 37)}...` : printable}"`;
}

/** True if the text is a plain decimal number. Number() alone would accept "", "0x10" and "Infinity". */
function isDecimal(text: string): boolean {
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text);
}

/**
 * A whole number: "6000", "6_000" or "1e6".
 * @param name what it counts, as shown in messages: "--clients"
 */
export function parseCount(name: string, range: Range): (text: string) => number {
  const expected = `${name} takes a whole number from ${grouped(range.min)} to ${grouped(range.max)}`;
  return (text) => {
    const plain = text.trim().replace(/(\d)_(?=\d)/g, '$1');
    const value = Number(plain);
    if (!isDecimal(plain) || !Number.isInteger(value)) throw usage(`${quoted(text)} is not a whole number`, expected);
    if (value < range.min) throw usage(`${name} ${grouped(value)} is too small`, expected);
    if (value > range.max) throw usage(`${name} ${grouped(value)} is too large`, expected);
    return value;
  };
}

/** Several counts: "100,1000,6000". Each once, in the order given. */
export function parseCountList(name: string, range: Range): (text: string) => number[] {
  const parse = parseCount(name, range);
  return (text) => {
    const values = text.split(',').map((part) => {
      if (part.trim() === '')
        throw usage(`${name} ${quoted(text)} has an empty entry`, `for example: ${name} 100,1000,6000`);
      return parse(part);
    });
    const twice = values.find((value, index) => values.indexOf(value) !== index);
    if (twice !== undefined) throw usage(`${name} names ${grouped(twice)} twice`, 'give each number once');
    return values;
  };
}

/**
 * A length of time in milliseconds: "3s", "500ms", "1.5m", "1h". A bare number is refused, because its unit would be a guess; only
 * "0" needs no unit.
 */
export function parseDurationMs(name: string, range: Range = bounds.durationMs): (text: string) => number {
  return (text) => {
    const typed = readNumber(text);
    if (typed === null || typed.number < 0) {
      throw usage(`${name} ${quoted(text)} is not a length of time`, 'write a number and a unit: 500ms, 3s, 2m or 1h');
    }
    const { number, unit } = typed;
    const factorNs = unit === '' && number === 0 ? 1 : unitFactor('time', unit);
    if (unit === '' && factorNs === null) {
      throw usage(`${name} ${quoted(text)} has no unit`, `did you mean ${text.trim()}s? The units are ms, s, m and h`);
    }
    if (factorNs === null)
      throw usage(`${name}: ${quoted(unit)} is not a unit of time`, 'the units are ms, s, m and h');
    const value = (number * factorNs) / 1e6;
    if (value < range.min || value > range.max) {
      throw usage(
        `${name} ${text.trim()} is too ${value < range.min ? 'short' : 'long'}`,
        `${name} takes ${durationText(range.min)} to ${durationText(range.max)}`,
      );
    }
    return value;
  };
}

/**
 * A time that may be far shorter than a millisecond: "10us", "1.5ms"; 0 for none.
 * @param range in ms
 */
export function parseShortTimeMs(name: string, range: Range): (text: string) => number {
  const expected = `${name} takes 0 to ${durationText(range.max)}, for example 50us or 5ms; the units are us, ms and s`;
  return (text) => {
    const typed = readNumber(text);
    if (typed === null) throw usage(`${name} ${quoted(text)} is not a length of time`, expected);
    const { number, unit } = typed;
    const factorNs = unit === '' && number === 0 ? 1 : unitFactor('time', unit);
    if (unit === '' && factorNs === null) throw usage(`${name} ${quoted(text)} has no unit`, expected);
    if (factorNs === null) throw usage(`${name}: ${quoted(unit)} is not a unit of time`, expected);
    const value = (number * factorNs) / 1e6;
    if (value < range.min) throw usage(`${name} ${text.trim()} is negative`, expected);
    if (value > range.max) throw usage(`${name} ${text.trim()} is too long`, expected);
    return value;
  };
}

/** The same in microseconds. @param range in us */
export function parseShortTimeUs(name: string, range: Range): (text: string) => number {
  const parse = parseShortTimeMs(name, { min: range.min / 1e3, max: range.max / 1e3 });
  return (text) => parse(text) * 1e3;
}

/**
 * Several values with commas between them, each once, in the order given.
 * @param example as shown in hints
 */
export function parseList(name: string, example: string, parse: (text: string) => number): (text: string) => number[] {
  return (text) => {
    const parts = text.split(',');
    if (parts.some((part) => part.trim() === '')) {
      throw usage(`${name} ${quoted(text)} has an empty entry`, `for example: ${name} ${example}`);
    }
    const values = parts.map(parse);
    const place = values.findIndex((value, index) => values.indexOf(value) !== index);
    if (place >= 0) throw usage(`${name} names ${(parts[place] ?? '').trim()} twice`, 'give each value once');
    return values;
  };
}

function durationText(ms: number): string {
  if (ms >= 3_600_000 && ms % 3_600_000 === 0) return `${grouped(ms / 3_600_000)} h`;
  if (ms >= 1000 && ms % 1000 === 0) return `${grouped(ms / 1000)} s`;
  return `${grouped(ms)} ms`;
}

/** A size in bytes: "64", "64KiB", "64k", "1MiB". Units are powers of 1024. */
export function parseSizeBytes(name: string, range: Range): (text: string) => number {
  const expected = `${name} takes ${sizeText(range.min)} to ${sizeText(range.max)}`;
  return (text) => {
    const typed = readNumber(text);
    if (typed === null || typed.number < 0)
      throw usage(`${name} ${quoted(text)} is not a size`, `${expected}, for example 64 or 4KiB`);
    const { number, unit } = typed;
    const factor = unit === '' ? 1 : unitFactor('size', unit);
    if (factor === null) throw usage(`${name}: ${quoted(unit)} is not a unit of size`, 'the units are B, KiB and MiB');
    const value = number * factor;
    if (!Number.isInteger(value)) throw usage(`${name} ${quoted(text)} is not a whole number of bytes`, expected);
    if (value < range.min) throw usage(`${name} ${text.trim()} is too small`, expected);
    if (value > range.max) throw usage(`${name} ${text.trim()} is too large`, expected);
    return value;
  };
}

function sizeText(bytes: number): string {
  if (bytes >= 2 ** 20 && bytes % 2 ** 20 === 0) return `${grouped(bytes / 2 ** 20)} MiB`;
  if (bytes >= 2 ** 10 && bytes % 2 ** 10 === 0) return `${grouped(bytes / 2 ** 10)} KiB`;
  return `${grouped(bytes)} B`;
}

/** A rate per second: "50000/s", "50k/s", "1.5M/s", "50000". */
export function parseRatePerSecond(name: string, range: Range = bounds.ratePerSecond): (text: string) => number {
  const expected = `${name} takes a number per second, for example 50000/s or 50k/s`;
  return (text) => {
    const typed = readNumber(text);
    if (typed === null) throw usage(`${name} ${quoted(text)} is not a rate`, expected);
    const factor = typed.unit === '' ? 1 : unitFactor('rate', typed.unit);
    if (factor === null) {
      const isOtherTime = /\/\s*(?!s$)[a-z]+$/i.test(typed.unit);
      throw usage(`${name} ${quoted(text)} is not ${isOtherTime ? 'per second' : 'a rate'}`, expected);
    }
    const value = typed.number * factor;
    if (value < range.min || value > range.max) {
      throw usage(
        `${name} ${text.trim()} is too ${value < range.min ? 'small' : 'large'}`,
        `${name} takes ${grouped(range.min)}/s to ${grouped(range.max)}/s`,
      );
    }
    return value;
  };
}

/** A rate of the latency phase: so many requests per second, or a fraction of the slower mode's capacity. The other one is null. */
export interface OfferedRate {
  readonly perSecond: number | null;
  readonly fraction: number | null;
}

/** More rates than this make a run of hours. */
const ratesMost = 20;

/** One rate or several, ascending: "50k/s", "30%", "10%,50%,90%". Percentages and requests per second do not mix. */
export function parseOfferedRates(name: string): (text: string) => OfferedRate[] {
  const parse = parseRatePerSecond(name);
  const example = `for example ${name} 50k/s or ${name} 10%,30%,50%,70%,90%`;
  const one = (text: string): OfferedRate => {
    if (text.trim() === '') throw usage(`${name} has an empty entry`, example);
    const typed = readNumber(text);
    if (typed?.unit !== '%') return { perSecond: parse(text), fraction: null };
    if (typed.number <= 0 || typed.number > 100) {
      throw usage(
        `${name} ${text.trim()} is out of range`,
        "a percentage is of the slower mode's capacity: more than 0% and at most 100%; for more, give requests/s",
      );
    }
    return { perSecond: null, fraction: typed.number / 100 };
  };
  return (text) => {
    const rates = text.split(',').map(one);
    const isMixed = rates.some(({ fraction }) => fraction !== null) && rates.some(({ fraction }) => fraction === null);
    if (isMixed) throw usage(`${name} ${quoted(text)} mixes percentages and requests/s`, example);
    if (rates.length > ratesMost) throw usage(`${name} names ${rates.length} rates`, `${ratesMost} are the most`);
    const value = ({ perSecond, fraction }: OfferedRate): number => perSecond ?? fraction ?? 0;
    const sorted = [...rates].sort((a, b) => value(a) - value(b));
    const isTwice = sorted.some((rate, index) => index > 0 && value(rate) === value(sorted[index - 1] ?? rate));
    if (isTwice) throw usage(`${name} ${quoted(text)} names a rate twice`, 'give each rate once');
    return sorted;
  };
}

/** A share: "1%" or "0.01", within a range; by default more than 0, and at most 1. */
export function parseFraction(name: string, range: Range = { min: 0, max: 1 }): (text: string) => number {
  const expected =
    range.min === 0 ? 'more than 0% and at most 100%' : `${name} takes ${range.min * 100}% to ${range.max * 100}%`;
  return (text) => {
    const typed = readNumber(text);
    if (typed === null || (typed.unit !== '' && typed.unit !== '%'))
      throw usage(`${name} ${quoted(text)} is not a share`, 'for example 1% or 0.01');
    const value = typed.number / (typed.unit === '%' ? 100 : 1);
    if (typed.unit === '' && value > 1)
      throw usage(`${name} ${text.trim()} is more than 100%`, `did you mean ${text.trim()}%?`);
    if (value <= 0 || value < range.min || value > range.max) {
      throw usage(`${name} ${text.trim()} is out of range`, expected);
    }
    return value;
  };
}

/** A port to listen on; 0 lets the system choose a free one. */
export function parsePort(name: string): (text: string) => number {
  return (text) => {
    const plain = text.trim();
    if (!/^\d+$/.test(plain) || Number(plain) > 65_535) {
      throw usage(
        `${name} ${quoted(text)} is not a port`,
        `${name} takes 0 to 65535; 0 lets the system choose a free one`,
      );
    }
    return Number(plain);
  };
}

const numericHostHint = 'give a numeric address (127.0.0.1, ::1) or localhost';

/** Network interfaces of this machine, as os.networkInterfaces() returns them. */
type Interfaces = ReturnType<typeof networkInterfaces>;

/** A numeric address without the scope that may follow it: "fe80::1" of "fe80::1%eth0". */
function withoutScope(host: string): string {
  return host.replace(/%.*$/s, '');
}

/** True for a numeric IPv4 address, or an IPv6 address with or without a scope. */
export function isNumericAddress(host: string): boolean {
  return isIPv4(host) || isIPv6(withoutScope(host));
}

/** True for fe80::/10: addresses that every interface has, so that the interface must be named with them. */
export function isLinkLocal(host: string): boolean {
  return isIPv6(withoutScope(host)) && /^fe[89ab][0-9a-f]:/i.test(host);
}

/**
 * The address, with its scope as the native library takes it: the number of an interface on Windows, its name or number elsewhere.
 * @throws BenchError 'usage' if a link-local address has no scope, or the scope is not an interface that is up
 */
export function checkScope(name: string, host: string, interfaces: Interfaces = networkInterfaces()): string {
  const [address = '', ...rest] = host.split('%');
  const scope = rest.join('%');
  if (rest.length === 0 && !isLinkLocal(host)) return host;
  const names = Object.keys(interfaces);
  const example = names.find((one) => !interfaces[one]?.some(({ internal }) => internal)) ?? 'eth0';
  const hint = `for example ${address}%${example}; the interfaces that are up are ${names.join(', ')}`;
  if (scope === '') throw usage(`${name}: the link-local address ${address} needs the interface it belongs to`, hint);
  const number = numberOfScope(scope, interfaces);
  if (number === undefined) throw usage(`${name}: there is no interface ${quoted(scope)} for ${address}`, hint);
  return isWindows ? `${address}%${number}` : host;
}

/** Number of the interface that a scope names; 0 if the system does not say; undefined: no such interface. */
function numberOfScope(scope: string, interfaces: Interfaces): number | undefined {
  const numbers = (addresses: Interfaces[string] = []): number[] =>
    addresses.flatMap((one) => (one.family === 'IPv6' && one.scopeid !== 0 ? [one.scopeid] : []));
  if (Object.hasOwn(interfaces, scope)) return numbers(interfaces[scope])[0] ?? 0;
  return Object.values(interfaces)
    .flatMap(numbers)
    .find((number) => String(number) === scope);
}

/** A numeric address to listen on, without brackets. `localhost` becomes 127.0.0.1. */
export function parseHost(name: string): (text: string) => string {
  return (text) => {
    const plain = text.trim().replace(/^\[(.*)\]$/, '$1');
    if (plain.toLowerCase() === 'localhost') return '127.0.0.1';
    if (isNumericAddress(plain)) return checkScope(name, plain);
    throw usage(`${name} ${quoted(text)} is not a numeric address`, numericHostHint);
  };
}

/** Labels of letters, digits and hyphens, and the underscores that compose files use. */
const hostName = /^(?=.{1,254}$)[\p{L}\p{N}_][\p{L}\p{N}_-]{0,62}(\.[\p{L}\p{N}_][\p{L}\p{N}_-]{0,62})*\.?$/u;

/** The host of a target: a numeric address, or a name that is looked up later. */
function parseTargetHost(name: string, host: string): string {
  if (isNumericAddress(host)) return checkScope(name, host);
  // The system would accept 127.1 as an address and "1.2.3.400" as a name. Both are usually mistakes.
  if (/^[\d.]+$/.test(host))
    throw usage(`${name}: ${quoted(host)} is not an IPv4 address`, 'for example 127.0.0.1:7000');
  if (hostName.test(host)) return host;
  throw usage(
    `${name}: ${quoted(host)} is neither an address nor a host name`,
    'for example 127.0.0.1:7000 or db:7000',
  );
}

/** The address of a server: "127.0.0.1:7000", "[::1]:7000", "[fe80::1%eth0]:7000", "localhost:7000". The host may be a name. */
export function parseHostPort(name: string): (text: string) => HostPort {
  const expected = `${name} takes host:port, for example 127.0.0.1:7000 or [::1]:7000`;
  return (text) => {
    const plain = text.trim();
    if (/^[a-z][a-z0-9+.-]*:\/\//i.test(plain)) throw usage(`${name} ${quoted(text)} is a URL`, expected);
    const bracketed = /^\[([^\]]*)\]:(\d+)$/.exec(plain);
    if (bracketed === null && plain.split(':').length > 2) {
      throw usage(`${name} ${quoted(text)} is not host:port`, 'write an IPv6 address in brackets: [::1]:7000');
    }
    const match = bracketed ?? /^([^:]+):(\d+)$/.exec(plain);
    const [, host = '', digits = ''] = match ?? [];
    if (match === null) throw usage(`${name} ${quoted(text)} is not host:port`, expected);
    const port = Number(digits);
    if (port < 1 || port > 65_535) throw usage(`${name} ${quoted(text)} has no valid port`, 'a port is 1 to 65535');
    return { host: parseTargetHost(name, host), port };
  };
}

/** A running server: its address, and the path of a URL. */
export interface TargetAddress extends HostPort {
  /** Of "http://host:port/path?query": the path with its query, and the host as it was written. Absent for host:port. */
  readonly http?: { readonly path: string; readonly authority: string; readonly isSecure: boolean };
}

/** "host:port" as parseHostPort() takes it, or the URL of an HTTP server. */
export function parseTarget(name: string): (text: string) => TargetAddress {
  const parse = parseHostPort(name);
  return (text) => {
    const plain = text.trim();
    const [, scheme, authority = '', rest = ''] = /^([a-z][a-z0-9+.-]*):\/\/([^/?#]*)([^#]*)/i.exec(plain) ?? [];
    if (scheme === undefined) return parse(text);
    const example = 'for example http://127.0.0.1:8080/ or 127.0.0.1:7000';
    if (!['http', 'https'].includes(scheme.toLowerCase())) {
      const hint = `${name} takes host:port, or a URL that begins with http:// or https://; ${example}`;
      throw usage(`${name} ${quoted(text)} has a URL of type ${scheme}`, hint);
    }
    const isSecure = scheme.toLowerCase() === 'https';
    if (authority.includes('@')) {
      throw usage(`${name} has a user name in its URL`, "use --header 'Authorization: ...'");
    }
    const address = parse(/:\d+$/.test(authority) ? authority : `${authority}:${isSecure ? 443 : 80}`);
    const path = rest.startsWith('/') ? rest : `/${rest}`;
    // RFC 3986: other characters are percent-encoded.
    if (!/^[\x21-\x7e]*$/.test(path)) {
      throw usage(
        `${name}: the path ${quoted(path)} has characters that a URL cannot have`,
        'write them as %20 and so on',
      );
    }
    return { ...address, http: { path, authority, isSecure } };
  };
}

/** "127.0.0.1:7000" or "[::1]:7000". */
export function hostPortText(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** True for an address that only this machine can reach. */
export function isLoopback(host: string): boolean {
  if (isIPv4(host)) return host.startsWith('127.');
  return /^(0*:)*0*1(%.*)?$/.test(host) || /^::ffff:127\./i.test(host);
}

function unknownMode(name: string, word: string, others: readonly string[]): BenchError {
  const known = [...modeNames, ...others];
  const meant = nearest(word, known);
  const list = `the modes are ${known.join(', ')}`;
  return usage(`${name}: ${quoted(word)} is not a mode`, meant === null ? list : `did you mean ${meant}? (${list})`);
}

/** One of the built-in modes. */
export function parseMode(name: string): (text: string) => ModeName {
  return (text) => {
    const word = text.trim();
    const mode = modeNames.find((candidate) => candidate === word.toLowerCase());
    if (mode === undefined) throw unknownMode(name, word, []);
    return mode;
  };
}

/** Names for groups of modes: all that this machine can run, and the five from textbooks. */
export const modeGroups = ['all', 'classic'] as const;
export type ModeGroup = (typeof modeGroups)[number];

/**
 * Several modes: "blocking,iocp", or the name of a group: "all".
 * @param others names of --mode-command, which are accepted too
 */
export function parseModes(name: string, others: readonly string[] = []): (text: string) => ModeGroup | string[] {
  return (text) => {
    const words = text.split(',').map((word) => word.trim());
    const group = modeGroups.find((candidate) => words.length === 1 && candidate === words[0]?.toLowerCase());
    if (group !== undefined) return group;
    const modes = words.map((word) => {
      if (word === '') throw usage(`${name} ${quoted(text)} has an empty entry`, `for example: ${name} blocking,iocp`);
      const inList = modeGroups.find((candidate) => candidate === word.toLowerCase());
      if (inList !== undefined) {
        throw usage(
          `${name} ${quoted(text)}: ${inList} cannot be combined with other modes`,
          `use ${name} ${inList} or a list of modes`,
        );
      }
      if (others.includes(word)) return word;
      const mode = modeNames.find((candidate) => candidate === word.toLowerCase());
      if (mode === undefined) throw unknownMode(name, word, others);
      return mode;
    });
    const twice = modes.find((mode, index) => modes.indexOf(mode) !== index);
    if (twice !== undefined) {
      throw usage(`${name} names ${twice} twice`, 'name each mode once; --aa runs one mode against itself');
    }
    return modes;
  };
}

/** CPU numbers: "0", "0,2", "0-3,6". Ascending, each once. */
export function parseCpuList(name: string): (text: string) => number[] {
  const hint = `${name} takes CPU numbers, for example 0,2 or 0-3`;
  return (text) => {
    const cpus = new Set<number>();
    for (const part of text.split(',')) {
      const match = /^\s*(\d{1,4})(?:\s*-\s*(\d{1,4}))?\s*$/.exec(part);
      if (match === null) throw usage(`${name} ${quoted(text)} is not a list of CPUs`, hint);
      const first = Number(match[1]);
      const last = Number(match[2] ?? match[1]);
      if (last < first || last > 1023) throw usage(`${name}: ${quoted(part.trim())} is not a range of CPUs`, hint);
      for (let cpu = first; cpu <= last; cpu++) cpus.add(cpu);
    }
    return [...cpus].sort((a, b) => a - b);
  };
}

/** A name that is one token of a subject: letters, digits, hyphens and underscores. */
export function parseLabel(name: string): (text: string) => string {
  return (text) => {
    const plain = text.trim();
    if (/^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/.test(plain)) return plain;
    throw usage(
      `${name} ${quoted(text)} is not a valid name`,
      'use up to 63 letters, digits, hyphens and underscores, beginning with a letter or digit',
    );
  };
}

/** One of a few words. */
export function parseChoice<const Word extends string>(name: string, words: readonly Word[]): (text: string) => Word {
  return (text) => {
    const word = words.find((candidate) => candidate === text.trim().toLowerCase());
    if (word === undefined) {
      const meant = nearest(text.trim(), words);
      const list = `${name} takes ${words.join(', ')}`;
      throw usage(
        `${name}: ${quoted(text)} is not a valid choice`,
        meant === null ? list : `did you mean ${meant}? (${list})`,
      );
    }
    return word;
  };
}
