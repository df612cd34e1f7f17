/** Source addresses and ports of a run: enough for every range of ports, and different from trial to trial. */
import t from 'tap';
import { isWslKernel } from '../../../src/run/machine.js';
import { planSources, systemPortsPerAddress } from '../../../src/measure/sources.js';

const usual = { first: 32_768, last: 60_999 };
const mirrored = { first: 44_620, last: 48_715 };
const thousand = { first: 60_000, last: 60_999 };

t.test('connections of an address follow from the range', async (test) => {
  test.equal(planSources('127.0.0.1', 10_000, 0, usual).addressCount, 1);
  test.equal(planSources('127.0.0.1', 10_001, 0, usual).addressCount, 2);
  for (const ports of [usual, mirrored, thousand, { first: 5_000, last: 5_000 }]) {
    const size = ports.last - ports.first + 1;
    for (const connections of [1, 6_000, 20_000]) {
      const perAddress = systemPortsPerAddress(connections, ports);
      const { addressCount, portCount } = planSources('127.0.0.1', connections, 3, ports);
      test.equal(portCount, 0, 'the system finds the ports');
      test.ok(perAddress <= size, `${perAddress} of ${size}`);
      test.ok(addressCount * perAddress >= connections, `room for ${connections}`);
      test.ok(size < 10 || perAddress <= size / 2, 'free ports are easy to find');
    }
  }
});

t.test('for very many the ports are named, whatever the range', async (test) => {
  for (const ports of [usual, mirrored, thousand]) {
    const { portFirst, portCount, addressCount } = planSources('127.0.0.1', 100_000, 0, ports);
    test.ok(portFirst > 1_024 && portFirst + portCount <= 65_536);
    test.ok(portCount * addressCount >= 100_000);
    test.equal(systemPortsPerAddress(100_000, ports), 0);
  }
});

t.test('trials take turns on the addresses', async (test) => {
  const seen = new Set<number>();
  let addresses = 0;
  for (let sequence = 0; sequence < 100; sequence++) {
    const { addressFirst, addressCount } = planSources('127.0.0.1', 20_000, sequence, thousand);
    addresses += addressCount;
    for (let i = 0; i < addressCount; i++) seen.add(addressFirst + i);
  }
  test.equal(seen.size, addresses, 'none twice in a hundred trials');
  test.ok([...seen].every((address) => address > 0x7f00_0001 && address < 0x7f01_0000));
});

t.test('elsewhere the system chooses', async (test) => {
  test.equal(planSources('127.0.0.1', 10_000, 1, usual, true).addressCount, 0, 'like other clients');
  test.equal(planSources('127.0.0.1', 10_001, 1, usual, true).addressCount, 2, 'as far as ports suffice');
  for (const host of ['::1', '10.0.0.1']) test.equal(planSources(host, 6_000, 1, usual).addressCount, 0);
});

t.test('the kernels of WSL', async (test) => {
  test.ok(isWslKernel('5.15.167.4-microsoft-standard-WSL2'));
  test.ok(isWslKernel('4.4.0-19041-Microsoft'));
  test.notOk(isWslKernel('6.8.0-45-generic'));
});
