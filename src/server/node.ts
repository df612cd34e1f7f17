/**
 * The `node` mode: Node's own net server, as a JavaScript developer would write it. One process with one JavaScript thread; libuv
 * waits with epoll on Linux and with a completion port on Windows.
 *
 * Differences from the other models, which the report and the conformance suite therefore leave out:
 * - read buffer: libuv reads up to 64 KiB at a time, regardless of --receive-buffer;
 * - backlog on Windows: a plain listen(n), for which the system queues 200 (SOMAXCONN_HINT is not available);
 * - connections without a free descriptor: libuv accepts them on a spare one and closes them at once, uncounted (uv__emfile_trick);
 * - connections whose peer left before accept: libuv ignores ECONNABORTED, uncounted.
 *
 * Requires Node 18.3 (socket.resetAndDestroy), so it runs wherever the tool does.
 */
import { readFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { BenchError } from '../model/errors.js';
import { hostPortText } from '../model/parse.js';
import { unknownServerStats, type ServerStats } from '../model/figures.js';
import { isLinux, isWindows } from '../platform.js';
import { ServedConnection, type NodeService } from './node-service.js';

export interface NodeServerOptions {
  /** Addresses to listen on, all with the same port. */
  hosts: readonly string[];
  port: number;
  backlog: number;
  /** What a request costs besides its echo; null: nothing. */
  service: NodeService | null;
}

export interface SystemError extends Error {
  code?: string;
  errno?: number;
}

export class NodeEchoServer {
  private readonly servers: Server[] = [];
  private readonly sockets = new Set<Socket>();
  /** Sockets that still had bytes to send after their last write. */
  private readonly unsent = new Set<Socket>();
  private readonly served = new Map<Socket, ServedConnection>();
  private accepted = 0;
  private closed = 0;
  private requests = 0;
  private bytesReceived = 0;
  private bytesQueued = 0;
  private receivesPaused = 0;
  private errorsReset = 0;
  private errorsDescriptors = 0;
  private errorsMemory = 0;
  private errorsOther = 0;
  private lastOsCode = 0;
  private stopped = false;
  private onIdle: (() => void) | null = null;

  private constructor(
    private readonly backlog: number,
    private readonly service: NodeService | null,
  ) {}

  /** Resolves when every address listens. */
  static async start({
    hosts,
    port,
    backlog,
    service,
  }: NodeServerOptions): Promise<{ server: NodeEchoServer; port: number }> {
    const echo = new NodeEchoServer(backlog, service);
    let bound = port;
    try {
      for (const host of hosts) bound = await echo.listen(host, bound);
    } catch (error) {
      for (const server of echo.servers) server.close();
      throw error;
    }
    return { server: echo, port: bound };
  }

  private async listen(host: string, port: number): Promise<number> {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      this.serve(socket);
    });
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

  /** Echoes with back-pressure: the server does not read from a peer that does not read, so that memory stays bounded. */
  private serve(socket: Socket): void {
    this.accepted += 1;
    this.sockets.add(socket);
    const served = this.service === null ? null : this.serveSlowly(socket, this.service);
    if (served === null) {
      socket.on('data', (chunk: Buffer) => {
        this.requests += 1;
        this.bytesReceived += chunk.length;
        this.send(socket, chunk);
      });
    }
    socket.on('drain', () => {
      if (served?.isBusy !== true) socket.resume();
    });
    // Half-close: bytes received before the FIN are echoed before our own FIN is sent.
    socket.on('end', () => {
      if (served?.isBusy !== true) socket.end();
    });
    socket.on('error', (error: SystemError) => {
      this.countError(error);
    });
    socket.on('close', () => {
      this.closed += 1;
      this.sockets.delete(socket);
      this.unsent.delete(socket);
      if (this.sockets.size === 0) this.onIdle?.();
    });
    if (this.stopped) socket.destroySoon();
  }

  private send(socket: Socket, bytes: Buffer): void {
    this.bytesQueued += bytes.length;
    const room = socket.write(bytes);
    if (socket.writableLength > 0) this.unsent.add(socket);
    if (room) return;
    this.receivesPaused += 1;
    socket.pause();
  }

  /** The same for requests that cost more than their echo. A peer that sends more while a request waits is not read meanwhile. */
  private serveSlowly(socket: Socket, service: NodeService): ServedConnection {
    const served = new ServedConnection(
      service,
      (bytes) => {
        this.send(socket, bytes);
      },
      () => {
        if (this.stopped) socket.destroySoon();
        else if (socket.readableEnded) socket.end();
        else if (!socket.writableNeedDrain) socket.resume();
      },
    );
    this.served.set(socket, served);
    socket.on('data', (chunk: Buffer) => {
      this.requests += 1;
      this.bytesReceived += chunk.length;
      if (served.isBusy) socket.pause();
      served.receive(chunk);
    });
    socket.on('close', () => {
      this.served.delete(socket);
      served.abandon();
    });
    return served;
  }

  /** Closes a socket after its last echo; one whose request waits is closed when that is answered. */
  private endSoon(socket: Socket): void {
    if (this.served.get(socket)?.isBusy !== true) socket.destroySoon();
  }

  private countError(error: SystemError): void {
    this.lastOsCode = Math.abs(error.errno ?? 0);
    if (error.code === 'ECONNRESET' || error.code === 'EPIPE') this.errorsReset += 1;
    else if (error.code === 'EMFILE' || error.code === 'ENFILE') this.errorsDescriptors += 1;
    else if (error.code === 'ENOBUFS' || error.code === 'ENOMEM') this.errorsMemory += 1;
    else this.errorsOther += 1;
  }

  stats(): ServerStats {
    return {
      ...unknownServerStats,
      ...this.service?.stats(),
      accepted: this.accepted,
      closed: this.closed,
      requests: this.requests,
      bytes_received: this.bytesReceived,
      bytes_sent: this.bytesQueued - this.bytesWaiting(),
      errors_reset: this.errorsReset,
      errors_descriptors: this.errorsDescriptors,
      errors_memory: this.errorsMemory,
      errors_other: this.errorsOther,
      receives_paused: this.receivesPaused,
      worker_connections_min: this.sockets.size,
      worker_connections_max: this.sockets.size,
      workers: 1,
      threads: 1,
      threads_max: 1,
      backlog: effectiveBacklog(this.backlog),
      last_os_code: this.lastOsCode,
      features: isWindows ? 'libuv iocp' : 'libuv epoll',
    };
  }

  /** Bytes that wait in this process for their socket. Checks only sockets that had some. */
  private bytesWaiting(): number {
    let waiting = 0;
    for (const socket of this.unsent) {
      if (socket.writableLength === 0) this.unsent.delete(socket);
      else waiting += socket.writableLength;
    }
    return waiting;
  }

  /** Stops accepting, echoes the bytes received so far and closes. Connections left at the deadline are reset. */
  async stop(deadlineMs: number): Promise<{ stats: ServerStats; deadline_missed: boolean }> {
    this.stopped = true;
    for (const server of this.servers) server.close();
    // One turn of the event loop, so that bytes that have already arrived are read and echoed before the socket closes.
    await new Promise((resolve) => setImmediate(resolve));
    const idle = new Promise<void>((resolve) => {
      this.onIdle = resolve;
      if (this.sockets.size === 0) resolve();
    });
    for (const socket of this.sockets) this.endSoon(socket);
    let deadlineMissed = false;
    const timer = setTimeout(() => {
      deadlineMissed = this.sockets.size > 0;
      for (const socket of this.sockets) socket.resetAndDestroy();
    }, deadlineMs);
    await idle;
    clearTimeout(timer);
    return { stats: this.stats(), deadline_missed: deadlineMissed };
  }
}

/** Why a server cannot listen there. */
export function listenError(error: SystemError, host: string, port: number): BenchError {
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
export function effectiveBacklog(backlog: number): number | null {
  if (!isLinux) return null;
  try {
    return Math.min(backlog, Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8')));
  } catch {
    return null;
  }
}
