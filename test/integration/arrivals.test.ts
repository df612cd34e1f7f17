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
 * The log of a run on a machine that had time for it; null if it never had. A run is repeated if its log is not right: a machine that was
 * late for a few messages only is not noticed, and a wrong timetable is wrong in every run.
 * @param latenessMs where client or server is later than this, the log says more about the machine than about the timetable
 */
async function logged(
  test: Test,
  { perSecond, seconds, latenessMs }: { perSecond: number; seconds: number; latenessMs: number },
  isRight: (log: Logged) => boolean,
  ...args: string[]
): Promise<Logged | null> {
  let found: Logged | null = null;
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
    if (late < latenessMs) found = { arrivals: log.arrivals, lostAt };
    if (late < latenessMs && found !== null && isRight(found)) return found;
    test.comment(`attempt ${attempt}: ${late} ms late at p99`);
  }
  return found;
}

/** The messages before a connection was lost, and those after it. */
function halves({ arrivals, lostAt }: Logged): [before: number[], after: number[]] {
  return [arrivals.slice(0, lostAt), arrivals.slice(lostAt + 1)];
}

t.test('by default at random, before and after a connection is lost', async (test) => {
  const meanMs = 10;
  const misfits = (log: Logged): number[] => {
    const [before, after] = halves(log);
    // The messages of the lost connection are errors.
    const meanAfterMs = (meanMs * clients) / (clients - 1);
    return [exponentialMisfit(gapsOf(before), meanMs), exponentialMisfit(gapsOf(after), meanAfterMs)];
  };
  const areExponential = (log: Logged): boolean => misfits(log).every((misfit) => misfit < 1.628);
  const isSpread = ({ arrivals }: Logged): boolean => dispersion(arrivals) > 0.9 && dispersion(arrivals) < 1.1;
  const isRight = (log: Logged): boolean => areExponential(log) && isSpread(log);
  const found = await logged(test, { perSecond: 1_000 / meanMs, seconds: 7, latenessMs: 3 }, isRight, '--seed', '5');
  if (found === null) {
    test.pass('the arrivals', { skip: 'this machine was busy' });
    return;
  }
  const [before, after] = halves(found);
  test.ok(before.length > 300 && after.length > 300, `${before.length} and ${after.length} messages`);
  test.ok(areExponential(found), `exponential gaps: ${misfits(found).join(', ')}`);
  test.ok(isSpread(found), `variance / mean of the counts: ${dispersion(found.arrivals)}`);
});

t.test('--arrivals even, of several threads', async (test) => {
  const meanMs = 40;
  const gapsIn = (log: Logged): number[] => gapsOf(halves(log)[0]);
  const near = (log: Logged): number => gapsIn(log).filter((gap) => Math.abs(gap - meanMs) <= meanMs / 10).length;
  const isEven = (log: Logged): boolean => near(log) >= 0.95 * gapsIn(log).length;
  const load = { perSecond: 1_000 / meanMs, seconds: 4, latenessMs: 2 };
  const found = await logged(test, load, isEven, '--arrivals', 'even', '--threads', '4');
  if (found === null) {
    test.pass('the arrivals', { skip: 'this machine was busy' });
    return;
  }
  test.ok(isEven(found), `${near(found)} of ${gapsIn(found).length} gaps within 10%`);
  test.ok(exponentialMisfit(gapsIn(found), meanMs) > 1.628, 'which the test for random arrivals tells apart');
});
