/**
 * Problems that users of other load testers reported: figures of a server that does not exist, files replaced by mistake, options
 * read as something else. Each test is named after what must hold here.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Report } from '../../src/model/report-schema.js';
import { checkMessage, makePlace, run, shortBlast, type Outcome } from '../support/cli.js';
import { isRoot, skipOutsideLinux, skipWithout } from '../support/environment.js';
import { readReport, runOf } from '../support/report.js';
import { RiggedServer, type RiggedKind } from '../support/rigged.js';

t.setTimeout(120_000);

const quick = (...more: string[]): string[] =>
  shortBlast('--duration', '300ms', '--warmup', '50ms', '--phases', 'capacity', '--clients', '10', ...more);

function skipNamespace(): string | false {
  const missing = skipOutsideLinux('unshare') || skipWithout('unshare') || skipWithout('ip');
  if (missing !== false) return missing;
  if (!isRoot) return 'only root makes network namespaces';
  return spawnSync('unshare', ['-n', 'true']).status === 0 ? false : 'network namespaces cannot be made here';
}

t.test('a client never connects to itself', { skip: skipNamespace() }, async (test) => {
  // Two ports for outgoing connections, one of them the target. connect() soon picks it and connects to itself.
  const setUp = 'ip link set lo up; echo "40005 40006" > /proc/sys/net/ipv4/ip_local_port_range; exec "$@"';
  const under = ['unshare', '-n', 'sh', '-c', setUp, 'sh'];
  for (const engine of ['epoll', 'auto']) {
    const place = makePlace(test);
    const args = quick('--target', '[::1]:40005', '--clients', '1', '--engine', engine);
    const outcome = await run(place, args, { under });
    test.equal(outcome.code, 4, `${engine}: the run failed`);
    test.match(outcome.stderr, /refused/i, `${engine}: nothing listens there`);
  }
});

/** The latency phase of a rigged server, and its report. */
async function latencyRun(
  test: Test,
  kind: RiggedKind,
  ...more: string[]
): Promise<{ outcome: Outcome; report: Report }> {
  const server = await RiggedServer.start(kind);
  test.teardown(() => {
    server.kill();
  });
  const place = makePlace(test);
  const args = ['--target', server.target, '--phases', 'latency', '--json', 'r.json', ...more];
  const measure = async (): Promise<{ outcome: Outcome; report: Report }> => {
    const outcome = await run(place, shortBlast(...args));
    return { outcome, report: readReport(test, join(place.folder, 'r.json')) };
  };
  // A client that got its CPU late was not offered what was due before.
  const isLate = ({ runs }: Report): boolean =>
    runs.some(({ trials }) => trials.some(({ client }) => (client?.started_late_ns ?? 0) > 0));
  let measured = await measure();
  for (let again = 0; again < 2 && isLate(measured.report); again++) measured = await measure();
  return measured;
}

// https://github.com/giltene/wrk2/issues/105 and /127: timeouts of requests that never reached the server, which answered all the time.
t.test('a server that is far behind the offered rate is not said to answer nothing', async (test) => {
  const load = ['--clients', '4', '--rate', '100k/s', '--timeout', '500ms', '--warmup', '1s'];
  const { outcome } = await latencyRun(test, 'delay', ...load);
  checkMessage(test, outcome, {
    code: 4,
    says: [/server answered [\d,.]+\/s of 100,000\/s offered/, /too slow for this load/],
  });
  test.notMatch(outcome.stderr, /await a line/, 'it does echo');
});

// https://github.com/mcollina/autocannon/issues/187 and https://github.com/giltene/wrk2/issues/147: the rate was that of each connection,
// or of each thread, where it was below their number.
t.test('a rate below the number of connections and of threads is the rate of all', async (test) => {
  // One and a half turns of each thread: threads that took turns from different moments could send one message more or less.
  const load = ['--clients', '16', '--threads', '8', '--rate', '6/s', '--duration', '2s', '--arrivals', 'even'];
  const { outcome, report } = await latencyRun(test, 'echo', ...load);
  test.equal(outcome.code, 0, outcome.stderr);
  test.match(runOf(report, 'target').trials[0]?.requests, { count: 12, offered: 12, failed: 0 });
});

// https://github.com/hatoo/oha/issues/536: requests in flight at the end counted as failed.
t.test('requests in flight when a window ends are waited for', async (test) => {
  const { outcome, report } = await latencyRun(
    test,
    'delay',
    '--clients',
    '4',
    '--rate',
    '400/s',
    '--arrivals',
    'even',
  );
  test.equal(outcome.code, 0, outcome.stderr);
  test.match(runOf(report, 'target').trials[0]?.requests, { count: 200, offered: 200, failed: 0 });
});
