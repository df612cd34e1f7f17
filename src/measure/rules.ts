/** The validity rules that look at one window. See validity.ts for severities and for how windows become one warning. */
import type {
  CompletedWindow,
  Environment,
  PercentileName,
  Plan,
  Run,
  Warning,
  Window,
} from '../model/report-schema.js';
import { systemPortsPerAddress } from './sources.js';
import { sampleLagTolerated } from './cost.js';
import { agentRules } from './agent-rules.js';
import { serviceRules } from './service-rules.js';
import { replyRules } from './reply-rules.js';
import { tlsRules } from './tls-rules.js';
import { commandRules, isForeign, serversOwnLimit } from './command-rules.js';
import { endRules } from './end-rules.js';
import { heldBackByFins } from './ends.js';
import { ownCpusHint } from './environment-rules.js';
import { samplesBeyondPercentile } from './histogram.js';
import { answeredShare, carriedShare, lateness, ownLateness, ownLatenessOfAll, type Lateness } from './open-loop.js';
import { limitReached, requirements, type LimitProblem } from './limits.js';
import type { SearchStep } from '../model/search-result.js';
import { answerName } from '../model/exchange.js';
import { bounds, serverDefaults } from '../model/parse.js';
import { duration, grouped, percent } from '../model/words.js';

export interface RuleContext {
  run: Run;
  plan: Plan;
  environment: Environment;
}

export interface Finding {
  severity: Warning['severity'];
  /** Larger is worse. The figures of the worst window are reported. */
  badness: number;
  message: string;
  hint: string;
  figures: Warning['figures'];
}

export interface WindowRule {
  code: string;
  check(window: CompletedWindow, context: RuleContext): Finding | null;
  /**
   * What is found among the requests of all windows of a run and phase. Then it decides whether the run's figures are invalid, and the
   * findings of single windows do not. Undefined: the report does not say, and each window decides.
   */
  checkAll?(windows: readonly CompletedWindow[], context: RuleContext): Finding | null | undefined;
}

/* ------------------------------------------------------------------------------------------------------- client */

/** A stop makes every request in flight that much slower: this one is longer than any percentile can hide. */
const stoppedTolerated = { longestNs: 100e6, fraction: 0.01 };

/** True when the load generator did not run for so long that its figures are not the server's. */
export function clientStopped(window: Window | null): boolean {
  if (window?.state !== 'completed') return false;
  const { stopped_ns: stopped, stopped_longest_ns: longest } = window.client;
  return (
    (longest ?? 0) >= stoppedTolerated.longestNs ||
    (stopped ?? 0) > stoppedTolerated.fraction * window.duration_ms * 1e6
  );
}

const clientStoppedRule: WindowRule = {
  code: 'client_stopped',
  check(window) {
    const { client, duration_ms } = window;
    const stopped = client.stopped_ns ?? 0;
    if (stopped === 0) return null;
    return {
      severity: clientStopped(window) ? 'invalid' : 'warning',
      badness: stopped / (duration_ms * 1e6),
      message: `the load generator did not run for ${duration(stopped)}`,
      hint: 'it was stopped, or its machine was paused or suspended: run it again without interruption',
      figures: {
        stopped_ns: stopped,
        stopped_longest_ns: client.stopped_longest_ns ?? null,
        run_delay_fraction: client.run_delay_fraction,
      },
    };
  },
};

/** A window that is shorter by more than this has fewer samples than the plan asks for. */
const startedLateTolerated = 0.01;

const startedLate: WindowRule = {
  code: 'started_late',
  check({ client, duration_ms }) {
    const late = client.started_late_ns ?? 0;
    if (late <= startedLateTolerated * duration_ms * 1e6) return null;
    return {
      severity: 'warning',
      badness: late / (duration_ms * 1e6),
      message: `a client thread began the window ${duration(late)} late; rates are computed over the time that was left`,
      hint: "it was stopped or got no CPU time: stop other programs on the client's CPUs",
      figures: { started_late_ns: late },
    };
  },
};

