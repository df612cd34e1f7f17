/**
 * What a report says, as titled rows of text: the one content of the terminal table, the Markdown summary and the HTML page, so that
 * all three say the same. Figures are the median over trials, counts of what went wrong the worst; ratios come from the comparisons.
 */
import { headlines } from '../measure/headline.js';
import { completedWindows, findMetric, isBeyondTimeout, runValue, type Metric } from '../measure/metrics.js';
import { ratioInWords } from '../measure/words.js';
import {
  formatBytes,
  formatCount,
  formatDurationMs,
  formatDuration,
  formatNumber,
  formatPercent,
  formatRate,
  unknownText,
} from './format.js';
import type { Comparison, CompletedWindow, Phase, Report, Run, Window } from './schema.js';

export interface SummaryRow {
  readonly label: string;
  /** One per run, in the order of the section. */
  readonly cells: readonly string[];
  /** a / b with its interval; empty where there is none. */
  readonly ratio: string;
}

export interface SummaryGroup {
  readonly title: string;
  /** What the reader must know to read these rows; empty when nothing. */
  readonly note: string;
  readonly rows: readonly SummaryRow[];
}

/** Everything about one number of clients. */
export interface SummarySection {
  readonly clients: number;
  readonly runs: readonly Run[];
  /** Heading of each run's column: the mode, and the backend where it has another name. */
  readonly headings: readonly string[];
  /** Heading of the ratio column; null unless there are exactly two modes. */
  readonly ratioHeading: string | null;
  readonly groups: readonly SummaryGroup[];
}

/** The verdicts that answer the question, the first things a reader sees. */
export function verdicts(report: Report): string[] {
  const lines = headlines(report.comparisons).map(({ clients, verdict, phase }) => {
    const phaseText = phase === 'latency' ? 'at equal load' : 'at capacity';
    return `${formatCount(clients)} clients, ${phaseText}: ${verdict}`;
  });
  return [...new Set([...lines, ...report.findings])];
}

/** One line on what was run, under which conditions. */
export function conditions(report: Report): string {
  const { plan, environment } = report;
  const shape = plan.stream ? 'bulk stream, ' : '';
  const cpus = plan.pinned
    ? `server on CPU ${listOf(environment.cpus_server)}, client on CPU ${listOf(environment.cpus_client)}`
    : 'CPUs shared by server and client';
  const trials = plan.trials === 1 ? '1 trial' : `median of ${plan.trials} trials`;
  return (
    `${shape}${formatBytes(plan.message_size_bytes)} messages, ${plan.pipeline} in flight per connection; ` +
    `${formatDurationMs(plan.duration_ms)} windows, ${trials}; ${cpus}; ` +
    (environment.compatibility ?? environment.system)
  );
}

function listOf(cpus: readonly number[]): string {
  const [first] = cpus;
  const last = cpus.at(-1);
  return cpus.length > 2 ? `${first ?? ''}-${last ?? ''}` : cpus.join(',');
}

export function summarize(report: Report): SummarySection[] {
  return report.plan.clients.map((clients) => summarizeSize(report, clients));
}

function summarizeSize(report: Report, clients: number): SummarySection {
  const runs = report.runs.filter((run) => run.clients === clients);
  const section = new SectionBuilder(report, runs, clients);
  return {
    clients,
    runs,
    headings: runs.map(headingOf),
    ratioHeading: section.ratioHeading,
    groups: section.groups().filter(({ rows }) => rows.length > 0),
  };
}

/** "iocp (io_uring)", or the mode alone where the backend has the same name. */
export function headingOf({ mode, backend }: { mode: string; backend: string }): string {
  const isPlain = backend === mode || backend === 'command' || backend === 'external';
  return isPlain ? mode : `${mode} (${backend})`;
}

type Cell = (run: Run) => string;

class SectionBuilder {
  readonly ratioHeading: string | null;
  private readonly comparisons: readonly Comparison[];

