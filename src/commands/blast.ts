/**
 * `blast`: opens thousands of connections, measures, and compares. Makes a plan from the options, has the conductor run it, and
 * prints the result.
 */
import { Command } from 'commander';
import { withoutPassword } from '../model/broker-url.js';
import { BenchError } from '../model/errors.js';
import { answerName, withoutSecrets } from '../model/exchange.js';
import { ProgressLine } from './progress.js';
import { isLateness } from '../run/window-figures.js';
import { confirmedGates, evaluateGate } from '../measure/gates.js';
import { serializeReport } from '../report/json.js';
import { stdoutPath, writeOutput } from '../report/output.js';
import { pointInWords } from '../model/point.js';
import type { BrokenWindow, Plan, Report, Run } from '../model/report-schema.js';
import { endingSignals, onFault } from '../signals.js';
import { terminal } from '../terminal.js';
import { addBlastOptions, blastOptions, type BlastOptions } from '../library/blast-options.js';
import { planComparison, prepareComparison, type ComparisonPlan } from '../library/comparison.js';
import { prepareBaseline, readBaseline, renderBaselineDiff, requireComparable, saveBaseline } from './baseline.js';
import {
  concludeWith,
  gateProblems,
  outputsOf,
  strictProblems,
  writeAll,
  type Detail,
  type Output,
} from './outcome.js';

export function blastCommand(): Command {
  const command = new Command('blast')
    .summary('open thousands of connections, measure, compare')
    .description(
      'Opens thousands of connections to an echo server, verifies every byte of every echo, and measures throughput, latency and ' +
        'cost. Without --target, it starts one server per mode, in turn, and compares them. --protocol loads servers of HTTP and of other ' +
        'protocols.',
    );
  addBlastOptions(command);
  return command.action(async (parsed: Record<string, unknown>) => {
    await blast(blastOptions(parsed));
  });
}

async function blast(options: BlastOptions): Promise<void> {
  const planned = await planComparison(options);
  try {
    await blastPlanned(options, planned);
  } finally {
    await planned.end();
  }
}

async function blastPlanned(options: BlastOptions, planned: ComparisonPlan): Promise<void> {
  const { plan, fallback } = planned;
  const outputs = outputsOf(options);
  const baseline = options.baseline === undefined ? null : readBaseline(options.baselineDir, options.baseline);
  if (options.saveBaseline !== undefined) prepareBaseline(options.baselineDir, options.saveBaseline);
  const progress = new ProgressLine(plan, options.quiet);
  progress.announce(fallback);
  const note = options.quiet
    ? null
    : (text: string): void => {
        terminal.note(text);
      };
  const run = async (): Promise<Report> => {
    const check = (planOnly: Report): void => {
      if (baseline !== null) requireComparable(options.baseline ?? '', baseline, planOnly);
    };
    const report = await runOnce(planned, outputs, progress, note, check, options);
    return { ...report, gates: options.failIf.map((gate) => evaluateGate(gate, report)) };
  };
  let judged = await run();
  for (let round = 1; round <= options.confirm && needsConfirmation(judged); round++) {
    const kept = keepEarlier(outputs, judged, round);
    note?.(`A gate is true. Repeating the run to confirm it (${round} of ${options.confirm})${kept}.`);
    const again = await run();
    judged = { ...again, gates: confirmedGates(judged.gates, again.gates) };
  }
  const unwritten = writeAll(outputs, judged, note, options);
  const style = { width: terminal.width(), color: terminal.color(), full: options.full };
  if (baseline !== null && !outputs.some(({ path }) => path === stdoutPath)) {
    terminal.print(renderBaselineDiff(options.baseline ?? '', baseline, judged, style));
  }
  if (options.saveBaseline !== undefined) {
    const { text, problem } = saveBaseline(options.baselineDir, options.saveBaseline, judged);
    terminal.note(text);
    if (problem !== null) unwritten.push(problem);
  }
  concludeWith(
    [...runProblems(judged), ...strictProblems(judged, options.strict), ...gateProblems(judged.gates)],
    unwritten,
  );
}

/**
 * Runs the plan once and writes the report so far after every trial.
 * @param check gets the report before the first trial; what it throws ends the run
 * @param detail of the table that is printed if the run ends with an error
 */
