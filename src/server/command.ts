/**
 * `--mode-command`: any echo server of the user as a mode. It runs in its own process group. Its figures are those of the processes
 * that serve (src/server/command-processes.ts). None of its processes outlives the conductor.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { connect, createServer, type AddressInfo } from 'node:net';
import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { BenchError } from '../model/errors.js';
import { getAffinity, setAffinity } from '../native/binding.js';
import { isWindows } from '../platform.js';
import { hostPortText, isLoopback } from '../model/parse.js';
import { childEnvironment, usersDescriptorLimit } from './child-environment.js';
import { MemoryKills } from './memory-kills.js';
import { CommandProcesses } from './command-processes.js';
import {
  exitReason,
  lastLineOf,
  processInWords,
  type ProcessName,
  type ServerExit,
  type ServerIdentity,
  type ServerLimits,
  type ServerMoment,
  type ServerProcess,
  type ServerStop,
} from './process.js';

export interface CommandServerOptions {
  /** Contains {port} in place of the port. */
  readonly command: string;
  readonly host: string;
  /** CPUs it is confined to; null: all. */
  readonly cpus: readonly number[] | null;
  /** False: it speaks another protocol, or TLS. It is then ready when it accepts a connection. Absent: true. */
  readonly echoes?: boolean;
}

/** From the start of the command until it is ready. The command may have to load an interpreter. */
const readyDeadlineMs = 30_000;
const probeTimeoutMs = 2_000;
const probeIntervalMs = 50;
/** A server that listens on several addresses opens them within this time. */
const secondAddressWithinMs = 1_000;
const stderrKept = 2_000;

/** Set in the environment of the command and of all processes that it starts; the value is unique to the server. */
const markerName = 'IOCP_BENCH_COMMAND';
/** How long the port may stay open after everything has been killed. */
const portClosesWithinMs = 1_000;

/** During an exec, a process shows no environment for a moment. */
const execWithinMs = 500;

/**
 * The guard that runs the command ($1), with the marker's value $2 in its environment and, if $3 is not empty, $3 as its soft limit
 * of descriptors. It reports the command's process id on descriptor 4. The conductor holds descriptor 3 open. As soon as it is
 * closed, the guard kills all processes with the marker (a daemon has left the group) and the whole group, so that the command ends
 * with the conductor in every case. The guard outlives the command; a trapped SIGTERM interrupts `wait`, which explains the loop.
 * It does not belong to the counted process tree.
 */
const guard = `
(cat <&3 >/dev/null
for file in $(grep -lsF "${markerName}=$2" /proc/[0-9]*/environ); do
  file=\${file%/environ}; kill -s KILL "\${file#/proc/}" 2>/dev/null
done
kill -s KILL 0) 4>&- &
([ -z "$3" ] || ulimit -Sn "$3"; ${markerName}="$2" exec sh -c "$1") 3<&- 4>&- &
server=$!
trap : TERM
echo $server >&4
exec 3<&- 4>&-
wait $server; code=$?
while kill -0 $server 2>/dev/null; do wait $server; code=$?; done
exit $code`;

/**
 * Starts the command on a free port and waits until it is ready: until it echoes or, if it is no echo server, until it listens.
 * @throws BenchError 'runFailed' when it ends or is not ready in time
 */
export async function startCommandServer(options: CommandServerOptions): Promise<ServerProcess> {
  const port = await freePort(options.host);
  const command = options.command.replaceAll('{port}', String(port)).replaceAll('{host}', options.host);
  const marker = randomUUID();
  const server = new CommandServer(launch(command, options.cpus, marker), options.host, port, marker);
  try {
    await server.ready(command, options.echoes ?? true);
  } catch (error) {
    server.kill();
    throw error;
  }
  return server;
}

/** A child inherits the CPUs of its parent, so the parent moves to them while it starts the child. */
function launch(command: string, cpus: readonly number[] | null, marker: string): ChildProcess {
  if (cpus === null) return start(command, marker);
  const own = getAffinity();
  setAffinity(cpus);
  try {
    return start(command, marker);
  } finally {
    setAffinity(own);
  }
}

