// The steps of the one writer of a store directory: packs, HEAD, quarantine, temporary files. They are called only with
// the lock held, or if the caller guarantees that there is no other writer.

import { join } from 'node:path'
import { clock } from '../../clock.ts'
import { HoldfastError } from '../../errors.ts'
import { emptyHead } from '../../format/empty-head.ts'
import type { Head } from '../../format/head.ts'
import { JSON_BYTES_MAX } from '../../format/limits.ts'
import { encodeStoreFile } from '../../format/store-file.ts'
import { DirectorySyncFailed, writeDurable } from '../../fs/durable.ts'
import {
  assertNoLink,
  attempt,
  ignoreMissing,
  ioError,
  lstatOrNull,
  readFileOrNull,
  readFully,
  statOrNull,
  writeFully,
} from '../../fs/io.ts'
import { moveAside } from '../../fs/move-aside.ts'
import type { Directory } from '../../fs/port.ts'
import { createTemp, listTemps, reapTemps, type Temp, UNLOCKED_TEMP_AGE_MS } from '../../fs/temps.ts'
import { headFrom } from '../head-from.ts'
import type { Inspection, PackSink, WriteSession } from '../port.ts'
import { type HeadCellOptions, openHeadCell } from './head.ts'
import { listPackNames, packPath, paths } from './layout.ts'
import { createPackSink } from './pack-sink.ts'

interface SessionOptions extends HeadCellOptions {
  inspect: () => Promise<Inspection>
}

