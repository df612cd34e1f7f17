/** The tables of a report: one per point of the sweep with a column per mode, and one over all points. */
import { answerName } from '../model/exchange.js';
import { completedWindows, isBeyondTimeout, requireMetric, type Metric } from '../model/metrics.js';
import { runValue } from '../measure/run-values.js';
import { medianOfKnown } from '../measure/statistics.js';
import {
  formatCount,
  formatDuration,
  formatNumber,
  formatPercent,
  formatRate,
  formatRatioWithInterval,
  listInWords,
  plural,
  printable,
  timeoutText,
  unknownText,
} from '../model/format.js';
import {
  percentileNames,
  type Comparison,
  type CompletedWindow,
  type Phase,
  type Plan,
  type Report,
  type Run,
  type Window,
} from '../model/report-schema.js';
import {
  isGiven,
  samePoint,
  serviceLabel,
  serviceNames,
  sweptDimensions,
  type Point,
  type ServiceName,
} from '../model/point.js';
import { percent } from '../model/words.js';
import { agentRows } from './agent-rows.js';
import { invalidNote, isInvalidRatio, markedText, markOf, markSigns, markTones } from './marks.js';
import { backendInWords, metricText, wideIntervalText } from './values.js';
import type { Cell, Column, Group, Row, Table } from './view.js';

const plain = (text: string): Cell => ({ text, tone: 'plain' });
const empty = plain('');

/** What every row of one table is made from. */
interface Context {
  readonly report: Report;
  readonly runs: readonly Run[];
  readonly point: Point;
  /** The two runs whose ratio has a column; null where there are not exactly two. */
  readonly pair: { readonly a: string; readonly b: string } | null;
}

export function columnOf({ mode, backend }: { mode: string; backend: string }): Column {
  return { mode: printable(mode), backend: printable(backendInWords({ mode, backend })) };
}

/* ------------------------------------------------------------------------------------------------------- per size */

export function pointTable(report: Report, point: Point): Table {
  const runs = runsOf(report, point);
  const [first, second, third] = runs;
  const pair = first && second && !third ? { a: second.mode, b: first.mode } : null;
  const context: Context = { report, runs, point, pair };
  const ratioIsKnown = report.comparisons.some((entry) => samePoint(entry, point) && entry.ratio !== null);
  const groups = [
    connectionRows(context),
    throughputRows(context),
    serviceTimeRows(context),
    responseTimeRows(context),
    maxRateRows(context),
    ...(runs.length > 2 ? [ratioRows(context)] : []),
    serverRows(context),
    requestRows(context),
    clientRows(context),
    agentRows(runs, 'capacity'),
    agentRows(runs, 'latency'),
    fairnessRows(context),
    errorRows(context),
  ].filter((group) => group.rows.length > 0);
  return {
    point,
    corner: [...pointLines(point), trialsInWords(runs)],
    columns: runs.map(columnOf),
    ratioHeader: pair !== null && ratioIsKnown ? `${printable(pair.a)} / ${printable(pair.b)}` : null,
    groups,
    notes: notesOf(context, ratioIsKnown, groups),
    briefNotes: briefNotesOf(context, ratioIsKnown, groups),
  };
}

/** In the plan's order: the first is what the others are compared with. */
function runsOf(report: Report, point: Point): Run[] {
  const order = report.plan.modes.map(({ mode }) => mode);
  const position = (run: Run): number => (order.includes(run.mode) ? order.indexOf(run.mode) : order.length);
  return report.runs.filter((run) => samePoint(run, point)).sort((x, y) => position(x) - position(y));
}

function trialsInWords(runs: readonly Run[]): string {
  const counts = runs.map((run) => new Set(run.trials.map(({ index }) => index)).size);
  const most = Math.max(0, ...counts);
  if (most === 0) return 'not measured';
  return most === 1 ? 'one trial' : `median of ${plural(most, 'trial')}`;
}

