/**
 * Servers of other people count the same requests and connections as our client, over a whole trial: connecting, warm-up, both windows, and
 * what is sent after a window until its last reply. A report has only the windows, so a trial is run here and its counters are read.
 */
import { Command } from 'commander';
import t, { type Test } from 'tap';
import { addBlastOptions, blastOptions } from '../../src/library/blast-options.js';
import { planComparison } from '../../src/library/comparison.js';
import type { LiveCounters } from '../../src/run/control.js';
import { LocalLoad, loadTask } from '../../src/run/load.js';
import { runTrial } from '../../src/run/trial.js';
import type { WindowTask } from '../../src/run/window-figures.js';
import { freePort, isWindows, skipWithout } from '../support/environment.js';
import { nginxCounters, redisCounters, startNginxWith, startRedis } from '../support/foreign-servers.js';
import { certificateFile, keyFile } from '../support/tls-rig.js';

t.setTimeout(180_000);

const clients = 20;
// Long enough that a client which gets its CPU late has not missed most of the window.
const times = { warmupMs: 100, durationMs: 600 };
const closedLoop: WindowTask = { phase: 'capacity', ratePerSecond: 0, ...times };
const openLoop: WindowTask = { phase: 'latency', ratePerSecond: 1_000, ...times };

/** One trial of `blast` with these options. Returns what the client counted from its first connection to its last. */
async function trial(test: Test, windows: readonly WindowTask[], args: readonly string[]): Promise<LiveCounters> {
  const command = new Command('blast');
  addBlastOptions(command);
  command.exitOverride().parse(['--clients', String(clients), '--no-pin', ...args], { from: 'user' });
  const { plan, hosts } = await planComparison(blastOptions(command.opts()));
  const [spec] = plan.modes;
  if (spec === undefined) throw new Error('the plan has no mode');
  const load = new LocalLoad(loadTask(plan, clients, 1, 1));
  const outcome = await runTrial(
    plan,
    { spec, clients, index: 0, sequence: 1 },
    (done) => windows[done.length] ?? null,
    {
      startServer: hosts.startServer,
      makeLoad: () => load,
      onProgress: () => undefined,
      nextSequence: () => 1,
      signal: new AbortController().signal,
    },
  );
  test.equal(outcome.windows.length, windows.length, `${windows.length} windows`);
  for (const window of outcome.windows) {
    test.match(window, { state: 'completed', errors: { total: 0 } }, `${window.phase}: complete, without errors`);
  }
  const counted = load.control.live();
  test.match(counted, { connections_made: clients, connections_failed: 0, connections_lost: 0 });
  const inWindows = outcome.windows.reduce((sum, { requests }) => sum + (requests?.count ?? 0), 0);
  test.ok(counted.requests_completed > inWindows, `${counted.requests_completed} requests, ${inWindows} in windows`);
  return counted;
}

/** nginx that answers / on connections that stay open, /close with the end of each, and /status on a port without TLS. */
async function startCountingNginx(test: Test, scheme: 'http' | 'https'): Promise<{ url: string; statusPort: number }> {
  const statusPort = await freePort();
  const port = await startNginxWith(
    test,
    (own) => `    listen 127.0.0.1:${own} ${scheme === 'https' ? 'ssl ' : ''}backlog=1024;
    listen 127.0.0.1:${statusPort};
    ssl_certificate ${certificateFile('server')}; ssl_certificate_key ${keyFile('server')};
    keepalive_requests 100000000;
    location / { return 200 "hello\\n"; }
    location /status { stub_status; }`,
  );
  return { url: `${scheme}://127.0.0.1:${port}`, statusPort };
}

const skipNginx = isWindows ? 'nginx is a program of Linux' : skipWithout('nginx');
for (const scheme of ['http', 'https'] as const) {
  const trusted = scheme === 'https' ? ['--tls-ca', certificateFile('ca')] : [];
  t.test(`nginx over ${scheme}`, { skip: skipNginx }, async (test) => {
    const { url, statusPort } = await startCountingNginx(test, scheme);
    /** What nginx counted during a trial, without the question at its end. */
    const both = async (inner: Test, path: string, windows: readonly WindowTask[]) => {
      const before = await nginxCounters(statusPort);
      const client = await trial(inner, windows, ['--target', `${url}${path}`, ...trusted]);
      let nginx = { requests: 0, connections: 0 };
      // nginx may not have accepted the last connections yet, which had no request. Each question is a request and a connection, too.
      for (let questions = 1; questions <= 50 && nginx.connections < client.connects_begun; questions++) {
        const after = await nginxCounters(statusPort);
        nginx = {
          requests: after.requests - before.requests - questions,
          connections: after.connections - before.connections - questions,
        };
      }
      inner.equal(nginx.requests, client.requests_completed, 'nginx has counted the requests of the client');
      if (scheme === 'https') {
        // At the end, connections that are being made again may not have come to their handshake.
        const without = nginx.connections - client.handshakes;
        const most = client.connections_ended_by_reply === 0 ? 0 : clients;
        inner.ok(without >= 0 && without <= most, `a handshake on each connection, except on ${without}`);
      }
      return { client, nginx };
    };
    await test.test('connections that stay open', async (inner) => {
      const { client, nginx } = await both(inner, '/', [closedLoop, openLoop]);
      inner.equal(nginx.connections, clients, 'and its connections');
      inner.equal(client.connections_ended_by_reply, 0);
    });
    await test.test('connections that end with their reply', async (inner) => {
      const { client, nginx } = await both(inner, '/close', [closedLoop]);
      inner.equal(client.connections_ended_by_reply, client.requests_completed, 'each reply ends its connection');
      inner.equal(nginx.connections, client.connects_begun, 'and the connections, those made again included');
    });
  });
}

const skipRedis = isWindows ? 'redis-server is a program of Linux' : skipWithout('redis-server');
t.test('redis-server', { skip: skipRedis }, async (test) => {
  const port = await startRedis(test);
  const before = await redisCounters(port, 'ping');
  const ping = ['--protocol', 'message', '--send', 'PING\\r\\n', '--reply-exact', '+PONG\\r\\n', '--pipeline', '4'];
  const client = await trial(test, [closedLoop, openLoop], ['--target', `127.0.0.1:${port}`, ...ping]);
  const after = await redisCounters(port, 'ping');
  test.equal(after.calls - before.calls, client.requests_completed, 'Redis has counted the requests of the client');
  test.equal(after.connections - before.connections - 1, clients, 'and its connections');
});
