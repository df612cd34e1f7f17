/** Headless Chromium for tests of the HTML report, and for the picture of the README: Debian's, or the one that CHROMIUM names. */
import { existsSync } from 'node:fs';
import type { Browser } from 'playwright-core';

const places = [
  process.env['CHROMIUM'] ?? '',
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
];

/** The path of an installed Chromium; null: none. Under Wine the one of Linux would be found, which Windows' Node cannot drive. */
export function chromiumPath(): string | null {
  if (process.platform === 'win32') return null;
  return places.find((path) => path !== '' && existsSync(path)) ?? null;
}

/** Why a test that needs it is skipped; false: it is there. */
export const withoutChromium: string | false =
  chromiumPath() === null ? 'Chromium is not installed (apt-get install chromium)' : false;

/** Starts it. The caller closes it. */
export async function startChromium(): Promise<Browser> {
  const executablePath = chromiumPath();
  if (executablePath === null) throw new Error('Chromium is not installed');
  // Loaded only here, since it takes a while.
  const { chromium } = await import('playwright-core');
  // Root, as in containers, has no sandbox; the pages are our own.
  const args = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
  return chromium.launch({ executablePath, args: [...args, '--disable-gpu', '--disable-dev-shm-usage'] });
}
