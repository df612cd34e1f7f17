/** Named baselines and confirmed gates of `blast`. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { confirmedGates } from '../../src/measure/gates.js';
import type { Gate, Report } from '../../src/model/report-schema.js';
import { makePlace, run } from '../support/cli.js';

const place = makePlace(t);
const { folder } = place;
const baselines = join(folder, 'baselines');
const short = ['--clients', '10', '--modes', 'blocking', '--trials', '2', '--phases', 'capacity', '--warmup', '50ms'];
const blast = (...more: readonly string[]) =>
  run(place, ['blast', ...short, '--duration', '200ms', '--quiet', '--baseline-dir', baselines, ...more]);

t.test('a baseline is saved, compared with, and refused where it does not fit', async (test) => {
  const missing = await blast('--baseline', 'main');
  test.equal(missing.code, 2);
  test.match(missing.stderr, /has no baseline main/);
  test.match(missing.stderr, /--save-baseline main/);

  const saved = await blast('--save-baseline', 'main');
  test.equal(saved.code, 0, saved.stderr);
  const file = join(baselines, 'main.json');
  test.ok(existsSync(file));

  const compared = await blast('--baseline', 'main');
  test.equal(compared.code, 0, compared.stderr);
  test.match(compared.stdout, /baseline main/, 'the comparison with the baseline follows the table');

  const near = await blast('--baseline', 'mian');
  test.match(near.stderr, /did you mean main/);
  const other = await blast('--baseline', 'main', '--message-size', '100');
  test.equal(other.code, 2);
  test.match(other.stderr, /baseline main cannot be compared: the load differs/);
  const longer = await run(place, [
    'blast',
    ...short,
    '--duration',
    '300ms',
    '--quiet',
    '--baseline-dir',
    baselines,
    '--baseline',
    'main',
  ]);
  test.equal(longer.code, 2);
  test.match(longer.stderr, /baseline main cannot be compared: the plan differs/);

  const report = JSON.parse(readFileSync(file, 'utf8')) as Report;
  const moved = { ...report, environment: { ...report.environment, cpu_model: 'another CPU' } };
  writeFileSync(join(baselines, 'moved.json'), JSON.stringify(moved));
  const elsewhere = await blast('--baseline', 'moved');
  test.equal(elsewhere.code, 2);
  test.match(elsewhere.stderr, /baseline moved was measured on another machine/);

  const escaping = await blast('--save-baseline', '../main');
  test.equal(escaping.code, 2);
  test.match(escaping.stderr, /is not a name for a baseline/);
});

t.test('a gate that is true is confirmed by another run', async (test) => {
  const json = join(folder, 'report.json');
  const confirmed = await blast('--fail-if', 'blocking.connections_made > 0', '--confirm', '1', '--json', json);
  test.equal(confirmed.code, 99);
  test.ok(existsSync(join(folder, 'report.1.json')), 'the first run is kept');
  const passed = await blast(
    '--fail-if',
    'blocking.errors > 0',
    '--confirm',
    '1',
    '--json',
    join(folder, 'other.json'),
  );
  test.equal(passed.code, 0, passed.stderr);
  test.notOk(existsSync(join(folder, 'other.1.json')), 'nothing is repeated without need');
});

t.test('a gate that was true in one of two runs does not fail', (test) => {
  const gate = (held: boolean | null): Gate => ({ expression: 'x', held, reason: String(held) }) as Gate;
  const outcomes = [
    [true, true, true],
    [true, false, false],
    [false, true, false],
    [true, null, null],
    [null, true, null],
    [false, false, false],
  ] as const;
  for (const [first, second, wanted] of outcomes) {
    const [combined] = confirmedGates([gate(first)], [gate(second)]);
    test.equal(combined?.held, wanted, `${String(first)}, then ${String(second)}`);
    if (first !== second) test.match(combined?.reason, /true in an? (earlier|later) run/);
  }
  test.end();
});
