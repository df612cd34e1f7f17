/** The errors of file operations in words: the one table for reading and for writing. */

const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EISDIR: 'it is a folder',
  EACCES: 'permission denied',
  EPERM: 'not permitted',
  EROFS: 'the file system is read-only',
  ENOSPC: 'no space left on the device',
  EDQUOT: 'the disk quota is used up',
  ENAMETOOLONG: 'the name is too long',
  EMFILE: 'no file descriptors left',
  EBUSY: 'the file is in use',
  ERR_STRING_TOO_LONG: 'it is too large',
};

/** The error's code, such as "ENOENT"; '' if it has none. */
export function systemErrorCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

/** Why a file operation failed, to follow "cannot read FILE: "; the error's own message if its code is not in the table. */
export function systemErrorReason(error: unknown): string {
  return reasons[systemErrorCode(error)] ?? (error instanceof Error ? error.message : String(error));
}
