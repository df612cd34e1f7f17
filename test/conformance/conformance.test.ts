/**
 * One suite for every mode: what any echo server of this project must do, whatever its I/O model. Each scenario starts its own
 * server and ends with the same check of its counters. A mode that cannot run here is skipped with the server's reason. Skipped by
 * name: what Node's own server cannot do, and scenarios with more simultaneous connections than `pool` has threads.
 */
import t, { type Test } from 'tap';
import type { ServerStats } from '../../src/model/figures.js';
import { Client, fillUntilStuck, firstDifference, inParallel, pattern } from '../support/clients.js';
import { hasIpv6, skipOutsideLinux, skipWithout } from '../support/environment.js';
import { modesUnderTest, TestServer, whyUnavailable, type ServerOptions } from '../support/server.js';
import { sleep, until } from '../support/wait.js';

t.setTimeout(600_000);
/** Scenarios that run at the same time. Each mostly waits, and each has its own server. */
t.jobs = 3;

const mebibyte = 1024 * 1024;
/** The servers' receive buffer, for message sizes around it. */
const receiveBufferBytes = 16 * 1024;

interface Scenario {
  server: TestServer;
  t: Test;
  connect: () => Promise<Client>;
}

/** What must hold at the end of a scenario in addition to "accepted == closed". */
interface Ending {
  /** Every byte received was echoed; false if a client left before its echo. */
  echoed?: boolean;
}

/** Runs one scenario against a new server, then stops the server and checks its counters. */
function scenario(
  name: string,
  options: ServerOptions,
  work: (scenario: Scenario) => Promise<Ending | undefined>,
  skip: string | false = false,
): void {
  t.test(`${options.mode}: ${name}`, { skip, buffered: true }, async (test) => {
    const server = await TestServer.start(options);
    const clients: Client[] = [];
    test.teardown(() => {
      for (const client of clients) client.destroy();
      server.kill();
    });
    const connect = async () => {
      const client = await Client.connect(server.port, server.host);
      clients.push(client);
      return client;
    };
    const ending = await work({ server, t: test, connect });
    for (const client of clients) client.destroy();
    if (server.child.exitCode !== null) return;
    await allClosed(test, server);
    const stopped = await server.stop();
    test.equal(stopped.exitCode, 0, 'the server ends with exit code 0');
    checkBooks(test, stopped.sample.stats, ending ?? {});
  });
}

/** The server sees every close by itself, before it is stopped. */
async function allClosed(test: Test, server: TestServer): Promise<void> {
  let last: ServerStats | undefined;
  const done = await until(async () => {
    last = (await server.sample()).stats;
    return last.accepted === last.closed;
  });
  test.ok(done, `every accepted connection is seen to close (accepted ${last?.accepted}, closed ${last?.closed})`);
}

function checkBooks(test: Test, stats: ServerStats, ending: Ending): void {
  test.equal(stats.closed, stats.accepted, 'accepted == closed in the final statistics');
  if (ending.echoed ?? true) {
    test.equal(stats.bytes_sent, stats.bytes_received, 'bytes out == bytes in in the final statistics');
  } else {
    test.ok(stats.bytes_sent <= stats.bytes_received, 'no more bytes out than in');
  }
  if (stats.operations_posted !== null) {
    test.equal(stats.operations_completed, stats.operations_posted, 'every posted operation was completed');
  }
}

async function expectEcho(test: Test, client: Client, bytes: Buffer, what: string): Promise<void> {
  const back = await client.echo(bytes);
  test.equal(firstDifference(back, bytes), -1, what);
}

/** The same without an assertion of its own, for many clients. */
async function mustEcho(client: Client, bytes: Buffer, what: string): Promise<void> {
  const at = firstDifference(await client.echo(bytes), bytes);
  if (at >= 0) throw new Error(`${what}: the echo differs at byte ${at}`);
}

function byteByByte(mode: string): void {
  scenario('one byte at a time', { mode }, async ({ t: test, connect }) => {
    const client = await connect();
    const bytes = pattern(1, 200);
    let wrong = 0;
    for (let at = 0; at < 100; at++) {
      const one = bytes.subarray(at, at + 1);
      if (!(await client.echo(one)).equals(one)) wrong += 1;
    }
    test.equal(wrong, 0, '100 single bytes, each echoed before the next');
    const rest = bytes.subarray(100);
    const sendSingly = async () => {
      for (let at = 0; at < rest.length; at++) await client.send(rest.subarray(at, at + 1));
    };
    const [back] = await Promise.all([client.receive(rest.length), sendSingly()]);
    test.equal(firstDifference(back, rest), -1, '100 single bytes, sent without waiting, come back in order');
    await client.close();
    return undefined;
  });
}

