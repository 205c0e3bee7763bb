// Removes a whole store: moves it to quarantine, or deletes it. Only the store's own files are removed; other files in
// its directory stay.

import { hostname } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { clock } from '../../clock.ts'
import { HoldfastError, isHoldfastError } from '../../errors.ts'
import { isHex } from '../../format/hex.ts'
import { commitUnknown, renameAway } from '../../fs/durable.ts'
import { acquireFileLock } from '../../fs/file-lock.ts'
import { assertNoLink, attempt, errorCode, ignoreMissing, ioError, lstatOrNull, statOrNull } from '../../fs/io.ts'
import { moveAside, moveIntoAside } from '../../fs/move-aside.ts'
import type { FileSystem } from '../../fs/port.ts'
import { listTemps, reapTemps, removeTree, UNLOCKED_TEMP_AGE_MS } from '../../fs/temps.ts'
import { JOURNAL_LOCK, takeLockIfThere } from '../../journal/lock.ts'
import { listPackNames, packPath, paths } from './layout.ts'
import { hasHeader, isPack, isPackName, sortFiles } from './own-files.ts'

/** Moves a whole store into `<path>.quarantine/`. Returns its new path; null if there was no store. */
export async function setDirectoryAside(
  fs: FileSystem,
  path: string,
  reason: string,
  lockWaitMs: number,
): Promise<string | null> {
  return await withStoreLocked(fs, path, lockWaitMs, async (root) => {
    const sorted = await sortFiles(fs, root, true)
    const about = { reason, now: clock.now(), details: {} }
    const quarantineDirectory = join(dirname(root), `${basename(root)}.quarantine`)
    if (sorted.foreign.every(mayBePack) && (await canMove(fs, path, root, sorted.folders))) {
      const to = await unlessRefused(moveAside(fs, { ...about, from: root, quarantineDirectory }))
      if (to !== null) return to
      // The quarantine directory is not needed.
      await fs.rmdir(quarantineDirectory).catch(() => undefined)
    }
    await attempt(assertNoLink(fs, paths(root).quarantine), `looking at ${paths(root).quarantine}`)
    const packs = [...sorted.own, ...sorted.foreign].filter(mayBePack)
    const locks = [basename(paths(root).lock), JOURNAL_LOCK]
    const isJournal = (file: string): boolean => dirname(file) === 'journal'
    const files = sorted.own.filter((file) => isJournal(file) || (!file.includes('/') && !locks.includes(file)))
    // Packs are moved first, so that a failure leaves HEAD in its place.
    return await moveIntoAside(fs, {
      ...about,
      from: root,
      names: [...packs, ...files],
      quarantineDirectory: paths(root).quarantine,
    })
  })
}

/**
 * Deletes a whole store, and the remains of earlier deletions at that path that a crash interrupted. False if there was
 * nothing.
 */
export async function destroyDirectory(fs: FileSystem, path: string, lockWaitMs: number): Promise<boolean> {
  const doomed = await withStoreLocked(fs, path, lockWaitMs, async (root) => {
    const { foreign, folders } = await sortFiles(fs, root, true)
    if (foreign.length === 0 && (await canMove(fs, path, root, folders))) {
      const renamed = await unlessRefused(renameAway(fs, root, DELETED))
      if (renamed !== null) return renamed
    }
    await destroyContents(fs, root, path)
    return ''
  })
  if (doomed) await attempt(removeTree(fs, doomed), `deleting what was ${path}`)
  await removeDoomed(fs, path).catch(() => undefined)
  return doomed !== null
}

/** A crash during the deletion leaves a store that is recognised as damaged. Another call deletes the rest. */
async function destroyContents(fs: FileSystem, root: string, path: string): Promise<void> {
  const at = paths(root)
  const sorted = await sortFiles(fs, root, true)
  await attempt(assertNoLink(fs, at.quarantine), `looking at ${at.quarantine}`)
  for (const file of sorted.foreign.filter(mayBePack)) {
    const about = { reason: 'not-a-pack', now: clock.now(), details: {} }
    await moveAside(fs, { ...about, from: join(root, file), quarantineDirectory: at.quarantine })
  }
  for (const file of [at.store, at.previous, at.head]) await ignoreMissing(fs.unlink(file))
  await fs.syncDirectory(root)
  for (const file of sorted.own) {
    if (file.startsWith('tmp/') || file === basename(at.lock)) continue
    await removeTree(fs, join(root, file))
  }
  const entries = await listTemps(fs, at.tmp)
  await reapTemps(fs, at.tmp, { lock: true, olderThanMs: UNLOCKED_TEMP_AGE_MS, nowMs: clock.nowMs(), entries })
  await ignoreMissing(fs.unlink(at.lock))
  for (const folder of sorted.folders) await removeIfEmpty(fs, join(root, folder))
  // A directory that a link leads to stays, so that the next store can be made there.
  if ((await lstatOrNull(fs, path))?.kind !== 'link') await removeIfEmpty(fs, root)
  else await fs.syncDirectory(root)
}

