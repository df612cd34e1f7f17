/** Bars of the primary figures, in plain characters. */
import t from 'tap';
import { barLines } from '../../../src/report/bars.js';
import { latencyWindow, reportOf, runWithRates } from '../measure/build.js';

const plain = { width: 80, color: false };

function lengthOf(line: string | undefined, character: string): number {
  return (line ?? '').split(character).length - 1;
}

t.test('bars are in proportion, and end where the interval does', (t) => {
  const runs = [runWithRates('blocking', [50e3, 50.01e3, 49.99e3]), runWithRates('iocp', [90e3, 100e3, 110e3])];
  const lines = barLines(reportOf(runs), { clients: 1000 }, plain);
  const [title, blocking, iocp] = lines;
  t.equal(title, 'Throughput at full load, more is better');
  t.match(blocking, /^ {2}blocking +50\.0k\/s {2}#+$/, 'the interval is narrower than a character');
  t.match(iocp, /^ {2}iocp +100k\/s {2}#+=+$/);
  t.equal(iocp?.length, 80, 'the longest bar fills the line');
  // The upper end of the interval of 90k, 100k and 110k is 128k.
  t.ok(Math.abs(lengthOf(blocking, '#') / (lengthOf(iocp, '#') + lengthOf(iocp, '=')) - 50 / 128) < 0.03);
  t.match(lines.at(-1), /# up to the 95% interval of the trials' mean, = within it/);
  t.ok(
    lines.every((line) => /^[\x20-\x7eµ≥]*$/.test(line)),
    'plain characters',
  );
  t.end();
});

t.test('without an interval there is a bar, without a value there is none', (t) => {
  const none = runWithRates('iocp', [1]);
  for (const window of none.trials) if (window.state === 'completed') window.server = null;
  const lines = barLines(reportOf([runWithRates('blocking', [50e3]), none]), { clients: 1000 }, plain);
  t.notMatch(lines.join('\n'), /=|interval/);
  t.match(lines[2], /^ {2}iocp +1\.00\/s {2}#$/, 'the smallest bar is one character');
  const cpu = lines.findIndex((line) => line.startsWith('Server CPU'));
  t.match(lines[cpu + 2], /^ {2}iocp +n\/a$/);
  t.end();
});

t.test('figures that are not valid, and bounds, are marked', (t) => {
  const runs = [
    runWithRates('blocking', [50e3, 51e3, 50e3]),
    runWithRates('iocp', [90e3, 91e3, 90e3], { client: { saturated: true, saturated_by: 'busy' } }),
  ];
  const [first, second] = runs;
  if (first === undefined || second === undefined) throw new Error('two runs');
  for (const run of runs) run.trials.push(latencyWindow(0));
  const report = reportOf(runs, {
    warnings: [
      {
        ...{ code: 'behind_schedule', severity: 'invalid', message: '', hint: '', mode: 'iocp', clients: 1000 },
        ...{ phase: 'latency', trial: null, figures: {} },
      },
    ],
  });
  const text = barLines(report, { clients: 1000 }, plain).join('\n');
  t.match(text, /iocp +≥ 90\.0k\/s {2}#/);
  t.match(text, /Response time p99 at 50\.0k\/s, less is better\n {2}blocking +1\.00 ms .*\n {2}iocp +! 1\.00 ms/);
  t.match(text, /! not valid; ≥ lower bound$/);
  t.end();
});

t.test('one mode has nothing to be compared with; many modes have bars for two figures', (t) => {
  t.strictSame(barLines(reportOf([runWithRates('iocp', [1e3, 1e3])]), { clients: 1000 }, plain), []);
  const many = ['a', 'b', 'c', 'd', 'e'].map((mode) => runWithRates(mode, [1e3, 1.1e3, 1e3]));
  const lines = barLines(reportOf(many), { clients: 1000 }, plain);
  t.equal(lines.filter((line) => line.includes('is better')).length, 2);
  t.end();
});

t.test('long names and 120 columns', (t) => {
  const runs = [
    runWithRates('a-name-of-more-than-24-characters', [1e3, 1.1e3, 1e3]),
    runWithRates('b', [2e3, 2.1e3, 2e3]),
  ];
  for (const width of [80, 120]) {
    const lines = barLines(reportOf(runs), { clients: 1000 }, { width, color: false });
    t.ok(
      lines.every((line) => line.length <= width),
      `${width} columns`,
    );
  }
  t.end();
});