  constructor(
    private readonly report: Report,
    private readonly runs: readonly Run[],
    clients: number,
  ) {
    this.comparisons = report.comparisons.filter((comparison) => comparison.clients === clients);
    const [base, other] = runs;
    this.ratioHeading = runs.length === 2 && base && other ? `${other.mode} / ${base.mode}` : null;
  }

  groups(): SummaryGroup[] {
    return [
      this.connections(),
      this.capacity(),
      this.latency(),
      this.serverCost(),
      this.clientCost(),
      this.fairness(),
      this.errors(),
    ];
  }

  private connections(): SummaryGroup {
    const first = (run: Run): Window | undefined => run.trials[0];
    const worst = (run: Run, name: 'made' | 'failed' | 'lost', pick: (...values: number[]) => number): number | null =>
      run.trials.length === 0 ? null : pick(...run.trials.map((window) => window.connections[name]));
    return this.group('Connections', '', [
      this.row('asked', (run) => formatCount(first(run)?.connections.asked ?? run.clients)),
      this.row('made (first echo right)', (run) => formatCount(worst(run, 'made', Math.min))),
      this.rowIf(
        (run) => (worst(run, 'failed', Math.max) ?? 0) > 0,
        'failed',
        (run) => formatCount(worst(run, 'failed', Math.max)),
      ),
      this.rowIf(
        (run) => (worst(run, 'lost', Math.max) ?? 0) > 0,
        'lost',
        (run) => formatCount(worst(run, 'lost', Math.max)),
      ),
      this.metricRow('time to connect all', 'connect_duration_ms', this.firstPhase()),
    ]);
  }

  private capacity(): SummaryGroup {
    if (!this.hasPhase('capacity')) return { title: 'Capacity', note: '', rows: [] };
    return this.group(
      'Capacity: closed loop, every client always waits for its echo',
      'In a closed loop the mean service time is clients x pipeline / throughput, and its percentiles show only how evenly the queue is served: no ratio.',
      [
        this.metricRow('throughput', 'throughput', 'capacity'),
        this.rowIf(
          () => this.report.plan.stream,
          'payload, one way',
          (run) => this.value('bytes_per_second', run, 'capacity'),
        ),
        this.rowIf(
          () => this.report.plan.requests_per_connection !== null,
          'reconnects',
          (run) => this.value('reconnects_per_second', run, 'capacity'),
          'reconnects_per_second',
          'capacity',
        ),
        ...this.distributionRows('service time', 'service_time', 'capacity', [
          'mean',
          'p50',
          'p90',
          'p99',
          'p99_9',
          'max',
        ]),
      ],
    );
  }

  private latency(): SummaryGroup {
    if (!this.hasPhase('latency')) return { title: 'Latency', note: '', rows: [] };
    const rate = this.runs
      .flatMap((run) => completedWindows(run, 'latency'))
      .map((window) => window.requests.offered_per_second)
      .find((value) => value !== null && value !== undefined);
    return this.group(
      `Latency: open loop at ${formatRate(rate ?? null)} for every mode`,
      'Response time counts from the moment a message was due, service time from when it was sent.',
      [
        this.row('answered', (run) => formatRate(this.median(run, 'latency', (window) => window.requests.per_second))),
        ...this.distributionRows('response', 'response_time', 'latency', ['p50', 'p90', 'p99', 'p99_9', 'max']),
        ...this.distributionRows('service', 'service_time', 'latency', ['p99']),
        this.row('sent > 1 ms late', (run) =>
          formatPercent(
            this.median(run, 'latency', ({ requests }) =>
              requests.offered > 0 ? requests.sent_late / requests.offered : null,
            ),
          ),
        ),
        this.metricRow('server CPU per request', 'server_cpu_us_per_request', 'latency'),
        this.rowIf(
          (run) => run.max_rate !== undefined,
          'highest rate in limit',
          (run) => formatRate(medianOf((run.max_rate ?? []).map((found) => found.rate_per_second))),
          'max_rate',
          'latency',
        ),
      ],
    );
  }

