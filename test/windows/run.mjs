#!/usr/bin/env node
// The whole suite on Windows' own node.exe under Wine: cross-compiles the library and checks its imports, then runs the native tests,
// every test file that also runs on Linux, the tests of both systems against each other, and those of the package.
//
// A whole run has lanes at the same time, each in a Wine prefix of its own: all calls of a prefix go through one server process, which is the
// limit. A lane that is free takes the next part.
//
//   node test/windows/run.mjs [--require] [PART...]   only what contains one of the parts: native, driver, unit, conformance, mixed, ...
//
// If Wine or the cross compiler is missing, the run is skipped with the reason; with --require that is a failure. The last line is
// `N passed, N failed, N skipped`.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  awaitWineServer,
  findProgram,
  morePrefixes,
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
const NATIVE_TIMEOUT_MS = 900_000;
const SUITE_TIMEOUT_MS = 1_800_000;
/** Parts that run at the same time. */
const LANES = 2;
/** Parts of this run that are not test files of the suite. */
const OWN_PARTS = ['native', 'driver', 'mixed', 'package'];
/** Test files that take longest, in this order. */
const LONG_FILES = [
  'conformance/conformance',
  'integration/blast',
  'conformance/http',
  'integration/tls',
  'integration/bad-input',
  'integration/arrivals',
  'integration/http.',
  'integration/bad-days',
  'integration/closed-output',
  'integration/baseline',
  'windows/windows',
  'integration/ends',
  'integration/report',
  'integration/http-modes',
  'integration/startup',
  'integration/wrong-replies',
  'integration/message',
];
/** Other files that one start of the suite's runner gets. */
const SHORT_FILES_PER_PART = 5;
const COUNTS = /^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$/gm;

const sum = { passed: 0, failed: 0, skipped: 0 };
const say = (text) => process.stdout.write(`${text}\n`);

/** Counts one check. It passed if `fault` is null; otherwise the fault is shown. */
function record(name, fault) {
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
  record(name, fault);
  return fault === null;
}

/** Adds the last line of counts in `output` and returns them; null if there is none. */
function addCounts(output) {
  const line = [...output.matchAll(COUNTS)].at(-1);
  if (line === undefined) return null;
  const counts = { passed: Number(line[1]), failed: Number(line[2]), skipped: Number(line[3] ?? 0) };
  sum.passed += counts.passed;
  sum.failed += counts.failed;
  sum.skipped += counts.skipped;
  return counts;
}

/** The programs of the unit tests in C. */
function nativeTests() {
  return readdirSync(BUILD)
    .filter((name) => name.endsWith('_test.exe'))
    .sort();
}

async function runNative(programs, names) {
  for (const name of names) {
    const running = startWindows(programs, join(BUILD, name), [], { cwd: BUILD, timeoutMs: NATIVE_TIMEOUT_MS });
    const { stdout, stderr, code, signal } = await running.ended;
    const output = `${stdout}${stderr}`;
    const fault = code === 0 ? null : `${signal ?? `exit code ${code}`}\n${output.slice(-4000)}`;
    // The driver counts its scenarios. Those of Linux backends are always skipped here and get no line each.
    if (name === 'driver.exe' && addCounts(output)) {
      const failures = output.split('\n').filter((line) => line.startsWith('FAIL'));
      say(`${fault === null ? 'ok    ' : 'FAILED'} ${name}: ${output.trim().split('\n').at(-1)}`);
      for (const line of failures) say(`       ${line}`);
      // A driver that died before it had counted everything is a failure.
      if (fault !== null && failures.length === 0) record(name, fault);
    } else {
      record(name, fault);
    }
  }
}

/** Runs the suite's runner on node.exe and shows its lines as they come. */
async function suite(programs, parts) {
  const running = startWindows(programs, programs.node, [join('dist', 'test', 'support', 'run.js'), ...parts], {
    env: { IOCP_BENCH_WINE: wineVersion(programs.wine) },
    timeoutMs: SUITE_TIMEOUT_MS,
  });
  let shown = 0;
  const show = () => {
    const lines = running.output().stdout.split('\n').slice(0, -1);
    // Its sum is not the sum of this run, which has the last line.
    for (const line of lines.slice(shown)) if (!new RegExp(COUNTS.source).test(line)) say(line);
    shown = lines.length;
  };
  const timer = setInterval(show, 500);
  const { stdout, stderr, code, signal } = await running.ended;
  clearInterval(timer);
  const unseen = stdout.split('\n').slice(shown, -1);
  for (const line of unseen) if (!new RegExp(COUNTS.source).test(line)) say(line);
  const end = `it ended with ${signal ?? `exit code ${code}`}`;
  const counts = addCounts(stdout);
  if (counts === null) {
    record(`the suite: ${parts.join(' ')}`, `${end} and no count of its tests\n${stderr.slice(-2000)}`);
    return;
  }
  // The runner also fails if no test passed. That is right here if all are skipped, as those of Linux are.
  const allSkipped = counts.passed === 0 && counts.skipped > 0;
  if (code !== 0 && counts.failed === 0 && !allSkipped) record(`the suite: ${parts.join(' ')}`, end);
}

