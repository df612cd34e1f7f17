/**
 * Recognises replies that are not our message: the protocol of a server that is not an echo server, or a change that an echo server
 * makes to the bytes. Imports nothing, so that every part that looks at replies can use it.
 */

export interface WrongReply {
  /** The first bytes received, from the first wrong slice on. */
  readonly received: Uint8Array;
  /** The bytes of the message at that place; empty if no request was in flight. */
  readonly expected: Uint8Array;
}

/** Where the replies of timed-out requests stopped; see the counters of the same names in struct ib_engine_block. */
export interface TimeoutPlaces {
  readonly timeouts_at_newline: number;
  readonly timeouts_off_newline: number;
  readonly timeouts_at_zero: number;
  readonly timeouts_off_zero: number;
}

/** Bytes of a reply that are shown as text, and as hex. */
const shownText = 48;
const shownHex = 16;
/** Share of printable bytes from which a reply is shown as text. Of random bytes 38% are printable. */
const textShare = 0.75;
/** Fewer equal bytes may be chance. */
const certainBytes = 4;

/** What to do about a server that speaks another protocol. */
const advice = {
  http: 'use --protocol http, or a --target that begins with http:// (https:// for TLS)',
  tls: 'use --tls, or a --target that begins with https://',
  greets: 'it speaks first: use --protocol message with --greeting-until',
  lines: "use --protocol message, for example --send 'PING\\r\\n' --reply-until '\\r\\n'",
  echo: 'leave out --protocol, and give the target as host:port',
} as const;

type KnownProtocol = readonly [
  pattern: RegExp,
  name: string | ((match: RegExpExecArray) => string),
  advice?: (typeof advice)[keyof typeof advice],
];

/**
 * First bytes of other protocols, one character per byte, the servers that send them, and what to do. Some protocols start with a
 * greeting; in others the server answers bytes that it cannot parse with an error. Both are listed.
 */
const protocols: readonly KnownProtocol[] = [
  [/^HTTP\/\d/, 'an HTTP server', advice.http],
  [/^\s*<(!doctype html|html|head|body)\b/i, 'an HTTP server', advice.http],
  [/^[A-Z]+ \S+ HTTP\/1\.1\r\n/, 'an echo server, which sends the request back', advice.echo],
  // RFC 9113, 4.1: a frame of type 4 (SETTINGS) without flags on stream 0 comes first from the server.
  [/^\0[\s\S]{2}\x04\0\0{4}/, 'an HTTP/2 (gRPC) server'],
  // RFC 8446, 5.1 and 6: content type 21, a version, a length of 2, level and description.
  [
    /^\x15\x03[\x01-\x04]\0\x02[\x01\x02]([\s\S])/,
    (match): string => `a TLS server (it sent alert ${alertName(match[1]?.charCodeAt(0) ?? 0)})`,
    advice.tls,
  ],
  // Our own messages begin with the number of a connection, which has zeros there.
  [/^[\x14\x16\x17]\x03[\x01-\x04](?!\0\0)/, 'a TLS server', advice.tls],
  [/^SSH-\d/, 'an SSH server', advice.greets],
  [/^220[ -][^\n]*FTP/i, 'an FTP server', advice.greets],
  [/^220[ -][^\n]*SMTP/i, 'an SMTP server', advice.greets],
  [/^[2-5]\d\d[ -]/, 'a server that greets with a status line, as mail and FTP servers do', advice.greets],
  [/^-(ERR|NOAUTH|DENIED|WRONGPASS|LOADING|MISCONF) /, 'a Redis server', advice.lines],
  [/^\+OK /, 'a POP3 server', advice.greets],
  [/^\* (OK|BYE|PREAUTH)/, 'an IMAP server', advice.greets],
  [/^(ERROR|CLIENT_ERROR [^\n]*)\r\n/, 'a memcached server', advice.lines],
  // A packet with number 0: version 10 of the handshake and the server's version as a string, or an error.
  [/^[\s\S]{3}\0(\x0a\d+\.|\xff[\s\S]{2})/, 'a MySQL server', advice.greets],
  [/^ES[A-Z]+\0|^E\0\0[\s\S]{2}S[A-Z]+\0/, 'a PostgreSQL server'],
  [/^RFB \d{3}\./, 'a VNC server', advice.greets],
  [/^AMQP/, 'an AMQP server'],
  [/^(\xff[\xfb-\xfe][\s\S]){2}/, 'a telnet server'],
];

