/** The run order is balanced: no mode gains from its place, and the seed alone decides. */
import t from 'tap';
import { trialOrder, trialsToBalance } from '../../../src/measure/order.js';

t.test('two modes run AB BA BA AB', (t) => {
  for (let seed = 0; seed < 20; seed++) {
    const rows = trialOrder(['a', 'b'], 8, seed);
    const [first = ''] = rows[0] ?? [];
    const pattern = rows.map((row) => (row[0] === first ? 'AB' : 'BA')).join(' ');
    t.equal(pattern, 'AB BA BA AB BA AB AB BA');
    t.ok(rows.every((row) => [...row].sort().join('') === 'ab'));
  }
  t.end();
});

t.test('a linear drift over time cancels between two modes in four trials', (t) => {
  const at = { a: 0, b: 0 };
  trialOrder(['a', 'b'], 4, 3)
    .flat()
    .forEach((mode, time) => (at[mode as 'a' | 'b'] += time));
  t.equal(at.a, at.b);
  t.end();
});

for (const size of [3, 4, 5, 6]) {
  t.test(
    `${size} modes: each once per trial, at every position equally often, after every other equally often`,
    (t) => {
      const modes = Array.from({ length: size }, (_, index) => `m${index}`);
      const square = trialOrder(modes, size, 11);
      for (const mode of modes) {
        const positions = square.map((row) => row.indexOf(mode)).sort();
        t.strictSame(positions, [...modes.keys()], `${mode} stands once at each position within ${size} trials`);
      }
      const full = trialOrder(modes, size % 2 === 0 ? size : 2 * size, 11);
      const follows = new Map<string, number>();
      for (const row of full) {
        row.slice(1).forEach((mode, index) => {
          const key = `${row[index] ?? ''}>${mode}`;
          follows.set(key, (follows.get(key) ?? 0) + 1);
        });
      }
      t.equal(follows.size, size * (size - 1), 'every mode follows every other');
      t.equal(new Set(follows.values()).size, 1, 'equally often');
      t.end();
    },
  );
}

t.test('the seed decides, and nothing else', (t) => {
  const modes = ['a', 'b', 'c', 'd'];
  t.strictSame(trialOrder(modes, 6, 42), trialOrder(modes, 6, 42));
  const orders = new Set(Array.from({ length: 20 }, (_, seed) => JSON.stringify(trialOrder(modes, 6, seed))));
  t.ok(orders.size > 5, 'seeds give different orders');
  t.end();
});

t.test('one mode, and a mode against itself', (t) => {
  t.strictSame(trialOrder(['a'], 3, 1), [['a'], ['a'], ['a']]);
  t.strictSame(trialOrder(['a', 'a'], 2, 1), [
    ['a', 'a'],
    ['a', 'a'],
  ]);
  t.strictSame(trialOrder(['a', 'b'], 0, 1), []);
  t.end();
});

t.test('how many trials balance the order', (t) => {
  const modes = ['a', 'b', 'c', 'd', 'e'];
  const of = (count: number, trials: number): number | null =>
    trialsToBalance(trialOrder(modes.slice(0, count), trials, 1));
  t.strictSame(
    [2, 4, 6].map((trials) => of(2, trials)),
    [null, null, null],
  );
  t.equal(of(2, 3), 4);
  t.equal(of(3, 4), 6);
  t.equal(of(4, 4), null);
  t.strictSame(
    [3, 4, 5, 6, 10].map((trials) => of(5, trials)),
    [5, 5, null, 10, null],
  );
  t.equal(of(1, 3), null, 'one mode has no order');
  t.equal(of(5, 1), null, 'nor has one trial an interval');
  t.end();
});