function finish() {
  say(`${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`);
  process.exitCode = sum.failed > 0 ? 1 : 0;
}

/** Ends the run if the machine lacks something. */
function lacking(reason, hint, required) {
  if (required) record('the Windows half', `${reason}\n  ${hint}`);
  else skip('the Windows half', `${reason} (${hint})`);
  finish();
}

/** Runs parts one after the other: those of OWN_PARTS first, then the test files that match the others. */
async function runEach(programs, parts) {
  if (parts.includes('driver')) await runNative(programs, ['driver.exe']);
  if (parts.includes('native')) await runNative(programs, nativeTests());
  if (parts.includes('mixed')) {
    for await (const { name, fault, skipped } of mixedProofs(programs)) {
      if (skipped === undefined) record(name, fault);
      else skip(name, skipped);
    }
  }
  if (parts.includes('package')) for await (const { name, fault } of packageProofs(programs)) record(name, fault);
  const suiteParts = parts.filter((part) => !OWN_PARTS.includes(part));
  if (suiteParts.length > 0) await suite(programs, suiteParts);
}

/** Every test file, as the suite's runner names it. Those of deleted sources are left out, as there. */
function testFiles() {
  const compiled = readdirSync(join(ROOT, 'dist', 'test'), { recursive: true, encoding: 'utf8' });
  const source = (path) => join(ROOT, 'test', path.replace(/\.js$/, '.ts'));
  return compiled.filter((path) => path.endsWith('.test.js') && existsSync(source(path))).sort();
}

/**
 * The parts of a whole run, the longer ones before the shorter ones, so that all lanes end at about the same time. The native tests run
 * next to the driver, which mostly waits, and to unit tests: these disturb them least. Unit tests and short files go by several, because
 * every start of node.exe takes a second.
 */
function wholeRun() {
  const files = testFiles();
  const unit = files.filter((path) => path.startsWith('unit/'));
  const folders = [...new Set(unit.map(dirname))].map((folder) => unit.filter((path) => dirname(path) === folder));
  const others = files.filter((path) => !path.startsWith('unit/'));
  const long = LONG_FILES.flatMap((name) => others.filter((path) => path.startsWith(name)));
  const short = others.filter((path) => !long.includes(path));
  const groups = Array.from({ length: Math.ceil(short.length / SHORT_FILES_PER_PART) }, (_, index) =>
    short.slice(index * SHORT_FILES_PER_PART, (index + 1) * SHORT_FILES_PER_PART),
  );
  const ownParts = [['mixed'], ['package']];
  return [['driver'], ['native'], ...folders, ...ownParts, ...long.map((path) => [path]), ...groups];
}

async function inLanes(programs) {
  const more = morePrefixes(programs, LANES - 1);
  const waiting = wholeRun();
  const lane = async (own) => {
    for (let parts = waiting.shift(); parts !== undefined; parts = waiting.shift()) await runEach(own, parts);
  };
  try {
    await Promise.all([programs, ...more].map(lane));
  } finally {
    for (const { prefix } of more) recordServerEnd(true, prefix);
  }
}

async function runParts(programs, parts) {
  const build = [join('native', 'scripts', 'build.mjs'), '--preset', 'windows-cross', '--tests', '--quiet'];
  if (!step('the library, cross-compiled', process.execPath, build)) return;
  step("it imports only Windows' own DLLs", process.execPath, [join('native', 'scripts', 'check-imports.mjs')]);
  if (parts.length === 0) await inLanes(programs);
  else await runEach(programs, parts);
}

function recordServerEnd(ours, prefix) {
  const ended = awaitWineServer(ours, prefix);
  record('nothing is left running', ended ? null : 'programs under Wine were still running and were stopped');
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
    recordServerEnd(ours);
  }
  finish();
}

await main();
