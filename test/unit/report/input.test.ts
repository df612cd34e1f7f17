/** Reports as the shells of Windows save them. */
import t from 'tap';
import { decodeText } from '../../../src/report/input.js';

t.test('byte order marks say how a file is encoded, and are left out', (t) => {
  const text = '{"name":"µs ≥ 表"}\r\n';
  const little = Buffer.from(text, 'utf16le');
  const big = Buffer.from(text, 'utf16le').swap16();
  const shapes: Record<string, Buffer> = {
    'UTF-8': Buffer.from(text),
    'UTF-8 with a mark': Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), Buffer.from(text)]),
    'UTF-16 of PowerShell 5.1': Buffer.concat([Buffer.from([0xff, 0xfe]), little]),
    'UTF-16, big-endian': Buffer.concat([Buffer.from([0xfe, 0xff]), big]),
    'UTF-16, cut in the middle of a character': Buffer.concat([Buffer.from([0xff, 0xfe]), little, Buffer.from('x')]),
    'UTF-16, big-endian and cut': Buffer.concat([Buffer.from([0xfe, 0xff]), big, Buffer.from('x')]),
  };
  for (const [name, bytes] of Object.entries(shapes)) {
    const before = Buffer.from(bytes);
    t.equal(decodeText(bytes), text, name);
    t.strictSame(bytes, before, 'the bytes are left as they were');
  }
  for (const bytes of [[], [0xff], [0xff, 0xfe], [0xfe, 0xff], [0xef, 0xbb, 0xbf]]) {
    t.match(decodeText(Buffer.from(bytes)), /^\uFFFD?$/, `${bytes.length} bytes`);
  }
  t.end();
});
