// A store in a directory: reads it, and decides who may write and in what order writers take turns. session.ts writes.

import { hostname } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { clock } from '../../clock.ts'
import { HoldfastError, isDamage, isHoldfastError } from '../../errors.ts'
import { parseHead } from '../../format/head.ts'
import { isHex } from '../../format/hex.ts'
import { originalOf } from '../../format/json-file.ts'
import { DIGEST_BYTES, JSON_BYTES_MAX } from '../../format/limits.ts'
import { parseStoreFile, type StoreFile } from '../../format/store-file.ts'
import { makeDirectory } from '../../fs/durable.ts'
import { acquireFileLock } from '../../fs/file-lock.ts'
import {
  assertNoLink,
  attempt,
  ignoreMissing,
  ioError,
  isMissing,
  isSameFile,
  lstatOrNull,
  readFileOrNull,
  readFully,
  statOrNull,
} from '../../fs/io.ts'
import { locksAvailable } from '../../fs/lock.ts'
import { syncRefused, withSyncCalls } from '../../fs/node.ts'
import type { FileStat, FileSystem } from '../../fs/port.ts'
import { createQueue, type Queue } from '../../fs/queue.ts'
import type { Found, Inspection, PackFile, Storage, StoredHead } from '../port.ts'
import { createHeadOutcome, type HeadOutcome } from './head-outcome.ts'
import { listPackNames, packPath, paths } from './layout.ts'
import { hasHeader, isHarmless, isPack, sortFiles } from './own-files.ts'
import { createParsed } from './parse-cache.ts'
import { isPutBack } from './put-back.ts'
import { leadsNowhere } from './remove.ts'
import { openSession } from './session.ts'

interface DirectoryStorageOptions {
  fs: FileSystem
  path: string
  readOnly: boolean
  /** `none`: the caller guarantees that there is one writer. */
  lock: 'os' | 'none'
}

/** State of a store directory that all store objects of this process share. */
interface Shared {
  queue: Queue
  outcome: HeadOutcome
}

/** The facts about the store's directory that a write needs. */
interface Prepared {
  stat: FileStat
  shared: Shared
}

function modesOf({ mode }: FileStat): { fileMode: number; directoryMode: number } {
  return { directoryMode: mode & 0o777, fileMode: mode & 0o666 }
}

/** Kinds of directory entries, in words. */
const KINDS = {
  file: 'is a file',
  directory: 'is a directory',
  link: 'is a symbolic link',
  other: 'is a pipe, socket or device',
  missing: 'is gone',
} as const

/** For this long after a write, the kernel is assumed to have the store's own files and directories in memory. */
const WARM_MS = 10_000

const sharedByPath = new Map<string, Shared>()

function sharedState(realPath: string): Shared {
  let shared = sharedByPath.get(realPath)
  if (shared === undefined) {
    shared = { queue: createQueue(), outcome: createHeadOutcome() }
    sharedByPath.set(realPath, shared)
  }
  return shared
}

