/** Sections of an HTML page: those that the page of a report and that of a comparison share. */
import { formatCount } from '../model/format.js';
import type { Gate } from '../model/report-schema.js';
import { escapeMarkup } from './escape.js';
import { scrollBox } from './html-parts.js';
import { gateOutcome, type Cell, type Row, type Table } from './view.js';

/** A part of the page with a heading, reached from its list of contents. */
export interface Section {
  readonly id: string;
  /** As text. */
  readonly title: string;
  readonly body: string;
  /** Each has a heading of its own, and a link that the list of contents folds away. */
  readonly parts?: readonly Section[];
}

export function navigation(sections: readonly Section[]): string {
  return `<nav aria-label="Contents">${linksTo(sections)}</nav>`;
}

function linksTo(sections: readonly Section[]): string {
  const items = sections.map(({ id, title, parts = [] }) => {
    if (parts.length === 0) return `<li><a href="#${id}">${escapeMarkup(title)}</a></li>`;
    return `<li><details><summary>${escapeMarkup(title)} (${formatCount(parts.length)})</summary>${linksTo(parts)}</details></li>`;
  });
  return `<ul>${items.join('')}</ul>`;
}

export function sectionHtml({ id, title, body, parts = [] }: Section): string {
  const inner = parts.map(
    (part) => `<section id="${part.id}"><h3>${escapeMarkup(part.title)}</h3>\n${part.body}</section>`,
  );
  return `<section id="${id}"><h2>${escapeMarkup(title)}</h2>\n${[body, ...inner].join('\n')}</section>`;
}

export function listOf(id: string, title: string, texts: readonly string[]): Section | null {
  if (texts.length === 0) return null;
  return { id, title, body: `<ul class="list">${texts.map((text) => `<li>${escapeMarkup(text)}</li>`).join('')}</ul>` };
}

export function gatesSection(gates: readonly Gate[]): Section | null {
  if (gates.length === 0) return null;
  const items = gates.map((gate) => {
    const outcome = gateOutcome(gate);
    return `<li class="${outcome}"><b>${outcome}</b> <code>${escapeMarkup(gate.expression)}</code> ${escapeMarkup(gate.reason)}</li>`;
  });
  return { id: 'gates', title: 'Gates: fail if', body: `<ul class="list">${items.join('\n')}</ul>` };
}

/* ---------------------------------------------------------------------------------------------------------- tables */

/** @param named how many lines of a table's corner name what it is about; the others stay in the corner */
export function tablesSection(tables: readonly Table[], named: (table: Table) => number): Section | null {
  if (tables.length === 0) return null;
  return { id: 'tables', title: 'Tables', body: tables.map((table) => tableBlock(table, named(table))).join('\n') };
}

function tableBlock(table: Table, lines: number): string {
  const title = table.corner.slice(0, lines).join(', ');
  const notes = table.notes.map((note) => `<li>${escapeMarkup(note)}</li>`).join('');
  return [
    `<h3>${escapeMarkup(title)}</h3>`,
    tableHtml(table, title, table.corner.slice(lines).join(', ')),
    notes === '' ? '' : `<ul class="notes">${notes}</ul>`,
  ].join('\n');
}

function tableHtml(table: Table, title: string, corner: string): string {
  const heads = [
    `<th scope="col" class="dim">${escapeMarkup(corner)}</th>`,
    ...table.columns.map(
      ({ mode, backend }) =>
        `<th scope="col">${escapeMarkup(mode)}${backend === '' ? '' : `<br>(${escapeMarkup(backend)})`}</th>`,
    ),
    ...(table.ratioHeader === null ? [] : [`<th scope="col">${escapeMarkup(table.ratioHeader)}</th>`]),
  ];
  const groups = table.groups.map(
    (group) =>
      `<tbody><tr class="group"><th scope="rowgroup" colspan="${heads.length}"><span>${escapeMarkup(group.title)}</span></th></tr>\n` +
      `${group.rows.map((row) => rowHtml(row, table.ratioHeader !== null)).join('\n')}</tbody>`,
  );
  return scrollBox(title, `<table><thead><tr>${heads.join('')}</tr></thead>\n${groups.join('\n')}</table>`);
}

function rowHtml({ label, cells, ratio }: Row, hasRatio: boolean): string {
  // Two spaces before a label say that it is a part of the line above.
  const part = label.startsWith(' ') ? ' class="part"' : '';
  const all = hasRatio && ratio !== null ? [...cells, ratio] : cells;
  return `<tr><th scope="row"${part}>${escapeMarkup(label.trim())}</th>${all.map(cellHtml).join('')}</tr>`;
}

export function cellHtml({ text, tone }: Cell): string {
  const lines = text.split('\n').map(escapeMarkup).join('<br>');
  return tone === 'plain' ? `<td>${lines}</td>` : `<td class="${tone}">${lines}</td>`;
}
