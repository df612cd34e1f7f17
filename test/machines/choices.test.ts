/** Choices of a run on agents: one that only probes, credentials, and what `doctor --nats` says is in the way. */
import { connect as connectNats } from '@nats-io/transport-node';
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { encodeMessage, speaks, subjects } from '../../src/agent/protocol.js';
import { mergeEncoded, decodeHistogram } from '../../src/measure/histogram.js';
import { checkMessage, checkNothingLeft, makePlace, run, shortBlast, Running, type Place } from '../support/cli.js';
import { findProgram, root } from '../support/environment.js';
import { makeCredentials } from '../support/nats-credentials.js';
import { startAgent, startNats, skipWithoutNats } from '../support/nats.js';
import { checkHealthyRun, parseReport, runOf } from '../support/report.js';
import { within } from '../support/wait.js';

t.setTimeout(300_000);
t.jobs = 3;
const skip = skipWithoutNats;

async function endAgents(test: Test, place: Place, agents: readonly Running[], files: string[] = []): Promise<void> {
  for (const agent of agents) agent.child.kill('SIGINT');
  for (const agent of agents) await within(agent.finished, 'the end of an agent');
  await checkNothingLeft(test, place, files);
}

t.test('--probe-on: latencies come from the probe alone, counts from all', { skip, buffered: true }, async (test) => {
  const place = makePlace(test);
  const broker = await startNats(test);
  const agents = await Promise.all(
    ['srv', 'one', 'two', 'eye'].map((name) => startAgent(test, place, broker.url, name)),
  );
  const machines = ['--nats', broker.url, '--server-on', 'srv', '--clients-on', 'one,two', '--probe-on', 'eye'];
  const load = ['--modes', 'blocking', '--clients', '90', '--rate', '3000', '--json', '-'];
  const outcome = await run(place, shortBlast(...machines, ...load));
  test.equal(outcome.code, 0, outcome.stderr);
  const report = parseReport(test, outcome.stdout);
  const measured = runOf(report, 'blocking', 90);
  checkHealthyRun(test, measured);
  test.strictSame(
    report.machines?.map(({ name, roles }) => [name, ...roles]),
    [
      ['srv', 'server'],
      ['one', 'load'],
      ['two', 'load'],
      ['eye', 'probe'],
    ],
  );
  for (const window of measured.trials) {
    if (window.state !== 'completed') continue;
    const parts = window.agents ?? [];
    const probe = parts.find(({ name }) => name === 'eye');
    test.strictSame(
      parts.map(({ name, connections }) => [name, connections.made]),
      [
        ['one', 40],
        ['two', 40],
        ['eye', 10],
      ],
      'the probe has 10 connections, the others share the rest',
    );
    test.equal(
      parts.reduce((sum, { requests }) => sum + requests.count, 0),
      window.requests.count,
      'the requests of all count',
    );
    for (const name of ['service_time_ns', 'response_time_ns'] as const) {
      const [whole, own] = [window[name], probe?.[name] ?? null];
      if (whole === null || own === null) continue;
      test.equal(whole.count, own.count, `${name}: as many as the probe measured`);
      test.equal(
        decodeHistogram(whole.histogram ?? '').outputPercentileDistribution(),
        mergeEncoded([own.histogram ?? ''])?.outputPercentileDistribution(),
        `${name}: equal to the probe's at every value`,
      );
      test.ok(own.count < window.requests.count / 2, `${name}: not those of the others`);
    }
  }
  const wrong = await run(place, ['blast', ...machines, '--clients-on', 'one,eye']);
  checkMessage(test, wrong, { code: 2, says: [/--probe-on eye is also in --clients-on/] });
  await endAgents(test, place, agents);
});

