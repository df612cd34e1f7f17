/** `blast --protocol http` against our own modes: the client, the servers and their counts agree. */
import t from 'tap';
import { makePlace, run, shortBlast } from '../support/cli.js';
import { checkHealthyRun, parseReport, runOf, wasSampledLate } from '../support/report.js';
import { modesUnderTest, whyUnavailable } from '../support/server.js';

t.setTimeout(300_000);

const modes: string[] = [];
for (const mode of modesUnderTest()) {
  const unavailable = await whyUnavailable(mode);
  if (unavailable === false) modes.push(mode);
  else t.test(mode, { skip: unavailable }, () => undefined);
}
const clients = 20;

t.test('every mode of this machine, with a body of 100 B', async (test) => {
  const load = ['--body-size', '100', '--pipeline', '2', '--rate', '500/s'];
  const args = ['--protocol', 'http', '--modes', modes.join(','), ...load];
  const outcome = await run(
    makePlace(test),
    shortBlast('--clients', String(clients), '--trials', '1', ...args, '--json', '-'),
    // Nine modes take minutes under Wine on a busy machine.
    { timeoutMs: 280_000 },
  );
  test.equal(outcome.code, 0, outcome.stderr);
  const report = parseReport(test, outcome.stdout);
  test.match(report.plan, { protocol: 'http', body_size_bytes: 100 });
  for (const mode of modes) {
    const result = runOf(report, mode, clients);
    checkHealthyRun(test, result);
    for (const window of result.trials) {
      if (window.state !== 'completed') continue;
      test.match(window.replies, { first: { status: 200, body_bytes: 100 }, differing: 0, connections_ended: 0 }, mode);
      if (wasSampledLate(report, window)) continue;
      const counted = window.server?.requests_counted ?? 0;
      test.ok(counted > 0, `${mode}: the server counted ${counted} requests`);
      // Server and client read their counts at the same time only if the machine lets them.
      const { server_sample_lag_fraction: lag } = window;
      if (lag !== null && lag !== undefined && lag < 0.01) {
        const ratio = counted / window.requests.count;
        test.ok(
          Math.abs(ratio - 1) < 0.1,
          `${mode}: the client counted ${window.requests.count}, the server ${counted}`,
        );
      }
    }
  }
});

t.test('work and wait per request', async (test) => {
  const mode = modes.includes('epoll') ? 'epoll' : 'blocking';
  const args = ['--protocol', 'http', '--modes', mode, '--work', '20us', '--wait', '2ms', '--phases', 'capacity'];
  const outcome = await run(
    makePlace(test),
    shortBlast('--clients', String(clients), '--trials', '1', ...args, '--json', '-'),
  );
  test.equal(outcome.code, 0, outcome.stderr);
  const report = parseReport(test, outcome.stdout);
  for (const window of report.runs[0]?.trials ?? []) {
    if (window.state !== 'completed') continue;
    test.ok((window.service_time_ns.p50 ?? 0) >= 2e6, 'the client sees the waits');
    if (wasSampledLate(report, window)) continue;
    const service = window.server?.service;
    test.ok((service?.wait_ms_per_request ?? 0) >= 2, `waits took ${service?.wait_ms_per_request} ms`);
    test.ok((service?.served ?? 0) > 0);
  }
});
