/** Unusual networks: a small range of ports, and a loopback interface that is down or has no IPv6. */
import { spawnSync } from 'node:child_process';
import t, { type Test } from 'tap';
import { checkMessage, makePlace, run, shortBlast, type Outcome } from '../support/cli.js';
import { isLinux } from '../support/environment.js';
import { parseReport } from '../support/report.js';

t.setTimeout(300_000);

const unavailable = 3;
const isolate = ['unshare', '--net', '--map-root-user'];
const canIsolate =
  isLinux && spawnSync(isolate[0] ?? '', [...isolate.slice(1), 'ip', 'link', 'set', 'lo', 'up']).status === 0;
const skip = canIsolate ? false : 'network namespaces cannot be made here';

/** Runs the tool in its own network namespace, after a script that sets it up. */
async function runIsolated(test: Test, setup: string, args: readonly string[]): Promise<Outcome> {
  return await run(makePlace(test), args, { under: [...isolate, 'sh', '-c', `${setup}; exec "$@"`, 'sh'] });
}

const up = 'ip link set lo up';
const portRange = (first: number, last: number): string =>
  `${up}; echo ${first} ${last} > /proc/sys/net/ipv4/ip_local_port_range`;

for (const [name, first, last] of [
  ["that of WSL's mirrored mode", 44_620, 48_715],
  ['a thousand ports', 60_000, 60_999],
] as const) {
  t.test(`6,000 clients with a small range: ${name}`, { skip }, async (test) => {
    for (const churn of [[], ['--requests-per-connection', '2']]) {
      const args = ['--modes', 'epoll', '--clients', '6000', '--phases', 'capacity', ...churn, '--json', '-'];
      const outcome = await runIsolated(test, portRange(first, last), shortBlast('--duration', '2s', ...args));
      checkMessage(test, outcome, { code: 0, says: [] });
      const [window] = parseReport(test, outcome.stdout).runs[0]?.trials ?? [];
      if (window?.state !== 'completed') return void test.fail('the window is complete');
      test.equal(window.connections.made, 6_000);
      test.equal(window.errors.total, 0);
      test.equal((window.requests.reconnects ?? 0) > 0, churn.length > 0, 'connections are made again if requested');
    }
  });
}

t.test('one address and a small range', { skip }, async (test) => {
  const args = shortBlast('--modes', 'epoll', '--clients', '6000', '--host', '::1');
  const outcome = await runIsolated(test, portRange(60_000, 60_999), args);
  checkMessage(test, outcome, { code: unavailable, says: [/6,000 local ports/, /ip_local_port_range/] });
});

t.test('the loopback interface is down', { skip }, async (test) => {
  const args = shortBlast('--modes', 'epoll', '--clients', '10');
  const says = [/loopback interface lo is down/, /sudo ip link set lo up/];
  checkMessage(test, await runIsolated(test, 'true', args), { code: unavailable, says });
  const target = shortBlast('--target', '127.0.0.1:7000', '--clients', '10');
  checkMessage(test, await runIsolated(test, 'true', target), { code: unavailable, says });
  const doctor = await runIsolated(test, 'true', ['doctor']);
  for (const pattern of says) test.match(doctor.stdout, pattern);
  test.equal(doctor.stdout.split('lo is down').length, 2, 'it is reported once');
  test.notMatch(doctor.stdout, /within n\/a/, 'no noise is measured');
});

t.test('the loopback interface has no IPv6', { skip }, async (test) => {
  const setup = `${up}; echo 1 > /proc/sys/net/ipv6/conf/lo/disable_ipv6`;
  const args = shortBlast('--modes', 'epoll', '--clients', '10', '--host', '::1');
  const says = [/no IPv6 address/, /disable_ipv6=0/];
  checkMessage(test, await runIsolated(test, setup, args), { code: unavailable, says });
});
