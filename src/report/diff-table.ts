/** Two reports against each other, for the terminal and for Markdown: what changed in words, then every figure. */
import type { Change, ReportDiff } from '../measure/report-diff.js';
import { findMetric } from '../model/metrics.js';
import { briefTable } from './brief-table.js';
import { escapeMarkdown } from './escape.js';
import { formatRatioWithInterval, printable, unknownText } from '../model/format.js';
import { pointInWords, pointKey } from '../model/point.js';
import { pointLines } from './sections.js';
import type { Gate } from '../model/report-schema.js';
import { drawBlocks, drawTables, gateBlock, listBlock, titleBlock, type TableOptions } from './table.js';
import { painter } from './text.js';
import { metricValueText } from './values.js';
import { gateOutcome, multiplicity, type Cell, type CellTone, type Row, type Table } from './view.js';

export interface DiffView {
  readonly base: string;
  readonly head: string;
  readonly diff: ReportDiff;
  readonly gates: readonly Gate[];
}

const tones: Record<Change['verdict_code'], CellTone> = {
  better: 'better',
  worse: 'worse',
  no_change_shown: 'muted',
  not_judged: 'plain',
};

/** Everything that is claimed; where nothing is, that. */
export function diffVerdicts({ changes }: ReportDiff): string[] {
  const claimed = changes.filter(({ verdict_code: code }) => code === 'better' || code === 'worse');
  const sentences = claimed.map(inWords);
  const counts = changes.filter(({ metric }) => findMetric(metric)?.aggregate === 'worst').map(inWords);
  const obstructed = changes.filter(({ primary, verdict_code: code }) => primary && code === 'not_judged').map(inWords);
  const judged = changes.filter(({ primary, verdict_code: code }) => primary && code !== 'not_judged');
  const nothing = claimed.length === 0 && judged.length > 0 ? ['no change shown on any primary figure'] : [];
  const family = multiplicity(changes.filter(({ p_value: p }) => p !== null).length);
  return [...sentences, ...nothing, ...counts, ...obstructed, ...family];
}

function inWords(change: Change): string {
  const { verdict, phase, metric } = change;
  const when = findMetric(metric)?.compared.length === 2 && phase === 'latency' ? ', at the offered rate' : '';
  return `${verdict} (at ${pointInWords(change)}${when})`;
}

/** A table for each run that both reports have. */
export function diffTables(diff: ReportDiff): Table[] {
  const keys = new Map<string, Change[]>();
  for (const change of diff.changes) {
    const key = JSON.stringify([pointKey(change), change.mode]);
    keys.set(key, [...(keys.get(key) ?? []), change]);
  }
  return [...keys.values()].flatMap((changes): Table[] => {
    const [first] = changes;
    if (first === undefined) return [];
    return [
      {
        point: first,
        corner: [printable(first.mode), ...pointLines(first)],
        columns: [
          { mode: 'base', backend: '' },
          { mode: 'head', backend: '' },
        ],
        ratioHeader: 'head / base',
        groups: [
          { title: 'At full load', rows: changes.filter(({ phase }) => phase === 'capacity').map(rowOf) },
          { title: 'At the offered rate', rows: changes.filter(({ phase }) => phase === 'latency').map(rowOf) },
        ].filter(({ rows }) => rows.length > 0),
        notes: [
          'Ratios are geometric means over trials with a 95% interval (Welch); a change is claimed only on primary figures, where the ' +
            'whole interval is beyond 2% and beyond the noise floors of both reports.',
        ],
      },
    ];
  });
}

/** No smaller change of a figure that is not primary is in the short table. */
const notableChange = 0.02;

/** What the short table shows: primary figures, and others whose interval says that they changed. */
function isNotable({ primary, ci_low: low, ci_high: high }: Change): boolean {
  return primary || (low !== null && low > 1 + notableChange) || (high !== null && high < 1 / (1 + notableChange));
}

function rowOf(change: Change): Row {
  const { metric: name, title, base, head, ratio, ci_low, ci_high, verdict_code } = change;
  const metric = findMetric(name);
  const cell = (value: number | null): Cell => ({
    text: value === null || metric === undefined ? unknownText : metricValueText(metric, value),
    tone: 'plain',
  });
  const ratioText = ratio === null ? '' : formatRatioWithInterval(ratio, ci_low, ci_high);
  return {
    label: shortTitle(title),
    ...(isNotable(change) ? { brief: shortTitle(title) } : {}),
    cells: [cell(base), cell(head)],
    ratio: { text: ratioText, tone: tones[verdict_code] },
  };
}

/** As the rows of a report's own table are called. */
function shortTitle(title: string): string {
  return title
    .replace('server ', '')
    .replace(', both ends', '')
    .replace(' per connection', '/conn.')
    .replace('switches per request', 'switches/request');
}

export function renderDiff({ base, head, diff, gates }: DiffView, options: TableOptions): string {
  const tables = diffTables(diff);
  return drawBlocks([
    titleBlock(`${printable(head)} against ${printable(base)}`, [], options),
    listBlock('These reports cannot be compared', diff.refusals.map(printable), options),
    listBlock('Verdict', diffVerdicts(diff).map(printable), options),
    drawTables(options.full === true ? tables : tables.flatMap((table) => briefTable(table) ?? []), options),
    options.full === true || tables.length === 0
      ? []
      : [painter(options.color)('dim', 'Primary figures, and what changed; --full shows every figure.')],
    listBlock('What else differs', [...diff.warnings, ...diff.unmatched].map(printable), options),
    gateBlock(gates, options),
  ]);
}

export function renderDiffMarkdown({ base, head, diff, gates }: DiffView): string {
  const list = (title: string, texts: readonly string[]): string[] =>
    texts.length === 0 ? [] : [`### ${title}`, '', ...texts.map((text) => `- ${escapeMarkdown(text)}`), ''];
  const signs = { failed: '❌ failed', undecided: '❔ undecided', passed: '✅ passed' } as const;
  const table = (of: Table): string[] => [
    `#### ${of.corner.map(escapeMarkdown).join(', ')}`,
    '',
    '| | base | head | head / base |',
    '|:--|--:|--:|--:|',
    ...of.groups.flatMap(({ title, rows }) => [
      `| **${title}** | | | |`,
      ...rows.map(({ label, cells, ratio }) => {
        const isClaimed = ratio?.tone === 'better' || ratio?.tone === 'worse';
        const text = escapeMarkdown(ratio?.text ?? '');
        const texts = [label, ...cells.map((cell) => cell.text)].map(escapeMarkdown);
        return `| ${[...texts, isClaimed ? `**${text}** ${ratio.tone}` : text].join(' | ')} |`;
      }),
    ]),
    '',
  ];
  return [
    `## ${escapeMarkdown(head)} against ${escapeMarkdown(base)}`,
    '',
    ...list('These reports cannot be compared', diff.refusals),
    ...list('Verdict', diffVerdicts(diff)),
    ...list(
      'Gates',
      gates.map((gate) => `${signs[gateOutcome(gate)]}: ${gate.expression} (${gate.reason})`),
    ),
    ...diffTables(diff).flatMap(table),
    ...list('What else differs', [...diff.warnings, ...diff.unmatched]),
  ].join('\n');
}
