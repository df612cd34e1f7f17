/** An HTTP server in this process that answers in the forms that a test names, and counts what it was asked. */
import { createServer, type Server, type Socket } from 'node:net';
import type { Test } from 'tap';

/** Whole replies, by name. `end` closes the connection after it. */
export interface Form {
  readonly text: string;
  readonly end?: boolean;
}

/**
 * Chooses the replies of one connection by the time.
 * @param sinceMs since the second request of the connection; the first one makes it
 */
export type FormByTime = (sinceMs: number) => Form;

export class HttpRig {
  requests = 0;
  connections = 0;
  /** The head of the first request. */
  first = '';
  private readonly sockets = new Set<Socket>();

  private constructor(
    private readonly server: Server,
    readonly port: number,
  ) {}

  /**
   * @param forms the replies of a connection, in turn; after the last one comes the first again. A function is called for each connection.
   * @param greets sent when a connection begins
   */
  static async start(test: Test, forms: readonly Form[] | (() => FormByTime), greets = ''): Promise<HttpRig> {
    const server = createServer({ noDelay: true });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    const address = server.address();
    const rig = new HttpRig(server, address !== null && typeof address === 'object' ? address.port : 0);
    server.on('connection', (socket) => {
      rig.serve(socket, forms, greets);
    });
    test.teardown(() => {
      rig.stop();
    });
    return rig;
  }

  private serve(socket: Socket, forms: readonly Form[] | (() => FormByTime), greets: string): void {
    const byTime = typeof forms === 'function' ? forms() : null;
    const inTurn = typeof forms === 'function' ? [] : forms;
    let text = '';
    let number = 0;
    let secondAt = performance.now();
    this.connections++;
    this.sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => this.sockets.delete(socket));
    if (greets !== '') socket.write(greets);
    socket.on('data', (bytes) => {
      text += bytes.toString('latin1');
      for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
        if (this.first === '') this.first = text.slice(0, end);
        text = text.slice(end + 4);
        this.requests++;
        if (number <= 1) secondAt = performance.now();
        const form = byTime?.(performance.now() - secondAt) ?? inTurn[number % inTurn.length];
        number++;
        if (form === undefined || socket.writableEnded) return;
        if (form.end === true) socket.end(form.text, 'latin1');
        else socket.write(form.text, 'latin1');
      }
    });
  }

  private stop(): void {
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
  }
}
