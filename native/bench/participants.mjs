// The servers and clients that take part, ours and the reference ones, each behind a small interface.
//
//   server  start(setup) -> { pid, port, stop() }
//   client  run(setup, port, connections) -> { child, figures() }: figures() once the child has ended well:
//           { requests_per_second, from_us, to_us, ... }, the last two in wall-clock time, within the steady load
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Child, listeningPortOf } from './processes.mjs';

const START_TIMEOUT_MS = 20_000;
const COMMAND_LINE = 'bin/iocp-bench.js';
/** The same for every server that has such an option. */
const BACKLOG = 4096;
const RECEIVE_BUFFER_BYTES = 16_384;

/** Resolves when the server listens. If it does not, it is stopped. */
async function whenListening(child, findPort) {
  try {
    const port = await findPort(child);
    return { pid: child.pid, port, stop: () => child.stop() };
  } catch (error) {
    await child.stop(0);
    throw error;
  }
}

function announcedPort(line) {
  const match = /^listening (\d+)$/.exec(line);
  return match === null ? null : Number(match[1]);
}

async function startReference(setup, program, args) {
  const child = new Child(setup.serverCpu, join(setup.references, program), args);
  return whenListening(child, () => child.line(announcedPort, START_TIMEOUT_MS));
}

const listenOptions = ['--port', '0', '--backlog', String(BACKLOG)];

async function startLibuv(setup) {
  return startReference(setup, 'libuv_server', [...listenOptions, '--receive-buffer', String(RECEIVE_BUFFER_BYTES)]);
}

function startPlain(program, ...options) {
  return (setup) => startReference(setup, program, [...listenOptions, ...options]);
}

/** Asio's example, unchanged. It takes a port and prints nothing. Its backlog is SOMAXCONN, also 4096. Its buffer is 1 KiB. */
async function startAsio(setup) {
  const child = new Child(setup.serverCpu, join(setup.references, 'asio_server'), ['0']);
  return whenListening(child, () => listeningPortOf(child.pid, START_TIMEOUT_MS));
}

function portOfEvent(line) {
  if (!line.startsWith('{')) return null;
  const event = JSON.parse(line);
  return event.event === 'listening' ? event.port : null;
}

function startOurs(mode) {
  return async (setup) => {
    const child = new Child(setup.serverCpu, process.execPath, [
      ...[COMMAND_LINE, 'serve', '--mode', mode, '--format', 'ndjson', '--cpus', String(setup.serverCpu)],
      ...[...listenOptions, '--receive-buffer', String(RECEIVE_BUFFER_BYTES)],
    ]);
    return whenListening(child, () => child.line(portOfEvent, START_TIMEOUT_MS));
  };
}

function runReferenceClient(program) {
  return (setup, port, connections) => {
    const child = new Child(setup.clientCpu, join(setup.references, program), [
      ...['--port', String(port), '--connections', String(connections), '--message-size', String(setup.messageBytes)],
      ...['--warmup-ms', String(setup.warmupMs), '--window-ms', String(setup.windowMs)],
    ]);
    const figures = () => {
      const report = JSON.parse(child.lines.join('\n'));
      return {
        requests_per_second: report.requests_per_second,
        from_us: report.window_start_us,
        to_us: report.window_end_us,
        reported: { cpu_us_per_request: report.cpu_user_us_per_request + report.cpu_system_us_per_request },
      };
    };
    return { child, figures };
  };
}

function runOurClient(setup, port, connections) {
  const child = new Child(setup.clientCpu, process.execPath, [
    ...[COMMAND_LINE, 'blast', '--target', `127.0.0.1:${port}`, '--clients', String(connections)],
    ...['--phases', 'capacity', '--trials', '1', '--threads', '1', '--engine', setup.engine, '--no-pin', '--quiet'],
    ...['--message-size', String(setup.messageBytes), '--warmup', `${setup.warmupMs}ms`],
    ...['--duration', `${setup.windowMs}ms`, '--json', '-'],
  ]);
  return { child, figures: () => figuresOfReport(JSON.parse(child.lines.join('\n')), setup, connections) };
}

/** Throws unless every connection was made and every echo was right. */
function figuresOfReport(report, setup, connections) {
  const window = report.runs[0].trials[0];
  if (window.state !== 'completed') throw new Error(`blast: ${window.state}: ${window.reason}`);
  if (window.connections.made !== connections || window.errors.total > 0) {
    const errors = JSON.stringify(window.errors.by_class);
    throw new Error(`blast: ${window.connections.made} of ${connections} connections made, errors ${errors}`);
  }
  // The warm-up began at started_at. The load lasts until the end of the window, a little more than warm-up + window later. The samples
  // used end one warm-up earlier, well within the load.
  const started_us = Date.parse(window.started_at) * 1000;
  return {
    requests_per_second: window.requests.per_second,
    from_us: started_us + setup.warmupMs * 1000,
    to_us: started_us + setup.windowMs * 1000,
    reported: { engine: window.client.engine, cpu_us_per_request: window.client.cpu_us_per_request },
  };
}

/** `group`: servers that are compared with each other, and are therefore measured right after one another. */
export const servers = {
  libuv: { start: startLibuv, program: 'libuv_server', group: 'event-driven' },
  libuv_again: { start: startLibuv, program: 'libuv_server', group: 'event-driven' },
  asio: { start: startAsio, program: 'asio_server', group: 'event-driven' },
  epoll: { start: startOurs('epoll'), program: null, group: 'event-driven' },
  io_uring: { start: startOurs('io_uring'), program: null, group: 'event-driven' },
  node: { start: startOurs('node'), program: null, group: 'event-driven' },
  plain_poll: { start: startPlain('poll_server'), program: 'poll_server', group: 'poll' },
  threaded_poll: { start: startPlain('poll_server', '--idle-threads', '1'), program: 'poll_server', group: 'poll' },
  poll: { start: startOurs('poll'), program: null, group: 'poll' },
  plain_select: { start: startPlain('select_server'), program: 'select_server', group: 'select' },
  threaded_select: {
    start: startPlain('select_server', '--idle-threads', '1'),
    program: 'select_server',
    group: 'select',
  },
  select: { start: startOurs('select'), program: null, group: 'select' },
  pthread: { start: startPlain('pthread_server'), program: 'pthread_server', group: 'blocking' },
  blocking: { start: startOurs('blocking'), program: null, group: 'blocking' },
};

export const clients = {
  plain: { run: runReferenceClient('epoll_client') },
  ours: { run: runOurClient },
  minimum: { run: runReferenceClient('minimum_client') },
};

/** Why a server cannot be measured here; null if it can. */
export function missingReason(name, references) {
  const { program } = servers[name];
  if (program === null || existsSync(join(references, program))) return null;
  const skipped = readFileSync(join(references, 'skipped.txt'), 'utf8').split('\n');
  const line = skipped.find((text) => text.startsWith(`${program}: `));
  return line === undefined ? 'it was not built' : line.slice(program.length + 2);
}
