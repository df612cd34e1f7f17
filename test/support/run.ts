/**
 * Runs the compiled tests, each file as a plain node process. Unit tests only compute, and some others check nothing that depends on the
 * speed of this machine, so several of these run at the same time. The rest run one after the other: they measure, count what others
 * would change, or open thousands of sockets, and two at a time would disturb each other. Shows failures in full, skips with their reasons,
 * and the counts in the last line.
 *
 * Two existing runners were tried. tap's loads its hooks into every process that a test starts, including servers under load, and
 * takes 2.6 times as long for the unit tests. Node's (`node --test`) reads TAP and counts the same, but prints only "test failed"
 * for a file that was killed or that hung, shows no skip reasons at the end, and in Node 20 needs every file by name.
 *
 * node dist/test/support/run.js [PART...]     only the files whose path contains one of the parts: unit, conformance, blast
 */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, writeSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, relative, sep } from 'node:path';
import { isWine, root } from './environment.js';

const testFolder = join(root, 'dist', 'test');
const fileTimeoutMs = Number(process.env['IOCP_BENCH_TEST_FILE_TIMEOUT_MS'] ?? 600_000);
/** Unit tests come first, because their failures explain later ones. */
const order = ['unit', 'conformance', 'integration'];
/** Unit tests that start a server or depend on timers. They run alone, after the other unit tests. */
const alone = ['unit/native/binding.test.js', 'unit/run/trial.test.js'];
/**
 * Tests other than unit tests that may share the machine, the longest ones first. Their servers have ports of their own, and what they
 * check holds on a slow machine: bytes, counts, messages, exit codes and files.
 */
const shared = [
  'integration/blast.test.js',
  'integration/documents.test.js',
  'integration/package.test.js',
  'conformance/conformance.test.js',
  'integration/tls.test.js',
  'integration/http.test.js',
  'integration/page.test.js',
  'conformance/http.test.js',
  'machines/protocols.test.js',
  'integration/http-modes.test.js',
  'integration/message.test.js',
  'integration/instructions.test.js',
  'integration/closed-output.test.js',
  'integration/bad-input.test.js',
  'integration/foreign-http.test.js',
  'integration/foreign.test.js',
  'integration/report.test.js',
  'integration/owners.test.js',
  'integration/baseline.test.js',
  'integration/serve.test.js',
  'integration/wrong-replies.test.js',
  'machines/documents.test.js',
  'machines/secured.test.js',
  'integration/server-process.test.js',
  'integration/startup.test.js',
  'integration/library.test.js',
  'integration/fault.test.js',
];
/** Files that run at the same time. Under Wine everything waits for its server process, so more would not be faster. */
const filesAtOnce = isWine ? 1 : Math.min(availableParallelism(), 4);

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

interface FileResult extends Counts {
  name: string;
  output: string;
  /** What went wrong with the file as a whole; null if its tests say so. */
  fault: string | null;
  elapsedMs: number;
}

function say(text: string): void {
  writeSync(1, `${text}\n`);
}

/** False for the output of a test that was deleted, which the compiler leaves. An unpacked build without sources runs as it is. */
function hasSource(path: string): boolean {
  const sources = join(root, 'test');
  return !existsSync(join(sources, 'support')) || existsSync(join(sources, path.replace(/\.js$/, '.ts')));
}

/** The path of a test file as PART names it. */
function nameOf(path: string): string {
  return relative(testFolder, path).split(sep).join('/');
}

function mayShare(path: string): boolean {
  const name = nameOf(path);
  return (name.startsWith('unit/') && !alone.includes(name)) || shared.includes(name);
}

