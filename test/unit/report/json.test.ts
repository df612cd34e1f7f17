import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { BenchError } from '../../../src/model/errors.js';
import { reportJsonSchema } from '../../../src/report/json-schema.js';
import { parseReport, reportProblems, serializeReport } from '../../../src/report/json.js';
import { root } from '../../support/environment.js';
import { samples } from './samples.js';

const report = samples.twoModes();

/** The error that a text is refused with. */
function refusal(text: string): BenchError {
  try {
    parseReport(text, 'r.json');
  } catch (error) {
    if (error instanceof BenchError) return error;
    throw error;
  }
  throw new Error('it was not refused');
}

t.test('a report survives being written and read', (test) => {
  for (const [name, make] of Object.entries(samples)) {
    const made = make();
    test.strictSame(parseReport(serializeReport(made), 'r.json'), made, name);
    test.strictSame(reportProblems(made), [], `${name}: nothing is wrong with it`);
  }
  test.end();
});

t.test('other minor versions are read, fields that they add are left out', (test) => {
  const newer = { ...report, schema_version: '1.9.3', more: 1, plan: { ...report.plan, more: [] } };
  test.strictSame(parseReport(JSON.stringify(newer), 'r.json'), { ...report, schema_version: '1.9.3' });
  test.equal(parseReport(JSON.stringify({ ...report, schema_version: '1.0.0' }), 'r.json').schema_version, '1.0.0');
  test.end();
});

t.test('what is no report is refused in one sentence that names the file', (test) => {
  const wrong: Record<string, readonly [text: string, says: RegExp]> = {
    'not JSON': ['hello', /not JSON/],
    'control characters': ['\u001b[31m{\u0007', /not JSON: it is not text$/],
    'bytes that are no text': ['\uFFFD\u0008{', /not JSON: it is not text$/],
    'several lines': ['{\n  "a": oops\n}', /not JSON: Unexpected token/],
    empty: ['', /not JSON/],
    'cut off': [serializeReport(report).slice(0, 5000), /not JSON/],
    'other JSON': ['{"schema":"something/else"}', /not a report of iocp-bench/],
    'an array': ['[]', /not a report of iocp-bench/],
    null: ['null', /not a report of iocp-bench/],
    'another major version': [
      JSON.stringify({ ...report, schema_version: '2.0.0' }),
      /version 2\.0\.0.*reads version 1/,
    ],
    'no version': [JSON.stringify({ ...report, schema_version: undefined }), /damaged report: schema_version/],
    'a missing field': [JSON.stringify({ ...report, plan: undefined }), /damaged report: plan/],
    'a wrong type': [
      JSON.stringify({ ...report, runs: [{ ...report.runs[0], clients: 'many' }] }),
      /damaged report: runs\[0\]\.clients/,
    ],
  };
  for (const [name, [text, says]] of Object.entries(wrong)) {
    const error = refusal(text);
    test.equal(error.code, 'usage', name);
    test.match(error.message, says, name);
    test.match(error.message, /r\.json/, `${name}: names the file`);
    test.notMatch(error.message, /\n/, `${name}: one line`);
    test.not(error.hint, '', `${name}: with a hint`);
  }
  test.match(refusal('').hint, /empty/);
  test.end();
});

t.test('the published JSON Schema is current', (test) => {
  const published = readFileSync(join(root, 'fixtures', 'report.schema.json'), 'utf8');
  test.equal(published, reportJsonSchema(), 'else run: npm run schema');
  const schema = JSON.parse(published) as { required: string[]; properties: Record<string, unknown> };
  const optional = ['headline', 'machines', 'precision'];
  const described = Object.keys(schema.properties).sort();
  test.strictSame(described, [...Object.keys(report), ...optional].sort(), 'it describes every field');
  test.strictSame(schema.required, Object.keys(report), 'and an older report lacks only what is optional');
  test.end();
});
