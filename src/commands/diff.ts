/** `diff`: compares two saved reports, with gates on the changes. */
import { Command } from 'commander';
import { BenchError } from '../model/errors.js';
import { diffReports, evaluateChangeGate } from '../measure/report-diff.js';
import { parseChangeGate, type GateExpression } from '../measure/gates.js';
import { renderDiff, renderDiffMarkdown } from '../report/diff-table.js';
import { renderDiffHtml } from '../report/html-diff.js';
import { prepareOutput, stdoutPath, writeOutput } from '../report/output.js';
import { terminal } from '../terminal.js';
import { concludeWith, gateProblems } from './outcome.js';
import { readReport } from './report.js';

interface DiffOptions {
  failIf: GateExpression[];
  full: boolean;
  markdown?: string;
  json?: string;
  html?: string;
}

export function diffCommand(): Command {
  return new Command('diff')
    .summary('what changed between two saved reports')
    .description(
      'Compares two saved reports of the same plan: for each figure the change, its interval and a verdict. Reports of different ' +
        'loads are refused; reports of different machines are shown but not judged.',
    )
    .argument('<base>', 'report before the change')
    .argument('<head>', 'report after the change')
    .option('--full', 'show every figure, not only the primary ones and those that changed', false)
    .option('--markdown <file>', 'write the comparison for a pull request; "-" is stdout')
    .option('--html <file>', 'write both reports over each other as a web page with charts; "-" is stdout')
    .option('--json <file>', 'write the comparison as data; "-" is stdout')
    .option(
      '--fail-if <expression>',
      "exit with 99 if true of head / base, e.g. 'iocp.throughput < 0.95'; repeatable",
      (text: string, previous: GateExpression[]) => [...previous, parseChangeGate(text)],
      [],
    )
    .action((base: string, head: string, options: DiffOptions) => {
      diff(base, head, options);
    });
}

function diff(base: string, head: string, options: DiffOptions): void {
  const paths = [options.markdown, options.html, options.json].filter((path) => path !== undefined);
  if (paths.filter((path) => path === stdoutPath).length > 1) {
    throw new BenchError('usage', 'only one output can go to stdout', 'give the other one a file name');
  }
  for (const path of paths) prepareOutput(path);
  const reports = { base: readReport(base), head: readReport(head) };
  const found = diffReports(reports.base, reports.head);
  const gates = options.failIf.map((gate) => evaluateChangeGate(gate, found));
  const view = { base, head, diff: found, gates };
  if (!paths.includes(stdoutPath)) {
    terminal.print(renderDiff(view, { width: terminal.width(), color: terminal.color(), full: options.full }));
  }
  const problems: BenchError[] = [];
  const unwritten: BenchError[] = [];
  const write = (path: string | undefined, text: () => string): void => {
    if (path === undefined) return;
    const { problem } = writeOutput(path, text());
    if (problem !== null) unwritten.push(problem);
  };
  write(options.markdown, () => renderDiffMarkdown(view));
  write(options.html, () => renderDiffHtml(view, reports));
  write(options.json, () => {
    const text = `${JSON.stringify({ base, head, ...found, gates }, null, 2)}\n`;
    return options.json === stdoutPath ? terminal.json(text) : text;
  });
  const [refusal] = found.refusals;
  if (refusal !== undefined) {
    problems.push(
      new BenchError(
        'usage',
        `${head} cannot be compared with ${base}: ${refusal}`,
        'compare reports of the same command on the same system',
      ),
    );
  }
  concludeWith([...problems, ...gateProblems(gates)], unwritten);
}
