// Distinguishes a HEAD.json that somebody restored from HEAD.prev.json, after the newest HEAD was lost, from one that a
// writer left. Packs beside a restored HEAD may belong to the newest acknowledged snapshot.

import type { Head } from '../../format/head.ts'
import { WRITES_KEPT } from '../../format/limits.ts'
import { isSameFile } from '../../fs/io.ts'
import type { FileStat } from '../../fs/port.ts'

interface HeadFile {
  head: Head
  stat: FileStat
}

/**
 * Whether HEAD.json seems to be a copy of HEAD.prev.json.
 *
 * A writer that died between its two renames leaves equal files, too. But then they are two names of one file or, where
 * hard links are unsupported, HEAD.json is the older file. After `cp` HEAD.json is the newer file. Files of the same
 * time, by a coarse clock, count as copied: to ask once too often loses nothing.
 *
 * @param previous null: there is no HEAD.prev.json. Every write leaves one, except a repair without any HEAD, after
 *   which `writes` is small.
 */
export function isPutBack(current: HeadFile, previous: HeadFile | null): boolean {
  const { head, stat } = current
  if (previous === null) return head.revision > 0 && head.writes.length === Math.min(head.revision, WRITES_KEPT)
  const isCopy = previous.head.revision === head.revision && previous.head.storeId === head.storeId
  return isCopy && !isSameFile(stat, previous.stat) && stat.ctimeNs >= previous.stat.ctimeNs
}
