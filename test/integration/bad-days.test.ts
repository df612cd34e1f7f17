/**
 * Failures during a run: the server refuses, stays silent, echoes wrong bytes or dies, or the disk is full. Each ends with the
 * right exit code and one sentence, and keeps the results so far.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  checkMessage,
  checkNothingLeft,
  leftProcesses,
  makePlace,
  run,
  Running,
  serverOf,
  serversOf,
  shortBlast,
  type Outcome,
  type Place,
} from '../support/cli.js';
import { freePort, isRoot, skipOutsideLinux, skipWithout } from '../support/environment.js';
import { checkHealthyRun, parseReport, readReport, runOf } from '../support/report.js';
import { RiggedServer, wrongByte, wrongByteLater, type RiggedKind } from '../support/rigged.js';
import type { Report } from '../../src/model/report-schema.js';
import { until, within } from '../support/wait.js';

t.setTimeout(300_000);

const runFailed = 4;
const interrupted = 130;

/** Loads a rigged server with a few connections and returns the outcome and the report, which must exist in any case. */
async function against(
  test: Test,
  kind: RiggedKind,
  ...more: string[]
): Promise<{ outcome: Outcome; report: Report; place: Place }> {
  const server = await RiggedServer.start(kind);
  test.teardown(() => {
    server.kill();
  });
  const place = makePlace(test);
  const args = shortBlast('--target', server.target, '--clients', '8', '--timeout', '1s', '--phases', 'capacity');
  const outcome = await run(place, [...args, ...more, '--json', 'report.json'], { timeoutMs: 60_000 });
  const report = readReport(test, join(place.folder, 'report.json'));
  await checkNothingLeft(test, place, ['report.json']);
  return { outcome, report, place };
}

/** Errors of all windows of the target, by class. */
function errorsByClass(report: Report): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const window of runOf(report, 'target').trials) {
    for (const [name, count] of Object.entries(window.errors.by_class)) sums[name] = (sums[name] ?? 0) + count;
  }
  return sums;
}

function madeConnections(report: Report): number {
  return runOf(report, 'target').trials[0]?.connections.made ?? -1;
}

function errorMessages(report: Report): string {
  return runOf(report, 'target')
    .trials.flatMap((window) => window.errors.samples.map((sample) => sample.message))
    .join('\n');
}

t.test('control: a correct server passes', async (test) => {
  // Not the short timeout of the faulty ones, which a busy machine may exceed.
  const { outcome, report } = await against(test, 'echo', '--timeout', '30s');
  test.equal(outcome.code, 0, 'exit code 0');
  checkHealthyRun(test, runOf(report, 'target'));
});

t.test('a target that refuses', async (test) => {
  const place = makePlace(test);
  const port = await freePort();
  const outcome = await run(place, shortBlast('--target', `127.0.0.1:${port}`, '--clients', '8', '--json', 'r.json'));
  checkMessage(test, outcome, { code: runFailed, says: [/refused/i, new RegExp(String(port))] });
  await checkNothingLeft(test, place, existsSync(join(place.folder, 'r.json')) ? ['r.json'] : []);
});

t.test('a target that accepts and never answers', async (test) => {
  const { outcome, report } = await against(test, 'silent');
  checkMessage(test, outcome, { code: runFailed, says: [/timeout|answer|echo/i] });
  test.equal(madeConnections(report), 0, 'no connection counts as made');
  test.ok((errorsByClass(report)['timeout'] ?? 0) > 0, 'the class of the error is timeout');
});

t.test('a target that accepts thousands and never answers', async (test) => {
  const many = ['--clients', '1000', '--trials', '3', '--timeout', '1s'];
  const { outcome, report } = await against(test, 'silent', ...many);
  checkMessage(test, outcome, { code: runFailed, says: [/accepted .* connections, and nothing came back within 1 s/] });
  const { trials } = runOf(report, 'target');
  test.equal(trials.length, 1, 'only the calibration waits, not the trials after it');
  const failed = trials[0]?.connections.failed ?? 0;
  test.ok(failed > 0 && failed < 1_000, `the trial ended with the ${failed} connections in flight at first`);
  test.match(report.warnings, [{ code: 'not_tried_again' }]);
});

t.test('a target that closes after one byte', async (test) => {
  const { outcome, report } = await against(test, 'close-after-one-byte');
  checkMessage(test, outcome, { code: runFailed, says: [/closed|refused/i] });
  test.equal(madeConnections(report), 0, 'no connection counts as made');
  test.ok((errorsByClass(report)['refused_by_server'] ?? 0) > 0, 'the class of the error is refused_by_server');
});

