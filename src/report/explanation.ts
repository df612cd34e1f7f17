/**
 * `explain`: how a mode serves one request, call by call, for readers who do not know the I/O models; and the same next to a report's
 * own figures. The texts are in explanations.ts and http-explanations.ts.
 */
import { findMetric } from '../model/metrics.js';
import { unknownText } from '../model/format.js';
import { modeNames, type ModeName } from '../model/parse.js';
import { pointInWords } from '../model/point.js';
import type { Phase, Report, Run } from '../model/report-schema.js';
import type { ServerProtocol } from '../model/server-protocol.js';
import { explanations } from './explanations.js';
import { httpExplanationOf } from './http-explanations.js';
import { metricText } from './values.js';
import { hanging, painter, wrapText } from './text.js';
import { drawBlocks, type TableOptions } from './table.js';

/** One call on the way of a request. A test finds `call` in the body of `function`. */
export interface Step {
  readonly when: 'start' | 'connection' | 'request' | 'end';
  /** From the root of this package. */
  readonly file: string;
  readonly function: string;
  readonly call: string;
  readonly text: string;
}

/** What a figure of the report says about the model. */
export interface Look {
  /** Name of a metric. */
  readonly metric: string;
  readonly text: string;
}

export interface Explanation {
  /** What the model is, in a few words. */
  readonly title: string;
  /** The idea, for somebody who has not met it. */
  readonly idea: string;
  readonly steps: readonly Step[];
  /** Where the model ends. */
  readonly limit: string;
  readonly look: readonly Look[];
}

/** The explanation of a mode; null for a mode without one. */
export function explanationOf(mode: string): Explanation | null {
  return explanations[mode as ModeName] ?? null;
}

/** The modes that can be explained, in their usual order. */
export function explainedModes(): ModeName[] {
  return modeNames.filter((mode) => explanations[mode] !== undefined);
}

/** A line per mode. */
export function renderModeList({ width, color }: TableOptions): string {
  const paint = painter(color);
  const names = explainedModes();
  const indent = Math.max(...names.map((name) => name.length)) + 4;
  return drawBlocks([
    names.flatMap((name) => hanging(`  ${name}`.padEnd(indent), explanationOf(name)?.title ?? '', width)),
    wrapText(
      'iocp-bench explain MODE shows the way of one request through that model; with --protocol http, that of an HTTP request.',
      width,
    ).map((line) => paint('dim', line)),
  ]);
}

export function renderExplanation(mode: ModeName, protocol: ServerProtocol, options: TableOptions): string {
  if (protocol === 'http') {
    const heading = `${mode} with --protocol http: `;
    const request = `For accepting, receiving and sending see: iocp-bench explain ${mode}`;
    return renderPage(httpExplanationOf(mode), { heading, request }, options);
  }
  const explanation = explanationOf(mode);
  if (explanation === null) throw new Error(`mode ${mode} has no explanation`);
  const request = 'A client sends a message, and the server sends the same bytes back.';
  return renderPage(explanation, { heading: `${mode}: `, request }, options);
}

/** @param words `heading` stands before the title, `request` before the steps */
function renderPage(
  explanation: Explanation,
  words: { readonly heading: string; readonly request: string },
  options: TableOptions,
): string {
  const { width, color } = options;
  const paint = painter(color);
  const heading = (text: string): string => paint('bold', text);
  return drawBlocks([
    [...wrapText(words.heading + explanation.title, width).map(heading), ...wrapText(explanation.idea, width)],
    [
      heading('The way of one request'),
      ...wrapText(words.request, width),
      ...explanation.steps.flatMap((_, at) => stepLines(explanation.steps, at, options)),
    ],
    [heading('Where it ends'), ...wrapText(explanation.limit, width)],
    [
      heading('What a report shows of it'),
      ...explanation.look.flatMap(({ metric, text }) => hanging('  • ', `${titleOf(metric)}: ${text}`, width)),
    ],
  ]);
}

