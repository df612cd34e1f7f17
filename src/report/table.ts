/** The report for a terminal: the verdict in words, then tables, then what to know about them. */
import Table from 'cli-table3';
import { plural, printable } from '../model/format.js';
import { pointInWords } from '../model/point.js';
import { barLines } from './bars.js';
import { briefTable } from './brief-table.js';
import { briefWarnings, type BriefWarning } from './brief-warnings.js';
import { hanging, painter, wrapText, type Paint, type Tone } from './text.js';
import type { Gate, Report } from '../model/report-schema.js';
import { terminalCharts, type Chart } from './charts.js';
import { textChart } from './text-chart.js';
import {
  buildView,
  gateOutcome,
  severityTitles,
  type Cell,
  type CellTone,
  type Group,
  type Table as TableView,
  type View,
} from './view.js';

export interface TableOptions {
  /** Columns of the terminal. */
  readonly width: number;
  readonly color: boolean;
  /** Every row of every table, and every line of the verdict. Absent: what answers the question. */
  readonly full?: boolean;
  /** Warnings in their long form. Absent: as `full`. */
  readonly explain?: boolean;
}

export function renderTable(report: Report, options: TableOptions): string {
  const { full = false, explain = full } = options;
  const view = buildView(report);
  const charts = terminalCharts(report);
  return drawBlocks([
    headlineBlock(view.headline, options),
    // Where a chart shows the figures over a sweep, the bars of one of its points would say less.
    charts.length > 0 ? [] : barsBlock(report, view, options),
    titleBlock(view.title, view.facts, options),
    listBlock('Verdict', full ? [...view.verdict, ...view.findings] : briefVerdict(view), options),
    ...chartBlocks(charts, options),
    drawTables(full ? view.tables : view.tables.flatMap((table) => briefTable(table) ?? []), options),
    listBlock('Not measured to the end', view.broken, options),
    explain ? warningBlock(view, options) : briefWarningBlock(briefWarnings(report), options),
    gateBlock(view.gates, options),
    full ? [] : [painter(options.color)('dim', '--full shows every figure; --explain says more about the warnings.')],
  ]);
}

function headlineBlock(headline: string, { width, color }: TableOptions): Block {
  return wrapText(headline, width).map((line) => painter(color)('bold', line));
}

/** The bars of the table that the short report shows; of a sweep over connections, of its largest point. */
function barsBlock(report: Report, { tables }: View, options: TableOptions): Block {
  const points = tables.flatMap(({ point }) => (point === null ? [] : [point]));
  const most = Math.max(...points.map(({ clients }) => clients));
  const point = points.findLast(({ clients }) => clients === most);
  if (point === undefined) return [];
  const lines = barLines(report, point, options);
  return points.length === 1 || lines.length === 0 ? lines : [`At ${pointInWords(point)}:`, ...lines];
}

/** What the headline does not say already. */
function briefVerdict({ headline, verdict, verdictDetails, findings }: View): string[] {
  const said = headline.toLowerCase().replace('no difference was shown', 'no difference shown');
  const isSaid = (text: string): boolean =>
    said.includes(text.toLowerCase().replace(' (at the offered rate)', ' at the offered rate'));
  return [...verdict, ...findings].filter((text) => !isSaid(text) && !verdictDetails.includes(text));
}

/** A paragraph is some lines; an empty one is left out. */
type Block = readonly string[];

export function drawBlocks(blocks: readonly Block[]): string {
  const filled = blocks.filter((block) => block.length > 0);
  return `${filled.map((block) => block.join('\n')).join('\n\n')}\n`;
}

export function titleBlock(title: string, facts: readonly string[], { width, color }: TableOptions): Block {
  const paint = painter(color);
  return [
    ...wrapText(title, width).map((line) => paint('bold', line)),
    ...facts.flatMap((fact) => wrapText(fact, width)).map((line) => paint('dim', line)),
  ];
}

export function listBlock(title: string, texts: readonly string[], { width, color }: TableOptions): Block {
  if (texts.length === 0) return [];
  return [painter(color)('bold', title), ...texts.flatMap((text) => hanging('  • ', text, width))];
}

/** Charts, each with its title. */
export function chartBlocks(charts: readonly Chart[], { width, color }: TableOptions): Block[] {
  const paint = painter(color);
  return charts.flatMap((chart) => {
    const drawn = textChart(chart, width);
    if (drawn === null) return [];
    return [[...wrapText(drawn.title, width).map((line) => paint('bold', line)), ...drawn.lines]];
  });
}

/** More lines than this are not read; the worst come first. */
const warningLinesMost = 12;

