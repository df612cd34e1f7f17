import t from 'tap';
import type { AddressOutcome } from '../../../src/model/plan.js';
import { choiceInWords, findTarget, type TargetHooks } from '../../../src/run/target.js';

const port = 7000;

/** A name with simulated addresses, and a record of the connections to them. */
function rig(outcomes: Readonly<Record<string, AddressOutcome>>): { hooks: TargetHooks; probed: string[] } {
  const probed: string[] = [];
  const hooks: TargetHooks = {
    addressesOf: () => Promise.resolve(Object.keys(outcomes)),
    probe: (address) => {
      probed.push(address);
      return Promise.resolve(outcomes[address] ?? 'unreachable');
    },
  };
  return { hooks, probed };
}

t.test('an address is used as it is', async (t) => {
  const { hooks, probed } = rig({ '10.0.0.1': 'answered' });
  const target = await findTarget({ host: 'fe80::1%br_lan', port }, 1_000, hooks);
  t.strictSame(target, { host: 'fe80::1%br_lan', port, asked: '[fe80::1%br_lan]:7000', tried: [] });
  t.equal(choiceInWords(target), null);
  t.strictSame(probed, []);
});

t.test('the only address of a name is not probed', async (t) => {
  const { hooks, probed } = rig({ '10.0.0.1': 'refused' });
  const target = await findTarget({ host: 'db', port }, 1_000, hooks);
  t.match(target, { host: '10.0.0.1', asked: 'db:7000', tried: [{ address: '10.0.0.1', outcome: 'only' }] });
  t.equal(choiceInWords(target), null);
  t.strictSame(probed, [], 'a server that serves a single connection is not wasted on a probe');
});

t.test('addresses that refuse are skipped', async (t) => {
  const { hooks } = rig({ '10.0.0.1': 'refused', 'fd00::1': 'unreachable', '10.0.0.3': 'answered' });
  const target = await findTarget({ host: 'db', port }, 1_000, hooks);
  t.equal(target.host, '10.0.0.3');
  t.equal(choiceInWords(target), 'db:7000 is loaded at 10.0.0.3 (10.0.0.1 refused, fd00::1 cannot be reached)');
});

t.test('if several addresses answer, the first is loaded and reported', async (t) => {
  const { hooks } = rig({ '10.0.0.1': 'timeout', '10.0.0.2': 'answered', '10.0.0.3': 'answered' });
  const target = await findTarget({ host: 'db', port }, 1_000, hooks);
  t.equal(target.host, '10.0.0.2');
  t.match(choiceInWords(target) ?? '', /several addresses of db:7000 answer.*first, 10\.0\.0\.2, none to 10\.0\.0\.3/);
});

t.test('if no address answers, the run uses the first one and reports why', async (t) => {
  const { hooks } = rig({ '10.0.0.1': 'refused', '10.0.0.2': 'timeout' });
  const target = await findTarget({ host: 'db', port }, 1_000, hooks);
  t.equal(target.host, '10.0.0.1');
  t.match(
    choiceInWords(target) ?? '',
    /no address of db:7000 answers \(10\.0\.0\.1 refused, 10\.0\.0\.2 did not answer\)/,
  );
});

t.test('a name without addresses, and names of localhost', async (t) => {
  await t.rejects(findTarget({ host: 'db', port }, 1_000, rig({}).hooks), {
    code: 'usage',
    message: /the name db has no address/,
  });
  // Port 1 of the loopback addresses: no resolver is asked.
  const target = await findTarget({ host: 'db.LocalHost', port: 1 }, 1_000);
  t.strictSame(
    target.tried.map(({ address }) => address),
    ['127.0.0.1', '::1'],
  );
});
