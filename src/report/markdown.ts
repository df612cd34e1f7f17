/** The report for a GitHub step summary: verdict, tables, warnings, gates. */
import { formatCount } from './format.js';
import type { Report } from './schema.js';
import { brokenWindows, conditions, summarize, verdicts, type SummarySection } from './summary.js';

/** Text that must not be read as Markdown or HTML. */
function plain(text: string): string {
  return text.replace(/[\\`*_{}[\]<>|#]/g, (character) => `\\${character}`).replace(/\s+/g, ' ');
}

function row(cells: readonly string[]): string {
  return `| ${cells.map(plain).join(' | ')} |`;
}

export function renderMarkdown(report: Report): string {
  const blocks = [
    '## iocp-bench',
    ...(report.partial ? ['**Partial: the run ended before all windows were measured.**'] : []),
    verdicts(report)
      .map((line) => `- **${plain(line)}**`)
      .join('\n'),
    `_${plain(conditions(report))}_`,
    ...summarize(report).map(section),
    list('Failed windows', brokenWindows(report)),
    list(
      'Warnings',
      report.warnings.map(({ severity, message, hint }) => `${severity}: ${message}${hint === '' ? '' : ` (${hint})`}`),
    ),
    gates(report),
  ];
  return `${blocks.filter((block) => block !== '').join('\n\n')}\n`;
}

function section({ clients, headings, ratioHeading, groups }: SummarySection): string {
  const columns = [`${formatCount(clients)} clients`, ...headings, ...(ratioHeading === null ? [] : [ratioHeading])];
  const lines = groups.flatMap((group) => [
    `| **${plain(group.title)}** |${' |'.repeat(columns.length - 1)}`,
    ...group.rows.map(({ label, cells, ratio }) =>
      row([label.trim(), ...cells, ...(ratioHeading === null ? [] : [ratio])]),
    ),
  ]);
  const notes = groups.flatMap(({ note }) => (note === '' ? [] : [`<sub>${plain(note)}</sub>`]));
  return [[row(columns), `|:--|${'--:|'.repeat(columns.length - 1)}`, ...lines].join('\n'), ...notes].join('\n\n');
}

function list(title: string, items: readonly string[]): string {
  return items.length === 0 ? '' : [`### ${title}`, '', ...items.map((item) => `- ${plain(item)}`)].join('\n');
}

function gates(report: Report): string {
  if (report.gates.length === 0) return '';
  const lines = report.gates.map(({ expression, held, reason }) => {
    const state = held === null ? '❓ undecided' : held ? '❌ held' : '✅ passed';
    return `| ${state} | ${plain(expression)} | ${plain(reason)} |`;
  });
  return ['### Gates', '', '| | Gate | Figures |', '|:--|:--|:--|', ...lines].join('\n');
}
