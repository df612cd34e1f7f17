/**
 * Small clients on node:net that behave like real ones, including badly behaved ones. They share no code with the load generator,
 * so that a bug in one cannot hide in the other.
 */
import { connect, type Socket } from 'node:net';
import { within } from './wait.js';

/** Bytes that depend on seed and position (xorshift32), so that a swap, a loss or a shift is detected. */
export function pattern(seed: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = (seed ^ 0x9e3779b9) | 1;
  for (let at = 0; at < length; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[at] = state & 0xff;
  }
  return bytes;
}

/** Position of the first byte that differs; -1 if equal. */
export function firstDifference(left: Buffer, right: Buffer): number {
  if (left.equals(right)) return -1;
  const length = Math.min(left.length, right.length);
  for (let at = 0; at < length; at++) if (left[at] !== right[at]) return at;
  return length;
}

/** One client connection. It reads only on request, so that "never reads" needs no special client. */
export class Client {
  readonly socket: Socket;
  /** Settles when the socket is closed, with its error if it had one. */
  readonly closed: Promise<Error | null>;
  #error: Error | null = null;

  private constructor(socket: Socket) {
    this.socket = socket;
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        resolve(this.#error);
      });
    });
    socket.on('error', (error) => {
      this.#error = error;
    });
  }

  static async connect(port: number, host = '127.0.0.1'): Promise<Client> {
    const socket = connect({ port, host, noDelay: true, allowHalfOpen: true });
    const client = new Client(socket);
    const connected = new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('close', () => {
        reject(client.#error ?? new Error('closed while connecting'));
      });
    });
    try {
      await within(connected, `connecting to ${host}:${port}`);
    } catch (error) {
      socket.destroy();
      throw error;
    }
    return client;
  }

  /** Resolves when the kernel has taken the bytes. */
  async send(bytes: Uint8Array): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.socket.write(bytes, (error) => {
        if (error) reject(error);
        else resolve();
      });
    });
  }

  /** Exactly `length` bytes; rejects if the connection ends before. After a timeout the bytes can be received again. */
  async receive(length: number, deadlineMs?: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    const reading = { wanted: true };
    let missing = length;
    const whole = (async () => {
      while (missing > 0) {
        const part = await this.#next(missing, reading);
        if (part === null) throw new Error(`the connection ended ${missing} bytes before the end of ${length}`);
        parts.push(part);
        missing -= part.length;
      }
      return Buffer.concat(parts, length);
    })();
    try {
      return await within(whole, `receiving ${length} bytes`, deadlineMs);
    } catch (error) {
      reading.wanted = false;
      if (parts.length > 0 && !this.socket.destroyed) this.socket.unshift(Buffer.concat(parts));
      throw error;
    }
  }

  /** Everything until the server's FIN; rejects on a reset. */
  async receiveToEnd(): Promise<Buffer> {
    const parts: Buffer[] = [];
    const whole = (async () => {
      for (;;) {
        const part = await this.#next();
        if (part === null) return Buffer.concat(parts);
        parts.push(part);
      }
    })();
    return await within(whole, 'receiving to the end');
  }

  /** Sends, and returns the reply. */
  async echo(bytes: Buffer): Promise<Buffer> {
    const [back] = await Promise.all([this.receive(bytes.length), this.send(bytes)]);
    return back;
  }

  /** Sends a FIN; reading continues. */
  halfClose(): void {
    this.socket.end();
  }

  /** FIN both ways; settles when the socket is gone. */
  async close(): Promise<void> {
    this.socket.end();
    this.socket.resume();
    await within(this.closed, 'closing a client');
  }

  /** Sends a RST, regardless of bytes in flight. */
  reset(): void {
    this.socket.resetAndDestroy();
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** The next bytes (at most `most`), or null at the end of the stream. A reader that has given up takes none. */
  async #next(most?: number, reading = { wanted: true }): Promise<Buffer | null> {
    for (;;) {
      if (!reading.wanted) throw new Error('no longer wanted');
      const available = this.socket.readableLength;
      if (available > 0) {
        const size = most === undefined ? available : Math.min(available, most);
        const part = this.socket.read(size) as Buffer | null;
        if (part !== null) return part;
      }
      if (this.socket.readableEnded) return null;
      if (this.socket.destroyed) throw this.#error ?? new Error('the connection was closed');
      await this.#changed();
    }
  }

  async #changed(): Promise<void> {
    const { socket } = this;
    await new Promise<void>((resolve) => {
      const done = () => {
        socket.off('readable', done);
        socket.off('end', done);
        socket.off('close', done);
        resolve();
      };
      socket.on('readable', done);
      socket.on('end', done);
      socket.on('close', done);
    });
  }
}

/** Runs `work` over the numbers 0..count-1, at most `parallel` at a time. */
export async function inParallel(
  count: number,
  parallel: number,
  work: (index: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < count) {
      const index = next;
      next += 1;
      await work(index);
    }
  };
  await Promise.all(Array.from({ length: Math.min(parallel, count) }, lane));
}

/**
 * Sends without reading until nothing more goes out for `quietMs`, and returns how many bytes the server and both kernels took.
 * Stops at `limit`: a server that takes that much buffers data that it should leave to TCP's flow control.
 */
export async function fillUntilStuck(client: Client, block: Buffer, limit: number, quietMs: number): Promise<number> {
  let taken = 0;
  while (taken < limit) {
    const sent = client.send(block).then(
      () => 'sent' as const,
      () => 'closed' as const,
    );
    const quiet = new Promise<'stuck'>((resolve) => {
      setTimeout(resolve, quietMs, 'stuck');
    });
    const outcome = await Promise.race([sent, quiet]);
    // The stuck block goes out as soon as the client reads, so it counts as taken when the echo is checked.
    if (outcome === 'closed') return taken;
    taken += block.length;
    if (outcome === 'stuck') return taken;
  }
  return taken;
}
