/** Named baselines of `blast`: reports that later runs on the same machine are compared with. */
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { BenchError } from '../model/errors.js';
import { nearest } from '../model/spelling.js';
import { systemErrorReason } from '../model/system-error.js';
import type { Report } from '../model/report-schema.js';
import { differencesOf } from '../measure/plan-differences.js';
import { diffReports } from '../measure/report-diff.js';
import { renderDiff } from '../report/diff-table.js';
import { parseReport, serializeReport } from '../report/json.js';
import { readText } from '../report/input.js';
import { prepareOutput, writeOutput } from '../report/output.js';

const suffix = '.json';

/** File of a baseline. A name is part of a file name, so it may not leave the folder. */
export function baselineFile(folder: string, name: string): string {
  if (!/^[A-Za-z0-9][\w.-]{0,63}$/.test(name)) {
    throw new BenchError(
      'usage',
      `"${name}" is not a name for a baseline`,
      'use up to 64 letters, digits, dots, - and _, starting with a letter or digit',
    );
  }
  return join(folder, `${name}${suffix}`);
}

/** Names of the saved baselines, sorted. */
function savedNames(folder: string): string[] {
  if (!existsSync(folder)) return [];
  const files = readdirSync(folder).filter((file) => file.endsWith(suffix));
  return files.map((file) => file.slice(0, -suffix.length)).sort();
}

/** @throws BenchError 'usage' if there is no such baseline, or it is not a report */
export function readBaseline(folder: string, name: string): Report {
  const file = baselineFile(folder, name);
  if (existsSync(file)) return parseReport(readText(file), file);
  const names = savedNames(folder);
  const near = nearest(name, names);
  const hint =
    names.length === 0
      ? `save one first: --save-baseline ${name}`
      : near !== null
        ? `did you mean ${near}?`
        : `the saved ones are ${names.join(', ')}`;
  throw new BenchError('usage', `${folder} has no baseline ${name}`, hint);
}

/** Makes the folder and checks, before any work, that the baseline can be saved. */
export function prepareBaseline(folder: string, name: string): void {
  const file = baselineFile(folder, name);
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    const reason = systemErrorReason(error);
    throw new BenchError('usage', `cannot create ${folder}: ${reason}`, '--baseline-dir names another folder', error);
  }
  prepareOutput(file);
}

/** Saves a complete report. Returns what to tell the user, and the error if it could not be written. */
export function saveBaseline(
  folder: string,
  name: string,
  report: Report,
): {
  text: string;
  problem: BenchError | null;
} {
  if (report.partial) return { text: `the run is not complete, so baseline ${name} was not saved`, problem: null };
  const { problem, path } = writeOutput(baselineFile(folder, name), serializeReport(report));
  return { text: `baseline ${name}: ${path}`, problem };
}

/**
 * Refuses a comparison that would mean nothing, before any load: another machine, or another plan.
 * @param planned the report of the run that is about to begin, without trials
 */
export function requireComparable(name: string, baseline: Report, planned: Report): void {
  const { refusals, conditions, otherMachine } = differencesOf(baseline, planned);
  const [refusal] = [...refusals, ...conditions];
  if (refusal !== undefined) {
    throw new BenchError(
      'usage',
      `baseline ${name} cannot be compared: ${refusal}`,
      'use the same options, or save a new baseline',
    );
  }
  if (otherMachine) {
    throw new BenchError(
      'usage',
      `baseline ${name} was measured on another machine`,
      'save a baseline on this machine; `iocp-bench diff` shows reports of different machines side by side',
    );
  }
}

/** The comparison with the baseline, as `iocp-bench diff` prints it. */
export function renderBaselineDiff(
  name: string,
  baseline: Report,
  report: Report,
  style: { width: number; color: boolean },
): string {
  const diff = diffReports(baseline, report);
  return renderDiff({ base: `baseline ${name}`, head: 'this run', diff, gates: [] }, style);
}
