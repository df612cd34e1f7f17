/** Where text goes: data to stdout, notes and progress to stderr; and in which signs. */
import { execFileSync } from 'node:child_process';
import { fstatSync } from 'node:fs';
import { isWindows } from './platform.js';

/** Tables are made for at least this width. */
const narrowest = 80;
/** Wider than this, a table is no easier to read. */
const widest = 120;

function hasColor(stream: NodeJS.WriteStream): boolean {
  return stream.isTTY && (process.env['NO_COLOR'] ?? '') === '' && stream.hasColors();
}

/** What decides whether a reader of a stream shows more than ASCII. */
export interface Surroundings {
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The stream goes to a file, and every file is UTF-8. */
  readonly isFile: boolean;
  readonly isTerminal: boolean;
  readonly onWindows: boolean;
  /** Code page of the Windows console; null where there is no console. */
  readonly codePage: () => number | null;
}

const utf8CodePage = 65_001;

/**
 * True where text must be ASCII to be readable: in a locale without UTF-8 and, on Windows, under a code page of its console. Where neither is
 * set, UTF-8 is what terminals of today show.
 */
export function needsAscii({ environment, isFile, isTerminal, onWindows, codePage }: Surroundings): boolean {
  if (isFile) return false;
  // The order of POSIX: the first that is set and not empty.
  const locale = ['LC_ALL', 'LC_CTYPE', 'LANG'].map((name) => environment[name] ?? '').find((value) => value !== '');
  if (locale !== undefined) return !/\.utf-?8(@|$)/i.test(locale);
  if (!onWindows) return false;
  // Windows Terminal shows UTF-8 whatever the code page says.
  if (isTerminal && (environment['WT_SESSION'] ?? '') !== '') return false;
  const page = codePage();
  return page !== null && page !== utf8CodePage;
}

/** The code page that programs of this console write; asked from chcp.com, which needs no native library. */
function consoleCodePage(): number | null {
  try {
    const said = execFileSync('chcp.com', { encoding: 'latin1', timeout: 2_000, stdio: ['ignore', 'pipe', 'ignore'] });
    const digits = /(\d+)\D*$/.exec(said)?.[1];
    return digits === undefined ? null : Number(digits);
  } catch {
    return null;
  }
}

function isFile(descriptor: number): boolean {
  try {
    return fstatSync(descriptor).isFile();
  } catch {
    return false;
  }
}

const known = new Map<number, boolean>();

function isAscii(stream: NodeJS.WriteStream & { fd: number }): boolean {
  const found =
    known.get(stream.fd) ??
    needsAscii({
      environment: process.env,
      isFile: isFile(stream.fd),
      isTerminal: stream.isTTY,
      onWindows: isWindows,
      codePage: consoleCodePage,
    });
  known.set(stream.fd, found);
  return found;
}

/** The signs of this tool, each as wide in ASCII as it was, so that tables stay aligned. */
const signs: Readonly<Record<string, string>> = {
  ...Object.fromEntries(['┌', '┬', '┐', '├', '┼', '┤', '└', '┴', '┘'].map((corner) => [corner, '+'])),
  '─': '-',
  '│': '|',
  '•': '*',
  '·': '-',
  '→': '>',
  µ: 'u',
  // Before a number the space goes; in a sentence nothing is aligned.
  '≥ ': '>=',
  '≤ ': '<=',
  '≥': '>=',
  '≤': '<=',
};

/**
 * Text with the signs of this tool (lines of tables, bullets, µ, ≥) in ASCII. What came from the user, names and paths, stays as it is: it
 * would name something else.
 */
export function withAsciiSigns(text: string): string {
  return text.replace(/[≥≤] (?=[\d<])|[┌┬┐├┼┤└┴┘─│•·→µ≥≤]/g, (sign) => signs[sign] ?? sign);
}

/** The same JSON in ASCII: a program that reads it with another charset reads the same strings. */
export function asciiJson(json: string): string {
  return json.replace(/[\u0080-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

export const terminal = {
  /** A block of text on stdout, with a newline at its end. */
  print(text: string): void {
    const shown = isAscii(process.stdout) ? withAsciiSigns(text) : text;
    process.stdout.write(shown.endsWith('\n') ? shown : `${shown}\n`);
  },
  /** JSON as stdout takes it. */
  json(text: string): string {
    return isAscii(process.stdout) ? asciiJson(text) : text;
  },
  /** A line on stderr. */
  note(text: string): void {
    process.stderr.write(`${terminal.signs(text)}\n`);
  },
  /** Text for a line that is rewritten on stderr. */
  signs(text: string): string {
    return isAscii(process.stderr) ? withAsciiSigns(text) : text;
  },
  /** Columns of stdout, between 80 and 120; 80 where it is no terminal. */
  width(): number {
    const columns = process.stdout.isTTY ? process.stdout.columns : narrowest;
    return Math.min(widest, Math.max(narrowest, columns));
  },
  /** Whether stdout shows colour: a terminal, and no NO_COLOR. */
  color(): boolean {
    return hasColor(process.stdout);
  },
  /** Whether stderr is a terminal, on which a line may be rewritten. */
  isInteractive(): boolean {
    return process.stderr.isTTY;
  },
  /** Whether stderr shows signs beyond ASCII. */
  hasSigns(): boolean {
    return !isAscii(process.stderr);
  },
};
