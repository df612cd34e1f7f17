import * as fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { BenchError } from '../../../src/model/errors.js';
import { prepareOutput, writeOutput } from '../../../src/report/output.js';

function refusal(path: string): BenchError {
  try {
    prepareOutput(path);
  } catch (error) {
    if (error instanceof BenchError) return error;
    throw error;
  }
  throw new Error(`${path} was not refused`);
}

/** Makes a folder the system's temporary one while the test runs. */
function useAsTemporary(test: Test, place: string): void {
  const names = ['TMPDIR', 'TEMP', 'TMP'] as const;
  const before = names.map((name) => process.env[name]);
  for (const name of names) process.env[name] = place;
  test.teardown(() => {
    names.forEach((name, index) => {
      const value = before[index];
      if (value === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = value;
    });
  });
}

t.test('a path that can be written is left as it was', (test) => {
  const place = test.testdir({ 'old.json': 'old' });
  prepareOutput(join(place, 'new.json'));
  prepareOutput(join(place, 'old.json'));
  prepareOutput('-');
  test.strictSame(fs.readdirSync(place), ['old.json'], 'nothing new');
  test.equal(fs.readFileSync(join(place, 'old.json'), 'utf8'), 'old');
  test.end();
});

t.test('a path that cannot be written is refused with its reason', (test) => {
  const place = test.testdir({ folder: {}, file: 'x' });
  const cases: Record<string, RegExp> = {
    [join(place, 'missing', 'r.json')]: /missing does not exist/,
    [join(place, 'folder')]: /is a folder/,
    [join(place, 'file', 'r.json')]: /not a folder|does not exist/,
    [join(place, 'n'.repeat(300))]: /too long|ENAMETOOLONG|cannot write/,
    '': /empty/,
  };
  for (const [path, says] of Object.entries(cases)) {
    const error = refusal(path);
    test.equal(error.code, 'usage', path.slice(-20));
    test.match(error.message, says);
  }
  test.match(refusal(join(place, 'missing', 'r.json')).hint, /mkdir/);
  test.end();
});

t.test('a file is replaced whole, with nothing beside it', (test) => {
  const place = test.testdir({ 'r.json': 'a longer text than the new one' });
  const path = join(place, 'r.json');
  test.strictSame(writeOutput(path, 'new'), { path, problem: null });
  test.equal(fs.readFileSync(path, 'utf8'), 'new');
  test.strictSame(fs.readdirSync(place), ['r.json']);
  test.end();
});

t.test('a file that is replaced keeps its mode', { skip: process.platform === 'win32' }, (test) => {
  const place = test.testdir({ 'secret.json': 'old', 'shared.json': 'old' });
  const before = process.umask(0o022);
  test.teardown(() => process.umask(before));
  for (const [name, mode] of [
    ['secret.json', 0o600],
    ['shared.json', 0o664],
  ] as const) {
    const path = join(place, name);
    fs.chmodSync(path, mode);
    writeOutput(path, 'new');
    test.equal(fs.statSync(path).mode & 0o7777, mode, name);
    test.equal(fs.readFileSync(path, 'utf8'), 'new');
  }
  writeOutput(join(place, 'new.json'), 'new');
  test.equal(fs.statSync(join(place, 'new.json')).mode & 0o7777, 0o644, 'a new file has the mode that the umask gives');
  test.end();
});

const cannotGiveAway = process.getuid?.() === 0 ? false : 'only root can give a file away';
t.test("a file that root replaces stays its owner's", { skip: cannotGiveAway }, (test) => {
  const path = join(test.testdir({ 'r.json': 'old' }), 'r.json');
  fs.chownSync(path, 65_534, 65_533);
  writeOutput(path, 'new');
  const { uid, gid } = fs.statSync(path);
  test.strictSame([uid, gid], [65_534, 65_533]);
  test.end();
});

t.test('a link is followed, not replaced', { skip: process.platform === 'win32' }, (test) => {
  const place = test.testdir({ 'real.json': 'old', 'link.json': test.fixture('symlink', 'real.json') });
  writeOutput(join(place, 'link.json'), 'new');
  test.equal(fs.readFileSync(join(place, 'real.json'), 'utf8'), 'new');
  test.ok(fs.lstatSync(join(place, 'link.json')).isSymbolicLink());
  test.end();
});

t.test('a device is written to, not replaced', { skip: process.platform === 'win32' }, (test) => {
  prepareOutput('/dev/null');
  test.strictSame(writeOutput('/dev/null', 'x'), { path: '/dev/null', problem: null });
  test.ok(fs.statSync('/dev/null').isCharacterDevice(), 'it is still one');
  test.end();
});

t.test('what cannot be written is kept once, in the temporary folder', (test) => {
  const place = test.testdir({ gone: {}, temporary: {} });
  const temporary = join(place, 'temporary');
  useAsTemporary(test, temporary);
  const path = join(place, 'gone', 'r.json');
  prepareOutput(path);
  fs.rmdirSync(join(place, 'gone'));
  const first = writeOutput(path, 'first');
  const second = writeOutput(path, 'second');
  test.equal(first.path, second.path, 'the same place for the same report');
  test.equal(fs.readFileSync(second.path, 'utf8'), 'second');
  test.ok(second.path.startsWith(temporary));
  test.equal(second.problem?.code, 'runFailed');
  test.match(second.problem?.message, second.path, 'the message says where');
  test.equal(fs.readdirSync(temporary).length, 1, 'and only there');
  test.end();
});

t.test('a full disk keeps the old file', { skip: !fs.existsSync('/dev/full') }, (test) => {
  useAsTemporary(test, test.testdir({}));
  const written = writeOutput('/dev/full', 'x');
  test.match(written.problem?.message, /no space left/);
  test.equal(fs.readFileSync(written.path, 'utf8'), 'x');
  test.end();
});

t.test('where nothing can be written, that is said', (test) => {
  const place = test.testdir({});
  useAsTemporary(test, join(place, 'no', 'where'));
  test.throws(() => writeOutput(join(place, 'missing', 'r.json'), 'x'), { code: 'runFailed', message: /is lost/ });
  test.end();
});
