// How every script of this project ends when it cannot go on. Plain Node without dependencies: some scripts run before anything is installed.

/**
 * Ends the script with one sentence, and with what to do about it.
 * @param {number} code exit code
 * @param {string} sentence
 * @param {string} [hint] '' where there is nothing to do
 * @returns {never}
 */
export function giveUp(code, sentence, hint = '') {
  process.stderr.write(`iocp-bench: ${sentence}\n${hint === '' ? '' : `  ${hint}\n`}`);
  process.exit(code);
}
