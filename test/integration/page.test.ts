/**
 * The HTML report in a browser: nothing lies outside the screen or over another thing, nothing is requested, names of others stay text, and
 * it can be used without a mouse, without colours, without a script and on paper.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import t from 'tap';
import type { Report } from '../../src/model/report-schema.js';
import { diffReports } from '../../src/measure/report-diff.js';
import { renderDiffHtml } from '../../src/report/html-diff.js';
import { renderHtml } from '../../src/report/html.js';
import { startChromium, withoutChromium } from '../support/browser.js';
import {
  characters,
  conclude,
  loadCurve,
  makeRuns,
  samplePlan,
  samples,
  withTimePercentiles,
} from '../unit/report/samples.js';

// Chromium takes its time on a busy machine.
t.setTimeout(300_000);

const folder = mkdtempSync(join(tmpdir(), 'iocp-bench-page-'));
let browser: Browser | null = null;
t.teardown(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Five numbers of clients and five modes, with four trials of three seconds. */
function large(): Report {
  const { blocking, iocp, epoll, io_uring: ring, node } = characters;
  const used = [blocking, { ...iocp, backend: 'io_uring' }, epoll, ring, node];
  const plan = samplePlan(used, { clients: [100, 500, 1000, 3000, 6000] });
  return withTimePercentiles(conclude(plan, makeRuns(plan, used, 7)));
}

const hostileName = `x"'</script></style><img src=//e.example onerror=alert(1)><svg onload=alert(2)>${'W'.repeat(200)}`;

/** Everything that other people name is hostile, and long. */
function hostile(): Report {
  const report = structuredClone(samples.badDay());
  const rename = (entry: { mode: string }): void => {
    if (entry.mode === 'blocking') entry.mode = hostileName;
  };
  report.plan.modes.forEach(rename);
  report.runs.forEach(rename);
  report.findings = [hostileName];
  report.command_line = [hostileName];
  report.environment.cpu_model = hostileName;
  for (const one of report.comparisons) one.b = one.verdict = hostileName;
  for (const warning of report.warnings) warning.message = warning.hint = hostileName;
  for (const gate of report.gates) gate.expression = gate.reason = hostileName;
  for (const window of report.runs.flatMap((run) => run.trials)) {
    if (window.state === 'failed') window.reason = hostileName;
    for (const sample of window.errors.samples) sample.message = hostileName;
  }
  return report;
}

const reports = {
  'two modes': samples.twoModes,
  'a sweep over five modes': samples.fiveModesSweep,
  'a sweep over work': samples.workSweep,
  'a load curve': () => withTimePercentiles(loadCurve()),
  'a bad day': samples.badDay,
  'a target': samples.target,
  'hostile names': hostile,
} satisfies Record<string, () => Report>;

interface OpenPage {
  readonly page: Page;
  /** Errors of the console, of scripts and of the policy, and requests other than for the page itself. */
  readonly complaints: string[];
}

/** Recorded in the page, since a violation of the policy is an event there. */
const watchPolicy = `
  window.violations = [];
  addEventListener('securitypolicyviolation', (event) => window.violations.push(event.violatedDirective + ' ' + event.blockedURI));
`;

