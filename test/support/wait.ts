/** Waiting with an end: a test that waits for ever tells nobody what it waited for. */
import { setTimeout as sleep } from 'node:timers/promises';

export { sleep };

/**
 * Generous bound of one step. It only keeps a hanging test finite: two shared cores, sanitizers and Wine are all slower than
 * anything it could assert about speed.
 */
export const stepDeadlineMs = 30_000;

/** Rejects, naming what was waited for, when the promise does not settle in time. */
export async function within<T>(promise: Promise<T>, what: string, deadlineMs = stepDeadlineMs): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`${what}: nothing within ${deadlineMs} ms`));
    }, deadlineMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Polls until the condition holds; false when it did not in time. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  deadlineMs = stepDeadlineMs,
  everyMs = 25,
): Promise<boolean> {
  const end = performance.now() + deadlineMs;
  for (;;) {
    if (await condition()) return true;
    if (performance.now() >= end) return false;
    await sleep(everyMs);
  }
}
