/**
 * The report: one JSON object, and the only thing that tables, exports, gates and comparisons read. Names
 * do not change within a major version of the schema, and end in their unit. What is not known is null, never 0. The JSON Schema in fixtures/ is made from this file.
 */
import { z } from 'zod';
import { planShape } from './options.js';

export const schemaName = 'iocp-bench/report';
/** Minor: fields were added. Major: a reader of the old one would misread the new one. */
export const schemaVersion = '1.1.0';

const count = z.number().int().nonnegative();
const figure = z.number().nonnegative();
const unknownable = figure.nullable();

export const phaseSchema = z.enum(['capacity', 'latency']);
export const percentileNames = ['p50', 'p90', 'p99', 'p99_9'] as const;
export const percentileNameSchema = z.enum(percentileNames);

/** Why a percentile is null: it lies among requests that had no echo, or has fewer than 10 samples beyond it. */
export const missingReasonSchema = z.enum(['timeout', 'too_few_samples']);

export const distributionSchema = z.object({
  p50: unknownable,
  p90: unknownable,
  p99: unknownable,
  p99_9: unknownable,
  max: unknownable,
  min: unknownable,
  mean: unknownable,
  count,
  missing: z
    .partialRecord(z.enum([...percentileNames, 'max']), missingReasonSchema)
    .describe('why a percentile, or the maximum, is null'),
  histogram: z.string().nullable().describe('HdrHistogram V2, compressed, base64; null when nothing was recorded'),
});

export const connectionsSchema = z.object({
  asked: count,
  made: count.describe('first echo verified'),
  failed: count,
  lost: count.describe('made, then gone without our closing them'),
  closed_idle: z
    .object({
      count,
      active: count.describe('of these, active connections between two of their requests'),
      after_min_ns: figure.describe('time without traffic'),
      after_max_ns: figure,
    })
    .optional()
    .describe('of those lost: closed by the server while idle; absent when there were none'),
  closed_after_echoes: z
    .object({ count, min: count.describe('echoes on one connection'), max: count })
    .optional()
    .describe('of those lost: closed by the server after an echo, idle ones left out; absent when there were none'),
  alive_at_end: count
    .nullable()
    .optional()
    .describe('where some only idled: those of all that echoed once more when the last window of the trial was over'),
  connect_duration_ms: unknownable.describe('first connect() to the last verified first echo'),
  connect_rate_per_second: unknownable,
  connect_time_ns: distributionSchema.nullable().describe('connect() to connected'),
  first_echo_time_ns: distributionSchema.nullable().describe('connect() to the first verified echo'),
});

export const requestsSchema = z.object({
  count: count.describe('intended in the window, whole echo verified'),
  per_second: figure,
  offered_per_second: figure.nullable().optional().describe('open loop: what the timetable offered'),
  offered: count.describe('due in the window by the timetable (open loop), else sent in it'),
  failed: count.describe('intended in the window, no right echo'),
  unsent: count.describe('of these, never sent'),
  sent_late: count.describe('sent more than 1 ms behind the intended time'),
  bytes_per_second: figure.describe('payload, one way'),
  reconnects: count.optional().describe('churn: connections made again in the window'),
});

export const serverCostSchema = z.object({
  cpu_us_per_request: unknownable,
  cpu_user_us_per_request: unknownable,
  cpu_system_us_per_request: unknownable,
  cpu_fraction: unknownable.describe('CPU time used / wall time of the window; 1 = one CPU'),
  context_switches_per_request: unknownable,
  voluntary_switches_per_request: unknownable,
  involuntary_switches_per_request: unknownable,
  threads_max: unknownable.describe('of the process'),
  threads_idle: unknownable.describe('of the process, before the first connection'),
  resident_bytes: unknownable,
  resident_bytes_idle: unknownable,
  resident_bytes_per_connection: unknownable.describe('(under load - idle) / connections made'),
  page_table_bytes_per_connection: unknownable,
  kernel_bytes_per_connection: unknownable.describe(
    'socket buffers, slab and kernel stacks, system-wide: both ends; null if memory moved while idle',
  ),
  nonpaged_pool_bytes_per_connection: unknownable.describe('Windows; omits thread stacks'),
  requests_counted: unknownable.describe(
    'requests between the two samples, by the server (bytes received / message size)',
  ),
  accepted: unknownable,
  refused: unknownable.describe('closed at once because the model could not carry them'),
  workers: unknownable,
  connections_queued: unknownable
    .optional()
    .describe('pool: accepted, and waiting for a thread when the window ended; null for other models'),
  worker_connections_min: unknownable,
  worker_connections_max: unknownable,
  backlog: unknownable.describe('what the OS made of it'),
  receives_paused: unknownable,
  errors: z.record(z.string(), count),
  features: z.array(z.string()),
});

