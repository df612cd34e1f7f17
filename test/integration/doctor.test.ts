/** `doctor` for users and scripts: every mode with its reason, and limits that are too low with the command that raises each. */
import t, { type Test } from 'tap';
import { modeNames } from '../../src/model/parse.js';
import { makePlace, run } from '../support/cli.js';
import { isLinux, skipOutsideLinux, skipWithout } from '../support/environment.js';

t.setTimeout(180_000);

interface Diagnosis {
  modes: { mode: string; backend: string; available: boolean; reason: string }[];
  engines: { name: string; available: boolean; reason: string }[];
  tls: { available: boolean; features: string };
  limits: { cpus_online: number };
  environment: { instructions: { scope: string | null; reason: string } };
  outlook: { clients: number; mode: string; verdict: string; problems: { limit: string; command: string }[] }[];
}

async function diagnose(test: Test, under: readonly string[] = []): Promise<Diagnosis> {
  const outcome = await run(
    makePlace(test),
    ['doctor', '--json', '--no-noise'],
    under.length > 0 ? { under: [...under] } : {},
  );
  test.equal(outcome.code, 0);
  test.equal(outcome.stderr, '', 'nothing besides the object');
  return JSON.parse(outcome.stdout) as Diagnosis;
}

t.test('for people', async (test) => {
  const outcome = await run(makePlace(test), ['doctor']);
  test.equal(outcome.code, 0);
  for (const word of [...modeNames, 'Clock', '100,000', '1,000,000', 'instructions and cycles', 'against itself']) {
    test.ok(outcome.stdout.includes(word), `shows ${word}`);
  }
  test.notMatch(outcome.stdout, /\b(undefined|NaN|null)\b/, 'no undefined value in the output');
  const wide = outcome.stdout
    .split('\n')
    .filter((line) => line.length > 80 && !/^ {4}(sudo|raise|ulimit)|Library/.test(line));
  test.same(wide, [], 'fits 80 columns, except for commands to copy');
});

t.test('for scripts', async (test) => {
  const { modes, engines, limits, outlook, tls, environment } = await diagnose(test);
  test.match(tls, { available: true, features: /^OpenSSL 3\./ }, 'the OpenSSL of this Node');
  test.same(
    modes.map(({ mode }) => mode),
    [...modeNames],
  );
  for (const { mode, available, reason } of modes) {
    test.equal(available, reason === '', `${mode}: a reason where it cannot run, and only there`);
  }
  const available = (name: string): boolean => modes.find(({ mode }) => mode === name)?.available ?? false;
  test.ok(available('blocking') && available('node'), 'these run everywhere');
  test.equal(available('epoll'), isLinux);
  test.equal(modes.find(({ mode }) => mode === 'iocp')?.backend, isLinux ? 'io_uring' : 'iocp');
  test.ok(
    engines.some((engine) => engine.available),
    'there is a client',
  );
  test.ok(limits.cpus_online >= 1);
  const { scope, reason: uncounted } = environment.instructions;
  test.equal(scope === null, uncounted !== '', 'what cannot be counted has a reason');
  test.equal(outlook.length, 4 * modes.length, 'four numbers of clients in every mode');
  for (const { mode, verdict, problems } of outlook) {
    const expected = !available(mode) ? ['unavailable'] : problems.length > 0 ? ['no', 'partly'] : ['yes'];
    test.ok(expected.includes(verdict), `${mode}: ${verdict} with ${problems.length} problems`);
    for (const { limit, command } of problems) test.not(command, '', `${limit} has a command`);
  }
});

const skipLimit = skipOutsideLinux('prlimit') || skipWithout('prlimit');
t.test('a limit that is too low is named', { skip: skipLimit }, async (test) => {
  const { outlook } = await diagnose(test, ['prlimit', '--nofile=512']);
  const epoll = outlook.find(({ mode, clients }) => mode === 'epoll' && clients === 6_000);
  test.equal(epoll?.verdict, 'no');
  test.match(epoll?.problems[0], { limit: 'descriptors of a process', command: /prlimit .*--nofile=6\d{3}/ });
});
