// Starts the programs of the benchmark, each on its own CPU, and reads their CPU clocks. All of them end with the benchmark.
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const STDERR_KEPT = 2000;
const STOP_DEADLINE_MS = 15_000;

/** Every running child. They are killed when the benchmark ends, however it ends. */
const running = new Set();

/** Kills every running child. For the end of the process. */
export function killAll() {
  for (const child of running) child.process.kill('SIGKILL');
}

/** A program confined to one CPU, with its output split into lines. */
export class Child {
  constructor(cpu, program, args) {
    // Without ports and sizes, so that the same failure reads the same in two runs.
    this.name = program === process.execPath ? `iocp-bench ${args[1]}` : program.split('/').at(-1);
    this.lines = [];
    this.stderr = '';
    /** @type {((value?: unknown) => void) | null} */
    this.waiting = null;
    // taskset becomes the program, so the process id is the program's.
    this.process = spawn('taskset', ['-c', String(cpu), program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.pid = this.process.pid;
    running.add(this);
    this.ended = new Promise((resolve) => {
      this.process.once('error', (error) => resolve({ code: null, signal: null, error }));
      this.process.once('close', (code, signal) => resolve({ code, signal, error: null }));
    }).then((end) => {
      running.delete(this);
      this.end = end;
      this.waiting?.();
      return end;
    });
    this.readLines();
    this.process.stderr.setEncoding('utf8').on('data', (text) => {
      this.stderr = (this.stderr + text).slice(-STDERR_KEPT);
    });
  }

  readLines() {
    let rest = '';
    this.process.stdout.setEncoding('utf8').on('data', (text) => {
      const parts = (rest + text).split('\n');
      rest = parts.pop() ?? '';
      this.lines.push(...parts);
      this.waiting?.();
    });
    this.process.stdout.on('end', () => {
      if (rest !== '') this.lines.push(rest);
    });
  }

  /** The first result of `find` that is not null, over the lines of output. */
  async line(find, timeoutMs) {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      for (const line of this.lines) {
        const found = find(line);
        if (found !== null) return found;
      }
      if (this.end !== undefined) throw new Error(this.failure());
      const left = deadline - Date.now();
      if (left <= 0) throw new Error(`${this.name}: no answer within ${timeoutMs} ms`);
      await Promise.race([new Promise((resolve) => (this.waiting = resolve)), sleep(left)]);
    }
  }

  /** Waits until it ends. Throws unless it ended with exit code 0. */
  async success(timeoutMs) {
    const timer = new AbortController();
    const end = await Promise.race([this.ended, sleep(timeoutMs, null, { signal: timer.signal }).catch(() => null)]);
    timer.abort();
    if (end === null) {
      await this.stop(0);
      throw new Error(`${this.name}: not done within ${timeoutMs} ms`);
    }
    if (end.code !== 0) throw new Error(this.failure());
  }

  failure() {
    const { code, signal, error } = this.end;
    const how = error?.message ?? (signal === null ? `exit code ${code}` : `ended by ${signal}`);
    const said = this.stderr.trim();
    return `${this.name}: ${how}${said === '' ? '' : `: ${said}`}`;
  }

  /** Sends SIGTERM, and SIGKILL if it does not end in time. */
  async stop(deadlineMs = STOP_DEADLINE_MS) {
    if (this.end !== undefined) return;
    this.process.kill('SIGTERM');
    const timer = setTimeout(() => this.process.kill('SIGKILL'), deadlineMs);
    await this.ended;
    clearTimeout(timer);
  }
}

/** Waits until a process listens and returns its port. For a server that does not print its port. */
export async function listeningPortOf(pid, timeoutMs) {
  const deadline = Date.now() + timeoutMs;
  while (Date.now() < deadline) {
    const port = findListeningPort(pid);
    if (port !== null) return port;
    await sleep(20);
  }
  throw new Error(`process ${pid} does not listen`);
}

function findListeningPort(pid) {
  const inodes = new Set(socketInodesOf(pid));
  for (const line of readFileSync('/proc/net/tcp', 'utf8').split('\n').slice(1)) {
    const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
    if (state === '0A' && local !== undefined && inode !== undefined && inodes.has(inode)) {
      return parseInt(local.split(':')[1] ?? '', 16);
    }
  }
  return null;
}

function socketInodesOf(pid) {
  try {
    return readdirSync(`/proc/${pid}/fd`).flatMap((name) => {
      const match = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${name}`));
      return match === null ? [] : [match[1]];
    });
  } catch {
    return []; // A descriptor was closed, or the process ended, in the meantime.
  }
}

/**
 * The process ids of the kernel threads that handle a CPU's deferred packets (ksoftirqd). The programs on that CPU cause this work, but no
 * process's CPU time includes it. Empty if the threads are not visible.
 */
export function networkThreads(cpu) {
  const wanted = new RegExp(`^\\d+ \\((ksoftirqd|backlog_napi)/${cpu}\\) \\S 2 `);
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        return wanted.test(readFileSync(`/proc/${name}/stat`, 'utf8'));
      } catch {
        return false; // The process ended in the meantime.
      }
    })
    .map(Number);
}

/** The samples of process_clock while `work` runs: [{ at_us, idle_ns, cpu_ns: [one per process] }]. */
export async function sampleWhile(clockProgram, cpu, intervalMs, pids, work) {
  const clock = new Child(cpu, clockProgram, [String(intervalMs), ...pids.map(String)]);
  try {
    await work();
  } finally {
    await clock.stop();
  }
  return clock.lines.map((line) => {
    const [at_us, idle_ns, ...cpu_ns] = line.split(' ').map(Number);
    return { at_us, idle_ns, cpu_ns };
  });
}

/**
 * CPU time per wall time within a window, for each process and for everything else on the machine's `cpus` CPUs. It counts from the
 * first to the last sample inside the window, where the load is steady. Nothing is interpolated across the edges, where the load began
 * or ended. null if fewer than three samples lie inside.
 */
export function busyFractions(samples, fromUs, toUs, cpus) {
  const inside = samples.filter(({ at_us }) => at_us >= fromUs && at_us <= toUs);
  const first = inside[0];
  const last = inside.at(-1);
  if (inside.length < 3 || first.cpu_ns.length !== last.cpu_ns.length) return null;
  const wall_ns = (last.at_us - first.at_us) * 1000;
  const processes = first.cpu_ns.map((start, index) => (last.cpu_ns[index] - start) / wall_ns);
  const idle = (last.idle_ns - first.idle_ns) / wall_ns;
  const others = Math.max(0, cpus - idle - processes.reduce((total, busy) => total + busy, 0));
  return { processes, others };
}