t.test('a target that resets after one byte', async (test) => {
  const { outcome, report } = await against(test, 'reset-after-one-byte');
  checkMessage(test, outcome, { code: runFailed, says: [/reset|closed|refused/i] });
  test.equal(madeConnections(report), 0, 'no connection counts as made');
});

for (const [kind, position] of [
  ['wrong-bytes', wrongByte],
  ['wrong-later', wrongByteLater],
] as const) {
  t.test(`a target that echoes a wrong byte (${kind})`, async (test) => {
    const { outcome, report } = await against(test, kind);
    checkMessage(test, outcome, { code: runFailed, says: [/connection \d+/, new RegExp(`byte ${position % 64}\\b`)] });
    test.ok((errorsByClass(report)['data'] ?? 0) > 0, 'the class of the error is data');
    test.match(errorMessages(report), /connection \d+/, 'the report names the connection');
  });
}

t.test("a target that sends another client's echo", async (test) => {
  const { outcome, report } = await against(test, 'swap');
  checkMessage(test, outcome, { code: runFailed, says: [/connection \d+/] });
  test.ok((errorsByClass(report)['data'] ?? 0) > 0, 'the class of the error is data');
});

t.test('a target that sends every byte twice', async (test) => {
  const { outcome, report } = await against(test, 'duplicate');
  checkMessage(test, outcome, { code: runFailed, says: [/connection \d+/] });
  test.ok((errorsByClass(report)['data'] ?? 0) > 0, 'the class of the error is data');
});

t.test('a target that closes its connections in the middle', async (test) => {
  const { outcome, report } = await against(test, 'close-later', '--duration', '4s', '--warmup', '1s');
  test.equal(madeConnections(report), 8, 'they had been made');
  const errors = errorsByClass(report);
  test.ok((errors['closed_early'] ?? 0) + (errors['reset'] ?? 0) > 0, `they are lost (${JSON.stringify(errors)})`);
  checkMessage(test, outcome, { code: runFailed, says: [/closes each connection after 50 echoes/] });
});

t.test('a target that stops answering in the middle', async (test) => {
  const { report } = await against(test, 'mute-later', '--duration', '1s');
  test.equal(madeConnections(report), 8, 'they had been made');
  test.ok((errorsByClass(report)['timeout'] ?? 0) > 0, 'the missing echoes are timeouts');
});

const skipSignals = skipOutsideLinux('/proc and signals to other processes');

t.test('a server that is killed in the middle', { skip: skipSignals }, async (test) => {
  const place = makePlace(test);
  const args = ['blast', '--modes', 'blocking,epoll', '--clients', '20', '--trials', '1', '--phases', 'capacity'];
  const running = new Running(place, [...args, '--duration', '4s', '--warmup', '100ms', '--json', 'r.json']);
  test.teardown(() => {
    running.kill();
  });
  const server = await serverOf(running, place);
  test.ok(await connectedTo(server, 20), 'it serves its connections');
  process.kill(server, 'SIGKILL');
  const outcome = await within(running.finished, 'the run', 60_000);
  checkMessage(test, outcome, { code: runFailed, says: [/server/i, /SIGKILL|killed|died|ended/i] });
  const report = readReport(test, join(place.folder, 'r.json'));
  const states = report.runs.map((one) => [one.mode, one.trials.map((window) => window.state)]);
  test.strictSame(
    [...states].sort(),
    [
      ['blocking', ['failed']],
      ['epoll', ['completed']],
    ],
    'that trial is failed, the comparison went on',
  );
  await checkNothingLeft(test, place, ['r.json']);
});

/** Waits until a server has this many sockets. Each connection is one; the server may have a few more. */
async function connectedTo(pid: number, sockets: number): Promise<boolean> {
  const folder = `/proc/${pid}/fd`;
  return await until(() => {
    try {
      return (
        readdirSync(folder).filter((name) => readlinkSync(join(folder, name)).startsWith('socket:')).length >= sockets
      );
    } catch {
      return false;
    }
  });
}

/** Starts a comparison that would take an hour, in its own process group. */
function startLong(test: Test, place: Place, ...more: string[]): Running {
  const args = ['blast', '--modes', 'blocking,epoll', '--clients', '20', '--trials', '2', '--phases', 'capacity'];
  const running = new Running(place, [...args, '--warmup', '100ms', '--json', 'r.json', ...more], { group: true });
  test.teardown(() => {
    running.kill();
  });
  return running;
}

