/**
 * The program `iocp-bench`: its commands, and the only place that exits the process. Commands throw a BenchError for what a user is
 * told; anything else that is thrown is a fault of the tool.
 */
import { Command, CommanderError } from 'commander';
import { BenchError, exitCodeOf, exitCodes, type ErrorCode } from './model/errors.js';
import { terminal } from './terminal.js';
import { toolVersion } from './version.js';

const debugging = (process.env['DEBUG'] ?? '').split(/[\s,]+/).includes('iocp-bench');

/**
 * Loaded when it is asked for: a forked `serve` must not carry the reports, statistics and pools of a conductor, whose memory would
 * be counted as the server's.
 */
const commands: Readonly<Record<string, () => Promise<Command>>> = {
  blast: async () => (await import('./commands/blast.js')).blastCommand(),
  serve: async () => (await import('./commands/serve.js')).serveCommand(),
  report: async () => (await import('./commands/report.js')).reportCommand(),
  diff: async () => (await import('./commands/diff.js')).diffCommand(),
  doctor: async () => (await import('./commands/doctor.js')).doctorCommand(),
};

/** The program with the command that is named, or with all of them where none is: for help and suggestions. */
async function makeProgram(named: string): Promise<Command> {
  const program = new Command('iocp-bench')
    .description(
      'Compares ways to write a TCP server: a thread per connection against a\n' +
        'completion port (IOCP on Windows, io_uring on Linux), epoll and Node.',
    )
    .version(toolVersion, '-V, --version')
    .showSuggestionAfterError()
    .exitOverride()
    // Errors are printed below, in the one form that all of them have.
    .configureOutput({ outputError: () => undefined })
    .addHelpText(
      'after',
      `
Examples:
  iocp-bench blast --clients 6000            compare blocking with iocp here
  iocp-bench blast --modes all --json r.json each mode of this machine, saved
  iocp-bench serve --mode iocp               one server, until Ctrl-C
  iocp-bench report r.json --html r.html     a saved report, as a page
  iocp-bench diff base.json head.json        what changed between two
  iocp-bench doctor                          what this machine can run

Exit codes: 0 done, 1 fault of the tool, 2 wrong usage, 3 this machine cannot,
4 the run failed, 5 figures not valid, 99 a --fail-if held, 130 interrupted.`,
    );
  const wanted = Object.hasOwn(commands, named) ? [named] : Object.keys(commands);
  for (const name of wanted) {
    const command = await commands[name]?.();
    // addCommand() does not hand the settings above down, as command() would.
    if (command !== undefined) program.addCommand(command.copyInheritedSettings(program));
  }
  return program;
}

/** Runs the command line; what it ended with, when everything has been printed. */
async function run(argv: readonly string[]): Promise<Ending> {
  try {
    requireNode();
    const program = await makeProgram(argv[2] ?? '');
    await program.parseAsync(argv);
    return 'done';
  } catch (error) {
    return reportError(error);
  }
}

type Ending = keyof typeof exitCodes;

function requireNode(): void {
  const [major = 0] = process.versions.node.split('.').map(Number);
  if (major >= 20) return;
  throw new BenchError(
    'unavailable',
    `iocp-bench needs Node 20 or later; this is ${process.version}`,
    'install a current one from https://nodejs.org',
  );
}

function reportError(thrown: unknown): Ending {
  const error = thrown instanceof CommanderError ? commanderError(thrown) : thrown;
  if (error === null) return 'done';
  if (debugging) process.stderr.write(`${describe(error)}\n`);
  if (error instanceof BenchError) {
    // An empty message: the command has printed all there is to say, and only the exit code is left.
    if (error.message !== '') print(error.message, error.hint);
    return error.code;
  }
  const reason = error instanceof Error ? error.message : 'something that is not an error was thrown';
  print(
    `a fault of the tool, not of yours: ${reason.split('\n')[0] ?? ''}`,
    debugging
      ? 'please report this'
      : 'run it again with DEBUG=iocp-bench in the environment, and report what it prints',
  );
  return 'fault';
}

/** Commander's own errors are wrong usage; null for help and version, which are none. */
function commanderError(error: CommanderError): BenchError | null {
  if (error.code === 'commander.help') return new BenchError('usage', '');
  if (error.exitCode === 0) return null;
  const [sentence = '', suggestion = ''] = error.message.replace(/^error: /, '').split('\n');
  const [word = ''] = process.argv.slice(2);
  const command = /^[a-z]+$/.test(word) && error.code !== 'commander.unknownCommand' ? ` ${word}` : '';
  const help = `iocp-bench${command} --help lists what there is`;
  const hint = suggestion === '' ? help : suggestion.replace(/^\((.*)\)$/, '$1');
  return new BenchError('usage', sentence, hint, error);
}

/** One sentence, and beneath it what to do. */
function print(message: string, hint: string): void {
  terminal.note(`iocp-bench: ${message}${hint === '' ? '' : `\n  ${hint}`}`);
}

/** The stack of an error and of what caused it. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return `thrown: ${JSON.stringify(error)}`;
  const cause = error.cause === undefined ? '' : `\ncaused by: ${describe(error.cause)}`;
  return `${error.stack ?? error.message}${cause}`;
}

/** Writes to pipes are not done when they return on every system; exiting before would cut them off. */
async function flush(stream: NodeJS.WriteStream): Promise<void> {
  if (stream.destroyed || !stream.writable) return;
  await new Promise<void>((resolve) => {
    stream.write('', () => {
      resolve();
    });
  });
}

/** Whether stdout could not be written although somebody still reads it. */
let isStdoutBroken = false;

/** A reader that has seen enough (`| head`), or a terminal that was closed. Windows reports a broken pipe as EOF. */
function isReaderGone({ code }: NodeJS.ErrnoException): boolean {
  return (
    code === 'EPIPE' || code === 'EOF' || code === 'ERR_STREAM_DESTROYED' || (code === 'EIO' && process.stdout.isTTY)
  );
}

// Neither ends the run: its files and its exit code are still wanted.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (isReaderGone(error) || isStdoutBroken) return;
  isStdoutBroken = true;
  print(`stdout cannot be written: ${error.message}`, 'the file or disk behind it is full or gone');
});
process.stderr.on('error', () => undefined);
process.on('uncaughtException', (error) => {
  process.exit(exitCode(reportError(error)));
});

function exitCode(ending: Ending): number {
  const endings: Ending[] = isStdoutBroken ? [ending, 'runFailed'] : [ending];
  return exitCodeOf(endings.filter((one): one is ErrorCode => one !== 'done'));
}

const ending = await run(process.argv);
await Promise.all([flush(process.stdout), flush(process.stderr)]);
process.exit(exitCode(ending));
