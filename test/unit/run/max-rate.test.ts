import t from 'tap';
import { searchMaxRate } from '../../../src/run/max-rate.js';
import type { runTrial } from '../../../src/run/trial.js';
import { findWarnings } from '../../../src/measure/validity.js';
import { searchLimit, searchResolution } from '../../../src/model/search-result.js';
import { maxRateSchema, type MaxRate, type Window } from '../../../src/model/report-schema.js';
import { environmentWith, failedWindow, latencyWindow, planWith, times } from '../measure/build.js';
import { smallPlan } from '../../support/plan.js';

const [spec] = smallPlan.modes;
if (spec === undefined) throw new Error('the plan has no mode');

interface Offered {
  readonly rate: number;
  readonly durationMs: number;
}

/** A search against a server that sustains a rate, or not; it knows how many windows there were before. */
async function search(
  sustains: (rate: number, isConfirming: boolean) => boolean | 'dies',
): Promise<{ found: MaxRate; offered: Offered[] }> {
  const offered: Offered[] = [];
  const plan = { ...smallPlan, durationMs: 3_000 };
  const trial: typeof runTrial = (_, __, next) => {
    const windows: Window[] = [];
    for (let window = next(windows); window !== null; window = next(windows)) {
      if ('refusal' in window) throw new Error('a search refuses no window');
      const { ratePerSecond: rate, durationMs } = window;
      offered.push({ rate, durationMs });
      const sustained = sustains(rate, durationMs === plan.durationMs);
      if (sustained === 'dies') {
        return Promise.resolve({ windows: [...windows, failedWindow(latencyWindow(0), 'it died')], madeNone: false });
      }
      const response_time_ns = times(sustained ? 1e6 : 20e6);
      windows.push(latencyWindow(0, { response_time_ns, client: { own_lag_ns: times(1_000) } }));
    }
    return Promise.resolve({ windows, madeNone: false });
  };
  const hooks = {
    startServer: () => Promise.reject(new Error('no server is needed')),
    onProgress: () => undefined,
    nextSequence: () => 0,
    signal: new AbortController().signal,
  };
  const task = { spec: spec ?? never(), clients: 10, index: 2, sequence: 1 };
  return { found: maxRateSchema.parse(await searchMaxRate('p99<10ms', plan, task, 2_000, hooks, trial)), offered };
}

function never(): never {
  throw new Error('the plan has no mode');
}

t.test('the found rate is confirmed by a window of its own', async (t) => {
  const { found, offered } = await search((rate) => rate < 1_500);
  t.equal(
    found.rate_per_second,
    Math.max(...found.steps.filter(({ carried }) => carried).map((s) => s.rate_per_second)),
  );
  t.match(found.confirmations, [{ rate_per_second: found.rate_per_second, carried: true }]);
  t.strictSame(offered.at(-1), { rate: found.rate_per_second, durationMs: 3_000 }, 'as long as any other window');
  t.equal(offered.length, found.steps.length + 1);
  t.equal(found.ended_early, undefined);
  t.equal(searchLimit(found), null);
});

t.test('a lucky rate is lowered until it is sustained once more', async (t) => {
  const { found } = await search((rate, isConfirming) => rate < (isConfirming ? 1_400 : 1_500));
  const { rate_per_second: rate, confirmations = [] } = found;
  t.ok(rate !== null && rate < 1_400 && rate > 1_200, String(rate));
  t.strictSame(
    confirmations.map(({ carried }) => carried),
    confirmations.map((_, place) => place === confirmations.length - 1),
    'only the last one was sustained',
  );
  t.ok(confirmations.length > 1);
  t.ok(
    searchResolution(found) > 0 && searchResolution(found) < 0.1,
    'the upper end is the rate that was not confirmed',
  );
  const run = { mode: 'iocp', backend: 'iocp', clients: 10, trials: [], max_rate: [found] };
  const warnings = findWarnings({ plan: planWith({}), environment: environmentWith({}), runs: [run] });
  t.match(warnings, [{ code: 'search_lowered', severity: 'info', message: /not sustained once more/ }]);
});

t.test('a rate that nothing confirms is not reported', async (t) => {
  const { found } = await search((rate, isConfirming) => !isConfirming && rate < 1_500);
  t.equal(found.rate_per_second, null);
  t.equal(found.confirmations?.length, 5);
  t.match(found.ended_early, /sustained once more/);
});

t.test('a search without a rate, or one that broke, has nothing to confirm', async (t) => {
  t.equal((await search(() => false)).found.confirmations, undefined);
  const { found } = await search((rate) => (rate > 3_000 ? 'dies' : true));
  t.equal(found.confirmations, undefined);
  t.equal(found.ended_early, 'it died');
});
