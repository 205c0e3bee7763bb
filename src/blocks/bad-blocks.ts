// The blocks that this process found to be bad. The next write records them in HEAD, and no new snapshot builds on them.

/** Hex digests of bad blocks by pack name. An empty set means that no block of the pack is trusted. */
type BadBlockMap = ReadonlyMap<string, ReadonlySet<string>>

export interface BadBlocks {
  /** What was noted since the last `clear`. It changes as blocks are noted. */
  readonly noted: BadBlockMap
  note(pack: string, digest: Uint8Array): void
  /** For a pack that is gone or whose index cannot be read. */
  notePack(pack: string): void
  /**
   * Packs with blocks noted since they were last read whole. `recorded` tells what HEAD records of a pack already: no more is to
   * be learnt from that.
   */
  unscanned(recorded: (pack: string) => readonly string[] | null): string[]
  /** All blocks of the pack have been read, and the bad ones noted. */
  noteScanned(pack: string): void
  /** After HEAD has recorded them. */
  clear(): void
}

export function createBadBlocks(): BadBlocks {
  const noted = new Map<string, ReadonlySet<string>>()
  /** Of each pack the blocks noted since it was read whole. */
  const news = new Map<string, Set<string>>()
  return {
    noted,
    note(pack, digest) {
      const hex = Buffer.from(digest).toString('hex')
      const known = noted.get(pack)
      if (known !== undefined && (known.size === 0 || known.has(hex))) return
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

/** HEAD is read and written with every persist, so it lists at most this many bad blocks of a pack; with more, none is trusted. */
const BAD_BLOCKS_LISTED_MAX = 256

export function joinBad(a: ReadonlySet<string> | undefined, b: ReadonlySet<string>): ReadonlySet<string> {
  if (a === undefined) return b
  if (a.size === 0 || b.size === 0) return new Set()
  const all = new Set([...a, ...b])
  return all.size > BAD_BLOCKS_LISTED_MAX ? new Set() : all
}