async function openHtml(html: string, options: BrowserContextOptions = {}): Promise<OpenPage> {
  browser ??= await startChromium();
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  const complaints: string[] = [];
  const file = join(folder, `${Math.random().toString(36).slice(2)}.html`);
  writeFileSync(file, html);
  const address = pathToFileURL(file).href;
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('dialog', (dialog) => {
    complaints.push(`a dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on('request', (request) => {
    if (request.url() !== address) complaints.push(`a request for ${request.url()}`);
  });
  await page.addInitScript(watchPolicy);
  await page.goto(address);
  return { page, complaints };
}

async function openReport(report: Report, options: BrowserContextOptions = {}): Promise<OpenPage> {
  return openHtml(renderHtml(report), options);
}

async function close({ page }: OpenPage): Promise<void> {
  await page.context().close();
}

/** What is outside of the screen to the left or right, without what a scrolling box holds. */
const outside = `(() => {
  for (const part of document.querySelectorAll('details')) part.open = true;
  const width = document.documentElement.clientWidth;
  const found = [];
  if (document.scrollingElement.scrollWidth > width) found.push('the page is ' + document.scrollingElement.scrollWidth + ' wide');
  for (const part of document.querySelectorAll('body *')) {
    if (part.closest('.scroll') !== null && !part.matches('.scroll')) continue;
    if (part.closest('.hidden, .symbols, .box, defs') !== null) continue;
    const { left, right, width: own } = part.getBoundingClientRect();
    if (own > 0 && (left < -0.5 || right > width + 0.5)) {
      found.push(part.localName + '.' + (part.getAttribute('class') || '') + ' "' + part.textContent.trim().slice(0, 30) + '" ' + left + ' to ' + right);
    }
  }
  return found.slice(0, 8);
})()`;

/** Texts of charts that lie over one another, and texts that their own box cuts off. */
const overlaps = `(() => {
  for (const part of document.querySelectorAll('details')) part.open = true;
  const found = [];
  for (const figure of document.querySelectorAll('figure, .forest')) {
    const texts = [...figure.querySelectorAll('svg text, .legend li, .bars th .name, .bars .value, .forest th, .forest .ratio, figcaption, .multiples p')]
      .filter((part) => part.getClientRects().length > 0 && part.textContent.trim() !== '' && part.closest('.hidden') === null);
    const boxes = texts.map((part) => ({ part, box: part.getBoundingClientRect() }));
    for (const [place, one] of boxes.entries()) {
      for (const other of boxes.slice(place + 1)) {
        if (one.part.contains(other.part) || other.part.contains(one.part)) continue;
        const across = Math.min(one.box.right, other.box.right) - Math.max(one.box.left, other.box.left);
        const down = Math.min(one.box.bottom, other.box.bottom) - Math.max(one.box.top, other.box.top);
        if (across > 1 && down > 1) found.push('"' + one.part.textContent.slice(0, 40) + '" over "' + other.part.textContent.slice(0, 40) + '"');
      }
    }
  }
  return found.slice(0, 8);
})()`;

/** Two reports over each other. */
function overlaid(base: Report, head: Report): string {
  const view = { base: 'base.json', head: `${hostileName}.json`, diff: diffReports(base, head), gates: [] };
  return renderDiffHtml(view, { base, head });
}

const pages: [name: string, make: () => string][] = [
  ...Object.entries(reports).map(([name, make]): [string, () => string] => [name, () => renderHtml(make())]),
  ['two reports', () => overlaid(samples.twoModes(), samples.slowerHead())],
  ['two sweeps', () => overlaid(samples.fiveModesSweep(), samples.fiveModesSweep())],
  ['two reports that cannot be compared', () => overlaid(samples.twoModes(), samples.underWine())],
];

for (const [name, make] of pages) {
  t.test(`layout: ${name}`, { skip: withoutChromium }, async (test) => {
    const open = await openHtml(make());
    for (const width of [1280, 390, 320]) {
      await open.page.setViewportSize({ width, height: 800 });
      test.strictSame(await open.page.evaluate(outside), [], `${width}: nothing is outside of the screen`);
      test.strictSame(await open.page.evaluate(overlaps), [], `${width}: no text is over another`);
    }
    test.strictSame(await open.page.evaluate('window.violations'), [], 'the policy holds');
    test.strictSame(open.complaints, [], 'no error and no request');
    await close(open);
  });
}

t.test('the answer and its chart are above the fold', { skip: withoutChromium }, async (test) => {
  for (const name of ['two modes', 'a sweep over five modes'] as const) {
    const open = await openReport(reports[name]());
    for (const [width, height] of [
      [1280, 800],
      [390, 844],
    ] as const) {
      await open.page.setViewportSize({ width, height });
      const headline = await open.page.locator('.headline').boundingBox();
      const chart = await open.page.locator('#main-figures .panels').boundingBox();
      test.ok(headline !== null && headline.y >= 0 && headline.height > 0, `${name}, ${width}: the headline`);
      const end = chart === null ? Infinity : chart.y + chart.height;
      test.ok(end <= height, `${name}, ${width}: the chart ends at ${Math.round(end)} of ${height}`);
    }
    test.equal(await open.page.locator('#main-figures .panel').count(), 4, 'throughput, CPU, p99 and memory');
    await close(open);
  }
});

t.test('figures are there without a script', { skip: withoutChromium }, async (test) => {
  const open = await openReport(samples.twoModes(), { javaScriptEnabled: false });
  test.ok((await open.page.locator('.bar').count()) >= 8, 'bars');
  test.ok((await open.page.locator('.dot').count()) >= 8 * 4, 'a dot per trial');
  test.ok((await open.page.locator('.forest .range').count()) >= 4, 'intervals of ratios');
  test.ok((await open.page.locator('.line').count()) >= 4, 'lines');
  const texts = await open.page.locator('.bars').first().innerText();
  test.match(texts, /blocking[^]*k\/s[^]*iocp/, 'the bars are a table of names and figures');
  await close(open);
});

t.test('names of others stay text', { skip: withoutChromium }, async (test) => {
  const open = await openReport(hostile());
  test.strictSame(await open.page.evaluate("document.querySelectorAll('img, [onload], [onerror]').length"), 0);
  test.equal(await open.page.evaluate("document.querySelectorAll('script').length"), 1, 'the script of the page alone');
  test.match(await open.page.locator('body').innerText(), '<img src=//e.example', 'and it is shown as it is');
  test.strictSame(open.complaints, []);
  await close(open);
});

t.test('the policy forbids what is not of the page', { skip: withoutChromium }, async (test) => {
  const own = renderHtml(samples.target());
  const foreign = own.replace(
    '</main>',
    '<p style="color:red" onclick="0"></p><script>window.foreign = 1</script></main>',
  );
  const open = await openHtml(foreign);
  test.equal(await open.page.evaluate('window.foreign'), undefined, 'a script that was added does not run');
  for (const violation of ['script-src-elem inline', 'style-src-attr inline']) {
    await open.page.waitForFunction(`window.violations.some((text) => text.startsWith('${violation}'))`);
  }
  await open.page.evaluate("document.body.append(Object.assign(new Image(), { src: 'https://e.example/x.png' }))");
  await open.page.waitForFunction("window.violations.some((text) => text.startsWith('img-src https://e.example'))");
  await close(open);
});

t.test('keyboard and screen reader', { skip: withoutChromium }, async (test) => {
  for (const name of ['two modes', 'a sweep over five modes', 'a bad day'] as const) {
    const open = await openReport(reports[name]());
    const { page } = open;
    test.equal(await page.locator('html').getAttribute('lang'), 'en');
    test.equal(await page.locator('main').count(), 1);
    const levels = await page.evaluate<number[]>(
      "[...document.querySelectorAll('h1, h2, h3, h4')].map((head) => Number(head.localName[1]))",
    );
    test.equal(levels.filter((level) => level === 1).length, 1, 'one first heading');
    test.ok(
      levels.every((level, place) => level <= (levels[place - 1] ?? 0) + 1),
      `no level of headings is left out: ${levels.join('')}`,
    );
    test.strictSame(
      await page.evaluate(`[...document.querySelectorAll('svg')].filter((part) => {
        if (part.parentElement.closest('svg') !== null) return false;
        const isNamed = part.getAttribute('role') === 'img' && (part.getAttribute('aria-label') || '').length > 10;
        return !isNamed && part.getAttribute('aria-hidden') !== 'true';
      }).length`),
      0,
      'every picture has a name, or a text next to it',
    );
    test.strictSame(
      await page.evaluate(`[...document.querySelectorAll('table')].filter((table) =>
        table.querySelector('th[scope]') === null || [...table.querySelectorAll('th')].some((head) => !head.hasAttribute('scope'))).length`),
      0,
      'every table has heads',
    );
    test.strictSame(
      await page.evaluate(`[...document.querySelectorAll('.graph')].filter((graph) => {
        const table = graph.closest('figure').querySelector('.data table tbody tr');
        return table === null || table.children.length < 2;
      }).length`),
      0,
      'a table is behind every chart of lines',
    );
    test.strictSame(
      await page.evaluate(`(() => {
        const ids = [...document.querySelectorAll('[id]')].map((part) => part.id);
        const twice = ids.filter((id, place) => ids.indexOf(id) !== place);
        const broken = [...document.querySelectorAll('a[href], use')].map((part) => part.getAttribute('href'))
          .filter((address) => !address.startsWith('#') || !ids.includes(address.slice(1)));
        return [...twice, ...broken];
      })()`),
      [],
      'every link and shape leads to one place of the page',
    );
    const wanted = await page.evaluate<number>(
      '[...document.querySelectorAll(\'a[href], summary, [tabindex="0"]\')].filter((part) => part.checkVisibility({ contentVisibilityAuto: true })).length',
    );
    const order: number[] = [];
    for (let step = 0; step < wanted; step += 1) {
      await page.keyboard.press('Tab');
      order.push(
        await page.evaluate<number>(`(() => {
          const part = document.activeElement;
          if (part === document.body || getComputedStyle(part).outlineStyle === 'none') return -1;
          return [...document.querySelectorAll('a[href], summary, [tabindex="0"]')].indexOf(part);
        })()`),
      );
    }
    test.ok(wanted > 8 && order.every((place) => place >= 0), `${wanted} parts take the focus, and show it`);
    test.strictSame(
      order,
      [...order].sort((a, b) => a - b),
      'in the order of the page',
    );
    await close(open);
  }
});

/** The lowest contrast of a text to what is behind it (WCAG 2.2, 1.4.3), over all texts that are seen. */
const lowestContrast = `(() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (part) => {
    for (let one = part; one; one = one.parentElement) {
      const color = parse(getComputedStyle(one).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  let worst = { contrast: 21, text: '' };
  for (const part of document.querySelectorAll('main *')) {
    const own = [...part.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data).join('').trim();
    if (own === '' || part.closest('.hidden, script') !== null || part.getClientRects().length === 0) continue;
    const style = getComputedStyle(part);
    const color = parse(part.localName === 'text' ? style.fill : style.color);
    const [one, other] = [light(color), light(behind(part))].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (other + 0.05);
    if (contrast < worst.contrast) worst = { contrast, text: part.localName + ': ' + own.slice(0, 40) };
  }
  return worst;
})()`;

t.test('light and dark', { skip: withoutChromium }, async (test) => {
  const backs: unknown[] = [];
  for (const colorScheme of ['light', 'dark'] as const) {
    const open = await openReport(samples.badDay(), { colorScheme });
    const { contrast, text } = await open.page.evaluate<{ contrast: number; text: string }>(lowestContrast);
    test.ok(contrast >= 4.5, `${colorScheme}: the lowest contrast is ${contrast.toFixed(1)} (${text})`);
    backs.push(await open.page.evaluate('getComputedStyle(document.body).backgroundColor'));
    await close(open);
  }
  test.not(backs[0], backs[1], 'two backgrounds');
});

t.test('figures that are not valid differ from others by colour, too', { skip: withoutChromium }, async (test) => {
  for (const colorScheme of ['light', 'dark'] as const) {
    const open = await openReport(loadCurve(), { colorScheme });
    const colorOf = (selector: string): Promise<string> =>
      open.page.evaluate<string>(`getComputedStyle(document.querySelector(${JSON.stringify(selector)})).color`);
    const plain = await colorOf('#tables td:not([class])');
    const colors = await Promise.all(['td.invalid', 'td.bound', '.bars .invalid', '.bars .bound'].map(colorOf));
    test.notOk(colors.includes(plain), `${colorScheme}: ${plain} and ${colors.join(', ')}`);
    const { contrast, text } = await open.page.evaluate<{ contrast: number; text: string }>(lowestContrast);
    test.ok(contrast >= 4.5, `${colorScheme}: the lowest contrast is ${contrast.toFixed(1)} (${text})`);
    await close(open);
  }
});

t.test('print', { skip: withoutChromium }, async (test) => {
  for (const name of ['two modes', 'a sweep over five modes'] as const) {
    // A4 without its margins.
    const open = await openReport(reports[name](), { viewport: { width: 718, height: 1000 }, colorScheme: 'dark' });
    const { page } = open;
    await page.emulateMedia({ media: 'print', colorScheme: 'dark' });
    test.equal(
      await page.evaluate('getComputedStyle(document.body).backgroundColor'),
      'rgb(255, 255, 255)',
      'black on white',
    );
    const wide = await page.evaluate<string[]>(`[...document.querySelectorAll('.scroll')]
      .filter((box) => box.getClientRects().length > 0 && box.scrollWidth > box.clientWidth + 1).map((box) => box.getAttribute('aria-label') + ' ' + box.scrollWidth)`);
    test.strictSame(wide, [], `${name}: no table is cut off`);
    test.equal(await page.locator('nav').isVisible(), false, 'no list of links');
    test.ok(await page.locator('summary:text-is("Plan") + table').isVisible(), 'what is folded is printed');
    const pdf = await page.pdf({ format: 'A4' });
    test.equal(pdf.subarray(0, 5).toString(), '%PDF-');
    test.strictSame(open.complaints, []);
    await close(open);
  }
});

t.test('five numbers of clients and five modes', { skip: withoutChromium }, async (test) => {
  const report = large();
  const started = process.cpuUsage();
  const html = renderHtml(report);
  const made = process.cpuUsage(started);
  test.comment(
    `${Math.round(html.length / 1024)} KiB, made in ${Math.round((made.user + made.system) / 1000)} ms of CPU time`,
  );
  test.ok(Buffer.byteLength(html) < 2 ** 20, 'less than 1 MB');
  const open = await openHtml('<!doctype html>');
  const devtools = await open.page.context().newCDPSession(open.page);
  // CPU time of the page's thread, which other load on the machine does not lengthen as it does a time on the clock.
  await devtools.send('Performance.enable', { timeDomain: 'threadTicks' });
  const file = join(folder, 'large.html');
  writeFileSync(file, html);
  await open.page.goto(pathToFileURL(file).href);
  await open.page.screenshot();
  const { metrics } = await devtools.send('Performance.getMetrics');
  const seconds = metrics.find(({ name }) => name === 'TaskDuration')?.value ?? Infinity;
  test.comment(`drawn in ${Math.round(seconds * 1000)} ms of CPU time`);
  test.ok(seconds < 1, `drawn within a second (${seconds.toFixed(2)} s)`);
  await close(open);
});

t.test('the list of contents of a load curve folds its points', { skip: withoutChromium }, async (test) => {
  const open = await openReport(loadCurve());
  const links = open.page.locator('nav details a');
  test.equal(await links.count(), 4, 'full load and three rates');
  test.notOk(await links.first().isVisible());
  await open.page.locator('nav summary').press('Enter');
  await links.last().click();
  await open.page.waitForFunction(
    "document.querySelector('#points > section:last-child').getBoundingClientRect().top < 400",
  );
  test.equal(await open.page.evaluate('location.hash'), '#point-3');
  await close(open);
});

t.test('values under the pointer, and what a link leads to', { skip: withoutChromium }, async (test) => {
  const open = await openReport(samples.twoModes());
  const graph = open.page.locator('figure.chart .graph').first();
  await graph.scrollIntoViewIfNeeded();
  await graph.hover({ position: { x: 300, y: 100 } });
  test.match(await open.page.locator('.reading').first().innerText(), /^p[\d.]+: blocking, response [\d.]+ [nµm]s/);
  await close(open);
});
