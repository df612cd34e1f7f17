/**
 * Errors as data. Every error that a user can cause is a BenchError; anything else that is thrown is a bug in the tool (exit code
 * 1). Only cli.ts turns a code into an exit code.
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

/** Category of an error, and the key of its exit code. */
export type ErrorCode = Exclude<keyof typeof exitCodes, 'done'>;

/** If several codes apply, a run ends with the first one in this list. */
export const exitPrecedence: readonly ErrorCode[] = [
  'interrupted',
  'usage',
  'unavailable',
  'fault',
  'runFailed',
  'notValid',
  'gateHeld',
];

/** An error for the user: one sentence with what was expected, and a hint. The user never sees a stack trace. */
export class BenchError extends Error {
  readonly code: ErrorCode;
  /** What to do about it: a command, an option, a range. May be empty. */
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
