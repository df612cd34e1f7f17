// Which comparisons are made, at which bounds, and how measurements become verdicts. Pure.
//
// A measurement: { round, connections, server, client, requests_per_second, server_cpu_us, server_busy, client_cpu_us, client_busy },
// CPU in microseconds per request, busy as CPU time / wall time. Two measurements of one round are a pair. A comparison is the
// geometric mean of its pairs' ratios with Student's interval on their logarithms (src/measure/statistics.ts).
//
// A bound ">= x" holds if the lower end of the 95% interval over at least 8 pairs is >= 0.97 x. A bound "<= x" holds if the upper end
// is <= x / 0.97, which is the same rule for the inverse.
import { median, pairedRatioInterval } from '../../dist/src/measure/statistics.js';

export const PAIRS_NEEDED = 8;
export const TOLERANCE = 0.97;
/** CPU time / wall time from which on a process confined to one CPU counts as the limit. */
export const SATURATED_FRACTION = 0.95;
export const GROWTH_SIZES = [100, 15_000];

const eventSizes = [100, 1000, 6000, 15_000];
const boundAt = (sizes, at_least) => (connections) => (sizes.includes(connections) ? { at_least } : null);
const unbounded = () => null;

const serverRules = [
  { subject: 'epoll', reference: 'libuv', bound: boundAt(eventSizes, 1) },
  { subject: 'epoll', reference: 'asio', bound: boundAt(eventSizes, 1) },
  { subject: 'io_uring', reference: 'libuv', bound: boundAt(eventSizes, 1.1) },
  { subject: 'io_uring', reference: 'asio', bound: boundAt(eventSizes, 1.1) },
  { subject: 'io_uring', reference: 'epoll', bound: boundAt([6000], 1) },
  { subject: 'poll', reference: 'plain_poll', bound: boundAt(eventSizes, 1) },
  { subject: 'select', reference: 'plain_select', bound: boundAt(eventSizes, 1) },
  // The same programs with an idle second thread, as a process of Node has more than one: the difference that is the model's alone.
  { subject: 'poll', reference: 'threaded_poll', bound: boundAt(eventSizes, 1) },
  { subject: 'select', reference: 'threaded_select', bound: boundAt(eventSizes, 1) },
  { subject: 'node', reference: 'libuv', bound: unbounded },
  { subject: 'blocking', reference: 'pthread', bound: () => ({ at_least: 1 }) },
];

/** The same server under both clients: if our client is wrong, the two rows disagree. */
const drivers = ['plain', 'ours'];

const clientRules = [
  {
    reference: 'plain',
    // Throughput with verification on.
    metric: 'auto',
    bound: (connections) => ({ at_least: [100, 6000].includes(connections) ? 1.15 : 1 }),
  },
  { reference: 'minimum', metric: 'client_cpu_us', bound: () => ({ at_most: 1.1 }) },
];
const clientServers = ['libuv', 'epoll', 'io_uring'];

const growthSubjects = [
  { subject: 'epoll', bound: { at_most: 1.1 } },
  { subject: 'io_uring', bound: { at_most: 1.1 } },
  { subject: 'node', bound: { at_most: 1.1 } },
  { subject: 'asio', bound: null },
  // The cost of a wait is proportional to the connections, which a full load hides in part.
  { subject: 'poll', bound: null },
  { subject: 'select', bound: null },
];

/** Every comparison at these sizes, as data. */
export function comparisonsAt(sizes) {
  return [
    ...drivers.flatMap((client) => sizes.flatMap((connections) => serverComparisons(client, connections))),
    ...clientServers.flatMap((server) => sizes.flatMap((connections) => clientComparisons(server, connections))),
    ...(GROWTH_SIZES.every((size) => sizes.includes(size)) ? growthComparisons() : []),
  ];
}

function serverComparisons(client, connections) {
  return serverRules.map(({ subject, reference, bound }) => ({
    kind: 'server',
    name: `server ${subject} / ${reference}`,
    connections,
    against: `${client} client`,
    subject: { server: subject, client, connections },
    reference: { server: reference, client, connections },
    metric: 'auto',
    bound: bound(connections),
  }));
}

function clientComparisons(server, connections) {
  return clientRules.map(({ reference, metric, bound }) => ({
    kind: 'client',
    name: `client ours / ${reference}`,
    connections,
    against: `${server} server`,
    subject: { server, client: 'ours', connections },
    reference: { server, client: reference, connections },
    metric,
    bound: bound(connections),
  }));
}

function growthComparisons() {
  const [small, large] = GROWTH_SIZES;
  const growthOf = (server, client, metric) => ({ server, client, metric, small, large });
  const reference = growthOf('libuv', 'plain', 'server_cpu_us');
  const against = 'plain client';
  const name = (subject) => `growth ${subject} / libuv`;
  const common = { kind: 'growth', connections: large, reference, metric: 'growth' };
  return [
    ...growthSubjects.map(({ subject, bound }) => ({
      ...common,
      name: name(subject),
      against,
      subject: growthOf(subject, 'plain', 'server_cpu_us'),
      bound,
    })),
    {
      ...common,
      name: name('ours'),
      against: 'libuv server',
      subject: growthOf('libuv', 'ours', 'client_cpu_us'),
      bound: { at_most: 1.1 },
    },
  ];
}

