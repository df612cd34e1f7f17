/** `agent`: offers this machine to conductors on other machines, until Ctrl-C. */
import { hostname } from 'node:os';
import { Command } from 'commander';
import { Agent, type AgentEvent } from '../agent/agent-host.js';
import { askFacts } from '../agent/fleet.js';
import { NoAnswer, type Broker } from '../agent/broker.js';
import { parseAddressRange } from '../agent/networks.js';
import type { Facts } from '../agent/protocol.js';
import { BenchError } from '../model/errors.js';
import { formatBytes, formatCount, plural } from '../model/format.js';
import { addOptions, brokerOptions, defaulted, givenValues, optional, repeated, type Given } from '../model/options.js';
import { bounds, parseChoice, parseCount, parseHost, parseLabel } from '../model/parse.js';
import { raiseDescriptorLimit } from '../native/binding.js';
import { endingSignals, onFault } from '../signals.js';
import { terminal } from '../terminal.js';
import { parseModeCommand, refuseSameNames } from '../library/blast-plan.js';
import { joinBroker, openBrokerNote } from '../library/join.js';

const agentTable = {
  ...brokerOptions,
  name: optional('--name <name>', 'name of this agent (default: the host name)', parseLabel('--name')),
  address: optional(
    '--address <address>',
    'address that servers on this machine listen on; others must be able to reach it (default: 127.0.0.1)',
    parseHost('--address'),
  ),
  allowTarget: repeated(
    '--allow-target <cidr>',
    'addresses that may be loaded, besides servers of agents of the group; repeatable',
    parseAddressRange('--allow-target'),
  ),
  modeCommand: repeated(
    '--mode-command <name=command>',
    'offer a server of your own as a mode; repeatable',
    parseModeCommand,
  ),
  maxClients: optional(
    '--max-clients <n>',
    'most connections that a run may make from here',
    parseCount('--max-clients', bounds.clients),
  ),
  format: defaulted(
    '--format <format>',
    'pretty, or ndjson: one JSON event per line',
    parseChoice('--format', ['pretty', 'ndjson']),
    'pretty',
  ),
} as const;

export function agentCommand(): Command {
  const command = new Command('agent')
    .summary('offer this machine to runs of other machines')
    .description(
      'Joins a NATS broker and hosts servers or load for `blast --nats` on other machines, one run at a time, until Ctrl-C.',
    );
  addOptions(command, agentTable);
  return command
    .addHelpText(
      'after',
      `
Examples:
  iocp-bench agent --nats nats://10.0.0.5:4222 --address 10.0.0.7
  iocp-bench agent --nats tls://broker:4222 --nats-creds agent.creds --name win1`,
    )
    .action((parsed: Record<string, unknown>) => runAgent(givenValues(agentTable, parsed)));
}

async function runAgent(options: Given<typeof agentTable>): Promise<void> {
  const { address, allowTarget, modeCommand, maxClients, format, group } = options;
  refuseSameNames(modeCommand);
  if (address === '0.0.0.0' || address === '::') {
    throw new BenchError(
      'usage',
      `--address ${address} is not an address that others can connect to`,
      'name one address of this machine',
    );
  }
  raiseDescriptorLimit();
  const name = options.name ?? nameOfHost();
  const broker = await joinBroker(options, `agent ${name}`);
  await refuseTakenName(broker, group, name);
  const note = openBrokerNote(options);
  if (note !== null) terminal.note(note);
  const say = format === 'pretty' ? sayPretty : sayNdjson;
  const agent = new Agent(
    broker,
    {
      name,
      group,
      address: address ?? '127.0.0.1',
      isAddressGiven: address !== undefined,
      allowTargets: allowTarget,
      commands: modeCommand.map(({ mode, command }) => ({ mode, command: command ?? '' })),
      maxClients: maxClients ?? null,
      isPrivate: false,
    },
    say,
  );
  sayJoined(agent.facts(), broker.where, format);
  const status = new StatusLine(agent, format === 'pretty' && terminal.isInteractive());
  const failure = await untilEnd(broker, say);
  status.end();
  await agent.leave();
  await broker.close();
  if (failure !== null) {
    throw new BenchError('unavailable', `the broker ${broker.where} ended the connection: ${failure.message}`);
  }
}

/** Letters, digits and hyphens of the host name. */
function nameOfHost(): string {
  const plain = (hostname().split('.')[0] ?? '').replace(/[^A-Za-z0-9_-]/g, '-').replace(/^[-_]+/, '');
  return plain === '' ? 'agent' : plain.slice(0, 63);
}

