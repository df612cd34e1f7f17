/**
 * The messages between a conductor and its agents, as JSON over NATS. Both sides check every message they receive against these
 * schemas and refuse the messages of another version. Times are in ns; those of an agent are on its own monotonic clock.
 *
 * Subjects, each below `iocp-bench.GROUP`:
 *   roll             request from anyone; every agent answers with its facts
 *   agent.NAME       request of a conductor to one agent
 *   peer.NAME        question of another agent to one agent: nothing that starts or stops anything
 *   run.ID.NAME      heartbeats of one agent to the conductor of a run
 *   run.ID           heartbeats of the conductor to its agents
 */
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { z } from 'zod';
import { fieldGroups } from '../model/abi.generated.js';
import { BenchError } from '../model/errors.js';
import { exchangeSchema } from '../model/exchange.js';
import { serverProtocols } from '../model/server-protocol.js';
import { limitsSchema, processUsageSchema, serverStatsSchema, systemSampleSchema } from '../model/figures.js';
import { loadOptions, serverOptions, serverShape } from '../model/options.js';
import { modeNames } from '../model/parse.js';
import { histogramNames } from '../run/control.js';
import { environmentSchema, serverLimitsSchema, serverProcessSchema } from '../model/report-schema.js';
import { tlsSchema } from '../model/tls.js';
import { toolVersion } from '../version.js';

/** Changes with every change of the messages that an older version would misread. */
export const protocolVersion = 4;
/** Both parts must be equal on both sides: figures of two versions do not compare. */
export const speaks = `${toolVersion}/${protocolVersion}`;

const namePattern = /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/;
export const nameSchema = z.string().regex(namePattern);

/** True if the text can be the name of an agent or a group: one token of a NATS subject. */
export function isName(text: string): boolean {
  return namePattern.test(text);
}

export const subjects = {
  roll: (group: string): string => `iocp-bench.${group}.roll`,
  agent: (group: string, name: string): string => `iocp-bench.${group}.agent.${name}`,
  peer: (group: string, name: string): string => `iocp-bench.${group}.peer.${name}`,
  beats: (group: string, run: string): string => `iocp-bench.${group}.run.${run}.*`,
  beat: (group: string, run: string, name: string): string => `iocp-bench.${group}.run.${run}.${name}`,
  conductor: (group: string, run: string): string => `iocp-bench.${group}.run.${run}`,
} as const;

const count = z.number().int().nonnegative();
const figure = z.number().nonnegative();
const port = z.number().int().min(1).max(65_535);
/** Times are larger than a JSON number holds exactly, so they are sent as decimal text. */
const clockNs = z
  .string()
  .regex(/^-?\d{1,20}$/)
  .transform(BigInt);

export const backendSchema = z.object({
  mode: z.enum(modeNames),
  backend: z.string(),
  available: z.boolean(),
  reason: z.string(),
  hint: z.string(),
});

/** What an agent says about itself and its machine. */
export const factsSchema = z.object({
  speaks: z.string(),
  name: nameSchema,
  group: nameSchema,
  /** The same for all agents that run on one system, whose CPUs they share. */
  machine: z.string(),
  /** The same for all agents that reach each other over the loopback interface. */
  network: z.string(),
  /** The same for all agents whose monotonic clock is one and the same; null: the system does not say. */
  clock: z.string().nullable(),
  pid: count,
  platform: z.enum(['linux', 'win32', 'other']),
  root: z.boolean(),
  address: z.string(),
  /** See canReach(). */
  address_given: z.boolean(),
  allow_targets: z.array(z.object({ address: z.string(), bits: count })),
  cpus: z.array(count).min(1),
  modes: z.array(backendSchema),
  engines: z.array(z.string()),
  commands: z.array(z.object({ mode: z.string(), command: z.string() })),
  max_clients: count.nullable(),
  limits: limitsSchema,
  environment: environmentSchema,
  held_by: z.string().nullable(),
});
export type Facts = z.infer<typeof factsSchema>;

const cpuList = z.array(count).nullable();

/** One agent's share of a trial's load. */
const loadTaskSchema = z.object({
  server: z.object({ host: z.string(), port }),
  /** The agent that hosts the server; null: a target outside the group. */
  serverAgent: nameSchema.nullable(),
  connections: z.number().int().min(1),
  active: count,
  connectWindow: z.number().int().min(1),
  sequence: count,
  arrivals: loadOptions.arrivals.plan.schema,
  arrivalsStream: count,
  countInstructions: serverOptions.countInstructions.plan.schema,
  /** Of all agents; the origin is on the agent's clock. */
  share: z.object({ index: count, count: z.number().int().min(1), originNs: clockNs }),
  engine: loadOptions.engine.plan.schema,
  threads: z.number().int().min(1).max(1024),
  seed: count,
  messageSizeBytes: loadOptions.messageSizeBytes.plan.schema,
  pipeline: loadOptions.pipeline.plan.schema,
  timeoutMs: figure,
  durationMs: figure,
  thinkTimeMs: figure,
  requestsPerConnection: loadOptions.requestsPerConnection.plan.schema,
  close: loadOptions.close.plan.schema,
  connectRatePerSecond: figure.nullable(),
  /** Absent or null: the echo protocol. */
  exchange: exchangeSchema.nullable().optional(),
  /** Absent or null: without TLS. */
  tls: tlsSchema.nullable().optional(),
  /** Each engine has a CPU of its own. */
  pinned: z.boolean(),
  cpus: cpuList,
});
/** As the agent receives it. */
export type RemoteLoadTask = z.output<typeof loadTaskSchema>;