const clientSaturated: WindowRule = {
  code: 'client_saturated',
  check(window, context) {
    const { client } = window;
    if (client.saturated !== true) return null;
    return {
      severity: 'invalid',
      badness: client.busy_fraction ?? 1,
      message: `the load generator was the limit, not the server: ${saturationInWords(window)}`,
      hint: saturationHint(window, context),
      figures: {
        busy_fraction: client.busy_fraction,
        run_delay_fraction: client.run_delay_fraction,
        throttled_fraction: client.throttled_fraction,
      },
    };
  },
};

function saturationInWords({ client }: CompletedWindow): string {
  switch (client.saturated_by) {
    case 'throttled':
      return `its CPU quota throttled it for ${percent(client.throttled_fraction ?? 0)} of the window`;
    case 'run_delay':
      return `its threads waited for a CPU for ${percent(client.run_delay_fraction ?? 0)} of the window`;
    case 'busy':
    case null:
      return `a client thread was busy for ${percent(client.busy_fraction ?? 1)} of the window`;
  }
}

function saturationHint({ client, phase }: CompletedWindow, { plan, environment }: RuleContext): string {
  if (client.saturated_by === 'throttled') return 'raise the CPU quota of this container or control group (cpu.max)';
  if (client.saturated_by === 'run_delay') {
    return ownCpusHint({ environment, plan }) ?? "stop other programs on the client's CPUs";
  }
  if (phase === 'latency') {
    return plan.rate_per_second === null
      ? 'offer less than the calibration found: --rate'
      : `offer less than --rate ${plan.rate_per_second}/s`;
  }
  if (plan.threads < environment.cpus_client.length)
    return `give the client more threads: --threads ${environment.cpus_client.length}`;
  return 'compare server CPU per request, which stays right, or run the client on a machine with more CPUs (--target)';
}

/** What other than the server may have kept a window within a search from its limit; null: nothing. */
export function heldBackBy(window: CompletedWindow, plan: Pick<Plan, 'pipeline'>): SearchStep['limited_by'] {
  if (clientStopped(window)) return 'client_stopped';
  if (window.client.saturated === true) return 'client_saturated';
  if (heldBackByFins(window)) return 'client_behind_schedule';
  const { cpu_steal_fraction: stolen, cpu_others_fraction: taken } = window.system;
  if ((stolen ?? 0) > stolenTolerated.invalid || (taken ?? 0) > takenTolerated.invalid) return 'machine';
  // Where a short window has too few samples for the p99, the search goes by the maximum, and so does this.
  const percentile = window.response_time_ns?.missing.p99 === 'too_few_samples' ? 'max' : 'p99';
  return ownLateness(window, plan, percentile) === null ? null : 'client_behind_schedule';
}

/** A connection never has more messages in flight than it has requests left. */
function morePlaces({ pipeline, requests_per_connection: requests }: Plan): string {
  return requests !== null && requests <= pipeline ? 'raise --clients' : 'raise --pipeline';
}

const behindSchedule: WindowRule = {
  code: 'behind_schedule',
  check(window, { plan }) {
    const own = ownLateness(window, plan);
    if (own !== null) return sentBehindSchedule(own, window.requests.sent_late, plan);
    const late = lateness(window);
    if (late === null) return null;
    return {
      // Users who come at random sometimes come while their last request is not answered yet: that is what was asked for.
      severity: plan.arrivals === 'poisson' ? 'info' : 'warning',
      badness: late.lag / late.response,
      message: `messages waited in the client for a free slot on their connection: ${lateInWords(late)}`,
      hint: `response times include this wait, as users would see it; to avoid it, ${morePlaces(plan)} or lower --rate`,
      figures: lateFigures(late, window.requests.sent_late),
    };
  },
  checkAll(windows, { plan }) {
    const own = ownLatenessOfAll(windows);
    const sentLate = windows.reduce((sum, { requests }) => sum + requests.sent_late, 0);
    return own ? sentBehindSchedule(own, sentLate, plan) : own;
  },
};

