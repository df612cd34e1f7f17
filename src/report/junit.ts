/** Gates as JUnit XML, which every CI system shows: a gate that held is a failure, one that could not be decided an error. */
import { escapeMarkup } from './escape.js';
import type { Gate, Report } from '../model/report-schema.js';
import { gateOutcome } from './view.js';

export function renderJunit(report: Report): string {
  const count = (outcome: ReturnType<typeof gateOutcome>): number =>
    report.gates.filter((gate) => gateOutcome(gate) === outcome).length;
  const totals = `tests="${report.gates.length}" failures="${count('failed')}" errors="${count('undecided')}"`;
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites name="iocp-bench" ${totals}>`,
    `  <testsuite name="iocp-bench gates" timestamp="${escapeMarkup(report.created_at.slice(0, 19))}" ${totals}>`,
    ...report.gates.flatMap(testCase),
    '  </testsuite>',
    '</testsuites>',
    '',
  ].join('\n');
}

function testCase(gate: Gate): string[] {
  const open = `    <testcase classname="iocp-bench" name="${escapeMarkup(`fail if ${gate.expression}`)}"`;
  const reason = escapeMarkup(gate.reason);
  switch (gateOutcome(gate)) {
    case 'passed':
      return [`${open}>`, `      <system-out>${reason}</system-out>`, '    </testcase>'];
    case 'failed':
      return [`${open}>`, `      <failure message="${reason}" type="held"/>`, '    </testcase>'];
    case 'undecided':
      return [`${open}>`, `      <error message="${reason}" type="undecided"/>`, '    </testcase>'];
  }
}
