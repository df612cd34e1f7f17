import t from 'tap';
import { answeredShare, clientSendsLate, lateness, ownLateness } from '../../../src/measure/open-loop.js';
import { capacityWindow, latencyWindow, planWith, times } from './build.js';

const even = planWith({});
const random = planWith({ arrivals: 'poisson' });

t.test('the answered share goes by the rate, or at random by what was due', (t) => {
  const window = latencyWindow(0, { requests: { per_second: 49_000, count: 49_000, offered: 49_000 } });
  t.equal(answeredShare(window, even), 0.98);
  t.equal(answeredShare(window, random), 1);
  t.equal(answeredShare(latencyWindow(0, { requests: { offered: 0, count: 0 } }), random), null, 'none was due');
  t.equal(answeredShare(capacityWindow(0), random), null, 'a closed loop');
  t.end();
});

t.test('the lag of the client alone decides', (t) => {
  const window = latencyWindow(0, { client: { send_lag_ns: times(500_000), own_lag_ns: times(20_000) } });
  t.match(lateness(window), { lag: 500_000, response: 1_000_000 });
  t.equal(ownLateness(window, random), null);
  t.notOk(clientSendsLate(window, random));
  const late = latencyWindow(0, { client: { send_lag_ns: times(500_000), own_lag_ns: times(110_000) } });
  t.match(ownLateness(late, random), { lag: 110_000, response: 1_000_000 });
  t.ok(clientSendsLate(late, random));
  t.notOk(clientSendsLate(null, random));
  t.notOk(clientSendsLate(capacityWindow(0), random));
  t.end();
});
