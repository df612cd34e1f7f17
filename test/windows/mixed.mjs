// Both systems against each other: the servers of one, the load generator of the other, every byte verified. This shows what one side
// wrongly assumes about the other.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram, ROOT, startWindows } from './setup.mjs';

const CLI = join(ROOT, 'bin', 'iocp-bench.js');
const TIMEOUT_MS = 180_000;
const START_MS = 60_000;
/** The tool's exit code if this machine cannot run the request. */
const CANNOT_RUN = 3;

/** A comparison that takes half a second, for tests of correctness, not of speed. */
const BLAST = ['--duration', '500ms', '--warmup', '200ms', '--timeout', '30s', '--quiet', '--json', '-'];

/** Starts the tool on this system. */
function startHere(_programs, args) {
  return startProgram(process.execPath, [CLI, ...args]);
}

/** Returns an object of the same form as startWindows(). */
function startProgram(program, args) {
  const child = spawn(program, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] });
  /** @type {import('./setup.mjs').Outcome} */
  const outcome = { stdout: '', stderr: '', code: null, signal: null };
  child.stdout.setEncoding('utf8').on('data', (text) => (outcome.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text) => (outcome.stderr += text));
  const timer = setTimeout(() => child.kill('SIGKILL'), TIMEOUT_MS);
  const ended = new Promise((done) => {
    child.once('error', (error) => done(Object.assign(outcome, { stderr: error.message })));
    child.once('close', (code, signal) => done(Object.assign(outcome, { code, signal })));
  }).finally(() => clearTimeout(timer));
  return { ended, output: () => outcome, kill: () => child.kill('SIGKILL') };
}

function startThere(programs, args) {
  return startWindows(programs, programs.node, [CLI, ...args], { timeoutMs: TIMEOUT_MS });
}

/** The port of a server that prints events; null if it ended before it listened. */
async function listeningPort(server) {
  let over = false;
  void server.ended.then(() => (over = true));
  for (const until = Date.now() + START_MS; Date.now() < until && !over;) {
    const lines = server.output().stdout.split('\n').slice(0, -1);
    const line = lines.find((text) => text.includes('"listening"'));
    if (line !== undefined) return JSON.parse(line).port;
    await new Promise((done) => setTimeout(done, 50));
  }
  return null;
}

