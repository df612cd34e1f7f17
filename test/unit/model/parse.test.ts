/** Every parser: what it accepts, what it refuses, and whether each refusal says what is expected. */
import t, { type Test } from 'tap';
import { BenchError } from '../../../src/model/errors.js';
import {
  bounds,
  checkScope,
  hostPortText,
  isLoopback,
  parseChoice,
  parseCount,
  parseCountList,
  parseCpuList,
  parseDurationMs,
  parseFraction,
  parseOfferedRates,
  parseHost,
  parseHostPort,
  parseMode,
  parseModes,
  parsePort,
  parseRatePerSecond,
  parseSizeBytes,
} from '../../../src/model/parse.js';
import { nearest } from '../../../src/model/spelling.js';

type Parser = (text: string) => unknown;

function accepts(test: Test, parse: Parser, cases: readonly (readonly [string, unknown])[]): void {
  for (const [text, expected] of cases) test.same(parse(text), expected, `takes "${text}"`);
}

/** Each case: what was typed, and what the message or the hint must contain. */
function refuses(test: Test, parse: Parser, cases: readonly (readonly [string, RegExp])[]): void {
  for (const [text, told] of cases) {
    try {
      const value = parse(text);
      test.fail(`took "${text}" as ${JSON.stringify(value)}`);
    } catch (error) {
      if (!(error instanceof BenchError)) throw error;
      test.equal(error.code, 'usage', `refuses "${text}" as wrong usage`);
      test.match(`${error.message} | ${error.hint}`, told, `says why "${text}" is refused`);
      test.not(error.hint, '', `has a hint for "${text}"`);
      test.notMatch(error.message, /\n/, 'is one line');
    }
  }
}

t.test('counts', async (test) => {
  const parse = parseCount('--clients', bounds.clients);
  accepts(test, parse, [
    ['1', 1],
    ['6000', 6000],
    [' 6000 ', 6000],
    ['1_000_000', 1_000_000],
    ['1e6', 1_000_000],
    ['4000000', 4_000_000],
  ]);
  refuses(test, parse, [
    ['0', /--clients 0 is too small.*1 to 4,000,000/],
    ['-1', /--clients -1 is too small/],
    ['1e9', /--clients 1,000,000,000 is too large.*1 to 4,000,000/],
    ['4000001', /too large/],
    ['1.5', /"1.5" is not a whole number/],
    ['', /"" is not a whole number/],
    ['0x10', /"0x10" is not a whole number/],
    ['Infinity', /not a whole number/],
    ['NaN', /not a whole number/],
    ['6000 clients', /not a whole number/],
    ['1__0', /not a whole number/],
    ['\u001b[31m', /"\?\[31m"/],
  ]);
});

t.test('lists of counts', async (test) => {
  const parse = parseCountList('--clients', bounds.clients);
  accepts(test, parse, [
    ['6000', [6000]],
    ['100,1000,6000', [100, 1000, 6000]],
    ['6000, 100', [6000, 100]],
  ]);
  refuses(test, parse, [
    ['', /empty entry/],
    ['100,,200', /empty entry/],
    ['100,', /empty entry/],
    ['100,0', /--clients 0 is too small/],
    ['100,200,100', /names 100 twice/],
  ]);
});

t.test('durations', async (test) => {
  const parse = parseDurationMs('--duration', { min: 100, max: 3_600_000 });
  accepts(test, parse, [
    ['3s', 3000],
    ['500ms', 500],
    ['0.5s', 500],
    ['.5s', 500],
    ['2m', 120_000],
    ['2min', 120_000],
    ['1h', 3_600_000],
    ['3 S', 3000],
    ['100000us', 100],
  ]);
  refuses(test, parse, [
    ['3', /has no unit.*did you mean 3s\?/],
    ['0', /--duration 0 is too short.*100 ms to 1 h/],
    ['99ms', /too short.*100 ms to 1 h/],
    ['2h', /too long/],
    ['-3s', /not a length of time/],
    ['3x', /"x" is not a unit of time.*ms, s, m and h/],
    ['soon', /"soon" is not a length of time/],
    ['', /not a length of time/],
    ['1.2.3s', /not a length of time/],
    ['3s4s', /not a length of time/],
    ['InfinityS', /not a length of time/],
    ['constructors', /not a length of time/],
    ['1constructor', /"constructor" is not a unit of time/],
  ]);
  test.equal(parseDurationMs('--think-time', { min: 0, max: 1000 })('0'), 0, '0 needs no unit where 0 is allowed');
});

