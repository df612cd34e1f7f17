/**
 * Every command in the documents works. Commands of this tool are parsed, and those that need only this machine are run, with a load of
 * 20 connections and windows of 200 ms instead of the documented ones. What is only parsed, because it needs a broker, other machines or
 * other systems, is in `onlyParsed`.
 */
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import t, { type Test } from 'tap';
import { cliPath, isWindows, root } from '../support/environment.js';
import { makePlace, run, Running } from '../support/cli.js';
import { commandsOf, documents, linksOf, programsOf } from '../support/documents.js';

t.setTimeout(300_000);

const makers: Readonly<Record<string, () => Promise<Command>>> = {
  blast: async () => (await import('../../src/commands/blast.js')).blastCommand(),
  serve: async () => (await import('../../src/commands/serve.js')).serveCommand(),
  report: async () => (await import('../../src/commands/report.js')).reportCommand(),
  diff: async () => (await import('../../src/commands/diff.js')).diffCommand(),
  doctor: async () => (await import('../../src/commands/doctor.js')).doctorCommand(),
  explain: async () => (await import('../../src/commands/explain.js')).explainCommand(),
  agent: async () => (await import('../../src/commands/agent.js')).agentCommand(),
  agents: async () => (await import('../../src/commands/agents.js')).agentsCommand(),
};

/** Programs of others, which the documents only name. */
const others = ['apt-get', 'nats-server', 'for', 'do', 'done', 'ssh', 'git', 'cd'];

/** The arguments of this tool's program; null for another program. */
function ownArguments(words: readonly string[]): string[] | null {
  const [program = '', ...rest] = words;
  if (program === 'iocp-bench') return rest;
  if (program === 'npx' && rest[0] === 'iocp-bench') return rest.slice(1);
  return program === 'node' && rest[0] === 'bin/iocp-bench.js' ? rest.slice(1) : null;
}

/** Agents need a broker and other machines, messages need a server that speaks them: test/machines and foreign.test.ts run those. */
function onlyParsed(args: readonly string[]): boolean {
  const [command = ''] = args;
  return (
    command === 'agent' || command === 'agents' || args.includes('--nats') || args.includes('message') || isTls(args)
  );
}

/** TLS needs certificates: tls.test.ts makes them. */
function isTls(args: readonly string[]): boolean {
  return args.includes('--tls') || args.some((word) => word.startsWith('https:'));
}

/** The servers that `--target` loads in the documents, by what is written there. */
const targets: Readonly<Record<string, readonly string[]>> = {
  '127.0.0.1:7000': ['--mode', 'epoll'],
  '127.0.0.1:8080': ['--mode', 'epoll', '--protocol', 'http'],
};

const commands = documents().flatMap((document) => commandsOf(document));
const programs = commands.flatMap(({ programs, ...command }) => programs.map((words) => ({ ...command, words })));

t.test('a line of a shell block is split as by a shell', (test) => {
  test.strictSame(programsOf('iocp-bench blast --fail-if \'a > 5ms\' "$X"  # why'), [
    ['iocp-bench', 'blast', '--fail-if', 'a > 5ms', '$X'],
  ]);
  test.strictSame(programsOf('A=1 npm test && b | c >log 2>&1 &'), [['npm', 'test'], ['b'], ['c']]);
  const text = 'x\n```sh\niocp-bench blast \\\n  --json r.json\n# no command\n```\n```json\nno\n```\n';
  test.strictSame(
    commandsOf('x.md', text).map(({ line }) => line),
    ['iocp-bench blast --json r.json'],
  );
  test.end();
});

t.test('the documents have commands, all of known programs', (test) => {
  test.ok(commands.filter(({ document }) => document === 'README.md').length > 20, 'the README has commands');
  for (const { document, line, words } of programs) {
    const [program = '', second = ''] = words;
    const isOwn = ownArguments(words) !== null;
    const isKnown = isOwn || ['npm', 'node'].includes(program) || others.includes(program);
    test.ok(isKnown, `${document}: ${line}`);
    if (program === 'npm') checkNpm(test, document, words);
    // What the build makes, or a script.
    if (program === 'node' && !isOwn) test.ok(existsSync(join(root, second)), `${document}: ${second} exists`);
  }
  test.end();
});

/** The scripts themselves are what runs this test, or take minutes. */
function checkNpm(test: Test, document: string, [, verb = '', name = '']: readonly string[]): void {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: object };
  if (['install', 'ci', 'pack'].includes(verb)) return;
  const script = verb === 'run' ? name : verb;
  test.ok(Object.hasOwn(scripts, script), `${document}: npm ${verb} ${name} is a script of package.json`);
}

t.test('links and pictures of the documents exist', (test) => {
  for (const document of documents()) {
    for (const target of linksOf(document)) {
      test.ok(existsSync(join(root, dirname(document), target)), `${document}: ${target}`);
    }
  }
  test.end();
});