/** Removes a directory if it is empty and no mount point. */
async function removeIfEmpty(fs: FileSystem, path: string): Promise<void> {
  await fs.rmdir(path).catch(() => undefined)
}

/** Whether a file has the name of a pack, whatever its content. */
function mayBePack(file: string): boolean {
  return dirname(file) === 'packs' && isPackName(basename(file))
}

/**
 * A directory at the end of a link stays, for the next store; a mount point cannot be renamed. A mount in one of the
 * folders would go along with a rename: it could not be deleted there, and would be back in its old place when it is
 * next mounted.
 */
async function canMove(fs: FileSystem, path: string, root: string, folders: readonly string[]): Promise<boolean> {
  if ((await lstatOrNull(fs, path))?.kind === 'link') return false
  const { dev } = await fs.stat(root)
  const around = await Promise.all([dirname(root), ...folders.map((folder) => join(root, folder))].map(fs.stat))
  return around.every((stat) => stat.dev === dev)
}

/** Errors of renaming a mount point, or a directory in a parent that we may not change. */
const REFUSED = ['EBUSY', 'EACCES', 'EPERM', 'EXDEV', 'EROFS']

async function unlessRefused(work: Promise<string>): Promise<string | null> {
  try {
    return await work
  } catch (error) {
    const code = isHoldfastError(error, 'IO_FAILED') ? error.details.code : errorCode(error)
    if (REFUSED.includes(String(code))) return null
    throw error
  }
}

const DELETED = '.deleted'

/** Removes the remains of deletions that a crash interrupted. A failure is ignored. */
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
  work: (root: string) => Promise<T>,
): Promise<T | null> {
  try {
    const there = await lstatOrNull(fs, path)
    if (there === null) return null
    if (there.kind === 'link' && (await statOrNull(fs, path)) === null) throw leadsNowhere(path)
    const root = await fs.realpath(path)
    await assertStore(fs, root)
    const hint = Buffer.from(`pid ${process.pid} on ${hostname()}`)
    const mode = (await fs.stat(root)).mode & 0o666
    // Before the writer lock: its owner takes them in this order.
    const journal = await takeLockIfThere(fs, join(root, JOURNAL_LOCK))
    try {
      const lock = await acquireFileLock(fs, paths(root).lock, { mode, waitMs, hint })
      try {
        return await work(root)
      } finally {
        await lock.release()
      }
    } finally {
      await journal?.release()
    }
  } catch (error) {
    throw commitUnknown(ioError(error, `taking ${path} away`), path, 'was taken away', 'it may be back')
  }
}

/** The error of a dangling link, which often means that a disk is not mounted. */
export function leadsNowhere(link: string): HoldfastError {
  return new HoldfastError(
    'IO_FAILED',
    `${link} is a symbolic link that leads nowhere: is the disk mounted? Mount it, or remove the link to start afresh`,
    { details: { code: 'ENOENT', path: link } },
  )
}

/**
 * Refuses a directory that is no store. A damaged store counts as one, whichever of its files is left. A directory with
 * just a `packs` folder or a foreign HEAD.json does not count, because it is about to be removed.
 */
async function assertStore(fs: FileSystem, path: string): Promise<void> {
  const { store, head, previous, packs } = paths(path)
  const failures: unknown[] = []
  function failed(error: unknown): false {
    failures.push(error)
    return false
  }
  for (const file of [store, head, previous]) if (await hasHeader(fs, file).catch(failed)) return
  for (const name of (await listPackNames(fs, packs).catch(failed)) || []) {
    if (isPackName(`${name}.pack`) && (await isPack(fs, packPath(packs, name), name).catch(failed))) return
  }
  // An unreadable file may belong to a store.
  if (failures.length > 0) throw failures[0]
  throw new HoldfastError('NOT_A_STORE', `${path} is not a holdfast store; it was left as it is`, { details: { path } })
}
