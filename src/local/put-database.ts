// Puts a restored database in the place of the one that was there, with its log and no other's.

import { nodeFileSystem } from '../fs/node.ts'
import { putInPlace } from '../fs/put-in-place.ts'

/** What belongs to an SQLite database of that name. A log beside a database that is not its own would be played into it. */
const COMPANIONS = ['-wal', '-shm', '-journal']

/** Has `write` make a new database, durably, and puts it at `path`; what was there is `<path>.old` then. */
export async function putDatabase(path: string, write: (path: string) => Promise<void>): Promise<void> {
  const fresh = `${path}.new`
  await write(fresh)
  await putInPlace(nodeFileSystem, { fresh, path, kept: `${path}.old`, companions: COMPANIONS })
}