function bigMessages(mode: string): void {
  scenario('1 MiB in one go, and sizes around the receive buffer', { mode }, async ({ t: test, connect }) => {
    const client = await connect();
    await expectEcho(test, client, pattern(2, mebibyte), '1 MiB comes back whole and in order');
    for (const length of [receiveBufferBytes - 1, receiveBufferBytes, receiveBufferBytes + 1]) {
      await expectEcho(test, client, pattern(length, length), `${length} bytes come back`);
    }
    await expectEcho(test, client, pattern(3, 8 * mebibyte), '8 MiB comes back whole and in order');
    await client.close();
    return undefined;
  });
}

/** Far more than the socket buffers of both ends hold by default. A server that takes this much buffers without limit. */
const hoardBytes = 96 * mebibyte;
/** How much a server's memory may grow for two clients that never read; its buffers are a few hundred KiB each. */
const boundedGrowthBytes = 48 * mebibyte;

function neverReads(mode: string): void {
  scenario('a client that sends and never reads', { mode }, async ({ t: test, server, connect }) => {
    const witness = await connect();
    await mustEcho(witness, pattern(4, 4096), 'before');
    const before = (await server.sample()).usage.resident_bytes;
    const block = pattern(5, 256 * 1024);
    const stuck = await Promise.all([connect(), connect()]);
    const taken = await Promise.all(stuck.map((client) => fillUntilStuck(client, block, hoardBytes, 750)));
    for (const bytes of taken) test.ok(bytes < hoardBytes, `the flow stops by itself (after ${bytes} bytes)`);
    await expectEcho(test, witness, pattern(6, 64 * 1024), 'other clients are still served');
    const after = (await server.sample()).usage.resident_bytes;
    if (before !== null && after !== null) {
      const growth = after - before;
      test.ok(growth < boundedGrowthBytes, `its memory is bounded (grew by ${growth} bytes)`);
    }
    for (const [index, client] of stuck.entries()) {
      const bytes = taken[index] ?? 0;
      test.equal(await wrongBlocks(client, block, bytes), 0, `then all ${bytes} bytes come back correctly`);
    }
    await Promise.all([witness, ...stuck].map((client) => client.close()));
    return undefined;
  });

  scenario('stop while a client does not read', { mode }, async ({ t: test, server, connect }) => {
    const client = await connect();
    await fillUntilStuck(client, pattern(7, 256 * 1024), hoardBytes, 500);
    const stopped = await server.stop(1_000);
    test.equal(stopped.exitCode, 0, 'it still stops');
    test.ok(stopped.elapsedMs < 15_000, `soon after its deadline of 1 s (${Math.round(stopped.elapsedMs)} ms)`);
    checkBooks(test, stopped.sample.stats, { echoed: false });
    // Under Wine, Node learns that a connection was reset only when it reads.
    client.socket.resume();
    await client.closed;
    return { echoed: false };
  });
}

async function wrongBlocks(client: Client, block: Buffer, bytes: number): Promise<number> {
  let wrong = 0;
  for (let at = 0; at < bytes; at += block.length) {
    if (!(await client.receive(block.length)).equals(block)) wrong += 1;
  }
  return wrong;
}

function halfClose(mode: string): void {
  scenario('half-close after a request', { mode }, async ({ t: test, connect }) => {
    for (const length of [1, 64, receiveBufferBytes, mebibyte]) {
      const client = await connect();
      const bytes = pattern(length, length);
      const back = client.receiveToEnd();
      void client.send(bytes).catch(() => undefined);
      client.halfClose();
      test.equal(firstDifference(await back, bytes), -1, `${length} bytes before the FIN are echoed, then it closes`);
    }
    const silent = await connect();
    silent.halfClose();
    test.equal((await silent.receiveToEnd()).length, 0, 'a FIN with nothing before it is answered by a FIN');
    return undefined;
  });
}

