/** Cost as ratios of counters, saturation from wall time, and nothing invented where a counter is unknown. */
import t from 'tap';
import {
  clientCost,
  fairness,
  kernelBytesPerConnection,
  sampleLagFraction,
  saturation,
  serverCost,
  systemFigures,
  type CostSample,
  type EngineFigures,
  type WaitSample,
} from '../../../src/measure/cost.js';
import {
  unknownSystemSample,
  type ProcessUsage,
  type ServerStats,
  type SystemSample,
  unknownProcessUsage,
  unknownServerStats,
} from '../../../src/model/figures.js';

const usage: ProcessUsage = {
  ...unknownProcessUsage,
  cpu_user_ns: 0,
  cpu_system_ns: 0,
  cpu_total_ns: 0,
  voluntary_switches: 0,
  involuntary_switches: 0,
  resident_bytes: 50_000_000,
  resident_peak_bytes: 50_000_000,
  page_table_bytes: 100_000,
  threads: 12,
  descriptors: 20,
};

const stats: ServerStats = {
  ...unknownServerStats,
  refused: 0,
  errors_aborted: 0,
  errors_memory: 0,
  errors_threads: 0,
  receives_paused: 0,
  workers: 0,
  threads: 1,
  threads_max: 1,
  backlog: 4096,
  features: 'one two',
};

function sample(used: Partial<ProcessUsage>, counted: Partial<ServerStats> | null = {}): CostSample {
  return { usage: { ...usage, ...used }, stats: counted === null ? null : { ...stats, ...counted } };
}

const start = sample(
  {
    taken_at_ns: 1e9,
    cpu_user_ns: 1e8,
    cpu_system_ns: 4e8,
    cpu_total_ns: 5e8,
    voluntary_switches: 100,
    involuntary_switches: 10,
    threads: 1011,
  },
  { bytes_received: 64_000, accepted: 1000, threads: 1001, threads_max: 1001 },
);
const end = sample(
  {
    taken_at_ns: 3e9,
    cpu_user_ns: 4e8,
    cpu_system_ns: 1.6e9,
    cpu_total_ns: 2e9,
    voluntary_switches: 150_100,
    involuntary_switches: 50_010,
    resident_bytes: 90_000_000,
    page_table_bytes: 2_100_000,
    threads: 1011,
  },
  { bytes_received: 64_000 + 64 * 100_000, accepted: 1000, threads: 1001, threads_max: 1500, errors_reset: 3 },
);
const input = { idle: sample({}), start, end, connections_made: 1000, message_size_bytes: 64, kernel: null };

t.test('per request: by the counts of the very samples that the CPU time is from', (t) => {
  const cost = serverCost(input);
  t.equal(cost.requests_counted, 100_000);
  t.equal(cost.cpu_us_per_request, 15);
  t.equal(cost.cpu_user_us_per_request, 3);
  t.equal(cost.cpu_system_us_per_request, 12);
  t.equal(cost.cpu_fraction, 0.75);
  t.equal(cost.context_switches_per_request, 2);
  t.equal(cost.voluntary_switches_per_request, 1.5);
  t.equal(cost.involuntary_switches_per_request, 0.5);
  t.end();
});

t.test('system calls per request: null for a server that does not count them', (t) => {
  t.equal(serverCost(input).system_calls_per_request, null);
  const counted = serverCost({
    ...input,
    start: sample(start.usage, { ...start.stats, system_calls: 1_000, operations_posted: 10 }),
    end: sample(end.usage, { ...end.stats, system_calls: 211_000, operations_posted: 100_010 }),
  });
  t.equal(counted.system_calls_per_request, 2.1);
  t.equal(counted.operations_per_request, 1);
  t.end();
});

