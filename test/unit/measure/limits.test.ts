/** What a run needs against what a machine allows: each limit at its edge, and the command that raises it. */
import t from 'tap';
import {
  advisoryLimits,
  checkLimits,
  limitReached,
  modelLimits,
  mostConnections,
  requirements,
  type Machine,
  type RunShape,
} from '../../../src/measure/limits.js';
import type { Limits } from '../../../src/model/figures.js';

const roomy: Limits = {
  descriptors_soft: 1_048_576,
  descriptors_hard: 1_048_576,
  descriptors_open: 20,
  descriptors_per_process_max: 1_048_576,
  files_system_max: null,
  files_system_open: 1_000,
  threads_system_max: 400_000,
  pid_max: 4_194_304,
  processes_user_max: 400_000,
  cgroup_pids_max: null,
  cgroup_memory_max_bytes: null,
  cgroup_memory_left_bytes: null,
  map_count_max: 1_048_576,
  port_first: 32_768,
  port_last: 60_999,
  listen_backlog_max: 4_096,
  tcp_memory_max_bytes: 2 ** 33,
  memory_total_bytes: 2 ** 36,
  memory_available_bytes: 2 ** 36,
  memory_locked_max_bytes: null,
  cpus_online: 8,
  clock_resolution_ns: 20,
  clock_source: 'tsc',
  system: 'Linux',
  compatibility: '',
};
const unknown = Object.fromEntries(
  Object.entries(roomy).map(([name, value]) => [
    name,
    typeof value === 'number' && name !== 'cpus_online' ? null : value,
  ]),
) as Limits;

const linux: Machine = { platform: 'linux', root: false, wsl: false, loopback: { ipv4: true, ipv6: true } };
const windows: Machine = { platform: 'win32', root: false, wsl: false, loopback: null };

function shape(changes: Partial<RunShape> = {}): RunShape {
  const connections = changes.connections ?? 6_000;
  return {
    connections,
    active: connections,
    mode: 'epoll',
    backend: 'epoll',
    engine: 'epoll',
    host: '127.0.0.1',
    stack_size_bytes: 65_536,
    pool_threads: 200,
    trials: 8,
    close: 'reset',
    ...changes,
  };
}

function problemNames(limits: Limits, changes: Partial<RunShape> = {}, machine = linux): string[] {
  return checkLimits(limits, requirements(shape(changes)), machine).map(({ limit }) => limit);
}

t.test('a roomy machine, and one that tells nothing, refuse nothing', async (test) => {
  for (const connections of [1, 6_000, 100_000, 1_000_000]) {
    test.same(problemNames(roomy, { connections: Math.min(connections, 500_000) }), []);
    test.same(problemNames(unknown, { connections, backend: 'blocking', mode: 'blocking' }), []);
    test.same(modelLimits(unknown, requirements(shape({ connections, backend: 'blocking' })), linux), []);
  }
});

t.test('descriptors of a process', async (test) => {
  const { client_descriptors: needed } = requirements(shape());
  test.ok(needed > 6_000 && needed < 7_000, 'a socket each, and a few for the process');
  const at = (hard: number): Limits => ({ ...roomy, descriptors_soft: 256, descriptors_hard: hard });
  test.same(problemNames(at(needed)), [], 'exactly enough; the soft limit does not matter, it is raised');
  const [problem] = checkLimits(at(needed - 1), requirements(shape()), linux);
  test.match(problem, { limit: 'descriptors of a process', value: needed - 1, needed });
  test.match(problem?.message, /6,000 connections in mode epoll need 6,\d{3} descriptors in client and server/);
  test.equal(problem?.command, `sudo prlimit --pid $$ --nofile=${needed}`);
  test.same(problemNames(at(512), { backend: 'io_uring', engine: 'io_uring' }), [], 'rings hold them elsewhere');
  test.match(
    checkLimits(at(512), requirements(shape({ engine: 'io_uring' })), linux)[0]?.message,
    /descriptors in the server;/,
    'only the side that needs them is named',
  );
  test.match(checkLimits(at(512), requirements(shape({ backend: 'external' })), linux)[0]?.message, /in the client;/);
  const [capped] = checkLimits({ ...at(512), descriptors_per_process_max: 1_024 }, requirements(shape()), linux);
  test.match(capped?.command, /^sudo sysctl -w fs\.nr_open=\d+ && sudo prlimit/, 'the limit of the limit comes first');
});

