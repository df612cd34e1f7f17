/**
 * The report: one JSON object, and the only input of tables, exports, gates and comparisons. Names end in their unit and do not
 * change within a major version of the schema. Unknown figures are null, never 0. `npm run schema` makes the JSON Schema in
 * fixtures/ from this file.
 */
import { z } from 'zod';
import { executionScopes } from './figures.js';
import { planShape } from './options.js';
import { tlsPlanSchema } from './tls.js';

export const schemaName = 'iocp-bench/report';
/** Minor: fields were added. Major: a reader of the old version would misread the new one. */
export const schemaVersion = '1.1.0';

const count = z.number().int().nonnegative();
const figure = z.number().nonnegative();
const unknownable = figure.nullable();

export const phaseSchema = z.enum(['capacity', 'latency']);
export const percentileNames = ['p50', 'p90', 'p99', 'p99_9'] as const;
export const percentileNameSchema = z.enum(percentileNames);

/** Why a percentile is null: it is among requests without an echo, or it has fewer than 10 samples beyond it. */
export const missingReasonSchema = z.enum(['timeout', 'too_few_samples']);

/** The ends are null where no recorded value is one: too few samples, or requests without an echo. */
export const percentileIntervalSchema = z.object({ low: unknownable, high: unknownable });

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
    .describe('why a percentile or the maximum is null'),
  intervals: z
    .partialRecord(percentileNameSchema, percentileIntervalSchema)
    .optional()
    .describe(
      "95% intervals of the known percentiles, by order statistics, widened by the histogram's resolution; they hold for independent " +
        'requests and are too narrow where slow requests come together',
    ),
  histogram: z.string().nullable().describe('HdrHistogram V2, compressed, base64; null when nothing was recorded'),
});

/** TLS handshakes of some connections. */
export const handshakesSchema = z.object({
  count: count.describe('complete handshakes'),
  resumed: count.describe('how many of these resumed an earlier session'),
  per_second: unknownable,
  time_ns: distributionSchema.nullable().describe('from connected to the end of the handshake'),
});

export const connectionsSchema = z.object({
  asked: count,
  made: count.describe('those whose first echo was verified'),
  failed: count,
  lost: count.describe('made, then closed, but not by the client'),
  closed_idle: z
    .object({
      count,
      active: count.describe('how many of these were active connections between two requests'),
      after_min_ns: figure.describe('shortest time without traffic'),
      after_max_ns: figure,
    })
    .optional()
    .describe('lost connections that the server closed while idle; absent if there were none'),
  closed_after_echoes: z
    .object({ count, min: count.describe('echoes on one connection'), max: count })
    .optional()
    .describe(
      'lost connections that the server closed after an echo, without the idle ones; absent if there were none',
    ),
  alive_at_end: count
    .nullable()
    .optional()
    .describe('if some connections only idled: how many of all answered once more after the last window of the trial'),
  connect_duration_ms: unknownable.describe('from the first connect() to the last verified first echo'),
  connect_rate_per_second: unknownable,
  connect_time_ns: distributionSchema.nullable().describe('from connect() to connected'),
  tls: handshakesSchema
    .optional()
    .describe('TLS: handshakes of the connections until all were made; absent without TLS'),
  first_echo_time_ns: distributionSchema.nullable().describe('from connect() to the first verified echo'),
});

export const requestsSchema = z.object({
  count: count.describe('intended in the window, with a complete verified echo'),
  per_second: figure,
  offered_per_second: figure.nullable().optional().describe('open loop: what the timetable offered'),
  offered: count.describe('open loop: due in the window; closed loop: sent in it'),
  failed: count.describe('intended in the window, without a correct echo'),
  unsent: count.describe('how many of the failed were never sent'),
  sent_late: count.describe('sent more than 1 ms after the intended time'),
  waited: count.optional().describe('open loop: sent later than due because their connection was busy'),
  bytes_per_second: figure.describe('payload, one way'),
  reconnects: count.optional().describe('churn: reconnections in the window'),
});

/** Of server and client with --count-instructions; null where the CPU's counters cannot be used, and without the option. */
const executionShape = {
  instructions_per_request: unknownable.optional(),
  cycles_per_request: unknownable.optional(),
  instructions_scope: z
    .enum(executionScopes)
    .nullable()
    .optional()
    .describe('whose instructions and cycles: "user" leaves out the kernel, which the system did not let us count'),
};

