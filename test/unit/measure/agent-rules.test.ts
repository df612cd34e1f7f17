/** The warnings about agents: one was the limit, one stands apart, or their clocks are not known well enough. */
import t from 'tap';
import { agentRules } from '../../../src/measure/agent-rules.js';
import type { Finding } from '../../../src/measure/rules.js';
import type { AgentFigures, CompletedWindow, Run } from '../../../src/model/report-schema.js';
import { environmentWith, latencyWindow, planWith } from './build.js';

function agent(name: string, changes: Partial<AgentFigures>, p50 = 1e6): AgentFigures {
  const { service_time_ns } = latencyWindow(0, {});
  return {
    name,
    cpus: 2,
    share: 0.5,
    connections: { asked: 10, made: 10 },
    requests: { count: 100, failed: 0, per_second: 100 },
    service_time_ns,
    response_time_ns: { ...service_time_ns, p50 },
    send_lag_p99_ns: 1_000,
    cpu_us_per_request: 5,
    busy_fraction: 0.5,
    saturated: false,
    clock_offset_ns: 0,
    clock_uncertainty_ns: 100_000,
    start_skew_ns: 0,
    ...changes,
  };
}

function found(code: string, ...agents: AgentFigures[]): Finding | null {
  const rule = agentRules.find((one) => one.code === code);
  if (rule === undefined) throw new Error(`there is no rule ${code}`);
  const window: CompletedWindow = { ...latencyWindow(0, {}), duration_ms: 1_000, agents };
  const run: Run = { mode: 'iocp', backend: 'iocp', clients: 1_000, trials: [window] };
  return rule.check(window, { run, plan: planWith({}), environment: environmentWith({}) });
}

t.test('an agent that was the limit is named, unless all were', (test) => {
  const [a, b] = [agent('a', { saturated: true }), agent('b', {})];
  test.match(found('agent_limit', a, b)?.message, /agent a had no CPU time left/);
  test.equal(found('agent_limit', a, agent('b', { saturated: true })), null);
  test.equal(found('agent_limit', agent('a', { saturated: null }), b), null);
  test.equal(found('agent_limit'), null, 'a local run has no agents');
  test.end();
});

t.test('an agent whose median stands apart is named', (test) => {
  const finding = found('agent_apart', agent('a', {}, 1e6), agent('b', {}, 4e6), agent('c', {}, 1.1e6));
  test.match(finding?.message, /agent b has a median response time of 4(\.00)? ms, the others 1\.05 ms/);
  test.equal(found('agent_apart', agent('a', {}, 1e6), agent('b', {}, 1.4e6)), null, 'noise');
  test.equal(found('agent_apart', agent('a', {}, 10_000), agent('b', {}, 40_000)), null, 'microseconds');
  test.equal(found('agent_apart', agent('a', {}), agent('b', { response_time_ns: null })), null, 'a closed loop');
  test.end();
});

t.test('a clock that is not known within 1% of the window', (test) => {
  const unsure = agent('b', { clock_uncertainty_ns: 11e6 });
  test.match(found('clocks_uncertain', agent('a', {}), unsure)?.message, /clock of agent b is known within ±11/);
  test.equal(found('clocks_uncertain', agent('a', {}), agent('b', { clock_uncertainty_ns: 9e6 })), null);
  test.end();
});
