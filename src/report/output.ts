/**
 * Writes what a reporter returned: the one file of this folder that touches the disk. A path is tried before the run, so that nobody
 * measures for a minute to learn of a typing error; a file is replaced whole or not at all; and where it cannot be written in the
 * end, the text goes to the temporary folder, because what was measured must not be lost. All of it is synchronous: a report is
 * written between trials or at the end, when nothing else may go on.
 */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { BenchError } from '../model/errors.js';
import { systemErrorCode, systemErrorReason } from '../model/system-error.js';
import { isWindows } from '../platform.js';

/** The name of standard output. */
export const stdoutPath = '-';

export interface WrittenOutput {
  /** Where the text is now. */
  readonly path: string;
  /** Why the file is not at the requested place; null if it is. The caller reports it once. */
  readonly problem: BenchError | null;
}

let attempts = 0;

/** In the same folder, so that the rename stays within one file system. */
function temporaryBeside(path: string): string {
  attempts += 1;
  return join(dirname(path), `.${basename(path)}.${process.pid}-${attempts}.tmp`);
}

type Kind = 'file' | 'folder' | 'special' | 'nothing';

/** What is at a path now. */
function kindOf(path: string): Kind {
  const found = fs.statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return 'nothing';
  if (found.isDirectory()) return 'folder';
  return found.isFile() ? 'file' : 'special';
}

/** A symbolic link is followed: to replace it would leave the file that it names as it was. */
function targetOf(path: string): string {
  try {
    return fs.realpathSync(path);
  } catch {
    return resolve(path);
  }
}

/** Throws, before any work, when `path` could not be written. Leaves nothing behind, and no existing file changed. */
export function prepareOutput(path: string): void {
  if (path === stdoutPath) return;
  if (path === '') throw new BenchError('usage', 'the name of an output file is empty', 'use - for standard output');
  try {
    requireFolder(path);
    const kind = kindOf(path);
    if (kind === 'folder') throw new BenchError('usage', `cannot write ${path}: it is a folder`, 'name a file in it');
    if (kind !== 'nothing') fs.accessSync(path, fs.constants.W_OK);
    // Only creating a file proves that one can be created: permissions do not show that a file system is read-only.
    if (kind !== 'special') tryToCreate(temporaryBeside(targetOf(path)));
  } catch (error) {
    if (error instanceof BenchError) throw error;
    throw new BenchError(
      'usage',
      `cannot write ${path}: ${systemErrorReason(error)}`,
      'name a file that can be written',
      error,
    );
  }
}

function requireFolder(path: string): void {
  const folder = dirname(resolve(path));
  const kind = kindOf(folder);
  if (kind === 'folder') return;
  const isMissing = kind === 'nothing';
  throw new BenchError(
    'usage',
    `cannot write ${path}: ${folder} ${isMissing ? 'does not exist' : 'is not a folder'}`,
    isMissing ? `create it first: mkdir ${isWindows ? '' : '-p '}"${folder}"` : '',
  );
}

function tryToCreate(path: string): void {
  fs.closeSync(fs.openSync(path, 'wx'));
  fs.rmSync(path);
}

/** Writes the whole text, through a temporary file next to it; '-' is standard output. Throws only when the text is lost. */
export function writeOutput(path: string, text: string): WrittenOutput {
  if (path === stdoutPath) {
    // cli.ts reports what happens to standard output: a reader that left, a full disk.
    process.stdout.write(text);
    return { path, problem: null };
  }
  try {
    replaceFile(targetOf(path), text);
    return { path, problem: null };
  } catch (error) {
    return rescue(path, text, error);
  }
}

function replaceFile(target: string, text: string): void {
  if (kindOf(target) === 'special') {
    // A pipe or a device, such as /dev/stderr: there is nothing to replace.
    fs.writeFileSync(target, text);
    return;
  }
  const temporary = temporaryBeside(target);
  try {
    writeThrough(temporary, text, fs.statSync(target, { throwIfNoEntry: false }));
    fs.renameSync(temporary, target);
  } catch (error) {
    fs.rmSync(temporary, { force: true });
    // A file that is mounted by itself, as containers do, cannot be replaced, only filled.
    if (systemErrorCode(error) !== 'EBUSY' && systemErrorCode(error) !== 'EXDEV') throw error;
    fs.writeFileSync(target, text);
  }
}

/**
 * Creates a file, with the owner and the mode of the one that it will replace; null: none. Some file systems report a full disk only when
 * the data has to reach it.
 */
function writeThrough(path: string, text: string, replaced: fs.Stats | undefined): void {
  // Nobody else may read the text before the file has its mode.
  const file = fs.openSync(path, 'wx', replaced === undefined ? 0o666 : 0o600);
  try {
    if (replaced !== undefined) copyAccess(file, replaced);
    fs.writeFileSync(file, text);
    fs.fsyncSync(file);
  } finally {
    fs.closeSync(file);
  }
}

/** Only the superuser may give a file away, and some file systems have neither owners nor modes: what cannot be copied is left. */
function copyAccess(file: number, { uid, gid, mode }: fs.Stats): void {
  // In this order: giving a file away clears bits of its mode.
  for (const copy of [
    () => {
      fs.fchownSync(file, uid, gid);
    },
    () => {
      fs.fchmodSync(file, mode & 0o7777);
    },
  ]) {
    try {
      copy();
    } catch {
      continue;
    }
  }
}

/** Where a path's text was kept before: a report that is written after every trial is kept once, not once per trial. */
const rescued = new Map<string, string>();

/** Writes into the temporary folder, the last place left. */
function rescue(path: string, text: string, error: unknown): WrittenOutput {
  const reason = systemErrorReason(error);
  const key = resolve(path);
  let place = join(tmpdir(), `iocp-bench-rescued-${basename(path)}`);
  try {
    // A new folder, with a name that nobody could have created before.
    place = rescued.get(key) ?? join(fs.mkdtempSync(join(tmpdir(), 'iocp-bench-')), basename(path));
    fs.writeFileSync(place, text, { mode: 0o600 });
  } catch (second) {
    throw new BenchError(
      'runFailed',
      `cannot write ${path} (${reason}), nor ${place} (${systemErrorReason(second)}): the report is lost`,
      'free some space, or name a file on another disk',
      error,
    );
  }
  rescued.set(key, place);
  return {
    path: place,
    problem: new BenchError(
      'runFailed',
      `the report could not be written to ${path} (${reason}); it is kept in ${place}`,
      'free some space there, then move it',
      error,
    ),
  };
}
