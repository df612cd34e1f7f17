/** The options of `blast`: each with its parser, its default and its place in the help. */
import type { Command } from 'commander';
import { parseGate, type GateExpression } from '../measure/gates.js';
import {
  bounds,
  modeNames,
  parseChoice,
  parseCount,
  parseCountList,
  parseDurationMs,
  parseFraction,
  parseHost,
  parseHostPort,
  parseRatePerSecond,
  parseSizeBytes,
  serverDefaults,
  type HostPort,
} from '../options.js';

export interface BlastOptions {
  clients: number[];
  modes?: string;
  modeCommand: string[];
  target?: HostPort;
  host: string;
  duration: number;
  warmup: number;
  trials?: number;
  phases: 'capacity' | 'latency' | 'both';
  messageSize?: number;
  pipeline?: number;
  rate?: number;
  connectRate?: number;
  requestsPerConnection?: number;
  thinkTime: number;
  stream: boolean;
  idle: number;
  active?: number;
  threads?: number;
  engine: string;
  seed: number;
  timeout: number;
  close: 'reset' | 'fin';
  workers?: number;
  backlog: number;
  receiveBuffer: number;
  stackSize: number;
  zeroByteRecv: boolean;
  edgeTriggered: boolean;
  aa?: string;
  findMaxRate?: string;
  pin: boolean;
  strict: boolean;
  quiet: boolean;
  failIf: GateExpression[];
  json?: string;
  html?: string;
  markdown?: string;
  csv?: string;
  junit?: string;
}

const collect =
  <Value>(parse: (text: string) => Value) =>
  (text: string, previous: Value[]): Value[] => [...previous, parse(text)];

/** Adds every option, in groups. */
export function addBlastOptions(command: Command): void {
  addLoadOptions(command);
  addServerOptions(command);
  addRunOptions(command);
}

function addLoadOptions(command: Command): void {
  command
    .optionsGroup('Load:')
    .option(
      '-c, --clients <n[,n...]>',
      'connections; several sizes run in turn',
      parseCountList('--clients', bounds.clients),
      [6000],
    )
    .option('-d, --duration <time>', 'measured window of each phase', parseDurationMs('--duration'), 3_000)
    .option(
      '--warmup <time>',
      'before a window; at least until every connection had an echo',
      parseDurationMs('--warmup', { min: 0, max: 3_600_000 }),
      1_000,
    )
    .option(
      '--trials <n>',
      'fresh server and connections each (default: 4; 1 with --target)',
      parseCount('--trials', bounds.trials),
    )
    .option(
      '--phases <which>',
      'capacity, latency or both',
      parseChoice('--phases', ['capacity', 'latency', 'both']),
      'both',
    )
    .option(
      '--message-size <bytes>',
      'of a request and its echo (default: 64)',
      parseSizeBytes('--message-size', bounds.messageSizeBytes),
    )
    .option(
      '--pipeline <n>',
      'requests in flight per connection (default: 1)',
      parseCount('--pipeline', bounds.pipeline),
    )
    .option(
      '--rate <n/s>',
      'offered requests/s of the latency phase (default: 70% of the slower mode)',
      parseRatePerSecond('--rate'),
    )
    .option(
      '--connect-rate <n/s>',
      'connections opened per second (default: paced by the echoes)',
      parseRatePerSecond('--connect-rate'),
    )
    .option(
      '--requests-per-connection <n>',
      'churn: close after n requests and connect again',
      parseCount('--requests-per-connection', { min: 1, max: 1e9 }),
    )
    .option(
      '--think-time <time>',
      'pause between an echo and the next message',
      parseDurationMs('--think-time', { min: 0, max: 3_600_000 }),
      0,
    )
    .option('--stream', 'bulk: 64 KiB messages, 4 in flight (both can be set)', false)
    .option('--active <share>', 'share of the connections that send; the rest is held open', parseFraction('--active'))
    .option(
      '--idle <n>',
      'connections held open beside the active ones',
      parseCount('--idle', { min: 0, max: bounds.clients.max }),
      0,
    )
    .option('--timeout <time>', 'for a connection or an echo', parseDurationMs('--timeout'), 10_000)
    .option('--close <how>', 'reset (no TIME_WAIT) or fin', parseChoice('--close', ['reset', 'fin']), 'reset')
    .option('--threads <n>', 'client threads (default: one per client CPU)', parseCount('--threads', bounds.threads))
    .option(
      '--engine <name>',
      'client engine: auto, epoll, io_uring, iocp',
      parseChoice('--engine', ['auto', 'epoll', 'io_uring', 'iocp']),
      'auto',
    )
    .option('--seed <n>', 'of payload and order', parseCount('--seed', bounds.seed), 1);
}

function addServerOptions(command: Command): void {
  command
    .optionsGroup('Servers:')
    .option('-m, --modes <list>', `${modeNames.join(', ')}, or all (default: blocking,iocp)`)
    .option('--mode-command <name=command>', 'any echo server as a mode; {port} is replaced', collect(String), [])
    .option('-t, --target <host:port>', 'load a server that already runs', parseHostPort('--target'))
    .option('--host <address>', 'where servers listen', parseHost('--host'), '127.0.0.1')
    .option('--workers <n>', 'event loops (default: one per server CPU)', parseCount('--workers', bounds.workers))
    .option(
      '--backlog <n>',
      'listen backlog, the same for every mode',
      parseCount('--backlog', bounds.backlog),
      serverDefaults.backlog,
    )
    .option(
      '--receive-buffer <bytes>',
      'of one receive, the same for every mode',
      parseSizeBytes('--receive-buffer', bounds.receiveBufferBytes),
      serverDefaults.receiveBufferBytes,
    )
    .option(
      '--stack-size <bytes>',
      'of a blocking connection thread',
      parseSizeBytes('--stack-size', bounds.stackSizeBytes),
      serverDefaults.stackSizeBytes,
    )
    .option('--zero-byte-recv', 'iocp on Windows: idle connections wait on a receive of zero bytes', false)
    .option('--edge-triggered', 'epoll: edge- instead of level-triggered', false);
}

function addRunOptions(command: Command): void {
  command
    .optionsGroup('Results:')
    .option('--json <file>', 'the report; "-" prints it alone on stdout')
    .option('--html <file>', 'the report as a page with charts')
    .option('--markdown <file>', 'the report for a GitHub step summary')
    .option('--csv <file>', 'every window as a row')
    .option('--junit <file>', 'gates as JUnit XML')
    .option(
      '--fail-if <expression>',
      "exit 99 if it holds, e.g. 'iocp/blocking.throughput < 1.2'; repeatable",
      collect(parseGate),
      [],
    )
    .option('--strict', 'exit 5 when figures are not valid', false)
    .option('--aa <mode>', 'run one mode against itself: the noise floor of this machine')
    .option('--find-max-rate <limit>', "highest offered rate within a limit, e.g. 'p99<10ms'")
    .option('--no-pin', 'do not split the CPUs between server and client')
    .option('-q, --quiet', 'no progress', false);
}
