import t from 'tap';
import { Conductor } from '../../../src/run/conductor.js';
import type { BlastPlan } from '../../../src/model/plan.js';
import { calibrationIndex, type NextWindow, type runTrial, type TrialTask } from '../../../src/run/trial.js';
import { seededRandom } from '../../../src/measure/random.js';
import type { CompletedWindow, Phase, Report, Window } from '../../../src/model/report-schema.js';
import { smallPlan } from '../../support/plan.js';
import { failedWindow } from '../measure/build.js';
import { characters, makeWindow, sampleEnvironment, samplePlan } from '../report/samples.js';

const [blocking] = smallPlan.modes;
if (blocking === undefined) throw new Error('the plan has no mode');
const twoModes = [blocking, { ...blocking, mode: 'node', backend: 'node' }];

interface Asked {
  readonly plan: BlastPlan;
  readonly task: TrialTask;
  readonly windows: NonNullable<ReturnType<NextWindow>>[];
}

/** The server of a trial: it carries this many requests/s, makes every window fail, or accepts no connection. */
type Server = number | 'fails' | 'none made';

/** Runs a conductor with simulated trials. */
async function conduct(
  plan: Partial<BlastPlan>,
  serverOf: (task: TrialTask) => Server,
  { isLate = () => false }: { isLate?: (task: TrialTask, rate: number) => boolean } = {},
): Promise<{ report: Report; asked: Asked[] }> {
  const asked: Asked[] = [];
  const trial: typeof runTrial = (used, task, next) => {
    const entry: Asked = { plan: used, task, windows: [] };
    asked.push(entry);
    const server = serverOf(task);
    const windows: Window[] = [];
    for (let window = next(windows); window !== null; window = next(windows)) {
      entry.windows.push(window);
      if (server === 'none made' || server === 'fails') {
        windows.push(failedWindow(completedWindow(task, window.phase, 1), 'nothing came back'));
        return Promise.resolve({ windows, madeNone: server === 'none made' });
      }
      windows.push(
        'refusal' in window
          ? failedWindow(completedWindow(task, window.phase, 1), window.refusal)
          : completedWindow(task, window.phase, server, isLate(task, window.ratePerSecond)),
      );
    }
    return Promise.resolve({ windows, madeNone: false });
  };
  const hooks = {
    startServer: () => Promise.reject(new Error('no server is needed')),
    onProgress: () => undefined,
    onTrial: () => undefined,
    onReport: () => undefined,
    signal: new AbortController().signal,
  };
  const conductor = new Conductor({ ...smallPlan, ...plan }, sampleEnvironment, [], [], hooks, trial);
  return { report: await conductor.run(), asked };
}

/** The rate that a window offers; 0 in a closed loop. */
function rateOf(window: Asked['windows'][number]): number {
  return 'ratePerSecond' in window ? window.ratePerSecond : 0;
}

function completedWindow(task: TrialTask, phase: Phase, perSecond: number, isLate = false): CompletedWindow {
  const character = characters.node;
  const plan = samplePlan([character], { duration_ms: 100 });
  const { clients, index, sequence } = { ...task };
  const window = makeWindow({ plan, character, clients, index, phase, sequence, random: seededRandom(1) });
  const client =
    phase === 'capacity' ? window.client : { ...window.client, own_lag_ns: isLate ? window.response_time_ns : null };
  return { ...window, client, requests: { ...window.requests, per_second: perSecond } };
}

function isCalibration({ task }: Asked): boolean {
  return task.index === calibrationIndex;
}

t.test('if the calibration found no rate, the latency phase fails with the reason', async (t) => {
  const { report, asked } = await conduct({}, ({ index }) => (index === calibrationIndex ? 'fails' : 5_000));
  const measured = asked.filter((trial) => !isCalibration(trial));
  t.match(measured[0]?.windows, [
    { phase: 'capacity', ratePerSecond: 0 },
    { phase: 'latency', refusal: String },
  ]);
  t.match(report.runs[0]?.trials, [
    { state: 'completed', phase: 'capacity' },
    { state: 'failed', phase: 'latency', reason: /offered rate is not known .*blocking: nothing came back.*--rate/ },
  ]);
  t.strictSame(report.plan.offered_rate_per_second, {});
});

