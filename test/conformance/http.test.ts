/**
 * What a server of every mode must do with --protocol http: requests however they are cut, pipelined, with bodies; replies in order; the end of
 * a connection; what is not a request. A mode that cannot run here is skipped with the server's reason.
 */
import t, { type Test } from 'tap';
import type { ServerStats } from '../../src/model/figures.js';
import { Client, fillUntilStuck } from '../support/clients.js';
import { ReplyReader, type HttpReply } from '../support/http-replies.js';
import { modesUnderTest, TestServer, whyUnavailable } from '../support/server.js';
import { sleep, until } from '../support/wait.js';

t.setTimeout(600_000);
/** Scenarios that run at the same time. Each mostly waits, and each has its own server. */
t.jobs = 3;

const bodyText = 'Hello, World!';
const host = 'Host: a.example\r\n';
const get = `GET /some/path?x=1 HTTP/1.1\r\n${host}\r\n`;
const head = `HEAD / HTTP/1.1\r\n${host}Accept: */*\r\n\r\n`;
const post = `POST /form HTTP/1.1\r\n${host}Content-Length: 17\r\n\r\nGET / HTTP/1.1\r\n\n`;
const chunked = `PUT / HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: 1\r\n\r\n`;

interface Scenario {
  mode: string;
  server: TestServer;
  t: Test;
  connect: () => Promise<Talk>;
}

/** What the server must have counted in the end. */
interface Counts {
  requests: number;
  rejected?: number;
}

/** A connection and the replies on it. */
class Talk {
  readonly replies: ReplyReader;

  constructor(readonly client: Client) {
    this.replies = new ReplyReader(client);
  }

  async send(text: string): Promise<void> {
    await this.client.send(Buffer.from(text, 'latin1'));
  }

  async ask(text: string, isHead = false): Promise<HttpReply> {
    await this.send(text);
    return await this.replies.next(isHead);
  }

  /** The server has sent the end of its stream, and nothing before it. */
  async ended(): Promise<boolean> {
    const rest = await this.client.receiveToEnd();
    this.client.destroy();
    return rest.length === 0;
  }
}

function scenario(
  mode: string,
  name: string,
  args: readonly string[],
  work: (scenario: Scenario) => Promise<Counts | undefined>,
  skip: string | false = false,
): void {
  t.test(`${mode}: http: ${name}`, { skip, buffered: true }, async (test) => {
    const server = await TestServer.start({ mode, args: ['--protocol', 'http', ...args] });
    const clients: Client[] = [];
    test.teardown(() => {
      for (const client of clients) client.destroy();
      server.kill();
    });
    const connect = async () => {
      const client = await Client.connect(server.port, server.host);
      clients.push(client);
      return new Talk(client);
    };
    const counts = await work({ mode, server, t: test, connect });
    for (const client of clients) client.destroy();
    if (server.child.exitCode !== null) return;
    await until(async () => {
      const { stats } = await server.sample();
      return stats.accepted === stats.closed;
    });
    const stopped = await server.stop();
    test.equal(stopped.exitCode, 0, 'the server ends with exit code 0');
    checkBooks(test, stopped.sample.stats, counts);
  });
}

function checkBooks(test: Test, stats: ServerStats, counts: Counts | undefined): void {
  test.equal(stats.closed, stats.accepted, 'accepted == closed in the final statistics');
  if (stats.operations_posted !== null) {
    test.equal(stats.operations_completed, stats.operations_posted, 'every posted operation was completed');
  }
  if (counts === undefined) return;
  test.equal(stats.requests, counts.requests, 'as many requests as the client had replies');
  test.equal(stats.rejected, counts.rejected ?? 0, 'as many refusals as the client had');
}

function isRight({ status, headers, body }: HttpReply, expected: { body?: string; connection?: string } = {}): boolean {
  const connection = headers.get('connection')?.toLowerCase();
  return (
    status === 200 &&
    headers.get('content-length') === String(bodyText.length) &&
    body.toString() === (expected.body ?? bodyText) &&
    (expected.connection === undefined || connection === expected.connection)
  );
}

function requests(mode: string): void {
  scenario(mode, 'requests of every form, cut anywhere', [], async ({ t: test, connect }) => {
    const talk = await connect();
    let count = 0;
    for (const text of [get, head, post, chunked, `\r\n${get}`]) {
      test.ok(isRight(await talk.ask(text, text === head), text === head ? { body: '' } : {}), JSON.stringify(text));
      count += 1;
    }
    for (const text of [get, post, chunked]) {
      for (let at = 0; at < text.length - 1; at++) await talk.send(text.slice(at, at + 1));
      test.ok(isRight(await talk.ask(text.slice(-1))), `${text.slice(0, 4)} one byte at a time`);
      count += 1;
    }
    return { requests: count };
  });
}

