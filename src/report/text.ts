/** Lines and colours of plain text. The caller decides once whether to colour. */

/** A space after a word, but not one between a number and its unit. */
const breakable = / (?!(?:[nµm]?s|min|[KMGT]i?B|B)(?![A-Za-z]))|(?<![\d.]) /;

/** Lines of at most `width` columns, broken at spaces; a longer word is on a line of its own. */
export function wrapText(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(breakable)) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

/** The same as a paragraph whose first line begins with `lead`, and whose other lines are indented to its text. */
export function hanging(lead: string, text: string, width: number): string[] {
  const indent = ' '.repeat(lead.length);
  return wrapText(text, width - lead.length).map((line, index) => (index === 0 ? lead : indent) + line);
}

export type Tone = 'bold' | 'dim' | 'red' | 'yellow' | 'green' | 'cyan';
export type Paint = (tone: Tone, text: string) => string;

const toneCodes: Record<Tone, readonly [number, number]> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  yellow: [33, 39],
  green: [32, 39],
  cyan: [36, 39],
};

/** A function that colours, or one that leaves text alone. */
export function painter(color: boolean): Paint {
  if (!color) return (_tone, text) => text;
  return (tone, text) => {
    const [on, off] = toneCodes[tone];
    return `\u001b[${on}m${text}\u001b[${off}m`;
  };
}
