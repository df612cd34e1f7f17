#!/usr/bin/env node
// Removes the build's output: compiled TypeScript, the native libraries and CMake's folders. Keeps packages, results and Wine's folder.
import { rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = resolve(fileURLToPath(new URL('.', import.meta.url)), '..', '..');
for (const folder of ['dist', 'prebuilds', join('native', 'build')]) {
  rmSync(join(ROOT, folder), { recursive: true, force: true });
}
