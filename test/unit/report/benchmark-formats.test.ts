/** Exports for services that follow figures over time, against the formats that those services document. */
import t from 'tap';
import { z } from 'zod';
import { renderBmf, renderGithubBenchmark } from '../../../src/report/benchmark-formats.js';
import { readReport } from '../../../src/index.js';
import { join } from 'node:path';
import { root } from '../../support/environment.js';

/** https://bencher.dev/docs/reference/bencher-metric-format/ */
const bmf = z.record(
  z.string().min(1).max(1024),
  z.record(
    z.string().regex(/^[a-z0-9-]{1,64}$/, 'a slug'),
    z.strictObject({ value: z.number(), lower_value: z.number(), upper_value: z.number() }),
  ),
);
/** "customSmallerIsBetter" in the README of github-action-benchmark. */
const githubBenchmark = z.array(
  z.strictObject({ name: z.string(), unit: z.string(), value: z.number(), range: z.string(), extra: z.string() }),
);

const report = readReport(join(root, 'fixtures', 'reports', 'two-modes.json'));

t.test('Bencher Metric Format', (test) => {
  const parsed = bmf.parse(JSON.parse(renderBmf(report)));
  const [run] = report.runs;
  test.strictSame(
    Object.keys(parsed),
    report.runs.map(({ mode, clients }) => `${mode}@${clients}`),
  );
  const measures = parsed[`${run?.mode ?? ''}@${run?.clients ?? 0}`] ?? {};
  test.ok(measures['throughput'] !== undefined && measures['response-time-p99'] !== undefined, 'the primary figures');
  test.ok(measures['server-cpu-us-per-request'] !== undefined, 'of both phases');
  test.ok(measures['server-cpu-us-per-request-at-offered-rate'] !== undefined, 'under different names');
  for (const [name, { value, lower_value, upper_value }] of Object.entries(measures)) {
    test.ok(lower_value <= value && value <= upper_value, `${name} is within its range`);
  }
  test.end();
});

t.test('github-action-benchmark: smaller is better in every entry', (test) => {
  const entries = githubBenchmark.parse(JSON.parse(renderGithubBenchmark(report)));
  test.equal(new Set(entries.map(({ name }) => name)).size, entries.length, 'each name once');
  const measured = bmf.parse(JSON.parse(renderBmf(report)));
  for (const [name, { throughput }] of Object.entries(measured)) {
    const entry = entries.find((one) => one.name === `${name}: time per request (throughput)`);
    test.equal(entry?.unit, 'us');
    test.ok(Math.abs((entry?.value ?? 0) * (throughput?.value ?? 0) - 1e6) < 1, 'the inverse of the throughput');
  }
  test.end();
});

t.test('an unknown figure is left out', (test) => {
  const runs = report.runs.map((run) => ({ ...run, trials: run.trials.filter(({ phase }) => phase === 'capacity') }));
  const parsed = bmf.parse(JSON.parse(renderBmf({ ...report, runs })));
  for (const measures of Object.values(parsed)) test.equal(measures['response-time-p99'], undefined);
  test.end();
});
