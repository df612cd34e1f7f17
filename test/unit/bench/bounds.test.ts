/** The verdicts of `npm run bench`: which metric is used, when a bound holds, and that too few pairs give no verdict. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import { root } from '../../support/environment.js';

interface Side {
  server: string;
  client: string;
  connections: number;
}
interface Measurement extends Side {
  round: number;
  requests_per_second: number;
  server_cpu_us: number;
  server_busy: number;
  client_cpu_us: number;
  client_busy: number;
}
interface Comparison {
  name: string;
  connections: number;
  against: string;
}
interface Verdict extends Comparison {
  by: string;
  pairs: number;
  ratio: number | null;
  verdict: string;
}
interface Bounds {
  comparisonsAt: (sizes: number[]) => Comparison[];
  measurementsNeeded: (comparisons: Comparison[]) => Side[];
  judgeAll: (comparisons: Comparison[], measurements: Measurement[]) => Verdict[];
  verdictOf: (figures: {
    bound: { at_least?: number; at_most?: number } | null;
    pairs: number;
    ci_low: number | null;
    ci_high: number | null;
  }) => string;
}

const bounds = (await import(pathToFileURL(join(root, 'native', 'bench', 'bounds.mjs')).href)) as Bounds;

type Change = (measurement: Measurement) => Partial<Measurement>;

/** Rounds in which everything costs the same except for `change`; each has a little noise. */
function measured(comparisons: Comparison[], rounds: number, change: Change): Measurement[] {
  return bounds.measurementsNeeded(comparisons).flatMap((side) =>
    Array.from({ length: rounds }, (_, round) => {
      const noise = 1 + (round % 2 === 0 ? 0.001 : -0.001) * (side.server.length % 3);
      const base = { ...side, round, requests_per_second: 100_000 * noise, server_cpu_us: 10, client_cpu_us: 10 };
      const measurement = { ...base, server_busy: 0.99, client_busy: 0.8 };
      return { ...measurement, ...change(measurement) };
    }),
  );
}

function judgeOne(name: string, sizes: number[], rounds: number, change: Change): Verdict {
  const comparisons = bounds.comparisonsAt(sizes).filter((each) => each.name === name);
  const [verdict] = bounds.judgeAll(comparisons, measured(comparisons, rounds, change));
  if (verdict === undefined) throw new Error(`no comparison "${name}"`);
  return verdict;
}

t.test('a bound is checked at the end of the interval, with its tolerance', (t) => {
  const at = (ci_low: number, ci_high: number, bound: { at_least?: number; at_most?: number }): string =>
    bounds.verdictOf({ bound, pairs: 8, ci_low, ci_high });
  t.equal(at(0.971, 1.2, { at_least: 1 }), 'PASS');
  t.equal(at(0.969, 1.2, { at_least: 1 }), 'MISS');
  t.equal(at(1.068, 1.2, { at_least: 1.1 }), 'PASS');
  t.equal(at(1.066, 1.2, { at_least: 1.1 }), 'MISS');
  t.equal(at(0.9, 1.13, { at_most: 1.1 }), 'PASS');
  t.equal(at(0.9, 1.14, { at_most: 1.1 }), 'MISS');
  t.equal(bounds.verdictOf({ bound: null, pairs: 8, ci_low: 1, ci_high: 1 }), 'no bound');
  t.end();
});

t.test('no verdict from fewer than eight pairs', (t) => {
  const bound = { at_least: 1 };
  t.equal(bounds.verdictOf({ bound, pairs: 7, ci_low: 2, ci_high: 3 }), 'undecided');
  t.equal(bounds.verdictOf({ bound, pairs: 8, ci_low: null, ci_high: null }), 'undecided');
  t.equal(judgeOne('server epoll / libuv', [100], 7, () => ({})).verdict, 'undecided');
  t.equal(judgeOne('server epoll / libuv', [100], 8, () => ({})).verdict, 'PASS');
  t.end();
});

t.test('a saturated server is judged by requests/s, others by their CPU per request', (t) => {
  const slower: Change = ({ server, requests_per_second, server_cpu_us }) =>
    server === 'epoll'
      ? { requests_per_second: requests_per_second * 0.9, server_cpu_us: server_cpu_us / 2 }
      : { server_cpu_us };
  const saturated = judgeOne('server epoll / libuv', [100], 8, slower);
  t.equal(saturated.by, 'requests_per_second');
  t.equal(saturated.verdict, 'MISS');
  t.match(saturated.ratio?.toFixed(2), '0.90');
  const idle = judgeOne('server epoll / libuv', [100], 8, (each) => ({ ...slower(each), server_busy: 0.94 }));
  t.equal(idle.by, '1/server_cpu_us');
  t.equal(idle.verdict, 'PASS');
  t.match(idle.ratio?.toFixed(2), '2.00', 'half the CPU per request is twice the work');
  t.end();
});

t.test('a client is judged by its own saturation and its own CPU', (t) => {
  const change: Change = ({ client }) => ({ client_cpu_us: client === 'ours' ? 12 : 10, client_busy: 0.5 });
  const plain = judgeOne('client ours / plain', [100], 8, change);
  t.equal(plain.by, '1/client_cpu_us');
  t.match(plain.ratio?.toFixed(3), '0.833');
  const minimum = judgeOne('client ours / minimum', [100], 8, change);
  t.equal(minimum.by, 'client_cpu_us');
  t.match(minimum.ratio?.toFixed(2), '1.20');
  t.equal(minimum.verdict, 'MISS');
  t.end();
});

t.test('growth is a multiple of the growth of libuv in the same round', (t) => {
  const change: Change = ({ server, connections, round }) => {
    if (connections === 100) return { server_cpu_us: 10 + round };
    return { server_cpu_us: (10 + round) * (server === 'epoll' ? 1.8 : 1.5) };
  };
  const growth = judgeOne('growth epoll / libuv', [100, 15_000], 8, change);
  t.match(growth.ratio?.toFixed(2), '1.20');
  t.equal(growth.verdict, 'MISS');
  t.notOk(
    bounds.comparisonsAt([100, 6000]).some(({ name }) => name.startsWith('growth')),
    'both sizes are needed',
  );
  t.end();
});

t.test('a failed measurement only drops its own pair', (t) => {
  const comparisons = bounds.comparisonsAt([100]).filter(({ name }) => name === 'server epoll / libuv');
  const all = measured(comparisons, 9, () => ({}));
  const some = all.filter(({ round, server, client }) => !(round === 3 && server === 'epoll' && client === 'plain'));
  const pairs = bounds.judgeAll(comparisons, some).map(({ against, pairs }) => [against, pairs]);
  t.strictSame(pairs, [
    ['plain client', 8],
    ['ours client', 9],
  ]);
  t.end();
});
