/**
 * More connections than a process may have descriptors, and more than those that send: both sides use the tables of io_uring. The
 * limit is lowered, so that a few thousand connections need as many rings as a hundred thousand with the usual limit.
 */
import { mkdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { CompletedWindow, Report } from '../../src/model/report-schema.js';
import { checkNothingLeft, checkRefusal, makePlace, run, shortBlast, type Place } from '../support/cli.js';
import { isRoot, skipOutsideLinux, skipWithout } from '../support/environment.js';
import { checkHealthyRun, parseReport, runOf, wasSampledLate } from '../support/report.js';
import { RiggedServer, idleLongestMs } from '../support/rigged.js';
import { whyUnavailable } from '../support/server.js';

t.setTimeout(300_000);

const skipFar =
  skipOutsideLinux('io_uring') ||
  skipWithout('prlimit') ||
  (isRoot ? false : 'there may not be enough locked memory for the rings');
const skip = skipFar === false ? await whyUnavailable('io_uring') : skipFar;

async function blastUnder(test: Test, place: Place, descriptors: number, ...args: string[]): Promise<Report> {
  const outcome = await run(place, shortBlast('--phases', 'capacity', '--json', '-', ...args), {
    under: ['prlimit', `--nofile=${descriptors}`],
  });
  test.equal(outcome.code, 0, `exit code 0 ${outcome.code === 0 ? '' : outcome.stderr}`);
  return parseReport(test, outcome.stdout);
}

function windowOf(report: Report, mode: string, clients: number): CompletedWindow {
  const [window] = runOf(report, mode, clients).trials;
  if (window?.state !== 'completed') throw new Error(`${mode} at ${clients}: ${window?.state ?? 'no window'}`);
  return window;
}

t.test('several times as many connections as descriptors', { skip }, async (test) => {
  const place = makePlace(test);
  const args = ['--modes', 'iocp', '--clients', '6000', '--workers', '3'];
  let report = await blastUnder(test, place, 1_000, ...args);
  // The figures of the server are compared below.
  for (let again = 0; again < 2 && wasSampledLate(report, windowOf(report, 'iocp', 6_000)); again++) {
    report = await blastUnder(test, place, 1_000, ...args, '--duration', '3s');
  }
  checkHealthyRun(test, runOf(report, 'iocp', 6_000));
  const { client, server, fairness } = windowOf(report, 'iocp', 6_000);
  test.equal(client.engine, 'io_uring', 'the engine that needs no descriptors is chosen');
  const rings = Number(/^rings:(\d+)$/.exec(client.features.find((word) => word.startsWith('rings:')) ?? '')?.[1]);
  test.ok(rings >= 6, `${rings} tables at the client`);
  const { workers, worker_connections_min: least, worker_connections_max: most } = server ?? {};
  test.ok((workers ?? 0) >= 6, `${workers ?? 0} tables at the server`);
  test.ok(
    typeof least === 'number' && typeof most === 'number' && most - least <= 1,
    `${least ?? 0} to ${most ?? 0} in each`,
  );
  test.equal(fairness.connections, 6_000);
  await checkNothingLeft(test, place);
});

t.test('a mode that has a descriptor per connection is refused before any work', { skip }, async (test) => {
  const place = makePlace(test);
  for (const mode of ['blocking', 'epoll', 'node']) {
    const outcome = await run(place, shortBlast('--modes', `iocp,${mode}`, '--clients', '6000'), {
      under: ['prlimit', '--nofile=1000'],
    });
    checkRefusal(test, outcome, {
      code: 3,
      says: [new RegExp(`in mode ${mode} need 6,128 descriptors in the server`), /prlimit/],
    });
  }
  await checkNothingLeft(test, place);
});

t.test('most of them idle, and all alive at the end', { skip }, async (test) => {
  const place = makePlace(test);
  const args = ['--modes', 'iocp', '--clients', '3000', '--active', '1%'];
  const report = await blastUnder(test, place, 1_000, ...args);
  checkHealthyRun(test, runOf(report, 'iocp', 3_000));
  const { connections, fairness } = windowOf(report, 'iocp', 3_000);
  test.equal(connections.alive_at_end, 3_000, 'each echoed once more');
  test.equal(fairness.connections, 30, 'one in a hundred was active');
  const other = await blastUnder(test, place, 1_000, '--modes', 'iocp', '--clients', '30');
  test.equal(
    windowOf(other, 'iocp', 30).connections.alive_at_end,
    undefined,
    'where all are active there is nothing to ask',
  );
  await checkNothingLeft(test, place);
});

t.test('idle connections that died are reported', async (test) => {
  const place = makePlace(test);
  const server = await RiggedServer.start('mute-after-pause');
  test.teardown(() => server.child.kill());
  const load = ['--clients', '20', '--idle', '30', '--phases', 'capacity', '--timeout', '1s'];
  const warmup = ['--warmup', `${1.5 * idleLongestMs}ms`];
  const outcome = await run(place, shortBlast('--target', server.target, ...load, ...warmup, '--json', '-'));
  const report = parseReport(test, outcome.stdout);
  const { connections, errors, requests } = windowOf(report, 'target', 20);
  test.ok(requests.count > 0 && requests.failed === 0, 'the window itself was sound');
  test.match(connections, { made: 50, lost: 30, alive_at_end: 20 });
  test.strictSame(errors.by_class, { timeout: 30 });
  const [warning] = report.warnings.filter(({ code }) => code === 'connections_lost');
  test.match(warning, { severity: 'invalid', message: /30 of 50 connections were lost/ });
  await checkNothingLeft(test, place);
});

const cgroup = '/sys/fs/cgroup/pids';

/** A control group for the test with a limit on threads; null if none can be made. */
function makePidsGroup(test: Test, threads: number): string | null {
  const folder = join(cgroup, `iocp-bench-test-${process.pid}`);
  try {
    mkdirSync(folder);
    test.teardown(() => {
      rmdirSync(folder);
    });
    writeFileSync(join(folder, 'pids.max'), String(threads));
    return folder;
  } catch {
    return null;
  }
}

const skipGroup = skipOutsideLinux('control groups') || (isRoot ? false : 'only root can make a control group');
t.test(
  'the limit that ended the blocking model is named, and the comparison goes on',
  { skip: skipGroup },
  async (test) => {
    const place = makePlace(test);
    const group = makePidsGroup(test, 250);
    if (group === null) {
      test.pass('the limit is named', { skip: 'no control group of version 1 for pids can be made here' });
      return;
    }
    const args = shortBlast('--modes', 'blocking,epoll', '--clients', '100,600', '--phases', 'capacity', '--json', '-');
    const enter = ['sh', '-c', `echo $$ > ${join(group, 'cgroup.procs')} && exec "$@"`, 'sh'];
    const outcome = await run(place, args, { under: enter });
    test.equal(outcome.code, 0, `exit code 0 ${outcome.code === 0 ? '' : outcome.stderr}`);
    const report = parseReport(test, outcome.stdout);
    for (const [mode, clients] of [
      ['blocking', 100],
      ['epoll', 100],
      ['epoll', 600],
    ] as const) {
      checkHealthyRun(test, runOf(report, mode, clients));
    }
    const { made } = windowOf(report, 'blocking', 600).connections;
    test.ok(made >= 150 && made < 250, `${made} connections had their thread`);
    const [warning] = report.warnings.filter(({ code }) => code === 'connections_missing');
    test.match(warning, {
      severity: 'warning',
      mode: 'blocking',
      clients: 600,
      message: new RegExp(
        `${made} of 600 connections were made.* limit of its model on this machine: pids of the cgroup is 250`,
      ),
      hint: /pids\.max/,
      figures: { limit: 250 },
    });
    await checkNothingLeft(test, place);
  },
);
