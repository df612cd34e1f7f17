/**
 * Tests for Windows only: Ctrl-C without signals, its modes, and facts in its reports. Under Wine, checks that a known defect
 * affects (wine-defects.ts) are relaxed by name; on Windows they are strict.
 */
import { fork } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import type { CompletedWindow } from '../../src/model/report-schema.js';
import { checkMessage, makePlace, run, shortBlast, type Outcome, type Place } from '../support/cli.js';
import { Client } from '../support/clients.js';
import { cliPath, isWindows, isWine, supportPath } from '../support/environment.js';
import { checkHealthyRun, parseReport, readReport, runOf } from '../support/report.js';
import { sleep, until, within } from '../support/wait.js';
import { relaxedBy } from './wine-defects.js';

t.setTimeout(600_000);

const skip = isWindows ? false : 'this is not Windows';
const interrupted = 130;
/** STATUS_CONTROL_C_EXIT */
const controlCExit = 0xc000013a;
const consolePath = fileURLToPath(new URL('console.js', import.meta.url));

/** Runs the tool in its own console, where Ctrl-C can be pressed. */
class InConsole {
  readonly finished: Promise<Outcome>;
  stdout = '';
  stderr = '';
  readonly #child;

  constructor(test: Test, place: Place, args: readonly string[]) {
    this.#child = fork(consolePath, [cliPath, ...args], {
      cwd: place.folder,
      env: place.env,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.stdout += text));
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    this.finished = new Promise((resolve) => {
      this.#child.once('close', (code, signal) => {
        resolve({ code, signal, stdout: this.stdout, stderr: this.stderr });
      });
    });
    test.teardown(() => {
      if (this.#child.connected) this.#child.disconnect();
    });
  }

  get running(): boolean {
    return this.#child.exitCode === null;
  }

  pressCtrlC(): void {
    this.#child.send('interrupt');
  }

  async end(): Promise<Outcome> {
    return await within(this.finished, 'the end after Ctrl-C', 60_000);
  }
}

t.test('doctor: what Windows can run', { skip }, async (test) => {
  const outcome = await run(makePlace(test), ['doctor', '--json', '--no-noise']);
  test.equal(outcome.code, 0, outcome.stderr);
  const { modes } = JSON.parse(outcome.stdout) as {
    modes: { mode: string; backend: string; available: boolean; reason: string }[];
  };
  for (const { mode, backend, available, reason } of modes) {
    const expected = !['epoll', 'io_uring', 'process'].includes(mode);
    test.equal(available, expected, `${mode} is ${expected ? '' : 'not '}available ${reason}`);
    test.match(reason, expected ? /^$/ : /Linux/, `${mode}: why not`);
    if (mode === 'iocp') test.equal(backend, 'iocp', 'the completion port itself');
  }
});

t.test('a report describes the machine', { skip }, async (test) => {
  const args = ['--modes', 'blocking,iocp,node', '--clients', '20', '--phases', 'capacity', '--json', '-'];
  const outcome = await run(makePlace(test), shortBlast(...args));
  test.equal(outcome.code, 0, outcome.stderr);
  const report = parseReport(test, outcome.stdout);
  const { environment, warnings, runs } = report;
  test.match(environment.system, /^Windows \d+/, environment.system);
  test.match(environment.node_version, /^v\d+/);
  test.ok(environment.cpus_online >= 1);
  const wine = warnings.find(({ code }) => code === 'wine');
  if (isWine) {
    test.match(environment.compatibility, /^Wine \d+\.\d+/, `${environment.compatibility}`);
    test.match(wine?.message, /Wine \d+\.\d+, not Windows: its speed says nothing about Windows/);
  } else {
    test.equal(environment.compatibility, null, 'nothing stands between');
    test.equal(wine, undefined);
  }
  for (const mode of ['blocking', 'iocp', 'node']) {
    const one = runOf(report, mode);
    test.equal(one.backend, mode);
    checkHealthyRun(test, one);
  }
  for (const window of runs.flatMap(({ trials }) => trials)) {
    if (window.state !== 'completed' || window.server === null) continue;
    const { cpu_us_per_request, context_switches_per_request } = window.server;
    // Its clock ticks every 15.6 ms, so a short window may contain no tick.
    test.ok(cpu_us_per_request === null || cpu_us_per_request >= 0, 'CPU time');
    if (relaxedBy('context-switches-zero'))
      test.equal(context_switches_per_request, null, 'context switches: unknown, and not 0');
    else test.ok((context_switches_per_request ?? 0) > 0, 'context switches are known');
  }
});

t.test(
  'a command that starts another process to serve: the figures are of the one that listens',
  { skip },
  async (test) => {
    const rigged = `${process.execPath} ${join(supportPath, 'rigged.js')} echo {port}`;
    const unseen = relaxedBy('port-owner-zero');
    const commands = unseen ? [`direct=${rigged}`] : [`direct=${rigged}`, `wrapped=cmd /c ${rigged}`];
    const args = commands.flatMap((command) => ['--mode-command', command]);
    const outcome = await run(
      makePlace(test),
      shortBlast(...args, '--clients', '5', '--phases', 'capacity', '--json', '-'),
    );
    test.equal(outcome.code, 0, outcome.stderr);
    for (const { mode, trials } of parseReport(test, outcome.stdout).runs) {
      const [window] = trials;
      if (window?.state !== 'completed') throw new Error(`${mode} was not measured`);
      const expected = unseen ? 'unseen' : mode === 'direct' ? 'command' : 'outside';
      test.equal(window.server_process?.listener, expected, JSON.stringify(window.server_process));
      if (unseen) test.equal(window.server?.cpu_us_per_request ?? null, null, 'n/a and no guess');
    }
  },
);

