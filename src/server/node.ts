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
import { createServer, type Socket } from 'node:net';
import type { ServerStats } from '../model/figures.js';
import { NodeListeners, type SystemError } from './node-listeners.js';
import { ServedConnection, type NodeService } from './node-service.js';

export interface NodeServerOptions {
  /** Addresses to listen on, all with the same port. */
  hosts: readonly string[];
  port: number;
  backlog: number;
  /** What a request costs besides its echo; null: nothing. */
  service: NodeService | null;
}

export class NodeEchoServer {
  private readonly listeners: NodeListeners;
  private readonly sockets = new Set<Socket>();
  /** Sockets that still had bytes to send after their last write. */
  private readonly unsent = new Set<Socket>();
  private readonly served = new Map<Socket, ServedConnection>();
  private requests = 0;
  private bytesReceived = 0;
  private bytesQueued = 0;
  private receivesPaused = 0;
  private stopped = false;

  private constructor(
    backlog: number,
    private readonly service: NodeService | null,
  ) {
    this.listeners = new NodeListeners(backlog, this.sockets);
  }

  /** Resolves when every address listens. */
  static async start({
    hosts,
    port,
    backlog,
    service,
  }: NodeServerOptions): Promise<{ server: NodeEchoServer; port: number }> {
    const echo = new NodeEchoServer(backlog, service);
    const bound = await echo.listeners.listen(hosts, port, () =>
      createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
        echo.serve(socket);
      }),
    );
    return { server: echo, port: bound };
  }

  /** Echoes with back-pressure: the server does not read from a peer that does not read, so that memory stays bounded. */
  private serve(socket: Socket): void {
    this.listeners.countOpened();
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
      this.listeners.countError(error);
    });
    socket.on('close', () => {
      this.sockets.delete(socket);
      this.unsent.delete(socket);
      this.listeners.countClosed();
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

  stats(): ServerStats {
    return {
      ...this.listeners.stats(),
      ...this.service?.stats(),
      requests: this.requests,
      bytes_received: this.bytesReceived,
      bytes_sent: this.bytesQueued - this.bytesWaiting(),
      receives_paused: this.receivesPaused,
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
    this.listeners.close();
    // One turn of the event loop, so that bytes that have already arrived are read and echoed before the socket closes.
    await new Promise((resolve) => setImmediate(resolve));
    const idle = this.listeners.untilIdle(deadlineMs);
    for (const socket of this.sockets) this.endSoon(socket);
    const deadlineMissed = await idle;
    return { stats: this.stats(), deadline_missed: deadlineMissed };
  }
}
