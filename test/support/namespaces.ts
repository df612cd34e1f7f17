/** Hosts made of network namespaces that a bridge joins, for tests of several machines on one. They need root. */
import { execFileSync } from 'node:child_process';
import type { Test } from 'tap';
import { isLinux, isRoot, skipWithout } from './environment.js';

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

/** For tap's `skip`: false if namespaces can be made here. */
export function skipWithoutNamespaces(): string | false {
  if (!isLinux) return 'network namespaces only exist on Linux';
  const missing = skipWithout('ip', 'unshare');
  if (missing !== false) return missing;
  if (!isRoot) return 'only root can make network namespaces';
  const name = `ibp${process.pid}`;
  try {
    ip('netns', 'add', name);
    ip('netns', 'delete', name);
    return false;
  } catch {
    return 'network namespaces cannot be made here';
  }
}

export interface Host {
  readonly name: string;
  readonly address: string;
  /** The program that runs a command on this host. */
  readonly under: readonly string[];
  /** Takes its network down or up again. */
  readonly setLink: (state: 'up' | 'down') => void;
}

/** The first host is the hub, to which the links of all others go. Everything is removed when the test ends. */
export function makeHosts(test: Test, names: readonly string[]): Host[] {
  const prefix = `ib${process.pid}`;
  const spaceOf = (name: string): string => `${prefix}-${name}`;
  const [hub = ''] = names;
  test.teardown(() => {
    for (const name of names) {
      try {
        ip('netns', 'delete', spaceOf(name));
      } catch {
        // It was not made.
      }
    }
  });
  return names.map((name, index): Host => {
    const space = spaceOf(name);
    const address = `10.199.0.${index + 1}`;
    ip('netns', 'add', space);
    ip('-n', space, 'link', 'set', 'lo', 'up');
    const inner = name === hub ? 'bridge' : 'eth';
    if (name === hub) ip('-n', space, 'link', 'add', inner, 'type', 'bridge');
    else {
      ip('-n', space, 'link', 'add', inner, 'type', 'veth', 'peer', 'name', `to${index}`, 'netns', spaceOf(hub));
      ip('-n', spaceOf(hub), 'link', 'set', `to${index}`, 'master', 'bridge', 'up');
    }
    ip('-n', space, 'address', 'add', `${address}/24`, 'dev', inner);
    ip('-n', space, 'link', 'set', inner, 'up');
    return {
      name,
      address,
      under: ['ip', 'netns', 'exec', space],
      setLink: (state) => {
        ip('-n', spaceOf(hub), 'link', 'set', `to${index}`, state);
      },
    };
  });
}
