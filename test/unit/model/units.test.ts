/** A unit means the same wherever it is typed. */
import t from 'tap';
import { parseGate } from '../../../src/measure/gates.js';
import { parseLimit } from '../../../src/measure/search.js';
import { parseDurationMs, parseFraction, parseRatePerSecond, parseSizeBytes } from '../../../src/model/parse.js';
import { parseQuantity } from '../../../src/model/quantity.js';
import { readNumber, unitFactor, unitNames, type Dimension } from '../../../src/model/units.js';

const wide = { min: 0, max: Number.MAX_SAFE_INTEGER };

t.test('options, gates and limits read the same units', (t) => {
  const gate = (text: string): number => parseGate(text).threshold;
  for (const unit of ['b', 'B', 'k', 'K', 'kB', 'KB', 'kb', 'KiB', 'kib', 'm', 'MB', 'mib', 'G', 'GB', 'gib']) {
    const bytes = parseSizeBytes('--x', wide)(`64${unit}`);
    t.equal(gate(`a.resident_bytes_per_connection > 64${unit}`), bytes, `64${unit} is ${bytes} bytes`);
    t.equal(gate(`a.bytes_per_second > 64${unit}/s`), bytes, `64${unit}/s is ${bytes} bytes/s`);
  }
  t.equal(gate('a.resident_bytes_per_connection > 64KB'), 65_536);
  for (const unit of ['us', 'µs', 'μs', 'US', 'ms', 'MS', 's', 'S', 'm', 'min', 'Min', 'h', 'H']) {
    const ms = parseDurationMs('--x', wide)(`3${unit}`);
    t.equal(gate(`a.connect_duration_ms > 3${unit}`), ms, `3${unit} is ${ms} ms`);
    t.equal(parseLimit(`p99<3${unit}`).limit_ns, ms * 1e6);
  }
  t.equal(parseDurationMs('--x', wide)('2000000ns'), 2);
  for (const text of ['50k', '50K', '50k/s', '50K/s', '50 k/s', '50000/s', '0.05M/s', '50000']) {
    t.equal(parseRatePerSecond('--x')(text), 50_000, text);
    t.equal(gate(`a.throughput > ${text}`), 50_000, text);
  }
  for (const text of ['5%', '0.05']) {
    t.equal(parseFraction('--x')(text), 0.05);
    t.equal(gate(`a.jain_index < ${text}`), 0.05);
  }
  t.end();
});

t.test('every unit that a message names is one', (t) => {
  for (const [dimension, names] of Object.entries(unitNames) as [Dimension, readonly string[]][]) {
    for (const name of names) t.type(unitFactor(dimension, name), 'number', `${name} of ${dimension}`);
  }
  t.equal(unitFactor('size', 'constructor'), null);
  t.equal(unitFactor('time', 'KB'), null);
  t.equal(parseQuantity('5 KB', 'ns'), null, 'a size is not a time');
  t.equal(parseQuantity('5ms', 'count'), null);
  t.end();
});

t.test('numbers', (t) => {
  t.strictSame(readNumber(' 1.5 MiB '), { number: 1.5, unit: 'MiB' });
  t.strictSame(readNumber('-1e3'), { number: -1000, unit: '' });
  t.strictSame(readNumber('5requests / s'), { number: 5, unit: 'requests / s' });
  for (const wrong of ['', 'KB', '1.2.3', '3s4s', '0x10', 'Infinity', '1e999', '5,000'])
    t.equal(readNumber(wrong), null, `'${wrong}'`);
  t.end();
});
