/**
 * The package from `npm pack`, installed in an empty folder as by a user. It runs without a compiler, and if its library does not
 * fit, it says what to do. test/windows/package.mjs checks the libraries of both systems together.
 */
import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t, { type Test } from 'tap';
import { findProgram, root, skipOutsideLinux } from '../support/environment.js';

t.setTimeout(300_000);

interface Packed {
  filename: string;
  files: { path: string }[];
}

interface Trial {
  state: string;
  connections: { made: number };
  requests: { count: number };
  errors: { total: number };
}

/** Variables of npm and of this run must not reach the installed program. */
function cleanEnvironment(more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const unwanted = /^(npm_|NODE_OPTIONS$|NODE_PATH$|TAP|IOCP_BENCH_|CC$)/;
  const inherited = Object.entries(process.env).filter(([name]) => !unwanted.test(name));
  return { ...Object.fromEntries(inherited), NO_COLOR: '1', ...more };
}

function start(
  program: string,
  args: readonly string[],
  cwd: string,
  env = cleanEnvironment(),
): SpawnSyncReturns<string> {
  return spawnSync(program, args, { cwd, env, encoding: 'utf8', timeout: 240_000, maxBuffer: 64 * 1024 * 1024 });
}

/**
 * Packs without running the scripts, which build and check both libraries and need a cross compiler. This test uses the existing
 * build.
 */
function pack(folder: string): Packed {
  const { status, stdout, stderr } = start(
    'npm',
    ['pack', '--ignore-scripts', '--json', '--pack-destination', folder],
    root,
  );
  // npm up to 11 prints a list; later ones an object by name.
  const printed = (status === 0 ? JSON.parse(stdout) : {}) as Packed[] | Record<string, Packed>;
  const [packed] = Object.values(printed);
  if (packed === undefined) throw new Error(`npm pack failed: ${stderr}`);
  return packed;
}

/** A folder that contains only node and a shell, without a compiler or CMake. */
function barePath(folder: string): string {
  const path = join(folder, 'path');
  mkdirSync(path);
  for (const name of ['node', 'sh', 'env']) {
    const program = name === 'node' ? process.execPath : findProgram(name);
    if (program !== null) symlinkSync(program, join(path, name));
  }
  return path;
}

function checkReport(test: Test, outcome: SpawnSyncReturns<string>, clients: number): void {
  test.equal(outcome.status, 0, outcome.stderr);
  const report = JSON.parse(outcome.stdout) as { runs: { trials: Trial[] }[] };
  const trials = report.runs.flatMap((run) => run.trials);
  test.ok(trials.length > 0, 'there are windows');
  for (const { state, connections, requests, errors } of trials) {
    test.equal(state, 'completed');
    test.equal(connections.made, clients);
    test.ok(requests.count > 0, 'requests were answered');
    test.equal(errors.total, 0);
  }
}

t.test('what is packed has no output of deleted sources, and all of the others', async (test) => {
  const folder = test.testdir({
    src: { 'kept.ts': '', part: { 'kept.ts': '' } },
    dist: {
      src: {
        'kept.js': '',
        'kept.d.ts': '',
        'kept.js.map': '',
        'gone.js': '',
        'gone.d.ts': '',
        'gone.js.map': '',
        part: { 'kept.d.ts': '', 'gone.d.ts': '' },
      },
    },
  });
  const { removeOrphans } = (await import(pathToFileURL(join(root, 'native', 'scripts', 'orphans.mjs')).href)) as {
    removeOrphans: (root: string) => void;
  };
  removeOrphans(folder);
  test.strictSame(readdirSync(join(folder, 'dist', 'src'), { recursive: true, encoding: 'utf8' }).sort(), [
    'kept.d.ts',
    'kept.js',
    'kept.js.map',
    'part',
    join('part', 'kept.d.ts'),
  ]);
});

const noNetwork = /\b(ENOTFOUND|EAI_AGAIN|ENETUNREACH|ECONNREFUSED|ETIMEDOUT|ENOTCACHED)\b/;

