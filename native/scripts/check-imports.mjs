#!/usr/bin/env node
// Checks that a library runs where no compiler was ever installed: a DLL imports nothing but Windows' own DLLs, a shared object
// nothing but the C library, and of that no symbol newer than the floor below.
//
//   node native/scripts/check-imports.mjs [FILE...]      default: prebuilds/win32-x64/iocp_bench.dll
//
// Exit codes: 0 nothing else; 1 something else, which is named; 3 this machine has no objdump that reads the file.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { giveUp } from './give-up.mjs';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..', '..');

/** DLLs that every Windows 10 has: the system's, and the C runtime that it ships. */
const WINDOWS_OWN = [
  /^(kernel32|ntdll|ws2_32|mswsock|iphlpapi|psapi|advapi32|winmm)\.dll$/,
  /^(msvcrt|ucrtbase|api-ms-win-[a-z0-9-]+)\.dll$/,
];
const LINUX_OWN = [/^(libc|libm)\.so\.6$/, /^libpthread\.so\.0$/, /^ld-linux-x86-64\.so\.2$/];
/** Debian 12, Ubuntu 22.04, RHEL 9: the oldest that Node 20 users still run in numbers. */
const GLIBC_FLOOR = '2.34';

/** What the first objdump that understands the file says of its headers and dynamic symbols. */
function dump(file, programs, options) {
  for (const program of programs) {
    const result = spawnSync(program, [...options, file], { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
    if (result.error === undefined && result.status === 0) return result.stdout;
  }
  return giveUp(3, `no objdump here reads ${file}`, 'sudo apt-get install binutils binutils-mingw-w64-x86-64');
}

function every(text, pattern) {
  return [...new Set([...text.matchAll(pattern)].map((match) => match[1]))];
}

/** A file that imports nothing at all was not understood. */
function requireOwn(file, imports, own, hint) {
  if (imports.length === 0) giveUp(3, `${file} names no import: it was not understood`, 'look at it with objdump -p');
  const foreign = imports.filter((name) => !own.some((pattern) => pattern.test(name.toLowerCase())));
  if (foreign.length > 0) giveUp(1, `${file} imports ${foreign.join(', ')}, which the system does not bring`, hint);
}

function checkWindows(file) {
  const text = dump(file, ['x86_64-w64-mingw32-objdump', 'llvm-objdump', 'objdump'], ['-p']);
  const imports = every(text, /DLL Name: (\S+)/g);
  requireOwn(file, imports, WINDOWS_OWN, 'link it statically (IB_LINK_OPTIONS in CMakeLists.txt)');
  return `only Windows' own: ${imports.join(', ')}`;
}

/** Orders versions as "2.9" < "2.34". */
function compareVersions(a, b) {
  return a.localeCompare(b, 'en', { numeric: true });
}

function checkLinux(file) {
  const text = dump(file, ['objdump', 'llvm-objdump'], ['-p', '-T']);
  const imports = every(text, /NEEDED\s+(\S+)/g);
  requireOwn(file, imports, LINUX_OWN, 'link it statically, or do without');
  const needed =
    every(text, /\bGLIBC_([0-9.]+)/g)
      .sort(compareVersions)
      .at(-1) ?? '0';
  if (compareVersions(needed, GLIBC_FLOOR) > 0) {
    const newer = every(text, new RegExp(`\\(?GLIBC_${needed.replaceAll('.', '\\.')}\\)?\\s+(\\w+)$`, 'gm'));
    giveUp(
      1,
      `${file} needs glibc ${needed} for ${newer.join(', ')}, and systems from glibc ${GLIBC_FLOOR} on are served`,
      'build it on Debian 12 or Ubuntu 22.04, whose headers do not ask for newer symbols',
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
