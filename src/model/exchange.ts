/**
 * Exchanges other than echo: what a client sends, and which replies are right. Bytes are base64, because an exchange also travels as JSON
 * to agents on other machines.
 */
import { z } from 'zod';

const count = z.number().int().nonnegative();
const bytes = z.base64();

export const protocolNames = ['echo', 'http', 'message'] as const;
export type ProtocolName = (typeof protocolNames)[number];

/** What a server sends back for a request. @param protocol undefined: a report from before there were others */
export function answerName(protocol: ProtocolName | undefined): 'echo' | 'reply' {
  return protocol === undefined || protocol === 'echo' ? 'echo' : 'reply';
}

/** Header fields whose values give access. */
const secretField = /^[^:]*(authorization|cookie|token|secret|api-?key|password)[^:]*:/i;

/** A command line without passwords: the values of such header fields, and what logs a connection in. For reports. */
export function withoutSecrets(command: readonly string[]): string[] {
  return command.map((argument, at) => {
    const [, name = command[at - 1] ?? '', value = argument] = /^(--header|--hello)=(.*)$/s.exec(argument) ?? [];
    const prefix = argument.startsWith(`${name}=`) ? `${name}=` : '';
    if (name === '--hello') return `${prefix}***`;
    if (name !== '--header' || !secretField.test(value)) return argument;
    return `${prefix}${value.slice(0, value.indexOf(':'))}: ***`;
  });
}

/** First and last status of a range. */
const statusRange = z.tuple([count.min(100).max(599), count.min(100).max(599)]);
export type StatusRange = z.infer<typeof statusRange>;

export const lengthPrefixes = ['u8', 'u16be', 'u16le', 'u32be', 'u32le'] as const;

const frameSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('exact'), bytes }),
  z.object({ kind: z.literal('until'), bytes }),
  z.object({ kind: z.literal('bytes'), length: count.min(1) }),
  z.object({
    kind: z.literal('length_prefix'),
    prefix: z.enum(lengthPrefixes),
    /** What the prefix does not count; negative if it counts itself, too. */
    added: z.number().int(),
  }),
]);
/** Where a reply ends. */
export type Frame = z.infer<typeof frameSchema>;

const placeholderSchema = z.object({
  text: z.enum(['request', 'hello']),
  kind: z.enum(['connection', 'sequence']),
  /** Place of its first digit. */
  at: count,
});
export type Placeholder = z.infer<typeof placeholderSchema>;

const httpSchema = z.object({
  protocol: z.literal('http'),
  request: bytes,
  /** Replies have no body, because the requests are HEAD. */
  hasNoBody: z.boolean(),
  statuses: z.array(statusRange).min(1),
  expectBody: z.enum(['any', 'same', 'exact']),
  /** Only for `exact`. */
  body: bytes.nullable(),
});
export type HttpExchange = z.infer<typeof httpSchema>;

const messageSchema = z.object({
  protocol: z.literal('message'),
  request: bytes,
  frame: frameSchema,
  /** What the server sends first ends with these bytes; null: it sends nothing first. */
  greeting: bytes.nullable(),
  /** Sent once per connection and answered before its first request. */
  hello: bytes.nullable(),
  placeholders: z.array(placeholderSchema),
});
export type MessageExchange = z.infer<typeof messageSchema>;

export const exchangeSchema = z.discriminatedUnion('protocol', [httpSchema, messageSchema]);
export type Exchange = z.infer<typeof exchangeSchema>;

export function toBase64(content: Uint8Array): string {
  return Buffer.from(content).toString('base64');
}

export function fromBase64(text: string): Buffer {
  return Buffer.from(text, 'base64');
}
