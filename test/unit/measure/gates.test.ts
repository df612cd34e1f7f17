/** The grammar of gates, the arithmetic of holding, and what is undecided. */
import t from 'tap';
import { BenchError } from '../../../src/model/errors.js';
import { holds } from '../../../src/measure/gate-expression.js';
import { checkGate, checkGateAgainst, evaluateGate, parseChangeGate, parseGate } from '../../../src/measure/gates.js';
import { findWarnings } from '../../../src/measure/validity.js';
import type { CompletedWindow, Gate, Report, Run } from '../../../src/model/report-schema.js';
import { gateSchema } from '../../../src/model/report-schema.js';
import {
  planWith,
  reportOf,
  runWithMaxRates,
  runWithP99,
  runWithRates,
  times,
  withFailedTrial,
  type Changes,
} from './build.js';

function usageError(run: () => unknown): BenchError {
  try {
    run();
  } catch (error) {
    if (error instanceof BenchError && error.code === 'usage') return error;
    throw error;
  }
  throw new Error('expected a usage error');
}

function judge(expression: string, report: Report): Gate {
  const gate = evaluateGate(parseGate(expression), report);
  return gateSchema.parse(gate);
}

/** With the warnings that belong to it. */
function warned(runs: Run[]): Report {
  const report = reportOf(runs);
  return { ...report, warnings: findWarnings(report) };
}

t.test('the grammar', (t) => {
  t.match(parseGate('  iocp@6000.response_time_p99 > 5ms '), {
    expression: 'iocp@6000.response_time_p99 > 5ms',
    mode: 'iocp',
    clients: 6000,
    base: null,
    metric: { name: 'response_time_p99' },
    operator: '>',
    threshold: 5e6,
    unit: 'ns',
  });
  t.match(parseGate('iocp/blocking.throughput<1.2'), {
    base: 'blocking',
    clients: null,
    threshold: 1.2,
    unit: 'ratio',
  });
  t.match(parseGate('iocp@100/blocking.throughput <= 120%'), { clients: 100, operator: '<=', threshold: 1.2 });
  t.match(parseGate('any.errors > 0'), { mode: 'any', threshold: 0, unit: 'count' });
  t.match(parseGate('my-server.v2.throughput < 5e4/s'), { mode: 'my-server.v2', threshold: 50_000 });
  t.match(parseGate('io_uring.throughput >= 50k/s'), { mode: 'io_uring', threshold: 50_000 });
  t.end();
});

t.test('a point of a sweep over work and wait', (t) => {
  const everything = { clients: null, workUs: null, waitMs: null };
  t.match(parseGate('iocp.throughput < 1'), everything);
  t.match(parseGate('iocp@6000.throughput < 1'), { ...everything, clients: 6000 });
  t.match(parseGate('iocp@6000/blocking.throughput < 1'), { ...everything, clients: 6000, base: 'blocking' });
  t.match(parseGate('iocp@6000,work=100us.throughput < 1'), { clients: 6000, workUs: 100, waitMs: null });
  t.match(parseGate('iocp@work=1.5ms.throughput < 1'), { clients: null, workUs: 1500, metric: { name: 'throughput' } });
  t.match(parseGate('iocp@work=0.throughput < 1'), { workUs: 0 });
  t.match(parseGate('my-server.v2@wait=5ms, 100,work=10µs/b.throughput < 1'), {
    mode: 'my-server.v2',
    clients: 100,
    workUs: 10,
    waitMs: 5,
    base: 'b',
  });
  t.match(parseChangeGate('iocp@6000,wait=0.5s.throughput < 0.95'), { waitMs: 500 });
  const mistakes: readonly (readonly [string, RegExp, RegExp])[] = [
    ['iocp@6000,7000.throughput < 1', /selects the number of clients twice/, /MODE\[@CLIENTS\]/],
    ['iocp@work=1us,work=2us.throughput < 1', /selects the work twice/, /work=100us/],
    ['iocp@rest=1us.throughput < 1', /'rest' is not a dimension of a sweep/, /wait=TIME or rate=RATE/],
    ['iocp@6k.throughput < 1', /'6k' is not a number of clients/, /CLIENTS/],
    ['iocp@work=5.throughput < 1', /'5' is not a work per request/, /a number and a unit, such as work=100us/],
    ['iocp@wait=5k.throughput < 1', /'5k' is not a wait per request/, /such as wait=5ms/],
    ['iocp@work=.throughput < 1', /is not a valid gate/, /work=100us/],
    ['iocp@work=-5us.throughput < 1', /is not a valid gate/, /work=100us/],
  ];
  for (const [text, message, hint] of mistakes) {
    t.match(
      usageError(() => parseGate(text)),
      { message, hint },
      text,
    );
  }
  t.end();
});

