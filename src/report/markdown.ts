/** The report for a GitHub step summary or a pull request: headline, verdict, gates, tables, warnings. */
import { escapeMarkdown } from './escape.js';
import type { Report } from '../model/report-schema.js';
import { buildView, gateOutcome, severityTitles, type Cell, type Table, type View } from './view.js';

export function renderMarkdown(report: Report): string {
  const view = buildView(report);
  const blocks = [
    [`## ${escapeMarkdown(view.title)}`],
    [`**${escapeMarkdown(view.headline)}**`],
    view.facts.map(escapeMarkdown),
    ['### Verdict', '', ...list([...view.verdict, ...view.findings])],
    gateLines(view),
    ...tableBlocks(view),
    noteLines(view),
    view.broken.length === 0 ? [] : ['### Not measured to the end', '', ...list(view.broken)],
    warningLines(view),
  ];
  return `${blocks
    .filter((block) => block.length > 0)
    .map((block) => block.join('\n'))
    .join('\n\n')}\n`;
}

function list(texts: readonly string[]): string[] {
  return texts.map((text) => `- ${escapeMarkdown(text)}`);
}

const outcomeSigns = { failed: '❌ failed', undecided: '❔ undecided', passed: '✅ passed' } as const;

function gateLines({ gates }: View): string[] {
  if (gates.length === 0) return [];
  const rows = gates.map(
    (gate) =>
      `| ${outcomeSigns[gateOutcome(gate)]} | ${escapeMarkdown(gate.expression)} | ${escapeMarkdown(gate.reason)} |`,
  );
  return ['### Gates', '', '| | Fail if | Figures |', '|:--|:--|:--|', ...rows];
}

/** One table is shown; of several, all but the first (the overview of a sweep) are folded away. */
function tableBlocks({ tables }: View): string[][] {
  return tables.map((table, index) => {
    const lines = tableLines(table);
    if (index === 0) return lines;
    return [`<details><summary>${escapeMarkdown(table.corner.join(', '))}</summary>`, '', ...lines, '', '</details>'];
  });
}

function tableLines(table: Table): string[] {
  const heads = [
    table.corner.map(escapeMarkdown).join('<br>'),
    ...table.columns.map(({ mode, backend }) => escapeMarkdown(backend === '' ? mode : `${mode} (${backend})`)),
    ...(table.ratioHeader === null ? [] : [escapeMarkdown(table.ratioHeader)]),
  ];
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const rows = table.groups.flatMap((group) => [
    line([`**${escapeMarkdown(group.title)}**`, ...heads.slice(1).map(() => '')]),
    ...group.rows.map((row) =>
      line([
        // Two spaces before a label say that it is a part of the line above.
        (row.label.startsWith(' ') ? '&emsp;' : '') + escapeMarkdown(row.label.trim()),
        ...row.cells.map(cellText),
        ...(table.ratioHeader === null ? [] : [row.ratio === null ? '' : cellText(row.ratio)]),
      ]),
    ),
  ]);
  return [
    line(heads),
    `|:--|${heads
      .slice(1)
      .map(() => '--:|')
      .join('')}`,
    ...rows,
    ...(table.plot === undefined ? [] : ['', '```text', ...table.plot, '```']),
  ];
}

/** Claimed differences are bold, since Markdown has no colour. */
function cellText({ text, tone }: Cell): string {
  const lines = text.split('\n').map(escapeMarkdown).join('<br>');
  return lines !== '' && (tone === 'better' || tone === 'worse') ? `**${lines}**` : lines;
}

function noteLines({ tables }: View): string[] {
  const notes = [...new Set(tables.flatMap((table) => table.notes))];
  return notes.map((note) => `<sub>${escapeMarkdown(note)}</sub>  `);
}

function warningLines({ warnings }: View): string[] {
  if (warnings.length === 0) return [];
  const items = warnings.flatMap(({ severity, messages, hint }) =>
    messages.map((message, index) => {
      const advice = hint === '' || index < messages.length - 1 ? '' : `<br>→ ${escapeMarkdown(hint)}`;
      return `- **${severityTitles[severity]}**: ${escapeMarkdown(message)}${advice}`;
    }),
  );
  return ['### Warnings', '', ...items];
}
