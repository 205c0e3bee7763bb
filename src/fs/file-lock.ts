// A lock file that one writer holds and others wait for. It is never deleted: a new file of that name would not exclude
// the holder of the old one.

import { clock } from '../clock.ts'
import { HoldfastError } from '../errors.ts'
import { term } from '../terms.ts'
import { ioError, isSameFile, lstatOrNull, notAFile, readFully, writeFully } from './io.ts'
import type { File, FileStat, FileSystem } from './port.ts'

/** An exclusive lock, held across processes. */
export interface FileLock {
  file: File
  /** Settles when the hint was written, or could not be written. */
  hinted: Promise<void>
  /** Whether somebody has waited for it for a while, as far as could be told when it was taken. */
  wasAwaited: Promise<boolean>
  /** Whoever still waits says so again. Never throws. */
  forgetWaiters(): Promise<void>
  /**
   * Whether the path still leads to the locked file. If the file was deleted or replaced, another writer may hold a
   * lock on a file of that name.
   *
   * @throws IO_FAILED
   */
  stillHeld(): Promise<boolean>
  /** Closes the file, which drops the lock. Never throws. */
  release(): Promise<void>
}

export interface FileLockOptions {
  /** Permission bits of a new lock file. */
  mode: number
  /** How long to wait, in milliseconds; 0 tries once. */
  waitMs: number
  signal?: AbortSignal | undefined
  /** Called after each try that failed, with the milliseconds waited so far. */
  onWait?: ((waitedMs: number) => void) | undefined
  /** Who holds the lock, for people to read: one line of at most 255 bytes. */
  hint: Uint8Array
}

const POLL_MS_MIN = 5
export const POLL_MS_MAX = 50
/** Who has waited this long says so in the file, each time that it looks. */
const AWAITED_MS = 100

/**
 * Locks the file at `path`, which is made when missing and never deleted. The lock is polled: a wait in the kernel
 * could not be cancelled and would keep the process alive.
 *
 * @throws STORE_LOCKED after `waitMs`, LOCK_UNAVAILABLE, IO_FAILED, NO_SPACE, `signal.reason`
 */
export async function acquireFileLock(fs: FileSystem, path: string, options: FileLockOptions): Promise<FileLock> {
  const startMs = clock.monotonicMs()
  for (;;) {
    options.signal?.throwIfAborted()
    const file = await openLockFile(fs, path, options.mode)
    try {
      const hasWaited = await pollLock(file, path, startMs, options)
      const locked = await file.stat()
      // A pipe or a device can be locked, but what is locked may be another store's, too.
      if (locked.kind !== 'file') throw notAFile(path)
      // If the file was deleted or replaced meanwhile, this lock excludes nobody.
      if (await isStill(fs, path, locked)) {
        options.signal?.throwIfAborted()
        // The umask must not keep other users of the group from the lock. Only the owner can change the mode.
        if ((locked.mode & 0o777) !== options.mode) await file.chmod(options.mode).catch(() => undefined)
        // Others who wait say so again.
        if (hasWaited) await writeMark(file, 0)
        return heldLock(fs, path, file, locked, writeHint(file, options.hint))
      }
    } catch (error) {
      await file.close().catch(() => undefined)
      throw ioError(error, `locking ${path}`)
    }
    await file.close().catch(() => undefined)
  }
}

async function openLockFile(fs: FileSystem, path: string, mode: number): Promise<File> {
  try {
    return await fs.open(path, 'readWrite', mode)
  } catch (error) {
    throw ioError(error, `opening the lock file ${path}`)
  }
}

function heldLock(fs: FileSystem, path: string, file: File, locked: FileStat, wasAwaited: Promise<boolean>): FileLock {
  const hinted = wasAwaited.then(() => undefined)
  let released = false
  return {
    file,
    hinted,
    wasAwaited,
    forgetWaiters: () => writeMark(file, 0),
    async stillHeld() {
      try {
        return !released && (await isStill(fs, path, locked))
      } catch (error) {
        throw ioError(error, `looking whether ${path} is still the file that was locked`)
      }
    },
    async release() {
      released = true
      await hinted
      file.closeSync()
    },
  }
}

