/** How the server ended connections, in words: for warnings, and for the reason of a window without a request. */
import type { CompletedWindow, Connections } from '../model/report-schema.js';
import { answerName, type ProtocolName } from '../model/exchange.js';
import { duration, grouped } from '../model/words.js';

function answers(count: number, protocol: ProtocolName): string {
  const [one, several] = answerName(protocol) === 'echo' ? ['echo', 'echoes'] : ['reply', 'replies'];
  return `${grouped(count)} ${count === 1 ? one : several}`;
}

/** Two times that differ by less than this share read as one. */
const sameTimeFraction = 0.1;

/** After how many echoes the server closes each connection; null when the counts differ, or too few were closed to say so. */
export function echoesPerConnection({ made, closed_after_echoes: closed }: Connections): number | null {
  if (closed === undefined || closed.min !== closed.max) return null;
  return closed.count * 2 >= made ? closed.min : null;
}

/** What the server did to connections in use, and what to do about it; null when it closed none. */
export function closedAfterEchoes(
  connections: Connections,
  protocol: ProtocolName = 'echo',
): { what: string; hint: string } | null {
  const { closed_after_echoes: closed } = connections;
  if (closed === undefined) return null;
  const each = echoesPerConnection(connections);
  if (each !== null && each > 0) {
    return {
      what: `the server closes each connection after ${answers(each, protocol)}`,
      hint: `--requests-per-connection ${each} connects again in time`,
    };
  }
  const most = answers(closed.max, protocol);
  const range = closed.min === closed.max ? most : `${grouped(closed.min)} to ${most}`;
  return { what: `the server closed ${grouped(closed.count)} connections after ${range}`, hint: 'see its log' };
}

/** How long connections had been idle when the server closed them: "2 s", "1.4 s to 2 s". */
export function idleTime({ after_min_ns: min, after_max_ns: max }: NonNullable<Connections['closed_idle']>): string {
  return max - min <= sameTimeFraction * max ? duration(min) : `${duration(min)} to ${duration(max)}`;
}

/** A share of the window up to which a wait of the client for FINs changes no figure that is shown. */
const finWaitTolerated = 0.01;

/** True when the client's own wait for FINs that did not come kept connections from sending: the rates say little about the server. */
export function heldBackByFins({ churn }: Pick<CompletedWindow, 'churn'>): boolean {
  return (churn?.fin_wait_fraction ?? 0) > finWaitTolerated;
}
