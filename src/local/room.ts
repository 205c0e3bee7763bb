// Room for files in between, of the store's own: adapters of native engines use it when the system's directory of
// temporary files has none.

import type { WorkDirectory } from '../fs/temps.ts'
import { holdsPrivateFile } from './private-directory.ts'
import { isTemporaryFailure } from './saved-file.ts'

export type { WorkDirectory }

/** Makes a directory in the store's `tmp/`; null where the store may not write, or is not a store's directory. */
type Room = () => Promise<WorkDirectory | null>

const rooms = new WeakMap<object, Room>()

/** Notes where an open store has room. */
export function noteRoom(store: object, room: Room): void {
  rooms.set(store, room)
}

/** Where the store has room; null for one that somebody else made, or that is not on this machine. */
export async function roomIn(store: object): Promise<WorkDirectory | null> {
  return (await rooms.get(store)?.()) ?? null
}

/**
 * Runs `work`. When it fails because the system's temporary directory has no room, runs it once more with a directory
 * of the store. That one is removed afterwards, unless an open database lies in it.
 */
export async function withRoom<T>(
  roomOf: () => Promise<WorkDirectory | null>,
  work: (temporaryDirectory: string | undefined) => Promise<T>,
): Promise<T> {
  try {
    return await work(undefined)
  } catch (error) {
    if (!isTemporaryFailure(error)) throw error
    // The store's disk may be full or read-only, too. Then the first error is the one to tell.
    const room = await roomOf().catch(() => null)
    if (room === null) throw error
    try {
      return await work(room.path)
    } finally {
      if (!holdsPrivateFile(room.path)) await room.discard()
    }
  }
}
