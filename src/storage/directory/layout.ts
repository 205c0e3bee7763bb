// The paths in a store's directory.

import { join } from 'node:path'
import { ioError, isMissing } from '../../fs/io.ts'
import type { FileSystem } from '../../fs/port.ts'

/** The paths of a store in the directory `root`. */
export function paths(root: string) {
  return {
    store: join(root, 'STORE.json'),
    head: join(root, 'HEAD.json'),
    previous: join(root, 'HEAD.prev.json'),
    lock: join(root, 'writer.lock'),
    packs: join(root, 'packs'),
    tmp: join(root, 'tmp'),
    files: join(root, 'files'),
    quarantine: join(root, 'quarantine'),
  }
}

const PACK_SUFFIX = '.pack'

export function packPath(packs: string, name: string): string {
  return join(packs, name + PACK_SUFFIX)
}

export async function listPackNames(fs: FileSystem, packs: string): Promise<string[]> {
  try {
    const entries = await fs.readdir(packs)
    return entries
      .filter(({ name }) => name.endsWith(PACK_SUFFIX))
      .map(({ name }) => name.slice(0, -PACK_SUFFIX.length))
  } catch (error) {
    if (isMissing(error)) return []
    throw ioError(error, `listing ${packs}`)
  }
}
