/** Points of a sweep: what makes two of them the same, and how they are named. */
import t from 'tap';
import {
  distinctPoints,
  pointFields,
  pointInWords,
  pointKey,
  pointName,
  samePoint,
  serviceLabel,
  sweptDimensions,
  timeText,
} from '../../../src/model/point.js';

t.test('null, absent and 0 are the same work', (t) => {
  t.ok(samePoint({ clients: 10 }, { clients: 10, work_us: 0, wait_ms: null }));
  t.notOk(samePoint({ clients: 10 }, { clients: 11 }));
  t.notOk(samePoint({ clients: 10, work_us: 1 }, { clients: 10 }));
  t.notOk(samePoint({ clients: 10, wait_ms: 1 }, { clients: 10, work_us: 1 }));
  t.end();
});

t.test('names', (t) => {
  t.equal(pointName('iocp', { clients: 1000 }), 'iocp@1000');
  t.equal(pointName('iocp', { clients: 1000, work_us: 0 }), 'iocp@1000,work=0');
  t.equal(pointName('iocp', { clients: 1000, work_us: 1500, wait_ms: 5 }), 'iocp@1000,work=1.5ms,wait=5ms');
  t.equal(pointKey({ clients: 1000, work_us: 0, wait_ms: 0 }), '1000', 'as before work and wait');
  t.equal(pointKey({ clients: 1000, work_us: 100, wait_ms: 0.5 }), '1000,work=100us,wait=500us');
  t.strictSame([0, 500, 100e3, 1e6, 2.5e9].map(timeText), ['0', '0.5us', '100us', '1ms', '2.5s']);
  t.end();
});

t.test('in words', (t) => {
  t.equal(pointInWords({ clients: 1000 }), '1,000 clients');
  t.equal(pointInWords({ clients: 1000, work_us: 0 }), '1,000 clients without work');
  t.equal(
    pointInWords({ clients: 1000, work_us: 100, wait_ms: 5 }),
    '1,000 clients with 100 µs of work and 5 ms of wait',
  );
  t.equal(pointInWords({ clients: 1000, work_us: 100, wait_ms: 0 }), '1,000 clients with 100 µs of work, without wait');
  t.equal(pointInWords({ clients: 1000, work_us: 0, wait_ms: 0 }), '1,000 clients without work or wait');
  t.equal(serviceLabel('work', { work_us: 0 }), 'no work');
  t.end();
});

t.test('fields are copied as they are', (t) => {
  const run = { mode: 'iocp', clients: 10, work_us: null };
  t.strictSame(pointFields(run), { clients: 10, work_us: null });
  t.strictSame(pointFields({ clients: 10 }), { clients: 10 });
  t.end();
});

t.test('sets of points', (t) => {
  const points = [{ clients: 10 }, { clients: 10, work_us: 0 }, { clients: 10, work_us: 5 }];
  t.strictSame(distinctPoints(points), [{ clients: 10 }, { clients: 10, work_us: 5 }]);
  t.strictSame(sweptDimensions(points), ['work']);
  t.strictSame(sweptDimensions([{ clients: 10 }, { clients: 20, wait_ms: 1 }]), ['clients', 'wait']);
  t.strictSame(sweptDimensions([{ clients: 10 }]), []);
  t.end();
});
