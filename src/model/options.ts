/**
 * Describes every option of `blast` for load, measurement and servers once: flag, help, parser, default, and where the value goes.
 * Commander's options, the plan, the report's plan, the fields that `diff` and `merge` compare, and the server's start options all
 * come from these rows.
 */
import { Option, type Command } from 'commander';
import { z } from 'zod';
import { parseBrokerUrls } from './broker-url.js';
import {
  bounds,
  parseChoice,
  parseCount,
  parseCountList,
  parseDurationMs,
  parseFraction,
  parseHost,
  parseLabel,
  parseList,
  parseOfferedRates,
  parseRatePerSecond,
  parseShortTimeMs,
  parseShortTimeUs,
  parseSizeBytes,
  serverDefaults,
} from './parse.js';
import { waitOf, workOf, type Point } from './point.js';
import { defaultBodySizeBytes } from './server-protocol.js';
import { protocolNames } from './exchange.js';
import {
  parseBytes,
  parseContent,
  parseExpectBody,
  parseHeader,
  parseLengthPrefix,
  parseMethod,
  parseStatuses,
} from './parse-exchange.js';

/**
 * What a value of the plan means for the figures:
 * - load: a different value changes what every figure means, so reports that differ in it are not compared;
 * - condition: how it was measured; a difference is reported next to the comparison;
 * - server: a condition that a server is started with;
 * - choice: which runs are made, and in which order; reports may differ in it.
 */
export type Role = 'load' | 'condition' | 'server' | 'choice';

/** Where the value of an option goes: its name and type in the report's plan. */
export interface Planning<Report extends string, Schema extends z.ZodType, Since extends string | null> {
  readonly role: Role;
  readonly report: Report;
  /** Schema of the planned value. It differs from the option's type if the default depends on other options. */
  readonly schema: Schema;
  /** The schema version that added it; null: the first. Older reports lack it. */
  readonly since: Since;
  /** What reports without the field were made with, if that is not the default. */
  readonly before?: unknown;
}

export interface OptionRow<Given, Plan> {
  /** As commander takes them: '-d, --duration <time>'. */
  readonly flags: string;
  readonly help: string;
  /** null for a flag, which is true when it is given. */
  readonly parse: ((text: string) => unknown) | null;
  /** The value when the option is not given. */
  readonly initial: Given;
  /** The default as shown in the help, if it is not the value itself; '' shows none. */
  readonly initialText: string | null;
  /** Each use adds to a list. */
  readonly repeatable: boolean;
  readonly plan: Plan;
}

function plan<const Report extends string, Schema extends z.ZodType, const Since extends string | null = null>(
  role: Role,
  report: Report,
  schema: Schema,
  since: Since = null as Since,
  before?: unknown,
): Planning<Report, Schema, Since> {
  return { role, report, schema, since, ...(before === undefined ? {} : { before }) };
}

/** An option without a default of its own. */
export function optional<Value, Plan = null>(
  flags: string,
  help: string,
  parse: (text: string) => Value,
  goes: Plan = null as Plan,
): OptionRow<Value | undefined, Plan> {
  return { flags, help, parse, initial: undefined, initialText: null, repeatable: false, plan: goes };
}

/** An option with a default. */
export function defaulted<Value, Plan = null>(
  flags: string,
  help: string,
  parse: (text: string) => Value,
  initial: NoInfer<Value>,
  goes: Plan = null as Plan,
  initialText: string | null = null,
): OptionRow<Value, Plan> {
  return { flags, help, parse, initial, initialText, repeatable: false, plan: goes };
}

export function flag<Plan = null>(flags: string, help: string, goes: Plan = null as Plan): OptionRow<boolean, Plan> {
  return {
    flags,
    help,
    parse: null,
    initial: flags.includes('--no-'),
    initialText: null,
    repeatable: false,
    plan: goes,
  };
}

export function repeated<Value>(flags: string, help: string, parse: (text: string) => Value): OptionRow<Value[], null> {
  return { flags, help, parse, initial: [], initialText: '', repeatable: true, plan: null };
}

const figure = z.number().nonnegative();
const count = figure.int();

