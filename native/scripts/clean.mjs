#!/usr/bin/env node
// Removes what the build makes: compiled TypeScript, the native libraries and CMake's folders. Packages, results and Wine's folder stay.
import { rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = resolve(fileURLToPath(new URL('.', import.meta.url)), '..', '..');
for (const folder of ['dist', 'prebuilds', join('native', 'build')]) {
  rmSync(join(ROOT, folder), { recursive: true, force: true });
}