/** One server against itself: the difference that this machine and this method show where there is none. */
export function noiseComparisonsAt(sizes) {
  return drivers.flatMap((client) =>
    sizes.map((connections) => ({
      kind: 'server',
      name: 'server libuv / libuv',
      connections,
      against: `${client} client`,
      subject: { server: 'libuv_again', client, connections },
      reference: { server: 'libuv', client, connections },
      metric: 'auto',
      bound: null,
    })),
  );
}

/** Every { server, client, connections } that the comparisons need, each once. */
export function measurementsNeeded(comparisons) {
  const needed = new Map();
  const add = (server, client, connections) =>
    needed.set(`${server} ${client} ${connections}`, { server, client, connections });
  for (const { kind, subject, reference } of comparisons) {
    for (const side of [subject, reference]) {
      for (const size of kind === 'growth' ? [side.small, side.large] : [side.connections]) {
        add(side.server, side.client, size);
      }
    }
  }
  return [...needed.values()];
}

/** The verdict of each comparison. */
export function judgeAll(comparisons, measurements) {
  const byKey = new Map(measurements.map((each) => [keyOf(each, each.connections, each.round), each]));
  const rounds = [...new Set(measurements.map(({ round }) => round))];
  return comparisons.map((comparison) => judge(comparison, rounds, byKey));
}

function keyOf({ server, client }, connections, round) {
  return `${server} ${client} ${connections} ${round}`;
}

function judge(comparison, rounds, byKey) {
  const { kind, name, connections, against, bound } = comparison;
  const { by, ratios, busy } =
    kind === 'growth' ? growthRatios(comparison, rounds, byKey) : pairRatios(comparison, rounds, byKey);
  const interval = pairedRatioInterval(ratios);
  const result = {
    kind,
    name,
    connections,
    against,
    by,
    busy,
    pairs: ratios.length,
    ratio: interval?.ratio ?? null,
    ci_low: interval?.low ?? null,
    ci_high: interval?.high ?? null,
    bound,
  };
  return { ...result, verdict: verdictOf(result) };
}

export function verdictOf({ bound, pairs, ci_low, ci_high }) {
  if (bound === null) return 'no bound';
  if (pairs < PAIRS_NEEDED || ci_low === null || ci_high === null) return 'undecided';
  const holds =
    bound.at_least === undefined ? ci_high <= bound.at_most / TOLERANCE : ci_low >= TOLERANCE * bound.at_least;
  return holds ? 'PASS' : 'MISS';
}

/**
 * The ratios of one comparison: of requests/s if the side under test was the limit in both, else of its CPU per request, inverted so
 * that above 1 is better. A comparison with its own metric uses the plain ratio of that metric.
 */
function pairRatios({ kind, subject, reference, metric }, rounds, byKey) {
  const pairs = rounds.flatMap((round) => {
    const ours = byKey.get(keyOf(subject, subject.connections, round));
    const theirs = byKey.get(keyOf(reference, reference.connections, round));
    return ours === undefined || theirs === undefined ? [] : [{ ours, theirs }];
  });
  const busyOf = (side) => median(pairs.map((pair) => pair[side][`${kind}_busy`]));
  const busy = { subject: busyOf('ours'), reference: busyOf('theirs') };
  if (metric !== 'auto')
    return { by: metric, busy, ratios: pairs.map(({ ours, theirs }) => ours[metric] / theirs[metric]) };
  if ((busy.subject ?? 0) >= SATURATED_FRACTION && (busy.reference ?? 0) >= SATURATED_FRACTION) {
    const ratios = pairs.map(({ ours, theirs }) => ours.requests_per_second / theirs.requests_per_second);
    return { by: 'requests_per_second', busy, ratios };
  }
  const cpu = `${kind}_cpu_us`;
  return { by: `1/${cpu}`, busy, ratios: pairs.map(({ ours, theirs }) => theirs[cpu] / ours[cpu]) };
}

/** Growth of CPU per request between two sizes, as a multiple of the reference's growth in the same round. */
function growthRatios({ subject, reference }, rounds, byKey) {
  const growth = (side, round) => {
    const from = byKey.get(keyOf(side, side.small, round));
    const to = byKey.get(keyOf(side, side.large, round));
    return from === undefined || to === undefined ? null : to[side.metric] / from[side.metric];
  };
  const ratios = rounds.flatMap((round) => {
    const ours = growth(subject, round);
    const theirs = growth(reference, round);
    return ours === null || theirs === null ? [] : [ours / theirs];
  });
  return { by: subject.metric, busy: { subject: null, reference: null }, ratios };
}
