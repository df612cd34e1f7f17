/** Which terminals get ASCII, and whether the ASCII form of every sample is aligned. */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import t from 'tap';
import { asciiJson, needsAscii, withAsciiSigns, type Surroundings } from '../../src/terminal.js';
import { root } from '../support/environment.js';

const plain: Surroundings = {
  environment: {},
  isFile: false,
  isTerminal: true,
  onWindows: false,
  codePage: () => {
    throw new Error('only Windows has code pages');
  },
};

t.test('the locale decides, in POSIX order', (t) => {
  const ascii = (environment: Record<string, string>): boolean => needsAscii({ ...plain, environment });
  for (const value of ['C', 'POSIX', 'de_DE', 'de_DE@euro', 'en_US.ISO-8859-1', 'ja_JP.eucJP']) {
    t.ok(ascii({ LC_ALL: value }), value);
    t.ok(ascii({ LANG: value }), value);
  }
  for (const value of ['C.UTF-8', 'en_US.UTF-8', 'en_US.utf8', 'sr_RS.UTF-8@latin'])
    t.notOk(ascii({ LC_ALL: value }), value);
  t.notOk(ascii({}), 'none is set');
  t.notOk(ascii({ LC_ALL: '', LC_CTYPE: 'C.UTF-8', LANG: 'C' }), 'an empty variable counts as not set');
  t.ok(ascii({ LC_ALL: 'C', LANG: 'en_US.UTF-8' }), 'LC_ALL is above LANG');
  t.notOk(needsAscii({ ...plain, environment: { LC_ALL: 'C' }, isFile: true }), 'a file is UTF-8');
  t.end();
});

t.test('on Windows the code page of the console decides', (t) => {
  const ascii = (page: number | null, more: Partial<Surroundings> = {}): boolean =>
    needsAscii({ ...plain, onWindows: true, codePage: () => page, ...more });
  t.ok(ascii(437));
  t.ok(ascii(850, { isTerminal: false }), 'a pipe of PowerShell 5.1, which decodes with the code page');
  t.notOk(ascii(65_001));
  t.notOk(ascii(null), 'no console');
  t.notOk(ascii(437, { isFile: true }));
  t.notOk(ascii(437, { environment: { WT_SESSION: 'x' } }), 'Windows Terminal');
  t.ok(ascii(437, { environment: { WT_SESSION: 'x' }, isTerminal: false }), 'a pipe in Windows Terminal');
  t.notOk(ascii(437, { environment: { LANG: 'en_US.UTF-8' } }), 'a shell that has locales');
  t.end();
});

t.test('the ASCII form of every sample is ASCII, and its tables keep their width', (t) => {
  const folder = join(root, 'fixtures', 'golden');
  const samples = readdirSync(folder).filter((name) => name.endsWith('.txt'));
  t.ok(samples.length > 10);
  for (const name of samples) {
    const text = readFileSync(join(folder, name), 'utf8');
    const shown = withAsciiSigns(text);
    t.notMatch(shown, /[^\x00-\x7f]/, `${name} is ASCII`);
    const widths = (lines: string): number[] =>
      lines
        .split('\n')
        .filter((line) => /^[│├┌└|+]/.test(line))
        .map((line) => line.length);
    t.strictSame(widths(shown), widths(text), `${name} lines up`);
  }
  t.equal(withAsciiSigns('│ ≥ 3.83x │ ≤ <0.1 │'), '| >=3.83x | <=<0.1 |');
  t.equal(withAsciiSigns('≥ and ≤: the load generator was the limit'), '>= and <=: the load generator was the limit');
  t.equal(withAsciiSigns('bücher → 12 µs · 3'), 'bücher > 12 us - 3', "a user's names stay");
  t.end();
});

t.test('every special character of the source has an ASCII form', (t) => {
  // Pages and Markdown are UTF-8 everywhere; a sparkline has blocks of its own for ASCII; the Greek mu is read, never written.
  const written = /^(html|page)|^markdown\.ts$|^mode-lines\.ts$/;
  const known = new Set(['❌', '❔', '✅', 'μ']);
  const unknown = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts') && !written.test(basename(path)))
    .flatMap((path) => {
      const lines = readFileSync(join(root, 'src', path), 'utf8').split('\n');
      const code = lines.filter((line) => !/^\s*(\/?\*|\/\/)/.test(line)).join('\n');
      const special = [...new Set(code.match(/[^\x00-\x7f]/gu))];
      return special
        .filter((sign) => !known.has(sign) && /[^\x00-\x7f]/.test(withAsciiSigns(sign)))
        .map((sign) => `${path}: ${sign}`);
    });
  t.strictSame(unknown, []);
  t.equal(withAsciiSigns('until ±3%'), 'until 3%');
  t.end();
});

t.test('JSON in ASCII is the same JSON', (t) => {
  const value = { text: 'µs ≥ 😀 "quoted" \\ \n' };
  const text = asciiJson(JSON.stringify(value));
  t.notMatch(text, /[^\x00-\x7f]/);
  t.strictSame(JSON.parse(text), value);
  t.end();
});
