/** Makes the exchange of a plan from the options that describe requests and replies, and refuses options that do not fit the protocol. */
import { createHash } from 'node:crypto';
import { connectionDigits, sequenceDigits } from '../model/abi.generated.js';
import { BenchError } from '../model/errors.js';
import {
  toBase64,
  type Exchange,
  type Frame,
  type HttpExchange,
  type MessageExchange,
  type Placeholder,
  type ProtocolName,
  type StatusRange,
} from '../model/exchange.js';
import { hostPortText } from '../model/parse.js';
import type { Content } from '../model/parse-exchange.js';
import type { PlannedExchange } from '../model/plan.js';
import { shownBytes } from '../model/wrong-reply.js';
import { toolVersion } from '../version.js';
import type { BlastOptions } from './blast-options.js';

/** The largest request, as the native library takes it. */
const requestMostBytes = 1 << 20;
const helloMostBytes = 64 << 10;
const delimiterMostBytes = 4096;
/** RFC 9110 has 200 to 299 for success and 300 to 399 for redirections, which are not followed. */
const successful: readonly StatusRange[] = [[200, 399]];

type Key = keyof BlastOptions;

/** The options that only one protocol has. */
const httpKeys = {
  method: '--method',
  header: '--header',
  body: '--body',
  expectStatus: '--expect-status',
  expectBody: '--expect-body',
};
const messageKeys = {
  send: '--send',
  replyExact: '--reply-exact',
  replyUntil: '--reply-until',
  replyBytes: '--reply-bytes',
  replyLengthPrefix: '--reply-length-prefix',
  greetingUntil: '--greeting-until',
  hello: '--hello',
};
/** Options about the messages of the echo. */
const echoKeys = { messageSizeBytes: '--message-size', stream: '--stream' };

/** The protocol that the options mean. */
export function protocolOf({ protocol, target }: BlastOptions): ProtocolName {
  return protocol === 'echo' && target?.http !== undefined ? 'http' : protocol;
}

/**
 * The exchange that the options describe; null: echo.
 * @throws BenchError 'usage' if options do not fit the protocol
 */
export function planExchange(options: BlastOptions): PlannedExchange | null {
  const protocol = protocolOf(options);
  if (protocol !== 'http') {
    refuse(options, httpKeys, `needs --protocol http, or a --target that begins with http:// or https://`);
    if (options.target?.http !== undefined) {
      throw new BenchError('usage', `--target is a URL, and --protocol is ${protocol}`, 'give the target as host:port');
    }
  }
  if (protocol !== 'message') refuse(options, messageKeys, 'needs --protocol message');
  if (protocol === 'echo') return null;
  refuse(
    options,
    echoKeys,
    'only applies to the echo protocol',
    protocol === 'http'
      ? 'the size of a request follows from --header and --body'
      : 'the size of a request follows from --send',
  );
  return protocol === 'http' ? planHttp(options) : planMessage(options);
}

function refuse(options: BlastOptions, keys: Readonly<Record<string, string>>, why: string, hint?: string): void {
  for (const [key, flag] of Object.entries(keys)) {
    const value = options[key as Key];
    const isGiven = Array.isArray(value) ? value.length > 0 : value !== undefined && value !== false;
    if (isGiven) throw new BenchError('usage', `${flag} ${why}`, hint ?? 'leave it out, or set the protocol');
  }
}

/** Identifies requests and expected replies, so that two reports of the same ones are known to be. */
function fingerprintOf(exchange: Exchange): string {
  return createHash('sha256').update(JSON.stringify(exchange)).digest('hex').slice(0, 16);
}

function planned(exchange: Exchange, request: string, reply: string): PlannedExchange {
  const bytes = Buffer.from(exchange.request, 'base64').length;
  if (bytes > requestMostBytes) {
    throw new BenchError('usage', `a request has ${bytes} bytes`, `at most ${requestMostBytes} are possible`);
  }
  return { ...exchange, words: { request, reply, fingerprint: fingerprintOf(exchange) }, requestBytes: bytes };
}

/* ---------------------------------------------------------------------------------------------------------- http */

function planHttp(options: BlastOptions): PlannedExchange {
  const { body, header, expectBody, expectStatus, target } = options;
  const method = options.method ?? (body === undefined ? 'GET' : 'POST');
  const path = target?.http?.path ?? '/';
  const defaults: [string, string][] = [
    ['Host', hostHeader(options)],
    ['User-Agent', `iocp-bench/${toolVersion}`],
    ['Accept', '*/*'],
  ];
  const given = new Set(header.map(({ name }) => name.toLowerCase()));
  const fields = [
    ...defaults.filter(([name]) => !given.has(name.toLowerCase())),
    ...header.map(({ name, value }): [string, string] => [name, value]),
    ...(body === undefined ? [] : [['Content-Length', String(body.bytes.length)] as [string, string]]),
  ];
  const head = [`${method} ${path} HTTP/1.1`, ...fields.map(([name, value]) => `${name}: ${value}`), '', ''].join(
    '\r\n',
  );
  const statuses = [...(expectStatus ?? successful)];
  const exchange: HttpExchange = {
    protocol: 'http',
    request: toBase64(Buffer.concat([Buffer.from(head, 'utf8'), ...(body === undefined ? [] : [body.bytes])])),
    hasNoBody: method === 'HEAD',
    statuses,
    expectBody: expectBody?.kind ?? 'any',
    body: expectBody?.content === undefined || expectBody.content === null ? null : toBase64(expectBody.content.bytes),
  };
  const withBody = body === undefined ? '' : ` with a body of ${body.bytes.length} B`;
  return planned(exchange, `${method} ${path}${withBody}`, replyInWords(exchange));
}

