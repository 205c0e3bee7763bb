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
  readFully,
  readOpenFile,
  statOrNull,
  writeFully,
} from '../../fs/io.ts'
import type { Directory, File, FileStat, FileSystem } from '../../fs/port.ts'
import { createTemp, linkTemp, type Temp } from '../../fs/temps.ts'
import type { StoredHead } from '../port.ts'
import { paths } from './layout.ts'
import { equal, type Parsed } from './parse-cache.ts'

/** What one process knows of a store between its writes. */
export interface DirectoryState {
  /** The bytes of the HEAD that this process itself made durable. */
  durableHead: Uint8Array | null
  /** HEAD was renamed and its directory could not be fsynced. */
  uncertain: boolean
}

export interface HeadCellOptions {
  fs: FileSystem
  /** The same, for small work on what was just used. */
  quickFs: FileSystem
  root: string
  modes: { fileMode: number }
  lock: boolean
  shared: DirectoryState
  heads: Parsed<{ head: Head; unknown: string[] }>
  held: FileLock | null
  /** Judges the bytes of HEAD by what else lies there. */
  readHead: (bytes: () => Promise<Uint8Array | null>, quickFs: FileSystem) => Promise<StoredHead | null>
}

/** HEAD.json and the one before, for one writer who holds the lock. */
interface HeadCell {
  readonly stored: StoredHead | null
  readonly previous: Head | null
  /** Begins what a swap needs of the disk before it is known what HEAD will say. */
  prepare(): void
  /** See `WriteSession.swapHead`. */
  swap(next: Head, ready?: () => Promise<unknown>): Promise<void>
  /** Goes on from another HEAD than the one that was found: a good one, or none. */
  reset(to: StoredHead | null): Promise<void>
  /** The store's directory may have been made by somebody who died before its name was durable. */
  makeNameDurable(): Promise<void>
  close(): Promise<void>
}

/** A file and what was in it, open, so that no other file can be taken for it. */
interface Pinned {
  file: File
  stat: FileStat
  bytes: Uint8Array
}

/** What a swap replaces files by, still in `tmp/`: for HEAD, and for the one before a second name of HEAD, or a copy. */
interface Staged {
  temp: Temp
  copy: Temp | null
  /** The copy was written just now. */
  copied: boolean
  /** Open before the rename, after which it would be too late to fail. */
  opened: Directory
}

