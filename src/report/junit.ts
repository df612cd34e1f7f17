/** The gates of a report as JUnit XML: one that held is a failure, one that is undecided an error, since it is never a pass. */
import type { Gate, Report } from './schema.js';

function escapeXml(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&apos;' };
  return text.replace(/[&<>"']/g, (character) => entities[character] ?? '').replace(/[\p{Cc}\uFFFE\uFFFF]/gu, ' ');
}

export function renderJunit(report: Report): string {
  const { gates } = report;
  const failures = gates.filter(({ held }) => held === true).length;
  const errors = gates.filter(({ held }) => held === null).length;
  const counts = `tests="${gates.length}" failures="${failures}" errors="${errors}"`;
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites name="iocp-bench" ${counts}>`,
    `  <testsuite name="gates" ${counts} timestamp="${escapeXml(report.created_at)}">`,
    ...gates.map(testCase),
    '  </testsuite>',
    '</testsuites>',
    '',
  ].join('\n');
}

function testCase({ expression, held, reason }: Gate): string {
  const name = `    <testcase classname="iocp-bench" name="${escapeXml(expression)}"`;
  if (held === false) return `${name}/>`;
  const kind = held === null ? 'error' : 'failure';
  return `${name}><${kind} message="${escapeXml(reason)}"/></testcase>`;
}
