/** Two reports against each other: claims, refusals, and gates on changes. */
import t from 'tap';
import { evaluateChangeGate, diffReports, type Change, type ReportDiff } from '../../../src/measure/report-diff.js';
import { parseChangeGate } from '../../../src/measure/gates.js';
import { findWarnings } from '../../../src/measure/validity.js';
import {
  gateSchema,
  type CompletedWindow,
  type Gate,
  type Report,
  type Run,
} from '../../../src/model/report-schema.js';
import {
  environmentWith,
  latencyWindow,
  planWith,
  reportOf,
  runWithMaxRates,
  runWithP99,
  runWithRates,
  times,
  withFailedTrial,
  type Changes,
} from './build.js';

const level = [100e3, 102e3, 98e3, 101e3];

function scaled(values: readonly number[], factor: number): number[] {
  return values.map((value) => value * factor);
}

function changeOf(diff: ReportDiff, metric: string): Change {
  const found = diff.changes.find((change) => change.metric === metric);
  if (found === undefined) throw new Error(`no change of ${metric}`);
  return found;
}

function rates(base: readonly number[], head: readonly number[], changes: Partial<Report> = {}): ReportDiff {
  return diffReports(reportOf([runWithRates('iocp', base)], changes), reportOf([runWithRates('iocp', head)]));
}

function judge(expression: string, diff: ReportDiff): Gate {
  return gateSchema.parse(evaluateChangeGate(parseChangeGate(expression), diff));
}

t.test('better, worse, and no change shown', (t) => {
  const better = changeOf(rates(level, scaled(level, 1.2)), 'throughput');
  t.match(better, { mode: 'iocp', clients: 1000, phase: 'capacity', verdict_code: 'better', floor: 0.02 });
  t.ok(Math.abs((better.ratio ?? 0) - 1.2) < 1e-9);
  t.ok((better.ci_low ?? 0) > 1.15 && (better.ci_high ?? 9) < 1.25);
  t.match(better.verdict, /^iocp: throughput rose by 20% \(95% interval: .*\), better$/);
  t.equal(changeOf(rates(level, scaled(level, 0.8)), 'throughput').verdict_code, 'worse');
  t.match(changeOf(rates(level, scaled(level, 1.01)), 'throughput'), {
    verdict_code: 'no_change_shown',
    verdict: /^no change shown/,
  });
  t.end();
});

t.test('the direction of better is that of the metric', (t) => {
  const base = reportOf([runWithP99('iocp', [1e6, 1.05e6, 0.95e6])]);
  const head = reportOf([runWithP99('iocp', [2e6, 2.1e6, 1.9e6])]);
  t.equal(changeOf(diffReports(base, head), 'response_time_p99').verdict_code, 'worse');
  t.equal(changeOf(diffReports(head, base), 'response_time_p99').verdict_code, 'better');
  t.end();
});

t.test('nothing is claimed below either noise floor, nor from one trial', (t) => {
  const noise = [{ metric: 'throughput', clients: 1000, phase: 'capacity' as const, fraction: 0.3 }];
  t.match(changeOf(rates(level, scaled(level, 1.2), { noise }), 'throughput'), {
    verdict_code: 'no_change_shown',
    floor: 0.3,
  });
  const ofHead = diffReports(
    reportOf([runWithRates('iocp', level)]),
    reportOf([runWithRates('iocp', scaled(level, 1.2))], { noise }),
  );
  t.equal(changeOf(ofHead, 'throughput').floor, 0.3);
  t.match(changeOf(rates([100e3], [50e3]), 'throughput'), {
    verdict_code: 'not_judged',
    ratio: 0.5,
    ci_low: null,
    verdict: /one trial/,
  });
  t.end();
});

t.test('latency only at equal offered rate', (t) => {
  const offered = (rate: number): Run =>
    runWithP99('iocp', [1e6, 1.05e6, 0.95e6], {
      requests: { ...latencyWindow(0).requests, offered_per_second: rate },
    });
  const diffAt = (rate: number): Change =>
    changeOf(diffReports(reportOf([offered(50_000)]), reportOf([offered(rate)])), 'response_time_p99');
  t.match(diffAt(51_000), { verdict_code: 'not_judged', verdict: /offered rates differ/ });
  t.match(diffAt(50_400), { verdict_code: 'no_change_shown' });
  t.end();
});

