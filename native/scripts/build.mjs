#!/usr/bin/env node
// Configures and builds the native library with CMake: `node native/scripts/build.mjs`.
//
//   --if-stale      do nothing if the library exists and is newer than every native source
//   --preset NAME   a preset of CMakePresets.json (default: the one for this platform)
//   --tests         also build the unit tests and the driver
//   --quiet         print nothing unless something fails
//
// Exit codes: 0 built or up to date; 1 the build failed; 2 wrong usage; 3 this machine cannot build it.
// Plain Node without dependencies: it runs before anything is installed.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync, utimesSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { giveUp } from './give-up.mjs';

const NATIVE = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const ROOT = resolve(NATIVE, '..');

/** The supported platforms, and what each needs to build the library. */
const PLATFORMS = {
  'linux-x64': {
    preset: 'linux',
    compilers: ['cc', 'gcc', 'clang'],
    builder: 'make', // what CMake's default generator uses
    tools: {
      cmake: 'sudo apt-get install cmake',
      compiler: 'sudo apt-get install gcc libc6-dev',
      builder: 'sudo apt-get install make',
    },
  },
  'win32-x64': {
    preset: 'windows',
    compilers: ['gcc', 'clang', 'cc'],
    builder: 'ninja',
    tools: {
      cmake: 'winget install Kitware.CMake',
      compiler: 'winget install BrechtSanders.WinLibs.POSIX.UCRT',
      builder: 'winget install Ninja-build.Ninja',
    },
  },
};

function optionsOf(argv) {
  try {
    return parseArgs({
      args: argv,
      options: {
        'if-stale': { type: 'boolean', default: false },
        preset: { type: 'string' },
        tests: { type: 'boolean', default: false },
        quiet: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    giveUp(
      2,
      error instanceof Error ? error.message : String(error),
      'usage: build.mjs [--if-stale] [--preset NAME] [--tests] [--quiet]',
    );
  }
}

/** The oldest CMake that can read the presets, as the presets file states it: "3.21". */
function cmakeNeeded() {
  const { major, minor } = JSON.parse(readFileSync(join(NATIVE, 'CMakePresets.json'), 'utf8')).cmakeMinimumRequired;
  return `${major}.${minor}`;
}

/** Version of the installed CMake, such as "3.25.1"; null if it is not installed. */
function cmakeVersion() {
  const result = spawnSync('cmake', ['--version'], { encoding: 'utf8' });
  return /version (\d+\.\d+[\d.]*)/.exec(result.stdout ?? '')?.[1] ?? null;
}

/** Whether a program of this name runs at all. */
function runs(program) {
  const result = spawnSync(program, ['--version'], { stdio: 'ignore' });
  return result.error === undefined && result.status === 0;
}

function requireTools(platform) {
  const version = cmakeVersion();
  if (version === null) {
    giveUp(3, 'the native library has to be built, and CMake is missing.', `install it: ${platform.tools.cmake}`);
  }
  const needed = cmakeNeeded();
  if (version.localeCompare(needed, 'en', { numeric: true }) < 0) {
    giveUp(
      3,
      `the native library has to be built with CMake ${needed} or later; this is ${version}.`,
      'a current one: pip install cmake, or https://cmake.org/download',
    );
  }
  // CMake uses CC first, and so does this check.
  const compilers = process.env.CC ? [process.env.CC.split(' ')[0]] : platform.compilers;
  if (!compilers.some(runs)) {
    giveUp(
      3,
      `the native library has to be built, and no C compiler was found (tried ${compilers.join(', ')}).`,
      `install one: ${platform.tools.compiler}`,
    );
  }
  if (!runs(platform.builder)) {
    giveUp(
      3,
      `the native library has to be built, and ${platform.builder} is missing.`,
      `install it: ${platform.tools.builder}`,
    );
  }
}

/** Resolves `inherits` of a preset as far as this script needs it: its cache variables and its folder. */
function presetNamed(name) {
  const presets = JSON.parse(readFileSync(join(NATIVE, 'CMakePresets.json'), 'utf8')).configurePresets;
  const preset = presets.find((candidate) => candidate.name === name && !candidate.hidden);
  if (preset === undefined) {
    const names = presets.filter((candidate) => !candidate.hidden).map((candidate) => candidate.name);
    giveUp(2, `"${name}" is not a preset.`, `the presets are: ${names.join(', ')}`);
  }
  return preset;
}

/** The path of the library that a preset builds. */
function libraryOf(preset) {
  const folder = preset.cacheVariables?.IB_OUTPUT_DIRECTORY ?? join('${sourceDir}', 'build', preset.name);
  const windows = preset.name.startsWith('windows');
  return join(folder.replace('${sourceDir}', NATIVE), windows ? 'iocp_bench.dll' : 'iocp_bench.so');
}

/** The time of the newest change among the library's sources, in ms. */
function newestSourceMs() {
  const files = ['CMakeLists.txt', 'CMakePresets.json'].map((name) => join(NATIVE, name));
  for (const folder of ['include', 'src']) {
    for (const entry of readdirSync(join(NATIVE, folder), { withFileTypes: true, recursive: true })) {
      // A folder's own time changes when a file is removed.
      files.push(join(entry.parentPath ?? entry.path, entry.name));
    }
  }
  return Math.max(...files.map((file) => statSync(file).mtimeMs));
}

function isFresh(library) {
  if (!existsSync(library)) return false;
  // An installed package may contain the library without its sources.
  if (!existsSync(join(NATIVE, 'src'))) return true;
  return statSync(library).mtimeMs >= newestSourceMs();
}

/** Runs cmake in the native folder. With `quiet` its output is shown only if it fails. */
function cmake(args, quiet) {
  const result = spawnSync('cmake', args, { cwd: NATIVE, stdio: quiet ? 'pipe' : 'inherit', encoding: 'utf8' });
  if (result.error === undefined && result.status === 0) return;
  if (quiet) process.stderr.write(`${result.stdout ?? ''}${result.stderr ?? ''}`);
  giveUp(1, `cmake ${args.join(' ')} failed${result.error ? `: ${result.error.message}` : ''}.`);
}

function main() {
  const options = optionsOf(process.argv.slice(2));
  const key = `${process.platform}-${process.arch}`;
  const platform = PLATFORMS[key];
  if (platform === undefined) {
    giveUp(3, `iocp-bench runs on Linux and Windows on x64, but this is ${key}.`);
  }
  const name = options.preset ?? platform.preset;
  const preset = presetNamed(name);
  const library = libraryOf(preset);
  if (options['if-stale'] && isFresh(library)) return;

  requireTools(platform);
  if (!options.quiet) process.stderr.write(`building ${relative(ROOT, library)} with CMake\n`);
  cmake(['--preset', name, `-DIB_TESTS=${options.tests ? 'ON' : 'OFF'}`], options.quiet);
  // Without a number, make starts all compilers at once, and each takes up to 200 MB.
  cmake(['--build', join('build', name), '--parallel', String(availableParallelism())], options.quiet);
  if (!existsSync(library)) giveUp(1, `the build ended without ${relative(ROOT, library)}.`);
  // A change that alters no object does not update the library's time, so update it here. Otherwise it would stay stale.
  const now = new Date();
  utimesSync(library, now, now);
}

main();