t.test('open files of the system', async (test) => {
  test.same(problemNames({ ...roomy, files_system_max: 13_000 }), [], 'both ends and what is open now');
  test.same(problemNames({ ...roomy, files_system_max: 12_999 }), ['fs.file-max']);
  test.same(
    problemNames({ ...roomy, files_system_max: 7_000 }, { backend: 'external' }),
    [],
    "the other end is another's",
  );
});

t.test('ports', async (test) => {
  const commandOn = (machine: Machine, connections: number): string | undefined =>
    checkLimits(roomy, requirements(shape({ connections, host: '10.0.0.1' })), machine)[0]?.command;
  test.same(problemNames(roomy, { connections: 100_000 }), [], 'source addresses rotate on 127.0.0.0/8');
  const narrow = { ...roomy, port_last: roomy.port_first ?? 0 };
  test.same(problemNames(narrow, { connections: 100_000 }), [], 'and for so many their ports are named outright');
  test.same(problemNames(narrow, { connections: 10_000 }), [], 'a small range takes more addresses');
  test.same(problemNames(roomy, { connections: 28_232, host: '10.0.0.1' }), [], 'the whole range');
  test.same(problemNames(roomy, { connections: 28_233, host: '10.0.0.1' }), ['local ports']);
  test.same(
    problemNames(roomy, { connections: 28_233, host: '::1' }),
    ['local ports'],
    'IPv6 has one loopback address',
  );
  test.same(problemNames({ ...roomy, port_first: null }, { connections: 90_000, host: '10.0.0.1' }), [], 'unknown');
  test.match(commandOn(linux, 64_511), /ip_local_port_range/, 'all ports of an address');
  test.match(commandOn(linux, 64_512), /127\.0\.0\.1/, 'more than that');
  test.same(problemNames(roomy, { host: '10.0.0.1', close: 'fin' }), ['local ports'], 'TIME_WAIT adds the trials up');
  test.match(commandOn(linux, 30_000), /ip_local_port_range="1025 65535"/);
  test.match(commandOn(windows, 30_000), /^netsh int ipv4 set dynamicport tcp/);
  const ofIpv6 = checkLimits(roomy, requirements(shape({ connections: 30_000, host: '::1' })), windows)[0]?.command;
  test.match(ofIpv6, /^netsh int ipv6 set dynamicport tcp/, 'Windows has a range per address family');
  const mirrored = commandOn({ ...linux, wsl: true }, 30_000);
  test.match(mirrored, /networkingMode=nat/);
  test.notMatch(mirrored, /sysctl/, "in WSL's mirrored mode Windows does not pass on ports outside the range");
  test.match(commandOn(linux, 100_000), /rotate/, 'no command gives one address more than it has');
});

t.test('event_select: 62 connections for each of 2,048 threads', async (test) => {
  const eventSelect = { mode: 'event_select', backend: 'event_select' };
  test.equal(requirements(shape({ connections: 6_000, ...eventSelect })).threads, 97);
  test.equal(requirements(shape({ connections: 6_014, ...eventSelect })).threads, 97);
  test.equal(requirements(shape({ connections: 6_015, ...eventSelect })).threads, 98);
  test.same(problemNames(unknown, { connections: 126_976, ...eventSelect }, windows), []);
  const beyond = shape({ connections: 126_977, ...eventSelect });
  const [problem] = checkLimits(unknown, requirements(beyond), windows);
  test.match(problem, { limit: 'threads of event_select', value: 126_976, needed: 126_977, command: /iocp/ });
  test.match(problem?.message, /126,977 connections in mode event_select need 2,049 threads, .* 62 .* 2,048 at most/);
  test.equal(mostConnections(unknown, beyond, windows), 126_976);
  const memoryOf = (backend: string): number => requirements(shape({ connections: 6_000, backend })).memory_bytes;
  test.ok(memoryOf('event_select') > memoryOf('iocp') && memoryOf('event_select') < memoryOf('blocking'));
});

t.test('the loopback interface', async (test) => {
  const refusal = (loopback: Machine['loopback'], host: string): string | undefined =>
    checkLimits(roomy, requirements(shape({ host })), { ...linux, loopback })[0]?.command;
  const down = { ipv4: false, ipv6: false };
  test.equal(refusal(down, '127.0.0.1'), 'sudo ip link set lo up');
  test.equal(refusal(down, '::1'), 'sudo ip link set lo up');
  test.equal(refusal(down, '10.0.0.1'), undefined, 'another machine is reached without it');
  test.match(refusal({ ipv4: true, ipv6: false }, '::1'), /disable_ipv6=0/);
  test.equal(refusal({ ipv4: true, ipv6: false }, '127.0.0.1'), undefined);
  test.equal(refusal(null, '127.0.0.1'), undefined, 'unknown');
});