t.test('sizes', async (test) => {
  const parse = parseSizeBytes('--message-size', bounds.messageSizeBytes);
  accepts(test, parse, [
    ['64', 64],
    ['64B', 64],
    ['64k', 65_536],
    ['64KiB', 65_536],
    ['64 kb', 65_536],
    ['1MiB', 1_048_576],
    ['0.5k', 512],
    ['1', 1],
  ]);
  refuses(test, parse, [
    ['0', /--message-size 0 is too small.*1 B to 1 MiB/],
    ['1048577', /too large/],
    ['2MiB', /--message-size 2MiB is too large.*1 MiB/],
    ['1GiB', /too large/],
    ['64x', /"x" is not a unit of size/],
    ['1constructor', /"constructor" is not a unit of size/],
    ['-64', /not a size/],
    ['0.3', /not a whole number of bytes/],
    ['', /not a size/],
    ['big', /not a size/],
  ]);
});

t.test('rates', async (test) => {
  const parse = parseRatePerSecond('--rate');
  accepts(test, parse, [
    ['50000/s', 50_000],
    ['50k/s', 50_000],
    ['50K', 50_000],
    ['1.5M/s', 1_500_000],
    ['50000', 50_000],
    ['0.5/s', 0.5],
  ]);
  refuses(test, parse, [
    ['0', /too small/],
    ['-5/s', /too small/],
    ['5G/s', /not a rate/],
    ['50/m', /not per second/],
    ['1e12', /too large/],
    ['fast', /not a rate.*50000\/s/],
    ['', /not a rate/],
  ]);
});

t.test('shares', async (test) => {
  const parse = parseFraction('--active');
  accepts(test, parse, [
    ['1%', 0.01],
    ['100%', 1],
    ['0.25', 0.25],
    ['1', 1],
    ['0.1%', 0.001],
  ]);
  refuses(test, parse, [
    ['0%', /out of range.*more than 0%/],
    ['101%', /out of range/],
    ['5', /did you mean 5%\?/],
    ['-1%', /out of range/],
    ['some', /not a share/],
    ['%', /not a share/],
  ]);
  refuses(test, parseFraction('--until', bounds.until), [
    ['3', /did you mean 3%\?/],
    ['0.05%', /out of range.*0\.1% to 50%/],
    ['60%', /out of range.*0\.1% to 50%/],
  ]);
});

t.test('the interface of a link-local address', async (test) => {
  const entry = { address: 'fe80::7', netmask: '', mac: '', cidr: null, internal: false } as const;
  const interfaces: NonNullable<Parameters<typeof checkScope>[2]> = {
    lo: [{ ...entry, family: 'IPv4', internal: true }],
    br_lan: [{ ...entry, family: 'IPv6', scopeid: 4 }],
  };
  const check = (host: string): string => checkScope('--target', host, interfaces);
  for (const host of ['::1', '127.0.0.1', 'fd00::1']) test.equal(check(host), host, 'not link-local');
  const named = process.platform === 'win32' ? 'fe80::1%4' : 'fe80::1%br_lan';
  accepts(test, check, [
    ['fe80::1%br_lan', named],
    ['fe80::1%4', 'fe80::1%4'],
  ]);
  refuses(test, check, [
    [
      'fe80::1',
      /link-local address fe80::1 needs the interface.*fe80::1%br_lan; the interfaces that are up are lo, br_lan/,
    ],
    ['FEBF::1', /needs the interface/],
    ['fe80::1%', /needs the interface/],
    ['fe80::1%eth7', /no interface "eth7" for fe80::1.*lo, br_lan/],
    ['fe80::1%7', /no interface "7"/],
    ['::1%eth7', /no interface "eth7"/],
  ]);
});

