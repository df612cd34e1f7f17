/** An echo server that logs when each message arrives, and the statistics of the log. */
import { createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';

/** Messages have this many bytes. */
const messageBytes = 64;

export class ArrivalLog {
  /** Times of all messages after the first one of each connection, in ms. */
  readonly arrivals: number[] = [];
  private readonly sockets: Socket[] = [];
  private readonly server: Server;
  /** Times between two looks of a timer that fires every millisecond. */
  private readonly looks: number[] = [];

  constructor(test: Test) {
    this.server = createServer((socket) => {
      this.serve(socket);
    });
    let lookedAt = performance.now();
    const timer = setInterval(() => {
      const now = performance.now();
      this.looks.push(now - lookedAt);
      lookedAt = now;
    }, 1);
    test.teardown(() => {
      clearInterval(timer);
      for (const socket of this.sockets) socket.destroy();
      this.server.close();
    });
  }

  listen(): Promise<number> {
    return new Promise((resolve) => {
      this.server.listen(0, '127.0.0.1', () => {
        resolve((this.server.address() as AddressInfo).port);
      });
    });
  }

  /** Closes a connection that is in use. */
  lose(): void {
    this.sockets[0]?.resetAndDestroy();
  }

  /**
   * How late this server saw messages, at the 99th percentile, in ms, at most: what arrives between two looks of the timer is seen at the
   * second one at the latest. So one pause counts by its length, as it does for messages.
   */
  lateness(): number {
    const total = this.looks.reduce((sum, ms) => sum + ms, 0);
    const laterThan = (late: number): number => this.looks.reduce((sum, ms) => sum + Math.max(0, ms - late), 0) / total;
    let late = 1;
    while (late < 10_000 && laterThan(late) > 0.01) late *= 1.1;
    return late;
  }

  private serve(socket: Socket): void {
    let bytes = 0;
    this.sockets.push(socket);
    socket.setNoDelay(true);
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      const now = performance.now();
      const whole = Math.floor((bytes + chunk.length) / messageBytes) - Math.floor(bytes / messageBytes);
      if (bytes >= messageBytes) for (let at = 0; at < whole; at++) this.arrivals.push(now);
      bytes += chunk.length;
      socket.write(chunk);
    });
  }
}

export function gapsOf(times: readonly number[]): number[] {
  return times.slice(1).map((time, index) => time - (times[index] ?? 0));
}

/** The statistic of Kolmogorov and Smirnov against an exponential distribution, times sqrt(n). At 1% it is below 1.628. */
export function exponentialMisfit(gaps: readonly number[], mean: number): number {
  const sorted = [...gaps].sort((a, b) => a - b);
  const distances = sorted.flatMap((gap, index) => {
    const expected = 1 - Math.exp(-gap / mean);
    return [expected - index / sorted.length, (index + 1) / sorted.length - expected];
  });
  return Math.max(...distances) * Math.sqrt(sorted.length);
}

/** Variance / mean of the counts per 10 ms: 1 for a Poisson process, near 0 for even arrivals. */
export function dispersion(times: readonly number[]): number {
  const [first = 0] = times;
  const bins = Math.floor(((times.at(-1) ?? 0) - first) / 10);
  const counts = Array.from({ length: bins }, () => 0);
  for (const time of times) {
    const bin = Math.floor((time - first) / 10);
    if (bin < bins) counts[bin] = (counts[bin] ?? 0) + 1;
  }
  const mean = counts.reduce((sum, count) => sum + count, 0) / bins;
  return counts.reduce((sum, count) => sum + (count - mean) ** 2, 0) / bins / mean;
}