t.test('the packed tool', { skip: skipOutsideLinux('a PATH with nothing but node and a shell') }, async (test) => {
  const folder = mkdtempSync(join(tmpdir(), 'iocp-bench-package-'));
  test.teardown(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  const packed = pack(folder);
  const paths = packed.files.map(({ path }) => path);

  await test.test('contains the files to run and to build, and nothing else', async (part) => {
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
    part.equal(packed.filename, `iocp-bench-${version}.tgz`);
    const wanted = [
      ...[
        'bin/iocp-bench.js',
        'dist/src/cli.js',
        'dist/src/index.d.ts',
        'prebuilds/linux-x64/iocp_bench.so',
        'prebuilds/linux-x64/process_server',
        'fixtures/report.schema.json',
      ],
      ...['native/scripts/build.mjs', 'native/CMakeLists.txt', 'native/include/iocp_bench.h', 'native/src/library.c'],
      ...['README.md', 'LICENSE', 'package.json'],
    ];
    for (const path of wanted) part.ok(paths.includes(path), path);
    const allowed =
      /^(bin|dist\/src|prebuilds|native\/(src|include))\/|^native\/(CMake[A-Za-z]+\.(txt|json)|scripts\/(build|give-up)\.mjs)$|^[A-Z]+(\.md)?$|^package\.json$|^fixtures\/report\.schema\.json$/;
    part.strictSame(
      paths.filter((path) => !allowed.test(path) || path.endsWith('.map')),
      [],
    );
  });

  const place = join(folder, 'place');
  mkdirSync(place);
  writeFileSync(join(place, 'package.json'), '{ "private": true }');
  const installed = start(
    'npm',
    ['install', '--prefer-offline', '--no-audit', '--no-fund', join(folder, packed.filename)],
    place,
  );
  if (installed.status !== 0 && noNetwork.test(installed.stderr)) {
    test.pass('installs', { skip: 'the registry of its dependencies cannot be reached' });
    return;
  }
  test.equal(installed.status, 0, installed.stderr);
  const home = join(place, 'node_modules', 'iocp-bench');
  const bare = cleanEnvironment({ PATH: barePath(folder) });
  const npx = findProgram('npx') ?? 'npx';
  // Without a rate, each run would first measure which one to offer.
  const brief = ['--trials', '1', '--duration', '300ms', '--warmup', '100ms', '--rate', '500/s'];
  const blast = ['blast', '--clients', '50', ...brief, '--quiet', '--json', '-'];
  const runBare = (args: readonly string[]) => start(npx, ['--no-install', 'iocp-bench', ...args], place, bare);

  await test.test('runs without a compiler', async (part) => {
    for (const compiler of ['cc', 'gcc', 'clang', 'cmake']) {
      part.not(start('sh', ['-c', `command -v ${compiler}`], place, bare).status, 0, `${compiler} is out of reach`);
    }
    part.match(runBare(['--version']).stdout, /^\d+\.\d+\.\d+/);
    checkReport(part, runBare([...blast, '--modes', 'blocking,node']), 50);
  });

  await test.test("the README's program compiles against its types, and runs", (part) => {
    const readme = readFileSync(join(root, 'README.md'), 'utf8');
    const program = /```ts\n(.*?compare\(.*?)```/s.exec(readme)?.[1] ?? '';
    part.not(program, '', 'README has a program');
    const short = program
      .replace(/trials: \d+, durationMs: \d+/, 'trials: 1, durationMs: 200, warmupMs: 100')
      .replace('[1000]', '[20]');
    part.not(short, program, 'the run is made short');
    writeFileSync(join(place, 'program.mts'), short);
    writeFileSync(
      join(place, 'refused.mts'),
      "import { compare } from 'iocp-bench';\nawait compare({ trials: 'many' });\n",
    );
    const compiler = [join(root, 'node_modules', 'typescript', 'bin', 'tsc')];
    const flags = ['--strict', '--module', 'nodenext', '--target', 'es2022', '--exactOptionalPropertyTypes'];
    const types = ['--types', 'node', '--typeRoots', join(root, 'node_modules', '@types')];
    const compile = (file: string) =>
      start(process.execPath, [...compiler, ...flags, ...types, '--noUncheckedIndexedAccess', file], place);
    const compiled = compile('program.mts');
    part.equal(compiled.status, 0, compiled.stdout);
    part.match(compile('refused.mts').stdout, /refused\.mts.*'string' is not assignable to type 'number'/);
    const ran = start(process.execPath, ['program.mjs'], place, bare);
    part.equal(ran.status, 0, ran.stderr);
    part.match(ran.stdout, /^iocp capacity \d+/m, 'progress');
    part.equal(ran.stderr, '', 'it prints nothing of its own');
    part.match(readFileSync(join(place, 'report.html'), 'utf8'), /^<!doctype html>/i);
    part.end();
  });

  await test.test('says what to do without the binary of koffi, and still reads reports', async (part) => {
    const binaries = ['@koromix', '.koffi'].map((name) => join(place, 'node_modules', name));
    const [present = '', hidden = ''] = binaries;
    // What `npm install --omit=optional` leaves out.
    renameSync(present, hidden);
    try {
      for (const args of [blast, ['doctor'], ['serve', '--mode', 'epoll', '--port', '0']]) {
        const refused = runBare(args);
        part.equal(refused.status, 3, refused.stderr);
        part.match(refused.stderr, /koffi package.*cannot be loaded/);
        part.match(refused.stderr, /without --omit=optional/);
        part.notMatch(refused.stderr, /compiler|\n\s+at /);
      }
      const saved = join(root, 'fixtures', 'reports', 'two-modes.json');
      for (const args of [
        ['report', saved],
        ['diff', saved, saved],
      ]) {
        const shown = runBare(args);
        part.equal(shown.status, 0, shown.stderr);
        part.match(shown.stdout, /throughput/i, `${args[0] ?? ''} works`);
      }
    } finally {
      renameSync(hidden, present);
    }
  });

  await test.test('says what to do if no library fits, and that works', async (part) => {
    rmSync(join(home, 'prebuilds', 'linux-x64'), { recursive: true });
    const refused = runBare(blast);
    part.equal(refused.status, 3);
    part.equal(refused.stdout, '');
    part.match(refused.stderr, /no native library for linux-x64; this package has (none|win32-x64)/);
    part.match(refused.stderr, /IOCP_BENCH_LIBRARY/);
    part.notMatch(refused.stderr, /\n\s+at /, 'no stack trace');
    const script = /node (\/\S+build\.mjs)/.exec(refused.stderr)?.[1] ?? '';
    part.not(script, '', 'names the script that builds it');

    const named = start(npx, ['--no-install', 'iocp-bench', ...blast, '--modes', 'node'], place, {
      ...bare,
      IOCP_BENCH_LIBRARY: join(root, 'prebuilds', 'linux-x64', 'iocp_bench.so'),
    });
    checkReport(part, named, 50);

    const lacking = start(process.execPath, [script], place, bare);
    part.equal(lacking.status, 3, 'without a compiler the script says so');
    part.match(lacking.stderr, /CMake is missing|no C compiler/);
    const built = start(process.execPath, [script, '--quiet'], place);
    part.equal(built.status, 0, built.stderr);
    checkReport(part, runBare([...blast, '--modes', 'node']), 50);
  });
});
