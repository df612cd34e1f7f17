/** Histograms in messages: the counts that are not 0 as pairs of (distance from the last index, count), LEB128, deflated, base64. */
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { histogramCounts } from '../model/abi.generated.js';
import { BenchError } from '../model/errors.js';
import { eachCount, filledIndices, type RawHistogram } from '../measure/histogram.js';

export interface SentHistogram<Integer> {
  readonly count: Integer;
  readonly min_ns: Integer;
  readonly max_ns: Integer;
  readonly sum_ns: Integer;
  readonly counts: string;
}

/** The sum of several histograms, count by count. */
export function mergeHistograms(histograms: readonly RawHistogram[]): RawHistogram {
  const filled = histograms.filter(({ count }) => count > 0n);
  const merged: RawHistogram = {
    count: 0n,
    min_ns: 0n,
    max_ns: 0n,
    sum_ns: 0n,
    counts: new BigUint64Array(histogramCounts),
  };
  for (const [index, histogram] of filled.entries()) {
    const { count, min_ns, max_ns, sum_ns } = histogram;
    merged.count += count;
    merged.sum_ns += sum_ns;
    merged.min_ns = index === 0 || min_ns < merged.min_ns ? min_ns : merged.min_ns;
    merged.max_ns = max_ns > merged.max_ns ? max_ns : merged.max_ns;
    eachCount(histogram, (at, value) => {
      merged.counts[at] = (merged.counts[at] ?? 0n) + value;
    });
  }
  return merged;
}

/** For all to read and none to write: a hundred agents have hundreds of empty histograms, of 270 kB each. */
export const emptyHistogram: RawHistogram = mergeHistograms([]);

export function packHistogram(histogram: RawHistogram): SentHistogram<string> {
  const bytes: number[] = [];
  let before = 0;
  eachCount(histogram, (index, value) => {
    writeInteger(bytes, BigInt(index - before));
    writeInteger(bytes, value);
    before = index;
  });
  return {
    count: String(histogram.count),
    // Without a value, the minimum of an engine's histogram has no meaning.
    min_ns: String(histogram.count === 0n ? 0n : histogram.min_ns),
    max_ns: String(histogram.max_ns),
    sum_ns: String(histogram.sum_ns),
    counts: deflateRawSync(Uint8Array.from(bytes)).toString('base64'),
  };
}

/** @throws BenchError 'fault' if the counts are damaged, do not add up to `count`, or lie outside of minimum and maximum */
export function unpackHistogram(sent: SentHistogram<bigint>): RawHistogram {
  const bytes = inflated(sent.counts);
  if (bytes.length === 0 && sent.count === 0n) return emptyHistogram;
  const counts = new BigUint64Array(histogramCounts);
  const { first, last } = filledIndices({ ...sent, counts });
  const reader = new Reader(bytes);
  let index = 0;
  let total = 0n;
  while (!reader.isAtEnd()) {
    index += Number(reader.integer());
    const value = reader.integer();
    if (index < first || index > last) throw damaged();
    counts[index] = value;
    total += value;
  }
  if (total !== sent.count) throw damaged();
  const { count, min_ns, max_ns, sum_ns } = sent;
  return { count, min_ns, max_ns, sum_ns, counts };
}

/** Ten bytes per number hold 64 bits. */
const longestBytes = histogramCounts * 2 * 10;

function inflated(base64: string): Uint8Array {
  try {
    return inflateRawSync(Buffer.from(base64, 'base64'), { maxOutputLength: longestBytes });
  } catch (error) {
    throw damaged(error);
  }
}

function damaged(cause?: unknown): BenchError {
  return new BenchError('fault', 'a histogram from an agent is damaged', '', cause);
}

function writeInteger(bytes: number[], value: bigint): void {
  let rest = value;
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
}

class Reader {
  private at = 0;

  constructor(private readonly bytes: Uint8Array) {}

  isAtEnd(): boolean {
    return this.at >= this.bytes.length;
  }

  integer(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.bytes[this.at];
      if (byte === undefined) throw damaged();
      this.at += 1;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asUintN(64, value);
    }
    throw damaged();
  }
}