t.test('invalid figures and limited clients are not judged', (t) => {
  const warned = (run: Run): Report => {
    const report = reportOf([run]);
    return { ...report, warnings: findWarnings(report) };
  };
  const lost: Changes<CompletedWindow> = { connections: { lost: 1 } };
  const spoiled = diffReports(
    warned(runWithRates('iocp', level)),
    warned(runWithRates('iocp', scaled(level, 0.5), lost)),
  );
  t.match(changeOf(spoiled, 'throughput'), { verdict_code: 'not_judged', verdict: /connections_lost/ });
  const saturated: Changes<CompletedWindow> = { client: { saturated: true, saturated_by: 'busy' } };
  const limited = (base: number, head: number, ofBase: object, ofHead: object): Change =>
    changeOf(
      diffReports(
        warned(runWithRates('iocp', scaled(level, base), ofBase)),
        warned(runWithRates('iocp', scaled(level, head), ofHead)),
      ),
      'throughput',
    );
  t.match(limited(1, 2, {}, saturated), { verdict_code: 'better', verdict: /at least 2/ });
  t.match(limited(2, 1, {}, saturated), { verdict_code: 'not_judged' });
  t.match(limited(2, 1, saturated, {}), { verdict_code: 'worse', verdict: /fell by at least 50%/ });
  t.match(limited(1, 2, saturated, saturated), { verdict_code: 'not_judged', verdict: /load generator was the limit/ });
  t.end();
});

t.test('a figure that went beyond the timeout is in the comparison', (t) => {
  const base = reportOf([runWithP99('iocp', [5e6, 5e6, 5e6])]);
  const head = reportOf([
    runWithP99('iocp', [1, 1, 1], { response_time_ns: { ...times(1e6), p99: null, missing: { p99: 'timeout' } } }),
  ]);
  t.match(changeOf(diffReports(base, head), 'response_time_p99'), {
    verdict_code: 'not_judged',
    verdict: 'iocp: the response time p99 was 5 ms, then beyond the timeout: not judged',
  });
  t.end();
});

t.test('highest rates are compared within one limit, and know that the client was it', (t) => {
  const rate = (of: number, options: Parameters<typeof runWithMaxRates>[2] = {}): Report =>
    reportOf([runWithMaxRates('iocp', scaled(level, of), options)]);
  t.match(changeOf(diffReports(rate(1), rate(2)), 'max_rate'), { verdict_code: 'better' });
  const differ = diffReports(rate(1, { limitNs: 1e6 }), rate(2));
  t.match(changeOf(differ, 'max_rate'), {
    verdict_code: 'not_judged',
    ratio: null,
    verdict: /searched with response time p99 within 1 ms, then with response time p99 within 10 ms/,
  });
  t.match(judge('iocp.max_rate > 1.1', differ), { held: null, reason: /within 1 ms/ });
  t.match(changeOf(diffReports(rate(1), rate(2, { client: 'client_saturated' })), 'max_rate'), {
    verdict_code: 'better',
    verdict: /at least 2/,
  });
  t.match(changeOf(diffReports(rate(2), rate(1, { client: 'client_saturated' })), 'max_rate'), {
    verdict_code: 'not_judged',
    verdict: /the load generator was the limit/,
  });
  t.end();
});

t.test('another load is refused', (t) => {
  const base = reportOf([runWithRates('iocp', level)]);
  const head = (changes: Partial<Report>): ReportDiff =>
    diffReports(base, reportOf([runWithRates('iocp', level)], changes));
  for (const [plan, text] of [
    [{ message_size_bytes: 1024 }, /message_size_bytes 64, then 1024/],
    [{ pipeline: 8 }, /pipeline/],
    [{ idle: 5 }, /idle/],
    [{ modes: [{ mode: 'iocp', backend: 'io_uring', command: null }] }, /served by iocp, then by io_uring/],
  ] as const) {
    const diff = head({
      plan: planWith({ ...plan, ...('modes' in plan ? { modes: [...plan.modes] } : {}) } as object),
    });
    t.match(diff.refusals.join(), text);
    t.strictSame(diff.changes, []);
  }
  t.match(head({ environment: environmentWith({ system: 'Linux 6.1.0 x86_64' }) }).refusals, [/Windows, then Linux/]);
  t.match(head({ environment: environmentWith({ compatibility: 'Wine 8.0' }) }).refusals, [/Windows \(Wine\)/]);
  t.match(head({ schema_version: '2.0.0' }).refusals, [/schemas 1\.\d+\.\d+ and 2\.0\.0/]);
  const other = diffReports(base, reportOf([runWithRates('epoll', level)]));
  t.match(other.refusals, [/no mode and number of clients in common/]);
  t.strictSame(other.unmatched, ['iocp@1000 is only in the base', 'epoll@1000 is only in the head']);
  t.end();
});

t.test('runs of the same work and wait are compared', (t) => {
  const report = (factor: number, works: readonly number[]): Report =>
    reportOf(works.map((work) => ({ ...runWithRates('iocp', scaled(level, work === 0 ? 1 : factor)), work_us: work })));
  const diff = diffReports(report(1, [0, 100]), report(0.5, [0, 100, 200]));
  const changes = diff.changes.filter(({ metric }) => metric === 'throughput');
  t.strictSame(
    changes.map(({ work_us: work, verdict_code: code }) => [work, code]),
    [
      [0, 'no_change_shown'],
      [100, 'worse'],
    ],
  );
  t.strictSame(diff.unmatched, ['iocp@1000,work=200us is only in the head']);
  const gate = (text: string): Gate => gateSchema.parse(evaluateChangeGate(parseChangeGate(text), diff));
  t.match(gate('iocp@1000,work=100us.throughput < 0.95'), { held: true, figures: [{ work_us: 100 }] });
  t.match(gate('iocp@work=0.throughput < 0.95'), { held: false });
  t.equal(gate('iocp.throughput < 0.95').figures.length, 2);
  // A report from before work and wait has the runs without them.
  const older = diffReports(reportOf([runWithRates('iocp', level)]), report(0.5, [0, 100]));
  t.strictSame(older.unmatched, ['iocp@1000,work=100us is only in the head']);
  const nothing = diffReports(reportOf([runWithRates('iocp', level)]), report(0.5, [100]));
  t.match(nothing.refusals, [/no work and wait per request in common/]);
  t.end();
});

