/** Agents that need seconds for their answer are found, and one that is not there is not waited for without end. */
import t from 'tap';
import type { Facts } from '../../../src/agent/protocol.js';
import { callRoll } from '../../../src/agent/roll-call.js';

/** Agents that answer a question after so many ms, in a time of its own. */
class FakeGroup {
  nowMs = 5_000;
  readonly rounds: number[] = [];

  /** @param earlyMs how much too early a round ends */
  constructor(
    private readonly answerMs: Readonly<Record<string, number>>,
    private readonly earlyMs = 0,
  ) {}

  async call(...names: string[]): Promise<string[]> {
    const { found } = await callRoll(
      names,
      (durationMs) => {
        this.rounds.push(durationMs);
        this.nowMs += durationMs - this.earlyMs;
        const facts = Object.entries(this.answerMs).flatMap(([name, ms]) =>
          ms < durationMs ? [{ name } as Facts] : [],
        );
        return Promise.resolve({ facts, others: [] });
      },
      () => this.nowMs,
    );
    return [...found.keys()];
  }
}

t.test('one round is enough for agents that answer', async (test) => {
  const group = new FakeGroup({ a: 2, b: 3 });
  test.strictSame(await group.call('a', 'b'), ['a', 'b']);
  test.strictSame(group.rounds, [400]);
});

t.test('agents of a busy machine are found', async (test) => {
  const group = new FakeGroup({ a: 2, b: 700, c: 1_500 });
  test.strictSame(await group.call('a', 'b', 'c'), ['a', 'b', 'c']);
  test.strictSame(group.rounds, [400, 800, 1_600]);
});

t.test('the call ends 3 s after the last agent that answered for the first time', async (test) => {
  const group = new FakeGroup({ a: 500 });
  const startedAt = group.nowMs;
  test.strictSame(await group.call('a', 'absent'), ['a']);
  test.equal(group.nowMs - startedAt, 400 + 800 + 3_000);
  const empty = new FakeGroup({});
  test.strictSame(await empty.call('absent'), []);
  test.equal(empty.nowMs, 5_000 + 3_000);
});

t.test('a timer that fires early leaves no round that is too short for the broker', async (test) => {
  const group = new FakeGroup({}, 0.3);
  test.strictSame(await group.call('absent'), []);
  test.strictSame(group.rounds.length, 4);
  test.ok(
    group.rounds.every((ms) => ms >= 20),
    group.rounds.join(' '),
  );
});

t.test('nobody is asked for nobody', async (test) => {
  const group = new FakeGroup({ a: 1 });
  test.strictSame(await group.call(), []);
  test.strictSame(group.rounds, []);
});
