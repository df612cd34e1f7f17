/** An echo server that logs when each message arrives, and the statistics of the log. */
import { createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { monitorEventLoopDelay, type IntervalHistogram } from 'node:perf_hooks';
import type { Test } from 'tap';

/** Messages have this many bytes. */
const messageBytes = 64;

export class ArrivalLog {
  /** Times of all messages after the first one of each connection, in ms. */
  readonly arrivals: number[] = [];
  private readonly sockets: Socket[] = [];
  private readonly server: Server;
  private readonly delay: IntervalHistogram = monitorEventLoopDelay({ resolution: 1 });

  constructor(test: Test) {
    this.server = createServer((socket) => {
      this.serve(socket);
    });
    this.delay.enable();
    test.teardown(() => {
      this.delay.disable();
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

  /** How late this server may have seen a message, at the 99th percentile, in ms. */
  lateness(): number {
    // The monitor's own timer of 1 ms is a part of what it reports.
    return this.delay.percentile(99) / 1e6 - 1;
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
