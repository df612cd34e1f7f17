/**
 * The program `iocp-bench`: its commands, and the only place that exits the process. Commands throw a BenchError for every error
 * that a user can cause; anything else that is thrown is a bug in the tool.
 */
import { Command, CommanderError } from 'commander';
import { BenchError, exitCodeOf, exitCodes, type ErrorCode } from './model/errors.js';
import { terminal } from './terminal.js';
import { endAfterFault } from './signals.js';
import { toolVersion } from './version.js';

const debugging = (process.env['DEBUG'] ?? '').split(/[\s,]+/).includes('iocp-bench');

/**
 * Each is loaded on demand. A forked `serve` must not load a conductor's reports, statistics and pools: their memory would be
 * counted as the server's.
 */
const commands: Readonly<Record<string, () => Promise<Command>>> = {
  blast: async () => (await import('./commands/blast.js')).blastCommand(),
  serve: async () => (await import('./commands/serve.js')).serveCommand(),
  report: async () => (await import('./commands/report.js')).reportCommand(),
  diff: async () => (await import('./commands/diff.js')).diffCommand(),
  doctor: async () => (await import('./commands/doctor.js')).doctorCommand(),
  explain: async () => (await import('./commands/explain.js')).explainCommand(),
  agent: async () => (await import('./commands/agent.js')).agentCommand(),
  agents: async () => (await import('./commands/agents.js')).agentsCommand(),
};

/** The program with the named command, or with all commands if none is named, for help and suggestions. */
async function makeProgram(named: string): Promise<Command> {
  const program = new Command('iocp-bench')
    .description(
      'Compares ways to write a TCP server: a thread per connection against a\n' +
        'completion port (IOCP on Windows, io_uring on Linux), epoll and Node.',
    )
    .version(toolVersion, '-V, --version')
    .showSuggestionAfterError()
    .exitOverride()
    // reportError() prints all errors, in one form.
    .configureOutput({ outputError: () => undefined })
    .addHelpText(
      'after',
      `
Examples:
  iocp-bench blast --clients 6000            compare blocking with iocp here
  iocp-bench blast --modes all --json r.json all modes of this machine, saved
  iocp-bench serve --mode iocp               one server, until Ctrl-C
  iocp-bench report r.json --html r.html     a saved report as a web page
  iocp-bench diff base.json head.json        what changed between two runs
  iocp-bench doctor                          what this machine can run
  iocp-bench explain epoll                   how a mode serves one request

Exit codes: 0 done, 1 internal error, 2 wrong usage, 3 not possible on this
machine, 4 the run failed, 5 figures not valid, 99 a --fail-if condition was
met, 130 interrupted.`,
    );
  const wanted = Object.hasOwn(commands, named) ? [named] : Object.keys(commands);
  for (const name of wanted) {
    const command = await commands[name]?.();
    // Unlike command(), addCommand() does not pass the settings above on.
    if (command !== undefined) program.addCommand(command.copyInheritedSettings(program));
  }
  return program;
}

/** Runs the command line and prints everything; returns how it ended. */
async function run(argv: readonly string[]): Promise<Ending> {
  try {
    requireNode();
    const program = await makeProgram(argv[2] ?? '');
    await program.parseAsync(argv);
    return 'done';
  } catch (error) {
    // That the run was interrupted goes without saying after a fault.
    return fault ?? reportError(error);
  }
}

type Ending = keyof typeof exitCodes;

function requireNode(): void {
  const [major = 0] = process.versions.node.split('.').map(Number);
  if (major >= 20) return;
  throw new BenchError(
    'unavailable',
    `iocp-bench needs Node 20 or later; this is ${process.version}`,
    'install a current version from https://nodejs.org',
  );
}

