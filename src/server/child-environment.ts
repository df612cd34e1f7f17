/** The environment and the limits that a server is started with: those of the user, without what is meant for this process alone. */
import { isLinux } from '../platform.js';
import { readProcess } from './process-tree.js';
import { descriptorLimit } from './server-limits.js';

/** Options of Node's inspector whose value may be the next word. */
const inspectorWithValue = /^--(inspect-port|debug-port|inspect-publish-uid)$/;
const inspector = /^--(inspect|debug)(-[a-z]+)*(=|$)/;

/**
 * NODE_OPTIONS without those of the inspector: a debugger's port can be open in one process only, and a server that waits for a debugger
 * of its own would never start.
 */
export function withoutInspector(nodeOptions: string): string {
  const words = nodeOptions.match(/(?:[^\s"]|"(?:[^"\\]|\\.)*")+/g) ?? [];
  const isValue = (index: number): boolean => inspectorWithValue.test(words[index - 1] ?? '');
  return words.filter((word, index) => !inspector.test(word) && !isValue(index)).join(' ');
}

/** @param more variables of the server's own */
export function childEnvironment(more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: options, ...rest } = process.env;
  const kept = withoutInspector(options ?? '');
  return { ...rest, ...(kept !== '' && { NODE_OPTIONS: kept }), ...more };
}

/**
 * The soft limit of descriptors of the process that started this one, such as the user's shell, where it is the lower one. This process was
 * started with it, but Node raises its own before any JavaScript runs. null: keep what is inherited.
 */
export function usersDescriptorLimit(): number | null {
  // A process whose parent has ended is init's child, and init has limits of its own.
  if (!isLinux || process.ppid <= 1) return null;
  const own = descriptorLimit(readProcess('self', 'limits') ?? '');
  const parents = descriptorLimit(readProcess(process.ppid, 'limits') ?? '');
  if (parents === null) return null;
  return own === null || parents < own ? parents : null;
}
