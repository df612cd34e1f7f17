/**
 * User errors and limits of the machine. Each is reported before any work, in one sentence with a hint and with the exit code from
 * the README, and leaves nothing behind.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import type { Report } from '../../src/model/report-schema.js';
import { checkNothingLeft, checkRefusal, makePlace, run, shortBlast, type Refusal } from '../support/cli.js';
import { isLinux, isRoot, isWindows, skipOutsideLinux, skipWithout } from '../support/environment.js';
import { whyUnavailable } from '../support/server.js';

t.setTimeout(300_000);
// A refusal has no load that another could disturb.
t.jobs = 2;

interface Case extends Refusal {
  name: string;
  args: string[];
}

const usage = 2;
const unavailable = 3;

/** Single values: the arguments, and what the message must contain. */
const badValues: readonly Case[] = [
  { name: 'an unknown command', args: ['blats'], code: usage, says: [/blats/, /blast/] },
  { name: 'an unknown option', args: ['blast', '--client', '10'], code: usage, says: [/--client\b/, /--clients/] },
  { name: 'one argument too many', args: ['doctor', 'please'], code: usage, says: [/argument/] },
  { name: 'an unknown mode of serve', args: ['serve', '--mode', 'epol'], code: usage, says: [/epol/, /epoll/] },
  { name: 'no mode for serve', args: ['serve'], code: usage, says: [/--mode/] },
  {
    name: 'a protocol that no server of ours speaks',
    args: ['serve', '--mode', 'node', '--protocol', 'https'],
    code: usage,
    says: [/https/, /echo/, /http/],
  },
  {
    name: 'a body size for an echo server',
    args: ['serve', '--mode', 'node', '--body-size', '13'],
    code: usage,
    says: [/--body-size needs --protocol http/, /size of the request/],
  },
  {
    name: 'a message size for an HTTP server',
    args: ['serve', '--mode', 'node', '--protocol', 'http', '--message-size', '64'],
    code: usage,
    says: [/--message-size cannot be used with --protocol http/, /--body-size/],
  },
  {
    name: 'a body beyond 1 MiB',
    args: ['serve', '--mode', 'node', '--protocol', 'http', '--body-size', '2MiB'],
    code: usage,
    says: [/--body-size/, /1 MiB|1,048,576|1048576/],
  },
  {
    name: 'an unknown mode of blast',
    args: ['blast', '--modes', 'blocking,icop'],
    code: usage,
    says: [/icop/, /iocp/],
  },
  { name: 'every mode against itself', args: ['blast', '--aa', 'all'], code: usage, says: [/--aa/, /one mode/] },
  {
    name: 'two modes against themselves',
    args: ['blast', '--aa', 'node,iocp'],
    code: usage,
    says: [/--aa/, /one mode/],
  },
  {
    name: 'two commands with one name',
    args: ['blast', '--mode-command', 'mine=a {port}', '--mode-command', 'mine=b {port}'],
    code: usage,
    says: [/--mode-command/, /two commands are named mine/, /mine-2/],
  },
  {
    name: 'an empty entry in a list of works',
    args: ['blast', '--work', '0,,1ms'],
    code: usage,
    says: [/--work/, /empty entry/, /0,10us,100us,1ms/],
  },
  {
    name: 'a wait beyond the timeout',
    args: ['blast', '--wait', '0,20s'],
    code: usage,
    says: [/--wait 20 s/, /timeout of 10 s/, /longer --timeout/],
  },
  {
    name: 'more work than the server can do within the timeout',
    args: ['blast', '--clients', '6000', '--work', '1s'],
    code: usage,
    says: [/6,000 clients with 1 s of work/, /timeout of 10 s/, /fewer --clients/],
  },
  {
    name: 'a gate on a work that is not measured',
    args: ['blast', '--work', '0,1ms', '--fail-if', 'iocp@6000,work=5ms.throughput < 1'],
    code: usage,
    says: [/selects work=5ms/, /one of 0, 1ms/],
  },
  { name: '0 clients', args: ['blast', '--clients', '0'], code: usage, says: [/--clients/, /\b1\b/] },
  { name: '-1 clients', args: ['blast', '--clients', '-1'], code: usage, says: [/--clients|-1/] },
  { name: '1e9 clients', args: ['blast', '--clients', '1e9'], code: usage, says: [/--clients/, /4,000,000/] },
  {
    name: 'clients that are not a number',
    args: ['blast', '--clients', '60o0'],
    code: usage,
    says: [/60o0/, /number/],
  },
  { name: 'message size 0', args: ['blast', '--message-size', '0'], code: usage, says: [/--message-size/, /1 MiB/] },
  { name: 'message size 2 MiB', args: ['blast', '--message-size', '2MiB'], code: usage, says: [/2MiB/, /1 MiB/] },
  { name: 'a duration with no unit', args: ['blast', '--duration', '3'], code: usage, says: [/--duration/, /3s/] },
  { name: 'a duration of nonsense', args: ['blast', '--duration', 'soon'], code: usage, says: [/soon/, /500ms/] },
  { name: 'a duration below 0', args: ['blast', '--duration', '-3s'], code: usage, says: [/-3s/] },
  { name: 'a duration of a year', args: ['blast', '--duration', '8760h'], code: usage, says: [/8760h/, /24 h/] },
  { name: 'a duration of 0', args: ['blast', '--duration', '0s'], code: usage, says: [/--duration/] },
  { name: '0 in flight', args: ['blast', '--pipeline', '0'], code: usage, says: [/--pipeline/, /1,024/] },
  { name: '0 trials', args: ['blast', '--trials', '0'], code: usage, says: [/--trials/] },
  { name: '--until without a unit', args: ['blast', '--until', '3'], code: usage, says: [/--until 3/, /3%/] },
  { name: '--until 0%', args: ['blast', '--until', '0%'], code: usage, says: [/--until 0%/, /0\.1% to 50%/] },
  { name: '--until of 2 trials', args: ['blast', '--until', '3%', '--trials', '2'], code: usage, says: [/at least 4/] },
  { name: '--trials-max alone', args: ['blast', '--trials-max', '9'], code: usage, says: [/--until/, /--trials 9/] },
  { name: 'a target with no port', args: ['blast', '--target', '127.0.0.1'], code: usage, says: [/host:port/] },
  { name: 'a target that is a URL', args: ['blast', '--target', 'tcp://localhost:80'], code: usage, says: [/URL/] },
  {
    name: 'a link-local target without its interface',
    args: ['blast', '--target', '[fe80::1]:80'],
    code: usage,
    says: [/fe80::1/, /interface/],
  },
  {
    name: 'a link-local host without its interface',
    args: ['serve', '--mode', 'node', '--host', 'fe80::1'],
    code: usage,
    says: [/fe80::1/, /interface/],
  },
  { name: 'a port beyond 65535', args: ['serve', '--mode', 'node', '--port', '65536'], code: usage, says: [/65535/] },
  { name: 'a rate of nonsense', args: ['blast', '--rate', 'fast'], code: usage, says: [/--rate/, /50k\/s/] },
  { name: 'a rate of 0%', args: ['blast', '--rate', '0%'], code: usage, says: [/--rate 0%/, /more than 0%/] },
  { name: 'a rate of 300%', args: ['blast', '--rate', '300%'], code: usage, says: [/--rate 300%/, /at most 100%/] },
  { name: 'rates of two kinds', args: ['blast', '--rate', '10%,5k/s'], code: usage, says: [/mixes/, /10%,30%/] },
  { name: 'a rate twice', args: ['blast', '--rate', '10%,50%,10%'], code: usage, says: [/twice/, /once/] },
  {
    name: 'a percentage without a server of its own',
    args: ['blast', '--target', '127.0.0.1:9', '--rate', '50%', '--timeout', '1s'],
    code: usage,
    says: [/percent.*--target/, /5k\/s/],
  },
  {
    name: 'a gate on a rate that is not measured',
    args: ['blast', '--rate', '10%,50%', '--fail-if', 'iocp@rate=70%.response_time_p99 > 1ms'],
    code: usage,
    says: [/rate that is not measured: at 70%/, /at 10%/],
  },
  { name: 'a gate of nonsense', args: ['blast', '--fail-if', 'iocp.speed > 3'], code: usage, says: [/speed/] },
];

