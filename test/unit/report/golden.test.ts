/**
 * Every output of every sample against what is kept in fixtures/. To accept a change after looking at it:
 *
 *     UPDATE_GOLDEN=1 node dist/test/unit/report/golden.test.js && git diff fixtures
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import { diffReports, evaluateChangeGate } from '../../../src/measure/report-diff.js';
import { parseChangeGate } from '../../../src/measure/gates.js';
import { renderCsv } from '../../../src/report/csv.js';
import { renderDiff, renderDiffMarkdown } from '../../../src/report/diff-table.js';
import { renderHtml } from '../../../src/report/html.js';
import { reportJsonSchema } from '../../../src/report/json-schema.js';
import { parseReport, serializeReport } from '../../../src/report/json.js';
import { renderJunit } from '../../../src/report/junit.js';
import { renderMarkdown } from '../../../src/report/markdown.js';
import type { Report } from '../../../src/model/report-schema.js';
import { renderTable } from '../../../src/report/table.js';
import { root } from '../../support/environment.js';
import { sampleFiles, samples, type SampleName } from './samples.js';

const updates = (process.env['UPDATE_GOLDEN'] ?? '') !== '';

/** Git may have given the file the line ends of this system. */
function withoutCarriageReturns(text: string): string {
  return text.replaceAll('\r\n', '\n');
}

function checkGolden(test: Tap, path: string, text: string): void {
  const place = join(root, 'fixtures', path);
  if (updates) {
    mkdirSync(dirname(place), { recursive: true });
    writeFileSync(place, text);
  }
  const kept = existsSync(place) ? readFileSync(place, 'utf8') : 'there is no such file';
  test.equal(withoutCarriageReturns(text), withoutCarriageReturns(kept), path);
}

const outputs: Readonly<Record<string, (report: Report) => string>> = {
  '80.txt': (report) => renderTable(report, { width: 80, color: false }),
  '120.txt': (report) => renderTable(report, { width: 120, color: false }),
  'full.80.txt': (report) => renderTable(report, { width: 80, color: false, full: true }),
  md: renderMarkdown,
  csv: renderCsv,
};

if (updates) checkGolden(t, 'report.schema.json', reportJsonSchema());

for (const name of Object.keys(samples) as SampleName[]) {
  t.test(name, (test) => {
    const report = samples[name]();
    const file = sampleFiles[name];
    // The other samples hold the JSON form; the sweeps would add 900 kB of the same.
    if (name !== 'fiveModesSweep' && name !== 'workSweep')
      checkGolden(test, join('reports', `${file}.json`), serializeReport(report));
    for (const [ending, render] of Object.entries(outputs)) {
      checkGolden(test, join('golden', `${file}.${ending}`), render(report));
    }
    test.end();
  });
}

t.test('a saved report is drawn as it was when it was made', (test) => {
  for (const name of Object.keys(samples) as SampleName[]) {
    const report = samples[name]();
    const again = parseReport(serializeReport(report), 'r.json');
    for (const [ending, render] of Object.entries(outputs))
      test.equal(render(again), render(report), `${name}.${ending}`);
  }
  test.end();
});

t.test('page and JUnit', (test) => {
  checkGolden(test, join('golden', 'two-modes.html'), renderHtml(samples.twoModes()));
  checkGolden(test, join('golden', 'two-modes.junit.xml'), renderJunit(samples.twoModes()));
  checkGolden(test, join('golden', 'bad-day.junit.xml'), renderJunit(samples.badDay()));
  test.end();
});

t.test('diff', (test) => {
  const diff = diffReports(samples.twoModes(), samples.slowerHead());
  const gates = ['iocp.throughput < 0.95', 'blocking.throughput < 0.95'].map((gate) =>
    evaluateChangeGate(parseChangeGate(gate), diff),
  );
  const view = { base: 'base.json', head: 'head.json', diff, gates };
  checkGolden(test, join('golden', 'diff.80.txt'), renderDiff(view, { width: 80, color: false }));
  checkGolden(test, join('golden', 'diff.md'), renderDiffMarkdown(view));
  const refused = { ...view, diff: diffReports(samples.twoModes(), samples.underWine()), gates: [] };
  checkGolden(test, join('golden', 'diff-refused.80.txt'), renderDiff(refused, { width: 80, color: false }));
  test.end();
});

type Tap = Pick<typeof t, 'equal'>;
