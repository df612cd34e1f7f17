/** The commands of README's section for owners of servers, as they stand there, against nginx, Redis and small servers of each kind. */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { makePlace, run } from '../support/cli.js';
import { isWindows, root, skipWithout } from '../support/environment.js';
import { startNginx, startRedis } from '../support/foreign-servers.js';
import { parseReport } from '../support/report.js';

t.setTimeout(300_000);

/** The words of a command line, with single quotes as in a shell. */
function wordsOf(line: string): string[] {
  return [...line.matchAll(/(?:'[^']*'|[^\s'])+/g)].map(([word]) => word.replaceAll("'", ''));
}

const section =
  /\n## Servers of your own\n([\s\S]*?)\n## /.exec(readFileSync(join(root, 'README.md'), 'utf8'))?.[1] ?? '';
const commands = section.split('\n').filter((line) => line.startsWith('    iocp-bench '));

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

const skip = isWindows ? 'the servers are programs of Linux' : skipWithout('nginx', 'redis-server');
t.test('the commands for owners', { skip }, async (test) => {
  test.ok(commands.length >= 6, `${commands.length} commands`);
  const ports: Readonly<Record<string, number>> = {
    8080: await startNginx(test),
    6379: await startRedis(test),
    25: await startSmall(test, '220 mail ready\r\n', '250 ok\r\n'),
    9000: await startSmall(test, '', '\0\0\0\x04pong'),
  };
  for (const command of commands) {
    await test.test(command.trim(), async (inner) => {
      const here = command.replace(/127\.0\.0\.1:(\d+)/, (whole, port: string) =>
        ports[port] === undefined ? whole : `127.0.0.1:${ports[port]}`,
      );
      const args = wordsOf(here).slice(1);
      const short = ['--clients', '20', '--duration', '200ms', '--warmup', '50ms', '--quiet', '--json', '-'];
      const outcome = await run(makePlace(inner), [...args, ...short]);
      inner.equal(outcome.code, 0, outcome.stderr);
      const [first] = parseReport(inner, outcome.stdout).runs;
      inner.match(first?.trials[0], { state: 'completed', connections: { made: 20 }, errors: { total: 0 } });
    });
  }
});
