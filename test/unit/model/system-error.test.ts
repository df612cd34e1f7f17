/** Errors of file operations in words. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { systemErrorCode, systemErrorReason } from '../../../src/model/system-error.js';

function errorOf(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  return null;
}

t.test('a code in the table is shown in words', (t) => {
  const missing = errorOf(() => readFileSync('/nowhere/at/all'));
  t.equal(systemErrorCode(missing), 'ENOENT');
  t.equal(systemErrorReason(missing), 'there is no such file');
  t.end();
});

t.test('any other error keeps its own message', (t) => {
  t.equal(systemErrorCode(new Error('odd')), '');
  t.equal(systemErrorReason(new Error('odd')), 'odd');
  t.equal(systemErrorReason(Object.assign(new Error('odd'), { code: 'EWHATEVER' })), 'odd');
  t.equal(systemErrorReason('text'), 'text');
  t.end();
});