t.test('a calibration without a single answer counts as failed', async (t) => {
  const { report } = await conduct({}, ({ index }) => (index === calibrationIndex ? 0 : 5_000));
  t.match(report.runs[0]?.trials[1], { state: 'failed', phase: 'latency', reason: /no request was answered/ });
});

t.test("the offered rate is a share of the slower mode's capacity", async (t) => {
  const { report, asked } = await conduct({ modes: twoModes }, ({ spec }) => (spec.mode === 'node' ? 1_000 : 5_000));
  t.strictSame(report.plan.offered_rate_per_second, { 10: 700 });
  const latency = asked.flatMap(({ windows }) => windows).filter(({ phase }) => phase === 'latency');
  t.match(latency, [{ ratePerSecond: 700 }, { ratePerSecond: 700 }]);
});

t.test('the think time applies to the trials but not to the calibration', async (t) => {
  const { asked } = await conduct({ thinkTimeMs: 50 }, () => 5_000);
  t.strictSame(
    asked.map((trial) => [isCalibration(trial), trial.plan.thinkTimeMs]),
    [
      [true, 0],
      [true, 0],
      [false, 50],
    ],
  );
});

const share = (fraction: number): { perSecond: null; fraction: number } => ({ perSecond: null, fraction });

t.test('a load curve has a run for each rate, and each trial offers all of them in a balanced order', async (t) => {
  const rates = [share(0.1), share(0.5), share(0.9)];
  const { report, asked } = await conduct({ modes: twoModes, rates, trials: 3 }, ({ spec }) =>
    spec.mode === 'node' ? 1_000 : 5_000,
  );
  t.strictSame(
    report.runs.map((run) => [run.mode, run.rate_per_second, run.rate_fraction, run.trials.map(({ phase }) => phase)]),
    [undefined, 0.1, 0.5, 0.9].flatMap((fraction) =>
      twoModes.map(({ mode }) =>
        fraction === undefined
          ? [mode, undefined, undefined, ['capacity', 'capacity', 'capacity']]
          : [mode, fraction * 1_000, fraction, ['latency', 'latency', 'latency']],
      ),
    ),
  );
  const trials = asked.filter((trial) => !isCalibration(trial));
  const orders = trials.map(({ windows }) =>
    windows.slice(1).map((window) => 'ratePerSecond' in window && window.ratePerSecond),
  );
  for (const order of orders) t.strictSame([...order].sort(), [100, 500, 900]);
  t.equal(new Set(orders.map(([first]) => first)).size, 3, 'each rate comes first once');
  t.strictSame(report.plan.rates?.[1], { per_second: null, fraction: 0.5 });
  t.equal(report.plan.rate_per_second, null);
  const compared = report.comparisons.filter(({ metric }) => metric === 'response_time_p99');
  t.strictSame(
    compared.map(({ rate_fraction }) => rate_fraction),
    [0.1, 0.5, 0.9],
    'and no comparison where there is no rate',
  );
  t.notOk(report.comparisons.some(({ verdict }) => verdict.includes('not known')));
});

t.test('a trial that fails misses all rates that it did not come to', async (t) => {
  const rates = [
    { perSecond: 100, fraction: null },
    { perSecond: 200, fraction: null },
  ];
  const { report } = await conduct({ rates, phases: ['latency'] }, () => 'fails');
  t.match(report.runs, [
    { rate_per_second: 100, trials: [{ state: 'failed' }] },
    { rate_per_second: 200, trials: [{ state: 'failed' }] },
  ]);
  const reasons = report.runs.flatMap(({ trials }) =>
    trials.map((window) => ('reason' in window ? window.reason : '')),
  );
  t.strictSame(reasons.sort(), ['not measured: nothing came back', 'nothing came back']);
});

t.test('the default rate is lowered until the client keeps it with every mode', async (t) => {
  const keeps = { blocking: 600, node: 400 };
  const { report, asked } = await conduct({ modes: twoModes }, () => 1_000, {
    isLate: ({ spec }, rate) => rate > (spec.mode === 'node' ? keeps.node : keeps.blocking),
  });
  const checked = asked.filter(isCalibration).map(({ task, windows }) => [task.spec.mode, ...windows.map(rateOf)]);
  t.strictSame(checked.slice(2), [
    ['blocking', 700, 700, 700, 520],
    ['node', 520, 520, 520, 390],
  ]);
  t.strictSame(report.plan.offered_rate_per_second, { 10: 390 });
  t.match(report.warnings, [
    {
      code: 'rate_lowered',
      severity: 'info',
      message: /with node at 700\/s, 70% .* 390\/s are offered, which it keeps/,
    },
  ]);
});

