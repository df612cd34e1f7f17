/** Servers that close connections: after each echo, after a number of echoes, when idle; and a server that never closes them. */
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { CompletedWindow, Report, Warning } from '../../src/model/report-schema.js';
import { checkMessage, checkNothingLeft, makePlace, run, shortBlast, type Outcome } from '../support/cli.js';
import { skipOutsideLinux } from '../support/environment.js';
import { checkHealthyRun, readReport, runOf } from '../support/report.js';
import { closeIdleLaterMs, closeIdleMs, RiggedServer, type RiggedKind } from '../support/rigged.js';

t.setTimeout(300_000);

const runFailed = 4;

async function against(
  test: Test,
  kind: RiggedKind,
  ...args: string[]
): Promise<{ outcome: Outcome; report: Report; windows: CompletedWindow[] }> {
  const server = await RiggedServer.start(kind);
  test.teardown(() => {
    server.kill();
  });
  const place = makePlace(test);
  const outcome = await run(place, shortBlast('--target', server.target, ...args, '--json', 'report.json'));
  const report = readReport(test, join(place.folder, 'report.json'));
  await checkNothingLeft(test, place, ['report.json']);
  const windows = runOf(report, 'target').trials.filter((window) => window.state === 'completed');
  return { outcome, report, windows };
}

function warning(report: Report, code: string): Warning | undefined {
  return report.warnings.find((entry) => entry.code === code);
}

t.test('a server that answers once and closes', async (test) => {
  const { outcome } = await against(test, 'answer-once', '--clients', '20');
  checkMessage(test, outcome, {
    code: runFailed,
    says: [/no request was answered/, /closes each connection after 1 echo;/, /--requests-per-connection 1\b/],
  });
});

t.test('a server that closes after 50 echoes', async (test) => {
  // Few clients and a long warm-up, so that even a slow system is through with all echoes before the window begins.
  const load = ['--clients', '2', '--phases', 'capacity', '--warmup', '1s'];
  const { outcome } = await against(test, 'close-later', ...load);
  checkMessage(test, outcome, {
    code: runFailed,
    says: [/closes each connection after 50 echoes;/, /--requests-per-connection 50\b/],
  });
});

// 'auto' is io_uring if it runs here, and the completion port on Windows.
for (const engine of ['auto', 'epoll']) {
  const skip = engine === 'epoll' ? skipOutsideLinux('epoll') : false;
  for (const close of ['reset', 'fin']) {
    t.test(`one that answers once, with one request per connection: ${engine}, ${close}`, { skip }, async (test) => {
      const load = ['--clients', '20', '--rate', '100/s', '--engine', engine, '--close', close];
      const { outcome, report, windows } = await against(
        test,
        'answer-once',
        '--requests-per-connection',
        '1',
        ...load,
      );
      test.equal(outcome.code, 0, `exit code 0 ${outcome.code === 0 ? '' : outcome.stderr}`);
      checkHealthyRun(test, runOf(report, 'target'));
      test.equal(windows.length, 2, 'both phases');
      for (const { connections, requests } of windows) {
        test.match(connections, { made: 20, lost: 0 });
        test.ok(requests.count > 0 && requests.failed === 0, `${requests.count} answered, ${requests.failed} not`);
        test.ok((requests.reconnects ?? 0) > 0, `${requests.reconnects ?? 0} reconnects`);
      }
    });
  }
}

t.test('idle connections that the server closes', async (test) => {
  const load = ['--clients', '10', '--idle', '30', '--phases', 'capacity'];
  const warmup = ['--warmup', `${1.5 * closeIdleLaterMs}ms`];
  const { outcome, report, windows } = await against(test, 'close-idle-later', ...load, ...warmup);
  test.equal(outcome.code, 0, 'exit code 0');
  const [window] = windows;
  test.match(window?.connections, { made: 40, lost: 30, alive_at_end: 10, closed_idle: { count: 30, active: 0 } });
  // Counted from when the client saw the last echo, which on a busy machine is later than the server's own count.
  test.ok((window?.connections.closed_idle?.after_min_ns ?? 0) >= 0.5 * closeIdleLaterMs * 1e6, 'after how long');
  test.ok((window?.requests.count ?? 0) > 0 && window?.requests.failed === 0, 'the active ones keep their figures');
  test.match(warning(report, 'connections_closed_idle'), {
    severity: 'warning',
    message: /closed 30 of 40 connections after .* without traffic; the active ones stayed open/,
  });
  test.equal(warning(report, 'connections_lost'), undefined, 'none was lost in use');
});

t.test('active connections that the server closes at a low rate', async (test) => {
  const load = ['--clients', '20', '--rate', '5/s', '--phases', 'latency'];
  await test.test('all before the window', async (inner) => {
    const { outcome } = await against(inner, 'close-idle', ...load, '--warmup', `${3 * closeIdleMs}ms`);
    checkMessage(inner, outcome, {
      code: runFailed,
      says: [/active connections after .* without traffic/, /--rate/],
    });
  });
  await test.test('in the window, which does not wait for an echo on each connection', async (inner) => {
    const duration = ['--duration', `${closeIdleLaterMs + 500}ms`];
    const { report, windows } = await against(inner, 'close-idle-later', ...load, ...duration);
    inner.equal(windows.length, 1, 'the window is measured');
    inner.match(warning(report, 'connections_closed_idle'), { message: /active ones, between two requests/ });
  });
});

t.test('a server that does not answer a FIN', async (test) => {
  const load = ['--clients', '5', '--close', 'fin', '--requests-per-connection', '10', '--phases', 'capacity'];
  const { outcome, report, windows } = await against(test, 'keep-open', ...load);
  test.equal(outcome.code, 0, 'exit code 0');
  test.ok((windows[0]?.requests.reconnects ?? 0) > 10, `${windows[0]?.requests.reconnects ?? 0} reconnects`);
  test.match(windows[0]?.churn, { fins_unanswered: 5, fin_wait_fraction: 0 }, 'the warm-up takes in the wait');
  // The wait of a second would take all of the window. A busy machine may pause for a part of it.
  const empty = windows[0]?.timeline.filter(({ offset_ms, requests }) => offset_ms < 500 && requests === 0) ?? [];
  test.ok(empty.length < 3, `the load does not pause within the window (${empty.length} of 5 parts without requests)`);
  test.match(warning(report, 'fin_unanswered'), { message: /did not answer the FIN of 5 connections .* No figure/ });
});

t.test('a server that does not answer a FIN, detected during the window', async (test) => {
  const load = ['--clients', '5', '--close', 'fin', '--requests-per-connection', '60', '--rate', '500/s'];
  const more = ['--phases', 'latency', '--duration', '1s'];
  const { report, windows } = await against(test, 'keep-open', ...load, ...more);
  test.ok(
    (windows[0]?.churn?.fin_wait_fraction ?? 0) > 0.1,
    `${windows[0]?.churn?.fin_wait_fraction ?? 0} of the window`,
  );
  test.ok((windows[0]?.response_time_ns?.max ?? Infinity) < 0.8e9, 'no response time includes the wait');
  test.match(warning(report, 'fin_unanswered'), { severity: 'invalid', message: /too low by the client/ });
  test.equal(
    warning(report, 'rate_not_carried'),
    undefined,
    'the report does not say that the rate is too high for the server',
  );
});