function lateInWords({ lag, response }: Lateness): string {
  return `${duration(lag)} late at p99, of a response time of ${duration(response)}`;
}

function lateFigures({ lag, response }: Lateness, sentLate: number): Finding['figures'] {
  return { send_lag_p99_ns: lag, response_time_p99_ns: response, sent_late: sentLate };
}

function offerLess({ rate_per_second: rate }: Plan): string {
  return rate === null ? 'offer less with --rate' : `offer less than --rate ${rate}/s`;
}

function sentBehindSchedule(own: Lateness, sentLate: number, plan: Plan): Finding {
  return {
    severity: 'invalid',
    badness: own.lag / own.response,
    message: `the client sent behind its schedule: ${lateInWords(own)}`,
    hint: `${offerLess(plan)}, give the client more --threads, or stop other programs`,
    figures: { ...lateFigures(own, sentLate), own_lag_p99_ns: own.lag },
  };
}

const rateNotCarried: WindowRule = {
  code: 'rate_not_carried',
  check(window, { plan }) {
    const { requests, phase } = window;
    const offered = requests.offered_per_second ?? null;
    // Load that the client held back says nothing about the server, and has its own rule.
    if (phase !== 'latency' || offered === null || offered <= 0 || heldBackByFins(window)) return null;
    const carried = answeredShare(window, plan) ?? 1;
    if (carried >= carriedShare) return null;
    return {
      severity: 'warning',
      badness: 1 - carried,
      message: `only ${percent(carried)} of the offered ${grouped(offered)} requests/s were answered`,
      hint: offerLess(plan),
      figures: { offered_per_second: offered, per_second: requests.per_second },
    };
  },
};

const requestsFailed: WindowRule = {
  code: 'requests_failed',
  check({ requests, errors }, { plan }) {
    if (requests.failed === 0) return null;
    const share = requests.failed / (requests.failed + requests.count);
    const timeouts = errors.by_class['timeout'] ?? 0;
    return {
      severity: 'warning',
      badness: share,
      message: `${grouped(requests.failed)} requests (${percent(share)}) got no correct ${answerName(plan.protocol)}; percentiles rank them above every measured time`,
      hint:
        timeouts > 0
          ? `wait longer than --timeout ${plan.timeout_ms / 1000}s, or offer less`
          : 'see the errors by class',
      figures: { failed: requests.failed, count: requests.count, timeouts },
    };
  },
};

/* -------------------------------------------------------------------------------------------------- connections */

const connectionsMissing: WindowRule = {
  code: 'connections_missing',
  check(window, context) {
    const { asked, made } = window.connections;
    if (made >= asked) return null;
    const refused = Math.max(window.errors.by_class['refused_by_server'] ?? 0, window.server?.refused ?? 0);
    const starved = starvedByPool(window, context);
    if (starved !== null) return starved;
    // Connections that the model cannot serve are a result. Connections that the client could not make are a fault of the measurement.
    const isModelsLimit = refused >= asked - made;
    const limit = isModelsLimit ? limitOfThreads(window, context) : null;
    const named = limit === null ? '' : `: ${limit.limit} is ${grouped(limit.value)}`;
    return {
      severity: isModelsLimit ? 'warning' : 'invalid',
      badness: asked - made,
      message:
        `${grouped(made)} of ${grouped(asked)} connections were made` +
        (isModelsLimit
          ? `; the server refused the others, which is the limit of its model on this machine${named}`
          : ''),
      hint: limit === null ? missingHint(window, context, isModelsLimit) : `to go further: ${limit.command}`,
      figures: { asked, made, refused_by_server: refused, limit: limit?.value ?? null },
    };
  },
};

