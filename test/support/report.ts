/** Reads a report as any consumer would, with its schema. */
import { readFileSync } from 'node:fs';
import type { Test } from 'tap';
import { reportSchema, type CompletedWindow, type Report, type Run } from '../../src/model/report-schema.js';

/** Parses a report; fails the test with the schema's message if it is not valid. */
export function parseReport(test: Test, text: string): Report {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error(`not JSON: ${text.slice(0, 300)}`);
  }
  const parsed = reportSchema.safeParse(value);
  if (!parsed.success) throw new Error(`not a valid report: ${parsed.error.message.slice(0, 2_000)}`);
  test.pass('the report is valid by its schema');
  return parsed.data;
}

export function readReport(test: Test, path: string): Report {
  return parseReport(test, readFileSync(path, 'utf8'));
}

export function runOf(report: Report, mode: string, clients?: number): Run {
  const run = report.runs.find((one) => one.mode === mode && (clients === undefined || one.clients === clients));
  if (run === undefined) throw new Error(`the report has no run of ${mode} at ${clients ?? 'any'} clients`);
  return run;
}

/** On a busy machine a window may have no figures of the server. Then the report says why. */
export function wasSampledLate({ warnings }: Report, { server }: CompletedWindow): boolean {
  return server === null && warnings.some(({ code }) => code === 'server_sampled_late');
}

/** Checks a run without problems: every connection made, none lost, no error, requests in every window. */
export function checkHealthyRun(test: Test, run: Run): void {
  const name = `${run.mode} at ${run.clients}`;
  test.ok(run.trials.length > 0, `${name}: has windows`);
  for (const window of run.trials) {
    const at = `${name}, trial ${window.index}, ${window.phase}`;
    test.equal(window.state, 'completed', `${at}: completed`);
    test.match(window.connections, { asked: run.clients, made: run.clients, failed: 0, lost: 0 }, `${at}: all made`);
    test.strictSame(window.errors.total, 0, `${at}: no errors ${JSON.stringify(window.errors.samples)}`);
    if (window.state !== 'completed') continue;
    test.ok(window.requests.count > 0, `${at}: ${window.requests.count} requests`);
    test.ok((window.service_time_ns.p50 ?? 0) > 0, `${at}: has a median`);
    test.equal(window.response_time_ns === null, window.phase === 'capacity', `${at}: response time by phase`);
  }
}
