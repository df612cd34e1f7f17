#!/usr/bin/env node
// Makes what `npm pack` ships: the compiled program and the libraries of both systems, without debug information and with their
// imports checked. npm runs it before it packs or publishes. A package that lacks one system would fail only at its users', so it is
// refused here.
//
// Everything it says goes to stderr: `npm pack --json` has stdout.
// Exit codes: 0 ready; 1 a step failed; 3 this machine lacks something, and which command installs it is told.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { giveUp } from './give-up.mjs';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..', '..');
const SCRIPTS = join(ROOT, 'native', 'scripts');
const LIBRARIES = [
  { path: join(ROOT, 'prebuilds', 'linux-x64', 'iocp_bench.so'), strip: 'strip' },
  { path: join(ROOT, 'prebuilds', 'win32-x64', 'iocp_bench.dll'), strip: 'x86_64-w64-mingw32-strip' },
];

function run(program, args) {
  const result = spawnSync(program, args, { cwd: ROOT, stdio: ['ignore', 2, 2] });
  // A script of ours that ends with 3 has said what is missing.
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
      `the package holds the libraries of Linux and Windows, and only Linux on x64 builds both; this is ${process.platform}-${process.arch}.`,
      'pack it on Linux, or pack this system alone: npm pack --ignore-scripts',
    );
  }
  const tools = ['x86_64-w64-mingw32-gcc-posix', 'x86_64-w64-mingw32-objdump', ...LIBRARIES.map(({ strip }) => strip)];
  const missing = tools.filter((tool) => !runs(tool));
  if (missing.length === 0) return;
  giveUp(
    3,
    `the package holds the library of Windows too, and what builds it is missing: ${missing.join(', ')}.`,
    'install it: sudo apt-get install gcc-mingw-w64-x86-64-posix binutils-mingw-w64-x86-64',
  );
}

/** The compiler leaves what it made of a source that is gone, and all of dist/src is packed. */
function removeOrphans() {
  for (const entry of readdirSync(join(ROOT, 'dist', 'src'), { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath ?? entry.path, entry.name);
    const source = path.replace(join(ROOT, 'dist'), ROOT).replace(/\.js(\.map)?$/, '.ts');
    if (!existsSync(source)) rmSync(path);
  }
}

/** Into a file beside it that then takes its place: a process that has the library loaded keeps the one it loaded. */
function strip({ path, strip: program }) {
  const stripped = `${path}.stripped`;
  run(program, ['--strip-unneeded', '-o', stripped, path]);
  renameSync(stripped, path);
}

requireTools();
run(process.execPath, [join(SCRIPTS, 'prepare.mjs')]);
run(process.execPath, [join(SCRIPTS, 'build.mjs'), '--preset', 'windows-cross', '--if-stale', '--quiet']);
removeOrphans();
LIBRARIES.forEach(strip);
run(process.execPath, [join(SCRIPTS, 'check-imports.mjs'), ...LIBRARIES.map(({ path }) => path)]);
