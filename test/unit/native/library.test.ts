/** Which native library is loaded, and the error if none fits. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { BenchError } from '../../../src/model/errors.js';
import { locateLibrary, type Surroundings } from '../../../src/native/library.js';

function refusal(surroundings: Surroundings): BenchError {
  try {
    const { path } = locateLibrary(surroundings);
    throw new Error(`found ${path}`);
  } catch (error) {
    if (error instanceof BenchError) return error;
    throw error;
  }
}

t.test('the library of the package', async (test) => {
  const root = test.testdir({
    prebuilds: { 'linux-x64': { 'iocp_bench.so': '' }, 'win32-x64': { 'iocp_bench.dll': '' } },
  });
  const at = (platform: string): Surroundings => ({ platform, arch: 'x64', root, environment: undefined });
  test.same(locateLibrary(at('linux')), {
    path: join(root, 'prebuilds', 'linux-x64', 'iocp_bench.so'),
    origin: 'package',
  });
  test.same(locateLibrary(at('win32')), {
    path: join(root, 'prebuilds', 'win32-x64', 'iocp_bench.dll'),
    origin: 'package',
  });
  test.equal(
    locateLibrary({ ...at('linux'), environment: '' }).origin,
    'package',
    'an empty variable counts as not set',
  );
});

t.test('no library fits', async (test) => {
  const root = test.testdir({ prebuilds: { 'win32-x64': { 'iocp_bench.dll': '' } } });
  const here: Surroundings = { platform: 'linux', arch: 'x64', root, environment: undefined };
  const missing = refusal(here);
  test.equal(missing.code, 'unavailable');
  test.match(missing.message, /linux-x64.*win32-x64/, 'names the platform and what exists');
  test.match(missing.hint, /node .*native.scripts.build\.mjs, or .*IOCP_BENCH_LIBRARY/, 'and how to build or name one');
  test.match(refusal({ ...here, root: join(root, 'nowhere') }).message, /has none/);
  const foreign = refusal({ ...here, platform: 'darwin', arch: 'arm64' });
  test.match(foreign.message, /Linux and Windows on x86-64, not on darwin-arm64/);
  test.equal(foreign.code, 'unavailable');
  test.match(refusal({ ...here, arch: 'arm64' }).message, /not on linux-arm64/);
});

t.test('the library that the environment names', async (test) => {
  const root = test.testdir();
  mkdirSync(join(root, 'elsewhere'));
  const path = join(root, 'elsewhere', 'mine.so');
  const here: Surroundings = { platform: 'linux', arch: 'x64', root, environment: path };
  test.match(refusal(here).message, /IOCP_BENCH_LIBRARY names .*mine\.so, which does not exist/);
  writeFileSync(path, '');
  test.same(locateLibrary(here), { path, origin: 'environment' }, 'it goes first');
  test.equal(locateLibrary({ ...here, platform: 'darwin' }).path, path, 'also on an unsupported platform');
});
