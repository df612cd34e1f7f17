/**
 * What a report says, laid out but not yet drawn: the same words, tables and order for the terminal, Markdown and HTML. Figures are
 * read through the table of metrics, so that a table and a gate can never disagree about a number.
 */
import { headlineText } from '../measure/answer.js';
import { headlines } from '../measure/headline.js';
import { completedWindows, findMetric } from '../model/metrics.js';
import { runValue } from '../measure/run-values.js';
import {
  formatCount,
  formatBytes,
  formatDurationMs,
  formatRate,
  listInWords,
  plural,
  printable,
} from '../model/format.js';
import {
  distinctPoints,
  hasRate,
  pointInWords,
  samePoint,
  serviceInWords,
  serviceNames,
  serviceNs,
  sweptDimensions,
  type Point,
} from '../model/point.js';
import type { Comparison, Gate, Plan, Report, Run, Warning } from '../model/report-schema.js';
import { duration } from '../model/words.js';
import { loadCurveTables } from './load-curve-table.js';
import { pointTable, seriesTable } from './sections.js';
import { backendInWords, metricText } from './values.js';
import { tlsInWords } from '../model/tls.js';
import { typedPercent } from '../model/words.js';

/** 'invalid': the figure is not valid; 'bound': the true value lies beyond it. */
export type CellTone = 'plain' | 'better' | 'worse' | 'muted' | 'invalid' | 'bound';

export interface Cell {
  /** May have two lines. */
  readonly text: string;
  readonly tone: CellTone;
}

export interface Row {
  readonly label: string;
  /** One per column of the table. */
  readonly cells: readonly Cell[];
  /** null in tables without a ratio column. */
  readonly ratio: Cell | null;
  /** Its label in the short table; absent: the row is only in the full one. */
  readonly brief?: string;
}

export interface Group {
  readonly title: string;
  /** Its title in the short table; '' draws none, and groups of one title become one. Absent: the title without its note. */
  readonly briefTitle?: string;
  readonly rows: readonly Row[];
}

export interface Column {
  readonly mode: string;
  /** Empty where mode and backend have one name. */
  readonly backend: string;
}

export interface Table {
  /** null: over all points of the sweep. */
  readonly point: Point | null;
  /** Of the table of a load curve: what is the same at all of its rates. */
  readonly curve?: Point;
  /** A chart in characters, to be drawn under the table. */
  readonly plot?: readonly string[];
  /** Stands in the corner, one line each. */
  readonly corner: readonly string[];
  readonly columns: readonly Column[];
  /** Heads the ratio column; null where there is none. */
  readonly ratioHeader: string | null;
  readonly groups: readonly Group[];
  /** What a reader must know to read the figures. */
  readonly notes: readonly string[];
  /** The same for the short table; absent: all notes. */
  readonly briefNotes?: readonly string[];
  /** True if the short report has this table; absent: true. */
  readonly isBrief?: boolean;
}

export interface WarningGroup {
  readonly severity: Warning['severity'];
  readonly messages: readonly string[];
  readonly hint: string;
}

export interface View {
  /** The answer to the question of the run, in one sentence. */
  readonly headline: string;
  readonly title: string;
  /** What was run, where, and how. */
  readonly facts: readonly string[];
  /** The answer in words, and what prevents one. */
  readonly verdict: readonly string[];
  /** Lines of the verdict that the short report leaves out: marks in its table, and the headline, say the same. */
  readonly verdictDetails: readonly string[];
  readonly findings: readonly string[];
  readonly tables: readonly Table[];
  /** Windows that were not measured to their end, with the reason. */
  readonly broken: readonly string[];
  readonly warnings: readonly WarningGroup[];
  readonly gates: readonly Gate[];
}

/** So many lines are read as an answer; more are a table. */
const verdictLines = 6;

export function buildView(report: Report): View {
  const points = pointsOf(report);
  const series = points.length > 1 ? [seriesTable(report, points)] : [];
  return {
    headline: headlineText(report),
    title: printable(titleOf(report)),
    facts: factsOf(report).map(printable),
    verdict: verdictOf(report, points).map(printable),
    verdictDetails: [...invalidFigures(report), ...multiplicity(judgedRatios(report))].map(printable),
    findings: report.findings.map(printable),
    tables: [
      ...series,
      // The short report of a sweep has the table over all points.
      ...points.map((point) => ({ ...pointTable(report, point), isBrief: series.length === 0 })),
      ...loadCurveTables(report),
    ],
    broken: brokenWindows(report).map(printable),
    warnings: groupWarnings(report.warnings),
    gates: report.gates,
  };
}

