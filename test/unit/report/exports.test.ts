/** What Markdown, CSV, JUnit and HTML owe to the formats they are written in, and to names that other people chose. */
import { createHash } from 'node:crypto';
import { Script } from 'node:vm';
import t from 'tap';
import { escapeMarkdown, escapeMarkup, scriptJson } from '../../../src/report/escape.js';
import { pointCharts, serviceCharts, sweepCharts, type Chart } from '../../../src/report/charts.js';
import { chartHtml } from '../../../src/report/html-lines.js';
import { renderCsv } from '../../../src/report/csv.js';
import { renderHtml } from '../../../src/report/html.js';
import { renderDiffHtml } from '../../../src/report/html-diff.js';
import { diffReports } from '../../../src/measure/report-diff.js';
import { renderJunit } from '../../../src/report/junit.js';
import { renderMarkdown } from '../../../src/report/markdown.js';
import { pageScript, pageStyle } from '../../../src/report/page.js';
import { timesCharts } from '../../../src/report/times-charts.js';
import { buildView } from '../../../src/report/view.js';
import type { Gate, Report } from '../../../src/model/report-schema.js';
import { loadCurve, samples, withTimePercentiles } from './samples.js';

const evil = `x"'</script><img src=//e.example onerror=alert(1)>|&amp;`;

/** A report in which everything that others name is hostile. */
function hostile(): Report {
  const report = structuredClone(samples.badDay());
  const rename = (entry: { mode: string }): void => {
    if (entry.mode === 'blocking') entry.mode = evil;
  };
  report.plan.modes.forEach(rename);
  report.runs.forEach(rename);
  report.findings = [evil];
  report.command_line = [evil];
  for (const warning of report.warnings) warning.message = warning.hint = evil;
  for (const gate of report.gates) gate.expression = gate.reason = evil;
  for (const window of report.runs.flatMap((run) => run.trials)) {
    if (window.state === 'failed') window.reason = evil;
    for (const sample of window.errors.samples) sample.message = evil;
  }
  return report;
}

