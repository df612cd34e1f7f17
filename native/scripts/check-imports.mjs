#!/usr/bin/env node
// Checks that a Windows library imports nothing but Windows' own DLLs, so that it runs where no compiler was ever installed.
//
//   node native/scripts/check-imports.mjs [FILE]      default: prebuilds/win32-x64/iocp_bench.dll
//
// Exit codes: 0 only Windows' own; 1 others, which are named; 3 this machine has no objdump that reads PE files.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..', '..');
const OBJDUMPS = ['x86_64-w64-mingw32-objdump', 'llvm-objdump', 'objdump'];
/** DLLs that every Windows 10 has: the system's, and the C runtime that it ships. */
const OWN = [
  /^kernel32\.dll$/,
  /^ntdll\.dll$/,
  /^ws2_32\.dll$/,
  /^mswsock\.dll$/,
  /^iphlpapi\.dll$/,
  /^psapi\.dll$/,
  /^advapi32\.dll$/,
  /^winmm\.dll$/,
  /^msvcrt\.dll$/,
  /^ucrtbase\.dll$/,
  /^api-ms-win-[a-z0-9-]+\.dll$/,
];

function importsOf(file) {
  for (const program of OBJDUMPS) {
    const result = spawnSync(program, ['-p', file], { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
    if (result.error !== undefined || result.status !== 0) continue;
    const names = [...result.stdout.matchAll(/DLL Name: (\S+)/g)].map((match) => match[1]);
    if (names.length > 0) return names;
  }
  return null;
}

const file = resolve(process.argv[2] ?? join(ROOT, 'prebuilds', 'win32-x64', 'iocp_bench.dll'));
if (!existsSync(file)) {
  process.stderr.write(`${file} does not exist\n  build it: node native/scripts/build.mjs --preset windows-cross\n`);
  process.exit(1);
}
const imports = importsOf(file);
if (imports === null) {
  process.stderr.write(`no objdump here reads ${file}\n  sudo apt-get install binutils-mingw-w64-x86-64\n`);
  process.exit(3);
}
const foreign = imports.filter((name) => !OWN.some((pattern) => pattern.test(name.toLowerCase())));
if (foreign.length > 0) {
  process.stderr.write(`${file} imports ${foreign.join(', ')}, which Windows does not bring\n  link it statically (IB_LINK_OPTIONS in CMakeLists.txt)\n`);
  process.exit(1);
}
process.stdout.write(`${file} imports only Windows' own: ${imports.join(', ')}\n`);
