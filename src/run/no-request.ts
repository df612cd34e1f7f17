/** Explains why a window has no answered request. Such a window reports this in place of figures. */
import { closedAfterEchoes, idleTime } from '../measure/ends.js';
import { answerName, type ProtocolName } from '../model/exchange.js';
import { duration, grouped, significant } from '../model/words.js';
import type { TimeoutPlaces } from '../model/wrong-reply.js';
import type { Connections, Errors, Plan } from '../model/report-schema.js';
import { lookOfSilence } from './silence.js';

/** The facts about a window that could not begin, or ended, without an answered request. */
export interface NoRequest {
  readonly connections: Connections;
  readonly errors: Errors;
  /** Requests due in the window; null: it did not begin. */
  readonly offered: number | null;
  /** Echoes of earlier messages that arrived during the window; 0 if it did not begin. */
  readonly answeredBefore: number;
  /** 0: closed loop. */
  readonly ratePerSecond: number;
  readonly durationMs: number;
  readonly timeoutMs: number;
  readonly arrivals: Plan['arrivals'];
  readonly protocol: ProtocolName;
  /** Where the replies stopped that were not complete in time. */
  readonly timeoutPlaces: TimeoutPlaces;
}

export function whyNoRequest(known: NoRequest): string {
  return `no request was answered: ${cause(known)}`;
}

function cause(known: NoRequest): string {
  const { connections, errors, offered, answeredBefore, ratePerSecond, durationMs, timeoutMs, timeoutPlaces } = known;
  const ended = closedAfterEchoes(connections, known.protocol);
  if (ended !== null) return `${ended.what}; ${ended.hint}`;
  const { closed_idle: idle } = connections;
  if (idle !== undefined && idle.active > 0) {
    return `the server closed ${grouped(idle.active)} active connections after ${idleTime(idle)} without traffic; raise --rate or lower --clients`;
  }
  if (offered === 0 && ratePerSecond > 0) {
    const rate = `${significant(ratePerSecond)}/s`;
    // Random arrivals leave a gap of five times the mean in less than one of a hundred windows.
    const between = duration((known.arrivals === 'poisson' ? 5e9 : 1e9) / ratePerSecond);
    return `none was due in the window of ${duration(durationMs * 1e6)} at ${rate}; use a --duration above ${between}, or a higher --rate`;
  }
  if ((errors.by_class['timeout'] ?? 0) > 0) {
    if (answeredBefore > 0 && ratePerSecond > 0) {
      const answered = `${significant((answeredBefore / durationMs) * 1_000)}/s`;
      const waited = `those due in the window waited longer than --timeout ${timeoutMs / 1000}s behind earlier ones`;
      return `the server answered ${answered} of ${significant(ratePerSecond)}/s offered, and ${waited}; lower --rate`;
    }
    return `none had its ${answerName(known.protocol)} within --timeout ${timeoutMs / 1000}s${lookOfSilence(timeoutPlaces)}`;
  }
  return errors.samples.at(-1)?.message ?? `the window ended before the first ${answerName(known.protocol)}`;
}
