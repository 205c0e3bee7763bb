// HEAD, held open by its one writer. While the file is open, its inode number is not reused, so another file cannot be
// mistaken for it. Thus a writer that was suspended for long notices that HEAD is not the file that it read.

import { JSON_BYTES_MAX } from '../../format/limits.ts'
import {
  allSettledThenThrow,
  attempt,
  ignoreMissing,
  isSameFile,
  readFileOrNull,
  readFully,
  readOpenFile,
  statOrNull,
} from '../../fs/io.ts'
import type { File, FileStat, FileSystem } from '../../fs/port.ts'
import { equal } from './parse-cache.ts'

/** An open file, and its content when it was read. */
export interface Pinned {
  file: File
  stat: FileStat
  bytes: Uint8Array
}

export interface PinnedHead {
  /** Null before `settle`, and if there is no HEAD. */
  readonly current: Pinned | null
  /** The content of HEAD; null if there is none. */
  bytes(): Promise<Uint8Array | null>
  /** Makes the file that was read the current HEAD. A HEAD that could not be read is not pinned. */
  settle(): Promise<void>
  /** Notes that HEAD is another file now. `named`: the old file still has a name. */
  replace(now: Pinned, named?: boolean): void
  /** Whether HEAD is the file that was read, with the same content; with null, whether there is no HEAD. */
  isStill(expected: Uint8Array | null): Promise<boolean>
  /**
   * Closes a file that has no name any more. Closing it frees its space, which takes long, so only `close` waits for
   * it. Closing any other file takes 2 us.
   */
  closeSoon(file: Pick<File, 'close'>): void
  close(): Promise<void>
}

/** Opens a file and reads it; null if it is missing. */
export async function pin(quickFs: FileSystem, path: string): Promise<Pinned | null> {
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
 * Starts to read HEAD.
 *
 * @param isInUse whether these bytes are the HEAD of a store, and not of an interrupted creation
 */
export function pinHead(
  fs: FileSystem,
  quickFs: FileSystem,
  path: string,
  isInUse: (bytes: Uint8Array) => boolean,
): PinnedHead {
  const closing: Promise<unknown>[] = []
  const pinning = pin(quickFs, path)
  pinning.catch(() => undefined)
  let pinned: Pinned | null = null

  async function settle(): Promise<void> {
    const found = await pinning.catch(() => null)
    pinned ??= found
  }

  function closeSoon(file: Pick<File, 'close'>): void {
    closing.push(file.close().catch(() => undefined))
  }

  async function isStill(expected: Uint8Array | null): Promise<boolean> {
    if (expected === null || pinned === null || !equal(pinned.bytes, expected)) {
      const now = await attempt(readFileOrNull(fs, path, JSON_BYTES_MAX), `reading ${path}`)
      return expected === null ? now === null || !isInUse(now) : now !== null && equal(now, expected)
    }
    const { file, stat } = pinned
    const now = new Uint8Array(expected.length)
    const [there, opened] = await attempt(
      allSettledThenThrow([statOrNull(quickFs, path), file.stat(), readFully(file, now, 0)]),
      `reading ${path}`,
    )
    return isSameFile(there, stat) && opened.size === expected.length && equal(now, expected)
  }

  return {
    get current() {
      return pinned
    },
    bytes: async () => (await pinning)?.bytes ?? null,
    settle,
    replace(now, named = false) {
      if (named) pinned?.file.closeSync()
      else if (pinned !== null) closeSoon(pinned.file)
      pinned = now
    },
    isStill,
    closeSoon,
    async close() {
      await settle()
      pinned?.file.closeSync()
      await Promise.all(closing)
    },
  }
}
