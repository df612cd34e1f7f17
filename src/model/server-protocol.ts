/** What a server of ours speaks (--protocol, --body-size): whether the options fit each other. */
import { BenchError } from './errors.js';
import type { ProtocolName } from './exchange.js';

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

/** What our servers speak when clients speak this. Messages of the user's own are echoed. */
export function serverProtocolOf(protocol: ProtocolName): ServerProtocol {
  return protocol === 'http' ? 'http' : 'echo';
}

/** Whether a server of the user's own (--mode-command) has to echo: only then can it be tried before clients connect. */
export function hasToEcho({ protocol, tls }: { protocol: ProtocolName; tls?: object | null | undefined }): boolean {
  return protocol === 'echo' && (tls ?? null) === null;
}

interface GivenBodySize {
  readonly protocol: ProtocolName;
  /** undefined: not given */
  readonly bodySizeBytes: number | undefined;
  /** What is loaded; modes: at least one is built in. */
  readonly servers: 'target' | 'commands' | 'modes';
}

/**
 * The body size that the servers of a run are started with; null: they have none.
 * @throws BenchError 'usage' if one is given that no server of the run would have
 */
export function plannedBodySize({ protocol, bodySizeBytes, servers }: GivenBodySize): number | null {
  if (protocol === 'http' && servers === 'modes') return bodySizeBytes ?? defaultBodySizeBytes;
  if (bodySizeBytes === undefined) return null;
  if (protocol !== 'http') throw bodyNeedsHttp();
  throw servers === 'target'
    ? new BenchError(
        'usage',
        '--body-size cannot be used with --target',
        'a running server is loaded as it is; start it with `iocp-bench serve --protocol http --body-size ...` instead',
      )
    : new BenchError(
        'usage',
        '--body-size has no effect on a --mode-command',
        'only the built-in modes know it; add one with --modes, for example --modes epoll',
      );
}

function bodyNeedsHttp(): BenchError {
  return new BenchError(
    'usage',
    '--body-size needs --protocol http',
    'the reply of an echo server has the size of the request; for example --protocol http --body-size 1KiB',
  );
}

/** @throws BenchError 'usage' if the options contradict each other */
export function checkServerProtocol({ protocol, bodySizeBytes, messageSizeBytes }: GivenProtocol): void {
  if (protocol === 'echo' && bodySizeBytes !== undefined) throw bodyNeedsHttp();
  if (protocol === 'http' && messageSizeBytes !== undefined) {
    throw new BenchError(
      'usage',
      '--message-size cannot be used with --protocol http',
      'an HTTP request is whole where its header or body ends; --body-size sets the size of the reply',
    );
  }
}
