/** What both servers of the `node` mode share: how they listen, count connections and failures, and end. */
import { readFileSync } from 'node:fs';
import type { AddressInfo, Server, Socket } from 'node:net';
import { BenchError } from '../model/errors.js';
import { unknownServerStats, type ServerStats } from '../model/figures.js';
import { hostPortText } from '../model/parse.js';
import { isLinux, isWindows } from '../platform.js';

export interface SystemError extends Error {
  code?: string;
  errno?: number;
}

/** The open connections: a set of sockets, or a map from them. */
type Open = Pick<ReadonlySet<Socket>, 'size' | 'keys'>;

export class NodeListeners {
  private readonly servers: Server[] = [];
  private accepted = 0;
  private closed = 0;
  private errorsReset = 0;
  private errorsDescriptors = 0;
  private errorsMemory = 0;
  private errorsOther = 0;
  private lastOsCode = 0;
  private onIdle: (() => void) | null = null;

  constructor(
    private readonly backlog: number,
    private readonly open: Open,
  ) {}

  /**
   * Listens on every address, all with the same port. Returns it.
   * @param create makes the server of an address
   * @throws BenchError if one cannot listen; then none does
   */
  async listen(hosts: readonly string[], port: number, create: () => Server): Promise<number> {
    let bound = port;
    try {
      for (const host of hosts) bound = await this.listenOn(create(), host, bound);
    } catch (error) {
      this.close();
      throw error;
    }
    return bound;
  }

  private async listenOn(server: Server, host: string, port: number): Promise<number> {
    this.servers.push(server);
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error: SystemError) => {
        reject(listenError(error, host, port));
      });
      server.listen({ host, port, backlog: this.backlog, ipv6Only: true, exclusive: true }, resolve);
    });
    server.removeAllListeners('error');
    // A failed accept is counted. Without this listener it would end the process.
    server.on('error', (error: SystemError) => {
      this.countError(error);
    });
    return (server.address() as AddressInfo).port;
  }

  /** Stops accepting. */
  close(): void {
    for (const server of this.servers) server.close();
  }

  countOpened(): void {
    this.accepted += 1;
  }

  /** Call when the connection is no longer among the open ones. */
  countClosed(): void {
    this.closed += 1;
    if (this.open.size === 0) this.onIdle?.();
  }

  countError(error: SystemError): void {
    this.lastOsCode = Math.abs(error.errno ?? 0);
    if (error.code === 'ECONNRESET' || error.code === 'EPIPE') this.errorsReset += 1;
    else if (error.code === 'EMFILE' || error.code === 'ENFILE') this.errorsDescriptors += 1;
    else if (error.code === 'ENOBUFS' || error.code === 'ENOMEM') this.errorsMemory += 1;
    else this.errorsOther += 1;
  }

  /** What is known without the requests. */
  stats(): ServerStats {
    return {
      ...unknownServerStats,
      accepted: this.accepted,
      closed: this.closed,
      errors_reset: this.errorsReset,
      errors_descriptors: this.errorsDescriptors,
      errors_memory: this.errorsMemory,
      errors_other: this.errorsOther,
      worker_connections_min: this.open.size,
      worker_connections_max: this.open.size,
      workers: 1,
      threads: 1,
      threads_max: 1,
      backlog: effectiveBacklog(this.backlog),
      last_os_code: this.lastOsCode,
      features: isWindows ? 'libuv iocp' : 'libuv epoll',
    };
  }

  /** Resolves when no connection is open. Those left at the deadline are reset: then it is true. */
  async untilIdle(deadlineMs: number): Promise<boolean> {
    const idle = new Promise<void>((resolve) => {
      this.onIdle = resolve;
      if (this.open.size === 0) resolve();
    });
    let deadlineMissed = false;
    const timer = setTimeout(() => {
      deadlineMissed = this.open.size > 0;
      for (const socket of this.open.keys()) socket.resetAndDestroy();
    }, deadlineMs);
    await idle;
    clearTimeout(timer);
    return deadlineMissed;
  }
}

/** Why a server cannot listen there. */
function listenError(error: SystemError, host: string, port: number): BenchError {
  const where = hostPortText(host, port);
  const [message, hint] = listenProblems.get(error.code ?? '')?.(where, host) ?? [];
  if (message === undefined)
    return new BenchError('runFailed', `cannot listen on ${where}: ${error.message}`, '', error);
  return new BenchError('unavailable', message, hint, error);
}

/** Why a port cannot be used, by the system's error code, and what to do. */
const listenProblems: ReadonlyMap<string, (where: string, host: string) => [string, string]> = new Map([
  [
    'EADDRINUSE',
    (where) => [`${where} is in use by another program`, 'choose another --port; 0 lets the system choose a free one'],
  ],
  [
    'EADDRNOTAVAIL',
    (_, host) => [`${host} is not an address of this machine`, 'choose another --host, for example 127.0.0.1'],
  ],
  ['EACCES', (where) => [`this user may not listen on ${where}`, 'choose a --port of 1024 or more']],
]);

/** Linux silently limits the backlog to somaxconn. Other systems do not show the value that they use. */
function effectiveBacklog(backlog: number): number | null {
  if (!isLinux) return null;
  try {
    return Math.min(backlog, Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8')));
  } catch {
    return null;
  }
}
