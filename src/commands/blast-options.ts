/** The options of `blast`: those of the plan, and those that say what becomes of the report. */
import type { Command } from 'commander';
import { parseGate } from '../measure/gates.js';
import {
  addOptions,
  flag,
  givenValues,
  loadOptions,
  optional,
  placeOptions,
  repeated,
  serverOptions,
  studyOptions,
  type Given,
} from '../model/options.js';
import { modeNames, parseHostPort } from '../model/parse.js';

/** Which servers are loaded. */
const modeOptions = {
  modes: optional('-m, --modes <list>', `${modeNames.join(', ')}; classic or all (default: blocking,iocp)`, String),
  modeCommand: repeated('--mode-command <name=command>', 'any echo server as a mode; {port} is replaced', String),
  target: optional('-t, --target <host:port>', 'load a server that already runs', parseHostPort('--target')),
} as const;

const resultOptions = {
  json: optional('--json <file>', 'the report; "-" prints it alone on stdout', String),
  html: optional('--html <file>', 'the report as a page with charts', String),
  markdown: optional('--markdown <file>', 'the report for a GitHub step summary', String),
  csv: optional('--csv <file>', 'every window as a row', String),
  junit: optional('--junit <file>', 'gates as JUnit XML', String),
  failIf: repeated(
    '--fail-if <expression>',
    "exit 99 if it holds, e.g. 'iocp/blocking.throughput < 1.2'; repeatable",
    parseGate,
  ),
  strict: flag('--strict', 'exit 5 when figures are not valid'),
  ...studyOptions,
  pin: flag('--no-pin', 'do not split the CPUs between server and client'),
  quiet: flag('-q, --quiet', 'no progress'),
} as const;

const groups = {
  'Load:': loadOptions,
  'Servers:': { ...modeOptions, ...placeOptions, ...serverOptions },
  'Results:': resultOptions,
} as const;

const blastTable = { ...groups['Load:'], ...groups['Servers:'], ...groups['Results:'] } as const;
export type BlastOptions = Given<typeof blastTable>;

/** Adds every option, in groups. */
export function addBlastOptions(command: Command): void {
  for (const [title, table] of Object.entries(groups)) {
    command.optionsGroup(title);
    addOptions(command, table);
  }
}

/** The options as they were given. */
export function blastOptions(parsed: Readonly<Record<string, unknown>>): BlastOptions {
  return givenValues(blastTable, parsed);
}