const serverStartSchema = z.object({
  /** A built-in mode, or a command by the name that the agent was started with. Never a command line. */
  mode: z.string().max(64),
  isCommand: z.boolean(),
  connectionsExpected: count,
  messageSizeBytes: count,
  protocol: z.enum(serverProtocols),
  /** A command is ready when it echoes; false: when it listens. */
  echoes: z.boolean(),
  cpus: cpuList,
  controlCpus: cpuList,
  ...serverShape,
});
export type RemoteServerStart = z.infer<typeof serverStartSchema>;

const phase = z.enum(['connect', 'warmup', 'verify', 'close']);

const requestBodySchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('facts') }),
  z.object({ type: z.literal('clock') }),
  z.object({ type: z.literal('hold'), conductor: z.string().max(200) }),
  z.object({ type: z.literal('release') }),
  z.object({ type: z.literal('server-start'), options: serverStartSchema }),
  z.object({ type: z.literal('server-sample'), memory: z.boolean() }),
  z.object({ type: z.literal('server-system') }),
  z.object({ type: z.literal('server-stop'), deadline_ms: figure.max(600_000) }),
  /** From another agent: do you serve there, in this run? */
  z.object({ type: z.literal('serves'), host: z.string(), port }),
  z.object({ type: z.literal('load-prepare'), task: loadTaskSchema }),
  z.object({
    type: z.literal('load-command'),
    sequence: count,
    phase,
    rate_per_second: figure,
    connections_total: count,
  }),
  z.object({
    type: z.literal('load-arm'),
    sequence: count,
    rate_per_second: figure,
    connections_total: count,
    start_ns: clockNs,
    end_ns: clockNs,
  }),
  z.object({ type: z.literal('load-go'), sequence: count }),
  z.object({ type: z.literal('load-sample') }),
  z.object({ type: z.literal('load-figures') }),
  z.object({ type: z.literal('load-stop') }),
]);
export type RequestBody = z.input<typeof requestBodySchema>;
export type ReceivedRequest = z.output<typeof requestBodySchema>;

export const requestSchema = z.object({
  speaks: z.string(),
  /** Unique; a repeated request with the same id is answered again but not carried out again. */
  id: z.string().max(64),
  /** The run that holds the agent; null: the request needs no lease. */
  run: nameSchema.nullable(),
  body: requestBodySchema,
});
export type Request = z.output<typeof requestSchema>;

const serverSampleSchema = z.object({
  usage: processUsageSchema,
  stats: serverStatsSchema.nullable(),
  system: systemSampleSchema,
  identity: serverProcessSchema.nullable(),
  limits: serverLimitsSchema.nullable(),
});

const histogramSchema = z.object({
  count: clockNs,
  min_ns: clockNs,
  max_ns: clockNs,
  sum_ns: clockNs,
  /** See src/agent/sparse.ts. */
  counts: z.string(),
});

const { live, window, ends } = fieldGroups.ib_engine_block;

function shapeOf<Name extends string, Schema extends z.ZodType>(
  names: readonly Name[],
  schema: Schema,
): z.ZodObject<Record<Name, Schema>> {
  const shape = Object.fromEntries(names.map((name) => [name, schema])) as Record<Name, Schema>;
  return z.object(shape);
}

const liveSchema = shapeOf(live, z.number());
const errorSampleSchema = z.object({ class: z.string(), connection: count, message: z.string() });

const repliesSchema = z.object({
  first: z.object({ status: count, body_bytes: count, body_hash: z.string().max(16) }),
  differing: count,
});

const engineWindowSchema = z.object({
  figures: shapeOf(window, z.number().nullable()),
  fairness_sum: z.number(),
  fairness_sum_squares: z.number(),
});

/** The figures of an agent's engines over their last command: per engine, except for the histograms, which are merged. */
const loadFiguresSchema = z.object({
  engines: z.array(engineWindowSchema),
  histograms: shapeOf(histogramNames, histogramSchema),
  timeline: z.array(z.tuple([count, count, figure, figure])),
  ends: shapeOf(ends, z.number()),
  /** http: null without a whole reply. */
  replies: repliesSchema.nullable(),
  resident_bytes: figure.nullable(),
});
export type LoadFigures = z.output<typeof loadFiguresSchema>;