/** The steps of one writer, who holds the lock. Their order is the commit protocol: see `persist/persist.ts`. */
export async function openSession(
  options: SessionOptions,
): Promise<{ session: WriteSession; close: () => Promise<void> }> {
  const { fs, quickFs, root, modes, lock, outcome, held, inspect } = options
  const at = paths(root)
  const sinks = new Set<Temp>()
  let packsDirectory: Promise<Directory> | null = null
  const cell = await openHeadCell(options)

  async function create(storeId: string, created: string): Promise<void> {
    await cell.makeNameDurable()
    await cell.swap(emptyHead(storeId))
    await writeStoreFile(storeId, created)
  }

  async function writeStoreFile(storeId: string, created: string): Promise<void> {
    await notCommittedIfUnsynced(
      writeDurable(fs, {
        bytes: encodeStoreFile({ storeId, created }),
        tempDirectory: at.tmp,
        target: at.store,
        mode: modes.fileMode,
        lock,
      }),
    )
  }

  async function restoreHead(next: Head): Promise<void> {
    const { store, head } = await inspect()
    // A good HEAD is replaced as in any other write, and becomes HEAD.prev.json.
    await cell.reset(head.state === 'good' ? head.value : null)
    // The writer of a pack that is adopted now may have died before this fsync.
    await attempt(fs.syncDirectory(at.packs), `making ${at.packs} durable`)
    await cell.swap(next)
    if (store.state === 'good' && store.value === next.storeId) return
    await writeStoreFile(next.storeId, clock.now().toISOString())
  }

  async function quarantine(from: string, reason: string, details: object, original = from): Promise<string> {
    const now = clock.now()
    await attempt(assertNoLink(fs, at.quarantine), `looking at ${at.quarantine}`)
    return await notCommittedIfUnsynced(
      moveAside(fs, { from, quarantineDirectory: at.quarantine, reason, now, details: { ...details }, original }),
    )
  }

  /** Puts a copy into quarantine, because a good HEAD must stay in its place until it is replaced. */
  async function quarantineCopy(path: string, reason: string, details: object): Promise<string> {
    const bytes = await attempt(readFileOrNull(fs, path, JSON_BYTES_MAX), `reading ${path}`)
    const copy = await createTemp(fs, at.tmp, { mode: modes.fileMode, lock })
    try {
      await writeFully(copy.file, [bytes ?? new Uint8Array(0)], 0)
      await copy.file.sync()
      const to = await quarantine(copy.path, reason, details, path)
      copy.keep()
      return to
    } catch (error) {
      await copy.discard()
      throw ioError(error, `copying ${path} into quarantine`)
    } finally {
      await copy.file.close().catch(() => undefined)
    }
  }

  /**
   * Turns the failed fsync after a rename into an error that says that nothing was committed: HEAD does not name the
   * file.
   */
  async function notCommittedIfUnsynced<T>(work: Promise<T>): Promise<T> {
    try {
      return await work
    } catch (error) {
      if (!(error instanceof DirectorySyncFailed)) throw error
      const { code, syscall } = error.cause as NodeJS.ErrnoException
      throw new HoldfastError('IO_FAILED', `${error.message}; nothing was committed`, {
        details: { code, syscall, path: error.directory },
        cause: error.cause,
      })
    }
  }

  async function createPack(): Promise<PackSink> {
    packsDirectory ??= attempt(quickFs.openDirectory(at.packs), `opening ${at.packs}`)
    const [made, opened] = await Promise.allSettled([
      createTemp(quickFs, at.tmp, { mode: modes.fileMode, lock }),
      packsDirectory,
    ])
    if (made.status === 'rejected') throw made.reason
    const temp = made.value
    if (opened.status === 'rejected') {
      await temp.discard()
      throw opened.reason
    }
    sinks.add(temp)
    // A writer of a pack will replace HEAD, so staging starts now.
    cell.prepare()
    return createPackSink({
      fs,
      temp,
      packs: at.packs,
      directory: opened.value,
      unlessUnsynced: notCommittedIfUnsynced,
      done() {
        sinks.delete(temp)
        temp.file.closeSync()
      },
    })
  }

  const session: WriteSession = {
    get stored() {
      return cell.stored
    },
    get previous() {
      return cell.previous
    },
    get uncertain() {
      return outcome.uncertain
    },
    get putBack() {
      return cell.putBack
    },
    locked: held !== null,
    collect: null,
    create,
    createPack,
    async packBytes(name) {
      const path = packPath(at.packs, name)
      // Through a link, as it is read: somebody may have moved packs to another disk.
      return (await attempt(statOrNull(fs, path), `looking at ${path}`))?.size ?? null
    },
    listPacks: () => listPackNames(quickFs, at.packs),
    async readPackStart(name, target) {
      const path = packPath(at.packs, name)
      // A directory, a link or a pipe of that name is no pack. Opening it could fail each time, or never return.
      const stat = await attempt(lstatOrNull(fs, path), `looking at ${path}`)
      if (stat === null) return null
      if (stat.kind !== 'file') return 0
      // Another writer, let in while this one was suspended, may delete the pack in between.
      const file = await attempt(ignoreMissing(fs.open(path, 'read')), `opening ${path}`)
      if (file === undefined) return null
      try {
        return await attempt(readFully(file, target, 0), `reading ${path}`)
      } finally {
        file.closeSync()
      }
    },
    async swapHead(next, ready) {
      const made = await headFrom(next, cell.stored)
      if (made !== null) await cell.swap(made, ready)
    },
    dropPrevious: cell.dropPrevious,
    restoreHead,
    async deletePack(name) {
      const path = packPath(at.packs, name)
      await attempt(ignoreMissing(fs.unlink(path)), `deleting ${path}`)
    },
    quarantinePack: (name, reason, details) => quarantine(packPath(at.packs, name), reason, details),
    quarantineFile(name, reason, details, { copy = false } = {}) {
      const path = join(root, name)
      return copy ? quarantineCopy(path, reason, details) : quarantine(path, reason, details)
    },
    async listTemps() {
      const entries = await listTemps(quickFs, at.tmp)
      return {
        async reap() {
          await reapTemps(fs, at.tmp, { lock, olderThanMs: UNLOCKED_TEMP_AGE_MS, nowMs: clock.nowMs(), entries })
        },
      }
    },
  }
  return {
    session,
    async close() {
      for (const temp of sinks) await temp.discard()
      const opened = await packsDirectory?.catch(() => null)
      opened?.closeSync()
      await cell.close()
    },
  }
}
