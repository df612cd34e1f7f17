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
import type { Socket } from 'node:net';
import type { ServerStats } from '../model/figures.js';
import type { NodeServerOptions } from './node.js';
import { NodeListeners, type SystemError } from './node-listeners.js';
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
  private readonly listeners: NodeListeners;
  private readonly connections = new Map<Socket, Connection>();
  private readonly headers: Readonly<Record<string, string | number>>;
  private requests = 0;
  private rejected = 0;
  /** Bytes of connections that are closed. */
  private bytesReceived = 0;
  private bytesSent = 0;
  private stopped = false;

  private constructor(
    backlog: number,
    private readonly service: NodeService | null,
    private readonly body: Buffer,
  ) {
    this.listeners = new NodeListeners(backlog, this.connections);
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
    const bound = await http.listeners.listen(hosts, port, () => http.makeServer());
    return { server: http, port: bound };
  }

  private makeServer(): Server {
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
    return server;
  }

  private opened(socket: Socket): void {
    this.listeners.countOpened();
    this.connections.set(socket, { outstanding: 0, isOver: false });
    socket.on('close', () => {
      this.bytesReceived += socket.bytesRead;
      this.bytesSent += socket.bytesWritten;
      this.connections.delete(socket);
      this.listeners.countClosed();
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
      waiting?.cancel();
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
      if (code?.startsWith('HPE_') !== true) this.listeners.countError(error);
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

  stats(): ServerStats {
    let [received, sent] = [this.bytesReceived, this.bytesSent];
    for (const socket of this.connections.keys()) {
      received += socket.bytesRead;
      sent += socket.bytesWritten - socket.writableLength;
    }
    return {
      ...this.listeners.stats(),
      ...this.service?.stats(),
      requests: this.requests,
      rejected: this.rejected,
      bytes_received: received,
      bytes_sent: sent,
    };
  }

  /** Stops accepting, answers the requests received so far and closes. Connections left at the deadline are reset. */
  async stop(deadlineMs: number): Promise<{ stats: ServerStats; deadline_missed: boolean }> {
    // One turn of the event loop, so that requests that have already arrived are read and answered before the socket closes.
    await new Promise((resolve) => setImmediate(resolve));
    this.stopped = true;
    this.listeners.close();
    const idle = this.listeners.untilIdle(deadlineMs);
    for (const [socket, { outstanding }] of this.connections) if (outstanding === 0) socket.destroySoon();
    const deadlineMissed = await idle;
    return { stats: this.stats(), deadline_missed: deadlineMissed };
  }
}
