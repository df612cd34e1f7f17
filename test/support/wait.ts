/** Waits with a deadline, so that a test that hangs says what it was waiting for. */
import { setTimeout as sleep } from 'node:timers/promises';

export { sleep };

/**
 * Generous deadline of one step. It only ends a test that hangs and says nothing about speed: shared cores, sanitizers and Wine are
 * slow.
 */
export const stepDeadlineMs = 30_000;

/** Rejects with the name of what was awaited if the promise does not settle in time. */
export async function within<T>(promise: Promise<T>, what: string, deadlineMs = stepDeadlineMs): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      // A process that got no CPU meanwhile first sees its timers, and then what came in time.
      setImmediate(() => {
        reject(new Error(`${what}: nothing within ${deadlineMs} ms`));
      });
    }, deadlineMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Polls until the condition holds; false if it did not in time. */
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
