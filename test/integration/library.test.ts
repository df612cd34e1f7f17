/** The functions that the package exports, used as a program uses them: on real sockets, without the command line. */
import { createConnection } from 'node:net';
import { once } from 'node:events';
import t from 'tap';
import { BenchError, compare, readReport, renderHtml, serve, type CompareProgress } from '../../src/index.js';
import { join } from 'node:path';
import { root } from '../support/environment.js';

// Long enough that a client which gets its CPU late has not missed most of the window.
const short = { clients: 20, trials: 1, durationMs: 600, warmupMs: 50, phases: 'capacity' } as const;

t.test('compare() resolves to the report, with progress and gates', async (test) => {
  const seen: CompareProgress[] = [];
  const partial: boolean[] = [];
  const listeners = ['SIGINT', 'SIGTERM', 'uncaughtException'].map((name) => process.listenerCount(name));
  const report = await compare(
    { ...short, modes: ['blocking', 'node'], failIf: ['blocking.errors > 0', 'node.connections_made > 0'] },
    {
      onProgress: (progress) => seen.push(progress),
      onReport: (one) => partial.push(one.partial),
    },
  );
  test.equal(report.partial, false);
  test.strictSame(
    report.runs.map(({ mode, clients, trials }) => [mode, clients, trials.map(({ state }) => state)]),
    [
      ['blocking', 20, ['completed']],
      ['node', 20, ['completed']],
    ],
  );
  test.strictSame(
    report.gates.map(({ held }) => held),
    [false, true],
  );
  test.strictSame(partial, [true, true], 'a report after every trial');
  test.ok(seen.some(({ mode, step, trial }) => mode === 'node' && step === 'capacity' && trial === 2));
  test.strictSame(
    ['SIGINT', 'SIGTERM', 'uncaughtException'].map((name) => process.listenerCount(name)),
    listeners,
    'no handlers are left',
  );
});

t.test('compare() ends with a partial report when its signal is aborted', async (test) => {
  const controller = new AbortController();
  const report = await compare(
    { ...short, modes: ['blocking'], trials: 3 },
    {
      signal: controller.signal,
      onReport: () => {
        controller.abort();
      },
    },
  );
  test.equal(report.partial, true);
  test.equal(report.runs[0]?.trials.filter(({ state }) => state === 'completed').length, 1, 'the first trial is kept');
});

t.test('compare() takes a list of servers of its own, and refuses what blast refuses', async (test) => {
  const refused: [options: Parameters<typeof compare>[0], message: RegExp][] = [
    [{ clients: 0 }, /^clients 0 is too small/],
    [{ durationMs: -1 }, /^durationMs "-1ms" is not a length of time/],
    [{ modes: ['iocb'] }, /iocb/],
    [{ modeCommands: { mine: './server' } }, /has no \{port\}/],
    [{ failIf: ['throughput !'] }, /is not a valid gate/],
    [{ pin: 'no' as unknown as boolean }, /^pin is not true or false/],
    [{ colour: 1 } as Parameters<typeof compare>[0], /^colour is not an option of compare\(\)/],
  ];
  for (const [options, message] of refused) {
    const error: unknown = await compare(options).catch((thrown: unknown) => thrown);
    if (!(error instanceof BenchError)) throw error;
    test.equal(error.code, 'usage');
    test.match(error.message, message);
    test.not(error.hint, '');
  }
});

t.test('serve() runs an echo server in the process', async (test) => {
  const server = await serve({ mode: 'blocking' });
  test.match(server, { mode: 'blocking', backend: 'blocking', host: '127.0.0.1' });
  const socket = createConnection(server.port, server.host);
  socket.write('hello');
  const [reply] = (await once(socket, 'data')) as [Buffer];
  test.equal(reply.toString(), 'hello');
  test.match(server.stats(), { accepted: 1, requests: 1, bytes_received: 5 });
  socket.end();
  const { stats, deadlineMissed } = await server.stop();
  test.match(stats, { accepted: 1, closed: 1 });
  test.equal(deadlineMissed, false);
  await test.rejects(serve({ mode: 'iocb' }), { code: 'usage' });
  await test.rejects(serve({ mode: 'blocking', port: 70_000 }), { code: 'usage' });
});

t.test('readReport() and renderHtml() show a saved report', (test) => {
  const report = readReport(join(root, 'fixtures', 'reports', 'two-modes.json'));
  test.match(renderHtml(report), /^<!doctype html>/i);
  test.throws(() => readReport(join(root, 'package.json')), { code: 'usage' });
  test.end();
});