function testFiles(parts: readonly string[]): string[] {
  const rank = (path: string) => {
    const name = nameOf(path);
    // Those that run at the same time come first: unit tests, then the shorter ones of the others before the longer ones.
    if (mayShare(path)) return -1 - (shared.includes(name) ? shared.indexOf(name) : shared.length);
    const at = order.indexOf(name.split('/')[0] ?? '');
    return at < 0 ? order.length : at;
  };
  return readdirSync(testFolder, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.test.js') && hasSource(path))
    .filter((path) => parts.length === 0 || parts.some((part) => path.split(sep).join('/').includes(part)))
    .map((path) => join(testFolder, path))
    .sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
}

/** tap's closing comment: `# { total: 4, pass: 1, fail: 2, skip: 1 }`; missing if the file died. */
function countsOf(output: string): (Counts & { total: number }) | null {
  const summary = [...output.matchAll(/^# \{ (total: .*) \}$/gm)].at(-1)?.[1];
  if (summary === undefined) return null;
  const figure = (name: string) => Number(new RegExp(`\\b${name}: (\\d+)`).exec(summary)?.[1] ?? 0);
  const failed = figure('fail');
  return { total: figure('total'), passed: figure('pass'), failed, skipped: figure('skip') + figure('todo') };
}

async function runFile(path: string): Promise<FileResult> {
  const started = performance.now();
  const child = spawn(process.execPath, ['--enable-source-maps', path], {
    cwd: root,
    env: { ...process.env, TAP: '1', TAP_TIMEOUT: String(Math.round(fileTimeoutMs / 1_000)) },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const timer = setTimeout(() => child.kill('SIGKILL'), fileTimeoutMs);
  const exit = await new Promise<string>((resolve) => {
    child.once('error', (error) => {
      resolve(error.message);
    });
    const ending = (code: number | null, signal: NodeJS.Signals | null): string =>
      signal ?? `exit code ${code ?? 'unknown'}`;
    // All of its output has come.
    child.once('close', (code, signal) => {
      resolve(ending(code, signal));
    });
    child.once('exit', (code, signal) => {
      // A process that a test left behind may hold the pipe open. The run does not wait for it and uses the output so far.
      setTimeout(resolve, 2_000, ending(code, signal)).unref();
    });
  });
  clearTimeout(timer);
  const counts = countsOf(output);
  const broken = counts === null || counts.total === 0 || (exit !== 'exit code 0' && counts.failed === 0);
  return {
    name: nameOf(path),
    output,
    passed: counts?.passed ?? 0,
    failed: (counts?.failed ?? 0) + (broken ? 1 : 0),
    skipped: counts?.skipped ?? 0,
    fault: broken ? `it ended with ${exit}${counts === null ? ' and no count of its tests' : ''}` : null,
    elapsedMs: performance.now() - started,
  };
}

/** The failed assertions with their diagnostics, without the passed ones. */
function failuresOf(output: string): string {
  const kept: string[] = [];
  let keeping = false;
  for (const line of output.split('\n')) {
    if (/^\s*(not )?ok \d/.test(line) || /^\s*# Subtest/.test(line)) keeping = /^\s*not ok/.test(line);
    if (keeping && line.trim() !== '') kept.push(line);
  }
  return kept.join('\n');
}

function skipsOf(output: string): string[] {
  const skips = [...output.matchAll(/^\s*ok \d+ - (.*?) # SKIP (.*)$/gm)];
  return skips.map((match) => `${match[1] ?? ''}: ${match[2] ?? ''}`);
}

function show(result: FileResult): void {
  const { name, passed, failed, skipped, elapsedMs } = result;
  const seconds = (elapsedMs / 1_000).toFixed(1);
  say(
    `${failed === 0 ? 'ok    ' : 'FAILED'} ${name}: ${passed} passed, ${failed} failed, ${skipped} skipped (${seconds} s)`,
  );
  for (const skip of skipsOf(result.output)) say(`       skipped: ${skip}`);
  if (failed === 0) return;
  if (result.fault !== null) say(`${result.fault}; its last lines:\n${result.output.slice(-4_000)}`);
  say(failuresOf(result.output));
}

/**
 * Runs `atOnce` files at the same time, half of them from the end, where the long ones are. Reports each result when those of the files
 * before it are reported.
 */
async function runFiles(files: readonly string[], atOnce: number, report: (result: FileResult) => void): Promise<void> {
  const results = new Map<string, FileResult>();
  const waiting = [...files];
  const unreported = [...files];
  const runNext = async (_: unknown, lane: number): Promise<void> => {
    const next = () => (lane % 2 === 0 ? waiting.shift() : waiting.pop());
    for (let path = next(); path !== undefined; path = next()) {
      results.set(path, await runFile(path));
      for (let first = results.get(unreported[0] ?? ''); first; first = results.get(unreported[0] ?? '')) {
        report(first);
        unreported.shift();
      }
    }
  };
  await Promise.all(Array.from({ length: atOnce }, runNext));
}

async function main(): Promise<void> {
  const missing = [...alone, ...shared].filter((name) => !existsSync(join(testFolder, name)));
  if (missing.length > 0) throw new Error(`run.ts names tests that do not exist: ${missing.join(', ')}`);
  const files = testFiles(process.argv.slice(2));
  const sum: Counts = { passed: 0, failed: 0, skipped: 0 };
  const report = (result: FileResult): void => {
    show(result);
    sum.passed += result.passed;
    sum.failed += result.failed;
    sum.skipped += result.skipped;
  };
  await runFiles(files.filter(mayShare), filesAtOnce, report);
  await runFiles(
    files.filter((path) => !mayShare(path)),
    1,
    report,
  );
  if (files.length === 0) say('no test file matches');
  say(`${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`);
  process.exitCode = sum.failed > 0 || sum.passed === 0 ? 1 : 0;
}

await main();
