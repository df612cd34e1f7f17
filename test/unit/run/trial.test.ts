import t from 'tap';
import type { Command } from '../../../src/run/control.js';
import { LocalLoad, loadTask } from '../../../src/run/load.js';
import type { BlastPlan } from '../../../src/model/plan.js';
import type { EnginePool } from '../../../src/run/pool.js';
import { runTrial, type NextWindow, type Progress, type TrialOutcome } from '../../../src/run/trial.js';
import type { ServerProcess } from '../../../src/server/process.js';
import { FakeControl, idlePool } from '../../support/fake-engine.js';
import { smallPlan } from '../../support/plan.js';

interface Setup {
  plan?: Partial<BlastPlan>;
  next?: NextWindow;
  answer?: (command: Command, control: FakeControl) => boolean;
  pool?: (control: FakeControl) => Pick<EnginePool, 'run' | 'destroy'>;
}

interface Trial {
  outcome: Promise<TrialOutcome>;
  stops: () => number;
  progress: Progress[];
  commands: () => Command[];
}

function start({ plan, next = () => null, answer = serve, pool = idlePool }: Setup): Trial {
  const [spec] = smallPlan.modes;
  if (spec === undefined) throw new Error('the plan has no mode');
  let stops = 0;
  const server: ServerProcess = {
    pid: null,
    host: '127.0.0.1',
    port: 1,
    backend: 'blocking',
    sample: () => Promise.resolve(null),
    stop: () => {
      stops += 1;
      return Promise.resolve({ sample: null, deadline_missed: false });
    },
    kill: () => undefined,
    exited: new Promise(() => undefined),
    onExit: () => undefined,
  };
  const progress: Progress[] = [];
  let control: FakeControl | undefined;
  const planned = { ...smallPlan, ...plan };
  const outcome = runTrial(planned, { spec, clients: 10, index: 0, sequence: 1 }, next, {
    startServer: () => Promise.resolve(server),
    makeLoad: () =>
      new LocalLoad(loadTask(planned, 10, 1, 1), {
        makeControl: (_, capacity) => (control = new FakeControl(capacity, answer)),
        makePool: () => {
          if (control === undefined) throw new Error('the control block comes first');
          return pool(control);
        },
      }),
    onProgress: (state) => progress.push(state),
    nextSequence: () => 1,
    signal: new AbortController().signal,
  });
  return { outcome, stops: () => stops, progress, commands: () => control?.commands ?? [] };
}

/** Completes every command at once, with every connection made. */
function serve(command: Command, control: FakeControl): boolean {
  if (command.phase === 'connect')
    control.set({ connections_started: 10, connections_made: 10, connections_active: 10 });
  if (command.phase === 'measure') control.set({ window_requests: 50 });
  return true;
}

function once(...windows: readonly NonNullable<ReturnType<NextWindow>>[]): NextWindow {
  return (done) => windows[done.length] ?? null;
}

t.test('the server is stopped when', async (t) => {
  const failing = {
    'an engine throws': { run: () => Promise.reject(new Error('no ring')), destroy: () => Promise.resolve() },
    'the pool does not end': { run: () => Promise.resolve([]), destroy: () => Promise.reject(new Error('no ring')) },
  };
  for (const [name, pool] of Object.entries(failing)) {
    await t.test(name, async (t) => {
      const trial = start({ pool: () => pool, answer: () => false });
      await t.rejects(trial.outcome, { message: 'no ring' }, 'with the reason');
      t.equal(trial.stops(), 1);
    });
  }
  await t.test('an engine throws as the trial ends', async (t) => {
    const pool = (control: FakeControl): Pick<EnginePool, 'run' | 'destroy'> => ({
      run: async () => {
        await control.stopped;
        throw new Error('no ring');
      },
      destroy: () => Promise.resolve(),
    });
    const trial = start({ pool });
    await t.rejects(trial.outcome, { message: 'no ring' });
    t.equal(trial.stops(), 1);
  });
  await t.test('no pool can be made', async (t) => {
    const trial = start({
      pool: () => {
        throw new Error('no threads');
      },
    });
    await t.rejects(trial.outcome, { message: 'no threads' });
    t.equal(trial.stops(), 1);
  });
});

t.test('connecting begins after every engine runs, so that their start does not count', async (t) => {
  let early = false;
  let running = false;
  const trial = start({
    answer: (command, control) => {
      early ||= !running;
      return serve(command, control);
    },
    pool: (control) => {
      control.setRunning(false);
      setTimeout(() => {
        running = true;
        control.setRunning(true);
      }, 100);
      return idlePool(control);
    },
  });
  await trial.outcome;
  t.equal(trial.commands()[0]?.phase, 'connect');
  t.equal(early, false, 'no command before that');
});

