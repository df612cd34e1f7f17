/** The live lines of `blast` on a terminal: per mode the throughput so far, as a sparkline. */
import { formatRate, printable } from '../model/format.js';

const blocks = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'] as const;
/** For terminals without UTF-8: denser characters for higher values. */
const asciiBlocks = ['.', ':', '-', '=', '+', '*', '#', '@'] as const;

/** More samples do not fit on a line; the oldest are dropped. */
const samplesMost = 40;
/** More lines push the report before them off a small terminal. */
const modesMost = 12;

/** One character per value, on a scale from 0 to `highest`. */
export function sparkline(values: readonly number[], highest: number, hasSigns: boolean): string {
  const levels = hasSigns ? blocks : asciiBlocks;
  return values
    .map((value) => {
      const level = highest > 0 ? Math.round((value / highest) * (levels.length - 1)) : 0;
      return levels[Math.max(0, Math.min(levels.length - 1, level))] ?? levels[0];
    })
    .join('');
}

export class ModeLines {
  private readonly samples = new Map<string, number[]>();

  /** @param perSecond requests/s of the last moment; the same value twice in a row is one sample */
  add(mode: string, perSecond: number): void {
    const known = this.samples.get(mode) ?? [];
    if (known.at(-1) === perSecond) return;
    this.samples.set(mode, [...known, perSecond].slice(-samplesMost));
  }

  /** A line per mode with a sample, in the order in which they first ran, on one scale. At most `width` columns. */
  lines(width: number, hasSigns: boolean): string[] {
    const entries = [...this.samples].slice(0, modesMost);
    const highest = Math.max(0, ...entries.flatMap(([, values]) => values));
    const names = entries.map(([mode]) => printable(mode).slice(0, 24));
    const longest = Math.max(0, ...names.map(({ length }) => length));
    return entries.map(([, values], place) => {
      const rate = formatRate(values.at(-1) ?? null).padStart(8);
      const lead = `  ${(names[place] ?? '').padEnd(longest)}  ${rate}  `;
      const room = Math.max(0, width - lead.length - 1);
      return (lead + sparkline(values.slice(-Math.max(1, room)), highest, hasSigns)).slice(0, width);
    });
  }
}
