#!/usr/bin/env node
// Checks the format of the C sources with clang-format: `node native/scripts/format.mjs`; --write reformats them. Without clang-format the
// check is skipped with a message; in CI (environment variable CI) it fails.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const NATIVE = resolve(dirname(fileURLToPath(import.meta.url)), '..');

if (spawnSync('clang-format', ['--version'], { stdio: 'ignore' }).status !== 0) {
  process.stderr.write('clang-format is not installed: the format of the C sources was not checked\n');
  process.exit(process.env.CI ? 1 : 0);
}
const files = ['include', 'src', 'test', 'bench']
  .flatMap((folder) => readdirSync(join(NATIVE, folder), { withFileTypes: true, recursive: true }))
  .filter((entry) => /\.[ch]$/.test(entry.name))
  .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
const mode = process.argv.includes('--write') ? ['-i'] : ['--dry-run', '--Werror'];
process.exit(spawnSync('clang-format', [...mode, ...files], { stdio: 'inherit' }).status ?? 1);
