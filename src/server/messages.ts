/**
 * The messages between the conductor and a forked `serve` (Node's IPC channel, serialization 'json'). The server samples its
 * counters and CPU time together, in its own process, so that a slow channel delays a sample but never changes its ratios. Both
 * sides check the messages they receive.
 */
import { z } from 'zod';
import { BenchError } from '../model/errors.js';
import { processUsageSchema, runDelaySchema, serverStatsSchema } from '../model/figures.js';
import { serverShape } from '../model/options.js';
import { serverProtocols } from '../model/server-protocol.js';
import { modeNames } from '../model/parse.js';

const cpuList = z.array(z.number().int().nonnegative()).nullable();

/** The options that a forked server is started with. */
const startOptionsSchema = z.object({
  mode: z.enum(modeNames),
  host: z.string(),
  port: z.number().int(),
  addressCount: z.number().int(),
  connectionsExpected: z.number().int(),
  /** CPUs it is confined to; null: all. */
  cpus: cpuList,
  /** CPUs of the thread that reads its figures, preferably not the server's; null: the server's. */
  controlCpus: cpuList,
  /** Size of a request; used with work or wait. */
  messageSizeBytes: z.number().int(),
  protocol: z.enum(serverProtocols),
  ...serverShape,
});
export type StartOptions = z.infer<typeof startOptionsSchema>;

const sampleSchema = z.object({
  usage: processUsageSchema,
  stats: serverStatsSchema,
  /** Only if requested, and only of a server that is one process. */
  runDelay: runDelaySchema.optional(),
});
export type ServerSample = z.infer<typeof sampleSchema>;

const toServerSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('start'), options: startOptionsSchema }),
  /** memory false: it may be unknown in the answer, because reading that of many processes takes long. */
  z.object({
    type: z.literal('sample'),
    id: z.number(),
    memory: z.boolean().default(true),
    /** true: with the run delay, which takes long to read if there are thousands of threads. */
    runDelay: z.boolean().default(false),
  }),
  z.object({ type: z.literal('stop'), deadline_ms: z.number() }),
]);
export type ToServer = z.input<typeof toServerSchema>;
type ReceivedByServer = z.infer<typeof toServerSchema>;

const fromServerSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('listening'),
    mode: z.string(),
    backend: z.string(),
    host: z.string(),
    port: z.number(),
    pid: z.number(),
    stats: serverStatsSchema,
  }),
  z.object({ type: z.literal('sample'), id: z.number(), sample: sampleSchema }),
  z.object({ type: z.literal('stopped'), sample: sampleSchema, deadline_missed: z.boolean() }),
  z.object({ type: z.literal('error'), code: z.string(), message: z.string(), hint: z.string() }),
]);
export type FromServer = z.infer<typeof fromServerSchema>;

function parsed<Message>(schema: z.ZodType<Message>, message: unknown, sender: string): Message {
  const result = schema.safeParse(message);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new BenchError(
    'fault',
    `a message from the ${sender} is not valid: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`,
    '',
    result.error,
  );
}

/** @throws BenchError 'fault' if the message is not valid */
export function parseToServer(message: unknown): ReceivedByServer {
  return parsed(toServerSchema, message, 'conductor');
}

/** @throws BenchError 'fault' if the message is not valid */
export function parseFromServer(message: unknown): FromServer {
  return parsed(fromServerSchema, message, 'server');
}
