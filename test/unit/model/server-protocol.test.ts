import t from 'tap';
import { BenchError } from '../../../src/model/errors.js';
import { checkServerProtocol } from '../../../src/model/server-protocol.js';

t.test('sizes that the protocol does not have are refused', async (test) => {
  const none = { bodySizeBytes: undefined, messageSizeBytes: undefined };
  checkServerProtocol({ ...none, protocol: 'echo', messageSizeBytes: 64 });
  checkServerProtocol({ ...none, protocol: 'http', bodySizeBytes: 0 });
  test.throws(
    () => {
      checkServerProtocol({ ...none, protocol: 'echo', bodySizeBytes: 0 });
    },
    new BenchError('usage', '--body-size needs --protocol http'),
  );
  test.throws(
    () => {
      checkServerProtocol({ ...none, protocol: 'http', messageSizeBytes: 64 });
    },
    new BenchError('usage', '--message-size cannot be used with --protocol http'),
  );
});