for (const one of badValues) {
  t.test(one.name, { buffered: true }, async (test) => {
    const place = makePlace(test);
    checkRefusal(test, await run(place, one.args), one);
    await checkNothingLeft(test, place);
  });
}

t.test('options that do not fit each other', async (test) => {
  const place = makePlace(test);
  const args = ['blast', '--target', '127.0.0.1:9', '--modes', 'blocking'];
  checkRefusal(test, await run(place, args), { code: usage, says: [/--target/, /--modes/] });
  await checkNothingLeft(test, place);
});

t.test('a report that does not exist, and files that are not reports', async (test) => {
  const place = makePlace(test);
  const missing = await run(place, ['report', 'missing.json']);
  checkRefusal(test, missing, { code: usage, says: [/missing\.json/] });
  writeFileSync(join(place.folder, 'text.json'), 'hello');
  checkRefusal(test, await run(place, ['report', 'text.json']), { code: usage, says: [/text\.json/, /JSON/] });
  writeFileSync(join(place.folder, 'other.json'), '{"schema":"something/else"}');
  checkRefusal(test, await run(place, ['report', 'other.json']), { code: usage, says: [/other\.json/] });
  await checkNothingLeft(test, place, ['text.json', 'other.json']);
});

t.test('a report path that cannot be written is found before the run', async (test) => {
  const place = makePlace(test);
  mkdirSync(join(place.folder, 'folder'));
  const args = ['blast', '--clients', '10', '--duration', '1h', '--json'];
  // The run would take an hour, so the refusal must have come before it.
  for (const path of [join('missing', 'report.json'), 'folder']) {
    const outcome = await run(place, [...args, path], { timeoutMs: 30_000 });
    checkRefusal(test, outcome, { code: usage, says: [new RegExp(path.includes('missing') ? 'missing' : 'folder')] });
  }
  await checkNothingLeft(test, place, ['folder']);
});