async function runOnce(
  planned: ComparisonPlan,
  outputs: readonly Output[],
  progress: ProgressLine,
  note: ((text: string) => void) | null,
  check: (planOnly: Report) => void,
  detail: Detail,
): Promise<Report> {
  const json = outputs.find(({ format, path }) => format === 'json' && path !== stdoutPath);
  const keep = (report: Report): void => {
    if (json !== undefined) writeOutput(json.path, serializeReport(report));
  };
  const interrupt = listenForInterrupt((isFault) => {
    if (!isFault) progress.interrupted();
    // The user may not wait until the engines have stopped.
    keep(comparison.report(true));
  });
  const comparison = prepareComparison(
    planned,
    ['iocp-bench', ...withoutSecrets(process.argv.slice(2)).map(withoutPassword)],
    {
      onProgress: (state) => {
        progress.update(state);
      },
      onTrial: (task, number, of) => {
        progress.trial(task, number, of);
      },
      // Written after every trial, so that no finished trial is lost.
      onReport: keep,
      signal: interrupt.signal,
    },
  );
  try {
    check(comparison.report(false));
    return await comparison.run();
  } catch (error) {
    progress.end();
    const partial = comparison.report(true);
    const isMeasured = partial.runs.some((run) => run.trials.length > 0);
    const unwritten = isMeasured ? writeAll(outputs, partial, note, detail) : [];
    if (!isMeasured) keep(partial);
    // The error that ended the run decides the exit code; problems with writing the report are only noted.
    for (const problem of unwritten) terminal.note(`${problem.message}; ${problem.hint}`);
    throw error;
  } finally {
    progress.end();
    interrupt.stopListening();
  }
}

/** A run that failed or was interrupted is not repeated. */
function needsConfirmation(report: Report): boolean {
  return runProblems(report).length === 0 && report.gates.some(({ held }) => held === true);
}

/** Saves the JSON report of a run that is repeated as NAME.1.json. Returns what to add to the note about it. */
function keepEarlier(outputs: readonly Output[], report: Report, round: number): string {
  const json = outputs.find(({ format, path }) => format === 'json' && path !== stdoutPath);
  if (json === undefined) return '';
  const path = json.path.replace(/(\.json)?$/, `.${round}$1`);
  const { problem } = writeOutput(path, serializeReport(report));
  return problem === null ? `; the report so far is ${path}` : `; ${problem.message}`;
}

const notAnEcho = 'the server must send back every byte it receives, in order, and nothing else';

/** Errors of replies that end a run with a failure, however many there are: the server did not do what was measured. */
const wrongReplies = [
  { name: 'data', what: 'an echo differs from what was sent', hint: notAnEcho },
  {
    name: 'malformed',
    what: 'the server sent something other than a reply',
    hint: 'is it a server of this protocol? --protocol, and for messages the options --reply-..., say what a reply is',
  },
  {
    name: 'body',
    what: 'a reply has another body than expected',
    hint: 'leave out --expect-body if the body may change',
  },
] as const;

/** What went wrong in the run itself. */
function runProblems(report: Report): BenchError[] {
  const problems: BenchError[] = [];
  if (report.partial) problems.push(new BenchError('interrupted', 'interrupted: the results so far are above'));
  const windows = report.runs.flatMap((run) => run.trials.map((window) => ({ run, window })));
  for (const { name, what, hint } of wrongReplies) {
    const wrong = windows.find(({ window }) => (window.errors.by_class[name] ?? 0) > 0);
    const sample = wrong?.window.errors.samples.find((entry) => entry.class === name);
    if (wrong !== undefined) problems.push(new BenchError('runFailed', `${what}: ${sample?.message ?? name}`, hint));
  }
  for (const { run, window } of windows) {
    if (window.state !== 'failed') continue;
    const what = `${nameOf(run, report)} at ${pointInWords(run)} failed: ${window.reason}`;
    problems.push(new BenchError('runFailed', what, failureHint(window, report.plan)));
  }
  return problems;
}

