/** Starts the server that a trial loads: a separate process for a mode or a command, nothing for a running target. */
import { serverOptionValues } from '../model/options.js';
import { startCommandServer } from '../server/command.js';
import { attachServer, spawnServer, type ServerProcess } from '../server/process.js';
import { connectionCounts, type BlastPlan } from '../model/plan.js';
import { isLoopback } from '../model/parse.js';
import { hasToEcho, serverProtocolOf } from '../model/server-protocol.js';
import { limitsOfServer } from '../server/server-limits.js';
import type { TrialTask } from './trial.js';

export function serverStarter(plan: BlastPlan): (task: TrialTask) => Promise<ServerProcess> {
  const cpus = plan.cpus.pinned ? plan.cpus.server : null;
  return async (task) => {
    const { spec, clients } = task;
    if (plan.target !== null) {
      const { host, port } = plan.target;
      const server = attachServer(host, port);
      // Only for a target on this machine: the same port of another machine cannot be read here.
      return isLoopback(host) ? { ...server, limits: () => limitsOfServer(host, port) } : server;
    }
    if (spec.command !== null) {
      return startCommandServer({ command: spec.command, host: plan.host, cpus, echoes: hasToEcho(plan) });
    }
    if (spec.serverMode === null) throw new Error(`mode ${spec.mode} has neither server nor command`);
    return spawnServer({
      mode: spec.serverMode,
      host: plan.host,
      port: 0,
      addressCount: 1,
      connectionsExpected: connectionCounts(plan, clients).total,
      messageSizeBytes: plan.messageSizeBytes,
      protocol: serverProtocolOf(plan.protocol),
      cpus: cpus === null ? null : [...cpus],
      controlCpus: plan.cpus.pinned ? [...plan.cpus.client] : null,
      ...serverOptionValues(plan, task),
    });
  };
}
