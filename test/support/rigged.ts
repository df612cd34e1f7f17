/**
 * Faulty servers, one per kind of fault, for tests of the client. As a program, `node rigged.js KIND [PORT]` prints one JSON line
 * {"event":"listening","port":n} and serves until it is killed or, if it was forked, until its parent ends.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { supportPath } from './environment.js';
import { within } from './wait.js';

/** What each connection does; `count` is the number of bytes of the stream before this chunk. */
type Behaviour = (socket: Socket, chunk: Buffer, count: number) => void;

/** Position in a connection's stream of the byte that `wrong-bytes` changes: in the middle of the first message of 64 bytes. */
export const wrongByte = 24;
/** `wrong-later`: the byte is in the middle of the tenth message, long after the connection was made. */
export const wrongByteLater = 9 * 64 + 30;
export const delayMs = 5;
/** `stall`: the whole server stops for stallMs, stallAfterMs after its first byte. Coordinated omission would hide it. */
export const stallMs = 500;
export const stallAfterMs = 1_500;

function echoWithFlip(position: number): Behaviour {
  return (socket, chunk, count) => {
    const at = position - count;
    const back = Buffer.from(chunk);
    if (at >= 0 && at < back.length) back[at] = (back[at] ?? 0) ^ 0xff;
    socket.write(back);
  };
}

let stallArmed = false;

function stallOnce(): void {
  if (stallArmed) return;
  stallArmed = true;
  setTimeout(() => {
    const end = performance.now() + stallMs;
    while (performance.now() < end);
  }, stallAfterMs);
}

let previous: Buffer | null = null;

export const closeIdleMs = 800;
export const closeIdleLaterMs = 2_500;

/** Not a connection whose bytes wait to be read, because this process had no CPU for as long. */
function closeIdleAfter(socket: Socket, idleMs: number): void {
  socket.setTimeout(idleMs);
  if (socket.listenerCount('timeout') > 0) return;
  socket.on('timeout', () => {
    const { bytesRead } = socket;
    setTimeout(() => {
      if (socket.bytesRead === bytesRead) socket.end();
    }, 5);
  });
}

/** `mute-after-pause`: how long a connection may be idle. */
export const idleLongestMs = 2_500;
const lastHeard = new WeakMap<Socket, number>();
/** `lines`: the bytes after the last newline. */
const lineHeld = new WeakMap<Socket, Buffer>();
/** `greeting`: sent before the server reads anything. */
const greeting = '220 mail.example.com ESMTP ready\r\n';

