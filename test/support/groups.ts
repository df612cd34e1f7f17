/** Control groups with a limit, for runs of the tool as in a container. */
import { accessSync, constants, existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { until } from './wait.js';

const version1 = '/sys/fs/cgroup/memory';
const version2 = '/sys/fs/cgroup';

function usable(): { folder: string; file: string } | null {
  const all = [
    { folder: version1, file: 'memory.limit_in_bytes' },
    { folder: version2, file: 'memory.max' },
  ];
  const found = all.find(({ folder, file }) =>
    file === 'memory.max'
      ? readOr(join(folder, 'cgroup.subtree_control')).includes('memory')
      : existsSync(join(folder, file)),
  );
  if (found === undefined) return null;
  try {
    accessSync(found.folder, constants.W_OK);
    return found;
  } catch {
    return null;
  }
}

function readOr(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

/** For tap's `skip`: a group can be made by the superuser alone, and only where the system has the memory controller. */
export function skipWithoutGroup(): string | false {
  return usable() === null ? 'control groups for memory cannot be made here' : false;
}

/** A group of so much memory, as the command of a shell that moves itself into it. */
export function memoryGroup(test: Test, mebibytes: number): string {
  const place = usable();
  if (place === null) throw new Error('no control group can be made');
  const folder = join(place.folder, `iocp-bench-test-${process.pid}`);
  mkdirSync(folder);
  test.teardown(async () => {
    await until(() => readOr(join(folder, 'cgroup.procs')) === '');
    rmdirSync(folder);
  });
  writeFileSync(join(folder, place.file), String(mebibytes * 2 ** 20));
  return `echo $$ >${join(folder, 'cgroup.procs')}`;
}
