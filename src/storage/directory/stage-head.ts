// Prepares the files of a HEAD swap in `tmp/` while packs are still being written. Everything that can fail for lack of
// descriptors, permissions or space happens here, before anything is replaced.

import { attempt, ioError, isSameFile, writeFully } from '../../fs/io.ts'
import type { Directory, FileStat, FileSystem } from '../../fs/port.ts'
import { createTemp, linkTemp, type Temp } from '../../fs/temps.ts'
import type { StoredHead } from '../port.ts'
import { paths } from './layout.ts'
import { equal } from './parse-cache.ts'
import type { PinnedHead } from './pinned-head.ts'

/** Files in `tmp/`: the new HEAD, still empty, and a second name or a copy of HEAD for HEAD.prev.json. */
interface Staged {
  temp: Temp
  copy: Temp | null
  /** The copy was just written and must be fsynced. */
  copied: boolean
  /**
   * The store's directory. It is opened before the rename, because a failure to open it after the rename would come too
   * late.
   */
  opened: Directory
}

interface HeadStage {
  /** Starts staging, unless it has started. */
  prepare(): void
  /** Returns the staged files, which then belong to the caller. */
  take(): Promise<Staged>
  /** Writes a replacement of `target` into `tmp/`, without an fsync. */
  write(bytes: Uint8Array | null, target: string, replacedMode: number | undefined): Promise<Temp>
  /** Removes staged files that were not taken. */
  close(): Promise<void>
}

interface StageOptions {
  quickFs: FileSystem
  root: string
  modes: { fileMode: number }
  lock: boolean
  /**
   * The lock excludes other writers. Without it, they may remove a second name of HEAD as a dead writer's temp, because
   * of its age.
   */
  alone: boolean
  pinned: PinnedHead
  /** The files to replace, as known when staging starts. */
  replaced: () => { stored: StoredHead | null; previousStat: FileStat | null }
}

export function createHeadStage(options: StageOptions): HeadStage {
  const { quickFs, root, modes, lock, alone, pinned, replaced } = options
  const at = paths(root)
  let directory: Promise<Directory> | null = null
  let staging: Promise<Staged> | null = null

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
    const staged = await Promise.allSettled([
      write(null, at.head, pinned.current?.stat.mode),
      stagePrevious(),
      directory,
    ])
    const [temp, previous, opened] = staged
    if (temp.status === 'fulfilled' && previous.status === 'fulfilled' && opened.status === 'fulfilled') {
      return { temp: temp.value, ...previous.value, opened: opened.value }
    }
    if (temp.status === 'fulfilled') await temp.value.discard()
    if (previous.status === 'fulfilled') await previous.value.copy?.discard()
    throw staged.find((each) => each.status === 'rejected')!.reason
  }

  /**
   * HEAD is durable and is never written to again, so a second name for it is as good as a copy, and needs no fsync.
   */
  async function stagePrevious(): Promise<{ copy: Temp | null; copied: boolean }> {
    const { stored, previousStat } = replaced()
    if (stored === null) return { copy: null, copied: false }
    const head = pinned.current
    if (alone && head !== null && equal(head.bytes, stored.bytes)) {
      // A writer died between the two renames, so HEAD.prev.json already is a name of HEAD. A rename between two names
      // of one file does nothing.
      if (isSameFile(head.stat, previousStat)) return { copy: null, copied: false }
      const linked = await linkTemp(quickFs, at.tmp, at.head, head)
      if (linked !== null) return { copy: linked, copied: false }
    }
    return { copy: await write(stored.bytes, at.previous, previousStat?.mode), copied: true }
  }

  function prepare(): void {
    staging ??= stage()
    staging.catch(() => undefined)
  }

  return {
    prepare,
    async take() {
      prepare()
      return await staging!.finally(() => {
        staging = null
      })
    },
    write,
    async close() {
      const staged = await staging?.catch(() => null)
      await staged?.temp.discard()
      await staged?.copy?.discard()
      await directory?.then((opened) => opened.closeSync()).catch(() => undefined)
    },
  }
}
