/**
 * Warnings in one line each, by cause: which modes, what it means for which figure, and what to do. The long form, with every figure, is in
 * the report and is printed with --explain.
 */
import { listInWords, plural, printable } from '../model/format.js';
import { distinctPoints, pointInWords } from '../model/point.js';
import type { Report, Warning } from '../model/report-schema.js';
import { grouped, percent } from '../model/words.js';

export interface BriefWarning {
  readonly severity: Warning['severity'];
  /** "iocp: the client was the limit, throughput is a lower bound; compare CPU per request". */
  readonly text: string;
}

interface Brief {
  /** What it means for which figure. Gets the warnings of one cause and severity, the worst figure of which counts. */
  readonly means: string;
  /** What to do; empty if there is nothing to do. */
  readonly todo: string;
}

type Rule = (warnings: readonly Warning[], first: Warning) => Brief;

/** The largest of a figure over the warnings. */
function most(warnings: readonly Warning[], figure: string): number | null {
  const known = warnings.flatMap(({ figures }) => figures[figure] ?? []);
  return known.length === 0 ? null : Math.max(...known);
}

function brief(means: string, todo: string): Rule {
  return () => ({ means, todo });
}

function share(who: string, figure: string, todo: string): Rule {
  return (warnings, { severity }) => {
    const taken = most(warnings, figure);
    const size =
      taken === null ? 'CPU time' : `${warnings.length > 1 ? 'up to ' : ''}${percent(taken)} of the CPU time`;
    const effect = severity === 'invalid' ? 'rates and times are not valid' : 'rates and times are noisier';
    return { means: `${who} took ${size}: ${effect}`, todo };
  };
}

/** "900 of 1,000" of the warning in which the most are missing. */
function madeOfAsked(warnings: readonly Warning[]): string {
  const missing = ({ figures }: Warning): number => (figures['asked'] ?? 0) - (figures['made'] ?? 0);
  const [worst] = [...warnings].sort((one, other) => missing(other) - missing(one));
  return `${grouped(worst?.figures['made'] ?? 0)} of ${grouped(worst?.figures['asked'] ?? 0)}`;
}

/** The figures that `trials_disagree` is about are only in its messages. */
function disagreeingTitles(warnings: readonly Warning[]): string {
  const titles = warnings.flatMap(({ message }) => /: the (.+) of the trials differs by/.exec(message)?.[1] ?? []);
  return listInWords([...new Set(titles)].map((title) => title.replace('server ', '')));
}

const rules: Readonly<Record<string, Rule>> = {
  client_stopped: (_, { severity }) =>
    severity === 'invalid'
      ? { means: 'the client was paused: its rates and times are not valid', todo: 'run it again' }
      : { means: 'the client was paused briefly, which adds to the times', todo: 'run it again if p99 matters' },
  started_late: brief('a client thread began late: rates cover the time left', 'stop other programs'),
  client_saturated: (_, { phase }) =>
    phase === 'latency'
      ? { means: 'the client was the limit: response times are too high', todo: 'lower --rate' }
      : { means: 'the client was the limit: throughput is a lower bound', todo: 'compare CPU per request' },
  behind_schedule: (warnings, { severity }) => {
    if (severity === 'invalid')
      return { means: 'the client sent late: response times are not valid', todo: 'lower --rate' };
    return warnings.some(({ figures }) => figures['own_lag_p99_ns'] !== undefined)
      ? { means: 'the client sent late in some trials: within 10% of p99 over all', todo: 'lower --rate' }
      : { means: 'messages waited for a busy connection, which counts', todo: 'raise --pipeline to avoid it' };
  },
  rate_not_carried: (warnings) => {
    const shares = warnings.map(({ figures }) => (figures['per_second'] ?? 0) / (figures['offered_per_second'] ?? 1));
    return { means: `answered only ${percent(Math.min(...shares))} of the offered rate`, todo: 'lower --rate' };
  },
  requests_failed: (warnings) => ({
    means: `${grouped(most(warnings, 'failed') ?? 0)} requests failed, which percentiles rank last`,
    todo: 'see Errors',
  }),
  connections_lost: (warnings) => ({
    means: `${grouped(most(warnings, 'lost') ?? 0)} connections were lost: its figures are not valid`,
    todo: "see the server's log",
  }),
  connections_closed_idle: (warnings) => ({
    means: `the server closed ${grouped(most(warnings, 'closed_idle') ?? 0)} idle connections`,
    todo: 'raise its idle timeout',
  }),
  fin_unanswered: (_, { severity }) => ({
    means: `FINs were not answered${severity === 'invalid' ? ': throughput is too low' : ''}`,
    todo: 'use --close reset',
  }),
  connections_missing: (warnings, { severity }) =>
    severity === 'invalid'
      ? { means: `made only ${madeOfAsked(warnings)} connections: its figures are not valid`, todo: 'run doctor' }
      : { means: `served only ${madeOfAsked(warnings)} connections, its limit here`, todo: 'see --explain' },
  backlog_overflow: brief('a listen queue overflowed: connecting took longer', 'raise --backlog'),
  server_sampled_late: brief('server figures were read too late and are n/a', 'raise --duration'),
  server_outside_command: brief('its figures include a process outside its tree', 'start it in the foreground'),
  server_cpu_unknown: brief('its CPU time is n/a', 'see --explain'),
  server_left: (warnings) => ({
    means: 'a process still listens on the port',
    todo: `kill ${most(warnings, 'pid') ?? ''}`.trim(),
  }),
  service_not_applied: brief('the command ignores --work and --wait', 'compare it without them'),
  agent_limit: brief('one agent was the limit, the others were not', 'change its weight in --clients-on'),
  agent_apart: brief('one agent has longer response times than the others', 'check its network'),
  clocks_uncertain: brief("the agents' clocks are uncertain: their windows may differ", 'raise --duration'),
  work_differs: brief('requests burnt more or less than --work', 'fix the clock frequency'),
  work_unsettled: brief('the work could not be calibrated well', 'stop other programs'),
  workers_sleep: brief('sleeping workers limit the rate', 'leave out --wait-blocks'),
  ports_near_exhaustion: brief('ports ran short: connecting took longer', 'run doctor'),
  cpu_stolen: share('the hypervisor', 'cpu_steal_fraction', 'use a machine that is not shared'),
  cpu_taken_by_others: share('other programs', 'cpu_others_fraction', 'stop them'),
  cpu_in_network_threads: (warnings) => ({
    means: `ksoftirqd took ${percent(most(warnings, 'cpu_network_threads_fraction') ?? 0)} of the CPU time, in no mode's figures`,
    todo: '',
  }),
  too_few_samples: (warnings, { hint }) => {
    const names = warnings.flatMap(({ message }) => /too few for (.+?):/.exec(message)?.[1] ?? []);
    const long = warnings.map((warning) => Number(/--duration (\d+)s/.exec(warning.hint)?.[1] ?? 0));
    return {
      means: `too few requests for ${listInWords([...new Set(names)])}`,
      todo: Math.max(...long) > 0 ? `--duration ${Math.max(...long)}s` : hint,
    };
  },
  not_steady: brief('the rate rose or fell by over 5% in a window', 'raise --warmup or --duration'),
  trials_disagree: (warnings) => ({
    means: `trials differ in ${disagreeingTitles(warnings)}: wide intervals`,
    todo: 'raise --trials',
  }),
  wine: (_, { hint }) => ({ means: 'this is Wine: its speed says nothing about Windows', todo: hint }),
  cpus_shared: brief('client and server shared CPUs: both were slower', 'give each its own'),
  threads_crowded: brief('client threads shared CPUs: times are too high', 'leave out --threads'),
  iocp_is_io_uring: brief('served by io_uring, as on every Linux', ''),
  node_differs: brief('it reads and closes differently', 'see METHOD.md'),
  one_trial: brief('one trial: no interval, no difference is claimed', '--trials 4'),
  order_unbalanced: (warnings) => ({
    means: 'some modes ran earlier in the trials than others',
    todo: `--trials ${most(warnings, 'trials_to_balance') ?? ''} balances them`,
  }),
  search_held_back: brief('the search was held back: its rate is a lower bound', 'compare CPU per request'),
  search_unfinished: brief('no rate was too high: the highest is a lower bound', 'search a shorter limit'),
  search_lowered: brief('the found rate did not hold again and was lowered', ''),
};