/** A store in a directory of a local file system. */
export function directoryStorage(options: DirectoryStorageOptions): Storage {
  const { fs, readOnly } = options
  const root = resolve(options.path)
  const at = paths(root)
  const lock = options.lock === 'os'

  const storeFiles = createParsed(parseStoreFile)
  const heads = createParsed(parseHead)
  let writtenMs = Number.NEGATIVE_INFINITY
  /** This object has seen snapshots. If they are gone, it does not start a new store. */
  let seen = false

  function bytesOf(path: string, quickFs = fs): Promise<Uint8Array | null> {
    return readFileOrNull(quickFs, path, JSON_BYTES_MAX)
  }

  function isWarm(): boolean {
    return clock.monotonicMs() - writtenMs < WARM_MS
  }

  async function readStoreFile(quickFs?: FileSystem): Promise<StoreFile | null> {
    const bytes = await whole(bytesOf(at.store, quickFs), at.store, 'STORE_DAMAGED')
    return bytes === null ? null : storeFiles.parse(bytes, at.store)
  }

  async function readHead(
    readBytes?: () => Promise<Uint8Array | null>,
    quickFs?: FileSystem,
  ): Promise<StoredHead | null> {
    const stored = await readHeadThatIsThere(readBytes, quickFs).catch((error: unknown) => {
      throw adviseOnHead(error)
    })
    if (stored === null && seen) throw gone()
    seen ||= stored !== null && stored.head.snapshots.length > 0
    return stored
  }

  function gone(): HoldfastError {
    return new HoldfastError(
      'HEAD_MISSING',
      `${root} had snapshots when this store object last looked, and now there is no store: is its disk unmounted, or was the directory ` +
        'renamed or emptied? Nothing was written. Bring it back; or, to start afresh, open the store anew',
      { details: { path: root } },
    )
  }

  async function readHeadThatIsThere(
    readBytes = () => bytesOf(at.head),
    quickFs?: FileSystem,
  ): Promise<StoredHead | null> {
    // STORE.json is written after the first HEAD. So if STORE.json exists now, HEAD must exist, too.
    const store = await readStoreFile(quickFs)
    const bytes = await whole(readBytes(), at.head, 'HEAD_DAMAGED')
    if (store === null) return await withoutStoreFile(bytes)
    if (bytes === null) {
      throw new HoldfastError(
        'HEAD_MISSING',
        `${at.head} is missing, but ${at.store} says that a store was made here: its snapshots are not lost. repair() rebuilds it, and until ` +
          'then load({ fallback: true }) goes on from HEAD.prev.json; or ' +
          'move the directory aside with setAside() to start afresh',
        { details: { path: at.head } },
      )
    }
    const { head, unknown } = heads.parse(bytes, at.head)
    if (head.storeId !== store.storeId) {
      throw new HoldfastError(
        'STORE_DAMAGED',
        `${at.head} belongs to store ${head.storeId}, but ${at.store} to ${store.storeId}: two stores were mixed`,
        { details: { path: root, head: head.storeId, store: store.storeId } },
      )
    }
    return { head, bytes, unknown }
  }

  /** Handles a missing STORE.json: no store yet, a running or interrupted creation, or damage. */
  async function withoutStoreFile(head: Uint8Array | null): Promise<StoredHead | null> {
    const stat = await attempt(statOrNull(fs, root), `looking at ${root}`)
    if (stat !== null && stat.kind !== 'directory') {
      throw new HoldfastError('NOT_A_STORE', `${root} is not a directory`, { details: { path: root } })
    }
    if (stat === null) await attempt(assertNoDanglingLink(fs, root), `looking at ${root}`)
    // An interrupted creation leaves a HEAD of revision 0 and nothing else.
    const evidence =
      (head !== null && parseHead(head, at.head).head.revision > 0) ||
      (await listPackNames(fs, at.packs)).some((name) => isHex(name, DIGEST_BYTES)) ||
      (await attempt(lstatOrNull(fs, at.previous), `looking at ${at.previous}`)) !== null
    if (!evidence) return null
    // The creator may have finished between the two reads.
    if ((await readStoreFile()) !== null) return await readHead()
    throw new HoldfastError(
      'STORE_DAMAGED',
      `${at.store} is missing, but there are snapshots in ${root}: repair() writes it anew; or move the directory aside with ` +
        'setAside() to start afresh',
      { details: { path: at.store } },
    )
  }

  /** Reads HEAD for a repair, which also accepts a damaged store. */
  async function readHeadIfGood(
    readBytes?: () => Promise<Uint8Array | null>,
    quickFs?: FileSystem,
  ): Promise<StoredHead | null> {
    try {
      return await readHead(readBytes, quickFs)
    } catch (error) {
      if (isDamage(error) || isHoldfastError(error, 'NOT_A_STORE')) return null
      throw error
    }
  }

  async function inspect(): Promise<Inspection> {
    const packs: Inspection['packs'] = []
    for (const name of await listPackNames(fs, at.packs)) {
      const path = packPath(at.packs, name)
      const stat = await attempt(lstatOrNull(fs, path), `looking at ${path}`)
      if (stat !== null) packs.push({ name, bytes: stat.size })
    }
    // HEAD's stat is read before HEAD, and after HEAD.prev.json. So a writer that replaces both meanwhile does not look
    // like somebody who restored a HEAD.
    const headStat = await attempt(statOrNull(fs, at.head), `looking at ${at.head}`)
    const store = await found(at.store, (bytes) => parseStoreFile(bytes, at.store).storeId)
    const head = await found(at.head, (bytes) => ({ ...parseHead(bytes, at.head), bytes }))
    const previous = await found(at.previous, (bytes) => ({ ...parseHead(bytes, at.previous), bytes }))
    const previousStat = await attempt(statOrNull(fs, at.previous), `looking at ${at.previous}`)
    const current = head.state === 'good' && headStat !== null ? { head: head.value.head, stat: headStat } : null
    const spare =
      previous.state === 'good' && previousStat !== null ? { head: previous.value.head, stat: previousStat } : null
    const putBack = current !== null && previous.state !== 'damaged' && isPutBack(current, spare)
    return { store, head, previous, putBack, packs }
  }

  async function found<T>(path: string, parse: (bytes: Uint8Array) => T): Promise<Found<T>> {
    let bytes: Uint8Array | null = null
    try {
      bytes = await whole(bytesOf(path), path, path === at.store ? 'STORE_DAMAGED' : 'HEAD_DAMAGED')
      return bytes === null ? { state: 'missing' } : { state: 'good', value: parse(bytes) }
    } catch (error) {
      if (!isDamage(error) && !isHoldfastError(error, 'NOT_A_STORE', 'LIMIT_EXCEEDED')) throw error
      const original = bytes === null ? null : originalOf(bytes)
      return { state: 'damaged', error, original: original === null ? undefined : parsedOrUndefined(parse, original) }
    }
  }

  /** Refuses to start a store among other files, or where a store was, before anything is made. */
  async function assertRoomForStore(): Promise<void> {
    if ((await attempt(lstatOrNull(fs, at.store), `looking at ${at.store}`)) !== null) return
    if (seen && (await readHeadIfGood()) === null && !(await isBegun())) throw gone()
    const entries = await attempt(ignoreMissing(sortFiles(fs, root, await isBegun())), `looking at ${root}`)
    const foreign = entries?.foreign.filter((path) => !isHarmless(path)) ?? []
    if (foreign.length === 0) return
    // With a good HEAD it is a store that lost its STORE.json. A repair rewrites it, whatever other files exist.
    if ((await found(at.head, (bytes) => parseHead(bytes, at.head))).state === 'good') return
    const some = foreign.slice(0, 5).join(', ') + (foreign.length > 5 ? ` and ${foreign.length - 5} more` : '')
    throw new HoldfastError(
      'NOT_A_STORE',
      `${root} is no store, and there are other files in it (${some}): nothing was written. Give a directory of its own, such as ` +
        `${join(root, 'store')}`,
      { details: { path: root, found: foreign.slice(0, 100) } },
    )
  }

  /** Whether a store without STORE.json was begun, or lost it. */
  async function isBegun(): Promise<boolean> {
    if ((await attempt(lstatOrNull(fs, at.previous), `looking at ${at.previous}`)) !== null) {
      return await attempt(hasHeader(fs, at.previous), `reading ${at.previous}`)
    }
    if (await attempt(hasHeader(fs, at.head), `reading ${at.head}`)) return true
    for (const name of await listPackNames(fs, at.packs)) {
      if (isHex(name, DIGEST_BYTES) && (await isPack(fs, packPath(at.packs, name), name))) return true
    }
    return false
  }

  async function prepare(): Promise<FileStat> {
    await assertRoomForStore()
    await makeDirectory(fs, root, 0o700)
    const stat = await attempt(fs.stat(root), `looking at ${root}`)
    for (const path of [at.packs, at.tmp]) {
      await makeDirectory(fs, path, modesOf(stat).directoryMode)
      const inside = await attempt(lstatOrNull(fs, path), `looking at ${path}`)
      if (inside?.kind !== 'directory') {
        throw new HoldfastError(
          'STORE_DAMAGED',
          `${path} ${KINDS[inside?.kind ?? 'missing']}; it must be a real directory. Bring it back, or move the store aside with setAside()`,
          {
            details: { path },
          },
        )
      }
    }
    return stat
  }

  /**
   * The result of the last `prepare`, if it still holds: the same directory, with real directories in it. This takes
   * three concurrent calls, where `prepare` makes seven in sequence.
   */
  async function stillPrepared({ stat, shared }: Prepared, quickFs: FileSystem): Promise<Prepared | null> {
    const [now, ...inside] = await attempt(
      Promise.all([statOrNull(quickFs, root), lstatOrNull(quickFs, at.packs), lstatOrNull(quickFs, at.tmp)]),
      `looking at ${root}`,
    )
    if (now?.kind !== 'directory' || !isSameFile(now, stat) || now.mode !== stat.mode) return null
    return inside.every((part) => part?.kind === 'directory') ? { stat, shared } : null
  }

  let prepared: Prepared | null = null
  let entered: Promise<unknown> = Promise.resolve()

  /**
   * Runs one at a time, so that writes queue in the order of their calls: the last state persisted must be the last one
   * kept.
   */
  function enter(quickFs: FileSystem): Promise<Prepared> {
    const before = entered
    async function next(): Promise<Prepared> {
      await before.catch(() => undefined)
      prepared = prepared && (await stillPrepared(prepared, quickFs))
      if (prepared !== null) return prepared
      const stat = await prepare()
      prepared = { stat, shared: sharedState(await attempt(fs.realpath(root), `resolving ${root}`)) }
      return prepared
    }
    const entering = next()
    entered = entering
    return entering
  }

  return {
    location: root,
    readHead: () => readHead(),
    inspect,
    openPack: (name) => openPack(fs, packPath(at.packs, name), name),
    async write(write, task) {
      if (readOnly) {
        throw new HoldfastError('READ_ONLY', `${root} was opened read-only`, { details: { path: root } })
      }
      assertSyncAllowed(root)
      if (lock) assertLocks(root)
      const quickFs = isWarm() ? withSyncCalls(fs) : fs
      const { stat, shared } = await enter(quickFs)
      const modes = modesOf(stat)
      const startMs = clock.monotonicMs()
      return await shared.queue.run(
        write.signal,
        write.waitMs,
        async () => {
          const held = lock
            ? await acquireFileLock(quickFs, at.lock, {
                mode: modes.fileMode,
                waitMs: Math.max(0, write.waitMs - (clock.monotonicMs() - startMs)),
                signal: write.signal,
                onWait: write.onWait,
                hint: Buffer.from(`pid ${process.pid} on ${hostname()}`),
              })
            : null
          try {
            // Checked before anything is changed, because a repair moves files there even at its end.
            if (write.repair === true) await attempt(assertNoLink(fs, at.quarantine), `looking at ${at.quarantine}`)
            const opening = openSession({
              fs,
              quickFs,
              root,
              modes,
              lock,
              outcome: shared.outcome,
              heads,
              held,
              readHead: write.repair === true ? readHeadIfGood : readHead,
              inspect,
            })
            const [{ session, close }] = await Promise.all([opening, held?.hinted])
            try {
              return await task(session)
            } finally {
              seen ||= (session.stored?.head.snapshots.length ?? 0) > 0
              await close()
            }
          } finally {
            await held?.release()
            writtenMs = clock.monotonicMs()
          }
        },
        () =>
          new HoldfastError(
            'STORE_LOCKED',
            `another write to ${root} in this process is not done after ${write.waitMs} ms`,
            {
              details: { path: root, waitedMs: write.waitMs, holder: 'this process' },
            },
          ),
      )
    },
  }
}