t.test('memory', async (test) => {
  const memoryOf = (changes: Partial<RunShape>): number => requirements(shape(changes)).memory_bytes;
  test.ok(memoryOf({ backend: 'blocking' }) > memoryOf({}), 'threads take more');
  test.ok(memoryOf({ backend: 'node' }) > memoryOf({}), 'so do objects');
  const base = 256 * 2 ** 20;
  test.equal(memoryOf({}), base + 6_000 * 10_500);
  test.equal(
    memoryOf({ backend: 'blocking' }),
    base + 6_000 * (10_500 + 40 * 1_024),
    'what echoing touches of a stack',
  );
  test.equal(memoryOf({ backend: 'blocking', stack_size_bytes: 4_096 }), base + 6_000 * (10_500 + 32 * 1_024));
  const needed = memoryOf({});
  test.same(problemNames({ ...roomy, memory_available_bytes: needed }), []);
  test.same(problemNames({ ...roomy, memory_available_bytes: needed - 1 }), ['memory']);
  const group = (left: number): Limits => ({
    ...roomy,
    cgroup_memory_max_bytes: 2 ** 29,
    cgroup_memory_left_bytes: left,
  });
  test.same(problemNames(group(needed)), []);
  test.same(problemNames(group(needed - 1)), ['memory of the cgroup']);
  const [refused] = checkLimits(group(0), requirements(shape({})), linux);
  test.match(refused?.message, /need about 31\d MiB of memory; the control group has 0 B left of 512 MiB/);
  test.match(refused?.command, /memory\.max .* 829 MiB \(docker: --memory 829m\)/);
  test.same(problemNames({ ...roomy, tcp_memory_max_bytes: 6_000 * 4_096 }), []);
  test.same(problemNames({ ...roomy, tcp_memory_max_bytes: 6_000 * 4_096 - 1 }), ['net.ipv4.tcp_mem']);
});

t.test('a million, most of which idle, needs no more socket buffers than a tenth of it active', async (test) => {
  const tcp = (connections: number, active: number): number =>
    requirements(shape({ connections, active })).tcp_memory_bytes;
  test.equal(tcp(1_000_000, 10_000), tcp(100_000, 100_000));
  test.equal(tcp(1_000_000, 1_000_000), 1_000_000 * 4_096, 'each active one counts');
  const far = { connections: 1_000_000, active: 10_000, backend: 'io_uring', mode: 'iocp', engine: 'io_uring' };
  const machine = { ...roomy, memory_available_bytes: 22 * 2 ** 30, tcp_memory_max_bytes: 575_796 * 4_096 };
  test.same(problemNames({ ...machine, files_system_max: 2_466_165 }, far), [], 'a machine of 24 GiB as it comes');
  test.same(problemNames({ ...machine, files_system_max: 2_000_999 }, far), ['fs.file-max']);
  const [memory] = checkLimits(machine, requirements(shape({ ...far, connections: 2_300_000 })), linux);
  test.match(memory?.message, /2,300,000 connections in mode iocp need about 22\.\d GiB of memory; 22 GiB are/);
});

t.test('where the blocking model ends is no refusal', async (test) => {
  const tight: Limits = {
    ...roomy,
    pid_max: 5_999,
    threads_system_max: 5_999,
    map_count_max: 11_999,
    processes_user_max: 5_999,
    cgroup_pids_max: 5_999,
  };
  const blocking = requirements(shape({ mode: 'blocking', backend: 'blocking' }));
  test.same(checkLimits(tight, blocking, linux), []);
  test.same(
    modelLimits(tight, blocking, linux).map(({ limit }) => limit),
    ['kernel.pid_max', 'kernel.threads-max', 'vm.max_map_count', 'processes of a user', 'pids of the cgroup'],
  );
  const enough: Limits = {
    ...roomy,
    pid_max: 6_000,
    threads_system_max: 6_000,
    map_count_max: 12_000,
    processes_user_max: 6_000,
    cgroup_pids_max: 6_000,
  };
  test.same(modelLimits(enough, blocking, linux), [], 'exactly enough');
  const [pids, , mappings] = modelLimits(tight, blocking, linux);
  test.equal(pids?.command, 'sudo sysctl -w kernel.pid_max=7000', 'with room for what else runs');
  test.match(pids?.message, /6,000 connections in mode blocking need 6,000 threads; kernel\.pid_max is 5,999/);
  test.match(mappings?.message, /12,000 memory mappings; vm\.max_map_count is 11,999/);
  const named = modelLimits(tight, blocking, { ...linux, root: true }).map(({ limit }) => limit);
  test.notOk(named.includes('processes of a user'), 'root is not bound by it');
  test.same(modelLimits(tight, requirements(shape()), linux), [], 'the other models have no thread per connection');
});

