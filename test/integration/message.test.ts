/** Messages of the user's own: against Redis, servers with a length prefix, and servers that greet; and what is said of the wrong ones. */
import { createServer, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { checkMessage, makePlace, run, shortBlast } from '../support/cli.js';
import { isWindows, skipWithout } from '../support/environment.js';
import { startRedis } from '../support/foreign-servers.js';
import { checkHealthyRun, parseReport, runOf } from '../support/report.js';

t.setTimeout(300_000);

const runFailed = 4;

/** A server in this process. `serve` is called once per connection. */
async function serverOf(test: Test, serve: (socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    serve(socket);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  test.teardown(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const address = server.address();
  return `127.0.0.1:${address !== null && typeof address === 'object' ? address.port : 0}`;
}

function messageBlast(target: string, ...more: string[]): string[] {
  return shortBlast('--target', target, '--protocol', 'message', ...more);
}

async function healthy(test: Test, target: string, clients: number, ...more: string[]): Promise<void> {
  const load = ['--clients', String(clients), '--rate', '500/s'];
  const args = messageBlast(target, ...load, '--json', '-', ...more);
  const outcome = await run(makePlace(test), args);
  test.equal(outcome.code, 0, outcome.stderr);
  const report = parseReport(test, outcome.stdout);
  checkHealthyRun(test, runOf(report, 'target', clients));
  test.equal(report.plan.protocol, 'message');
}

const skipRedis = isWindows ? 'redis-server is a program of Linux' : skipWithout('redis-server');
t.test('Redis', { skip: skipRedis }, async (test) => {
  const port = await startRedis(test, '--requirepass', 'secret');
  const target = `127.0.0.1:${port}`;
  const login = ['--hello', 'AUTH secret\\r\\n'];
  await test.test('SET with keys that differ, in both phases', async (inner) => {
    const send = '*3\\r\\n$3\\r\\nSET\\r\\n$20\\r\\n{connection}{sequence}\\r\\n$5\\r\\nvalue\\r\\n';
    await healthy(inner, target, 20, '--send', send, '--reply-until', '\\r\\n', '--pipeline', '4', ...login);
  });
  await test.test('without a password, and what Redis says about it', async (inner) => {
    const args = ['--clients', '5', '--send', 'PING\\r\\n', '--reply-exact', '+PONG\\r\\n'];
    const outcome = await run(makePlace(inner), messageBlast(target, ...args));
    checkMessage(inner, outcome, { code: runFailed, says: [/differs from --reply-exact/, /received "-NOAUTH/] });
  });
  await test.test('an echo client is told what it is', async (inner) => {
    const outcome = await run(makePlace(inner), shortBlast('--target', target, '--clients', '5', '--timeout', '2s'));
    inner.equal(outcome.code, runFailed);
  });
});

t.test('a length prefix of four bytes that counts itself', async (test) => {
  const target = await serverOf(test, (socket) => {
    let held = Buffer.alloc(0);
    socket.on('data', (bytes) => {
      held = Buffer.concat([held, bytes]);
      while (held.length >= 4 && held.length >= held.readUInt32BE(0)) {
        const whole = held.subarray(0, held.readUInt32BE(0));
        held = held.subarray(whole.length);
        // Answers with the same frame, in two pieces.
        socket.write(whole.subarray(0, 3));
        setImmediate(() => socket.write(whole.subarray(3)));
      }
    });
  });
  await healthy(test, target, 10, '--send', '\\0\\0\\0\\x09hello', '--reply-length-prefix', 'u32be-4');
});

/** Greets, knows EHLO and NOOP, and refuses what is sent before the greeting. */
function serveMail(socket: Socket): void {
  let text = '';
  let greeted = false;
  let introduced = false;
  setTimeout(() => {
    greeted = true;
    socket.write('220-mail.example.com\r\n');
    socket.write('220 ready\r\n');
  }, 5);
  socket.on('data', (bytes) => {
    if (!greeted) socket.destroy();
    text += bytes.toString('latin1');
    for (let end = text.indexOf('\r\n'); end >= 0; end = text.indexOf('\r\n')) {
      const line = text.slice(0, end);
      text = text.slice(end + 2);
      if (line.startsWith('EHLO ')) introduced = true;
      socket.write(introduced ? '250 ok\r\n' : '503 who are you?\r\n');
    }
  });
}

t.test('a server that greets and has to be greeted, as SMTP', async (test) => {
  const target = await serverOf(test, serveMail);
  const noop = ['--send', 'NOOP\\r\\n', '--reply-exact', '250 ok\\r\\n'];
  const manners = ['--greeting-until', '220 ready\\r\\n', '--hello', 'EHLO client-{connection}\\r\\n'];
  await healthy(test, target, 10, ...noop, ...manners);
  await test.test('without them, the run says so', async (inner) => {
    const outcome = await run(makePlace(inner), messageBlast(target, '--clients', '5', ...noop));
    checkMessage(inner, outcome, {
      code: runFailed,
      says: [/(closed by the server|differs from --reply-exact|reset)/],
    });
  });
});

t.test('a server that answers more than was asked', async (test) => {
  const target = await serverOf(test, (socket) => {
    socket.on('data', () => socket.write('one\ntwo\n'));
  });
  const args = ['--clients', '3', '--send', 'x', '--reply-until', '\\n'];
  const outcome = await run(makePlace(test), messageBlast(target, ...args));
  checkMessage(test, outcome, { code: runFailed, says: [/answers more than was asked; received "two\\n"/] });
});

t.test('an echo server of ours, loaded with messages', async (test) => {
  const load = ['--clients', '10', '--rate', '500/s'];
  const args = ['--modes', 'poll,node', '--protocol', 'message', ...load, '--json', '-'];
  const outcome = await run(makePlace(test), shortBlast(...args, '--send', 'abc\\n', '--reply-exact', 'abc\\n'));
  test.equal(outcome.code, 0, outcome.stderr);
  const report = parseReport(test, outcome.stdout);
  for (const mode of ['poll', 'node']) checkHealthyRun(test, runOf(report, mode, 10));
});