/** A pool that has fewer threads than there are connections: what it does not answer is its model's limit, and a result. */
function starvedByPool({ connections, errors, server }: CompletedWindow, { plan, run }: RuleContext): Finding | null {
  const { asked, made } = connections;
  const threads = plan.pool_threads ?? serverDefaults.poolThreads;
  const unanswered = errors.by_class['timeout'] ?? 0;
  if (run.backend !== 'pool' || asked <= threads || unanswered === 0 || made < threads) return null;
  return {
    severity: 'warning',
    badness: asked - made,
    message:
      `the pool served ${grouped(made)} of ${grouped(asked)} connections: each of its ${grouped(threads)} threads stays with one connection, ` +
      'even while it is idle, and the other connections waited in the queue. That is the limit of this model',
    hint:
      (asked <= bounds.poolThreads.max ? `to go further: --pool-threads ${asked}, or` : 'to go further:') +
      ' connections that end (--requests-per-connection)',
    figures: { asked, made, pool_threads: threads, queued: server?.connections_queued ?? null, unanswered },
  };
}

/** The limit of the system that the threads of a blocking server reached; null where no known limit explains it. */
function limitOfThreads(
  { connections }: CompletedWindow,
  { plan, run, environment }: RuleContext,
): LimitProblem | null {
  const limitCalled = (name: string): number | null => {
    const value = environment.limits[name];
    return typeof value === 'number' ? value : null;
  };
  const need = requirements({
    connections: connections.asked,
    active: connections.asked,
    mode: run.mode,
    backend: run.backend,
    engine: plan.engine,
    host: plan.host,
    stack_size_bytes: plan.stack_size_bytes,
    pool_threads: plan.pool_threads ?? serverDefaults.poolThreads,
    trials: plan.trials,
    close: plan.close,
  });
  const limits = {
    pid_max: limitCalled('pid_max'),
    threads_system_max: limitCalled('threads_system_max'),
    map_count_max: limitCalled('map_count_max'),
    processes_user_max: limitCalled('processes_user_max'),
    cgroup_pids_max: limitCalled('cgroup_pids_max'),
  };
  // Whether the superuser is bound is already decided: what does not bind is null in the environment.
  return limitReached(limits, need, connections.made, { root: false });
}

function missingHint(window: CompletedWindow, { plan, run }: RuleContext, isModelsLimit: boolean): string {
  const { errors } = window;
  const ownLimit = serversOwnLimit(window);
  if (ownLimit !== null) return ownLimit;
  if (isModelsLimit) {
    if (run.backend === 'process')
      return 'a process could not be started, and no known limit explains it: check memory and the control groups above this one';
    if (run.backend === 'blocking')
      return 'a thread could not be started, and no known limit explains it: check memory (lower --stack-size) and the control groups above this one';
    return isForeign(run.backend)
      ? 'see the log of the server'
      : 'see the errors of the server in the report, and `iocp-bench doctor`';
  }
  if ((errors.by_class['descriptors'] ?? 0) > 0) return 'raise the descriptor limit: see `iocp-bench doctor`';
  if ((errors.by_class['ports'] ?? 0) > 0) return 'the ports ran out: see `iocp-bench doctor`';
  if ((errors.by_class['timeout'] ?? 0) > 0) {
    return plan.connect_rate_per_second === null
      ? 'connect more slowly (--connect-rate), or wait longer (--timeout)'
      : 'lower --connect-rate, or wait longer (--timeout)';
  }
  return 'see the errors by class';
}

const backlogOverflow: WindowRule = {
  code: 'backlog_overflow',
  check({ system, server }, { plan, run }) {
    const overflows = Math.max(system.listen_overflows ?? 0, system.listen_drops ?? 0);
    if (overflows === 0) return null;
    const backlog = server?.backlog ?? null;
    return {
      severity: 'warning',
      badness: overflows,
      message: `a listen queue of this machine overflowed ${grouped(overflows)} times, which made connecting slower`,
      hint: isForeign(run.backend)
        ? 'raise the backlog that the server passes to listen() (at most net.core.somaxconn), or connect more slowly (--connect-rate)'
        : backlog !== null && backlog < plan.backlog
          ? `the system reduced --backlog ${plan.backlog} to ${backlog}: sysctl -w net.core.somaxconn=${plan.backlog}`
          : `raise --backlog above ${plan.backlog}, or connect more slowly (--connect-rate)`,
      figures: { listen_overflows: system.listen_overflows, listen_drops: system.listen_drops, backlog },
    };
  },
};

