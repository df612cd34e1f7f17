/** The client of HTTP: against Node's http, nginx, Python's http.server, and a server that answers in every form. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import type { CompletedWindow, Report } from '../../src/model/report-schema.js';
import { checkMessage, makePlace, run, shortBlast, type Outcome } from '../support/cli.js';
import { isWindows, skipWithout } from '../support/environment.js';
import { nginxCounters, startHaproxy, startNginx, startPythonHttp } from '../support/foreign-servers.js';
import { HttpRig, type Form, type FormByTime } from '../support/http-rig.js';
import { checkHealthyRun, parseReport, runOf } from '../support/report.js';

t.setTimeout(300_000);

const runFailed = 4;

async function blast(test: Test, url: string, ...more: string[]): Promise<{ outcome: Outcome; report: Report }> {
  const outcome = await run(makePlace(test), shortBlast('--target', url, '--json', '-', ...more));
  return { outcome, report: parseReport(test, outcome.stdout) };
}

function windowsOf(report: Report): CompletedWindow[] {
  return report.runs.flatMap(({ trials }) => trials).filter((window) => window.state === 'completed');
}

t.test("Node's http server, both phases", async (test) => {
  const seen = { method: '', url: '', headers: '', body: '' };
  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      Object.assign(seen, {
        method: request.method,
        url: request.url,
        headers: `${String(request.headers['x-own'])} ${request.headers['user-agent'] ?? ''} ${request.headers.host ?? ''}`,
        body: Buffer.concat(parts).toString(),
      });
      response.end('hello');
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  test.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const own = ['--method', 'PUT', '--header', 'X-Own: a value', '--header', 'User-Agent: me', '--body', 'the body'];
  const { outcome, report } = await blast(
    test,
    `http://127.0.0.1:${port}/a/path?q=1`,
    ...['--clients', '20', '--pipeline', '2', '--rate', '500/s', '--expect-body', 'exact:hello', ...own],
  );
  test.equal(outcome.code, 0, outcome.stderr);
  checkHealthyRun(test, runOf(report, 'target', 20));
  test.match(seen, { method: 'PUT', url: '/a/path?q=1', headers: `a value me 127.0.0.1:${port}`, body: 'the body' });
  test.match(report.plan, { protocol: 'http', exchange: { request: /PUT \/a\/path\?q=1 with a body of 8 B/ } });
  for (const { replies, requests } of windowsOf(report)) {
    test.match(replies, { first: { status: 200, body_bytes: 5 }, differing: 0, connections_ended: 0 });
    test.ok(requests.bytes_per_second > requests.per_second * 100, 'the bytes of the replies are counted');
  }
  test.equal(windowsOf(report).length, 2, 'capacity and latency');
});

const forms: readonly Form[] = [
  { text: 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok' },
  { text: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n' },
  { text: 'HTTP/1.1 204 No Content\r\n\r\n' },
  { text: 'HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n' },
];

t.test('replies in every form, and their bodies compared', async (test) => {
  const rig = await HttpRig.start(test, forms);
  const load = ['--clients', '10', '--pipeline', '3', '--rate', '500/s'];
  const { outcome, report } = await blast(test, `http://127.0.0.1:${rig.port}`, ...load);
  test.equal(outcome.code, 0, outcome.stderr);
  checkHealthyRun(test, runOf(report, 'target', 10));
  test.match(rig.first, /^GET \/ HTTP\/1\.1\r\nHost: 127\.0\.0\.1:\d+\r\n/, 'the path is /');
  for (const { replies } of windowsOf(report)) test.ok((replies?.differing ?? 0) > 0, 'two forms have no body');
  test.ok(
    report.warnings.some(({ code }) => code === 'replies_differ'),
    'and a note says so',
  );
});

t.test('servers that end connections: made again, and said', async (test) => {
  const closing: readonly Form[] = [
    { text: 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok' },
    { text: 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok', end: true },
  ];
  const rig = await HttpRig.start(test, closing);
  const { outcome, report } = await blast(test, `http://127.0.0.1:${rig.port}/`, '--clients', '10', '--rate', '500/s');
  test.equal(outcome.code, 0, outcome.stderr);
  checkHealthyRun(test, runOf(report, 'target', 10));
  for (const { replies, requests, phase } of windowsOf(report)) {
    test.ok((replies?.connections_ended ?? 0) > 10, `${phase}: connections ended`);
    test.ok((requests.reconnects ?? 0) > 10, `${phase}: and were made again`);
    test.equal(requests.failed, 0, `${phase}: no request was lost`);
  }
  test.match(
    report.warnings.find(({ code }) => code === 'connections_ended_by_reply'),
    { message: /the server ended .* connections with a reply/ },
  );
});

t.test('HEAD and --expect-status', async (test) => {
  const rig = await HttpRig.start(test, [{ text: 'HTTP/1.1 404 Not Found\r\nContent-Length: 1234\r\n\r\n' }]);
  const url = `http://127.0.0.1:${rig.port}/`;
  const capacity = ['--clients', '5', '--phases', 'capacity'];
  const expected = await blast(test, url, ...capacity, '--method', 'HEAD', '--expect-status', '2xx,404');
  test.equal(expected.outcome.code, 0, expected.outcome.stderr);
  checkHealthyRun(test, runOf(expected.report, 'target', 5));
  const refused = await run(makePlace(test), shortBlast('--target', url, ...capacity, '--method', 'HEAD'));
  checkMessage(test, refused, { code: runFailed, says: [/answered with status 404/, /--expect-status/] });
});

/** What a connection gets after its first, right reply; what the run says; whether the run fails. */
const wrongReplies: readonly { name: string; form: Form; errorClass: string; fails: boolean; args: string[] }[] = [
  {
    name: 'another status',
    form: { text: 'HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno' },
    errorClass: 'status',
    fails: false,
    args: [],
  },
  {
    name: 'another body',
    form: { text: 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno' },
    errorClass: 'body',
    fails: true,
    args: ['--expect-body', 'same'],
  },
  {
    name: 'a malformed reply',
    form: { text: 'HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n' },
    errorClass: 'malformed',
    fails: true,
    args: [],
  },
  {
    name: 'a part of a reply',
    form: { text: 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n', end: true },
    errorClass: 'truncated',
    fails: false,
    args: [],
  },
];

const right: Form = { text: 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok' };
/** One reply of each connection is wrong: in the middle of the window, which begins soon after the second request. */
function wrongOnce(form: Form): FormByTime {
  let isOver = false;
  return (sinceMs) => {
    if (isOver || sinceMs < wrongWindowMs / 2) return right;
    isOver = true;
    return form;
  };
}

const wrongWindowMs = isWindows ? 4_000 : 2_000;
for (const { name, form, errorClass, fails, args } of wrongReplies) {
  t.test(`errors by class: ${name}`, async (test) => {
    const rig = await HttpRig.start(test, () => wrongOnce(form));
    const duration = ['--warmup', '0', '--duration', `${wrongWindowMs}ms`];
    const more = ['--clients', '2', '--phases', 'capacity', ...duration, ...args];
    const { outcome, report } = await blast(test, `http://127.0.0.1:${rig.port}/`, ...more);
    const [window] = report.runs.flatMap(({ trials }) => trials);
    test.ok((window?.errors.by_class[errorClass] ?? 0) > 0, JSON.stringify(window?.errors));
    test.strictSame(Object.keys(window?.errors.by_class ?? {}), [errorClass]);
    test.equal(outcome.code, fails ? runFailed : 0, outcome.stderr);
    test.ok(
      report.warnings.some(({ code }) => code === 'replies_wrong'),
      'a warning says so',
    );
  });
}

const skipNginx = isWindows ? 'nginx is a program of Linux' : skipWithout('nginx');
t.test('nginx: both ends count the same requests', { skip: skipNginx }, async (test) => {
  const port = await startNginx(test);
  const url = `http://127.0.0.1:${port}`;
  const before = await nginxCounters(port);
  const { outcome, report } = await blast(
    test,
    `${url}/`,
    ...['--clients', '50', '--rate', '500/s', '--expect-body', 'same'],
  );
  test.equal(outcome.code, 0, outcome.stderr);
  checkHealthyRun(test, runOf(report, 'target', 50));
  const windows = windowsOf(report);
  test.match(windows[0]?.replies, { first: { status: 200, body_bytes: 6 }, differing: 0 });
  const counted = windows.reduce((sum, { requests }) => sum + requests.count, 0);
  const after = await nginxCounters(port);
  test.ok(after.requests - before.requests - 1 >= counted, 'nginx answered at least those of the windows');
  // nginx closes a connection after its 1,000th request, which is not an error.
  const busy = windows.find(({ phase }) => phase === 'capacity');
  if ((busy?.requests.count ?? 0) > 100_000) test.ok((busy?.replies?.connections_ended ?? 0) > 0);
  const closing = await blast(test, `${url}/close`, '--clients', '10', '--phases', 'capacity');
  test.equal(closing.outcome.code, 0, closing.outcome.stderr);
  checkHealthyRun(test, runOf(closing.report, 'target', 10));
  test.ok((windowsOf(closing.report)[0]?.replies?.connections_ended ?? 0) > 10, 'keep-alive is off there');
});

const skipHaproxy = isWindows ? 'haproxy is a program of Linux' : skipWithout('haproxy');
t.test('haproxy', { skip: skipHaproxy }, async (test) => {
  const port = await startHaproxy(test);
  const pipelined = ['--clients', '20', '--pipeline', '4', '--rate', '500/s', '--expect-body', 'exact:hello'];
  const { outcome, report } = await blast(test, `http://127.0.0.1:${port}/`, ...pipelined);
  test.equal(outcome.code, 0, outcome.stderr);
  checkHealthyRun(test, runOf(report, 'target', 20));
});

const skipPython = isWindows ? 'started as on Linux' : skipWithout('python3');
t.test("Python's http.server, HTTP/1.0", { skip: skipPython }, async (test) => {
  const port = await startPythonHttp(test);
  const { outcome, report } = await blast(
    test,
    `http://127.0.0.1:${port}/`,
    ...['--clients', '4', '--phases', 'capacity', '--backlog', '16'],
  );
  test.equal(outcome.code, 0, outcome.stderr);
  checkHealthyRun(test, runOf(report, 'target', 4));
  test.ok((windowsOf(report)[0]?.replies?.connections_ended ?? 0) > 4);
});

t.test('a server that does not speak HTTP', async (test) => {
  const kinds: readonly [string, string, Form, RegExp][] = [
    [
      'a greeting',
      '220 mail.example.com ESMTP ready\r\n',
      { text: '' },
      /SMTP server; it speaks first: use --protocol message/,
    ],
    ['TLS', '\x15\x03\x01\0\x02\x02\x46', { text: '' }, /a TLS server .*use --tls/],
    ['an end', '', { text: '', end: true }, /may expect another protocol \(--protocol\) or TLS \(--tls, https:\/\/\)/],
  ];
  for (const [name, greets, form, says] of kinds) {
    const rig = await HttpRig.start(test, [form], greets);
    const outcome = await run(
      makePlace(test),
      shortBlast('--target', `http://127.0.0.1:${rig.port}/`, '--clients', '3'),
    );
    checkMessage(test, outcome, { code: runFailed, says: [says] });
    test.comment(name);
  }
});