t.test('instructions and cycles per request: between the same samples as the CPU time', (t) => {
  const of = (
    from: Partial<CostSample['usage']>,
    to: Partial<CostSample['usage']>,
    kernel: Parameters<typeof serverCost>[0]['kernel'] = null,
  ): ReturnType<typeof serverCost> =>
    serverCost({
      ...input,
      kernel,
      start: { ...start, usage: { ...start.usage, ...from } },
      end: { ...end, usage: { ...end.usage, ...to } },
    });
  const none = { instructions_per_request: null, cycles_per_request: null, instructions_scope: null };
  t.match(serverCost(input), none, 'not counted');
  const [from, to] = [
    { instructions: 5e6, cycles: 1e6, execution_scope: 1 },
    { instructions: 2.005e9, cycles: 3.001e9, execution_scope: 1 },
  ];
  t.match(of(from, to), {
    instructions_per_request: 20_000,
    cycles_per_request: 30_000,
    instructions_scope: 'user+kernel',
  });
  t.match(of(from, { ...to, execution_scope: 0 }), { instructions_scope: 'user' });
  t.match(of(from, { ...to, instructions: null }), {
    ...none,
    cycles_per_request: 30_000,
    instructions_scope: 'user+kernel',
  });
  t.match(of(from, from), none, 'counters that stand still do not count');
  t.match(of(to, from), none, 'nor do those that run backwards');
  // A thread's counters are kernel memory that no connection needs.
  const memory = { tcp_memory_bytes: 1e6, slab_bytes: 1e8, kernel_stack_bytes: 1e6 };
  const kernel = { idle_before: memory, idle_after: memory, loaded: { ...memory, slab_bytes: 2e8 } };
  t.equal(of({}, {}, kernel).kernel_bytes_per_connection, 100_000);
  t.equal(of(from, to, kernel).kernel_bytes_per_connection, null);
  t.end();
});

t.test('the wait for a CPU: null if the threads are not the same at both moments', (t) => {
  const moment = (run_delay_ns: number | null, requests: number, thread_ids = 100): WaitSample => ({
    stats: { ...stats, bytes_received: 64 * requests },
    runDelay: { run_delay_ns, threads: 10, thread_ids },
  });
  const of = (start: WaitSample | null, end: WaitSample | null): number | null | undefined =>
    serverCost({ ...input, waits: { start, end } }).run_delay_us_per_request;
  t.equal(of(moment(1e6, 1_000), moment(3e6, 2_000)), 2, 'by the requests between the two moments');
  t.equal(of(moment(1e6, 1_000), moment(3e6, 2_000, 101)), null, 'another thread');
  t.equal(of(moment(null, 1_000), moment(null, 2_000)), null, 'the system does not report it');
  t.equal(of(null, moment(3e6, 2_000)), null, 'no sample');
  t.equal(of({ stats }, { stats }), null, 'samples without it');
  t.equal(serverCost(input).run_delay_us_per_request, null, 'a server that cannot be asked');
  t.end();
});

t.test('per connection: under load minus the idle server', (t) => {
  const cost = serverCost(input);
  t.equal(cost.resident_bytes_per_connection, 40_000);
  t.equal(cost.page_table_bytes_per_connection, 2_000);
  t.equal(cost.nonpaged_pool_bytes_per_connection, null);
  t.equal(cost.kernel_bytes_per_connection, null);
  t.equal(serverCost({ ...input, connections_made: 0 }).resident_bytes_per_connection, null);
  const shrunk = { ...input, end: sample({ ...end.usage, resident_bytes: 40_000_000 }, end.stats) };
  t.equal(serverCost(shrunk).resident_bytes_per_connection, null, 'less than idle is noise, not a negative cost');
  t.end();
});

t.test('threads: the most that the server had, beside those of Node', (t) => {
  const cost = serverCost(input);
  t.equal(cost.threads_max, 1511, '1500 of the server and 11 of Node');
  t.equal(cost.threads_idle, 12);
  t.end();
});

t.test('errors and features of the server', (t) => {
  const cost = serverCost(input);
  t.strictSame(cost.errors, { reset: 3 });
  t.strictSame(cost.features, ['one', 'two']);
  t.end();
});

t.test("a server known by its process id alone is counted by the client's echoes", (t) => {
  const foreign = {
    ...input,
    idle: sample({}, null),
    start: sample(start.usage, null),
    end: sample(end.usage, null),
  };
  const cost = serverCost({ ...foreign, requests_counted: 50_000 });
  t.equal(cost.cpu_us_per_request, 30);
  t.match(cost, { accepted: null, refused: null, workers: null, backlog: null, errors: {}, features: [] });
  t.equal(serverCost(foreign).cpu_us_per_request, null, 'no count, no figure');
  t.end();
});

