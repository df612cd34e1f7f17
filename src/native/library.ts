/**
 * Finds the native library: the file named by IOCP_BENCH_LIBRARY, otherwise the one in this package for the platform.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BenchError } from '../model/errors.js';
import { platform } from '../platform.js';

export interface LibraryLocation {
  readonly path: string;
  /** 'environment': IOCP_BENCH_LIBRARY named it. 'package': it is in prebuilds/, shipped or built there. */
  readonly origin: 'environment' | 'package';
}

/** Platforms that the native code is written for. */
export const supportedPlatforms = ['linux-x64', 'win32-x64'] as const;

/** The package's root: this file is dist/src/native/library.js when it runs. */
export const packageRoot = fileURLToPath(new URL('../../../', import.meta.url));

export interface Surroundings {
  readonly platform: string;
  readonly arch: string;
  readonly root: string;
  /** Value of IOCP_BENCH_LIBRARY. */
  readonly environment: string | undefined;
}

export const here: Surroundings = {
  platform,
  arch: process.arch,
  root: packageRoot,
  environment: process.env['IOCP_BENCH_LIBRARY'],
};

/** @throws BenchError 'unavailable' that names the platform, the libraries that exist, and how to build one */
export function locateLibrary({ platform, arch, root, environment }: Surroundings = here): LibraryLocation {
  if (environment !== undefined && environment !== '') {
    const path = resolve(environment);
    if (existsSync(path)) return { path, origin: 'environment' };
    throw new BenchError(
      'unavailable',
      `IOCP_BENCH_LIBRARY names ${path}, which does not exist`,
      'unset it to use the library of this package',
    );
  }
  const target = `${platform}-${arch}`;
  if (!supportedPlatforms.some((supported) => supported === target)) {
    throw new BenchError(
      'unavailable',
      `iocp-bench runs on Linux and Windows on x86-64, not on ${target}`,
      'saved reports can still be read here: iocp-bench report FILE',
    );
  }
  const folder = join(root, 'prebuilds');
  const path = join(folder, target, platform === 'win32' ? 'iocp_bench.dll' : 'iocp_bench.so');
  if (existsSync(path)) return { path, origin: 'package' };
  const present = existsSync(folder) ? readdirSync(folder).sort() : [];
  throw new BenchError(
    'unavailable',
    `there is no native library for ${target}; this package has ${present.length === 0 ? 'none' : present.join(', ')}`,
    // The full path, because an installed package is not in the user's folder.
    `build it (a C compiler and CMake are needed): node ${join(root, 'native', 'scripts', 'build.mjs')}, or name one with IOCP_BENCH_LIBRARY`,
  );
}
