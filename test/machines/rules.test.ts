/** Agents that take part but do not do their share: one whose requests no longer advance, and one that begins a window late. */
import { createServer, type AddressInfo, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import type { Report } from '../../src/model/report-schema.js';
import { checkNothingLeft, makePlace, Running, type Place } from '../support/cli.js';
import { skipOutsideLinux } from '../support/environment.js';
import { startAgent, startNats, skipWithoutNats } from '../support/nats.js';
import { NatsProxy } from '../support/nats-proxy.js';
import { localPortsOf } from '../support/ports.js';
import { checkHealthyRun, parseReport, runOf } from '../support/report.js';
import { until, within } from '../support/wait.js';

t.setTimeout(120_000);
t.jobs = 2;

function start(test: Test, place: Place, ...args: string[]): Running {
  const load = ['--clients', '20', '--phases', 'capacity', '--trials', '1', '--warmup', '100ms', '--json', '-'];
  const running = new Running(place, ['blast', ...load, ...args]);
  test.teardown(() => {
    running.kill();
  });
  return running;
}

async function endAgents(test: Test, place: Place, agents: readonly Running[]): Promise<void> {
  for (const agent of agents) agent.child.kill('SIGINT');
  for (const agent of agents) await within(agent.finished, 'the end of an agent');
  await checkNothingLeft(test, place);
}

function repeatedBecause(report: Report): string {
  return report.warnings.find(({ code }) => code === 'trial_repeated')?.message ?? '';
}

/** An echo server that can stop answering some of its clients. */
class PartialServer {
  /**
   * Connections, and not ports: the connections of a repeated trial come from another source address, where the system may choose the
   * same ports again.
   */
  readonly silent = new Set<Socket>();
  readonly answers = new Map<Socket, number>();
  private readonly server = createServer((socket) => {
    this.answers.set(socket, 0);
    socket.on('error', () => undefined);
    socket.on('close', () => this.answers.delete(socket));
    socket.on('data', (bytes) => {
      if (this.silent.has(socket)) return;
      this.answers.set(socket, (this.answers.get(socket) ?? 0) + 1);
      socket.write(bytes);
    });
  });

  async listen(test: Test): Promise<string> {
    test.teardown(() => {
      for (const socket of this.answers.keys()) socket.destroy();
      this.server.close();
    });
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    return `127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }
}

const skipStalled = skipWithoutNats === false ? skipOutsideLinux('/proc') : skipWithoutNats;

t.test(
  'an agent whose requests get no answer any more is stalled',
  { skip: skipStalled, buffered: true },
  async (test) => {
    const place = makePlace(test);
    const broker = await startNats(test);
    const server = new PartialServer();
    const target = await server.listen(test);
    const allowed = ['--allow-target', '127.0.0.1'];
    const [one, two] = await Promise.all(
      ['one', 'two'].map((name) => startAgent(test, place, broker.url, name, allowed)),
    );
    if (one === undefined || two === undefined) throw new Error('there is no agent');
    const machines = ['--nats', broker.url, '--target', target, '--clients-on', 'one,two', '--engine', 'epoll'];
    const running = start(test, place, ...machines, '--duration', '5s', '--timeout', '30s');
    const { pid = 0 } = two.child;
    const loaded = (): Socket[] => {
      const ports = localPortsOf(pid);
      // Connecting needs one answer per connection, so the load has begun.
      return [...server.answers].flatMap(([socket, answers]) =>
        answers > 5 && ports.has(socket.remotePort ?? 0) ? [socket] : [],
      );
    };
    test.ok(await until(() => loaded().length === 10), 'agent two loads the server');
    for (const socket of loaded()) server.silent.add(socket);
    const outcome = await within(running.finished, 'the run', 60_000);
    test.equal(outcome.code, 0, outcome.stderr);
    const report = parseReport(test, outcome.stdout);
    test.match(
      repeatedBecause(report),
      /agent two stalled: none of its requests was answered for 3 s, those of others were; the trial was repeated/,
    );
    checkHealthyRun(test, runOf(report, 'target', 20));
    await endAgents(test, place, [one, two]);
  },
);

/** Times of an agent's clock, which is that of this process on the same machine. */
function nowNs(): bigint {
  return process.hrtime.bigint();
}

t.test('an agent that begins a window late is named', { skip: skipWithoutNats, buffered: true }, async (test) => {
  const place = makePlace(test);
  const broker = await startNats(test);
  const lateMs = 60;
  let reply: string | null = null;
  let startNs = 0n;
  let releasedAtNs = 0n;
  // The agent's confirmation passes. What follows, the order to begin, reaches it after the window has begun.
  const proxy = new NatsProxy(test, broker.port, (text, direction) => {
    if (releasedAtNs !== 0n) return;
    if (direction === 'to-agent' && reply === null) {
      const found = /MSG \S+ \d+ (\S+) \d+\r\n[^\r]*"type":"load-arm"[^\r]*"start_ns":"(\d+)"/.exec(text);
      if (found === null) return;
      reply = found[1] ?? '';
      startNs = BigInt(found[2] ?? 0);
    } else if (direction === 'from-agent' && reply !== null && text.includes(`PUB ${reply} `)) {
      releasedAtNs = startNs + BigInt(lateMs) * 1_000_000n;
      proxy.hold();
      setTimeout(
        () => {
          proxy.release();
        },
        Number(releasedAtNs - nowNs()) / 1e6,
      );
    }
  });
  const agents = await Promise.all([
    startAgent(test, place, broker.url, 'srv'),
    startAgent(test, place, broker.url, 'one'),
    startAgent(test, place, await proxy.listen(), 'two'),
  ]);
  const machines = ['--nats', broker.url, '--server-on', 'srv', '--clients-on', 'one,two', '--modes', 'blocking'];
  const outcome = await within(start(test, place, ...machines, '--duration', '1s').finished, 'the run', 60_000);
  test.equal(outcome.code, 0, outcome.stderr);
  test.not(releasedAtNs, 0n, 'the order to begin was held back');
  const report = parseReport(test, outcome.stdout);
  const [, ms] = /agent two began the window (\d+) ms late; the trial was repeated/.exec(repeatedBecause(report)) ?? [];
  test.ok(Number(ms) >= lateMs - 5, `late by ${ms} ms: ${repeatedBecause(report)}`);
  checkHealthyRun(test, runOf(report, 'blocking', 20));
  await endAgents(test, place, agents);
});
