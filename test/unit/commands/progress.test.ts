import t from 'tap';
import { crowdedThreads, modesText, slowRounds, trialsText } from '../../../src/commands/progress.js';
import { smallPlan } from '../../support/plan.js';

t.test('a window that is too short for a request on every connection is announced', (t) => {
  const plan = { ...smallPlan, clients: [10, 600], ratePerSecond: 10, durationMs: 2_000, arrivals: 'even' as const };
  t.strictSame(slowRounds(plan), [
    'Note: at 10.0/s each of 600 connections sends every 60 s; a window of 2 s reaches 20 of them.',
  ]);
  const atRandom = { ...plan, clients: [10, 25], arrivals: 'poisson' as const };
  t.strictSame(
    slowRounds(atRandom),
    ['Note: at 10.0/s each of 25 connections sends every 2.5 s on average; a window of 2 s reaches about 14 of them.'],
    'some get several of the 20 messages: 25 (1 - exp(-20 / 25))',
  );
  t.strictSame(slowRounds({ ...plan, activeFraction: 0.01 }), [], 'only active ones send');
  t.strictSame(slowRounds({ ...plan, phases: ['capacity'] }), []);
  t.strictSame(slowRounds({ ...plan, ratePerSecond: null }), [], 'the rate is yet to be found');
  t.end();
});

// https://github.com/giltene/wrk2/issues/138: 250 threads on a few CPUs, and figures of a window other than the requested one.
t.test('more client threads than CPUs are announced', (t) => {
  const cpus = { server: [0], client: [1, 2], shared: false, pinned: true };
  t.strictSame(crowdedThreads({ ...smallPlan, cpus, threads: 250 }), [
    'Note: 250 client threads share 2 CPUs; leave out --threads to run one per CPU.',
  ]);
  t.strictSame(crowdedThreads({ ...smallPlan, cpus, threads: 2 }), []);
  t.end();
});

t.test('the announced modes and trials', (t) => {
  const modesOf = (...names: string[]): string =>
    modesText({ modes: names.map((mode) => ({ mode, backend: mode, serverMode: null, command: null })) });
  t.equal(modesOf('blocking', 'epoll'), 'blocking against epoll');
  t.equal(modesOf('blocking', 'epoll', 'node'), 'blocking, epoll and node');
  t.equal(modesOf('epoll'), 'epoll');
  t.equal(trialsText({ trials: 4, trialsMax: null, until: null }), '4 trials');
  t.equal(trialsText({ trials: 4, trialsMax: 20, until: 0.03 }), '4 to 20 trials until every interval is within ±3%');
  t.equal(trialsText({ trials: 4, trialsMax: 4, until: 0.03 }), '4 trials', 'there are no more');
  t.end();
});
