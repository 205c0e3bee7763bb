import { dirname, join } from 'node:path'
import { HoldfastError } from '../errors.ts'
import { blake3 } from '../format/blake3.ts'
import { encodeHead, type Head, parseHead } from '../format/head.ts'
import { JSON_BYTES_MAX } from '../format/limits.ts'
import { encodeStoreFile } from '../format/store-file.ts'
import { DirectorySyncFailed, moveAside, publish, writeDurable } from '../fs/durable.ts'
import type { FileLock } from '../fs/file-lock.ts'
import {
  errorCode,
  ignoreMissing,
  ioError,
  isMissing,
  lstatOrNull,
  readFileOrNull,
  readFully,
  writeFully,
} from '../fs/io.ts'
import type { FileSystem } from '../fs/port.ts'
import { createTemp, reapTemps, type Temp } from '../fs/temps.ts'
import type { Inspection, PackSink, StoredHead, WriteSession } from './port.ts'

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

/** What one process knows of a store between its writes. */
export interface DirectoryState {
  /** Digest (hex) of the HEAD bytes that this process itself made durable. */
  durableHead: string | null
  /** HEAD was renamed and its directory could not be fsynced. */
  uncertain: boolean
}

/** Temps of writers without locks are taken for dead after this long without a write. */
export const UNLOCKED_TEMP_AGE_MS = 24 * 60 * 60 * 1000

/** Written back in steps of this size, so that the last fsync of a large pack has little left to do. */
const EARLY_SYNC_BYTES = 32 * 1024 * 1024

export interface SessionOptions {
  fs: FileSystem
  root: string
  modes: { fileMode: number; directoryMode: number }
  lock: boolean
  shared: DirectoryState
  held: FileLock | null
  readHead: () => Promise<StoredHead | null>
  inspect: () => Promise<Inspection>
}

