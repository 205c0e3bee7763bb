// Keeps a store object from writing into another store that was put in the place of its own.

import { HoldfastError } from '../errors.ts'
import type { Storage, StoredHead } from './port.ts'

/**
 * Refuses writes, with `HEAD_CONFLICT`, where another store lies than the one whose snapshots were seen first. A repair
 * is not refused.
 */
export function sameStore(storage: Storage): Storage {
  let seen: string | null = null

  function note(stored: StoredHead | null): void {
    if (stored !== null && stored.head.snapshots.length > 0) seen ??= stored.head.storeId
  }

  function assertSame(stored: StoredHead | null): void {
    if (stored === null || seen === null || stored.head.storeId === seen) return
    throw new HoldfastError(
      'HEAD_CONFLICT',
      `${storage.location}: another store is in the place of the one that this store object has worked with: was it moved, restored or mounted ` +
        'over? Nothing was written. Put the old one back; or, to go on with this one, open the store anew',
      { details: { location: storage.location, seen, found: stored.head.storeId } },
    )
  }

  return {
    ...storage,
    async readHead() {
      const stored = await storage.readHead()
      note(stored)
      return stored
    },
    async write(options, task) {
      return await storage.write(options, async (session) => {
        if (options.repair !== true) assertSame(session.stored)
        try {
          return await task(session)
        } finally {
          note(session.stored)
        }
      })
    },
  }
}
