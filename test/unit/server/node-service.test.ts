import t from 'tap';
import { NodeService } from '../../../src/server/node-service.js';

const elapsedMs = (since: bigint): number => Number(process.hrtime.bigint() - since) / 1e6;

t.test('a wait of the node mode never ends early', async (test) => {
  const waitMs = 3;
  const service = NodeService.start({ workUs: 0, waitMs, waitBlocks: false, messageSizeBytes: 64 });
  if (service === null) throw new Error('a service with a wait');
  for (let round = 0; round < 20; round++) {
    // Node counts a timer from the time at which its loop last woke up, which is well before a request that others delayed.
    const woken = process.hrtime.bigint();
    while (elapsedMs(woken) < 2.5);
    const start = process.hrtime.bigint();
    const waitedMs = await new Promise<number>((resolve) => {
      service.begin(() => {
        resolve(elapsedMs(start));
      });
    });
    test.ok(waitedMs >= waitMs, `round ${round}: ${waitedMs.toFixed(2)} ms`);
  }
  test.equal(service.stats().waits, 20);
  test.ok((service.stats().waited_ns ?? 0) >= 20 * waitMs * 1e6);
});

t.test('a wait that is cancelled does not end', async (test) => {
  const service = NodeService.start({ workUs: 0, waitMs: 2, waitBlocks: false, messageSizeBytes: 64 });
  let ended = false;
  service
    ?.begin(() => {
      ended = true;
    })
    ?.cancel();
  await new Promise((resolve) => setTimeout(resolve, 20));
  test.notOk(ended);
  test.equal(service?.stats().served, 0);
});