t.test('requests that cost no CPU time at all were served by somebody else', (t) => {
  const still = { cpu_user_ns: 1e8, cpu_system_ns: 4e8, cpu_total_ns: 5e8 };
  const idle = serverCost({ ...input, end: { ...end, usage: { ...end.usage, ...still } } });
  t.match(idle, { cpu_us_per_request: null, cpu_user_us_per_request: null, cpu_system_us_per_request: null });
  t.equal(idle.cpu_fraction, null);
  t.equal(idle.requests_counted, 100_000);
  t.end();
});

t.test('what a system does not tell stays null', (t) => {
  const blind = (moment: CostSample): CostSample => ({
    stats: moment.stats,
    usage: { ...moment.usage, cpu_total_ns: null, voluntary_switches: null, resident_bytes: null, threads: null },
  });
  const cost = serverCost({ ...input, idle: blind(input.idle), start: blind(start), end: blind(end) });
  t.equal(cost.cpu_us_per_request, 15, 'user and kernel together where there is no finer sum');
  t.equal(cost.context_switches_per_request, null);
  t.equal(cost.involuntary_switches_per_request, 0.5);
  t.equal(cost.resident_bytes_per_connection, null);
  t.equal(cost.threads_max, null);
  const still = serverCost({ ...input, end: sample(end.usage, start.stats ?? {}) });
  t.equal(still.cpu_us_per_request, null, 'no request served');
  t.end();
});

t.test('switches of both kinds counted as one', (t) => {
  const asOne = (moment: CostSample): CostSample => ({
    stats: moment.stats,
    usage: { ...moment.usage, involuntary_switches: null },
  });
  const cost = serverCost({ ...input, idle: asOne(input.idle), start: asOne(start), end: asOne(end) });
  t.equal(cost.context_switches_per_request, 1.5, 'the sum is what stands in the voluntary ones');
  t.equal(cost.voluntary_switches_per_request, null, 'which are not known by themselves');
  t.equal(cost.involuntary_switches_per_request, null);
  t.end();
});

t.test('kernel memory: null where the idle system moved as much as a tenth of the growth', (t) => {
  const memory = (slab: number): { slab_bytes: number; kernel_stack_bytes: number; tcp_memory_bytes: number } => ({
    slab_bytes: slab,
    kernel_stack_bytes: 1_000_000,
    tcp_memory_bytes: 0,
  });
  t.equal(kernelBytesPerConnection(memory(100e6), memory(100e6), memory(110e6), 1000), 10_000);
  t.equal(kernelBytesPerConnection(memory(100e6), memory(100.5e6), memory(110e6), 1000), 9_750, 'from the middle');
  t.equal(kernelBytesPerConnection(memory(100e6), memory(102e6), memory(110e6), 1000), null);
  t.equal(kernelBytesPerConnection(memory(102e6), memory(100e6), memory(110e6), 1000), null);
  t.equal(kernelBytesPerConnection(memory(100e6), memory(100e6), memory(99e6), 1000), null);
  t.equal(kernelBytesPerConnection(memory(100e6), memory(100e6), memory(110e6), 0), null);
  t.equal(kernelBytesPerConnection(memory(100e6), null, memory(110e6), 1000), null);
  const unknown = { ...memory(110e6), slab_bytes: null };
  t.equal(kernelBytesPerConnection(memory(100e6), memory(100e6), unknown, 1000), null);
  t.end();
});

const emptyHistogram = { count: 0n, min_ns: 0n, max_ns: 0n, sum_ns: 0n, counts: new BigUint64Array(33_792) };

function engine(changes: Partial<EngineFigures> = {}): EngineFigures {
  return {
    window_completions: 100_000,
    wait_ns: 4e8,
    wall_ns: 1e9,
    cpu_user_ns: 1e8,
    cpu_system_ns: 4e8,
    run_delay_ns: 1e6,
    stopped_ns: 0,
    stopped_longest_ns: 0,
    voluntary_switches: 1000,
    involuntary_switches: 500,
    window_system_calls: 210_000,
    window_operations: null,
    instructions: null,
    cycles: null,
    execution_scope: null,
    fairness_connections: 500,
    fairness_min: 150,
    fairness_max: 250,
    fairness_starved: 0,
    fairness_slowest: 3,
    fairness_sum: 100_000,
    fairness_sum_squares: 20_100_000,
    send_lag: emptyHistogram,
    turn_lag: emptyHistogram,
    turn_noticed: emptyHistogram,
    ...changes,
  };
}