/** A row of a metric, with its ratio where the modes were compared by it. */
function metricRow(context: Context, label: string, name: string, phase: Phase): Row {
  const metric = requireMetric(name);
  return {
    label,
    cells: context.runs.map((run) => markedCell(context.report, metric, run, phase)),
    ratio: ratioCell(context, metric, phase),
  };
}

/** The figure, with a sign before it if it is not valid or only a bound. */
export function markedCell(report: Report, metric: Metric, run: Run, phase: Phase): Cell {
  const text = metricText(metric, run, phase);
  const mark = markOf(report, metric, run, phase);
  return mark === null ? plain(text) : { text: markedText(text, mark), tone: markTones[mark] };
}

/** The row in the short table, too. */
function brief(row: Row, label = row.label): Row {
  return { ...row, brief: label };
}

/** A row of a percentile at the offered rate. Where a run has a single window, with the percentile's interval if that is wide. */
function percentileRow(context: Context, label: string, name: string): Row {
  const row = metricRow(context, label, name, 'latency');
  const cells = context.runs.map((run, index): Cell => {
    const cell = row.cells[index] ?? empty;
    const interval = singleInterval(run, name);
    return interval === '' ? cell : { ...cell, text: `${cell.text}\n${interval}` };
  });
  return { ...row, cells };
}

/** The rows that show one. */
const intervalRows = [...percentileNames.map((name) => `response_time_${name}`), 'service_time_p99'];

/** The interval says nothing about the differences between trials, so a median of several has none. */
function singleInterval(run: Run, name: string): string {
  const [window, second] = completedWindows(run, 'latency');
  return window === undefined || second !== undefined ? '' : wideIntervalText(requireMetric(name), window);
}

/** A row of figures that are no metrics: no ratio is made of them. */
function figureRow(context: Context, label: string, text: (run: Run) => string): Row {
  return { label, cells: context.runs.map((run) => plain(text(run))), ratio: empty };
}

function isKnown(context: Context, name: string, phase: Phase): boolean {
  const metric = requireMetric(name);
  return context.runs.some((run) => runValue(metric, run, phase) !== null);
}

/** The row, unless no mode has the figure: a machine that cannot tell it needs no line of "n/a". */
function knownRow(context: Context, label: string, name: string, phase: Phase): Row[] {
  return isKnown(context, name, phase) ? [metricRow(context, label, name, phase)] : [];
}

function hasPhase({ runs }: Context, phase: Phase): boolean {
  return runs.some((run) => completedWindows(run, phase).length > 0);
}

/** The phase that cost is read from: the modes' most, where it was measured. */
function costPhase(context: Context): Phase {
  return hasPhase(context, 'capacity') ? 'capacity' : 'latency';
}

function medianOf(run: Run, phase: Phase, read: (window: CompletedWindow) => number | null): number | null {
  return medianOfKnown(completedWindows(run, phase).map(read));
}

/** Over every window, the broken ones included. */
function worstConnections(run: Run, field: 'made' | 'failed' | 'lost'): number {
  const values = run.trials.map(({ connections }) => connections[field]);
  return field === 'made' ? Math.min(...values) : Math.max(...values);
}

function connectionRows(context: Context): Group {
  const phase = costPhase(context);
  const rows = [
    figureRow(context, 'asked', (run) => formatCount(run.trials[0]?.connections.asked ?? run.clients)),
    brief(
      figureRow(context, 'made', (run) =>
        run.trials.length === 0 ? unknownText : formatCount(worstConnections(run, 'made')),
      ),
      'connections made',
    ),
    metricRow(context, 'time to connect all', 'connect_duration_ms', phase),
    ...knownRow(context, 'TLS handshakes', 'handshakes_per_second', phase),
    ...knownRow(context, 'TLS handshake p50', 'handshake_time_p50', phase),
    ...knownRow(context, 'TLS handshake p99', 'handshake_time_p99', phase),
  ];
  for (const field of ['failed', 'lost'] as const) {
    if (context.runs.some((run) => worstConnections(run, field) > 0)) {
      const row = figureRow(context, field, (run) => formatCount(Math.max(0, worstConnections(run, field))));
      rows.push(brief(row, `connections ${field}`));
    }
  }
  if (context.runs.some((run) => aliveAtEnd(run) !== null)) {
    rows.push(brief(figureRow(context, 'alive at the end', (run) => formatCount(aliveAtEnd(run)))));
  }
  return { title: 'Connections', briefTitle: '', rows };
}

