/** Warnings in one line each: grouped by cause, with the modes, the figure that they are about, and what to do. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Report, Warning } from '../../../src/model/report-schema.js';
import { briefCodes, briefWarnings } from '../../../src/report/brief-warnings.js';
import { root } from '../../support/environment.js';
import { reportOf, runWithRates } from '../measure/build.js';

function warning(code: string, changes: Partial<Warning> = {}): Warning {
  return {
    code,
    severity: 'warning',
    message: 'iocp at 1,000 clients, capacity: something happened (2 of 4 trials)',
    hint: 'do something',
    mode: 'iocp',
    clients: 1000,
    phase: 'capacity',
    trial: null,
    figures: {},
    ...changes,
  };
}

function textsOf(warnings: Warning[], changes: Partial<Report> = {}): string[] {
  const runs = [runWithRates('blocking', [1, 2, 3]), runWithRates('iocp', [1, 2, 3])];
  return briefWarnings(reportOf(runs, { warnings, ...changes })).map(({ text }) => text);
}

t.test('one line per cause and severity, with its modes and the worst figure', (t) => {
  const taken = (mode: string, fraction: number, severity: Warning['severity']): Warning =>
    warning('cpu_taken_by_others', { mode, severity, figures: { cpu_others_fraction: fraction } });
  t.strictSame(
    textsOf([
      taken('blocking', 0.06, 'warning'),
      taken('iocp', 0.3, 'invalid'),
      taken('blocking', 0.4, 'invalid'),
      taken('iocp', 0.25, 'invalid'),
    ]),
    [
      'iocp and blocking: other programs took up to 40% of the CPU time: rates and times are not valid; stop them',
      'blocking: other programs took 6.0% of the CPU time: rates and times are noisier; stop them',
    ],
  );
  t.end();
});

t.test('what it means depends on the phase', (t) => {
  const saturated = (phase: Warning['phase']): Warning => warning('client_saturated', { severity: 'invalid', phase });
  t.strictSame(textsOf([saturated('capacity'), saturated('latency')]), [
    'iocp: the client was the limit: throughput is a lower bound; compare CPU per request',
    'iocp: the client was the limit: response times are too high; lower --rate',
  ]);
  t.end();
});

t.test('figures that only the messages name are collected', (t) => {
  const disagree = (title: string): Warning =>
    warning('trials_disagree', {
      message: `iocp at 1,000 clients, capacity: the ${title} of the trials differs by 34%`,
    });
  t.strictSame(textsOf([disagree('throughput'), disagree('server CPU per request'), disagree('throughput')]), [
    'iocp: trials differ in throughput and CPU per request: wide intervals; raise --trials',
  ]);
  t.end();
});

t.test('a warning without a line of its own keeps its message and hint, once', (t) => {
  t.strictSame(
    textsOf([
      warning('new_code'),
      warning('new_code', { mode: 'blocking', message: 'blocking at 1,000 clients, latency: something happened' }),
    ]),
    ['iocp and blocking: something happened; do something'],
  );
  t.strictSame(textsOf([warning('new_code', { mode: null, message: 'the run: odd', hint: '' })]), ['the run: odd']);
  t.end();
});

t.test('in a sweep: where', (t) => {
  const sized = (clients: number) => ({ ...runWithRates('iocp', [1, 2, 3]), clients });
  const runs = [sized(10), sized(100), sized(1000)];
  const text = (...clients: number[]): string[] =>
    briefWarnings(reportOf(runs, { warnings: clients.map((one) => warning('not_steady', { clients: one })) })).map(
      (one) => one.text,
    );
  t.match(text(1000), [/^iocp at 1,000 clients: the rate rose/]);
  t.match(text(10, 1000), [/^iocp at 2 points: the rate rose/]);
  t.match(text(10, 100, 1000), [/^iocp: the rate rose/], 'everywhere');
  t.end();
});

t.test('every code with a line of its own is one that the tool reports', (t) => {
  const folder = join(root, 'src', 'measure');
  const sources = readdirSync(folder).map((name) => readFileSync(join(folder, name), 'utf8'));
  for (const code of briefCodes)
    t.ok(
      sources.some((text) => text.includes(`'${code}'`)),
      code,
    );
  t.end();
});
