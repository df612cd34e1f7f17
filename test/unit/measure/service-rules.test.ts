/** The warnings about work and wait per request: what was burnt, how it was calibrated, and workers that sleep. */
import t from 'tap';
import { serviceRules } from '../../../src/measure/service-rules.js';
import type { Finding } from '../../../src/measure/rules.js';
import type { CompletedWindow, Run, ServerCost } from '../../../src/model/report-schema.js';
import { environmentWith, latencyWindow, planWith } from './build.js';

const sound: NonNullable<ServerCost['service']> = {
  served: 1_000,
  dropped: 0,
  work_us_per_request: 101,
  work_measured: 1_000,
  work_spread: 0.01,
  wait_ms_per_request: 5.05,
};

interface Case {
  service?: Partial<typeof sound>;
  workers?: number;
  perSecond?: number;
  throttled?: number;
  waitBlocks?: boolean;
}

function found(
  code: string,
  { service, workers = 1, perSecond = 190, throttled = 0, waitBlocks = false }: Case,
): Finding | null {
  const rule = serviceRules.find((one) => one.code === code);
  if (rule === undefined) throw new Error(`there is no rule ${code}`);
  const base = latencyWindow(0, {});
  if (base.server === null) throw new Error('the window has a server');
  const window: CompletedWindow = {
    ...base,
    requests: { ...base.requests, per_second: perSecond },
    client: { ...base.client, throttled_fraction: throttled },
    server: { ...base.server, workers, service: { ...sound, ...service } },
  };
  const run: Run = { mode: 'epoll', backend: 'epoll', clients: 1_000, work_us: 100, wait_ms: 5, trials: [window] };
  return rule.check(window, { run, plan: planWith({ wait_blocks: waitBlocks }), environment: environmentWith({}) });
}

t.test('work that differs from what was asked by more than 5% is a warning', (test) => {
  test.equal(found('work_differs', {}), null);
  test.equal(found('work_differs', { service: { work_us_per_request: 104.9 } }), null);
  test.match(found('work_differs', { service: { work_us_per_request: 112 } }), {
    severity: 'warning',
    message: /each request burnt 112 µs of CPU time instead of 100 µs/,
  });
  test.ok(found('work_differs', { service: { work_us_per_request: 94 } }));
  test.equal(found('work_differs', { service: { work_us_per_request: 200, work_measured: 10 } }), null, 'too few');
  test.equal(found('work_differs', { service: { work_us_per_request: null } }), null, 'not known');
  test.end();
});

t.test('a calibration that did not settle is a warning with its reason', (test) => {
  test.equal(found('work_unsettled', { service: { work_spread: 0.05 } }), null);
  test.match(
    found('work_unsettled', { service: { work_spread: 0.12 } })?.message,
    /repeated measurements differed by 12%$/,
  );
  test.match(found('work_unsettled', { service: { work_spread: 0.12 }, throttled: 0.2 }), {
    message: /the control group is throttled/,
    hint: /cpu\.max/,
  });
  test.end();
});

t.test('sleeping workers are named as the limit', (test) => {
  test.equal(found('workers_sleep', {}), null, 'a timer ends the waits');
  test.match(
    found('workers_sleep', { waitBlocks: true })?.message,
    /the one worker sleeps 5(\.00)? ms .*at most 200 requests\/s/,
  );
  test.match(
    found('workers_sleep', { waitBlocks: true, workers: 8, perSecond: 1_500 })?.message,
    /each of the 8 workers sleeps .*1,600 requests\/s/,
  );
  test.equal(found('workers_sleep', { waitBlocks: true, perSecond: 50 }), null, 'far from the limit');
  test.end();
});
