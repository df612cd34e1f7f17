/** compare(): a comparison of I/O models from a program. */
import { BenchError } from '../model/errors.js';
import type { OptionRow } from '../model/options.js';
import type { Report } from '../model/report-schema.js';
import { evaluateGate } from '../measure/gates.js';
import { calibrationIndex, type Progress } from '../run/trial.js';
import { blastTable, type BlastOptions } from './blast-options.js';
import { planComparison, prepareComparison } from './comparison.js';

/** Options of the command that only say where its output goes. */
type OutputOption =
  | 'json'
  | 'html'
  | 'markdown'
  | 'csv'
  | 'junit'
  | 'export'
  | 'strict'
  | 'quiet'
  | 'full'
  | 'explain'
  | 'confirm'
  | 'saveBaseline'
  | 'baseline'
  | 'baselineDir';
/** Options that are written in another form than the value that the command parses. */
type OwnForm = 'modes' | 'modeCommand' | 'target' | 'failIf' | 'phases';

type Widened<Value> = Value extends readonly number[] ? readonly number[] | number : Value;

/**
 * What `iocp-bench blast` takes, by the same names and with the same defaults and limits: `--duration 3s` is `durationMs: 3000`. Times
 * are in milliseconds, sizes in bytes, rates per second, shares fractions.
 */
export type CompareOptions = {
  readonly [Key in Exclude<keyof BlastOptions, OutputOption | OwnForm>]?: Widened<BlastOptions[Key]> | undefined;
} & {
  /** Names of modes, or the group 'classic' or 'all'. Default: blocking and iocp. */
  readonly modes?: readonly string[] | undefined;
  /** Servers of your own: mode name to command line, in which {port} is replaced. */
  readonly modeCommands?: Readonly<Record<string, string>> | undefined;
  /** "host:port" of a server that runs already. */
  readonly target?: string | undefined;
  readonly phases?: 'both' | 'capacity' | 'latency' | undefined;
  /** Gate expressions, for example 'iocp/blocking.throughput < 1.2'. Their outcomes are in the report's `gates`. */
  readonly failIf?: readonly string[] | undefined;
};

/** A step of a run. */
export interface CompareProgress {
  readonly mode: string;
  readonly clients: number;
  /** Number of the trial, from 1, and how many there are at most; null while the offered rate is calibrated. */
  readonly trial: number | null;
  readonly trials: number;
  readonly step: Progress['step'];
  /** Connections made so far, and wanted. */
  readonly connected: number;
  readonly asked: number;
  readonly failed: number;
  readonly requestsPerSecond: number | null;
  /** Time left in the step; null if unknown. */
  readonly secondsLeft: number | null;
}

export interface CompareHooks {
  /** Ends the run. The returned report is then partial and has every trial that was completed. */
  readonly signal?: AbortSignal | undefined;
  /** Called several times per second. */
  readonly onProgress?: ((progress: CompareProgress) => void) | undefined;
  /** Called after every trial with the report so far, which is partial. */
  readonly onReport?: ((report: Report) => void) | undefined;
}

/**
 * Compares I/O models, as `iocp-bench blast` does: starts a server process per trial, loads it, verifies every echo, and resolves to the
 * report. It prints nothing, installs no signal handlers and does not end the process. While it runs, this process is confined to
 * the client's CPUs (unless `pin` is false), and its event loop should have little else to do: the engines run in this process.
 *
 * Resolves also if trials failed: the report says so in the state of its windows and in its warnings.
 *
 * @throws BenchError if the options are not valid ('usage') or this machine cannot run them ('unavailable'), before any load
 */
export async function compare(options: CompareOptions = {}, hooks: CompareHooks = {}): Promise<Report> {
  const parsed = parsedOptions(options);
  const planned = await planComparison(parsed);
  let trial: { number: number; of: number } | null = null;
  const { onProgress, onReport, signal = new AbortController().signal } = hooks;
  try {
    const comparison = prepareComparison(planned, ['iocp-bench', 'compare()'], {
      signal,
      onReport: (report) => onReport?.(report),
      onTrial: (_task, number, of) => {
        trial = { number, of };
      },
      onProgress: (state) => onProgress?.(progressOf(state, trial)),
    });
    const report = await comparison.run();
    return { ...report, gates: parsed.failIf.map((gate) => evaluateGate(gate, report)) };
  } finally {
    await planned.end();
  }
}

function progressOf(state: Progress, trial: { number: number; of: number } | null): CompareProgress {
  const { task, step, connected, asked, failed, requestsPerSecond, secondsLeft } = state;
  return {
    mode: task.spec.mode,
    clients: task.clients,
    trial: task.index === calibrationIndex ? null : (trial?.number ?? null),
    trials: trial?.of ?? 0,
    step,
    connected,
    asked,
    failed,
    requestsPerSecond,
    secondsLeft,
  };
}

/** The options as the command would have parsed them, so that both accept and refuse the same. */
function parsedOptions(options: CompareOptions): BlastOptions {
  const { modes, modeCommands = {}, ...rest } = options;
  const given: Readonly<Record<string, unknown>> = {
    ...rest,
    modes: modes?.join(','),
    modeCommand: Object.entries(modeCommands).map(([name, command]) => `${name}=${command}`),
  };
  for (const key of Object.keys(given)) {
    if (!(key in blastTable)) {
      throw new BenchError('usage', `${key} is not an option of compare()`, 'the type CompareOptions lists them');
    }
  }
  const entries = Object.entries(blastTable).map(([key, row]) => [key, parsedValue(key, row, given[key])]);
  return Object.fromEntries(entries) as BlastOptions;
}

function parsedValue(key: string, row: OptionRow<unknown, unknown>, value: unknown): unknown {
  if (value === undefined) return row.initial;
  const { parse } = row;
  if (parse === null) {
    if (typeof value === 'boolean') return value;
    throw new BenchError('usage', `${key} is not true or false`, `it is ${typeof value}`);
  }
  const texts = row.repeatable ? [...(value as readonly unknown[])] : [value];
  const values = texts.map((one) => parsedText(key, row, parse, asText(key, one)));
  return row.repeatable ? values : values[0];
}

/** Parses a value; errors name the option as the program wrote it. */
function parsedText(
  key: string,
  row: OptionRow<unknown, unknown>,
  parse: (text: string) => unknown,
  text: string,
): unknown {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof BenchError)) throw error;
    const flag = /--[\w-]+/.exec(row.flags)?.[0] ?? key;
    const named = (words: string): string => words.replaceAll(flag, key);
    throw new BenchError(error.code, named(error.message), named(error.hint), error);
  }
}

/** How a value is typed on the command line: 500 for durationMs is "500ms". */
function asText(key: string, value: unknown): string {
  if (Array.isArray(value)) return value.map((one) => asText(key, one)).join(',');
  if (typeof value === 'number') return `${value}${key.endsWith('Ms') ? 'ms' : ''}`;
  if (typeof value === 'string') return value;
  throw new BenchError('usage', `${key} is ${typeof value}`, 'expected a number, a string, or a list of them');
}
