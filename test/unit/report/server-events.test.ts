import t from 'tap';
import { joinServerEvents, parseServerEvents } from '../../../src/report/server-events.js';
import type { Report } from '../../../src/model/report-schema.js';
import { samples } from './samples.js';

const report = samples.target();

/** An event a second, of a server that answers `rate` requests of 64 bytes at 10 µs of CPU each, and was idle before the run. */
function eventsOf(rate: number, shiftMs = 0): string {
  const windows = report.runs.flatMap((run) => run.trials);
  const from = Math.min(...windows.map(({ started_at }) => Date.parse(started_at))) - 3_000;
  const until = Math.max(...windows.map(({ started_at }) => Date.parse(started_at))) + 5_000;
  const lines = [JSON.stringify({ event: 'listening', at: new Date(from).toISOString(), mode: 'epoll', port: 7000 })];
  for (let at = from; at <= until; at += 500) {
    const requests = Math.max(0, (at - from - 1_000) / 1_000) * rate;
    const isIdle = requests === 0;
    const stats = {
      ...{ accepted: isIdle ? 0 : 1000, closed: 0, refused: 0, requests, bytes_received: requests * 64 },
      ...{ bytes_sent: requests * 64, errors_reset: 0, errors_aborted: null, errors_descriptors: null },
      ...{ errors_memory: null, errors_threads: null, errors_other: 0, operations_posted: null },
      ...{ operations_completed: null, receives_paused: 0, worker_connections_min: 500, worker_connections_max: 500 },
      ...{ workers: 2, threads: 3, threads_max: 3, backlog: 4096, last_os_code: 0, features: 'accept4' },
    };
    const usage = {
      ...{ taken_at_ns: at * 1e6, cpu_user_ns: requests * 2_000, cpu_system_ns: requests * 8_000 },
      ...{ cpu_total_ns: requests * 10_000, voluntary_switches: requests / 10, involuntary_switches: 0 },
      ...{ resident_bytes: isIdle ? 50e6 : 51e6, resident_peak_bytes: 51e6, page_table_bytes: null },
      ...{ nonpaged_pool_bytes: null, threads: 3, descriptors: 10 },
    };
    lines.push(
      JSON.stringify({ event: 'stats', at: new Date(at + shiftMs).toISOString(), at_ns: at * 1e6, stats, usage }),
    );
  }
  return `${lines.join('\n')}\n`;
}

function join(text: string, into: Report = report): Report {
  return joinServerEvents(into, parseServerEvents(text, 'events.ndjson'));
}

t.test('the cost of every window is filled in', (test) => {
  for (const window of join(eventsOf(90_000)).runs.flatMap((run) => run.trials)) {
    if (window.state !== 'completed' || window.server === null) throw new Error('a window was left open');
    const { server } = window;
    const close = (value: number | null, expected: number, name: string): void => {
      test.ok(value !== null && Math.abs(value / expected - 1) < 1e-9, `${name} ${String(value)}`);
    };
    close(server.cpu_us_per_request, 10, 'CPU per request');
    close(server.cpu_user_us_per_request, 2, 'in user mode');
    close(server.context_switches_per_request, 0.1, 'switches');
    close(server.resident_bytes_per_connection, 1000, 'memory above the idle server');
    test.equal(server.kernel_bytes_per_connection, null, 'the kernel of another machine is not known');
  }
  test.end();
});

t.test('clocks that are a second apart change no ratio', (test) => {
  for (const shift of [-700, 700]) {
    const [window] = join(eventsOf(90_000, shift)).runs.flatMap((run) => run.trials);
    test.ok(Math.abs((window?.server?.cpu_us_per_request ?? 0) - 10) < 1e-9, `${shift} ms`);
  }
  test.end();
});

t.test('a server that counted another rate is told', (test) => {
  const codes = (rate: number): string[] => join(eventsOf(rate)).warnings.map(({ code }) => code);
  test.ok(codes(40_000).includes('server_events_disagree'));
  const [capacity] = report.runs[0]?.trials ?? [];
  const alike = join(eventsOf(capacity?.requests?.per_second ?? 0)).warnings;
  test.notOk(alike.some(({ code, phase }) => code === 'server_events_disagree' && phase === 'capacity'));
  test.end();
});

t.test('a window without events stays open, and is told', (test) => {
  const windows = report.runs.flatMap((run) => run.trials);
  const second = Date.parse(windows[1]?.started_at ?? '');
  const lines = eventsOf(90_000)
    .split('\n')
    .filter((line) => line === '' || Date.parse((JSON.parse(line) as { at: string }).at) < second);
  const joined = join(lines.join('\n'));
  test.strictSame(
    joined.runs.flatMap((run) => run.trials).map((window) => window.server !== null),
    [true, false],
  );
  test.ok(joined.warnings.some(({ code }) => code === 'server_events_missing'));
  test.end();
});

t.test('a last line that was cut off is left out', (test) => {
  const text = eventsOf(90_000);
  const count = parseServerEvents(text, 'e').length;
  test.equal(parseServerEvents(text.slice(0, -20), 'e').length, count - 1);
  test.end();
});

t.test('what does not fit is refused', (test) => {
  const usage = (says: RegExp) => ({ code: 'usage', message: says });
  test.throws(() => parseServerEvents('hello\nworld\n', 'e.log'), usage(/line 1 of e\.log is no event/));
  test.throws(() => parseServerEvents('', 'e.log'), usage(/no figures of a server/));
  const listening = '{"event":"listening","at":"2026-01-15T09:30:00.000Z"}\n';
  test.throws(() => parseServerEvents(listening, 'e.log'), usage(/no figures/));
  const bare = '{"event":"stats","at":"2026-01-15T09:30:00.000Z"}\n';
  test.throws(() => parseServerEvents(bare, 'e.log'), usage(/line 1 of e\.log has no figures/));
  test.throws(() => join(eventsOf(1, 3_600_000)), usage(/two events of the server in it/));
  test.throws(() => join(eventsOf(1), samples.twoModes()), usage(/lacks the cost/));
  test.end();
});
