/** A nats-server of a test on a free port, and agents that join it. */
import { spawn, type ChildProcess, type SpawnOptions } from 'node:child_process';
import { connect } from 'node:net';
import type { Test } from 'tap';
import { Running, type Place, type RunOptions } from './cli.js';
import { findProgram, freePort } from './environment.js';
import { until } from './wait.js';

/** For tap's `skip`. Debian installs it in a folder that is not on every user's PATH. */
export const skipWithoutNats: string | false = natsProgram() === null ? 'nats-server is not installed' : false;

export function natsProgram(): string | null {
  const found = findProgram('nats-server');
  if (found !== null) return found;
  process.env['PATH'] = `${process.env['PATH'] ?? ''}:/usr/sbin:/usr/local/sbin`;
  return findProgram('nats-server');
}

export class NatsServer {
  private child: ChildProcess | null = null;
  /** What it wrote to its log. */
  log = '';

  constructor(
    readonly port: number,
    private readonly args: readonly string[],
    private readonly under: readonly string[],
    readonly host: string,
    private readonly options: Pick<SpawnOptions, 'cwd' | 'env'> = {},
  ) {}

  get url(): string {
    return `nats://${this.host}:${this.port}`;
  }

  async start(): Promise<void> {
    const command = [
      ...this.under,
      natsProgram() ?? 'nats-server',
      '-a',
      this.host,
      '-p',
      String(this.port),
      ...this.args,
    ];
    const child = spawn(command[0] ?? '', command.slice(1), { ...this.options, stdio: ['ignore', 'ignore', 'pipe'] });
    this.child = child;
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.log += text;
    });
    const mark = this.log.length;
    const ready = (): boolean => this.log.slice(mark).includes('Server is ready') || child.exitCode !== null;
    if (!(await until(ready)) || child.exitCode !== null) throw new Error(`nats-server did not start: ${this.log}`);
  }

  async kill(): Promise<void> {
    const { child } = this;
    if (child?.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
  }
}

interface NatsPlace {
  under?: readonly string[];
  host?: string;
  cwd?: string;
  env?: NodeJS.ProcessEnv;
}

/** @param under a program that runs it, such as one that enters a network namespace */
export async function startNats(
  test: Test,
  args: readonly string[] = [],
  { under = [], host = '127.0.0.1', cwd, env }: NatsPlace = {},
): Promise<NatsServer> {
  const server = new NatsServer(await freePort(), args, under, host, {
    ...(cwd !== undefined && { cwd }),
    env: { ...process.env, ...env },
  });
  test.teardown(() => server.kill());
  await server.start();
  return server;
}

/** Starts `agent` and waits until it has joined. */
export async function startAgent(
  test: Test,
  place: Place,
  url: string,
  name: string,
  args: readonly string[] = [],
  options: RunOptions = {},
): Promise<Running> {
  const agent = new Running(place, ['agent', '--nats', url, '--name', name, ...args], options);
  test.teardown(() => {
    agent.kill();
  });
  if (!(await agent.says(/Agent \S+ of group|"joined"/)))
    throw new Error(`agent ${name}: ${agent.stderr}${agent.stdout}`);
  return agent;
}

/** Whether a port of this machine accepts connections. */
export async function accepts(port: number, host = '127.0.0.1'): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect({ host, port }, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => {
      resolve(false);
    });
  });
}
