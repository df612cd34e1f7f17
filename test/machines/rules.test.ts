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

t.setTimeout(300_000);
t.jobs = 2;

/** The load leaves the CPUs idle most of the time, so that no agent is late for want of one. */
function start(test: Test, place: Place, ...args: string[]): Running {
  const load = ['--clients', '20', '--phases', 'capacity', '--think-time', '20ms'];
  const running = new Running(place, ['blast', ...load, '--trials', '1', '--warmup', '100ms', '--json', '-', ...args]);
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

/** On a busy machine the trial may have been repeated for another reason before. */
function repeatedBecause(report: Report): string {
  return report.warnings.flatMap(({ code, message }) => (code === 'trial_repeated' ? [message] : [])).join('\n');
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
  let isHolding = false;
  let wasHeld = false;
  // The agent's confirmation passes. What follows, the order to begin, reaches it after the window has begun. There is none if another
  // agent did not confirm in time; then the order of the repeated trial is held back.
  const proxy = new NatsProxy(test, broker.port, (text, direction) => {
    if (isHolding && text.includes('"type":"load-go"')) wasHeld = true;
    if (isHolding || wasHeld) return;
    if (direction === 'to-agent') {
      const found = /MSG \S+ \d+ (\S+) \d+\r\n[^\r]*"type":"load-arm"[^\r]*"start_ns":"(\d+)"/.exec(text);
      if (found === null) return;
      reply = found[1] ?? '';
      startNs = BigInt(found[2] ?? 0);
    } else if (reply !== null && text.includes(`PUB ${reply} `)) {
      reply = null;
      isHolding = true;
      proxy.hold();
      setTimeout(
        () => {
          isHolding = false;
          proxy.release();
        },
        Number(startNs - nowNs()) / 1e6 + lateMs,
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
  test.ok(wasHeld, 'the order to begin was held back');
  const report = parseReport(test, outcome.stdout);
  const [, ms] = /agent two began the window (\d+) ms late; the trial was repeated/.exec(repeatedBecause(report)) ?? [];
  test.ok(Number(ms) >= lateMs - 5, `late by ${ms} ms: ${repeatedBecause(report)}`);
  checkHealthyRun(test, runOf(report, 'blocking', 20));
  await endAgents(test, place, agents);
});
