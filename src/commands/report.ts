/**
 * `report`: a saved report again, as the table that `blast` printed or as any of its exports; several of one plan as one; gates on
 * what was saved.
 */
import { Command } from 'commander';
import { BenchError } from '../model/errors.js';
import { checkGateAgainst, evaluateGate, parseGate, type GateExpression } from '../measure/gates.js';
import { mergeReports } from '../measure/merge.js';
import { readText } from '../report/input.js';
import { parseReport } from '../report/json.js';
import { stdoutPath } from '../report/output.js';
import type { Report } from '../model/report-schema.js';
import { joinServerEvents, parseServerEvents } from '../report/server-events.js';
import { concludeWith, gateProblems, outputsOf, strictProblems, writeAll } from './outcome.js';

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
  const unwritten = writeAll(outputs, judged, null);
  const asked = options.failIf.length === 0 ? [] : gates;
  concludeWith([...gateProblems(asked), ...strictProblems(judged, options.strict)], unwritten);
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
