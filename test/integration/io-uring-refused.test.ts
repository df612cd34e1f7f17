/**
 * The system refuses io_uring in two ways: with a seccomp filter, as in Docker's default profile, or with kernel.io_uring_disabled.
 * The filter applies to one process and is always tested. The sysctl applies to the whole machine, so it is only changed in CI or
 * with IOCP_BENCH_TEST_SYSCTL=1, and always restored.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { checkNothingLeft, checkRefusal, makePlace, run, shortBlast, type RunOptions } from '../support/cli.js';
import { isRoot, skipOutsideLinux, skipWithout } from '../support/environment.js';
import { parseReport } from '../support/report.js';

t.setTimeout(120_000);

/** Denies io_uring_setup (425) with EPERM to itself and its children, then executes its arguments. */
const seccompScript = `
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
code = [(0x20, 0, 0, 0), (0x15, 0, 1, 425), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7fff0000)]
filters = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *one) for one in code))
program = struct.pack('HxxxxxxQ', len(code), ctypes.addressof(filters))
buffer = ctypes.create_string_buffer(program)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(buffer), 0, 0):
    sys.exit('seccomp: ' + os.strerror(ctypes.get_errno()))
os.execv(sys.argv[1], sys.argv[1:])
`;

interface Way {
  name: string;
  options: RunOptions;
  /** The messages must name what refuses io_uring, so that the user knows what to change. */
  says: RegExp;
}

async function namedModes(test: Test, way: Way): Promise<void> {
  const place = makePlace(test);
  const outcome = await run(place, shortBlast('--modes', 'blocking,iocp', '--clients', '10'), way.options);
  checkRefusal(test, outcome, { code: 3, says: [/io_uring/, way.says, /--modes/] });
  await checkNothingLeft(test, place);
}

async function serveRefuses(test: Test, way: Way): Promise<void> {
  const place = makePlace(test);
  const outcome = await run(place, ['serve', '--mode', 'io_uring', '--port', '0'], way.options);
  checkRefusal(test, outcome, { code: 3, says: [/io_uring/, way.says, /--mode blocking/] });
  test.notMatch(outcome.stderr, /--modes/, 'which is an option of blast');
  await checkNothingLeft(test, place);
}

async function engineRefused(test: Test, way: Way): Promise<void> {
  const place = makePlace(test);
  const args = shortBlast('--modes', 'epoll', '--engine', 'io_uring', '--clients', '10');
  const outcome = await run(place, args, way.options);
  checkRefusal(test, outcome, { code: 3, says: [/engine io_uring/, way.says, /--engine auto, epoll/] });
  await checkNothingLeft(test, place);
}

async function defaultModes(test: Test, way: Way): Promise<void> {
  const place = makePlace(test);
  const args = ['blast', '--clients', '10', '--duration', '300ms', '--warmup', '100ms', '--trials', '1'];
  const outcome = await run(place, [...args, '--phases', 'capacity', '--json', '-'], way.options);
  test.equal(outcome.code, 0, 'exit code 0');
  const report = parseReport(test, outcome.stdout);
  const modes = report.runs.map((one) => one.mode);
  test.strictSame(modes, ['blocking', 'epoll'], 'blocking and epoll ran');
  test.match(outcome.stderr, /io_uring/, 'the first line says why');
  const told = report.warnings.some((warning) => warning.message.includes('io_uring'));
  test.ok(told, 'and so does a warning of the report');
  await checkNothingLeft(test, place);
}

async function refusedBy(test: Test, way: Way): Promise<void> {
  await test.test('modes that the user named are refused', (inner) => namedModes(inner, way));
  await test.test('serve says why', (inner) => serveRefuses(inner, way));
  await test.test('a client engine that the user named is refused', (inner) => engineRefused(inner, way));
  await test.test('the default becomes blocking against epoll, and says so', (inner) => defaultModes(inner, way));
  await test.test('doctor says what refuses', async (inner) => {
    const outcome = await run(makePlace(inner), ['doctor', '--no-noise'], way.options);
    inner.match(outcome.stdout, way.says, `names ${way.says.source}`);
  });
}

const skipFilter = skipOutsideLinux('seccomp') || skipWithout('python3');
t.test('by a seccomp filter, as in Docker', { skip: skipFilter }, async (test) => {
  const options = { under: ['python3', '-c', seccompScript] };
  await refusedBy(test, { name: 'seccomp', options, says: /seccomp|container|Docker/i });
});

const switchPath = '/proc/sys/kernel/io_uring_disabled';
const allowed = '0';
const refusedToAll = '2';

/** False if the sysctl may and can be changed here; otherwise why not. */
function whyFixed(): string | false {
  const elsewhere = skipOutsideLinux(switchPath);
  if (elsewhere !== false) return elsewhere;
  if ((process.env['CI'] ?? process.env['IOCP_BENCH_TEST_SYSCTL'] ?? '') === '') {
    return 'turning kernel.io_uring_disabled changes the whole machine; IOCP_BENCH_TEST_SYSCTL=1 allows it';
  }
  if (!isRoot) return `only root can write ${switchPath}`;
  try {
    if (readFileSync(switchPath, 'utf8').trim() !== allowed) return 'io_uring is disabled here already';
    writeFileSync(switchPath, allowed);
    return false;
  } catch {
    return `${switchPath} cannot be written here`;
  }
}

const skipSwitch = whyFixed();
t.test('by kernel.io_uring_disabled', { skip: skipSwitch }, async (test) => {
  const restore = () => {
    writeFileSync(switchPath, allowed);
  };
  const exit = () => process.exit(1);
  process.once('exit', restore);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, exit);
  writeFileSync(switchPath, refusedToAll);
  try {
    await refusedBy(test, { name: 'sysctl', options: {}, says: /io_uring_disabled/ });
  } finally {
    restore();
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, exit);
  }
});
