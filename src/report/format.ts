/**
 * Numbers and names as people read them, each with its unit: "6,000", "1.2 GiB", "385 µs". Pure; null prints as "n/a", never as 0.
 */
export const notAvailable = 'n/a';

/** Three significant digits, grouped thousands: 0.123, 1.23, 12.3, 123, 1,234. */
export function formatNumber(value: number | null): string {
  if (value === null || !Number.isFinite(value)) return notAvailable;
  const magnitude = Math.abs(value);
  const digits = magnitude >= 100 || magnitude === 0 ? 0 : magnitude >= 10 ? 1 : magnitude >= 1 ? 2 : 3;
  return value.toLocaleString('en-US', { maximumFractionDigits: digits });
}

/** A whole number with grouped thousands: 6,000. */
export function formatCount(value: number | null): string {
  return value === null ? notAvailable : Math.round(value).toLocaleString('en-US');
}

/** 512 B, 64 KiB, 1.23 GiB. */
export function formatBytes(bytes: number | null): string {
  if (bytes === null) return notAvailable;
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${formatNumber(value)} ${units[unit] ?? ''}`;
}

/** 850 ns, 12.3 µs, 1.23 ms, 2.5 s. */
export function formatDurationNs(ns: number | null): string {
  if (ns === null) return notAvailable;
  const magnitude = Math.abs(ns);
  if (magnitude < 1e3) return `${formatNumber(ns)} ns`;
  if (magnitude < 1e6) return `${formatNumber(ns / 1e3)} µs`;
  if (magnitude < 1e9) return `${formatNumber(ns / 1e6)} ms`;
  return `${formatNumber(ns / 1e9)} s`;
}

/** 1.5 minutes and more as "1 min 30 s"; else as formatDurationNs. */
export function formatDurationMs(ms: number | null): string {
  if (ms === null || ms < 60_000) return formatDurationNs(ms === null ? null : ms * 1e6);
  const seconds = Math.round(ms / 1000);
  const rest = seconds % 60;
  return `${formatCount(Math.floor(seconds / 60))} min${rest === 0 ? '' : ` ${rest} s`}`;
}

/** 0.5 -> 50%. */
export function formatPercent(fraction: number | null): string {
  return fraction === null ? notAvailable : `${formatNumber(fraction * 100)}%`;
}

/** 123,456/s. */
export function formatRate(perSecond: number | null): string {
  return perSecond === null ? notAvailable : `${formatNumber(perSecond)}/s`;
}

/** Singular or plural by the number: "1 trial", "4 trials". */
export function plural(count: number, singular: string, many = `${singular}s`): string {
  return `${formatCount(count)} ${count === 1 ? singular : many}`;
}

/** Lines of at most `width` columns, broken at spaces; a longer word stands alone. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