function start(command: string, marker: string): ChildProcess {
  if (isWindows) {
    const [program = '', ...rest] = splitCommandLine(command);
    return spawn(program, rest, {
      stdio: ['ignore', 'ignore', 'pipe'],
      windowsHide: true,
      env: childEnvironment(),
    });
  }
  const descriptors = usersDescriptorLimit();
  return spawn('sh', ['-c', guard, 'sh', command, marker, descriptors === null ? '' : String(descriptors)], {
    env: childEnvironment(),
    // Not stdin, because Node closes it as soon as the guard has ended.
    stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'],
    detached: true,
  });
}

/** Words of a command line, with double quotes around those that contain spaces. Windows has no sh that would split them. */
export function splitCommandLine(command: string): string[] {
  return [...command.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '');
}

/** A port that is free now. If another program takes it before the command does, the command reports that and ends. */
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
  readonly exited: Promise<ServerExit>;
  pid: number | null = null;
  private readonly processes: CommandProcesses;
  private readonly memoryKills = new MemoryKills();
  private stderr = '';
  private exit: ServerExit | null = null;
  private stopping: Promise<ServerStop> | null = null;
  private launchError: Error | null = null;

  constructor(
    private readonly child: ChildProcess,
    readonly host: string,
    readonly port: number,
    marker: string,
  ) {
    this.processes = new CommandProcesses(host, port, `${markerName}=${marker}`);
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-stderrKept);
    });
    // The pipe breaks if the guard's watcher ends first.
    child.stdio[3]?.on('error', () => undefined);
    if (isWindows) {
      this.pid = child.pid ?? null;
      // There is no guard here, but a normal exit of the conductor at least ends the command.
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
        ended({ code, signal: signal ?? signalOfCode(code), memoryKill: this.memoryKills.happened() });
      });
    });
  }

  /** Waits until a connection is accepted and its message comes back. */
  async ready(command: string, echoes: boolean): Promise<void> {
    const deadline = performance.now() + readyDeadlineMs;
    let seen: Probe = 'refused';
    let elsewhereSince: number | null = null;
    while (performance.now() < deadline) {
      if (this.launchError !== null) {
        throw new BenchError(
          'unavailable',
          `cannot start \`${command}\`: ${this.launchError.message}`,
          '',
          this.launchError,
        );
      }
      if (this.exit !== null) throw await this.endedEarly(command, this.exit);
      seen = await probe(this.host, this.port, echoes);
      // Another program that took the port could echo too. The command would then have ended, which the next check shows.
      if ((seen === 'echoed' || (seen === 'silent' && !echoes)) && this.pid !== null) {
        this.processes.findListener(this.pid);
        return;
      }
      const other = seen === 'refused' ? this.otherAddress() : null;
      elsewhereSince = other === null ? null : (elsewhereSince ?? performance.now());
      if (other !== null && elsewhereSince !== null && performance.now() - elsewhereSince > secondAddressWithinMs) {
        throw this.onlyElsewhere(command, other);
      }
      await sleep(probeIntervalMs);
    }
    const what =
      seen === 'refused'
        ? `does not listen on ${hostPortText(this.host, this.port)}`
        : 'accepts connections but does not echo';
    const said = this.whereInstead(seen) || lastLineOf(this.stderr);
    throw new BenchError(
      'runFailed',
      `\`${command}\` ${what} after ${readyDeadlineMs / 1000} s${said === '' ? '' : `: ${said}`}`,
      echoes ? 'it must echo every byte in order' : 'make it listen on the port that replaces {port}',
    );
  }

  /** Another address on which the command listens on its port, if connections to the host cannot reach it. */
  private otherAddress(): string | null {
    if (this.pid === null) return null;
    return this.processes.listensElsewhere(this.pid, 'its-port')[0]?.address ?? null;
  }

  private onlyElsewhere(command: string, address: string): BenchError {
    return new BenchError(
      'runFailed',
      `\`${command}\` listens on ${hostPortText(address, this.port)} and not on ${hostPortText(this.host, this.port)}`,
      isLoopback(address)
        ? `use --host ${address}, or make the server listen on {host}, which is replaced by ${this.host}`
        : `make the server listen on {host}, which is replaced by ${this.host}`,
    );
  }

  private whereInstead(seen: Probe): string {
    if (seen !== 'refused' || this.pid === null) return '';
    const [first] = this.processes.listensElsewhere(this.pid, 'other-ports');
    return first === undefined ? '' : `it listens on ${hostPortText(first.address, first.port)}`;
  }

  private async endedEarly(command: string, exit: ServerExit): Promise<BenchError> {
    const lastLook = performance.now() + execWithinMs;
    let [daemon] = this.processes.marked();
    while (daemon === undefined && exit.code === 0 && performance.now() < lastLook) {
      await sleep(probeIntervalMs);
      [daemon] = this.processes.marked();
    }
    if (daemon === undefined || exit.code !== 0) {
      return new BenchError('runFailed', `\`${command}\` ended before it echoed: ${this.reason(exit)}`);
    }
    return new BenchError(
      'runFailed',
      `\`${command}\` ended and left ${processInWords(daemon)} running in the background`,
      'the command must run as long as its server: start the server in the foreground',
    );
  }

  sample(withMemory = true): Promise<ServerMoment> {
    return new Promise((resolve) => {
      if (this.pid === null || this.exit !== null) throw new BenchError('runFailed', 'the server has ended');
      resolve({ usage: this.processes.usage(this.pid, withMemory), stats: null });
    });
  }

  identity(): ServerIdentity | null {
    return this.processes.identity();
  }

  limits(): ServerLimits | null {
    return this.processes.limits();
  }

  stop(deadlineMs: number): Promise<ServerStop> {
    this.stopping ??= this.stopOnce(deadlineMs);
    return this.stopping;
  }

  private async stopOnce(deadlineMs: number): Promise<ServerStop> {
    const sample = this.exit === null ? await this.sample().catch(() => null) : null;
    let deadlineMissed = false;
    const timer = setTimeout(() => {
      deadlineMissed = true;
      this.killAll();
    }, deadlineMs);
    // Processes that have left the group do not receive the group's signal.
    for (const { pid, group } of this.processes.marked()) if (group !== this.child.pid) signalProcess(pid, 'SIGTERM');
    if (this.exit === null) this.signalGroup('SIGTERM');
    await this.exited;
    const hasLeftGroup = (): boolean => this.processes.marked().some(({ group }) => group !== this.child.pid);
    const lastLook = performance.now() + deadlineMs + portClosesWithinMs;
    while (performance.now() < lastLook && hasLeftGroup()) await sleep(probeIntervalMs);
    clearTimeout(timer);
    // Kills what the command left behind in its group, and the guard's watcher.
    this.killAll();
    const left = await this.stillListening();
    return { sample, deadline_missed: deadlineMissed, ...(left !== null && { left }) };
  }

  private async stillListening(): Promise<ProcessName | null> {
    const deadline = performance.now() + portClosesWithinMs;
    for (;;) {
      const listener = this.processes.listenerNow();
      if (listener === null || performance.now() > deadline) return listener;
      await sleep(probeIntervalMs);
    }
  }

  kill(): void {
    this.stopping ??= Promise.resolve({ sample: null, deadline_missed: true });
    this.killAll();
  }

  /** Kills all processes that the command has started, wherever they are. */
  private killAll(): void {
    this.killGroup();
    this.child.stdio[3]?.destroy();
    for (const { pid } of this.processes.marked()) signalProcess(pid, 'SIGKILL');
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
      // Console programs have no SIGTERM on Windows. Ends the whole tree, or at least its root (Wine's taskkill does not know /T).
      const ended = spawnSync('taskkill', ['/pid', String(pid), '/T', '/F'], { stdio: 'ignore' });
      if (ended.status !== 0) this.child.kill('SIGKILL');
      return;
    }
    try {
      process.kill(-pid, signal);
    } catch {
      // The group has already ended.
    }
  }
}

function signalProcess(pid: number, signal: 'SIGTERM' | 'SIGKILL'): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has already ended.
  }
}

/** A shell reports a child's death by signal n as its own exit code 128 + n. */
function signalOfCode(code: number | null): NodeJS.Signals | null {
  if (code === null || isWindows) return null;
  const found = Object.entries(constants.signals).find(([, number]) => number === code - 128);
  return found === undefined ? null : (found[0] as NodeJS.Signals);
}

type Probe = 'refused' | 'silent' | 'echoed';

/** Connects once. An echo server also gets a message, which has to come back. */
async function probe(host: string, port: number, echoes: boolean): Promise<Probe> {
  const message = randomBytes(16);
  return await new Promise((resolve) => {
    let seen: Probe = 'refused';
    let received = Buffer.alloc(0);
    const socket = connect({ host, port, noDelay: true }, () => {
      seen = 'silent';
      // Bytes that are not of its protocol would only disturb another server.
      if (echoes) socket.write(message);
      else socket.destroy();
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