function resets(mode: string): void {
  scenario('RST in mid-message', { mode }, async ({ t: test, server, connect }) => {
    const witness = await connect();
    await inParallel(60, 20, async (index) => {
      const client = await connect();
      // A third get an echo first, a third are in the middle of a big message, a third leave their echo unread.
      if (index % 3 === 0) await mustEcho(client, pattern(index, 64), 'before the reset');
      if (index % 3 === 1) void client.send(pattern(index, mebibyte)).catch(() => undefined);
      if (index % 3 === 2) await client.send(pattern(index, 1024));
      client.reset();
      await client.closed;
    });
    await expectEcho(test, witness, pattern(9, 4096), 'other clients are still served');
    const { stats } = await server.sample();
    test.equal(stats.errors_descriptors ?? 0, 0, 'no error of another kind');
    await witness.close();
    return { echoed: false };
  });
}

function comingAndGoing(mode: string): void {
  scenario('5,000 connects and closes', { mode }, async ({ t: test, server }) => {
    const bytes = pattern(10, 32);
    let echoed = 0;
    await inParallel(5_000, 50, async (index) => {
      const client = await Client.connect(server.port, server.host);
      if (index % 2 === 0) {
        await mustEcho(client, bytes, `connection ${index}`);
        echoed += 1;
      }
      // A RST leaves no TIME_WAIT behind; every tenth client closes normally.
      if (index % 10 === 0) await client.close();
      else client.reset();
      await client.closed;
    });
    test.equal(echoed, 2_500, 'every second client had its echo');
    await allClosed(test, server);
    const { stats } = await server.sample();
    // The kernel may drop a connection that was reset before accept returned, or hand it over.
    test.ok(stats.accepted >= 2_500 && stats.accepted <= 5_000, `accepted ${stats.accepted}`);
    return undefined;
  });
}

function silence(mode: string): void {
  const skip = mode === 'pool' && 'pool: 200 silent connections hold all of its threads, and the next one waits';
  const work = async ({ t: test, connect }: Scenario): Promise<undefined> => {
    const silent: Client[] = [];
    await inParallel(200, 50, async () => {
      silent.push(await connect());
    });
    await inParallel(200, 50, async () => {
      const client = await connect();
      client.reset();
      await client.closed;
    });
    const talker = await connect();
    await expectEcho(test, talker, pattern(11, 1024), 'a client that talks is served at once');
    await Promise.all(silent.map((client, index) => mustEcho(client, pattern(index, 100), `silent ${index}`)));
    test.pass('the silent ones are served when they speak');
    await Promise.all([talker, ...silent].map((client) => client.close()));
    return undefined;
  };
  scenario('200 silent connections, and 200 that reset at once', { mode }, work, skip);
}

function manyPayloads(mode: string): void {
  scenario('64 clients with different payloads at once', { mode }, async ({ t: test, connect }) => {
    const wrong: string[] = [];
    await inParallel(64, 64, async (index) => {
      const client = await connect();
      const bytes = pattern(100 + index, 192 * 1024 + index);
      const [back] = await Promise.all([client.receive(bytes.length), sendUnevenly(client, bytes, 1 + index * 7)]);
      const at = firstDifference(back, bytes);
      if (at >= 0) wrong.push(`client ${index} at byte ${at}`);
      await client.close();
    });
    test.strictSame(wrong, [], 'each gets its own bytes');
    return undefined;
  });
}

/** Sends in pieces of different lengths, so that messages of different clients are cut at different places. */
async function sendUnevenly(client: Client, bytes: Buffer, firstSize: number): Promise<void> {
  for (let at = 0, size = firstSize; at < bytes.length; at += size, size = 1 + ((size * 31) % 9_973)) {
    await client.send(bytes.subarray(at, at + size));
  }
}

function overIpv6(mode: string, skip: string | false): void {
  scenario(
    'IPv6',
    { mode, host: '::1' },
    async ({ t: test, connect }) => {
      const client = await connect();
      await expectEcho(test, client, pattern(12, 64 * 1024), 'echoes over ::1');
      await client.close();
      return undefined;
    },
    skip,
  );
}

/** How often a server is stopped under load; a soak test sets more. */
const stopRounds = Number(process.env['IOCP_BENCH_TEST_STOP_ROUNDS'] ?? 3);

