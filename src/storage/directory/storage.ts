// A store in a directory: who may write, and in what order writers take their turns. read-store.ts reads it, session.ts
// writes it.

import { hostname } from 'node:os'
import { resolve } from 'node:path'
import { clock } from '../../clock.ts'
import { HoldfastError } from '../../errors.ts'
import { acquireFileLock } from '../../fs/file-lock.ts'
import {
  assertNoLink,
  attempt,
  ioError,
  isMissing,
  isSameFile,
  lstatOrNull,
  readFully,
  statOrNull,
} from '../../fs/io.ts'
import { locksAvailable } from '../../fs/lock.ts'
import { makeDirectory } from '../../fs/make-directory.ts'
import { syncRefused, withSyncCalls } from '../../fs/node.ts'
import type { FileStat, FileSystem } from '../../fs/port.ts'
import { createQueue, type Queue } from '../../fs/queue.ts'
import { createTurns, type Turns } from '../../fs/turns.ts'
import { LOCAL } from '../on-first-use.ts'
import type { PackFile, PackPart, Storage } from '../port.ts'
import { besideIn } from './beside.ts'
import { createHeadOutcome, type HeadOutcome } from './head-outcome.ts'
import { packPath, paths } from './layout.ts'
import { KINDS, notOwnDirectory } from './obstacles.ts'
import { createStoreReader } from './read-store.ts'
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
  turns: Turns
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

/** For this long after a write, the kernel is assumed to have the store's own files and directories in memory. */
const WARM_MS = 10_000

const sharedByPath = new Map<string, Shared>()

function sharedState(realPath: string): Shared {
  let shared = sharedByPath.get(realPath)
  if (shared === undefined) {
    shared = { queue: createQueue(), turns: createTurns(), outcome: createHeadOutcome() }
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

  const reader = createStoreReader(fs, root)
  let writtenMs = Number.NEGATIVE_INFINITY

  function isWarm(): boolean {
    return clock.monotonicMs() - writtenMs < WARM_MS
  }

  async function prepare(isRepair: boolean): Promise<FileStat> {
    // A repair asks for the lock only when its plan has found a store, which other files beside it do not make less of
    // one.
    if (!isRepair) await reader.assertRoomForStore()
    await makeDirectory(fs, root, 0o700)
    const stat = await attempt(fs.stat(root), `looking at ${root}`)
    for (const path of [at.packs, at.tmp]) {
      await makeDirectory(fs, path, modesOf(stat).directoryMode)
      const inside = await attempt(lstatOrNull(fs, path), `looking at ${path}`)
      if (inside?.kind !== 'directory') {
        throw notOwnDirectory(path, inside?.kind ?? 'missing')
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
  function enter(quickFs: FileSystem, isRepair: boolean): Promise<Prepared> {
    const before = entered
    async function next(): Promise<Prepared> {
      await before.catch(() => undefined)
      prepared = prepared && (await stillPrepared(prepared, quickFs))
      if (prepared !== null) return prepared
      const stat = await prepare(isRepair)
      prepared = { stat, shared: sharedState(await attempt(fs.realpath(root), `resolving ${root}`)) }
      return prepared
    }
    const entering = next()
    entered = entering
    return entering
  }

  return {
    location: root,
    supports: LOCAL,
    uncertain: () => prepared?.shared.outcome.uncertain === true,
    readHead: () => reader.readHead(),
    inspect: reader.inspect,
    beside: besideIn(fs, root),
    openPack: (name) => openPack(fs, packPath(at.packs, name), name),
    async write(write, task) {
      if (readOnly) {
        throw new HoldfastError('READ_ONLY', `${root} was opened read-only`, { details: { path: root } })
      }
      assertSyncAllowed(root)
      if (lock) assertLocks(root)
      const quickFs = isWarm() ? withSyncCalls(fs) : fs
      const { stat, shared } = await enter(quickFs, write.repair === true)
      const modes = modesOf(stat)
      const startMs = clock.monotonicMs()
      return await shared.queue.run(
        write.signal,
        write.waitMs,
        async () => {
          const leftMs = (): number => Math.max(0, write.waitMs - (clock.monotonicMs() - startMs))
          if (lock) await shared.turns.before(leftMs(), write.signal)
          const held = lock
            ? await acquireFileLock(quickFs, at.lock, {
                mode: modes.fileMode,
                waitMs: leftMs(),
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
              heads: reader.heads,
              held,
              readHead: write.repair === true ? reader.readHeadIfGood : reader.readHead,
              inspect: reader.inspect,
            })
            const [{ session, close }] = await Promise.all([opening, held?.hinted])
            try {
              return await task(session)
            } finally {
              reader.noteSeen(session.stored)
              await close()
            }
          } finally {
            if (held !== null) await shared.turns.ending(held)
            await held?.release()
            shared.turns.ended()
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
      `pack ${path} cannot be read: it ${KINDS[kind]}. Put the file back, or move what is there away`,
      { details: { code: kind === 'directory' ? 'EISDIR' : 'EINVAL', syscall: 'open', path } },
    )
  }
  async function read(target: Uint8Array, position: number): Promise<void> {
    const got = await attempt(readFully(file, target, position), `reading ${path}`, path)
    if (got < target.length) {
      throw new HoldfastError('PACK_DAMAGED', `pack ${path} is cut short: it ends at byte ${position + got}`, {
        details: { path, pack: name, bytes: position + got },
      })
    }
  }
  const { readv } = file
  return {
    name,
    bytes: size,
    read,
    readParts:
      readv === undefined
        ? undefined
        : async (parts) => {
            const start = parts[0]!.position
            const end = start + (await attempt(readv(viewsOf(parts), start), `reading ${path}`, path))
            // A read may end early anywhere.
            for (const { target, position } of parts) {
              if (position + target.length > end) await read(target, position)
            }
          },
    // The file was only read, so its close has no error to report.
    close: () => file.close().catch(() => undefined),
    closeSync: () => file.closeSync(),
  }
}

/** What lies between parts of a pack goes here. Nobody reads it, so that reads may share it. */
const aside = new Uint8Array(128 * 1024)

/** The targets of parts, and between them memory for what is not wanted. */
function viewsOf(parts: readonly PackPart[]): Uint8Array[] {
  const views: Uint8Array[] = []
  let at = parts[0]!.position
  for (const { target, position } of parts) {
    for (let gap = position - at; gap > 0; gap -= aside.length) views.push(aside.subarray(0, gap))
    views.push(target)
    at = position + target.length
  }
  return views
}
