/** The facts about this machine, besides its limits, that the checks of limits need. */
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import type { Machine } from '../measure/limits.js';
import { isLinux, platform } from '../platform.js';

export function thisMachine(): Machine {
  return {
    platform,
    root: process.getuid?.() === 0,
    wsl: isLinux && isWslKernel(kernelRelease()),
    loopback: isLinux ? loopbackAddresses() : null,
  };
}

/** @param release for example "5.15.167.4-microsoft-standard-WSL2"; WSL 1 writes "Microsoft" */
export function isWslKernel(release: string): boolean {
  return /microsoft|wsl/i.test(release);
}

function kernelRelease(): string {
  try {
    return readFileSync('/proc/sys/kernel/osrelease', 'utf8');
  } catch {
    return '';
  }
}

/** Node lists the interfaces that are up, with their addresses. */
function loopbackAddresses(): Machine['loopback'] {
  try {
    const addresses = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
    const has = (family: string): boolean => addresses.some((one) => one.internal && one.family === family);
    return { ipv4: has('IPv4'), ipv6: has('IPv6') };
  } catch {
    return null;
  }
}
