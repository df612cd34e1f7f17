/** The signals that ask a run or a server to end. */
import { isWindows } from './platform.js';

/**
 * Ctrl-C, `kill`, and a terminal that was closed. Node resets a SIGHUP that nohup ignored, so listening to it takes nothing away. On
 * Windows SIGHUP is the closing of the console, and Ctrl-Break reaches a console group where Ctrl-C cannot.
 */
export const endingSignals: readonly NodeJS.Signals[] = isWindows
  ? ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGBREAK']
  : ['SIGINT', 'SIGTERM', 'SIGHUP'];
