// Writes one pack: into `tmp/` first, then fsynced and renamed into `packs/`. A pack gets its name only when its bytes
// are durable.

import { publish } from '../../fs/durable.ts'
import { attempt, writeFully } from '../../fs/io.ts'
import type { Directory, FileSystem } from '../../fs/port.ts'
import type { Temp } from '../../fs/temps.ts'
import type { PackSink } from '../port.ts'
import { packPath } from './layout.ts'

/** A large pack is fsynced in steps of this size, so that its last fsync has little left to do. */
const EARLY_SYNC_BYTES = 32 * 1024 * 1024

interface PackSinkOptions {
  fs: FileSystem
  /** The file that is written. */
  temp: Temp
  /** `packs/`: its path, and the open directory. */
  packs: string
  directory: Directory
  /** Wraps the commit: if `packs/` cannot be fsynced, its error says that nothing was committed. */
  unlessUnsynced<T>(work: Promise<T>): Promise<T>
  /** Called when the temp has been committed or discarded. */
  done(): void
}

export function createPackSink({ fs, temp, packs, directory, unlessUnsynced, done }: PackSinkOptions): PackSink {
  let committed: string | null = null
  let unsynced = 0
  let syncing: Promise<void> | null = null
  let early: { error: unknown } | null = null

  /**
   * Starts an fsync while more is being written. Its failure must not be ignored, because the kernel reports it only
   * once.
   */
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

  return {
    async write(views, position) {
      unsynced += await attempt(writeFully(temp.file, views, position), `writing ${temp.path}`)
      if (unsynced >= EARLY_SYNC_BYTES && syncing === null) syncEarly()
    },
    async commit(name) {
      await syncing
      if (early !== null) throw early.error
      const target = packPath(packs, name)
      // Set before the rename, so that a failure after it can be cleaned up.
      committed = target
      await unlessUnsynced(publish(fs, temp, target, { directory }))
      done()
    },
    async discard() {
      await syncing
      await temp.discard()
      done()
      if (committed !== null) await fs.unlink(committed).catch(() => undefined)
    },
  }
}
