/**
 * The cost of a server on another machine: `serve --format ndjson` there prints its figures with the time, `blast --target` here
 * leaves the server's cost open, and the two are joined by the clock. Each ratio is made of counters that the server took in one go,
 * so clocks that are apart shift the moment that is looked at, and not the figures.
 */
import { z } from 'zod';
import { BenchError } from '../model/errors.js';
import { compareRuns } from '../measure/comparisons.js';
import { serverCost, type CostSample } from '../measure/cost.js';
import { processUsageSchema, serverStatsSchema, unknownProcessUsage, type ServerStats } from '../model/figures.js';
import { formatRate } from '../model/format.js';
import type { CompletedWindow, Report, Run, Warning, Window } from '../model/report-schema.js';

export interface ServerEvent extends CostSample {
  /** Milliseconds since the epoch, by the server's clock. */
  readonly at: number;
  readonly stats: ServerStats;
}

const anyEventSchema = z.object({ event: z.string(), at: z.iso.datetime() });
const statsEventSchema = anyEventSchema.extend({ stats: serverStatsSchema, usage: processUsageSchema });

const expected = 'expected what `iocp-bench serve --format ndjson` printed';

/** Reads the events that carry figures. A last line that was cut off in the middle is left out; any other damage is told. */
export function parseServerEvents(text: string, source: string): ServerEvent[] {
  const lines = text.split(/\r?\n/);
  const events = lines.flatMap((line, index): ServerEvent[] => {
    if (line.trim() === '') return [];
    const value = parseLine(line);
    const isCutOff = value === undefined && index === lines.length - 1;
    if (isCutOff) return [];
    const event = anyEventSchema.safeParse(value);
    if (!event.success) {
      throw new BenchError('usage', `line ${index + 1} of ${source} is no event of a server`, expected);
    }
    if (event.data.event !== 'stats' && event.data.event !== 'stopped') return [];
    const found = statsEventSchema.safeParse(value);
    if (!found.success) {
      throw new BenchError('usage', `line ${index + 1} of ${source} has no figures of a server`, expected, found.error);
    }
    return [{ at: Date.parse(found.data.at), stats: found.data.stats, usage: found.data.usage }];
  });
  if (events.length === 0) throw new BenchError('usage', `${source} has no figures of a server`, expected);
  return events.sort((a, b) => a.at - b.at);
}

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/** The report with the server's cost wherever it was open and at least two events lie in the window. */
export function joinServerEvents(report: Report, events: readonly ServerEvent[]): Report {
  const open = report.runs.flatMap(({ trials }) => trials).filter(isOpen);
  if (open.length === 0) {
    throw new BenchError(
      'usage',
      'no window of the report lacks the cost of its server',
      '--server-events belongs to a report of `blast --target`',
    );
  }
  const idle = idleEvent(events);
  const runs = report.runs.map((run) => ({
    ...run,
    trials: run.trials.map((window) => joinWindow(window, events, idle, report.plan.message_size_bytes)),
  }));
  if (runs.flatMap(({ trials }) => trials).filter(isOpen).length === open.length) {
    throw new BenchError(
      'usage',
      'no window of the report has two events of the server in it',
      'are the clocks of both machines right, and are the events those of this run?',
    );
  }
  return {
    ...report,
    runs,
    comparisons: compareRuns(runs, report.plan, report.noise),
    warnings: [...report.warnings, ...runs.flatMap(joinWarnings)],
  };
}

function isOpen(window: Window): window is CompletedWindow {
  return window.state === 'completed' && window.server === null;
}

/** The last moment without a connection ever made: before it, the server's own memory; null when the events begin too late. */
function idleEvent(events: readonly ServerEvent[]): ServerEvent | null {
  return events.findLast(({ stats }) => stats.accepted === 0) ?? null;
}

function joinWindow(
  window: Window,
  events: readonly ServerEvent[],
  idle: ServerEvent | null,
  messageSizeBytes: number,
): Window {
  if (!isOpen(window)) return window;
  const from = Date.parse(window.started_at);
  const inside = events.filter(({ at }) => at >= from && at <= from + window.duration_ms);
  const start = inside[0];
  const end = inside.at(-1);
  if (start === undefined || end === undefined || start === end) return window;
  const server = serverCost({
    idle: idle ?? { usage: unknownProcessUsage, stats: null },
    start,
    end,
    connections_made: window.connections.made,
    message_size_bytes: messageSizeBytes,
    // What the kernel of another machine holds cannot be read from here.
    kernel: null,
  });
  return { ...window, server };
}

/** Both sides count the requests: rates that are far apart mean another window, or another client. */
const rateTolerated = 0.1;

function joinWarnings(run: Run): Warning[] {
  return run.trials.flatMap((window): Warning[] => {
    if (window.state !== 'completed') return [];
    const told = (code: string, message: string, hint: string, figures: Warning['figures']): Warning => ({
      code,
      severity: 'warning',
      message: `${run.mode} at ${run.clients.toLocaleString('en-US')} clients, ${window.phase}: ${message}`,
      hint,
      mode: run.mode,
      clients: run.clients,
      phase: window.phase,
      trial: window.index,
      figures,
    });
    if (window.server === null) {
      return [
        told(
          'server_events_missing',
          'fewer than two events of the server lie in the window',
          'the server prints its figures every second: measure longer (--duration 5s)',
          {},
        ),
      ];
    }
    const counted = serverRate(window);
    if (counted === null || Math.abs(counted / window.requests.per_second - 1) <= rateTolerated) return [];
    return [
      told(
        'server_events_disagree',
        `the server counted ${formatRate(counted)}, the client ${formatRate(window.requests.per_second)}`,
        'are the clocks of both machines right, and is this client the only one?',
        { server_per_second: counted, client_per_second: window.requests.per_second },
      ),
    ];
  });
}

/** Requests per second by the server: its CPU share of the time, divided by the CPU time of a request. */
function serverRate({ server }: CompletedWindow): number | null {
  const share = server?.cpu_fraction ?? null;
  const perRequest = server?.cpu_us_per_request ?? null;
  return share === null || perRequest === null || perRequest === 0 ? null : (share * 1e6) / perRequest;
}
