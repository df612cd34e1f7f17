/** A fault of the tool in the middle of a run: it is reported, the run ends, and nothing goes on or is lost. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t, { type Test } from 'tap';
import { checkNothingLeft, makePlace, Running } from '../support/cli.js';
import { readReport } from '../support/report.js';
import { within } from '../support/wait.js';

t.setTimeout(120_000);

/**
 * Throws in the main thread of the process whose command is named, soon after `moment`: a statement that has fail() called. The script has a
 * folder of its own, so that what the run leaves behind shows.
 */
function faultyEnvironment(test: Test, command: string, moment: string): NodeJS.ProcessEnv {
  const path = join(makePlace(test).folder, 'fault.mjs');
  writeFileSync(
    path,
    `import { isMainThread } from 'node:worker_threads';
     const fail = () => setTimeout(() => { throw new Error('injected'); }, 300);
     if (isMainThread && process.argv[2] === '${command}' && process.send === undefined) { ${moment} }`,
  );
  return { NODE_OPTIONS: `--import ${pathToFileURL(path).href}` };
}

const whenAWorkerStarts = "process.once('worker', fail);";
const whenItSaysThatItListens = `
  const { stdout } = process;
  const write = stdout.write.bind(stdout);
  stdout.write = (...all) => { stdout.write = write; fail(); return write(...all); };`;

t.test('while client threads are in native calls', async (test) => {
  const place = makePlace(test);
  // Far longer than the test waits: the fault alone ends it.
  const args = ['blast', '--modes', 'blocking', '--clients', '20', '--threads', '2', '--trials', '1'];
  args.push('--duration', '10m', '--phases', 'capacity', '--json', 'report.json');
  const running = new Running(place, args, { env: faultyEnvironment(test, 'blast', whenAWorkerStarts) });
  test.teardown(() => {
    running.kill();
  });
  const outcome = await within(running.finished, 'the run', 100_000);
  test.equal(outcome.code, 1, 'the exit code of a fault');
  test.match(outcome.stderr, /internal error.*injected/);
  test.notMatch(outcome.stderr, /interrupted/, 'which the user did not do');
  test.equal(readReport(test, join(place.folder, 'report.json')).partial, true, 'the report is kept');
  await checkNothingLeft(test, place, ['report.json']);
});

t.test('while a server runs', async (test) => {
  const place = makePlace(test);
  const env = faultyEnvironment(test, 'serve', whenItSaysThatItListens);
  const running = new Running(place, ['serve', '--mode', 'blocking', '--port', '0', '--format', 'ndjson'], { env });
  test.teardown(() => {
    running.kill();
  });
  const outcome = await within(running.finished, 'the server', 100_000);
  test.equal(outcome.code, 1, 'the exit code of a fault');
  test.match(outcome.stderr, /internal error.*injected/);
  test.match(outcome.stdout, /"stopped"/, 'it was stopped in order');
  await checkNothingLeft(test, place);
});
