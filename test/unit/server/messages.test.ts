/** Conductor and server both check the messages they receive. */
import t from 'tap';
import { BenchError } from '../../../src/model/errors.js';
import { unknownProcessUsage, unknownServerStats } from '../../../src/model/figures.js';
import { parseFromServer, parseToServer } from '../../../src/server/messages.js';
import { smallServer } from '../../support/server-options.js';

/** The error that the message is refused with. */
function refusal(parse: (message: unknown) => unknown, message: unknown): BenchError {
  try {
    parse(message);
  } catch (error) {
    if (error instanceof BenchError) return error;
    throw error;
  }
  throw new Error('the message was accepted');
}

t.test('well-formed messages pass unchanged', async (test) => {
  const start = { type: 'start', options: smallServer };
  test.same(parseToServer(JSON.parse(JSON.stringify(start))), start);
  const sample = { usage: unknownProcessUsage, stats: unknownServerStats };
  for (const message of [
    { type: 'sample', id: 3, sample },
    { type: 'stopped', sample, deadline_missed: true },
    { type: 'error', code: 'unavailable', message: 'm', hint: '' },
  ]) {
    test.same(parseFromServer(JSON.parse(JSON.stringify(message))), message, message.type);
  }
});

t.test('malformed messages are refused, and the field is named', async (test) => {
  const missing = refusal(parseToServer, { type: 'start', options: { ...smallServer, backlog: 'many' } });
  test.equal(missing.code, 'fault');
  test.match(missing.message, /conductor.*options\.backlog/);
  test.match(refusal(parseToServer, { type: 'restart' }).message, /conductor/);
  test.match(refusal(parseFromServer, { type: 'sample', id: 1, sample: {} }).message, /server.*sample\.usage/);
  test.match(refusal(parseFromServer, null).message, /server/);
});
