/** The client over TLS: against Node's tls, nginx and openssl s_server, with right and wrong certificates. */
import { spawn } from 'node:child_process';
import { copyFileSync, readFileSync } from 'node:fs';
import { createServer as createWebServer } from 'node:https';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { SecureVersion } from 'node:tls';
import t, { type Test } from 'tap';
import type { CompletedWindow, Report } from '../../src/model/report-schema.js';
import { checkMessage, makePlace, run, shortBlast, type Outcome } from '../support/cli.js';
import { checkDocumentedBlast, commandsOf, readDocument } from '../support/documents.js';
import { findProgram, freePort, isWindows, root, skipWithout } from '../support/environment.js';
import { listens, startNginxWith } from '../support/foreign-servers.js';
import { checkHealthyRun, parseReport, runOf } from '../support/report.js';
import { whyUnavailable } from '../support/server.js';
import { certificateFile, keyFile, startTlsEcho } from '../support/tls-rig.js';

t.setTimeout(300_000);

const runFailed = 4;
const trusted = ['--tls-ca', certificateFile('ca')];
const capacity = ['--phases', 'capacity'];

async function blast(
  test: Test,
  target: string | number,
  ...more: string[]
): Promise<{ outcome: Outcome; report: Report }> {
  const address = typeof target === 'number' ? `127.0.0.1:${target}` : target;
  const outcome = await run(makePlace(test), shortBlast('--target', address, '--tls', '--json', '-', ...more));
  return { outcome, report: parseReport(test, outcome.stdout) };
}

function windowsOf(report: Report): CompletedWindow[] {
  return report.runs.flatMap(({ trials }) => trials).filter((window) => window.state === 'completed');
}

const engines = isWindows ? ['iocp'] : ['epoll', 'io_uring'];
const versions: readonly SecureVersion[] = ['TLSv1.2', 'TLSv1.3'];
/** Each engine with each version: native/test/tls_run_test.c. */
const pairs = engines.map((engine, index) => ({ engine, version: versions[(index + 1) % 2] ?? 'TLSv1.3' }));
for (const { engine, version } of pairs) {
  const skip = engine === 'iocp' ? false : await whyUnavailable(engine);
  t.test(`an echo over ${version}, engine ${engine}`, { skip }, async (test) => {
    const rig = await startTlsEcho(test, 'server', { minVersion: version, maxVersion: version });
    // Larger than a record, so that messages and records do not end at the same places.
    const sizes = ['--pipeline', '3', '--message-size', '20000'];
    const load = ['--engine', engine, '--clients', '20', '--rate', '200/s', ...sizes];
    const { outcome, report } = await blast(test, `localhost:${rig.port}`, ...trusted, ...load);
    test.equal(outcome.code, 0, outcome.stderr);
    checkHealthyRun(test, runOf(report, 'target', 20));
    test.equal(rig.serverName, 'localhost', 'the server is told the name');
    test.match(report.plan.tls, { server_name: 'localhost', verified: true, client_certificate: false });
    for (const { connections, client } of windowsOf(report)) {
      test.match(connections.tls, { count: 20, resumed: 0 });
      test.ok((connections.tls?.time_ns?.p50 ?? 0) > 0, 'the time of a handshake');
      test.ok((connections.tls?.per_second ?? 0) > 0, 'and how many there were per second');
      test.ok(client.features.includes(version), client.features.join(' '));
      test.ok(
        client.features.some((name) => /AES|CHACHA/.test(name)),
        'and the cipher',
      );
    }
    test.equal(windowsOf(report).length, 2, 'capacity and latency');
  });
  t.test(`connections made again, engine ${engine}`, { skip }, async (test) => {
    const rig = await startTlsEcho(test, 'server');
    const load = ['--engine', engine, '--clients', '10', '--requests-per-connection', '5', '--close', 'fin'];
    const { outcome, report } = await blast(test, rig.port, ...trusted, ...capacity, ...load);
    test.equal(outcome.code, 0, outcome.stderr);
    checkHealthyRun(test, runOf(report, 'target', 10));
    test.equal(rig.serverName, false, 'an address is not a name');
    test.equal(rig.resumed, 0, 'without --tls-resume');
    for (const { churn } of windowsOf(report)) {
      test.ok((churn?.tls?.count ?? 0) > 10, 'handshakes in the window');
      test.equal(churn?.tls?.resumed, 0);
      test.equal(churn?.fins_unanswered, 0, 'every FIN is answered');
    }
  });
}

for (const version of versions) {
  t.test(`--tls-resume over ${version}`, async (test) => {
    const rig = await startTlsEcho(test, 'server', { minVersion: version, maxVersion: version });
    const load = ['--clients', '10', '--requests-per-connection', '5', '--tls-resume'];
    const { outcome, report } = await blast(test, rig.port, ...trusted, ...capacity, ...load);
    test.equal(outcome.code, 0, outcome.stderr);
    checkHealthyRun(test, runOf(report, 'target', 10));
    test.equal(report.plan.tls?.resume, true);
    for (const { churn } of windowsOf(report)) {
      const { count = 0, resumed = 0 } = churn?.tls ?? {};
      test.ok(count > 10 && resumed >= 0.9 * count, `${resumed} of ${count} resumed`);
    }
    test.ok(rig.resumed >= rig.handshakes - 10, 'the server says the same: all but the first ones');
  });
}

