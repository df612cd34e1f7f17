/** How the agents of a load start: a few at a time on each machine. */
import t from 'tap';
import type { Member } from '../../../src/agent/fleet.js';
import type { Beat, Facts } from '../../../src/agent/protocol.js';
import { RemoteLoad, type LoadFleet, type Part } from '../../../src/agent/remote-load.js';
import { HostFault } from '../../../src/run/load.js';
import { until } from '../../support/wait.js';

interface Asked {
  readonly name: string;
  readonly machine: string;
  readonly answer: () => void;
  readonly fail: (error: Error) => void;
}

/** Agents that answer a request to prepare when the test says so, and all others at once. */
class FakeFleet implements LoadFleet {
  readonly startLeadMs = 600;
  /** Agents that were asked to prepare and have not answered. */
  readonly preparing: Asked[] = [];
  readonly prepared: string[] = [];
  readonly stopped: string[] = [];
  /** The most agents of each machine that were preparing at once. */
  readonly most: Record<string, number> = {};
  private listener: (member: Member) => void = () => undefined;

  ask({ facts: { name, machine } }: Member, { type }: { type: string }): Promise<never> {
    if (type === 'load-stop') this.stopped.push(name);
    if (type !== 'load-prepare') return Promise.resolve({ results: [] }) as Promise<never>;
    return new Promise<object>((resolve, reject) => {
      const end = (settle: () => void) => (): void => {
        this.preparing.splice(this.preparing.indexOf(asked), 1);
        this.prepared.push(name);
        settle();
      };
      const asked: Asked = {
        name,
        machine,
        answer: end(() => {
          resolve({});
        }),
        fail: (error) => {
          end(() => {
            reject(error);
          })();
        },
      };
      this.preparing.push(asked);
      const busy = this.preparing.filter((other) => other.machine === machine).length;
      this.most[machine] = Math.max(this.most[machine] ?? 0, busy);
    }) as Promise<never>;
  }

  onBeat(listener: (member: Member) => void): () => void {
    this.listener = listener;
    return () => undefined;
  }

  beat(member: Member, load: { running: boolean; done: number } | null): void {
    const whole = load === null ? null : { ...load, error: null, live: { requests_completed: 0 } };
    this.listener({ ...member, beat: { load: whole } as Beat });
  }

  fault(): null {
    return null;
  }

  isLost(): boolean {
    return false;
  }

  clockOf({ clock }: Member): Promise<Member['clock']> {
    return Promise.resolve(clock);
  }

  allowSlowerStart(): void {
    throw new Error('no window was started');
  }
}

function partsOn(machine: string, cpus: readonly number[], count: number, prefix = machine): Part[] {
  return Array.from({ length: count }, (_, index): Part => {
    const name = `${prefix}${index}`;
    const clock = { offsetNs: 0n, uncertaintyNs: 0n, roundTripNs: 0n };
    const facts = { name, machine, cpus: [...cpus], clock: null } as Partial<Facts> as Facts;
    const member = { facts, label: name, clock, beat: null, beatAt: 0 };
    return { member, task: { connections: 1 } as Part['task'], isProbe: false, firstConnection: index };
  });
}

function start(parts: readonly Part[]): { fleet: FakeFleet; load: RemoteLoad } {
  const fleet = new FakeFleet();
  const load = new RemoteLoad(fleet, parts, new Set());
  load.start({ host: '127.0.0.1', port: 1 });
  return { fleet, load };
}

t.test('the agents of a machine start a few at a time, and machines at the same time', async (test) => {
  // One of the agents of `split` may use another CPU than the others.
  const parts = [
    ...partsOn('two', [0, 1], 20),
    ...partsOn('one', [7], 5),
    ...partsOn('split', [0], 4),
    ...partsOn('split', [1], 1, 'other'),
    ...partsOn('alone', [0, 1, 2, 3], 1),
  ];
  const { fleet, load } = start(parts);
  const counts = { two: 4, one: 2, split: 4, alone: 1 };
  test.ok(await until(() => fleet.preparing.length === 11), 'as many as fit on each machine');
  test.strictSame(fleet.most, counts);
  while (fleet.prepared.length < parts.length) {
    test.ok(await until(() => fleet.preparing.length > 0), 'another one begins');
    fleet.preparing[0]?.answer();
  }
  test.strictSame(fleet.most, counts, 'and never more');
  test.strictSame([...fleet.prepared].sort(), parts.map(({ member }) => member.facts.name).sort(), 'each of them once');
  test.equal(load.error, null);
});

t.test('an agent that cannot start keeps no other one waiting', async (test) => {
  const { fleet, load } = start(partsOn('one', [0], 6));
  test.ok(await until(() => fleet.preparing.length === 2));
  const lost = new HostFault('one0', 'agent one0 is lost');
  fleet.preparing.find(({ name }) => name === 'one0')?.fail(lost);
  while (fleet.prepared.length < 6) {
    test.ok(await until(() => fleet.preparing.length > 0), 'another one begins');
    fleet.preparing[0]?.answer();
  }
  test.equal(load.error, lost);
});

t.test('agents that wait for their turn are not started after the end of a trial', async (test) => {
  const parts = partsOn('one', [0], 6);
  const { fleet, load } = start(parts);
  test.ok(await until(() => fleet.preparing.length === 2));
  await load.ended();
  test.equal(fleet.stopped.length, parts.length, 'all are told to stop');
  for (const asked of [...fleet.preparing]) asked.fail(new Error('the trial ended'));
  await new Promise((resolve) => setImmediate(resolve));
  test.equal(fleet.prepared.length, 2);
  test.strictSame(fleet.preparing, [], 'nobody else is asked');
  test.equal(load.error, null);
});

t.test('heartbeats about an earlier load do not count', async (test) => {
  const parts = partsOn('one', [0], 1);
  const { fleet, load } = start(parts);
  const [{ member } = { member: undefined }] = parts;
  if (member === undefined) throw new Error('there is no agent');
  test.ok(await until(() => fleet.preparing.length === 1));
  fleet.beat(member, { running: true, done: 9 });
  test.notOk(load.control.isRunning());
  fleet.beat(member, null);
  test.equal(load.error, null, 'which ends before the new one begins');
  fleet.preparing[0]?.answer();
  await new Promise((resolve) => setImmediate(resolve));
  fleet.beat(member, { running: true, done: 0 });
  test.ok(load.control.isRunning());
  fleet.beat(member, null);
  test.match(load.error, { reason: 'agent one0 stopped its load by itself' });
});