/** The load: connections, messages, rates, and for how long. */
export const loadOptions = {
  clients: defaulted(
    '-c, --clients <n[,n...]>',
    'number of connections; several numbers run in turn',
    parseCountList('--clients', bounds.clients),
    [6000],
    plan('choice', 'clients', z.array(count)),
  ),
  durationMs: defaulted(
    '-d, --duration <time>',
    'length of the measured window of each phase',
    parseDurationMs('--duration'),
    3_000,
    plan('condition', 'duration_ms', figure),
  ),
  warmupMs: defaulted(
    '--warmup <time>',
    'load before each window; lasts until every connection has had an echo',
    parseDurationMs('--warmup', { min: 0, max: 3_600_000 }),
    1_000,
    plan('condition', 'warmup_ms', figure),
  ),
  trials: optional(
    '--trials <n>',
    'repetitions, each with a new server and connections (default: 4; 1 with --target)',
    parseCount('--trials', bounds.trials),
    plan('choice', 'trials', count),
  ),
  until: optional(
    '--until <share>',
    'repeat trials until the interval of every primary metric is within this, e.g. 3%',
    parseFraction('--until', bounds.until),
    plan(
      'choice',
      'until',
      z.number().nullable().describe('--until as a fraction; null: a fixed number of trials'),
      '1.1',
    ),
  ),
  trialsMax: optional(
    '--trials-max <n>',
    'most trials with --until; --trials is then the least (default: 20)',
    parseCount('--trials-max', bounds.trials),
    plan('choice', 'trials_max', count.nullable().describe('most trials with --until; null without it'), '1.1'),
  ),
  phases: defaulted(
    '--phases <which>',
    'phases to measure: capacity, latency or both',
    parseChoice('--phases', ['capacity', 'latency', 'both']),
    'both',
    plan('choice', 'phases', z.array(z.enum(['capacity', 'latency']))),
  ),
  messageSizeBytes: optional(
    '--message-size <bytes>',
    'size of a request and of its echo (default: 64)',
    parseSizeBytes('--message-size', bounds.messageSizeBytes),
    plan('load', 'message_size_bytes', count),
  ),
  pipeline: optional(
    '--pipeline <n>',
    'requests in flight per connection (default: 1)',
    parseCount('--pipeline', bounds.pipeline),
    plan('load', 'pipeline', count),
  ),
  ratePerSecond: optional(
    '--rate <n/s or %[,...]>',
    "requests/s to offer in the latency phase, or a percentage of the slower mode's capacity; several make a load curve (default: 70%)",
    parseOfferedRates('--rate'),
    plan('choice', 'rate_per_second', figure.nullable().describe('requested; null: found by calibration, or several')),
  ),
  arrivals: defaulted(
    '--arrivals <how>',
    'when messages of the latency phase are due: poisson (at random, as from independent users) or even (at equal intervals)',
    parseChoice('--arrivals', ['poisson', 'even']),
    'poisson',
    plan('condition', 'arrivals', z.enum(['poisson', 'even']), '1.1', 'even'),
  ),
  connectRatePerSecond: optional(
    '--connect-rate <n/s>',
    'connections to open per second (default: as fast as echoes arrive)',
    parseRatePerSecond('--connect-rate'),
    plan('condition', 'connect_rate_per_second', figure.nullable()),
  ),
  requestsPerConnection: optional(
    '--requests-per-connection <n>',
    'close each connection after n requests and connect again (churn)',
    parseCount('--requests-per-connection', { min: 1, max: 1e9 }),
    plan('load', 'requests_per_connection', count.nullable()),
  ),
  thinkTimeMs: defaulted(
    '--think-time <time>',
    'pause between an echo and the next message',
    parseDurationMs('--think-time', { min: 0, max: 3_600_000 }),
    0,
    plan('load', 'think_time_ms', figure),
  ),
  stream: flag(
    '--stream',
    'bulk transfer: 64 KiB messages, 4 in flight (defaults that can be changed)',
    plan('load', 'stream', z.boolean()),
  ),
  activeFraction: optional(
    '--active <share>',
    'share of connections that send; the others stay open and idle',
    parseFraction('--active'),
    plan('load', 'active', z.number().nullable().describe('fraction of the connections that send; null: all')),
  ),
  idle: defaulted(
    '--idle <n>',
    'idle connections in addition to --clients',
    parseCount('--idle', { min: 0, max: bounds.clients.max }),
    0,
    plan('load', 'idle', count.describe('idle connections in addition to the clients')),
  ),
  timeoutMs: defaulted(
    '--timeout <time>',
    'longest wait for a connection or an echo',
    parseDurationMs('--timeout'),
    10_000,
    plan('condition', 'timeout_ms', figure),
  ),
  close: defaulted(
    '--close <how>',
    'how connections are closed: reset (leaves no TIME_WAIT) or fin',
    parseChoice('--close', ['reset', 'fin']),
    'reset',
    plan('condition', 'close', z.enum(['reset', 'fin'])),
  ),
  threads: optional(
    '--threads <n>',
    'client threads (default: one per client CPU)',
    parseCount('--threads', bounds.threads),
    plan('condition', 'threads', count),
  ),
  engine: defaulted(
    '--engine <name>',
    'client engine: auto, epoll, io_uring, iocp',
    parseChoice('--engine', ['auto', 'epoll', 'io_uring', 'iocp']),
    'auto',
    plan('condition', 'engine', z.string()),
  ),
  seed: defaulted(
    '--seed <n>',
    'seed for the payload, the order of modes and random arrivals',
    parseCount('--seed', bounds.seed),
    1,
    plan('choice', 'seed', count),
  ),
} as const;