function reportError(thrown: unknown): Ending {
  const error = thrown instanceof CommanderError ? commanderError(thrown) : thrown;
  if (error === null) return 'done';
  if (debugging) process.stderr.write(`${describe(error)}\n`);
  if (error instanceof BenchError) {
    // With an empty message the command has printed everything; only the exit code is left to set.
    if (error.message !== '') print(error.message, error.hint);
    return error.code;
  }
  const reason = error instanceof Error ? error.message : 'a non-Error was thrown';
  print(
    `internal error (a bug in iocp-bench, not in your command): ${reason.split('\n')[0] ?? ''}`,
    debugging ? 'please report this' : 'run it again with DEBUG=iocp-bench in the environment, and report the output',
  );
  return 'fault';
}

/** Commander's own errors are wrong usage; null for help and version, which are not errors. */
function commanderError(error: CommanderError): BenchError | null {
  if (error.code === 'commander.help') return new BenchError('usage', '');
  if (error.exitCode === 0) return null;
  const [sentence = '', suggestion = ''] = error.message.replace(/^error: /, '').split('\n');
  const [word = ''] = process.argv.slice(2);
  const command = /^[a-z]+$/.test(word) && error.code !== 'commander.unknownCommand' ? ` ${word}` : '';
  const help = `see iocp-bench${command} --help`;
  const hint = suggestion === '' ? help : suggestion.replace(/^\((.*)\)$/, '$1');
  return new BenchError('usage', sentence, hint, error);
}

/** One sentence, and the hint on the next line. */
function print(message: string, hint: string): void {
  terminal.note(`iocp-bench: ${message}${hint === '' ? '' : `\n  ${hint}`}`);
}

/** The stacks of an error and of its causes. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return `thrown: ${JSON.stringify(error)}`;
  const cause = error.cause === undefined ? '' : `\ncaused by: ${describe(error.cause)}`;
  return `${error.stack ?? error.message}${cause}`;
}

/** On some systems a write to a pipe is still pending when it returns; an exit would cut it off. */
async function flush(stream: NodeJS.WriteStream): Promise<void> {
  if (stream.destroyed || !stream.writable) return;
  await new Promise<void>((resolve) => {
    stream.write('', () => {
      resolve();
    });
  });
}

/** True when a write to stdout failed although it still has a reader. */
let isStdoutBroken = false;

/** True when the reader has left (`| head`) or the terminal was closed. Windows reports a broken pipe as EOF. */
function isReaderGone({ code }: NodeJS.ErrnoException): boolean {
  return (
    code === 'EPIPE' || code === 'EOF' || code === 'ERR_STREAM_DESTROYED' || (code === 'EIO' && process.stdout.isTTY)
  );
}

// Neither error ends the run: its files and its exit code still matter.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (isReaderGone(error) || isStdoutBroken) return;
  isStdoutBroken = true;
  print(`cannot write to stdout: ${error.message}`, 'the file or disk behind it is full or gone');
});
process.stderr.on('error', () => undefined);

/** How an exception that nobody caught ends the program; null while there was none. */
let fault: Ending | null = null;
/** How long what runs may take to end after it: a server has 3 s to stop, and is killed after that. */
const faultDeadlineMs = 15_000;

process.on('uncaughtException', (error) => {
  const ending = reportError(error);
  // What runs is ending already; one exception often follows from another.
  if (fault !== null) return;
  fault = ending;
  if (!endAfterFault()) process.exit(exitCode(ending));
  // exit() would wait for the native calls.
  setTimeout(() => process.kill(process.pid, 'SIGKILL'), faultDeadlineMs).unref();
});

/** A fault while the run was ending counts more than how it ended. */
function endingAfter(ended: Ending): Ending {
  return fault ?? ended;
}

function exitCode(ending: Ending): number {
  const endings: Ending[] = isStdoutBroken ? [ending, 'runFailed'] : [ending];
  return exitCodeOf(endings.filter((one): one is ErrorCode => one !== 'done'));
}

const ended = await run(process.argv);
const ending = endingAfter(ended);
await Promise.all([flush(process.stdout), flush(process.stderr)]);
process.exit(exitCode(ending));