t.test('a gate judges the runs that it selects, and every run without a selector', (t) => {
  const runs = [0, 100].flatMap((work) => [
    { ...runWithRates('blocking', [work === 0 ? 50e3 : 9e3]), work_us: work },
    { ...runWithRates('iocp', [work === 0 ? 100e3 : 9e3]), work_us: work },
  ]);
  const report = reportOf(runs);
  t.match(judge('iocp@1000,work=100us.throughput < 10k/s', report), {
    held: true,
    reason: 'iocp@1000,work=100us: throughput 9,000/s',
    figures: [{ mode: 'iocp', clients: 1000, work_us: 100, value: 9e3 }],
  });
  t.match(judge('iocp@work=0.1ms.throughput < 10k/s', report), { held: true });
  t.match(judge('iocp@1000,work=0.throughput < 10k/s', report), { held: false });
  t.match(judge('iocp@1000.throughput < 10k/s', report), { held: true }, 'without a selector: one of both is enough');
  t.equal(judge('iocp.throughput < 1k/s', report).figures.length, 2);
  t.match(
    judge('iocp@work=0/blocking.throughput < 1.5', report),
    { held: false, value: 2 },
    'the base of the same work',
  );
  t.match(judge('iocp@work=100us/blocking.throughput < 1.5', report), { held: true, value: 1 });
  t.match(judge('iocp@1000,work=0.throughput < 1', reportOf([runWithRates('iocp', [1e3])])), { held: false });
  t.match(
    usageError(() => {
      checkGateAgainst(parseGate('iocp@work=50us.throughput < 1'), report);
    }),
    { message: /selects work=50us, which is not measured/, hint: 'expected one of 0, 100us' },
  );
  t.match(
    usageError(() => {
      checkGateAgainst(parseGate('iocp@wait=5ms.throughput < 1'), report);
    }),
    { message: /selects wait=5ms, which is not measured/, hint: 'expected one of 0' },
  );
  t.end();
});

t.test('units are converted into those of the metric', (t) => {
  const threshold = (text: string): number => parseGate(text).threshold;
  t.equal(threshold('a.response_time_p50 > 250us'), 250_000);
  t.equal(threshold('a.response_time_p50 > 250µs'), 250_000);
  t.equal(threshold('a.response_time_p50 > 1.5 s'), 1.5e9);
  t.equal(threshold('a.response_time_p50 > 100'), 100, 'without a unit: as the report has it');
  t.equal(threshold('a.server_cpu_us_per_request > 0.01ms'), 10);
  t.equal(threshold('a.connect_duration_ms > 2s'), 2000);
  t.equal(threshold('a.resident_bytes_per_connection > 64KiB'), 65_536);
  t.equal(threshold('a.bytes_per_second < 1MB/s'), 1024 ** 2);
  t.equal(threshold('a.jain_index < 95%'), 0.95);
  t.equal(threshold('a/b.throughput < 1.5x'), 1.5);
  t.equal(threshold('a.errors != 3'), 3);
  t.end();
});