/** The points of the sweep that were measured: numbers of clients in the plan's order, work and wait in that of the runs. */
function pointsOf(report: Report): Point[] {
  const points = distinctPoints(report.runs).filter((point) => !hasRate(point));
  const sizes = [...new Set([...report.plan.clients, ...points.map(({ clients }) => clients)])];
  return sizes.flatMap((clients) => points.filter((point) => point.clients === clients));
}

/** "iocp (io_uring)" where another name serves it. */
export function modeInWords({ mode, backend }: { mode: string; backend: string }): string {
  const served = backendInWords({ mode, backend });
  return served === '' ? mode : `${mode} (${served})`;
}

function titleOf({ plan, runs }: Report): string {
  const modes = plan.modes.map(modeInWords);
  const clients = `${listInWords(plan.clients.map((count) => formatCount(count)))} clients${serviceOf(runs)}`;
  if (plan.target !== null) return `${targetInWords(plan)} under ${clients}`;
  const [first = '', second, ...more] = modes;
  if (second === undefined) return `${first} under ${clients}`;
  return more.length === 0 ? `${first} against ${second}, ${clients}` : `${listInWords(modes)}, ${clients}`;
}

/** ", 0, 10 µs and 1 ms of work"; empty where the servers only echoed. */
function serviceOf(runs: readonly Run[]): string {
  return serviceNames
    .map((name) => {
      const values = [...new Set(runs.map((run) => serviceNs(name, run)))];
      if (values.every((ns) => ns === 0)) return '';
      return `, ${listInWords(values.map((ns) => (ns === 0 ? '0' : duration(ns))))} of ${name} per request`;
    })
    .join('');
}

/** "db:7000 (10.0.0.1:7000, the first of 3 addresses that answer)" for a name; an address alone is its own words. */
function targetInWords({ target, target_address: address = null, target_tried: tried = [] }: Plan): string {
  if (address === null || address === target) return target ?? '';
  const answering = tried.filter(({ outcome }) => outcome === 'answered').length;
  return `${target} (${address}${answering > 1 ? `, the first of ${answering} addresses that answer` : ''})`;
}

function factsOf({ plan, environment, machines, tool, created_at }: Report): string[] {
  const inFlight = plan.pipeline === 1 ? '' : `, ${formatCount(plan.pipeline)} in flight per connection`;
  const idle = plan.idle === 0 ? '' : `, plus ${formatCount(plan.idle)} idle connections`;
  const shape =
    `${trialsInWords(plan)} of ${chosenDuration(plan.duration_ms)} per phase after ` +
    `${chosenDuration(plan.warmup_ms)} of warm-up`;
  const cpus =
    machines !== undefined
      ? machinesInWords(machines)
      : environment.cpus_shared
        ? `${plural(environment.cpus_online, 'CPU')}, shared by server and client`
        : `server on CPU ${environment.cpus_server.join(',')}, client on CPU ${environment.cpus_client.join(',')}`;
  const system = `${environment.system}${environment.compatibility === null ? '' : ` (${environment.compatibility})`}`;
  return [
    `${exchangeInWords(plan, `${inFlight}${idle}`)}${plan.tls === undefined ? '' : `, ${tlsInWords(plan.tls)}`}; ${shape}`,
    `${system}, ${environment.cpu_model}; ${cpus}; iocp-bench ${tool.version}, ${created_at.slice(0, 16).replace('T', ' ')} UTC`,
  ];
}

/** What clients send, and what is verified of each reply. @param how in flight and idle, with their commas */
function exchangeInWords({ protocol = 'echo', exchange, message_size_bytes: bytes }: Plan, how: string): string {
  const size = formatBytes(bytes);
  if (protocol === 'echo' || exchange === undefined) return `echoes of ${size} messages${how}, every byte verified`;
  const requests =
    protocol === 'http' ? `HTTP requests (${exchange.request})` : `messages ${exchange.request} of ${size}`;
  return protocol === 'http'
    ? `${requests}${how}, every reply complete and with ${exchange.reply}`
    : `${requests}${how}, every reply complete: it ${exchange.reply}`;
}

