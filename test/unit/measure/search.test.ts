/** The search for the highest rate: finds it within its resolution, in bounded steps, whatever the server does. */
import t from 'tap';
import { BenchError } from '../../../src/model/errors.js';
import { seededRandom } from '../../../src/measure/random.js';
import {
  foundMaxRate,
  nextRate,
  observationOf,
  observe,
  parseLimit,
  searchStepsMost,
  startSearch,
  type SearchState,
} from '../../../src/measure/search.js';
import { maxRateSchema, type Distribution, type MaxRate } from '../../../src/model/report-schema.js';
import { searchLimit, searchResolution, type SearchStep } from '../../../src/model/search-result.js';
import { latencyWindow, times } from './build.js';

function search(first: number, carries: (rate: number) => boolean): SearchState {
  let state = startSearch(first);
  for (let rate = nextRate(state); rate !== null; rate = nextRate(state)) {
    state = observe(state, { value_ns: 1, carried: carries(rate) });
    if (state.steps.length > 100) throw new Error('the search does not end');
  }
  return state;
}

const onePlace = { pipeline: 1 };

t.test('limits', (t) => {
  t.match(parseLimit('p99<10ms'), { metric: { name: 'response_time_p99' }, limit_ns: 10e6 });
  t.match(parseLimit(' p99.9 <= 1s '), { metric: { name: 'response_time_p99_9' }, limit_ns: 1e9 });
  t.match(parseLimit('max<500us'), { metric: { name: 'response_time_max' }, limit_ns: 500e3 });
  t.match(parseLimit('service_time_p50 < 2ms'), { metric: { name: 'service_time_p50' }, limit_ns: 2e6 });
  for (const wrong of ['', 'p99', 'p99>10ms', 'p98<10ms', 'throughput<10', 'p99<fast', 'p99<0ms', 'p99<5KiB']) {
    t.throws(() => parseLimit(wrong), BenchError, `'${wrong}'`);
  }
  t.end();
});

t.test('finds the rate within its resolution, from far below and far above', (t) => {
  const random = seededRandom(3);
  for (let round = 0; round < 200; round++) {
    const truth = 10 ** (2 + 4 * random());
    const first = truth * 2 ** (8 * random() - 4);
    const state = search(first, (rate) => rate <= truth);
    const found = state.carried ?? 0;
    // Rates are rounded to three digits, which adds half a percent at most on each side.
    t.ok(found <= truth && found * 1.03 * 1.01 >= truth, `${found} for ${truth}`);
    t.ok(state.steps.length <= searchStepsMost);
  }
  t.end();
});

t.test('always ends in bounded steps', (t) => {
  const random = seededRandom(4);
  for (let round = 0; round < 200; round++) {
    t.ok(search(10 ** (6 * random()), () => random() < 0.5).steps.length <= searchStepsMost);
  }
  t.equal(search(1000, () => true).steps.length, searchStepsMost);
  const nothing = search(1000, () => false);
  t.equal(nothing.carried, null);
  t.equal(nothing.steps.at(-1)?.rate_per_second, 1, 'down to one request per second');
  t.equal(observe(nothing, { value_ns: 1, carried: true }), nothing, 'nothing is taken after the end');
  t.end();
});

t.test('what counts as carried', (t) => {
  const limit = parseLimit('p99<10ms');
  const carried = (window: Parameters<typeof observationOf>[1]): boolean =>
    observationOf(limit, window, onePlace).carried;
  t.ok(carried(latencyWindow(0)));
  t.notOk(carried(latencyWindow(0, { response_time_ns: times(11e6) })), 'too slow');
  const exactly = latencyWindow(0, { response_time_ns: times(10e6) });
  t.notOk(carried(exactly), 'the limit itself is not below it');
  t.ok(observationOf(parseLimit('p99<=10ms'), exactly, onePlace).carried, 'but within <=');
  t.notOk(carried(latencyWindow(0, { requests: { per_second: 49_000 } })), 'not all of it answered');
  t.notOk(carried(latencyWindow(0, { requests: { failed: 1 } })), 'a request without an echo');
  const few = { ...times(1e6, 50), p99: null, missing: { p99: 'too_few_samples' } } as const;
  t.match(
    observationOf(limit, latencyWindow(0, { response_time_ns: few }), onePlace),
    { carried: true, value_ns: 3e6 },
    'the maximum bounds it',
  );
  const beyond = { ...times(1e6), p99: null, max: null, missing: { p99: 'timeout', max: 'timeout' } } as const;
  t.match(observationOf(limit, latencyWindow(0, { response_time_ns: beyond }), onePlace), {
    carried: false,
    value_ns: null,
  });
  t.end();
});

