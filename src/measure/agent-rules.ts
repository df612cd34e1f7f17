/** The validity rules of runs with agents: which one was the limit, and which one stands apart from the others. */
import { listInWords } from '../model/format.js';
import { duration } from '../model/words.js';
import type { AgentFigures } from '../model/report-schema.js';
import { median } from './statistics.js';
import type { WindowRule } from './rules.js';

/** The median latency of an agent beyond this multiple of the others' is not noise. */
const apartFactor = 1.5;
/** Differences of less than this are noise on any network. */
const apartLeastNs = 50_000;
/** The clocks of all agents are right within this share of a window, or the edges of the window are blurred. */
const uncertaintyTolerated = 0.01;

const agentLimitRule: WindowRule = {
  code: 'agent_limit',
  check({ agents = [] }) {
    const limits = agents.filter(({ saturated }) => saturated === true);
    if (limits.length === 0 || limits.length === agents.length) return null;
    const names = listInWords(limits.map(({ name }) => name));
    return {
      severity: 'warning',
      badness: limits.length,
      message: `agent ${names} had no CPU time left, while the other agents had`,
      hint: 'give it a smaller weight in --clients-on, or add agents',
      figures: { agents: agents.length, saturated: limits.length },
    };
  },
};

/** Response times at the offered rate. In a closed loop the queue of each agent decides, so service times say nothing. */
function medianLatency(agent: AgentFigures): number | null {
  return agent.response_time_ns?.p50 ?? null;
}

const agentApartRule: WindowRule = {
  code: 'agent_apart',
  check({ agents = [] }) {
    const known = agents.flatMap((agent) => {
      const p50 = medianLatency(agent);
      return p50 === null ? [] : [{ name: agent.name, p50 }];
    });
    if (known.length < 2) return null;
    const apart = known
      .map(({ name, p50 }) => ({
        name,
        p50,
        others: median(known.filter((other) => other.name !== name).map((other) => other.p50)) ?? p50,
      }))
      .filter(({ p50, others }) => p50 > others * apartFactor && p50 - others > apartLeastNs)
      .sort((a, b) => b.p50 / b.others - a.p50 / a.others)[0];
    if (apart === undefined) return null;
    return {
      severity: 'warning',
      badness: apart.p50 / apart.others,
      message: `agent ${apart.name} has a median response time of ${duration(apart.p50)}, the others ${duration(apart.others)}`,
      hint: 'its path through the network may be longer, or its machine busier',
      figures: { p50_ns: apart.p50, others_p50_ns: apart.others },
    };
  },
};

const clocksRule: WindowRule = {
  code: 'clocks_uncertain',
  check({ agents = [], duration_ms }) {
    const worst = [...agents].sort((a, b) => b.clock_uncertainty_ns - a.clock_uncertainty_ns)[0];
    if (worst === undefined || worst.clock_uncertainty_ns <= uncertaintyTolerated * duration_ms * 1e6) return null;
    return {
      severity: 'warning',
      badness: worst.clock_uncertainty_ns,
      message: `the clock of agent ${worst.name} is known within ±${duration(worst.clock_uncertainty_ns)}, so the agents' windows may differ by that`,
      hint: 'use a longer --duration, or a broker nearer to the agents',
      figures: { clock_uncertainty_ns: worst.clock_uncertainty_ns },
    };
  },
};

export const agentRules: readonly WindowRule[] = [agentLimitRule, agentApartRule, clocksRule];
