/** The warnings about replies of protocols other than echo: a case that triggers each, and one that must not. */
import t from 'tap';
import { findWarnings } from '../../../src/measure/validity.js';
import type { CompletedWindow, Warning } from '../../../src/model/report-schema.js';
import { capacityWindow, environmentWith, planWith, type Changes } from './build.js';

function warningsOf(changes: Changes<CompletedWindow>): Warning[] {
  const runs = [{ mode: 'target', backend: 'external', clients: 1000, trials: [capacityWindow(0, changes)] }];
  return findWarnings({ plan: planWith({ protocol: 'http' }), environment: environmentWith({}), runs });
}

function codesOf(warnings: readonly Warning[]): string[] {
  return warnings.map(({ code }) => code);
}

const replies = { first: { status: 200, body_bytes: 13, body_hash: '0' }, differing: 0, connections_ended: 0 };

t.test('replies_wrong', (test) => {
  const samples = [{ class: 'status', connection: 3, message: 'connection 3: the server answered with status 503' }];
  const errors = { total: 9, by_class: { status: 7, truncated: 2, reset: 1 }, samples };
  const warning = warningsOf({ errors }).find(({ code }) => code === 'replies_wrong');
  test.match(warning, {
    severity: 'warning',
    message: /a status that is not expected \(7 times\), a part of a reply, and closed the connection \(2 times\)/,
    hint: /for example connection 3: .* status 503/,
    figures: { status: 7, truncated: 2 },
  });
  test.notOk(codesOf(warningsOf({ errors: { total: 1, by_class: { timeout: 1 } } })).includes('replies_wrong'));
  test.end();
});

t.test('replies_differ', (test) => {
  const warning = warningsOf({ replies: { ...replies, differing: 4 } }).find(({ code }) => code === 'replies_differ');
  test.match(warning, { severity: 'info', message: /4 replies had another body than the first one \(13 B\)/ });
  test.notOk(codesOf(warningsOf({ replies })).includes('replies_differ'));
  test.end();
});

t.test('connections_ended_by_reply', (test) => {
  const code = 'connections_ended_by_reply';
  const ended = { ...replies, connections_ended: 50_000 };
  const each = warningsOf({ replies: ended, requests: { count: 50_000, reconnects: 50_000 } });
  test.match(
    each.find((one) => one.code === code),
    { severity: 'info', message: /ended 50,000 connections .* for 100% of the requests/, hint: /keep-alive/ },
  );
  const some = warningsOf({
    replies: { ...replies, connections_ended: 50 },
    requests: { count: 50_000, reconnects: 50 },
  });
  test.match(
    some.find((one) => one.code === code),
    { severity: 'info', hint: /keepalive_requests/ },
  );
  test.notOk(codesOf(warningsOf({ replies })).includes(code));
  test.end();
});
