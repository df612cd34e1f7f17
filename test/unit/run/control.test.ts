/** The control block: combines the figures of several engines for the report. */
import t from 'tap';
import { controlHeaderBytes, errorClassValues, phaseValues } from '../../../src/model/abi.generated.js';
import { fieldOffset, structSize } from '../../../src/native/abi.js';
import { histogramIndex } from '../../../src/measure/histogram.js';
import { ControlBlock, mergeReplies, type Replies } from '../../../src/run/control.js';

const buckets = 4;

/** A block for two engines, and writers into each of them. */
function twoEngines(): {
  control: ControlBlock;
  set: (engine: number, figures: Readonly<Record<string, number>>) => void;
  at: (engine: number, field: string) => number;
} {
  const control = new ControlBlock(2, buckets);
  const stride = new BigUint64Array(control.buffer)[fieldOffset('ib_control', 'engine_stride_bytes') / 8] ?? 0n;
  const at = (engine: number, field: string): number =>
    controlHeaderBytes + engine * Number(stride) + fieldOffset('ib_engine_block', field);
  const set = (engine: number, figures: Readonly<Record<string, number>>): void => {
    const words = new BigUint64Array(control.buffer);
    for (const [field, value] of Object.entries(figures)) words[at(engine, field) / 8] = BigInt(value);
  };
  return { control, set, at };
}

t.test('a command is written before its number', (t) => {
  const { control } = twoEngines();
  const words32 = new Uint32Array(control.buffer);
  const words64 = new BigUint64Array(control.buffer);
  t.equal(control.command({ phase: 'connect' }), 1);
  const sequence = control.command({
    phase: 'measure',
    windowStartNs: 5n,
    windowEndNs: 9n,
    ratePerSecond: 2.5,
    connectionsTotal: 7,
  });
  t.equal(sequence, 2);
  t.equal(words32[fieldOffset('ib_control', 'sequence') / 4], 2);
  t.equal(words32[fieldOffset('ib_control', 'phase') / 4], phaseValues.measure);
  t.equal(words64[fieldOffset('ib_control', 'window_start_ns') / 8], 5n);
  t.equal(words64[fieldOffset('ib_control', 'window_end_ns') / 8], 9n);
  t.equal(new Float64Array(control.buffer)[fieldOffset('ib_control', 'rate_per_second') / 8], 2.5);
  t.equal(words64[fieldOffset('ib_control', 'connections_total') / 8], 7n);
  control.command({ phase: 'drain' });
  t.equal(words64[fieldOffset('ib_control', 'window_end_ns') / 8], 0n, 'a command keeps nothing of the previous one');
  t.end();
});

t.test('a command is done, and the engines run, when every engine says so', (t) => {
  const { control, at } = twoEngines();
  const words32 = new Uint32Array(control.buffer);
  const sequence = control.command({ phase: 'connect' });
  for (const engine of [0, 1]) {
    t.equal(control.isDone(sequence), false);
    t.equal(control.isRunning(), false);
    words32[at(engine, 'sequence_done') / 4] = sequence;
    words32[at(engine, 'running') / 4] = 1;
  }
  t.equal(control.isDone(sequence), true);
  t.equal(control.isRunning(), true);
  t.equal(control.isDone(control.command({ phase: 'warmup' })), false, 'the next is not');
  t.end();
});

t.test('live figures and errors are sums', (t) => {
  const { control, set, at } = twoEngines();
  set(0, { connections_made: 3, timeouts_at_newline: 2 });
  set(1, { connections_made: 4, timeouts_off_zero: 1 });
  t.match(control.live(), {
    connections_made: 7,
    timeouts_at_newline: 2,
    timeouts_off_zero: 1,
    connections_lost: 0,
  });
  const words = new BigUint64Array(control.buffer);
  words[at(0, 'errors') / 8 + errorClassValues.timeout] = 2n;
  words[at(1, 'errors') / 8 + errorClassValues.timeout] = 3n;
  words[at(1, 'errors') / 8 + errorClassValues.closed_idle] = 1n;
  t.same(control.errorsByClass(), { timeout: 5, closed_idle: 1 }, 'only classes that occurred');
  t.end();
});

t.test('extremes leave out engines without a value', (t) => {
  const { control, set } = twoEngines();
  t.equal(control.ends().ended_echoes_min, 0);
  set(1, { connections_ended: 2, ended_echoes_min: 5, ended_echoes_max: 9 });
  t.match(control.ends(), { ended_echoes_min: 5, ended_echoes_max: 9, closed_idle_after_min_ns: 0 });
  set(0, { connections_ended: 1, ended_echoes_min: 7, ended_echoes_max: 7 });
  t.match(control.ends(), { ended_echoes_min: 5, ended_echoes_max: 9 });
  t.end();
});

