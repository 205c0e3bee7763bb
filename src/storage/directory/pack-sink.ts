// Writes one pack: in `tmp/` first, then fsynced and renamed into `packs/`. No pack has its name before its bytes are durable.

import { publish } from '../../fs/durable.ts'
import { attempt, writeFully } from '../../fs/io.ts'
import type { Directory, FileSystem } from '../../fs/port.ts'
import type { Temp } from '../../fs/temps.ts'
import type { PackSink } from '../port.ts'
import { packPath } from './layout.ts'

/** Written back in steps of this size, so that the last fsync of a large pack has little left to do. */
const EARLY_SYNC_BYTES = 32 * 1024 * 1024

interface PackSinkOptions {
  fs: FileSystem
  /** Where it is written. */
  temp: Temp
  /** `packs/`, and open. */
  packs: string
  directory: Directory
  /** Wraps the commit: says that nothing was committed when `packs/` cannot be fsynced. */
  unlessUnsynced<T>(work: Promise<T>): Promise<T>
  /** The temp is no more: committed or discarded. */
  done(): void
}

export function createPackSink({ fs, temp, packs, directory, unlessUnsynced, done }: PackSinkOptions): PackSink {
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

  return {
    async write(views, position) {
      unsynced += await attempt(writeFully(temp.file, views, position), `writing ${temp.path}`)
      if (unsynced >= EARLY_SYNC_BYTES && syncing === null) syncEarly()
    },
    async commit(name) {
      await syncing
      if (early !== null) throw early.error
      const target = packPath(packs, name)
      // Known from before the rename on, so that a failure after it can be cleaned up.
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
