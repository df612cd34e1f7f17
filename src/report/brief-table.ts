/** The short form of a table: the rows that answer the question. The full table has the others. */
import type { Group, Table } from './view.js';

/** Null if the short report has no such table. */
export function briefTable(table: Table): Table | null {
  if (table.isBrief === false) return null;
  const groups: Group[] = [];
  for (const group of table.groups) {
    const rows = group.rows.flatMap((row) => (row.brief === undefined ? [] : [{ ...row, label: row.brief }]));
    if (rows.length === 0) continue;
    const title = group.briefTitle ?? group.title.replace(/ \[\d\]$/, '');
    const last = groups.at(-1);
    // Rows without a title of their own belong to no other group.
    if (last?.title === title) groups[groups.length - 1] = { title, rows: [...last.rows, ...rows] };
    else groups.push({ title, rows });
  }
  return { ...table, groups, notes: table.briefNotes ?? table.notes };
}
