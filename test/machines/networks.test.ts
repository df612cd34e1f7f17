/** Machines made of network namespaces: broker, server and three load agents, one of them with another monotonic clock. */
import { execFileSync } from 'node:child_process';
import t from 'tap';
import { checkMessage, checkNothingLeft, makePlace, Running, run, shortBlast } from '../support/cli.js';
import { makeHosts, skipWithoutNamespaces } from '../support/namespaces.js';
import { startAgent, startNats, skipWithoutNats } from '../support/nats.js';
import { checkHealthyRun, parseReport, runOf } from '../support/report.js';
import { sleep, until, within } from '../support/wait.js';

t.setTimeout(300_000);
const skip = skipWithoutNats === false ? skipWithoutNamespaces() : skipWithoutNats;
/** One agent's clock is ahead by a day. */
const aheadSeconds = 86_400;

/** Whether a process can have a monotonic clock of its own here. */
function hasTimeNamespaces(): boolean {
  try {
    execFileSync('unshare', ['--time', '--monotonic', String(aheadSeconds), 'true'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

t.test('three load agents on machines of their own', { skip }, async (test) => {
  const place = makePlace(test);
  const [hub, srv, ...others] = makeHosts(test, ['hub', 'srv', 'a', 'b', 'c']);
  if (hub === undefined || srv === undefined) throw new Error('there are no hosts');
  const broker = await startNats(test, [], { under: hub.under, host: hub.address });
  const ahead = hasTimeNamespaces();
  const clock = ahead ? ['unshare', '--time', '--monotonic', String(aheadSeconds)] : [];
  const agents = await Promise.all([
    startAgent(test, place, broker.url, 'srv', ['--address', srv.address], { under: srv.under }),
    ...others.map(({ name, under }) =>
      startAgent(test, place, broker.url, name, [], { under: name === 'c' ? [...under, ...clock] : under }),
    ),
  ]);
  for (const agent of agents) test.match(agent.stderr, /no credentials are used/, 'says what an open broker means');

  const machines = ['--nats', broker.url, '--server-on', 'srv', '--clients-on', 'a,b,c'];
  const load = ['--modes', 'blocking,epoll', '--clients', '300', '--rate', '3000', '--json', '-'];
  const outcome = await run(place, shortBlast(...machines, ...load), { under: hub.under });
  test.equal(outcome.code, 0, outcome.stderr);
  const report = parseReport(test, outcome.stdout);
  for (const mode of ['blocking', 'epoll']) {
    const measured = runOf(report, mode, 300);
    checkHealthyRun(test, measured);
    for (const window of measured.trials) {
      if (window.state !== 'completed') continue;
      const all = window.agents ?? [];
      test.equal(
        all.reduce((sum, { requests }) => sum + requests.count, 0),
        window.requests.count,
        'requests add up',
      );
      const offsets = all.map(({ clock_offset_ns: ns }) => ns / 1e9);
      test.ok(Math.abs(offsets[0] ?? 99) < 1, 'the clock of a is that of the conductor');
      if (ahead) test.ok(Math.abs((offsets[2] ?? 0) - aheadSeconds) < 1, 'the clock of c is ahead, and that is known');
      for (const { name, start_skew_ns: skew, clock_uncertainty_ns: unsure } of all) {
        // The estimates before and after the window are both right within their uncertainty.
        test.ok(
          skew !== null && skew <= 20e6 + 4 * unsure,
          `${name} began within ${(skew ?? NaN) / 1e6} ms of the first`,
        );
      }
    }
  }

  const local = await run(place, shortBlast('--nats', broker.url, '--server-on', 'a', '--clients-on', 'b', ...load), {
    under: hub.under,
  });
  checkMessage(test, local, {
    code: 3,
    says: [/agent b cannot reach servers on 127\.0\.0\.1 of agent a/, /--address/],
  });

  const long = [...machines, '--modes', 'epoll', '--clients', '30', '--phases', 'capacity', '--trials', '1'];
  const running = new Running(place, ['blast', ...long, '--duration', '5s', '--json', '-'], { under: hub.under });
  const [, a, b] = agents;
  const loads = (): number => [...(b?.stdout ?? '').matchAll(/loading/g)].length;
  const before = loads();
  test.ok(await until(() => loads() > before), 'the load runs');
  await sleep(500);
  others[1]?.setLink('down');
  const cut = await within(running.finished, 'the run whose agent lost its network', 60_000);
  checkMessage(test, cut, { code: 4, says: [/agent b is lost/] });
  test.ok(await until(() => (b?.stdout ?? '').includes('conductor was silent for 5 s'), 10_000), 'b stopped by itself');
  test.match(a?.stdout, /free again/, 'the others were freed');
  others[1]?.setLink('up');

  for (const agent of agents) agent.child.kill('SIGINT');
  for (const agent of agents) await within(agent.finished, 'the end of an agent');
  await checkNothingLeft(test, place);
});
