/** The live lines of modes: sparklines on one scale, within the width of the terminal. */
import t from 'tap';
import { ModeLines, sparkline } from '../../../src/commands/mode-lines.js';

t.test('a sparkline has a character per value, on a scale from 0', (t) => {
  t.equal(sparkline([0, 50, 100], 100, true), '▁▅█');
  t.equal(sparkline([0, 50, 100], 100, false), '.+@');
  t.equal(sparkline([0, 0], 0, true), '▁▁');
  t.equal(sparkline([200], 100, true), '█', 'beyond the scale');
  t.end();
});

t.test('modes share a scale, and the same value in a row is one sample', (t) => {
  const lines = new ModeLines();
  t.strictSame(lines.lines(80, true), []);
  for (const rate of [50e3, 50e3, 100e3]) lines.add('blocking', rate);
  lines.add('iocp', 200e3);
  t.strictSame(lines.lines(80, true), ['  blocking    100k/s  ▃▅', '  iocp        200k/s  █']);
  t.end();
});

t.test('no line is longer than the terminal', (t) => {
  const lines = new ModeLines();
  for (let rate = 1; rate <= 200; rate++) lines.add('a-mode-with-a-rather-long-name', rate * 1e3);
  for (const width of [20, 40, 80, 120]) {
    const [line = ''] = lines.lines(width, true);
    t.ok(line.length <= width, `${line.length} of ${width}`);
  }
  t.match(lines.lines(120, false)[0], /200k\/s {2}[.:\-=+*#@]{40}$/, 'the last 40 samples');
  t.end();
});