/** From here on a free port is hard to find, and connect() takes long to find it. */
const portsNearExhaustionFraction = 0.8;

const portsNearExhaustion: WindowRule = {
  code: 'ports_near_exhaustion',
  check({ system, connections, errors }, { plan, environment }) {
    const first = environment.limits['port_first'];
    const last = environment.limits['port_last'];
    if (typeof first !== 'number' || typeof last !== 'number' || last < first) return null;
    const rangeOfAddress = last - first + 1;
    const timeWait = system.time_wait_sockets ?? 0;
    const exhausted = (errors.by_class['ports'] ?? 0) > 0;
    // On loopback the sources rotate over many addresses, each with its own range, so only TIME_WAIT accumulates. Where the system
    // has no port to find, that is in nobody's way.
    const rotates = plan.host.startsWith('127.');
    const perAddress = systemPortsPerAddress(connections.asked, { first, last });
    const free = rotates && perAddress === 0;
    const addresses = rotates && !free ? Math.ceil(connections.asked / perAddress) : 1;
    const range = rangeOfAddress * addresses;
    const used = free ? 0 : timeWait + (rotates ? 0 : connections.made);
    if (!exhausted && used <= portsNearExhaustionFraction * range) return null;
    return {
      severity: 'warning',
      badness: used / range,
      message: exhausted
        ? `connections failed because no port was free (${grouped(range)} in the range, ${grouped(timeWait)} in TIME_WAIT)`
        : `${grouped(used)} of ${grouped(range)} ports are in use or in TIME_WAIT`,
      hint:
        plan.close === 'fin' && timeWait > 0
          ? 'use --close reset, which leaves no TIME_WAIT'
          : 'widen the range of ephemeral ports: see `iocp-bench doctor`',
      figures: { ports: range, time_wait_sockets: system.time_wait_sockets, connections: connections.made },
    };
  },
};

/* ------------------------------------------------------------------------------------------------------ machine */

/** Shares of the machine's CPU time: above the first the figures are noisier, above the second they are another machine's. */
const stolenTolerated = { warning: 0.01, invalid: 0.05 };
const takenTolerated = { warning: 0.05, invalid: 0.2 };

function shareFinding(
  share: number | null,
  tolerated: { warning: number; invalid: number },
  words: { message: string; hint: string; figure: string },
): Finding | null {
  if (share === null || share <= tolerated.warning) return null;
  return {
    severity: share > tolerated.invalid ? 'invalid' : 'warning',
    badness: share,
    message: `${words.message} ${percent(share)} of the machine's CPU time`,
    hint: words.hint,
    figures: { [words.figure]: share },
  };
}

const cpuStolen: WindowRule = {
  code: 'cpu_stolen',
  check: ({ system }) =>
    shareFinding(system.cpu_steal_fraction, stolenTolerated, {
      message: 'the hypervisor took',
      hint: 'run on a machine that is not shared, or run more trials and look at the interval',
      figure: 'cpu_steal_fraction',
    }),
};

const cpuTakenByOthers: WindowRule = {
  code: 'cpu_taken_by_others',
  check: ({ system }) =>
    shareFinding(system.cpu_others_fraction, takenTolerated, {
      message: 'other programs took',
      hint: 'stop other programs on this machine',
      figure: 'cpu_others_fraction',
    }),
};

/** On two CPUs, with one for each side, 5% of the machine is 10% of a side: as much as people compare models by. */
const networkThreadsTolerated = { warning: 0.05, invalid: Infinity };

const cpuInNetworkThreads: WindowRule = {
  code: 'cpu_in_network_threads',
  check: ({ system }) =>
    shareFinding(system.cpu_network_threads_fraction ?? null, networkThreadsTolerated, {
      message: "the kernel's network threads (ksoftirqd) took",
      hint: "neither side's CPU per request includes this work",
      figure: 'cpu_network_threads_fraction',
    }),
};

/* ------------------------------------------------------------------------------------------------------ samples */