/** RFC 8446, 6.2, and those of RFC 5246 that are still in use. */
const alertNames: Readonly<Record<number, string>> = {
  10: 'unexpected_message',
  20: 'bad_record_mac',
  22: 'record_overflow',
  40: 'handshake_failure',
  47: 'illegal_parameter',
  50: 'decode_error',
  70: 'protocol_version',
  80: 'internal_error',
};

function alertName(description: number): string {
  const name = alertNames[description];
  return name === undefined ? String(description) : `${description}, ${name}`;
}

/** Changes that a server may make to the bytes. */
const changes: readonly (readonly [(message: Buffer) => Buffer, string])[] = [
  [mapBytes((byte) => (byte >= 0x61 && byte <= 0x7a ? byte - 0x20 : byte)), 'answers in upper case'],
  [mapBytes((byte) => (byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte)), 'answers in lower case'],
  [mapBytes((byte) => byte & 0x7f), 'clears the highest bit of each byte'],
  [
    (message): Buffer => Buffer.from(message.toString('utf8'), 'utf8'),
    'decodes bytes as UTF-8 (invalid bytes come back as EF BF BD)',
  ],
  [(message): Buffer => Buffer.from(message.toString('latin1'), 'utf8'), 'encodes bytes as UTF-8'],
  [
    (message): Buffer => Buffer.from(message.toString('latin1').replaceAll(/\r?\n/g, '\r\n'), 'latin1'),
    'turns newlines into CR LF',
  ],
  [
    (message): Buffer => Buffer.from(message.toString('latin1').replaceAll('\r', ''), 'latin1'),
    'removes carriage returns',
  ],
  [(message): Buffer => Buffer.from(message).reverse(), 'answers in reverse order'],
];

function mapBytes(change: (byte: number) => number): (message: Buffer) => Buffer {
  return (message) => Buffer.from(message.map(change));
}

/** The protocol that such bytes belong to, and what to do, if that is known; null if it is not known. */
function protocolOf(received: Uint8Array): { name: string; advice: KnownProtocol[2] } | null {
  const text = Buffer.from(received).toString('latin1');
  for (const [pattern, name, what] of protocols) {
    const match = pattern.exec(text);
    if (match === null) continue;
    return { name: typeof name === 'string' ? name : name(match), advice: what };
  }
  return null;
}

/** The kind of server that sends such a reply, to follow "looks like"; null if it is not recognised. */
export function replyLooksLike({ received, expected }: WrongReply): string | null {
  return (
    protocolOf(received)?.name ??
    addedBytes(received, expected) ??
    changedBytes(Buffer.from(received), Buffer.from(expected))
  );
}

/**
 * The received bytes and what they look like, to follow the reason why they are not a reply of the protocol.
 * @param protocol that the client speaks
 */
export function describeForeign(received: Uint8Array, protocol: 'http' | 'message'): string {
  if (received.length === 0) return '';
  const known = protocolOf(received);
  const came = `; received ${shownBytes(received)}`;
  const own = protocol === 'http' ? advice.http : advice.lines;
  const isOwn = known === null || known.advice === own;
  if (isOwn) return came;
  // The client speaks --protocol message already.
  const isGreeting = protocol === 'message' && known.advice === advice.greets;
  return `${came}: this looks like ${known.name}${adviceText(isGreeting ? 'it speaks first: add --greeting-until' : known.advice)}`;
}

function addedBytes(received: Uint8Array, expected: Uint8Array): string | null {
  if (expected.length === 0) return 'a server that sends more than the echo';
  for (let before = 1; before + certainBytes <= received.length; before++) {
    const common = commonPrefix(received.subarray(before), expected);
    if (common >= certainBytes && common >= Math.min(expected.length, received.length - before)) {
      return `an echo server that adds ${shownBytes(received.subarray(0, before))} before each message`;
    }
  }
  return null;
}

