/** The rules about the processes of a command (--mode-command): whose figures are shown, which are not known, and what was left. */
import type { CompletedWindow } from '../model/report-schema.js';
import { serviceNames, serviceNs } from '../model/point.js';
import { grouped } from '../model/words.js';
import type { WindowRule } from './rules.js';

/** Whether no option of the tool reaches the server: it has its own. */
export function isForeign(backend: string): boolean {
  return backend === 'command' || backend === 'external';
}

/** A server may keep a descriptor or two in reserve, to be able to accept and close. */
const descriptorsInReserve = 4;

/** Why a server that has its own limits did not take more connections, as a hint; null where none of them can be seen to be the reason. */
export function serversOwnLimit({ server_limits: limits, connections }: CompletedWindow): string | null {
  if (limits === undefined) return null;
  const { descriptors, waiting } = limits;
  if (descriptors !== null && descriptors.open >= descriptors.limit - descriptorsInReserve) {
    const { process, open, limit } = descriptors;
    const needed = open + connections.asked - connections.made;
    return (
      `${processInWords(process)} has ${grouped(open)} descriptors open, and its limit is ${grouped(limit)}: ` +
      `start it with a higher one, for example after \`ulimit -n ${needed}\``
    );
  }
  if (waiting === 0) return null;
  return `${grouped(waiting)} connections still wait in the server's listen queue: it does not accept them`;
}

function processInWords(process: { pid: number; name: string | null } | null): string {
  if (process === null) return 'another process';
  return `process ${process.pid}${process.name === null ? '' : ` (${process.name})`}`;
}

const serverOutside: WindowRule = {
  code: 'server_outside_command',
  check({ server_process: found }) {
    if (found?.listener !== 'outside') return null;
    return {
      severity: 'warning',
      badness: 1,
      message: `${processInWords(found.process)} listens on the port and is not in the process tree of the command: the server's figures include it`,
      hint: 'start the server in the foreground; what it hands to other processes is not counted',
      figures: { pid: found.process?.pid ?? null },
    };
  },
};

const serverCpuUnknown: WindowRule = {
  code: 'server_cpu_unknown',
  check({ server_process: found, server }, { run }) {
    const reason = found?.cpu_unknown ?? null;
    if (reason !== null) {
      return {
        severity: 'warning',
        badness: 2,
        message: `the server's CPU time is not shown: ${reason}`,
        hint:
          found?.listener === 'unseen'
            ? 'start the server itself with --mode-command, as the same user and in the foreground'
            : 'it is known of a server in the foreground that waits for its children',
        figures: { pid: found?.process?.pid ?? null },
      };
    }
    const served = server?.requests_counted ?? 0;
    if (run.backend !== 'command' || served === 0 || server?.cpu_us_per_request !== null) return null;
    return {
      severity: 'warning',
      badness: 1,
      message: "the server's CPU time is not shown: its processes used none that the system could see",
      hint: 'measure longer with --duration; or another process does the work',
      figures: { requests: served },
    };
  },
};

const serverLeft: WindowRule = {
  code: 'server_left',
  check({ server_left: left }) {
    if (left === undefined) return null;
    return {
      severity: 'warning',
      badness: 1,
      message: `${processInWords(left)} still listens on the server's port after the end; the run did not start it, and has not ended it`,
      hint: `end it yourself, for example with: kill ${left.pid}`,
      figures: { pid: left.pid },
    };
  },
};

/** A command is somebody else's server: it is compared without what the others do for each request. */
const serviceNotApplied: WindowRule = {
  code: 'service_not_applied',
  check(_window, { run, plan }) {
    const names = serviceNames.filter((name) => serviceNs(name, run) > 0);
    const isCommand = plan.modes.some(({ mode, command }) => mode === run.mode && command !== null);
    if (names.length === 0 || !isCommand) return null;
    return {
      severity: 'warning',
      badness: 1,
      message: `the command knows nothing of ${names.map((name) => `--${name}`).join(' and ')}: its requests are plain echoes`,
      hint: 'compare it without them, or let the command do the same itself',
      figures: {},
    };
  },
};

export const commandRules: readonly WindowRule[] = [serverOutside, serverCpuUnknown, serverLeft, serviceNotApplied];
