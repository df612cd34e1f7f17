import t from 'tap';
import { hanging, wrapText } from '../../../src/report/text.js';

t.test('lines are broken at spaces, but not between a number and its unit', (t) => {
  t.strictSame(wrapText('a bb ccc', 4), ['a bb', 'ccc']);
  t.strictSame(wrapText('takes 6.44 µs each', 11), ['takes', '6.44 µs', 'each']);
  for (const unit of ['ns', 'µs', 'ms', 's', 'min', 'B', 'KiB', 'MiB', 'GiB']) {
    t.strictSame(wrapText(`after 12 ${unit}, then`, 9), ['after', `12 ${unit},`, 'then'], unit);
  }
  t.strictSame(wrapText('of 3 servers', 6), ['of 3', 'servers'], 'a word that begins as a unit does');
  t.strictSame(wrapText('mode s is', 6), ['mode s', 'is'], 'a unit without a number');
  t.strictSame(hanging('  * ', 'one two', 7), ['  * one', '    two']);
  t.end();
});
