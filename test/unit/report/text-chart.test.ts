/** Charts of a terminal: every value at its place, and no line too long. */
import t from 'tap';
import { terminalCharts, type Chart } from '../../../src/report/charts.js';
import { textChart } from '../../../src/report/text-chart.js';
import { samples } from './samples.js';

const chart: Chart = {
  title: 'Throughput by work per request',
  note: '',
  x: 'work',
  y: 'rate',
  series: ['blocking', 'iocp'].map((label, color) => ({ label, color, dashed: false })),
  data: [
    [0, 10e3, 1e6],
    [50e3, 30e3, 950],
    [100e3, null, 950],
  ],
};

t.test('marks along a logarithmic axis', (t) => {
  const drawn = textChart(chart, 60);
  t.equal(drawn?.title, 'Throughput by work per request (logarithmic axis)');
  t.strictSame(drawn?.lines, [
    '       100/s      1k/s        10k/s       100k/s      1M/s',
    '    0  .            .           .        o   x           .',
    '10 µs  .            .           .     o      .           .',
    ' 1 ms  .           *.           .            .           .',
    '       o blocking   x iocp   * more than one',
  ]);
  t.end();
});

t.test('a short range has ticks at 1, 2 and 5', (t) => {
  const drawn = textChart(
    {
      ...chart,
      data: [
        [0, 1e6],
        [50e3, 51e3],
        [55e3, 51e3],
      ],
    },
    60,
  );
  t.strictSame(drawn?.lines, [
    '      20k/s                      50k/s              100k/s',
    '   0  .                            o  x                  .',
    '1 ms  .                            .*                    .',
    '      o blocking   x iocp   * more than one',
  ]);
  t.end();
});

t.test('what is unknown or 0 has no mark, and nothing at all has no chart', (t) => {
  const drawn = textChart(
    {
      ...chart,
      data: [
        [0, 1e6],
        [null, 51e3],
        [0, null],
      ],
    },
    60,
  );
  t.match(drawn?.lines[1], /^ {3}0 {2}[. ]+$/);
  t.match(drawn?.lines[2], /^1 ms {2}[. ]+o[. ]+$/);
  t.equal(
    textChart(
      {
        ...chart,
        data: [
          [0, 1e6],
          [null, 0],
          [null, null],
        ],
      },
      60,
    ),
    null,
  );
  t.end();
});

t.test('lines fit the terminal, at any number of modes and values far apart', (t) => {
  const many = Array.from({ length: 12 }, (_, color) => ({
    label: `mode-${color} (served by io_uring)`,
    color,
    dashed: false,
  }));
  const data = [[0, 1], ...many.map((_, index) => [10 ** index, 1e-3])];
  for (const width of [80, 120]) {
    const drawn = textChart({ ...chart, series: many, data }, width);
    t.ok(drawn?.lines.every((line) => line.length <= width));
    for (const one of terminalCharts(samples.workSweep())) {
      t.ok(
        textChart(one, width)?.lines.every((line) => line.length <= width),
        one.title,
      );
    }
  }
  t.strictSame(terminalCharts(samples.fiveModesSweep()), [], 'a sweep over clients alone has its table');
  t.end();
});
