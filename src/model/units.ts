/**
 * The units that people type. Options, gates and limits read the same table, so that 64KB and 5m mean the same everywhere. Case
 * does not matter. Sizes are always binary, as in every table of the tool: K, KB and KiB are 1024 bytes.
 */

export type Dimension = 'time' | 'size' | 'byteRate' | 'rate' | 'share';

const sizes: readonly (readonly [string, number])[] = [
  ['b', 1],
  ...['k', 'm', 'g'].flatMap((prefix, index) =>
    ['', 'b', 'ib'].map((rest): readonly [string, number] => [prefix + rest, 1024 ** (index + 1)]),
  ),
];

/** Factors to the smallest unit of a dimension. All are whole numbers, so that 95% is exactly 0.95 of an x. */
const factors: Readonly<Record<Dimension, ReadonlyMap<string, number>>> = {
  time: new Map([
    ['ns', 1],
    ['us', 1e3],
    ['µs', 1e3],
    ['ms', 1e6],
    ['s', 1e9],
    ['m', 60e9],
    ['min', 60e9],
    ['h', 3_600e9],
  ]),
  size: new Map(sizes),
  byteRate: new Map(sizes.map(([unit, factor]) => [`${unit}/s`, factor])),
  rate: new Map([
    ['/s', 1],
    ['requests/s', 1],
    ['k', 1e3],
    ['k/s', 1e3],
    ['m', 1e6],
    ['m/s', 1e6],
  ]),
  share: new Map([
    ['%', 1],
    ['x', 100],
  ]),
};

/** The units as error messages list them. */
export const unitNames: Readonly<Record<Dimension, readonly string[]>> = {
  time: ['ns', 'us', 'ms', 's', 'min', 'h'],
  size: ['B', 'KiB', 'MiB', 'GiB'],
  byteRate: ['B/s', 'KiB/s', 'MiB/s', 'GiB/s'],
  rate: ['/s', 'requests/s', 'k/s', 'M/s'],
  share: ['%', 'x'],
};

const pattern = /^(?<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)\s*(?<unit>[a-zµμ%/][a-zµμ/\s]*)?$/i;

export interface TypedNumber {
  readonly number: number;
  /** As typed; empty if there is none. */
  readonly unit: string;
}

/** Splits "1.5 MiB" into number and unit, which may be unknown; null unless the text is a finite number with at most one word. */
export function readNumber(text: string): TypedNumber | null {
  const groups = pattern.exec(text.trim())?.groups;
  const number = Number(groups?.['number']);
  return groups === undefined || !Number.isFinite(number) ? null : { number, unit: groups['unit'] ?? '' };
}

/** Factor of a unit to the smallest unit of its dimension: 'KB' of 'size' is 1024; null if the dimension has no such unit. */
export function unitFactor(dimension: Dimension, unit: string): number | null {
  // There are two characters for mu: the micro sign and the Greek letter.
  const plain = unit.toLowerCase().replace(/\s/g, '').replace('μ', 'µ');
  return factors[dimension].get(plain) ?? null;
}