/** "4 trials", "8 trials (until ±3%, at most 20)". */
function trialsInWords({ trials, until = null, trials_max: most = null }: Plan): string {
  const bounds = until === null ? '' : ` (until ±${typedPercent(until)}${most === null ? '' : `, at most ${most}`})`;
  return plural(trials, 'trial') + bounds;
}

/** "server on srv, load on a and b". */
function machinesInWords(machines: NonNullable<Report['machines']>): string {
  const names = (role: 'server' | 'load' | 'probe'): string[] =>
    machines.filter(({ roles }) => roles.includes(role)).map(({ name }) => name);
  const parts: [string, string[]][] = [
    ['server on', names('server')],
    ['load on', names('load')],
    ['latency measured on', names('probe')],
  ];
  return parts.flatMap(([what, who]) => (who.length === 0 ? [] : [`${what} ${listInWords(who)}`])).join(', ');
}

/** A duration that somebody typed: "3 s", not "3.00 s". */
function chosenDuration(ms: number): string {
  return formatDurationMs(ms).replace(/\.0+ /, ' ');
}

/* ------------------------------------------------------------------------------------------------------ verdict */

function verdictOf(report: Report, points: readonly Point[]): string[] {
  return [...caveats(report), ...(answers(report, points) ?? runsInWords(report))];
}

/** What has to be known before anything else is read. */
function caveats(report: Report): string[] {
  return [
    ...(report.partial ? ['This run did not end: what follows is what was measured until then.'] : []),
    ...(report.environment.compatibility === null
      ? []
      : [`This is ${report.environment.compatibility}, not Windows: its figures say nothing about Windows.`]),
    ...invalidFigures(report),
  ];
}

function invalidFigures({ warnings }: Report): string[] {
  const invalid = warnings.filter(({ severity }) => severity === 'invalid').length;
  return invalid === 0
    ? []
    : [`Not all figures are valid: ${plural(invalid, 'warning')} below ${invalid === 1 ? 'says' : 'say'} which.`];
}

/** How many ratios were judged together, without those of a load curve, which the findings are about. */
function judgedRatios({ comparisons }: Report): number {
  return comparisons.filter((one) => one.ratio !== null && !hasRate(one) && typeof one.p_value === 'number').length;
}

/** The comparisons that answer the question; null where no two modes could be compared. */
function answers(report: Report, points: readonly Point[]): string[] | null {
  // The findings say what a load curve shows, rate by rate.
  const compared = report.comparisons.filter((comparison) => comparison.ratio !== null && !hasRate(comparison));
  const heads = headlines(compared);
  if (heads.length === 0) return null;
  const swept = sweptDimensions(points);
  const several = swept.length > 0;
  // In a sweep the largest number of clients is what was asked about; the findings and the series tell of the others.
  const largest = Math.max(...heads.map(({ clients }) => clients));
  const ofLargest = compared.filter(({ clients }) => clients === largest);
  const chosen = endsOfService(heads.filter((comparison) => ofLargest.includes(comparison)));
  const others = ofLargest.filter((comparison) => comparison.primary && !chosen.includes(comparison));
  const wanted = several ? chosen : [...chosen, ...others];
  const shown = wanted.slice(0, Math.max(verdictLines, chosen.length));
  const left = wanted.length - shown.length;
  return [
    ...shown.map((comparison) => sentence(comparison, swept)),
    ...(left > 0 ? [`${plural(left, 'more ratio')} of the primary figures in the table below`] : []),
    ...multiplicity(judgedRatios(report)),
  ];
}

/** Of many headlines in a sweep over work or wait, those of its first and last point: the findings say what lies between. */
function endsOfService(heads: readonly Comparison[]): Comparison[] {
  const points = distinctPoints(heads);
  const ends = [points[0], points.at(-1)];
  if (heads.length <= verdictLines || points.length < 3) return [...heads];
  return heads.filter((head) => ends.some((end) => end !== undefined && samePoint(head, end)));
}

