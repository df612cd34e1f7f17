#!/usr/bin/env node
// The whole suite on Windows' own node.exe under Wine: the library cross-compiled and its imports checked, the native tests, then
// every test file that runs on Linux too, then both systems against each other, and the package.
//
//   node test/windows/run.mjs [--require] [PART...]   only what contains one of the parts: native, unit, conformance, mixed, package, ...
//
// Where Wine or the cross compiler is missing it is skipped with its reason; with --require that is a failure. The last line is
// `N passed, N failed, N skipped`.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  awaitWineServer,
  findProgram,
  ROOT,
  setUp,
  SetupError,
  startWindows,
  wineServerRuns,
  wineVersion,
} from './setup.mjs';
import { mixedProofs } from './mixed.mjs';
import { packageProofs } from './package.mjs';

const BUILD = join(ROOT, 'native', 'build', 'windows-cross');
const COMPILER = 'x86_64-w64-mingw32-gcc-posix';
const NATIVE_TIMEOUT_MS = 300_000;
const SUITE_TIMEOUT_MS = 1_800_000;
/** Parts of this run that are not files of the suite. */
const OWN_PARTS = ['native', 'mixed', 'package'];
const COUNTS = /^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$/gm;

const sum = { passed: 0, failed: 0, skipped: 0 };
const say = (text) => process.stdout.write(`${text}\n`);

/** One check: passed unless there is a fault, which is shown. */
function tell(name, fault) {
  if (fault === null) sum.passed++;
  else sum.failed++;
  say(fault === null ? `ok     ${name}` : `FAILED ${name}\n${fault}`);
}

function skip(name, reason) {
  sum.skipped++;
  say(`       skipped: ${name}: ${reason}`);
}

function step(name, program, args) {
  const result = spawnSync(program, args, { cwd: ROOT, encoding: 'utf8' });
  const fault =
    result.status === 0 ? null : `${result.stdout ?? ''}${result.stderr ?? ''}${result.error?.message ?? ''}`;
  tell(name, fault);
  return fault === null;
}

/** Adds the last line of counts in `output`; false when there is none. */
function addCounts(output) {
  const counts = [...output.matchAll(COUNTS)].at(-1);
  if (counts === undefined) return false;
  sum.passed += Number(counts[1]);
  sum.failed += Number(counts[2]);
  sum.skipped += Number(counts[3] ?? 0);
  return true;
}

async function nativeTests(programs) {
  const names = readdirSync(BUILD).filter((name) => name.endsWith('_test.exe') || name === 'driver.exe');
  for (const name of names.sort()) {
    const running = startWindows(programs, join(BUILD, name), [], { cwd: BUILD, timeoutMs: NATIVE_TIMEOUT_MS });
    const { stdout, stderr, code, signal } = await running.ended;
    const output = `${stdout}${stderr}`;
    const fault = code === 0 ? null : `${signal ?? `exit code ${code}`}\n${output.slice(-4000)}`;
    // The driver counts its scenarios; those of Linux' backends are skips by nature and not worth a line each.
    if (name === 'driver.exe' && addCounts(output)) {
      const failures = output.split('\n').filter((line) => line.startsWith('FAIL'));
      say(`${fault === null ? 'ok    ' : 'FAILED'} ${name}: ${output.trim().split('\n').at(-1)}`);
      for (const line of failures) say(`       ${line}`);
      // One that died before its counts are complete is a failure of its own.
      if (fault !== null && failures.length === 0) tell(name, fault);
    } else {
      tell(name, fault);
    }
  }
}

/** The runner of the suite, on node.exe: its lines are shown as they come. */
async function suite(programs, parts) {
  const running = startWindows(programs, programs.node, [join('dist', 'test', 'support', 'run.js'), ...parts], {
    env: { IOCP_BENCH_WINE: wineVersion(programs.wine) },
    timeoutMs: SUITE_TIMEOUT_MS,
  });
  let shown = 0;
  const show = () => {
    const lines = running.output().stdout.split('\n').slice(0, -1);
    // Its own sum is not ours: the last line of this run is.
    for (const line of lines.slice(shown)) if (!new RegExp(COUNTS.source).test(line)) say(line);
    shown = lines.length;
  };
  const timer = setInterval(show, 500);
  const { stdout, stderr, code, signal } = await running.ended;
  clearInterval(timer);
  const unseen = stdout.split('\n').slice(shown, -1);
  for (const line of unseen) if (!new RegExp(COUNTS.source).test(line)) say(line);
  const end = `it ended with ${signal ?? `exit code ${code}`}`;
  if (!addCounts(stdout)) tell('the suite', `${end} and no count of its tests\n${stderr.slice(-2000)}`);
  else if (code !== 0 && sum.failed === 0) tell('the suite', end);
}

function finish() {
  say(`${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`);
  process.exitCode = sum.failed > 0 ? 1 : 0;
}

/** Ends the run where the machine lacks something. */
function lacking(reason, hint, required) {
  if (required) tell('the Windows half', `${reason}\n  ${hint}`);
  else skip('the Windows half', `${reason} (${hint})`);
  finish();
}

async function runParts(programs, parts) {
  const wanted = (part) => parts.length === 0 || parts.includes(part);
  const build = [join('native', 'scripts', 'build.mjs'), '--preset', 'windows-cross', '--tests', '--quiet'];
  if (!step('the library, cross-compiled', process.execPath, build)) return;
  step("it imports only Windows' own DLLs", process.execPath, [join('native', 'scripts', 'check-imports.mjs')]);
  if (wanted('native')) await nativeTests(programs);
  const suiteParts = parts.filter((part) => !OWN_PARTS.includes(part));
  if (parts.length === 0 || suiteParts.length > 0) await suite(programs, suiteParts);
  if (wanted('mixed')) {
    for await (const { name, fault, skipped } of mixedProofs(programs)) {
      if (skipped === undefined) tell(name, fault);
      else skip(name, skipped);
    }
  }
  if (wanted('package')) for await (const { name, fault } of packageProofs(programs)) tell(name, fault);
}

async function main() {
  const { values, positionals: parts } = parseArgs({
    options: { require: { type: 'boolean', default: false } },
    allowPositionals: true,
  });
  if (process.platform !== 'linux') return lacking('this run is for Linux; on Windows use npm test', 'npm test', false);
  if (findProgram(COMPILER) === null) {
    return lacking('the cross compiler is missing', 'sudo apt-get install gcc-mingw-w64-x86-64-posix', values.require);
  }
  const defects = join(ROOT, 'dist', 'test', 'windows', 'wine-defects.js');
  if (!existsSync(defects)) return lacking('the tests are not compiled', 'npm run test:windows compiles them', true);
  const { wineDefects } = await import(defects);
  const ours = !wineServerRuns();
  let programs;
  try {
    programs = setUp();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    return lacking(error.message, error.hint, values.require);
  }
  say(`${wineVersion(programs.wine)}; known defects of it: ${wineDefects.map((defect) => defect.name).join(', ')}`);
  try {
    await runParts(programs, parts);
  } finally {
    tell('nothing is left running', awaitWineServer(ours) ? null : 'programs under Wine went on, and were ended');
  }
  finish();
}

await main();
