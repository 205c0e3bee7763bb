import { join } from 'node:path'
import { ioError, isMissing } from '../../fs/io.ts'
import type { FileSystem } from '../../fs/port.ts'

/** Where things lie in a store's directory. */
export function paths(root: string) {
  return {
    store: join(root, 'STORE.json'),
    head: join(root, 'HEAD.json'),
    previous: join(root, 'HEAD.prev.json'),
    lock: join(root, 'writer.lock'),
    packs: join(root, 'packs'),
    tmp: join(root, 'tmp'),
    quarantine: join(root, 'quarantine'),
  }
}

/** Temps of writers without locks are taken for dead after this long without a write. */
export const UNLOCKED_TEMP_AGE_MS = 24 * 60 * 60 * 1000

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

export async function attempt<T>(promise: Promise<T>, doing: string, at?: string): Promise<T> {
  try {
    return await promise
  } catch (error) {
    throw ioError(error, doing, at)
  }
}

/** As `Promise.all`, but waits for all also when one fails: what they use is let go of afterwards. */
export async function settled<Work extends readonly unknown[]>(
  work: readonly [...Work],
): Promise<{ -readonly [Index in keyof Work]: Awaited<Work[Index]> }> {
  await Promise.allSettled(work)
  return await Promise.all(work)
}
