/**
 * The cost of a server on another machine: `serve --format ndjson` there prints its figures with the time, `blast --target` here
 * leaves the server's cost open, and the two are joined by the clock. Each ratio is made of counters that the server took in one go,
 * so clocks that are apart shift the moment that is looked at, and not the figures.
 */
import { z } from 'zod';
import { BenchError } from '../model/errors.js';
import { withHeadline } from '../measure/answer.js';
import { compareRuns } from '../measure/comparisons.js';
import { serverCost, type CostSample } from '../measure/cost.js';
import { processUsageSchema, serverStatsSchema, unknownProcessUsage, type ServerStats } from '../model/figures.js';
import { formatCount, formatRate } from '../model/format.js';
import { pointFields, pointInWords } from '../model/point.js';
import type { CompletedWindow, Report, Run, ServerCost, Warning, Window } from '../model/report-schema.js';

export interface ServerEvent extends CostSample {
  /** Milliseconds since the epoch, by the server's clock. */
  readonly at: number;
  readonly stats: ServerStats;
}

const anyEventSchema = z.object({ event: z.string(), at: z.iso.datetime() });
const statsEventSchema = anyEventSchema.extend({ stats: serverStatsSchema, usage: processUsageSchema });

const expected = 'expected what `iocp-bench serve --format ndjson` printed';

/** Reads the events that carry figures. A last line that was cut off in the middle is left out; any other damage is reported. */
export function parseServerEvents(text: string, source: string): ServerEvent[] {
  const lines = text.split(/\r?\n/);
  const events = lines.flatMap((line, index): ServerEvent[] => {
    if (line.trim() === '') return [];
    const value = parseLine(line);
    const isCutOff = value === undefined && index === lines.length - 1;
    if (isCutOff) return [];
    const event = anyEventSchema.safeParse(value);
    if (!event.success) {
      throw new BenchError('usage', `line ${index + 1} of ${source} is not an event of a server`, expected);
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

/**
 * The report with the server's cost wherever it was open, at least two events lie in the window, and both sides counted the same load. Where
 * they did not, a warning says so.
 */
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
  const joins = new Map(open.map((window) => [window, joinOf(window, events, idle, report.plan.message_size_bytes)]));
  if ([...joins.values()].every((join) => join === null)) {
    throw new BenchError(
      'usage',
      'no window of the report has two events of the server in it',
      'are the clocks of both machines right, and are the events those of this run?',
    );
  }
  const runs = report.runs.map((run) => ({
    ...run,
    trials: run.trials.map((window): Window => {
      const join = isOpen(window) ? (joins.get(window) ?? null) : null;
      return join === null || !join.isUsed || window.state !== 'completed'
        ? window
        : { ...window, server: join.server };
    }),
  }));
  return withHeadline({
    ...report,
    runs,
    comparisons: compareRuns(runs, report.plan, report.noise),
    warnings: [...report.warnings, ...report.runs.flatMap((run) => joinWarnings(run, joins))],
  });
}

function isOpen(window: Window): window is CompletedWindow {
  return window.state === 'completed' && window.server === null;
}

/** The last moment without a connection ever made: before it, the server's own memory; null when the events begin too late. */
function idleEvent(events: readonly ServerEvent[]): ServerEvent | null {
  return events.findLast(({ stats }) => stats.accepted === 0) ?? null;
}

/** What the events within a window say of its server. */
interface Join {
  readonly server: ServerCost;
  /** What both sides counted of one thing, where they are apart; null where they agree. */
  readonly disagreement: Disagreement | null;
  /** False where they are so far apart that the events are of another time or another load. */
  readonly isUsed: boolean;
}

interface Disagreement {
  readonly message: string;
  readonly figures: Warning['figures'];
}

/** Two events of one window see the same load as its client. Sampled within the window, a rate may differ by this from the whole. */
const difference = { reported: 0.1, tolerated: 0.25 };

/** null where fewer than two events lie in the window. */
function joinOf(
  window: CompletedWindow,
  events: readonly ServerEvent[],
  idle: ServerEvent | null,
  messageSizeBytes: number,
): Join | null {
  const from = Date.parse(window.started_at);
  const inside = events.filter(({ at }) => at >= from && at <= from + window.duration_ms);
  const start = inside[0];
  const end = inside.at(-1);
  if (start === undefined || end === undefined || start === end) return null;
  const server = serverCost({
    idle: idle ?? { usage: unknownProcessUsage, stats: null },
    start,
    end,
    connections_made: window.connections.made,
    message_size_bytes: messageSizeBytes,
    // What the kernel of another machine holds cannot be read from here.
    kernel: null,
  });
  const counts = [requestRates(window, server, start, end), connectionCounts(window, end)];
  const apart = counts.map((count) => ({ ...count, by: apartBy(count) })).sort((x, y) => y.by - x.by);
  const [worst] = apart;
  return {
    server,
    disagreement: worst === undefined || worst.by <= difference.reported ? null : worst,
    isUsed: worst === undefined || worst.by <= difference.tolerated,
  };
}

interface Count extends Disagreement {
  readonly server: number | null;
  readonly client: number;
}

/** How far the larger of two counts is above the smaller; 0 where one is not known. */
function apartBy({ server, client }: Count): number {
  if (server === null || (server === 0 && client === 0)) return 0;
  return Math.max(server, client) / Math.min(server, client) - 1;
}

/** The requests that both sides counted: phases that the clocks mix up differ in their rate. */
function requestRates(window: CompletedWindow, cost: ServerCost, start: ServerEvent, end: ServerEvent): Count {
  const client = window.requests.per_second;
  const elapsedMs = end.at - start.at;
  const server = cost.requests_counted === null || elapsedMs <= 0 ? null : (cost.requests_counted * 1000) / elapsedMs;
  return {
    server,
    client,
    message: `the server counted ${formatRate(server)}, the client ${formatRate(client)}`,
    figures: { server_per_second: server, client_per_second: client },
  };
}

/** The connections: windows of one offered rate differ in them. Where connections come and go, there is no single number. */
function connectionCounts(window: CompletedWindow, { stats }: ServerEvent): Count {
  const client = window.connections.made - window.connections.lost;
  const server = window.churn ? null : stats.accepted - stats.closed;
  return {
    server,
    client,
    message: `the server had ${formatCount(server)} connections, the client ${formatCount(client)}`,
    figures: { server_connections: server, client_connections: client },
  };
}

function joinWarnings(run: Run, joins: ReadonlyMap<Window, Join | null>): Warning[] {
  return run.trials.flatMap((window): Warning[] => {
    const join = joins.get(window);
    if (join === undefined) return [];
    const reported = (code: string, message: string, hint: string, figures: Warning['figures']): Warning => ({
      code,
      severity: 'warning',
      message: `${run.mode} at ${pointInWords(run)}, ${window.phase}: ${message}`,
      hint,
      mode: run.mode,
      ...pointFields(run),
      phase: window.phase,
      trial: window.index,
      figures,
    });
    if (join === null) {
      return [
        reported(
          'server_events_missing',
          'fewer than two events of the server lie in the window',
          'the server prints its figures every second: measure longer (--duration 5s)',
          {},
        ),
      ];
    }
    if (join.disagreement === null) return [];
    const { message, figures } = join.disagreement;
    const rest = join.isUsed ? '' : '; its figures are of another time or another load, and are left out';
    return [
      reported(
        'server_events_disagree',
        message + rest,
        'are the clocks of both machines right, and is this client the only one?',
        figures,
      ),
    ];
  });
}