t.test('ports, hosts and targets', async (test) => {
  accepts(test, parsePort('--port'), [
    ['0', 0],
    ['7000', 7000],
    ['65535', 65_535],
  ]);
  refuses(test, parsePort('--port'), [
    ['65536', /not a port.*0 to 65535/],
    ['-1', /not a port/],
    ['http', /not a port/],
    ['', /not a port/],
    ['70.5', /not a port/],
  ]);
  accepts(test, parseHost('--host'), [
    ['127.0.0.1', '127.0.0.1'],
    ['::1', '::1'],
    ['[::1]', '::1'],
    ['localhost', '127.0.0.1'],
    ['0.0.0.0', '0.0.0.0'],
  ]);
  refuses(test, parseHost('--host'), [
    ['example.org', /"example.org" is not a numeric address/],
    ['127.0.0.256', /not a numeric address/],
    ['', /not a numeric address/],
  ]);
  accepts(test, parseHostPort('--target'), [
    ['127.0.0.1:7000', { host: '127.0.0.1', port: 7000 }],
    ['[::1]:7000', { host: '::1', port: 7000 }],
    // A name is looked up later, when its addresses can be tried.
    ['localhost:7000', { host: 'localhost', port: 7000 }],
    ['db_1.compose-net.:7000', { host: 'db_1.compose-net.', port: 7000 }],
    ['bücher.example:7000', { host: 'bücher.example', port: 7000 }],
  ]);
  refuses(test, parseHostPort('--target'), [
    ['7000', /not host:port.*127\.0\.0\.1:7000/],
    ['127.0.0.1', /not host:port/],
    ['127.0.0.1:', /not host:port/],
    ['127.0.0.1:0', /no valid port/],
    ['127.0.0.1:70000', /no valid port/],
    ['::1:7000', /in brackets/],
    ['http://localhost:7000', /is a URL/],
    ['127.0.0.256:7000', /not an IPv4 address/],
    ['127.1:7000', /not an IPv4 address/],
    ['a b:7000', /neither an address nor a host name/],
    ['-x:7000', /neither an address nor a host name/],
    ['a..b:7000', /neither an address nor a host name/],
  ]);
  test.equal(hostPortText('127.0.0.1', 7000), '127.0.0.1:7000');
  test.equal(hostPortText('::1', 7000), '[::1]:7000');
  test.equal(hostPortText('fe80::1%br_lan', 7000), '[fe80::1%br_lan]:7000');
  for (const host of ['127.0.0.1', '127.9.9.9', '::1', '0:0:0:0:0:0:0:1', '::ffff:127.0.0.1']) {
    test.ok(isLoopback(host), `${host} is loopback`);
  }
  for (const host of ['0.0.0.0', '::', '10.0.0.1', '192.168.127.1', '::2', 'fe80::1', '1::1']) {
    test.notOk(isLoopback(host), `${host} is not loopback`);
  }
});

t.test('modes', async (test) => {
  accepts(test, parseMode('--mode'), [
    ['iocp', 'iocp'],
    ['IOCP', 'iocp'],
    ['io_uring', 'io_uring'],
  ]);
  refuses(test, parseMode('--mode'), [
    ['icop', /"icop" is not a mode.*did you mean iocp\?/],
    ['io-uring', /did you mean io_uring\?/],
    ['bloking', /did you mean blocking\?/],
    [
      'apache',
      /"apache" is not a mode.*the modes are blocking, process, pool, select, poll, event_select, epoll, completion_routine, iocp, thread_pool_io, io_uring, node/,
    ],
    ['', /"" is not a mode/],
  ]);
  accepts(test, parseModes('--modes'), [
    ['all', 'all'],
    ['blocking', ['blocking']],
    ['blocking, iocp', ['blocking', 'iocp']],
    ['node,EPOLL', ['node', 'epoll']],
  ]);
  refuses(test, parseModes('--modes'), [
    ['blocking,iocpp', /did you mean iocp\?/],
    ['blocking,all', /all cannot be combined/],
    ['classic,node', /classic cannot be combined/],
    ['blocking,', /empty entry/],
    ['iocp,iocp', /names iocp twice.*--aa/],
  ]);
  test.same(
    parseModes('--modes', ['mine'])('mine,iocp'),
    ['mine', 'iocp'],
    "names of the user's commands are accepted too",
  );
  refuses(test, parseModes('--modes', ['mine']), [['mime', /did you mean mine\?/]]);
});

