/** A reader of stdout or stderr that leaves early, like `| head`: no message, and the exit code and the files are those of the run. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  checkMessage,
  checkNothingLeft,
  makePlace,
  Running,
  shortBlast,
  type Outcome,
  type Place,
} from '../support/cli.js';
import { Client, pattern } from '../support/clients.js';
import { root, skipOutsideLinux } from '../support/environment.js';
import { readReport } from '../support/report.js';
import { until, within } from '../support/wait.js';

t.setTimeout(300_000);

const saved = join(root, 'fixtures', 'reports', 'two-modes.json');
const gateHeld = 99;
// A gate on a count does not depend on the noise of the machine.
const heldGate = ['--fail-if', 'any.connections_made > 0'];

/** Runs the tool with the reading ends of these pipes already closed. */
async function runUnread(
  place: Place,
  args: readonly string[],
  streams: readonly ('stdout' | 'stderr')[],
): Promise<Outcome> {
  const running = new Running(place, args);
  for (const name of streams) running.child[name]?.destroy();
  return await within(running.finished, `iocp-bench ${args.join(' ')}`, 120_000);
}

function checkSilent(test: Test, outcome: Outcome, code: number): void {
  checkMessage(test, outcome, { code, says: [] });
  test.notMatch(outcome.stderr, /EPIPE|cannot write to stdout/, 'nothing is said about the pipe');
}

for (const streams of [['stdout'], ['stderr'], ['stdout', 'stderr']] as const) {
  const name = streams.join(' and ');

  t.test(`report with ${name} closed`, async (test) => {
    const place = makePlace(test);
    const args = ['report', saved, ...heldGate, '--markdown', 'r.md'];
    checkSilent(test, await runUnread(place, args, streams), gateHeld);
    test.match(readFileSync(join(place.folder, 'r.md'), 'utf8'), /throughput/i, 'the file is whole');
    checkSilent(test, await runUnread(place, ['report', saved, '--json', '-'], streams), 0);
  });

  t.test(`diff with ${name} closed`, async (test) => {
    const place = makePlace(test);
    const args = ['diff', saved, saved, '--fail-if', 'iocp.throughput < 1.5', '--json', 'd.json'];
    checkSilent(test, await runUnread(place, args, streams), gateHeld);
    test.type(JSON.parse(readFileSync(join(place.folder, 'd.json'), 'utf8')), 'object', 'the file is whole');
  });

  t.test(`blast with ${name} closed`, async (test) => {
    const place = makePlace(test);
    const common = shortBlast('--modes', 'node', '--clients', '10', '--phases', 'capacity', ...heldGate);
    checkSilent(test, await runUnread(place, [...common, '--json', 'r.json'], streams), gateHeld);
    test.equal(readReport(test, join(place.folder, 'r.json')).partial, false, 'the file is whole');
    checkSilent(test, await runUnread(place, [...common, '--json', '-', '--html', 'r.html'], streams), gateHeld);
    test.ok(existsSync(join(place.folder, 'r.html')));
    await checkNothingLeft(test, place, ['r.html', 'r.json']);
  });
}

t.test('doctor and --help with stdout closed', async (test) => {
  const place = makePlace(test);
  for (const args of [['doctor', '--no-noise'], ['doctor', '--no-noise', '--json'], ['--help'], ['--version']]) {
    checkSilent(test, await runUnread(place, args, ['stdout']), 0);
  }
});

t.test('serve continues when the reader of its events leaves', async (test) => {
  const place = makePlace(test);
  const running = new Running(place, ['serve', '--mode', 'node', '--port', '0', '--format', 'ndjson']);
  test.teardown(() => {
    running.kill();
  });
  await until(() => running.stdout.includes('\n'));
  const [line = '{}'] = running.stdout.split('\n');
  const { port = 0 } = JSON.parse(line) as { port?: number };
  running.child.stdout?.destroy();
  // Two rows of statistics go to the closed pipe meanwhile.
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  const client = await Client.connect(port);
  const bytes = pattern(1, 1_000);
  test.ok((await client.echo(bytes)).equals(bytes), 'it still echoes');
  client.destroy();
  if (skipOutsideLinux('a signal that ends a server gracefully') !== false) return;
  running.child.kill('SIGTERM');
  checkSilent(test, await within(running.finished, 'the end of serve'), 0);
});