/** How often the steps of a part are done. */
const parts: Readonly<Record<Step['when'], string>> = {
  start: 'Once, when the server starts',
  connection: 'For each connection',
  request: 'For each request',
  end: 'When a connection has ended',
};

/** The part and the file are named where they change, the function and its call in every step. */
function stepLines(steps: readonly Step[], at: number, { width, color }: TableOptions): string[] {
  const step = steps[at];
  if (step === undefined) return [];
  const paint = painter(color);
  const isNewPart = steps[at - 1]?.when !== step.when;
  const isNewFile = steps[at - 1]?.file !== step.file;
  const lead = `${String(at + 1).padStart(3)}  `;
  const indent = ' '.repeat(lead.length);
  return [
    ...(isNewPart ? [`  ${parts[step.when]}`] : []),
    ...(isNewFile ? [paint('dim', `${indent}${step.file}`)] : []),
    `${lead}${step.function}(): ${callInWords(step.call)}`,
    ...hanging(indent, step.text, width),
  ];
}

/** What the portable names of our servers stand for. */
const systemNames: Readonly<Record<string, string>> = {
  socket_accept: 'accept',
  socket_accept_ready: 'accept',
  socket_receive: 'recv',
  socket_send: 'send',
  socket_select: 'select',
  socket_poll: 'poll, WSAPoll',
  thread_start_detached: 'pthread_create, CreateThread',
  ring_enter: 'io_uring_enter',
  accept_ex: 'AcceptEx',
  completion_port_join: 'CreateIoCompletionPort',
};

/** "socket_receive (recv)"; a part of a call as it is in the source, "fork()" or "recv(", without its parenthesis. */
function callInWords(call: string): string {
  const name = call.replace(/\(\)?$/, '');
  const system = systemNames[name];
  return system === undefined ? name : `${name} (${system})`;
}

function titleOf(metric: string): string {
  return findMetric(metric)?.title ?? metric.replaceAll('_', ' ');
}

// ------------------------------------------------------------------------------------------------------ next to a report's figures

/** What the figures of each mode in a report say about its model; '' if the report has no mode that can be explained. */
export function renderExplained(report: Report, { width, color }: TableOptions): string {
  const paint = painter(color);
  const modes = [...new Set(report.runs.map(({ mode }) => mode))];
  const blocks = modes.flatMap((mode) => {
    const runs = report.runs.filter((run) => run.mode === mode);
    // On Linux, iocp is served by another model, which is the one to explain.
    const explanation = explanationOf(runs[0]?.backend ?? mode);
    if (explanation === null) return [];
    const lines = explanation.look.flatMap((look) => lookLines(look, runs, report, width));
    const name = runs[0]?.backend === mode ? mode : `${mode} (${runs[0]?.backend ?? ''})`;
    return [
      [
        paint('bold', `${name}: ${explanation.title}`),
        ...hanging('  ', explanation.idea, width),
        ...lines,
        ...hanging('  Where it ends: ', explanation.limit, width),
      ],
    ];
  });
  return blocks.length === 0 ? '' : drawBlocks([[paint('bold', 'How to read these figures')], ...blocks]);
}

/** The figure at every number of clients, then what it says. A figure that no run has is left out. */
function lookLines({ metric: name, text }: Look, runs: readonly Run[], report: Report, width: number): string[] {
  const metric = findMetric(name);
  if (metric === undefined) return [];
  const phase = phaseOf(report, metric.phases);
  if (phase === null) return [];
  const known = runs.flatMap((run) => {
    const value = metricText(metric, run, phase);
    return value === unknownText ? [] : [`${value} at ${pointInWords(run)}`];
  });
  if (known.length === 0) return [];
  return hanging('  • ', `${metric.title}: ${known.join(', ')}. ${text}`, width);
}

/** Costs are read at full load, if that was measured. */
function phaseOf(report: Report, phases: readonly Phase[]): Phase | null {
  const measured = new Set(report.runs.flatMap(({ trials }) => trials.map(({ phase }) => phase)));
  return (['capacity', 'latency'] as const).find((phase) => phases.includes(phase) && measured.has(phase)) ?? null;
}
