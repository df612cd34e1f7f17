/** Where text goes: data to stdout, notes and progress to stderr. */

/** Tables are made for at least this width. */
const narrowest = 80;
/** Wider than this, a table is no easier to read. */
const widest = 120;

function hasColor(stream: NodeJS.WriteStream): boolean {
  return stream.isTTY && (process.env['NO_COLOR'] ?? '') === '' && stream.hasColors();
}

export const terminal = {
  /** A block of text on stdout, with a newline at its end. */
  print(text: string): void {
    process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
  },
  /** A line on stderr. */
  note(text: string): void {
    process.stderr.write(`${text}\n`);
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
};
