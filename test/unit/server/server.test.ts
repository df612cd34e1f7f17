/** The pure parts of src/server: which backend serves a mode, addresses, command lines, and how the end of a server is reported. */
import t from 'tap';
import { BenchError } from '../../../src/model/errors.js';
import { modeNames } from '../../../src/model/parse.js';
import { isLinux } from '../../support/environment.js';
import { withoutInspector } from '../../../src/server/child-environment.js';
import { splitCommandLine } from '../../../src/server/command.js';
import {
  backendOf,
  classicModes,
  requireEngine,
  requireMode,
  resolveModes,
  substitutionNotice,
  type ModeAvailability,
} from '../../../src/server/modes.js';
import { exitReason, withDeadline } from '../../../src/server/process.js';
import { addressesFrom } from '../../../src/server/running.js';

function refusal(call: () => unknown): BenchError {
  try {
    call();
  } catch (error) {
    if (error instanceof BenchError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

const windowsOnly = ['event_select', 'completion_routine', 'thread_pool_io'];

/** Modes of a Linux machine, without those that are named. */
function linuxModes(...missing: string[]): ModeAvailability[] {
  return modeNames.map((mode) => {
    const backend = backendOf(mode, 'linux');
    const available = ![...missing, ...windowsOnly].includes(backend);
    return {
      mode,
      backend,
      available,
      reason: available ? '' : 'refused by a rule',
      hint: available ? '' : 'change the rule',
    };
  });
}

t.test('what serves a mode', async (test) => {
  test.equal(backendOf('iocp', 'win32'), 'iocp');
  test.equal(backendOf('iocp', 'linux'), 'io_uring');
  test.equal(backendOf('blocking', 'linux'), 'blocking');
  test.match(substitutionNotice('iocp', 'io_uring'), /iocp is served by io_uring/);
  test.equal(substitutionNotice('iocp', 'iocp'), null);
  test.equal(substitutionNotice('io_uring', 'io_uring'), null, 'nothing was substituted');
});

t.test('the modes of a run', async (test) => {
  const names = (asked: Parameters<typeof resolveModes>[0], ...missing: string[]): string[] =>
    resolveModes(asked, linuxModes(...missing)).modes.map(({ mode }) => mode);
  test.same(names(null), ['blocking', 'iocp']);
  test.same(
    names('all'),
    ['blocking', 'process', 'pool', 'select', 'poll', 'epoll', 'io_uring', 'node'],
    'each backend once',
  );
  test.same(names('all', 'io_uring'), ['blocking', 'process', 'pool', 'select', 'poll', 'epoll', 'node']);
  if (isLinux) {
    test.same(names('classic'), ['blocking', 'select', 'poll', 'epoll', 'io_uring']);
    test.same(names('classic', 'io_uring'), ['blocking', 'select', 'poll', 'epoll']);
    test.match(
      resolveModes('classic', linuxModes('io_uring')).fallback,
      /classic: io_uring cannot run.*refused by a rule/,
    );
    test.equal(resolveModes('classic', linuxModes()).fallback, null);
  }
  test.same(classicModes('win32'), ['blocking', 'select', 'poll', 'event_select', 'iocp']);
  test.same(names(null, 'io_uring'), ['blocking', 'epoll'], 'the default falls back');
  test.match(resolveModes(null, linuxModes('io_uring')).fallback, /iocp.*refused by a rule.*blocking with epoll/);
  test.equal(resolveModes(null, linuxModes()).fallback, null);
  const named = refusal(() => names(['iocp', 'blocking'], 'io_uring'));
  test.equal(named.code, 'unavailable', 'a mode that the user named is never replaced');
  test.match(
    `${named.message} ${named.hint}`,
    /iocp.*refused by a rule.*change the rule.*--modes blocking,process,pool,select,poll,epoll,node/,
  );
  test.match(
    refusal(() => requireMode('iocp', linuxModes('io_uring'))).message,
    /iocp \(served by io_uring\).*refused/,
  );
  test.equal(requireMode('epoll', linuxModes('io_uring')).backend, 'epoll');
  const alone = refusal(() => requireMode('io_uring', linuxModes('io_uring')));
  test.match(
    alone.hint,
    /^change the rule; or use one that runs here: --mode blocking, .*epoll, node$/,
    'an option of its own',
  );
});

t.test('the client engine of a run', async (test) => {
  const probes = [
    { name: 'io_uring', available: false, reason: 'refused by a rule', hint: 'change the rule', features: '' },
    { name: 'epoll', available: true, reason: '', hint: '', features: '' },
  ];
  requireEngine('auto', probes);
  requireEngine('epoll', probes);
  const refused = refusal(() => {
    requireEngine('io_uring', probes);
  });
  test.equal(refused.code, 'unavailable');
  test.equal(refused.message, 'the client engine io_uring cannot run here: refused by a rule');
  test.equal(refused.hint, 'change the rule; or use one that runs here: --engine auto, epoll');
  const elsewhere = refusal(() => {
    requireEngine('iocp', probes);
  });
  test.match(`${elsewhere.message} ${elsewhere.hint}`, /engine iocp.*does not exist on.*--engine auto, epoll/);
});

t.test('addresses from a host on', async (test) => {
  test.same(addressesFrom('127.0.0.1', 1), ['127.0.0.1']);
  test.same(addressesFrom('127.0.0.254', 3), ['127.0.0.254', '127.0.0.255', '127.0.1.0'], 'carried over');
  test.same(addressesFrom('::1', 1), ['::1']);
  test.equal(refusal(() => addressesFrom('::1', 2)).code, 'usage');
  test.equal(refusal(() => addressesFrom('255.255.255.255', 2)).code, 'usage');
});

t.test("the inspector's options are not passed on", async (test) => {
  const cases: [string, string][] = [
    ['', ''],
    ['--inspect', ''],
    ['--inspect=127.0.0.1:9229 --max-old-space-size=100', '--max-old-space-size=100'],
    ['--inspect-brk=0 --inspect-wait --inspect-port 9230 --no-warnings', '--no-warnings'],
    ['--debug-port=1 --inspect-publish-uid=http', ''],
    ['--require "./a b.js" --inspect', '--require "./a b.js"'],
    ['--inspector-like=1', '--inspector-like=1'],
  ];
  for (const [given, kept] of cases) test.equal(withoutInspector(given), kept, given);
});

t.test('a command line without a shell', async (test) => {
  test.same(splitCommandLine('server.exe --port 7000'), ['server.exe', '--port', '7000']);
  test.same(splitCommandLine('"C:\\Program Files\\a.exe"  -p  1 ""'), ['C:\\Program Files\\a.exe', '-p', '1', '']);
  test.same(splitCommandLine('  '), []);
});

t.test('how a server ended', async (test) => {
  test.equal(exitReason({ code: null, signal: 'SIGKILL' }, ''), 'the server was killed by SIGKILL');
  const memory = exitReason({ code: null, signal: 'SIGKILL', memoryKill: true }, '');
  test.equal(memory, 'the server was killed by SIGKILL, while the system killed a process because memory ran out');
  test.equal(exitReason({ code: 1, signal: null, memoryKill: true }, ''), 'the server exited with code 1');
  test.equal(exitReason({ code: 3, signal: null }, 'one\ntwo\n\n'), 'the server exited with code 3: two');
  test.equal(exitReason({ code: null, signal: null }, ''), 'the server exited with code unknown');
});

t.test('a deadline', async (test) => {
  test.equal(await withDeadline(Promise.resolve(7), 1_000, 'it did not answer'), 7);
  await test.rejects(withDeadline(new Promise(() => undefined), 10, 'it did not answer'), {
    code: 'runFailed',
    message: 'it did not answer within 0.01 s',
  });
});