t.test('client cost over all engines', (t) => {
  const cost = clientCost({
    engines: [engine(), engine()],
    engine: 'epoll',
    features: ['x'],
    throttled_ns: 0,
    resident_bytes: 1,
    memory_bytes: 2,
    started_late_ns: 0,
  });
  t.equal(cost.threads, 2);
  t.equal(cost.cpu_us_per_request, 5);
  t.equal(cost.cpu_user_us_per_request, 1);
  t.equal(cost.cpu_system_us_per_request, 4);
  t.equal(cost.context_switches_per_request, 0.015);
  t.equal(cost.system_calls_per_request, 2.1);
  t.equal(cost.operations_per_request, null, 'an engine without completions hands no operations over');
  t.equal(cost.send_lag_ns, null, 'a closed loop has no schedule');
  t.equal(cost.own_lag_ns, null);
  t.match(cost, { saturated: false, saturated_by: null, busy_fraction: 0.6 });
  t.end();
});

t.test("the client's instructions and cycles: of all engines, if all count the same", (t) => {
  const of = (...engines: EngineFigures[]): ReturnType<typeof clientCost> =>
    clientCost({
      engines,
      engine: 'epoll',
      features: [],
      throttled_ns: 0,
      resident_bytes: 1,
      memory_bytes: 2,
      started_late_ns: 0,
    });
  const none = { instructions_per_request: null, cycles_per_request: null, instructions_scope: null };
  t.match(of(engine()), none);
  const counted = { instructions: 1e9, cycles: 2e9, execution_scope: 0 };
  t.match(of(engine(counted), engine({ ...counted, instructions: 2e9 })), {
    instructions_per_request: 15_000,
    cycles_per_request: 20_000,
    instructions_scope: 'user',
  });
  t.match(
    of(engine(counted), engine({ ...counted, execution_scope: 1 })),
    none,
    'machines that allow different scopes',
  );
  t.match(of(engine(counted), engine()), none, 'a machine that allows nothing');
  t.end();
});

t.test('saturated: by wall time outside the wait, never by CPU', (t) => {
  const of = (engines: EngineFigures[], throttled: number | null = 0): ReturnType<typeof saturation> =>
    saturation({ engines, throttled_ns: throttled });
  t.match(of([engine({ wait_ns: 0.04e9 })]), { saturated: true, saturated_by: 'busy' });
  t.match(of([engine({ wait_ns: 0.06e9 })]), { saturated: false });
  // Stopped for 90% of the time: it used no CPU at all, and was still the limit.
  t.match(of([engine({ wait_ns: 0, cpu_user_ns: 0, cpu_system_ns: 1e7 })]), { saturated: true, saturated_by: 'busy' });
  // All CPU and yet waiting: a thread whose CPU clock is coarse is not the limit.
  t.match(of([engine({ cpu_user_ns: 5e8, cpu_system_ns: 5e8 })]), { saturated: false });
  // Woken, but not running: the wait was nothing but the run queue.
  t.match(of([engine({ wait_ns: 4e8, run_delay_ns: 3.8e8 })]), { saturated: true, saturated_by: 'run_delay' });
  t.match(of([engine({ run_delay_ns: 1e8 })]), { saturated: false, run_delay_fraction: 0.1 });
  t.match(of([engine()], 0.9e9), { saturated: true, saturated_by: 'throttled', throttled_fraction: 0.9 });
  t.match(of([engine()], 0.01e9), { saturated: false });
  t.match(of([engine(), engine({ wait_ns: 0 })]), { saturated: true, busy_fraction: 1 }, 'one engine is enough');
  t.match(of([engine({ wait_ns: 0.9e9 })]), { saturated: false }, 'a slow server and an idle client');
  t.match(of([engine({ wait_ns: null, run_delay_ns: null })], null), { saturated: null, saturated_by: null });
  // Stopped for 600 of 1000 ms, and waiting for nothing in what was left; or idle in it.
  t.match(of([engine({ wait_ns: 0, stopped_ns: 6e8 })]), { saturated: true, saturated_by: 'busy', busy_fraction: 1 });
  t.match(of([engine({ wait_ns: 3e8, stopped_ns: 6e8 })]), { saturated: false, busy_fraction: 0.25 });
  t.match(
    of([engine({ wait_ns: 4e8, stopped_ns: 9e9 })]),
    { saturated: false, busy_fraction: 0.6 },
    'a suspended machine',
  );
  t.match(of([engine({ run_delay_ns: null })], null), { saturated: false, run_delay_fraction: null });
  t.end();
});