t.test('lists of CPUs', async (test) => {
  accepts(test, parseCpuList('--cpus'), [
    ['0', [0]],
    ['3,1', [1, 3]],
    ['0-3,2,6', [0, 1, 2, 3, 6]],
  ]);
  refuses(test, parseCpuList('--cpus'), [
    ['', /not a list of CPUs/],
    ['a', /not a list of CPUs.*0,2 or 0-3/],
    ['3-1', /not a range of CPUs/],
    ['-1', /not a list of CPUs/],
    ['0-4000', /not a range of CPUs/],
  ]);
});

t.test('choices', async (test) => {
  const parse = parseChoice('--format', ['pretty', 'ndjson']);
  accepts(test, parse, [
    ['pretty', 'pretty'],
    ['NDJSON', 'ndjson'],
  ]);
  refuses(test, parse, [
    ['json', /did you mean ndjson\?.*pretty, ndjson/],
    ['yaml', /"yaml" is not a valid choice.*pretty, ndjson/],
  ]);
});

t.test('the nearest word', async (test) => {
  test.equal(nearest('epol', ['epoll', 'iocp']), 'epoll', 'one letter missing');
  test.equal(nearest('pioc', ['epoll', 'iocp']), null, 'too far to guess');
  test.equal(nearest('iopc', ['epoll', 'iocp']), 'iocp', 'two letters swapped');
  test.equal(nearest('xyz', []), null, 'nothing to choose from');
});

t.test('the bounds of the options', async (test) => {
  // Repeated here, so that an accidental change of a bound is noticed.
  test.same(bounds, {
    clients: { min: 1, max: 4_000_000 },
    trials: { min: 1, max: 100 },
    until: { min: 0.001, max: 0.5 },
    pipeline: { min: 1, max: 1_024 },
    workers: { min: 1, max: 1_024 },
    poolThreads: { min: 1, max: 16_384 },
    threads: { min: 1, max: 1_024 },
    backlog: { min: 1, max: 65_535 },
    addresses: { min: 1, max: 256 },
    messageSizeBytes: { min: 1, max: 1_048_576 },
    bodySizeBytes: { min: 0, max: 1_048_576 },
    receiveBufferBytes: { min: 1_024, max: 1_048_576 },
    stackSizeBytes: { min: 16_384, max: 67_108_864 },
    ratePerSecond: { min: 0.001, max: 1_000_000_000 },
    durationMs: { min: 1, max: 86_400_000 },
    workUs: { min: 0, max: 10_000_000 },
    waitMs: { min: 0, max: 60_000 },
    seed: { min: 0, max: 9_007_199_254_740_991 },
  });
});