/** What a request and its reply are on the wire. */
export const protocolOptions = {
  protocol: defaulted(
    '--protocol <name>',
    'what clients and server speak: echo, http or message',
    parseChoice('--protocol', protocolNames),
    'echo',
    plan('load', 'protocol', z.enum(protocolNames), '1.1'),
    'echo; http if --target is a URL',
  ),
} as const;

/** TLS around any of the protocols. */
export const tlsOptions = {
  tls: flag('--tls', 'speak TLS 1.2 or 1.3 (implied by --target https://...)'),
  tlsCa: optional(
    '--tls-ca <file>',
    'trusted certificates in PEM form (default: those that Node.js trusts, with NODE_EXTRA_CA_CERTS)',
    String,
  ),
  tlsInsecure: flag('--tls-insecure', 'accept any certificate of the server'),
  tlsServerName: optional(
    '--tls-server-name <name>',
    "name that the server's certificate must be for (default: the host of --target)",
    String,
  ),
  tlsCert: optional('--tls-cert <file>', "the client's certificate with its chain, in PEM form", String),
  tlsKey: optional('--tls-key <file>', "private key of the client's certificate, in PEM form", String),
  tlsResume: flag('--tls-resume', 'connections that are made again resume their TLS session, if the server allows it'),
} as const;

/** What clients send and which replies are right, for the protocols other than echo. */
export const exchangeOptions = {
  method: optional('--method <name>', 'http: method of the requests (default: GET; POST with --body)', parseMethod),
  header: repeated('--header <name: value>', 'http: header field of the requests; repeatable', parseHeader),
  body: optional('--body <text|@file>', 'http: body of the requests', parseContent('--body')),
  expectStatus: optional(
    '--expect-status <list>',
    'http: expected statuses, e.g. 200,404 or 2xx or 200-299 (default: 2xx,3xx)',
    parseStatuses,
  ),
  expectBody: optional(
    '--expect-body <which>',
    'http: any, same (as that of the first reply) or exact:TEXT, exact:@FILE (default: any)',
    parseExpectBody,
  ),
  send: optional(
    '--send <text|@file>',
    'message: a request, with \\r \\n \\t \\0 \\xHH; {connection} and {sequence} become numbers of 8 and 12 digits',
    parseBytes('--send'),
  ),
  replyExact: optional('--reply-exact <text|@file>', 'message: the reply is these bytes', parseBytes('--reply-exact')),
  replyUntil: optional(
    '--reply-until <text>',
    'message: the reply ends with these bytes, e.g. \\r\\n',
    parseBytes('--reply-until'),
  ),
  replyBytes: optional(
    '--reply-bytes <size>',
    'message: the reply has this many bytes',
    parseSizeBytes('--reply-bytes', { min: 1, max: 2 ** 40 }),
  ),
  replyLengthPrefix: optional(
    '--reply-length-prefix <type[+n]>',
    'message: the reply begins with its length: u8, u16be, u16le, u32be or u32le; +n or -n is added to it',
    parseLengthPrefix,
  ),
  greetingUntil: optional(
    '--greeting-until <text>',
    'message: the server speaks first, and its greeting ends with these bytes',
    parseBytes('--greeting-until'),
  ),
  hello: optional(
    '--hello <text|@file>',
    'message: sent once per connection and answered before its first request, e.g. to log in',
    parseBytes('--hello'),
  ),
} as const;