t.test('where no lower rate helps, the default stays', async (t) => {
  const { report } = await conduct({}, () => 1_000, { isLate: () => true });
  t.strictSame(report.plan.offered_rate_per_second, { 10: 700 });
  t.notOk(report.warnings.some(({ code }) => code === 'rate_lowered'));
});

t.test('a rate that was asked for is not lowered', async (t) => {
  for (const plan of [{ rateFraction: 0.9 }, { ratePerSecond: 900 }]) {
    const { report } = await conduct(plan, () => 1_000, { isLate: () => true });
    t.strictSame(report.plan.offered_rate_per_second, { 10: 900 });
  }
});

t.test('a single percentage takes the place of the default', async (t) => {
  const { report } = await conduct({ rateFraction: 0.5 }, () => 1_000);
  t.strictSame(report.plan.offered_rate_per_second, { 10: 500 });
  t.equal(report.plan.calibration_fraction, 0.5);
  t.notOk('rates' in report.plan);
});

t.test('no calibration if the rate is known', async (t) => {
  const { asked } = await conduct({ ratePerSecond: 300 }, () => 5_000);
  t.equal(asked.filter(isCalibration).length, 0);
  t.match(asked[0]?.windows[1], { phase: 'latency', ratePerSecond: 300 });
});

t.test('a calibration that made no connection ends the run', async (t) => {
  const { report, asked } = await conduct({ trials: 3, clients: [10, 20] }, () => 'none made');
  t.equal(asked.length, 1, 'and nothing is tried again');
  t.match(report.runs[0]?.trials, [{ state: 'failed', phase: 'capacity', index: 0, reason: 'nothing came back' }]);
  t.equal(report.runs[0]?.trials.length, 1);
  t.match(report.warnings, [{ code: 'not_tried_again', mode: 'blocking', clients: 10 }]);
});

t.test('the other mode continues', async (t) => {
  const { report, asked } = await conduct({ trials: 2, modes: twoModes }, ({ spec }) =>
    spec.mode === 'node' ? 'none made' : 5_000,
  );
  t.equal(asked.filter(({ task }) => task.spec.mode === 'node').length, 1);
  const complete = report.runs[0]?.trials.filter(({ state }) => state === 'completed');
  t.equal(complete?.length, 4, 'two trials of two phases');
  t.strictSame(report.plan.offered_rate_per_second, { 10: 3_500 });
});

t.test('sizes that a mode cannot run are skipped, and the report says so', async (t) => {
  const limited = { limit: 'descriptors of a process', value: 100, needed: 120, command: 'raise it', most: 15 };
  const outOfReach = [{ mode: 'node', clients: 20, ...limited }];
  const { report, asked } = await conduct({ trials: 1, clients: [10, 20], modes: twoModes, outOfReach }, () => 5_000);
  const tried = new Set(asked.map(({ task }) => `${task.spec.mode}@${task.clients}`));
  t.strictSame([...tried].sort(), ['blocking@10', 'blocking@20', 'node@10']);
  t.strictSame(
    report.runs.map(({ limit }) => limit),
    [undefined, undefined, undefined, limited],
  );
  t.match(report.findings, [
    /^node: 15 clients at most here, so it was not run at 20 .*descriptors of a process: 100; .*raise it/,
  ]);
});

t.test('a trial that made no connection is the last of its mode', async (t) => {
  const { report, asked } = await conduct({ trials: 3, ratePerSecond: 100 }, ({ index }) =>
    index === 1 ? 'none made' : 5_000,
  );
  t.strictSame(
    asked.map(({ task }) => task.index),
    [0, 1],
  );
  t.match(report.warnings, [{ code: 'not_tried_again', trial: 1 }]);
});

const until = { modes: twoModes, until: 0.03, trials: 4, trialsMax: 12, phases: ['capacity'] as Phase[] };

t.test('--until: the trials end when every interval is narrow', async (t) => {
  const { report, asked } = await conduct(until, () => 5_000);
  t.equal(asked.length, 12, 'six trials of two modes');
  t.match(report.plan, { until: 0.03, trials: 6, trials_max: 12 });
  t.equal(report.plan.order.length, 6);
  t.ok(report.precision?.every(({ reached, trials }) => reached && trials === 6));
  t.match(report.findings, [/within ±3% \(95% interval\) after 6 trials$/]);
});