/** Where some connections only idled: of the worst trial, those that still echoed in the end. */
function aliveAtEnd(run: Run): number | null {
  const values = run.trials
    .map(({ connections }) => connections.alive_at_end ?? null)
    .filter((value) => value !== null);
  return values.length === 0 ? null : Math.min(...values);
}

/** From this message size on, bytes say more than requests. */
const bulkBytes = 1024;

function throughputRows(context: Context): Group {
  const { plan } = context.report;
  if (!hasPhase(context, 'capacity')) return { title: '', rows: [] };
  return {
    title: 'Throughput at full load',
    briefTitle: '',
    rows: [
      brief(metricRow(context, 'requests', 'throughput', 'capacity'), 'requests at full load'),
      ...(plan.message_size_bytes >= bulkBytes || plan.exchange !== undefined
        ? [
            brief(
              metricRow(
                context,
                plan.exchange === undefined ? 'payload, one way' : 'bytes of replies',
                'bytes_per_second',
                'capacity',
              ),
            ),
          ]
        : []),
      ...(plan.requests_per_connection === null
        ? []
        : [
            ...knownRow(context, 'reconnects', 'reconnects_per_second', 'capacity').map((row) => brief(row)),
            metricRow(context, 'connect p50', 'churn_connect_time_p50', 'capacity'),
            ...knownRow(context, 'TLS handshake p50', 'churn_handshake_time_p50', 'capacity'),
            ...knownRow(context, 'TLS handshake p99', 'churn_handshake_time_p99', 'capacity'),
            ...resumedRow(context),
            metricRow(context, 'first echo p50', 'churn_first_echo_time_p50', 'capacity'),
            brief(metricRow(context, 'first echo p99', 'churn_first_echo_time_p99', 'capacity')),
          ]),
    ],
  };
}

/** Of the connections made again over TLS, the share that resumed its session; no row unless that was requested. */
function resumedRow(context: Context): Row[] {
  if (context.report.plan.tls?.resume !== true) return [];
  const share = ({ churn }: CompletedWindow): number | null => {
    const { count = 0, resumed = 0 } = churn?.tls ?? {};
    return count === 0 ? null : resumed / count;
  };
  return [
    figureRow(context, 'TLS sessions resumed', (run) => {
      const value = medianOf(run, 'capacity', share);
      return value === null ? unknownText : percent(value);
    }),
  ];
}

function serviceTimeRows(context: Context): Group {
  if (!hasPhase(context, 'capacity')) return { title: '', rows: [] };
  const names = [
    ['p50', 'p50'],
    ['p99', 'p99'],
    ['max', 'max'],
    ['mean', 'mean'],
  ] as const;
  return {
    title: 'Service time at full load [1]',
    // A ratio of the mean would say the throughput's again, upside down.
    rows: names.map(([label, field]) => ({
      ...metricRow(context, label, `service_time_${field}`, 'capacity'),
      ratio: empty,
      // With a latency phase, that is where times are compared.
      ...(hasPhase(context, 'latency') || label === 'mean' ? {} : { brief: label }),
    })),
  };
}

/** What the timetable offered; null where the modes were not offered the same. */
function offeredRate({ runs }: Context): number | null {
  const rates = runs.flatMap(
    (run) => medianOf(run, 'latency', ({ requests }) => requests.offered_per_second ?? null) ?? [],
  );
  const [first] = rates;
  if (first === undefined || Math.max(...rates) > 1.01 * Math.min(...rates)) return null;
  return first;
}

