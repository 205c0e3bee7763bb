// HEAD.json and HEAD.prev.json, for the one writer who holds the lock. A swap replaces HEAD in this order and no other:
//
//   1  stage: a temp for the new HEAD, a second name of HEAD for HEAD.prev.json, the directory open   (stage-head.ts)
//   2  write the new HEAD and fsync it, beside the fsyncs of the packs that it names
//   3  check that HEAD is the file that was read, and that we hold the lock
//   (pinned-head.ts)
//   4  rename the second name to HEAD.prev.json
//   5  check again; rename the new HEAD to HEAD.json
//   6  fsync the directory, which makes both renames durable
//   7  check that we held the lock all along
//
// Invariant: at every moment HEAD.json is a complete HEAD, and everything that it names is durable. A HEAD that was
// found is made durable before anything is built on it. A failure before the rename of step 5 changes nothing. From
// there to the end of step 7 the outcome of a failure is unknown (`COMMIT_UNKNOWN`, head-outcome.ts), and nothing that
// either HEAD needs may be deleted.

import { dirname } from 'node:path'
import { HoldfastError } from '../../errors.ts'
import { encodeHead, type Head } from '../../format/head.ts'
import { JSON_BYTES_MAX } from '../../format/limits.ts'
import { commitUnknown, publish, syncAfterRename } from '../../fs/durable.ts'
import type { FileLock } from '../../fs/file-lock.ts'
import {
  allSettledThenThrow,
  attempt,
  errorCode,
  ignoreMissing,
  ioError,
  isSameFile,
  readFileOrNull,
  writeFully,
} from '../../fs/io.ts'
import type { FileStat, FileSystem } from '../../fs/port.ts'
import { linkTemp, type Temp } from '../../fs/temps.ts'
import type { StoredHead } from '../port.ts'
import type { HeadOutcome } from './head-outcome.ts'
import { paths } from './layout.ts'
import { equal, type Parsed } from './parse-cache.ts'
import { pin, pinHead } from './pinned-head.ts'
import { isPutBack } from './put-back.ts'
import { createHeadStage } from './stage-head.ts'

export interface HeadCellOptions {
  fs: FileSystem
  /** The same disk, with synchronous calls for small operations on recently used files. */
  quickFs: FileSystem
  root: string
  modes: { fileMode: number }
  lock: boolean
  outcome: HeadOutcome
  heads: Parsed<{ head: Head; unknown: string[] }>
  held: FileLock | null
  /** Reads HEAD, and judges it together with the other files of the store. */
  readHead: (bytes: () => Promise<Uint8Array | null>, quickFs: FileSystem) => Promise<StoredHead | null>
}

/** HEAD.json and HEAD.prev.json, for the one writer who holds the lock. */
interface HeadCell {
  readonly stored: StoredHead | null
  readonly previous: Head | null
  /** See `WriteSession.putBack`. */
  readonly putBack: boolean
  /** Starts to stage a swap, before the content of the new HEAD is known. */
  prepare(): void
  /** See `WriteSession.swapHead`. */
  swap(next: Head, ready?: () => Promise<unknown>): Promise<void>
  /** See `WriteSession.dropPrevious`. */
  dropPrevious(): Promise<void>
  /** Continues from another HEAD than the one that was found: a good one, or none. */
  reset(to: StoredHead | null): Promise<void>
  /** Makes the name of the store's directory durable. Whoever made it may have died before. */
  makeNameDurable(): Promise<void>
  close(): Promise<void>
}