/** What a claim means where several were possible; nothing for a report that was made without the correction. */
export function multiplicity(judged: number): string[] {
  return judged < 2
    ? []
    : [`${formatCount(judged)} ratios were judged together: with 95% confidence none is claimed by chance (Holm)`];
}

function sentence(comparison: Comparison, swept: ReturnType<typeof sweptDimensions>): string {
  const { verdict, phase, metric } = comparison;
  const inWords = swept.includes('clients') ? `at ${pointInWords(comparison)}` : serviceInWords(comparison);
  const where = swept.length > 0 ? `${inWords}: ` : '';
  // Without the phase, a metric of both phases would seem to contradict itself.
  const when = findMetric(metric)?.compared.length === 2 && phase === 'latency' ? ' (at the offered rate)' : '';
  return `${where}${verdict}${when}`;
}

/** The plain figures of each run: all there is to say of one mode, or of one trial. */
function runsInWords(report: Report): string[] {
  const single = report.plan.trials === 1 && report.plan.modes.length > 1;
  return [
    ...report.runs.map(runInWords),
    ...(single ? ['One trial: no ratios, since their error is not known. --trials 4 gives intervals.'] : []),
  ];
}

function runInWords(run: Run): string {
  const windows = [...completedWindows(run, 'capacity'), ...completedWindows(run, 'latency')];
  const first = windows[0] ?? run.trials[0];
  const made = first?.connections.made ?? 0;
  const parts = [`${formatCount(made)} of ${pointInWords(run)} connected`];
  const throughput = findMetric('throughput');
  const p99 = findMetric('response_time_p99');
  const rate = throughput === undefined ? null : runValue(throughput, run, 'capacity');
  if (rate !== null) parts.push(`${formatRate(rate)} at full load`);
  const offered = completedWindows(run, 'latency')[0]?.requests.offered_per_second;
  if (p99 !== undefined && offered !== undefined) {
    parts.push(`response time p99 ${metricText(p99, run, 'latency')} at ${formatRate(offered)} offered`);
  }
  if (windows.length === 0) parts.push('no window was measured to its end');
  return `${modeInWords(run)}: ${parts.join(', ')}`;
}

/* ------------------------------------------------------------------------------------------- warnings and the rest */

function brokenWindows(report: Report): string[] {
  return report.runs.flatMap((run) =>
    run.trials.flatMap((window) =>
      window.state === 'completed'
        ? []
        : [
            `${run.mode} at ${pointInWords(run)}, trial ${window.index + 1}, ${window.phase}: ` +
              `${window.state}: ${window.reason} (${formatCount(window.connections.made)} of ` +
              `${formatCount(window.connections.asked)} connected)`,
          ],
    ),
  );
}

const severityOrder = ['invalid', 'warning', 'info'] as const;

/** The worst first; warnings with the same advice are together, with the advice once. */
function groupWarnings(warnings: readonly Warning[]): WarningGroup[] {
  return severityOrder.flatMap((severity) => {
    const byHint = new Map<string, string[]>();
    for (const warning of warnings) {
      if (warning.severity !== severity) continue;
      const key = JSON.stringify([warning.code, warning.hint]);
      byHint.set(key, [...(byHint.get(key) ?? []), printable(warning.message)]);
    }
    return [...byHint].map(([key, messages]) => ({
      severity,
      messages,
      hint: printable((JSON.parse(key) as [string, string])[1]),
    }));
  });
}

/** One word for how a gate ended. */
export function gateOutcome(gate: Gate): 'failed' | 'undecided' | 'passed' {
  if (gate.held === null) return 'undecided';
  return gate.held ? 'failed' : 'passed';
}

export const severityTitles = { invalid: 'Invalid', warning: 'Warning', info: 'Note' } as const;

/** Errors of a run that are worth a name: the first few samples, for people who look for a cause. */
export function errorSamples(report: Report, limit: number): string[] {
  const samples = report.runs.flatMap((run) =>
    run.trials.flatMap((window) =>
      window.errors.samples.map(
        (sample) =>
          `${run.mode} at ${pointInWords(run)}, connection ${formatCount(sample.connection)}: ` +
          `${sample.class}: ${sample.message}`,
      ),
    ),
  );
  return [...new Set(samples)].slice(0, limit).map(printable);
}