  private serverCost(): SummaryGroup {
    const phase = this.firstPhase();
    const known = this.runs.some((run) => completedWindows(run, phase).some((window) => window.server !== null));
    if (!known) return { title: 'Server cost', note: '', rows: [] };
    const per = (label: string, name: string): SummaryRow => this.metricRow(label, name, phase);
    const split = (run: Run): string => {
      const user = this.median(run, phase, ({ server }) => server?.cpu_user_us_per_request ?? null);
      const system = this.median(run, phase, ({ server }) => server?.cpu_system_us_per_request ?? null);
      return `${formatNumber(user)} + ${formatNumber(system)}`;
    };
    return this.group(
      `Server cost (${phase} phase)`,
      "Memory is that above the idle server's. Kernel memory counts both ends of the connections. On loopback the sender's CPU includes the receiver's path.",
      [
        per('CPU per request', 'server_cpu_us_per_request'),
        this.row('  user + kernel, µs', split),
        this.row('CPU of one core', (run) =>
          formatPercent(this.median(run, phase, ({ server }) => server?.cpu_fraction ?? null)),
        ),
        per('switches per request', 'server_context_switches_per_request'),
        per('threads', 'server_threads'),
        per('resident / connection', 'resident_bytes_per_connection'),
        this.metricRowIfKnown('page tables / conn.', 'page_table_bytes_per_connection', phase),
        this.metricRowIfKnown('kernel mem. / conn.', 'kernel_bytes_per_connection', phase),
        this.metricRowIfKnown('non-paged / conn.', 'nonpaged_pool_bytes_per_connection', phase),
      ],
    );
  }

  private clientCost(): SummaryGroup {
    const phase = this.firstPhase();
    return this.group(`Client (${phase} phase)`, '', [
      this.row('engine, threads', (run) => {
        const window = completedWindows(run, phase)[0];
        return window === undefined ? unknownText : `${window.client.engine}, ${window.client.threads}`;
      }),
      this.metricRow('CPU per request', 'client_cpu_us_per_request', phase),
      this.row('busy', (run) => {
        const busy = formatPercent(this.median(run, phase, ({ client }) => client.busy_fraction));
        const saturated = completedWindows(run, phase).some(({ client }) => client.saturated === true);
        return saturated ? `${busy} (limit)` : busy;
      }),
    ]);
  }

  private fairness(): SummaryGroup {
    const phase = this.firstPhase();
    const starved = (run: Run): number | null => findAndRead('starved_connections', run, phase);
    return this.group('Fairness', '', [
      this.metricRow("Jain's index", 'jain_index', phase),
      this.rowIf(
        (run) => (starved(run) ?? 0) > 0,
        'starved connections',
        (run) => formatCount(starved(run)),
      ),
    ]);
  }

  private errors(): SummaryGroup {
    const classes = [
      ...new Set(this.runs.flatMap((run) => run.trials.flatMap(({ errors }) => Object.keys(errors.by_class)))),
    ];
    const worst = (run: Run, read: (window: Window) => number): string =>
      run.trials.length === 0 ? unknownText : formatCount(Math.max(...run.trials.map(read)));
    return this.group('Errors (worst trial)', '', [
      this.row('errors', (run) => worst(run, ({ errors }) => errors.total)),
      ...classes.map((name) =>
        this.row(`  ${name.replaceAll('_', ' ')}`, (run) => worst(run, ({ errors }) => errors.by_class[name] ?? 0)),
      ),
    ]);
  }

  // ------------------------------------------------------------------------------------------------------------------ rows

  private group(title: string, note: string, rows: readonly (SummaryRow | null)[]): SummaryGroup {
    return { title, note, rows: rows.filter((row) => row !== null) };
  }

  private row(label: string, cell: Cell, metric?: string, phase?: Phase): SummaryRow {
    const ratio = metric === undefined || phase === undefined ? '' : this.ratio(metric, phase);
    return { label, cells: this.runs.map(cell), ratio };
  }

  private rowIf(
    wanted: (run: Run) => boolean,
    label: string,
    cell: Cell,
    metric?: string,
    phase?: Phase,
  ): SummaryRow | null {
    return this.runs.some(wanted) ? this.row(label, cell, metric, phase) : null;
  }

