import t, { type Test } from 'tap';
import {
  formatByteRate,
  formatBytes,
  formatCount,
  formatDuration,
  formatDurationMs,
  formatDurationUs,
  formatMissing,
  formatNumber,
  formatPercent,
  formatRate,
  formatRatio,
  formatRatioRange,
  formatRatioWithInterval,
  listInWords,
  plural,
  printable,
} from '../../../src/model/format.js';
import { hanging, painter, wrapText } from '../../../src/report/text.js';

function cases(test: Test, format: (value: number) => string, expected: readonly (readonly [number, string])[]): void {
  for (const [value, text] of expected) test.equal(format(value), text, `${value}`);
}

t.test('durations have three digits and the unit that is easiest to read', (test) => {
  cases(test, formatDuration, [
    [0, '0 ns'],
    [1, '1.00 ns'],
    [850, '850 ns'],
    [12_345, '12.3 µs'],
    [4_560_000, '4.56 ms'],
    [1_234_000_000, '1.23 s'],
    [45_600_000_000, '45.6 s'],
  ]);
  test.end();
});

t.test('rounding never shows a thousand of a smaller unit', (test) => {
  cases(test, formatDuration, [
    [999.4, '999 ns'],
    [999.96, '1.00 µs'],
    [999_960, '1.00 ms'],
    [99.96e6, '100 ms'],
    [9.996e6, '10.0 ms'],
  ]);
  cases(test, formatRate, [
    [999.4, '999/s'],
    [999.96, '1.00k/s'],
    [999_960, '1.00M/s'],
  ]);
  cases(test, formatBytes, [[1023.9, '1 KiB']]);
  test.end();
});

t.test('other units of time', (test) => {
  test.equal(formatDurationUs(12.34), '12.3 µs');
  test.equal(formatDurationMs(250), '250 ms');
  test.equal(formatDurationMs(60_000), '1 min');
  test.equal(formatDurationMs(90_400), '1 min 30 s');
  test.end();
});

t.test('rates, bytes, counts, percentages, plain figures', (test) => {
  cases(test, formatRate, [
    [0, '0/s'],
    [850, '850/s'],
    [51_234, '51.2k/s'],
    [1_230_000, '1.23M/s'],
  ]);
  cases(test, formatBytes, [
    [0, '0 B'],
    [24, '24 B'],
    [65_536, '64 KiB'],
    [7_578, '7.40 KiB'],
    [1.5 * 1024 ** 3, '1.50 GiB'],
  ]);
  test.equal(formatByteRate(3 * 1024 ** 2), '3 MiB/s');
  cases(test, formatCount, [
    [0, '0'],
    [999, '999'],
    [6000, '6,000'],
    [1_234_567, '1,234,567'],
    [-6000, '-6,000'],
  ]);
  cases(test, formatPercent, [
    [0.015, '1.5%'],
    [0.973, '97%'],
    [0, '0.0%'],
  ]);
  cases(test, formatNumber, [
    [0, '0'],
    [0.0304, '0.030'],
    [1.024, '1.02'],
    [12.34, '12.3'],
    [6012, '6,012'],
    [0.0001, '< 0.001'],
  ]);
  test.end();
});

t.test('ratios, with and without their interval', (test) => {
  cases(test, formatRatio, [
    [1.9, '1.90x'],
    [0.57, '0.57x'],
    [0.0304, '0.030x'],
    [12.34, '12.3x'],
    [123.4, '123x'],
    [0.0022, '0.0022x'],
  ]);
  test.equal(formatRatioWithInterval(0.0066, 2.3e-9, 19_177), '0.0066x [< 0.001, > 999]');
  test.equal(formatRatioWithInterval(1.9, 1.8, 2.1), '1.90x [1.80, 2.10]');
  test.equal(formatRatioWithInterval(1.9, null, null), '1.90x');
  test.equal(formatRatioWithInterval(null, 1, 2), 'n/a');
  test.equal(formatRatioWithInterval(0.029, 0.0035, 0.25), '0.029x [0.0035, 0.25]', 'no end reads as 0');
  test.equal(
    formatRatioWithInterval(1.004, 1.0012, 1.0068),
    '1.004x [1.001, 1.007]',
    'a narrow one is not [1.00, 1.01]',
  );
  test.equal(formatRatioWithInterval(1.00002, 1.00001, 1.00003), '1.0000x [1.0000, 1.0000]');
  test.equal(formatRatioWithInterval(2, 2, 2), '2.00x [2.00, 2.00]');
  test.equal(formatRatioRange(1.8, 2), '1.80x to 2.00x');
  for (let exponent = -6; exponent <= 6; exponent += 0.25) {
    const text = formatRatioWithInterval(10 ** exponent, 10 ** (exponent - 1), 10 ** (exponent + 1));
    test.notMatch(text, /(?<![\d.<])0(\.0+)?(?![\d.])/, text);
  }
  test.end();
});

t.test('an unknown figure is never a number', (test) => {
  const formats = [
    formatDuration,
    formatDurationMs,
    formatDurationUs,
    formatRate,
    formatBytes,
    formatByteRate,
    formatCount,
    formatNumber,
    formatPercent,
    formatRatio,
  ];
  for (const format of formats) {
    for (const value of [null, undefined, NaN, Infinity])
      test.equal(format(value), 'n/a', `${format.name}(${String(value)})`);
  }
  test.end();
});

t.test('why a percentile is missing', (test) => {
  test.equal(formatMissing('timeout'), '> timeout');
  test.equal(formatMissing('too_few_samples'), 'few samples');
  test.equal(formatMissing(undefined), 'n/a');
  test.end();
});

t.test('words', (test) => {
  test.equal(plural(1, 'trial'), '1 trial');
  test.equal(plural(6000, 'trial'), '6,000 trials');
  test.equal(listInWords([]), '');
  test.equal(listInWords(['a']), 'a');
  test.equal(listInWords(['a', 'b', 'c']), 'a, b and c');
  test.end();
});

t.test('lines break at spaces, and no word is lost', (test) => {
  const text = 'a connection that never reads stops being read, averylongwordthatstandsalone too';
  for (const width of [10, 20, 40, 80]) {
    const lines = wrapText(text, width);
    test.equal(lines.join(' '), text, `${width}: the same words`);
    test.ok(
      lines.every((line) => line.length <= width || !line.includes(' ')),
      `${width}: no line is wider that could be broken`,
    );
  }
  test.strictSame(hanging('- ', 'one two three', 9), ['- one two', '  three']);
  test.end();
});

t.test('characters that a terminal would obey are removed', (test) => {
  test.equal(printable('\u001b[31mred\u001b[0m'), '[31mred[0m');
  test.equal(printable('a\nb\tc'), 'a b c');
  test.equal(printable('\u202etxt.exe\u0007\u009b31m'), 'txt.exe31m');
  test.equal(printable('äöü µ 表'), 'äöü µ 表');
  test.end();
});

t.test('colour', (test) => {
  test.equal(painter(false)('red', 'x'), 'x');
  test.equal(painter(true)('red', 'x'), '\u001b[31mx\u001b[39m');
  test.end();
});