t.test('a server that answers nothing ends the trial after all requests in flight have timed out', async (t) => {
  const answer = (_: Command, control: FakeControl): boolean => {
    control.set({ connections_started: 2_000, connections_failed: 0 });
    setTimeout(() => {
      control.set({ connections_failed: 2_000 });
      control.setErrors('timeout', 2_000);
    }, 60);
    return false;
  };
  const { windows, madeNone } = await start({ answer }).outcome;
  t.equal(madeNone, true);
  t.match(windows, [{ state: 'failed', phase: 'capacity', reason: /within 2 s/ }]);
  t.equal(windows.length, 1);
});

t.test('a window that cannot be measured fails with its reason, and the others are measured', async (t) => {
  const window = { phase: 'capacity', ratePerSecond: 0, warmupMs: 1, durationMs: 1 } as const;
  const trial = start({ next: once(window, { phase: 'latency', refusal: 'no rate is known' }) });
  const { windows, madeNone } = await trial.outcome;
  t.equal(madeNone, false);
  t.match(windows, [
    { state: 'completed', phase: 'capacity' },
    { state: 'failed', phase: 'latency', reason: 'no rate is known' },
  ]);
  t.equal(trial.commands().filter(({ phase }) => phase === 'measure').length, 1, 'nothing was sent for it');
});

t.test('a window without an answered request', async (t) => {
  const window = { phase: 'latency', ratePerSecond: 100, warmupMs: 1, durationMs: 1 } as const;
  const silent = (command: Command, control: FakeControl): boolean => {
    serve(command, control);
    control.set({ window_requests: 0, window_offered: 5 });
    return true;
  };
  const { windows } = await start({ next: once(window, window), answer: silent }).outcome;
  t.match(windows, [{ state: 'failed', reason: /no request was answered/ }], 'fails');
  t.equal(windows.length, 1);
  const step = { ...window, mayBeEmpty: true };
  const searched = await start({ next: once(step, step), answer: silent }).outcome;
  t.match(
    searched.windows,
    [
      { state: 'completed', requests: { count: 0 } },
      { state: 'completed', requests: { count: 0 } },
    ],
    'is a result for a search, which goes on',
  );
});

t.test('a window begins after the client has stopped waiting for unanswered FINs', async (t) => {
  const window = { phase: 'capacity', ratePerSecond: 0, warmupMs: 1, durationMs: 1 } as const;
  let decided = false;
  let early = false;
  const answer = (command: Command, control: FakeControl): boolean => {
    if (command.phase === 'warmup') {
      control.set({ fins_undecided: 1 });
      setTimeout(() => {
        decided = true;
        control.set({ fins_undecided: 0 });
      }, 200);
    }
    if (command.phase === 'measure') early ||= !decided;
    return serve(command, control);
  };
  const { windows } = await start({ next: once(window), answer }).outcome;
  t.match(windows, [{ state: 'completed' }]);
  t.equal(early, false);
});

t.test('the warm-up waits for an echo on every connection if that takes no longer than the warm-up', async (t) => {
  const window = { phase: 'latency', warmupMs: 20, durationMs: 1 } as const;
  for (const [ratePerSecond, waits] of [
    [10, false],
    [1_000, true],
    [0, true],
  ] as const) {
    let measures = false;
    const trial: Trial = start({
      next: once({ ...window, ratePerSecond }),
      answer: (command, control) => {
        measures ||= command.phase === 'measure';
        if (command.phase !== 'warmup') return serve(command, control);
        // The last connection echoes when the trial waits for it, or when it has gone on without.
        const timer = setInterval(() => {
          if (!measures && !trial.progress.some(({ step }) => step === 'first-echoes')) return;
          clearInterval(timer);
          if (!measures) control.finish();
        }, 5);
        return false;
      },
    });
    const { windows } = await trial.outcome;
    t.match(windows, [{ state: 'completed' }]);
    const seen = trial.progress.find(({ step }) => step === 'first-echoes');
    t.equal(seen !== undefined, waits, `${ratePerSecond}/s for 10 connections`);
    if (waits)
      t.match(seen, { asked: 10, connected: 10, echoed: 0, secondsLeft: null }, 'the progress says what it waits for');
  }
});
