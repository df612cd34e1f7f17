/** Counts the system calls of running threads with strace, to check counters of our own against it. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findProgram, isLinux } from './environment.js';
import { until, within } from './wait.js';

/** For tap's `skip`: false if strace can attach to processes here, otherwise the reason. */
export function whyNoStrace(): string | false {
  if (!isLinux) return 'strace only exists on Linux';
  if (findProgram('strace') === null) return 'strace is not installed';
  const probe = spawnSync('strace', ['-c', 'true'], { encoding: 'utf8' });
  if (probe.status !== 0) return `ptrace is not allowed here: ${probe.stderr.trim().split('\n')[0] ?? ''}`;
  return false;
}

/** Calls that only threads with connections make: libuv moves a channel's messages with read, write, recvmsg and sendmsg. */
const servingCalls: ReadonlySet<string> = new Set(['recvfrom', 'sendto', 'io_uring_enter']);

/**
 * The names of the calls of each thread, in order. A call is a line that begins with its name, after the thread's id if several are
 * traced: "1234  recvfrom(7, ...". Its continuation ("1234  <... recvfrom resumed>") and an exit ("+++ exited") begin otherwise.
 */
function callsByThread(log: string): string[][] {
  const threads = new Map<string, string[]>();
  for (const [, thread = '', name = ''] of log.matchAll(/^(?:(\d+)\s+)?(\w+)\(/gm)) {
    const names = threads.get(thread) ?? [];
    names.push(name);
    threads.set(thread, names);
  }
  return [...threads.values()];
}

export class CallCount {
  private stderr = '';
  private readonly folder = mkdtempSync(join(tmpdir(), 'iocp-bench-strace-'));
  private readonly child: ChildProcess;
  private readonly ended: Promise<void>;

  private constructor(
    ids: readonly number[],
    private readonly threads: 'these' | 'serving',
  ) {
    const targets = ids.flatMap((id) => ['-p', String(id)]);
    const args = [
      '-s',
      '0',
      '-e',
      'signal=none',
      '-o',
      this.path,
      ...(threads === 'serving' ? ['-f'] : []),
      ...targets,
    ];
    this.child = spawn('strace', args, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.ended = new Promise((resolve) => {
      this.child.once('close', () => {
        resolve();
      });
    });
  }

  private get path(): string {
    return join(this.folder, 'summary');
  }

  /**
   * Resolves when every call is counted.
   * @param threads 'these': `ids` are threads; 'serving': they are processes, of which the threads that serve are counted. Node's own
   *   threads do not serve, and collecting garbage takes hundreds of calls at times that nobody chooses.
   */
  static async attach(ids: readonly number[], threads: 'these' | 'serving'): Promise<CallCount> {
    const count = new CallCount(ids, threads);
    const isAttached = (): boolean => ids.every((id) => count.stderr.includes(`Process ${id} attached`));
    await until(() => isAttached() || count.child.exitCode !== null);
    if (!isAttached()) throw new Error(`strace does not attach to ${ids.join(', ')}: ${count.stderr}`);
    return count;
  }

  /** Detaches. Returns the number of calls since attach(). */
  async stop(): Promise<number> {
    this.child.kill('SIGINT');
    await within(this.ended, 'the end of strace');
    const log = readFileSync(this.path, 'utf8');
    rmSync(this.folder, { recursive: true });
    const calls = callsByThread(log);
    const counted =
      this.threads === 'serving' ? calls.filter((names) => names.some((name) => servingCalls.has(name))) : calls;
    const total = counted.reduce((sum, names) => sum + names.length, 0);
    if (total === 0) throw new Error(`strace saw none of those threads:\n${log.slice(0, 1_000)}`);
    return total;
  }
}
