/** `doctor --nats`: what is in the way on each agent of a group. */
import type { Facts } from '../agent/protocol.js';
import { checkLimits, requirements } from '../measure/limits.js';
import { BenchError } from '../model/errors.js';
import { formatBytes, formatCount, formatDuration, plural, printable } from '../model/format.js';
import { isLoopback, serverDefaults } from '../model/parse.js';
import { hanging } from '../report/text.js';
import { terminal } from '../terminal.js';
import { seeAgents, type SeenAgent } from './agents.js';
import { joinBroker, type BrokerChoice } from '../library/join.js';

const sizes = [6_000, 20_000, 100_000, 1_000_000] as const;
/** Trials of the default comparison: four of each of two modes. */
const defaultTrials = 8;

/** The reason of a mode that only another system has. Nothing is in its way that could be removed. */
const isElsewhere = /does not exist on|only available on/;

interface AgentDiagnosis {
  readonly name: string;
  readonly system: string;
  readonly held_by: string | null;
  /** What prevents or limits a part in a run, in words; empty if nothing does. */
  readonly problems: readonly string[];
}

/** @param group of the agents */
export async function diagnoseAgents(choice: BrokerChoice, group: string, asJson: boolean): Promise<void> {
  const broker = await joinBroker(choice, 'doctor');
  try {
    const { agents, others } = await seeAgents(broker, group);
    if (agents.length === 0 && others.length === 0) {
      throw new BenchError(
        'unavailable',
        `no agent is in group ${group} at ${broker.where}`,
        'start one on each machine: iocp-bench agent --nats URL',
      );
    }
    const diagnoses = agents.map(diagnosisOf);
    if (asJson) terminal.print(terminal.json(JSON.stringify({ agents: diagnoses, refused: others }, null, 2)));
    else
      terminal.print(
        [...diagnoses.map(render), ...others.map((other) => `Not usable: ${printable(other)}`)].join('\n\n'),
      );
  } finally {
    await broker.close();
  }
}

function diagnosisOf({ facts, clock }: SeenAgent): AgentDiagnosis {
  const { name, environment, held_by, address, cpus } = facts;
  const problems = [
    ...(held_by === null ? [] : [`held by ${held_by}: wait until that run has ended`]),
    ...(clock === null ? ['it stopped answering'] : []),
    ...(clock !== null && clock.uncertaintyNs > 20_000_000n
      ? [`its clock is only known within ±${formatDuration(Number(clock.uncertaintyNs))}: use a broker nearer to it`]
      : []),
    ...(isLoopback(address)
      ? [`its servers listen on ${address}, which other machines cannot reach: start it with --address`]
      : []),
    ...(cpus.length === 1 ? ['it has one CPU: as the load of a fast server, it is the limit'] : []),
    ...facts.modes.flatMap(({ mode, backend, available, reason, hint }) =>
      available || isElsewhere.test(reason)
        ? []
        : [`${mode}${backend === mode ? '' : ` (${backend})`} cannot run: ${reason}${hint === '' ? '' : `; ${hint}`}`],
    ),
    ...limitProblems(facts),
  ];
  const system = `${environment.compatibility ?? environment.system}, ${plural(cpus.length, 'CPU')}, ${formatBytes(environment.memory_total_bytes)}`;
  return { name, system, held_by, problems };
}

/** The first number of clients that each limit prevents, as the host of load and of the blocking server of the default comparison. */
function limitProblems(facts: Facts): string[] {
  const seen = new Set<string>();
  return [
    ...roleProblems(facts, 'clients', { mode: 'load', backend: 'external' }, seen),
    ...roleProblems(facts, 'clients of a blocking server', { mode: 'blocking', backend: 'blocking' }, seen),
  ];
}

/** Limits of the whole system. For a server they are computed as if it also hosted the load, so they are not shown for it. */
const isOfSystem = /^fs\.|tcp_mem|memory|ports/;

/** @param seen limits that were named before; those found are added */
function roleProblems(
  facts: Facts,
  who: string,
  role: { readonly mode: string; readonly backend: string },
  seen: Set<string>,
): string[] {
  const machine = {
    platform: facts.platform === 'win32' ? 'win32' : 'linux',
    root: facts.root,
    wsl: false,
    loopback: null,
  } as const;
  return sizes.flatMap((connections) => {
    const shape = {
      connections,
      active: connections,
      ...role,
      engine: facts.engines.includes('io_uring') ? 'io_uring' : 'auto',
      host: facts.address,
      stack_size_bytes: serverDefaults.stackSizeBytes,
      pool_threads: serverDefaults.poolThreads,
      trials: defaultTrials,
      close: 'reset',
    } as const;
    return checkLimits(facts.limits, requirements(shape), machine).flatMap(({ limit, value, needed, command }) => {
      if (seen.has(limit) || (role.backend !== 'external' && isOfSystem.test(limit))) return [];
      seen.add(limit);
      const remedy = command === '' ? '' : `; ${command}`;
      return [
        `${formatCount(connections)} ${who} need ${formatCount(needed)} ${limit}, the limit is ${formatCount(value)}${remedy}`,
      ];
    });
  });
}

function render({ name, system, problems }: AgentDiagnosis): string {
  const lines = problems.length === 0 ? ['nothing is in the way'] : problems;
  return [
    `Agent ${name}: ${printable(system)}`,
    ...lines.flatMap((line) => hanging('  • ', printable(line), terminal.width())),
  ].join('\n');
}
