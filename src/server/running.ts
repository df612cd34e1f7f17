/**
 * A server inside this process: a native backend, or Node's own. Only `serve` uses it; the conductor knows servers only through
 * src/server/process.ts.
 */
import { isIPv4 } from 'node:net';
import { BenchError } from '../model/errors.js';
import { protocolValues } from '../model/abi.generated.js';
import { startServer } from '../native/binding.js';
import type { ProcessUsage, ServerStats } from '../model/figures.js';
import type { ServerOptionValues } from '../model/options.js';
import { defaultBodySizeBytes, type ServerProtocol } from '../model/server-protocol.js';
import { NodeHttpServer } from './node-http.js';
import { NodeService } from './node-service.js';
import { NodeEchoServer } from './node.js';

/** The options of the server and where it listens. */
export interface RunningServerOptions extends ServerOptionValues {
  readonly backend: string;
  readonly host: string;
  /** 0: the system chooses. */
  readonly port: number;
  /** Listen on host, host+1, ... with the same port. */
  readonly addressCount: number;
  /** 0: unknown. */
  readonly connectionsExpected: number;
  /** Size of a request; used with work or wait. */
  readonly messageSizeBytes: number;
  readonly protocol: ServerProtocol;
}

export interface RunningServer {
  readonly port: number;
  stats(): ServerStats;
  /** Counters and usage of one moment; absent if the server is this process alone, whose usage is read apart. */
  sample?(withMemory: boolean): { usage: ProcessUsage; stats: ServerStats };
  stop(deadlineMs: number): Promise<{ stats: ServerStats; deadline_missed: boolean }>;
}

export async function startRunningServer(options: RunningServerOptions): Promise<RunningServer> {
  const { backend, host, port, backlog, bodySizeBytes } = options;
  if (backend === 'node') {
    const hosts = addressesFrom(host, options.addressCount);
    const place = { hosts, port, backlog, service: NodeService.start(options) };
    const started =
      options.protocol === 'http'
        ? await NodeHttpServer.start({ ...place, bodySizeBytes: bodySizeBytes ?? defaultBodySizeBytes })
        : await NodeEchoServer.start(place);
    const { server } = started;
    return { port: started.port, stats: () => server.stats(), stop: (deadlineMs) => server.stop(deadlineMs) };
  }
  const server = startServer({
    backend,
    host,
    port,
    address_count: options.addressCount,
    workers: options.workers ?? 0,
    backlog,
    receive_buffer_bytes: options.receiveBufferBytes,
    stack_size_bytes: options.stackSizeBytes,
    pool_threads: options.poolThreads,
    connections_expected: options.connectionsExpected,
    zero_byte_recv: options.zeroByteRecv,
    edge_triggered: options.edgeTriggered,
    wait_blocks: options.waitBlocks,
    message_size_bytes: options.messageSizeBytes,
    protocol: protocolValues[options.protocol],
    body_size_bytes: bodySizeBytes ?? defaultBodySizeBytes,
    work_ns: options.workUs * 1e3,
    wait_ns: options.waitMs * 1e6,
  });
  if (backend === 'process') return server;
  return { port: server.port, stats: () => server.stats(), stop: (deadlineMs) => server.stop(deadlineMs) };
}

/** host, host+1, ... as the native backends count them. More than one address requires IPv4. */
export function addressesFrom(host: string, count: number): string[] {
  if (count === 1) return [host];
  if (!isIPv4(host)) {
    throw new BenchError('usage', `--addresses ${count} needs an IPv4 --host`, 'for example --host 127.0.0.1');
  }
  const [a = 0, b = 0, c = 0, d = 0] = host.split('.').map(Number);
  const first = a * 2 ** 24 + b * 2 ** 16 + c * 2 ** 8 + d;
  if (first + count - 1 > 2 ** 32 - 1) {
    throw new BenchError('usage', `there are fewer than ${count} addresses from ${host} on`, 'choose a lower --host');
  }
  return Array.from({ length: count }, (_, index) => {
    const address = first + index;
    return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join('.');
  });
}