t.test('another machine is not judged, other conditions are said', (t) => {
  const base = reportOf([runWithRates('iocp', level)]);
  const far = diffReports(
    base,
    reportOf([runWithRates('iocp', scaled(level, 0.5))], { environment: environmentWith({ cpu_model: 'Another' }) }),
  );
  t.ok(far.otherMachine);
  t.match(far.warnings, [/cpu_model "A CPU", then "Another"/]);
  t.match(changeOf(far, 'throughput'), { verdict_code: 'not_judged', verdict: /different machines/ });
  t.match(judge('iocp.throughput < 0.95', far), { held: null });
  const longer = diffReports(
    base,
    reportOf([runWithRates('iocp', level)], { plan: planWith({ duration_ms: 9000 }), partial: true }),
  );
  t.notOk(longer.otherMachine);
  t.match(longer.warnings, [/duration_ms 1000, then 9000/, /the head is partial/]);
  t.strictSame(rates(level, level).warnings, []);
  t.end();
});

t.test('counts are told where they differ', (t) => {
  const base = reportOf([runWithRates('iocp', level)]);
  const head = reportOf([runWithRates('iocp', level, { errors: { total: 4 } })]);
  t.match(changeOf(diffReports(base, head), 'errors'), {
    base: 0,
    head: 4,
    ratio: null,
    verdict: 'errors of iocp: 0, then 4',
  });
  t.notOk(diffReports(base, base).changes.some((change) => change.metric === 'errors'));
  t.end();
});

t.test('gates on changes', (t) => {
  t.match(judge('iocp.throughput < 0.95', rates(level, scaled(level, 0.9))), {
    held: true,
    unit: 'x',
    reason: /worse \(100,500\/s, then 90,450\/s\)/,
  });
  t.match(judge('iocp.throughput < 0.95', rates(level, scaled(level, 0.99))), { held: false });
  const noisy = [100e3, 140e3, 70e3, 110e3];
  t.match(
    judge('iocp.throughput < 0.95', rates(noisy, scaled(noisy, 0.9))),
    { held: false },
    'within the noise: no change shown',
  );
  t.match(judge('iocp.throughput < 0.95', rates([100e3], [50e3])), { held: null }, 'one trial has no interval');
  t.match(judge('iocp.throughput > 0.9', rates(level, level)), { held: true }, 'a condition that sameness meets');
  t.match(judge('epoll.throughput < 0.95', rates(level, level)), { held: null });
  t.match(judge('any@1000.throughput < 0.95', rates(level, scaled(level, 0.9))), { held: true });
  t.match(judge('iocp.server_threads > 1.1', rates(level, level)), { held: false }, 'secondary metrics have gates too');
  t.match(judge('iocp.errors > 1', rates(level, level)), { held: null });
  t.end();
});

t.test('changes are judged together', (t) => {
  const sizes = Array.from({ length: 20 }, (_, index) => index + 1);
  const report = (scale: (clients: number) => number): Report =>
    reportOf(sizes.map((clients) => ({ ...runWithRates('iocp', scaled(level, scale(clients))), clients })));
  const diff = diffReports(
    report(() => 1),
    report((clients) => (clients === 1 ? 1.08 : 1)),
  );
  t.match(changeOf(diff, 'throughput'), {
    clients: 1,
    verdict_code: 'no_change_shown',
    verdict: /^no change shown: iocp: throughput rose by 8.* one of 40 such ratios may be this far from 1 by chance$/,
  });
  t.match(changeOf(rates(level, scaled(level, 1.08)), 'throughput'), { verdict_code: 'better' }, 'alone it is one');
  t.match(judge('iocp@1.throughput > 1.05', diff), { held: true }, 'a gate asks one question, chosen before');
  t.end();
});

t.test('a change is not judged by the trials that did not fail', (t) => {
  const base = reportOf([runWithRates('iocp', level)]);
  const head = reportOf([withFailedTrial(runWithRates('iocp', scaled(level, 2)), 1)]);
  t.match(changeOf(diffReports(base, head), 'throughput'), {
    verdict_code: 'not_judged',
    verdict: /not judged: 1 trial failed$/,
  });
  t.match(judge('iocp.throughput < 0.9', diffReports(base, head)), { held: null });
  t.end();
});
