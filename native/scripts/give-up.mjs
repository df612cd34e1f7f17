// Ends a script of this project that cannot continue. Plain Node without dependencies: some scripts run before anything is installed.

/**
 * Ends the script with one sentence, and a hint what to do about it.
 * @param {number} code exit code
 * @param {string} sentence
 * @param {string} [hint] '' if there is no advice
 * @returns {never}
 */
export function giveUp(code, sentence, hint = '') {
  process.stderr.write(`iocp-bench: ${sentence}\n${hint === '' ? '' : `  ${hint}\n`}`);
  process.exit(code);
}
