/** Figures in sentences. */
import t from 'tap';
import { bytes, duration, grouped, percent, significant, valueInWords } from '../../../src/model/words.js';

t.test('numbers', (t) => {
  t.equal(grouped(15000), '15,000');
  t.equal(percent(0.973), '97%');
  t.equal(percent(0.0123), '1.2%');
  t.equal(percent(0.1), '10%');
  t.equal(percent(0.0999), '10%');
  t.equal(significant(12.345), '12.3');
  t.equal(significant(0.012345), '0.0123');
  t.equal(significant(1234.5), '1,235');
  t.equal(significant(0), '0');
  t.equal(significant(99.96), '100');
  t.end();
});

t.test('durations and sizes', (t) => {
  t.equal(duration(999), '999 ns');
  t.equal(duration(1500), '1.5 µs');
  t.equal(duration(190e6), '190 ms');
  t.equal(duration(2.5e9), '2.5 s');
  t.equal(bytes(512), '512 B');
  t.equal(bytes(65536), '64 KiB');
  t.equal(bytes(1.5 * 1024 ** 3), '1.5 GiB');
  t.end();
});

t.test('values with their units', (t) => {
  t.equal(valueInWords(5e6, 'ns'), '5 ms');
  t.equal(valueInWords(10, 'us'), '10 µs');
  t.equal(valueInWords(2048, 'bytes/s'), '2 KiB/s');
  t.equal(valueInWords(123456, 'requests/s'), '123,456/s');
  t.equal(valueInWords(1.234, 'x'), '1.23x');
  t.equal(valueInWords(0.999, 'fraction'), '0.999');
  t.end();
});
