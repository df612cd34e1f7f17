/** The texts of `explain`: the calls that they name are in the source, and they fit a terminal of 80 columns. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { findMetric } from '../../../src/model/metrics.js';
import { modeNames } from '../../../src/model/parse.js';
import { serverProtocols } from '../../../src/model/server-protocol.js';
import {
  explainedModes,
  explanationOf,
  renderExplained,
  renderExplanation,
  renderModeList,
  type Explanation,
} from '../../../src/report/explanation.js';
import { httpExplanationOf } from '../../../src/report/http-explanations.js';
import { root } from '../../support/environment.js';
import { fiveModesSweep } from './samples.js';

const narrow = { width: 80, color: false };

/** The body of a function in C, or of a method in TypeScript; null if the source does not define it. */
function bodyOf(source: string, name: string): string | null {
  const lines = source.split('\n');
  // A definition begins at the start of a line in C and with two spaces in a class; a call is indented further or ends with ";".
  const start = lines.findIndex(
    (line, at) => new RegExp(`^(  )?[A-Za-z_].*\\b${name}\\(`).test(line) && definitionEnd(lines, at) !== null,
  );
  if (start < 0) return null;
  const open = definitionEnd(lines, start) ?? start;
  const indent = /^ */.exec(lines[start] ?? '')?.[0] ?? '';
  // A line "}: Options): Promise<...> {" ends a list of parameters, not the body.
  const end = lines.findIndex((line, at) => at > open && line === `${indent}}`);
  return lines.slice(open, end).join('\n');
}

/** The line with the brace that opens the body, if the statement that starts at `at` has one. */
function definitionEnd(lines: readonly string[], at: number): number | null {
  for (let line = at; line < Math.min(lines.length, at + 6); line++) {
    const text = lines[line] ?? '';
    if (text.endsWith(';')) return null;
    if (text.endsWith('{')) return line;
  }
  return null;
}

/** Every explanation by its name: those of the echo, and those of HTTP, which all modes but `node` share. */
const pages: readonly (readonly [string, Explanation | null])[] = [
  ...explainedModes().map((mode) => [mode, explanationOf(mode)] as const),
  ['epoll with HTTP', httpExplanationOf('epoll')],
  ['node with HTTP', httpExplanationOf('node')],
];

t.test('every call that is named is in the function that is named', async (test) => {
  for (const [mode, explanation] of pages) {
    const steps = explanation?.steps ?? [];
    test.ok(steps.length >= 4, `${mode} has ${steps.length} steps`);
    for (const step of steps) {
      const body = bodyOf(readFileSync(join(root, step.file), 'utf8'), step.function);
      test.ok(body?.includes(step.call), `${mode}: ${step.file}: ${step.function}(): ${step.call}`);
    }
  }
});

t.test('the steps of a part come together, in the order of a life', async (test) => {
  const order = ['start', 'connection', 'request', 'end'];
  for (const [mode, explanation] of pages) {
    const parts = (explanation?.steps ?? []).map(({ when }) => order.indexOf(when));
    test.strictSame(
      parts,
      [...parts].sort((a, b) => a - b),
      mode,
    );
  }
});

t.test('a function is found only where it is defined', async (test) => {
  const source =
    'static int used(void);\n\nstatic int other(void)\n{\n\treturn used();\n}\n\nstatic int used(void)\n{\n\treturn 7;\n}\n';
  test.match(bodyOf(source, 'used'), /return 7/);
  test.notMatch(bodyOf(source, 'other'), /return 7/);
  test.equal(bodyOf(source, 'missing'), null);
});

/** Metrics that reports of an older version do not have, and that the pages name all the same. */
const optionalMetrics = ['server_system_calls_per_request'];

t.test('every figure to look at is a metric', async (test) => {
  for (const [mode, explanation] of pages) {
    for (const { metric } of explanation?.look ?? []) {
      test.ok(findMetric(metric) !== undefined || optionalMetrics.includes(metric), `${mode}: ${metric}`);
    }
  }
});

t.test('the modes that are explained', async (test) => {
  test.strictSame(explainedModes(), [...modeNames], 'all, in their order');
  const list = renderModeList(narrow);
  for (const mode of explainedModes()) test.match(list, new RegExp(`^  ${mode} +\\S`, 'm'), mode);
});

t.test('a page fits 80 columns, and has 35 to 50 lines', async (test) => {
  const rendered = explainedModes().flatMap((mode) =>
    serverProtocols.map((protocol) => ({
      name: `${mode}, ${protocol}`,
      text: renderExplanation(mode, protocol, narrow),
    })),
  );
  for (const { name, text } of rendered) {
    const lines = text.split('\n');
    test.ok(Math.max(...lines.map((line) => line.length)) <= 80, `${name}: no line is longer than 80`);
    test.ok(lines.length >= 35 && lines.length <= 50, `${name}: ${lines.length} lines`);
    for (const part of ['The way of one request', '  For each request', 'Where it ends', 'What a report shows of it']) {
      test.ok(lines.includes(part), `${name}: ${part}`);
    }
  }
});

t.test('HTTP is explained by the code of every mode in C, and by that of node', async (test) => {
  test.match(renderExplanation('blocking', 'http', narrow), /^blocking with --protocol http: .*\n[^]*http_parse\(\)/);
  test.match(renderExplanation('node', 'http', narrow), /src\/server\/node-http\.ts/);
});

t.test('next to the figures of a report', async (test) => {
  const text = renderExplained(fiveModesSweep(), narrow);
  test.match(text, /^How to read these figures$/m);
  test.ok(Math.max(...text.split('\n').map((line) => line.length)) <= 80);
});
