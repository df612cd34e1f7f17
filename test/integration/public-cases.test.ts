/**
 * What people who measure servers ran into with other tools: figures of a server that is not there, files replaced by mistake, options
 * read as something else. Each test is named for what must hold here.
 */
import { spawnSync } from 'node:child_process';
import t from 'tap';
import { makePlace, run, shortBlast } from '../support/cli.js';
import { isRoot, skipOutsideLinux, skipWithout } from '../support/environment.js';

t.setTimeout(120_000);

const quick = (...more: string[]): string[] =>
  shortBlast('--duration', '300ms', '--warmup', '50ms', '--phases', 'capacity', '--clients', '10', ...more);

function skipNamespace(): string | false {
  const missing = skipOutsideLinux('unshare') || skipWithout('unshare') || skipWithout('ip');
  if (missing !== false) return missing;
  if (!isRoot) return 'only root makes network namespaces';
  return spawnSync('unshare', ['-n', 'true']).status === 0 ? false : 'network namespaces cannot be made here';
}

t.test('a client never connects to itself', { skip: skipNamespace() }, async (test) => {
  // Two ports for outgoing connections, one of them the target: connect() soon picks it, and opens to itself.
  const setUp = 'ip link set lo up; echo "40005 40006" > /proc/sys/net/ipv4/ip_local_port_range; exec "$@"';
  const under = ['unshare', '-n', 'sh', '-c', setUp, 'sh'];
  for (const engine of ['epoll', 'auto']) {
    const place = makePlace(test);
    const args = quick('--target', '[::1]:40005', '--clients', '1', '--engine', engine);
    const outcome = await run(place, args, { under });
    test.equal(outcome.code, 4, `${engine}: the run failed`);
    test.match(outcome.stderr, /refused/i, `${engine}: nothing listens there`);
  }
});
