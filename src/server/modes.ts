/** Which backend serves a mode, and which modes this machine can run */
import { BenchError } from '../model/errors.js';
import { backends } from '../native/binding.js';
import { modeNames, type ModeName } from '../model/parse.js';
import { isWindows, platform } from '../platform.js';

export interface ModeAvailability {
  readonly mode: ModeName;
  /** What serves it: a native backend, or `node`. */
  readonly backend: string;
  readonly available: boolean;
  /** Why not, and what would make it run. Empty when available. */
  readonly reason: string;
  readonly hint: string;
}

/** `iocp` is the completion port on Windows, and its completion-based counterpart io_uring on Linux. */
export function backendOf(mode: ModeName, system: NodeJS.Platform = platform): string {
  return mode === 'iocp' && system !== 'win32' ? 'io_uring' : mode;
}

/** Every mode with its backend and whether it can run here. */
export function probeModes(): ModeAvailability[] {
  const probes = new Map(backends().map((probe) => [probe.name, probe]));
  return modeNames.map((mode) => {
    const backend = backendOf(mode);
    if (backend === 'node') return { mode, backend, available: true, reason: '', hint: '' };
    const probe = probes.get(backend);
    if (probe === undefined) {
      const system = isWindows ? 'Windows' : 'Linux';
      return { mode, backend, available: false, reason: `${backend} does not exist on ${system}`, hint: '' };
    }
    return { mode, backend, available: probe.available, reason: probe.reason, hint: probe.hint };
  });
}

export interface ResolvedModes {
  readonly modes: readonly ModeAvailability[];
  /** Why the default modes were replaced; null when they were not. */
  readonly fallback: string | null;
}

const defaultModes: readonly ModeName[] = ['blocking', 'iocp'];
const fallbackModes: readonly ModeName[] = ['blocking', 'epoll'];

/**
 * The modes of a run. `all` is each available backend once. Modes that the user named must run, or the error names the line that
 * works; the default falls back to blocking against epoll where io_uring is refused.
 * @param asked null: the user named none
 */
export function resolveModes(asked: 'all' | readonly ModeName[] | null, probes = probeModes()): ResolvedModes {
  const find = (mode: ModeName): ModeAvailability => {
    const found = probes.find((probe) => probe.mode === mode);
    if (found === undefined) throw new Error(`mode ${mode} was not probed`);
    return found;
  };
  if (asked === 'all') {
    const seen = new Set<string>();
    const modes = probes.filter(({ backend, available, mode }) => {
      // On Linux iocp and io_uring are one backend: it runs once, under its own name.
      if (!available || seen.has(backend) || (mode === 'iocp' && backend !== 'iocp')) return false;
      seen.add(backend);
      return true;
    });
    return { modes, fallback: null };
  }
  const modes = (asked ?? defaultModes).map(find);
  const missing = modes.find(({ available }) => !available);
  if (missing === undefined) return { modes, fallback: null };
  const instead = fallbackModes.map(find);
  const canFallBack = instead.every(({ available }) => available);
  if (asked === null && canFallBack) {
    return {
      modes: instead,
      fallback: `${missing.mode} cannot run here (${missing.reason}): comparing blocking with epoll`,
    };
  }
  const runnable = probes.filter(
    ({ available, backend, mode }) => available && (mode !== 'iocp' || backend === 'iocp'),
  );
  const line = `these run here: --modes ${runnable.map(({ mode }) => mode).join(',')}`;
  throw new BenchError(
    'unavailable',
    `mode ${missing.mode} cannot run here: ${missing.reason}`,
    missing.hint === '' ? line : `${missing.hint}; or ${line}`,
  );
}

/** The one sentence that a server of `iocp` on Linux begins with; null where the backend has the mode's own name. */
export function substitutionNotice(mode: string, backend: string): string | null {
  if (mode !== 'iocp' || backend === 'iocp') return null;
  return `iocp is served by ${backend}: the completion-based counterpart of IOCP on Linux`;
}

/** @throws BenchError 'unavailable' with the reason when this machine cannot run the mode */
export function requireMode(mode: ModeName, probes = probeModes()): ModeAvailability {
  const probe = probes.find((candidate) => candidate.mode === mode);
  if (probe === undefined) throw new Error(`mode ${mode} was not probed`);
  if (probe.available) return probe;
  const served = probe.backend === mode ? '' : ` (served by ${probe.backend})`;
  throw new BenchError(
    'unavailable',
    `mode ${mode}${served} cannot run here: ${probe.reason}`,
    probe.hint === '' ? '`iocp-bench doctor` tells what can run here' : probe.hint,
  );
}
