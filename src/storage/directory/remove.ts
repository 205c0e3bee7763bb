import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { clock } from '../../clock.ts'
import { HoldfastError, isHoldfastError } from '../../errors.ts'
import { isHex } from '../../format/hex.ts'
import { DIGEST_BYTES, JSON_BYTES_MAX } from '../../format/limits.ts'
import { commitUnknown, moveAside, syncAfterRename, withDirectory } from '../../fs/durable.ts'
import { acquireFileLock } from '../../fs/file-lock.ts'
import { attempt, errorCode, ioError, lstatOrNull, readFileOrNull } from '../../fs/io.ts'
import type { FileSystem } from '../../fs/port.ts'
import { removeTree } from '../../fs/temps.ts'
import { listPackNames, paths } from './layout.ts'

/** Moves a whole store into `<path>.quarantine/`. Answers where it went; null when there was nothing. */
export async function setDirectoryAside(
  fs: FileSystem,
  path: string,
  reason: string,
  lockWaitMs: number,
): Promise<string | null> {
  return await withStoreLocked(fs, path, lockWaitMs, async () => {
    const quarantineDirectory = join(dirname(path), `${basename(path)}.quarantine`)
    return await moveAside(fs, { from: path, quarantineDirectory, reason, now: clock.now(), details: {} })
  })
}

/** Deletes a whole store, and what is left of those that were being deleted under that name when a crash came. False: there was none. */
export async function destroyDirectory(fs: FileSystem, path: string, lockWaitMs: number): Promise<boolean> {
  const doomed = await withStoreLocked(fs, path, lockWaitMs, async () => {
    // Renamed first: a crash half-way must not leave half a store under its name.
    const above = dirname(path)
    const aside = join(above, `${basename(path)}.${randomBytes(12).toString('hex')}${DELETED}`)
    await withDirectory(fs, above, async (directory) => {
      await fs.rename(path, aside)
      await syncAfterRename(directory, above)
    })
    return aside
  })
  if (doomed !== null) await attempt(removeTree(fs, doomed), `deleting what was ${path}`)
  await removeDoomed(fs, path).catch(() => undefined)
  return doomed !== null
}

const DELETED = '.deleted'

/** What crashes left. It is in nobody's way. */
async function removeDoomed(fs: FileSystem, path: string): Promise<void> {
  const before = `${basename(path)}.`
  for (const { name } of await fs.readdir(dirname(path))) {
    if (!name.startsWith(before) || !name.endsWith(DELETED)) continue
    if (isHex(name.slice(before.length, -DELETED.length), 12)) await removeTree(fs, join(dirname(path), name))
  }
}

async function withStoreLocked<T>(
  fs: FileSystem,
  path: string,
  waitMs: number,
  work: () => Promise<T>,
): Promise<T | null> {
  try {
    if ((await lstatOrNull(fs, path)) === null) return null
    await assertStore(fs, path)
    const hint = Buffer.from(`pid ${process.pid} on ${hostname()}`)
    const lock = await acquireFileLock(fs, paths(path).lock, { mode: 0o600, waitMs, hint })
    try {
      return await work()
    } finally {
      await lock.release()
    }
  } catch (error) {
    throw commitUnknown(ioError(error, `taking ${path} away`), path, 'was taken away', 'it may be back')
  }
}

/**
 * A damaged store is still one, whichever of its files is left. But a directory that merely has a `packs` folder or somebody else's
 * HEAD.json in it must not be taken for one: it is about to be deleted.
 */
async function assertStore(fs: FileSystem, path: string): Promise<void> {
  const { store, head, previous, packs } = paths(path)
  const failures: unknown[] = []
  function failed(error: unknown): null {
    // A directory of that name, or a file that is far too long, is somebody else's.
    if (errorCode(error) !== 'EISDIR' && !isHoldfastError(error, 'LIMIT_EXCEEDED')) failures.push(error)
    return null
  }
  for (const file of [store, head, previous]) {
    const bytes = await readFileOrNull(fs, file, JSON_BYTES_MAX).catch(failed)
    if (bytes !== null && Buffer.from(bytes).includes('"holdfast-')) return
  }
  const names = await listPackNames(fs, packs).catch(failed)
  if (names?.some((name) => isHex(name, DIGEST_BYTES))) return
  // What cannot be read may be a store.
  if (failures.length > 0) throw failures[0]
  throw new HoldfastError('NOT_A_STORE', `${path} is not a holdfast store; it was left as it is`, { details: { path } })
}
