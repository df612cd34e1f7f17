/** What crosses between machines: histograms, messages, and the division of clients. */
import t from 'tap';
import { divide } from '../../../src/agent/division.js';
import { canReach, isWithin, parseAddressRange } from '../../../src/agent/networks.js';
import {
  conductorBeatSchema,
  decodeMessage,
  encodeMessage,
  longestMessageBytes,
  requestSchema,
  speaks,
} from '../../../src/agent/protocol.js';
import { mergeHistograms, packHistogram, unpackHistogram } from '../../../src/agent/sparse.js';
import type { RawHistogram } from '../../../src/measure/histogram.js';
import { histogramCounts } from '../../../src/model/abi.generated.js';
import { isLocalBroker, parseBrokerUrls, withoutPassword } from '../../../src/model/broker-url.js';
import { histogramIndex } from '../../../src/measure/histogram.js';

function histogramOf(values: readonly number[]): RawHistogram {
  const counts = new BigUint64Array(histogramCounts);
  for (const value of values) {
    const at = histogramIndex(value);
    counts[at] = (counts[at] ?? 0n) + 1n;
  }
  return {
    count: BigInt(values.length),
    min_ns: BigInt(Math.min(...values)),
    max_ns: BigInt(Math.max(...values)),
    sum_ns: values.reduce((sum, value) => sum + BigInt(value), 0n),
    counts,
  };
}

function received(histogram: RawHistogram): RawHistogram {
  const { count, min_ns, max_ns, sum_ns, counts } = packHistogram(histogram);
  const numbers = { count: BigInt(count), min_ns: BigInt(min_ns), max_ns: BigInt(max_ns), sum_ns: BigInt(sum_ns) };
  return unpackHistogram({ ...numbers, counts });
}

t.test('a histogram arrives as it was sent', (test) => {
  const histogram = histogramOf([1, 2, 2, 1_500, 3_600_000_000_000, 3_600_000_000_000]);
  histogram.counts[777] = 2n ** 63n;
  histogram.count += 2n ** 63n;
  test.strictSame(received(histogram), histogram);
  const empty = mergeHistograms([]);
  test.strictSame(received(empty), empty);
  test.end();
});

t.test('a damaged histogram is refused', (test) => {
  const sent = packHistogram(histogramOf([5, 6]));
  const numbers = { min_ns: 5n, max_ns: 6n, sum_ns: 11n };
  test.throws(() => unpackHistogram({ ...numbers, count: 3n, counts: sent.counts }), /damaged/, 'counts do not add up');
  test.throws(() => unpackHistogram({ ...numbers, count: 2n, counts: 'AAAA' }), /damaged/, 'not deflated');
  for (const outside of [{ min_ns: 6n }, { max_ns: 5n }]) {
    const wrong = { ...numbers, count: 2n, counts: sent.counts, ...outside };
    test.throws(() => unpackHistogram(wrong), /damaged/, 'a count outside of minimum and maximum');
  }
  test.end();
});

t.test('histograms are added count by count', (test) => {
  const a = [5, 9, 9, 70_000];
  const b = [9, 1_000_000];
  const empty = mergeHistograms([]);
  test.strictSame(mergeHistograms([empty, histogramOf(a), histogramOf(b)]), histogramOf([...a, ...b]));
  test.end();
});

t.test('messages: long ones are compressed, others are refused', (test) => {
  const beat = { speaks, conductor: true, padding: 'x'.repeat(100_000) };
  const bytes = encodeMessage(beat);
  test.ok(bytes.length < 5_000, `${bytes.length} bytes`);
  test.strictSame(decodeMessage(conductorBeatSchema, bytes, 'x'), { speaks, conductor: true });
  const refused = (message: Uint8Array, pattern: RegExp): void => {
    test.throws(() => decodeMessage(requestSchema, message, 'a conductor'), pattern);
  };
  refused(Buffer.from('{"speaks":'), /is not JSON/);
  refused(Buffer.from([0, 1, 2, 3]), /is not JSON/);
  refused(new Uint8Array(longestMessageBytes + 1), /is longer than/);
  refused(
    encodeMessage({ speaks, id: 'x', run: null, body: { type: 'run', command: 'rm -rf /' } }),
    /is not valid: body/,
  );
  const start = { type: 'server-start', options: { mode: 'x', command: 'rm -rf /' } };
  refused(encodeMessage({ speaks, id: 'x', run: 'r', body: start }), /is not valid: body/);
  test.end();
});

