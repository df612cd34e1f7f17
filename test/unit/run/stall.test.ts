import t from 'tap';
import { Stall } from '../../../src/run/stall.js';

/** What `observe` returns for each row of [atMs, answered, timedOut, inFlight]. */
function observed(...rows: readonly [number, number, number, number][]): boolean[] {
  const stall = new Stall(0);
  return rows.map(([atMs, answered, timedOut, inFlight]) => stall.observe({ atMs, answered, timedOut, inFlight }));
}

t.test('a stall: all connections in flight have timed out', (t) => {
  const rows = observed([0, 0, 0, 100], [1_990, 0, 0, 256], [2_010, 0, 120, 256], [2_030, 0, 256, 256]);
  t.strictSame(rows, [false, false, false, true]);
  t.end();
});

t.test('no stall while nothing has timed out, regardless of the time', (t) => {
  t.strictSame(observed([0, 0, 0, 256], [60_000, 0, 0, 256]), [false, false]);
  t.end();
});

t.test('an answer restarts the wait', (t) => {
  const rows = observed([0, 0, 0, 10], [2_000, 1, 9, 10], [2_020, 1, 12, 10], [4_000, 1, 18, 10], [4_020, 1, 19, 10]);
  t.strictSame(rows, [false, false, false, false, true]);
  t.end();
});

t.test('with a short timeout, a starting server has one second', (t) => {
  t.strictSame(observed([0, 0, 0, 10], [50, 0, 10, 10], [900, 0, 400, 10], [1_000, 0, 450, 10]), [
    false,
    false,
    false,
    true,
  ]);
  t.end();
});
