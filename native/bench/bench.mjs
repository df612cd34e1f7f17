#!/usr/bin/env node
// `npm run bench`: compares our servers and our client with reference programs, each side on its own CPU.
//
//   npm run bench                                     everything: about half an hour
//   npm run bench -- --connections 100,6000           two sizes
//   npm run bench -- --only 'epoll / libuv'           the comparisons whose name matches; --list shows the names
//   npm run bench -- --pairs 2 --connections 100      a quick look; a bound needs 8 pairs and stays undecided
//   npm run bench -- --aa                             libuv against itself: the noise of this machine
//
// The reference programs in this folder are built into native/build/bench with CMake and a C compiler. Two of them need libuv1-dev, g++,
// libasio-dev and libasio-doc; if these are missing, the programs are skipped and the reason is shown. A round starts every server once
// and measures it under each client that its comparisons need. The order within rounds is balanced (src/measure/order.ts), and two
// measurements of a round are a pair. bounds.mjs has the bounds and verdicts. Progress goes to stderr, the table to stdout, and
// everything to results/bench-*.json.
//
// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 this machine cannot run it, 5 with --strict if a bound is missed or undecided, 130 Ctrl-C.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { readEnvironment } from '../../dist/src/run/environment.js';
import { trialOrder } from '../../dist/src/measure/order.js';
import { sum } from '../../dist/src/measure/statistics.js';
import { comparisonsAt, judgeAll, measurementsNeeded, noiseComparisonsAt, PAIRS_NEEDED, TOLERANCE } from './bounds.mjs';
import { clients, missingReason, servers } from './participants.mjs';
import { busyFractions, killAll, networkThreads, sampleWhile } from './processes.mjs';
import { renderTable } from './table.mjs';
import { giveUp } from '../scripts/give-up.mjs';

const BENCH = dirname(fileURLToPath(import.meta.url));
const ROOT = resolve(BENCH, '..', '..');
const REFERENCES = join(ROOT, 'native', 'build', 'bench');
const EXIT = { fault: 1, usage: 2, unavailable: 3, bounds: 5, interrupted: 130 };
/** CPUs that others may use before a measurement counts as disturbed. */
const NOISY_CPUS = 0.15;
/** How many times a disturbed measurement is tried before it is given up. */
const ATTEMPTS = 3;
/** Descriptors that a client needs besides its connections. */
const DESCRIPTORS_SPARE = 256;

// ------------------------------------------------------------------------------------------------------------- options

const optionTable = /** @type {const} */ ({
  connections: { type: 'string', default: '1,100,1000,6000,15000', help: 'sizes' },
  pairs: { type: 'string', default: '8', help: 'rounds; a verdict on a bound needs 8' },
  seconds: { type: 'string', default: '1', help: 'length of a window' },
  'warmup-ms': { type: 'string', default: '300', help: 'load before a window' },
  'message-size': { type: 'string', default: '64', help: 'bytes of a message' },
  engine: { type: 'string', default: 'auto', help: "our client's engine: auto, epoll, io_uring" },
  only: { type: 'string', default: '', help: 'only comparisons whose name matches this regular expression' },
  'server-cpu': { type: 'string', default: '0', help: 'CPU of the server' },
  'client-cpu': { type: 'string', default: '1', help: 'CPU of the client' },
  seed: { type: 'string', default: '1', help: 'seed of the order' },
  json: { type: 'string', default: '', help: 'file for the results (default: results/bench-TIME.json)' },
  aa: { type: 'boolean', default: false, help: 'compare libuv with itself' },
  list: { type: 'boolean', default: false, help: 'list the comparisons and exit' },
  strict: { type: 'boolean', default: false, help: 'exit with 5 if a bound is missed or undecided' },
  help: { type: 'boolean', default: false, help: 'show this help' },
});

function helpText() {
  const rows = Object.entries(optionTable).map(([name, { type, default: value, help }]) => {
    const shown = type === 'boolean' || value === '' ? '' : ` (default: ${value})`;
    return `  --${name.padEnd(14)} ${help}${shown}\n`;
  });
  return `npm run bench -- [options]: our servers and client against reference ones\n\n${rows.join('')}`;
}

function wholeNumber(name, text, minimum, maximum) {
  const value = Number(text);
  if (!Number.isInteger(value) || value < minimum || value > maximum) {
    giveUp(EXIT.usage, `--${name} takes a whole number from ${minimum} to ${maximum}, not "${text}".`);
  }
  return value;
}

