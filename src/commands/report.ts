/**
 * `report`: a saved report again, as the table that `blast` printed or as any of its exports; several of one plan as one; gates on
 * what was saved.
 */
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { BenchError, type ErrorCode, exitPrecedence } from '../errors.js';
import { checkGateAgainst, evaluateGate, parseGate, type GateExpression } from '../measure/gates.js';
import { mergeReports } from '../measure/merge.js';
import { isInvalid } from '../measure/validity.js';
import { renderCsv } from '../report/csv.js';
import { renderHtml } from '../report/html.js';
import { parseReport, serializeReport } from '../report/json.js';
import { renderJunit } from '../report/junit.js';
import { renderMarkdown } from '../report/markdown.js';
import { prepareOutput, stdoutPath, writeOutput } from '../report/output.js';
import type { Gate, Report } from '../report/schema.js';
import { joinServerEvents, parseServerEvents } from '../report/server-events.js';
import { renderTable } from '../report/table.js';
import { chartLibrary } from '../report/uplot.js';
import { terminal } from '../terminal.js';

interface ReportOptions {
  failIf: GateExpression[];
  strict: boolean;
  serverEvents?: string;
  json?: string;
  html?: string;
  markdown?: string;
  csv?: string;
  junit?: string;
}

const renderers = {
  json: serializeReport,
  html: (report: Report) => renderHtml(report, chartLibrary()),
  markdown: renderMarkdown,
  csv: renderCsv,
  junit: renderJunit,
} as const;

export function reportCommand(): Command {
  return new Command('report')
    .summary('a saved report again, as table, HTML, Markdown, CSV')
    .description(
      'Prints a saved report again, exports it, or judges gates on it. Several reports of one plan become one with more trials.',
    )
    .argument('<file...>', 'reports that blast wrote with --json; "-" reads standard input')
    .option('--json <file>', 'the report, merged and joined; "-" is stdout, here and below')
    .option('--html <file>', 'the report as a page with charts')
    .option('--markdown <file>', 'the report for a GitHub step summary')
    .option('--csv <file>', 'every window as a row')
    .option('--junit <file>', 'gates as JUnit XML')
    .option(
      '--fail-if <expression>',
      "exit 99 if it holds, e.g. 'iocp@6000.response_time_p99 > 5ms'; repeatable",
      (text: string, previous: GateExpression[]) => [...previous, parseGate(text)],
      [],
    )
    .option('--strict', 'exit 5 when figures are not valid', false)
    .option(
      '--server-events <file>',
      'what `serve --format ndjson` printed on another machine: fills in the server cost',
    )
    .action((files: string[], options: ReportOptions) => {
      report(files, options);
    });
}

function report(files: readonly string[], options: ReportOptions): void {
  const outputs = outputsOf(options);
  const loaded = loadReport(files, options);
  for (const gate of options.failIf) checkGateAgainst(gate, loaded);
  // What a report was judged by when it was made stays, unless it is judged anew.
  const gates = options.failIf.length === 0 ? loaded.gates : options.failIf.map((gate) => evaluateGate(gate, loaded));
  const judged: Report = { ...loaded, gates };
  if (!outputs.some(({ path }) => path === stdoutPath)) {
    terminal.print(renderTable(judged, { width: terminal.width(), color: terminal.color() }));
  }
  const problems = outputs.flatMap(({ format, path }) => writeOutput(path, renderers[format](judged)).problem ?? []);
  for (const problem of problems) terminal.note(`${problem.message} (${problem.hint})`);
  const asked = options.failIf.length === 0 ? [] : gates;
  throwFirst([...problems, ...gateProblems(asked), ...strictProblems(judged, options)]);
}

function outputsOf(options: ReportOptions): { format: keyof typeof renderers; path: string }[] {
  const outputs = (Object.keys(renderers) as (keyof typeof renderers)[]).flatMap((format) => {
    const path = options[format];
    return path === undefined ? [] : [{ format, path }];
  });
  if (outputs.filter(({ path }) => path === stdoutPath).length > 1) {
    throw new BenchError('usage', 'only one report can go to stdout', 'give all but one of them a file name');
  }
  for (const { path } of outputs) prepareOutput(path);
  return outputs;
}

function loadReport(files: readonly string[], options: ReportOptions): Report {
  if (files.filter((file) => file === stdoutPath).length > 1) {
    throw new BenchError('usage', 'standard input can be read once', 'name the other reports by their files');
  }
  const reports = files.map((file) => readReport(file));
  requireDifferent(files, reports);
  const merged = mergeReports(reports);
  if (options.serverEvents === undefined) return merged;
  const events = parseServerEvents(readText(options.serverEvents), options.serverEvents);
  return joinServerEvents(merged, events);
}

/** A run that is counted twice would look twice as sure as it is. */
function requireDifferent(files: readonly string[], reports: readonly Report[]): void {
  const seen = new Map<string, string>();
  reports.forEach((one, index) => {
    const file = files[index] ?? '';
    const windows = one.runs.flatMap((run) => run.trials.map(({ started_at }) => started_at));
    const key = JSON.stringify([one.command_line, windows]);
    const other = seen.get(key);
    if (other !== undefined && windows.length > 0) {
      throw new BenchError('usage', `${file} and ${other} are the same run`, 'name each run once');
    }
    seen.set(key, file);
  });
}

/** Reads and checks a report; used by every command that takes one. */
export function readReport(file: string): Report {
  return parseReport(readText(file), file === stdoutPath ? 'standard input' : file);
}

const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EACCES: 'permission denied',
  EISDIR: 'it is a folder',
  ERR_STRING_TOO_LONG: 'it is too large for a report',
};

function readText(file: string): string {
  try {
    return readFileSync(file === stdoutPath ? 0 : file, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    const reason = reasons[code] ?? (error instanceof Error ? error.message : code);
    throw new BenchError('usage', `cannot read ${file}: ${reason}`, 'name a file that `blast --json` wrote', error);
  }
}

/** What gates mean for the exit code: one that could not be decided is never a pass. */
export function gateProblems(gates: readonly Gate[]): BenchError[] {
  return gates.flatMap((gate) => {
    if (gate.held === false) return [];
    return gate.held === null
      ? [
          new BenchError(
            'notValid',
            `gate undecided: ${gate.expression}: ${gate.reason}`,
            'an undecided gate is never a pass',
          ),
        ]
      : [new BenchError('gateHeld', `gate held: ${gate.expression}: ${gate.reason}`)];
  });
}

function strictProblems(judged: Report, { strict }: ReportOptions): BenchError[] {
  if (!strict || !isInvalid(judged.warnings)) return [];
  return [new BenchError('notValid', 'the figures are not valid (--strict)', 'the warnings say why, and what to do')];
}

/** Ends with the first code that applies (DESIGN section 7); nothing when none does. */
export function throwFirst(problems: readonly BenchError[]): void {
  const rank = (code: ErrorCode): number => exitPrecedence.indexOf(code);
  const [first] = [...problems].sort((a, b) => rank(a.code) - rank(b.code));
  if (first !== undefined) throw first;
}