const refusedCertificates = [
  ['a self-signed certificate', 'self-signed', [], /self-signed certificate; use --tls-ca FILE or --tls-insecure/],
  ['an unknown authority', 'server', [], /unable to get local issuer certificate; use --tls-ca FILE/],
  ['an expired certificate', 'expired', trusted, /certificate has expired; use --tls-insecure/],
  [
    'another name',
    'server',
    [...trusted, '--tls-server-name', 'db.example.com'],
    /it is not for db\.example\.com; use --tls-server-name NAME/,
  ],
] as const;
for (const [what, name, more, says] of refusedCertificates) {
  t.test(`${what} is refused${name === 'self-signed' ? ', and accepted with --tls-insecure' : ''}`, async (test) => {
    const rig = await startTlsEcho(test, name);
    const load = ['--clients', '5', ...capacity];
    const refused = await run(
      makePlace(test),
      shortBlast('--target', `127.0.0.1:${rig.port}`, '--tls', '--json', 'out.json', ...load, ...more),
    );
    checkMessage(test, refused, { code: runFailed, says: [says] });
    if (name !== 'self-signed') return;
    const accepted = await blast(test, rig.port, '--tls-insecure', ...load);
    test.equal(accepted.outcome.code, 0, accepted.outcome.stderr);
    checkHealthyRun(test, runOf(accepted.report, 'target', 5));
    test.equal(accepted.report.plan.tls?.verified, false);
    test.ok(accepted.report.warnings.some(({ code }) => code === 'tls_not_verified'));
  });
}

t.test('errors of certificates are errors of connecting, by class', async (test) => {
  const rig = await startTlsEcho(test, 'self-signed');
  const { report } = await blast(test, rig.port, '--clients', '5', ...capacity);
  const [window] = report.runs.flatMap(({ trials }) => trials);
  test.match(window, { state: 'failed', connections: { made: 0, failed: 5 }, errors: { by_class: { tls_verify: 5 } } });
});

t.test('a client certificate', async (test) => {
  const rig = await startTlsEcho(test, 'server', {
    requestCert: true,
    rejectUnauthorized: true,
    ca: [readFileSync(certificateFile('ca'))],
  });
  const own = ['--tls-cert', certificateFile('client'), '--tls-key', keyFile('client')];
  const { outcome, report } = await blast(test, rig.port, ...trusted, ...own, '--clients', '5', ...capacity);
  test.equal(outcome.code, 0, outcome.stderr);
  checkHealthyRun(test, runOf(report, 'target', 5));
  test.equal(report.plan.tls?.client_certificate, true);
  const without = await blast(test, rig.port, ...trusted, '--clients', '5', ...capacity);
  checkMessage(test, without.outcome, {
    code: runFailed,
    says: [/alert certificate required|alert handshake failure/],
  });
  const [window] = without.report.runs.flatMap(({ trials }) => trials);
  test.ok((window?.errors.by_class['tls_handshake'] ?? 0) > 0, JSON.stringify(window?.errors));
});

t.test('a server that ends its sessions with close_notify', async (test) => {
  const endsAfterMs = 1_500;
  const counts: number[] = [];
  const rig = await startTlsEcho(test, 'server', {}, (socket) => {
    let echoes = 0;
    let secondAt = performance.now();
    socket.on('data', (bytes: Buffer) => {
      // Sent before the client knows of the end.
      if (socket.writableEnded) return;
      echoes += 1;
      // The first one makes the connection.
      if (echoes <= 2) secondAt = performance.now();
      if (performance.now() - secondAt < endsAfterMs) {
        socket.write(bytes);
        return;
      }
      counts.push(echoes);
      socket.end(bytes);
    });
  });
  const load = ['--clients', '2', '--warmup', '0', '--duration', `${2 * endsAfterMs}ms`, ...capacity];
  const { report } = await blast(test, rig.port, ...trusted, ...load);
  const [window] = report.runs.flatMap(({ trials }) => trials);
  const ended = { count: 2, min: Math.min(...counts), max: Math.max(...counts) };
  test.match(window?.connections, { made: 2, lost: 2, closed_after_echoes: ended });
});

