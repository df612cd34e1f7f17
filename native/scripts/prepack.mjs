#!/usr/bin/env node
// Makes the files that `npm pack` ships: the compiled program and the libraries of both systems, without debug information and with
// their imports checked. npm runs it before it packs or publishes. A package without the library of one system would fail only on its
// users' machines, so this script refuses to make one.
//
// All output goes to stderr, because stdout belongs to `npm pack --json`.
// Exit codes: 0 ready; 1 a step failed; 3 this machine lacks something, and the message names the command that installs it.
import { spawnSync } from 'node:child_process';
import { renameSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { giveUp } from './give-up.mjs';
import { removeOrphans } from './orphans.mjs';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..', '..');
const SCRIPTS = join(ROOT, 'native', 'scripts');
const LIBRARIES = [
  { path: join(ROOT, 'prebuilds', 'linux-x64', 'iocp_bench.so'), strip: 'strip' },
  // The program of the mode `process`.
  { path: join(ROOT, 'prebuilds', 'linux-x64', 'process_server'), strip: 'strip' },
  { path: join(ROOT, 'prebuilds', 'win32-x64', 'iocp_bench.dll'), strip: 'x86_64-w64-mingw32-strip' },
];

function run(program, args) {
  const result = spawnSync(program, args, { cwd: ROOT, stdio: ['ignore', 2, 2] });
  // Exit code 3: the script has already reported what is missing.
  if (result.status === 3) process.exit(3);
  if (result.status !== 0) giveUp(1, `${program} ${args.join(' ')} failed.`, result.error?.message ?? 'see above');
}

function runs(program) {
  return spawnSync(program, ['--version'], { stdio: 'ignore' }).status === 0;
}

function requireTools() {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    giveUp(
      3,
      `the package contains the libraries of Linux and Windows, and only Linux on x64 can build both; this is ${process.platform}-${process.arch}.`,
      'pack it on Linux, or for this system only: npm pack --ignore-scripts',
    );
  }
  const tools = ['x86_64-w64-mingw32-gcc-posix', 'x86_64-w64-mingw32-objdump', ...LIBRARIES.map(({ strip }) => strip)];
  const missing = tools.filter((tool) => !runs(tool));
  if (missing.length === 0) return;
  giveUp(
    3,
    `the package also contains the Windows library, and the tools that build it are missing: ${missing.join(', ')}.`,
    'install it: sudo apt-get install gcc-mingw-w64-x86-64-posix binutils-mingw-w64-x86-64',
  );
}

/** Strips into a second file and renames it, so that a process that has loaded the library keeps the old file. */
function strip({ path, strip: program }) {
  const stripped = `${path}.stripped`;
  run(program, ['--strip-unneeded', '-o', stripped, path]);
  renameSync(stripped, path);
}

requireTools();
run(process.execPath, [join(SCRIPTS, 'prepare.mjs')]);
run(process.execPath, [join(SCRIPTS, 'build.mjs'), '--preset', 'windows-cross', '--if-stale', '--quiet']);
removeOrphans(ROOT);
LIBRARIES.forEach(strip);
run(process.execPath, [join(SCRIPTS, 'check-imports.mjs'), ...LIBRARIES.map(({ path }) => path)]);
