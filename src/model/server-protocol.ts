/** What a server of ours speaks (--protocol, --body-size): whether the options fit each other. */
import { BenchError } from './errors.js';

export const serverProtocols = ['echo', 'http'] as const;
export type ServerProtocol = (typeof serverProtocols)[number];

/** "Hello, World!" */
export const defaultBodySizeBytes = 13;

interface GivenProtocol {
  readonly protocol: ServerProtocol;
  /** undefined: not given */
  readonly bodySizeBytes: number | undefined;
  /** undefined: not given */
  readonly messageSizeBytes: number | undefined;
}

/** @throws BenchError 'usage' if the options contradict each other */
export function checkServerProtocol({ protocol, bodySizeBytes, messageSizeBytes }: GivenProtocol): void {
  if (protocol === 'echo' && bodySizeBytes !== undefined) {
    throw new BenchError(
      'usage',
      '--body-size needs --protocol http',
      'the reply of an echo server has the size of the request; for example --protocol http --body-size 1KiB',
    );
  }
  if (protocol === 'http' && messageSizeBytes !== undefined) {
    throw new BenchError(
      'usage',
      '--message-size cannot be used with --protocol http',
      'an HTTP request is whole where its header or body ends; --body-size sets the size of the reply',
    );
  }
}