t.test('Ctrl-C while connecting', { skip: skipSignals }, async (test) => {
  const place = makePlace(test);
  // Two connections per second: connecting takes ten seconds.
  const running = startLong(test, place, '--connect-rate', '2/s', '--duration', '1s');
  test.ok(await connectedTo(await serverOf(running, place), 2), 'it is connecting');
  running.interruptGroup();
  const outcome = await within(running.finished, 'the interrupted run', 60_000);
  checkMessage(test, outcome, { code: interrupted, says: [] });
  const report = readReport(test, join(place.folder, 'r.json'));
  test.equal(report.partial, true, 'the report is marked partial');
  await checkNothingLeft(test, place, ['r.json']);
});

t.test('Ctrl-C while measuring keeps the completed trials', { skip: skipSignals }, async (test) => {
  const place = makePlace(test);
  const running = startLong(test, place, '--duration', '2s');
  // When the second server serves, the first one is done: one window is complete and the next one has begun.
  const first = await serverOf(running, place);
  let second: number | undefined;
  await until(() => {
    second = serversOf(place).find((pid) => pid !== first);
    return running.child.exitCode !== null || second !== undefined;
  });
  test.ok(second !== undefined && (await connectedTo(second, 20)), 'the second server is under load');
  running.interruptGroup();
  const outcome = await within(running.finished, 'the interrupted run', 60_000);
  checkMessage(test, outcome, { code: interrupted, says: [] });
  const report = readReport(test, join(place.folder, 'r.json'));
  test.equal(report.partial, true, 'the report is marked partial');
  const windows = report.runs.flatMap((one) => one.trials);
  // On a busy machine the second one may have ended, too, before the signal.
  const completed = windows.filter((window) => window.state === 'completed').length;
  test.ok(completed >= 1 && completed < 4, `the completed windows are kept (${completed})`);
  test.equal(windows.filter((window) => window.state === 'failed').length, 0, 'none counts as failed');
  await checkNothingLeft(test, place, ['r.json']);
});

t.test('a second Ctrl-C ends the run at once', { skip: skipSignals }, async (test) => {
  const place = makePlace(test);
  const running = startLong(test, place, '--duration', '1h');
  test.ok(await connectedTo(await serverOf(running, place), 20), 'the server is under load');
  running.interruptGroup();
  running.interruptGroup();
  const outcome = await within(running.finished, 'the interrupted run', 60_000);
  test.ok(outcome.code === interrupted || outcome.signal === 'SIGINT', `ends with ${outcome.code ?? outcome.signal}`);
  await until(() => leftProcesses(place).length === 0, 10_000);
  test.strictSame(leftProcesses(place), [], 'no process is left');
});

t.test('a conductor that is killed leaves no server', { skip: skipSignals }, async (test) => {
  const place = makePlace(test);
  const running = startLong(test, place, '--duration', '1h');
  test.ok(await connectedTo(await serverOf(running, place), 20), 'the server is under load');
  running.kill();
  await within(running.finished, 'the killed run');
  await until(() => leftProcesses(place).length === 0, 10_000);
  test.strictSame(leftProcesses(place), [], 'no process is left');
});

for (const signal of ['SIGTERM', 'SIGHUP'] as const) {
  t.test(`${signal} to the conductor`, { skip: skipSignals }, async (test) => {
    const place = makePlace(test);
    const running = startLong(test, place, '--duration', '1h');
    test.ok(await connectedTo(await serverOf(running, place), 20), 'the server is under load');
    running.child.kill(signal);
    // A closed terminal sends SIGHUP more than once.
    if (signal === 'SIGHUP') running.child.kill(signal);
    const outcome = await within(running.finished, 'the terminated run', 60_000);
    checkMessage(test, outcome, { code: interrupted, says: [/interrupted/] });
    test.equal(readReport(test, join(place.folder, 'r.json')).partial, true, 'the report is marked partial');
    await checkNothingLeft(test, place, ['r.json']);
  });
}

t.test('two SIGINTs in the first trial still leave a report', { skip: skipSignals }, async (test) => {
  const place = makePlace(test);
  const running = startLong(test, place, '--duration', '1h');
  await serverOf(running, place);
  running.child.kill('SIGINT');
  await until(() => existsSync(join(place.folder, 'r.json')));
  running.child.kill('SIGINT');
  await within(running.finished, 'the run that was ended at once', 60_000);
  const report = readReport(test, join(place.folder, 'r.json'));
  test.equal(report.partial, true);
  test.ok(report.plan.clients.length > 0, 'with what was planned');
  await until(() => leftProcesses(place).length === 0, 10_000);
  test.strictSame(leftProcesses(place), [], 'no process is left');
});