/**
 * --wait-blocks in mode iocp: while one worker sleeps, the port lets another run. Its concurrency is the smaller of the CPUs and the workers.
 * Wine ignores that value (port-concurrency), so there all workers run in any case; that sleeping ones do not keep the others from serving
 * is the same on both.
 */
t.test(
  'iocp with handlers that sleep: eight workers serve at least three times as much as one',
  { skip },
  async (test) => {
    const measure = async (workers: string): Promise<CompletedWindow> => {
      const service = ['--wait', '5ms', '--wait-blocks', '--workers', workers];
      const args = ['--modes', 'iocp', '--clients', '32', '--phases', 'capacity', ...service, '--json', '-'];
      const outcome = await run(makePlace(test), shortBlast(...args));
      test.equal(outcome.code, 0, outcome.stderr);
      const [window] = runOf(parseReport(test, outcome.stdout), 'iocp').trials;
      if (window?.state !== 'completed') throw new Error(`${workers} workers were not measured`);
      return window;
    };
    const perSecond = async (workers: string): Promise<number> => {
      let window = await measure(workers);
      // A server that answered late when it was asked for its figures has none in the report.
      for (let again = 0; again < 2 && window.server === null; again++) window = await measure(workers);
      test.equal(window.server?.workers, Number(workers));
      return window.requests.per_second;
    };
    const one = await perSecond('1');
    const eight = await perSecond('8');
    test.ok(one <= 200, `one worker that sleeps 5 ms per request serves ${one.toFixed(0)} requests/s`);
    test.ok(eight >= 3 * one, `eight serve ${eight.toFixed(0)} requests/s, ${(eight / one).toFixed(1)} times as much`);
  },
);

for (const mode of ['blocking', 'iocp', 'node']) {
  t.test(`serve --mode ${mode}: Ctrl-C ends it`, { skip }, async (test) => {
    const server = new InConsole(test, makePlace(test), ['serve', '--mode', mode, '--port', '0', '--format', 'ndjson']);
    test.ok(await until(() => server.stdout.includes('\n') || !server.running, 60_000));
    const { port } = JSON.parse(server.stdout.split('\n')[0] ?? '') as { port: number };
    const client = await Client.connect(port);
    const bytes = Buffer.from('before Ctrl-C');
    test.ok((await client.echo(bytes)).equals(bytes), 'it serves');
    server.pressCtrlC();
    const outcome = await server.end();
    test.equal(outcome.code, 0, outcome.stderr);
    const events = outcome.stdout.split('\n').filter((line) => line !== '');
    test.match(events.at(-1), /"event":"stopped"/, 'its last line says that it stopped');
  });
}

/** Runs a comparison that would take minutes and writes its report after every window. */
function startLong(test: Test, place: Place, duration: string): InConsole {
  const plan = [
    '--modes',
    'blocking,iocp',
    '--clients',
    '20',
    '--trials',
    '2',
    '--phases',
    'capacity',
    '--warmup',
    '100ms',
  ];
  return new InConsole(test, place, ['blast', ...plan, '--duration', duration, '--json', 'r.json']);
}

t.test('blast: Ctrl-C keeps the completed windows', { skip }, async (test) => {
  const place = makePlace(test);
  const running = startLong(test, place, '4s');
  test.ok(await until(() => existsSync(join(place.folder, 'r.json')) || !running.running, 90_000), running.stderr);
  await sleep(500);
  running.pressCtrlC();
  const outcome = await running.end();
  checkMessage(test, outcome, { code: interrupted, says: [] });
  const report = readReport(test, join(place.folder, 'r.json'));
  test.equal(report.partial, true, 'the report is marked partial');
  const states = report.runs.flatMap((one) => one.trials).map((window) => window.state);
  test.ok(states.includes('completed'), 'the completed window is kept');
  test.notOk(states.includes('failed'), 'none counts as failed');
  test.strictSame(readdirSync(place.folder), ['r.json'], 'no other file is left');
});

t.test('blast: a second Ctrl-C ends the run at once', { skip }, async (test) => {
  const running = startLong(test, makePlace(test), '1h');
  test.ok(await until(() => running.stderr !== '' || !running.running, 60_000), 'it says that it goes on');
  await sleep(2_000);
  running.pressCtrlC();
  running.pressCtrlC();
  const outcome = await running.end();
  // The second one has its default effect and the system's exit code, unless a normal end comes first.
  const expected = [interrupted, controlCExit, ...(relaxedBy('ctrl-c-exit-zero') ? [0] : [])];
  test.ok(expected.includes(outcome.code ?? -1), `exit code ${outcome.code ?? 'none'}: ${outcome.stderr}`);
});