t.test('a mistake gets one sentence and a hint', (t) => {
  t.match(
    usageError(() => parseGate('nonsense')),
    { message: "'nonsense' is not a valid gate", hint: /MODE\[@CLIENTS\]/ },
  );
  t.match(
    usageError(() => parseGate('')),
    { message: /is not a valid gate/ },
  );
  t.match(
    usageError(() => parseGate('iocp.througput < 5')),
    { message: /no metric is called 'througput'/, hint: /did you mean throughput\?/ },
  );
  t.match(usageError(() => parseGate('iocp.p99 < 5')).hint, /response_time_p99|service_time_p99/);
  t.match(
    usageError(() => parseGate('iocp.throughput < 5ms')),
    { message: /'5ms' .* is no figure of throughput/, hint: /requests\/s/ },
  );
  t.match(
    usageError(() => parseGate('iocp.throughput < fast')),
    { message: /'fast'/ },
  );
  t.match(
    usageError(() => parseGate('iocp.errors > 5%')),
    { hint: 'expected a number without a unit' },
  );
  t.match(
    usageError(() => parseGate('iocp/blocking.errors > 1')),
    { message: /counted and not compared/ },
  );
  t.match(
    usageError(() => parseGate('iocp/any.throughput > 1')),
    { message: /divides by 'any'/ },
  );
  t.match(
    usageError(() => parseGate('iocp@0.throughput > 1')),
    { message: /0 clients/ },
  );
  t.match(
    usageError(() => parseGate('iocp/blocking.throughput > 5/s')),
    { message: /is no ratio/ },
  );
  t.match(
    usageError(() => parseChangeGate('iocp/blocking.throughput < 1')),
    { message: /names two modes/ },
  );
  t.match(parseChangeGate('iocp.throughput < 0.95'), { threshold: 0.95, unit: 'ratio' });
  t.end();
});

t.test('a gate selects a rate of a load curve', (t) => {
  const rate = (fraction: number, p99: number): Run => ({
    ...runWithP99('iocp', [p99, p99, p99]),
    rate_per_second: fraction * 1000,
    rate_fraction: fraction,
  });
  const base = runWithRates('iocp', [1000, 1000]);
  const rates = [0.5, 0.9].map((fraction) => ({ per_second: null, fraction }));
  const report = reportOf([base, rate(0.5, 1e6), rate(0.9, 9e6)], { plan: planWith({ rates }) });
  const judge = (expression: string): boolean | null => evaluateGate(parseGate(expression), report).held;
  t.equal(judge('iocp@rate=50%.response_time_p99 > 5ms'), false);
  t.equal(judge('iocp@1000,rate=90%.response_time_p99 > 5ms'), true);
  t.equal(judge('iocp@rate=900/s.response_time_p99 > 5ms'), true);
  t.equal(judge('iocp.response_time_p99 > 5ms'), true, 'without a selector every rate is judged');
  t.equal(judge('iocp.throughput < 5'), false, 'and a figure of the capacity phase where it was measured');
  t.throws(() => {
    checkGateAgainst(parseGate('iocp@rate=70%.response_time_p99 > 5ms'), report);
  }, /selects a rate that is not measured: at 70%/);
  t.throws(() => parseGate('iocp@rate=0%.throughput > 1'), /rate 0% is out of range/);
  t.throws(() => parseGate('iocp@rate=10%,rate=20%.throughput > 1'), /selects the rate twice/);
  t.match(parseGate('iocp@1000,rate=50k/s/blocking.response_time_p99 > 1.5'), {
    clients: 1000,
    rate: { perSecond: 50_000, fraction: null },
    base: 'blocking',
  });
  t.end();
});

