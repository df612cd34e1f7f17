/** The signals that ask a run or a server to stop. */
import { isWindows } from './platform.js';

/**
 * Ctrl-C, `kill`, and a closed terminal. Node resets a SIGHUP that nohup ignored, so listening to it loses nothing. On Windows
 * SIGHUP means that the console was closed, and Ctrl-Break reaches a console group that Ctrl-C does not.
 */
export const endingSignals: readonly NodeJS.Signals[] = isWindows
  ? ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGBREAK']
  : ['SIGINT', 'SIGTERM', 'SIGHUP'];
