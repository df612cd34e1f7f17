/** The network as the client's system sees it: round trips and repeated segments of its connections. */
import type { NetworkFigures } from '../model/report-schema.js';
import { distribution, type RawHistogram } from './histogram.js';

/** Figures of struct ib_engine_block. */
interface EngineNetwork {
  readonly network_connections: number;
  readonly network_retransmits: number;
  readonly round_trip: RawHistogram;
}

/** @returns null if no engine knows: the system is not Linux, or the engine is io_uring on Linux before 6.8 */
export function networkFigures(engines: readonly EngineNetwork[]): NetworkFigures | null {
  const sum = (name: 'network_connections' | 'network_retransmits'): number =>
    engines.reduce((total, engine) => total + engine[name], 0);
  const { p50, p99, max } = distribution(
    engines.map(({ round_trip }) => round_trip),
    0,
  );
  if (max === null) return null;
  return {
    connections: sum('network_connections'),
    rtt_p50_ns: p50,
    rtt_p99_ns: p99,
    rtt_max_ns: max,
    retransmits: sum('network_retransmits'),
  };
}