function pipelined(mode: string): void {
  scenario(mode, 'pipelined requests', [], async ({ t: test, connect }) => {
    const talk = await connect();
    // Far more than a receive buffer holds; in groups of one kind, and mixed.
    const kinds = Array.from({ length: 3_000 }, (_, index) =>
      index < 1_000 ? get : index % 3 === 0 ? head : index % 5 === 0 ? post : index % 7 === 0 ? chunked : get,
    );
    void talk.send(kinds.join('')).catch(() => undefined);
    let wrong = 0;
    for (const kind of kinds) {
      const reply = await talk.replies.next(kind === head);
      if (!isRight(reply, kind === head ? { body: '' } : {})) wrong += 1;
    }
    test.equal(wrong, 0, 'every reply is right, and in order');
    return { requests: kinds.length };
  });
}

function ends(mode: string): void {
  scenario(mode, 'the end of a connection', [], async ({ t: test, connect }) => {
    const closing: [name: string, text: string][] = [
      ['Connection: close', `GET / HTTP/1.1\r\n${host}Connection: close\r\n\r\n`],
      ['HTTP/1.0', 'GET / HTTP/1.0\r\n\r\n'],
      ['HEAD and Connection: close', `HEAD / HTTP/1.1\r\n${host}Connection: close\r\n\r\n`],
    ];
    let count = 0;
    for (const [name, text] of closing) {
      const talk = await connect();
      const isHead = text.startsWith('HEAD');
      test.ok(isRight(await talk.ask(get)), 'a request before');
      // What comes behind the last request is not answered.
      const reply = await talk.ask(`${text}${get}`, isHead);
      test.ok(isRight(reply, { connection: 'close', ...(isHead ? { body: '' } : {}) }), `${name}: the reply says so`);
      test.ok(await talk.ended(), `${name}: then the server closes`);
      count += 2;
    }
    const kept = await connect();
    for (let index = 0; index < 3; index++) {
      const reply = await kept.ask('GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n');
      test.ok(isRight(reply, { connection: 'keep-alive' }), 'HTTP/1.0 with keep-alive stays open');
      count += 1;
    }
    const half = await connect();
    await half.send(get);
    half.client.halfClose();
    test.ok(isRight(await half.replies.next()), 'a request before the FIN is answered');
    test.ok(await half.ended(), 'then the server closes');
    const cut = await connect();
    await cut.send(get.slice(0, -3));
    cut.client.halfClose();
    await cut.client.receiveToEnd();
    return mode === 'node' ? undefined : { requests: count + 1 };
  });
}

const malformed: readonly string[] = [
  'GET / HTTP/1.1\r\nno field\r\n\r\n',
  'GET / HTTP/1.1\r\n\r\n',
  `GET / HTTP/1.1\r\n${host}Name : value\r\n\r\n`,
  `GET / HTTP/1.1\r\n${host}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n`,
  `GET / HTTP/1.1\r\n${host}Content-Length: 1\r\nContent-Length: 2\r\n\r\n`,
  `GET / HTTP/1.1\r\n${host}Content-Length: -1\r\n\r\n`,
  `POST / HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\nxyz\r\n`,
  'GET / HTTP/9.9\r\n\r\n',
  'CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n',
  '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
];

function refusals(mode: string): void {
  scenario(mode, 'what is not a request', [], async ({ t: test, connect }) => {
    for (const text of malformed) {
      const talk = await connect();
      test.ok(isRight(await talk.ask(get)), 'a request before');
      // The rest of what the client sends must not turn the reply into a reset.
      const reply = await talk.ask(`${text}${'x'.repeat(40_000)}`);
      test.equal(reply.status, 400, JSON.stringify(text));
      test.equal(reply.headers.get('connection')?.toLowerCase(), 'close');
      test.ok(await talk.ended(), 'then the server closes');
    }
    const large = await connect();
    const reply = await large.ask(`GET / HTTP/1.1\r\n${host}Name: ${'x'.repeat(20_000)}\r\n\r\n`);
    test.equal(reply.status, 431, 'a header above 16 KiB');
    test.ok(await large.ended(), 'then the server closes');
    return { requests: malformed.length, rejected: malformed.length + 1 };
  });
}

function awaitedBodies(mode: string): void {
  scenario(mode, '100-continue', [], async ({ t: test, connect }) => {
    const talk = await connect();
    const header = `POST / HTTP/1.1\r\n${host}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n`;
    for (let index = 0; index < 2; index++) {
      test.equal((await talk.ask(header)).status, 100, 'the client may send its body');
      test.ok(isRight(await talk.ask('hello')), 'then the reply');
    }
    return { requests: 2 };
  });
}

function bodySizes(mode: string): void {
  for (const bytes of [0, 1 << 20]) {
    scenario(mode, `a body of ${bytes} bytes`, ['--body-size', String(bytes)], async ({ t: test, connect }) => {
      const [one, other] = [await connect(), await connect()];
      const count = 5;
      await one.send(get.repeat(count));
      for (let index = 0; index < count; index++) {
        const { status, headers, body } = await one.replies.next();
        test.equal(status, 200);
        test.equal(headers.get('content-length'), String(bytes));
        test.ok(body.equals(Buffer.alloc(bytes, bodyText)), 'the body is whole');
      }
      test.equal((await other.ask(head, true)).headers.get('content-length'), String(bytes), 'HEAD says its length');
      test.equal((await other.ask(get)).body.length, bytes);
      return { requests: count + 2 };
    });
  }
}