/** The codes that have a line of their own; others are shown with their first message and hint. */
export const briefCodes: readonly string[] = Object.keys(rules);

const severityOrder = ['invalid', 'warning', 'info'] as const;

/** Worst first. One line per cause, severity and advice, with the modes that it concerns. */
export function briefWarnings(report: Report): BriefWarning[] {
  const points = distinctPoints(report.runs).length;
  return severityOrder.flatMap((severity) => {
    const byCause = new Map<string, Warning[]>();
    for (const warning of report.warnings.filter((one) => one.severity === severity)) {
      // Without a rule, only the same message in another place is the same cause.
      const rule = rules[warning.code];
      const key = JSON.stringify([warning.code, rule === undefined ? withoutPlace(warning) : rule([], warning).todo]);
      byCause.set(key, [...(byCause.get(key) ?? []), warning]);
    }
    return [...byCause.values()].flatMap((warnings): BriefWarning[] => {
      const [first] = warnings;
      return first === undefined ? [] : [{ severity, text: printable(lineOf(report, warnings, first, points)) }];
    });
  });
}

function lineOf(report: Report, warnings: readonly Warning[], first: Warning, points: number): string {
  const { means, todo } = rules[first.code]?.(warnings, first) ?? { means: withoutPlace(first), todo: first.hint };
  const who = whoOf(report, warnings, points);
  return `${who === '' ? '' : `${who}: `}${means}${todo === '' ? '' : `; ${todo}`}`;
}

/** "blocking and iocp", "all modes", "iocp at 6,000 clients"; empty for what concerns the whole run. */
function whoOf({ plan }: Report, warnings: readonly Warning[], points: number): string {
  const modes = [...new Set(warnings.flatMap(({ mode }) => mode ?? []))];
  if (modes.length === 0) return '';
  const names = modes.length > 2 && modes.length === plan.modes.length ? 'all modes' : listInWords(modes);
  const placed = distinctPoints(
    warnings.flatMap((one) => (one.clients === null ? [] : [{ ...one, clients: one.clients }])),
  );
  const [place] = placed;
  if (points < 2 || place === undefined || placed.length === points) return names;
  return placed.length === 1 ? `${names} at ${pointInWords(place)}` : `${names} at ${plural(placed.length, 'point')}`;
}

/** The message without "iocp at 6,000 clients, capacity: " before it and "(2 of 4 trials)" after it. */
function withoutPlace({ message, mode }: Warning): string {
  if (mode === null) return message;
  const [, text = message] = /, (?:capacity|latency|highest rate): (.*)$/s.exec(message) ?? [];
  return text.replace(/ \(\d+ of \d+ (?:trials|searches)\)$/, '');
}