async function isStill(fs: FileSystem, path: string, locked: FileStat): Promise<boolean> {
  return isSameFile(locked, await lstatOrNull(fs, path))
}

/** Answers whether it has said in the file that it waits. */
async function pollLock(file: File, path: string, startMs: number, options: FileLockOptions): Promise<boolean> {
  const { signal, waitMs } = options
  let isMarked = false
  for (let limitMs = POLL_MS_MIN; ; limitMs = Math.min(limitMs * 1.5, POLL_MS_MAX)) {
    if (file.tryLock('exclusive')) return isMarked
    const waitedMs = clock.monotonicMs() - startMs
    if (waitedMs >= waitMs) throw await lockedError(file, path, Math.round(waitedMs))
    options.onWait?.(Math.round(waitedMs))
    if (waitedMs >= AWAITED_MS) {
      await writeMark(file, 1)
      isMarked = true
    }
    // Jitter, so that waiters do not meet at every poll.
    const pauseMs = POLL_MS_MIN + clock.random() * (limitMs - POLL_MS_MIN)
    await pause(Math.min(pauseMs, waitMs - waitedMs), signal)
  }
}

/** Waits. An abort ends the wait at once and throws the signal's reason. */
async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await clock.sleep(ms, signal === undefined ? {} : { signal })
  } catch (error) {
    signal?.throwIfAborted()
    throw error
  }
}

async function lockedError(file: File, path: string, waitedMs: number): Promise<HoldfastError> {
  const holder = await readHint(file)
  return new HoldfastError(
    'STORE_LOCKED',
    `${path} is locked by another writer${holder === null ? '' : ` (${holder})`}; gave up after ${waitedMs} ms. ` +
      `Wait for it to finish, or ${term('raiseLockWait')}. The lock ends with its process: never delete the file`,
    { details: { path, waitedMs, holder } },
  )
}

/** The hint is padded to this length, so that a short hint overwrites all of a longer one. */
const HINT_BYTES = 256

/** After the hint: 1 while somebody waits. */
async function writeMark(file: File, mark: 0 | 1): Promise<void> {
  try {
    await writeFully(file, [Uint8Array.of(mark)], HINT_BYTES)
  } catch {
    // Without it the wait may be longer, and nothing else.
  }
}

/** Answers whether somebody waited for the lock. */
async function writeHint(file: File, hint: Uint8Array): Promise<boolean> {
  const line = new Uint8Array(HINT_BYTES).fill(0x20)
  line.set(hint.subarray(0, HINT_BYTES - 1))
  line[HINT_BYTES - 1] = 0x0a
  try {
    const there = new Uint8Array(HINT_BYTES + 1)
    // One read: it is no more than a hint.
    const count = await file.read(there, 0)
    const isAwaited = count > HINT_BYTES && there[HINT_BYTES] === 1
    if (count < HINT_BYTES || Buffer.compare(there.subarray(0, HINT_BYTES), line) !== 0) {
      await writeFully(file, [line], 0)
    }
    return isAwaited
  } catch {
    // The hint is only for people. A full disk must not keep a writer from the lock.
    return false
  }
}

async function readHint(file: File): Promise<string | null> {
  try {
    const bytes = new Uint8Array(HINT_BYTES)
    const count = await readFully(file, bytes, 0)
    // The content goes into messages and terminals, so only printable text is kept.
    const text = new TextDecoder()
      .decode(bytes.subarray(0, count))
      .replaceAll(/[^\p{L}\p{N}\p{P}\p{S}]+/gu, ' ')
      .trim()
    return text === '' ? null : text
  } catch {
    return null
  }
}
