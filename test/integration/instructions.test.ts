/**
 * `--count-instructions`. Few test machines have a CPU whose counters a process may use, so a small library, preloaded into the tool and
 * its servers, opens the kernel's own counter of CPU time in ns for each of them. Then a figure must be the CPU time of the same request,
 * whatever threads and processes a mode serves it with.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { makePlace, run, shortBlast, type RunOptions } from '../support/cli.js';
import { skipOutsideLinux, skipWithout } from '../support/environment.js';
import { parseReport } from '../support/report.js';
import type { CompletedWindow, Report } from '../../src/model/report-schema.js';

t.setTimeout(180_000);

const source = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>

struct attributes { uint32_t type, size; uint64_t config, unused[3], flags; };
#define EXCLUDE_KERNEL (1ull << 5)

long syscall(long number, ...)
{
	static long (*next)(long, ...);
	if (next == NULL) next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	long argument[6];
	va_list list;
	va_start(list, number);
	for (int index = 0; index < 6; index++) argument[index] = va_arg(list, long);
	va_end(list);
	if (number == SYS_perf_event_open) {
		struct attributes *attributes = (struct attributes *)argument[0];
		if (getenv("TEST_COUNTERS_REFUSED") != NULL) {
			errno = atoi(getenv("TEST_COUNTERS_REFUSED"));
			return -1;
		}
		if (getenv("TEST_COUNTERS_USER") != NULL && !(attributes->flags & EXCLUDE_KERNEL)) {
			errno = EACCES;
			return -1;
		}
		attributes->type = 1; /* PERF_TYPE_SOFTWARE */
		attributes->config = 1; /* PERF_COUNT_SW_TASK_CLOCK */
		attributes->flags |= EXCLUDE_KERNEL; /* this counter ignores it, but a user may be refused without it */
	}
	return next(number, argument[0], argument[1], argument[2], argument[3], argument[4], argument[5]);
}
`;

/**
 * The counter as a share of the CPU time: it includes interrupts and what a hypervisor took, which the CPU time leaves out, and
 * the CPU time is up to a tick of the scheduler old at both ends of the window. What is counted twice is twice as much; a thread or a process that is missed is most of the mode's work.
 */
const [shareLeast, shareMost] = [0.8, 1.8];

/** Compiles the library and returns the environment that preloads it. */
function counters(test: Test): NodeJS.ProcessEnv {
  const folder = mkdtempSync(join(tmpdir(), 'iocp-bench-counters-'));
  test.teardown(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  const [code, library] = [join(folder, 'counters.c'), join(folder, 'counters.so')];
  writeFileSync(code, source);
  execFileSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, code, '-ldl']);
  return { LD_PRELOAD: library };
}

async function reportOf(
  test: Test,
  args: readonly string[],
  options: RunOptions,
): Promise<{ report: Report; stderr: string }> {
  const outcome = await run(makePlace(test), [...args, '--json', '-'], options);
  test.equal(outcome.code, 0, outcome.stderr);
  return { report: parseReport(test, outcome.stdout), stderr: outcome.stderr };
}

function windowsOf(report: Report): { mode: string; window: CompletedWindow }[] {
  return report.runs.flatMap((one) =>
    one.trials.flatMap((window) => (window.state === 'completed' ? [{ mode: one.mode, window }] : [])),
  );
}

function isClose(test: Test, of: string, counted: number | null | undefined, cpuUs: number | null | undefined): void {
  if (!test.type(counted, 'number', `${of}: counted`) || !test.type(cpuUs, 'number', `${of}: CPU time`)) return;
  const share = (counted ?? 0) / ((cpuUs ?? 0) * 1_000);
  test.ok(share > shareLeast && share < shareMost, `${of}: ${share.toFixed(3)} of its CPU time in ns`);
}

const modes = ['blocking', 'process', 'pool', 'select', 'epoll', 'io_uring', 'node'];
const counting = [
  ...['blast', '--clients', '20', '--trials', '1', '--phases', 'capacity', '--duration', '800ms', '--warmup', '200ms'],
  '--count-instructions',
];
const skip = skipOutsideLinux('perf_event_open') || skipWithout('cc');

t.test('each mode and the client: what is counted is of the same requests as the CPU time', { skip }, async (test) => {
  const { report } = await reportOf(test, [...counting, '--modes', modes.join(',')], { env: counters(test) });
  const windows = windowsOf(report);
  test.equal(windows.length, modes.length);
  test.equal(report.plan.count_instructions, true);
  test.match(report.environment.instructions, { scope: 'user+kernel', reason: '' });
  for (const { mode, window } of windows) {
    const { server, client } = window;
    if (server !== null) {
      isClose(test, `${mode}: instructions`, server.instructions_per_request, server.cpu_us_per_request);
      isClose(test, `${mode}: cycles`, server.cycles_per_request, server.cpu_us_per_request);
      test.equal(server.instructions_scope, 'user+kernel');
      test.equal(server.kernel_bytes_per_connection, null, `${mode}: without the memory of the counters`);
    }
    isClose(test, `${mode}: instructions of the client`, client.instructions_per_request, client.cpu_us_per_request);
    isClose(test, `${mode}: cycles of the client`, client.cycles_per_request, client.cpu_us_per_request);
    test.equal(client.instructions_scope, 'user+kernel');
  }
  test.ok(
    windows.some(({ window }) => window.server !== null),
    'some server was read in time',
  );
});

t.test('user mode alone: the report, the table and a warning say so', { skip }, async (test) => {
  const env = { ...counters(test), TEST_COUNTERS_USER: '1' };
  const place = makePlace(test);
  const outcome = await run(place, [...counting, '--modes', 'epoll', '--full'], { env });
  test.equal(outcome.code, 0, outcome.stderr);
  test.match(outcome.stdout, /instructions \(user\)[ │|]+\d/);
  test.match(outcome.stdout, /CPU cycles \(user\)[ │|]+\d/);
  test.match(outcome.stdout, /user mode alone/);
});

t.test('without counters: null, and one sentence that says why', { skip }, async (test) => {
  const preload = counters(test);
  const cases = [
    { code: '2', reason: /^instructions and cycles are not counted: the CPU has no counters/, hint: /^$/ },
    { code: '13', reason: /does not let this process use the CPU's counters/, hint: /kernel\.perf_event_paranoid=1/ },
  ];
  for (const { code, reason, hint } of cases) {
    const env = { ...preload, TEST_COUNTERS_REFUSED: code };
    const { report } = await reportOf(test, shortBlast('--modes', 'epoll', '--clients', '5', '--count-instructions'), {
      env,
    });
    test.match(report.environment.instructions, { scope: null });
    for (const { window } of windowsOf(report)) {
      test.match(window.client, { instructions_per_request: null, cycles_per_request: null, instructions_scope: null });
      if (window.server !== null)
        test.match(window.server, { instructions_per_request: null, cycles_per_request: null });
    }
    const [warning, ...more] = report.warnings.filter(({ code: name }) => name.startsWith('instructions'));
    test.match(warning, { code: 'instructions_not_counted', message: reason, hint });
    test.same(more, [], 'once');
  }
  const plain = await reportOf(test, shortBlast('--modes', 'epoll', '--clients', '5'), { env: preload });
  for (const { window } of windowsOf(plain.report)) {
    test.equal(window.client.instructions_per_request, null, 'not asked for, so not counted');
    test.equal(window.server?.instructions_per_request ?? null, null);
  }
});