function windowMsOf(text) {
  const seconds = Number(text);
  if (!(seconds >= 0.5 && seconds <= 600)) giveUp(EXIT.usage, `--seconds takes 0.5 to 600, not "${text}".`);
  return Math.round(seconds * 1000);
}

function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}

function patternOf(text) {
  try {
    return new RegExp(text);
  } catch (error) {
    giveUp(EXIT.usage, `--only: ${messageOf(error)}.`);
  }
}

/**
 * The options as typed. Ends the script if one is unknown.
 * @returns {Record<string, any>}
 */
function parsedOptions() {
  try {
    return parseArgs({ options: optionTable }).values;
  } catch (error) {
    giveUp(EXIT.usage, messageOf(error), '--help lists the options');
  }
}

function readOptions() {
  const values = parsedOptions();
  if (values.help) {
    process.stdout.write(helpText());
    process.exit(0);
  }
  if (!['auto', 'epoll', 'io_uring'].includes(values.engine))
    giveUp(EXIT.usage, `--engine takes auto, epoll or io_uring, not "${values.engine}".`);
  const sizes = values.connections.split(',').map((text) => wholeNumber('connections', text, 1, 100_000));
  return {
    sizes: [...new Set(sizes)],
    pairs: wholeNumber('pairs', values.pairs, 1, 1000),
    windowMs: windowMsOf(values.seconds),
    warmupMs: wholeNumber('warmup-ms', values['warmup-ms'], 1, 60_000),
    messageBytes: wholeNumber('message-size', values['message-size'], 1, 65_536),
    engine: values.engine,
    only: patternOf(values.only),
    serverCpu: wholeNumber('server-cpu', values['server-cpu'], 0, 1023),
    clientCpu: wholeNumber('client-cpu', values['client-cpu'], 0, 1023),
    seed: wholeNumber('seed', values.seed, 0, 2 ** 31),
    json: values.json,
    aa: values.aa,
    list: values.list,
    strict: values.strict,
  };
}

/** Checks the whole plan before any work starts. */
function checkMachine(options) {
  if (process.platform !== 'linux') giveUp(EXIT.unavailable, 'the reference programs run only on Linux.');
  if (options.windowMs <= options.warmupMs + 200) {
    giveUp(
      EXIT.usage,
      'the window must be longer than the warm-up by more than 200 ms.',
      'raise --seconds or lower --warmup-ms',
    );
  }
  if (options.serverCpu === options.clientCpu) giveUp(EXIT.usage, 'server and client each need their own CPU.');
  for (const cpu of [options.serverCpu, options.clientCpu]) {
    const { error, status } = spawnSync('taskset', ['-c', String(cpu), 'true']);
    if (error !== undefined) giveUp(EXIT.unavailable, 'taskset is missing.', 'sudo apt-get install util-linux');
    if (status !== 0) giveUp(EXIT.unavailable, `CPU ${cpu} cannot be used: server and client each need their own CPU.`);
  }
}

// ------------------------------------------------------------------------------------------------------------- building

function buildReferences() {
  const steps = [
    ['-S', BENCH, '-B', REFERENCES],
    ['--build', REFERENCES],
  ];
  for (const args of steps) {
    const { error, status, stdout, stderr } = spawnSync('cmake', args, { encoding: 'utf8' });
    if (error !== undefined)
      giveUp(EXIT.unavailable, 'CMake is missing.', 'sudo apt-get install cmake build-essential');
    if (status !== 0) giveUp(EXIT.fault, 'the reference programs do not build.', `${stdout}\n${stderr}`);
  }
}

// ------------------------------------------------------------------------------------------------------------- the plan

function hardDescriptorLimit() {
  const match = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
  return match === null || match[1] === 'unlimited' ? Infinity : Number(match[1]);
}

/** The comparisons to make, and those that were skipped, with the reason. */
function planComparisons(options) {
  const skipped = [];
  const limit = hardDescriptorLimit();
  const sizes = options.sizes.filter((size) => {
    const fits = size + DESCRIPTORS_SPARE <= limit;
    if (!fits) skipped.push({ what: `${size} connections`, reason: `the descriptor limit is ${limit} (ulimit -Hn)` });
    return fits;
  });
  const wanted = (options.aa ? noiseComparisonsAt(sizes) : comparisonsAt(sizes)).filter(({ name }) =>
    options.only.test(name),
  );
  const missing = new Map();
  for (const name of Object.keys(servers)) {
    const reason = missingReason(name, REFERENCES);
    if (reason !== null) missing.set(name, reason);
  }
  const comparisons = wanted.filter(({ name, subject, reference }) => {
    const absent = [subject.server, reference.server].find((server) => missing.has(server));
    if (absent !== undefined && !skipped.some(({ what }) => what === name)) {
      skipped.push({ what: name, reason: missing.get(absent) });
    }
    return absent === undefined;
  });
  return { comparisons, skipped };
}

