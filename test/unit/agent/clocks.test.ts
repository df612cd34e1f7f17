/** Offsets of clocks that several agents share. */
import t from 'tap';
import { bestOffset, ownClock, type ClockReading } from '../../../src/agent/clocks.js';
import { clockId } from '../../../src/agent/networks.js';
import { isLinux } from '../../../src/platform.js';

function reading(clock: string | null, offsetNs: bigint, uncertaintyNs: bigint): ClockReading {
  return { clock, measured: { offsetNs, uncertaintyNs, roundTripNs: 2n * uncertaintyNs } };
}

t.test('a clock that this process reads too has no offset, however badly it was measured', (test) => {
  const busy = reading('ours', 30_000_000n, 32_000_000n);
  test.strictSame(bestOffset(busy, [ownClock('ours'), busy]), {
    offsetNs: 0n,
    uncertaintyNs: 0n,
    roundTripNs: 64_000_000n,
  });
  test.end();
});

t.test('agents that read one clock have its best offset', (test) => {
  const all = [reading('far', 5_000n, 900n), reading('far', 4_600n, 100n), reading('other', 4_600n, 1n)];
  const offsets = all.map((one) => bestOffset(one, [ownClock('ours'), ...all]));
  test.strictSame(
    offsets.map(({ offsetNs, uncertaintyNs }) => [offsetNs, uncertaintyNs]),
    [
      [4_600n, 100n],
      [4_600n, 100n],
      [4_600n, 1n],
    ],
  );
  test.end();
});

t.test('a measurement that contradicts the others, and a clock that is not known, stay as measured', (test) => {
  const copy = reading('ours', 86_400_000_000_000n, 50_000n);
  test.strictSame(bestOffset(copy, [ownClock('ours'), copy, reading('ours', 3n, 5n)]), copy.measured);
  const unknown = reading(null, 7n, 9n);
  test.strictSame(bestOffset(unknown, [ownClock(null), unknown]), unknown.measured);
  test.end();
});

t.test('the identifier of a clock', { skip: isLinux ? false : 'only Linux has one' }, (test) => {
  test.match(clockId(), /^[0-9a-f]{16}$/);
  test.equal(clockId(), clockId());
  test.end();
});
