// The blocks that this process found to be bad. The next write records them in HEAD, and no new snapshot builds on
// them.

/** Hex digests of bad blocks by pack name. An empty set means that no block of the pack is trusted. */
type BadBlockMap = ReadonlyMap<string, ReadonlySet<string>>

export interface BadBlocks {
  /** The bad blocks noted since the last `clear`. A live view. */
  readonly noted: BadBlockMap
  note(pack: string, digest: Uint8Array): void
  /** Notes a pack that is missing or whose index cannot be read. */
  notePack(pack: string): void
  /**
   * Packs with bad blocks noted since the last full read of the pack. `recorded` gives the bad blocks that HEAD already
   * records; those alone are no reason to read a pack.
   */
  unscanned(recorded: (pack: string) => readonly string[] | null): string[]
  /** Notes that all blocks of the pack have been read, and the bad ones noted. */
  noteScanned(pack: string): void
  /** Forgets what was noted, once HEAD has recorded it. */
  clear(): void
}

export function createBadBlocks(): BadBlocks {
  const noted = new Map<string, ReadonlySet<string>>()
  /** By pack, the blocks noted since the last full read of it. */
  const news = new Map<string, Set<string>>()
  return {
    noted,
    note(pack, digest) {
      const known = noted.get(pack)
      if (known?.size === 0) return
      const hex = Buffer.from(digest).toString('hex')
      if (known?.has(hex) === true) return
      noted.set(pack, joinBad(known, new Set([hex])))
      news.set(pack, (news.get(pack) ?? new Set()).add(hex))
    },
    notePack(pack) {
      noted.set(pack, new Set())
      news.delete(pack)
    },
    unscanned: (recorded) =>
      [...news].flatMap(([pack, digests]) => {
        const known = recorded(pack)
        const isNew = known === null || (known.length > 0 && [...digests].some((hex) => !known.includes(hex)))
        return isNew ? [pack] : []
      }),
    noteScanned: (pack) => void news.delete(pack),
    clear() {
      noted.clear()
      news.clear()
    },
  }
}

/**
 * HEAD is read and written with every persist, so it lists at most this many bad blocks of a pack. If there are more,
 * no block of the pack is trusted.
 */
const BAD_BLOCKS_LISTED_MAX = 256

export function joinBad(a: ReadonlySet<string> | undefined, b: ReadonlySet<string>): ReadonlySet<string> {
  if (a === undefined) return b
  if (a.size === 0 || b.size === 0) return new Set()
  const all = new Set([...a, ...b])
  return all.size > BAD_BLOCKS_LISTED_MAX ? new Set() : all
}
