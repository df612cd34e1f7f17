/** Reads a file that the user names as input, in the encodings that shells write. */
import { readFileSync } from 'node:fs';
import { BenchError } from '../model/errors.js';
import { systemErrorReason } from '../model/system-error.js';
import { stdoutPath } from './output.js';

/**
 * The text of a file, without a byte order mark; '-' is standard input.
 * @throws BenchError 'usage' where it cannot be read
 */
export function readText(file: string): string {
  try {
    return decodeText(readFileSync(file === stdoutPath ? 0 : file));
  } catch (error) {
    const reason = systemErrorReason(error);
    throw new BenchError('usage', `cannot read ${file}: ${reason}`, 'name a file that `blast --json` wrote', error);
  }
}

/**
 * UTF-8, or UTF-16 where a byte order mark says so: PowerShell 5.1 writes `>` and Out-File as UTF-16 (little-endian), and many editors of
 * Windows put a mark in front of UTF-8 (Unicode Standard, section 23.8).
 */
export function decodeText(bytes: Buffer): string {
  const [first, second] = bytes;
  const whole = bytes.length - (bytes.length % 2);
  if (first === 0xff && second === 0xfe) return bytes.toString('utf16le', 2, whole);
  if (first === 0xfe && second === 0xff) return Buffer.from(bytes.subarray(2, whole)).swap16().toString('utf16le');
  return bytes.toString('utf8').replace(/^\uFEFF/, '');
}
