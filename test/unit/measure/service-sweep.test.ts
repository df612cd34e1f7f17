/** From which work or wait on no difference is shown, in words, and only as the verdicts allow. */
import t from 'tap';
import { compareRuns } from '../../../src/measure/comparisons.js';
import { describeServiceSweeps } from '../../../src/measure/service-sweep.js';
import type { Run } from '../../../src/model/report-schema.js';
import { planWith, runWithRates } from './build.js';

const spread = [0.995, 1.005, 1, 1.002];
/** Not the same errors: with the same ones every ratio would be exact. */
const otherSpread = [1.003, 0.997, 1.001, 0.999];

type Rates = Record<number, readonly [blocking: number, iocp: number]>;

function sweepOf(field: 'work_us' | 'wait_ms', rates: Rates, clients = 1000): Run[] {
  return Object.entries(rates).flatMap(([value, [blocking, iocp]]) => [
    { ...runWithRates('blocking', rated(spread, blocking)), clients, [field]: Number(value) },
    { ...runWithRates('iocp', rated(otherSpread, iocp)), clients, [field]: Number(value) },
  ]);
}

function rated(factors: readonly number[], rate: number): number[] {
  return factors.map((factor) => rate * factor);
}

function findings(runs: readonly Run[]): string[] {
  const clients = [...new Set(runs.map((run) => run.clients))];
  const plan = planWith({ clients, phases: ['capacity'] });
  return describeServiceSweeps(compareRuns(runs, plan, []));
}

function ofThroughput(runs: readonly Run[]): string[] {
  return findings(runs).filter((text) => text.includes('throughput'));
}

t.test('from a work on, no difference is shown', (t) => {
  const [sentence = '', ...more] = ofThroughput(
    sweepOf('work_us', { 0: [60e3, 100e3], 10: [40e3, 50e3], 100: [9e3, 9.01e3], 1000: [990, 991] }),
  );
  t.match(
    sentence,
    /^from 100 µs of work per request on, no difference in throughput is shown between iocp and blocking \(95% intervals within 0\.9\d+x to 1\.0\d+x\); at 10 µs: iocp answered 25% more requests per second than blocking \(95% interval: .*\)$/,
  );
  t.strictSame(more, []);
  t.end();
});

t.test('the same for wait', (t) => {
  const [sentence = ''] = ofThroughput(sweepOf('wait_ms', { 0: [60e3, 100e3], 5: [20e3, 20.01e3] }));
  t.match(
    sentence,
    /^from 5 ms of wait per request on, no difference in throughput .*; without wait: iocp answered 67% more/,
  );
  t.end();
});

t.test('no such work was reached', (t) => {
  const [sentence = ''] = ofThroughput(sweepOf('work_us', { 0: [60e3, 100e3], 10: [40e3, 50e3] }));
  t.match(
    sentence,
    /^iocp and blocking still differ in throughput at 10 µs of work per request, the most that was measured: iocp answered 25% more/,
  );
  t.end();
});

t.test('one value without a difference between two with one is not the end of it', (t) => {
  const runs = sweepOf('work_us', { 0: [60e3, 60.1e3], 10: [40e3, 50e3], 100: [9e3, 9.01e3] });
  t.match(ofThroughput(runs)[0] ?? '', /^from 100 µs .* at 10 µs: iocp answered 25% more/);
  const still = sweepOf('work_us', { 0: [60e3, 100e3], 10: [40e3, 40.1e3], 100: [9e3, 11e3] });
  t.match(ofThroughput(still)[0] ?? '', /^iocp and blocking still differ in throughput at 100 µs/);
  t.end();
});

t.test('no difference anywhere', (t) => {
  const [sentence = ''] = ofThroughput(sweepOf('work_us', { 0: [60e3, 60.1e3], 1000: [990, 991] }));
  t.match(
    sentence,
    /^no difference in throughput is shown between iocp and blocking at 0 to 1 ms of work per request \(95% intervals within/,
  );
  t.end();
});

t.test('what was not judged is not called alike', (t) => {
  const saturated = { client: { saturated: true } };
  const limited = (work: number): Run[] => [
    { ...runWithRates('blocking', rated(spread, 60e3), saturated), work_us: work },
    { ...runWithRates('iocp', rated(otherSpread, 100e3), saturated), work_us: work },
  ];
  const top = [...sweepOf('work_us', { 0: [60e3, 100e3] }), ...limited(10)];
  t.match(
    ofThroughput(top)[0] ?? '',
    /^iocp and blocking still differ in throughput without work, the most at which it could be judged: iocp/,
  );
  const between = [...sweepOf('work_us', { 0: [60e3, 100e3], 10: [9e3, 9.01e3] }), ...limited(100)];
  t.match(
    ofThroughput(between)[0] ?? '',
    /^from 10 µs of work per request on, .* \(95% intervals within .*, judged up to 10 µs\); without work: iocp answered/,
  );
  t.strictSame(ofThroughput([...limited(0), ...limited(10)]), [], 'nothing was judged');
  const bottom = [...limited(0), ...sweepOf('work_us', { 100: [9e3, 9.01e3], 1000: [990, 991] })];
  t.match(ofThroughput(bottom)[0] ?? '', /^no difference in throughput .* at 100 µs to 1 ms of work per request/);
  t.end();
});

t.test('each surrounding has its own sentence, and a report without a sweep has none', (t) => {
  const runs = [
    ...sweepOf('work_us', { 0: [60e3, 100e3], 100: [9e3, 9.01e3] }, 100),
    ...sweepOf('work_us', { 0: [60e3, 100e3], 100: [9e3, 11e3] }, 1000),
  ];
  const found = ofThroughput(runs);
  t.equal(found.length, 2);
  t.match(found[0], /^at 100 clients: from 100 µs/);
  t.match(found[1], /^at 1,000 clients: iocp and blocking still differ/);
  t.strictSame(findings([runWithRates('blocking', spread), runWithRates('iocp', spread)]), []);
  t.strictSame(findings(sweepOf('work_us', { 100: [9e3, 11e3] })), [], 'one value is no sweep');
  t.end();
});

t.test('with many modes, one sentence per pair', (t) => {
  const modes = ['iocp', 'epoll', 'node'];
  const runs = [0, 100].flatMap((work) => [
    { ...runWithRates('blocking', rated(spread, 60e3)), work_us: work },
    ...modes.map((mode) => ({ ...runWithRates(mode, rated(otherSpread, 100e3)), work_us: work })),
  ]);
  const found = findings(runs);
  t.equal(found.length, 3, found.join('\n'));
  t.ok(found.every((text) => text.includes('throughput')));
  const two = findings(sweepOf('work_us', { 0: [60e3, 100e3], 100: [9e3, 9.01e3] }));
  t.equal(two.length, 2, 'two modes: server CPU per request, too');
  t.end();
});
