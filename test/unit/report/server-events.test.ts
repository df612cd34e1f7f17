import t from 'tap';
import { joinServerEvents, parseServerEvents } from '../../../src/report/server-events.js';
import type { Report } from '../../../src/model/report-schema.js';
import { samples } from './samples.js';

const report = samples.target();

interface Rigged {
  /** What the server counts, as a share of what the client counted. */
  scale?: number;
  /** How far the clock of the server is ahead. */
  shiftMs?: number;
  connections?: number;
  of?: Report;
}

/**
 * Two events a second, of a server that answers what the client of the report sent, at 10 µs of CPU each, and that was idle before the run.
 * Between the windows it answers nothing.
 */
function eventsOf({ scale = 1, shiftMs = 0, connections = 1000, of = report }: Rigged = {}): string {
  const windows = of.runs.flatMap((run) => run.trials);
  const from = Math.min(...windows.map(({ started_at }) => Date.parse(started_at))) - 3_000;
  const until = Math.max(...windows.map(({ started_at }) => Date.parse(started_at))) + 5_000;
  const rateAt = (at: number): number => {
    const current = windows.find(
      ({ started_at }) => at > Date.parse(started_at) && at <= Date.parse(started_at) + 3_000,
    );
    return current?.requests?.per_second ?? 0;
  };
  const lines = [JSON.stringify({ event: 'listening', at: new Date(from).toISOString(), mode: 'epoll', port: 7000 })];
  let requests = 0;
  for (let at = from; at <= until; at += 500) {
    requests += (rateAt(at) / 2) * scale;
    const isIdle = at < from + 1_000;
    const stats = {
      ...{ accepted: isIdle ? 0 : connections, closed: 0, refused: 0, requests, bytes_received: requests * 64 },
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
  for (const window of join(eventsOf()).runs.flatMap((run) => run.trials)) {
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
  for (const shiftMs of [-700, 700]) {
    const [window] = join(eventsOf({ shiftMs })).runs.flatMap((run) => run.trials);
    test.ok(Math.abs((window?.server?.cpu_us_per_request ?? 0) - 10) < 1e-9, `${shiftMs} ms`);
  }
  test.end();
});

/** The warnings of the join, and whether each window has its server's cost. */
function outcome(text: string, into: Report = report): { told: string[]; filled: boolean[] } {
  const { runs, warnings } = join(text, into);
  return {
    told: warnings.filter(({ code }) => code === 'server_events_disagree').map(({ message }) => message),
    filled: runs.flatMap(({ trials }) => trials).map((window) => window.server !== null),
  };
}

t.test('both sides must have counted the same load', (test) => {
  test.strictSame(outcome(eventsOf()), { told: [], filled: [true, true] });
  const slightly = outcome(eventsOf({ scale: 0.85 }));
  test.strictSame(slightly.filled, [true, true]);
  test.match(slightly.told, [
    /^target at 1,000 clients, capacity: the server counted .*, the client [^;]*$/,
    /latency/,
  ]);
  const other = outcome(eventsOf({ scale: 0.5 }));
  test.strictSame(other.filled, [false, false]);
  test.match(other.told, [/its figures are of another time or another load, and are left out$/, /left out$/]);
  test.end();
});

t.test('clocks that are a whole phase apart do not join the wrong windows', (test) => {
  // The latency window begins 5 s after the capacity window, and offers 70% of it.
  const { told, filled } = outcome(eventsOf({ shiftMs: 5_000 }));
  test.strictSame(filled, [false, false]);
  test.match(told, [
    /capacity: the server counted 0\/s, the client/,
    /latency: the server counted 9.*k\/s, the client 6/,
  ]);
  test.end();
});

t.test('windows of one rate are told apart by their connections', (test) => {
  test.match(outcome(eventsOf({ connections: 6000 })), {
    told: [/the server had 6,000 connections, the client 1,000; .* left out$/, /6,000/],
    filled: [false, false],
  });
  test.strictSame(outcome(eventsOf({ connections: 1050 })), { told: [], filled: [true, true] });
  test.end();
});

t.test('a window without events stays open, and is told', (test) => {
  const windows = report.runs.flatMap((run) => run.trials);
  const second = Date.parse(windows[1]?.started_at ?? '');
  const lines = eventsOf()
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
  const text = eventsOf();
  const count = parseServerEvents(text, 'e').length;
  test.equal(parseServerEvents(text.slice(0, -20), 'e').length, count - 1);
  test.end();
});

t.test('what does not fit is refused', (test) => {
  const usage = (says: RegExp) => ({ code: 'usage', message: says });
  test.throws(() => parseServerEvents('hello\nworld\n', 'e.log'), usage(/line 1 of e\.log is not an event/));
  test.throws(() => parseServerEvents('', 'e.log'), usage(/no figures of a server/));
  const listening = '{"event":"listening","at":"2026-01-15T09:30:00.000Z"}\n';
  test.throws(() => parseServerEvents(listening, 'e.log'), usage(/no figures/));
  const bare = '{"event":"stats","at":"2026-01-15T09:30:00.000Z"}\n';
  test.throws(() => parseServerEvents(bare, 'e.log'), usage(/line 1 of e\.log has no figures/));
  test.throws(() => join(eventsOf({ shiftMs: 3_600_000 })), usage(/two events of the server in it/));
  test.throws(() => join(eventsOf(), samples.twoModes()), usage(/lacks the cost/));
  test.end();
});