t.test('every command of this tool is parsed', async (test) => {
  for (const { document, line, words } of programs) {
    const args = ownArguments(words);
    if (args === null) continue;
    const [name = '', ...rest] = args;
    const command = await makers[name]?.();
    if (command === undefined) {
      test.match(name, /^--(help|version)$/, `${document}: ${line}`);
      continue;
    }
    command.exitOverride().configureOutput({ writeErr: () => undefined });
    command.action(() => undefined);
    await test.resolves(command.parseAsync(rest, { from: 'user' }), `${document}: ${line}`);
  }
});

/** The documented command with a load that takes a moment. */
function small(args: readonly string[], ports: ReadonlyMap<string, number>): string[] {
  const [command = '', ...rest] = args;
  if (command === 'serve') return [...args, '--port', '0'];
  // doctor.test.ts measures the noise, which takes five seconds.
  if (command === 'doctor') return [...args, '--no-noise'];
  if (command !== 'blast') return [...args];
  const words = rest.map((word, index) => {
    const option = rest[index - 1] ?? '';
    if (option === '--clients') return '20';
    // The ends of a sweep.
    if (option === '--work' || option === '--wait' || option === '--rate') {
      return word
        .split(',')
        .filter((_, place, all) => place === 0 || place === all.length - 1)
        .join(',')
        .replace(/^\d+k\/s$/, '1k/s');
    }
    if (option === '--fail-if') return word.replace(/@6000\b/, '@20');
    // The conformance tests run every mode.
    if (option === '--modes' && word === 'all') return 'blocking,epoll';
    const target = Object.keys(targets).find((one) => word.includes(one)) ?? '';
    return option === '--target' ? word.replace(target, `127.0.0.1:${ports.get(target) ?? 0}`) : word;
  });
  const needsLatency = words.some((word) => word === '--rate' || word.includes('response_time'));
  return [
    command,
    ...words,
    ...(words.includes('--clients') ? [] : ['--clients', '20']),
    ...['--warmup', '50ms', '--duration', '200ms', '--quiet'],
    ...(words.includes('--until') ? ['--trials-max', '4'] : ['--trials', '1']),
    ...(needsLatency ? [] : ['--phases', 'capacity']),
  ];
}

/** Done, a figure or a gate that cannot be decided in so short a window, or a gate that is true. */
const expectedCodes = [0, 5, 99];

t.test(
  'every command that needs only this machine runs',
  { skip: isWindows && 'the documented servers are for a POSIX shell' },
  async (test) => {
    const place = makePlace(test);
    // What the documented commands read.
    for (const name of ['base.json', 'head.json', 'report.json', 'results/latest.json']) {
      mkdirSync(join(place.folder, dirname(name)), { recursive: true });
      const sample = name === 'head.json' ? 'slower-head.json' : 'two-modes.json';
      copyFileSync(join(root, 'fixtures', 'reports', sample), join(place.folder, name));
    }
    for (const name of ['server', 'base', 'head']) {
      const file = join(place.folder, name);
      writeFileSync(file, `#!/bin/sh\nexec "${process.execPath}" "${cliPath}" serve --mode epoll "$@"\n`);
      chmodSync(file, 0o755);
    }
    const env = { GITHUB_STEP_SUMMARY: join(place.folder, 'summary.md') };
    const servers = Object.values(targets).map(
      (options) => new Running(place, ['serve', ...options, '--port', '0'], { env }),
    );
    try {
      const ports = new Map<string, number>();
      for (const [index, name] of Object.keys(targets).entries()) {
        const server = servers[index];
        test.ok(await server?.says(/listens on 127\.0\.0\.1:\d+/), `a server for --target ${name}`);
        ports.set(name, Number(/127\.0\.0\.1:(\d+)/.exec(`${server?.stdout}${server?.stderr}`)?.[1]));
      }
      const lines = new Set<string>();
      for (const { document, line, words } of programs) {
        const args = ownArguments(words)?.map((word) => word.replace('$GITHUB_STEP_SUMMARY', env.GITHUB_STEP_SUMMARY));
        if (args === undefined || onlyParsed(args) || lines.has(line)) continue;
        lines.add(line);
        const name = `${document}: ${line}`;
        if (args[0] === 'serve') await checkServe(test, new Running(place, small(args, ports), { env }), name);
        else {
          const outcome = await run(place, small(args, ports), { env });
          test.ok(expectedCodes.includes(outcome.code ?? -1), `${name}: exit code ${outcome.code}\n${outcome.stderr}`);
        }
      }
      test.ok(lines.size > 10, `${lines.size} commands were run`);
    } finally {
      for (const server of servers) {
        server.child.kill('SIGINT');
        await server.finished;
      }
    }
  },
);

async function checkServe(test: Test, running: Running, name: string): Promise<void> {
  try {
    test.ok(await running.says(/listens on/), name);
    running.child.kill('SIGINT');
    test.equal((await running.finished).code, 0, `${name}: ends by Ctrl-C`);
  } finally {
    running.kill();
  }
}
