// Puts a restored database in the place of the one that was there, with its log and no other's.

import { nodeFileSystem } from '../fs/node.ts'
import { assertReplaceable, putInPlace } from '../fs/put-in-place.ts'
import { resolveTarget } from '../fs/write-file.ts'

/**
 * What belongs to an SQLite database of that name. A log beside a database that is not its own would be played into it.
 */
const COMPANIONS = ['-wal', '-shm', '-journal']

/**
 * Has `write` make a new database, durably, and puts it at `path`, or behind it if that is a link; what was there is
 * beside it as `<name>.old` then.
 *
 * @throws IO_FAILED before anything is written, if something other than a regular file is at one of the names
 */
export async function putDatabase(path: string, write: (path: string) => Promise<void>): Promise<void> {
  const target = await resolveTarget(nodeFileSystem, path, 'follow')
  const place = { fresh: `${target}.new`, path: target, kept: `${target}.old`, companions: COMPANIONS }
  await assertReplaceable(nodeFileSystem, place)
  await write(place.fresh)
  await putInPlace(nodeFileSystem, place)
}