const briefLeads = { invalid: '  ! ', warning: '  • ', info: '  · ' } as const;

function briefWarningBlock(warnings: readonly BriefWarning[], { width, color }: TableOptions): Block {
  if (warnings.length === 0) return [];
  const paint = painter(color);
  const drawn = warnings.map(({ severity, text }) => {
    const lead = briefLeads[severity];
    const [first = '', ...others] = hanging(lead, text, width);
    return [paint(severityTones[severity], lead) + first.slice(lead.length), ...others];
  });
  const lines: string[] = [];
  for (const [place, one] of drawn.entries()) {
    // The last line is for what is left out.
    const room = warningLinesMost - (place === drawn.length - 1 ? 0 : 1);
    if (lines.length + one.length > room) {
      lines.push(`    and ${plural(drawn.length - place, 'more', 'more')}: --explain shows all`);
      break;
    }
    lines.push(...one);
  }
  return [paint('bold', 'Warnings'), ...lines];
}

const severityTones = { invalid: 'red', warning: 'yellow', info: 'cyan' } as const;

function warningBlock({ warnings }: View, { width, color }: TableOptions): Block {
  if (warnings.length === 0) return [];
  const paint = painter(color);
  const lines = warnings.flatMap(({ severity, messages, hint }) => {
    const lead = `  ${severityTitles[severity]}: `;
    const [first = '', ...others] = messages.flatMap((message, index) =>
      hanging(index === 0 ? lead : ' '.repeat(lead.length), message, width),
    );
    const firstLine = paint(severityTones[severity], lead.trimEnd()) + first.slice(lead.trimEnd().length);
    return [firstLine, ...others, ...(hint === '' ? [] : hanging(`${' '.repeat(lead.length)}→ `, hint, width))];
  });
  return [paint('bold', 'Warnings'), ...lines];
}

const outcomeTones = { failed: 'red', undecided: 'yellow', passed: 'green' } as const;

export function gateBlock(gates: readonly Gate[], { width, color }: TableOptions): Block {
  if (gates.length === 0) return [];
  const paint = painter(color);
  const lines = gates.flatMap((gate) => {
    const outcome = gateOutcome(gate);
    const lead = `  ${outcome.padEnd(9)} `;
    const [first = '', ...others] = hanging(lead, printable(`${gate.expression} (${gate.reason})`), width);
    return [paint(outcomeTones[outcome], lead) + first.slice(lead.length), ...others];
  });
  return [paint('bold', 'Gates (fail if)'), ...lines];
}

/* ---------------------------------------------------------------------------------------------------------- tables */

/** Both paddings of a cell and the line next to it. */
const cellFrame = 3;

function widest(texts: readonly string[]): number {
  return Math.max(0, ...texts.flatMap((text) => text.split('\n')).map((line) => line.length));
}

function labelWidth(table: TableView): number {
  return widest([...table.corner, ...table.groups.flatMap(({ rows }) => rows.map(({ label }) => ` ${label}`))]);
}

function columnWidths(table: TableView): number[] {
  return table.columns.map(({ mode, backend }, index) =>
    widest([
      mode,
      backend === '' ? '' : `(${backend})`,
      ...table.groups.flatMap(({ rows }) => rows.map(({ cells }) => cells[index]?.text ?? '')),
    ]),
  );
}

/**
 * Which columns are side by side: all of them where they fit, else as few tables as possible, evenly filled. The modes that a
 * reader compares most are next to each other in the plan, so they stay so.
 */
function splitColumns(table: TableView, width: number): number[][] {
  const widths = columnWidths(table);
  const fixed = labelWidth(table) + cellFrame + 1;
  const ratio = table.ratioHeader === null ? 0 : ratioWidth(table) + cellFrame;
  const all = widths.map((_, index) => index);
  const isFitting = (part: readonly number[]): boolean =>
    part.reduce((sum, index) => sum + (widths[index] ?? 0) + cellFrame, fixed + ratio) <= width;
  for (let parts = 1; parts < all.length; parts += 1) {
    const size = Math.ceil(all.length / parts);
    const split = Array.from({ length: Math.ceil(all.length / size) }, (_, n) => all.slice(n * size, (n + 1) * size));
    if (split.every(isFitting)) return split;
  }
  return all.map((index) => [index]);
}

function ratioWidth(table: TableView): number {
  return widest([
    table.ratioHeader ?? '',
    ...table.groups.flatMap(({ rows }) => rows.map(({ ratio }) => ratio?.text ?? '')),
  ]);
}

