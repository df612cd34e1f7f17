/** Rows of the tables for each agent that hosted load. */
import { completedWindows } from '../model/metrics.js';
import { medianOfKnown } from '../measure/statistics.js';
import { formatCount, formatDuration, formatPercent, formatRate, printable, unknownText } from '../model/format.js';
import type { AgentFigures, Phase, Run } from '../model/report-schema.js';
import type { Group, Row } from './view.js';

/** @param phase the phase whose figures are shown; no rows if no run of the table had agents in it */
export function agentRows(runs: readonly Run[], phase: Phase): Group {
  const names = new Set(runs.flatMap((run) => agentsOf(run, phase).map(({ name }) => name)));
  return {
    title: phase === 'capacity' ? 'Agents at full load' : 'Agents at the offered rate',
    rows: [...names].flatMap((name) => rowsOf(runs, phase, name)),
  };
}

function agentsOf(run: Run, phase: Phase): AgentFigures[] {
  return completedWindows(run, phase).flatMap(({ agents = [] }) => agents);
}

function rowsOf(runs: readonly Run[], phase: Phase, name: string): Row[] {
  const row = (label: string, text: (figures: readonly AgentFigures[]) => string): Row => ({
    label: `${printable(name)}: ${label}`,
    cells: runs.map((run) => {
      const figures = agentsOf(run, phase).filter((agent) => agent.name === name);
      return { text: figures.length === 0 ? unknownText : text(figures), tone: 'plain' };
    }),
    ratio: { text: '', tone: 'plain' },
  });
  const middle = (figures: readonly AgentFigures[], read: (agent: AgentFigures) => number | null): number | null =>
    medianOfKnown(figures.map(read));
  const times = (agent: AgentFigures): AgentFigures['service_time_ns'] =>
    agent.response_time_ns ?? agent.service_time_ns;
  return [
    row('requests', (figures) => formatRate(middle(figures, ({ requests }) => requests.per_second))),
    row('p50 / p99', (figures) => {
      const p50 = formatDuration(middle(figures, (agent) => times(agent).p50));
      return `${p50} / ${formatDuration(middle(figures, (agent) => times(agent).p99))}`;
    }),
    row('CPU per request', (figures) => {
      const us = middle(figures, ({ cpu_us_per_request: cpu }) => cpu);
      return formatDuration(us === null ? null : us * 1e3);
    }),
    row('busiest thread', (figures) => {
      const busy = formatPercent(middle(figures, ({ busy_fraction }) => busy_fraction));
      return figures.some(({ saturated }) => saturated === true) ? `${busy} (limit)` : busy;
    }),
    ...(runs.some((run) =>
      agentsOf(run, phase).some(({ name: other, retransmits: again }) => other === name && (again ?? 0) > 0),
    )
      ? [
          row('segments sent again', (figures) =>
            formatCount(middle(figures, ({ retransmits: again = null }) => again)),
          ),
        ]
      : []),
    ...(runs.some((run) =>
      agentsOf(run, phase).some(({ name: other, network }) => other === name && (network ?? null) !== null),
    )
      ? [
          row('round trip p50 / max', (figures) => {
            const p50 = formatDuration(middle(figures, ({ network }) => network?.rtt_p50_ns ?? null));
            return `${p50} / ${formatDuration(middle(figures, ({ network }) => network?.rtt_max_ns ?? null))}`;
          }),
        ]
      : []),
    ...(phase === 'latency'
      ? [row('send lag p99', (figures) => formatDuration(middle(figures, ({ send_lag_p99_ns: lag }) => lag)))]
      : []),
  ];
}