t.test('--nats-creds: a broker with accounts', { skip, buffered: true }, async (test) => {
  const place = makePlace(test);
  const { config, creds, strange } = makeCredentials();
  const files = join(place.folder, 'keys');
  mkdirSync(files);
  const pathOf = (name: string): string => join(files, name);
  for (const [name, text] of Object.entries({ 'nats.conf': config, 'right.creds': creds, 'wrong.creds': strange })) {
    writeFileSync(pathOf(name), text);
  }
  const broker = await startNats(test, ['-c', pathOf('nats.conf')]);
  const right = ['--nats-creds', pathOf('right.creds')];
  const agents = await Promise.all(['srv', 'one'].map((name) => startAgent(test, place, broker.url, name, right)));
  const machines = ['--nats', broker.url, ...right, '--server-on', 'srv', '--clients-on', 'one'];
  const load = ['--modes', 'blocking', '--clients', '20', '--phases', 'capacity', '--json', '-'];
  const outcome = await run(place, shortBlast(...machines, ...load));
  test.equal(outcome.code, 0, outcome.stderr);
  checkHealthyRun(test, runOf(parseReport(test, outcome.stdout), 'blocking', 20));
  const seed = /SU[A-Z2-7]{50,}/;
  test.match(readFileSync(pathOf('right.creds'), 'utf8'), seed, 'the file has a secret key');
  for (const text of [outcome.stdout, ...agents.flatMap(({ stdout, stderr }) => [stdout, stderr])]) {
    test.notMatch(text, seed, 'which is not shown');
  }
  for (const credentials of [['--nats-creds', pathOf('wrong.creds')], []]) {
    const stranger = await run(place, ['agents', '--nats', broker.url, ...credentials]);
    checkMessage(test, stranger, { code: 3, says: [/refuses these credentials/, /--nats-creds/] });
  }
  writeFileSync(pathOf('broken.creds'), 'no key in here\n');
  writeFileSync(pathOf('empty'), '');
  const cases: [args: string[], code: number, says: RegExp][] = [
    [['--nats-creds', pathOf('broken.creds')], 2, /--nats-creds .*broken\.creds has no credentials of a NATS user/],
    [['--nats-creds', pathOf('none')], 2, /--nats-creds .*none cannot be read: ENOENT/],
    [['--nats-token-file', pathOf('empty')], 2, /--nats-token-file .*empty is empty/],
    [[...right, '--nats-token-file', pathOf('empty')], 2, /exclude each other/],
  ];
  for (const [args, code, says] of cases) {
    checkMessage(test, await run(place, ['agents', '--nats', broker.url, ...args]), { code, says: [says] });
  }
  await endAgents(test, place, agents, ['keys']);
});

/** Another version of this program, next to nothing else. Its agents speak to those of this version. */
function otherVersion(place: Place): string {
  const folder = join(place.folder, 'other');
  mkdirSync(join(folder, 'dist'), { recursive: true });
  cpSync(join(root, 'dist', 'src'), join(folder, 'dist', 'src'), { recursive: true });
  for (const name of ['node_modules', 'prebuilds']) symlinkSync(join(root, name), join(folder, name));
  const description = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as object;
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ ...description, version: '0.0.1' }));
  return join(folder, 'dist', 'src', 'cli.js');
}

const skipDoctor =
  skipWithoutNats === false && findProgram('prlimit') === null ? 'prlimit is not installed' : skipWithoutNats;

t.test('doctor --nats: what is in the way on each agent', { skip: skipDoctor, buffered: true }, async (test) => {
  const place = makePlace(test);
  const broker = await startNats(test);
  // Without its capabilities, even root cannot raise the limit.
  const few = {
    under: ['prlimit', '--nofile=256:256', 'setpriv', '--bounding-set=-sys_resource', '--inh-caps=-sys_resource'],
  };
  const agents = await Promise.all([
    startAgent(test, place, broker.url, 'busy'),
    startAgent(test, place, broker.url, 'few', [], few),
    startAgent(test, place, broker.url, 'old', [], { program: otherVersion(place) }),
  ]);
  const connection = await connectNats({ servers: broker.url });
  test.teardown(() => connection.close());
  const hold = { speaks, id: 'hold', run: 'theirs', body: { type: 'hold', conductor: 'somebody (process 7)' } };
  await connection.request(subjects.agent('default', 'busy'), encodeMessage(hold), { timeout: 20_000 });

  const outcome = await run(place, ['doctor', '--nats', broker.url]);
  test.equal(outcome.code, 0, outcome.stderr);
  const words = outcome.stdout.replace(/\s+/g, ' ');
  test.match(words, /Agent busy: [^A]*held by somebody \(process 7\): wait until that run has ended/);
  test.match(
    words,
    /Agent few: .*6,000 clients of a blocking server need 6,128 descriptors of a process, the limit is 256; .*--nofile=6128/,
  );
  test.match(words, /Not usable: agent old is version 0\.0\.1\/\d+, and the message is of version/);
  test.notMatch(words, /Agent old:/);
  test.notMatch(words, /only available on/, 'not the modes of other systems');

  const { stdout } = await run(place, ['doctor', '--nats', broker.url, '--json']);
  const told = JSON.parse(stdout) as { agents: { name: string; problems: string[] }[]; refused: string[] };
  test.strictSame(
    told.agents.map(({ name }) => name),
    ['busy', 'few'],
  );
  test.equal(told.refused.length, 1);
  const missing = await run(place, ['doctor', '--nats', broker.url, '--group', 'elsewhere']);
  checkMessage(test, missing, { code: 3, says: [/no agent is in group elsewhere/] });
  const used = ['--nats', broker.url, '--server-on', 'few', '--clients-on', 'old', '--clients', '20'];
  const refused = await run(place, ['blast', ...used]);
  checkMessage(test, refused, { code: 3, says: [/agent old does not answer/, /is version 0\.0\.1/] });
  await endAgents(test, place, agents, ['other']);
});
