/** Runs the tool as a user would, collects its output, and checks what it leaves behind. */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { cliPath, isLinux } from './environment.js';
import { until, within } from './wait.js';

export interface Outcome {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** A separate place for one test: a working directory and a temporary folder, both empty at first. */
export interface Place {
  folder: string;
  /** The system's temporary folder, as the tool sees it. */
  temporary: string;
  /** Set in the environment of every process started here and inherited by its children, to find those left behind. */
  marker: string;
  env: NodeJS.ProcessEnv;
}

export function makePlace(test: Test): Place {
  const folder = mkdtempSync(join(tmpdir(), 'iocp-bench-test-'));
  const temporary = mkdtempSync(join(tmpdir(), 'iocp-bench-tmp-'));
  const marker = randomUUID();
  test.teardown(() => {
    for (const path of [folder, temporary]) rmSync(path, { recursive: true, force: true });
  });
  // Variables of the developer's shell and of tap must not influence the tool.
  const unwanted = /^(DEBUG|FORCE_COLOR|NODE_OPTIONS|TAP.*)$/;
  const inherited = Object.entries(process.env).filter(([name]) => !unwanted.test(name));
  const own = {
    NO_COLOR: '1',
    LC_ALL: 'C.UTF-8',
    TMPDIR: temporary,
    TEMP: temporary,
    TMP: temporary,
    IOCP_BENCH_TEST_MARKER: marker,
  };
  const env: NodeJS.ProcessEnv = { ...Object.fromEntries(inherited), ...own };
  return { folder, temporary, marker, env };
}

export interface RunOptions {
  /** A program, with its arguments, that runs node: prlimit, setpriv. */
  under?: readonly string[];
  env?: NodeJS.ProcessEnv;
  /** The script to run; absent: the one under test. */
  program?: string;
  /** Run in a separate process group, like a foreground job of a shell. */
  group?: boolean;
  timeoutMs?: number;
}

/** A run in progress. */
export class Running {
  readonly child: ChildProcess;
  readonly finished: Promise<Outcome>;
  stdout = '';
  stderr = '';

  constructor(place: Place, args: readonly string[], options: RunOptions = {}) {
    const command = [...(options.under ?? []), process.execPath, options.program ?? cliPath, ...args];
    this.child = spawn(command[0] ?? process.execPath, command.slice(1), {
      cwd: place.folder,
      env: { ...place.env, ...options.env },
      detached: options.group ?? false,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const { child } = this;
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.finished = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => {
        resolve({ code, signal, stdout: this.stdout, stderr: this.stderr });
      });
    });
  }

  kill(): void {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill('SIGKILL');
  }

  /** Signals the whole foreground group, as Ctrl-C does. */
  interruptGroup(): void {
    const { pid } = this.child;
    if (pid !== undefined) process.kill(-pid, 'SIGINT');
  }

  /** Waits until stderr or stdout matches; false if the run ends or time is up before. */
  async says(what: RegExp, deadlineMs = 60_000): Promise<boolean> {
    return await until(
      () => what.test(this.stderr) || what.test(this.stdout) || this.child.exitCode !== null,
      deadlineMs,
    ).then((seen) => seen && (what.test(this.stderr) || what.test(this.stdout)));
  }
}

/**
 * Whether a run has a window that it did not use, because this machine gave the load generator no CPU when the window began or for as long
 * as it lasted. That is right, but it says nothing about what a test looks for.
 */
