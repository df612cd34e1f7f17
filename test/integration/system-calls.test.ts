/** The counters of system calls, of servers and of client engines, against strace. */
import { readdirSync, readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { ControlBlock } from '../../src/run/control.js';
import { EnginePool } from '../../src/run/pool.js';
import type { EngineResult } from '../../src/native/binding.js';
import { TestServer, modesUnderTest, whyUnavailable } from '../support/server.js';
import { CallCount, whyNoStrace } from '../support/strace.js';
import { until, within } from '../support/wait.js';

t.setTimeout(180_000);

const connections = 4;
const requests = 4_000;
const tolerated = 0.01;

/** One engine in a thread of this process, with all its connections made and nothing in flight. */
class Load {
  private readonly control = new ControlBlock(1, 1);
  private readonly pool = new EnginePool(1);
  private engine: Promise<EngineResult[]> | null = null;
  /** The engine's thread. */
  thread = 0;

  private constructor(private readonly connections: number) {}

  static async start(port: number, engine: string, count = connections): Promise<Load> {
    const load = new Load(count);
    const options = optionsFor(port, engine, count);
    load.engine = load.pool.run([{ options, exchange: null, tls: null, control: load.control.buffer }]);
    await until(() => load.control.isRunning());
    await load.command('connect');
    load.thread = await busiestThread(async () => {
      await load.serve(500);
    });
    return load;
  }

  get calls(): number {
    return this.control.live().system_calls;
  }

  get completed(): number {
    return this.control.live().requests_completed;
  }

  /** Runs the closed loop for at least so many requests, then awaits the last echo. */
  async serve(count: number): Promise<void> {
    const due = this.control.live().requests_completed + count;
    this.control.command({ phase: 'warmup', connectionsTotal: this.connections });
    await until(() => this.control.live().requests_completed >= due, 60_000, 5);
    await this.command('drain');
  }

  async end(): Promise<void> {
    await this.command('close');
    await within(this.engine ?? Promise.resolve([]), 'the end of the engine');
    await this.pool.destroy();
  }

  private async command(phase: 'connect' | 'drain' | 'close'): Promise<void> {
    const sequence = this.control.command({ phase });
    await until(() => this.control.isDone(sequence), 60_000, 5);
  }
}

function optionsFor(port: number, engine: string, count: number): Parameters<EnginePool['run']>[0][number]['options'] {
  return {
    ...{ engine, host: '127.0.0.1', port, address_count: 1, engine_index: 0, engine_count: 1 },
    ...{ connections: count, connections_active: count, seed: 1, message_size_bytes: 64, pipeline: 1 },
    ...{ timeout_ns: 60_000_000_000n, think_time_ns: 0n, requests_per_connection: 0, connect_window: count },
    ...{ close_mode: 0, connect_rate_per_second: 0, spin_ns: 0, source_address_first: 0, source_address_count: 0 },
    ...{ source_port_first: 0, source_port_count: 0, cpu: null, descriptors: 0, arrivals: 0, arrivals_stream: 0 },
    ...{ share_index: 0, share_count: 0, share_origin_ns: 0n, count_execution: 0 },
  };
}

/** How often each thread of this process has waited. */
function threadWaits(): Map<number, number> {
  const waits = readdirSync('/proc/self/task').map((thread): [number, number] => {
    const status = readFileSync(`/proc/self/task/${thread}/status`, 'utf8');
    return [Number(thread), Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(status)?.[1] ?? 0)];
  });
  return new Map(waits);
}

/** The thread of this process that waits most often meanwhile, besides the main one, which polls: the engine's, which waits for echoes. */
async function busiestThread(meanwhile: () => Promise<void>): Promise<number> {
  const before = threadWaits();
  await meanwhile();
  const grown = [...threadWaits()]
    .filter(([thread]) => thread !== process.pid)
    .map(([thread, waits]) => ({ thread, waits: waits - (before.get(thread) ?? 0) }));
  return grown.sort((a, b) => b.waits - a.waits)[0]?.thread ?? 0;
}

