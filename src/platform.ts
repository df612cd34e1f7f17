/** The system that this process runs on: the one place that asks for it. */

/** As Node names it: 'linux', 'win32', 'darwin' and others. */
export const platform: NodeJS.Platform = process.platform;
export const isWindows = platform === 'win32';
/** True also in WSL. */
export const isLinux = platform === 'linux';