t.test('the time to connect is from the first connect() to the last echo of all engines', (t) => {
  const { control, set } = twoEngines();
  t.equal(control.connectSpanNs(), null);
  set(0, { connect_first_ns: 2_000 });
  t.equal(control.connectSpanNs(), null, 'none was made');
  set(1, { connect_first_ns: 1_500, connect_last_ns: 9_000 });
  t.equal(control.connectSpanNs(), 7_500);
  t.end();
});

t.test('replies of several engines or agents count against the first of all', (t) => {
  const { control, set } = twoEngines();
  t.equal(control.replies(), null, 'no engine had a whole reply');
  set(1, { first_status: 200, first_body_bytes: 5, first_body_hash: 10, replies_differing: 2 });
  const one: Replies = { first: { status: 200, body_bytes: 5, body_hash: '000000000000000a' }, differing: 2 };
  t.strictSame(control.replies(), one, 'the only engine that had one');
  set(0, { first_status: 200, first_body_bytes: 5, first_body_hash: 11, replies_differing: 4 });
  const both = { first: { ...one.first, body_hash: '000000000000000b' }, differing: 7 };
  t.strictSame(control.replies(), both, 'the other first reply counts as one more');
  t.strictSame(mergeReplies([null, one, both, one]), { first: one.first, differing: 12 });
  t.equal(mergeReplies([null]), null);
  t.end();
});

t.test('an error sample contains the bytes received in place of the echo', (t) => {
  const { control, set, at } = twoEngines();
  const bytes = new Uint8Array(control.buffer);
  const words32 = new Uint32Array(control.buffer);
  const put = (index: number, field: string, value: number | string): void => {
    const place = at(1, 'samples') + index * structSize('ib_error_sample') + fieldOffset('ib_error_sample', field);
    if (typeof value === 'number') words32[place / 4] = value;
    else bytes.set(Buffer.from(value, 'latin1'), place);
  };
  const reply = 'HTTP/1.1 400 Bad Request\r\n';
  put(0, 'error_class', errorClassValues.data);
  put(0, 'connection', 17);
  put(0, 'message', 'connection 17: byte 0: expected 0x11, got 0x48');
  put(0, 'received', reply);
  put(0, 'received_bytes', reply.length);
  put(0, 'expected', '\x11'.padEnd(32, '\0'));
  put(0, 'expected_bytes', 32);
  put(1, 'error_class', errorClassValues.timeout);
  // As long as possible: no zero byte ends it, and the bytes after it do not belong to it.
  put(1, 'message', 'm'.repeat(168));
  put(1, 'received', 'x');
  set(1, { error_samples_count: 2 });
  t.same(control.errorSamples(), [
    {
      class: 'data',
      connection: 17,
      message:
        'connection 17: byte 0: expected 0x11, got 0x48; received "HTTP/1.1 400 Bad Request\\r\\n": this looks like an HTTP server; use --protocol http, or a --target that begins with http:// (https:// for TLS)',
    },
    { class: 'timeout', connection: 0, message: 'm'.repeat(168) },
  ]);
  t.end();
});

t.test('the counts of a histogram are added up over the engines', (t) => {
  const { control, at } = twoEngines();
  const words = new BigUint64Array(control.buffer);
  const record = (engine: number, valueNs: number, count: number): void => {
    const field = (name: string): number => (at(engine, 'response') + fieldOffset('ib_histogram', name)) / 8;
    words[field('count')] = (words[field('count')] ?? 0n) + BigInt(count);
    if (words[field('min_ns')] === 0n) words[field('min_ns')] = BigInt(valueNs);
    words[field('max_ns')] = BigInt(valueNs);
    words[field('counts') + histogramIndex(valueNs)] = BigInt(count);
  };
  const known = (name: 'service' | 'response'): [number, number][] =>
    [...control.histogramCounts(name).entries()].filter(([, count]) => count > 0);
  t.strictSame(known('response'), [], 'none was recorded');
  record(0, 500, 3);
  record(0, 900_000_000, 2);
  record(1, 500, 4);
  t.strictSame(known('response'), [
    [500, 7],
    [histogramIndex(900_000_000), 2],
  ]);
  t.strictSame(known('service'), []);
  t.end();
});

t.test('a row of the timeline is the sum of the engines, with the longest time of any', (t) => {
  const { control, at } = twoEngines();
  const words = new BigUint64Array(control.buffer);
  const size = structSize('ib_timeline_bucket');
  for (const engine of [0, 1]) {
    const start = at(engine, 'size') + structSize('ib_engine_block') + size;
    words[(start + fieldOffset('ib_timeline_bucket', 'requests')) / 8] = 10n;
    words[(start + fieldOffset('ib_timeline_bucket', 'errors')) / 8] = BigInt(engine);
    words[(start + fieldOffset('ib_timeline_bucket', 'service_max_ns')) / 8] = BigInt(500 - 100 * engine);
  }
  const rows = control.timeline(100);
  t.equal(rows.length, buckets, 'no more rows than buckets');
  t.same(rows[1], { requests: 20, errors: 1, service_max_ns: 500, response_max_ns: 0 });
  t.equal(control.timeline(2).length, 2);
  t.end();
});
