// Remembers which blocks manifests and nodes name while a store is open, so that each walk through all kept snapshots
// reads only what is new. The links of a block never change. What is remembered has a limit; a block that is not
// remembered is read again.

/** Of one walk. Keys are digests as latin1. */
interface LinkWalk {
  /** As `gc/links.ts` writes them. */
  get(key: string): Uint8Array | undefined
  add(key: string, links: Uint8Array): void
  /** The walk went through all kept snapshots: what it did not meet is garbage, and forgotten. */
  metAll(): void
}

export interface LinkCache {
  walk(): LinkWalk
}

/** Enough for the nodes of 450,000 chunks: a node names some 256, and then takes 35 bytes for each. */
const LINKS_BYTES_MAX = 16 * 1024 * 1024
/**
 * What an entry takes beside its links: its key, its place in the map, the typed array with its buffer, and what V8 and
 * malloc keep for the buffer outside of the heap. Measured as growth of the process: 525 to 680 bytes, of which 310 are
 * in the heap. Links of up to 64 bytes lie in the heap and take 150 less.
 */
const ENTRY_OVERHEAD_BYTES = 550

export function createLinkCache(bytesMax = LINKS_BYTES_MAX): LinkCache {
  const known = new Map<string, { links: Uint8Array; metBy: number }>()
  let bytes = 0
  let walks = 0

  return {
    walk() {
      const number = ++walks
      return {
        get(key) {
          const entry = known.get(key)
          if (entry === undefined) return undefined
          entry.metBy = Math.max(entry.metBy, number)
          return entry.links
        },
        // Walks meet blocks in the same order each time. If a full cache made room for what is met last, it would have
        // nothing that the next walk meets first. So it keeps what it has.
        add(key, links) {
          const size = links.length + ENTRY_OVERHEAD_BYTES
          if (known.has(key) || bytes + size > bytesMax) return
          known.set(key, { links, metBy: number })
          bytes += size
        },
        metAll() {
          for (const [key, { links, metBy }] of known) {
            if (metBy >= number) continue
            known.delete(key)
            bytes -= links.length + ENTRY_OVERHEAD_BYTES
          }
        },
      }
    },
  }
}
