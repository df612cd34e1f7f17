/** Reports of the same plan become one with more trials. */
import t from 'tap';
import { BenchError } from '../../../src/model/errors.js';
import { fallbackCode } from '../../../src/measure/environment-rules.js';
import { mergeReports } from '../../../src/measure/merge.js';
import { reportSchema, type Report, type Warning } from '../../../src/model/report-schema.js';
import { environmentWith, planWith, reportOf, runWithMaxRates, runWithRates } from './build.js';

function twoTrials(blocking: number[], iocp: number[], changes: Partial<Report> = {}): Report {
  const runs = [runWithRates('blocking', blocking), runWithRates('iocp', iocp)];
  return reportOf(runs, {
    plan: planWith({
      trials: 2,
      order: [
        ['blocking', 'iocp'],
        ['iocp', 'blocking'],
      ],
    }),
    ...changes,
  });
}

const fallback: Warning = {
  code: fallbackCode,
  severity: 'warning',
  message: 'io_uring is refused here',
  hint: 'allow it',
  mode: null,
  clients: null,
  phase: null,
  trial: null,
  figures: {},
};

t.test('trials are numbered on, and conclusions drawn again', (t) => {
  const merged = mergeReports([
    twoTrials([50e3, 51e3], [100e3, 102e3], { partial: true }),
    twoTrials([52e3, 49e3], [101e3, 99e3], { warnings: [fallback] }),
  ]);
  reportSchema.parse(merged);
  t.equal(merged.plan.trials, 4);
  t.equal(merged.plan.order.length, 4);
  t.equal(merged.partial, true);
  for (const run of merged.runs) {
    t.strictSame(
      run.trials.map((window) => window.index),
      [0, 1, 2, 3],
    );
    t.equal(new Set(run.trials.map((window) => window.sequence)).size, 4);
  }
  const throughput = merged.comparisons.find((entry) => entry.metric === 'throughput');
  t.match(throughput, { pairs: 4, verdict_code: 'higher' }, 'two halves without an interval have one together');
  t.ok(merged.warnings.some((warning) => warning.code === 'default_modes_replaced'));
  t.end();
});

t.test('the runs of a sweep over work are merged with those of the same work', (t) => {
  const report = (rates: readonly number[], works: readonly number[]): Report =>
    reportOf(
      works.flatMap((work, place) => [
        { ...runWithRates('blocking', [(rates[place] ?? 0) / 2]), work_us: work },
        { ...runWithRates('iocp', [rates[place] ?? 0]), work_us: work },
      ]),
      {
        plan: planWith({
          trials: 1,
          order: [['blocking', 'iocp']],
          offered_rate_per_second: { '1000': 100, '1000,work=100us': 50 },
        }),
      },
    );
  const parts = [100e3, 101e3, 99e3].map((rate) => report([rate, rate / 10], [0, 100]));
  const merged = reportSchema.parse(mergeReports(parts));
  const rates = merged.runs.map((run) => [
    run.mode,
    run.work_us,
    ...run.trials.map(({ requests }) => requests?.per_second),
  ]);
  t.strictSame(rates[3], ['iocp', 100, 10e3, 10.1e3, 9.9e3]);
  t.strictSame(
    merged.comparisons.filter(({ metric }) => metric === 'throughput').map(({ work_us: work, pairs }) => [work, pairs]),
    [
      [0, 3],
      [100, 3],
    ],
  );
  t.match(merged.findings[0], /still differ in throughput at 100 µs of work per request/);
  t.throws(() => mergeReports([report([1, 1], [0, 100]), report([1, 1], [0, 200])]), {
    message: /one has blocking@1000,work=0, blocking@1000,work=100us, .*, the other .*work=200us/,
  });
  const other = report([1, 1], [0, 100]);
  other.plan.offered_rate_per_second = { '1000': 100, '1000,work=100us': 60 };
  t.throws(() => mergeReports([report([1, 1], [0, 100]), other]), {
    message: /different rates at 1000 clients, work=100us \(set --rate\)/,
  });
  t.end();
});

t.test('more than two, and one alone', (t) => {
  const report = twoTrials([50e3, 51e3], [100e3, 102e3]);
  t.equal(mergeReports([report, report, report]).plan.trials, 6);
  t.equal(mergeReports([report]), report);
  t.end();
});

t.test('searches are merged within one limit alone, and numbered on', (t) => {
  const of = (limitNs: number): Report =>
    reportOf([runWithMaxRates('blocking', [1e3, 2e3], { limitNs }), runWithMaxRates('iocp', [2e3, 4e3], { limitNs })], {
      plan: planWith({ trials: 2 }),
    });
  t.throws(() => mergeReports([of(1e6), of(1e7)]), { code: 'usage', message: /within 1 ms, then .* within 10 ms/ });
  const merged = mergeReports([of(1e6), of(1e6)]);
  t.strictSame(
    merged.runs[0]?.max_rate?.map(({ index }) => index),
    [0, 1, 2, 3],
  );
  t.end();
});

t.test('what was measured otherwise is refused', (t) => {
  const base = twoTrials([1, 1], [1, 1]);
  const plan = base.plan;
  for (const [changes, text] of [
    [{ plan: { ...plan, message_size_bytes: 1 } }, /message_size_bytes/],
    [{ plan: { ...plan, backlog: 1 } }, /backlog/],
    [{ plan: { ...plan, offered_rate_per_second: { '1000': 60_000 } } }, /different rates/],
    [{ environment: environmentWith({ cpu_model: 'Another' }) }, /cpu_model/],
    [{ runs: [runWithRates('iocp', [1])] }, /the other/],
    [{ schema_version: '2.0.0' }, /schemas/],
  ] as const) {
    const more = { ...base, ...changes } as Report;
    t.throws(() => mergeReports([base, more]), { message: text, code: 'usage' });
  }
  const [one, other] = ['10.0.0.1:7000', '10.0.0.2:7000'].map((address) => ({
    ...base,
    plan: { ...plan, target: 'db:7000', target_address: address },
  }));
  t.throws(() => mergeReports([one, other].flatMap((report) => report ?? [])), {
    message: /one loaded 10\.0\.0\.1:7000, the other 10\.0\.0\.2:7000/,
  });
  t.throws(() => mergeReports([]), BenchError);
  t.end();
});