export const clientCostSchema = z.object({
  engine: z.string(),
  features: z.array(z.string()),
  threads: count,
  cpu_us_per_request: unknownable.describe(
    'in the latency phase with the time that it polls instead of sleeping (spin_us)',
  ),
  cpu_user_us_per_request: unknownable,
  cpu_system_us_per_request: unknownable,
  context_switches_per_request: unknownable,
  busy_fraction: unknownable.describe('largest of the engines: wall time outside the wait call / window'),
  run_delay_fraction: unknownable.describe('largest of the engines: runnable but not running / window'),
  throttled_fraction: unknownable,
  saturated: z.boolean().nullable(),
  saturated_by: z.enum(['busy', 'run_delay', 'throttled']).nullable(),
  stopped_ns: unknownable
    .optional()
    .describe('largest of the engines: time in which the system did not let it run at all (SIGSTOP, a paused machine)'),
  stopped_longest_ns: unknownable.optional().describe('the longest single stop'),
  started_late_ns: unknownable
    .optional()
    .describe(
      'largest of the engines: how much later than planned it began the window; its rates are of the time left',
    ),
  send_lag_ns: distributionSchema.nullable().describe('intended to actual send; null in closed loop'),
  resident_bytes: unknownable,
  memory_bytes: unknownable.describe('allocated by the engines for connections, buffers and rings'),
});

export const fairnessSchema = z.object({
  connections: count,
  jain_index: z.number().min(0).max(1).nullable().describe('(sum x)^2 / (n sum x^2), x = requests of one connection'),
  starved: count.describe('connections with no request in the window'),
  min_requests: unknownable,
  max_requests: unknownable,
  slowest_connection: unknownable.describe('index of the connection with the fewest requests'),
});

export const systemSchema = z.object({
  cpu_steal_fraction: unknownable,
  cpu_others_fraction: unknownable.describe('CPU time used by neither side / CPU time of the machine'),
  cpu_network_threads_fraction: unknownable
    .optional()
    .describe("of the kernel's threads for packets (ksoftirqd), in no side's CPU time / CPU time of the machine"),
  listen_overflows: unknownable,
  listen_drops: unknownable,
  retransmits: unknownable,
  time_wait_sockets: unknownable,
  tcp_memory_bytes: unknownable,
});

export const errorSampleSchema = z.object({ class: z.string(), connection: count, message: z.string() });

export const errorsSchema = z.object({
  total: count,
  by_class: z.record(z.string(), count),
  samples: z.array(errorSampleSchema),
});

export const timelineBucketSchema = z.object({
  offset_ms: figure,
  requests: count,
  errors: count,
  service_max_ns: unknownable,
  response_max_ns: unknownable,
});

const windowBase = {
  sequence: count.describe('order in which the windows of the whole run were measured'),
  started_at: z.iso.datetime(),
  index: count.describe("the trial's index"),
  phase: phaseSchema,
  connections: connectionsSchema,
  errors: errorsSchema,
};

/** Connections that came and went within a window (--requests-per-connection). */
export const churnSchema = z.object({
  connections_per_second: figure.describe('made again in the window'),
  connect_time_ns: distributionSchema.describe('connect() to connected'),
  first_echo_time_ns: distributionSchema.describe('connect() to the first verified echo'),
  fins_unanswered: count
    .optional()
    .describe(
      'since the start: reset after 1 s without an answer to our FIN (--close fin); later ones are reset at once',
    ),
  fin_wait_fraction: figure
    .optional()
    .describe('share of the time of all active connections in the window in which the client awaited such an answer'),
  requests_held: count
    .optional()
    .describe(
      'open loop: due while the client awaited such an answer; their response time counts from the next connect()',
    ),
});

const processNameSchema = z.object({ pid: count, name: z.string().nullable() });

/** Whose figures the server's are (--mode-command). */
export const serverProcessSchema = z.object({
  listener: z
    .enum(['command', 'outside', 'unseen'])
    .describe(
      "the process that listens is in the command's tree, outside of it (its figures are added), or not to be seen",
    ),
  process: processNameSchema.nullable(),
  cpu_unknown: z.string().nullable().describe('why its CPU time is not known; null: it is'),
});

/** What a server of this machine had reached at the end of a window, where the tool does not choose it (Linux). */
export const serverLimitsSchema = z.object({
  descriptors: z
    .object({ process: processNameSchema, open: count, limit: count.describe('its soft limit') })
    .nullable()
    .describe('of the process that listens; null where it cannot be looked into'),
  waiting: count.describe('connections in its listen queue, which it has not accepted'),
});

