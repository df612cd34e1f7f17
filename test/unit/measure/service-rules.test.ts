/** The warnings about work and wait per request: what was burnt, how it was calibrated, and workers that sleep. */
import t from 'tap';
import { serviceRules } from '../../../src/measure/service-rules.js';
import type { Finding } from '../../../src/measure/rules.js';
import type { CompletedWindow, Environment, Run, ServerCost } from '../../../src/model/report-schema.js';
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
  throttled?: number | null;
  stolen?: number | null;
  environment?: Partial<Environment>;
  waitBlocks?: boolean;
}

function found(
  code: string,
  { service, workers = 1, perSecond = 190, throttled = 0, stolen = 0, environment = {}, waitBlocks = false }: Case,
): Finding | null {
  const rule = serviceRules.find((one) => one.code === code);
  if (rule === undefined) throw new Error(`there is no rule ${code}`);
  const base = latencyWindow(0, {});
  if (base.server === null) throw new Error('the window has a server');
  const window: CompletedWindow = {
    ...base,
    requests: { ...base.requests, per_second: perSecond },
    client: { ...base.client, throttled_fraction: throttled },
    system: { ...base.system, cpu_steal_fraction: stolen },
    server: { ...base.server, workers, service: { ...sound, ...service } },
  };
  const run: Run = { mode: 'epoll', backend: 'epoll', clients: 1_000, work_us: 100, wait_ms: 5, trials: [window] };
  return rule.check(window, {
    run,
    plan: planWith({ wait_blocks: waitBlocks }),
    environment: environmentWith(environment),
  });
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

t.test('work that differs: the causes that the figures show are named, else those that are possible here', (test) => {
  const metal: Partial<Environment> = { cpu_governor: 'powersave', cpu_turbo: true, virtual_machine: null };
  const virtual: Partial<Environment> = { cpu_governor: null, cpu_turbo: null, virtual_machine: 'kvm' };
  const slow = { service: { work_us_per_request: 120 } };
  const warned = (one: Case): string => {
    const finding = found('work_differs', { ...slow, ...one });
    return `${finding?.message ?? ''} -> ${finding?.hint ?? ''}`;
  };
  const frequency = /clock frequency may have changed/;

  const onMetal = warned({ environment: metal });
  test.match(onMetal, /instead of 100 µs: the clock frequency .* \(governor "powersave", turbo on\) -> fix the clock/);
  test.notMatch(onMetal, /hypervisor|quota/);

  const inVm = warned({ environment: virtual, stolen: null });
  test.match(inVm, frequency);
  test.match(inVm, /; or the hypervisor \(kvm\) may have taken CPU time .* it reports no steal time -> .* not shared/);
  test.match(warned({ environment: virtual, stolen: 0.002 }), /its steal time is low/);

  const stolen = warned({ environment: virtual, stolen: 0.08 });
  test.match(stolen, /: the hypervisor took 8(\.0)?% of the machine's CPU time.* -> use a machine that is not shared$/);
  test.notMatch(stolen, frequency, 'a cause that was measured comes alone');

  const throttled = warned({ environment: metal, throttled: 0.2 });
  test.match(throttled, /: the CPU quota throttled the control group for 20% of the window -> raise .*cpu\.max/);
  test.notMatch(throttled, frequency);
  test.match(
    warned({ environment: virtual, stolen: 0.08, throttled: 0.2 }),
    /quota throttled .*; the hypervisor took .* -> raise .*, or use a machine/,
  );

  const faster = warned({ service: { work_us_per_request: 80 }, environment: virtual, stolen: 0.08, throttled: 0.2 });
  test.match(faster, frequency, 'neither a hypervisor nor a quota makes a CPU faster');
  test.notMatch(faster, /hypervisor|quota/);
  test.end();
});

t.test('a calibration that did not settle is a warning with its reason', (test) => {
  test.equal(found('work_unsettled', { service: { work_spread: 0.05 } }), null);
  test.match(
    found('work_unsettled', { service: { work_spread: 0.12 } })?.message,
    /repeated measurements differed by 12%$/,
  );
  test.match(found('work_unsettled', { service: { work_spread: 0.12 }, throttled: 0.2 }), {
    message: /, and the CPU quota throttled the control group for 20% of the window$/,
    hint: /cpu\.max/,
  });
  test.match(found('work_unsettled', { service: { work_spread: 0.12 }, stolen: 0.3 }), {
    message: /, and the hypervisor took 30%/,
    hint: /not shared/,
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