/**
 * Throws if a link on the way to a store is dangling. That means that a disk is not mounted, not that no store was ever
 * made.
 */
async function assertNoDanglingLink(fs: FileSystem, root: string): Promise<void> {
  for (let path = root; path !== dirname(path); path = dirname(path)) {
    const there = await lstatOrNull(fs, path)
    if (there?.kind === 'link' && (await statOrNull(fs, path)) === null) throw leadsNowhere(path)
    if (there !== null && (there.kind === 'file' || there.kind === 'other')) {
      throw new HoldfastError('NOT_A_STORE', `${root} lies below ${path}, which is not a directory: check the path`, {
        details: { path: root },
      })
    }
    if (there !== null) return
  }
}

/** Throws if fsync is refused, before anything is made: otherwise the first fsync would fail midway. */
function assertSyncAllowed(root: string): void {
  const refused = syncRefused()
  if (refused !== null) throw ioError(refused, `writing to ${root}; nothing was written`, root)
}

function assertLocks(root: string): void {
  const locks = locksAvailable()
  if (locks.available) return
  throw new HoldfastError(
    'LOCK_UNAVAILABLE',
    `${root} cannot be written, because nothing can be locked: ${locks.reason}. Reading works; nothing was written`,
    { details: { path: root, reason: locks.reason }, cause: locks.cause },
  )
}

