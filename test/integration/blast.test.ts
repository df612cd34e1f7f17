/** Small end-to-end comparisons on real sockets: complete, valid, and printed the same from the saved file. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { checkNothingLeft, makePlace, run, shortBlast, type Place } from '../support/cli.js';
import { hasIpv6, isLinux, isWindows, skipOutsideLinux, supportPath } from '../support/environment.js';
import { checkHealthyRun, parseReport, readReport, runOf } from '../support/report.js';
import { modesUnderTest, TestServer, whyUnavailable } from '../support/server.js';
import type { Report } from '../../src/model/report-schema.js';

t.setTimeout(300_000);

const available: string[] = [];
for (const mode of modesUnderTest()) if ((await whyUnavailable(mode)) === false) available.push(mode);
/** The two default modes if they run here; otherwise blocking and node. */
const pair = available.includes('iocp') ? ['blocking', 'iocp'] : ['blocking', 'node'];

/** Runs one comparison with its report on standard output. */
async function compare(test: Test, place: Place, ...more: string[]): Promise<Report> {
  const outcome = await run(place, shortBlast(...more, '--json', '-'));
  if (outcome.code !== 0) test.comment(outcome.stderr);
  test.equal(outcome.code, 0, 'exit code 0');
  return parseReport(test, outcome.stdout);
}

t.test('100 clients, both phases', async (test) => {
  const place = makePlace(test);
  const wanted = ['--clients', '100', '--phases', 'both', '--duration', '1s'];
  const report = await compare(test, place, '--modes', pair.join(','), ...wanted);
  for (const mode of pair) {
    const one = runOf(report, mode, 100);
    checkHealthyRun(test, one);
    const phases = one.trials.map((window) => window.phase);
    test.strictSame(phases, ['capacity', 'latency'], `${mode}: a window of each phase`);
  }
  test.equal(report.partial, false, 'not partial');
  test.equal(report.plan.seed, 1, 'the seed is kept');
  checkOfferedRates(test, report);
  checkLittle(test, report);
  checkParts(test, report);
  await checkNothingLeft(test, place);
});

/** Latency is compared at equal offered load. */
function checkOfferedRates(test: Test, report: Report): void {
  const rates = report.runs.flatMap((one) =>
    one.trials.filter((window) => window.phase === 'latency').map((window) => window.requests?.offered_per_second),
  );
  test.equal(new Set(rates).size, 1, `every mode was offered the same rate (${rates.join(', ')})`);
}

/**
 * Closed loop: mean service time = clients x pipeline / throughput. A clock or a count that is wrong by a factor violates this. The
 * bounds allow for a machine that stalls at an edge of such a short window.
 */
function checkLittle(test: Test, report: Report): void {
  for (const one of report.runs) {
    for (const window of one.trials) {
      if (window.state !== 'completed' || window.phase !== 'capacity') continue;
      const expected = (one.clients * report.plan.pipeline * 1e9) / window.requests.per_second;
      const ratio = (window.service_time_ns.mean ?? 0) / expected;
      test.ok(ratio > 0.4 && ratio < 2.5, `${one.mode}: Little's law holds (${ratio.toFixed(3)})`);
    }
  }
}

/** Every answered request is in one part of the window, and each part begins where the one before it ended. */
function checkParts(test: Test, report: Report): void {
  for (const window of report.runs.flatMap(({ trials }) => trials)) {
    if (window.state !== 'completed') continue;
    const name = `${window.phase}, trial ${window.index}`;
    const parts = window.time_percentiles;
    if (parts === undefined) {
      test.ok((window.client.started_late_ns ?? 0) > 0, `${name}: no parts only where the client began late`);
      continue;
    }
    const answered = (window.response_time_ns ?? window.service_time_ns).count;
    test.equal(
      parts.reduce((sum, { requests }) => sum + requests, 0),
      answered,
      `${name}: ${answered} answers in ${parts.length} parts`,
    );
    test.strictSame(
      parts.map(({ start_ms }) => start_ms),
      [0, ...parts.slice(0, -1).map(({ end_ms }) => end_ms)],
      `${name}: without gaps`,
    );
  }
}

t.test('--clients 10,50 runs each in turn', async (test) => {
  const place = makePlace(test);
  const report = await compare(test, place, '--modes', pair.join(','), '--clients', '10,50', '--phases', 'capacity');
  for (const mode of pair) for (const clients of [10, 50]) checkHealthyRun(test, runOf(report, mode, clients));
  test.equal(report.runs.length, 4, 'four runs, and no others');
  await checkNothingLeft(test, place);
});