const percentileShares: readonly (readonly [PercentileName, string, number])[] = [
  ['p50', 'p50', 0.5],
  ['p90', 'p90', 0.1],
  ['p99', 'p99', 0.01],
  ['p99_9', 'p99.9', 0.001],
];

const tooFewSamples: WindowRule = {
  code: 'too_few_samples',
  check(window, { plan }) {
    const shown = window.response_time_ns ?? window.service_time_ns;
    const lowest = percentileShares.find(([name]) => shown.missing[name] === 'too_few_samples');
    const highest = percentileShares.findLast(([name]) => shown.missing[name] === 'too_few_samples');
    if (lowest === undefined || highest === undefined) return null;
    const needed = samplesBeyondPercentile / highest[2];
    const total = window.requests.count + window.requests.failed;
    const seconds = total > 0 ? Math.ceil(((plan.duration_ms / 1000) * needed * 1.1) / total) : null;
    return {
      // A missing p99.9 is common in short runs and said by its empty cell; the others are what people came for.
      severity: lowest[0] === 'p99_9' ? 'info' : 'warning',
      badness: 1 / (1 + total),
      message: `${grouped(total)} requests are too few for ${lowest[1]}${lowest === highest ? '' : ` to ${highest[1]}`}: ${grouped(needed)} are needed`,
      hint: seconds === null ? 'no request was answered' : `--duration ${seconds}s would be enough`,
      figures: { requests: total, requests_needed: needed },
    };
  },
};

const notSteady: WindowRule = {
  code: 'not_steady',
  check(window, { plan }) {
    if (window.steady !== false) return null;
    return {
      severity: 'warning',
      badness: 1,
      message: 'the request rate rose or fell by more than 5% over the window',
      hint: `warm up longer than --warmup ${plan.warmup_ms / 1000}s, or measure longer than --duration ${plan.duration_ms / 1000}s`,
      figures: { warmup_ms: plan.warmup_ms, duration_ms: plan.duration_ms },
    };
  },
};

const serverSampledLate: WindowRule = {
  code: 'server_sampled_late',
  check({ server_sample_lag_fraction: lag, server }, { plan, environment }) {
    if (lag === undefined || lag === null || lag <= sampleLagTolerated || server !== null) return null;
    const own = ownCpusHint({ environment, plan });
    return {
      severity: 'warning',
      badness: lag,
      message: `the server's figures were read ${percent(lag)} of the window too late because no CPU was free; they are not shown`,
      hint: own === null ? 'measure longer with --duration' : `${own}; or measure longer with --duration`,
      figures: { server_sample_lag_fraction: lag },
    };
  },
};

const instructionsUnknown: WindowRule = {
  code: 'instructions_unknown',
  check({ server, client }, { plan, environment, run }) {
    if (plan.count_instructions !== true || (environment.instructions?.scope ?? null) === null) return null;
    const sides = [
      ...(server !== null && !isForeign(run.backend) && (server.instructions_per_request ?? null) === null
        ? ['server']
        : []),
      ...((client.instructions_per_request ?? null) === null ? ['client'] : []),
    ];
    if (sides.length === 0) return null;
    return {
      severity: 'warning',
      badness: sides.length,
      message: `the instructions of the ${sides.join(' and the ')} are not known: the CPU's counters counted something else for a part of the window`,
      hint: "end other profilers; the kernel's own watchdog uses a counter too: 'sudo sysctl -w kernel.nmi_watchdog=0'",
      figures: {},
    };
  },
};

export const windowRules: readonly WindowRule[] = [
  clientStoppedRule,
  startedLate,
  clientSaturated,
  behindSchedule,
  rateNotCarried,
  requestsFailed,
  ...endRules,
  ...replyRules,
  ...tlsRules,
  connectionsMissing,
  backlogOverflow,
  serverSampledLate,
  instructionsUnknown,
  ...commandRules,
  ...agentRules,
  ...serviceRules,
  portsNearExhaustion,
  cpuStolen,
  cpuTakenByOthers,
  cpuInNetworkThreads,
  tooFewSamples,
  notSteady,
];