async function openPack(fs: FileSystem, path: string, name: string): Promise<PackFile> {
  const file = await fs.open(path, 'read').catch((error: unknown) => {
    if (!isMissing(error)) throw ioError(error, `opening ${path}`)
    throw new HoldfastError('PACK_MISSING', `pack ${path} is missing`, { details: { path, pack: name }, cause: error })
  })
  const { size, kind } = await file.stat().catch(async (error: unknown) => {
    await file.close().catch(() => undefined)
    throw ioError(error, `looking at ${path}`)
  })
  // The size of a non-file would make the pack look truncated, although nothing is known about the pack.
  if (kind !== 'file') {
    await file.close().catch(() => undefined)
    throw new HoldfastError(
      'IO_FAILED',
      `pack ${path} cannot be read: there is a ${kind} in its place. Put the file back, or move what is there away`,
      { details: { code: kind === 'directory' ? 'EISDIR' : 'EINVAL', syscall: 'open', path } },
    )
  }
  return {
    name,
    bytes: size,
    async read(target, position) {
      const got = await attempt(readFully(file, target, position), `reading ${path}`, path)
      if (got < target.length) {
        throw new HoldfastError('PACK_DAMAGED', `pack ${path} is cut short: it ends at byte ${position + got}`, {
          details: { path, pack: name, bytes: position + got },
        })
      }
    },
    // The file was only read, so its close has no error to report.
    close: () => file.close().catch(() => undefined),
    closeSync: () => file.closeSync(),
  }
}