function stopUnderLoad(mode: string): void {
  t.test(`${mode}: stop under load, ${stopRounds} times`, { buffered: true }, async (test) => {
    for (let round = 1; round <= stopRounds; round++) {
      const server = await TestServer.start({ mode });
      test.teardown(() => {
        server.kill();
      });
      const clients = await Promise.all(Array.from({ length: 50 }, () => Client.connect(server.port)));
      let echoes = 0;
      const running = clients.map(async (client, index) => {
        const bytes = pattern(index, 512);
        // Each runs until the server closes its connection.
        for (;;) {
          await mustEcho(client, bytes, `client ${index}`);
          echoes += 1;
        }
      });
      const ends = Promise.allSettled(running);
      await until(() => echoes >= 500);
      const stopped = await server.stop(3_000);
      test.equal(stopped.exitCode, 0, `round ${round}: exit code 0`);
      test.ok(stopped.elapsedMs < 15_000, `round ${round}: stopped in ${Math.round(stopped.elapsedMs)} ms`);
      checkBooks(test, stopped.sample.stats, { echoed: false });
      const wrong = (await ends).filter((end) => end.status === 'rejected' && String(end.reason).includes('differs'));
      test.equal(wrong.length, 0, `round ${round}: no wrong byte up to the end (${echoes} echoes)`);
      for (const client of clients) client.destroy();
    }
  });
}

/** Descriptors of the limited server: enough for Node and the library, but far fewer than the clients need. */
const fewDescriptors = 100;

function descriptorsExhausted(mode: string): void {
  const oneEach =
    mode === 'process' && 'process: each connection has a process and a descriptor table of its own, so none run out';
  const skip = oneEach || skipOutsideLinux('prlimit') || skipWithout('prlimit');
  const options = { mode, descriptors: fewDescriptors, args: ['--workers', '1'] };
  const work = async ({ t: test, server }: Scenario): Promise<Ending> => {
    const crowd: Client[] = [];
    test.teardown(() => {
      for (const client of crowd) client.destroy();
    });
    for (let index = 0; index < 2 * fewDescriptors; index++) crowd.push(await Client.connect(server.port));
    const served = await servedOf(crowd, 3_000);
    test.ok(served.length >= fewDescriptors / 3, `${served.length} of ${crowd.length} are served at the limit`);
    test.ok(served.length < crowd.length, 'the limit is reached');
    await noBusyLoop(test, server);
    for (const client of served.slice(0, 1)) await mustEcho(client, pattern(13, 1024), 'a served one meanwhile');
    for (const client of served) client.destroy();
    const waiting = crowd.filter((client) => !served.includes(client) && !client.socket.destroyed);
    await afterTheShortage(test, server, waiting, mode);
    for (const client of crowd) client.destroy();
    const { stats } = await server.sample();
    if (mode !== 'node') test.ok((stats.errors_descriptors ?? 0) > 0, 'the shortage is counted');
    return { echoed: false };
  };
  scenario('descriptors exhausted and freed again', options, work, skip);
}

/** Sends a message on each connection and returns those with an echo in time. */
async function servedOf(clients: readonly Client[], withinMs: number): Promise<Client[]> {
  const served: Client[] = [];
  await Promise.all(
    clients.map(async (client, index) => {
      const bytes = pattern(index, 16);
      try {
        await client.send(bytes);
        if ((await client.receive(bytes.length, withinMs)).equals(bytes)) served.push(client);
      } catch {
        // Waiting in the backlog, or closed: not served.
      }
    }),
  );
  return served;
}

async function servesNewClient(server: TestServer): Promise<boolean> {
  const client = await Client.connect(server.port);
  const served = await servedOf([client], 5_000);
  client.destroy();
  return served.length === 1;
}

/** An accept that failed because no descriptor was left must not be retried in a busy loop. */
async function noBusyLoop(test: Test, server: TestServer): Promise<void> {
  const before = (await server.sample()).usage;
  await sleep(1_500);
  const after = (await server.sample()).usage;
  if (before.cpu_total_ns === null || after.cpu_total_ns === null) return;
  const share = (after.cpu_total_ns - before.cpu_total_ns) / (after.taken_at_ns - before.taken_at_ns);
  test.ok(share < 0.5, `no busy loop during the shortage (${Math.round(share * 100)}% of a CPU)`);
}

