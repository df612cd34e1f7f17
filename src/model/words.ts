/** Measured figures in sentences, so that warnings, verdicts, findings and gates show the same number in the same way. */
import type { Unit } from './metrics.js';

/** 6000 as "6,000". */
export function grouped(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

/** 0.973 as "97%", 0.0123 as "1.2%". */
export function percent(fraction: number): string {
  const value = fraction * 100;
  return `${value.toFixed(Math.abs(value) < 9.95 ? 1 : 0)}%`;
}

/** A share that somebody typed: 0.03 as "3%", 0.025 as "2.5%". */
export function typedPercent(fraction: number): string {
  return `${Number((fraction * 100).toPrecision(3))}%`;
}

/** Three significant digits without an exponent. */
export function significant(value: number): string {
  const size = Math.abs(value);
  if (size >= 100) return grouped(value);
  if (size === 0) return '0';
  const decimals = Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(size))));
  return String(Number(value.toFixed(decimals)));
}

/** A duration in the unit that is easiest to read. */
export function duration(ns: number): string {
  if (ns < 1e3) return `${significant(ns)} ns`;
  if (ns < 1e6) return `${significant(ns / 1e3)} µs`;
  if (ns < 1e9) return `${significant(ns / 1e6)} ms`;
  return `${significant(ns / 1e9)} s`;
}

export function bytes(value: number): string {
  if (Math.abs(value) < 1024) return `${significant(value)} B`;
  if (Math.abs(value) < 1024 ** 2) return `${significant(value / 1024)} KiB`;
  if (Math.abs(value) < 1024 ** 3) return `${significant(value / 1024 ** 2)} MiB`;
  return `${significant(value / 1024 ** 3)} GiB`;
}

/** A metric's value with its unit. */
export function valueInWords(value: number, unit: Unit | 'x'): string {
  switch (unit) {
    case 'ns':
      return duration(value);
    case 'us':
      return `${significant(value)} µs`;
    case 'ms':
      return `${significant(value)} ms`;
    case 'bytes':
      return bytes(value);
    case 'bytes/s':
      return `${bytes(value)}/s`;
    case 'requests/s':
    case '1/s':
      return `${significant(value)}/s`;
    case 'x':
      return `${significant(value)}x`;
    case 'count':
    case 'fraction':
      return significant(value);
  }
}