t.test('escaping', (test) => {
  test.equal(escapeMarkup(`<a href="x">'&`), '&lt;a href=&quot;x&quot;&gt;&#39;&amp;');
  test.equal(escapeMarkup('a\u0000\u001bb'), 'ab', 'XML has no such characters');
  test.equal(escapeMarkdown('a|b_c*`<'), 'a\\|b\\_c\\*\\`&lt;');
  test.notMatch(escapeMarkdown('@someone https://e.example'), /@someone|https:\/\//);
  test.strictSame(JSON.parse(scriptJson({ a: '</script>\u2028' })), { a: '</script>\u2028' });
  test.notMatch(scriptJson('</script><!--'), /</);
  test.end();
});

t.test('the page', (test) => {
  const page = renderHtml(samples.fiveModesSweep());
  test.notMatch(page, /(?:src|href)="(?!#)|url\(|@import|https?:/, 'it names nothing outside itself');
  const hash = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
  const [policy = ''] = /default-src [^"]*/.exec(page) ?? [];
  test.match(policy, /^default-src 'none'; /, 'and could not fetch it');
  test.ok(policy.includes(`script-src ${hash(pageScript)}`), 'its script alone runs');
  test.ok(policy.includes(`style-src ${hash(pageStyle)}`), 'and its style sheet alone is used');
  test.notMatch(page, /<[a-z][^>]* (?:style|on[a-z]+)=/, 'there are no attributes that the policy forbids');
  test.doesNotThrow(() => new Script(pageScript), 'the script is one');
  const titles = [...page.matchAll(/<figcaption><b>([^<]*)/g)].map(([, title = '']) => title);
  const count = (title: string): number => titles.filter((one) => one === title).length;
  test.equal(count('Throughput at full load by clients'), 1);
  test.equal(count('Response time p99 by clients'), 1);
  for (const title of [
    'Throughput at full load',
    'Latency by percentile, at the offered rate',
    'Throughput over the window, full load',
    'Response time over the window',
    'Server time per request, full load',
  ]) {
    test.equal(count(title), 3, `${title}: of each size`);
  }
  test.notMatch(page, /NaN|undefined|Infinity/, 'no figure that is none');
  test.end();
});

t.test('bars: one for each mode, with an interval and its trials', (test) => {
  const page = renderHtml(samples.twoModes());
  const main = page.slice(page.indexOf('id="main-figures"'), page.indexOf('</header>'));
  test.equal(main.match(/<table class="bars"/g)?.length, 4);
  test.equal(main.match(/<rect class="bar /g)?.length, 8);
  test.equal(main.match(/<circle class="dot"/g)?.length, 8 * 4);
  test.match(main, /blocking.*95% interval [\d.]+k\/s to [\d.]+k\/s; trials/s);
  const target = renderHtml(samples.target());
  test.match(target, 'One trial each.');
  test.notMatch(target, /class="dot"/, 'a single trial has no spread');
  const bad = renderHtml(samples.badDay());
  test.match(bad, /class="bar c1 doubt"[^>]* width="100%"/, 'beyond the timeout: longer than the axis, not absent');
  test.match(bad, '> timeout'.replace('>', '&gt;'));
  test.end();
});

t.test('figures that are not valid have a sign and a class, in every table and chart', (test) => {
  const report = loadCurve();
  const page = renderHtml(report);
  const cells = (html: string, tone: string): string[] =>
    [...html.matchAll(new RegExp(`<td[^>]* class="(?:value )?${tone}">(?:<span[^>]*>!</span>)?([^<]*)`, 'g'))].map(
      ([, text = '']) => text,
    );
  const partOf = (id: string): string => page.slice(page.indexOf(`<section id="${id}"`)).split('<h2>')[1] ?? '';
  const tones = buildView(report).tables.flatMap(({ groups }) =>
    groups.flatMap(({ rows }) => rows.flatMap(({ cells, ratio }) => [...cells, ...(ratio === null ? [] : [ratio])])),
  );
  for (const [tone, sign] of [
    ['invalid', /^! /],
    ['bound', /^≥ /],
  ] as const) {
    const marked = cells(partOf('tables'), tone);
    test.equal(marked.length, tones.filter((cell) => cell.tone === tone).length, `${tone}: as in the terminal`);
    test.ok(marked.length > 0 && marked.every((text) => sign.test(text)), `${tone}: ${marked.join(', ')}`);
  }
  // The response time and the service time of each window at the highest rate, and the service time at full load.
  test.strictSame(
    cells(partOf('records'), 'invalid').filter((text) => !text.startsWith('! ')),
    [],
  );
  test.equal(cells(partOf('records'), 'invalid').length, 3 * 2 + 3, 'every window');
  test.equal(cells(partOf('records'), 'bound').length, 3, 'the throughput of every window at full load');
  const curves = partOf('curves');
  test.equal(curves.match(/<circle class="ring invalid"/g)?.length, 3, 'a ring in the chart of each percentile');
  test.equal(cells(curves, 'invalid').length, 3, 'and in the table behind it');
  test.match(curves, 'Points in a ring are not valid');
  const ratios = partOf('ratios');
  const invalid = [...ratios.matchAll(/class="ratio invalid">([^<]*)/g)].map(([, text = '']) => text);
  test.ok(invalid.length > 0 && invalid.every((text) => text.startsWith('! ')), 'ratios of such figures, too');
  test.notMatch(ratios, /class="ratio [a-z]+">! (?=.*better)/, 'and nothing is claimed of them');
  test.notMatch(renderHtml(samples.workSweep()), /Points in a ring|class="ring/);
  test.end();
});

t.test('ratios: claims, intervals and bounds', (test) => {
  const report = structuredClone(samples.twoModes());
  const find = (metric: string) => report.comparisons.find((one) => one.metric === metric);
  const throughput = find('throughput');
  if (throughput === undefined) throw new Error('no throughput');
  Object.assign(throughput, { bound: 'at_least', ci_high: 5_000 });
  const page = renderHtml(report);
  const ratios = page.slice(page.indexOf('<section id="ratios"'), page.indexOf('<section id="point-'));
  const rows = [...ratios.matchAll(/<tr role="row"><th scope="row".*?<\/tr>/gs)].map(([row]) => row);
  test.equal(rows.length, report.comparisons.filter(({ ratio }) => ratio !== null).length, 'a row for each ratio');
  const [first = ''] = rows;
  test.match(first, /≥ [\d.]+x/, 'a bound has its sign');
  test.equal(
    first.match(/#further/g)?.length,
    2,
    'and points to where the true ratio is; so does an interval beyond the axis',
  );
  test.match(rows.join(), /#claimed" class="better"/);
  test.match(ratios, /\d+ other ratios, on which nothing is claimed/);
  test.end();
});

t.test('the slowest requests over the window', (test) => {
  const report = structuredClone(samples.twoModes());
  const charts = timesCharts(report, { clients: 6000 });
  test.equal(charts.length, 2, 'a chart for each mode');
  const [chart] = charts;
  test.strictSame(
    chart?.levels?.map(({ label }) => label),
    ['p50', 'p99'],
  );
  test.equal(chart?.end, 3, 'the window ends after 3 s');
  const [xs = [], line = []] = chart?.data ?? [];
  test.equal(xs.length, 30);
  const [band] = chart?.bands ?? [];
  test.ok(
    line.every((value, at) => (band?.low[at] ?? Infinity) <= (value ?? 0) && (value ?? 0) <= (band?.high[at] ?? 0)),
    'the median is within the trials',
  );
  for (const window of report.runs.flatMap((run) => run.trials)) {
    const bucket = { offset_ms: 3_000, requests: 1, errors: 0, service_max_ns: 1e6, response_max_ns: 1e6 };
    if (window.state === 'completed') window.timeline.push(bucket);
  }
  test.match(renderHtml(report), /class="boundary"/, 'what came after the window is marked');
  test.notMatch(renderHtml(samples.twoModes()), /class="boundary"/);
  for (const window of report.runs.flatMap((run) => run.trials)) window.timeline = [];
  test.strictSame(timesCharts(report, { clients: 6000 }), [], 'no chart without a series');
  test.end();
});

t.test('p50, p99 and the slowest requests over the window', (test) => {
  const report = withTimePercentiles(samples.twoModes());
  const [chart] = timesCharts(report, { clients: 6000 });
  test.strictSame(
    chart?.series.map(({ label }) => label),
    ['slowest', 'p99', 'p50'],
  );
  test.strictSame(
    chart?.bands?.map(({ between }) => between),
    ['pale', 'full'],
  );
  const [xs = [], slowest = [], p99 = [], p50 = []] = chart?.data ?? [];
  test.equal(xs.length, 30);
  test.ok(
    xs.every((_, at) => (p50[at] ?? 0) > 0 && (p50[at] ?? 0) < (p99[at] ?? 0) && (p99[at] ?? 0) <= (slowest[at] ?? 0)),
    'in this order at every moment',
  );
  const page = renderHtml(report);
  test.match(page, /class="band full c\d+"/);
  test.match(page, 'The area between p50 and p99 is filled');
  test.match(page, '<caption>iocp', 'the table behind a chart says which mode it is of');
  test.notMatch(page, 'NaN');
  const [run] = report.runs;
  const part = run?.trials.flatMap((window) =>
    window.state === 'completed' && window.phase === 'latency' ? [window] : [],
  )[0]?.time_percentiles?.[2];
  if (part === undefined) throw new Error('no part');
  part.p99_ns = null;
  const [, , gap = []] = timesCharts(report, { clients: 6000 })[0]?.data ?? [];
  test.strictSame(
    gap.flatMap((value, at) => (value === null ? [at] : [])),
    [4, 5],
    'unknown where one trial has too few requests',
  );
  for (const window of run?.trials ?? []) if (window.state === 'completed') delete window.time_percentiles;
  const [without, other] = timesCharts(report, { clients: 6000 });
  test.equal(without?.note, other?.note, 'one note explains the charts of all modes');
  test.strictSame(new Set(without?.data[2]), new Set([null]), 'though one has no parts');
  test.end();
});

t.test('an area does not bridge what is not known', (test) => {
  const chart = (middle: number | null): Chart => ({
    title: 'figure',
    note: '',
    x: 'rate',
    y: 'duration',
    series: [{ label: 'a', color: 0, dashed: false }],
    bands: [{ series: 0, low: [1e6, 1e6, 1e6, 1e6, 1e6], high: [2e6, 2e6, 2e6, 2e6, 2e6] }],
    data: [
      [1, 2, 3, 4, 5],
      [1.5e6, 1.5e6, middle, 1.5e6, 1.5e6],
    ],
  });
  const parts = (middle: number | null, shape: string): number | undefined =>
    new RegExp(`class="${shape}" d="([^"]*)"`).exec(chartHtml(chart(middle)))?.[1]?.match(/M/g)?.length;
  test.equal(parts(1.5e6, 'band c0'), 1);
  test.equal(parts(null, 'band c0'), 2);
  test.equal(parts(null, 'line s0'), 2);
  test.match(chartHtml(chart(null)), '<td>n/a</td>', 'the table says so, too');
  test.end();
});

t.test('cost as stacked bars', (test) => {
  const report = structuredClone(samples.twoModes());
  const costs = (): string => {
    const page = renderHtml(report);
    return page.slice(page.indexOf('<b>Server time per request'), page.indexOf('<section id="tables"'));
  };
  const widths = (text: string): number[] =>
    [...text.matchAll(/<rect class="cost [a-z]+" x="[\d.]+%" y="4" width="([\d.]+)%"/g)].map(([, width]) =>
      Number(width),
    );
  const usual = widths(costs());
  test.equal(usual.length, 6, 'user, kernel and waiting of two modes');
  const [user = 0, kernel = 0, waiting = 0] = usual;
  test.ok(Math.abs(user + kernel + waiting - 100) < 0.1, 'the longest bar fills the width');
  test.ok(Math.abs(kernel / user - 0.86 / 0.14) < 0.1, 'in proportion');
  test.notMatch(costs(), /#further/);
  for (const window of report.runs[0]?.trials ?? []) {
    if (window.state === 'completed' && window.server !== null) window.server.run_delay_us_per_request = 3_000;
  }
  test.match(costs(), /#further/, 'a bar that would hide the others is cut off');
  test.match(costs(), /kernel \+ 3.00 ms waiting/, 'with its figure');
  test.ok((widths(costs())[3] ?? 0) > 1, 'the others can be seen');
  test.end();
});

t.test('two reports over each other', (test) => {
  const reports = { base: samples.twoModes(), head: samples.slowerHead() };
  const diff = diffReports(reports.base, reports.head);
  const page = renderDiffHtml({ base: 'base.json', head: evil, diff, gates: [] }, reports);
  test.notMatch(page, /<img/, 'names of files are not markup');
  test.match(page, /default-src 'none'/);
  test.notMatch(page, /NaN|undefined|Infinity/);
  const main = page.slice(page.indexOf('id="main-figures"'), page.indexOf('</header>'));
  test.equal(main.match(/<rect class="bar c\d pale"/g)?.length, 8, 'a pale bar of the base for each mode and figure');
  test.equal(main.match(/<rect class="bar c\d"/g)?.length, 8, 'and one of the head');
  test.match(page, /<section id="changes">.*<b>worse<\/b>/s, 'what became worse');
  test.match(page, '<b>iocp (io_uring): Latency by percentile, at the offered rate</b>');
  test.match(page, /<h3>iocp, 6,000 clients/, 'the tables of the terminal');
  const refused = { base: samples.twoModes(), head: samples.underWine() };
  const view = { base: 'a', head: 'b', diff: diffReports(refused.base, refused.head), gates: [] };
  const empty = renderDiffHtml(view, refused);
  test.match(empty, 'These reports cannot be compared');
  test.notMatch(empty, /<rect class="bar/, 'no figures next to each other that mean different things');
  test.end();
});

t.test('percentile curves rise, and end where requests had no echo', (test) => {
  const curvesOf = (report: Report): (number | null)[][] =>
    pointCharts(report, { clients: report.plan.clients[0] ?? 0 })
      .find(({ x }) => x === 'nines')
      ?.data.slice(1)
      .map((line) => [...line]) ?? [];
  const good = curvesOf(samples.twoModes());
  test.equal(good.length, 4, 'response and service time of two modes');
  for (const curve of good) {
    const known = curve.filter((value) => value !== null);
    test.ok(
      known.every((value, index) => index === 0 || value >= (known[index - 1] ?? 0)),
      'never falls',
    );
  }
  const pointsOf = (curves: (number | null)[][]): number[] =>
    curves.map((curve) => curve.filter((value) => value !== null).length);
  const [, , response = 0, service = 0] = pointsOf(curvesOf(samples.badDay()));
  test.ok(
    response < service / 2,
    `6% without an echo: the response time ends early (${response} of ${service} points)`,
  );
  test.end();
});

t.test('the percentiles of a single window have an area around them', (test) => {
  const report = samples.target();
  const chart = pointCharts(report, { clients: report.plan.clients[0] ?? 0 }).find(({ x }) => x === 'nines');
  const [band, second] = chart?.bands ?? [];
  test.equal(second, undefined, 'the response time alone');
  const curve = chart?.data[1 + (band?.series ?? 0)] ?? [];
  const points = curve.flatMap((value, index) => {
    const [low, high] = [band?.low[index] ?? null, band?.high[index] ?? null];
    return value === null || low === null || high === null ? [] : [{ low, value, high }];
  });
  test.ok(points.length > 50, `${points.length} points`);
  test.ok(points.every(({ low, value, high }) => low <= value && value <= high));
  test.ok(points.some(({ low, high }) => low < high));
  test.match(chart?.note, /95% interval/);
  const several = samples.twoModes();
  const merged = pointCharts(several, { clients: several.plan.clients[0] ?? 0 }).find(({ x }) => x === 'nines');
  test.equal(merged?.bands, undefined, 'several trials differ by more than chance');
  test.end();
});

t.test('nothing of others becomes markup', (test) => {
  const page = renderHtml(hostile());
  test.notMatch(page, /<img/, 'HTML');
  test.equal(page.match(/<\/script>/g)?.length, 1, 'the script of the page and no more');
  test.notMatch(renderMarkdown(hostile()), /<img|[^\\]\|&amp;amp/, 'Markdown');
  test.notMatch(renderJunit(hostile()), /<img/, 'JUnit');
  test.end();
});

t.test('Markdown tables have as many cells in every row', (test) => {
  for (const report of [samples.twoModes(), samples.fiveModesSweep(), hostile()]) {
    const blocks = renderMarkdown(report)
      .split(/\n\n/)
      .filter((block) => block.startsWith('|'));
    test.ok(blocks.length > 0);
    for (const block of blocks) {
      const widths = new Set(block.split('\n').map((line) => line.replace(/\\\|/g, '').split('|').length));
      test.equal(widths.size, 1, block.slice(0, 60));
    }
  }
  test.end();
});

/** Reads RFC 4180 back. */
function parseCsv(text: string): string[][] {
  const field = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/y;
  const rows: string[][] = [[]];
  for (let match = field.exec(text); match !== null; match = field.exec(text)) {
    rows.at(-1)?.push(match[1]?.replaceAll('""', '"') ?? match[2] ?? '');
    if (match[3] !== ',') rows.push([]);
  }
  return rows.slice(0, -1);
}

t.test('CSV has a row per window, and its figures', (test) => {
  const report = samples.badDay();
  const [header = [], ...rows] = parseCsv(renderCsv(report));
  const windows = report.runs.flatMap((run) => run.trials);
  test.equal(rows.length, windows.length);
  test.equal(new Set(header).size, header.length, 'no name twice');
  for (const [index, cells] of rows.entries()) {
    test.equal(cells.length, header.length, `row ${index}: as many fields as names`);
    const cell = (name: string): string => cells[header.indexOf(name)] ?? 'no such column';
    const window = windows[index];
    test.equal(cell('state'), window?.state);
    test.equal(cell('throughput_per_second'), String(window?.requests?.per_second ?? ''));
    test.equal(cell('response_time_p99_ns'), String(window?.response_time_ns?.p99 ?? ''));
    test.equal(cell('reason'), window?.state === 'failed' ? window.reason : '');
  }
  test.match(renderCsv(report), /response_time_p99=timeout/);
  test.end();
});

t.test('a sweep over work: charts, columns and rows', (test) => {
  const report = samples.workSweep();
  const charts = sweepCharts(report);
  test.strictSame(
    charts.map(({ title, x, y }) => [title, x, y]),
    [
      ['Throughput at full load by work per request', 'work', 'rate'],
      ['Server CPU per request at full load by work per request', 'work', 'duration'],
      ['Response time p99 by work per request', 'work', 'duration'],
    ],
  );
  const [works = [], ...lines] = charts[1]?.data ?? [];
  test.strictSame(works, [0, 10e3, 100e3, 1e6], 'in nanoseconds, as formats expect');
  test.equal(lines.length, 2);
  for (const line of lines)
    test.ok((line[3] ?? 0) > 1e6 && (line[0] ?? 0) < 20e3, `${line.join()}: CPU time with the work`);
  const [header = [], ...rows] = parseCsv(renderCsv(report));
  const column = (name: string): string[] => rows.map((cells) => cells[header.indexOf(name)] ?? '');
  test.strictSame([...new Set(column('work_us'))], ['0', '10', '100', '1000']);
  test.strictSame([...new Set(column('wait_ms'))], ['0']);
  const page = renderHtml(report);
  test.match(page, '<h3>1,000 clients, 100 µs of work</h3>');
  test.match(page, '<th scope="col">work</th>');
  test.match(renderMarkdown(report), '<summary>1,000 clients, no work, median of 4 trials</summary>');
  const twice = [...report.runs, ...report.runs.map((run) => ({ ...run, clients: 2000 }))];
  test.strictSame(
    serviceCharts({ ...report, runs: twice }).map(({ title }) => title.replace(/^.*request,/, '')),
    [...Array<string>(3).fill(' 1,000 clients'), ...Array<string>(3).fill(' 2,000 clients')],
    'a chart for each number of clients',
  );
  test.end();
});

t.test('CSV fields that a spreadsheet would run are texts', (test) => {
  const report = structuredClone(samples.target());
  for (const run of report.runs) run.mode = '=1+1,"x"';
  const [, first] = parseCsv(renderCsv(report));
  test.equal(first?.[0], `'=1+1,"x"`);
  test.end();
});

t.test('JUnit counts what it lists', (test) => {
  const gate = (held: boolean | null): Gate => ({
    expression: 'any.errors > 0',
    held,
    value: 0,
    threshold: 0,
    unit: 'count',
    reason: 'r',
    figures: [],
  });
  const xml = renderJunit({ ...samples.target(), gates: [gate(true), gate(false), gate(null), gate(null)] });
  test.match(xml, /tests="4" failures="1" errors="2"/);
  test.equal(xml.match(/<testcase /g)?.length, 4);
  test.equal(xml.match(/<failure /g)?.length, 1);
  test.equal(xml.match(/<error /g)?.length, 2, 'undecided is no pass');
  test.match(renderJunit({ ...samples.target(), gates: [] }), /tests="0" failures="0" errors="0"/);
  test.end();
});
