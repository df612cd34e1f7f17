import t from 'tap';
import { compareRuns } from '../../../src/measure/comparisons.js';
import { curvePoints, curvesOf, describeLoadCurves, figureAt } from '../../../src/measure/load-curve.js';
import { requireMetric } from '../../../src/model/metrics.js';
import type { Run } from '../../../src/model/report-schema.js';
import { planWith, runWithP99, times } from './build.js';

const rates = [0.1, 0.5, 0.9];
const plan = planWith({ rates: rates.map((fraction) => ({ per_second: null, fraction })), arrivals: 'poisson' });

/** One run per rate, with this p99 in ms; each trial differs a little. */
function curve(mode: string, p99s: readonly number[], changes: Parameters<typeof runWithP99>[2] = {}): Run[] {
  return p99s.map((p99, place) => ({
    ...runWithP99(
      mode,
      [0.98, 1, 1.01, 1.02].map((factor) => p99 * factor * 1e6),
      changes,
    ),
    rate_per_second: (rates[place] ?? 0) * 1000,
    rate_fraction: rates[place] ?? 0,
  }));
}

const sentences = (runs: Run[]): string[] => describeLoadCurves(runs, compareRuns(runs, plan, []), plan);

t.test('the knee is the highest rate within ten times the p99 at the lowest', (t) => {
  t.strictSame(sentences(curve('blocking', [1, 5, 30])), [
    'blocking: response time p99 stays within 10 times its value at 100/s (10%) (1 ms) up to 500/s (50%); at 900/s (90%) it is 30.1 ms',
  ]);
  t.strictSame(sentences(curve('blocking', [1, 2, 3])), [
    'blocking: no knee was reached: at 900/s (90%), the highest rate, response time p99 is 3.0 times its value at 100/s (10%)',
  ]);
  t.match(
    sentences(curve('blocking', [1, 20, 3])),
    [/up to 100\/s \(10%\); at 500\/s \(50%\) it is 20/],
    'the first one beyond',
  );
  t.strictSame(sentences(curve('blocking', [1])), [], 'one rate has no knee');
  t.end();
});

t.test('no knee where the client was the limit, or a figure is not known', (t) => {
  const late = [
    ...curve('iocp', [1, 2]),
    ...curve('iocp', [1, 2, 30], { client: { own_lag_ns: times(9e6) } }).slice(2),
  ];
  t.match(sentences(late), [/^iocp: no knee can be reported: the client sent behind its schedule at 900\/s \(90%\)$/]);
  const few = { ...times(1e6), p99: null, missing: { p99: 'too_few_samples' as const } };
  const unknown = curve('iocp', [1, 2, 3]).map((run, place) =>
    place > 0 ? run : { ...run, ...runWithP99('iocp', [1, 1, 1], { response_time_ns: few }), rate_fraction: 0.1 },
  );
  t.match(sentences(unknown), [/no knee can be reported: response time p99 at the lowest rate, .* is not known/]);
  t.end();
});

t.test('at which rates two modes differ', (t) => {
  const said = sentences([...curve('blocking', [1, 5, 30]), ...curve('iocp', [1, 2, 3])]);
  t.equal(
    said.at(-1),
    'response time p99 of iocp against blocking: lower at 500/s (50%) and 900/s (90%); no difference shown at 100/s (10%)',
  );
  t.end();
});

t.test('curves, their points, and figures with an interval', (t) => {
  const runs = [...curve('blocking', [1, 5, 30]).reverse(), { ...runWithP99('blocking', [1e6]), trials: [] }];
  t.strictSame(curvesOf(runs).length, 1);
  t.strictSame(
    curvePoints(runs, { clients: 1000 }).map(({ rate_fraction }) => rate_fraction),
    rates,
  );
  const [run] = curve('blocking', [1]);
  if (run === undefined) throw new Error('no run');
  const { value, low, high } = figureAt(requireMetric('response_time_p99'), run);
  t.ok(low !== null && high !== null && value !== null && low < value && value < high && high / low < 1.1);
  t.end();
});
