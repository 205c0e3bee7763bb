// What lies in a store's directory in the place of something that a writer needs. The snapshots can be loaded all the
// same, so only a verify looks for it; a write meets it by itself.

import { HoldfastError } from '../../errors.ts'
import { attempt, lstatOrNull } from '../../fs/io.ts'
import type { DirectoryEntry, FileSystem } from '../../fs/port.ts'
import { term } from '../../terms.ts'
import type { Obstacle } from '../port.ts'
import type { paths } from './layout.ts'

/** Kinds of directory entries, in words. */
export const KINDS = {
  file: 'is a file',
  directory: 'is a directory',
  link: 'is a symbolic link',
  other: 'is a pipe, socket or device',
  missing: 'is gone',
} as const

/** The error for a directory of the store that is none. */
export function notOwnDirectory(path: string, kind: keyof typeof KINDS): HoldfastError {
  return new HoldfastError(
    'STORE_DAMAGED',
    `${path} ${KINDS[kind]}; it must be a real directory. Bring it back, or move the store aside${term('withSetAside')}`,
    { details: { path } },
  )
}

/**
 * What keeps writers out of the store, or `file()` or a repair from working. What is missing is made when it is needed.
 */
export async function findObstacles(fs: FileSystem, at: ReturnType<typeof paths>): Promise<Obstacle[]> {
  const found: Obstacle[] = []
  const look = async (what: string, path: string, wanted: DirectoryEntry['kind']): Promise<void> => {
    const kind = (await attempt(lstatOrNull(fs, path), `looking at ${path}`))?.kind ?? null
    if (kind === null || kind === wanted) return
    const error = wanted === 'directory' ? notOwnDirectory(path, kind) : notAFile(path, kind)
    found.push({ what, error })
  }
  await look('packs/', at.packs, 'directory')
  await look('tmp/', at.tmp, 'directory')
  await look('files/', at.files, 'directory')
  await look('quarantine/', at.quarantine, 'directory')
  await look('writer.lock', at.lock, 'file')
  return found
}

function notAFile(path: string, kind: DirectoryEntry['kind']): HoldfastError {
  return new HoldfastError(
    'STORE_DAMAGED',
    `${path} ${KINDS[kind]}; it must be a regular file. Move it away: the next write makes one`,
    { details: { path } },
  )
}
