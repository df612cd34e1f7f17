#!/usr/bin/env node
// Checks that a library runs on machines without a compiler: a DLL may import only Windows' own DLLs, and a shared object only the C
// library, with no symbol newer than the floor below.
//
//   node native/scripts/check-imports.mjs [FILE...]      default: prebuilds/win32-x64/iocp_bench.dll
//
// Exit codes: 0 the imports are allowed; 1 the named imports are not; 3 this machine has no objdump that can read the file.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { giveUp } from './give-up.mjs';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..', '..');

/** DLLs that every Windows 10 has: the system's, and its C runtime. */
const WINDOWS_OWN = [
  /^(kernel32|ntdll|ws2_32|mswsock|iphlpapi|psapi|advapi32|winmm)\.dll$/,
  /^(msvcrt|ucrtbase|api-ms-win-[a-z0-9-]+)\.dll$/,
];
const LINUX_OWN = [/^(libc|libm)\.so\.6$/, /^libpthread\.so\.0$/, /^ld-linux-x86-64\.so\.2$/];
/** Debian 12, Ubuntu 22.04, RHEL 9: the oldest systems that many Node 20 users still run. */
const GLIBC_FLOOR = '2.34';

/** The headers and dynamic symbols of the file, from the first objdump that can read it. */
function dump(file, programs, options) {
  for (const program of programs) {
    const result = spawnSync(program, [...options, file], { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
    if (result.error === undefined && result.status === 0) return result.stdout;
  }
  return giveUp(
    3,
    `no objdump on this machine can read ${file}`,
    'sudo apt-get install binutils binutils-mingw-w64-x86-64',
  );
}

function every(text, pattern) {
  return [...new Set([...text.matchAll(pattern)].map((match) => match[1]))];
}

/** Ends the script if the file has other imports, or none at all: then objdump did not understand it. */
function requireOwn(file, imports, own, hint) {
  if (imports.length === 0) giveUp(3, `objdump lists no imports of ${file}`, 'check the file with objdump -p');
  const foreign = imports.filter((name) => !own.some((pattern) => pattern.test(name.toLowerCase())));
  if (foreign.length > 0) giveUp(1, `${file} imports ${foreign.join(', ')}, which the system does not include`, hint);
}

function checkWindows(file) {
  const text = dump(file, ['x86_64-w64-mingw32-objdump', 'llvm-objdump', 'objdump'], ['-p']);
  const imports = every(text, /DLL Name: (\S+)/g);
  requireOwn(file, imports, WINDOWS_OWN, 'link it statically (IB_LINK_OPTIONS in CMakeLists.txt)');
  return `only Windows' own: ${imports.join(', ')}`;
}

/** Compares version numbers: "2.9" < "2.34". */
function compareVersions(a, b) {
  return a.localeCompare(b, 'en', { numeric: true });
}

function checkLinux(file) {
  const text = dump(file, ['objdump', 'llvm-objdump'], ['-p', '-T']);
  const imports = every(text, /NEEDED\s+(\S+)/g);
  requireOwn(file, imports, LINUX_OWN, 'link it statically or remove the dependency');
  const needed =
    every(text, /\bGLIBC_([0-9.]+)/g)
      .sort(compareVersions)
      .at(-1) ?? '0';
  if (compareVersions(needed, GLIBC_FLOOR) > 0) {
    const newer = every(text, new RegExp(`\\(?GLIBC_${needed.replaceAll('.', '\\.')}\\)?\\s+(\\w+)$`, 'gm'));
    giveUp(
      1,
      `${file} needs glibc ${needed} for ${newer.join(', ')}, but must run with glibc ${GLIBC_FLOOR}`,
      'build it on Debian 12 or Ubuntu 22.04, whose headers do not need newer symbols',
    );
  }
  return `only the C library: ${imports.join(', ')}; glibc ${needed} or later`;
}

const asked = process.argv.slice(2);
const files = asked.length > 0 ? asked : [join(ROOT, 'prebuilds', 'win32-x64', 'iocp_bench.dll')];
for (const file of files.map((path) => resolve(path))) {
  if (!existsSync(file)) {
    giveUp(1, `${file} does not exist`, 'build it: node native/scripts/build.mjs [--preset windows-cross]');
  }
  process.stdout.write(`${file} imports ${file.endsWith('.dll') ? checkWindows(file) : checkLinux(file)}\n`);
}
