/** What came back from a server that never sent a whole echo, in words: the reason of a run without a single connection. */
import { duration, grouped } from '../model/words.js';
import type { ControlBlock } from './control.js';

/** Why not one connection was made; to be called when connecting has ended. */
export function noConnectionReason(control: ControlBlock, timeoutMs: number): string {
  const byClass = control.errorsByClass();
  const [first] = Object.entries(byClass).sort(([, a], [, b]) => b - a);
  if (first === undefined) return 'no connection was made';
  const [commonest, count] = first;
  if (commonest !== 'timeout') {
    return control.errorSamples().find((sample) => sample.class === commonest)?.message ?? 'no connection was made';
  }
  const timeout = duration(timeoutMs * 1e6);
  if (control.connectedCount() === 0) return `none of ${grouped(count)} connections was accepted within ${timeout}`;
  const { bytes_received: bytes } = control.live();
  const back = bytes === 0 ? 'nothing came back' : `${grouped(bytes)} bytes came back, but no whole echo,`;
  return `the server accepted ${grouped(count)} connections, and ${back} within ${timeout}`;
}
