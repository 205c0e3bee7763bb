// Marks the blocks that snapshots need, and remembers the marks while a store is open. Reads nodes, each once, and no
// chunks.

import {
  BadBlock,
  type BlockSource,
  type DamageContext,
  entryOf,
  packNumberOf,
  placeOf,
} from '../blocks/block-source.ts'
import type { LinkCache } from '../blocks/link-cache.ts'
import { isDamage } from '../errors.ts'
import { createYielder, LOOKUP_STEPS, type Turn } from '../event-loop.ts'
import { parseCid } from '../format/cid.ts'
import type { Head, HeadSnapshot } from '../format/head.ts'
import { DIGEST_BYTES, ENTRY_BYTES } from '../format/limits.ts'
import { KIND, type PackIndex } from '../format/pack.ts'
import { markReachable } from './links.ts'

/** What is known of one pack. */
interface PackMarks {
  /**
   * For each block of the index: 0 if no snapshot needs it, else its place in the order in which the newest snapshot
   * reads them.
   */
  readonly order: Uint32Array
  /** Stored bytes of the needed blocks, with their index entries. */
  liveBytes: number
  /** Of the commit records, in the same way. */
  readonly recordBytes: number
}

/** Blocks known to be bad, by pack: another copy is preferred. An empty set: all of that pack. */
type Bad = readonly ReadonlyMap<string, ReadonlySet<string>>[]

type Pause = () => Promise<unknown> | undefined

export interface Reach {
  /**
   * Marks what the snapshots of HEAD need and is not marked yet. Begins anew when a snapshot is gone, because what only
   * it needed is not known, or when somebody else merged packs. `pause`: see `createYielder`.
   */
  sync(head: Head, source: BlockSource, bad: Bad, signal: AbortSignal, pause?: Pause): Promise<void>
  pack(name: string): PackMarks | undefined
  /**
   * The packs that hold the copies which are marked for a manifest; a few more may be among them. Undefined: it cannot
   * be read in full.
   */
  packsOf(manifest: string): ReadonlySet<string> | undefined
  /**
   * Notes that blocks of `from` were copied into new packs, in which everything is needed. `all`: none is left in
   * `from`. Otherwise those that are in the new packs are not needed in `from` any more.
   */
  moved(
    from: string,
    index: PackIndex,
    into: readonly { name: string; index: PackIndex }[],
    all: boolean,
  ): Promise<void>
  /** Forgets everything. */
  reset(): void
}

