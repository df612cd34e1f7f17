/** One row per option serves the command line, the plan, the report and the comparison of reports. */
import { Command } from 'commander';
import t from 'tap';
import { blastOptions, addBlastOptions } from '../../../src/library/blast-options.js';
import { differencesOf } from '../../../src/measure/plan-differences.js';
import {
  initialOrNull,
  planShape,
  reportedNames,
  reportedOptions,
  serverOptionValues,
  type PlannedOptions,
} from '../../../src/model/options.js';
import { planSchema } from '../../../src/model/report-schema.js';
import { samples } from '../report/samples.js';

function parse(...args: string[]): ReturnType<typeof blastOptions> {
  const command = new Command().exitOverride();
  addBlastOptions(command);
  command.parse(args, { from: 'user' });
  return blastOptions(command.opts());
}

t.test('options become values under the names used in the code', async (test) => {
  const given = parse(
    '--duration',
    '2s',
    '--edge-triggered',
    '--receive-buffer',
    '4KiB',
    '--no-pin',
    '--clients',
    '1,2',
  );
  test.match(given, { durationMs: 2_000, edgeTriggered: true, receiveBufferBytes: 4_096, pin: false, clients: [1, 2] });
  test.match(given, { zeroByteRecv: false, workers: undefined, phases: 'both', failIf: [], quiet: false });
  test.equal(parse().pin, true, 'pinned unless --no-pin is given');
  const twice = parse('--mode-command', 'a=x {port}', '--mode-command', 'b=y {port}');
  test.same(twice.modeCommand, ['a=x {port}', 'b=y {port}'], 'a repeatable option collects its values');
  test.same(parse().modeCommand, [], 'and two parses do not share a list');
});

t.test('work and wait are lists', async (test) => {
  test.match(parse(), { worksUs: [0], waitsMs: [0] });
  test.match(parse('--work', '0,10us, 0.1ms,1ms', '--wait', '5ms'), { worksUs: [0, 10, 100, 1000], waitsMs: [5] });
  for (const [text, message] of [
    ['0,,1ms', /has an empty entry/],
    ['100us,1ms,0.1ms', /--work names 0\.1ms twice/],
    ['0,-5us', /--work -5us is negative/],
    ['0,5', /--work "5" has no unit/],
    ['11s', /--work 11s is too long/],
  ] as const) {
    test.throws(() => parse('--work', text), { message }, text);
  }
});

t.test('every option of the plan is in the report', async (test) => {
  const options: PlannedOptions = {
    ...initialOrNull(),
    ratePerSecond: null,
    trials: 4,
    phases: ['capacity'],
    messageSizeBytes: 64,
    pipeline: 1,
    threads: 1,
    aa: false,
    edgeTriggered: true,
    findMaxRate: 'p99<10ms',
  };
  const reported = reportedOptions(options);
  test.match(reported, { edge_triggered: true, find_max_rate: 'p99<10ms', duration_ms: 3_000, workers: null });
  test.same(Object.keys(reported).sort(), Object.keys(planShape).sort());
  for (const name of Object.keys(planShape)) test.ok(name in planSchema.shape, name);
  test.same(
    Object.keys(serverOptionValues(options, { work_us: 5 })).sort(),
    [
      'backlog',
      'bodySizeBytes',
      'countInstructions',
      'edgeTriggered',
      'poolThreads',
      'receiveBufferBytes',
      'stackSizeBytes',
      'waitBlocks',
      'waitMs',
      'workUs',
      'workers',
      'zeroByteRecv',
    ],
    'a server is started with its own options alone',
  );
});

t.test(
  'reports whose plans differ in a load option are refused; a difference in a condition causes a warning',
  async (test) => {
    const base = samples.twoModes();
    const changed = (change: object): ReturnType<typeof differencesOf> =>
      differencesOf(base, { ...base, plan: { ...base.plan, ...change } });
    for (const name of reportedNames('load')) test.equal(changed({ [name]: 'another' }).refusals.length, 1, name);
    for (const name of reportedNames('condition', 'server')) {
      test.match(changed({ [name]: 'another' }).warnings, [new RegExp(`the plan differs: ${name}`)], name);
    }
    test.same(changed({ seed: 7, trials: 9 }), { refusals: [], conditions: [], warnings: [], otherMachine: false });
  },
);

t.test('a field that older reports lack is a difference only where it is not the default', async (test) => {
  const older = samples.twoModes();
  const newer = (edge_triggered: boolean): ReturnType<typeof differencesOf> =>
    differencesOf(older, { ...older, plan: { ...older.plan, edge_triggered, pool_threads: 200 } });
  test.same(newer(false).warnings, []);
  test.same(newer(true).warnings, ['the plan differs: edge_triggered not recorded, then true']);
  const arriving = (arrivals: 'even' | 'poisson'): string[] =>
    differencesOf(older, { ...older, plan: { ...older.plan, arrivals } }).warnings;
  test.same(arriving('even'), [], 'older reports had even arrivals, which are not the default any more');
  test.same(arriving('poisson'), ['the plan differs: arrivals not recorded, then "poisson"']);
});