t.test(
  '--work 0,200us: a run per mode and work, compared at each',
  { skip: skipOutsideLinux('epoll') },
  async (test) => {
    const place = makePlace(test);
    const args = ['--modes', 'blocking,epoll', '--work', '0,200us', '--clients', '20', '--trials', '2'];
    const wanted = ['--phases', 'capacity', '--duration', '300ms', '--json', '-'];
    const gates = ['--fail-if', 'epoll@20,work=200us.errors > 0', '--fail-if', 'any@work=0.errors > 0'];
    const measure = async (): Promise<Report> => {
      const outcome = await run(place, shortBlast(...args, ...wanted, ...gates));
      test.equal(outcome.code, 0, outcome.stderr);
      return parseReport(test, outcome.stdout);
    };
    // A machine that changes its speed between calibration and window may be further off than the warning tolerates.
    const isOff = ({ runs }: Report): boolean =>
      runs.some(({ work_us, trials }) => {
        const work = work_us ?? 0;
        return trials.some(
          ({ server }) => Math.abs((server?.service?.work_us_per_request ?? work) - work) > 0.15 * work,
        );
      });
    let report = await measure();
    for (let again = 0; again < 2 && isOff(report); again++) report = await measure();
    test.strictSame(
      report.runs.map(({ mode, work_us: work }) => [mode, work]),
      [
        ['blocking', 0],
        ['epoll', 0],
        ['blocking', 200],
        ['epoll', 200],
      ],
    );
    for (const one of report.runs) {
      checkHealthyRun(test, one);
      const work = one.work_us ?? 0;
      for (const { server } of one.trials) {
        // Unknown where a busy machine let the server be sampled too late.
        const cpu = server?.cpu_us_per_request ?? work;
        const burnt = server?.service?.work_us_per_request ?? work;
        test.ok(Math.abs(burnt - work) <= 0.15 * work, `${one.mode} burnt ${burnt.toFixed(1)} us of ${work}`);
        test.ok(cpu >= 0.85 * work, `${one.mode}: ${cpu.toFixed(1)} us of CPU time per request, with the work in it`);
      }
    }
    const compared = report.comparisons.filter(({ metric }) => metric === 'throughput');
    test.strictSame(
      compared.map(({ work_us: work, pairs }) => [work, pairs]),
      [
        [0, 2],
        [200, 2],
      ],
    );
    await checkNothingLeft(test, place);
  },
);

t.test('--modes all runs each available backend once', async (test) => {
  const place = makePlace(test);
  const report = await compare(test, place, '--modes', 'all', '--clients', '30', '--phases', 'capacity');
  const backends = report.runs.map((one) => one.backend);
  test.equal(new Set(backends).size, backends.length, `no backend twice (${backends.join(', ')})`);
  // On Linux, iocp is another name for io_uring and does not run twice.
  const expected = isLinux ? available.filter((mode) => mode !== 'iocp') : available;
  test.strictSame([...backends].sort(), [...expected].sort(), 'all backends that run here');
  for (const one of report.runs) checkHealthyRun(test, one);
  await checkNothingLeft(test, place);
});

t.test('sizes, pipelines and threads', async (test) => {
  for (const more of [
    ['--message-size', '1', '--pipeline', '3'],
    ['--message-size', '15'],
    ['--message-size', '16'],
    ['--message-size', '100KiB', '--clients', '8'],
    ['--message-size', '1MiB', '--clients', '4', '--timeout', '30s', '--duration', '2s'],
    ['--threads', '3', '--clients', '7', '--pipeline', '16'],
    ['--close', 'fin'],
  ]) {
    await test.test(more.join(' '), async (inner) => {
      const place = makePlace(inner);
      const clients = more.includes('--clients') ? [] : ['--clients', '12'];
      const report = await compare(
        inner,
        place,
        '--modes',
        pair[1] ?? 'node',
        '--phases',
        'capacity',
        ...clients,
        ...more,
      );
      for (const one of report.runs) checkHealthyRun(inner, one);
      await checkNothingLeft(inner, place);
    });
  }
});

t.test('the table, and `report` prints the same from the file', async (test) => {
  const place = makePlace(test);
  const args = shortBlast('--modes', pair.join(','), '--clients', '20', '--phases', 'capacity', '--json', 'r.json');
  const outcome = await run(place, args);
  test.equal(outcome.code, 0, 'exit code 0');
  for (const mode of pair) test.match(outcome.stdout, new RegExp(`\\b${mode}\\b`), `has a column ${mode}`);
  for (const row of [/connections/i, /throughput/i, /CPU/]) test.match(outcome.stdout, row, String(row));
  const wide = outcome.stdout.split('\n').filter((line) => line.length > 80);
  test.strictSame(wide, [], 'fits 80 columns');
  const report = readReport(test, join(place.folder, 'r.json'));
  for (const mode of pair) checkHealthyRun(test, runOf(report, mode, 20));
  const again = await run(place, ['report', 'r.json']);
  test.equal(again.code, 0, 'exit code 0');
  test.equal(tableOf(again.stdout), tableOf(outcome.stdout), 'the same table');
  const full = await run(place, ['report', '--full', 'r.json']);
  test.match(tableOf(full.stdout), /Errors, worst trial/, 'the full table also has the rows without news');
  await checkNothingLeft(test, place, ['r.json']);
});

