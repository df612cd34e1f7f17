/** serve(): one server in this process, for a program. */
import { BenchError } from '../model/errors.js';
import type { ServerStats } from '../model/figures.js';
import { initialOrNull, serverOptionValues, type ServerOptionValues } from '../model/options.js';
import { bounds, parseChoice, parseCount, parseHost, parseMode, parsePort, parseSizeBytes } from '../model/parse.js';
import {
  checkServerProtocol,
  defaultBodySizeBytes,
  serverProtocols,
  type ServerProtocol,
} from '../model/server-protocol.js';
import { checkService } from '../model/service.js';
import { startRunningServer } from '../server/running.js';
import { requireMode } from '../server/modes.js';

/** The usage of the process, which counting would add to, is not part of a Server. */
export type ServeOptions = Partial<Omit<ServerOptionValues, 'countInstructions'>> & {
  /** Name of a mode, for example 'iocp'. */
  readonly mode: string;
  /** Default: '127.0.0.1'. An echo server has no authentication: another address can be reached from other machines. */
  readonly host?: string;
  /** Default: 0, the system chooses. */
  readonly port?: number;
  /** Listen on host, host+1, ... with the same port. Default: 1. */
  readonly addresses?: number;
  /** What the server speaks. Default: 'echo'. */
  readonly protocol?: ServerProtocol;
  /** http: size of the body of a reply, 0 to 1 MiB. Default: 13. */
  readonly bodySizeBytes?: number;
  /** echo: size of a request, used with workUs and waitMs. Default: 64. */
  readonly messageSizeBytes?: number;
};

/** A server that runs in this process. */
export interface Server {
  readonly mode: string;
  /** What serves the mode: on Linux, 'io_uring' serves 'iocp'. */
  readonly backend: string;
  readonly host: string;
  readonly port: number;
  /** Counters since the start. Cheap; not valid after stop(). */
  stats(): ServerStats;
  /**
   * Stops accepting, echoes what has been received, and closes. Connections that are left after deadlineMs (0 to 600000; default: 5000)
   * are reset, and deadlineMissed is then true.
   */
  stop(deadlineMs?: number): Promise<{ stats: ServerStats; deadlineMissed: boolean }>;
}

const stopDeadlineMs = 5_000;

/**
 * Starts a server in this process, as `iocp-bench serve` does. Its threads are the server's own, except for mode 'node', which
 * runs in the event loop. It prints nothing and installs no signal handlers; the process can end while it runs.
 *
 * @throws BenchError 'usage', 'unavailable', 'addressInUse' and the like: what failed, and what to do
 */
export async function serve(options: ServeOptions): Promise<Server> {
  const { mode: name, host: where = '127.0.0.1', port = 0, addresses = 1, ...more } = options;
  const { protocol = 'echo', bodySizeBytes, messageSizeBytes, ...values } = more;
  const mode = parseMode('mode')(name);
  const host = parseHost('host')(where);
  const { backend } = requireMode(mode);
  checkService({
    worksUs: [values.workUs ?? 0],
    waitsMs: [values.waitMs ?? 0],
    waitBlocks: values.waitBlocks ?? false,
  });
  checkServerProtocol({
    protocol: parseChoice('protocol', serverProtocols)(protocol),
    bodySizeBytes,
    messageSizeBytes,
  });
  const running = await startRunningServer({
    ...serverOptionValues({ ...initialOrNull(), ...values }, { work_us: values.workUs, wait_ms: values.waitMs }),
    backend,
    host,
    port: parsePort('port')(String(port)),
    addressCount: parseCount('addresses', bounds.addresses)(String(addresses)),
    connectionsExpected: 0,
    protocol,
    bodySizeBytes: parseSizeBytes('bodySize', bounds.bodySizeBytes)(String(bodySizeBytes ?? defaultBodySizeBytes)),
    messageSizeBytes: parseSizeBytes('messageSize', bounds.messageSizeBytes)(String(messageSizeBytes ?? 64)),
  });
  return {
    mode,
    backend,
    host,
    port: running.port,
    stats: () => running.stats(),
    stop: async (deadlineMs = stopDeadlineMs) => {
      if (!(deadlineMs >= 0 && deadlineMs <= 600_000)) {
        throw new BenchError('usage', `deadlineMs ${deadlineMs} is out of range`, 'it takes 0 to 600000');
      }
      const { stats, deadline_missed: deadlineMissed } = await running.stop(deadlineMs);
      return { stats, deadlineMissed };
    },
  };
}
