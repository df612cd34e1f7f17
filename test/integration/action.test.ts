/**
 * The steps of action.yml, run as GitHub would: in a repository with a base and a changed head, with the files that GitHub names in the
 * environment.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { root, skipOutsideLinux } from '../support/environment.js';

const action = readFileSync(join(root, 'action.yml'), 'utf8');

/** The commands of the steps, in order. */
const steps = [...action.matchAll(/^ {6}run: '(.*)'$/gm)].map(([, command]) => command ?? '');
/** The names that the inputs have in the environment of the step that compares. */
const environment = [...action.matchAll(/^ {8}([A-Z_]+): \$\{\{ inputs\.([a-z-]+) \}\}$/gm)];

/** An echo server whose sleep per request is a constant of the file, so that two commits differ by it. */
const server = (delayMs: number): string => `
import { createServer } from 'node:net';
const port = Number(process.argv[process.argv.indexOf('--port') + 1]);
createServer({ noDelay: true }, (socket) => {
  socket.on('data', (bytes) => (${delayMs} === 0 ? socket.write(bytes) : setTimeout(() => socket.write(bytes), ${delayMs})));
  socket.on('error', () => socket.destroy());
}).listen(port, '127.0.0.1');
`;

function git(folder: string, ...args: readonly string[]): string {
  const identity = ['-c', 'user.name=test', '-c', 'user.email=test@test', '-c', 'commit.gpgsign=false'];
  const { status, stdout, stderr } = spawnSync('git', [...identity, ...args], { cwd: folder, encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return stdout.trim();
}

interface Job {
  readonly code: number | null;
  readonly stderr: string;
  readonly summary: string;
  readonly outputs: Readonly<Record<string, string>>;
}

/** Runs the steps on a change from one server to another. */
function runAction(test: Test, inputs: Readonly<Record<string, string>>, base: string, head: string): Job {
  const folder = mkdtempSync(join(tmpdir(), 'iocp-bench-action-'));
  test.teardown(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  const repository = join(folder, 'repository');
  git(folder, 'init', '--quiet', repository);
  for (const text of [base, head]) {
    writeFileSync(join(repository, 'server.mjs'), text);
    git(repository, 'add', '.');
    git(repository, 'commit', '--quiet', '--message', 'change');
  }
  const [summary, output] = [join(folder, 'summary'), join(folder, 'output')];
  for (const file of [summary, output]) writeFileSync(file, '');
  const values = Object.fromEntries(environment.map(([, name, input]) => [name ?? '', inputs[input ?? ''] ?? '']));
  let ended: { status: number | null; stderr: string } = { status: 0, stderr: '' };
  for (const step of steps) {
    ended = spawnSync('bash', ['-c', step], {
      cwd: repository,
      encoding: 'utf8',
      env: {
        ...process.env,
        ...values,
        GITHUB_ACTION_PATH: root,
        GITHUB_STEP_SUMMARY: summary,
        GITHUB_OUTPUT: output,
        RUNNER_TEMP: folder,
      },
    });
    if (ended.status !== 0) break;
  }
  test.equal(git(repository, 'worktree', 'list').split('\n').length, 1, 'the checkout of the base is removed');
  const lines = readFileSync(output, 'utf8').split('\n').slice(0, -1);
  return {
    code: ended.status,
    stderr: ended.stderr,
    summary: readFileSync(summary, 'utf8'),
    outputs: Object.fromEntries(lines.map((line) => line.split('=', 2) as [string, string])),
  };
}

const inputs = {
  serve: `'${process.execPath}' server.mjs --port {port}`,
  build: 'test -e server.mjs',
  base: 'HEAD^',
  clients: '10',
  'fail-if': 'head.connections_made > 0\n\nhead.errors > 0',
  confirm: '1',
  options: '--trials 2 --duration 300ms --warmup 100ms --phases capacity',
};

t.test('action.yml', { skip: skipOutsideLinux('a composite action for Linux runners') }, async (test) => {
  await test.test('every input reaches a step', (part) => {
    const declared = [...action.matchAll(/^ {2}([a-z-]+):\n {4}description/gm)].map(([, name]) => name);
    const passed = environment.map(([, , input]) => input);
    part.strictSame(
      declared.filter((name) => name !== 'report' && name !== 'html').sort(),
      [...passed].sort(),
      'inputs and environment',
    );
    part.equal(steps.length, 2);
    part.end();
  });

  await test.test('a gate that is true fails the job, after it was confirmed', (part) => {
    const job = runAction(part, inputs, server(0), server(5));
    part.equal(job.code, 99, job.stderr);
    part.match(job.stderr, /repeating the run to confirm/i);
    part.match(job.summary, /failed . head.connections/);
    part.match(readFileSync(job.outputs['html'] ?? '', 'utf8'), /^<!doctype html>/i);
    const report = JSON.parse(readFileSync(job.outputs['report'] ?? '', 'utf8')) as {
      plan: { modes: { mode: string }[] };
    };
    part.strictSame(
      report.plan.modes.map(({ mode }) => mode),
      ['base', 'head'],
    );
    part.end();
  });

  await test.test('the same server passes', (part) => {
    const errors = { ...inputs, 'fail-if': 'head.errors > 0' };
    const job = runAction(part, errors, server(20), `${server(20)}// changed\n`);
    part.equal(job.code, 0, job.stderr);
    part.match(job.summary, /base.*head/s);
    part.end();
  });
});