/** The options that `serve` and `blast` start a server with. */
export const serverOptions = {
  workers: optional(
    '--workers <n>',
    'event loops of the server (default: one per server CPU)',
    parseCount('--workers', bounds.workers),
    plan('server', 'workers', count.nullable()),
  ),
  backlog: defaulted(
    '--backlog <n>',
    'connections that may wait to be accepted',
    parseCount('--backlog', bounds.backlog),
    serverDefaults.backlog,
    plan('server', 'backlog', count),
  ),
  receiveBufferBytes: defaulted(
    '--receive-buffer <size>',
    'size of the buffer for one receive',
    parseSizeBytes('--receive-buffer', bounds.receiveBufferBytes),
    serverDefaults.receiveBufferBytes,
    plan('server', 'receive_buffer_bytes', count),
    '16KiB',
  ),
  stackSizeBytes: defaulted(
    '--stack-size <size>',
    "blocking, pool: stack size of a connection's thread",
    parseSizeBytes('--stack-size', bounds.stackSizeBytes),
    serverDefaults.stackSizeBytes,
    plan('server', 'stack_size_bytes', count),
    '64KiB',
  ),
  poolThreads: defaulted(
    '--pool-threads <n>',
    'pool: number of threads; each serves one connection at a time',
    parseCount('--pool-threads', bounds.poolThreads),
    serverDefaults.poolThreads,
    plan('server', 'pool_threads', count, '1.1'),
  ),
  zeroByteRecv: flag(
    '--zero-byte-recv',
    'iocp on Windows: idle connections wait with a zero-byte receive',
    plan('server', 'zero_byte_recv', z.boolean()),
  ),
  edgeTriggered: flag(
    '--edge-triggered',
    'epoll: edge-triggered instead of level-triggered',
    plan('server', 'edge_triggered', z.boolean(), '1.1'),
  ),
  waitBlocks: flag(
    '--wait-blocks',
    'event-driven modes: a wait (--wait) blocks the worker',
    plan('load', 'wait_blocks', z.boolean(), '1.1'),
  ),
  bodySizeBytes: optional(
    '--body-size <size>',
    `http: size of the body of a reply (default: ${defaultBodySizeBytes})`,
    parseSizeBytes('--body-size', bounds.bodySizeBytes),
    plan(
      'load',
      'body_size_bytes',
      count.nullable().describe('http: body of a reply of a built-in mode; null: another protocol or server'),
      '1.1',
    ),
  ),
  countInstructions: flag(
    '--count-instructions',
    'count instructions and CPU cycles per request where the system allows it; this makes switches of threads slower',
    plan('server', 'count_instructions', z.boolean(), '1.1'),
  ),
} as const;

/** What a server does for each request, as `serve` takes it: one value each. */
export const serviceOptions = {
  workUs: defaulted(
    '--work <time>',
    'CPU time that the serving thread burns for each request',
    parseShortTimeUs('--work', bounds.workUs),
    0,
    null,
    'none',
  ),
  waitMs: defaulted(
    '--wait <time>',
    'time that each request waits before its reply, as for a database',
    parseShortTimeMs('--wait', bounds.waitMs),
    0,
    null,
    'none',
  ),
} as const;

