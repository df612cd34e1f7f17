/** An agent disturbs a window as little as a local conductor does, and notices its end at once. */
import t from 'tap';
import { nextLookMs } from '../../../src/agent/looks.js';

t.test('looks are rare without a load and within a window', (test) => {
  const endNs = 86_400_000_000_000n;
  const before = (ms: number): number => nextLookMs({ windowEndNs: endNs }, endNs - BigInt(ms) * 1_000_000n);
  test.equal(nextLookMs(null, endNs), 250);
  test.equal(nextLookMs({ windowEndNs: null }, endNs), 20, 'while a command is carried out');
  test.equal(before(10_000), 250);
  test.equal(before(120), 120, 'the next look is at the end of the window');
  test.equal(before(1), 20);
  test.equal(before(-500), 20, 'until its last request is answered');
  test.end();
});