const behaviours = {
  /** A correct server, as the control. */
  echo: (socket, chunk) => {
    socket.write(chunk);
  },
  /** Not an echo server. */
  http: (socket, _, count) => {
    if (count === 0) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
  },
  /** A TLS alert: fatal, protocol_version. */
  tls: (socket, _, count) => {
    if (count === 0) socket.end(Buffer.of(0x15, 3, 1, 0, 2, 2, 70));
  },
  /** Sends a greeting first, then echoes. */
  greeting: (socket, chunk) => {
    socket.write(chunk);
  },
  prefix: (socket, chunk) => {
    socket.write(Buffer.concat([Buffer.from('echo: '), chunk]));
  },
  suffix: (socket, chunk) => {
    socket.write(Buffer.concat([chunk, Buffer.from('\n')]));
  },
  /** Echoes only complete lines, like a server that reads lines. */
  lines: (socket, chunk) => {
    const held = Buffer.concat([lineHeld.get(socket) ?? Buffer.alloc(0), chunk]);
    const whole = held.lastIndexOf(0x0a) + 1;
    lineHeld.set(socket, held.subarray(whole));
    if (whole > 0) socket.write(held.subarray(0, whole));
  },
  /** Treats the bytes as a C string. */
  strlen: (socket, chunk) => {
    const end = chunk.indexOf(0);
    if (end !== 0) socket.write(end < 0 ? chunk : chunk.subarray(0, end));
  },
  /** Accepts, reads, never answers. */
  silent: () => undefined,
  /** One byte of the echo, then FIN. */
  'close-after-one-byte': (socket, chunk, count) => {
    if (count === 0) socket.end(chunk.subarray(0, 1));
  },
  /** One byte of the echo, then RST. */
  'reset-after-one-byte': (socket, chunk, count) => {
    if (count > 0) return;
    socket.write(chunk.subarray(0, 1), () => {
      socket.resetAndDestroy();
    });
  },
  'wrong-bytes': echoWithFlip(wrongByte),
  'wrong-later': echoWithFlip(wrongByteLater),
  /** Echoes the previous message, from whichever connection it came. */
  swap: (socket, chunk) => {
    const other = previous;
    previous = Buffer.from(chunk);
    socket.write(other ?? chunk);
  },
  /** Every byte twice. */
  duplicate: (socket, chunk) => {
    socket.write(chunk);
    socket.write(chunk);
  },
  delay: (socket, chunk) => {
    setTimeout(() => {
      if (!socket.destroyed) socket.write(chunk);
    }, delayMs);
  },
  stall: (socket, chunk) => {
    stallOnce();
    socket.write(chunk);
  },
  /** Answers the first message and closes. */
  'answer-once': (socket, chunk, count) => {
    if (count === 0) socket.end(chunk);
  },
  /** Closes a connection that has no traffic for closeIdleMs. */
  'close-idle': (socket, chunk) => {
    closeIdleAfter(socket, closeIdleMs);
    socket.write(chunk);
  },
  /** The same for closeIdleLaterMs, which leaves a busy machine the time to begin a window before. */
  'close-idle-later': (socket, chunk) => {
    closeIdleAfter(socket, closeIdleLaterMs);
    socket.write(chunk);
  },
  /** Echoes, but does not close after the client's FIN. */
  'keep-open': (socket, chunk) => {
    socket.write(chunk);
  },
  /** Serves each connection its first 50 messages of 64 bytes, then closes it. */
  'close-later': (socket, chunk, count) => {
    if (count < 50 * 64) socket.write(chunk);
    else socket.destroy();
  },
  /** The first 20 messages of 64 bytes, then nothing more. */
  'mute-later': (socket, chunk, count) => {
    if (count < 20 * 64) socket.write(chunk);
  },
  /** Forgets idle connections, like a firewall: they stay open, but nothing is answered any more. */
  'mute-after-pause': (socket, chunk) => {
    const now = performance.now();
    const pauseMs = now - (lastHeard.get(socket) ?? now);
    if (pauseMs > idleLongestMs) return;
    lastHeard.set(socket, now);
    socket.write(chunk);
  },
} satisfies Record<string, Behaviour>;

export type RiggedKind = keyof typeof behaviours;

function listen(kind: RiggedKind, port: number): Server {
  const behaviour: Behaviour = behaviours[kind];
  const server = createServer({ noDelay: true, allowHalfOpen: kind === 'keep-open' }, (socket) => {
    let count = 0;
    socket.on('error', () => socket.destroy());
    if (kind === 'greeting') socket.write(greeting);
    socket.on('data', (chunk: Buffer) => {
      behaviour(socket, chunk, count);
      count += chunk.length;
    });
  });
  server.listen({ host: '127.0.0.1', port, backlog: 4096 });
  return server;
}

export class RiggedServer {
  readonly child: ChildProcess;
  readonly port: number;
  readonly target: string;

  private constructor(child: ChildProcess, port: number) {
    this.child = child;
    this.port = port;
    this.target = `127.0.0.1:${port}`;
  }

  static async start(kind: RiggedKind): Promise<RiggedServer> {
    const child = fork(join(supportPath, 'rigged.js'), [kind], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    const port = await within(
      new Promise<number>((resolve, reject) => {
        child.once('message', (message) => {
          resolve((message as { port: number }).port);
        });
        child.once('exit', (code) => {
          reject(new Error(`the rigged server ended with ${code ?? 'a signal'}`));
        });
      }),
      `the rigged server ${kind}`,
    );
    return new RiggedServer(child, port);
  }

  kill(): void {
    this.child.kill('SIGKILL');
  }
}

function main(): void {
  const [kind, port] = process.argv.slice(2);
  if (kind === undefined || !Object.hasOwn(behaviours, kind)) {
    process.stderr.write(`usage: rigged.js ${Object.keys(behaviours).join('|')} [PORT]\n`);
    process.exit(2);
  }
  const server = listen(kind as RiggedKind, Number(port ?? '0'));
  server.once('listening', () => {
    const address = server.address();
    const bound = address !== null && typeof address === 'object' ? address.port : 0;
    process.stdout.write(`${JSON.stringify({ event: 'listening', port: bound })}\n`);
    process.send?.({ port: bound });
  });
  // If the process that started the server dies, so does the server.
  process.once('disconnect', () => process.exit(0));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) main();