/** Reads HEAD and the one before. What was read is durable before it is shown. */
export async function openHeadCell(options: HeadCellOptions): Promise<HeadCell> {
  const { fs, quickFs, root, modes, lock, shared, heads, held, readHead } = options
  const at = paths(root)
  const closing: Promise<unknown>[] = []
  let directory: Promise<Directory> | null = null
  let staging: Promise<Staged> | null = null
  let pinned: Pinned | null = null
  let previous: Head | null = null
  let previousStat: FileStat | null = null

  // All at once: each is three ways through the thread pool.
  const pinning = pin(at.head)
  const pinningPrevious = pin(at.previous)
  pinning.catch(() => undefined)
  pinningPrevious.catch(() => undefined)
  let stored: StoredHead | null = null
  try {
    stored = await readHead(async () => (await pinning)?.bytes ?? null, quickFs)
    pinned = await pinning.catch(() => null)
    if (stored !== null) await makeHeadDurable(stored)
    await takePrevious()
  } catch (error) {
    await close()
    throw error
  }

  async function pin(path: string): Promise<Pinned | null> {
    const file = await ignoreMissing(quickFs.open(path, 'read'))
    if (file === undefined) return null
    try {
      return { file, stat: await file.stat(), bytes: await readOpenFile(file, path, JSON_BYTES_MAX) }
    } catch (error) {
      await file.close().catch(() => undefined)
      throw error
    }
  }

  /**
   * Closed at the end, together with the others, and not waited for on the way: a file that has lost its name, which is freed by that. A close
   * of any other takes 2 us.
   */
  function closeSoon(file: Pick<File, 'close'>): void {
    closing.push(file.close().catch(() => undefined))
  }

  async function close(): Promise<void> {
    pinned = await pinning.catch(() => null).then((found) => pinned ?? found)
    pinned?.file.closeSync()
    const copy = await pinningPrevious.catch(() => null)
    copy?.file.closeSync()
    const staged = await staging?.catch(() => null)
    await staged?.temp.discard()
    await staged?.copy?.discard()
    await directory?.then((opened) => opened.closeSync()).catch(() => undefined)
    await Promise.all(closing)
  }

  async function takePrevious(): Promise<void> {
    try {
      const found = await pinningPrevious
      if (found === null) return
      found.file.closeSync()
      if (stored === null) return
      previousStat = found.stat
      const { head } = heads.parse(found.bytes, at.previous)
      if (head.storeId === stored.head.storeId) previous = head
    } catch (error) {
      // It is only a copy: without it nothing is deleted early.
      if (errorCode(error) !== undefined) throw ioError(error, `reading ${at.previous}`)
    }
  }

  /**
   * A writer may have died between HEAD's rename and the fsync of its directory. What this process builds on, acknowledges or deletes
   * under must not be taken back by a power loss, so it is made durable first.
   */
  async function makeHeadDurable(current: StoredHead): Promise<void> {
    if (shared.durableHead !== null && equal(shared.durableHead, current.bytes)) return
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
    shared.durableHead = current.bytes
  }

  /**
   * A failed fsync of a directory is reported once; the kernel may then have forgotten the rename and take the directory for clean, so that
   * the next fsync succeeds and writes nothing. Another rename gives it something to write.
   */
  async function renameAgain(current: StoredHead): Promise<void> {
    const temp = await write(current.bytes, at.head, pinned?.stat.mode)
    try {
      await temp.file.sync()
      const stat = await temp.file.stat()
      await publish(fs, temp, at.head, { synced: true, directory: null })
      pinInstead({ file: temp.file, stat, bytes: current.bytes })
    } finally {
      await temp.discard()
      if (pinned?.file !== temp.file) closeSoon(temp.file)
    }
  }

  /** HEAD is another file now. `named`: the old one has a name still. */
  function pinInstead(now: Pinned, named = false): void {
    if (named) pinned?.file.closeSync()
    else if (pinned !== null) closeSoon(pinned.file)
    pinned = now
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

  /** This writer may have been stopped for long: its lock file deleted, another writer at work. */
  async function assertUnchallenged(expected: Uint8Array | null): Promise<void> {
    const [same, alone] = await allSettledThenThrow([isStill(expected), held === null || held.stillHeld()])
    if (same && alone) return
    throw new HoldfastError(
      'HEAD_CONFLICT',
      `${at.head} was changed by another writer while this one worked; nothing was committed, persist again`,
      { details: { path: at.head } },
    )
  }

  /** Whether HEAD is the file that was read, and still says the same; with null, whether there is none. */
  async function isStill(expected: Uint8Array | null): Promise<boolean> {
    if (expected === null || pinned === null || !equal(pinned.bytes, expected)) {
      const now = await attempt(readFileOrNull(fs, at.head, JSON_BYTES_MAX), `reading ${at.head}`)
      return expected === null ? now === null || !isInUse(now) : now !== null && equal(now, expected)
    }
    const { file, stat } = pinned
    const now = new Uint8Array(expected.length)
    const [there, opened] = await attempt(
      allSettledThenThrow([statOrNull(quickFs, at.head), file.stat(), readFully(file, now, 0)]),
      `reading ${at.head}`,
    )
    return isSameFile(there, stat) && opened.size === expected.length && equal(now, expected)
  }

  /** A HEAD of revision 0 without STORE.json is what an earlier creation left when it was cut short. */
  function isInUse(bytes: Uint8Array): boolean {
    return heads.parse(bytes, at.head).head.revision > 0
  }

  /** Writes what is to replace `target`, still in `tmp/` and not fsynced. */
  async function write(bytes: Uint8Array | null, target: string, replacedMode: number | undefined): Promise<Temp> {
    const temp = await createTemp(quickFs, at.tmp, { mode: (replacedMode ?? modes.fileMode) & 0o777, lock })
    try {
      if (bytes !== null) await writeFully(temp.file, [bytes], 0)
      return temp
    } catch (error) {
      await temp.discard()
      throw ioError(error, `writing ${target}`)
    }
  }

  async function stage(): Promise<Staged> {
    directory ??= attempt(quickFs.openDirectory(root), `opening ${root}`)
    const staged = await Promise.allSettled([write(null, at.head, pinned?.stat.mode), stagePrevious(), directory])
    const [temp, previous, opened] = staged
    if (temp.status === 'fulfilled' && previous.status === 'fulfilled' && opened.status === 'fulfilled') {
      return { temp: temp.value, ...previous.value, opened: opened.value }
    }
    if (temp.status === 'fulfilled') await temp.value.discard()
    if (previous.status === 'fulfilled') await previous.value.copy?.discard()
    throw staged.find((each) => each.status === 'rejected')!.reason
  }

  /** HEAD is durable as it lies there, and will not be written to again: under a second name it is as good as a copy, and costs no fsync. */
  async function stagePrevious(): Promise<{ copy: Temp | null; copied: boolean }> {
    if (stored === null) return { copy: null, copied: false }
    // Without the lock others might take it for a dead writer's, by its age.
    if (held !== null && pinned !== null && equal(pinned.bytes, stored.bytes)) {
      // A writer died between the two renames: it is HEAD already, and a rename of one name of a file over another does nothing.
      if (isSameFile(pinned.stat, previousStat)) return { copy: null, copied: false }
      const linked = await linkTemp(quickFs, at.tmp, at.head, pinned)
      if (linked !== null) return { copy: linked, copied: false }
    }
    return { copy: await write(stored.bytes, at.previous, previousStat?.mode), copied: true }
  }

  function prepare(): void {
    staging ??= stage()
    staging.catch(() => undefined)
  }

  async function swap(next: Head, ready: () => Promise<unknown> = async () => undefined): Promise<void> {
    const bytes = encodeHead(next)
    const before = stored
    prepare()
    const { temp, copy, copied, opened } = await staging!.finally(() => {
      staging = null
    })
    let stat: FileStat
    let replacing = false
    try {
      await writeFully(temp.file, [bytes], 0)
      // At once, and beside those of the packs: fsyncs that are under way together share the file system's work. What HEAD will name is
      // durable before HEAD names it.
      await allSettledThenThrow([temp.file.sync(), copied && copy?.file.sync(), ready()])
      stat = await temp.file.stat()
      if (before !== null && copy !== null) {
        // Known by its identity from now on: the number of a file that is gone may soon be another's.
        previousStat = await copy.file.stat()
        await assertUnchallenged(before.bytes)
        await publish(fs, copy, at.previous, { synced: true, directory: null }).catch(async (error: unknown) => {
          // A writer who was let in all the same took the name in `tmp/` for a dead one's.
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
    shared.uncertain = true
    shared.durableHead = null
    previous = before?.head ?? null
    stored = { head: next, bytes, unknown: [] }
    heads.know(bytes, { head: next, unknown: [] })
    pinInstead({ file: temp.file, stat, bytes }, before !== null && !copied)
    try {
      // One fsync makes both renames durable.
      await syncAfterRename(opened, root)
    } catch (error) {
      const may = 'the new snapshot may or may not be there. Persist again: it is idempotent'
      throw commitUnknown(error, at.head, 'was replaced', may)
    }
    await assertAlone()
    shared.uncertain = false
    shared.durableHead = bytes
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

  return {
    get stored() {
      return stored
    },
    get previous() {
      return previous
    },
    prepare,
    swap,
    async reset(to) {
      stored = to
      // It stays as the one before, as it is. What takes its place becomes durable by itself, but under a name that may not be.
      if (stored !== null) await makeHeadDurable(stored)
      else await attempt(makeNameDurable(), `making ${root} durable`)
    },
    makeNameDurable: () => attempt(makeNameDurable(), `making ${root} durable`),
    close,
  }
}