/** Response times of the short table. */
const briefPercentiles: readonly string[] = ['p50', 'p99', 'max'];

function responseTimeRows(context: Context): Group {
  if (!hasPhase(context, 'latency')) return { title: '', rows: [] };
  const rate = offeredRate(context);
  const names = [
    ['p50', 'p50'],
    ['p90', 'p90'],
    ['p99', 'p99'],
    ['p99.9', 'p99_9'],
    ['max', 'max'],
  ] as const;
  return {
    title: rate === null ? 'Response time, rates differ [2]' : `Response time at ${formatRate(rate)} offered [2]`,
    rows: [
      ...(rate === null
        ? [
            brief(
              figureRow(context, 'offered', (run) =>
                formatRate(medianOf(run, 'latency', (w) => w.requests.offered_per_second ?? null)),
              ),
            ),
          ]
        : []),
      figureRow(context, 'answered', (run) =>
        formatRate(medianOf(run, 'latency', ({ requests }) => requests.per_second)),
      ),
      ...names.map(([label, field]) => {
        const row = percentileRow(context, label, `response_time_${field}`);
        return briefPercentiles.includes(label) ? brief(row) : row;
      }),
      percentileRow(context, 'service time p99', 'service_time_p99'),
      ...knownRow(context, 'server CPU per request', 'server_cpu_us_per_request', 'latency'),
    ],
  };
}

function maxRateRows(context: Context): Group {
  const searched = context.runs.flatMap((run) => run.max_rate ?? [])[0];
  if (searched === undefined) return { title: '', rows: [] };
  const what = searched.metric.replaceAll('_', ' ');
  return {
    title: `Highest rate with ${printable(what)} within ${formatDuration(searched.limit_ns)}`,
    rows: [brief(metricRow(context, 'requests', 'max_rate', 'latency'))],
  };
}

function costTitle(phase: Phase): string {
  return phase === 'capacity' ? 'Server cost at full load' : 'Server cost at the offered rate';
}

function serverRows(context: Context): Group {
  const phase = costPhase(context);
  const known = (label: string, name: string): Row[] => knownRow(context, label, name, phase);
  const cost = context.runs.some((run) => completedWindows(run, phase).some(({ server }) => server !== null));
  if (!cost) return { title: '', rows: [] };
  return {
    title: costTitle(phase),
    rows: [
      brief(metricRow(context, 'CPU per request', 'server_cpu_us_per_request', phase)),
      ...known('work burnt/request', 'server_work_us_per_request').map((row) => brief(row)),
      ...known('wait/request', 'server_wait_ms_per_request').map((row) => brief(row)),
      figureRow(context, 'CPUs in use', (run) =>
        formatNumber(medianOf(run, phase, ({ server }) => server?.cpu_fraction ?? null)),
      ),
      ...known('threads', 'server_threads').map((row) => brief(row)),
      ...known('resident memory/conn.', 'resident_bytes_per_connection').map((row) => brief(row)),
      ...known('page tables/conn.', 'page_table_bytes_per_connection'),
      ...known('kernel memory/conn. [3]', 'kernel_bytes_per_connection').map((row) =>
        brief(row, 'kernel memory/conn.'),
      ),
      ...known('non-paged pool/conn.', 'nonpaged_pool_bytes_per_connection'),
      ...refusedRow(context, phase),
    ],
  };
}

/**
 * Where a request's time goes in the server. If a mode has a figure, the row has it for all: n/a for those without, with the reason in the
 * notes.
 */