t.test('gates are checked against the plan before any work', (t) => {
  const plan = {
    modes: ['blocking', 'iocp'],
    clients: [100, 6000],
    works: [0],
    waits: [0],
    rates: [],
    phases: ['capacity'] as const,
    maxRate: false,
  };
  const check = (expression: string): void => {
    checkGate(parseGate(expression), plan);
  };
  t.doesNotThrow(() => {
    check('any@100.throughput > 1');
  });
  t.doesNotThrow(() => {
    check('iocp/blocking.server_cpu_us_per_request > 1');
  });
  t.match(
    usageError(() => {
      check('epoll.throughput > 1');
    }),
    { message: /'epoll', which is not compared/, hint: /blocking, iocp or any/ },
  );
  t.match(
    usageError(() => {
      check('iocp/epoll.throughput > 1');
    }),
    { message: /'epoll'/ },
  );
  t.match(
    usageError(() => {
      check('iocp@7.throughput > 1');
    }),
    { message: /7 clients, which are not measured/ },
  );
  t.match(
    usageError(() => {
      check('iocp.response_time_p99 > 1s');
    }),
    { message: /latency phase/, hint: /--phases/ },
  );
  t.match(
    usageError(() => {
      check('iocp.max_rate > 1');
    }),
    { hint: /--find-max-rate/ },
  );
  t.doesNotThrow(() => {
    checkGateAgainst(parseGate('iocp.throughput > 1'), reportOf([runWithRates('iocp', [1])]));
  });
  t.end();
});

t.test('figures: the median of the trials', (t) => {
  const report = reportOf([runWithRates('iocp', [100e3, 300e3, 200e3])]);
  t.match(judge('iocp.throughput < 250000', report), {
    held: true,
    value: 200e3,
    threshold: 250e3,
    unit: 'requests/s',
  });
  t.match(judge('iocp.throughput < 200000', report), { held: false, reason: 'iocp@1000: throughput 200,000/s' });
  t.match(judge('iocp@1000.throughput <= 200000', report).figures, [{ mode: 'iocp', clients: 1000, value: 200e3 }]);
  const latency = reportOf([runWithP99('iocp', [4e6, 6e6, 7e6])]);
  t.match(judge('iocp.response_time_p99 > 5ms', latency), { held: true, reason: /6 ms/ });
  t.match(judge('iocp.response_time_p99 > 6ms', latency), { held: false });
  t.end();
});

t.test('any: one mode or size that meets it is enough', (t) => {
  const fast = { ...runWithRates('iocp', [200e3]), clients: 100 };
  const report = reportOf([runWithRates('blocking', [50e3]), runWithRates('iocp', [100e3]), fast]);
  t.match(judge('any.throughput < 60000', report), { held: true, value: 50e3, figures: { length: 3 } });
  t.match(judge('any.throughput < 40000', report), { held: false });
  t.match(judge('iocp.throughput > 150000', report), { held: true, value: 200e3 });
  t.match(judge('iocp@1000.throughput > 150000', report), { held: false });
  t.end();
});

