// Both systems against each other: the servers of one, the load generator of the other, every byte verified. What one half takes
// for granted of the other shows here.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { ROOT, startWindows } from './setup.mjs';

const CLI = join(ROOT, 'bin', 'iocp-bench.js');
const WAIT_MS = 120_000;

/** A comparison that takes a second and proves correctness, not speed. */
const BLAST = ['--duration', '1s', '--warmup', '200ms', '--timeout', '30s', '--quiet', '--json', '-'];

function gather(child) {
  const outcome = { stdout: '', stderr: '', code: null };
  child.stdout.setEncoding('utf8').on('data', (text) => (outcome.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text) => (outcome.stderr += text));
  const ended = new Promise((done) => {
    child.once('error', (error) => {
      outcome.stderr += error.message;
      done(outcome);
    });
    child.once('close', (code) => done(Object.assign(outcome, { code })));
  });
  return { outcome, ended };
}

async function within(promise, child) {
  const timer = setTimeout(() => child.kill('SIGKILL'), WAIT_MS);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
  }
}

function startHere(programs, args) {
  return spawn(process.execPath, [CLI, ...args], { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] });
}

function startThere(programs, args) {
  return startWindows(programs, programs.node, [CLI, ...args], { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] });
}

/** The port of a server that prints events; null when it ended without one. */
async function listeningPort({ outcome, ended }) {
  let over = false;
  void ended.then(() => (over = true));
  for (const until = Date.now() + WAIT_MS; Date.now() < until && !over;) {
    const line = outcome.stdout.split('\n').find((text) => text.includes('"listening"'));
    if (line !== undefined) return JSON.parse(line).port;
    await new Promise((done) => setTimeout(done, 50));
  }
  return null;
}

/** Why a report does not prove what it should; null when it does. */
function faultOf(outcome) {
  if (outcome.code !== 0) return `exit code ${outcome.code}: ${outcome.stderr.slice(-500)}`;
  const trials = JSON.parse(outcome.stdout).runs.flatMap((run) => run.trials);
  if (trials.length === 0) return 'no window was measured';
  for (const { state, connections, requests, errors } of trials) {
    if (state !== 'completed') return `a window is ${state}`;
    if (connections.made !== connections.asked) return `${connections.made} of ${connections.asked} connections`;
    if (errors.total !== 0) return `errors: ${JSON.stringify(errors.by_class)}`;
    if (!(requests.count > 0)) return 'no request was answered';
  }
  return null;
}

async function pair(programs, name, startServer, serverArgs, startClient, clientArgs) {
  const server = startServer(programs, ['serve', '--port', '0', '--format', 'ndjson', ...serverArgs]);
  const serving = gather(server);
  try {
    const port = await listeningPort(serving);
    if (port === null) return { name, fault: `the server did not start: ${serving.outcome.stderr.slice(-500)}` };
    const client = startClient(programs, ['blast', '--target', `127.0.0.1:${port}`, ...clientArgs, ...BLAST]);
    return { name, fault: faultOf(await within(gather(client).ended, client)) };
  } finally {
    server.kill('SIGKILL');
    await serving.ended;
  }
}

async function comparison(programs, name, args) {
  const child = startThere(programs, ['blast', ...args, ...BLAST]);
  return { name, fault: faultOf(await within(gather(child).ended, child)) };
}

/** Runs them one after the other; yields {name, fault}, fault null when it went as it should. */
export async function* mixedProofs(programs) {
  const few = ['--clients', '200', '--trials', '1'];
  const large = [...few, '--message-size', '100000', '--pipeline', '2'];
  for (const mode of ['blocking', 'iocp', 'node']) {
    yield await pair(programs, `Windows ${mode}, Linux client`, startThere, ['--mode', mode], startHere, few);
  }
  yield await pair(
    programs,
    'Windows iocp with zero-byte receives, Linux client',
    startThere,
    ['--mode', 'iocp', '--zero-byte-recv'],
    startHere,
    few,
  );
  yield await pair(programs, 'Windows iocp, Linux client, 100 kB', startThere, ['--mode', 'iocp'], startHere, large);
  for (const mode of ['blocking', 'epoll', 'node']) {
    yield await pair(programs, `Linux ${mode}, Windows client`, startHere, ['--mode', mode], startThere, few);
  }
  yield await pair(programs, 'Linux epoll, Windows client, 100 kB', startHere, ['--mode', 'epoll'], startThere, large);
  for (const clients of ['100', '1000']) {
    yield await comparison(programs, `Windows alone: blocking and iocp, ${clients} clients`, [
      ...['--clients', clients, '--modes', 'blocking,iocp', '--trials', '1', '--phases', 'capacity'],
    ]);
  }
  yield await comparison(programs, 'Windows alone: iocp, 6000 clients', [
    ...['--clients', '6000', '--modes', 'iocp', '--trials', '1', '--phases', 'capacity'],
  ]);
}