t.test('--until: at most --trials-max, and the report says what was not reached', async (t) => {
  const { report } = await conduct({ ...until, clients: [10, 20] }, ({ spec, clients, index }) =>
    clients === 20 && spec.mode === 'node' ? 5_000 * (1 + (index % 3)) : 5_000,
  );
  const trials = report.runs.map((run) => [run.clients, run.trials.length]);
  t.strictSame(trials, [
    [10, 6],
    [10, 6],
    [20, 12],
    [20, 12],
  ]);
  t.equal(report.plan.trials, 12, 'of the size that needed most');
  t.match(
    report.warnings.filter(({ code }) => code === 'precision_not_reached'),
    [{ clients: 20, message: /after 12 trials .* throughput of node \/ blocking/ }],
  );
});

t.test('--until: a mode that made no connection is not waited for', async (t) => {
  const { asked } = await conduct(until, ({ spec }) => (spec.mode === 'node' ? 'none made' : 5_000));
  t.equal(asked.filter(({ task }) => task.spec.mode === 'blocking').length, 6);
});

t.test('without --until the report has no precision', async (t) => {
  const { report } = await conduct({ trials: 2, modes: twoModes, phases: ['capacity'] }, () => 5_000);
  t.equal(report.precision, undefined);
  t.match(report.plan, { until: null, trials: 2, trials_max: null });
});

t.test('a sweep over work: a run, a rate and a balanced order for each', async (t) => {
  const plan = { modes: twoModes, trials: 2, worksUs: [0, 100] };
  const { report, asked } = await conduct(plan, ({ work_us: work }) => (work === 100 ? 1_000 : 5_000));
  t.strictSame(
    report.runs.map(({ mode, work_us: work, wait_ms: wait, trials }) => [mode, work, wait, trials.length]),
    [
      ['blocking', 0, undefined, 4],
      ['node', 0, undefined, 4],
      ['blocking', 100, undefined, 4],
      ['node', 100, undefined, 4],
    ],
  );
  t.strictSame(report.plan.work_us, [0, 100]);
  t.strictSame(report.plan.offered_rate_per_second, { '10': 3_500, '10,work=100us': 700 });
  const order = (work: number): string[] =>
    asked.filter((trial) => !isCalibration(trial) && trial.task.work_us === work).map(({ task }) => task.spec.mode);
  t.strictSame(order(0), order(100));
  t.strictSame(order(0), [...report.plan.order.flat()]);
  t.strictSame([...new Set(report.comparisons.map(({ work_us: work }) => work))], [0, 100]);
});

t.test('without work and wait, the report is as it was before them', async (t) => {
  const { report } = await conduct({ modes: twoModes, trials: 2 }, () => 5_000);
  t.notOk(report.runs.some((run) => 'work_us' in run || 'wait_ms' in run));
  t.notOk(report.comparisons.some((comparison) => 'work_us' in comparison));
  t.strictSame(Object.keys(report.plan.offered_rate_per_second), ['10']);
});

t.test('the calibration of a server that waits is longer than the wait', async (t) => {
  const { asked } = await conduct({ waitsMs: [0, 800] }, () => 5_000);
  const first = asked.filter(isCalibration).map(({ windows: [window] }) => window);
  const windows = first.filter((window) => window?.phase === 'capacity');
  t.match(windows, [{ durationMs: 1_000 }, { durationMs: 1_600, warmupMs: 800 }]);
});

t.test('a mode that a limit keeps from a size is skipped there at every work', async (t) => {
  const limited = { limit: 'descriptors of a process', value: 100, needed: 120, command: 'raise it', most: 15 };
  const outOfReach = [{ mode: 'node', clients: 20, ...limited }];
  const plan = { trials: 1, clients: [10, 20], worksUs: [0, 5], modes: twoModes, outOfReach };
  const { report, asked } = await conduct(plan, () => 5_000);
  const tried = new Set(asked.map(({ task }) => `${task.spec.mode}@${task.clients}`));
  t.strictSame([...tried].sort(), ['blocking@10', 'blocking@20', 'node@10']);
  t.equal(report.findings.filter((text) => text.startsWith('node: 15 clients at most')).length, 1);
});