/** @param links what walks through all kept snapshots of this store have read */
export function createReach(links: LinkCache): Reach {
  const packs = new Map<string, PackMarks>()
  /** The packs of a node and of all below it, by digest as latin1. Equal sets are one object. */
  const nodes = new Map<string, Set<string>>()
  const below = {
    get: (key: string) => nodes.get(key),
    set: (key: string, names: ReadonlySet<string>) => void nodes.set(key, setOf(names)),
  }
  const sets = new Map<string, Set<string>>()
  /** Each of them, also those that became equal since they were made. */
  const everySet = new Set<Set<string>>()
  const manifests = new Map<string, Set<string>>()
  let next = 0

  function reset(): void {
    for (const each of [packs, nodes, sets, everySet, manifests]) each.clear()
    next = 0
  }

  function setOf(names: ReadonlySet<string>): Set<string> {
    const key = [...names].sort().join()
    const known = sets.get(key)
    if (known !== undefined) return known
    const set = new Set(names)
    sets.set(key, set)
    everySet.add(set)
    return set
  }

  async function sync(head: Head, source: BlockSource, bad: Bad, signal: AbortSignal, pause?: Pause): Promise<void> {
    const there = new Set(head.packs.map(({ name }) => name))
    const kept = new Set(head.snapshots.map(({ manifest }) => manifest))
    const isGone = [...packs].some(([name, { liveBytes }]) => liveBytes > 0 && !there.has(name))
    if (isGone || [...manifests.keys()].some((manifest) => !kept.has(manifest))) reset()
    // Packs in which nothing was needed. The others are gone only after a reset.
    for (const name of [...packs.keys()]) if (!there.has(name)) packs.delete(name)
    const isWhole = manifests.size === 0
    const remembered = links.walk()
    const turn = createYielder(signal, pause)
    for (const [packNumber, { name }] of source.packs.entries()) {
      if (packs.has(name)) continue
      const index = source.indexes[packNumber]!
      packs.set(name, {
        order: new Uint32Array(index.blocks),
        liveBytes: 0,
        recordBytes: await recordBytesOf(index, turn),
      })
    }
    await source.expectLookups(Number.POSITIVE_INFINITY)
    // The current snapshot is walked first, so that `order` is the order in which a start reads it.
    const current = head.snapshots.filter(({ sequence }) => sequence === head.current)
    for (const snapshot of [...current, ...head.snapshots]) {
      signal.throwIfAborted()
      if (manifests.has(snapshot.manifest)) continue
      try {
        manifests.set(snapshot.manifest, await walkSnapshot(snapshot, source, bad, remembered, turn))
      } catch (error) {
        if (!isDamage(error) && !(error instanceof BadBlock)) throw error
      }
    }
    if (isWhole) remembered.metAll()
  }

  async function walkSnapshot(
    { manifest, sequence }: HeadSnapshot,
    source: BlockSource,
    bad: Bad,
    remembered: ReturnType<LinkCache['walk']>,
    turn: Turn,
  ): Promise<Set<string>> {
    const what: DamageContext = { code: 'SNAPSHOT_DAMAGED', what: `snapshot ${sequence}`, details: { sequence } }
    return setOf(await markReachable(source, parseCid(manifest).digest, { what, remembered, turn, mark, below }))

    /** Answers the pack of the copy that is marked. */
    function mark(digests: Uint8Array, at: number): string {
      const place = goodPlace(source, digests, at, bad)
      if (place === -1) throw new BadBlock(`${what.what} needs a block that no pack has`)
      const packNumber = packNumberOf(place)
      const { name } = source.packs[packNumber]!
      const marks = packs.get(name)!
      const entry = entryOf(place)
      if (marks.order[entry] === 0) {
        marks.order[entry] = ++next
        marks.liveBytes += source.indexes[packNumber]!.storedLength(entry) + ENTRY_BYTES
      }
      return name
    }
  }

  return {
    sync,
    reset,
    pack: (name) => packs.get(name),
    packsOf: (manifest) => manifests.get(manifest),
    async moved(from, index, into, all) {
      const old = packs.get(from)!
      const turn = createYielder()
      for (const { name, index: copy } of into) {
        if (packs.has(name)) continue
        packs.set(name, { order: new Uint32Array(copy.blocks), liveBytes: 0, recordBytes: sumOfRecords(copy) })
      }
      for (let entry = 0; entry < index.blocks; entry++) {
        if (entry % LOOKUP_STEPS === 0) await turn()
        if (old.order[entry] === 0) continue
        for (const { name, index: copy } of into) {
          const at = copy.find(index.bytes, index.digestAt(entry))
          if (at === -1) continue
          const marks = packs.get(name)!
          if (marks.order[at] === 0) marks.liveBytes += copy.storedLength(at) + ENTRY_BYTES
          marks.order[at] = old.order[entry]!
          old.order[entry] = 0
          old.liveBytes -= index.storedLength(entry) + ENTRY_BYTES
          break
        }
      }
      for (const set of everySet) {
        if (!set.has(from)) continue
        for (const { name } of into) set.add(name)
        if (all) set.delete(from)
      }
      // The sets are others now than their keys say.
      sets.clear()
      for (const set of everySet) sets.set([...set].sort().join(), set)
      if (all) packs.delete(from)
    },
  }
}

/** A copy that is not known to be bad, if there is one; -1: there is none at all. */
function goodPlace(source: BlockSource, digests: Uint8Array, at: number, bad: Bad): number {
  const place = source.find(digests, at)
  if (place === -1 || bad.every(({ size }) => size === 0)) return place
  const hex = Buffer.from(digests.subarray(at, at + DIGEST_BYTES)).toString('hex')
  const isBad = (packNumber: number): boolean => {
    const { name } = source.packs[packNumber]!
    return bad.some((packs) => {
      const digestsOf = packs.get(name)
      return digestsOf !== undefined && (digestsOf.size === 0 || digestsOf.has(hex))
    })
  }
  if (!isBad(packNumberOf(place))) return place
  for (const [packNumber, index] of source.indexes.entries()) {
    const entry = index.find(digests, at)
    if (entry !== -1 && !isBad(packNumber)) return placeOf(packNumber, entry)
  }
  return place
}

async function recordBytesOf(index: PackIndex, turn: () => Promise<void> | undefined): Promise<number> {
  let bytes = 0
  for (let entry = 0; entry < index.blocks; entry++) {
    if (entry % 4096 === 0) await turn()
    if (index.kind(entry) === KIND.commit) bytes += index.storedLength(entry) + ENTRY_BYTES
  }
  return bytes
}

/** Of a pack that was just written: it has at most what one step writes. */
function sumOfRecords(index: PackIndex): number {
  let bytes = 0
  for (let entry = 0; entry < index.blocks; entry++) {
    if (index.kind(entry) === KIND.commit) bytes += index.storedLength(entry) + ENTRY_BYTES
  }
  return bytes
}
