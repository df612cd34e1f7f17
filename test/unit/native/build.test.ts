/** How the native library is built: strictly for developers, leniently for users. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { isLinux, root, skipWithout } from '../../support/environment.js';

const native = join(root, 'native');

/** The compile commands of a configured preset. Nothing is compiled. */
function compileCommands(preset: string, folder: string): string {
  const args = ['--preset', preset, '-B', folder, '-DCMAKE_EXPORT_COMPILE_COMMANDS=ON'];
  execFileSync('cmake', args, { cwd: native, stdio: 'ignore' });
  return readFileSync(join(folder, 'compile_commands.json'), 'utf8');
}

const skip = isLinux ? skipWithout('cmake', 'cc', 'make') : 'the presets of Linux';

t.test('warnings are errors only for developers', { skip }, (test) => {
  const folder = test.testdir();
  const user = compileCommands('linux', join(folder, 'user'));
  test.match(user, /-Wconversion/, 'a user sees the warnings of a newer compiler');
  test.notMatch(user, /-Werror/, 'and they do not break the install');
  test.match(compileCommands('linux-dev', join(folder, 'developer')), /-Werror/);
  test.end();
});

t.test('every document states the CMake version that the presets need', (test) => {
  const read = (name: string): string => readFileSync(join(root, name), 'utf8');
  const presets = JSON.parse(read('native/CMakePresets.json')) as {
    cmakeMinimumRequired: { major: number; minor: number };
  };
  const { major, minor } = presets.cmakeMinimumRequired;
  const needed = `${major}.${minor}`;
  test.match(read('native/CMakeLists.txt'), `cmake_minimum_required(VERSION ${needed})`);
  for (const name of ['README.md', 'CONTRIBUTING.md']) {
    const stated = [...read(name).matchAll(/CMake (\d+\.\d+)/g)].map(([, version]) => version);
    test.ok(stated.length > 0, `${name} states a version`);
    test.strictSame([...new Set(stated)], [needed], name);
  }
  test.end();
});

t.test('a CMake that is too old is refused before it fails', { skip }, (test) => {
  const path = test.testdir({ cmake: '#!/bin/sh\necho "cmake version 3.9.6"\n' });
  execFileSync('chmod', ['+x', join(path, 'cmake')]);
  const script = join(native, 'scripts', 'build.mjs');
  const env = { ...process.env, PATH: `${path}:${process.env['PATH'] ?? ''}` };
  try {
    execFileSync(process.execPath, [script, '--quiet'], { env, stdio: 'pipe' });
    test.fail('it was not refused');
  } catch (error) {
    const { status, stderr } = error as { status: number; stderr: Buffer };
    test.equal(status, 3);
    test.match(stderr.toString(), /CMake 3\.21 or later; this is 3\.9\.6/);
  }
  test.end();
});
