/** Explains a run without a single connection: what came back from a server that never sent a complete echo. */
import { answerName, type ProtocolName } from '../model/exchange.js';
import { duration, grouped } from '../model/words.js';
import { silenceLooksLike, type TimeoutPlaces } from '../model/wrong-reply.js';
import type { LoadControl } from './load.js';

/** Why no connection was made. Call after connecting has ended. */
export function noConnectionReason(control: LoadControl, timeoutMs: number, protocol: ProtocolName): string {
  const byClass = control.errorsByClass();
  const [first] = Object.entries(byClass).sort(([, a], [, b]) => b - a);
  if (first === undefined) return 'no connection was made';
  const [commonest, count] = first;
  if (commonest !== 'timeout') {
    return control.errorSamples().find((sample) => sample.class === commonest)?.message ?? 'no connection was made';
  }
  const timeout = duration(timeoutMs * 1e6);
  if (control.connectedCount() === 0) return `none of ${grouped(count)} connections was accepted within ${timeout}`;
  const live = control.live();
  const { bytes_received: bytes } = live;
  const back =
    bytes === 0 ? 'nothing came back' : `${grouped(bytes)} bytes came back, but no whole ${answerName(protocol)},`;
  return `the server accepted ${grouped(count)} connections, and ${back} within ${timeout}${lookOfSilence(live)}`;
}

/** What the server looks like, judged by where its replies stopped, to follow what came back; empty if that is not clear. */
export function lookOfSilence(places: TimeoutPlaces): string {
  const looksLike = silenceLooksLike(places);
  return looksLike === null ? '' : `; this looks like ${looksLike}`;
}

/** If this many replies stopped at the same kind of place and none elsewhere, that is not by chance. */
const certainReplies = 8;

/**
 * Why to stop waiting for connections; null if there is no reason. A few may have been made: a server that answers line by line
 * echoes the messages completely that happen to end with a newline.
 */
export function noEchoReason(places: TimeoutPlaces, timeoutMs: number): string | null {
  const looksLike = silenceLooksLike(places);
  if (looksLike === null) return null;
  const stopped = Math.max(places.timeouts_at_newline, places.timeouts_at_zero);
  if (stopped < certainReplies) return null;
  return `no whole echo within ${duration(timeoutMs * 1e6)} on most connections; this looks like ${looksLike}`;
}