/** The processes that serve. In mode `process` that is not the server's own, which reads files of each of them for a sample. */
function servingProcesses(mode: string, server: number): number[] {
  return mode === 'process' ? withChildren(server).filter((id) => id !== server) : [server];
}

/** A process and those it has started, which strace does not attach to by itself. */
function withChildren(process: number): number[] {
  const children = readdirSync(`/proc/${process}/task`).flatMap((thread) =>
    readFileSync(`/proc/${process}/task/${thread}/children`, 'utf8').trim().split(' '),
  );
  return [process, ...children.filter((id) => id !== '').flatMap((id) => withChildren(Number(id)))];
}

function isClose(test: Test, counted: number, strace: number): void {
  test.ok(counted > requests / connections, `something was counted (${counted})`);
  test.ok(Math.abs(counted / strace - 1) <= tolerated, `${counted} calls counted, strace sees ${strace}`);
}

const noStrace = whyNoStrace();

for (const mode of modesUnderTest().filter((name) => name !== 'node')) {
  const skip = noStrace || (await whyUnavailable(mode));
  t.test(`${mode}: the server's system calls are those that strace counts`, { skip }, async (test) => {
    const server = await TestServer.start({ mode });
    test.teardown(() => {
      server.kill();
    });
    const load = await Load.start(server.port, 'epoll');
    test.teardown(() => load.end());
    const count = await CallCount.attach(servingProcesses(mode, server.child.pid ?? 0), 'serving');
    const before = (await server.sample()).stats.system_calls;
    await load.serve(requests);
    const after = (await server.sample()).stats.system_calls;
    const strace = await count.stop();
    isClose(test, (after ?? 0) - (before ?? 0), strace);
  });
}

for (const engine of ['epoll', 'io_uring']) {
  const skip = noStrace || (engine === 'io_uring' && (await whyUnavailable('io_uring')));
  t.test(`${engine} engine: its system calls are those that strace counts`, { skip }, async (test) => {
    const server = await TestServer.start({ mode: 'epoll' });
    test.teardown(() => {
      server.kill();
    });
    const load = await Load.start(server.port, engine);
    test.teardown(() => load.end());
    const count = await CallCount.attach([load.thread], 'these');
    const before = load.calls;
    await load.serve(requests);
    const after = load.calls;
    const strace = await count.stop();
    isClose(test, after - before, strace);
  });
}

/** Calls per request with so few messages in flight that nothing can be batched. */
const fewest = [
  { engine: 'epoll', inFlight: 1, most: 2.2, why: 'one send, one recv that waits' },
  { engine: 'auto', inFlight: 1, most: 2.2, why: 'auto takes that engine' },
  { engine: 'io_uring', inFlight: 1, most: 1.2, why: 'one call sends, receives and waits' },
];

for (const { engine, inFlight, most, why } of fewest) {
  const skip = await whyUnavailable(engine === 'io_uring' ? 'io_uring' : 'epoll');
  t.test(`${engine}, ${inFlight} in flight: at most ${most} calls per request`, { skip }, async (test) => {
    const server = await TestServer.start({ mode: 'epoll' });
    test.teardown(() => {
      server.kill();
    });
    const load = await Load.start(server.port, engine, inFlight);
    test.teardown(() => load.end());
    // On a busy machine echoes may be so slow that the engine waits in another way. It does not stay so.
    let best = Infinity;
    await until(async () => {
      const [calls, completed] = [load.calls, load.completed];
      await load.serve(300);
      best = Math.min(best, (load.calls - calls) / (load.completed - completed));
      return best <= most;
    });
    test.ok(best <= most, `${best.toFixed(2)} calls per request: ${why}`);
  });
}

t.test('node does not count its system calls', async (test) => {
  const server = await TestServer.start({ mode: 'node' });
  test.equal((await server.sample()).stats.system_calls, null, 'null and not 0');
  await server.stop();
});