/** The steps of one writer, who holds the lock. Their order is the commit protocol: see `snapshot/persist.ts`. */
export async function openSession(
  options: SessionOptions,
): Promise<{ session: WriteSession; close: () => Promise<void> }> {
  const { fs, root, modes, lock, shared, held, readHead, inspect } = options
  const at = paths(root)
  const sinks = new Set<Temp>()
  let stored = await readHead()
  if (stored !== null) await makeHeadDurable(stored)
  let previous = await readPrevious()

  /**
   * A writer may have died between HEAD's rename and the fsync of its directory. What this process builds on, acknowledges or deletes
   * under must not be taken back by a power loss, so it is made durable first.
   */
  async function makeHeadDurable(current: StoredHead): Promise<void> {
    if (shared.durableHead === digestOf(current.bytes)) return
    try {
      if (shared.uncertain) await renameAgain(current)
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
    shared.durableHead = digestOf(current.bytes)
  }

  /**
   * A failed fsync of a directory is reported once; the kernel may then have forgotten the rename and take the directory for clean, so that
   * the next fsync succeeds and writes nothing. Another rename gives it something to write.
   */
  async function renameAgain(current: StoredHead): Promise<void> {
    const temp = await stage(current.bytes, at.head)
    try {
      await publish(fs, temp, at.head, { synced: true, syncDirectory: false })
    } finally {
      await temp.discard()
      await temp.file.close().catch(() => undefined)
    }
  }

  /**
   * Whoever made the store's directory, or one above it, may have died before fsyncing its parent; who may not read the parent did not
   * make it.
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

  async function readPrevious(): Promise<Head | null> {
    if (stored === null) return null
    try {
      const bytes = await readFileOrNull(fs, at.previous, JSON_BYTES_MAX)
      if (bytes === null) return null
      const { head } = parseHead(bytes, at.previous)
      return head.storeId === stored.head.storeId ? head : null
    } catch (error) {
      if (errorCode(error) !== undefined) throw ioError(error, `reading ${at.previous}`)
      // It is only a copy: without it nothing is deleted early.
      return null
    }
  }

  /** This writer may have been stopped for long: its lock file deleted, another writer at work. */
  async function assertUnchallenged(expected: Uint8Array | null): Promise<void> {
    const now = await attempt(readFileOrNull(fs, at.head, JSON_BYTES_MAX), `reading ${at.head}`)
    const same = expected === null ? now === null || !isInUse(now) : now !== null && equal(now, expected)
    if (same && (held === null || (await held.stillHeld()))) return
    throw new HoldfastError(
      'HEAD_CONFLICT',
      `${at.head} was changed by another writer while this one worked; nothing was committed, persist again`,
      { details: { path: at.head } },
    )
  }

  /** A HEAD of revision 0 without STORE.json is what an earlier creation left when it was cut short. */
  function isInUse(bytes: Uint8Array): boolean {
    return parseHead(bytes, at.head).head.revision > 0
  }

  /** Writes a sibling of HEAD, fsynced but still in `tmp/`. */
  async function stage(bytes: Uint8Array, target: string): Promise<Temp> {
    const replaced = await attempt(lstatOrNull(fs, target), `looking at ${target}`)
    const mode = replaced?.kind === 'file' ? replaced.mode & 0o777 : modes.fileMode
    const temp = await createTemp(fs, at.tmp, { mode, lock })
    try {
      await writeFully(temp.file, [bytes], 0)
      await temp.file.sync()
      return temp
    } catch (error) {
      await temp.discard()
      throw ioError(error, `writing ${target}`)
    }
  }

  async function swapHead(next: Head): Promise<void> {
    const bytes = encodeHead(next)
    const before = stored
    const temps: Temp[] = []
    let replacing = false
    try {
      const temp = await stage(bytes, at.head)
      temps.push(temp)
      if (before !== null) {
        const copy = await stage(before.bytes, at.previous)
        temps.push(copy)
        await assertUnchallenged(before.bytes)
        await publish(fs, copy, at.previous, { synced: true, syncDirectory: false })
      }
      await assertUnchallenged(before?.bytes ?? null)
      replacing = true
      await publish(fs, temp, at.head, { synced: true, syncDirectory: false })
    } catch (error) {
      for (const temp of temps) await temp.discard()
      if (replacing) await assertNotReplaced(bytes, error)
      throw ioError(error, `replacing ${at.head}`)
    } finally {
      for (const temp of temps) await temp.file.close().catch(() => undefined)
    }
    shared.uncertain = true
    shared.durableHead = null
    previous = before?.head ?? null
    stored = { head: next, bytes, unknown: [] }
    try {
      // One fsync makes both renames durable.
      await fs.syncDirectory(root)
    } catch (cause) {
      throw new HoldfastError(
        'COMMIT_UNKNOWN',
        `${at.head} was replaced, but ${root} could not be fsynced: after a power loss the new snapshot may or may not be there. ` +
          'Persist again: it is idempotent',
        { details: { path: root }, cause },
      )
    }
    await assertAlone()
    shared.uncertain = false
    shared.durableHead = digestOf(bytes)
  }

  /**
   * Between the last check and the rename this writer may have been stopped, its lock file deleted, and another let in: what that one
   * committed is then overwritten, and it may have taken our packs for garbage. That cannot be prevented, but it is not acknowledged.
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
   * A rename that failed may have been done all the same (network file systems answer so). Unless HEAD can be seen to be another, the
   * outcome is unknown, and the packs that it may name must stay.
   */
  async function assertNotReplaced(bytes: Uint8Array, cause: unknown): Promise<void> {
    const now = await readFileOrNull(fs, at.head, JSON_BYTES_MAX).catch(() => 'unreadable' as const)
    if (now !== 'unreadable' && (now === null || !equal(now, bytes))) return
    shared.uncertain = true
    shared.durableHead = null
    throw new HoldfastError(
      'COMMIT_UNKNOWN',
      `replacing ${at.head} failed, and ${now === 'unreadable' ? 'it cannot be read' : 'yet it is replaced'}. Persist again: it is idempotent`,
      {
        details: { path: root },
        cause,
      },
    )
  }

  async function create(storeId: string, created: string): Promise<void> {
    await attempt(makeNameDurable(), `making ${root} durable`)
    await swapHead(emptyHead(storeId))
    await writeStoreFile(storeId, created)
  }

  async function writeStoreFile(storeId: string, created: string): Promise<void> {
    await commitUnknownIfUnsynced(
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
    // A good HEAD is replaced as by any other write, and stays as the one before.
    stored = head.state === 'good' ? head.value : null
    if (stored !== null) await makeHeadDurable(stored)
    await swapHead(next)
    if (store.state === 'good' && store.value === next.storeId) return
    await writeStoreFile(next.storeId, new Date().toISOString())
  }

  async function quarantine(from: string, reason: string, details: object, original = from): Promise<string> {
    const now = new Date()
    return await commitUnknownIfUnsynced(
      moveAside(fs, { from, quarantineDirectory: at.quarantine, reason, now, details: { ...details }, original }),
    )
  }

  /** A good HEAD must stay until it is replaced: of it there is a copy to keep. */
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

  /** A rename into the store that may be lost again. */
  async function commitUnknownIfUnsynced<T>(work: Promise<T>): Promise<T> {
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
    const temp = await createTemp(fs, at.tmp, { mode: modes.fileMode, lock })
    sinks.add(temp)
    let committed: string | null = null
    let unsynced = 0
    let syncing: Promise<void> | null = null
    let early: { error: unknown } | null = null

    /** Sets the disk to work while there is still more to come. A failure counts: the kernel reports it once, here. */
    function syncEarly(): void {
      unsynced = 0
      syncing = attempt(temp.file.sync(), `writing ${temp.path}`)
        .catch((error: unknown) => {
          early ??= { error }
        })
        .finally(() => {
          syncing = null
        })
    }

    async function close(): Promise<void> {
      sinks.delete(temp)
      await temp.file.close().catch(() => undefined)
    }
    return {
      async write(views, position) {
        unsynced += await attempt(writeFully(temp.file, views, position), `writing ${temp.path}`)
        if (unsynced >= EARLY_SYNC_BYTES && syncing === null) syncEarly()
      },
      async commit(name) {
        await syncing
        if (early !== null) throw early.error
        const target = join(at.packs, `${name}.pack`)
        // Known from before the rename on, so that a failure after it can be cleaned up.
        committed = target
        await commitUnknownIfUnsynced(publish(fs, temp, target))
        await close()
      },
      async discard() {
        await syncing
        await temp.discard()
        await close()
        if (committed !== null) await fs.unlink(committed).catch(() => undefined)
      },
    }
  }

  const session: WriteSession = {
    get stored() {
      return stored
    },
    get previous() {
      return previous
    },
    get uncertain() {
      return shared.uncertain
    },
    alone: held !== null,
    create,
    createPack,
    async packBytes(name) {
      const path = join(at.packs, `${name}.pack`)
      return (await attempt(lstatOrNull(fs, path), `looking at ${path}`))?.size ?? null
    },
    listPacks: () => listPackNames(fs, at.packs),
    async readPackStart(name, target) {
      const path = join(at.packs, `${name}.pack`)
      // A directory, a link or a pipe of that name is no pack: opening it might fail for ever, or never return.
      if ((await attempt(lstatOrNull(fs, path), `looking at ${path}`))?.kind !== 'file') return 0
      const file = await attempt(fs.open(path, 'read'), `opening ${path}`)
      try {
        return await attempt(readFully(file, target, 0), `reading ${path}`)
      } finally {
        await file.close().catch(() => undefined)
      }
    },
    swapHead,
    restoreHead,
    async deletePack(name) {
      const path = join(at.packs, `${name}.pack`)
      await attempt(ignoreMissing(fs.unlink(path)), `deleting ${path}`)
    },
    quarantinePack: (name, reason, details) => quarantine(join(at.packs, `${name}.pack`), reason, details),
    quarantineFile(name, reason, details, { copy = false } = {}) {
      const path = join(root, name)
      return copy ? quarantineCopy(path, reason, details) : quarantine(path, reason, details)
    },
    async reapTemps() {
      await reapTemps(fs, at.tmp, { lock, olderThanMs: UNLOCKED_TEMP_AGE_MS, nowMs: Date.now() })
    },
  }
  return {
    session,
    async close() {
      for (const temp of sinks) await temp.discard()
    },
  }
}

export async function listPackNames(fs: FileSystem, packs: string): Promise<string[]> {
  try {
    const entries = await fs.readdir(packs)
    return entries.filter(({ name }) => name.endsWith('.pack')).map(({ name }) => name.slice(0, -'.pack'.length))
  } catch (error) {
    if (isMissing(error)) return []
    throw ioError(error, `listing ${packs}`)
  }
}

function emptyHead(storeId: string): Head {
  return {
    storeId,
    revision: 0,
    sequence: 0,
    head: null,
    snapshots: [],
    packs: [],
    retired: [],
    damaged: [],
    writes: [],
  }
}

function digestOf(bytes: Uint8Array): string {
  return Buffer.from(blake3(bytes)).toString('hex')
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

async function attempt<T>(promise: Promise<T>, doing: string): Promise<T> {
  try {
    return await promise
  } catch (error) {
    throw ioError(error, doing)
  }
}
