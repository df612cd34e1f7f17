/**
 * The mode `process`: a process per connection. Its cost is that of all its processes, those that have ended included, and none of them
 * is left behind, however the server ends.
 */
import { readdirSync } from 'node:fs';
import t, { type Test } from 'tap';
import { parseProcessStat, proportionalBytes, readProcess, type ProcessRow } from '../../src/server/process-tree.js';
import { sum } from '../../src/measure/statistics.js';
import { processUsage } from '../../src/native/binding.js';
import { Client, pattern } from '../support/clients.js';
import { skipOutsideLinux } from '../support/environment.js';
import { TestServer } from '../support/server.js';
import { until, within } from '../support/wait.js';

t.setTimeout(120_000);

const count = 20;

function rowOf(pid: number): ProcessRow | null {
  return parseProcessStat(readProcess(pid, 'stat') ?? '');
}

function childrenOf(pid: number): ProcessRow[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.flatMap((name) => rowOf(Number(name)) ?? []).filter(({ parent }) => parent === pid);
}

/** The program that forks: the server's only child. */
function programOf(server: TestServer): number {
  return childrenOf(server.child.pid ?? 0)[0]?.pid ?? 0;
}

/** The same process, not another one with its number. */
function isGone({ pid, startedTicks }: ProcessRow): boolean {
  const now = rowOf(pid);
  return now?.startedTicks !== startedTicks || now.zombie;
}

function proportionalOf(pid: number): number {
  return proportionalBytes(readProcess(pid, 'smaps_rollup') ?? '') ?? 0;
}

async function start(test: Test): Promise<TestServer> {
  const server = await TestServer.start({ mode: 'process' });
  test.teardown(() => {
    server.kill();
  });
  return server;
}

async function connectAll(test: Test, server: TestServer): Promise<Client[]> {
  const clients = await Promise.all(Array.from({ length: count }, () => Client.connect(server.port)));
  test.teardown(() => {
    for (const client of clients) client.destroy();
  });
  for (const client of clients) await client.echo(pattern(1, 64));
  return clients;
}

/** Every process of the server, while `count` clients are connected. */
function allOf(server: TestServer): ProcessRow[] {
  const program = programOf(server);
  return [...childrenOf(server.child.pid ?? 0), ...childrenOf(program)];
}

t.test('the cost of a process per connection', { skip: skipOutsideLinux('fork') }, async (test) => {
  const server = await start(test);
  const idle = await server.sample();
  const clients = await connectAll(test, server);
  test.equal(childrenOf(programOf(server)).length, count, 'each connection has a process');
  const before = await server.sample();
  test.equal(before.stats.threads, count + 1);
  test.equal((before.usage.threads ?? 0) - (idle.usage.threads ?? 0), count, 'threads of all processes are counted');
  const alone = processUsage(server.child.pid ?? 0);
  const rounds = 50;
  const block = pattern(2, 64 * 1024);
  for (let round = 0; round < rounds; round++) for (const client of clients) await client.echo(block);
  const after = await server.sample();
  const used = (after.usage.cpu_total_ns ?? 0) - (before.usage.cpu_total_ns ?? 0);
  const usedAlone = (processUsage(server.child.pid ?? 0).cpu_total_ns ?? 0) - (alone.cpu_total_ns ?? 0);
  // 64 MB are received and sent: more than 5 ms of CPU time on any machine.
  test.ok(used - usedAlone > 5e6, `CPU time of the children (${used} ns of all, ${usedAlone} ns of the first)`);
  const switches = (after.usage.voluntary_switches ?? 0) - (before.usage.voluntary_switches ?? 0);
  test.ok(switches >= rounds * count, `each child waited for each message (${switches} switches)`);
  test.equal(after.usage.cpu_user_ns, null, '/proc does not separate user and kernel time finely enough');
  const expected = sum([server.child.pid ?? 0, ...allOf(server).map(({ pid }) => pid)].map(proportionalOf));
  const counted = after.usage.resident_bytes ?? 0;
  // Node's own memory, which is most of it, changes a little from one moment to the next.
  test.ok(Math.abs(counted - expected) < 0.2 * expected, `memory of all: ${counted} bytes, /proc shows ${expected}`);
  test.ok((after.usage.page_table_bytes ?? 0) > (idle.usage.page_table_bytes ?? 0) + count * 4096);

  await Promise.all(clients.map((client) => client.close()));
  test.ok(
    await until(() => childrenOf(programOf(server)).length === 0),
    'children that ended are waited for: no zombie',
  );
  const ended = await server.sample();
  test.ok((ended.usage.cpu_total_ns ?? 0) >= (after.usage.cpu_total_ns ?? 0), 'CPU time of ended children is kept');
  test.ok((ended.usage.voluntary_switches ?? 0) >= (after.usage.voluntary_switches ?? 0), 'and their switches');
  test.equal(ended.stats.requests, after.stats.requests, 'and their requests');
  const stopped = await server.stop();
  test.equal(stopped.exitCode, 0);
  test.equal(stopped.sample.stats.threads, 0);
});

t.test('no process outlives the server', { skip: skipOutsideLinux('fork') }, async (test) => {
  await test.test('after a stop', async (inner) => {
    const server = await start(inner);
    await connectAll(inner, server);
    const all = allOf(server);
    inner.equal(all.length, count + 1);
    inner.equal((await server.stop()).exitCode, 0);
    inner.ok(await until(() => all.every(isGone)), 'all are gone');
  });
  await test.test('after the server was killed', async (inner) => {
    const server = await start(inner);
    await connectAll(inner, server);
    const all = allOf(server);
    server.kill();
    inner.ok(await until(() => all.every(isGone)), 'all are gone');
  });
  await test.test('after the program that forks was killed', async (inner) => {
    const server = await start(inner);
    await connectAll(inner, server);
    const all = allOf(server);
    process.kill(programOf(server), 'SIGKILL');
    inner.ok(await until(() => all.every(isGone)), 'its children are gone');
    await inner.rejects(server.sample(), /killed by signal 9/, 'the next sample reports it');
    const { code } = await within(server.exited, 'the exit of the server');
    inner.equal(code, 4, 'the run has failed');
  });
});
