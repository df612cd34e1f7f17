/** An exchange as the native library takes it: struct ib_exchange and its texts, see the header. */
import { expectBodyValues, lengthPrefixValues, protocolValues, replyFrameValues } from '../model/abi.generated.js';
import { fromBase64, type Exchange, type Placeholder, type StatusRange } from '../model/exchange.js';
import { encodeStruct, fieldOffset, type StructInput } from './abi.js';

const none = Buffer.alloc(0);

/** The texts of an exchange, in the order of the header. */
interface Texts {
  readonly request: Buffer;
  readonly body: Buffer;
  readonly pattern: Buffer;
  readonly greeting: Buffer;
  readonly hello: Buffer;
  readonly placeholders: readonly Placeholder[];
}

export function encodeExchange(exchange: Exchange): Uint8Array {
  const texts = textsOf(exchange);
  const { request, body, pattern, greeting, hello, placeholders } = texts;
  const head = encodeStruct('ib_exchange', {
    ...rulesOf(exchange),
    protocol: protocolValues[exchange.protocol],
    request_bytes: request.length,
    body_bytes: body.length,
    pattern_bytes: pattern.length,
    greeting_bytes: greeting.length,
    hello_bytes: hello.length,
    placeholder_count: placeholders.length,
  });
  if (exchange.protocol === 'http') setStatuses(head, exchange.statuses);
  return Buffer.concat([head, request, body, pattern, greeting, hello, encodePlaceholders(placeholders)]);
}

function textsOf(exchange: Exchange): Texts {
  const request = fromBase64(exchange.request);
  if (exchange.protocol === 'http') {
    const body = exchange.body === null ? none : fromBase64(exchange.body);
    return { request, body, pattern: none, greeting: none, hello: none, placeholders: [] };
  }
  const { frame, greeting, hello, placeholders } = exchange;
  return {
    request,
    body: none,
    pattern: 'bytes' in frame ? fromBase64(frame.bytes) : none,
    greeting: greeting === null ? none : fromBase64(greeting),
    hello: hello === null ? none : fromBase64(hello),
    placeholders,
  };
}

type Rules = Pick<
  StructInput<'ib_exchange'>,
  'no_body' | 'expect_body' | 'reply_frame' | 'length_prefix' | 'length_added' | 'reply_bytes'
>;

function rulesOf(exchange: Exchange): Rules {
  const plain = { no_body: 0, expect_body: 0, reply_frame: 0, length_prefix: 0, length_added: 0, reply_bytes: 0 };
  if (exchange.protocol === 'http') {
    const { hasNoBody, expectBody } = exchange;
    return { ...plain, no_body: hasNoBody ? 1 : 0, expect_body: expectBodyValues[expectBody] };
  }
  const { frame } = exchange;
  const kind = { ...plain, reply_frame: replyFrameValues[frame.kind] };
  if (frame.kind === 'bytes') return { ...kind, reply_bytes: frame.length };
  if (frame.kind !== 'length_prefix') return kind;
  return { ...kind, length_prefix: lengthPrefixValues[frame.prefix], length_added: frame.added };
}

/** Sets the bits of the expected statuses, from 100 on. */
function setStatuses(head: Uint8Array, ranges: readonly StatusRange[]): void {
  const start = fieldOffset('ib_exchange', 'status_expected');
  for (const [first, last] of ranges) {
    for (let bit = first - 100; bit <= last - 100; bit++) {
      const at = start + Math.floor(bit / 8);
      head[at] = (head[at] ?? 0) | (1 << (bit % 8));
    }
  }
}

function encodePlaceholders(placeholders: readonly Placeholder[]): Buffer {
  const out = Buffer.alloc(placeholders.length * 4);
  placeholders.forEach(({ text, kind, at }, index) => {
    out.writeUInt32LE(at * 4 + (text === 'hello' ? 2 : 0) + (kind === 'sequence' ? 1 : 0), index * 4);
  });
  return out;
}
