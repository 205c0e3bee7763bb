// The blocks that this process found to be bad. The next write records them in HEAD, and no new snapshot builds on them.

/** Hex digests of bad blocks by pack name. An empty set means that no block of the pack is trusted. */
type BadBlockMap = ReadonlyMap<string, ReadonlySet<string>>

export interface BadBlocks {
  /** What was noted since the last `clear`. It changes as blocks are noted. */
  readonly noted: BadBlockMap
  note(pack: string, digest: Uint8Array): void
  /** For a pack that is gone or whose index cannot be read. */
  notePack(pack: string): void
  /** After HEAD has recorded them. */
  clear(): void
}

export function createBadBlocks(): BadBlocks {
  const noted = new Map<string, ReadonlySet<string>>()
  return {
    noted,
    note: (pack, digest) =>
      void noted.set(pack, joinBad(noted.get(pack), new Set([Buffer.from(digest).toString('hex')]))),
    notePack: (pack) => void noted.set(pack, new Set()),
    clear: () => noted.clear(),
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
