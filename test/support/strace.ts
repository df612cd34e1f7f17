/** Counts the system calls of a running thread or process with `strace -c`, to check counters of our own against it. */
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

export class CallCount {
  private stderr = '';
  private readonly folder = mkdtempSync(join(tmpdir(), 'iocp-bench-strace-'));
  private readonly child: ChildProcess;
  private readonly ended: Promise<void>;

  private constructor(ids: readonly number[], threads: 'one' | 'all') {
    const targets = ids.flatMap((id) => ['-p', String(id)]);
    const args = ['-c', '-o', this.path, ...(threads === 'all' ? ['-f'] : []), ...targets];
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

  /** Resolves when every call is counted. @param threads 'one': `ids` are threads; 'all': processes */
  static async attach(ids: readonly number[], threads: 'one' | 'all'): Promise<CallCount> {
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
    const summary = readFileSync(this.path, 'utf8');
    rmSync(this.folder, { recursive: true });
    // % time, seconds, usecs/call, calls, errors (empty if there are none), "total"
    const total = /^\s*100\.00\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?total$/m.exec(summary)?.[1];
    if (total === undefined) throw new Error(`strace gives no total:\n${summary}`);
    return Number(total);
  }
}
