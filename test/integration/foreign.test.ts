/**
 * Servers of every mode against foreign clients (nc, socat, Python), and our client against foreign servers. Only these tests
 * detect an error that our client and our servers share.
 */
import { spawn } from 'node:child_process';
import t from 'tap';
import { makePlace, run, shortBlast } from '../support/cli.js';
import { firstDifference, pattern } from '../support/clients.js';
import { findProgram, freePort, isWindows, skipWithout } from '../support/environment.js';
import { listens } from '../support/foreign-servers.js';
import { checkHealthyRun, parseReport, runOf } from '../support/report.js';
import { RiggedServer } from '../support/rigged.js';
import { modesUnderTest, TestServer, whyUnavailable } from '../support/server.js';
import { within } from '../support/wait.js';

t.setTimeout(300_000);

const pythonClient = `
import socket, sys, threading
sock = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
data = sys.stdin.buffer.read()
def send():
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)
threading.Thread(target=send).start()
while True:
    part = sock.recv(65536)
    if not part:
        break
    sys.stdout.buffer.write(part)
`;

interface ForeignClient {
  name: string;
  program: string;
  /** Sends standard input, then a FIN, and writes what comes back to standard output until the server closes. */
  args: (port: number) => string[];
}

const foreignClients: readonly ForeignClient[] = [
  { name: 'nc', program: 'nc', args: (port) => ['-N', '127.0.0.1', String(port)] },
  { name: 'socat', program: 'socat', args: (port) => ['-t', '20', '-', `TCP4:127.0.0.1:${port}`] },
  { name: 'Python', program: 'python3', args: (port) => ['-c', pythonClient, String(port)] },
];

/** Runs a client with the bytes as its input, and returns its output. */
async function through(client: ForeignClient, port: number, bytes: Buffer): Promise<Buffer> {
  const child = spawn(client.program, client.args(port), { stdio: ['pipe', 'pipe', 'inherit'] });
  const parts: Buffer[] = [];
  child.stdout.on('data', (part: Buffer) => parts.push(part));
  child.stdin.on('error', () => undefined);
  child.stdin.end(bytes);
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  try {
    const code = await within(ended, client.name);
    if (code !== 0) throw new Error(`${client.name} ended with ${code ?? 'a signal'}`);
  } finally {
    child.kill('SIGKILL');
  }
  return Buffer.concat(parts);
}

for (const mode of modesUnderTest()) {
  const unavailable = await whyUnavailable(mode);
  t.test(`${mode} against foreign clients`, { skip: unavailable }, async (test) => {
    const server = await TestServer.start({ mode });
    test.teardown(() => {
      server.kill();
    });
    for (const client of foreignClients) {
      const skip = isWindows ? 'the client is a program of Linux' : skipWithout(client.program);
      await test.test(client.name, { skip }, async (inner) => {
        for (const length of [1, 64, 300_000]) {
          const bytes = pattern(length, length);
          const back = await through(client, server.port, bytes);
          inner.equal(firstDifference(back, bytes), -1, `${length} bytes and a FIN come back, then a FIN`);
        }
      });
    }
    const stopped = await server.stop();
    test.equal(stopped.sample.stats.closed, stopped.sample.stats.accepted, 'accepted == closed');
    test.equal(stopped.sample.stats.bytes_sent, stopped.sample.stats.bytes_received, 'bytes out == bytes in');
  });
}

const skipSocat = isWindows ? 'socat is a program of Linux' : skipWithout('socat');
t.test('our client against socat', { skip: skipSocat }, async (test) => {
  const port = await freePort();
  const listener = `TCP4-LISTEN:${port},bind=127.0.0.1,fork,reuseaddr,backlog=256,nodelay`;
  // In its own process group: socat forks per connection, and all of its processes end with the test.
  const socat = spawn(findProgram('socat') ?? 'socat', [listener, 'PIPE'], { detached: true, stdio: 'ignore' });
  test.teardown(() => {
    if (socat.pid !== undefined) process.kill(-socat.pid, 'SIGKILL');
  });
  test.ok(await listens(port), 'socat listens');
  const place = makePlace(test);
  const load = ['--clients', '20', '--rate', '500/s'];
  const outcome = await run(place, shortBlast('--target', `127.0.0.1:${port}`, ...load, '--json', '-'));
  test.equal(outcome.code, 0, 'exit code 0');
  const report = parseReport(test, outcome.stdout);
  checkHealthyRun(test, runOf(report, 'target', 20));
});

t.test("our client against a ten-line server with Node's net", async (test) => {
  const server = await RiggedServer.start('echo');
  test.teardown(() => {
    server.kill();
  });
  const place = makePlace(test);
  const load = ['--clients', '50', '--rate', '500/s', '--message-size', '1000', '--pipeline', '4'];
  const outcome = await run(place, shortBlast('--target', server.target, ...load, '--json', '-'));
  test.equal(outcome.code, 0, 'exit code 0');
  const report = parseReport(test, outcome.stdout);
  checkHealthyRun(test, runOf(report, 'target', 50));
});

t.test('our client against a running server of ours', async (test) => {
  const server = await TestServer.start({ mode: 'node' });
  test.teardown(() => {
    server.kill();
  });
  const place = makePlace(test);
  const outcome = await run(
    place,
    shortBlast('--target', `127.0.0.1:${server.port}`, '--clients', '50', '--rate', '500/s', '--json', '-'),
  );
  test.equal(outcome.code, 0, 'exit code 0');
  const report = parseReport(test, outcome.stdout);
  const target = runOf(report, 'target', 50);
  checkHealthyRun(test, target);
  const { sample } = await server.stop();
  test.ok(sample.stats.accepted >= 50, 'the server saw them');
  const echoed = target.trials.reduce((sum, window) => sum + (window.requests?.count ?? 0), 0);
  test.ok(sample.stats.bytes_received >= echoed * 64, 'and at least the bytes of the requests that the report counts');
});