function changedBytes(received: Buffer, expected: Buffer): string | null {
  for (const [change, what] of changes) {
    const changed = change(expected);
    const length = Math.min(changed.length, received.length);
    const differing = received.subarray(0, length).filter((byte, at) => byte !== expected[at]).length;
    // A single changed byte may just be corrupted.
    if (length >= certainBytes && differing > 1 && commonPrefix(received, changed) === length) {
      return `an echo server that ${what}`;
    }
  }
  return null;
}

function commonPrefix(left: Uint8Array, right: Uint8Array): number {
  const length = Math.min(left.length, right.length);
  for (let at = 0; at < length; at++) if (left[at] !== right[at]) return at;
  return length;
}

/** The received bytes and what they look like, to follow the place of the first wrong byte; empty if that place says more. */
export function describeReply(reply: WrongReply): string {
  const looksLike = replyLooksLike(reply);
  if (looksLike === null && isMostlyRight(reply)) return '';
  const came = reply.received.length === 0 ? '' : `; received ${shownBytes(reply.received)}`;
  return looksLike === null
    ? came
    : `${came}: this looks like ${looksLike}${adviceText(protocolOf(reply.received)?.advice)}`;
}

function adviceText(what: string | undefined): string {
  return what === undefined ? '' : `; ${what}`;
}

/** True if most of the message came back correctly. */
function isMostlyRight({ received, expected }: WrongReply): boolean {
  const length = Math.min(received.length, expected.length);
  const right = received.subarray(0, length).filter((byte, at) => byte === expected[at]).length;
  return right * 2 > length;
}

/** In quotes, with escapes, if the bytes or their first line are mostly text; otherwise in hex. Long replies are cut. */
export function shownBytes(bytes: Uint8Array): string {
  // A greeting may be followed by an echo, which is not text.
  const line = bytes.subarray(0, bytes.indexOf(0x0a) + 1);
  const isLine = line.length > certainBytes && line.length <= shownText && isText(line);
  const isWhole = isText(bytes);
  if (isWhole || isLine) {
    const shown = bytes.subarray(0, isWhole ? shownText : line.length);
    const text = Array.from(shown, escaped).join('');
    return bytes.length > shown.length ? `"${text}"...` : `"${text}"`;
  }
  const hex = Array.from(bytes.subarray(0, shownHex), hexByte).join(' ');
  return bytes.length > shownHex ? `0x ${hex} ...` : `0x ${hex}`;
}

function isText(bytes: Uint8Array): boolean {
  return bytes.filter((byte) => (byte >= 0x20 && byte < 0x7f) || isBlank(byte)).length >= textShare * bytes.length;
}

const escapes: Readonly<Record<number, string>> = {
  0x09: '\\t',
  0x0a: '\\n',
  0x0d: '\\r',
  0x22: '\\"',
  0x5c: '\\\\',
};

function isBlank(byte: number): boolean {
  return byte === 0x09 || byte === 0x0a || byte === 0x0d;
}

function escaped(byte: number): string {
  const escape = escapes[byte];
  if (escape !== undefined) return escape;
  return byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\x${hexByte(byte)}`;
}

function hexByte(byte: number): string {
  return byte.toString(16).padStart(2, '0');
}

/** The kind of server that stops where the incomplete replies stopped, to follow "looks like"; null if that is not clear. */
export function silenceLooksLike(places: TimeoutPlaces): string | null {
  if (places.timeouts_at_newline > 0 && places.timeouts_off_newline === 0) {
    return "a server that only answers whole lines: each reply stopped at the last newline of the message; use --protocol message with --send 'TEXT\\n' and --reply-until '\\n'";
  }
  if (places.timeouts_at_zero > 0 && places.timeouts_off_zero === 0) {
    return 'a server that takes the message for a C string (strlen): each reply stopped before its first zero byte';
  }
  return null;
}
