#!/usr/bin/env node
// Makes a clone ready to run: packages, native library and compiled TypeScript, each only if it is missing or stale. npm runs it
// before `npm start` and `npm test`. Plain Node without dependencies, because nothing is installed yet when it first runs.
//
// Exit codes: 0 ready; 1 a step failed; 3 this machine lacks something, and the message names the command that installs it.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { giveUp } from './give-up.mjs';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..', '..');
const NODE_NEEDED = 20;

/** Runs a program in the project's folder. Its stdout goes to stderr, because our stdout is for data. */
function run(program, args, options = {}) {
  const result = spawnSync(program, args, { cwd: ROOT, stdio: ['ignore', 2, 2], ...options });
  return result.error === undefined ? (result.status ?? 1) : 1;
}

/** When a file was last changed, in ms; 0 if it does not exist. */
function changedMs(path) {
  return existsSync(path) ? statSync(path).mtimeMs : 0;
}

function requireNode() {
  const major = Number(process.versions.node.split('.')[0]);
  if (major >= NODE_NEEDED) return;
  giveUp(
    3,
    `Node ${NODE_NEEDED} or later is needed, but this is ${process.version}.`,
    'install it: https://nodejs.org/en/download',
  );
}

/** npm writes node_modules/.package-lock.json last, so an install is due if it is older than the lock file. */
function preparePackages() {
  const lock = join(ROOT, 'package-lock.json');
  if (changedMs(join(ROOT, 'node_modules', '.package-lock.json')) >= changedMs(lock)) return;
  process.stderr.write('installing packages with npm ci\n');
  // Use the npm that runs this script, if any: on Windows a bare "npm" is a batch file.
  const npm = process.env.npm_execpath;
  const status =
    npm === undefined
      ? run('npm', ['ci', '--no-progress'], { shell: process.platform === 'win32' })
      : run(process.execPath, [npm, 'ci', '--no-progress']);
  if (status !== 0) giveUp(1, 'the packages could not be installed.', 'see above; run `npm ci` to try again');
}

function prepareLibrary() {
  const status = run(process.execPath, [join('native', 'scripts', 'build.mjs'), '--if-stale', '--quiet']);
  // The script has already reported what is missing.
  if (status !== 0) process.exit(status);
}

function sourcesOf(folder) {
  return readdirSync(join(ROOT, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isDirectory() || entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
}

function prepareTypeScript() {
  // Our own stamp file, because tsc writes its own even after errors.
  const stamp = join(ROOT, 'dist', '.compiled');
  const inputs = [
    ...sourcesOf('src'),
    ...sourcesOf('test'),
    join(ROOT, 'tsconfig.json'),
    join(ROOT, 'package-lock.json'),
  ];
  if (changedMs(stamp) > Math.max(...inputs.map(changedMs))) return;
  process.stderr.write('compiling TypeScript\n');
  const status = run(process.execPath, [join('node_modules', 'typescript', 'bin', 'tsc'), '-p', '.']);
  if (status !== 0) giveUp(1, 'TypeScript does not compile.', 'see above');
  writeFileSync(stamp, '');
}

requireNode();
preparePackages();
prepareLibrary();
prepareTypeScript();
mkdirSync(join(ROOT, 'results'), { recursive: true });
