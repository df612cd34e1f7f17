#!/usr/bin/env node
// Checks the format of the C sources with clang-format: `node native/scripts/format.mjs`. --write reformats them. If clang-format is
// missing or too old, the check is skipped with a message. In CI (environment variable CI) it fails instead.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const NATIVE = resolve(dirname(fileURLToPath(import.meta.url)), '..');

// InsertBraces exists since clang-format 15. Debian's unnumbered package is older.
const OLDEST = 15;
const names = ['clang-format', ...[22, 21, 20, 19, 18, 17, 16, 15].map((version) => `clang-format-${version}`)];
const formatter = names.find((name) => {
  const { stdout } = spawnSync(name, ['--version'], { encoding: 'utf8' });
  return Number(/version (\d+)/.exec(stdout ?? '')?.[1] ?? 0) >= OLDEST;
});
if (formatter === undefined) {
  process.stderr.write(
    `clang-format ${OLDEST} or newer is not installed: the format of the C sources was not checked\n`,
  );
  process.exit(process.env.CI ? 1 : 0);
}
const files = ['include', 'src', 'test', 'bench']
  .flatMap((folder) => readdirSync(join(NATIVE, folder), { withFileTypes: true, recursive: true }))
  .filter((entry) => /\.[ch]$/.test(entry.name))
  .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
const mode = process.argv.includes('--write') ? ['-i'] : ['--dry-run', '--Werror'];
process.exit(spawnSync(formatter, [...mode, ...files], { stdio: 'inherit' }).status ?? 1);