/** A window that was measured to its end. */
export const completedWindowSchema = z.object({
  ...windowBase,
  state: z.literal('completed'),
  duration_ms: figure,
  steady: z.boolean().nullable().describe('no trend within the window; null when too short to tell'),
  requests: requestsSchema,
  response_time_ns: distributionSchema.nullable().describe('from the intended send time; null in capacity'),
  service_time_ns: distributionSchema,
  churn: churnSchema.nullable().optional().describe('null or absent where connections stay'),
  server_sample_lag_fraction: unknownable
    .optional()
    .describe("how late the server's figures were read, as a share of the window; too late, and they are null"),
  server: serverCostSchema.nullable().describe('null when the server is not ours to look at'),
  server_process: serverProcessSchema.optional().describe('absent for a server that is one process of the tool'),
  server_limits: serverLimitsSchema.optional().describe('of a command, or of a target on a loopback address'),
  server_left: processNameSchema
    .optional()
    .describe("still listened on the server's port when the trial had ended; nothing that the run had started"),
  client: clientCostSchema,
  fairness: fairnessSchema,
  system: systemSchema,
  timeline: z.array(timelineBucketSchema),
});

/** One that was not: it has no statistics to misread. */
export const brokenWindowSchema = z.object({
  ...windowBase,
  state: z.enum(['failed', 'aborted']),
  reason: z.string(),
  requests: z.null(),
  response_time_ns: z.null(),
  service_time_ns: z.null(),
  server: z.null(),
  client: z.null(),
  timeline: z.array(timelineBucketSchema),
});

export const windowSchema = z.discriminatedUnion('state', [completedWindowSchema, brokenWindowSchema]);

export const maxRateSchema = z.object({
  metric: z.string().describe('e.g. response_time_p99'),
  limit_ns: figure,
  rate_per_second: unknownable.describe(
    'highest offered rate within the limit; null when even the lowest was beyond it',
  ),
  index: count.optional().describe("the trial's index; absent in older reports, where it is the place in the list"),
  ended_early: z.string().optional().describe('why the search ended before its end; absent when it did not'),
  steps: z.array(
    z.object({
      rate_per_second: figure,
      value_ns: unknownable,
      carried: z.boolean(),
      limited_by: z
        .enum(['client_saturated', 'client_behind_schedule', 'client_stopped', 'machine'])
        .nullable()
        .optional()
        .describe('what other than the server held the step back; null: nothing; absent in older reports: not known'),
      client_busy_fraction: unknownable.optional().describe('as in the client cost of a window'),
      client_send_lag_p99_ns: unknownable.optional(),
    }),
  ),
});

export const runSchema = z.object({
  mode: z.string(),
  backend: z.string(),
  clients: count,
  trials: z.array(windowSchema),
  limit: z
    .object({
      limit: z.string().describe('what is in the way: "descriptors of a process"'),
      value: figure.describe('what it is'),
      needed: figure.describe('what this number of clients needs of it'),
      command: z.string().describe('what raises it; empty when nothing can'),
      most: count.describe('clients with which the mode can be run here'),
    })
    .optional()
    .describe('of a sweep: why this mode was not run at this number of clients'),
  max_rate: z.array(maxRateSchema).optional().describe('--find-max-rate: one per trial'),
});

export const comparisonSchema = z.object({
  a: z.string().describe('mode'),
  b: z.string().describe('mode; the first of the plan'),
  clients: count,
  phase: phaseSchema,
  metric: z.string(),
  ratio: unknownable.describe('geometric mean of a / b over paired trials'),
  ci_low: unknownable.describe('95% interval; null with fewer than three pairs'),
  ci_high: unknownable,
  range_low: unknownable.describe('smallest and largest paired ratio'),
  range_high: unknownable,
  pairs: count,
  bound: z
    .enum(['at_least', 'at_most'])
    .nullable()
    .describe('the load generator was the limit: the true ratio is beyond this one'),
  primary: z.boolean().describe('a difference is claimed only on primary metrics'),
  p_value: unknownable
    .optional()
    .describe(
      "of a primary ratio that is judged: how likely it is without a difference beyond the noise floor, before Holm's correction for the " +
        'number of such ratios; null where the ratio is not judged; absent in older reports, which had no correction',
    ),
  verdict_code: z.enum(['higher', 'lower', 'no_difference_shown', 'not_judged']),
  verdict: z.string(),
});

export const severitySchema = z.enum(['info', 'warning', 'invalid']);
export const warningSchema = z.object({
  code: z.string(),
  severity: severitySchema.describe('invalid: figures of this window do not say what they seem to'),
  message: z.string(),
  hint: z.string(),
  mode: z.string().nullable(),
  clients: count.nullable(),
  phase: phaseSchema.nullable(),
  trial: count.nullable(),
  figures: z.record(z.string(), z.number().nullable()),
});

