/** Client or server is stopped during a window: the report names the side, and the figures are not used if it was the client. */
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { checkNothingLeft, makePlace, Running, serverOf } from '../support/cli.js';
import { skipOutsideLinux } from '../support/environment.js';
import { connectionsOf } from '../support/ports.js';
import { readReport, runOf } from '../support/report.js';
import { until, within } from '../support/wait.js';
import type { Report } from '../../src/model/report-schema.js';

t.setTimeout(120_000);

const stopMs = 1_500;
const windowMs = 6_000;
const attempts = 3;
const skip = skipOutsideLinux('/proc and signals to other processes');

/** Stops one side in the middle of a window and continues it. Null: on a busy machine the stop was not within the window. */
async function stoppedOnce(test: Test, side: 'client' | 'server', ...more: string[]): Promise<Report | null> {
  const place = makePlace(test);
  const args = [
    'blast',
    '--modes',
    'epoll',
    '--clients',
    '20',
    '--trials',
    '1',
    '--duration',
    `${windowMs}ms`,
    ...more,
  ];
  const running = new Running(place, [...args, '--warmup', '100ms', '--quiet', '--json', 'r.json']);
  test.teardown(() => {
    running.kill();
  });
  const server = await serverOf(running, place);
  const pid = side === 'server' ? server : (running.child.pid ?? 0);
  test.ok(await until(() => connectionsOf(server) >= 20), 'the clients have connected');
  await pause(2_000);
  const stoppedAt = Date.now();
  process.kill(pid, 'SIGSTOP');
  await pause(stopMs);
  process.kill(pid, 'SIGCONT');
  const continuedAt = Date.now();
  const outcome = await within(running.finished, 'the run', 60_000);
  test.equal(outcome.code, 0, outcome.stderr);
  await checkNothingLeft(test, place, ['r.json']);
  const report = readReport(test, join(place.folder, 'r.json'));
  const startedAt = Date.parse(runOf(report, 'epoll').trials[0]?.started_at ?? '');
  return startedAt + 200 < stoppedAt && continuedAt + 200 < startedAt + windowMs ? report : null;
}

/** The same until `isRight`, at most three times: a busy machine stops others, too. */
async function stoppedRun(
  test: Test,
  side: 'client' | 'server',
  isRight: (report: Report) => boolean,
  ...more: string[]
): Promise<Report> {
  let found: Report | null = null;
  for (let attempt = 0; attempt < attempts && (found === null || !isRight(found)); attempt++) {
    found = (await stoppedOnce(test, side, ...more)) ?? found;
  }
  if (found === null) throw new Error('the stop was never within the window');
  return found;
}

/** Loads that leave the client idle most of the time, so that work cannot hide a stop. */
for (const load of [
  ['--phases', 'capacity', '--think-time', '5ms'],
  ['--phases', 'latency', '--rate', '1000/s'],
]) {
  t.test(`a stopped client, ${load[1] ?? ''}: the window is not valid`, { skip }, async (test) => {
    const report = await stoppedRun(test, 'client', () => true, ...load);
    const warning = report.warnings.find(({ code }) => code === 'client_stopped');
    test.match(warning, { severity: 'invalid', message: /the load generator did not run for \d/ });
    const [window] = runOf(report, 'epoll').trials;
    const stoppedNs = window?.client?.stopped_ns ?? 0;
    test.ok(stoppedNs > 0.9 * stopMs * 1e6, `stopped for ${stoppedNs} ns`);
    test.notOk(window?.client?.saturated_by === 'busy', 'a stop does not count as work');
  });
}

t.test('a stopped server is charged to the server', { skip }, async (test) => {
  const clientRan = (report: Report): boolean =>
    (runOf(report, 'epoll').trials[0]?.client?.stopped_ns ?? Infinity) < 0.5 * stopMs * 1e6;
  const report = await stoppedRun(test, 'server', clientRan, '--phases', 'capacity');
  const [window] = runOf(report, 'epoll').trials;
  test.ok((window?.service_time_ns?.max ?? 0) > 0.9 * stopMs * 1e6, 'its requests took that long');
  test.ok(clientRan(report), 'the client ran');
});
