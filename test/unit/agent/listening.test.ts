/** Silence is judged by the time in which others could be heard. */
import t, { type Test } from 'tap';
import type { Broker } from '../../../src/agent/broker.js';
import { Fleet, lostAfterMs } from '../../../src/agent/fleet.js';
import { ListeningClock } from '../../../src/agent/listening.js';
import { encodeMessage, speaks, type Facts } from '../../../src/agent/protocol.js';

/** A time that only advances when the test says so. */
class FakeTime {
  nowMs = 1_000;
  readonly clock = new ListeningClock(() => this.nowMs);

  /** A process that looks every 100 ms. */
  listen(durationMs: number): void {
    for (let passed = 0; passed < durationMs; passed += 100) {
      this.nowMs += 100;
      this.clock.tick();
    }
  }
}

t.test('time in which a process was busy or stopped hardly counts', (test) => {
  const time = new FakeTime();
  time.listen(2_000);
  test.equal(time.clock.elapsedMs, 2_000);
  time.nowMs += 60_000;
  test.equal(time.clock.elapsedMs, 2_500, 'before the next tick');
  time.clock.tick();
  test.equal(time.clock.elapsedMs, 2_500, 'and after it');
  time.listen(1_000);
  test.equal(time.clock.elapsedMs, 3_500);
  test.end();
});

interface Heard {
  readonly fleet: Fleet;
  readonly beat: (name: string) => void;
  /** The connection to the broker is lost and made again. */
  readonly gap: (whileLost: () => void) => void;
}

function startFleet(test: Test, time: FakeTime, names: readonly string[]): Heard {
  let receive: (bytes: Uint8Array) => void = () => undefined;
  let onChange: () => void = () => undefined;
  let lostForMs: number | null = null;
  const broker: Pick<Broker, 'subscribe' | 'publish' | 'onChange' | 'lostForMs' | 'failure' | 'where'> = {
    subscribe: (subject, hear) => {
      receive = (bytes) => {
        hear(bytes, subject, () => undefined);
      };
      return { unsubscribe: () => undefined } as ReturnType<Broker['subscribe']>;
    },
    publish: () => undefined,
    onChange: (listener) => {
      onChange = listener;
    },
    lostForMs: () => lostForMs,
    failure: null,
    where: 'nats://fake',
  };
  const agents = names.map((name) => ({ facts: { name, clock: null } as Facts, label: name }));
  const fleet = new Fleet(broker as Broker, 'default', 'a test', agents, time.clock);
  test.teardown(() => fleet.release());
  return {
    fleet,
    beat: (name) => {
      const beat = { speaks, name, server_ended: null, load: null };
      receive(encodeMessage(beat));
    },
    gap: (whileLost) => {
      lostForMs = 1;
      onChange();
      whileLost();
      lostForMs = null;
      onChange();
    },
  };
}

t.test('a conductor that was busy for a minute has lost nobody, and then hears who is silent', (test) => {
  const time = new FakeTime();
  const { fleet, beat } = startFleet(test, time, ['a', 'b']);
  time.listen(1_000);
  time.nowMs += 60_000;
  test.equal(fleet.fault(), null, 'before it could read what had arrived');
  time.clock.tick();
  beat('a');
  time.listen(lostAfterMs - 2_000);
  test.equal(fleet.fault(), null, 'b was silent for less than 3 s of listening');
  beat('a');
  time.listen(1_000);
  test.match(fleet.fault(), { host: 'b', reason: 'agent b is lost: no heartbeat for 3 s' });
  test.notOk(fleet.isLost(fleet.member('a')));
  test.end();
});

t.test('silence while there was no broker does not count', (test) => {
  const time = new FakeTime();
  const { fleet, gap } = startFleet(test, time, ['a']);
  gap(() => {
    time.listen(4_000);
    test.equal(fleet.fault(), null);
  });
  time.listen(lostAfterMs);
  test.equal(fleet.fault(), null, 'nor right after it');
  time.listen(100);
  test.match(fleet.fault(), { host: 'a' });
  test.end();
});