function requestRows(context: Context): Group {
  const phase = costPhase(context);
  const known = (label: string, name: string): Row[] => knownRow(context, label, name, phase);
  return {
    title: "Where a request's time goes, server [4]",
    briefTitle: costTitle(phase),
    rows: [
      ...known('CPU in user mode', 'server_cpu_user_us_per_request'),
      ...known('CPU in the kernel', 'server_cpu_system_us_per_request'),
      ...known('waiting for a CPU', 'server_run_delay_us_per_request'),
      ...known('system calls', 'server_system_calls_per_request').map((row) => brief(row, 'system calls/request')),
      ...known('context switches', 'server_context_switches_per_request').map((row) => brief(row, 'switches/request')),
      ...known(`instructions${inScope(context, phase, 'server')}`, 'server_instructions_per_request'),
      ...known(`CPU cycles${inScope(context, phase, 'server')}`, 'server_cycles_per_request'),
    ],
  };
}

/** Instructions of the user mode alone must not be taken for all: most of an echo is the kernel's. */
function inScope(context: Context, phase: Phase, side: 'server' | 'client'): string {
  const scopes = context.runs.flatMap((run) =>
    completedWindows(run, phase).map((window) => window[side]?.instructions_scope),
  );
  return scopes.includes('user') ? ' (user)' : '';
}

function refusedRow(context: Context, phase: Phase): Row[] {
  const refused = (run: Run): number | null => medianOf(run, phase, ({ server }) => server?.refused ?? null);
  return context.runs.some((run) => (refused(run) ?? 0) > 0)
    ? [brief(figureRow(context, 'refused by the model', (run) => formatCount(refused(run))))]
    : [];
}

function clientRows(context: Context): Group {
  const phase = costPhase(context);
  if (!hasPhase(context, phase)) return { title: '', rows: [] };
  const engine = (run: Run): string => completedWindows(run, phase)[0]?.client.engine ?? unknownText;
  return {
    title: 'Client cost',
    rows: [
      metricRow(context, 'CPU per request', 'client_cpu_us_per_request', phase),
      ...knownRow(context, 'system calls/request', 'client_system_calls_per_request', phase),
      ...knownRow(
        context,
        `instructions/request${inScope(context, phase, 'client')}`,
        'client_instructions_per_request',
        phase,
      ),
      ...knownRow(context, `cycles/request${inScope(context, phase, 'client')}`, 'client_cycles_per_request', phase),
      figureRow(context, 'busiest thread', (run) => busyText(run, phase)),
      figureRow(context, 'threads', (run) => formatCount(medianOf(run, phase, ({ client }) => client.threads))),
      figureRow(context, 'engine', (run) => printable(engine(run))),
    ],
  };
}

/** The share of its time that an engine did not wait, and whether that made it the limit. */
function busyText(run: Run, phase: Phase): string {
  const busy = formatPercent(medianOf(run, phase, ({ client }) => client.busy_fraction));
  const isLimit = completedWindows(run, phase).some(({ client }) => client.saturated === true);
  return isLimit ? `${busy} (limit)` : busy;
}

function fairnessRows(context: Context): Group {
  const phase = costPhase(context);
  if (!hasPhase(context, phase)) return { title: '', rows: [] };
  const row = metricRow(context, 'starved connections', 'starved_connections', phase);
  const starved = row.cells.some(({ text }) => text !== '0' && text !== unknownText) ? brief(row) : row;
  return {
    title: 'Fairness among connections',
    briefTitle: '',
    rows: [metricRow(context, "Jain's index (1 = even)", 'jain_index', phase), starved],
  };
}

/** Of the worst window, as gates judge them: the windows of a trial share its connections, and so would count a refusal twice. */
function errorRows(context: Context): Group {
  const worst = (run: Run, read: (window: Window) => number): number => Math.max(0, ...run.trials.map(read));
  const names = context.runs.flatMap((run) => run.trials.flatMap(({ errors }) => Object.keys(errors.by_class)));
  const of = (run: Run, name: string): number => worst(run, ({ errors }) => errors.by_class[name] ?? 0);
  const present = [...new Set(names)].filter((name) => context.runs.some((run) => of(run, name) > 0)).sort();
  const total = figureRow(context, 'total', (run) => formatCount(worst(run, ({ errors }) => errors.total)));
  return {
    title: 'Errors, worst trial',
    rows: [
      present.length === 0 ? total : brief(total),
      ...present.map((name) =>
        brief(figureRow(context, printable(name.replaceAll('_', ' ')), (run) => formatCount(of(run, name)))),
      ),
    ],
  };
}

