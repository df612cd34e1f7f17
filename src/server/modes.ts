/** Which backend serves a mode, and which modes and client engines this machine can run. */
import { BenchError } from '../model/errors.js';
import { backends, engines, type Probe } from '../native/binding.js';
import { modeNames, type ModeGroup, type ModeName } from '../model/parse.js';
import { isWindows, platform } from '../platform.js';

export interface ModeAvailability {
  readonly mode: ModeName;
  /** The backend that serves it: a native one, or `node`. */
  readonly backend: string;
  readonly available: boolean;
  /** Why not, and how to make it run. Empty if available. */
  readonly reason: string;
  readonly hint: string;
}

/** `iocp` is the completion port on Windows, and its completion-based counterpart io_uring on Linux. */
export function backendOf(mode: ModeName, system: NodeJS.Platform = platform): string {
  return mode === 'iocp' && system !== 'win32' ? 'io_uring' : mode;
}

const isMissing = `does not exist on ${isWindows ? 'Windows' : 'Linux'}`;

/** Every mode, with its backend and whether it can run here. */
export function probeModes(): ModeAvailability[] {
  const probes = new Map(backends().map((probe) => [probe.name, probe]));
  return modeNames.map((mode) => {
    const backend = backendOf(mode);
    if (backend === 'node') return { mode, backend, available: true, reason: '', hint: '' };
    const probe = probes.get(backend);
    if (probe === undefined) {
      return { mode, backend, available: false, reason: `${backend} ${isMissing}`, hint: '' };
    }
    return { mode, backend, available: probe.available, reason: probe.reason, hint: probe.hint };
  });
}

export interface ResolvedModes {
  readonly modes: readonly ModeAvailability[];
  /** Why modes were replaced or left out; null if they were not. */
  readonly fallback: string | null;
}

const defaultModes: readonly ModeName[] = ['blocking', 'iocp'];
const fallbackModes: readonly ModeName[] = ['blocking', 'epoll'];

/** The models from textbooks: threads, readiness that each wait asks for, the system's event queue, the system's completion queue. */
export function classicModes(system = platform): readonly ModeName[] {
  return system === 'win32'
    ? ['blocking', 'select', 'poll', 'event_select', 'iocp']
    : ['blocking', 'select', 'poll', 'epoll', 'io_uring'];
}

/**
 * The modes of a run. `classic` leaves out modes that cannot run here, and says so. `all` is each available backend once. If a mode
 * that the user named cannot run, the error names a command line that works. The default falls back to blocking against epoll if
 * io_uring is not available.
 * @param asked null: the user named no modes
 */
export function resolveModes(
  asked: ModeGroup | readonly ModeName[] | null,
  probes: readonly ModeAvailability[] = probeModes(),
): ResolvedModes {
  const find = (mode: ModeName): ModeAvailability => {
    const found = probes.find((probe) => probe.mode === mode);
    if (found === undefined) throw new Error(`mode ${mode} was not probed`);
    return found;
  };
  if (asked === 'all') {
    const seen = new Set<string>();
    const modes = probes.filter(({ backend, available, mode }) => {
      // On Linux, iocp and io_uring are the same backend. It runs once, under its own name.
      if (!available || seen.has(backend) || (mode === 'iocp' && backend !== 'iocp')) return false;
      seen.add(backend);
      return true;
    });
    return { modes, fallback: null };
  }
  if (asked === 'classic') {
    const row = classicModes().map(find);
    const without = row.filter(({ available }) => !available);
    const why = without.map(({ mode, reason }) => `${mode} cannot run here (${reason})`).join('; ');
    return {
      modes: row.filter(({ available }) => available),
      fallback: without.length === 0 ? null : `classic: ${why}`,
    };
  }
  const modes = (asked ?? defaultModes).map(find);
  const missing = modes.find(({ available }) => !available);
  if (missing === undefined) return { modes, fallback: null };
  const instead = fallbackModes.map(find);
  const canFallBack = instead.every(({ available }) => available);
  if (asked === null && canFallBack) {
    return {
      modes: instead,
      fallback: `${missing.mode} cannot run here (${missing.reason}); comparing blocking with epoll`,
    };
  }
  throw new BenchError(
    'unavailable',
    `mode ${missing.mode} cannot run here: ${missing.reason}`,
    withRemedy(missing.hint, `use those that run here: --modes ${namesOf(runnableModes(probes)).join(',')}`),
  );
}

/** The modes that run here, each backend once, under its own name. */
function runnableModes(probes: readonly ModeAvailability[]): ModeAvailability[] {
  return probes.filter(({ available, backend, mode }) => available && (mode !== 'iocp' || backend === 'iocp'));
}

function namesOf(modes: readonly ModeAvailability[]): ModeName[] {
  return modes.map(({ mode }) => mode);
}

/** The library's hint on how to make it run, and the options to use otherwise. */
function withRemedy(hint: string, otherwise: string): string {
  return hint === '' ? otherwise : `${hint}; or ${otherwise}`;
}

/**
 * Refuses a client engine that the user named and that this machine cannot run.
 * @param name `auto`: any engine that runs
 * @throws BenchError 'unavailable' with the reason
 */
export function requireEngine(name: string, probes: readonly Probe[] = engines()): void {
  const probe = probes.find((candidate) => candidate.name === name);
  if (name === 'auto' || probe?.available === true) return;
  const others = probes.filter(({ available }) => available).map((other) => other.name);
  throw new BenchError(
    'unavailable',
    `the client engine ${name} cannot run here: ${probe?.reason ?? `it ${isMissing}`}`,
    withRemedy(probe?.hint ?? '', `use one that runs here: --engine ${['auto', ...others].join(', ')}`),
  );
}

/** The note that a server of mode `iocp` prints first on Linux; null if the backend has the name of the mode. */
export function substitutionNotice(mode: string, backend: string): string | null {
  if (mode !== 'iocp' || backend === 'iocp') return null;
  return `iocp is served by ${backend}: the completion-based counterpart of IOCP on Linux`;
}

/** @throws BenchError 'unavailable' with the reason if this machine cannot run the mode */
export function requireMode(mode: ModeName, probes = probeModes()): ModeAvailability {
  const probe = probes.find((candidate) => candidate.mode === mode);
  if (probe === undefined) throw new Error(`mode ${mode} was not probed`);
  if (probe.available) return probe;
  const served = probe.backend === mode ? '' : ` (served by ${probe.backend})`;
  throw new BenchError(
    'unavailable',
    `mode ${mode}${served} cannot run here: ${probe.reason}`,
    withRemedy(probe.hint, `use one that runs here: --mode ${namesOf(runnableModes(probes)).join(', ')}`),
  );
}
