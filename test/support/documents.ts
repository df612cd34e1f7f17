/** The documents of the project, and the commands and links in them. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { run, type Place } from './cli.js';
import { root } from './environment.js';
import { parseReport } from './report.js';

/** Paths from the root of the project. */
export function documents(): string[] {
  const docs = join(root, 'docs');
  const more = existsSync(docs) ? readdirSync(docs).filter((name) => name.endsWith('.md')) : [];
  return ['README.md', 'METHOD.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', ...more.map((name) => `docs/${name}`)];
}

export function readDocument(path: string): string {
  return readFileSync(join(root, path), 'utf8').replaceAll('\r\n', '\n');
}

export interface DocumentedCommand {
  readonly document: string;
  /** As it is written, with continuation lines joined. */
  readonly line: string;
  /** One entry per program of the line: `a && b` has two. */
  readonly programs: readonly (readonly string[])[];
}

const shells = ['sh', 'bash', 'shell', 'console'];

/** Every line of the shell blocks of a document. */
export function commandsOf(document: string, text = readDocument(document)): DocumentedCommand[] {
  const blocks = [...text.matchAll(/^```(\w*)\n(.*?)^```/gms)];
  return blocks
    .filter(([, language = '']) => shells.includes(language))
    .flatMap(([, , body = '']) => linesOf(body))
    .map((line) => ({ document, line, programs: programsOf(line) }));
}

function linesOf(block: string): string[] {
  return block
    .replace(/\\\n\s*/g, '')
    .split('\n')
    .map((line) => line.replace(/^\$ /, '').trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
}

/** The words of a line, as a shell would split it; without comments, redirections and variables that are set for it. */
export function programsOf(line: string): string[][] {
  const programs: string[][] = [[]];
  for (const [token, double, single] of line.matchAll(/(?:"([^"]*)"|'([^']*)'|[^\s"'])+/g)) {
    if (token.startsWith('#')) break;
    if (token === '&&' || token === ';' || token === '|') {
      programs.push([]);
      continue;
    }
    if (token === '&' || /^\d?>/.test(token)) continue;
    const isAssignment = /^[A-Z_]+=/.test(token) && programs.at(-1)?.length === 0;
    if (isAssignment) continue;
    // A word is quoted as a whole, or not at all.
    programs.at(-1)?.push(token === `"${double}"` ? (double ?? '') : token === `'${single}'` ? (single ?? '') : token);
  }
  return programs.filter((words) => words.length > 0);
}

/** Files of the project that a document links to or shows: without addresses, and without the part after '#'. */
export function linksOf(document: string): string[] {
  const links = [...readDocument(document).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target);
  return links
    .filter((target) => !/^(https?:|mailto:|#)/.test(target))
    .map((target) => target.replace(/#.*$/, ''))
    .filter((target) => target !== '');
}

/**
 * Runs a documented `iocp-bench blast` with few clients for a short time: it completes without an error.
 * @param words the program and its arguments, with ports of servers of the test
 */
export async function checkDocumentedBlast(
  test: Test,
  place: Place,
  line: string,
  words: readonly string[],
): Promise<void> {
  const short = [
    '--clients',
    '20',
    '--duration',
    '200ms',
    '--warmup',
    '50ms',
    '--trials',
    '1',
    '--quiet',
    '--json',
    '-',
  ];
  // Without a rate, each run would first measure which one to offer.
  const rate = words.includes('--rate') || words.includes('--phases') ? [] : ['--rate', '500/s'];
  const outcome = await run(place, [...words.slice(1), ...short, ...rate]);
  test.equal(outcome.code, 0, `${line}: ${outcome.stderr}`);
  const [first] = parseReport(test, outcome.stdout).runs;
  test.match(first?.trials[0], { state: 'completed', connections: { made: 20 }, errors: { total: 0 } });
}
