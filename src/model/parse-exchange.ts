/** Parsers of the options that describe requests and replies of the user's own. As in parse.ts, they throw BenchError 'usage'. */
import { readFileSync } from 'node:fs';
import { BenchError } from './errors.js';
import { lengthPrefixes, type StatusRange } from './exchange.js';

/** What an option of bytes was given: the bytes, and how a report calls them. */
export interface Content {
  readonly bytes: Buffer;
  /** "@file", or the text as it was typed. */
  readonly name: string;
}

function usage(message: string, hint: string): BenchError {
  return new BenchError('usage', message, hint);
}

function shown(text: string): string {
  const printable = text.replace(/\p{Cc}/gu, '?');
  return `"${printable.length > 40 ? `${printable.slice(0, 37)}...` : printable}"`;
}

function fileOf(name: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    const reason = error instanceof Error && 'code' in error ? String(error.code) : 'it cannot be read';
    throw new BenchError(
      'usage',
      `${name}: the file ${shown(path)} cannot be read: ${reason}`,
      'is the path right?',
      error,
    );
  }
}

/** Text as UTF-8, or the bytes of @FILE. */
export function parseContent(name: string): (text: string) => Content {
  return (text) => ({
    bytes: text.startsWith('@') ? fileOf(name, text.slice(1)) : Buffer.from(text, 'utf8'),
    name: text,
  });
}

const simpleEscapes: Readonly<Record<string, number>> = {
  r: 0x0d,
  n: 0x0a,
  t: 0x09,
  0: 0,
  a: 0x07,
  b: 0x08,
  f: 0x0c,
  v: 0x0b,
  e: 0x1b,
  '\\': 0x5c,
  '"': 0x22,
  "'": 0x27,
};

/** Text with the escapes of C as bytes. @param name of the option, for messages */
export function unescapeBytes(name: string, text: string): Buffer {
  const parts: Buffer[] = [];
  const pattern = /\\(?:x([0-9a-fA-F]{2})|([\s\S])?)|[^\\]+/g;
  for (const [whole, hex, letter] of text.matchAll(pattern)) {
    if (!whole.startsWith('\\')) {
      parts.push(Buffer.from(whole, 'utf8'));
      continue;
    }
    const byte = hex === undefined ? simpleEscapes[letter ?? ''] : Number.parseInt(hex, 16);
    if (byte === undefined) {
      throw usage(
        `${name}: ${shown(whole)} is not an escape`,
        'the escapes are \\r \\n \\t \\0 \\xHH \\a \\b \\f \\v \\e \\" and \\\\ for a backslash',
      );
    }
    parts.push(Buffer.from([byte]));
  }
  return Buffer.concat(parts);
}

/** Text with the escapes of C, or the bytes of @FILE as they are. Not empty. */
export function parseBytes(name: string): (text: string) => Content {
  return (text) => {
    const bytes = text.startsWith('@') ? fileOf(name, text.slice(1)) : unescapeBytes(name, text);
    if (bytes.length === 0) throw usage(`${name} is empty`, `give the bytes, for example ${name} 'PING\\r\\n'`);
    return { bytes, name: text };
  };
}

/** RFC 9110, 5.6.2. */
const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** A method of HTTP, in upper case as typed. */
export function parseMethod(text: string): string {
  const method = text.trim();
  if (!token.test(method)) throw usage(`--method ${shown(text)} is not a method of HTTP`, 'for example GET or POST');
  if (method === method.toLowerCase()) {
    throw usage(
      `--method ${shown(text)} is in lower case`,
      `methods are case-sensitive; did you mean ${method.toUpperCase()}?`,
    );
  }
  if (method === 'CONNECT') throw usage('--method CONNECT opens a tunnel and is not supported', 'use another method');
  return method;
}

export interface Header {
  readonly name: string;
  readonly value: string;
}

/** Fields that follow from other options. */
const ownFields: Readonly<Record<string, string>> = {
  'content-length': 'it follows from --body',
  'transfer-encoding': 'the body is sent with its Content-Length; use --body',
  upgrade: 'only HTTP/1.1 is supported',
};

/** "Name: value". */
export function parseHeader(text: string): Header {
  const at = text.indexOf(':');
  const name = text.slice(0, Math.max(0, at)).trim();
  const value = text.slice(at + 1).trim();
  if (at <= 0 || !token.test(name)) {
    throw usage(`--header ${shown(text)} is not "name: value"`, "for example --header 'Accept: application/json'");
  }
  // A line break would begin another field.
  if (/[\0-\x08\x0a-\x1f\x7f]/.test(value)) {
    throw usage(`--header ${name} has a control character in its value`, 'give each field with a --header of its own');
  }
  const why = ownFields[name.toLowerCase()];
  if (why !== undefined) throw usage(`--header ${name} cannot be set`, why);
  return { name, value };
}

/** "200", "2xx,404", "200-299". */
export function parseStatuses(text: string): StatusRange[] {
  return text.split(',').map((part): StatusRange => {
    const plain = part.trim().toLowerCase();
    const [, hundreds] = /^([1-5])xx$/.exec(plain) ?? [];
    if (hundreds !== undefined) return [Number(hundreds) * 100, Number(hundreds) * 100 + 99];
    const [, low, high = low] = /^([1-5]\d\d)(?:-([1-5]\d\d))?$/.exec(plain) ?? [];
    if (low === undefined || Number(high) < Number(low)) {
      throw usage(
        `--expect-status: ${shown(part.trim())} is not a status or a range of them`,
        'for example 200, 2xx, 200-299 or 200,404',
      );
    }
    return [Number(low), Number(high)];
  });
}

export type ExpectBody =
  { readonly kind: 'any' | 'same'; readonly content: null } | { readonly kind: 'exact'; readonly content: Content };

/** "any", "same", "exact:TEXT" or "exact:@FILE". */
export function parseExpectBody(text: string): ExpectBody {
  const word = text.trim().toLowerCase();
  if (word === 'any' || word === 'same') return { kind: word, content: null };
  if (text.startsWith('exact:')) {
    return { kind: 'exact', content: parseContent('--expect-body')(text.slice('exact:'.length)) };
  }
  throw usage(
    `--expect-body: ${shown(text)} is not a valid choice`,
    '--expect-body takes any, same, exact:TEXT or exact:@FILE',
  );
}

export interface LengthPrefix {
  readonly prefix: (typeof lengthPrefixes)[number];
  /** What the prefix does not count. */
  readonly added: number;
}

/** "u32be", "u16le+2", "u32be-4". */
export function parseLengthPrefix(text: string): LengthPrefix {
  const [, name, added = '0'] = /^(u\d+(?:be|le)?)([+-]\d{1,9})?$/.exec(text.trim().toLowerCase()) ?? [];
  const prefix = lengthPrefixes.find((one) => one === name);
  if (prefix === undefined) {
    throw usage(
      `--reply-length-prefix ${shown(text)} is not a type of length`,
      'it takes u8, u16be, u16le, u32be or u32le, and a number to add: u32be+4',
    );
  }
  return { prefix, added: Number(added) };
}
