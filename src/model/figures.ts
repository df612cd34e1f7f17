/**
 * The figures that cross the C ABI, as TypeScript sees them: numbers, text, and null for a figure that the system does not provide.
 * Types and schemas are derived from the generated description, so a counter that is added to the header is known everywhere.
 */
import { z } from 'zod';
import { structs } from './abi.generated.js';

type Structs = typeof structs;
export type StructName = keyof Structs;

/** Fields that describe the struct itself. */
type HeaderField = 'size' | 'abi_version' | 'reserved';

type FigureOf<Type> = Type extends 'u64' | 'u32' | 'i32' | 'f64'
  ? number
  : Type extends 'u64?' | 'u32?'
    ? number | null
    : Type extends `char[${number}]`
      ? string
      : never;

type FigureField<Name extends StructName> = {
  [Field in keyof Structs[Name]]: FigureOf<Structs[Name][Field]> extends never ? never : Exclude<Field, HeaderField>;
}[keyof Structs[Name]];

/** The plain fields of a struct: arrays and inner structs are left out. */
export type Figures<Name extends StructName> = {
  [Field in FigureField<Name>]: FigureOf<Structs[Name][Field]>;
};

const headerFields: ReadonlySet<string> = new Set<HeaderField>(['size', 'abi_version', 'reserved']);

/** The fields of Figures<Name> with their types, in the order of the struct. */
export function figureFields(name: StructName): [field: string, type: string][] {
  const fields = Object.entries<string>(structs[name]);
  return fields.filter(([field, type]) => !headerFields.has(field) && /^(u64|u32|i32|f64)\??$|^char\[/.test(type));
}

function schemaOf<Name extends StructName>(name: Name): z.ZodType<Figures<Name>> {
  const shape: Record<string, z.ZodType> = {};
  for (const [field, type] of figureFields(name)) {
    if (type.startsWith('char')) shape[field] = z.string();
    // A figure that an older server does not send is unknown.
    else shape[field] = type.endsWith('?') ? z.number().nullable().default(null) : z.number();
  }
  return z.object(shape) as unknown as z.ZodType<Figures<Name>>;
}

/** A struct with every optional figure unknown; the others are 0, texts are empty. */
function unknownFigures<Name extends StructName>(name: Name): Figures<Name> {
  const entries = figureFields(name).map(([field, type]) => {
    if (type.startsWith('char')) return [field, ''];
    return [field, type.endsWith('?') ? null : 0];
  });
  return Object.fromEntries(entries) as Figures<Name>;
}

/** Counters of a server since its start; null if its I/O model does not have the figure. */
export type ServerStats = Figures<'ib_server_stats'>;
export const serverStatsSchema = schemaOf('ib_server_stats');
export const unknownServerStats: Readonly<ServerStats> = unknownFigures('ib_server_stats');

/** Whose instructions and cycles are counted, by enum ib_execution_scope. */
export const executionScopes = ['user', 'user+kernel'] as const;
export type ExecutionScope = (typeof executionScopes)[number];

/** null: none. @param value of enum ib_execution_scope */
export function executionScopeOf(value: number | null): ExecutionScope | null {
  return value === null ? null : (executionScopes[value] ?? null);
}

/** What a process has used since its start; null if the system does not provide the figure. */
export type ProcessUsage = Figures<'ib_process_usage'>;
export const processUsageSchema = schemaOf('ib_process_usage');
export const unknownProcessUsage: Readonly<ProcessUsage> = unknownFigures('ib_process_usage');

/** How long the threads of a process were ready to run without a CPU. */
export type RunDelay = Figures<'ib_run_delay'>;
export const runDelaySchema = schemaOf('ib_run_delay');

/** System-wide figures of one instant. */
export type SystemSample = Figures<'ib_system_sample'>;
export const systemSampleSchema = schemaOf('ib_system_sample');
export const unknownSystemSample: Readonly<SystemSample> = unknownFigures('ib_system_sample');

/** Limits that matter to a load test; null: no limit, or one that cannot be read. */
export type Limits = Figures<'ib_limits'>;
export const limitsSchema = schemaOf('ib_limits');
