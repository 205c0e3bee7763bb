/**
 * What must be there: the plain model that a simulated machine is held against. It knows nothing of packs or heads,
 * only of what was asked, what was answered, and what was seen.
 */
export interface Ledger {
  /** Somebody begins to persist this: from now on it may be seen. */
  attempted(label: string): void
  /** It is durable, as this sequence. */
  acknowledged(sequence: number, label: string): void
  /** No load that begins now may find an older snapshot. */
  floor(): number
  /** A load found this. */
  seen(sequence: number, label: string, floor: number): void
  /**
   * Somebody begins to put a tag on a snapshot, or (null) to take it away. Answers how to say that it is done, or that
   * it never began.
   */
  tagging(name: string, sequence: number | null): { done(): void; refused(): void }
  /** After a power loss: where the tags are. */
  tagsSeen(tags: ReadonlyMap<string, number>): void
  /** What was not acknowledged may be gone. */
  powerFails(): void
}

export function createLedger(): Ledger {
  const labels = new Set<string>()
  const contents = new Map<number, string>()
  const tags = new Map<string, Set<number | null>>()
  let newest = 0
  let newestSeen = 0

  function record(sequence: number, label: string): void {
    const known = contents.get(sequence)
    if (known !== undefined && known !== label) throw new Error(`snapshot ${sequence} was ${known} and is ${label}`)
    contents.set(sequence, label)
    newestSeen = Math.max(newestSeen, sequence)
  }

  return {
    attempted: (label) => void labels.add(label),
    acknowledged(sequence, label) {
      record(sequence, label)
      newest = Math.max(newest, sequence)
    },
    floor: () => newestSeen,
    seen(sequence, label, floor) {
      if (!labels.has(label)) throw new Error(`snapshot ${sequence} is ${label}, which nobody persisted`)
      if (sequence < floor) throw new Error(`snapshot ${sequence} was loaded after ${floor} had been there`)
      record(sequence, label)
    },
    tagging(name, sequence) {
      const before = tags.get(name) ?? new Set([null])
      tags.set(name, new Set([...before, sequence]))
      return {
        done: () => void tags.set(name, new Set([sequence])),
        refused: () => void tags.set(name, before),
      }
    },
    tagsSeen(found) {
      for (const [name, allowed] of tags) {
        const at = found.get(name) ?? null
        const may = [...allowed].join(' or ')
        if (!allowed.has(at)) throw new Error(`tag ${name} is on ${at} where it may be on ${may}`)
        tags.set(name, new Set([at]))
      }
    },
    powerFails() {
      for (const sequence of contents.keys()) if (sequence > newest) contents.delete(sequence)
      newestSeen = newest
    },
  }
}