/** RFC 9110, 7.2: with the port, unless it is the default one. */
function hostHeader({ target, host }: BlastOptions): string {
  if (target === undefined) return host.includes(':') ? `[${host}]` : host;
  if (target.http !== undefined) return target.http.authority.replace(target.http.isSecure ? /:443$/ : /:80$/, '');
  return target.port === 80 ? target.host : hostPortText(target.host, target.port);
}

function replyInWords({ statuses, expectBody }: HttpExchange): string {
  const list = statuses.map(([first, last]) => (first === last ? String(first) : `${first} to ${last}`)).join(', ');
  const body = { any: '', same: ' and the body of the first reply', exact: ' and the expected body' }[expectBody];
  return `status ${list}${body}`;
}

/* ------------------------------------------------------------------------------------------------------- message */

function planMessage(options: BlastOptions): PlannedExchange {
  const { send, greetingUntil, hello } = options;
  if (send === undefined) {
    throw new BenchError(
      'usage',
      '--protocol message needs --send',
      "for example --send 'PING\\r\\n' --reply-exact '+PONG\\r\\n'",
    );
  }
  const [frame, frameWords] = frameOf(options);
  const request = withPlaceholders('request', send);
  const first = hello === undefined ? null : withPlaceholders('hello', hello);
  if (first !== null && first.bytes.length > helloMostBytes) {
    throw new BenchError('usage', `--hello has ${first.bytes.length} bytes`, `at most ${helloMostBytes} are possible`);
  }
  const exchange: MessageExchange = {
    protocol: 'message',
    request: toBase64(request.bytes),
    frame,
    greeting: greetingUntil === undefined ? null : toBase64(delimiter('--greeting-until', greetingUntil)),
    hello: first === null ? null : toBase64(first.bytes),
    placeholders: [...request.placeholders, ...(first?.placeholders ?? [])],
  };
  return planned(exchange, contentInWords(send), frameWords);
}

function contentInWords({ bytes, name }: Content): string {
  return name.startsWith('@') ? `${bytes.length} B from ${name.slice(1)}` : shownBytes(bytes);
}

function delimiter(name: string, { bytes }: Content): Buffer {
  if (bytes.length > delimiterMostBytes) {
    throw new BenchError('usage', `${name} has ${bytes.length} bytes`, `at most ${delimiterMostBytes} are possible`);
  }
  return bytes;
}

/** Where a reply ends, and the same in words. */
function frameOf(options: BlastOptions): [Frame, string] {
  const { replyExact, replyUntil, replyBytes, replyLengthPrefix } = options;
  const given: [Frame, string][] = [
    ...(replyExact === undefined
      ? []
      : [
          [{ kind: 'exact', bytes: toBase64(replyExact.bytes) }, `is ${contentInWords(replyExact)}`] as [Frame, string],
        ]),
    ...(replyUntil === undefined
      ? []
      : [
          [
            { kind: 'until', bytes: toBase64(delimiter('--reply-until', replyUntil)) },
            `ends with ${contentInWords(replyUntil)}`,
          ] as [Frame, string],
        ]),
    ...(replyBytes === undefined
      ? []
      : [[{ kind: 'bytes', length: replyBytes }, `has ${replyBytes} B`] as [Frame, string]]),
    ...(replyLengthPrefix === undefined
      ? []
      : [
          [
            { kind: 'length_prefix', ...replyLengthPrefix },
            `has the length that its first bytes say (${replyLengthPrefix.prefix})`,
          ] as [Frame, string],
        ]),
  ];
  const [only] = given;
  if (only !== undefined && given.length === 1) return only;
  throw new BenchError(
    'usage',
    given.length === 0
      ? '--protocol message does not say where a reply ends'
      : '--protocol message has several options that say where a reply ends',
    'use exactly one of --reply-exact, --reply-until, --reply-bytes and --reply-length-prefix',
  );
}

/** The placeholders of a text. Each becomes a number of a fixed width, so that all requests have the same size. */
function withPlaceholders(
  text: Placeholder['text'],
  { bytes, name }: Content,
): { bytes: Buffer; placeholders: Placeholder[] } {
  // The bytes of a file are sent as they are.
  if (name.startsWith('@')) return { bytes, placeholders: [] };
  const placeholders: Placeholder[] = [];
  const parts: Buffer[] = [];
  let at = 0;
  // latin1 has one character per byte.
  for (const part of bytes.toString('latin1').split(/(\{connection\}|\{sequence\})/)) {
    const kind = part === '{connection}' ? 'connection' : part === '{sequence}' ? 'sequence' : null;
    const digits = kind === 'connection' ? connectionDigits : sequenceDigits;
    const out = kind === null ? Buffer.from(part, 'latin1') : Buffer.from('0'.repeat(digits), 'latin1');
    if (kind !== null) placeholders.push({ text, kind, at });
    parts.push(out);
    at += out.length;
  }
  return { bytes: Buffer.concat(parts), placeholders };
}
