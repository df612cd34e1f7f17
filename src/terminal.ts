/** Where text goes (data to stdout, notes and progress to stderr) and in which characters. */
import { execFileSync } from 'node:child_process';
import { fstatSync } from 'node:fs';
import { isWindows } from './platform.js';

/** Tables are laid out for at least this width. */
const narrowest = 80;
/** A table wider than this is not easier to read. */
const widest = 120;

function hasColor(stream: NodeJS.WriteStream): boolean {
  return stream.isTTY && (process.env['NO_COLOR'] ?? '') === '' && stream.hasColors();
}

/** The facts that decide whether a stream may carry more than ASCII. */
export interface Surroundings {
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The stream goes to a file. Files are always UTF-8. */
  readonly isFile: boolean;
  readonly isTerminal: boolean;
  readonly onWindows: boolean;
  /** Code page of the Windows console; null without a console. */
  readonly codePage: () => number | null;
}

const utf8CodePage = 65_001;

/**
 * True if text must be ASCII to be readable: in a locale without UTF-8 and, on Windows, under another console code page. If neither
 * is set, UTF-8 is assumed, which current terminals show.
 */
export function needsAscii({ environment, isFile, isTerminal, onWindows, codePage }: Surroundings): boolean {
  if (isFile) return false;
  // POSIX order: the first variable that is set and not empty.
  const locale = ['LC_ALL', 'LC_CTYPE', 'LANG'].map((name) => environment[name] ?? '').find((value) => value !== '');
  if (locale !== undefined) return !/\.utf-?8(@|$)/i.test(locale);
  if (!onWindows) return false;
  // Windows Terminal shows UTF-8 whatever the code page says.
  if (isTerminal && (environment['WT_SESSION'] ?? '') !== '') return false;
  const page = codePage();
  return page !== null && page !== utf8CodePage;
}

/** The code page that programs on this console write, from chcp.com, which needs no native library. */
function consoleCodePage(): number | null {
  try {
    const said = execFileSync('chcp.com', { encoding: 'latin1', timeout: 2_000, stdio: ['ignore', 'pipe', 'ignore'] });
    const digits = /(\d+)\D*$/.exec(said)?.[1];
    // Without a console there is no code page, and chcp says 0.
    return digits === undefined || Number(digits) === 0 ? null : Number(digits);
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

/** The special characters of this tool, with ASCII replacements of the same width, so that tables stay aligned. */
const signs: Readonly<Record<string, string>> = {
  ...Object.fromEntries(['┌', '┬', '┐', '├', '┼', '┤', '└', '┴', '┘'].map((corner) => [corner, '+'])),
  '─': '-',
  '│': '|',
  '•': '*',
  '·': '-',
  '→': '>',
  µ: 'u',
  // Before a number, the two ASCII characters take the place of sign and space. In a sentence nothing is aligned.
  '≥ ': '>=',
  '≤ ': '<=',
  '≥': '>=',
  '≤': '<=',
  // Only in sentences: "within 3%". Two characters would make a line longer than the terminal.
  '±': '',
};

/**
 * Text with the special characters of this tool (table lines, bullets, µ, ≥, ±) in ASCII. Names and paths from the user stay
 * unchanged: in ASCII they would name something else.
 */
export function withAsciiSigns(text: string): string {
  return text.replace(/[≥≤] (?=[\d<])|[┌┬┐├┼┤└┴┘─│•·→µ≥≤±]/g, (sign) => signs[sign] ?? sign);
}

/** The same JSON in ASCII, so that a program that assumes another charset reads the same strings. */
export function asciiJson(json: string): string {
  return json.replace(/[\u0080-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

export const terminal = {
  /** A block of text on stdout, with a newline at its end. */
  print(text: string): void {
    const shown = isAscii(process.stdout) ? withAsciiSigns(text) : text;
    process.stdout.write(shown.endsWith('\n') ? shown : `${shown}\n`);
  },
  /** JSON in the characters that stdout can carry. */
  json(text: string): string {
    return isAscii(process.stdout) ? asciiJson(text) : text;
  },
  /** A line on stderr. */
  note(text: string): void {
    process.stderr.write(`${terminal.signs(text)}\n`);
  },
  /** Text for a line that is rewritten in place on stderr. */
  signs(text: string): string {
    return isAscii(process.stderr) ? withAsciiSigns(text) : text;
  },
  /** Columns of stdout, between 80 and 120; 80 if it is not a terminal. */
  width(): number {
    const columns = process.stdout.isTTY ? process.stdout.columns : narrowest;
    return Math.min(widest, Math.max(narrowest, columns));
  },
  /** Columns of stderr, where progress is shown. */
  progressWidth(): number {
    const columns = process.stderr.isTTY ? process.stderr.columns : narrowest;
    return Math.max(20, Math.min(widest, columns));
  },
  /** Whether stdout shows colour: it is a terminal, and NO_COLOR is not set. */
  color(): boolean {
    return hasColor(process.stdout);
  },
  /** Whether stderr is a terminal, where a line may be rewritten in place. */
  isInteractive(): boolean {
    return process.stderr.isTTY;
  },
  /** Whether stderr shows characters beyond ASCII. */
  hasSigns(): boolean {
    return !isAscii(process.stderr);
  },
};
