/** Numbers with units in expressions, converted into the unit of a metric. */
import type { Unit } from './metrics.js';

/** Factors to the smallest unit of each dimension. All are whole numbers, so that 95% is exactly 0.95. Case matters: MB is not mB. */
const dimensions: readonly Readonly<Record<string, number>>[] = [
  { ns: 1, us: 1e3, µs: 1e3, μs: 1e3, ms: 1e6, s: 1e9, min: 60e9 },
  { B: 1, kB: 1e3, KB: 1e3, MB: 1e6, GB: 1e9, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 },
  { 'B/s': 1, 'kB/s': 1e3, 'MB/s': 1e6, 'GB/s': 1e9, 'KiB/s': 1024, 'MiB/s': 1024 ** 2, 'GiB/s': 1024 ** 3 },
  { '/s': 1, 'requests/s': 1, 'k/s': 1e3, 'M/s': 1e6 },
  { x: 100, '%': 1 },
];

/** The name above for the unit of a metric. */
const unitNames: Readonly<Record<Unit | 'ratio', string | null>> = {
  ns: 'ns',
  us: 'us',
  ms: 'ms',
  bytes: 'B',
  'bytes/s': 'B/s',
  'requests/s': '/s',
  '1/s': '/s',
  fraction: 'x',
  ratio: 'x',
  count: null,
};

const quantityPattern = /^(?<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)\s*(?<unit>[^\d\s]*)$/i;

/**
 * The number in the given unit; null if the text is not a number or its unit is of another kind. A number without a unit is taken
 * as is.
 */
export function parseQuantity(text: string, unit: Unit | 'ratio'): number | null {
  const groups = quantityPattern.exec(text.trim())?.groups;
  if (groups === undefined) return null;
  const number = Number(groups['number']);
  const given = groups['unit'] ?? '';
  if (!Number.isFinite(number)) return null;
  const own = unitNames[unit];
  if (given === '' || given === own) return number;
  if (own === null) return null;
  const dimension = dimensions.find((entry) => own in entry);
  const from = dimension?.[given];
  const to = dimension?.[own];
  return from === undefined || to === undefined ? null : (number * from) / to;
}

/** Units that parseQuantity accepts for a metric, for error messages. */
export function unitsOf(unit: Unit | 'ratio'): string[] {
  const own = unitNames[unit];
  return own === null ? [] : Object.keys(dimensions.find((entry) => own in entry) ?? {});
}