function wasStarved({ code, stdout, stderr }: Outcome): boolean {
  const said = `${stdout}\n${stderr}`.replaceAll(/\s+/g, ' ');
  if (/began the window [^"]{1,20} late because it was stopped or got no CPU; the window is not used/.test(said))
    return true;
  if (/no request was answered: the window ended before the first (echo|reply)/.test(said)) return true;
  const agent =
    /(began the window \d+ ms late|did not confirm the start of the window in time); the trial was repeated \d/;
  return code !== 0 && agent.test(said);
}

/** Runs the tool to its end; again, at most twice, if this machine was too busy for one of its windows. */
export async function run(place: Place, args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  let outcome = await runOnce(place, args, options);
  for (let again = 0; again < 2 && wasStarved(outcome); again++) outcome = await runOnce(place, args, options);
  return outcome;
}

async function runOnce(place: Place, args: readonly string[], options: RunOptions): Promise<Outcome> {
  const running = new Running(place, args, options);
  try {
    return await within(running.finished, `iocp-bench ${args.join(' ')}`, options.timeoutMs ?? 120_000);
  } catch (error) {
    running.kill();
    const said = `stdout: ${running.stdout.slice(-2_000)}\nstderr: ${running.stderr.slice(-2_000)}`;
    throw new Error(`${String(error)}\n${said}`, { cause: error });
  }
}

/** Processes that a place's runs left behind, as "pid command"; empty if the system does not show environments. */
export function leftProcesses(place: Place): string[] {
  if (!isLinux) return [];
  const found: string[] = [];
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name) && name !== String(process.pid))) {
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, 'latin1');
      if (!environment.includes(`IOCP_BENCH_TEST_MARKER=${place.marker}`)) continue;
      found.push(`${pid} ${readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ').trim()}`);
    } catch {
      // It has ended, or may not be read.
    }
  }
  return found;
}

/** The process ids of the forked servers that run in a place. A forked server is started as `cli.js serve`, with nothing after it. */
export function serversOf(place: Place): number[] {
  return leftProcesses(place)
    .filter((line) => / serve( |$)/.test(line) && !line.includes(' blast '))
    .map((line) => Number(line.split(' ')[0]));
}

/** Waits for the first server of a run. If the run ends before, fails at once with the run's output. */
export async function serverOf(running: Running, place: Place): Promise<number> {
  await until(() => serversOf(place).length > 0 || running.child.exitCode !== null);
  const [first] = serversOf(place);
  if (first === undefined) throw new Error(`the run started no server: ${running.stderr}`);
  return first;
}

/** Checks that nothing is left: no process (after a moment for its exit), and no file except those named. */
export async function checkNothingLeft(test: Test, place: Place, files: readonly string[] = []): Promise<void> {
  await until(() => leftProcesses(place).length === 0, 10_000);
  test.strictSame(leftProcesses(place), [], 'no process is left');
  test.strictSame(readdirSync(place.folder).sort(), [...files].sort(), 'no file is left except the requested ones');
  test.strictSame(readdirSync(place.temporary), [], 'nothing is left in the temporary folder');
}

const stackTrace = /\n\s+at .*(:\d+:\d+\)?|<anonymous>)/;

export interface Refusal {
  code: number;
  /** Patterns that the message must match. */
  says: readonly RegExp[];
}

/** Checks the form of an error message: the exit code, a sentence, a hint, no stack trace. */
export function checkMessage(test: Test, outcome: Outcome, expected: Refusal): void {
  test.equal(outcome.code, expected.code, `exit code ${expected.code}`);
  for (const pattern of expected.says) test.match(outcome.stderr, pattern, `says ${pattern.source}`);
  test.notMatch(outcome.stderr, stackTrace, 'no stack trace');
  test.notMatch(outcome.stderr, /\b(undefined|NaN|\[object)\b/, 'no undefined value in the output');
}

/** Checks a refusal before any work: as above, but also short and with nothing on stdout. */
export function checkRefusal(test: Test, outcome: Outcome, expected: Refusal): void {
  checkMessage(test, outcome, expected);
  test.equal(outcome.stdout, '', 'nothing on stdout');
  const lines = outcome.stderr.split('\n').filter((line) => line.trim() !== '');
  test.ok(lines.length >= 1 && lines.length <= 4, `a sentence and a hint, in ${lines.length} lines`);
  if (test.passing()) return;
  test.comment(outcome.stderr);
}

/** The arguments of a comparison that takes a second, for tests of correctness, not of speed. */
export function shortBlast(...more: string[]): string[] {
  return ['blast', '--duration', '500ms', '--warmup', '100ms', '--trials', '1', '--seed', '1', '--quiet', ...more];
}
