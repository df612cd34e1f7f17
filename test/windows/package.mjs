// The package that `npm pack` makes: it holds the libraries of both systems, and installed for Windows in an empty folder it runs there.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { faultOf } from './mixed.mjs';
import { ROOT, startWindows } from './setup.mjs';

const TIMEOUT_MS = 180_000;
const LIBRARIES = ['linux-x64/iocp_bench.so', 'win32-x64/iocp_bench.dll'];
/** A library that still carries its debug information is several times as large. */
const LIBRARY_BYTES_MAX = 400_000;
const BLAST = [
  'blast',
  '--clients',
  '50',
  '--trials',
  '1',
  '--duration',
  '300ms',
  '--warmup',
  '200ms',
  '--phases',
  'capacity',
  '--quiet',
  '--json',
  '-',
];

function npm(args, cwd) {
  // What the npm that started this run has set is not for this one.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('npm_')));
  return spawnSync('npm', args, { cwd, env, encoding: 'utf8', timeout: TIMEOUT_MS });
}

/** Installs the package as on Windows: npm takes the packages for that system, such as koffi's binary. */
function installForWindows(archive, place) {
  mkdirSync(place);
  writeFileSync(join(place, 'package.json'), '{ "private": true }');
  const flags = ['--os=win32', '--cpu=x64', '--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts'];
  const { status, stderr } = npm(['install', ...flags, archive], place);
  return status === 0 ? null : stderr;
}

/** What is wrong with the libraries of an installed package; null if nothing is. */
function faultOfLibraries(folder) {
  for (const name of LIBRARIES) {
    const path = join(folder, 'prebuilds', name);
    if (!existsSync(path)) return `${name} is not in the package`;
    const { size } = statSync(path);
    if (size > LIBRARY_BYTES_MAX) return `${name} has ${size} bytes: it was not stripped`;
  }
  return null;
}

/** What is wrong with the message if the package has no library for this system; null if nothing is. */
function faultOfRefusal({ code, stdout, stderr }) {
  const wanted = [
    /no native library for win32-x64; this package has linux-x64/,
    /node [A-Z]:\\\S+\\build\.mjs/,
    /IOCP_BENCH_LIBRARY/,
  ];
  const unsaid = wanted.filter((pattern) => !pattern.test(stderr));
  if (code === 3 && stdout === '' && unsaid.length === 0) return null;
  return `exit code ${code}, without ${unsaid.join(' ')}: ${stdout}${stderr}`;
}

/** Runs them one after the other; yields {name, fault}, fault null when it went as it should. */
export async function* packageProofs(programs) {
  const folder = mkdtempSync(join(tmpdir(), 'iocp-bench-package-'));
  try {
    const packed = npm(['pack', '--json', '--pack-destination', folder], ROOT);
    yield { name: 'npm pack', fault: packed.status === 0 ? null : packed.stderr };
    if (packed.status !== 0) return;
    // npm up to 11 prints a list; later ones an object by name. Its scripts' banner comes before.
    const [{ filename }] = Object.values(JSON.parse(packed.stdout.slice(packed.stdout.search(/^[[{]/m))));

    const place = join(folder, 'place');
    const fault = installForWindows(join(folder, filename), place);
    yield { name: 'the package installs for Windows', fault };
    if (fault !== null) return;
    const installed = join(place, 'node_modules', 'iocp-bench');
    yield { name: 'it holds the libraries of both systems, stripped', fault: faultOfLibraries(installed) };

    const cli = join(installed, 'bin', 'iocp-bench.js');
    // Without the packages of the set-up: the installed ones must be sufficient.
    const options = { cwd: place, env: { NODE_PATH: '' }, timeoutMs: TIMEOUT_MS };
    const blast = (args) => startWindows(programs, programs.node, [cli, ...BLAST, ...args], options).ended;
    yield { name: 'Windows runs it: blocking, iocp and node', fault: faultOf(await blast(['--modes', 'all'])) };
    rmSync(join(installed, 'prebuilds', 'win32-x64'), { recursive: true });
    yield { name: 'without its library it says what to do', fault: faultOfRefusal(await blast([])) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
