/** When messages arrive at a server: at random by default, also right after the warm-up and after a lost connection, or evenly. */
import t, { type Test } from 'tap';
import { ArrivalLog, dispersion, exponentialMisfit, gapsOf } from '../support/arrival-log.js';
import { makePlace, run } from '../support/cli.js';
import { parseReport } from '../support/report.js';

t.setTimeout(120_000);

const clients = 20;
const attempts = 3;

interface Logged {
  readonly arrivals: number[];
  /** The arrivals from this one on came when a connection was lost. */
  readonly lostAt: number;
}

/**
 * The log of a run on a machine that had time for it; null if it never had.
 * @param latenessMs where client or server is later than this, the log says more about the machine than about the timetable
 */
async function logged(
  test: Test,
  { perSecond, seconds, latenessMs }: { perSecond: number; seconds: number; latenessMs: number },
  ...args: string[]
): Promise<Logged | null> {
  for (let attempt = 0; attempt < attempts; attempt++) {
    const place = makePlace(test);
    const log = new ArrivalLog(test);
    const port = await log.listen();
    let lostAt = 0;
    const losing = setInterval(() => {
      if (lostAt > 0 || log.arrivals.length < (seconds * perSecond) / 2) return;
      log.lose();
      lostAt = log.arrivals.length;
    }, 5);
    const outcome = await run(place, [
      ...['blast', '--target', `127.0.0.1:${port}`, '--clients', String(clients), '--phases', 'latency'],
      ...['--rate', String(perSecond), '--duration', `${seconds}s`, '--warmup', '500ms', '--trials', '1'],
      ...['--json', '-', '--quiet', ...args],
    ]);
    clearInterval(losing);
    test.equal(outcome.code, 0, outcome.stderr);
    const report = parseReport(test, outcome.stdout);
    const [window] = report.runs[0]?.trials ?? [];
    if (window?.state !== 'completed') throw new Error('the window was not measured');
    test.ok(Math.abs(window.requests.offered - seconds * perSecond) < 5 * Math.sqrt(seconds * perSecond));
    const late = Math.max((window.client.own_lag_ns?.p99 ?? 0) / 1e6, log.lateness());
    if (late < latenessMs) return { arrivals: log.arrivals, lostAt };
    test.comment(`attempt ${attempt}: ${late} ms late at p99`);
  }
  return null;
}

t.test('by default at random, before and after a connection is lost', async (test) => {
  const meanMs = 10;
  const found = await logged(test, { perSecond: 1_000 / meanMs, seconds: 7, latenessMs: 3 }, '--seed', '5');
  if (found === null) {
    test.pass('the arrivals', { skip: 'this machine was busy' });
    return;
  }
  const before = found.arrivals.slice(0, found.lostAt);
  const after = found.arrivals.slice(found.lostAt + 1);
  test.ok(before.length > 300 && after.length > 300, `${before.length} and ${after.length} messages`);
  const misfits = [
    exponentialMisfit(gapsOf(before), meanMs),
    // The messages of the lost connection are errors.
    exponentialMisfit(gapsOf(after), (meanMs * clients) / (clients - 1)),
  ];
  test.ok(
    misfits.every((misfit) => misfit < 1.628),
    `exponential gaps: ${misfits.join(', ')}`,
  );
  const spread = dispersion(found.arrivals);
  test.ok(spread > 0.9 && spread < 1.1, `variance / mean of the counts: ${spread}`);
});

t.test('--arrivals even', async (test) => {
  const meanMs = 40;
  const found = await logged(test, { perSecond: 1_000 / meanMs, seconds: 4, latenessMs: 2 }, '--arrivals', 'even');
  if (found === null) {
    test.pass('the arrivals', { skip: 'this machine was busy' });
    return;
  }
  const gaps = gapsOf(found.arrivals.slice(0, found.lostAt));
  const near = gaps.filter((gap) => Math.abs(gap - meanMs) <= meanMs / 10);
  test.ok(near.length >= 0.95 * gaps.length, `${near.length} of ${gaps.length} gaps within 10%`);
  test.ok(exponentialMisfit(gaps, meanMs) > 1.628, 'which the test for random arrivals tells apart');
});
