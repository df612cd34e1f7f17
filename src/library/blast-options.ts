/** The options of `blast`: those of the plan, and those that say where the report goes. */
import type { Command } from 'commander';
import { parseGate } from '../measure/gates.js';
import {
  addOptions,
  defaulted,
  brokerOptions,
  exchangeOptions,
  flag,
  givenValues,
  loadOptions,
  machineOptions,
  optional,
  placeOptions,
  protocolOptions,
  repeated,
  serverOptions,
  studyOptions,
  sweepOptions,
  tlsOptions,
  type Given,
} from '../model/options.js';
import { modeNames, parseCount, parseTarget } from '../model/parse.js';

/** Which servers are loaded. */
const modeOptions = {
  modes: optional('-m, --modes <list>', `${modeNames.join(', ')}; classic or all (default: blocking,iocp)`, String),
  modeCommand: repeated(
    '--mode-command <name=command>',
    'run your own server as a mode; {port} is replaced by its port',
    String,
  ),
  target: optional(
    '-t, --target <host:port or URL>',
    'load a server that is already running; http:// or https://host:port/path for an HTTP server',
    parseTarget('--target'),
  ),
} as const;

const resultOptions = {
  json: optional('--json <file>', 'write the report as JSON; "-" is stdout, without the table', String),
  html: optional('--html <file>', 'write the report as a web page with charts', String),
  markdown: optional('--markdown <file>', 'write the report for a GitHub step summary', String),
  csv: optional('--csv <file>', 'write one row per window', String),
  junit: optional('--junit <file>', 'write the gates as JUnit XML', String),
  export: repeated(
    '--export <format file...>',
    'write figures for a service that tracks them: bmf (Bencher) or github-benchmark (github-action-benchmark)',
    String,
  ),
  failIf: repeated(
    '--fail-if <expression>',
    "exit with 99 if true, e.g. 'iocp/blocking.throughput < 1.2'; repeatable",
    parseGate,
  ),
  confirm: defaulted(
    '--confirm <n>',
    'when a gate is true, repeat the run up to n times; it fails only if it is true in every run',
    parseCount('--confirm', { min: 0, max: 10 }),
    0,
  ),
  strict: flag('--strict', 'exit with 5 if figures are not valid'),
  saveBaseline: optional('--save-baseline <name>', 'save the report as a baseline for later runs', String),
  baseline: optional('--baseline <name>', 'compare with a saved baseline of this machine and plan', String),
  baselineDir: defaulted('--baseline-dir <folder>', 'folder of the baselines', String, '.iocp-bench'),
  ...studyOptions,
  pin: flag('--no-pin', 'do not split the CPUs between server and client'),
  full: flag('--full', 'show every figure in the tables, and warnings in their long form'),
  explain: flag(
    '--explain',
    'show warnings in their long form, and below the table what the figures say about each I/O model',
  ),
  quiet: flag('-q, --quiet', 'do not show progress'),
} as const;

const groups = {
  'Load:': loadOptions,
  'Protocol:': { ...protocolOptions, ...exchangeOptions },
  'TLS:': tlsOptions,
  'Servers:': { ...modeOptions, ...placeOptions, ...serverOptions, ...sweepOptions },
  'Several machines:': { ...machineOptions, ...brokerOptions },
  'Results:': resultOptions,
} as const;

export const blastTable = {
  ...groups['Load:'],
  ...groups['Protocol:'],
  ...groups['TLS:'],
  ...groups['Servers:'],
  ...groups['Several machines:'],
  ...groups['Results:'],
} as const;
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
