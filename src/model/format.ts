/**
 * Numbers for people: a unit on every figure, three significant digits, and "n/a" (never 0) for unknown figures. Pure functions.
 */

/** Shown in place of an unknown figure. */
export const unknownText = 'n/a';
export const timeoutText = '> timeout';
export const fewSamplesText = 'few samples';

type Figure = number | null | undefined;

/** Three significant digits without an exponent: "12.3", "1.23", "123", "0.0123". */
function threeDigits(value: number): string {
  const magnitude = Math.abs(value);
  if (magnitude === 0) return '0';
  if (magnitude >= 99.95) return String(Math.round(value));
  if (magnitude >= 9.995) return value.toFixed(1);
  if (magnitude >= 0.995) return value.toFixed(2);
  // Below a thousandth the exact value does not matter, but "0.00" would read as none at all.
  return magnitude < 0.0005 ? '< 0.001' : value.toFixed(3);
}

interface Step {
  readonly size: number;
  readonly suffix: string;
}

/** In the largest unit that shows at least 1 after rounding, so that 999.96 µs is "1.00 ms". */
function scaled(value: number, steps: readonly Step[]): string {
  const magnitude = Math.abs(value);
  for (const step of steps) {
    if (magnitude / step.size >= 0.9995) return threeDigits(value / step.size) + step.suffix;
  }
  const last = steps.at(-1);
  return last === undefined ? threeDigits(value) : threeDigits(value / last.size) + last.suffix;
}

const durationSteps: readonly Step[] = [
  { size: 1e9, suffix: ' s' },
  { size: 1e6, suffix: ' ms' },
  { size: 1e3, suffix: ' µs' },
  { size: 1, suffix: ' ns' },
];
const decimalSteps: readonly Step[] = [
  { size: 1e9, suffix: 'G' },
  { size: 1e6, suffix: 'M' },
  { size: 1e3, suffix: 'k' },
];
const byteSteps: readonly Step[] = [
  { size: 1024 ** 4, suffix: ' TiB' },
  { size: 1024 ** 3, suffix: ' GiB' },
  { size: 1024 ** 2, suffix: ' MiB' },
  { size: 1024, suffix: ' KiB' },
  { size: 1, suffix: ' B' },
];

function known(value: Figure): value is number {
  return value !== null && value !== undefined && Number.isFinite(value);
}

/** A duration in nanoseconds: "850 ns", "12.3 µs", "1.23 ms". */
export function formatDuration(ns: Figure): string {
  if (!known(ns)) return unknownText;
  return ns === 0 ? '0 ns' : scaled(ns, durationSteps);
}

/** Like formatDuration, but "1 min 30 s" from one minute on. */
export function formatDurationMs(ms: Figure): string {
  if (!known(ms)) return unknownText;
  if (ms < 60_000) return formatDuration(ms * 1e6);
  const seconds = Math.round(ms / 1000);
  const rest = seconds % 60;
  return `${formatCount(Math.floor(seconds / 60))} min${rest === 0 ? '' : ` ${rest} s`}`;
}

export function formatDurationUs(us: Figure): string {
  return known(us) ? formatDuration(us * 1e3) : unknownText;
}

/** Events per second: "51.2k/s", "850/s". */
export function formatRate(perSecond: Figure): string {
  if (!known(perSecond)) return unknownText;
  const text = Math.abs(perSecond) < 999.5 ? threeDigits(perSecond) : scaled(perSecond, decimalSteps);
  return `${text}/s`;
}

/** "64 KiB", "7.42 KiB", "1.25 GiB". */
export function formatBytes(bytes: Figure): string {
  if (!known(bytes)) return unknownText;
  // Sizes that people choose are whole numbers and are shown as such.
  return Math.abs(bytes) < 1 ? '0 B' : scaled(bytes, byteSteps).replace(/\.0+ /, ' ');
}

export function formatByteRate(bytesPerSecond: Figure): string {
  return known(bytesPerSecond) ? `${formatBytes(bytesPerSecond)}/s` : unknownText;
}

/** A whole number with thousands separators, the same in every locale. */
export function formatCount(value: Figure): string {
  if (!known(value)) return unknownText;
  return String(Math.round(value)).replace(/\B(?=(\d{3})+(?!\d))/g, ',');
}

/** A plain figure without a unit, such as an index or switches per request, with separators from 1,000 on. */
export function formatNumber(value: Figure): string {
  if (!known(value)) return unknownText;
  return Math.abs(value) >= 999.5 ? formatCount(value) : threeDigits(value);
}

export function formatPercent(fraction: Figure): string {
  if (!known(fraction)) return unknownText;
  const percent = fraction * 100;
  return `${Math.abs(percent) >= 9.95 ? percent.toFixed(0) : percent.toFixed(1)}%`;
}

/** A figure outside this range only shows that the interval is too wide to be useful. */
const ratioShown = { least: 0.001, most: 999.5 };
/** More decimals would say more about the clock than about the modes. */
const ratioDecimalsMost = 4;

/** At least two significant digits, so that no ratio above 0 reads as 0. */
function ratioDigits(value: number, decimalsLeast = 0): string {
  if (value >= ratioShown.most) return '> 999';
  if (value < ratioShown.least) return '< 0.001';
  const own = value >= 99.5 ? 0 : value >= 9.995 ? 1 : value >= 0.0995 ? 2 : 1 - Math.floor(Math.log10(value));
  return value.toFixed(Math.max(own, decimalsLeast));
}

export function formatRatio(ratio: Figure): string {
  return known(ratio) ? `${ratioDigits(ratio)}x` : unknownText;
}

/**
 * "1.90x [1.80, 2.10]", "1.004x [1.001, 1.007]": with as many decimals as the width of the interval needs, or the ratio alone if it
 * has no interval. Tables and sentences both show a ratio in this form.
 */
export function formatRatioWithInterval(ratio: Figure, low: Figure, high: Figure): string {
  if (!known(ratio)) return unknownText;
  if (!known(low) || !known(high)) return formatRatio(ratio);
  const decimals = high > low ? Math.min(ratioDecimalsMost, Math.ceil(-Math.log10(high - low))) : 0;
  const [ratioText, ...ends] = [ratio, low, high].map((value) => ratioDigits(value, decimals));
  return `${ratioText ?? ''}x [${ends.join(', ')}]`;
}

/** "1.80x to 2.00x": two trials give a range but no interval. */
export function formatRatioRange(low: number, high: number): string {
  return `${formatRatio(low)} to ${formatRatio(high)}`;
}

/** Why a percentile is missing. */
export function formatMissing(reason: 'timeout' | 'too_few_samples' | undefined): string {
  if (reason === 'timeout') return timeoutText;
  return reason === 'too_few_samples' ? fewSamplesText : unknownText;
}

/** "1 trial", "4 trials". */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

/** "a", "a and b", "a, b and c". */
export function listInWords(items: readonly string[]): string {
  const last = items.at(-1);
  if (last === undefined) return '';
  return items.length === 1 ? last : `${items.slice(0, -1).join(', ')} and ${last}`;
}

/**
 * Removes the characters that a terminal would obey, because a report, and the names in it, may come from anywhere. Line breaks
 * become spaces.
 */
export function printable(text: string): string {
  return text.replace(/\s+/g, ' ').replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '');
}
