/** Work and wait per request (--work, --wait): whether the options fit each other and the servers. */
import { BenchError } from './errors.js';

interface ServiceOptions {
  /** Several values of `blast`, one of `serve`. */
  readonly worksUs: readonly number[];
  readonly waitsMs: readonly number[];
  readonly waitBlocks: boolean;
}

/** @throws BenchError 'usage' if the options contradict each other */
export function checkService({ waitsMs, waitBlocks }: ServiceOptions): void {
  if (!waitBlocks || waitsMs.some((wait) => wait > 0)) return;
  throw new BenchError('usage', '--wait-blocks needs a --wait', 'for example --wait 5ms --wait-blocks');
}

/**
 * Only the built-in modes know work and wait.
 * @param servers what is loaded
 * @throws BenchError 'usage' if none of the servers is a built-in mode
 */
export function checkServiceApplies(options: ServiceOptions, servers: 'target' | 'commands' | 'modes'): void {
  const name = options.worksUs.some((work) => work > 0)
    ? '--work'
    : options.waitsMs.some((wait) => wait > 0)
      ? '--wait'
      : options.waitBlocks
        ? '--wait-blocks'
        : null;
  if (name === null || servers === 'modes') return;
  if (servers === 'target') {
    throw new BenchError(
      'usage',
      `${name} cannot be used with --target`,
      `a running server is loaded as it is; start it with \`iocp-bench serve ${name} ...\` instead`,
    );
  }
  throw new BenchError(
    'usage',
    `${name} has no effect on a --mode-command`,
    'only the built-in modes know it; add one with --modes, for example --modes epoll',
  );
}