/**
 * The visits of each round: for each size, the servers of a group one after the other, each with the clients that measure it.
 * The order of servers and clients is balanced over the rounds.
 */
function scheduleRounds(needed, { pairs, seed }) {
  const sizes = [...new Set(needed.map(({ connections }) => connections))].sort((a, b) => a - b);
  const groups = [...new Set(Object.values(servers).map(({ group }) => group))];
  const visits = sizes.flatMap((connections) =>
    groups.flatMap((group) => {
      const here = needed.filter((each) => each.connections === connections && servers[each.server].group === group);
      const serverOrder = trialOrder([...new Set(here.map(({ server }) => server))], pairs, seed);
      return [{ connections, here, serverOrder }];
    }),
  );
  return Array.from({ length: pairs }, (_, round) =>
    visits.flatMap(({ connections, here, serverOrder }) =>
      serverOrder[round].map((server) => {
        const names = here.filter((each) => each.server === server).map(({ client }) => client);
        return { connections, server, clients: trialOrder(names, pairs, seed + connections)[round] };
      }),
    ),
  );
}

// ------------------------------------------------------------------------------------------------------------- measuring

/** Measures a fresh server under each client of the visit. Failures are recorded and do not end the run. */
async function measureVisit(setup, round, visit, results) {
  const { connections } = visit;
  const fail = (client, error) =>
    results.failures.push({ round, connections, server: visit.server, client, message: error.message });
  let server = null;
  try {
    server = await servers[visit.server].start(setup);
  } catch (error) {
    fail(null, error);
    return;
  }
  try {
    for (const client of visit.clients) {
      try {
        const figures = await measureUndisturbed(setup, server, client, connections);
        results.measurements.push({ round, connections, server: visit.server, client, ...figures });
      } catch (error) {
        fail(client, error);
      }
    }
  } finally {
    await server.stop();
  }
}

/**
 * Repeats a measurement that other programs disturbed, and drops it if every attempt was disturbed. The rule looks only at the other
 * programs and never at the figures, so it favours no side.
 */
async function measureUndisturbed(setup, server, client, connections) {
  for (let attempts = 1; ; attempts++) {
    const figures = await measure(setup, server, client, connections);
    if (figures.others_busy <= NOISY_CPUS) return { ...figures, attempts };
    if (attempts === ATTEMPTS)
      throw new Error(`others used more than ${NOISY_CPUS} CPU in each of ${ATTEMPTS} windows`);
  }
}

async function measure(setup, server, client, connections) {
  const { child, figures } = clients[client].run(setup, server.port, connections);
  // The clock sums over all threads, which takes the kernel some time when there are thousands.
  const intervalMs = connections >= 5000 ? 100 : 50;
  const timeoutMs = setup.warmupMs + setup.windowMs + 60_000;
  const clock = join(setup.references, 'process_clock');
  // A side is its process and the kernel's packet threads of its CPU.
  const sides = [
    [server.pid, ...setup.networkThreads.server],
    [child.pid, ...setup.networkThreads.client],
  ];
  const samples = await sampleWhile(clock, setup.clientCpu, intervalMs, sides.flat(), () => child.success(timeoutMs));
  const { requests_per_second, from_us, to_us, reported } = figures();
  const busy = busyFractions(samples, from_us, to_us, cpus().length);
  if (busy === null) throw new Error('too few samples of the CPU clocks in the window');
  const [server_busy, client_busy] = [
    sum(busy.processes.slice(0, sides[0].length)),
    sum(busy.processes.slice(sides[0].length)),
  ];
  return {
    requests_per_second,
    server_busy,
    client_busy,
    others_busy: busy.others,
    server_cpu_us: (server_busy * 1e6) / requests_per_second,
    client_cpu_us: (client_busy * 1e6) / requests_per_second,
    reported,
  };
}

// ------------------------------------------------------------------------------------------------------------- results

function outputOf(program, args) {
  const { status, stdout } = spawnSync(program, args, { encoding: 'utf8', cwd: ROOT });
  return status === 0 ? stdout.trim().split('\n')[0] : null;
}