t.test('values at the edge of a range', async (test) => {
  accepts(test, parseDurationMs('--x', { min: 1_500, max: 90_000 }), [
    ['1.5s', 1_500],
    ['90s', 90_000],
    ['1500000µs', 1_500],
  ]);
  refuses(test, parseDurationMs('--x', { min: 1_500, max: 90_000 }), [
    ['1499ms', /too short.*1,500 ms to 90 s/],
    ['90001ms', /too long/],
  ]);
  refuses(test, parseDurationMs('--x', { min: 1_000, max: 7_200_000 }), [['999ms', /1 s to 2 h/]]);
  refuses(test, parseDurationMs('--x', { min: 5_400_000, max: 3_600_000_000 }), [['1s', /5,400 s to 1,000 h/]]);
  const wide = parseSizeBytes('--x', { min: 1_536, max: 2 ** 42 });
  accepts(test, wide, [
    ['1536', 1_536],
    ['2k', 2_048],
    ['1m', 2 ** 20],
    ['1MB', 2 ** 20],
    ['1G', 2 ** 30],
    ['1gb', 2 ** 30],
    ['1GiB', 2 ** 30],
    ['4096GiB', 2 ** 42],
  ]);
  refuses(test, wide, [['1535', /too small.*1,536 B to 4,194,304 MiB/]]);
  refuses(test, parseSizeBytes('--x', { min: 1_024, max: 3_072 }), [['1023', /1 KiB to 3 KiB/]]);
  const rate = parseRatePerSecond('--x', { min: 1, max: 10 });
  accepts(test, rate, [
    ['1', 1],
    ['10/s', 10],
  ]);
  refuses(test, rate, [
    ['0.99', /too small.*1\/s to 10\/s/],
    ['10.01', /too large/],
    ['1.2.3', /not a rate/],
  ]);
  accepts(test, parseHostPort('--x'), [
    ['127.0.0.1:1', { host: '127.0.0.1', port: 1 }],
    ['127.0.0.1:65535', { host: '127.0.0.1', port: 65_535 }],
  ]);
  refuses(test, parseHostPort('--x'), [
    ['127.0.0.1:65536', /no valid port/],
    ['::7000', /in brackets/],
  ]);
  refuses(test, parseFraction('--x'), [
    ['1.5', /did you mean 1\.5%\?/],
    ['1.2.3', /not a share/],
  ]);
  refuses(test, parseSizeBytes('--x', bounds.messageSizeBytes), [['1.2.3', /not a size/]]);
  accepts(test, parseCpuList('--x'), [['1023', [1_023]]]);
  refuses(test, parseCpuList('--x'), [
    ['1024', /not a range of CPUs/],
    ['00001', /not a list of CPUs/],
    ['1-00002', /not a list of CPUs/],
  ]);
  test.notOk(isLoopback('::11'), '::11 is not loopback');
  test.ok(isLoopback('::1%lo'), 'also with a scope');
});

t.test('a message repeats what the user typed, but shortens long text', async (test) => {
  const parse = parseCount('--x', { min: 1, max: 2 });
  const forty = 'abcdefghij'.repeat(4);
  refuses(test, parse, [
    [forty, new RegExp(`"${forty}" is`)],
    [`${forty}k`, new RegExp(`"${forty.slice(0, 37)}\\.\\.\\." is`)],
  ]);
});

t.test('how many typing errors a suggestion tolerates', async (test) => {
  test.equal(nearest('oicp', ['iocp']), 'iocp', 'the first two letters swapped');
  test.equal(nearest('ocip', ['iocp']), null, 'two edits are too many for four letters');
  test.equal(nearest('blokcing', ['blocking']), 'blocking', 'two edits are not, for eight');
  test.equal(nearest('blcokign', ['blocking']), 'blocking', 'nor two swaps');
  test.equal(nearest('lbcokign', ['blocking']), null, 'three edits are');
  test.equal(nearest('pretty', ['prettier', 'pretty']), 'pretty', 'the same word is nearest');
});

t.test('offered rates: one or several, in requests/s or in percent', async (test) => {
  const parse = parseOfferedRates('--rate');
  test.same(parse('50k/s'), [{ perSecond: 50_000, fraction: null }]);
  test.same(parse('30%'), [{ perSecond: null, fraction: 0.3 }]);
  test.same(
    parse('90%, 10%,50%').map(({ fraction }) => fraction),
    [0.1, 0.5, 0.9],
    'ascending',
  );
  test.same(
    parse('2k/s,500').map(({ perSecond }) => perSecond),
    [500, 2_000],
  );
  for (const text of ['0%', '300%', '-5%', '10%,', '10%,5k/s', '10%,10%', 'fast', '']) {
    test.throws(() => parse(text), { code: 'usage' }, text);
  }
});