/** The same as `blast` takes it: one run per number of clients, work and wait. */
export const sweepOptions = {
  worksUs: defaulted(
    '--work <time[,time...]>',
    'CPU time that the serving thread burns for each request; several run in turn',
    parseList('--work', '0,10us,100us,1ms', parseShortTimeUs('--work', bounds.workUs)),
    [0],
    plan('choice', 'work_us', z.array(figure).describe('CPU time that each request burns in the server'), '1.1'),
    'none',
  ),
  waitsMs: defaulted(
    '--wait <time[,time...]>',
    'time that each request waits before its reply, as for a database; several run in turn',
    parseList('--wait', '0,1ms,10ms', parseShortTimeMs('--wait', bounds.waitMs)),
    [0],
    plan('choice', 'wait_ms', z.array(figure).describe('time that each request waits in the server'), '1.1'),
    'none',
  ),
} as const;

/** Where the servers of `blast` listen. */
export const placeOptions = {
  host: defaulted(
    '--host <address>',
    'loopback address that servers listen on',
    parseHost('--host'),
    '127.0.0.1',
    plan('choice', 'host', z.string()),
  ),
} as const;

/** Options for special runs: a mode against itself, and the search for the highest rate. */
export const studyOptions = {
  aa: optional(
    '--aa <mode>',
    'run one mode against itself to measure the noise of this machine',
    String,
    plan('choice', 'aa', z.boolean()),
  ),
  findMaxRate: optional(
    '--find-max-rate <limit>',
    "search for the highest offered rate within a limit, e.g. 'p99<10ms'",
    String,
    plan('choice', 'find_max_rate', z.string().nullable(), '1.1'),
  ),
} as const;

/** How a command reaches the agents on other machines. */
export const brokerOptions = {
  nats: optional(
    '--nats <url[,url...]>',
    'NATS broker that connects the machines, nats:// or tls:// (default: NATS_URL)',
    parseBrokerUrls('--nats'),
  ),
  natsCreds: optional('--nats-creds <file>', 'credentials of a NATS user', String),
  natsTokenFile: optional('--nats-token-file <file>', 'file that contains the token of the broker', String),
  group: defaulted('--group <name>', 'agents of one group work together', parseLabel('--group'), 'default'),
} as const;

/** Which machines a run uses. */
export const machineOptions = {
  serverOn: optional('--server-on <name>', 'agent that hosts the servers; "here" is this machine', String),
  clientsOn: optional(
    '--clients-on <name[:weight],...>',
    'agents that host the load, in proportion to their CPUs or weights; "here" is this machine',
    String,
  ),
  probeOn: optional(
    '--probe-on <name>',
    'agent with a few of the connections, whose requests alone give the latency figures',
    String,
  ),
} as const;

const planRows = {
  ...loadOptions,
  ...protocolOptions,
  ...serverOptions,
  ...sweepOptions,
  ...placeOptions,
  ...studyOptions,
} as const;

type Rows = Readonly<Record<string, OptionRow<unknown, unknown>>>;
type PlanRows = typeof planRows;
export type PlanKey = keyof PlanRows;

/** The typed values of some rows; undefined for an option that has no default and was not given. */
export type Given<Table extends Rows> = { [Key in keyof Table]: Table[Key]['initial'] };

type SchemaOf<Key extends PlanKey> = PlanRows[Key]['plan']['schema'];
type ReportName<Key extends PlanKey> = PlanRows[Key]['plan']['report'];

/** The planned values of the options, by the names that the code uses. */
export type PlannedOptions = {
  readonly [Key in PlanKey]: z.infer<SchemaOf<Key>>;
};

/** The keys of the options that every server of a run is started with. */
export type ServerKey = keyof typeof serverOptions;
/** What a server is started with: those, and the work and the wait of the run. */
export type ServerOptionValues = Pick<PlannedOptions, ServerKey> & Given<typeof serviceOptions>;

/** The same values as fields of the report's plan. */
export type ReportedOptions = { [Key in PlanKey as ReportName<Key>]: PlannedOptions[Key] };

