/**
 * `report`: prints a saved report as the table that `blast` printed, exports it, merges several reports of one plan, or applies
 * gates to it.
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
  full: boolean;
  explain: boolean;
  json?: string;
  html?: string;
  markdown?: string;
  csv?: string;
  junit?: string;
  export: string[];
}

export function reportCommand(): Command {
  return new Command('report')
    .summary('print a saved report as table, HTML, Markdown or CSV')
    .description(
      'Prints a saved report, exports it, or applies gates to it. Several reports of one plan are merged into one with more trials.',
    )
    .argument('<file...>', 'reports written by blast --json; "-" is standard input')
    .option('--json <file>', 'write the report as JSON; "-" is stdout, here and below')
    .option('--html <file>', 'write the report as a web page with charts')
    .option('--markdown <file>', 'write the report for a GitHub step summary')
    .option('--csv <file>', 'write one row per window')
    .option('--junit <file>', 'write the gates as JUnit XML')
    .option(
      '--export <format file...>',
      'write figures for a service that tracks them: bmf (Bencher) or github-benchmark (github-action-benchmark)',
      (text: string, previous: string[]) => [...previous, text],
      [],
    )
    .option(
      '--fail-if <expression>',
      "exit with 99 if true, e.g. 'iocp@6000.response_time_p99 > 5ms'; repeatable",
      (text: string, previous: GateExpression[]) => [...previous, parseGate(text)],
      [],
    )
    .option('--full', 'show every figure in the tables, and warnings in their long form', false)
    .option(
      '--explain',
      'show warnings in their long form, and below the table what the figures say about each I/O model',
      false,
    )
    .option('--strict', 'exit with 5 if figures are not valid', false)
    .option('--server-events <file>', 'output of `serve --format ndjson` on another machine; adds the server cost')
    .action((files: string[], options: ReportOptions) => {
      report(files, options);
    });
}

function report(files: readonly string[], options: ReportOptions): void {
  const outputs = outputsOf(options);
  const loaded = loadReport(files, options);
  for (const gate of options.failIf) checkGateAgainst(gate, loaded);
  // Without --fail-if, the gates of the saved report stay as they are.
  const gates = options.failIf.length === 0 ? loaded.gates : options.failIf.map((gate) => evaluateGate(gate, loaded));
  const judged: Report = { ...loaded, gates };
  const unwritten = writeAll(outputs, judged, null, options);
  const asked = options.failIf.length === 0 ? [] : gates;
  concludeWith([...gateProblems(asked), ...strictProblems(judged, options.strict)], unwritten);
}

function loadReport(files: readonly string[], options: ReportOptions): Report {
  if (files.filter((file) => file === stdoutPath).length > 1) {
    throw new BenchError('usage', 'standard input can only be read once', 'give the other reports as files');
  }
  const reports = files.map((file) => readReport(file));
  requireDifferent(files, reports);
  const merged = mergeReports(reports);
  if (options.serverEvents === undefined) return merged;
  const events = parseServerEvents(readText(options.serverEvents), options.serverEvents);
  return joinServerEvents(merged, events);
}

/** A run that is counted twice would make the result look more certain than it is. */
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
