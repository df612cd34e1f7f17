import t from 'tap';
import { spinMicroseconds, splitCpus, sweepPoints } from '../../../src/model/plan.js';

t.test('the points of a sweep', (t) => {
  t.strictSame(sweepPoints({ clients: [10, 20], worksUs: [0], waitsMs: [0] }), [{ clients: 10 }, { clients: 20 }]);
  t.strictSame(
    sweepPoints({ clients: [10], worksUs: [0, 5], waitsMs: [0, 2] }),
    [
      { clients: 10, work_us: 0, wait_ms: 0 },
      { clients: 10, work_us: 5, wait_ms: 0 },
      { clients: 10, work_us: 0, wait_ms: 2 },
      { clients: 10, work_us: 5, wait_ms: 2 },
    ],
    'every work of a wait, one after the other',
  );
  t.strictSame(sweepPoints({ clients: [10], worksUs: [5], waitsMs: [0] }), [{ clients: 10, work_us: 5 }]);
  t.end();
});

t.test('CPUs are split, unless there is only one or --no-pin is given', (t) => {
  t.strictSame(splitCpus([0, 1], true), { server: [0], client: [1], shared: false, pinned: true });
  t.strictSame(splitCpus([0, 1, 2, 3, 4, 5], true), {
    server: [0, 1],
    client: [2, 3, 4, 5],
    shared: false,
    pinned: true,
  });
  t.strictSame(splitCpus([4], true), { server: [4], client: [4], shared: true, pinned: false });
  t.strictSame(splitCpus([0, 1], false), { server: [0, 1], client: [0, 1], shared: true, pinned: false });
  t.end();
});

t.test('the client polls for due messages only if that slows down nobody else', (t) => {
  const split = splitCpus([0, 1, 2, 3, 4, 5], true);
  const use = { cpus: split, threads: 4, target: null, compatibility: '' };
  t.equal(spinMicroseconds(use), 100);
  t.equal(spinMicroseconds({ ...use, threads: 5 }), 0, 'two threads would share a CPU');
  t.equal(spinMicroseconds({ ...use, cpus: splitCpus([0, 1], false) }), 0, 'the server may run there, too');
  t.equal(spinMicroseconds({ ...use, compatibility: 'Wine 8.0' }), 0);
  const remote = { ...use, cpus: splitCpus([0, 1], false), threads: 1, target: { host: '192.0.2.7' } };
  t.equal(spinMicroseconds(remote), 100);
  t.equal(spinMicroseconds({ ...remote, target: { host: '127.0.0.1' } }), 0, 'a server on this machine');
  t.equal(spinMicroseconds({ ...remote, target: { host: '::1' } }), 0);
  t.end();
});
