/**
 * Makes the picture of the README from a report: the headline and the first chart of its HTML page, as PNG.
 *
 *     npm run picture -- REPORT.json PICTURE.png [dark]
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { readReport, renderHtml } from '../../src/index.js';
import { startChromium } from './browser.js';

/** CSS pixels. With the scale, the picture is 1200 pixels wide. */
const width = 900;
const scale = 4 / 3;

async function makePicture(report: string, picture: string, scheme: 'light' | 'dark'): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'iocp-bench-picture-'));
  const browser = await startChromium();
  try {
    const file = join(folder, 'report.html');
    writeFileSync(file, renderHtml(readReport(report)));
    const page = await browser.newPage({
      viewport: { width, height: 800 },
      deviceScaleFactor: scale,
      colorScheme: scheme,
    });
    await page.goto(pathToFileURL(file).href);
    // From the top of the page to the end of the first chart.
    const chart = await page.locator('#main-figures').boundingBox();
    if (chart === null) throw new Error(`${report} has no figures to draw`);
    await page.screenshot({
      path: picture,
      clip: { x: 0, y: 0, width, height: Math.ceil(chart.y + chart.height) + 4 },
    });
  } finally {
    await browser.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

const [report, picture, scheme = 'light'] = process.argv.slice(2);
if (report === undefined || picture === undefined || (scheme !== 'light' && scheme !== 'dark')) {
  process.stderr.write('usage: npm run picture -- REPORT.json PICTURE.png [dark]\n');
  process.exitCode = 2;
} else {
  await makePicture(report, picture, scheme);
}