function parsedOrUndefined<T>(parse: (bytes: Uint8Array) => T, bytes: Uint8Array): T | undefined {
  try {
    return parse(bytes)
  } catch (error) {
    if (isHoldfastError(error)) return undefined
    throw error
  }
}

/** Adds advice to the error of a damaged HEAD. */
function adviseOnHead(error: unknown): unknown {
  if (!isHoldfastError(error, 'HEAD_DAMAGED')) return error
  const advice = 'repair() rebuilds it; until then load({ fallback: true }) goes on from HEAD.prev.json'
  return new HoldfastError('HEAD_DAMAGED', `${error.message}. ${advice}`, { details: error.details, cause: error })
}

/** Reads a whole file. A file that is far too large is damaged. */
async function whole(
  reading: Promise<Uint8Array | null>,
  path: string,
  damaged: 'HEAD_DAMAGED' | 'STORE_DAMAGED',
): Promise<Uint8Array | null> {
  try {
    return await reading
  } catch (error) {
    if (!isHoldfastError(error, 'LIMIT_EXCEEDED')) throw ioError(error, `reading ${path}`, path)
    const reason = error.message
    throw new HoldfastError(damaged, `${path} is damaged: ${reason}`, {
      details: { where: path, reason },
      cause: error,
    })
  }
}
