/**
 * Echo servers with a known response time, for the proofs. `node rigged-server.js PORT delay MS` answers each chunk MS after it
 * arrived; `node rigged-server.js PORT stall MS` stops completely for MS at every whole second. They wait by spinning, so that the
 * error of their timer is only tens of microseconds.
 */
import { createServer, type Socket } from 'node:net';

const [portText = '0', kind = 'delay', amountText = '5'] = process.argv.slice(2);
const amountMs = Number(amountText);

interface Pending {
  readonly socket: Socket;
  readonly chunk: Buffer;
  readonly dueMs: number;
}

const queue: Pending[] = [];

/** Answers the chunks that are due, and keeps spinning while others wait. */
function answerDue(): void {
  let answered = 0;
  const now = performance.now();
  for (const pending of queue) {
    if (pending.dueMs > now) break;
    if (!pending.socket.destroyed) pending.socket.write(pending.chunk);
    answered += 1;
  }
  queue.splice(0, answered);
  if (queue.length > 0) setImmediate(answerDue);
}

function delay(socket: Socket, chunk: Buffer): void {
  queue.push({ socket, chunk, dueMs: performance.now() + amountMs });
  if (queue.length === 1) setImmediate(answerDue);
}

/** Chunks that arrive in the first MS of a second wait for its end. So does everything else, because the thread is blocked. */
function stall(socket: Socket, chunk: Buffer): void {
  const leftMs = amountMs - (Date.now() % 1_000);
  if (leftMs > 0) {
    const end = performance.now() + leftMs;
    while (performance.now() < end);
  }
  socket.write(chunk);
}

const answer = kind === 'stall' ? stall : delay;

createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk: Buffer) => {
    answer(socket, chunk);
  });
}).listen({ host: '127.0.0.1', port: Number(portText), backlog: 4_096 });
