import t from 'tap';
import type { Report } from '../../../src/model/report-schema.js';
import { renderTable } from '../../../src/report/table.js';
import { capacityWindow, latencyWindow, times } from '../measure/build.js';
import { characters, conclude, makeRuns, samplePlan, samples } from './samples.js';

const plain = { width: 80, color: false, full: true };
const short = { width: 80, color: false };

/** The cells of the first row with this label. */
function row(text: string, label: string): string[] {
  const line = text.split('\n').find((one) => one.startsWith(`│  ${label}`));
  return (line ?? '')
    .split('│')
    .slice(2, -1)
    .map((cell) => cell.trim());
}

t.test('every sample fits 80 and 120 columns, in colour too', (test) => {
  for (const [name, make] of Object.entries(samples)) {
    const report = make();
    for (const [width, full] of [
      [80, false],
      [80, true],
      [120, false],
      [120, true],
    ] as const) {
      const lines = renderTable(report, { width, color: false, full }).split('\n');
      test.strictSame(
        lines.filter((line) => line.length > width),
        [],
        `${name} at ${width}${full ? ', full' : ''}`,
      );
      const painted = renderTable(report, { width, color: true, full });

      test.equal(painted.replace(/\u001b\[\d+m/g, ''), lines.join('\n'), `${name}: colour changes no text`);
      test.not(painted, lines.join('\n'), `${name}: there is colour`);
    }
  }
  test.end();
});

t.test('the notes name what a server sends back: an echo, or the reply of another protocol', (test) => {
  const report = samples.target();
  const http = { ...report, plan: { ...report.plan, protocol: 'http' as const } };
  for (const style of [plain, short]) {
    test.match(renderTable(report, style), /its\s+whole\s+echo/);
    test.match(renderTable(http, style), /its\s+whole\s+reply/);
  }
  test.end();
});

t.test('the verdict stands above every table', (test) => {
  const text = renderTable(samples.twoModes(), plain);
  test.ok(text.indexOf('Verdict') > 0 && text.indexOf('Verdict') < text.indexOf('┌'));
  test.match(text, /iocp answered \d+% more requests per second than\s+blocking/);
  test.match(text, /iocp \(io_uring\)/, 'the backend is shown');
  test.end();
});

t.test('the cells are the figures of the report, the ratio that of the comparison', (test) => {
  const text = renderTable(samples.twoModes(), plain);
  test.match(row(text, 'made'), ['6,000', '6,000', '']);
  test.match(row(text, 'requests'), [/^5\d\.\dk\/s$/, /^9\d\.\dk\/s$/, /^1\.\d\dx \[1\.\d\d, 1\.\d\d\]$/]);
  test.match(row(text, 'threads'), ['6,012', '13']);
  const serviceTime = text.slice(text.indexOf('Service time at full load'), text.indexOf('Response time at'));
  test.notMatch(serviceTime, /\dx/, 'no ratio on the times of a closed loop');
  test.end();
});

t.test('one trial: no ratio, and it is said', (test) => {
  const used = [characters.blocking, characters.iocp];
  const plan = samplePlan(used, { trials: 1 });
  const text = renderTable(conclude(plan, makeRuns(plan, used, 9)), plain);
  test.match(text, /one trial/i);
  test.match(text, /no ratios, since their error is not known/);
  test.notMatch(text, /\d\.\d+x/);
  test.end();
});

t.test('a single window shows the wide intervals of its percentiles, several trials do not', (test) => {
  const textOf = (trials: number, intervals: object): string => {
    const used = [characters.blocking, characters.iocp];
    const plan = samplePlan(used, { trials });
    const report = conclude(plan, makeRuns(plan, used, 9));
    for (const window of report.runs[0]?.trials ?? []) {
      if (window.response_time_ns !== null) window.response_time_ns = { ...times(1e6), intervals };
    }
    return renderTable(report, plain);
  };
  const wide = { p50: { low: 230e3, high: 280e3 }, p99: { low: 990e3, high: 1_010e3 } };
  test.match(textOf(1, wide), /\[230 µs, 280 µs\]/);
  test.match(textOf(1, wide), /In brackets: the 95% interval of a percentile/);
  test.notMatch(textOf(1, wide), /\[990 µs/, 'a narrow one is left out');
  test.match(textOf(1, { p99: { low: 900e3, high: null } }), /\[900 µs, > timeout\]/);
  test.notMatch(textOf(3, wide), /\[230 µs/);
  test.end();
});

/** Two modes of which every window was changed. */
function changed(change: (report: Report) => void): string {
  const report = structuredClone(samples.twoModes());
  change(report);
  return renderTable(report, plain);
}

t.test('a percentile that is not there says why', (test) => {
  const text = changed((report) => {
    for (const window of report.runs[0]?.trials ?? []) {
      if (window.state !== 'completed' || window.response_time_ns === null) continue;
      window.response_time_ns = {
        ...times(1e6),
        p99: null,
        p99_9: null,
        max: null,
        missing: { p99: 'too_few_samples', p99_9: 'timeout', max: 'timeout' },
      };
    }
  });
  test.equal(row(text, 'p99.9')[0], '> timeout');
  test.match(text, /│ few samples │/);
  test.match(text, /> timeout: so many requests had no echo within 10\.0 s/);
  test.end();
});

t.test('a saturated client makes the ratio a bound', (test) => {
  const report = structuredClone(samples.twoModes());
  for (const window of report.runs[1]?.trials ?? []) {
    if (window.state === 'completed') window.client = { ...window.client, saturated: true, saturated_by: 'busy' };
  }
  const text = renderTable(conclude(report.plan, report.runs), plain);
  test.match(row(text, 'requests')[2] ?? '', /^≥ 1\.\d\dx/);
  test.match(row(text, 'busiest thread')[1] ?? '', /\(limit\)$/);
  test.match(text, /iocp answered at least \d+% more\s+requests/);
  test.match(text, /≥ and ≤: the load generator was the limit/);
  test.end();
});

t.test('a target by name stands with the address that was loaded', (test) => {
  const titled = (outcomes: readonly ('answered' | 'refused')[]): string => {
    const report = structuredClone(samples.target());
    const tried = outcomes.map((outcome, index) => ({ address: `10.0.0.${index}`, outcome }));
    Object.assign(report.plan, { target: 'db:7000', target_address: '10.0.0.1:7000', target_tried: tried });
    const [, text = ''] = renderTable(report, plain).split('\n\n');
    return text.split('\n').slice(0, 2).join(' ');
  };
  test.match(titled(['refused', 'answered']), 'db:7000 (10.0.0.1:7000) under 1,000 clients');
  test.match(titled(['answered', 'answered']), 'db:7000 (10.0.0.1:7000, the first of 2 addresses that answer) under');
  test.end();
});

t.test('what is not known has no row of its own, or reads n/a', (test) => {
  const text = renderTable(samples.target(), plain);
  test.notMatch(text, /Server cost/, 'nothing is known of a server that is not ours');
  test.notMatch(renderTable(samples.underWine(), plain), /context switches/, 'Wine tells of no switches');
  const partly = changed((report) => {
    for (const window of report.runs[0]?.trials ?? []) {
      if (window.state === 'completed' && window.server !== null) window.server.kernel_bytes_per_connection = null;
    }
  });
  test.equal(row(partly, 'kernel memory/conn. [3]')[0], 'n/a');
  test.end();
});

t.test('windows that broke are listed with their reason', (test) => {
  const text = renderTable(samples.badDay(), plain);
  test.match(text, /This run did not end/);
  test.match(text, /trial 2, capacity: failed: the server was killed/);
  test.match(row(text, 'made'), ['2,031', '6,000']);
  test.match(row(text, 'refused by server')[0] ?? '', /^3,969$/);
  test.end();
});

t.test('warnings come with their advice, gates with their figures', (test) => {
  const text = renderTable(samples.badDay(), plain);
  test.match(text, /Warning: blocking at 6,000 clients/);
  test.match(text, /→ /);
  test.match(renderTable(samples.twoModes(), plain), /failed {4}blocking@6000\.response_time_p99 > 1ms/);
  test.end();
});

t.test('names of others cannot command the terminal', (test) => {
  const text = changed((report) => {
    const [entry] = report.plan.modes;
    const [run] = report.runs;
    if (entry === undefined || run === undefined) throw new Error('the sample has a mode');
    entry.mode = run.mode = 'evil\u001b]0;title\u0007\u001b[2J';
    report.findings = ['a\u001b[31mb\nc'];
  });

  test.notMatch(text, /[\u0000-\u0009\u000b-\u001f]/);
  test.match(text, /ab?.*\[31mb c/);
  test.end();
});

t.test('a report without a single window', (test) => {
  const { plan, runs } = samples.twoModes();
  const text = renderTable(conclude(plan, [], { partial: true }), plain);
  test.match(text, /This run did not end/);
  const none = renderTable(
    conclude(
      plan,
      runs.map((run) => ({ ...run, trials: [] })),
      { partial: true },
    ),
    plain,
  );
  test.match(none, /no window was measured to its end/);
  test.end();
});

t.test('one phase alone', (test) => {
  const used = [characters.blocking, characters.iocp];
  for (const [phase, says, says_not] of [
    ['capacity', /Throughput at full load/, /Response time/],
    ['latency', /Response time at/, /full load/],
  ] as const) {
    const plan = samplePlan(used, { phases: [phase] });
    const text = renderTable(conclude(plan, makeRuns(plan, used, 4)), plain);
    test.match(text, says, phase);
    test.notMatch(text, says_not, phase);
    test.match(text, /Server cost/, `${phase}: cost is shown`);
  }
  test.end();
});

t.test('bulk and churn have rows of their own', (test) => {
  const plan = { ...samples.target().plan, message_size_bytes: 65_536, requests_per_connection: 10 };
  const window = capacityWindow(0, { requests: { reconnects: 500 } });
  const run = { mode: 'target', backend: 'external', clients: 1000, trials: [window, latencyWindow(0)] };
  const text = renderTable(conclude(plan, [run]), plain);
  test.equal(row(text, 'payload, one way').length, 1);
  test.equal(row(text, 'reconnects')[0], '500/s');
  test.end();
});

/* ------------------------------------------------------------------------------------------------- the short report */

t.test('the short report begins with the answer and fits on two screens', (test) => {
  const report = samples.twoModes();
  const lines = renderTable(report, short).split('\n');
  test.match(
    lines.slice(0, 3).join(' '),
    /^At 6,000 connections, iocp answered \d+% more requests per second than blocking/,
  );
  test.ok(lines.length <= 90, `${lines.length} lines`);
  test.ok(renderTable(report, plain).split('\n').length > lines.length);
  test.end();
});

t.test('the short table has the primary figures, and no row that the full one lacks', (test) => {
  const report = samples.twoModes();
  const text = renderTable(report, short);
  test.match(row(text, 'connections made'), ['6,000', '6,000', '']);
  test.match(row(text, 'requests at full load')[2] ?? '', /^1\.\d\dx/);
  test.match(row(text, 'CPU per request')[2] ?? '', /^0\.\d+x/);
  test.match(row(text, 'p99')[2] ?? '', /^0\.\d+x/);
  test.notMatch(text, /Jain's index|busiest thread|page tables/);
  const full = renderTable(report, plain);
  for (const line of text.split('\n').filter((one) => one.startsWith('│  '))) {
    const cells = line.split('│').slice(2, -1).join('│').trim().replace(/ +/g, ' ');
    test.ok(full.replace(/ +/g, ' ').includes(cells), `the full table has the figures of ${line}`);
  }
  test.end();
});

t.test('figures that are not valid, and bounds, are marked where they are', (test) => {
  const report = structuredClone(samples.twoModes());
  for (const window of report.runs[1]?.trials ?? []) {
    if (window.state !== 'completed') continue;
    if (window.phase === 'capacity') window.client = { ...window.client, saturated: true, saturated_by: 'busy' };
    else window.client = { ...window.client, own_lag_ns: times(9e9) };
  }
  const concluded = conclude(report.plan, report.runs);
  for (const options of [short, plain]) {
    const text = renderTable(concluded, options);
    const requests = row(text, options === short ? 'requests at full load' : 'requests');
    test.match(requests.slice(0, 2), [/^\d/, /^≥ \d/], 'the throughput of the saturated client is a bound');
    const p99 = text.slice(text.indexOf('Response time at'));
    test.match(row(p99, 'p99'), [/^\d/, /^! /, /^! /], 'the response times of the late client, and their ratio');
    test.match(row(text, 'CPU per request').slice(0, 2), [/^\d/, /^\d/], "the server's CPU time is right");
    test.match(text, /! marks a figure that is not valid/);
  }
  const painted = renderTable(concluded, { ...short, color: true });
  test.match(painted, /\u001b\[31m! /, 'red');
  test.match(painted, /\u001b\[33m≥ /, 'yellow');
  test.notMatch(renderTable(samples.twoModes(), short), /! marks|≥/, 'nothing is marked where all is valid');
  test.end();
});

t.test('a sweep has one table in the short report, and a table per point in the full one', (test) => {
  const report = samples.fiveModesSweep();
  const tables = (text: string): number => text.split('\n').filter((line) => line.startsWith('┌')).length;
  test.equal(tables(renderTable(report, { width: 120, color: false })), 1);
  test.ok(tables(renderTable(report, { width: 120, color: false, full: true })) > report.plan.clients.length);
  test.end();
});

t.test('warnings are a line per cause, and at most twelve', (test) => {
  const report = structuredClone(samples.twoModes());
  for (const run of report.runs) {
    for (const window of run.trials) {
      if (window.state !== 'completed') continue;
      window.steady = false;
      window.system = { ...window.system, cpu_steal_fraction: 0.1, cpu_others_fraction: 0.3, listen_overflows: 3 };
      window.client = {
        ...window.client,
        saturated: true,
        saturated_by: 'busy',
        started_late_ns: 1e9,
        stopped_ns: 1e9,
      };
      window.requests = { ...window.requests, failed: 5 };
    }
  }
  const noisy = conclude(report.plan, report.runs);
  const text = renderTable(noisy, short);
  const lines =
    text
      .slice(text.indexOf('\nWarnings\n') + 1)
      .split('\n\n')[0]
      ?.split('\n') ?? [];
  test.ok(lines.length <= 13, `${lines.length - 1} lines`);
  test.match(lines[1] ?? '', /^ {2}! /, 'the worst first');
  test.ok(noisy.warnings.length > 2 * lines.length, `${noisy.warnings.length} warnings`);
  test.match(
    renderTable(noisy, { ...short, explain: true }),
    /Invalid: blocking at 6,000 clients, capacity: /,
    '--explain',
  );
  test.end();
});