/* --------------------------------------------------------------------------------------------------------- ratios */

function comparisonOf(
  { report, point }: Pick<Context, 'report' | 'point'>,
  a: string,
  metric: Metric,
  phase: Phase,
): Comparison | undefined {
  return report.comparisons.find(
    (entry) => samePoint(entry, point) && entry.a === a && entry.metric === metric.name && entry.phase === phase,
  );
}

export function ratioCell(context: Pick<Context, 'report' | 'point' | 'pair'>, metric: Metric, phase: Phase): Cell {
  if (context.pair === null) return empty;
  const found = comparisonOf(context, context.pair.a, metric, phase);
  return found === undefined ? empty : shownRatio(context.report, found, metric);
}

/** The ratio, with a sign before it where one of its figures is not valid. */
function shownRatio(report: Report, comparison: Comparison, metric: Metric): Cell {
  const text = ratioText(comparison);
  if (text !== '' && isInvalidRatio(report, comparison, metric))
    return { text: markSigns.invalid + text, tone: 'invalid' };
  return { text, tone: ratioTone(comparison, metric) };
}

/** "1.90x [1.80, 2.10]", with a sign before it where the load generator was the limit. */
function ratioText({ ratio, ci_low, ci_high, bound }: Comparison): string {
  if (ratio === null) return '';
  const sign = bound === 'at_least' ? '≥ ' : bound === 'at_most' ? '≤ ' : '';
  return sign + formatRatioWithInterval(ratio, ci_low, ci_high);
}

/** Only what is claimed is coloured. */
function ratioTone({ verdict_code: code }: Comparison, metric: Metric): Cell['tone'] {
  if (code === 'higher' || code === 'lower') return code === metric.better ? 'better' : 'worse';
  return code === 'no_difference_shown' ? 'muted' : 'plain';
}

const primaryRatios = [
  ['throughput', 'throughput', 'capacity'],
  ['server CPU per request', 'server_cpu_us_per_request', 'capacity'],
  ['response time p99', 'response_time_p99', 'latency'],
  ['highest rate', 'max_rate', 'latency'],
] as const;

/** With more than two modes: every mode against the first, on the primary figures. */
function ratioRows(context: Context): Group {
  const [base] = context.runs;
  if (base === undefined) return { title: '', rows: [] };
  const rows = primaryRatios.flatMap(([label, name, phase]) => {
    const metric = requireMetric(name);
    const cells = context.runs.map((run): Cell => {
      if (run === base) return { text: '1', tone: 'muted' };
      const found = comparisonOf(context, run.mode, metric, phase);
      if (found?.ratio === undefined || found.ratio === null) return { text: unknownText, tone: 'muted' };
      const { text, tone } = shownRatio(context.report, found, metric);
      return { text: text.replace(' [', '\n['), tone };
    });
    return cells.some(({ text }) => text.includes('x')) ? [{ label, cells, ratio: empty, brief: label }] : [];
  });
  return { title: `Ratio to ${printable(base.mode)}, 95% interval`, rows };
}

/* ---------------------------------------------------------------------------------------------------------- notes */

/** Empty for older reports. */
function arrivalsInWords({ arrivals }: Plan): string {
  switch (arrivals) {
    case 'poisson':
      return ' Messages come at random (Poisson arrivals), each on a random connection, as from independent users.';
    case 'even':
      return ' Messages come at equal intervals (even arrivals), the easiest load for a server.';
    case undefined:
      return '';
  }
}

