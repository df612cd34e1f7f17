/** The report as JSON text, and back. Reading is strict about what is there and tolerant of what a newer minor version adds. */
import { BenchError } from '../model/errors.js';
import { printable } from '../model/format.js';
import { reportSchema, schemaName, schemaVersion, type Report } from '../model/report-schema.js';

export function serializeReport(report: Report): string {
  return `${JSON.stringify(report, null, 2)}\n`;
}

/**
 * What keeps a report from being a valid one, in words; empty when nothing does. Apart from serializeReport, so that a fault of ours
 * can be told without losing what was measured.
 */
export function reportProblems(candidate: unknown): string[] {
  const result = reportSchema.safeParse(candidate);
  if (result.success) return [];
  return result.error.issues.map((issue) => `${pathInWords(issue.path)}: ${issue.message}`);
}

/** "runs[0].trials[2].phase" */
function pathInWords(path: readonly PropertyKey[]): string {
  const text = path
    .map((key) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`))
    .join('')
    .replace(/^\./, '');
  return text === '' ? 'the whole' : text;
}

function parseJson(text: string, source: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const hint =
      text.trim() === ''
        ? 'the file is empty; was the run stopped before its first trial?'
        : 'expected a file that iocp-bench wrote with --json';
    throw new BenchError('usage', `${source} is not JSON: ${whatIsWrong(text, cause)}`, hint, cause);
  }
}

/** Why text is not JSON; bytes that are no text are not repeated, since a terminal may obey them. */
function whatIsWrong(text: string, cause: unknown): string {
  if (/[\uFFFD\0-\x08\x0e-\x1f\x7f]/.test(text)) return 'it is not text';
  return printable(cause instanceof Error ? cause.message : String(cause));
}

/** Reads a report, or says in one sentence what the text is instead. `source` is how the user named it. */
export function parseReport(text: string, source: string): Report {
  const candidate = parseJson(text, source);
  const head = headOf(candidate);
  if (head.schema !== schemaName) {
    throw new BenchError(
      'usage',
      `${source} is JSON, but not a report of iocp-bench (its "schema" is not "${schemaName}")`,
      'expected a file that iocp-bench wrote with --json',
    );
  }
  const ownMajor = majorOf(schemaVersion);
  const major = majorOf(head.version);
  if (major !== null && major !== ownMajor) {
    throw new BenchError(
      'usage',
      `${source} is a report of schema version ${String(head.version)}; this iocp-bench reads version ${String(ownMajor)}.x`,
      'read it with the release of iocp-bench that wrote it, or measure again',
    );
  }
  const result = reportSchema.safeParse(candidate);
  if (result.success) return result.data;
  const [first] = reportProblems(candidate);
  const more = result.error.issues.length - 1;
  throw new BenchError(
    'usage',
    `${source} is a damaged report: ${first ?? 'unknown problem'}${more > 0 ? ` (and ${more} more)` : ''}`,
    'expected a file that iocp-bench wrote with --json; fixtures/report.schema.json describes it',
    result.error,
  );
}

function headOf(candidate: unknown): { schema: unknown; version: unknown } {
  if (typeof candidate !== 'object' || candidate === null) return { schema: undefined, version: undefined };
  return {
    schema: 'schema' in candidate ? candidate.schema : undefined,
    version: 'schema_version' in candidate ? candidate.schema_version : undefined,
  };
}

/** The first number of "1.2.3"; null when it is not such a version at all, which the schema then reports. */
function majorOf(version: unknown): number | null {
  if (typeof version !== 'string') return null;
  const match = /^(\d+)\.\d+\.\d+/.exec(version);
  return match?.[1] === undefined ? null : Number(match[1]);
}
