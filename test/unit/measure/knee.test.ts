/** Knees in words, only where the intervals support them. */
import t from 'tap';
import { describeKnees } from '../../../src/measure/knee.js';
import { seededRandom } from '../../../src/measure/random.js';
import { normal } from '../../support/synthetic.js';
import type { Run } from '../../../src/model/report-schema.js';
import { planWith, runWithRates, withFailedTrial, type Changes } from './build.js';
import type { CompletedWindow } from '../../../src/model/report-schema.js';

const spread = [0.99, 1.01, 1, 1.005];

function sweep(mode: string, rates: Record<number, number>, noise = spread, changes?: Changes<CompletedWindow>): Run[] {
  return Object.entries(rates).map(([clients, rate]) => ({
    ...runWithRates(
      mode,
      noise.map((factor) => rate * factor),
      changes,
    ),
    clients: Number(clients),
  }));
}

const plan = planWith({ clients: [100, 1000, 15_000] });

t.test('a peak and a loss', (t) => {
  const [sentence = ''] = describeKnees(sweep('blocking', { 100: 50e3, 1000: 100e3, 15000: 60e3 }), plan);
  t.match(sentence, /^blocking peaks at 1,000 and loses 40% \(95% interval: 39% to 41%\) by 15,000 clients$/);
  t.end();
});

t.test('a plateau is a range, not a peak', (t) => {
  const [sentence = ''] = describeKnees(sweep('blocking', { 100: 100e3, 1000: 100.5e3, 15000: 60e3 }), plan);
  t.match(sentence, /^blocking peaks between 100 and 1,000 and loses 40%/);
  t.end();
});

t.test('growth, and no loss', (t) => {
  t.match(
    describeKnees(sweep('iocp', { 100: 50e3, 1000: 100e3, 15000: 100e3 }), plan)[0],
    /^iocp gains 100% from 100 to 15,000/,
  );
  t.match(describeKnees(sweep('iocp', { 100: 100e3, 1000: 100e3, 15000: 99.8e3 }), plan)[0], /^iocp shows no loss/);
  t.end();
});

t.test('nothing is concluded from noise, one trial or one size', (t) => {
  const noisy = describeKnees(sweep('iocp', { 100: 100e3, 15000: 80e3 }, [0.6, 1.5, 1, 1.2]), plan);
  t.notMatch(noisy.join(), /loses|peaks/);
  t.strictSame(describeKnees(sweep('iocp', { 100: 100e3, 15000: 50e3 }, [1]), plan), []);
  t.strictSame(describeKnees(sweep('iocp', { 100: 100e3 }), plan), []);
  t.strictSame(describeKnees([], plan), []);
  t.end();
});

t.test('the best of many sizes without a difference is hardly ever a peak', (t) => {
  const random = seededRandom(11);
  let told = 0;
  for (let round = 0; round < 200; round++) {
    const runs = Array.from({ length: 12 }, (_, index) => ({
      ...runWithRates(
        'iocp',
        [1, 2, 3, 4].map(() => 100e3 * Math.exp(0.2 * normal(random))),
      ),
      clients: 100 * (index + 1),
    }));
    if (describeKnees(runs, plan).join().includes('loses')) told += 1;
  }
  t.ok(told <= 10, `${told} of 200 sweeps lose throughput that was never there`);
  t.end();
});

t.test('nor from rates that the client limited', (t) => {
  const found = describeKnees(
    sweep('iocp', { 100: 100e3, 15000: 50e3 }, spread, { client: { saturated: true } }),
    plan,
  );
  t.match(found[0], /^iocp: the load generator was the limit at 100 and 15,000 clients, so no knee can be reported$/);
  t.end();
});

t.test('modes whose knee is unknown for the same reason share a sentence', (t) => {
  const limited = (mode: string) => sweep(mode, { 100: 100e3, 15000: 50e3 }, spread, { client: { saturated: true } });
  const found = describeKnees([...limited('blocking'), ...limited('epoll'), ...limited('iocp')], plan);
  t.strictSame(found, [
    'blocking, epoll and iocp: the load generator was the limit at 100 and 15,000 clients, so no knee can be reported',
  ]);
  t.end();
});

t.test('the connections that a mode carried', (t) => {
  const refused = { connections: { made: 2000 }, errors: { by_class: { refused_by_server: 13_000 } } };
  const found = describeKnees(sweep('blocking', { 15000: 100e3 }, spread, refused), plan);
  t.strictSame(found, ['blocking served 2,000 of 15,000 connections and refused the others']);
  t.end();
});

t.test('nor where trials failed', (t) => {
  const runs = sweep('iocp', { 100: 100e3, 15000: 50e3 });
  const found = describeKnees(
    runs.map((run) => (run.clients === 15_000 ? withFailedTrial(run, 1) : run)),
    plan,
  );
  t.strictSame(found, ['iocp: trials failed at 15,000 clients, so no knee can be reported']);
  t.end();
});
