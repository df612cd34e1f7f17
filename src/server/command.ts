/**
 * `--mode-command`: any echo server of the user's own as a mode. It runs in a process group of its own, is known by the processes that
 * it consists of, and never outlives the conductor.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { BenchError } from '../model/errors.js';
import { getAffinity, processUsage, setAffinity } from '../native/binding.js';
import { unknownProcessUsage, type ProcessUsage } from '../model/figures.js';
import { exitReason, type ServerExit, type ServerMoment, type ServerProcess, type ServerStop } from './process.js';
import { isLinux, isWindows } from '../platform.js';

export interface CommandServerOptions {
  /** With {port} where the port belongs. */
  readonly command: string;
  readonly host: string;
  /** CPUs it is confined to; null: all. */
  readonly cpus: readonly number[] | null;
}

/** From the start of the command to its first echo: an interpreter may have to be loaded. */
const readyDeadlineMs = 30_000;
const probeTimeoutMs = 2_000;
const probeIntervalMs = 50;
const stderrKept = 2_000;

/**
 * The guard that the command runs under: it tells the command's process id on descriptor 4, and kills the whole group as soon as
 * descriptor 0, which the conductor holds open, is closed: whatever ends the conductor ends the command. It outlives the command (a
 * trapped SIGTERM interrupts `wait`, hence the loop) and is no part of the tree of processes that is counted.
 */
const guard = `
exec 3<&0 </dev/null
(cat <&3 >/dev/null; kill -s KILL 0) 4>&- &
sh -c "$1" 3<&- 4>&- &
server=$!
trap : TERM
echo $server >&4
exec 3<&- 4>&-
wait $server; code=$?
while kill -0 $server 2>/dev/null; do wait $server; code=$?; done
exit $code`;

/**
 * Starts the command on a free port and waits until it echoes.
 * @throws BenchError 'runFailed' when it ends or does not echo in time
 */
export async function startCommandServer(options: CommandServerOptions): Promise<ServerProcess> {
  const port = await freePort(options.host);
  const command = options.command.replaceAll('{port}', String(port)).replaceAll('{host}', options.host);
  const server = new CommandServer(launch(command, options.cpus), options.host, port);
  try {
    await server.ready(command);
  } catch (error) {
    server.kill();
    throw error;
  }
  return server;
}

/** A child begins on the CPUs of its parent, so the parent stands on them for the moment of the start. */
function launch(command: string, cpus: readonly number[] | null): ChildProcess {
  if (cpus === null) return start(command);
  const own = getAffinity();
  setAffinity(cpus);
  try {
    return start(command);
  } finally {
    setAffinity(own);
  }
}

function start(command: string): ChildProcess {
  if (isWindows) {
    const [program = '', ...rest] = splitCommandLine(command);
    return spawn(program, rest, { stdio: ['ignore', 'ignore', 'pipe'], windowsHide: true });
  }
  return spawn('sh', ['-c', guard, 'sh', command], {
    stdio: ['pipe', 'ignore', 'pipe', 'ignore', 'pipe'],
    detached: true,
  });
}

/** Words of a command line, with double quotes around those that hold spaces: Windows has no sh to ask. */
export function splitCommandLine(command: string): string[] {
  return [...command.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '');
}

/** A port that is free now. Another program may take it before the command does; then the command says so and ends. */
async function freePort(host: string): Promise<number> {
  const server = createServer();
  return await new Promise((resolve, reject) => {
    server.once('error', (error) => {
      reject(new BenchError('unavailable', `no free port on ${host}: ${error.message}`, '', error));
    });
    server.listen(0, host, () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => {
        resolve(port);
      });
    });
  });
}

class CommandServer implements ServerProcess {
  readonly backend = 'command';
  readonly initial = null;
  readonly exited: Promise<ServerExit>;
  pid: number | null = null;
  private stderr = '';
  private exit: ServerExit | null = null;
  private stopping: Promise<ServerStop> | null = null;
  private launchError: Error | null = null;