const engineResultSchema = z.object({ engine: z.string(), features: z.string(), memory_bytes: figure });

/** Answers, by the type of the request. */
export const answerSchemas = {
  facts: factsSchema,
  clock: z.object({ now_ns: clockNs }),
  hold: z.object({}),
  release: z.object({}),
  'server-start': z.object({ host: z.string(), port, backend: z.string(), pid: count.nullable() }),
  'server-sample': serverSampleSchema,
  'server-system': z.object({ system: systemSampleSchema }),
  'server-stop': z.object({
    sample: serverSampleSchema.nullable(),
    deadline_missed: z.boolean(),
    left: z.object({ pid: count, name: z.string().nullable() }).optional(),
  }),
  serves: z.object({ serves: z.boolean() }),
  'load-prepare': z.object({}),
  'load-command': z.object({}),
  'load-arm': z.object({}),
  'load-go': z.object({}),
  'load-sample': z.object({
    cpu_total_ns: z.number().nullable(),
    resident_bytes: z.number().nullable(),
    completed: count,
    /** Segments that the whole system sent again since its start. */
    tcp_retransmits: z.number().nullable(),
  }),
  'load-figures': loadFiguresSchema,
  'load-stop': z.object({ results: z.array(engineResultSchema) }),
} as const satisfies Readonly<Record<ReceivedRequest['type'], z.ZodType>>;

export type AnswerType = keyof typeof answerSchemas;
export type Answer<Type extends AnswerType> = z.output<(typeof answerSchemas)[Type]>;
export type AnswerInput<Type extends AnswerType> = z.input<(typeof answerSchemas)[Type]>;

/** A successful answer to a type of request. */
export function successSchema(type: AnswerType): z.ZodType<{ speaks: string; answer: unknown }> {
  return z.object({ speaks: z.string(), answer: answerSchemas[type] as z.ZodType });
}
export const servesSchema = z.object({ speaks: z.string(), answer: answerSchemas.serves });

/** Code of a failure: the agent is not held by the run of the request. */
export const leaseLost = 'lease_lost';

export const failureSchema = z.object({
  speaks: z.string(),
  error: z.object({ code: z.string(), message: z.string(), hint: z.string() }),
});

/** What an agent says several times a second while a conductor holds it. */
export const beatSchema = z.object({
  speaks: z.string(),
  name: nameSchema,
  /** Why the server ended without a request to stop; null if it did not. */
  server_ended: z.string().nullable(),
  load: z
    .object({
      running: z.boolean(),
      /** The last command that all engines have completed. */
      done: count,
      ended: z.boolean(),
      /** What an engine failed with; null if none did. */
      error: z.string().nullable(),
      live: liveSchema,
      connected: count,
      connect_span_ns: z.number().nullable(),
      ends: shapeOf(ends, z.number()),
      errors: z.record(z.string(), count),
      samples: z.array(errorSampleSchema),
    })
    .nullable(),
});
export type Beat = z.output<typeof beatSchema>;

/** What a conductor says to the agents that it holds. */
export const conductorBeatSchema = z.object({ speaks: z.string(), conductor: z.literal(true) });

/** Longest message that is accepted; the default limit of nats-server. */
export const longestMessageBytes = 1_048_576;
const longestTextBytes = 64 * 1_048_576;
/** Text above this length is compressed. */
const plainTextBytes = 16_384;
/** No JSON text begins with it. */
const deflatedMark = 0;

export function encodeMessage(message: unknown): Uint8Array {
  const text = Buffer.from(JSON.stringify(message));
  if (text.length <= plainTextBytes) return text;
  return Buffer.concat([Buffer.from([deflatedMark]), deflateRawSync(text, { level: 3 })]);
}

/**
 * @param sender for the error: 'agent b'
 * @throws BenchError 'fault' if the bytes are not a message of this schema
 */
export function decodeMessage<Schema extends z.ZodType>(
  schema: Schema,
  bytes: Uint8Array,
  sender: string,
): z.output<Schema> {
  const result = schema.safeParse(readJson(bytes, sender));
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new BenchError(
    'fault',
    `a message from ${sender} is not valid: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`,
  );
}

function readJson(bytes: Uint8Array, sender: string): unknown {
  if (bytes.length > longestMessageBytes) {
    throw new BenchError('fault', `a message from ${sender} is longer than ${longestMessageBytes} bytes`);
  }
  try {
    const text =
      bytes[0] === deflatedMark
        ? inflateRawSync(bytes.subarray(1), { maxOutputLength: longestTextBytes }).toString()
        : Buffer.from(bytes).toString();
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new BenchError('fault', `a message from ${sender} is not JSON`, '', error);
  }
}
