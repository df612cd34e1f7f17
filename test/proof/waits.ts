/** Proofs of `--wait`: how precise it is under load, and that nothing but the wait and the service limits a closed loop. */
import { median } from '../../src/measure/statistics.js';
import { completedWindows } from '../../src/model/metrics.js';
import type { CompletedWindow, Phase, Report } from '../../src/model/report-schema.js';
import { runOf } from '../support/report.js';

type Blast = (args: readonly string[]) => Promise<Report>;
interface Outcome {
  readonly ok: boolean;
  readonly found: string;
}

const modes = ['blocking', 'process', 'pool', 'select', 'poll', 'epoll', 'io_uring', 'node'];
const servers = ['--modes', modes.join(','), '--pool-threads', '1000'];
const waitMs = 5;

/** The median over the windows of a mode; NaN, which no bound holds, if one of them does not have the figure. */
function figureOf(
  report: Report,
  mode: string,
  phase: Phase,
  read: (window: CompletedWindow) => number | null | undefined,
): number {
  const values = completedWindows(runOf(report, mode), phase).map((window) => read(window) ?? NaN);
  return values.some(Number.isNaN) ? NaN : (median(values) ?? NaN);
}

function listed(values: readonly number[], digits: number): string {
  return modes.map((mode, index) => `${mode} ${values[index]?.toFixed(digits) ?? ''}`).join(', ');
}

/** Node's timers count in whole ms, so that its waits may take one more. */
const mostMs = (mode: string): number => (mode === 'node' ? 6.5 : 5.6);

/** The response time p50 of 1,000 clients at 20% of the slowest mode's capacity is the wait and little more. */
export async function wait(blast: Blast): Promise<Outcome> {
  const load = ['--clients', '1000', '--wait', `${waitMs}ms`, '--phases', 'latency', '--rate', '20%'];
  const report = await blast([...servers, ...load, '--trials', '1']);
  const found = modes.map((mode) => figureOf(report, mode, 'latency', (window) => window.response_time_ns?.p50) / 1e6);
  const ok = modes.every((mode, index) => {
    const p50 = found[index] ?? NaN;
    return p50 >= waitMs && p50 <= mostMs(mode);
  });
  return { ok, found: `response p50 in ms: ${listed(found, 2)}` };
}

/**
 * A connection of a closed loop has one request at a time, so throughput is the number of connections over what a request waited, by the
 * server's own clock, and its service without a wait, which another run measures at about the same rate.
 */
export async function closedLoop(blast: Blast): Promise<Outcome> {
  const clients = 20;
  const rate = Math.round((0.95 * clients * 1_000) / waitMs);
  const shared = [...servers, '--clients', `${clients}`, '--trials', '3'];
  const waiting = await blast([...shared, '--phases', 'capacity', '--wait', `${waitMs}ms`]);
  const serving = await blast([...shared, '--phases', 'latency', '--rate', `${rate}/s`]);
  const ratios = modes.map((mode) => {
    const waitedMs = figureOf(waiting, mode, 'capacity', ({ server }) => server?.service?.wait_ms_per_request);
    const serviceMs = figureOf(serving, mode, 'latency', (window) => window.service_time_ns.mean) / 1e6;
    const perSecond = figureOf(waiting, mode, 'capacity', ({ requests }) => requests.per_second);
    return perSecond / (clients / ((waitedMs + serviceMs) / 1_000));
  });
  return {
    ok: ratios.every((ratio) => Math.abs(ratio - 1) <= 0.03),
    found: `throughput over clients / (waited + service): ${listed(ratios, 3)}`,
  };
}
