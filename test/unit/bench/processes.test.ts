/** The figures that the benchmark reads of processes (native/bench/processes.mjs). */
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import { root } from '../../support/environment.js';

interface Sample {
  at_us: number;
  idle_ns: number;
  cpu_ns: number[];
}

interface Processes {
  networkThreads: (cpu: number) => number[];
  busyFractions: (
    samples: Sample[],
    fromUs: number,
    toUs: number,
    cpus: number,
  ) => { processes: number[]; others: number } | null;
}

const { networkThreads, busyFractions } = (await import(
  pathToFileURL(join(root, 'native', 'bench', 'processes.mjs')).href
)) as Processes;

/** Empty if there is no such file. */
function contentOf(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}

// On Linux, process 2 is kthreadd, except in a container, which does not show kernel threads.
const visible = process.platform === 'linux' && contentOf('/proc/2/comm') === 'kthreadd';
const hidden = visible ? false : 'no kernel thread can be seen from here';

t.test("the kernel's packet threads, by CPU", { skip: hidden }, (t) => {
  const names = networkThreads(0).map((pid) => contentOf(`/proc/${pid}/comm`));
  t.ok(names.includes('ksoftirqd/0'), names.join(' '));
  t.ok(names.every((name) => name.endsWith('/0')));
  t.same(networkThreads(cpus().length + 5000), []);
  t.end();
});

t.test('CPU time that is neither idle nor of the processes belongs to others', (t) => {
  const sample = (at: number, share: number): Sample => ({
    at_us: at * 1e6,
    idle_ns: at * 0.5e9,
    cpu_ns: [at * 1e9, at * share * 1e9],
  });
  const samples = [0, 1, 2, 3].map((at) => sample(at, 0.25));
  const busy = busyFractions(samples, 0, 3e6, 2);
  t.same(busy?.processes, [1, 0.25]);
  t.equal(busy?.others, 0.25);
  t.equal(busyFractions(samples, 0.5e6, 2.5e6, 2), null, 'two samples are too few');
  t.end();
});