/** Why a report does not show the expected result; null if it does. */
export function faultOf(outcome) {
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

/** A mode that this machine refuses, as containers refuse io_uring, is skipped with its reason. */
function notStarted(name, { code, stderr }) {
  if (code === CANNOT_RUN) return { name, fault: null, skipped: stderr.split('\n')[0] };
  return { name, fault: `the server did not start: ${stderr.slice(-500)}` };
}

async function pair(programs, name, startServer, serverArgs, startClient, clientArgs) {
  const server = startServer(programs, ['serve', '--port', '0', '--format', 'ndjson', ...serverArgs]);
  try {
    const port = await listeningPort(server);
    if (port === null) {
      server.kill();
      return notStarted(name, await server.ended);
    }
    const client = startClient(programs, ['blast', '--target', `127.0.0.1:${port}`, ...clientArgs, ...BLAST]);
    return { name, fault: faultOf(await client.ended) };
  } finally {
    server.kill();
    await server.ended;
  }
}

/** Waits until a program has said something; false if it ended before or the time is over. */
async function hasSaid(program, what) {
  let over = false;
  void program.ended.then(() => (over = true));
  for (const until = Date.now() + START_MS; Date.now() < until && !over;) {
    const { stdout, stderr } = program.output();
    if (stdout.includes(what) || stderr.includes(what)) return true;
    await new Promise((done) => setTimeout(done, 50));
  }
  return false;
}

/**
 * A Windows agent hosts the servers, two Linux agents the load, and the conductor runs on Linux. Wine shares the loopback interface of this
 * machine, which the owners of both sides have to say.
 */
async function agents(programs, name, clients) {
  // Debian installs it in a folder that is not on every user's PATH.
  const inSbin = '/usr/sbin/nats-server';
  const broker = findProgram('nats-server') ?? (existsSync(inSbin) ? inSbin : null);
  if (broker === null) return { name, fault: null, skipped: 'nats-server is not installed' };
  const port = 20_000 + (process.pid % 10_000);
  const nats = startProgram(broker, ['-a', '127.0.0.1', '-p', String(port)]);
  const url = `nats://127.0.0.1:${port}`;
  const started = [];
  try {
    if (!(await hasSaid(nats, 'Server is ready'))) return { name, fault: `no broker: ${nats.output().stderr}` };
    const join = ['agent', '--nats', url, '--format', 'ndjson', '--name'];
    started.push(
      startThere(programs, [...join, 'win', '--address', '127.0.0.1']),
      ...['a', 'b'].map((load) => startHere(programs, [...join, load, '--allow-target', '127.0.0.0/8'])),
    );
    for (const agent of started) {
      if (!(await hasSaid(agent, '"joined"')))
        return { name, fault: `an agent did not join: ${agent.output().stderr.slice(-500)}` };
    }
    const machines = ['--nats', url, '--server-on', 'win', '--clients-on', 'a,b'];
    const load = ['--modes', 'blocking,iocp', '--clients', clients, '--trials', '1', '--phases', 'capacity'];
    const outcome = await startHere(programs, ['blast', ...machines, ...load, ...BLAST]).ended;
    const fault = faultOf(outcome);
    if (fault !== null) return { name, fault };
    const { runs, environment, machines: named } = JSON.parse(outcome.stdout);
    const backend = runs.find(({ mode }) => mode === 'iocp')?.backend;
    if (backend !== 'iocp') return { name, fault: `the backend of iocp is ${backend}` };
    if (!environment.compatibility?.startsWith('Wine'))
      return { name, fault: 'the report does not say that this is Wine' };
    const systems = named.map((machine) => `${machine.name} ${machine.roles} ${machine.environment.compatibility}`);
    const expected = ['win server ' + environment.compatibility, 'a load null', 'b load null'];
    if (systems.join() !== expected.join()) return { name, fault: `the machines are ${systems}` };
    return { name, fault: null };
  } finally {
    for (const agent of started) agent.kill();
    for (const agent of started) await agent.ended;
    nats.kill();
    await nats.ended;
  }
}

async function comparison(programs, name, args) {
  return { name, fault: faultOf(await startThere(programs, ['blast', ...args, ...BLAST]).ended) };
}

/**
 * Runs them one after the other; yields {name, fault}, fault null when it went as it should, and `skipped`, why, for one that this
 * machine cannot run.
 */
export async function* mixedProofs(programs) {
  const clients = ['--clients', '200', '--trials', '1'];
  // Without a rate, each run would first measure which one to offer.
  const few = [...clients, '--rate', '500/s'];
  const large = [...clients, '--message-size', '100000', '--pipeline', '2'];
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
  for (const mode of ['blocking', 'epoll', 'io_uring', 'node']) {
    yield await pair(programs, `Linux ${mode}, Windows client`, startHere, ['--mode', mode], startThere, few);
  }
  yield await pair(programs, 'Linux epoll, Windows client, 100 kB', startHere, ['--mode', 'epoll'], startThere, large);
  yield await agents(programs, 'Windows agent as the server, two Linux agents as the load', '500');
  for (const count of ['100', '1000']) {
    yield await comparison(programs, `Windows alone: blocking and iocp, ${count} clients`, [
      ...['--clients', count, '--modes', 'blocking,iocp', '--trials', '1', '--phases', 'capacity'],
    ]);
  }
  yield await comparison(programs, 'Windows alone: iocp, 6000 clients', [
    ...['--clients', '6000', '--modes', 'iocp', '--trials', '1', '--phases', 'capacity'],
  ]);
}
