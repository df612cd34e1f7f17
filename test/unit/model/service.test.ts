import t from 'tap';
import { BenchError } from '../../../src/model/errors.js';
import { bounds, parseShortTimeMs, parseShortTimeUs } from '../../../src/model/parse.js';
import { checkService, checkServiceApplies } from '../../../src/model/service.js';

function refusal(call: () => unknown): BenchError | null {
  try {
    call();
  } catch (error) {
    if (error instanceof BenchError) return error;
    throw error;
  }
  return null;
}

t.test('work and wait are times with a unit, or 0', async (test) => {
  const work = parseShortTimeUs('--work', bounds.workUs);
  const wait = parseShortTimeMs('--wait', bounds.waitMs);
  for (const [text, expected] of [
    ['0', 0],
    ['10us', 10],
    ['1.5 µs', 1.5],
    ['1ms', 1_000],
    ['10s', 10_000_000],
  ] as const) {
    test.equal(work(text), expected, text);
  }
  for (const [text, expected] of [
    ['0', 0],
    ['100us', 0.1],
    ['5ms', 5],
    ['1m', 60_000],
  ] as const) {
    test.equal(wait(text), expected, text);
  }
  for (const [text, message] of [
    ['10', /"10" has no unit/],
    ['-1us', /--work -1us is negative/],
    ['11s', /--work 11s is too long/],
    ['1e9us', /too long/],
    ['5 apples', /"apples" is not a unit of time/],
    ['', /is not a length of time/],
    ['fast', /is not a length of time/],
  ] as const) {
    const error = refusal(() => work(text));
    test.equal(error?.code, 'usage', text);
    test.match(error?.message, message);
    test.match(error?.hint, /--work takes 0 to 10 s, for example 50us/);
  }
  test.match(refusal(() => wait('61s'))?.hint, /0 to 60 s/);
});

t.test('what does not fit is refused', async (test) => {
  const none = { worksUs: [0], waitsMs: [0], waitBlocks: false };
  test.equal(
    refusal(() => {
      checkService({ ...none, waitsMs: [0, 5], waitBlocks: true });
    }),
    null,
  );
  test.match(
    refusal(() => {
      checkService({ ...none, worksUs: [5], waitBlocks: true });
    }),
    {
      code: 'usage',
      message: '--wait-blocks needs a --wait',
      hint: /--wait 5ms --wait-blocks/,
    },
  );
  for (const servers of ['target', 'commands', 'modes'] as const) {
    test.equal(
      refusal(() => {
        checkServiceApplies(none, servers);
      }),
      null,
    );
    test.equal(
      refusal(() => {
        checkServiceApplies({ ...none, waitsMs: [1] }, servers);
      })?.code ?? 'modes',
      servers === 'modes' ? 'modes' : 'usage',
    );
  }
  test.match(
    refusal(() => {
      checkServiceApplies({ ...none, worksUs: [0, 1] }, 'target');
    })?.message,
    /--work cannot be used with --target/,
  );
  test.match(
    refusal(() => {
      checkServiceApplies({ ...none, waitsMs: [1] }, 'commands');
    })?.message,
    /--wait has no effect/,
  );
});
