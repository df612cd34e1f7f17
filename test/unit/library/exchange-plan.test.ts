/** Exchanges from the options of `blast`: the bytes of requests, and every refusal with its hint. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import t, { type Test } from 'tap';
import { addBlastOptions, blastOptions, type BlastOptions } from '../../../src/library/blast-options.js';
import { planExchange } from '../../../src/library/exchange-plan.js';
import { BenchError } from '../../../src/model/errors.js';
import { withoutSecrets } from '../../../src/model/exchange.js';
import type { PlannedExchange } from '../../../src/model/plan.js';
import { encodeExchange } from '../../../src/native/encode-exchange.js';

function optionsOf(args: readonly string[]): BlastOptions {
  const command = new Command('blast');
  addBlastOptions(command);
  command.exitOverride().parse([...args], { from: 'user' });
  return blastOptions(command.opts());
}

function planOf(...args: string[]): PlannedExchange {
  const exchange = planExchange(optionsOf(args));
  if (exchange === null) throw new Error('this is the echo protocol');
  return exchange;
}

function requestOf(exchange: PlannedExchange): string {
  return Buffer.from(exchange.request, 'base64').toString('latin1');
}

function refused(test: Test, args: readonly string[], says: readonly RegExp[]): void {
  try {
    planExchange(optionsOf(args));
    test.fail(`${args.join(' ')} was not refused`);
  } catch (error) {
    if (!(error instanceof BenchError)) throw error;
    test.equal(error.code, 'usage', args.join(' '));
    test.not(error.hint, '', 'with a hint');
    for (const pattern of says) test.match(`${error.message}; ${error.hint}`, pattern);
  }
}

const target = ['--target', 'http://127.0.0.1:9/'];
const message = ['--target', '127.0.0.1:9', '--protocol', 'message'];

t.test('the echo protocol is the default', (test) => {
  test.equal(planExchange(optionsOf([])), null);
  test.equal(planExchange(optionsOf(['--target', '127.0.0.1:9'])), null);
  test.end();
});

t.test('requests of HTTP', (test) => {
  test.match(
    requestOf(planOf('--target', 'http://example.com:8080/a?b=c#part')),
    /^GET \/a\?b=c HTTP\/1\.1\r\nHost: example\.com:8080\r\nUser-Agent: iocp-bench\/[\d.]+\r\nAccept: \*\/\*\r\n\r\n$/,
  );
  test.match(requestOf(planOf('--target', 'http://[::1]?x')), /^GET \/\?x HTTP\/1\.1\r\nHost: \[::1\]\r\n/);
  test.match(
    requestOf(planOf('--target', '127.0.0.1:80', '--protocol', 'http')),
    /^GET \/ .*\r\nHost: 127\.0\.0\.1\r\n/,
  );
  const posted = planOf(
    ...target,
    '--body',
    'a body',
    '--header',
    'host: other',
    '--header',
    'X: 1',
    '--header',
    'X: 2',
  );
  test.match(
    requestOf(posted),
    /^POST \/ HTTP\/1\.1\r\nUser-Agent: .*\r\nhost: other\r\nX: 1\r\nX: 2\r\nContent-Length: 6\r\n\r\na body$/s,
  );
  test.equal(posted.requestBytes, requestOf(posted).length);
  test.match(posted.words, { request: 'POST / with a body of 6 B', reply: 'status 200 to 399' });
  const head = planOf(...target, '--method', 'HEAD', '--expect-status', '2xx,404,500-502', '--expect-body', 'same');
  test.match(head, {
    hasNoBody: true,
    statuses: [
      [200, 299],
      [404, 404],
      [500, 502],
    ],
    expectBody: 'same',
  });
  const words = planOf(...target, '--expect-body', 'exact:hello').words;
  test.equal(words.reply, 'status 200 to 399 and the expected body');
  test.not(words.fingerprint, planOf(...target).words.fingerprint, 'another expectation has another fingerprint');
  test.equal(planOf(...target).words.fingerprint, planOf(...target).words.fingerprint);
  test.end();
});

t.test('messages', (test) => {
  const ping = planOf(...message, '--send', 'PING\\r\\n', '--reply-exact', '+PONG\\r\\n');
  test.equal(requestOf(ping), 'PING\r\n');
  test.match(ping.words, { request: '"PING\\r\\n"', reply: 'is "+PONG\\r\\n"' });
  const escapes = planOf(...message, '--send', 'a\\x00\\xffb\\\\\\t\\0\\"é', '--reply-bytes', '4KiB');
  test.equal(requestOf(escapes), 'a\0\xffb\\\t\0"\xc3\xa9');
  test.match(escapes, { frame: { kind: 'bytes', length: 4096 } });
  const prefixed = planOf(...message, '--send', 'x', '--reply-length-prefix', 'u16le-2');
  test.match(prefixed, { frame: { kind: 'length_prefix', prefix: 'u16le', added: -2 } });
  const keys = planOf(
    ...message,
    '--send',
    'GET {connection}:{sequence}\\n',
    '--reply-until',
    '\\n',
    '--hello',
    'I am {connection}',
  );
  test.equal(requestOf(keys), 'GET 00000000:000000000000\n');
  test.match(keys, {
    placeholders: [
      { text: 'request', kind: 'connection', at: 4 },
      { text: 'request', kind: 'sequence', at: 13 },
      { text: 'hello', kind: 'connection', at: 5 },
    ],
  });
  test.end();
});

t.test('the bytes of files', (test) => {
  const path = join(test.testdir(), 'bytes');
  writeFileSync(path, Buffer.from([0, 255, 0x7b, 0x5c]));
  const sent = planOf(...message, '--send', `@${path}`, '--reply-exact', `@${path}`);
  test.equal(requestOf(sent), '\0\xff{\\', 'are sent as they are');
  test.match(planOf(...target, '--body', `@${path}`).words.request, /body of 4 B/);
  writeFileSync(path, Buffer.alloc(1 << 20));
  refused(test, [...target, '--body', `@${path}`], [/a request has \d+ bytes/, /1048576/]);
  test.end();
});

t.test('encoded for the library', (test) => {
  const exchange = planOf(
    ...message,
    '--send',
    '{sequence}',
    '--reply-until',
    'end',
    '--greeting-until',
    'hi',
    '--hello',
    'me',
  );
  const bytes = Buffer.from(encodeExchange(exchange));
  test.equal(bytes.subarray(-4 - 2 - 2 - 3 - 12, -4).toString('latin1'), '000000000000endhime');
  test.equal(bytes.readUInt32LE(bytes.length - 4), 1, 'the sequence number at the beginning of the request');
  test.end();
});

t.test('what does not fit is refused', (test) => {
  const cases: readonly [string[], ...RegExp[]][] = [
    [['--target', 'ftp://127.0.0.1/'], /ftp/, /http:\/\//],
    [['--target', 'http://me@127.0.0.1/'], /user name/, /--header/],
    [['--target', 'http://127.0.0.1/a b'], /characters/, /%20/],
    [['--target', 'http://127.0.0.1:99999/'], /port/],
    [[...target, '--message-size', '100'], /--message-size only applies to the echo/, /--body/],
    [[...target, '--stream'], /--stream only applies to the echo/],
    [[...message, '--send', 'x', '--reply-bytes', '1', '--message-size', '1'], /--message-size only applies/, /--send/],
    [[...target, '--send', 'x'], /--send needs --protocol message/],
    [[...target, '--protocol', 'message'], /URL/, /host:port/],
    [['--method', 'GET'], /--method needs --protocol http/],
    [['--header', 'A: b'], /--header needs --protocol http/],
    [['--protocol', 'htpp'], /htpp/, /did you mean http/],
    [[...target, '--method', 'get'], /lower case/, /GET/],
    [[...target, '--method', 'CONNECT'], /CONNECT/],
    [[...target, '--method', 'A B'], /not a method/],
    [[...target, '--header', 'no colon'], /name: value/],
    [[...target, '--header', ': x'], /name: value/],
    [[...target, '--header', 'A: b\r\nC: d'], /control character/],
    [[...target, '--header', 'Content-Length: 5'], /cannot be set/, /--body/],
    [[...target, '--header', 'transfer-encoding: chunked'], /cannot be set/, /--body/],
    [[...target, '--body', '@/does/not/exist'], /--body/, /cannot be read/],
    [[...target, '--expect-status', '700'], /700/, /2xx/],
    [[...target, '--expect-status', '300-200'], /300-200/],
    [[...target, '--expect-status', ''], /not a status/],
    [[...target, '--expect-body', 'equal'], /equal/, /any, same/],
    [message, /needs --send/, /PING/],
    [[...message, '--send', 'x'], /where a reply ends/, /--reply-length-prefix/],
    [[...message, '--send', 'x', '--reply-until', 'a', '--reply-bytes', '1'], /several options/],
    [[...message, '--send', ''], /--send is empty/],
    [[...message, '--send', 'a\\q'], /\\q/, /escape/],
    [[...message, '--send', 'a\\x1'], /\\x/, /escape/],
    [[...message, '--send', 'a\\'], /escape/],
    [[...message, '--send', 'x', '--reply-bytes', '0'], /--reply-bytes/],
    [[...message, '--send', 'x', '--reply-length-prefix', 'u64'], /u64/, /u32be/],
    [[...message, '--send', 'x', '--reply-until', 'a'.repeat(5_000)], /--reply-until has 5000 bytes/],
    [[...message, '--send', 'x', '--reply-bytes', '1', '--hello', 'a'.repeat(70_000)], /--hello has 70000 bytes/],
    [[...message, '--body', 'x'], /--body needs --protocol http/],
  ];
  for (const [args, ...says] of cases) refused(test, args, says);
  test.end();
});

t.test('secrets do not get into reports', (test) => {
  test.strictSame(
    withoutSecrets(['blast', '--header', 'authorization: Bearer x', '--header=Cookie: a=b', '--header', 'Accept: c']),
    ['blast', '--header', 'authorization: ***', '--header=Cookie: ***', '--header', 'Accept: c'],
  );
  test.strictSame(withoutSecrets(['--hello', 'AUTH x\\r\\n', '--hello=AUTH y', '--send', 'x']), [
    ...['--hello', '***', '--hello=***', '--send', 'x'],
  ]);
  test.end();
});
