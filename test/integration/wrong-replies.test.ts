/** The server is not an echo server, or not a correct one: the run says what came back and what that looks like. */
import t from 'tap';
import { checkMessage, makePlace, run, shortBlast } from '../support/cli.js';
import { RiggedServer, type RiggedKind } from '../support/rigged.js';

t.setTimeout(120_000);

const runFailed = 4;

const replies: Readonly<Partial<Record<RiggedKind, readonly RegExp[]>>> = {
  http: [/received "HTTP\/1\.1 400 Bad Request\\r\\n/, /looks like an HTTP server; use --protocol http/],
  tls: [/received 0x 15 03 01 00 02 02 46/, /looks like a TLS server .*protocol_version/],
  greeting: [
    /received "220 mail\.example\.com ESMTP ready\\r\\n"/,
    /looks like an SMTP server; it speaks first: .*--greeting-until/,
  ],
  prefix: [/adds "echo: " before each message/],
  suffix: [/1 bytes came while no request was outstanding; received "\\n"/, /sends more than the echo/],
};

for (const [kind, says] of Object.entries(replies)) {
  t.test(`a server of the kind ${kind}`, async (test) => {
    const server = await RiggedServer.start(kind as RiggedKind);
    test.teardown(() => {
      server.kill();
    });
    const outcome = await run(makePlace(test), shortBlast('--target', server.target, '--clients', '20'));
    checkMessage(test, outcome, { code: runFailed, says: [...says, /send back every byte/] });
  });
}

const silences: Readonly<Partial<Record<RiggedKind, RegExp>>> = {
  lines: /looks like a server that only answers whole lines.*--protocol message .*--reply-until/,
  strlen: /looks like a server that takes the message for a C string/,
};

for (const [kind, says] of Object.entries(silences)) {
  t.test(
    `one of the kind ${kind}, which makes a few connections of many, does not cost a timeout per round`,
    async (test) => {
      const server = await RiggedServer.start(kind as RiggedKind);
      test.teardown(() => {
        server.kill();
      });
      const load = ['--target', server.target, '--clients', '2000', '--backlog', '128', '--timeout', '1s'];
      const started = performance.now();
      const outcome = await run(makePlace(test), shortBlast(...load, '--phases', 'capacity'), { timeoutMs: 60_000 });
      checkMessage(test, outcome, { code: runFailed, says: [says] });
      // 32 connections wait for their first echo at a time, which would take 62 rounds.
      test.ok(performance.now() - started < 30_000, `${Math.round(performance.now() - started)} ms`);
    },
  );
}