function describeMachine(options) {
  const split = { server: [options.serverCpu], client: [options.clientCpu], shared: false, pinned: true };
  return {
    ...readEnvironment(split),
    load_average_before: loadavg()[0],
    libuv_version: outputOf('pkg-config', ['--modversion', 'libuv']),
    asio_version: outputOf('dpkg-query', ['-W', '-f', '${Version}', 'libasio-dev']),
    compiler: outputOf('cc', ['--version']),
    revision: outputOf('git', ['describe', '--always', '--dirty']),
  };
}

function resultsPath(json, createdAt) {
  if (json !== '') return resolve(json);
  const stamp = createdAt
    .toISOString()
    .replace(/\.\d+Z$/, 'Z')
    .replaceAll(':', '');
  return join(ROOT, 'results', `bench-${stamp}.json`);
}

function save(path, results) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${JSON.stringify(results, null, 1)}\n`);
}

function reportProblems({ skipped, failures }) {
  for (const { what, reason } of skipped) process.stderr.write(`skipped: ${what}: ${reason}\n`);
  const counted = new Map();
  for (const { server, client, connections, message } of failures) {
    const text = `${server} server, ${client ?? 'no'} client, ${connections} connections: ${message}`;
    counted.set(text, (counted.get(text) ?? 0) + 1);
  }
  for (const [text, count] of counted) process.stderr.write(`failed ${count}x: ${text}\n`);
}

// ------------------------------------------------------------------------------------------------------------- the run

async function runRounds(options, rounds, results, path) {
  const setup = {
    ...options,
    references: REFERENCES,
    networkThreads: { server: networkThreads(options.serverCpu), client: networkThreads(options.clientCpu) },
  };
  const visits = rounds.reduce((total, round) => total + round.length, 0);
  const started = Date.now();
  let done = 0;
  for (const [round, list] of rounds.entries()) {
    for (const visit of list) {
      await measureVisit(setup, round, visit, results);
      done += 1;
      const left = Math.round((((Date.now() - started) / done) * (visits - done)) / 1000);
      const text = `round ${round + 1}/${rounds.length}: ${visit.server} at ${visit.connections}, ${left} s left`;
      if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
      else if (visit === list.at(-1)) process.stderr.write(`${text}\n`);
    }
    // Save after each round, so that nothing measured is lost if the run ends early.
    save(path, results);
  }
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
}

function finish(results, comparisons, path) {
  results.environment.load_average_after = loadavg()[0];
  results.comparisons = judgeAll(comparisons, results.measurements);
  save(path, results);
  process.stdout.write(renderTable(results.comparisons));
  reportProblems(results);
  process.stderr.write(`results: ${relative(process.cwd(), path)}\n`);
}

async function main() {
  const options = readOptions();
  process.chdir(ROOT);
  checkMachine(options);
  buildReferences();
  const { comparisons, skipped } = planComparisons(options);
  if (options.list) {
    process.stdout.write([...new Set(comparisons.map(({ name }) => name))].join('\n') + '\n');
    return;
  }
  if (comparisons.length === 0)
    giveUp(
      EXIT.usage,
      'nothing is left to compare.',
      skipped.map(({ what, reason }) => `${what}: ${reason}`).join('\n  '),
    );
  const createdAt = new Date();
  const path = resultsPath(options.json, createdAt);
  const results = {
    schema: 'iocp-bench/bench',
    created_at: createdAt.toISOString(),
    partial: true,
    options: { ...options, only: options.only.source },
    rule: { pairs_needed: PAIRS_NEEDED, tolerance: TOLERANCE, confidence: 0.95 },
    environment: describeMachine(options),
    skipped,
    failures: [],
    comparisons: [],
    measurements: [],
  };
  // A path that cannot be written fails here, before the run.
  save(path, results);
  process.once('SIGINT', () => {
    killAll();
    finish(results, comparisons, path);
    process.exit(EXIT.interrupted);
  });
  process.once('SIGTERM', () => process.exit(EXIT.interrupted));
  process.once('exit', killAll);
  await runRounds(options, scheduleRounds(measurementsNeeded(comparisons), options), results, path);
  results.partial = false;
  finish(results, comparisons, path);
  const bad = results.comparisons.some(({ verdict }) => verdict === 'MISS' || verdict === 'undecided');
  if (options.strict && bad) process.exitCode = EXIT.bounds;
}

await main();
