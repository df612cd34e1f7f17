// Output of sources that were deleted.
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Removes from dist/src what no source makes any more: the compiler leaves it behind, and all of dist/src is packed.
 * @param {string} root the folder that contains src and dist
 */
export function removeOrphans(root) {
  for (const entry of readdirSync(join(root, 'dist', 'src'), { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath ?? entry.path, entry.name);
    const source = path.replace(join(root, 'dist'), root).replace(/(\.d\.ts|\.js)(\.map)?$/, '.ts');
    if (!existsSync(source)) rmSync(path);
  }
}