t.test('a process per connection needs process ids and memory, but neither mappings nor descriptors', async (test) => {
  const need = requirements(shape({ mode: 'process', backend: 'process' }));
  const tight = { ...roomy, pid_max: 5_999, map_count_max: 100, cgroup_pids_max: 4_000, processes_user_max: 3_000 };
  test.match(modelLimits(tight, need, linux), [
    { limit: 'kernel.pid_max', needed: 6_000, message: /mode process need 6,000 processes; kernel\.pid_max is 5,999/ },
    { limit: 'processes of a user', command: 'ulimit -u 7000' },
    { limit: 'pids of the cgroup', value: 4_000 },
  ]);
  test.equal(limitReached(tight, need, 2_900, linux)?.limit, 'processes of a user');
  test.ok((need.server_descriptors ?? 0) < 1_000, 'each process has a descriptor table of its own');
  const threads = requirements(shape({ mode: 'blocking', backend: 'blocking' }));
  test.ok(need.memory_bytes > threads.memory_bytes, 'a process takes more memory than a thread');
});

t.test('connections beyond the threads of a pool wait, whatever the system allows', async (test) => {
  const pool = (connections: number): ReturnType<typeof requirements> =>
    requirements(shape({ mode: 'pool', backend: 'pool', connections }));
  test.same(modelLimits(roomy, pool(200), linux), [], 'a thread for each');
  test.match(modelLimits(roomy, pool(201), linux), [
    { limit: 'threads of the pool', value: 200, needed: 201, command: '--pool-threads 201' },
  ]);
  test.same(checkLimits(roomy, pool(201), linux), [], 'and the run goes on');
  test.match(modelLimits(roomy, pool(16_385), linux), [{ command: /another mode: a pool has 16,384 threads at most/ }]);
  test.equal(pool(6_000).threads, 200);
});

t.test('the most connections that the limits allow', async (test) => {
  const most = (changes: Partial<Limits>, connections: number): number =>
    mostConnections({ ...roomy, ...changes }, shape({ connections, active: connections }), linux);
  test.equal(most({ descriptors_hard: 700, descriptors_soft: 700 }, 6_000), 700 - 128, 'what is beside the sockets');
  test.equal(most({ descriptors_hard: 100, descriptors_soft: 100 }, 6_000), 0);
  test.equal(most({}, 6_000), 6_000, 'as many as were asked about');
});

t.test('which limit the blocking model reached', async (test) => {
  const need = requirements(shape({ mode: 'blocking', backend: 'blocking' }));
  const named = (changes: Partial<Limits>, reached: number): string | null =>
    limitReached({ ...roomy, ...changes }, need, reached, linux)?.limit ?? null;
  test.equal(named({ pid_max: 5_000, threads_system_max: 4_000 }, 3_800), 'kernel.threads-max', 'the tightest');
  test.equal(named({ map_count_max: 9_000, pid_max: 5_000 }, 4_480), 'vm.max_map_count', 'two mappings a thread');
  test.equal(named({ cgroup_pids_max: 300 }, 270), 'pids of the cgroup', 'the threads of others count as well');
  test.equal(named({ processes_user_max: 300 }, 100), null, 'too far from it');
  test.equal(named({ processes_user_max: 300 }, 301), null, 'it did not bind');
  test.equal(named({}, 3_000), null, 'none is below what was asked');
});

t.test('a backlog that the system cuts', async (test) => {
  test.same(advisoryLimits(roomy, 4_096), []);
  test.match(advisoryLimits(roomy, 4_097)[0], { command: 'sudo sysctl -w net.core.somaxconn=4097', value: 4_096 });
  test.same(advisoryLimits(unknown, 65_535), []);
});
