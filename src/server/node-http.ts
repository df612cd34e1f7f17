/**
 * The `node` mode with --protocol http: Node's own http server, as a JavaScript developer would write it.
 *
 * Differences from the other models (native/src/server/http_request.h), which the conformance suite therefore leaves out or allows for:
 * - the header of a reply: Node adds Date and Connection, so its replies are longer;
 * - what counts as malformed, and how far past 16 KiB a header may go before 431, is for Node's parser to say;
 * - read buffer, backlog and failed accepts: as src/server/node.ts says.
 *
 * Time limits on idle connections and slow requests are off, because the other models have none.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { unknownServerStats, type ServerStats } from '../model/figures.js';
import { isWindows } from '../platform.js';
import { effectiveBacklog, listenError, type NodeServerOptions, type SystemError } from './node.js';
import type { NodeService } from './node-service.js';

/** The limit of the other models; also Node's default. */
const headerBytesMax = 16 * 1024;

/** A connection, and its requests that are not answered yet. */
interface Connection {
  outstanding: number;
  /** Refused: what still comes is ignored. */
  isOver: boolean;
}

export class NodeHttpServer {
  private readonly servers: Server[] = [];
  private readonly connections = new Map<Socket, Connection>();
  private readonly headers: Readonly<Record<string, string | number>>;
  private accepted = 0;
  private closed = 0;
  private requests = 0;
  private rejected = 0;
  /** Bytes of connections that are closed. */
  private bytesReceived = 0;
  private bytesSent = 0;
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
    private readonly body: Buffer,
  ) {
    this.headers = { 'Content-Type': 'text/plain', 'Content-Length': body.length };
  }

  /** Resolves when every address listens. */
  static async start({
    hosts,
    port,
    backlog,
    service,
    bodySizeBytes,
  }: NodeServerOptions & { readonly bodySizeBytes: number }): Promise<{ server: NodeHttpServer; port: number }> {
    const http = new NodeHttpServer(backlog, service, Buffer.alloc(bodySizeBytes, 'Hello, World!'));
    let bound = port;
    try {
      for (const host of hosts) bound = await http.listen(host, bound);
    } catch (error) {
      for (const server of http.servers) server.close();
      throw error;
    }
    return { server: http, port: bound };
  }

  private async listen(host: string, port: number): Promise<number> {
    const server = createServer(
      {
        maxHeaderSize: headerBytesMax,
        noDelay: true,
        keepAliveTimeout: 0,
        headersTimeout: 0,
        requestTimeout: 0,
        // Checked here, so that the refusal is counted.
        requireHostHeader: false,
      },
      (request, response) => {
        this.answer(request, response);
      },
    );
    this.servers.push(server);
    server.on('connection', (socket) => {
      this.opened(socket);
    });
    server.on('clientError', (error: SystemError, socket: Socket) => {
      this.clientFailed(error, socket);
    });
    // A tunnel, which Node would refuse by closing the connection.
    server.on('connect', ({ socket }) => {
      this.reject(socket, '400 Bad Request');
    });
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

  private opened(socket: Socket): void {
    this.accepted += 1;
    this.connections.set(socket, { outstanding: 0, isOver: false });
    socket.on('close', () => {
      this.closed += 1;
      this.bytesReceived += socket.bytesRead;
      this.bytesSent += socket.bytesWritten;
      this.connections.delete(socket);
      if (this.connections.size === 0) this.onIdle?.();
    });
    if (this.stopped) socket.destroySoon();
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    const connection = this.connections.get(request.socket);
    if (connection !== undefined) connection.outstanding += 1;
    const { headers } = request;
    if (headers.host === undefined && request.httpVersion !== '1.0') {
      this.rejected += 1;
      if (connection !== undefined) connection.isOver = true;
      response.writeHead(400, { 'Content-Length': 0, Connection: 'close' }).end();
      return;
    }
    if (headers['content-length'] === undefined && headers['transfer-encoding'] === undefined) {
      this.serve(request, response);
      return;
    }
    // A request is whole with its body.
    request.once('end', () => {
      this.serve(request, response);
    });
    request.resume();
  }

  /** A request is whole: burns its work, waits, and answers. */
  private serve(request: IncomingMessage, response: ServerResponse): void {
    if (this.service === null) {
      this.reply(request, response);
      return;
    }
    const waiting = this.service.begin(() => {
      response.off('close', abandon);
      this.reply(request, response);
    });
    const abandon = (): void => {
      if (waiting !== null) clearTimeout(waiting);
      this.service?.drop(1);
    };
    if (waiting === null) this.reply(request, response);
    else response.once('close', abandon);
  }

  private reply({ socket }: IncomingMessage, response: ServerResponse): void {
    this.requests += 1;
    response.writeHead(200, this.headers);
    response.end(this.body);
    const connection = this.connections.get(socket);
    if (connection === undefined) return;
    connection.outstanding -= 1;
    if (this.stopped && connection.outstanding === 0) socket.destroySoon();
  }

  /** What is not a request, or a connection that failed. */
  private clientFailed(error: SystemError, socket: Socket): void {
    const { code } = error;
    if (code === 'HPE_CLOSED_CONNECTION') return; // what comes behind the last request is ignored
    if (code === 'HPE_HEADER_OVERFLOW') {
      this.reject(socket, '431 Request Header Fields Too Large');
    } else if (code?.startsWith('HPE_') === true && code !== 'HPE_INVALID_EOF_STATE') {
      this.reject(socket, '400 Bad Request');
    } else {
      // The peer left within a request; that is an error only if it left by a reset.
      if (code?.startsWith('HPE_') !== true) this.countError(error);
      socket.destroy();
    }
  }

  private reject(socket: Socket, status: string): void {
    const connection = this.connections.get(socket);
    if (connection?.isOver === true) return;
    if (!socket.writable) {
      socket.destroy();
      return;
    }
    if (connection !== undefined) connection.isOver = true;
    this.rejected += 1;
    socket.end(`HTTP/1.1 ${status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
  }

  private countError(error: SystemError): void {
    this.lastOsCode = Math.abs(error.errno ?? 0);
    if (error.code === 'ECONNRESET' || error.code === 'EPIPE') this.errorsReset += 1;
    else if (error.code === 'EMFILE' || error.code === 'ENFILE') this.errorsDescriptors += 1;
    else if (error.code === 'ENOBUFS' || error.code === 'ENOMEM') this.errorsMemory += 1;
    else this.errorsOther += 1;
  }

  stats(): ServerStats {
    let [received, sent] = [this.bytesReceived, this.bytesSent];
    for (const socket of this.connections.keys()) {
      received += socket.bytesRead;
      sent += socket.bytesWritten - socket.writableLength;
    }
    return {
      ...unknownServerStats,
      ...this.service?.stats(),
      accepted: this.accepted,
      closed: this.closed,
      requests: this.requests,
      rejected: this.rejected,
      bytes_received: received,
      bytes_sent: sent,
      errors_reset: this.errorsReset,
      errors_descriptors: this.errorsDescriptors,
      errors_memory: this.errorsMemory,
      errors_other: this.errorsOther,
      worker_connections_min: this.connections.size,
      worker_connections_max: this.connections.size,
      workers: 1,
      threads: 1,
      threads_max: 1,
      backlog: effectiveBacklog(this.backlog),
      last_os_code: this.lastOsCode,
      features: isWindows ? 'libuv iocp' : 'libuv epoll',
    };
  }

  /** Stops accepting, answers the requests received so far and closes. Connections left at the deadline are reset. */
  async stop(deadlineMs: number): Promise<{ stats: ServerStats; deadline_missed: boolean }> {
    // One turn of the event loop, so that requests that have already arrived are read and answered before the socket closes.
    await new Promise((resolve) => setImmediate(resolve));
    this.stopped = true;
    for (const server of this.servers) server.close();
    const idle = new Promise<void>((resolve) => {
      this.onIdle = resolve;
      if (this.connections.size === 0) resolve();
    });
    for (const [socket, { outstanding }] of this.connections) if (outstanding === 0) socket.destroySoon();
    let deadlineMissed = false;
    const timer = setTimeout(() => {
      deadlineMissed = this.connections.size > 0;
      for (const socket of this.connections.keys()) socket.resetAndDestroy();
    }, deadlineMs);
    await idle;
    clearTimeout(timer);
    return { stats: this.stats(), deadline_missed: deadlineMissed };
  }
}
