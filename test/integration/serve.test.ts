/** `serve`, run as a user does: events for scripts, signals, and the command that blasts it. */
import t from 'tap';
import { checkMessage, checkNothingLeft, makePlace, Running } from '../support/cli.js';
import { Client, pattern } from '../support/clients.js';
import { isWindows, skipOutsideLinux } from '../support/environment.js';
import { modesUnderTest, whyUnavailable } from '../support/server.js';
import { until, within } from '../support/wait.js';
import type { ServerStats } from '../../src/model/figures.js';

t.setTimeout(180_000);
// These tests mostly wait, each for a server of its own.
t.jobs = 4;

/** One line of `--format ndjson`; it may have more fields than these. */
interface ServeEvent {
  event: string;
  mode?: string;
  backend?: string;
  port?: number;
  stats?: ServerStats;
}

function events(running: Running): ServeEvent[] {
  const lines = running.stdout.split('\n').slice(0, -1);
  return lines.map((line) => JSON.parse(line) as ServeEvent);
}

async function listening(running: Running): Promise<ServeEvent> {
  await until(() => running.stdout.includes('\n') || running.child.exitCode !== null);
  const [first] = events(running);
  if (first === undefined) throw new Error(`serve said nothing: ${running.stderr}`);
  return first;
}

const signals = skipOutsideLinux('a signal that ends a server gracefully');
for (const mode of modesUnderTest()) {
  const unavailable = await whyUnavailable(mode);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    t.test(`${mode}: ${signal} ends it gracefully`, { skip: unavailable || signals, buffered: true }, async (test) => {
      const place = makePlace(test);
      const running = new Running(place, ['serve', '--mode', mode, '--port', '0', '--format', 'ndjson']);
      test.teardown(() => {
        running.kill();
      });
      const first = await listening(running);
      test.match(first, { event: 'listening', mode }, 'the first line says that it listens');
      const client = await Client.connect(first.port ?? 0);
      const bytes = pattern(1, 1_000);
      test.ok((await client.echo(bytes)).equals(bytes), 'on the port that it names');
      test.ok(await until(() => events(running).some((one) => one.event === 'stats')), 'then come statistics');
      running.child.kill(signal);
      const outcome = await within(running.finished, 'the end of serve');
      test.equal(outcome.signal, null, 'the signal did not kill it');
      test.ok(outcome.code === 0 || outcome.code === 130, `exit code 0 or 130 (${outcome.code ?? ''})`);
      const last = events(running).at(-1);
      test.equal(last?.event, 'stopped', 'the last line says that it stopped');
      test.match(
        last?.stats,
        { accepted: 1, closed: 1, bytes_received: 1_000, bytes_sent: 1_000 },
        'with its final counters',
      );
      client.destroy();
      await checkNothingLeft(test, place);
    });
  }
}

t.test('the pretty format prints the command that blasts it', async (test) => {
  const place = makePlace(test);
  const running = new Running(place, ['serve', '--mode', 'node', '--port', '0']);
  test.teardown(() => {
    running.kill();
  });
  const line = /iocp-bench blast --target 127\.0\.0\.1:\d+/;
  test.ok(await running.says(line), 'iocp-bench blast --target ...');
  running.child.kill('SIGTERM');
  const outcome = await within(running.finished, 'the end of serve');
  if (!isWindows) checkMessage(test, outcome, { code: 0, says: [] });
  test.notMatch(outcome.stdout, /\u001b\[/, 'no colour without a terminal');
});

const skipSubstitution = skipOutsideLinux('that substitution') || (await whyUnavailable('iocp'));
t.test('iocp on Linux says what serves it', { skip: skipSubstitution }, async (test) => {
  const place = makePlace(test);
  const running = new Running(place, ['serve', '--mode', 'iocp', '--port', '0']);
  test.teardown(() => {
    running.kill();
  });
  test.ok(await running.says(/blast --target/), 'it listens');
  test.match(running.stdout + running.stderr, /io_uring/, 'names io_uring');
  running.child.kill('SIGTERM');
  await within(running.finished, 'the end of serve');
  await checkNothingLeft(test, place);
});

t.test('an address that other machines can reach causes a warning', async (test) => {
  const place = makePlace(test);
  const running = new Running(place, [
    'serve',
    '--mode',
    'node',
    '--host',
    '0.0.0.0',
    '--port',
    '0',
    '--format',
    'ndjson',
  ]);
  test.teardown(() => {
    running.kill();
  });
  await listening(running);
  test.ok(await running.says(/authentication/), 'an echo server has no authentication');
  running.child.kill('SIGTERM');
  await within(running.finished, 'the end of serve');
});
