/** Numbers with units in expressions, converted into the unit of a metric. */
import type { Unit } from './metrics.js';
import { readNumber, unitFactor, unitNames, type Dimension } from './units.js';

/** The dimension of a metric's values and their unit; null for counts. */
const dimensions: Readonly<Record<Unit | 'ratio', readonly [Dimension, string] | null>> = {
  ns: ['time', 'ns'],
  us: ['time', 'us'],
  ms: ['time', 'ms'],
  bytes: ['size', 'B'],
  'bytes/s': ['byteRate', 'B/s'],
  'requests/s': ['rate', '/s'],
  '1/s': ['rate', '/s'],
  fraction: ['share', 'x'],
  ratio: ['share', 'x'],
  count: null,
};

/**
 * The number in the given unit; null if the text is not a number or its unit is of another kind. A number without a unit is taken
 * as is.
 */
export function parseQuantity(text: string, unit: Unit | 'ratio'): number | null {
  const typed = readNumber(text);
  if (typed === null || typed.unit === '') return typed?.number ?? null;
  const [dimension, own] = dimensions[unit] ?? [];
  if (dimension === undefined || own === undefined) return null;
  const from = unitFactor(dimension, typed.unit);
  const to = unitFactor(dimension, own);
  if (from === null || to === null) return null;
  return from === to ? typed.number : (typed.number * from) / to;
}

/** Units that parseQuantity accepts for a metric, for error messages. */
export function unitsOf(unit: Unit | 'ratio'): string[] {
  const [dimension] = dimensions[unit] ?? [];
  return dimension === undefined ? [] : [...unitNames[dimension]];
}