/** The table with its frame. */
function tableOf(text: string): string {
  return text
    .split('\n')
    .filter((line) => /[│┌├└]/.test(line))
    .join('\n');
}

t.test('every export in one run', async (test) => {
  const place = makePlace(test);
  const files = ['r.csv', 'r.html', 'r.json', 'r.md'];
  const exports = ['--json', 'r.json', '--html', 'r.html', '--markdown', 'r.md', '--csv', 'r.csv'];
  const load = ['--clients', '10', '--phases', 'both', '--rate', '500/s'];
  const args = shortBlast('--modes', pair.join(','), ...load, ...exports);
  const outcome = await run(place, args);
  test.equal(outcome.code, 0, `exit code 0 ${outcome.code === 0 ? '' : outcome.stderr}`);
  readReport(test, join(place.folder, 'r.json'));
  const read = (name: string) => readFileSync(join(place.folder, name), 'utf8');
  test.match(read('r.html'), /<html/i, 'HTML');
  test.match(read('r.md'), /\|/, 'Markdown');
  test.match(read('r.csv'), /blocking/, 'CSV');
  await checkNothingLeft(test, place, files);
});

t.test("a server of the user's own as a mode", async (test) => {
  const place = makePlace(test);
  const command = `own=${process.execPath} ${join(supportPath, 'rigged.js')} echo {port}`;
  const args = ['--mode-command', command, '--modes', 'own,node', '--clients', '10', '--phases', 'capacity'];
  const report = await compare(test, place, ...args);
  for (const mode of ['own', 'node']) checkHealthyRun(test, runOf(report, mode, 10));
  await checkNothingLeft(test, place);
});

const skipIpv6 = (await hasIpv6()) ? false : 'this machine has no IPv6 loopback';
t.test('IPv6 target', { skip: skipIpv6 }, async (test) => {
  const server = await TestServer.start({ mode: 'node', host: '::1' });
  test.teardown(() => {
    server.kill();
  });
  const place = makePlace(test);
  const report = await compare(
    test,
    place,
    '--target',
    `[::1]:${server.port}`,
    '--clients',
    '10',
    '--phases',
    'capacity',
  );
  checkHealthyRun(test, runOf(report, 'target', 10));
});

t.test('localhost whose server listens on ::1 only', { skip: skipIpv6 }, async (test) => {
  const server = await TestServer.start({ mode: 'node', host: '::1' });
  test.teardown(() => {
    server.kill();
  });
  const place = makePlace(test);
  const target = `localhost:${server.port}`;
  const args = shortBlast('--target', target, '--clients', '10', '--phases', 'capacity', '--json', 'r.json');
  const outcome = await run(place, args);
  test.equal(outcome.code, 0, outcome.stderr);
  const report = readReport(test, join(place.folder, 'r.json'));
  checkHealthyRun(test, runOf(report, 'target', 10));
  test.equal(report.plan.target, target);
  test.equal(report.plan.target_address, `[::1]:${server.port}`);
  test.strictSame(report.plan.target_tried, [
    { address: '127.0.0.1', outcome: 'refused' },
    { address: '::1', outcome: 'answered' },
  ]);
  test.match(outcome.stdout, `localhost:${server.port} ([::1]:${server.port}) under 10 clients`);
});

t.test('gates set the exit code', async (test) => {
  const place = makePlace(test);
  const args = shortBlast('--modes', 'node', '--clients', '10', '--phases', 'capacity');
  const good = await run(place, [...args, '--fail-if', 'any.errors > 0']);
  test.equal(good.code, 0, 'a gate that does not hold');
  const bad = await run(place, [...args, '--fail-if', 'node.errors < 1']);
  test.equal(bad.code, 99, 'a gate that holds');
  test.match(bad.stderr + bad.stdout, /node\.errors < 1/, 'names the gate');
  await checkNothingLeft(test, place);
});

t.test('doctor', async (test) => {
  const place = makePlace(test);
  const outcome = await run(place, ['doctor', '--no-noise']);
  test.equal(outcome.code, 0, 'exit code 0');
  for (const mode of modesUnderTest()) test.match(outcome.stdout, new RegExp(`\\b${mode}\\b`), `names ${mode}`);
  test.match(outcome.stdout, isWindows ? /Linux/ : /Windows/, 'says where the others run');
  await checkNothingLeft(test, place);
});