async function refuseTakenName(broker: Broker, group: string, name: string): Promise<void> {
  try {
    await askFacts(broker, group, name);
  } catch (error) {
    // Nobody answers to the name.
    if (error instanceof NoAnswer) return;
    if (!(error instanceof BenchError)) throw error;
  }
  await broker.close();
  throw new BenchError('usage', `an agent named ${name} is already in group ${group}`, 'choose another --name');
}

/** Resolves on a signal with null, or with the reason if the broker sends the agent away. */
function untilEnd(broker: Broker, say: (event: BrokerEvent) => void): Promise<Error | null> {
  return new Promise((resolve) => {
    let isLost = false;
    const keepAlive = setInterval(() => undefined, 60_000);
    const end = (failure: Error | null): void => {
      for (const signal of endingSignals) process.off(signal, onSignal);
      clearInterval(keepAlive);
      forget();
      resolve(failure);
    };
    const onSignal = (): void => {
      end(null);
    };
    for (const signal of endingSignals) process.on(signal, onSignal);
    const forget = onFault(onSignal);
    broker.onChange(() => {
      if (broker.failure !== null) end(broker.failure);
      const lost = broker.lostForMs() !== null;
      if (lost !== isLost) say({ event: lost ? 'broker_lost' : 'broker_back' });
      isLost = lost;
    });
  });
}

interface BrokerEvent {
  readonly event: 'broker_lost' | 'broker_back';
}

function sayJoined(facts: Facts, where: string, format: 'pretty' | 'ndjson'): void {
  const { name, group, address, cpus, commands, environment, max_clients } = facts;
  const modes = [
    ...facts.modes.flatMap(({ mode, available }) => (available ? [mode] : [])),
    ...commands.map(({ mode }) => mode),
  ];
  if (format === 'ndjson') {
    const { system } = environment;
    printLine({ event: 'joined', name, group, broker: where, address, system, cpus: cpus.length, modes });
    return;
  }
  const most = max_clients === null ? '' : `, at most ${formatCount(max_clients)} connections`;
  const memory = formatBytes(environment.memory_total_bytes);
  terminal.print(
    `Agent ${name} of group ${group} at ${where}: ${environment.system}, ${plural(cpus.length, 'CPU')}, ${memory}; ` +
      `modes ${modes.join(', ')}; servers listen on ${address}${most}. Press Ctrl-C to leave.`,
  );
}

function sayPretty(event: AgentEvent | BrokerEvent): void {
  const text = inWords(event);
  if (text !== null) terminal.print(text);
}

function inWords(event: AgentEvent | BrokerEvent): string | null {
  switch (event.event) {
    case 'held':
      return `held by ${event.by}`;
    case 'free':
      return event.reason === 'released'
        ? 'free again'
        : 'free again: its conductor was silent for 5 s; load and server were stopped';
    case 'server':
      return `serving ${event.mode} on ${event.address}`;
    case 'load':
      return `loading ${event.target} with ${plural(event.connections, 'connection')}`;
    case 'refused':
      return `refused: ${event.reason}`;
    case 'broker_lost':
      return 'the connection to the broker is lost; trying again';
    case 'broker_back':
      return 'connected to the broker again';
  }
}

function sayNdjson(event: AgentEvent | BrokerEvent): void {
  printLine(event);
}

function printLine(event: object): void {
  terminal.print(terminal.json(JSON.stringify({ at: new Date().toISOString(), ...event })));
}

/** One line on a terminal that shows what the agent does now. */
class StatusLine {
  private readonly timer: NodeJS.Timeout | null;

  constructor(
    private readonly agent: Agent,
    isShown: boolean,
  ) {
    this.timer = isShown
      ? setInterval(() => {
          this.draw();
        }, 1_000)
      : null;
  }

  private draw(): void {
    const { heldBy, server, connections } = this.agent.status();
    const parts = heldBy === null ? ['free'] : [`held by ${heldBy}`];
    if (server !== null) parts.push(`serving ${server}`);
    if (connections > 0) parts.push(plural(connections, 'connection'));
    process.stderr.write(`\r\u001b[K${terminal.signs(parts.join(' · '))}`);
  }

  end(): void {
    if (this.timer === null) return;
    clearInterval(this.timer);
    process.stderr.write('\r\u001b[K');
  }
}
