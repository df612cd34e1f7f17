#!/usr/bin/env node
// Checks the form of the C sources with clang-format: `node native/scripts/format.mjs`; --write mends it. Where clang-format is not
// installed the check is skipped, and says so.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const NATIVE = resolve(dirname(fileURLToPath(import.meta.url)), '..');

if (spawnSync('clang-format', ['--version'], { stdio: 'ignore' }).status !== 0) {
  process.stderr.write('clang-format is not installed: the form of the C sources is not checked\n');
  process.exit(0);
}
const files = ['include', 'src', 'test', 'bench']
  .flatMap((folder) => readdirSync(join(NATIVE, folder), { withFileTypes: true, recursive: true }))
  .filter((entry) => /\.[ch]$/.test(entry.name))
  .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
const mode = process.argv.includes('--write') ? ['-i'] : ['--dry-run', '--Werror'];
process.exit(spawnSync('clang-format', [...mode, ...files], { stdio: 'inherit' }).status ?? 1);