/** Host and port of a target, the name of any other mode. */
function nameOf(run: Run, report: Report): string {
  return run.mode === 'target' && report.plan.target !== null ? `target ${report.plan.target}` : run.mode;
}

function failureHint(
  { reason, errors, connections }: BrokenWindow,
  { target, target_tried = [], threads, protocol, tls }: Plan,
): string {
  const byClass = errors.by_class;
  if (isLateness(reason))
    return `stop other programs on this machine; ${threads} client threads may be too many for its CPUs (--threads)`;
  if ((byClass['refused'] ?? 0) > 0) {
    const addresses = target_tried.map(({ address }) => address);
    return `is the server running and listening on that port?${addresses.length > 1 ? ` (tried: ${addresses.join(', ')})` : ''}`;
  }
  if ((byClass['timeout'] ?? 0) > 0) {
    // A server that echoed is too slow, or has stopped. If it looks like another kind of server, the reason says so.
    if (connections.made > 0 && !reason.includes('looks like')) {
      return 'the server is too slow for this load, or stopped answering: lower --clients or --rate, set --connect-rate, or raise --timeout';
    }
    return answerName(protocol) === 'echo'
      ? 'the server accepts connections but does not echo the bytes as they arrive: it may expect a whole line or a request in its own protocol (--protocol); --timeout sets how long an echo may take'
      : `the server accepts connections but does not answer: does it speak ${tls === undefined ? '' : 'TLS and '}this protocol? --timeout sets how long a reply may take`;
  }
  if ((byClass['tls_verify'] ?? 0) > 0) {
    return 'the server must present a certificate that is trusted and made for its name; see --tls-ca, --tls-server-name and --tls-insecure';
  }
  if ((byClass['tls_handshake'] ?? 0) > 0) {
    if (reason.includes('is not TLS'))
      return 'for a server without TLS write http:// instead of https://, or leave out --tls';
    return 'does the server speak TLS 1.2 or 1.3 on this port, and does it expect a client certificate (--tls-cert, --tls-key)?';
  }
  if ((byClass['status'] ?? 0) > 0) return statusHint(reason, tls !== undefined);
  if ((byClass['refused_by_server'] ?? 0) > 0) {
    const what = `the server closes connections before the first ${answerName(protocol)}`;
    if (target === null) return what;
    return `${what}: it may expect another protocol (--protocol)${tls === undefined ? ' or TLS (--tls, https://)' : ''}`;
  }
  return 'the errors above say what happened';
}

/** What to do about an unexpected status, by its commonest cause. */
function statusHint(reason: string, isOverTls: boolean): string {
  const [, status = ''] = /with status (\d+)/.exec(reason) ?? [];
  const causes: Readonly<Record<string, string>> = {
    ...(!isOverTls && { 400: 'a server of https:// answers plain HTTP like this; otherwise see --header and --body' }),
    401: "credentials are expected, for example --header 'Authorization: Bearer ...'",
    403: "access is denied; credentials are sent with --header 'Authorization: ...'",
    404: 'is the path in --target right?',
    405: 'does this path take the --method?',
  };
  const expected = '--expect-status says which statuses are right';
  const cause = causes[status];
  return cause === undefined ? expected : `${cause}; ${expected}`;
}

/**
 * The first signal ends the run and keeps the results. A second Ctrl-C or `kill` has its default effect: it ends the process at
 * once. A second SIGHUP does not, because a closed terminal often sends several. An exception that nobody caught ends the run as well.
 */
function listenForInterrupt(onInterrupt: (isFault: boolean) => void): {
  signal: AbortSignal;
  stopListening: () => void;
} {
  const controller = new AbortController();
  const stopSignals = (): void => {
    for (const name of endingSignals) if (name !== 'SIGHUP') process.off(name, onSignal);
  };
  const end = (isFault: boolean): void => {
    if (controller.signal.aborted) return;
    stopSignals();
    controller.abort();
    onInterrupt(isFault);
  };
  const onSignal = (): void => {
    end(false);
  };
  for (const name of endingSignals) process.on(name, onSignal);
  const forgetFault = onFault(() => {
    end(true);
  });
  const stopListening = (): void => {
    stopSignals();
    forgetFault();
  };
  return { signal: controller.signal, stopListening };
}
