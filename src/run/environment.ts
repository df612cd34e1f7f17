/** Describes the machine in a report. Everything that cannot be read is null. */
import { readFileSync, readdirSync } from 'node:fs';
import { cpus } from 'node:os';
import { executionScopes } from '../model/figures.js';
import { executionProbe, libraryLocation, limits } from '../native/binding.js';
import type { Environment } from '../model/report-schema.js';
import type { CpuSplit } from '../model/plan.js';

export function readEnvironment(split: CpuSplit): Environment {
  const machine = limits();
  const { clock_source, clock_resolution_ns, system, compatibility, cpus_online, memory_total_bytes, ...rest } =
    machine;
  return {
    system,
    compatibility: compatibility === '' ? null : compatibility,
    cpu_model: cpus()[0]?.model.trim() ?? 'unknown',
    cpus_online,
    cpus_server: [...split.server],
    cpus_client: [...split.client],
    cpus_shared: split.shared,
    memory_total_bytes: memory_total_bytes ?? 0,
    node_version: process.version,
    library: libraryLocation().origin,
    clock_source: clock_source === '' ? null : clock_source,
    clock_resolution_ns,
    cpu_governor: readGovernor(),
    cpu_turbo: readTurbo(),
    virtual_machine: readVirtualMachine(),
    instructions: readInstructions(),
    // The limit on a user's processes does not apply to the superuser.
    limits: { ...rest, processes_user_max: process.getuid?.() === 0 ? null : rest.processes_user_max },
  };
}

function readInstructions(): NonNullable<Environment['instructions']> {
  const { available, features, reason, hint } = executionProbe();
  return { scope: executionScopes.find((scope) => available && scope === features) ?? null, reason, hint };
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return null;
  }
}

/** "performance", "powersave", ...; several, joined by ",", if CPUs differ. */
export function readGovernor(): string | null {
  const root = '/sys/devices/system/cpu/cpufreq';
  try {
    const found = readdirSync(root).flatMap((policy) => readText(`${root}/${policy}/scaling_governor`) ?? []);
    return found.length === 0 ? null : [...new Set(found)].join(',');
  } catch {
    return null;
  }
}

export function readTurbo(): boolean | null {
  const noTurbo = readText('/sys/devices/system/cpu/intel_pstate/no_turbo');
  if (noTurbo !== null) return noTurbo === '0';
  const boost = readText('/sys/devices/system/cpu/cpufreq/boost');
  return boost === null ? null : boost === '1';
}

/** The firmware's name for the machine if the CPU reports a hypervisor; otherwise null. */
function readVirtualMachine(): string | null {
  const flags = readText('/proc/cpuinfo');
  if (flags === null || !/^flags\s*:.*\bhypervisor\b/m.test(flags)) return null;
  return readText('/sys/class/dmi/id/sys_vendor') ?? readText('/sys/hypervisor/type') ?? 'hypervisor';
}