type PlanShape = {
  [Key in PlanKey as ReportName<Key>]: PlanRows[Key]['plan']['since'] extends null
    ? SchemaOf<Key>
    : z.ZodOptional<SchemaOf<Key>>;
};

const planEntries = Object.entries(planRows) as [PlanKey, PlanRows[PlanKey]][];

/** The fields of the report's plan that are options. */
export const planShape = Object.fromEntries(
  planEntries.map(([, { plan: goes }]) => [goes.report, goes.since === null ? goes.schema : goes.schema.optional()]),
) as PlanShape;

/** The values under their names in the report: 'duration_ms' for durationMs. */
export function reportedOptions(values: PlannedOptions): ReportedOptions {
  const entries = planEntries.map(([key, row]) => {
    const value = values[key];
    return [row.plan.report, Array.isArray(value) ? [...(value as readonly unknown[])] : value];
  });
  return Object.fromEntries(entries) as ReportedOptions;
}

/** Names in the report's plan of the options with one of these roles. */
export function reportedNames(...roles: readonly Role[]): (keyof ReportedOptions)[] {
  return planEntries.filter(([, row]) => roles.includes(row.plan.role)).map(([, row]) => row.plan.report);
}

/**
 * What a report without this field of the plan was made with: the default of the option in most cases. undefined where it has none, or the
 * name is not an option's.
 */
export function reportedDefault(name: string): unknown {
  const row: OptionRow<unknown, Planning<string, z.ZodType, string | null>> | undefined = planEntries.find(
    ([, { plan: goes }]) => goes.report === name,
  )?.[1];
  return row?.plan.before ?? row?.initial;
}

/** Schema of the server options in the message that starts a server. */
export const serverShape = {
  ...(Object.fromEntries(Object.entries(serverOptions).map(([key, row]) => [key, row.plan.schema])) as {
    [Key in ServerKey]: SchemaOf<Key>;
  }),
  workUs: figure,
  waitMs: figure,
};

/** The options that a server of a plan is started with at this point of the sweep. */
export function serverOptionValues(
  values: Pick<PlannedOptions, ServerKey>,
  point: Omit<Point, 'clients'>,
): ServerOptionValues {
  const keys = Object.keys(serverOptions) as ServerKey[];
  const shared = Object.fromEntries(keys.map((key) => [key, values[key]])) as unknown as Pick<
    PlannedOptions,
    ServerKey
  >;
  return { ...shared, workUs: workOf(point), waitMs: waitOf(point) };
}

type Nulled<Value> = Value extends undefined ? null : Value;

/** The options of the plan as given, with null for those that were not. */
export function givenOrNull(given: Given<PlanRows>): { [Key in PlanKey]: Nulled<Given<PlanRows>[Key]> } {
  const entries = planEntries.map(([key]) => [key, given[key] ?? null]);
  return Object.fromEntries(entries) as { [Key in PlanKey]: Nulled<Given<PlanRows>[Key]> };
}

/** The options of the plan when none is given. */
export function initialOrNull(): ReturnType<typeof givenOrNull> {
  return givenOrNull(Object.fromEntries(planEntries.map(([key, row]) => [key, row.initial])) as Given<PlanRows>);
}

function commanderOption(row: OptionRow<unknown, unknown>): Option {
  const option = new Option(row.flags, row.help);
  const { parse, repeatable } = row;
  if (parse !== null) {
    option.argParser((text: string, previous: unknown) =>
      repeatable ? [...(previous as unknown[]), parse(text)] : parse(text),
    );
  }
  if (row.initial !== undefined && !row.flags.includes('--no-')) {
    option.default(row.initial, row.initialText ?? undefined);
  }
  return option;
}

/** Adds every row of a table to a command. */
export function addOptions(command: Command, table: Rows): void {
  for (const row of Object.values(table)) command.addOption(commanderOption(row));
}

/** The values that commander parsed, by the keys of the table. */
export function givenValues<Table extends Rows>(table: Table, parsed: Readonly<Record<string, unknown>>): Given<Table> {
  const entries = Object.entries(table).map(([key, row]) => [key, parsed[commanderOption(row).attributeName()]]);
  return Object.fromEntries(entries) as Given<Table>;
}
