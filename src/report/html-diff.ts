/** Two reports over each other as one self-contained page: what changed in words, then bars, ratios and curves of both. Pure, as html.ts. */
import { modeInWords } from './view.js';
import type { Change } from '../measure/report-diff.js';
import { findMetric } from '../model/metrics.js';
import { distinctPoints, pointInWords, samePoint, type Point } from '../model/point.js';
import type { Report, Run } from '../model/report-schema.js';
import { overlayCharts } from './charts.js';
import { diffTables, diffVerdicts, type DiffView } from './diff-table.js';
import { escapeMarkup } from './escape.js';
import { barsHtml, mainPoint, overlaidPanels, pointTitle } from './html-bars.js';
import { foldedForest, forestHtml, forestKey, type ForestGroup, type ForestRow } from './html-forest.js';
import { chartHtml } from './html-lines.js';
import { gatesSection, listOf, navigation, sectionHtml, tablesSection, type Section } from './html-sections.js';
import { printable } from '../model/format.js';
import { pageHtml } from './page.js';

/** The reports that a DiffView was made of. */
export interface DiffedReports {
  readonly base: Report;
  readonly head: Report;
}

/** The comparison as a page. @param reports those that the view compares, base and head */
export function renderDiffHtml(view: DiffView, reports: DiffedReports): string {
  const { base, head, diff, gates } = view;
  const title = `${printable(head)} against ${printable(base)}`;
  const verdicts = diffVerdicts(diff);
  const isRefused = diff.refusals.length > 0;
  const point = isRefused ? null : mainPoint(reports.head);
  const points = isRefused ? [] : distinctPoints(diff.changes);
  const sections = [
    listOf('verdict', 'Verdict', verdicts),
    gatesSection(gates),
    changesSection(diff.changes, points),
    curvesSection(reports, points),
    tablesSection(diffTables(diff), ({ corner }) => corner.length),
    listOf('differences', 'What else differs', [...diff.warnings, ...diff.unmatched]),
    listOf('warnings', 'Figures that are not valid', invalidFigures(reports)),
  ].filter((section) => section !== null);
  return pageHtml(title, [
    [
      '<header>',
      `<h1>${escapeMarkup(title)}</h1>`,
      `<p class="headline">${escapeMarkup(headline(view, verdicts))}</p>`,
      ...diff.refusals.map((text) => `<p class="caveat">${escapeMarkup(text)}</p>`),
      point === null ? '' : mainFigures(reports, point),
      ...(['base', 'head'] as const).map(
        (side) =>
          `<p class="dim">${side}: <code>${escapeMarkup(view[side])}</code>, ${escapeMarkup(reports[side].created_at)}, ` +
          `<code>${escapeMarkup(reports[side].command_line.join(' '))}</code></p>`,
      ),
      '</header>',
    ].join('\n'),
    navigation(sections),
    ...sections.map(sectionHtml),
  ]);
}

function headline({ diff }: DiffView, verdicts: readonly string[]): string {
  if (diff.refusals.length > 0) return 'These reports cannot be compared';
  return verdicts[0] ?? 'Nothing can be compared';
}

function mainFigures({ base, head }: DiffedReports, point: Point): string {
  const label = `Main figures, ${pointTitle(head, point)}; pale: base, full: head`;
  const bars = barsHtml(overlaidPanels(base, head, point), label);
  return bars === ''
    ? ''
    : `<div class="main" id="main-figures"><p class="dim">${escapeMarkup(label)}</p>\n${bars}</div>`;
}

/* -------------------------------------------------------------------------------------------------------- changes */

function changesSection(changes: readonly Change[], points: readonly Point[]): Section | null {
  const known = changes.filter(({ ratio }) => ratio !== null && ratio > 0);
  if (known.length === 0) return null;
  const blocks = points.map((point) => {
    const here = known.filter((change) => samePoint(change, point));
    const where = pointInWords(point);
    const heading = points.length > 1 ? `<h3>${escapeMarkup(where)}</h3>` : '';
    const primary = forestHtml(groupsByMode(here, true), `Changes, ${where}`);
    return `${heading}${primary}\n${foldedForest(groupsByMode(here, false), `Other changes, ${where}`)}`;
  });
  const key = forestKey(known.map(changeRow), 'Each ratio is head / base');
  return {
    id: 'changes',
    title: 'Changes: head / base',
    body: `<p class="key">${escapeMarkup(key)}</p>\n${blocks.join('\n')}`,
  };
}

function groupsByMode(changes: readonly Change[], isPrimary: boolean): ForestGroup[] {
  const chosen = changes.filter(({ primary }) => primary === isPrimary);
  return [...new Set(chosen.map(({ mode }) => mode))].map((mode) => ({
    title: printable(mode),
    rows: chosen.filter((change) => change.mode === mode).map(changeRow),
  }));
}

function changeRow(change: Change): ForestRow {
  const { ratio, ci_low: low, ci_high: high, verdict_code: code, verdict, title, metric, phase } = change;
  const both = findMetric(metric)?.compared.length === 2 && findMetric(metric)?.oncePerTrial === false;
  return {
    label: `${title}${both ? (phase === 'capacity' ? ', full load' : ', offered rate') : ''}`,
    ratio: ratio ?? 1,
    low,
    high,
    range: null,
    bound: null,
    claim: code === 'better' || code === 'worse' ? code : null,
    isJudged: code !== 'not_judged',
    // Its own list says which figures of the two reports are not valid.
    isInvalid: false,
    words: verdict,
  };
}

/* --------------------------------------------------------------------------------------------------------- curves */

function curvesSection({ base, head }: DiffedReports, points: readonly Point[]): Section | null {
  const find = (report: Report, mode: string, point: Point): Run | undefined =>
    report.runs.find((run) => run.mode === mode && samePoint(run, point));
  const blocks = points.flatMap((point) => {
    const charts = head.plan.modes.flatMap((entry) => {
      const runs = { base: find(base, entry.mode, point), head: find(head, entry.mode, point) };
      if (runs.base === undefined || runs.head === undefined) return [];
      return overlayCharts({ base: runs.base, head: runs.head }, modeInWords(entry), head);
    });
    if (charts.length === 0) return [];
    const heading = points.length > 1 ? `<h3>${escapeMarkup(pointInWords(point))}</h3>\n` : '';
    return [`${heading}${charts.map(chartHtml).join('\n')}`];
  });
  return blocks.length === 0 ? null : { id: 'curves', title: 'Both reports over each other', body: blocks.join('\n') };
}

function invalidFigures(reports: DiffedReports): string[] {
  return (['base', 'head'] as const).flatMap((side) =>
    reports[side].warnings
      .filter(({ severity }) => severity === 'invalid')
      .map(({ message }) => `${side}: ${printable(message)}`),
  );
}
