/** What two reports must have in common before their figures are compared or put together. */
import { reportedDefault, reportedNames } from '../model/options.js';
import type { Environment, Plan, Report } from '../model/report-schema.js';

export interface Differences {
  /** Each a sentence; one is enough to make the figures mean different things. */
  refusals: string[];
  /** How it was measured, or what the servers were given, differs; also among the warnings. */
  conditions: string[];
  /** Differences that the reader should know. */
  warnings: string[];
  /** The reports are from different machines: ratios are printed, nothing is claimed. */
  otherMachine: boolean;
}

/** The load itself: another one makes every figure another figure. */
const loadFields: readonly (keyof Plan)[] = [...reportedNames('load'), 'exchange', 'tls'];

/** How it was measured, and what the servers were given. */
const conditionFields: readonly (keyof Plan)[] = [...reportedNames('condition', 'server'), 'pinned', 'spin_us'];

/** Another one of these is another machine. */
const machineFields = ['cpu_model', 'cpus_online', 'virtual_machine'] as const satisfies readonly (keyof Environment)[];

const settingFields = [
  'system',
  'node_version',
  'library',
  'clock_source',
  'cpu_governor',
  'cpu_turbo',
  'memory_total_bytes',
] as const satisfies readonly (keyof Environment)[];

export function differencesOf(base: Report, head: Report): Differences {
  const refusals = [
    ...schemaRefusals(base, head),
    ...systemRefusals(base.environment, head.environment),
    ...changed(base.plan, head.plan, loadFields).map((text) => `the load differs: ${text}`),
    ...backendRefusals(base.plan, head.plan),
  ];
  const machine = changed(base.environment, head.environment, machineFields);
  const cpus = ['cpus_server', 'cpus_client'] as const;
  const conditions = changed(base.plan, head.plan, conditionFields).map((text) => `the plan differs: ${text}`);
  const warnings = [
    ...machine.map((text) => `the machine differs: ${text}`),
    ...changed(base.environment, head.environment, settingFields).map((text) => `the environment differs: ${text}`),
    ...changed(countsOf(base.environment), countsOf(head.environment), cpus).map(
      (text) => `the split of CPUs differs: ${text}`,
    ),
    ...conditions,
    ...partials(base, head),
  ];
  return { refusals, conditions, warnings, otherMachine: machine.length > 0 };
}

function changed<T>(base: T, head: T, fields: readonly (keyof T & string)[]): string[] {
  const isAlike = (field: keyof T & string): boolean => {
    const [before, after] = [base[field], head[field]].map((value) => JSON.stringify(recorded(field, value)));
    return before === after;
  };
  return fields
    .filter((field) => !isAlike(field))
    .map((field) => `${field} ${valueText(base[field])}, then ${valueText(head[field])}`);
}

/** An older report lacks what was recorded later: it counts as the default, which most runs had. */
function recorded(field: string, value: unknown): unknown {
  return value === undefined ? (reportedDefault(field) ?? null) : value;
}

function valueText(value: unknown): string {
  return value === undefined ? 'not recorded' : JSON.stringify(value);
}

/** How many CPUs each side had; which of them matters little. */
function countsOf({ cpus_server, cpus_client }: Environment): Record<'cpus_server' | 'cpus_client', number> {
  return { cpus_server: cpus_server.length, cpus_client: cpus_client.length };
}

function schemaRefusals(base: Report, head: Report): string[] {
  const [before, after] = [base, head].map((report) => report.schema_version.split('.')[0]);
  return before === after ? [] : [`the reports have schemas ${base.schema_version} and ${head.schema_version}`];
}

function systemRefusals(base: Environment, head: Environment): string[] {
  const name = (environment: Environment): string =>
    `${environment.system.split(' ')[0] ?? ''}${environment.compatibility ? ` (${environment.compatibility.split(' ')[0] ?? ''})` : ''}`;
  return name(base) === name(head) ? [] : [`the systems differ: ${name(base)}, then ${name(head)}`];
}

/** A mode that something else serves is another server, whatever its name. */
function backendRefusals(base: Plan, head: Plan): string[] {
  return base.modes.flatMap(({ mode, backend }) => {
    const other = head.modes.find((entry) => entry.mode === mode);
    return other === undefined || other.backend === backend
      ? []
      : [`${mode} was served by ${backend}, then by ${other.backend}`];
  });
}

function partials(base: Report, head: Report): string[] {
  return [
    ...(base.partial ? ['the base is partial: its run did not end'] : []),
    ...(head.partial ? ['the head is partial: its run did not end'] : []),
  ];
}