t.test('a step knows what held it back', (t) => {
  const limitOf = (changes: Parameters<typeof latencyWindow>[1]): unknown =>
    observationOf(parseLimit('p99<10ms'), latencyWindow(0, changes), onePlace).limited_by;
  t.equal(limitOf({}), null);
  t.equal(limitOf({ client: { saturated: true } }), 'client_saturated');
  t.equal(limitOf({ client: { stopped_longest_ns: 150e6 } }), 'client_stopped');
  t.equal(
    limitOf({ client: { send_lag_ns: times(900_000) }, service_time_ns: times(1_000) }),
    'client_behind_schedule',
  );
  t.equal(
    limitOf({ client: { send_lag_ns: times(900_000) }, service_time_ns: times(900e6) }),
    null,
    'messages that waited for a place on their connection are not late by the client',
  );
  t.equal(limitOf({ system: { cpu_others_fraction: 0.9 } }), 'machine');
  t.equal(limitOf({ system: { cpu_steal_fraction: 0.06 } }), 'machine');
  const few = (max: number): Distribution => ({
    ...times(max / 3, 50),
    p99: null,
    missing: { p99: 'too_few_samples' },
  });
  t.equal(
    limitOf({ client: { send_lag_ns: few(9e6) }, response_time_ns: few(12e6), service_time_ns: few(3e6) }),
    'client_behind_schedule',
    'with too few samples for a p99, by the maximum',
  );
  t.match(observationOf(parseLimit('p99<10ms'), latencyWindow(0), onePlace), {
    client_busy_fraction: 0.7,
    client_send_lag_p99_ns: 20_000,
  });
  t.end();
});

t.test('what ends a search', (t) => {
  const step = (rate: number, carried: boolean, limited_by?: SearchStep['limited_by']): SearchStep => ({
    rate_per_second: rate,
    value_ns: 1,
    carried,
    ...(limited_by === undefined ? {} : { limited_by }),
  });
  const of = (rate: number | null, steps: SearchStep[], ended_early?: string): MaxRate => ({
    metric: 'response_time_p99',
    limit_ns: 1e7,
    rate_per_second: rate,
    steps,
    ...(ended_early === undefined ? {} : { ended_early }),
  });
  t.equal(searchLimit(of(100, [step(100, true, null), step(103, false, null)])), null);
  t.equal(
    searchLimit(of(100, [step(100, true, 'client_saturated'), step(103, false, null)])),
    null,
    'a carried step is one',
  );
  t.equal(
    searchLimit(of(100, [step(200, false, 'client_saturated'), step(100, true, null), step(103, false, null)])),
    null,
  );
  t.equal(
    searchLimit(of(100, [step(200, false, null), step(100, true, null), step(103, false, 'client_stopped')])),
    'client',
  );
  t.equal(searchLimit(of(null, [step(1, false, 'client_saturated')])), 'client');
  t.equal(searchLimit(of(100, [step(100, true, null)])), 'unfinished');
  t.equal(searchLimit(of(100, [step(100, true, null), step(200, false, null)], 'the server died')), 'unfinished');
  t.equal(searchLimit(of(100, [step(100, true), step(103, false)])), 'unrecorded');
  t.ok(Math.abs(searchResolution(of(100, [step(100, true), step(103, false), step(200, false)])) - 0.03) < 1e-9);
  t.end();
});

t.test('the result is what the report takes', (t) => {
  const state = search(100, (rate) => rate < 250);
  const found = maxRateSchema.parse(foundMaxRate(parseLimit('p99<10ms'), state, 2));
  t.equal(found.rate_per_second, state.carried);
  t.match(found, { metric: 'response_time_p99', index: 2 });
  t.end();
});