export const serverCostSchema = z.object({
  cpu_us_per_request: unknownable,
  cpu_user_us_per_request: unknownable,
  cpu_system_us_per_request: unknownable,
  cpu_fraction: unknownable.describe('CPU time used / wall time of the window; 1 = one CPU'),
  context_switches_per_request: unknownable,
  voluntary_switches_per_request: unknownable,
  involuntary_switches_per_request: unknownable,
  run_delay_us_per_request: unknownable
    .optional()
    .describe(
      'time in which its threads were ready to run without a CPU (Linux: schedstat); null if a thread ended meanwhile, with over 10,000 threads, and for commands, targets and mode process',
    ),
  system_calls_per_request: unknownable
    .optional()
    .describe('counted where the built-in servers make them; null for node, commands and targets'),
  operations_per_request: unknownable
    .optional()
    .describe('io_uring and iocp: operations handed to the kernel, several per system call with io_uring'),
  ...executionShape,
  threads_max: unknownable.describe('threads of the process'),
  threads_idle: unknownable.describe('threads of the process before the first connection'),
  resident_bytes: unknownable,
  resident_bytes_idle: unknownable,
  resident_bytes_per_connection: unknownable.describe('(under load - idle) / connections made'),
  page_table_bytes_per_connection: unknownable,
  kernel_bytes_per_connection: unknownable.describe(
    'socket buffers, slab and kernel stacks of the whole system, so of both ends; null if memory changed while idle',
  ),
  nonpaged_pool_bytes_per_connection: unknownable.describe('Windows; without thread stacks'),
  requests_counted: unknownable.describe(
    'requests between the two samples, counted by the server (bytes received / message size)',
  ),
  accepted: unknownable,
  refused: unknownable.describe('closed at once because the I/O model could not hold them'),
  workers: unknownable,
  connections_queued: unknownable
    .optional()
    .describe(
      'pool: connections that were accepted but still waited for a thread at the end of the window; null for other models',
    ),
  worker_connections_min: unknownable,
  worker_connections_max: unknownable,
  backlog: unknownable.describe('the value that the OS used'),
  receives_paused: unknownable,
  errors: z.record(z.string(), count),
  features: z.array(z.string()),
  service: z
    .object({
      served: unknownable.describe('requests whose work and wait were done in the window, by the message size'),
      dropped: unknownable.describe(
        'whole requests that got no reply since the start, because their connection was lost',
      ),
      work_us_per_request: unknownable.describe('CPU time that the measured requests of the window burnt, per request'),
      work_measured: unknownable.describe('how many requests of the window were measured'),
      work_spread: unknownable.describe('how far repeated calibrations of the work differed, as a share'),
      wait_ms_per_request: unknownable.describe('how long the waits of the window really took, per request'),
    })
    .optional()
    .describe('what the server did for its requests (--work, --wait), by its own counters; absent if it only echoed'),
});

