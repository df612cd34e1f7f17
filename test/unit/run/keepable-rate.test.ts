import t from 'tap';
import type { Window } from '../../../src/model/report-schema.js';
import { KeepableRate } from '../../../src/run/keepable-rate.js';
import { smallPlan } from '../../support/plan.js';
import { lagging, recorded, upTo } from '../../support/synthetic.js';
import { failedWindow, latencyWindow } from '../measure/build.js';

/** A thousand requests of up to 1 ms. The client was late with so many of them, by as much as the slowest took. */
function windowWith(late: number, client: object = {}): Window {
  const lags = recorded(lagging(1000, late, 1e6));
  return latencyWindow(0, {
    response_time_ns: recorded(upTo(1000, 1000)),
    client: { own_lag_ns: lags, send_lag_ns: lags, saturated: false, ...client },
  });
}

const onSchedule = windowWith(0);
const late = windowWith(1000);
/** One window like this is late at its p99. Of three windows together, with two that are not late, the p99 is not. */
const paused = windowWith(20);
const saturated = windowWith(0, { saturated: true });

/** Returns the rates of the windows and the rate that was found, if the windows are these. The last one is measured again and again. */
function search(windows: readonly Window[]): { offered: number[]; rate: number | null } {
  const keepable = new KeepableRate(1000, { warmupMs: 100, durationMs: 500 }, smallPlan, Math.round);
  const done: Window[] = [];
  const offered: number[] = [];
  for (let next = keepable.next(done); next !== null; next = keepable.next(done)) {
    if ('refusal' in next) throw new Error('a search refuses no window');
    t.match(next, { phase: 'latency', warmupMs: 100, durationMs: 500, mayBeEmpty: true });
    offered.push(next.ratePerSecond);
    const window = windows[done.length] ?? windows.at(-1);
    if (window === undefined) throw new Error('there is no window');
    done.push(window);
  }
  return { offered, rate: keepable.rate };
}

t.test('a rate that the client keeps takes one window', async (t) => {
  t.strictSame(search([onSchedule]), { offered: [1000], rate: 1000 });
});

t.test('a pause of the machine in one window does not lower the rate', async (t) => {
  t.strictSame(search([paused, onSchedule]), { offered: [1000, 1000], rate: 1000 });
  t.strictSame(search([paused, paused, onSchedule, onSchedule]).rate, 750, 'but pauses in two of three do');
  t.strictSame(search([saturated, onSchedule]), { offered: [1000, 1000], rate: 1000 });
});

t.test('a rate is given up after three windows, and the next one is judged by its own', async (t) => {
  t.strictSame(search([late, late, late, onSchedule]), { offered: [1000, 1000, 1000, 750], rate: 750 });
  t.strictSame(search([saturated, saturated, saturated, paused, onSchedule]), {
    offered: [1000, 1000, 1000, 750, 750],
    rate: 750,
  });
});

t.test('where the client is late at 42% of the rate as well, there is none', async (t) => {
  const { offered, rate } = search([late]);
  t.strictSame([...new Set(offered)], [1000, 750, 563, 422]);
  t.equal(offered.length, 12);
  t.equal(rate, null);
});

t.test('a client that was stopped and a server that failed say nothing about the rate', async (t) => {
  const stopped = windowWith(1000, { stopped_ns: 3e8, stopped_longest_ns: 3e8 });
  t.equal(search([stopped]).rate, 1000);
  t.equal(search([late, failedWindow(late, 'it died')]).rate, 1000);
});
