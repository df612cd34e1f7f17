/** The commands of README's section for owners of servers, as they stand there, against nginx, Redis and small servers of each kind. */
import { createServer } from 'node:net';
import t, { type Test } from 'tap';
import { makePlace } from '../support/cli.js';
import { checkDocumentedBlast, commandsOf, readDocument } from '../support/documents.js';
import { isWindows, skipWithout } from '../support/environment.js';
import { startNginx, startRedis } from '../support/foreign-servers.js';
import { TestServer } from '../support/server.js';

t.setTimeout(300_000);

const section = /\n## Servers of your own\n([\s\S]*?)\n## /.exec(readDocument('README.md'))?.[1] ?? '';
const commands = commandsOf('README.md', section).filter(({ line }) => line.includes(' --target '));

async function startSmall(test: Test, greeting: string, reply: string): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    if (greeting !== '') socket.write(greeting);
    socket.on('data', () => socket.write(reply, 'latin1'));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  test.teardown(() => {
    server.close();
  });
  const address = server.address();
  return address !== null && typeof address === 'object' ? address.port : 0;
}

async function startEcho(test: Test): Promise<number> {
  const server = await TestServer.start({ mode: 'epoll' });
  test.teardown(() => {
    server.kill();
  });
  return server.port;
}

const skip = isWindows ? 'the servers are programs of Linux' : skipWithout('nginx', 'redis-server');
t.test('the commands for owners', { skip }, async (test) => {
  test.ok(commands.length >= 6, `${commands.length} commands`);
  const ports: Readonly<Record<string, number>> = {
    8080: await startNginx(test),
    6379: await startRedis(test),
    25: await startSmall(test, '220 mail ready\r\n', '250 ok\r\n'),
    7000: await startEcho(test),
    9000: await startSmall(test, '', '\0\0\0\x04pong'),
  };
  for (const { line, programs } of commands) {
    await test.test(line, async (inner) => {
      const args = (programs[0] ?? []).map((word) =>
        word.replace(/127\.0\.0\.1:(\d+)/, (whole, port: string) =>
          ports[port] === undefined ? whole : `127.0.0.1:${ports[port]}`,
        ),
      );
      await checkDocumentedBlast(inner, makePlace(inner), line, args);
    });
  }
});