/** What a reader of the short table must know: how to read its figures, not how each is made. */
function briefNotesOf({ report, point }: Context, ratioIsKnown: boolean, groups: readonly Group[]): string[] {
  const rows = groups.flatMap((group) => group.rows).filter((row) => row.brief !== undefined);
  const has = (tone: Cell['tone']): boolean =>
    rows.some(({ cells, ratio }) => [...cells, ...(ratio === null ? [] : [ratio])].some((cell) => cell.tone === tone));
  const isBound = (text: string): boolean => /^[≥≤]/.test(text);
  const hasBound =
    has('bound') || rows.some(({ cells, ratio }) => [...cells, ratio ?? empty].some(({ text }) => isBound(text)));
  const timesOf = report.runs.some((run) => samePoint(run, point) && completedWindows(run, 'latency').length > 0);
  const trials = report.plan.trials;
  const answer = answerName(report.plan.protocol);
  return [
    ...(timesOf ? [`Response time: from when a message was due to its whole ${answer}, what a user waits.`] : []),
    ...(ratioIsKnown && trials > 2
      ? ['Ratio: with its 95% interval over paired trials; the verdict says what is claimed.']
      : []),
    ...(ratioIsKnown && trials === 2 ? ['Two trials: ratios without an interval.'] : []),
    ...(has('invalid') ? [invalidNote] : []),
    ...(hasBound ? ['≥ and ≤ mark bounds: the true value lies beyond.'] : []),
    ...(rows.some(({ cells }) => cells.some(({ text }) => text === timeoutText))
      ? [`${timeoutText}: so many requests had no ${answer} within ${formatDuration(report.plan.timeout_ms * 1e6)}.`]
      : []),
  ];
}

function notesOf(context: Context, ratioIsKnown: boolean, groups: readonly Group[]): string[] {
  const { report, runs } = context;
  const notes: string[] = [];
  const answer = answerName(report.plan.protocol);
  if (hasPhase(context, 'capacity')) {
    notes.push(
      `[1] Closed loop: a client sends its next message when the ${answer} of the last is there. Its mean is clients x pipeline / ` +
        "throughput (Little's law); the percentiles only show how evenly the queue is served, so there is no ratio.",
    );
  }
  if (hasPhase(context, 'latency')) {
    notes.push(
      `[2] Open loop, the same offered rate for every mode: from the moment a message was due to its whole ${answer}, what a user waits. ` +
        `Service time starts when it was really sent.${arrivalsInWords(report.plan)}`,
    );
  }
  if (runs.some((run) => intervalRows.some((name) => singleInterval(run, name) !== ''))) {
    notes.push(
      'In brackets: the 95% interval of a percentile of one window, by order statistics, where it is wide. It holds for independent ' +
        'requests; where slow requests come together, the true one is wider.',
    );
  }
  if (isKnown(context, 'kernel_bytes_per_connection', costPhase(context))) {
    notes.push('[3] Sockets, buffers and kernel stacks, system-wide: both ends, server and client.');
  }
  if (requestRows(context).rows.length > 0) {
    notes.push(
      '[4] Per request, all threads of the server together. System calls are counted only in the built-in servers except node. The wait for a ' +
        'CPU is n/a if threads ended meanwhile, and for commands and targets.',
    );
  }
  const isPooled = report.comparisons.some((entry) => entry.pooled === true && samePoint(entry, context.point));
  if (ratioIsKnown && report.plan.trials > 2) {
    notes.push(
      'Ratios are geometric means over paired trials with a 95% interval; a difference is claimed only in the verdict.' +
        (isPooled ? ' Those of p99 and p99.9 are of the requests of all trials.' : ''),
    );
  }
  if (ratioIsKnown && report.plan.trials === 2) notes.push('Two trials: ratios without an interval.');
  const rows = groups.flatMap((group) => group.rows);
  if (rows.some(isMarkedInvalid)) notes.push(invalidNote);
  const hasBound = rows.some(({ cells }) => cells.some(({ tone }) => tone === 'bound'));
  if (hasBound || report.comparisons.some((entry) => samePoint(entry, context.point) && entry.bound !== null)) {
    notes.push('≥ and ≤: the load generator was the limit, or a search did not end; the true value lies beyond.');
  }
  if (runs.some((run) => run.trials.some(isOverTimeout))) {
    notes.push(
      `> timeout: so many requests had no echo within ${formatDuration(report.plan.timeout_ms * 1e6)} that the figure lies among them.`,
    );
  }
  return notes;
}

