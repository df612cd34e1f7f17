/** HTTP, messages of the user's own, and TLS, with server or load on agents. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { CompletedWindow, Report } from '../../src/model/report-schema.js';
import { checkNothingLeft, makePlace, run, shortBlast, type Place, type Running } from '../support/cli.js';
import { skipOutsideLinux } from '../support/environment.js';
import { HttpRig } from '../support/http-rig.js';
import { startAgent, startNats, skipWithoutNats } from '../support/nats.js';
import { checkHealthyRun, parseReport, runOf } from '../support/report.js';
import { certificateFile, keyFile, startTlsEcho } from '../support/tls-rig.js';
import { within } from '../support/wait.js';

t.setTimeout(300_000);
t.jobs = 2;
const skip = skipWithoutNats;
const clients = 20;

interface Machines {
  readonly place: Place;
  readonly agents: readonly Running[];
  /** Runs `blast` with its load on the agents a and b. */
  readonly blast: (...args: string[]) => Promise<Report>;
}

/** @param agents of each agent its name and the options that it is started with */
async function startMachines(test: Test, agents: Readonly<Record<string, string[]>>): Promise<Machines> {
  const place = makePlace(test);
  const broker = await startNats(test);
  const started = Object.entries(agents).map(([name, args]) => startAgent(test, place, broker.url, name, args));
  return {
    place,
    agents: await Promise.all(started),
    blast: async (...args) => {
      const load = ['--nats', broker.url, '--clients-on', 'a,b', '--clients', String(clients), '--json', '-'];
      const outcome = await run(place, shortBlast(...load, ...args));
      test.equal(outcome.code, 0, outcome.stderr);
      return parseReport(test, outcome.stdout);
    },
  };
}

async function endMachines(test: Test, { place, agents }: Machines, files: string[] = []): Promise<void> {
  for (const agent of agents) agent.child.kill('SIGINT');
  for (const agent of agents) await within(agent.finished, 'the end of an agent');
  await checkNothingLeft(test, place, files);
}

function windowsOf(report: Report, mode: string): CompletedWindow[] {
  return runOf(report, mode, clients).trials.filter((window) => window.state === 'completed');
}

t.test('--protocol http', { skip, buffered: true }, async (test) => {
  const allowed = ['--allow-target', '127.0.0.1'];
  const machines = await startMachines(test, { srv: [], a: allowed, b: allowed });
  const body = ['--body-size', '100'];
  const ours = await machines.blast('--server-on', 'srv', '--modes', 'epoll', '--protocol', 'http', ...body);
  checkHealthyRun(test, runOf(ours, 'epoll', clients));
  for (const { replies } of windowsOf(ours, 'epoll')) {
    const first = { status: 200, body_bytes: 100, body_hash: /^[0-9a-f]{16}$/ };
    test.match(replies, { first, differing: 0, connections_ended: 0 }, 'the replies of both agents are one');
  }

  const bodies = ['ok', 'no'].map((body) => ({ text: `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n${body}` }));
  const rig = await HttpRig.start(test, bodies);
  const other = await machines.blast('--target', `http://127.0.0.1:${rig.port}/a`, '--phases', 'capacity');
  checkHealthyRun(test, runOf(other, 'target', clients));
  test.match(rig.first, new RegExp(`^GET /a HTTP/1\\.1\r\nHost: 127\\.0\\.0\\.1:${rig.port}\r\n`));
  for (const { replies } of windowsOf(other, 'target')) {
    test.match(replies, { first: { status: 200, body_bytes: 2 } });
    test.ok((replies?.differing ?? 0) > clients / 2, `${replies?.differing} replies had another body`);
  }
  await endMachines(test, machines);
});

t.test('--protocol message', { skip, buffered: true }, async (test) => {
  const machines = await startMachines(test, { srv: [], a: [], b: [] });
  const message = ['--protocol', 'message', '--send', 'PUT {connection} {sequence}\\n', '--reply-until', '\\n'];
  const report = await machines.blast('--server-on', 'srv', '--modes', 'epoll', '--pipeline', '2', ...message);
  checkHealthyRun(test, runOf(report, 'epoll', clients));
  test.equal(report.plan.protocol, 'message');
  for (const window of windowsOf(report, 'epoll')) {
    test.ok(
      window.agents?.every(({ requests }) => requests.count > 0),
      'each agent has replies',
    );
  }
  await endMachines(test, machines);
});

const echoOverTls = `
import { readFileSync } from 'node:fs';
import { createServer } from 'node:tls';
const [port, host, cert, key] = process.argv.slice(2);
const server = createServer({ cert: readFileSync(cert), key: readFileSync(key) }, (socket) => {
  socket.setNoDelay(true).on('error', () => socket.destroy());
  socket.pipe(socket);
});
server.on('tlsClientError', () => undefined);
server.listen({ port: Number(port), host });
`;
// Other systems have only one loopback address.
const skipTls = skip === false ? skipOutsideLinux('127.0.0.2') : skip;

t.test('--tls', { skip: skipTls, buffered: true }, async (test) => {
  const rig = await startTlsEcho(test, 'server');
  const allowed = ['--allow-target', '127.0.0.1'];
  const script = [certificateFile('server'), keyFile('server')].join(' ');
  const command = `mine=${process.execPath} tls-echo.mjs {port} {host} ${script}`;
  const machines = await startMachines(test, {
    srv: ['--address', '127.0.0.2', '--mode-command', command],
    a: allowed,
    b: allowed,
  });
  writeFileSync(join(machines.place.folder, 'tls-echo.mjs'), echoOverTls);
  const trusted = ['--tls', '--tls-ca', certificateFile('ca')];
  const report = await machines.blast('--target', `localhost:${rig.port}`, ...trusted);
  checkHealthyRun(test, runOf(report, 'target', clients));
  test.equal(rig.serverName, 'localhost', 'the server gets the name');
  test.match(report.plan.tls, { server_name: 'localhost', verified: true });
  for (const { connections } of windowsOf(report, 'target')) {
    test.match(connections.tls, { count: clients, resumed: 0 }, 'the handshakes of both agents add up');
    test.ok((connections.tls?.time_ns?.count ?? 0) === clients, 'and each has a time');
  }

  const capacity = ['--phases', 'capacity', '--tls', '--tls-insecure'];
  const own = await machines.blast('--server-on', 'srv', '--modes', 'mine', ...capacity);
  checkHealthyRun(test, runOf(own, 'mine', clients));
  test.match(
    own.plan.tls,
    { server_name: '127.0.0.2', verified: false },
    "the certificate is for the server's machine",
  );
  await endMachines(test, machines, ['tls-echo.mjs']);
});