t.test('fairness over all engines', (t) => {
  const merged = fairness([
    engine(),
    engine({ fairness_min: 0, fairness_starved: 2, fairness_slowest: 77, fairness_max: 300 }),
    engine({
      fairness_connections: 0,
      fairness_min: null,
      fairness_slowest: null,
      fairness_sum: 0,
      fairness_sum_squares: 0,
    }),
  ]);
  t.match(merged, { connections: 1000, starved: 2, min_requests: 0, max_requests: 300, slowest_connection: 77 });
  t.ok(Math.abs((merged.jain_index ?? 0) - 200_000 ** 2 / (1000 * 40_200_000)) < 1e-12);
  t.match(fairness([]), { connections: 0, jain_index: null, min_requests: null, slowest_connection: null });
  t.end();
});

const system: SystemSample = {
  ...unknownSystemSample,
  cpu_busy_ns: 0,
  cpu_idle_ns: 0,
  cpu_steal_ns: 0,
  cpu_network_threads_ns: 0,
  tcp_memory_bytes: 5,
  time_wait_sockets: 7,
  slab_bytes: 0,
  kernel_stack_bytes: 0,
  listen_overflows: 10,
  listen_drops: 10,
  tcp_retransmits: 1,
  throttled_ns: 0,
};

t.test('what else went on in the machine', (t) => {
  const after = { ...system, cpu_busy_ns: 1.5e9, cpu_idle_ns: 0.4e9, cpu_steal_ns: 0.1e9, listen_overflows: 12 };
  const figures = systemFigures(system, after, 1.3e9);
  t.match(figures, { listen_overflows: 2, listen_drops: 0, retransmits: 0, time_wait_sockets: 7 });
  t.equal(figures.cpu_steal_fraction, 0.05);
  t.ok(Math.abs((figures.cpu_others_fraction ?? 0) - 0.1) < 1e-12);
  t.equal(systemFigures(system, after, 1.6e9).cpu_others_fraction, 0, 'ticks and ns do not agree to the last');
  t.equal(systemFigures(system, after, null).cpu_others_fraction, null);
  const deferred = systemFigures(system, { ...after, cpu_network_threads_ns: 0.2e9 }, 1.3e9);
  t.equal(deferred.cpu_network_threads_fraction, 0.1);
  t.equal(deferred.cpu_others_fraction, 0, "the packets of the load are nobody else's");
  const unseen = systemFigures({ ...system, cpu_network_threads_ns: null }, after, 1.3e9);
  t.equal(unseen.cpu_network_threads_fraction, null);
  t.ok(Math.abs((unseen.cpu_others_fraction ?? 0) - 0.1) < 1e-12);
  t.equal(systemFigures(system, { ...after, cpu_busy_ns: null }, 1).cpu_steal_fraction, null);
  t.equal(systemFigures(after, system, 1).listen_overflows, null, 'a counter that ran backwards was reset');
  t.end();
});

t.test('how late a server was looked at', (t) => {
  const at = (taken_at_ns: number): CostSample => ({ usage: { ...usage, taken_at_ns }, stats: null });
  const window = { start_ns: 1_000, end_ns: 2_000 };
  t.equal(sampleLagFraction({ start: at(1_000), end: at(2_000) }, window), 0);
  t.equal(sampleLagFraction({ start: at(1_900), end: at(2_010) }, window), 0.9, 'the start came late');
  t.equal(sampleLagFraction({ start: at(1_010), end: at(2_300) }, window), 0.3, 'the end came late');
  t.equal(sampleLagFraction({ start: at(900), end: at(1_950) }, window), 0, 'early is not late');
  t.equal(sampleLagFraction({ start: null, end: at(2_000) }, window), null);
  t.equal(sampleLagFraction({ start: at(1), end: at(2) }, { start_ns: 5, end_ns: 5 }), null);
  t.end();
});
