/** `report` and `diff`, run as a user does, on the sample reports in fixtures/, without load or servers. */
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { checkNothingLeft, checkRefusal, makePlace, run, type Place } from '../support/cli.js';
import { root, skipOutsideLinux, skipWithout } from '../support/environment.js';
import { parseReport, readReport } from '../support/report.js';
import { withAsciiSigns } from '../../src/terminal.js';

t.setTimeout(120_000);

const usage = 2;
const notValid = 5;
const gateHeld = 99;

/** A place with these samples in it. */
function placeWith(test: Test, ...names: string[]): Place {
  const place = makePlace(test);
  for (const name of names)
    copyFileSync(join(root, 'fixtures', 'reports', `${name}.json`), join(place.folder, `${name}.json`));
  return place;
}

function golden(name: string): string {
  return readFileSync(join(root, 'fixtures', 'golden', name), 'utf8').replaceAll('\r\n', '\n');
}

t.test('the table, on a pipe 80 columns wide and without colour', async (test) => {
  const place = placeWith(test, 'two-modes');
  const outcome = await run(place, ['report', 'two-modes.json']);
  test.equal(outcome.code, 0);
  test.equal(outcome.stdout, golden('two-modes.80.txt'));
  test.equal(outcome.stderr, '');
});

t.test('--full shows every figure, --explain the long form of the warnings', async (test) => {
  const place = placeWith(test, 'two-modes', 'bad-day', 'slower-head');
  const full = await run(place, ['report', 'two-modes.json', '--full']);
  test.equal(full.code, 0);
  test.equal(full.stdout, golden('two-modes.full.80.txt'));
  const short = await run(place, ['report', 'bad-day.json']);
  const explained = await run(place, ['report', 'bad-day.json', '--explain']);
  test.notMatch(short.stdout, /Warning: blocking at 6,000 clients/);
  test.match(explained.stdout, /Warning: blocking at 6,000 clients, capacity: 2,031 of 6,000 connections/);
  test.match(explained.stdout, /How to read these figures/);
  const change = ['diff', 'two-modes.json', 'slower-head.json'];
  const [brief, whole] = [await run(place, change), await run(place, [...change, '--full'])];
  test.notMatch(brief.stdout, /page tables/);
  test.match(brief.stdout, /CPU per request[\s\S]*--full shows every figure/);
  test.match(whole.stdout, /page tables[\s\S]*Jain's fairness index/);
});

t.test('a terminal without UTF-8, and a file', { skip: skipWithout('sh') || skipOutsideLinux('sh') }, async (test) => {
  const place = placeWith(test, 'two-modes', 'wine');
  const env = { LC_ALL: 'C' };
  const onPipe = await run(place, ['report', 'wine.json'], { env });
  test.equal(onPipe.code, 0, onPipe.stderr);
  test.equal(onPipe.stdout, withAsciiSigns(golden('wine.80.txt')));
  const toFile = await run(place, ['report', 'two-modes.json', '--markdown', 'r.md'], {
    env,
    under: ['sh', '-c', 'exec "$@" > table.txt', 'sh'],
  });
  test.equal(toFile.code, 0, toFile.stderr);
  const read = (file: string): string => readFileSync(join(place.folder, file), 'utf8');
  test.equal(read('table.txt'), golden('two-modes.80.txt'), 'files are UTF-8');
  test.equal(read('r.md'), golden('two-modes.md'), 'files are UTF-8');
});

t.test("a report saved by PowerShell 5.1's >", async (test) => {
  const place = placeWith(test, 'wine', 'two-modes');
  const saved = (name: string): string => readFileSync(join(place.folder, name), 'utf8').replaceAll('\n', '\r\n');
  const file = join(place.folder, 'saved.json');
  writeFileSync(file, Buffer.from(`\uFEFF${saved('wine.json')}`, 'utf16le'));
  const outcome = await run(place, ['report', 'saved.json']);
  test.equal(outcome.code, 0, outcome.stderr);
  test.equal(outcome.stdout, golden('wine.80.txt'));
  const compared = await run(place, ['diff', 'saved.json', 'saved.json']);
  test.equal(compared.code, 0, 'by diff too');
  writeFileSync(file, Buffer.from([0x1f, 0x8b, 8, 0, 0x1b, 0x5b, 0x33, 0x31, 0x6d]));
  checkRefusal(test, await run(place, ['report', 'saved.json']), {
    code: usage,
    says: [/saved\.json is not JSON: it is not text/],
  });
});

t.test('every export', async (test) => {
  const place = placeWith(test, 'bad-day');
  const files = { csv: 'r.csv', html: 'r.html', json: 'r.json', junit: 'r.xml', markdown: 'r.md' };
  const args = Object.entries(files).flatMap(([format, file]) => [`--${format}`, file]);
  const outcome = await run(place, ['report', 'bad-day.json', ...args]);
  test.equal(outcome.code, 0, outcome.stderr);
  const read = (file: string): string => readFileSync(join(place.folder, file), 'utf8').replaceAll('\r\n', '\n');
  test.equal(read('r.csv'), golden('bad-day.csv'));
  test.equal(read('r.md'), golden('bad-day.md'));
  test.equal(read('r.xml'), golden('bad-day.junit.xml'));
  test.match(read('r.html'), /^<!doctype html>[^]*<\/html>\n$/);
  test.strictSame(readReport(test, join(place.folder, 'r.json')), readReport(test, join(place.folder, 'bad-day.json')));
  await checkNothingLeft(test, place, ['bad-day.json', ...Object.values(files)].sort());
});

t.test('an export on stdout comes without the table', async (test) => {
  const place = placeWith(test, 'two-modes');
  const outcome = await run(place, ['report', 'two-modes.json', '--json', '-']);
  test.equal(outcome.code, 0);
  parseReport(test, outcome.stdout);
  const two = await run(place, ['report', 'two-modes.json', '--json', '-', '--csv', '-']);
  checkRefusal(test, two, { code: usage, says: [/stdout/] });
});

t.test('a report on standard input', { skip: skipWithout('sh') || skipOutsideLinux('sh') }, async (test) => {
  const place = placeWith(test, 'wine');
  const outcome = await run(place, ['report', '-'], { under: ['sh', '-c', 'exec "$@" < wine.json', 'sh'] });
  test.equal(outcome.code, 0, outcome.stderr);
  test.equal(outcome.stdout, golden('wine.80.txt'));
});

t.test('gates on a saved report', async (test) => {
  const place = placeWith(test, 'two-modes', 'bad-day', 'target');
  const judge = async (file: string, ...gates: string[]): Promise<number | null> => {
    const outcome = await run(place, ['report', file, ...gates.flatMap((gate) => ['--fail-if', gate])]);
    if (outcome.code !== 0) test.match(outcome.stderr, /gate (?:held|undecided)/, 'the last word is about the gate');
    return outcome.code;
  };
  test.equal(await judge('two-modes.json', 'iocp/blocking.throughput < 1.2'), 0, 'a gate that does not hold');
  test.equal(await judge('two-modes.json', 'any.errors > 0', 'iocp.throughput > 1k/s'), gateHeld, 'one that holds');
  test.equal(await judge('target.json', 'target.server_cpu_us_per_request > 1us'), notValid, 'what is not known');
  test.equal(
    await judge('bad-day.json', 'iocp.response_time_p99 > 1ms'),
    gateHeld,
    'what lies beyond the timeout is above',
  );
  test.equal(await judge('bad-day.json', 'iocp.response_time_p99 > 60min'), notValid, 'by how much is not known');
  test.equal(
    await judge('target.json', 'target.throughput > 1/s', 'target.server_cpu_us_per_request > 1us'),
    notValid,
    'undecided comes before held',
  );
  const wrong = await run(place, ['report', 'two-modes.json', '--fail-if', 'epoll.throughput < 1']);
  checkRefusal(test, wrong, { code: usage, says: [/epoll/, /blocking, iocp/] });
});

t.test('several reports become one', async (test) => {
  const place = placeWith(test, 'two-modes', 'slower-head');
  writeFileSync(
    join(place.folder, 'later.json'),
    // Every time stamp is a year later, as in another run of the same command.
    readFileSync(join(place.folder, 'two-modes.json'), 'utf8').replaceAll('2026-', '2027-'),
  );
  const merged = await run(place, ['report', 'two-modes.json', 'later.json', '--json', '-']);
  const report = parseReport(test, merged.stdout);
  test.equal(report.plan.trials, 8);
  test.equal(report.comparisons.find(({ metric }) => metric === 'throughput')?.pairs, 8);
  const twice = await run(place, ['report', 'two-modes.json', 'two-modes.json']);
  checkRefusal(test, twice, { code: usage, says: [/same run/] });
  const stored = placeWith(test, 'two-modes', 'wine');
  const unlike = await run(stored, ['report', 'two-modes.json', 'wine.json']);
  checkRefusal(test, unlike, { code: usage, says: [/cannot be merged/] });
});

t.test('the changes between two reports', async (test) => {
  const place = placeWith(test, 'two-modes', 'slower-head', 'wine');
  const args = ['diff', 'two-modes.json', 'slower-head.json'];
  const plain = await run(place, args);
  test.equal(plain.code, 0, plain.stderr);
  test.match(plain.stdout, /iocp: throughput fell by \d+\.\d% .*, worse/);
  test.notMatch(plain.stdout, /blocking: .*(?:better|worse)/, 'no change is claimed for the unchanged mode');
  test.strictSame(
    plain.stdout.split('\n').filter((line) => line.length > 80),
    [],
    'fits 80 columns',
  );
  test.equal((await run(place, [...args, '--fail-if', 'iocp.throughput < 0.95'])).code, gateHeld);
  test.equal((await run(place, [...args, '--fail-if', 'blocking.throughput < 0.95'])).code, 0);
  const exported = await run(place, [...args, '--markdown', '-']);
  test.match(exported.stdout, /^## slower-head\.json against two-modes\.json\n/);
  const data = await run(place, [...args, '--json', '-']);
  test.ok((JSON.parse(data.stdout) as { changes: unknown[] }).changes.length > 0);
  const page = await run(place, [...args, '--html', '-']);
  test.match(page.stdout, /^<!doctype html>[^]*slower-head\.json against two-modes\.json[^]*<\/html>\n$/);
  const refused = await run(place, ['diff', 'two-modes.json', 'wine.json']);
  test.equal(refused.code, usage);
  test.match(refused.stderr, /cannot be compared.*systems differ/);
  await checkNothingLeft(test, place, ['slower-head.json', 'two-modes.json', 'wine.json']);
});

t.test('events of a server', async (test) => {
  const place = placeWith(test, 'two-modes');
  writeFileSync(join(place.folder, 'events.ndjson'), 'hello\n');
  const args = ['report', 'two-modes.json', '--server-events'];
  checkRefusal(test, await run(place, [...args, 'events.ndjson']), { code: usage, says: [/events\.ndjson/, /event/] });
  checkRefusal(test, await run(place, [...args, 'missing.ndjson']), { code: usage, says: [/missing\.ndjson/] });
});
