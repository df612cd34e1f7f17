import t from 'tap';
import { checkServerProtocol, plannedBodySize, serverProtocolOf } from '../../../src/model/server-protocol.js';

t.test('sizes that the protocol does not have are refused', async (test) => {
  const none = { bodySizeBytes: undefined, messageSizeBytes: undefined };
  checkServerProtocol({ ...none, protocol: 'echo', messageSizeBytes: 64 });
  checkServerProtocol({ ...none, protocol: 'http', bodySizeBytes: 0 });
  test.throws(
    () => {
      checkServerProtocol({ ...none, protocol: 'echo', bodySizeBytes: 0 });
    },
    { message: '--body-size needs --protocol http' },
  );
  test.throws(
    () => {
      checkServerProtocol({ ...none, protocol: 'http', messageSizeBytes: 64 });
    },
    { message: '--message-size cannot be used with --protocol http' },
  );
});

t.test('the body size of a run', async (test) => {
  const none = { protocol: 'http', bodySizeBytes: undefined, servers: 'modes' } as const;
  test.equal(plannedBodySize(none), 13);
  test.equal(plannedBodySize({ ...none, bodySizeBytes: 0 }), 0);
  test.equal(plannedBodySize({ ...none, servers: 'target' }), null);
  test.equal(plannedBodySize({ ...none, servers: 'commands' }), null);
  for (const protocol of ['echo', 'message'] as const) {
    test.equal(plannedBodySize({ ...none, protocol }), null);
    test.throws(() => plannedBodySize({ ...none, protocol, bodySizeBytes: 1 }), {
      message: '--body-size needs --protocol http',
    });
  }
  test.throws(() => plannedBodySize({ ...none, bodySizeBytes: 1, servers: 'target' }), {
    message: '--body-size cannot be used with --target',
  });
  test.throws(() => plannedBodySize({ ...none, bodySizeBytes: 1, servers: 'commands' }), {
    message: '--body-size has no effect on a --mode-command',
  });
});

t.test('what servers speak when clients speak a protocol', async (test) => {
  test.equal(serverProtocolOf('http'), 'http');
  test.equal(serverProtocolOf('echo'), 'echo');
  test.equal(serverProtocolOf('message'), 'echo', 'messages of the user are echoed');
});
