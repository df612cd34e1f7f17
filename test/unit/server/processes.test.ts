/** Parsers of /proc, for the processes of a command and for listening sockets, with text as the kernel writes it. */
import t from 'tap';
import { parseSocketRow, reachable } from '../../../src/server/port-owner.js';
import {
  parseProcessStat,
  proportionalBytes,
  withAncestors,
  withDescendants,
  type ProcessRow,
} from '../../../src/server/process-tree.js';
import { parseMemoryKills } from '../../../src/server/memory-kills.js';
import { descriptorLimit } from '../../../src/server/server-limits.js';

const stat =
  '77 (a) b (c)) S 12 70 70 0 -1 4194304 1 2 3 4 5 6 700 800 20 0 1 0 123 456 7 18446744073709551615 0 0 0 0 0 0 0';

t.test('a line of /proc/PID/stat', async (test) => {
  test.strictSame(parseProcessStat(stat), {
    pid: 77,
    parent: 12,
    group: 70,
    name: 'a) b (c)',
    zombie: false,
    childrenUserNs: 7_000_000_000,
    childrenSystemNs: 8_000_000_000,
    startedTicks: 123,
  });
  test.equal(parseProcessStat(stat.replace(') S', ') Z'))?.zombie, true);
  for (const text of ['', '77 (a', '77 (a) S', '77 (a) S 12 70 70']) test.equal(parseProcessStat(text), null, text);
});

t.test('the limit of descriptors of a process', async (test) => {
  const limits =
    'Limit    Soft Limit  Hard Limit  Units\nMax processes  7  7  processes\nMax open files            300   4096   files\n';
  test.equal(descriptorLimit(limits), 300);
  test.equal(descriptorLimit(limits.replace('300', 'unlimited')), null);
  test.equal(descriptorLimit(''), null);
});

t.test('kills because memory ran out', async (test) => {
  test.equal(parseMemoryKills('oom_kill_other 9\noom_kill 3\nswap 1\n'), 3);
  test.equal(parseMemoryKills('nr_free_pages 7\n'), null);
});

t.test('the proportional set of a process', async (test) => {
  test.equal(
    proportionalBytes('55 ---p 00 00:00 0 [rollup]\nRss: 9000 kB\nPss:    1234 kB\nPss_Anon: 7 kB\n'),
    1_263_616,
  );
  test.equal(proportionalBytes(''), null, 'unknown if it is missing');
});

function table(...parents: readonly [pid: number, parent: number][]): ReadonlyMap<number, ProcessRow> {
  return new Map(
    parents.map(([pid, parent]) => [
      pid,
      {
        pid,
        parent,
        group: pid,
        name: `p${pid}`,
        zombie: false,
        childrenUserNs: 0,
        childrenSystemNs: 0,
        startedTicks: 1,
      },
    ]),
  );
}

t.test('descendants and ancestors', async (test) => {
  const all = table([1, 0], [10, 1], [11, 10], [12, 11], [20, 1], [21, 20]);
  test.strictSame([...withDescendants(all, [10])].sort(), [10, 11, 12]);
  test.strictSame(
    [...withDescendants(all, [11, 20, 99])].sort(),
    [11, 12, 20, 21],
    'a process that has ended has no descendants',
  );
  test.strictSame([...withAncestors(all, 12)], [12, 11, 10, 1]);
  test.strictSame([...withAncestors(table([5, 6], [6, 5]), 5)], [5, 6], 'a circle ends');
});

t.test('a row of /proc/net/tcp', async (test) => {
  const rest = '0A 00000000:00000003 00:00000000 00000000  1000        0 593862 1 00000000f2141818 100 0 0 10 0';
  const read = (local: string, order: 'LE' | 'BE' = 'LE') =>
    parseSocketRow(`   0: ${local} 00000000:0000 ${rest}`, order);
  test.strictSame(read('0100007F:1E20'), { address: '127.0.0.1', port: 7712, inode: 593862, waiting: 3 });
  test.equal(read('7F000001:1E20', 'BE')?.address, '127.0.0.1');
  test.equal(read('00000000:0050')?.address, '0.0.0.0');
  test.equal(read('00000000000000000000000000000000:0050')?.address, '::');
  test.equal(read('00000000000000000000000001000000:0050')?.address, '::1');
  test.equal(read('0000000000000000FFFF00000100007F:0050')?.address, '127.0.0.1', 'IPv4 in IPv6');
  const established = `   1: 0100007F:1E20 0100007F:8EF5 01 ${rest.slice(3)}`;
  test.equal(parseSocketRow(established, 'LE'), null, 'a socket that does not listen');
  test.equal(parseSocketRow('', 'LE'), null);
});

t.test('which sockets a connection can reach', async (test) => {
  const sockets = ['127.0.0.1', '127.0.0.2', '0.0.0.0', '::', '::1'].map((address) => ({
    address,
    port: 7,
    inode: 1,
    waiting: 0,
  }));
  const addresses = (host: string) => reachable(sockets, host).map(({ address }) => address);
  test.strictSame(addresses('127.0.0.1'), ['127.0.0.1', '0.0.0.0', '::']);
  test.strictSame(addresses('::1'), ['::', '::1']);
});