/** Reads HEAD and the previous HEAD, and makes them durable before it returns them. */
export async function openHeadCell(options: HeadCellOptions): Promise<HeadCell> {
  const { fs, quickFs, root, modes, lock, outcome, heads, held, readHead } = options
  const at = paths(root)
  let previous: Head | null = null
  let previousStat: FileStat | null = null
  let putBack = false
  /** HEAD.prev.json, if it is a name of a file that HEAD was renamed from. */
  let renamedPrevious: FileStat | null = null

  // Both are read at once, because each takes three calls through the thread pool.
  const pinned = pinHead(fs, quickFs, at.head, isInUse)
  const pinningPrevious = pin(quickFs, at.previous)
  pinningPrevious.catch(() => undefined)
  let stored: StoredHead | null = null
  const alone = held !== null
  const replaced = () => ({ stored, previousStat })
  const stage = createHeadStage({ quickFs, root, modes, lock, alone, pinned, replaced })
  try {
    stored = await readHead(pinned.bytes, quickFs)
    await pinned.settle()
    if (stored !== null) await makeHeadDurable(stored)
    await takePrevious()
  } catch (error) {
    await close()
    throw error
  }

  async function close(): Promise<void> {
    const copy = await pinningPrevious.catch(() => null)
    copy?.file.closeSync()
    await stage.close()
    await pinned.close()
  }

  /** A HEAD of revision 0 without STORE.json was left by an interrupted creation. */
  function isInUse(bytes: Uint8Array): boolean {
    return heads.parse(bytes, at.head).head.revision > 0
  }

  async function takePrevious(): Promise<void> {
    try {
      const found = await pinningPrevious
      if (found === null) {
        noteIfPutBack(null)
        return
      }
      found.file.closeSync()
      if (stored === null) return
      previousStat = renamedPrevious ?? found.stat
      const { head } = heads.parse(found.bytes, at.previous)
      if (head.storeId === stored.head.storeId) previous = head
      noteIfPutBack({ head, stat: previousStat })
    } catch (error) {
      // HEAD.prev.json is only a copy. Without it, retired packs are kept longer.
      if (errorCode(error) !== undefined) throw ioError(error, `reading ${at.previous}`)
    }
  }

  function noteIfPutBack(spare: { head: Head; stat: FileStat } | null): void {
    const { current } = pinned
    putBack = stored !== null && current !== null && isPutBack({ head: stored.head, stat: current.stat }, spare)
  }

  /**
   * A writer may have died between HEAD's rename and the fsync of its directory. A power loss must not take back a HEAD
   * that this process builds on, acknowledges, or deletes files after. So it is made durable first.
   */
  async function makeHeadDurable(current: StoredHead): Promise<void> {
    if (outcome.isDurable(current.bytes)) return
    try {
      if (outcome.uncertain) await renameAgain(current)
      const file = await fs.open(at.head, 'read')
      try {
        await file.sync()
      } finally {
        await file.close()
      }
      await fs.syncDirectory(root)
      await makeNameDurable()
    } catch (error) {
      throw ioError(error, `making ${at.head} durable`)
    }
    outcome.durable(current.bytes)
  }

  /**
   * A failed fsync of a directory is reported once. The kernel may then consider the directory clean, so that the next
   * fsync succeeds without writing the rename. Another rename makes the directory dirty again.
   */
  async function renameAgain(current: StoredHead): Promise<void> {
    const temp = await stage.write(current.bytes, at.head, pinned.current?.stat.mode)
    try {
      await temp.file.sync()
      const stat = await temp.file.stat()
      await renamePreviousAgain(temp, stat)
      await publish(fs, temp, at.head, { synced: true, directory: null })
      pinned.replace({ file: temp.file, stat, bytes: current.bytes })
    } finally {
      await temp.discard()
      if (pinned.current?.file !== temp.file) pinned.closeSoon(temp.file)
    }
  }

  /**
   * Where a writer died between its two renames, HEAD.prev.json is another name of HEAD, and stays one. Beside a newer
   * file HEAD would look like one that somebody put back, and the pack that the writer left like one that was lost.
   */
  async function renamePreviousAgain({ path, file }: Temp, stat: FileStat): Promise<void> {
    const found = await pinningPrevious.catch(() => null)
    if (found === null || !isSameFile(found.stat, pinned.current?.stat ?? null)) return
    const linked = await linkTemp(quickFs, at.tmp, path, { file, stat })
    if (linked === null) return
    try {
      await publish(fs, linked, at.previous, { synced: true, directory: null })
      // No power loss keeps the rename of HEAD that follows, and not this one.
      await fs.syncDirectory(root)
    } finally {
      await linked.discard()
    }
    renamedPrevious = stat
  }

  /**
   * Whoever made the store's directory, or one of its parents, may have died before fsyncing the parent. A process that
   * may not read the parent did not make the directory.
   */
  async function makeNameDurable(): Promise<void> {
    for (let path = root; path !== dirname(path); path = dirname(path)) {
      try {
        await fs.syncDirectory(dirname(path))
      } catch (error) {
        if (!['EACCES', 'EPERM', 'ENOENT'].includes(errorCode(error) ?? '')) throw error
      }
    }
  }

  /** This writer may have been suspended for long, its lock file deleted, and another writer let in. */
  async function assertUnchallenged(expected: Uint8Array | null): Promise<void> {
    const [same, alone] = await allSettledThenThrow([pinned.isStill(expected), held === null || held.stillHeld()])
    if (same && alone) return
    throw new HoldfastError(
      'HEAD_CONFLICT',
      `${at.head} was changed by another writer while this one worked; nothing was committed, persist again`,
      { details: { path: at.head } },
    )
  }

  async function swap(next: Head, ready: () => Promise<unknown> = async () => undefined): Promise<void> {
    const bytes = encodeHead(next)
    const before = stored
    const { temp, copy, copied, opened } = await stage.take()
    let stat: FileStat
    let replacing = false
    try {
      await writeFully(temp.file, [bytes], 0)
      // These fsyncs run beside those of the packs, because concurrent fsyncs share the file system's work. Everything
      // that HEAD will name is durable before HEAD names it.
      await allSettledThenThrow([temp.file.sync(), copied && copy?.file.sync(), ready()])
      stat = await temp.file.stat()
      if (before !== null && copy !== null) {
        // Its identity is read from the open file: the inode number of a deleted file may be reused.
        previousStat = await copy.file.stat()
        await assertUnchallenged(before.bytes)
        await publish(fs, copy, at.previous, { synced: true, directory: null }).catch(async (error: unknown) => {
          // A writer that was let in despite the lock removed our temp as a dead writer's.
          await assertUnchallenged(before.bytes)
          throw error
        })
      }
      await assertUnchallenged(before?.bytes ?? null)
      replacing = true
      await publish(fs, temp, at.head, { synced: true, directory: null })
    } catch (error) {
      await temp.discard()
      await copy?.discard()
      if (replacing) await assertNotReplaced(bytes, error)
      throw ioError(error, `replacing ${at.head}`)
    } finally {
      if (copied) copy?.file.closeSync()
    }
    outcome.unknown()
    previous = before?.head ?? null
    putBack = false
    stored = { head: next, bytes, unknown: [] }
    heads.know(bytes, { head: next, unknown: [] })
    pinned.replace({ file: temp.file, stat, bytes }, before !== null && !copied)
    try {
      // One fsync makes both renames durable.
      await syncAfterRename(opened, root)
    } catch (error) {
      const may = 'the new snapshot may or may not be there. Persist again: it is idempotent'
      throw commitUnknown(error, at.head, 'was replaced', may)
    }
    await assertAlone()
    outcome.swapped(bytes)
  }

  /**
   * Between the last check and the rename this writer may have been suspended, its lock file deleted, and another
   * writer let in. The rename then overwrote what the other committed, and the other may have deleted our packs as
   * garbage. This cannot be prevented, but the commit is not acknowledged.
   */
  async function assertAlone(): Promise<void> {
    if (held === null) return
    let cause: unknown
    try {
      if (await held.stillHeld()) return
    } catch (error) {
      cause = error
    }
    throw new HoldfastError(
      'COMMIT_UNKNOWN',
      `${at.lock} was deleted or replaced while ${at.head} was replaced: another writer may have been at work at the same time, and what either ` +
        'of them committed may be lost. Never delete the lock file. Persist again',
      { details: { path: at.lock }, cause },
    )
  }

  /**
   * A rename that failed may still have happened (on network file systems). Unless HEAD is seen to be another file, the
   * outcome is unknown, and the packs that the new HEAD names must stay.
   */
  async function assertNotReplaced(bytes: Uint8Array, cause: unknown): Promise<void> {
    const now = await readFileOrNull(fs, at.head, JSON_BYTES_MAX).catch(() => 'unreadable' as const)
    if (now !== 'unreadable' && (now === null || !equal(now, bytes))) return
    outcome.unknown()
    throw new HoldfastError(
      'COMMIT_UNKNOWN',
      `replacing ${at.head} failed, and ${now === 'unreadable' ? 'it cannot be read' : 'yet it is replaced'}. Persist again: it is idempotent`,
      {
        details: { path: root },
        cause,
      },
    )
  }

  return {
    get stored() {
      return stored
    },
    get previous() {
      return previous
    },
    get putBack() {
      return putBack
    },
    prepare: stage.prepare,
    swap,
    async dropPrevious() {
      await assertUnchallenged(stored?.bytes ?? null)
      await attempt(ignoreMissing(fs.unlink(at.previous)), `deleting ${at.previous}`)
      // Before anything is deleted that only HEAD.prev.json needs: a crash must not bring it back.
      await attempt(fs.syncDirectory(root), `making ${root} durable`)
      previous = null
      previousStat = null
    },
    async reset(to) {
      stored = to
      // HEAD.prev.json is left alone. The new HEAD is fsynced by the swap, but the directory's own name may not be
      // durable yet.
      if (stored !== null) await makeHeadDurable(stored)
      else await attempt(makeNameDurable(), `making ${root} durable`)
    },
    makeNameDurable: () => attempt(makeNameDurable(), `making ${root} durable`),
    close,
  }
}
