/**
 * HTTP servers of every mode against foreign clients: curl, ab, wrk and hey. Every reply is right for them, and the server counts as many
 * requests as they do.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import type { ServerStats } from '../../src/model/figures.js';
import { isWindows, skipWithout } from '../support/environment.js';
import { modesUnderTest, TestServer, whyUnavailable } from '../support/server.js';
import { until } from '../support/wait.js';

t.setTimeout(300_000);

const run = promisify(execFile);

interface Counted {
  readonly least: number;
  /** More than `least` where a client ends while requests are under way. */
  readonly most: number;
}

interface ForeignClient {
  readonly program: string;
  /** Loads the server, checks what the client reports, and returns how many requests it made. */
  readonly load: (test: Test, url: string) => Promise<Counted>;
}

function exactly(count: number): Counted {
  return { least: count, most: count };
}

async function curl(test: Test, url: string): Promise<Counted> {
  const large = 'x'.repeat(100_000);
  const variants: readonly (readonly string[])[] = [
    [],
    ['--http1.0'],
    ['--head'],
    ['--header', 'Connection: close'],
    ['--data', 'a=b'],
    // curl awaits 100-continue before a body of this size.
    ['--data', large, '--header', 'Expect: 100-continue', '--header', 'Transfer-Encoding: chunked'],
    ['--request', 'DELETE'],
  ];
  for (const variant of variants) {
    const { stdout } = await run('curl', [
      '--silent',
      '--max-time',
      '20',
      '--write-out',
      '\n%{http_code}',
      ...variant,
      url,
    ]);
    const status = stdout.split('\n').at(-1);
    const isRight = status === '200' && (variant.includes('--head') || stdout.startsWith('Hello, World!\n'));
    test.ok(isRight, `curl ${variant.map((word) => word.slice(0, 40)).join(' ')}`);
  }
  // Two requests on one connection.
  await run('curl', ['--silent', '--max-time', '20', url, url]);
  return exactly(variants.length + 2);
}

async function ab(test: Test, url: string): Promise<Counted> {
  const count = 300;
  for (const keep of [[], ['-k']]) {
    const { stdout } = await run('ab', ['-q', '-n', String(count), '-c', '5', ...keep, url]);
    test.match(stdout, new RegExp(`Complete requests: +${count}\\n`), `ab ${keep.join('')}`);
    test.match(stdout, /Failed requests: +0\n/);
    test.notMatch(stdout, /Non-2xx/);
    if (keep.length > 0) test.match(stdout, new RegExp(`Keep-Alive requests: +${count}\\n`), 'connections are kept');
  }
  return exactly(2 * count);
}

async function wrk(test: Test, url: string): Promise<Counted> {
  const connections = 8;
  const { stdout } = await run('wrk', ['-t', '1', '-c', String(connections), '-d', '1s', url]);
  test.notMatch(stdout, /Socket errors|Non-2xx/, 'wrk');
  const count = Number(/(\d+) requests in/.exec(stdout)?.[1] ?? Number.NaN);
  test.ok(count > 0, `wrk made ${count} requests`);
  return { least: count, most: count + connections };
}

async function hey(test: Test, url: string): Promise<Counted> {
  const count = 300;
  const { stdout } = await run('hey', ['-n', String(count), '-c', '5', url]);
  test.match(stdout, new RegExp(`\\[200\\]\\s+${count} responses`), 'hey');
  return exactly(count);
}

const foreignClients: readonly ForeignClient[] = [
  { program: 'curl', load: curl },
  { program: 'ab', load: ab },
  { program: 'wrk', load: wrk },
  { program: 'hey', load: hey },
];

/**
 * What the server has counted when it has seen the end of every connection: requests that a client left behind may come late. A server
 * may also show its counts only at the end of a round of its loop, after the replies, so at least `requests` are waited for.
 */
async function settledStats(server: TestServer, requests = 0): Promise<ServerStats> {
  await until(async () => {
    const { stats } = await server.sample();
    return stats.accepted === stats.closed && stats.requests >= requests;
  });
  return (await server.sample()).stats;
}

for (const mode of modesUnderTest()) {
  const unavailable = await whyUnavailable(mode);
  t.test(`${mode} against foreign HTTP clients`, { skip: unavailable }, async (test) => {
    const server = await TestServer.start({ mode, args: ['--protocol', 'http'] });
    test.teardown(() => {
      server.kill();
    });
    const url = `http://127.0.0.1:${server.port}/`;
    for (const { program, load } of foreignClients) {
      const skip = isWindows ? 'the client is a program of Linux' : skipWithout(program);
      await test.test(program, { skip }, async (inner) => {
        const before = await settledStats(server);
        const counted = await load(inner, url);
        const after = await settledStats(server, before.requests + counted.least);
        const requests = after.requests - before.requests;
        inner.ok(
          requests >= counted.least && requests <= counted.most,
          `the server counts ${requests} requests, the client ${counted.least} to ${counted.most}`,
        );
        inner.equal(after.rejected, 0, 'none was refused');
      });
    }
    const stopped = await server.stop();
    test.equal(stopped.sample.stats.accepted, stopped.sample.stats.closed, 'every connection is closed');
  });
}