const skipReadOnly =
  skipOutsideLinux('/proc') || (isRoot ? false : 'only root gets as far as creating a file in /proc');
t.test('a report path on a file system that takes no files', { skip: skipReadOnly }, async (test) => {
  const place = makePlace(test);
  const args = ['blast', '--clients', '10', '--duration', '1h', '--json', '/proc/report.json'];
  const outcome = await run(place, args, { timeoutMs: 30_000 });
  checkRefusal(test, outcome, { code: usage, says: [/\/proc\/report\.json/] });
  await checkNothingLeft(test, place);
});

t.test('a port in use', async (test) => {
  const taken = createServer();
  await new Promise<void>((resolve) => {
    taken.listen(0, '127.0.0.1', resolve);
  });
  test.teardown(() => taken.close());
  const address = taken.address();
  const port = address !== null && typeof address === 'object' ? address.port : 0;
  for (const mode of ['blocking', isWindows ? 'iocp' : 'epoll', 'node']) {
    const place = makePlace(test);
    const outcome = await run(place, ['serve', '--mode', mode, '--port', String(port)], { timeoutMs: 30_000 });
    checkRefusal(test, outcome, { code: unavailable, says: [new RegExp(String(port)), /in use|taken|--port/] });
    await checkNothingLeft(test, place);
  }
});

t.test('a mode that does not exist on this system', async (test) => {
  const place = makePlace(test);
  // Linux has every mode (iocp is served by io_uring there, and says so).
  const skip = isLinux ? 'every mode has a backend on Linux' : false;
  await test.test('epoll on Windows', { skip }, async (inner) => {
    const outcome = await run(place, ['serve', '--mode', 'epoll', '--port', '0']);
    checkRefusal(inner, outcome, { code: unavailable, says: [/epoll/, /Linux/] });
  });
  await checkNothingLeft(test, place);
});

const skipLimit = skipOutsideLinux('prlimit') || skipWithout('prlimit');
t.test('too few descriptors', { skip: skipLimit }, async (test) => {
  const place = makePlace(test);
  const limited = { under: ['prlimit', '--nofile=512'], timeoutMs: 30_000 };
  const outcome = await run(place, ['blast', '--clients', '6000', '--duration', '1h', '--json', 'r.json'], limited);
  const says = [/descriptor|open files/i, /\b512\b/, /\b6,?\d\d\d\b/, /ulimit -n|prlimit|LimitNOFILE/];
  checkRefusal(test, outcome, { code: unavailable, says });
  await checkNothingLeft(test, place);
});

const skipRings = await whyUnavailable('io_uring');
t.test('a sweep skips the sizes that one mode cannot run', { skip: skipLimit || skipRings }, async (test) => {
  const place = makePlace(test);
  const sweep = ['--modes', 'epoll,io_uring', '--engine', 'io_uring', '--phases', 'capacity', '--json', '-'];
  const limited = { under: ['prlimit', '--nofile=500'], timeoutMs: 60_000 };
  const outcome = await run(place, shortBlast(...sweep, '--clients', '50,600'), limited);
  test.equal(outcome.code, 0, outcome.stderr);
  const report = JSON.parse(outcome.stdout) as Report;
  const told = report.runs.map((one) => [one.mode, one.clients, one.trials.length > 0, one.limit?.most ?? null]);
  test.strictSame(told, [
    ['epoll', 50, true, null],
    ['io_uring', 50, true, null],
    ['epoll', 600, false, 372],
    ['io_uring', 600, true, null],
  ]);
  test.ok(report.findings.some((text) => text.startsWith('epoll: 372 clients at most here')));
  const single = await run(place, shortBlast(...sweep, '--clients', '600'), limited);
  checkRefusal(test, single, { code: unavailable, says: [/600 connections in mode epoll/, /\b500\b/] });
  await checkNothingLeft(test, place);
});

t.test('a soft limit is raised by the tool itself', { skip: skipLimit }, async (test) => {
  const place = makePlace(test);
  const args = shortBlast('--clients', '400', '--modes', 'epoll', '--phases', 'capacity', '--json', '-');
  const outcome = await run(place, args, { under: ['prlimit', '--nofile=256:4096'] });
  test.equal(outcome.code, 0, `exit code 0 ${outcome.code === 0 ? '' : outcome.stderr}`);
  await checkNothingLeft(test, place);
});

t.test('DEBUG shows where an error comes from', async (test) => {
  const place = makePlace(test);
  const outcome = await run(place, ['blast', '--clients', '0'], { env: { DEBUG: 'iocp-bench' } });
  test.equal(outcome.code, usage);
  test.match(outcome.stderr, /\n\s+at /, 'a stack trace on request');
});
