/**
 * What can go wrong, as data. Everything that a user sees as an error is a BenchError; anything else that is thrown is a fault
 * of the tool (exit code 1). Only cli.ts turns a code into an exit.
 */

/** The exit codes. README lists them. */
export const exitCodes = {
  done: 0,
  fault: 1,
  usage: 2,
  unavailable: 3,
  runFailed: 4,
  notValid: 5,
  gateHeld: 99,
  interrupted: 130,
} as const;

/** Category of an error; the key of its exit code. */
export type ErrorCode = Exclude<keyof typeof exitCodes, 'done'>;

/** Which code a run ends with when several apply: the first of this list. */
export const exitPrecedence: readonly ErrorCode[] = [
  'interrupted',
  'usage',
  'unavailable',
  'fault',
  'runFailed',
  'notValid',
  'gateHeld',
];

/** An error that is told to the user: one sentence, what was expected, a hint; never a stack trace. */
export class BenchError extends Error {
  readonly code: ErrorCode;
  /** What to do about it: a command, an option, a range. Empty where there is nothing to say. */
  readonly hint: string;

  constructor(code: ErrorCode, message: string, hint = '', cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'BenchError';
    this.code = code;
    this.hint = hint;
  }
}

/** The most important of several codes, or 'done'. */
export function exitCodeOf(codes: Iterable<ErrorCode>): number {
  const present = new Set(codes);
  const first = exitPrecedence.find((code) => present.has(code));
  return first === undefined ? exitCodes.done : exitCodes[first];
}