t.test('clients are divided completely', (test) => {
  test.strictSame(divide(6_000, [2, 1]), [4_000, 2_000]);
  test.strictSame(divide(10, [1, 1, 1]), [4, 3, 3]);
  test.strictSame(divide(7, [0.5, 3]), [1, 6]);
  for (let total = 1; total < 50; total++) {
    const shares = divide(total, [3, 1, 1.5, 8]);
    test.equal(
      shares.reduce((sum, share) => sum + share, 0),
      total,
    );
  }
  test.end();
});

t.test('ranges of addresses', (test) => {
  const range = parseAddressRange('--allow-target');
  const ranges = [range('10.1.0.0/16'), range('2001:db8::/32'), range('192.168.7.9')];
  for (const address of ['10.1.255.3', '2001:db8:1::5', '192.168.7.9']) test.ok(isWithin(address, ranges), address);
  for (const address of ['10.2.0.1', '2001:db9::1', '192.168.7.8', 'db', ''])
    test.notOk(isWithin(address, ranges), address);
  test.notOk(isWithin('10.1.0.1', []), 'nothing is allowed by default');
  for (const text of ['', 'db', '10.0.0.0/33', '10.0.0.0/x', '10.0.0.0/8/8', '::/129']) {
    test.throws(() => range(text), /is not a range of addresses/, text);
  }
  test.end();
});

t.test('URLs of brokers', (test) => {
  const parse = parseBrokerUrls('--nats');
  test.match(parse('nats://a:4333, b'), [
    { server: 'nats://a:4333' },
    { server: 'nats://b:4222', user: null, tls: false },
  ]);
  test.match(parse('tls://u:p%40@[::1]:1'), [
    { server: 'tls://[::1]:1', host: '::1', user: 'u', password: 'p@', tls: true },
  ]);
  test.equal(withoutPassword('nats://u:p%40@a,tls://v:w@b:1,c'), 'nats://u:***@a,tls://v:***@b:1,c');
  test.equal(withoutPassword('--fail-if=a.b < 1'), '--fail-if=a.b < 1');
  test.ok(isLocalBroker(parse('localhost,nats://127.0.0.1:1,nats://[::1]:2')));
  test.notOk(isLocalBroker(parse('localhost,10.0.0.1')));
  for (const text of ['', 'http://a', 'nats://', 'a,,b', 'tls://a,nats://b'])
    test.throws(() => parse(text), { code: 'usage' }, text);
  test.end();
});

t.test('which agents can reach a server', (test) => {
  const allow_targets = [{ address: '127.0.0.0', bits: 8 }];
  const server = { network: 'a', address: '127.0.0.1', address_given: false, allow_targets: [] };
  const load = { network: 'b', address: '127.0.0.1', address_given: false, allow_targets: [] };
  test.ok(canReach({ ...server, address: '10.0.0.7' }, load), 'an address of the network');
  test.ok(canReach(server, { ...load, network: 'a' }), 'the same loopback interface');
  test.notOk(canReach(server, load), 'another one');
  test.notOk(canReach(server, { ...load, allow_targets }), 'an address that nobody chose');
  test.notOk(canReach({ ...server, address_given: true }, load), 'a target that the load does not allow');
  test.ok(
    canReach({ ...server, address_given: true }, { ...load, allow_targets }),
    'both owners say that it is shared',
  );
  test.end();
});