async function afterTheShortage(
  test: Test,
  server: TestServer,
  waiting: readonly Client[],
  mode: string,
): Promise<void> {
  // libuv closes connections that it cannot accept (uv__emfile_trick), so none wait with node.
  const skip =
    mode === 'node' ? 'node: libuv closes connections that it cannot accept instead of letting them wait' : false;
  await test.test('waiting clients are served as soon as descriptors are free', { skip }, async (inner) => {
    const some = waiting.slice(0, Math.floor(fewDescriptors / 4));
    inner.ok(some.length > 0, `${waiting.length} waited`);
    // The kernel still holds their earlier messages. They wait for the echo of them.
    const results = await Promise.allSettled(some.map((client) => client.receive(16)));
    const failed = results.filter((result) => result.status === 'rejected');
    inner.equal(failed.length, 0, `all of ${some.length} are served`);
  });
  for (const client of waiting) client.destroy();
  // The server has to see the closes first. Until then libuv closes a new connection, while the other models let it wait.
  test.ok(await until(() => servesNewClient(server)), 'a new client is served');
}

function workAndWait(mode: string): void {
  const args = ['--work', '200us', '--wait', '5ms', '--message-size', '100'];
  scenario('work and wait per request', { mode, args }, async ({ t: test, server, connect }) => {
    const count = 20;
    const [one, other] = [await connect(), await connect()];
    const start = performance.now();
    const bytes = pattern(9, count * 100);
    // All requests of a connection at once: they are served one after another, and those of two connections at the same time.
    const [back, single] = await Promise.all([one.echo(bytes), other.echo(pattern(10, 100))]);
    const tookMs = performance.now() - start;
    test.equal(firstDifference(back, bytes), -1, 'the replies come in order');
    test.equal(single.length, 100);
    test.ok(tookMs >= count * 5, `${count} waits of one connection follow each other (${Math.round(tookMs)} ms)`);
    for (const part of [bytes.subarray(0, 30), bytes.subarray(30, 100)]) await one.echo(part);
    const done = await until(async () => (await server.sample()).stats.served === count + 2);
    const { stats } = await server.sample();
    test.ok(done, `served ${stats.served} requests of ${count + 2}`);
    test.equal(stats.waits, count + 2);
    test.ok((stats.waited_ns ?? 0) >= (count + 2) * 5e6, 'no wait is too short');
    test.equal(stats.dropped, 0);
    if (stats.work_measured !== null && stats.work_burnt_ns !== null) {
      test.ok(stats.work_measured > 0);
      // A ratio: on a machine that is shared, single burns are disturbed; the window's rule is 5%.
      const isRight = (burntUs: number): boolean => burntUs > 200 * 0.8 && burntUs < 200 * 1.5;
      let burntUs = stats.work_burnt_ns / stats.work_measured / 1e3;
      // Burns on a virtual CPU that was taken away meanwhile seem long. Then those of other requests are looked at.
      for (let round = 0; round < 10 && !isRight(burntUs); round++) {
        const before = (await server.sample()).stats;
        await one.echo(bytes);
        let after = before;
        await until(async () => {
          after = (await server.sample()).stats;
          return after.served === (before.served ?? 0) + count;
        });
        const burntNs = (after.work_burnt_ns ?? 0) - (before.work_burnt_ns ?? 0);
        burntUs = burntNs / ((after.work_measured ?? 0) - (before.work_measured ?? 0)) / 1e3;
      }
      test.ok(isRight(burntUs), `${burntUs.toFixed(1)} us burnt per request`);
    }
    return undefined;
  });
}

const ipv6 = (await hasIpv6()) ? false : 'this machine has no IPv6 loopback';
let ran = 0;
for (const mode of modesUnderTest()) {
  const unavailable = await whyUnavailable(mode);
  if (unavailable !== false) {
    t.test(mode, { skip: unavailable }, () => undefined);
    continue;
  }
  ran += 1;
  byteByByte(mode);
  bigMessages(mode);
  neverReads(mode);
  halfClose(mode);
  resets(mode);
  comingAndGoing(mode);
  silence(mode);
  manyPayloads(mode);
  overIpv6(mode, ipv6);
  workAndWait(mode);
  stopUnderLoad(mode);
  descriptorsExhausted(mode);
}
t.ok(ran > 0, `${ran} modes ran`);