t.test('ratios: a / b over the paired trials', (t) => {
  const report = reportOf([runWithRates('blocking', [50e3, 52e3, 51e3]), runWithRates('iocp', [100e3, 104e3, 102e3])]);
  const gate = judge('iocp/blocking.throughput < 2.5', report);
  t.match(gate, { held: true, unit: 'x', figures: [{ mode: 'iocp/blocking', clients: 1000 }] });
  t.ok(Math.abs((gate.value ?? 0) - 2) < 1e-9);
  t.match(gate.reason, /iocp\/blocking@1000: throughput 2\.0+x \[/);
  t.match(judge('blocking/iocp.throughput < 0.4', report), { held: false });
  t.match(judge('any/blocking.throughput < 2.5', report), { held: true, figures: { length: 1 } });
  t.match(
    judge('iocp/blocking.throughput < 2.5', reportOf([runWithRates('blocking', [1]), runWithRates('iocp', [2])])),
    {
      held: true,
      value: 2,
    },
    'one trial has a ratio to gate on, though no interval',
  );
  t.match(judge('iocp/epoll.throughput < 2', report), { held: null, reason: /no run of epoll/ });
  t.end();
});

t.test('a missing figure is undecided, never a pass', (t) => {
  const report = reportOf([runWithRates('iocp', [100e3])]);
  t.match(judge('epoll.throughput > 1', report), { held: null, value: null, reason: /no run of epoll/ });
  t.match(judge('iocp@77.throughput > 1', report), { held: null, reason: /no run of iocp at 77 clients/ });
  t.match(judge('iocp.response_time_p99 > 1s', report), { held: null, reason: /is not known/ });
  t.match(judge('iocp.nonpaged_pool_bytes_per_connection > 1', report), { held: null });
  const few = runWithP99('iocp', [1e6], {
    response_time_ns: { ...times(1e6), p99: null, missing: { p99: 'too_few_samples' } },
  });
  t.match(judge('iocp.response_time_p99 > 1s', reportOf([few])), { held: null });
  t.match(
    judge('any.response_time_p99 > 1s', reportOf([few, runWithP99('blocking', [2e9])])),
    { held: true },
    'one that holds outweighs it',
  );
  t.match(judge('any.response_time_p99 > 1s', reportOf([few, runWithP99('blocking', [1e6])])), { held: null });
  t.end();
});

t.test('an invalid figure is undecided; counts are facts', (t) => {
  const lost: Changes<CompletedWindow> = { connections: { lost: 5 }, errors: { total: 5, by_class: { reset: 5 } } };
  const report = warned([runWithRates('iocp', [100e3], lost)]);
  t.match(judge('iocp.throughput < 1', report), { held: null, value: 100e3, reason: /not valid \(connections_lost\)/ });
  t.match(judge('any.errors > 0', report), { held: true, value: 5, reason: 'iocp@1000: 5 errors' });
  t.match(judge('any.connections_lost > 5', report), { held: false });
  t.end();
});

t.test('a saturated client makes a throughput a lower bound', (t) => {
  const report = warned([
    runWithRates('blocking', [50e3, 50e3]),
    runWithRates('iocp', [100e3, 100e3], { client: { saturated: true, saturated_by: 'busy' } }),
  ]);
  t.match(judge('iocp.throughput < 90000', report), { held: false }, 'it is at least 100,000');
  t.match(judge('iocp.throughput > 90000', report), { held: true });
  t.match(judge('iocp.throughput < 110000', report), { held: null, reason: /load generator was the limit/ });
  t.match(judge('iocp/blocking.throughput < 1.5', report), { held: false });
  t.match(judge('iocp/blocking.throughput < 2.5', report), { held: null });
  t.match(judge('blocking/iocp.throughput > 0.6', report), { held: false }, 'it is at most 0.5');
  t.match(judge('blocking/iocp.throughput > 0.4', report), { held: null });
  t.match(judge('iocp.server_cpu_us_per_request > 9', report), { held: true }, 'measured at the server');
  t.end();
});

t.test('a percentile beyond the timeout is above it', (t) => {
  const beyond = {
    response_time_ns: { ...times(1e6), p99: null, missing: { p99: 'timeout' } },
  } as const;
  const report = reportOf([runWithP99('blocking', [2e6, 2e6, 2e6]), runWithP99('iocp', [1, 1, 1], beyond)]);
  const above = /response time p99 above 10 s, since requests had no echo/;
  t.match(judge('iocp.response_time_p99 > 50ms', report), { held: true, value: null, reason: above });
  t.match(judge('iocp.response_time_p99 > 10s', report), { held: true }, 'the timeout itself');
  t.match(judge('iocp.response_time_p99 < 50ms', report), { held: false, reason: above });
  t.match(judge('iocp.response_time_p99 > 20s', report), { held: null, reason: above }, 'how far above is not known');
  t.match(judge('any.response_time_p99 > 50ms', report), { held: true });
  t.match(judge('iocp/blocking.response_time_p99 > 1.5', report), { held: true, reason: /above 5,000x/ });
  t.match(judge('iocp/blocking.response_time_p99 < 1.5', report), { held: false });
  t.match(judge('blocking/iocp.response_time_p99 > 1.5', report), { held: false, reason: /below 0\.0002x/ });
  const both = reportOf([runWithP99('blocking', [1, 1], beyond), runWithP99('iocp', [1, 1], beyond)]);
  t.match(judge('iocp/blocking.response_time_p99 > 1.5', both), { held: null });
  const [first, second] = [runWithP99('iocp', [4e6]), runWithP99('iocp', [1, 1], beyond)];
  const half = reportOf([{ ...first, trials: [...first.trials, ...second.trials.slice(1)] }]);
  t.match(
    judge('iocp.response_time_p99 > 50ms', half),
    { held: true, reason: /above 5 s/ },
    'the median of two trials',
  );
  t.end();
});

t.test('a gate on a highest rate that the client limited', (t) => {
  const report = reportOf([
    runWithMaxRates('blocking', [50e3, 50e3, 50e3]),
    runWithMaxRates('iocp', [90e3, 95e3, 100e3], { client: 'client_saturated' }),
  ]);
  t.match(judge('iocp.max_rate < 100k/s', report), { held: null, reason: /or more: the load generator was the limit/ });
  t.match(judge('iocp.max_rate < 90k/s', report), { held: false });
  t.match(judge('blocking.max_rate < 100k/s', report), { held: true });
  t.match(judge('iocp/blocking.max_rate < 1.5', report), { held: false });
  t.match(judge('iocp/blocking.max_rate < 2.5', report), { held: null, reason: /load generator was the limit/ });
  t.end();
});

t.test('holding, exact and bounded', (t) => {
  for (const [value, operator, threshold, expected] of [
    [1, '<', 2, true],
    [2, '<', 2, false],
    [2, '<=', 2, true],
    [3, '>', 2, true],
    [2, '>', 2, false],
    [2, '>=', 2, true],
    [2, '==', 2, true],
    [2, '!=', 2, false],
  ] as const) {
    t.equal(holds(value, 'exact', operator, threshold), expected, `${value} ${operator} ${threshold}`);
  }
  t.equal(holds(3, 'at_least', '>', 2), true);
  t.equal(holds(1, 'at_least', '>', 2), null);
  t.equal(holds(1, 'at_least', '==', 2), null);
  t.equal(holds(3, 'at_least', '==', 2), false);
  t.equal(holds(3, 'at_least', '!=', 2), true);
  t.equal(holds(1, 'at_most', '<', 2), true);
  t.equal(holds(3, 'at_most', '<', 2), null);
  t.equal(holds(3, 'at_most', '>=', 4), false);
  t.equal(holds(2, 'above', '>', 2), true);
  t.equal(holds(2, 'above', '<=', 2), false);
  t.equal(holds(2, 'above', '>', 3), null);
  t.equal(holds(2, 'below', '>=', 2), false);
  t.equal(holds(2, 'below', '<', 2), true);
  t.end();
});

t.test('the trials that did not fail are no pass', (t) => {
  const report = reportOf([
    runWithRates('blocking', [50e3, 52e3, 51e3]),
    withFailedTrial(runWithRates('iocp', [100e3, 104e3, 102e3]), 2),
  ]);
  t.match(judge('iocp.throughput < 50k/s', report), { held: null, reason: /without 1 trial that failed$/ });
  t.match(judge('iocp.throughput < 150k/s', report), { held: true }, 'what the others show to fail, fails');
  t.match(judge('iocp/blocking.throughput < 1.2', report), { held: null, reason: /without 1 trial that failed$/ });
  t.match(judge('blocking.throughput < 10k/s', report), { held: false });
  t.end();
});