t.test('servers that do not speak TLS', async (test) => {
  const answers: readonly [string, string | null, RegExp][] = [
    ['HTTP', 'HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n', /the server's answer is not TLS/],
    ['an end', '', /closed by the server during the TLS handshake/],
    ['nothing', null, /TLS handshake was not complete within the timeout/],
  ];
  for (const [what, answer, says] of answers) {
    const server = createServer((socket) => {
      socket.on('error', () => socket.destroy());
      socket.on('data', () => {
        if (answer !== null) socket.end(answer);
      });
    });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    const { port } = server.address() as AddressInfo;
    const load = ['--clients', '3', '--timeout', answer === null ? '1s' : '10s', ...capacity];
    const { outcome, report } = await blast(test, port, ...trusted, ...load);
    server.close();
    test.equal(outcome.code, runFailed, what);
    const [window] = report.runs.flatMap(({ trials }) => trials);
    const name = answer === null ? 'timeout' : 'tls_handshake';
    test.strictSame(Object.keys(window?.errors.by_class ?? {}), [name], `${what} is of class ${name}`);
    test.match(window?.errors.samples[0]?.message, says);
    if (what === 'HTTP') test.match(outcome.stderr, /for a server without TLS write http:\/\//);
  }
});

const skipNginx = isWindows ? 'nginx is a program of Linux' : skipWithout('nginx');
t.test('nginx, https://', { skip: skipNginx }, async (test) => {
  const port = await startNginxWith(
    test,
    (own) => `    listen 127.0.0.1:${own} ssl backlog=1024;
    ssl_certificate ${certificateFile('server')}; ssl_certificate_key ${keyFile('server')};
    ssl_protocols TLSv1.2;
    location / { return 200 "hello\\n"; }`,
  );
  const body = ['--rate', '500/s', '--expect-body', 'exact:hello\n'];
  const place = makePlace(test);
  const outcome = await run(
    place,
    shortBlast('--target', `https://localhost:${port}/`, ...trusted, '--clients', '50', '--json', '-', ...body),
  );
  test.equal(outcome.code, 0, outcome.stderr);
  const report = parseReport(test, outcome.stdout);
  checkHealthyRun(test, runOf(report, 'target', 50));
  test.match(windowsOf(report)[0]?.replies, { first: { status: 200, body_bytes: 6 } });
  test.match(report.plan, { protocol: 'http', tls: { server_name: 'localhost', verified: true } });
  const closing = await blast(
    test,
    `https://127.0.0.1:${port}/close`,
    ...trusted,
    ...['--clients', '10', '--tls-resume'],
    ...capacity,
  );
  test.equal(closing.outcome.code, 0, closing.outcome.stderr);
  checkHealthyRun(test, runOf(closing.report, 'target', 10));
  test.ok((windowsOf(closing.report)[0]?.replies?.connections_ended ?? 0) > 10, 'nginx ends each connection');
  const plain = await run(makePlace(test), shortBlast('--target', `http://127.0.0.1:${port}/`, '--clients', '5'));
  checkMessage(test, plain, {
    code: runFailed,
    says: [/answered with status 400/, /a server of https:\/\/ answers plain HTTP like this/],
  });
});

const skipOpenssl = isWindows ? 'started as on Linux' : skipWithout('openssl');
t.test('openssl s_server, which answers lines', { skip: skipOpenssl }, async (test) => {
  const port = await freePort();
  const files = ['-cert', certificateFile('server'), '-key', keyFile('server')];
  const child = spawn(
    findProgram('openssl') ?? 'openssl',
    ['s_server', '-accept', `${port}`, '-rev', '-quiet', ...files],
    {
      stdio: 'ignore',
    },
  );
  test.teardown(() => child.kill('SIGKILL'));
  test.ok(await listens(port), 's_server listens');
  const message = ['--protocol', 'message', '--send', 'abc\\n', '--reply-exact', 'cba\\n'];
  const { outcome, report } = await blast(test, port, ...trusted, ...message, '--clients', '1', '--rate', '100/s');
  test.equal(outcome.code, 0, outcome.stderr);
  checkHealthyRun(test, runOf(report, 'target', 1));
});

const section = /\n## Servers that speak TLS\n([\s\S]*?)\n## /.exec(readDocument('README.md'))?.[1] ?? '';
const commands = commandsOf('README.md', section).filter(({ line }) => line.includes(' --target '));
t.test("README's commands", async (test) => {
  test.ok(commands.length >= 4, `${commands.length} commands`);
  const files = { cert: readFileSync(certificateFile('server')), key: readFileSync(keyFile('server')) };
  const web = createWebServer(files, (_, response) => response.end('hello'));
  await new Promise<void>((resolve) => {
    web.listen(0, '127.0.0.1', resolve);
  });
  test.teardown(() => {
    web.closeAllConnections();
    web.close();
  });
  const echo = await startTlsEcho(test, 'server', { requestCert: true, rejectUnauthorized: false });
  const ports: Readonly<Record<string, number>> = { 8443: (web.address() as AddressInfo).port, 7443: echo.port };
  const place = makePlace(test);
  for (const name of ['ca.pem', 'client.pem', 'client.key']) {
    copyFileSync(join(root, 'fixtures', 'tls', name), join(place.folder, name));
  }
  for (const { line, programs } of commands) {
    const args = (programs[0] ?? []).map((word) =>
      word.replace(/:(\d+)/, (whole, port: string) => `:${ports[port] ?? whole}`),
    );
    await checkDocumentedBlast(test, place, line, args);
  }
});