export const clientCostSchema = z.object({
  engine: z.string(),
  features: z.array(z.string()),
  threads: count,
  cpu_us_per_request: unknownable.describe(
    'in the latency phase, includes the time spent polling instead of sleeping (spin_us)',
  ),
  cpu_user_us_per_request: unknownable,
  cpu_system_us_per_request: unknownable,
  context_switches_per_request: unknownable,
  system_calls_per_request: unknownable.optional().describe("of the engines' threads"),
  operations_per_request: unknownable.optional().describe('io_uring and iocp: operations handed to the kernel'),
  ...executionShape,
  busy_fraction: unknownable.describe('highest of the engines: wall time outside the wait call / window'),
  run_delay_fraction: unknownable.describe('highest of the engines: time runnable but not running / window'),
  throttled_fraction: unknownable,
  saturated: z.boolean().nullable(),
  saturated_by: z.enum(['busy', 'run_delay', 'throttled']).nullable(),
  stopped_ns: unknownable
    .optional()
    .describe('highest of the engines: time in which the system did not run it at all (SIGSTOP, a paused machine)'),
  stopped_longest_ns: unknownable.optional().describe('the longest single stop'),
  started_late_ns: unknownable
    .optional()
    .describe(
      'highest of the engines: how much later than planned it began the window; its rates cover the remaining time',
    ),
  send_lag_ns: distributionSchema.nullable().describe('from the intended to the actual send time; null in closed loop'),
  own_lag_ns: distributionSchema
    .nullable()
    .optional()
    .describe(
      "the part of the send lag that is the client's own: until it found the message due, without the wait for a free slot on a busy connection",
    ),
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
  cpu_others_fraction: unknownable.describe('CPU time that neither side used / CPU time of the machine'),
  cpu_network_threads_fraction: unknownable
    .optional()
    .describe(
      "CPU time of the kernel's packet threads (ksoftirqd), which neither side's CPU time includes / CPU time of the machine",
    ),
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

export const timePercentilesSchema = z.object({
  start_ms: figure,
  end_ms: figure,
  requests: count.describe('answered in this part'),
  p50_ns: unknownable,
  p99_ns: unknownable.describe('null if too few requests were answered'),
});

const windowBase = {
  sequence: count.describe('position in the order in which all windows of the run were measured'),
  started_at: z.iso.datetime(),
  index: count.describe("the trial's index"),
  phase: phaseSchema,
  connections: connectionsSchema,
  errors: errorsSchema,
};

/** Connections that were closed and made again within a window (--requests-per-connection). */
export const churnSchema = z.object({
  connections_per_second: figure.describe('reconnections in the window'),
  connect_time_ns: distributionSchema.describe('from connect() to connected'),
  tls: handshakesSchema.optional().describe('handshakes in the window; absent without TLS'),
  first_echo_time_ns: distributionSchema.describe('from connect() to the first verified echo'),
  fins_unanswered: count
    .optional()
    .describe(
      "since the start: connections that were reset because the server did not answer the client's FIN within 1 s (--close fin); later ones are reset at once",
    ),
  fin_wait_fraction: figure
    .optional()
    .describe('share of the window, over all active connections, in which the client waited for such an answer'),
  requests_held: count
    .optional()
    .describe(
      'open loop: requests that were due while the client waited for such an answer; their response time starts at the next connect()',
    ),
});

const processNameSchema = z.object({ pid: count, name: z.string().nullable() });

/** The processes that the server's figures come from (--mode-command). */
export const serverProcessSchema = z.object({
  listener: z
    .enum(['command', 'outside', 'unseen'])
    .describe(
      "where the listening process is: in the command's process tree, outside it (its figures are added), or not visible",
    ),
  process: processNameSchema.nullable(),
  cpu_unknown: z.string().nullable().describe('why its CPU time is not known; null if it is known'),
});

/** How close a foreign server on this machine was to its limits at the end of a window (Linux). */
export const serverLimitsSchema = z.object({
  descriptors: z
    .object({ process: processNameSchema, open: count, limit: count.describe('its soft limit') })
    .nullable()
    .describe('of the listening process; null if they cannot be read'),
  waiting: count.describe('connections in its listen queue that it has not accepted'),
});

/** What the system knows about the client's connections after the last echo of a window. */
export const networkSchema = z.object({
  connections: count.describe(
    'active connections that it described: at most 1,000 of each client thread, spread evenly',
  ),
  rtt_p50_ns: unknownable.describe(
    "of the kernel's smoothed round trip times of these connections; as every percentile, null if fewer than 10 are beyond it",
  ),
  rtt_p99_ns: unknownable,
  rtt_max_ns: figure,
  retransmits: count.describe('TCP segments that these connections sent again since they were made'),
});

/** What one agent contributed to a window (--clients-on). */
export const agentFiguresSchema = z.object({
  name: z.string(),
  cpus: count.describe('CPUs that its load may use'),
  share: figure.describe('of all connections'),
  connections: z.object({ asked: count, made: count }),
  requests: z.object({ count, failed: count, per_second: figure }),
  service_time_ns: distributionSchema,
  response_time_ns: distributionSchema.nullable().describe('null in the capacity phase'),
  send_lag_p99_ns: unknownable,
  cpu_us_per_request: unknownable,
  busy_fraction: unknownable.describe('as for the client of a window'),
  saturated: z.boolean().nullable(),
  retransmits: unknownable
    .optional()
    .describe('TCP segments that its whole system sent again in the window; null if the system does not say'),
  network: networkSchema.nullable().optional().describe('as for a window'),
  clock_offset_ns: z.number().describe("its clock minus the conductor's, measured before the trial"),
  clock_uncertainty_ns: figure.describe('the offset is right within this'),
  start_skew_ns: z
    .number()
    .nullable()
    .describe(
      "when the last of its client threads first ran in the window, compared with the first agent; by its clock's offset after the window",
    ),
  start_lag_ns: unknownable
    .optional()
    .describe(
      "of start_skew_ns, what that thread came later than the start of the agent's own window: it waited for a CPU",
    ),
});

/** Replies of an HTTP server since the trial began. */
export const repliesSchema = z.object({
  first: z
    .object({
      status: count,
      body_bytes: count,
      body_hash: z.string().describe('64 bits in hex; the same for the same body'),
    })
    .nullable()
    .describe('the first whole reply; null if none came'),
  differing: count.describe('whole replies with another body than the first one'),
  connections_ended: count.describe(
    'connections that the server ended with a reply, as HTTP allows (Connection: close, HTTP/1.0, no length); they were made again',
  ),
});

/** A window that was measured completely. */
export const completedWindowSchema = z.object({
  ...windowBase,
  state: z.literal('completed'),
  duration_ms: figure,
  steady: z
    .boolean()
    .nullable()
    .describe('true if there is no trend within the window; null if it is too short to tell'),
  requests: requestsSchema,
  response_time_ns: distributionSchema.nullable().describe('from the intended send time; null in the capacity phase'),
  service_time_ns: distributionSchema,
  churn: churnSchema.nullable().optional().describe('null or absent if connections stay open'),
  replies: repliesSchema.optional().describe('http: absent for other protocols'),
  server_sample_lag_fraction: unknownable
    .optional()
    .describe(
      "how late the server's figures were read, as a share of the window; the figures are null if that was too late",
    ),
  server: serverCostSchema.nullable().describe('null if the server process cannot be observed'),
  server_process: serverProcessSchema.optional().describe('absent for the built-in servers'),
  server_limits: serverLimitsSchema.optional().describe('for a command, or a target on a loopback address'),
  server_left: processNameSchema
    .optional()
    .describe("process that still listened on the server's port after the trial and that the run had not started"),
  client: clientCostSchema,
  agents: z
    .array(agentFiguresSchema)
    .optional()
    .describe('--clients-on: what each agent contributed; absent for local load'),
  fairness: fairnessSchema,
  network: networkSchema
    .nullable()
    .optional()
    .describe("the client's connections, after the last echo; null if its system does not describe them"),
  system: systemSchema,
  timeline: z.array(timelineBucketSchema),
  time_percentiles: z
    .array(timePercentilesSchema)
    .optional()
    .describe(
      'response times (capacity phase: service times) of the requests that were answered in each part of the window, and after it; absent with agents, and if a client thread began late',
    ),
});

/** Further dimensions of a sweep: what a server does for each request, and the offered rate. Part of every run, and of what is said about it. */
const servicePoint = {
  work_us: unknownable
    .optional()
    .describe('CPU time that the server was asked to burn per request; null or absent: none'),
  wait_ms: unknownable.optional().describe('time that the server was asked to wait per request; null or absent: none'),
  rate_per_second: unknownable
    .optional()
    .describe('load curve: the rate that this run offered; absent where there is one rate, and for the capacity phase'),
  rate_fraction: unknownable
    .optional()
    .describe(
      "load curve: the rate as a fraction of the slower mode's calibrated capacity; absent if it was given in requests/s",
    ),
};

/** A window that was not measured completely. It has no statistics that could be misread. */
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

const searchStepSchema = z.object({
  rate_per_second: figure,
  value_ns: unknownable,
  carried: z.boolean(),
  limited_by: z
    .enum(['client_saturated', 'client_behind_schedule', 'client_stopped', 'machine'])
    .nullable()
    .optional()
    .describe('what limited the step instead of the server; null: nothing; absent in older reports: not known'),
  client_busy_fraction: unknownable.optional().describe('as for the client of a window'),
  client_send_lag_p99_ns: unknownable.optional(),
});

export const maxRateSchema = z.object({
  metric: z.string().describe('e.g. response_time_p99'),
  limit_ns: figure,
  rate_per_second: unknownable.describe(
    'highest offered rate within the limit; null if even the lowest rate exceeded it',
  ),
  index: count
    .optional()
    .describe("the trial's index; older reports do not have it, there it is the position in the list"),
  ended_early: z.string().optional().describe('why the search ended early; absent if it did not'),
  steps: z.array(searchStepSchema),
  confirmations: z
    .array(searchStepSchema)
    .optional()
    .describe(
      'windows after the search that confirm its result: the last of them was carried, or none was; absent in older reports, and where the search found no rate',
    ),
});

export const runSchema = z.object({
  mode: z.string(),
  backend: z.string(),
  clients: count,
  ...servicePoint,
  trials: z.array(windowSchema),
  limit: z
    .object({
      limit: z.string().describe('the limit that is too low: "descriptors of a process"'),
      value: figure.describe('its value'),
      needed: figure.describe('how much this number of clients needs'),
      command: z.string().describe('command that raises it; empty if that is impossible'),
      most: count.describe('highest number of clients that the mode can run with here'),
    })
    .optional()
    .describe('in a sweep: why this mode did not run with this number of clients'),
  max_rate: z.array(maxRateSchema).optional().describe('--find-max-rate: one per trial'),
});

export const comparisonSchema = z.object({
  a: z.string().describe('mode'),
  b: z.string().describe('mode; the first of the plan'),
  clients: count,
  ...servicePoint,
  phase: phaseSchema,
  metric: z.string(),
  ratio: unknownable.describe('geometric mean of a / b over paired trials; see pooled'),
  pooled: z
    .boolean()
    .optional()
    .describe(
      'true: the ratio is that of the percentiles among the requests of all trials (p99 and p99.9 where the slow requests are spread over the trials)',
    ),
  ci_low: unknownable.describe('95% confidence interval; null with fewer than three pairs'),
  ci_high: unknownable,
  range_low: unknownable.describe('smallest and largest paired ratio'),
  range_high: unknownable,
  pairs: count,
  bound: z
    .enum(['at_least', 'at_most'])
    .nullable()
    .describe('set if the load generator was the limit: the true ratio is at least, or at most, this one'),
  primary: z.boolean().describe('differences are only claimed for primary metrics'),
  p_value: unknownable
    .optional()
    .describe(
      "for a judged primary ratio: the probability of such a ratio without a difference beyond the noise floor, before Holm's correction for the " +
        'number of such ratios; null if the ratio is not judged; absent in older reports, which had no correction',
    ),
  verdict_code: z.enum(['higher', 'lower', 'no_difference_shown', 'not_judged']),
  verdict: z.string(),
});

export const severitySchema = z.enum(['info', 'warning', 'invalid']);
export const warningSchema = z.object({
  code: z.string(),
  severity: severitySchema.describe('invalid: the figures of this window do not mean what they seem to'),
  message: z.string(),
  hint: z.string(),
  mode: z.string().nullable(),
  clients: count.nullable(),
  ...servicePoint,
  phase: phaseSchema.nullable(),
  trial: count.nullable(),
  figures: z.record(z.string(), z.number().nullable()),
});

export const gateSchema = z.object({
  expression: z.string(),
  held: z
    .boolean()
    .nullable()
    .describe('true: the condition for failure is met; null: undecided, which is never a pass'),
  value: z.number().nullable(),
  threshold: z.number(),
  unit: z.string(),
  reason: z.string().describe('why it is undecided, otherwise the figures in words'),
  figures: z.array(z.object({ mode: z.string(), clients: count, ...servicePoint, value: z.number().nullable() })),
});

export const limitsSchema = z.record(z.string(), z.union([z.number(), z.string(), z.null()]));

export const environmentSchema = z.object({
  system: z.string().describe('"Linux 6.1.0 x86_64", "Windows 10.0.20348"'),
  compatibility: z.string().nullable().describe('"Wine 8.0" if it is not real Windows'),
  cpu_model: z.string(),
  cpus_online: count,
  cpus_server: z.array(count).describe('CPUs that the server is confined to; all if not pinned'),
  cpus_client: z.array(count),
  cpus_shared: z.boolean(),
  memory_total_bytes: figure,
  node_version: z.string(),
  library: z.string().describe('version of the native library and its origin: package or environment'),
  clock_source: z.string().nullable(),
  clock_resolution_ns: unknownable,
  cpu_governor: z.string().nullable(),
  cpu_turbo: z.boolean().nullable(),
  virtual_machine: z.string().nullable(),
  instructions: z
    .object({
      scope: z.enum(executionScopes).nullable().describe('null: none can be counted'),
      reason: z.string().describe('why not; "" if they can'),
      hint: z.string(),
    })
    .optional()
    .describe('whether --count-instructions can count instructions and cycles here'),
  limits: limitsSchema,
});

export const planSchema = z.object({
  modes: z.array(z.object({ mode: z.string(), backend: z.string(), command: z.string().nullable() })),
  target: z.string().nullable().describe('host:port of a running server, as the user gave it'),
  target_address: z.string().nullable().optional().describe('numeric address and port of the server that was loaded'),
  target_tried: z
    .array(
      z.object({
        address: z.string(),
        outcome: z.enum(['answered', 'refused', 'unreachable', 'timeout', 'only']),
      }),
    )
    .optional()
    .describe('addresses of a target given by name, in order of preference; the first that answered is loaded'),
  ...planShape,
  exchange: z
    .object({
      request: z.string().describe('"GET /path", or the bytes of a message'),
      reply: z.string().describe('what a right reply has'),
      fingerprint: z
        .string()
        .describe('the same for the same requests and expected replies, with every header and body'),
    })
    .optional()
    .describe('protocols other than echo: what clients send, and which replies are right'),
  tls: tlsPlanSchema.optional().describe('absent without TLS'),
  order: z.array(z.array(z.string())).describe('per trial: the modes in the order in which they ran'),
  offered_rate_per_second: z
    .record(z.string(), figure)
    .describe('rate offered in the latency phase, by number of clients; with work or wait "1000,work=100us,wait=5ms"'),
  calibration_fraction: unknownable,
  rates: z
    .array(z.object({ per_second: unknownable, fraction: unknownable }))
    .optional()
    .describe("load curve: the rates of every trial, as requests/s or as a fraction of the slower mode's capacity"),
  pinned: z.boolean(),
  spin_us: figure
    .optional()
    .describe(
      'open loop: how long, at the end of a wait for a due message, the client polls instead of sleeping; 0: it only sleeps',
    ),
});

export const precisionSchema = z.object({
  a: z.string().describe('mode'),
  b: z.string().nullable().describe('mode; null: not a ratio but the geometric mean over the trials of the only mode'),
  clients: count,
  ...servicePoint,
  phase: phaseSchema,
  metric: z.string(),
  trials: count.describe('trials, or pairs of them, with the figure'),
  half_width: unknownable.describe(
    'how far the 95% interval reaches from the ratio, as a share of it; null without an interval',
  ),
  reached: z.boolean().describe('true if it is within plan.until'),
});

/** A machine that took part in a run with agents. */
export const machineSchema = z.object({
  name: z.string().describe('of its agent; "here": the machine of the conductor'),
  roles: z.array(z.enum(['server', 'load', 'probe'])),
  weight: figure
    .nullable()
    .optional()
    .describe('its part of the clients, in proportion to the others; null: hosts no load'),
  environment: environmentSchema,
});

export const noiseSchema = z.object({
  metric: z.string(),
  clients: count,
  ...servicePoint,
  phase: phaseSchema,
  fraction: figure.describe('largest distance from 1 of the confidence interval of a mode against itself'),
});

export const reportSchema = z.object({
  schema: z.literal(schemaName),
  schema_version: z.string().regex(/^1\.\d+\.\d+$/),
  tool: z.object({ name: z.literal('iocp-bench'), version: z.string() }),
  created_at: z.iso.datetime(),
  command_line: z.array(z.string()),
  partial: z.boolean().describe('true if the run ended before all windows were measured'),
  environment: environmentSchema,
  machines: z
    .array(machineSchema)
    .optional()
    .describe("runs with agents: every machine; `environment` is then that of the server's. Absent for local runs"),
  plan: planSchema,
  runs: z.array(runSchema),
  comparisons: z.array(comparisonSchema),
  warnings: z.array(warningSchema),
  gates: z.array(gateSchema),
  noise: z.array(noiseSchema).describe('noise floor as measured by --aa; empty without --aa'),
  headline: z
    .string()
    .optional()
    .describe('the answer to the question of the run in one sentence, of valid figures alone; older reports lack it'),
  findings: z.array(z.string()).describe('the knee per mode and other conclusions, in words'),
  precision: z.array(precisionSchema).optional().describe('--until: how precise each primary metric is'),
});

export type Report = z.infer<typeof reportSchema>;
export type Run = z.infer<typeof runSchema>;
export type Window = z.infer<typeof windowSchema>;
export type CompletedWindow = z.infer<typeof completedWindowSchema>;
export type BrokenWindow = z.infer<typeof brokenWindowSchema>;
export type Distribution = z.infer<typeof distributionSchema>;
export type PercentileInterval = z.infer<typeof percentileIntervalSchema>;
export type PercentileName = z.infer<typeof percentileNameSchema>;
export type Comparison = z.infer<typeof comparisonSchema>;
export type Warning = z.infer<typeof warningSchema>;
export type Gate = z.infer<typeof gateSchema>;
export type Precision = z.infer<typeof precisionSchema>;
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
export type AgentFigures = z.infer<typeof agentFiguresSchema>;
export type NetworkFigures = z.infer<typeof networkSchema>;
export type Machine = z.infer<typeof machineSchema>;
export type Errors = z.infer<typeof errorsSchema>;
export type TimelineBucket = z.infer<typeof timelineBucketSchema>;
export type TimePercentiles = z.infer<typeof timePercentilesSchema>;