/** Replies that the server would have to hold if it did not stop reading: hundreds of MiB. */
const hoardRequestBytes = 24 << 20;
const boundedGrowthBytes = 48 << 20;

function neverReads(mode: string): void {
  scenario(mode, 'a client that never reads', ['--body-size', '1KiB'], async ({ t: test, server, connect }) => {
    const [witness, stuck] = [await connect(), await connect()];
    test.equal((await witness.ask(get)).status, 200);
    const before = (await server.sample()).usage.resident_bytes;
    const block = Buffer.from(get.repeat(4_000));
    const taken = await fillUntilStuck(stuck.client, block, hoardRequestBytes, 750);
    test.ok(taken < hoardRequestBytes, `the flow stops by itself (after ${taken} bytes)`);
    test.equal((await witness.ask(get)).status, 200, 'other clients are still served');
    const after = (await server.sample()).usage.resident_bytes;
    if (before !== null && after !== null) {
      test.ok(after - before < boundedGrowthBytes, `its memory is bounded (grew by ${after - before} bytes)`);
    }
    stuck.client.reset();
    await stuck.client.closed;
    return undefined;
  });
}

/** Modes that do not know work and wait. They refuse the options. */
const withoutService: readonly string[] = ['event_select', 'completion_routine', 'thread_pool_io'];

function workAndWait(mode: string): void {
  const skip = withoutService.includes(mode) ? `${mode} does not support work and wait` : false;
  const args = ['--work', '200us', '--wait', '5ms'];
  const work = async ({ t: test, server, connect }: Scenario): Promise<Counts> => {
    const count = 20;
    const [one, other] = [await connect(), await connect()];
    const start = performance.now();
    await Promise.all([one.send(get.repeat(count)), other.send(post)]);
    for (let index = 0; index < count; index++) test.ok(isRight(await one.replies.next()), 'the replies come in order');
    test.ok(isRight(await other.replies.next()));
    const tookMs = performance.now() - start;
    // Node's own server runs the handlers of pipelined requests at the same time.
    if (mode !== 'node') {
      test.ok(tookMs >= count * 5, `${count} waits of one connection follow each other (${Math.round(tookMs)} ms)`);
    }
    test.ok(await until(async () => (await server.sample()).stats.served === count + 1));
    const { stats } = await server.sample();
    test.equal(stats.served, count + 1);
    test.equal(stats.waits, count + 1);
    test.ok((stats.waited_ns ?? 0) >= (count + 1) * 5e6, 'no wait is too short');
    test.equal(stats.dropped, 0);
    return { requests: count + 1 };
  };
  scenario(mode, 'work and wait per request', args, work, skip);
  scenario(
    mode,
    'a client that leaves while its request waits',
    ['--wait', '300ms'],
    async ({ t: test, server, connect }) => {
      const [leaver, stayer] = [await connect(), await connect()];
      await Promise.all([leaver.send(get), stayer.send(get)]);
      await sleep(50);
      leaver.client.reset();
      test.ok(isRight(await stayer.replies.next()), 'the other one is answered');
      const done = await until(async () => {
        const { stats } = await server.sample();
        return (stats.served ?? 0) + (stats.dropped ?? 0) === 2;
      });
      test.ok(done, 'both are accounted for');
      return undefined;
    },
    skip,
  );
}

function stops(mode: string): void {
  scenario(mode, 'stop', [], async ({ t: test, server, connect }) => {
    const talks = await Promise.all(Array.from({ length: 8 }, () => connect()));
    for (const talk of talks) test.ok(isRight(await talk.ask(get)));
    const replies = Promise.all(talks.map((talk) => talk.client.receiveToEnd()));
    await talks[0]?.send(get.slice(0, 20));
    const stopped = await server.stop(20_000);
    test.equal(stopped.exitCode, 0);
    test.notOk(stopped.deadlineMissed, 'idle connections do not hold it up');
    await replies;
    checkBooks(test, stopped.sample.stats, { requests: talks.length });
    return undefined;
  });
}

let ran = 0;
for (const mode of modesUnderTest()) {
  const unavailable = await whyUnavailable(mode);
  if (unavailable !== false) {
    t.test(mode, { skip: unavailable }, () => undefined);
    continue;
  }
  ran += 1;
  requests(mode);
  pipelined(mode);
  ends(mode);
  refusals(mode);
  awaitedBodies(mode);
  bodySizes(mode);
  neverReads(mode);
  workAndWait(mode);
  stops(mode);
}
t.ok(ran > 0, `${ran} modes ran`);
