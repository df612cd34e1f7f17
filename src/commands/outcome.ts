/** How `blast` and `report` end: they write the outputs, and one error decides the exit code. */
import { BenchError, type ErrorCode, exitPrecedence } from '../model/errors.js';
import { isInvalid } from '../measure/validity.js';
import { renderBmf, renderGithubBenchmark } from '../report/benchmark-formats.js';
import { renderExplained } from '../report/explanation.js';
import { renderCsv } from '../report/csv.js';
import { renderHtml } from '../report/html.js';
import { serializeReport } from '../report/json.js';
import { renderJunit } from '../report/junit.js';
import { renderMarkdown } from '../report/markdown.js';
import { prepareOutput, stdoutPath, writeOutput } from '../report/output.js';
import type { Gate, Report } from '../model/report-schema.js';
import { renderTable } from '../report/table.js';
import { terminal } from '../terminal.js';

const renderers = {
  json: serializeReport,
  html: renderHtml,
  markdown: renderMarkdown,
  csv: renderCsv,
  junit: renderJunit,
  bmf: renderBmf,
  'github-benchmark': renderGithubBenchmark,
} as const;
export type Format = keyof typeof renderers;
const formats = Object.keys(renderers) as Format[];
/** Formats that --export names; the others have an option of their own. */
const exportFormats: readonly Format[] = ['bmf', 'github-benchmark'];

export interface Output {
  readonly format: Format;
  /** "-" is stdout. */
  readonly path: string;
}

type OutputOptions = Readonly<Partial<Record<Format, string | undefined>>> & {
  /** Values of --export: format and file in turn. */
  readonly export: readonly string[];
};

/** The requested outputs; throws, before any work, if one cannot be written. */
export function outputsOf(options: OutputOptions): Output[] {
  const named = formats.flatMap((format) => {
    const path = options[format];
    return path === undefined ? [] : [{ format, path }];
  });
  const outputs = [...named, ...exportsOf(options.export)];
  if (outputs.filter(({ path }) => path === stdoutPath).length > 1) {
    throw new BenchError('usage', 'only one report can go to stdout', 'give the others a file name');
  }
  for (const { path } of outputs) prepareOutput(path);
  return outputs;
}

/** Pairs of --export: "bmf FILE". */
function exportsOf(words: readonly string[]): Output[] {
  const hint = `for example --export bmf figures.json; the formats are ${exportFormats.join(' and ')}`;
  return words.flatMap((word, index) => {
    if (index % 2 === 1) return [];
    const format = exportFormats.find((one) => one === word);
    if (format === undefined) throw new BenchError('usage', `--export: "${word}" is not a format`, hint);
    const path = words[index + 1];
    if (path === undefined) throw new BenchError('usage', `--export ${word} has no file`, hint);
    return [{ format, path }];
  });
}

/** How much the table shows (--full, --explain). */
export interface Detail {
  readonly full: boolean;
  readonly explain: boolean;
}

/**
 * Prints the table, unless a report goes to stdout, and writes every output. Returns an error for each one that is not at its path.
 * @param note called for each file that was written; null: nobody is informed
 */
export function writeAll(
  outputs: readonly Output[],
  report: Report,
  note: ((text: string) => void) | null,
  { full, explain }: Detail,
): BenchError[] {
  if (!outputs.some(({ path }) => path === stdoutPath)) {
    const style = { width: terminal.width(), color: terminal.color() };
    terminal.print(renderTable(report, { ...style, full, explain: full || explain }));
    const explained = explain ? renderExplained(report, style) : '';
    if (explained !== '') terminal.print(`\n${explained}`);
  }
  return outputs.flatMap(({ format, path }) => {
    const text = renderers[format](report);
    const written = writeOutput(path, format === 'json' && path === stdoutPath ? terminal.json(text) : text);
    if (written.problem !== null) return [written.problem];
    if (path !== stdoutPath) note?.(`${format} report: ${written.path}`);
    return [];
  });
}

/** What gates mean for the exit code. A gate that could not be decided is never a pass. */
export function gateProblems(gates: readonly Gate[]): BenchError[] {
  return gates.flatMap((gate) => {
    if (gate.held === false) return [];
    const figures = `${gate.expression}: ${gate.reason}`;
    return gate.held === null
      ? [new BenchError('notValid', `gate undecided: ${figures}`, 'an undecided gate is never a pass')]
      : [new BenchError('gateHeld', `gate held: ${figures}`)];
  });
}

/** With --strict, figures that are not valid are an error. */
export function strictProblems(report: Report, isStrict: boolean): BenchError[] {
  if (!isStrict || !isInvalid(report.warnings)) return [];
  return [new BenchError('notValid', 'the figures are not valid (--strict)', 'the warnings say why and what to do')];
}

/**
 * Throws the problem whose code comes first; returns if there is none. The place of a rescued report is always printed, whatever
 * else the run ends with.
 */
export function concludeWith(problems: readonly BenchError[], unwritten: readonly BenchError[]): void {
  const rank = (code: ErrorCode): number => exitPrecedence.indexOf(code);
  const [ending] = [...problems, ...unwritten].sort((a, b) => rank(a.code) - rank(b.code));
  for (const problem of unwritten) if (problem !== ending) terminal.note(`${problem.message}; ${problem.hint}`);
  if (ending !== undefined) throw ending;
}