function isOverTimeout(window: Run['trials'][number]): boolean {
  return ['response_time_p99_9', 'response_time_max', 'service_time_p99_9', 'service_time_max'].some((name) =>
    isBeyondTimeout(requireMetric(name), window),
  );
}

/* --------------------------------------------------------------------------------------------------------- series */

const seriesMetrics = [
  ['Throughput at full load', 'throughput', 'capacity'],
  ['Response time p99', 'response_time_p99', 'latency'],
  ['Server CPU per request', 'server_cpu_us_per_request', 'capacity'],
  ['Connections made', 'connections_made', null],
] as const;

/** Points down, modes across: what a sweep is run for. */
export function seriesTable(report: Report, points: readonly Point[]): Table {
  const modes = report.plan.modes.filter(({ mode }) => report.runs.some((run) => run.mode === mode));
  const [first, second, third] = modes;
  const pair = first && second && !third ? { a: second.mode, b: first.mode } : null;
  const swept = sweptDimensions(points);
  const find = (mode: string, point: Point): Run | undefined =>
    report.runs.find((run) => run.mode === mode && samePoint(run, point));
  const groups = seriesMetrics.flatMap(([title, name, phase]): Group[] => {
    // With the same number of clients everywhere, the connections are the same, too.
    if (phase === null && !swept.includes('clients')) return [];
    const metric = requireMetric(name);
    const cell = (run: Run | undefined): Cell => {
      if (run === undefined) return plain(unknownText);
      if (phase !== null) return markedCell(report, metric, run, phase);
      return plain(run.trials.length === 0 ? unknownText : formatCount(worstConnections(run, 'made')));
    };
    const rows = points.map((point) => ({
      label: swept.map((dimension) => dimensionText(dimension, point)).join(', '),
      cells: modes.map(({ mode }) => cell(find(mode, point))),
      ratio: phase === null ? empty : ratioCell({ report, point, pair }, metric, phase),
      brief: swept.map((dimension) => dimensionText(dimension, point)).join(', '),
    }));
    return rows.some(({ cells }) => cells.some((cell) => cell.text !== unknownText)) ? [{ title, rows }] : [];
  });
  const hasRatio = groups.some(({ rows }) => rows.some(({ ratio }) => (ratio?.text ?? '') !== ''));
  return {
    point: null,
    corner: [seriesTitle(swept)],
    columns: modes.map(columnOf),
    ratioHeader: pair !== null && hasRatio ? `${printable(pair.a)} / ${printable(pair.b)}` : null,
    groups,
    notes: groups.some(({ rows }) => rows.some(isMarkedInvalid)) ? [invalidNote] : [],
  };
}

function isMarkedInvalid({ cells, ratio }: Row): boolean {
  return [...cells, ...(ratio === null ? [] : [ratio])].some(({ tone }) => tone === 'invalid');
}

function seriesTitle(swept: ReturnType<typeof sweptDimensions>): string {
  const services = swept.filter((dimension) => dimension !== 'clients');
  if (services.length === 0) return 'All numbers of clients';
  return `By ${listInWords(swept)} per request`;
}

function dimensionText(dimension: 'clients' | ServiceName, point: Point): string {
  return dimension === 'clients' ? `${formatCount(point.clients)} clients` : serviceLabel(dimension, point);
}

/** "1,000 clients", "100 µs of work": a line for each dimension that the report knows of. */
export function pointLines(point: Point): string[] {
  const given = serviceNames.filter((name) => isGiven(name, point));
  return [`${formatCount(point.clients)} clients`, ...given.map((name) => serviceLabel(name, point))];
}