  private metricRow(label: string, metric: string, phase: Phase): SummaryRow {
    return this.row(label, (run) => this.value(metric, run, phase), metric, phase);
  }

  private metricRowIfKnown(label: string, metric: string, phase: Phase): SummaryRow | null {
    return this.runs.some((run) => findAndRead(metric, run, phase) !== null)
      ? this.metricRow(label, metric, phase)
      : null;
  }

  private distributionRows(label: string, metric: string, phase: Phase, fields: readonly string[]): SummaryRow[] {
    return fields.map((field) => this.metricRow(`${label} ${field.replace('_', '.')}`, `${metric}_${field}`, phase));
  }

  private value(name: string, run: Run, phase: Phase): string {
    const metric = findMetric(name);
    if (metric === undefined) throw new Error(`no metric is called ${name}`);
    const value = runValue(metric, run, phase);
    return value === null ? missingText(metric, run, phase) : metricText(metric, value);
  }

  private ratio(metric: string, phase: Phase): string {
    if (this.ratioHeading === null) return '';
    const found = this.comparisons.find((comparison) => comparison.metric === metric && comparison.phase === phase);
    if (found === undefined || found.ratio === null) return '';
    const sign = found.bound === 'at_least' ? '≥ ' : found.bound === 'at_most' ? '≤ ' : '';
    return sign + ratioInWords(found.ratio, found.ci_low, found.ci_high);
  }

  private median(run: Run, phase: Phase, read: (window: CompletedWindow) => number | null): number | null {
    return medianOf(completedWindows(run, phase).map(read));
  }

  private hasPhase(phase: Phase): boolean {
    return this.report.plan.phases.includes(phase);
  }

  private firstPhase(): Phase {
    return this.report.plan.phases[0] ?? 'capacity';
  }
}

function findAndRead(name: string, run: Run, phase: Phase): number | null {
  const metric = findMetric(name);
  return metric === undefined ? null : runValue(metric, run, phase);
}

function medianOf(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null).sort((a, b) => a - b);
  const middle = known.length / 2;
  if (known.length === 0) return null;
  return ((known[Math.ceil(middle) - 1] ?? 0) + (known[Math.floor(middle)] ?? known.at(-1) ?? 0)) / 2;
}

/** Why a figure is not there: beyond the timeout, too few samples, or simply unknown. */
function missingText(metric: Metric, run: Run, phase: Phase): string {
  const windows = completedWindows(run, phase);
  if (windows.some((window) => isBeyondTimeout(metric, window))) return '> timeout';
  const [holder, field = ''] = metric.path.split('.');
  const reasons = windows.map((window) => {
    const shown =
      holder === 'response_time_ns'
        ? window.response_time_ns
        : holder === 'service_time_ns'
          ? window.service_time_ns
          : null;
    return (shown?.missing as Record<string, string | undefined> | undefined)?.[field];
  });
  return reasons.includes('too_few_samples') ? 'few samples' : unknownText;
}

/** A metric's value with its unit. */
export function metricText(metric: Metric, value: number): string {
  switch (metric.unit) {
    case 'ns':
      return formatDuration(value);
    case 'us':
      return formatDuration(value * 1e3);
    case 'ms':
      return formatDurationMs(value);
    case 'bytes':
      return formatBytes(value);
    case 'bytes/s':
      return `${formatBytes(value)}/s`;
    case 'requests/s':
    case '1/s':
      return formatRate(value);
    case 'count':
    case 'fraction':
      return formatNumber(value);
  }
}

/** Windows that were not measured to their end, in words. */
export function brokenWindows(report: Report): string[] {
  return report.runs.flatMap((run) =>
    run.trials.flatMap((window) =>
      window.state === 'completed'
        ? []
        : [
            `${run.mode} at ${formatCount(run.clients)} clients, trial ${window.index + 1}: ${window.state}: ${window.reason}`,
          ],
    ),
  );
}
