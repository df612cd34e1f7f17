/** The figures of each agent in a window, for the report. */
import { distribution } from '../measure/histogram.js';
import { networkFigures } from '../measure/network.js';
import { saturation } from '../measure/cost.js';
import type { AgentFigures } from '../model/report-schema.js';
import type { EngineWindow } from '../run/control.js';
import type { ClockOffset } from './clocks.js';

export interface AgentWindow {
  readonly name: string;
  readonly cpus: number;
  /** Of all connections. */
  readonly share: number;
  readonly asked: number;
  readonly connections: number;
  readonly engines: readonly EngineWindow[];
  readonly clock: ClockOffset;
  /** Segments that its system sent again in the window. */
  readonly retransmits: number | null;
  /** When the last of its engines first ran in the window, on the conductor's clock; null if unknown. */
  readonly begunAtNs: number | null;
  /** How long after the start of its own window that was. */
  readonly startLagNs: number | null;
}

/**
 * One agent after the other, with pauses: a conductor that worked on a hundred of them at a stretch would be silent for seconds, and the
 * agents would believe that it is gone.
 * @param open the window had a timetable
 */
export async function describeAgents(agents: readonly AgentWindow[], open: boolean): Promise<AgentFigures[]> {
  const first = Math.min(...agents.flatMap(({ begunAtNs }) => begunAtNs ?? []));
  const described: AgentFigures[] = [];
  for (const agent of agents) {
    const start_skew_ns = agent.begunAtNs === null ? null : agent.begunAtNs - first;
    described.push({ ...describeAgent(agent, open), start_skew_ns });
    await new Promise((resolve) => setImmediate(resolve));
  }
  return described;
}

function describeAgent(agent: AgentWindow, open: boolean): AgentFigures {
  const { engines, clock } = agent;
  const sum = (name: 'window_requests' | 'window_errors' | 'window_completions'): number =>
    engines.reduce((total, engine) => total + engine[name], 0);
  const cpuNs = engines.reduce<number | null>((total, { cpu_user_ns, cpu_system_ns }) => {
    return total === null || cpu_user_ns === null || cpu_system_ns === null
      ? null
      : total + cpu_user_ns + cpu_system_ns;
  }, 0);
  const completions = sum('window_completions');
  const seconds = Math.max(0, ...engines.map((engine) => (engine.window_end_ns - engine.window_start_ns) / 1e9));
  const failed = sum('window_errors');
  const service = distribution(
    engines.map((engine) => engine.service),
    failed,
  );
  const response = open
    ? distribution(
        engines.map((engine) => engine.response),
        failed,
      )
    : null;
  const lag = open
    ? distribution(
        engines.map((engine) => engine.send_lag),
        0,
      )
    : null;
  const busy = saturation({ engines, throttled_ns: null });
  return {
    name: agent.name,
    cpus: agent.cpus,
    share: agent.share,
    connections: { asked: agent.asked, made: agent.connections },
    requests: { count: sum('window_requests'), failed, per_second: seconds > 0 ? sum('window_requests') / seconds : 0 },
    service_time_ns: service,
    response_time_ns: response,
    send_lag_p99_ns: lag?.p99 ?? null,
    cpu_us_per_request: cpuNs === null || completions === 0 ? null : cpuNs / 1e3 / completions,
    busy_fraction: busy.busy_fraction,
    saturated: busy.saturated,
    retransmits: agent.retransmits,
    network: networkFigures(engines),
    clock_offset_ns: Number(clock.offsetNs),
    clock_uncertainty_ns: Number(clock.uncertaintyNs),
    start_skew_ns: null,
    start_lag_ns: agent.startLagNs,
  };
}
