/** A window without an answered request says why, from its connections and errors. */
import t from 'tap';
import { whyNoRequest, type NoRequest } from '../../../src/run/no-request.js';

const nothing: NoRequest = {
  connections: {
    asked: 20,
    made: 20,
    failed: 0,
    lost: 20,
    connect_duration_ms: 1,
    connect_rate_per_second: 1,
    connect_time_ns: null,
    first_echo_time_ns: null,
  },
  errors: { total: 20, by_class: {}, samples: [{ class: 'other', connection: 3, message: 'connection 3: gone' }] },
  offered: null,
  answeredBefore: 0,
  ratePerSecond: 0,
  durationMs: 300,
  timeoutMs: 2_000,
  protocol: 'echo',
  arrivals: 'even',
  timeoutPlaces: { timeouts_at_newline: 0, timeouts_off_newline: 20, timeouts_at_zero: 0, timeouts_off_zero: 20 },
};

t.test('the most specific known cause is named', (t) => {
  const { connections, errors } = nothing;
  const ended = { ...connections, closed_after_echoes: { count: 20, min: 1, max: 1 } };
  t.match(whyNoRequest({ ...nothing, connections: ended }), /after 1 echo; --requests-per-connection 1 /);
  const uneven = { ...connections, closed_after_echoes: { count: 20, min: 1, max: 9 } };
  t.match(whyNoRequest({ ...nothing, connections: uneven }), /closed 20 connections after 1 to 9 echoes/);
  const idle = { ...connections, closed_idle: { count: 20, active: 20, after_min_ns: 2e9, after_max_ns: 2e9 } };
  t.match(whyNoRequest({ ...nothing, connections: idle }), /20 active connections after 2 s without traffic/);
  t.match(
    whyNoRequest({ ...nothing, offered: 0, ratePerSecond: 1 }),
    /window of 300 ms at 1\/s; use a --duration above 1 s/,
  );
  const late = { ...errors, by_class: { timeout: 20 } };
  t.match(whyNoRequest({ ...nothing, errors: late, offered: 20 }), /none had its echo within --timeout 2s$/);
  const byLine = { ...nothing.timeoutPlaces, timeouts_at_newline: 20, timeouts_off_newline: 0 };
  t.match(whyNoRequest({ ...nothing, errors: late, offered: 20, timeoutPlaces: byLine }), /timeout 2s; .* whole lines/);
  const behind = { ...nothing, errors: late, offered: 30_000, ratePerSecond: 100_000, answeredBefore: 240 };
  t.match(whyNoRequest(behind), /answered 800\/s of 100,000\/s offered, .* longer than --timeout 2s .*; lower --rate$/);
  t.match(whyNoRequest({ ...behind, ratePerSecond: 0 }), /none had its echo/, 'a closed loop offers no rate');
  t.match(whyNoRequest(nothing), /connection 3: gone/);
  t.end();
});
