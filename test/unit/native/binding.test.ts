/** The loaded library through its typed functions: facts about the machine, a server, and errors. */
import { connect } from 'node:net';
import t from 'tap';
import { BenchError } from '../../../src/model/errors.js';
import { modeNames } from '../../../src/model/parse.js';
import {
  backends,
  clockNowNs,
  engines,
  getAffinity,
  histogramIndex,
  histogramValue,
  limits,
  payloadBytes,
  payloadCheck,
  processUsage,
  raiseDescriptorLimit,
  startServer,
  systemSample,
  type ServerOptions,
} from '../../../src/native/binding.js';

const options: ServerOptions = {
  backend: 'blocking',
  host: '127.0.0.1',
  port: 0,
  address_count: 1,
  workers: 0,
  backlog: 128,
  receive_buffer_bytes: 16_384,
  stack_size_bytes: 65_536,
  pool_threads: 0,
  connections_expected: 0,
  zero_byte_recv: false,
  edge_triggered: false,
  wait_blocks: false,
  message_size_bytes: 64,
  protocol: 0,
  body_size_bytes: 13,
  work_ns: 0,
  wait_ns: 0,
};

function refusal(call: () => unknown): BenchError {
  try {
    call();
  } catch (error) {
    if (error instanceof BenchError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

t.test('backends and engines', async (test) => {
  const names = backends().map(({ name }) => name);
  for (const name of modeNames) if (name !== 'node') test.ok(names.includes(name), name);
  for (const probe of [...backends(), ...engines()]) {
    test.equal(probe.available, probe.reason === '', `${probe.name}: has a reason if and only if it cannot run`);
  }
  test.ok(backends().find(({ name }) => name === 'blocking')?.available, 'blocking runs everywhere');
  test.ok(
    engines().some(({ available }) => available),
    'there is a client',
  );
});

t.test('the clock goes on', async (test) => {
  const first = clockNowNs();
  await new Promise((resolve) => setTimeout(resolve, 20));
  const elapsed_ns = clockNowNs() - first;
  test.ok(elapsed_ns >= 15_000_000n, 'by at least the time slept');
});

t.test('usage of this process', async (test) => {
  const before = processUsage(0);
  let spent = 0;
  for (let i = 0; i < 30_000_000; i++) spent += i % 7;
  const after = processUsage(0);
  test.ok(spent > 0);
  test.ok((after.cpu_total_ns ?? 0) > (before.cpu_total_ns ?? 0), 'CPU time grows');
  test.ok(after.taken_at_ns > before.taken_at_ns, 'and so does the clock');
  test.ok((after.resident_bytes ?? 0) > 10 * 2 ** 20, 'a node process holds more than 10 MiB');
  test.ok((after.threads ?? 0) > 1, 'and has more than one thread');
  const own = processUsage(process.pid);
  test.ok((own.cpu_total_ns ?? 0) >= (after.cpu_total_ns ?? 0), 'its own id means the same process');
});

t.test('the machine', async (test) => {
  const machine = limits();
  test.ok(machine.cpus_online >= 1);
  test.ok((machine.memory_total_bytes ?? 0) > (machine.memory_available_bytes ?? Infinity));
  test.match(machine.system, /Linux|Windows/);
  const cpus = getAffinity();
  test.ok(cpus.length >= 1 && cpus.length <= machine.cpus_online);
  test.same(
    cpus,
    [...new Set(cpus)].sort((a, b) => a - b),
    'ascending, each once',
  );
  const sample = systemSample();
  test.ok(sample.taken_at_ns > 0);
  for (const [name, value] of Object.entries(sample)) test.ok(value === null || value >= 0, name);
  const limit = raiseDescriptorLimit();
  if (process.platform === 'linux') test.equal(limits().descriptors_soft, limit, 'the soft limit is the hard one now');
});

t.test('a server of this process', async (test) => {
  const server = startServer(options);
  test.ok(server.port > 0, 'the port really bound');
  const socket = connect(server.port, '127.0.0.1');
  const echo = new Promise<Buffer>((resolve, reject) => {
    socket.once('data', resolve);
    socket.once('error', reject);
  });
  socket.write('hello');
  test.equal((await echo).toString(), 'hello');
  test.match(server.stats(), {
    accepted: 1,
    closed: 0,
    requests: 1,
    bytes_received: 5,
    operations_posted: null,
    workers: null,
  });
  socket.destroy();
  const [first, second] = await Promise.all([server.stop(5_000), server.stop(1)]);
  test.equal(first, second, 'a second stop returns the result of the first');
  test.equal(first.deadline_missed, false);
  test.match(first.stats, { accepted: 1, closed: 1, bytes_sent: 5, threads: 0 });
  test.match(server.stats(), { accepted: 1 }, 'figures after the stop do not touch the freed server');
});

t.test('a missed deadline is reported', async (test) => {
  const server = startServer(options);
  // A client that sends and never reads holds the server's send.
  const socket = connect(server.port, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.pause();
  const chunk = Buffer.alloc(1 << 20);
  for (let i = 0; i < 64; i++) socket.write(chunk);
  // Stuck: no progress in five consecutive samples, because on a busy machine the server may wait between two.
  let received = -1;
  let unchanged = 0;
  for (let turn = 0; turn < 200 && unchanged < 5; turn++) {
    const now = server.stats().bytes_received;
    unchanged = now === received ? unchanged + 1 : 0;
    received = now;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const { deadline_missed, stats } = await server.stop(200);
  test.equal(deadline_missed, true);
  test.equal(stats.accepted, stats.closed, 'the remaining connections are still closed');
  socket.destroy();
});

t.test('errors have the codes and hints of the tool', async (test) => {
  const server = startServer(options);
  const taken = refusal(() => startServer({ ...options, port: server.port }));
  test.equal(taken.code, 'unavailable');
  test.match(taken.message, new RegExp(`127\\.0\\.0\\.1:${server.port}`));
  test.not(taken.hint, '');
  await server.stop(1_000);
  test.equal(refusal(() => startServer({ ...options, backend: 'nope' })).code, 'usage');
  test.equal(refusal(() => startServer({ ...options, stack_size_bytes: 1 })).code, 'usage');
  test.equal(refusal(() => startServer({ ...options, host: '192.0.2.1' })).code, 'unavailable');
  test.equal(refusal(() => processUsage(2 ** 31 - 1)).code, 'runFailed');
});

t.test('histogram and payload', async (test) => {
  for (const value of [1n, 2_047n, 2_048n, 123_456_789n, 3_600_000_000_000n]) {
    const index = histogramIndex(value);
    const lowest = histogramValue(index);
    test.ok(lowest <= value && histogramValue(index + 1) > value, `${value} lies in its bucket`);
    test.ok(Number(value - lowest) <= Number(value) / 1_000, 'its width keeps three digits');
  }
  const at = { seed: 1n, connection: 7n, offset: 0n, message_size_bytes: 64 };
  const bytes = payloadBytes(640, at);
  test.equal(payloadCheck(bytes, at), 640, 'all are right');
  const middle = { ...at, offset: 100n };
  test.equal(payloadCheck(bytes.slice(100), middle), 540, 'from any byte on');
  const damaged = bytes.slice();
  damaged[123] = (damaged[123] ?? 0) ^ 1;
  test.equal(payloadCheck(damaged, at), 123, 'the first wrong byte is returned');
  test.not(payloadCheck(bytes, { ...at, connection: 8n }), 640, "another client's echo is wrong");
  test.not(payloadCheck(bytes, { ...at, seed: 2n }), 640);
});
