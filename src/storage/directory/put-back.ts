// Tells a HEAD.json that somebody put back (a copy of HEAD.prev.json, where the newest HEAD was lost) from one that a writer left. What
// lies beside a HEAD that was put back may be the newest acknowledged snapshot.

import type { Head } from '../../format/head.ts'
import { WRITES_KEPT } from '../../format/limits.ts'
import { isSameFile } from '../../fs/io.ts'
import type { FileStat } from '../../fs/port.ts'

interface HeadFile {
  head: Head
  stat: FileStat
}

/**
 * Whether HEAD.json seems to be what HEAD.prev.json was.
 *
 * A writer that died between its two renames leaves equal files too. But then they are two names of one file; or, where a file cannot have
 * two names, HEAD.json is the older of the two. `cp` makes HEAD.json the newer one.
 *
 * @param previous null: there is no HEAD.prev.json. Every write leaves one, but for a repair without any HEAD: it counts few `writes`.
 */
export function isPutBack(current: HeadFile, previous: HeadFile | null): boolean {
  const { head, stat } = current
  if (previous === null) return head.revision > 0 && head.writes.length === Math.min(head.revision, WRITES_KEPT)
  const isCopy = previous.head.revision === head.revision && previous.head.storeId === head.storeId
  return isCopy && !isSameFile(stat, previous.stat) && stat.ctimeNs > previous.stat.ctimeNs
}