t.test('a server that cannot start in the first trial still leaves a report', async (test) => {
  const place = makePlace(test);
  const args = shortBlast('--mode-command', 'mine=no-such-program-here {port}', '--clients', '5', '--json', 'r.json');
  const outcome = await run(place, args);
  test.ok(outcome.code === 3 || outcome.code === runFailed, `exit code ${outcome.code ?? ''}`);
  test.type(readReport(test, join(place.folder, 'r.json')).plan, 'object');
  await checkNothingLeft(test, place, ['r.json']);
});

const skipThreads =
  skipOutsideLinux('prlimit --nproc') ||
  skipWithout('prlimit', 'setpriv') ||
  (isRoot ? false : 'only root can become another user');

t.test(
  'a thread or process per connection at the limit of threads: a result, and the comparison goes on',
  { skip: skipThreads },
  async (test) => {
    const place = makePlace(test);
    // The limit does not apply to root, and it counts all threads of a user; the user nobody has no others.
    const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
    for (const folder of [place.folder, place.temporary]) chmodSync(folder, 0o777);
    const args = shortBlast(
      '--modes',
      'blocking,process,epoll',
      '--clients',
      '400',
      '--phases',
      'capacity',
      '--json',
      '-',
    );
    const outcome = await run(place, args, { under: ['prlimit', '--nproc=300', ...nobody] });
    test.equal(outcome.code, 0, `exit code 0 ${outcome.code === 0 ? '' : outcome.stderr}`);
    const report = parseReport(test, outcome.stdout);
    for (const mode of ['blocking', 'process']) {
      const [window] = runOf(report, mode, 400).trials;
      const { made = 0, failed = 0 } = window?.connections ?? {};
      test.ok(made >= 100 && made < 300, `${mode}: ${made} connections are served`);
      test.equal(made + failed, 400, 'the others failed');
      test.strictSame(window?.errors.by_class, { refused_by_server: failed }, 'as refused by the server');
    }
    checkHealthyRun(test, runOf(report, 'epoll', 400));
    await checkNothingLeft(test, place);
  },
);

const skipMount = skipOutsideLinux('tmpfs') || (isRoot ? false : 'only root can mount a tmpfs') || skipWithout('mount');

function filesBelow(folder: string): string[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

t.test('the disk is full when the report is written', { skip: skipMount }, async (test) => {
  const place = makePlace(test);
  const disk = join(place.folder, 'disk');
  mkdirSync(disk);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4k', 'tmpfs', disk], { stdio: 'ignore' });
  } catch {
    test.pass('the report is kept', { skip: 'this root may not mount a tmpfs' });
    return;
  }
  try {
    const args = shortBlast('--modes', 'epoll,node', '--clients', '20', '--phases', 'capacity');
    const outcome = await run(place, [...args, '--json', join('disk', 'report.json')]);
    checkMessage(test, outcome, { code: runFailed, says: [/report/i, /space|full|ENOSPC/i] });
    const kept = filesBelow(place.temporary);
    test.equal(kept.length, 1, `the report is kept once, in the temporary folder (${kept.join(', ')})`);
    const [path = ''] = kept;
    test.ok(outcome.stderr.includes(path), 'and the message says where');
    const report = readReport(test, path);
    for (const mode of ['epoll', 'node']) checkHealthyRun(test, runOf(report, mode));
  } finally {
    execFileSync('umount', [disk], { stdio: 'ignore' });
  }
  await until(() => leftProcesses(place).length === 0, 10_000);
  test.strictSame(leftProcesses(place), [], 'no process is left');
});

t.test('standard output that is full', { skip: skipOutsideLinux('/dev/full') || skipWithout('sh') }, async (test) => {
  const place = makePlace(test);
  // The shell opens /dev/full as standard output; "$@" runs node and the tool.
  const under = ['sh', '-c', 'exec "$@" > /dev/full', 'sh'];
  const args = shortBlast('--modes', 'epoll', '--clients', '10', '--phases', 'capacity', '--json', '-');
  const outcome = await run(place, args, { under });
  checkMessage(test, outcome, { code: runFailed, says: [/stdout|standard output|ENOSPC|space/i] });
  await until(() => leftProcesses(place).length === 0, 10_000);
  test.strictSame(leftProcesses(place), [], 'no process is left');
});
