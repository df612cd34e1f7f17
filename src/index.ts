/**
 * iocp-bench as a library: compare I/O models, run one of the echo servers, read and render reports.
 *
 * What this file exports follows semantic versioning. Other files of the package do not.
 */
import { parseReport } from './report/json.js';
import { readText } from './report/input.js';
import type { Report } from './model/report-schema.js';

export { compare, type CompareHooks, type CompareOptions, type CompareProgress } from './library/compare.js';
export { serve, type ServeOptions, type Server } from './library/in-process-server.js';
export { renderHtml } from './report/html.js';
export { BenchError, type ErrorCode } from './model/errors.js';
export type { ServerStats } from './model/figures.js';
export type { Comparison, Gate, Report, Run, Warning, Window } from './model/report-schema.js';

/**
 * Reads a report that `iocp-bench blast --json` or JSON.stringify() wrote; '-' is standard input.
 * @throws BenchError 'usage' if the file cannot be read or is not a report
 */
export function readReport(file: string): Report {
  return parseReport(readText(file), file);
}
