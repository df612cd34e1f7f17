/** What asks a run or a server to stop: signals, and an exception that nobody caught. */
import { isWindows } from './platform.js';

/**
 * Ctrl-C, `kill`, and a closed terminal. Node resets a SIGHUP that nohup ignored, so listening to it loses nothing. On Windows
 * SIGHUP means that the console was closed, and Ctrl-Break reaches a console group that Ctrl-C does not.
 */
export const endingSignals: readonly NodeJS.Signals[] = isWindows
  ? ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGBREAK']
  : ['SIGINT', 'SIGTERM', 'SIGHUP'];

const faultHandlers = new Set<() => void>();

/**
 * Has `end` called when an exception that nobody caught ends the program. The process cannot exit while native calls run on other threads, so
 * whoever runs them ends them and returns as soon as it can.
 * @returns takes `end` back
 */
export function onFault(end: () => void): () => void {
  faultHandlers.add(end);
  return () => {
    faultHandlers.delete(end);
  };
}

/** Asks all that run to end. False when nothing runs: the process can exit at once. */
export function endAfterFault(): boolean {
  for (const end of faultHandlers) end();
  return faultHandlers.size > 0;
}