export const gateSchema = z.object({
  expression: z.string(),
  held: z.boolean().nullable().describe('true: the condition to fail on is met; null: undecided, never a pass'),
  value: z.number().nullable(),
  threshold: z.number(),
  unit: z.string(),
  reason: z.string().describe('why undecided, else the figures in words'),
  figures: z.array(z.object({ mode: z.string(), clients: count, value: z.number().nullable() })),
});

export const limitsSchema = z.record(z.string(), z.union([z.number(), z.string(), z.null()]));

export const environmentSchema = z.object({
  system: z.string().describe('"Linux 6.1.0 x86_64", "Windows 10.0.20348"'),
  compatibility: z.string().nullable().describe('"Wine 8.0" where Windows is not real'),
  cpu_model: z.string(),
  cpus_online: count,
  cpus_server: z.array(count).describe('CPUs the server is confined to; all of them when not pinned'),
  cpus_client: z.array(count),
  cpus_shared: z.boolean(),
  memory_total_bytes: figure,
  node_version: z.string(),
  library: z.string().describe('version of the native helper and where it came from: prebuilt, built, environment'),
  clock_source: z.string().nullable(),
  clock_resolution_ns: unknownable,
  cpu_governor: z.string().nullable(),
  cpu_turbo: z.boolean().nullable(),
  virtual_machine: z.string().nullable(),
  limits: limitsSchema,
});

export const planSchema = z.object({
  modes: z.array(z.object({ mode: z.string(), backend: z.string(), command: z.string().nullable() })),
  target: z.string().nullable().describe('host:port of a server that already ran, as the user gave it'),
  target_address: z.string().nullable().optional().describe('numeric address and port that were loaded'),
  target_tried: z
    .array(
      z.object({
        address: z.string(),
        outcome: z.enum(['answered', 'refused', 'unreachable', 'timeout', 'only']),
      }),
    )
    .optional()
    .describe('addresses of a target that is a name, in the order of preference; the first that answered is loaded'),
  ...planShape,
  order: z.array(z.array(z.string())).describe('per trial: the modes in the order they were run'),
  offered_rate_per_second: z
    .record(z.string(), figure)
    .describe('by number of clients: what the latency phase offered'),
  calibration_fraction: unknownable,
  pinned: z.boolean(),
  spin_us: figure
    .optional()
    .describe(
      'open loop: the end of a wait for a due message that the client polls and does not sleep; 0: all is slept',
    ),
});

export const noiseSchema = z.object({
  metric: z.string(),
  clients: count,
  phase: phaseSchema,
  fraction: figure.describe('largest distance from 1 of the interval of a mode against itself'),
});

export const reportSchema = z.object({
  schema: z.literal(schemaName),
  schema_version: z.string().regex(/^1\.\d+\.\d+$/),
  tool: z.object({ name: z.literal('iocp-bench'), version: z.string() }),
  created_at: z.iso.datetime(),
  command_line: z.array(z.string()),
  partial: z.boolean().describe('the run ended before all windows were measured'),
  environment: environmentSchema,
  plan: planSchema,
  runs: z.array(runSchema),
  comparisons: z.array(comparisonSchema),
  warnings: z.array(warningSchema),
  gates: z.array(gateSchema),
  noise: z.array(noiseSchema).describe('noise floor as --aa measured it; empty when it did not'),
  findings: z.array(z.string()).describe('the knee per mode and other conclusions, in words'),
});

export type Report = z.infer<typeof reportSchema>;
export type Run = z.infer<typeof runSchema>;
export type Window = z.infer<typeof windowSchema>;
export type CompletedWindow = z.infer<typeof completedWindowSchema>;
export type BrokenWindow = z.infer<typeof brokenWindowSchema>;
export type Distribution = z.infer<typeof distributionSchema>;
export type PercentileName = z.infer<typeof percentileNameSchema>;
export type Comparison = z.infer<typeof comparisonSchema>;
export type Warning = z.infer<typeof warningSchema>;
export type Gate = z.infer<typeof gateSchema>;
export type Noise = z.infer<typeof noiseSchema>;
export type MaxRate = z.infer<typeof maxRateSchema>;
export type Phase = z.infer<typeof phaseSchema>;
export type Plan = z.infer<typeof planSchema>;
export type Environment = z.infer<typeof environmentSchema>;
export type ServerCost = z.infer<typeof serverCostSchema>;
export type ClientCost = z.infer<typeof clientCostSchema>;
export type Fairness = z.infer<typeof fairnessSchema>;
export type SystemFigures = z.infer<typeof systemSchema>;
export type Connections = z.infer<typeof connectionsSchema>;
export type Errors = z.infer<typeof errorsSchema>;
export type TimelineBucket = z.infer<typeof timelineBucketSchema>;