/** Tables, and beneath the last what they have to say, once. */
export function drawTables(tables: readonly TableView[], { width, color }: TableOptions): Block {
  const paint = painter(color);
  const drawn = tables.map((table) => tableLines(table, width, paint).join('\n')).join('\n\n');
  const notes = [...new Set(tables.flatMap((table) => table.notes))];
  return tables.length === 0 ? [] : [drawn, ...notes.flatMap((note) => noteLines(note, width, paint))];
}

function tableLines(wide: TableView, width: number, paint: Paint): string[] {
  const isSplit = wide.ratioHeader !== null && splitColumns(wide, width).length > 1;
  const table = isSplit ? withStackedRatios(wide) : wide;
  const parts = splitColumns(table, width);
  // A ratio of two columns in different tables would be hard to read.
  const ratioHeader = parts.length === 1 ? table.ratioHeader : null;
  const drawn = parts.map((part) => drawTable(table, part, ratioHeader, paint));
  return table.plot === undefined ? drawn : [...drawn, ...table.plot];
}

/** The interval beneath its ratio, where both do not fit side by side. */
function withStackedRatios(table: TableView): TableView {
  const stacked = (text: string): string => text.replace(' [', '\n[');
  return {
    ...table,
    ratioHeader: table.ratioHeader?.replace(' / ', ' /\n') ?? null,
    groups: table.groups.map((group) => ({
      ...group,
      rows: group.rows.map((row) => ({
        ...row,
        ratio: row.ratio === null ? null : { ...row.ratio, text: stacked(row.ratio.text) },
      })),
    })),
  };
}

function noteLines(note: string, width: number, paint: Paint): string[] {
  const [, lead = '', text = note] = /^(\[\d\] )(.*)$/s.exec(note) ?? [];
  return hanging(lead, text, width).map((line) => paint('dim', line));
}

/** A line is drawn above each group, none between its rows, and no joints beneath a title that spans the columns. */
const withoutLine = { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '', 'top-mid': '' };

const cellTones: Record<CellTone, Tone | null> = {
  plain: null,
  better: 'green',
  worse: 'red',
  muted: 'dim',
  invalid: 'red',
  bound: 'yellow',
};

function drawTable(table: TableView, part: readonly number[], ratioHeader: string | null, paint: Paint): string {
  const span = part.length + (ratioHeader === null ? 1 : 2);
  const drawn = new Table({
    style: { head: [], border: [] },
    colAligns: ['left', ...Array<'right'>(span - 1).fill('right')],
  });
  drawn.push(headerRow(table, part, ratioHeader, paint));
  for (const group of table.groups) drawGroup(drawn, group, part, ratioHeader !== null, paint);
  return drawn.toString();
}

type DrawnCell = Exclude<Table.Cell, Table.CellValue>;

function headerRow(table: TableView, part: readonly number[], ratioHeader: string | null, paint: Paint): DrawnCell[] {
  const head = (text: string, hAlign: 'left' | 'right'): DrawnCell => ({
    content: text
      .split('\n')
      .map((line) => paint('bold', line))
      .join('\n'),
    hAlign,
  });
  return [
    head(table.corner.join('\n'), 'left'),
    ...part.map((index) => {
      const column = table.columns[index];
      const backend = column === undefined || column.backend === '' ? '' : `\n(${column.backend})`;
      return head(`${column?.mode ?? ''}${backend}`, 'right');
    }),
    ...(ratioHeader === null ? [] : [head(ratioHeader, 'right')]),
  ];
}

function drawGroup(drawn: Table.Table, group: Group, part: readonly number[], hasRatio: boolean, paint: Paint): void {
  const cell = ({ text, tone }: Cell, chars: Partial<Record<string, string>>): DrawnCell => {
    const colour = cellTones[tone];
    const content =
      colour === null
        ? text
        : text
            .split('\n')
            .map((line) => paint(colour, line))
            .join('\n');
    return { content, hAlign: 'right', chars };
  };
  const blank: Cell = { text: '', tone: 'plain' };
  const span = part.length + (hasRatio ? 2 : 1);
  if (group.title !== '') drawn.push([{ content: paint('bold', group.title), colSpan: span }]);
  for (const [place, row] of group.rows.entries()) {
    // Without a title, the line above the group is that of its first row.
    const chars = group.title === '' && place === 0 ? {} : withoutLine;
    drawn.push([
      { content: ` ${row.label}`, chars },
      ...part.map((index) => cell(row.cells[index] ?? blank, chars)),
      ...(hasRatio ? [cell(row.ratio ?? blank, chars)] : []),
    ]);
  }
}