  constructor(
    private readonly child: ChildProcess,
    readonly host: string,
    readonly port: number,
  ) {
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-stderrKept);
    });
    // The guard's pipe breaks when it ends first.
    child.stdin?.on('error', () => undefined);
    if (isWindows) {
      this.pid = child.pid ?? null;
      // No guard here: at least an orderly end of the conductor takes the command along.
      process.once('exit', this.killGroup);
    } else {
      const pipe = child.stdio[4];
      pipe?.once('data', (text: Buffer) => {
        this.pid = Number(text.toString().trim());
      });
    }
    this.exited = new Promise((resolve) => {
      const ended = (exit: ServerExit): void => {
        this.exit = exit;
        process.off('exit', this.killGroup);
        resolve(exit);
      };
      child.once('error', (error) => {
        this.launchError = error;
        ended({ code: null, signal: null });
      });
      child.once('exit', (code, signal) => {
        ended({ code, signal: signal ?? signalOfCode(code) });
      });
    });
  }

  /** Waits until a connection is accepted and what is sent comes back. */
  async ready(command: string): Promise<void> {
    const deadline = performance.now() + readyDeadlineMs;
    let seen: Probe = 'refused';
    while (performance.now() < deadline) {
      if (this.launchError !== null) {
        throw new BenchError(
          'unavailable',
          `cannot start \`${command}\`: ${this.launchError.message}`,
          '',
          this.launchError,
        );
      }
      if (this.exit !== null) {
        throw new BenchError('runFailed', `\`${command}\` ended before it echoed: ${this.reason(this.exit)}`);
      }
      seen = await probeEcho(this.host, this.port);
      // Another program that took the port would echo as well; ours would have ended, which shows at the next look.
      if (seen === 'echoed' && this.pid !== null) return;
      await sleep(probeIntervalMs);
    }
    const what =
      seen === 'refused' ? `does not listen on ${this.host}:${this.port}` : 'accepts connections but does not echo';
    throw new BenchError(
      'runFailed',
      `\`${command}\` ${what} after ${readyDeadlineMs / 1000} s`,
      'it must echo every byte in order',
    );
  }

  sample(): Promise<ServerMoment> {
    return new Promise((resolve) => {
      if (this.pid === null || this.exit !== null) throw new BenchError('runFailed', 'the server has ended');
      resolve({ usage: treeUsage(this.pid), stats: null });
    });
  }

  stop(deadline_ms: number): Promise<ServerStop> {
    this.stopping ??= this.stopOnce(deadline_ms);
    return this.stopping;
  }

  private async stopOnce(deadline_ms: number): Promise<ServerStop> {
    const sample = this.exit === null ? await this.sample().catch(() => null) : null;
    let deadline_missed = false;
    const timer = setTimeout(() => {
      deadline_missed = true;
      this.killGroup();
    }, deadline_ms);
    if (this.exit === null) this.signalGroup('SIGTERM');
    await this.exited;
    clearTimeout(timer);
    // What the command has left behind in its group, and the guard's watcher.
    this.killGroup();
    return { sample, deadline_missed };
  }

  kill(): void {
    this.stopping ??= Promise.resolve({ sample: null, deadline_missed: true });
    this.killGroup();
  }

  onExit(listener: (reason: string) => void): void {
    void this.exited.then((exit) => {
      if (this.stopping === null) listener(this.reason(exit));
    });
  }

  private reason(exit: ServerExit): string {
    return exitReason(exit, this.stderr);
  }

  private readonly killGroup = (): void => {
    this.signalGroup('SIGKILL');
  };

  private signalGroup(signal: 'SIGTERM' | 'SIGKILL'): void {
    const { pid } = this.child;
    if (pid === undefined) return;
    if (isWindows) {
      if (this.exit !== null) return;
      // Console programs have no SIGTERM there; the tree is ended as a whole, or at least its root (Wine's taskkill knows no /T).
      const ended = spawnSync('taskkill', ['/pid', String(pid), '/T', '/F'], { stdio: 'ignore' });
      if (ended.status !== 0) this.child.kill('SIGKILL');
      return;
    }
    try {
      process.kill(-pid, signal);
    } catch {
      // The group is gone already.
    }
  }
}

/** A shell tells a child's death by signal n as its own exit code 128 + n. */
function signalOfCode(code: number | null): NodeJS.Signals | null {
  if (code === null || isWindows) return null;
  const found = Object.entries(constants.signals).find(([, number]) => number === code - 128);
  return found === undefined ? null : (found[0] as NodeJS.Signals);
}

type Probe = 'refused' | 'silent' | 'echoed';

/** One connection, one message, and whether it came back. */
async function probeEcho(host: string, port: number): Promise<Probe> {
  const message = randomBytes(16);
  return await new Promise((resolve) => {
    let seen: Probe = 'refused';
    let received = Buffer.alloc(0);
    const socket = connect({ host, port, noDelay: true }, () => {
      seen = 'silent';
      socket.write(message);
    });
    socket.setTimeout(probeTimeoutMs, () => socket.destroy());
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      if (received.length < message.length) return;
      if (received.equals(message)) seen = 'echoed';
      socket.destroy();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      resolve(seen);
    });
  });
}

/** What a process and all its descendants use. */
function treeUsage(root: number): ProcessUsage {
  const [first, ...rest] = [root, ...descendants(root)].flatMap((pid) => {
    try {
      return [processUsage(pid)];
    } catch (error) {
      // A child that has ended between the two looks; the root itself must be there.
      if (pid === root) throw error;
      return [];
    }
  });
  if (first === undefined) throw new BenchError('runFailed', 'the server has ended');
  return rest.reduce(addUsage, first);
}

/** The sum of every figure that both have; the later of their times. */
function addUsage(a: ProcessUsage, b: ProcessUsage): ProcessUsage {
  const names = Object.keys(unknownProcessUsage) as (keyof ProcessUsage)[];
  const sums = names.map((name) => {
    const [left, right] = [a[name], b[name]];
    return [name, left === null || right === null ? null : left + right];
  });
  return { ...(Object.fromEntries(sums) as ProcessUsage), taken_at_ns: Math.max(a.taken_at_ns, b.taken_at_ns) };
}

/** Linux: every process whose line of parents leads to `root`. On Windows the command is started without a shell and stands alone. */
function descendants(root: number): number[] {
  if (!isLinux) return [];
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
      // The name in parentheses may hold anything; the parent is the second field after it.
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
    } catch {
      // It has ended since the folder was read.
    }
  }
  const found = new Set([root]);
  let grown = true;
  while (grown) {
    grown = false;
    for (const [pid, parent] of parents) {
      if (found.has(parent) && !found.has(pid)) {
        found.add(pid);
        grown = true;
      }
    }
  }
  found.delete(root);
  return [...found];
}
