/** `agents`: who is there. One line per agent of the group, and what keeps it from taking part. */
import Table from 'cli-table3';
import { Command } from 'commander';
import type { ClockOffset } from '../agent/clocks.js';
import { findAgents, measureClock } from '../agent/fleet.js';
import type { Broker } from '../agent/broker.js';
import type { Facts } from '../agent/protocol.js';
import { BenchError } from '../model/errors.js';
import { formatBytes, formatDuration, plural, printable } from '../model/format.js';
import { addOptions, brokerOptions, flag, givenValues, type Given } from '../model/options.js';
import { terminal } from '../terminal.js';
import { joinBroker } from '../library/join.js';

const agentsTable = {
  ...brokerOptions,
  json: flag('--json', 'print one JSON object per agent and line'),
} as const;

/** Long enough for an agent behind a slow network. */
const answerWithinMs = 800;

export function agentsCommand(): Command {
  const command = new Command('agents')
    .summary('list the agents that a broker connects')
    .description(
      'Lists the agents of a group: machine, modes, round trip, clock, version, and whether a run holds them.',
    );
  addOptions(command, agentsTable);
  return command.action((parsed: Record<string, unknown>) => listAgents(givenValues(agentsTable, parsed)));
}

/** An agent, and its clock as seen from here. */
export interface SeenAgent {
  readonly facts: Facts;
  /** null if it stopped answering. */
  readonly clock: ClockOffset | null;
}

async function listAgents(options: Given<typeof agentsTable>): Promise<void> {
  const broker = await joinBroker(options, 'agents');
  try {
    const { agents, others } = await seeAgents(broker, options.group);
    for (const other of others) terminal.note(`iocp-bench: ${other}`);
    if (options.json) for (const agent of agents) terminal.print(terminal.json(JSON.stringify(asJson(agent))));
    else if (agents.length > 0) terminal.print(tableOf(agents));
    if (agents.length > 0) return;
    throw new BenchError(
      'unavailable',
      `no agent is in group ${options.group} at ${broker.where}`,
      'start one on each machine: iocp-bench agent --nats URL',
    );
  } finally {
    await broker.close();
  }
}

export async function seeAgents(broker: Broker, group: string): Promise<{ agents: SeenAgent[]; others: string[] }> {
  const { facts, others } = await findAgents(broker, group, answerWithinMs);
  const agents: SeenAgent[] = [];
  // One after the other, so that the answers do not delay each other.
  for (const one of facts) {
    const clock = await measureClock(broker, group, one.name).catch(() => null);
    agents.push({ facts: one, clock });
  }
  return { agents, others };
}

function modesOf({ modes, commands }: Facts): string[] {
  return [...modes.flatMap(({ mode, available }) => (available ? [mode] : [])), ...commands.map(({ mode }) => mode)];
}

function asJson({ facts, clock }: SeenAgent): object {
  const { name, group, speaks, address, cpus, environment, held_by, max_clients } = facts;
  return {
    name,
    group,
    version: speaks.split('/')[0] ?? speaks,
    address,
    system: environment.system,
    compatibility: environment.compatibility,
    cpus: cpus.length,
    memory_total_bytes: environment.memory_total_bytes,
    modes: modesOf(facts),
    max_clients,
    round_trip_ns: clock === null ? null : Number(clock.uncertaintyNs * 2n),
    clock_offset_ns: clock === null ? null : Number(clock.offsetNs),
    clock_uncertainty_ns: clock === null ? null : Number(clock.uncertaintyNs),
    held_by,
  };
}

const columns = ['agent', 'system', 'CPUs', 'memory', 'modes', 'round trip', 'clock offset', 'version', 'state'];

function tableOf(agents: readonly SeenAgent[]): string {
  const table = new Table({ head: columns, style: { head: [], border: [] }, wordWrap: true });
  for (const { facts, clock } of agents) {
    const { environment, cpus, speaks, held_by } = facts;
    const system = environment.compatibility ?? environment.system;
    table.push([
      facts.name,
      printable(system.split(' ').slice(0, 2).join(' ')),
      String(cpus.length),
      formatBytes(environment.memory_total_bytes),
      modesOf(facts)
        .join(' ')
        .replace(/(.{1,24})( |$)/g, '$1\n')
        .trim(),
      clock === null ? 'n/a' : formatDuration(Number(clock.uncertaintyNs * 2n)),
      clock === null ? 'n/a' : `${offsetText(clock.offsetNs)}\n±${formatDuration(Number(clock.uncertaintyNs))}`,
      speaks.split('/')[0] ?? speaks,
      held_by === null ? 'free' : printable(`held by\n${held_by}`),
    ]);
  }
  return `${table.toString()}\n${plural(agents.length, 'agent')}`;
}

/** Clocks count from the start of each system, so offsets of days are usual. */
function offsetText(offsetNs: bigint): string {
  const sign = offsetNs < 0n ? '-' : '+';
  const ns = Number(offsetNs < 0n ? -offsetNs : offsetNs);
  return ns >= 1e9 ? `${sign}${(ns / 1e9).toFixed(3)} s` : `${sign}${formatDuration(ns)}`;
}
