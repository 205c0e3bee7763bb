import { CODEC_RAW, type Codec } from '../format/cid.ts'
import { KIND, type Kind, type PackIndex } from '../format/pack.ts'
import type { BlockWriter } from './block-writer.ts'
import { entryOf, placeOf, slotOf } from './blocks.ts'
import { createDigestMap, type DigestMap } from './digest-map.ts'

/** A pack whose blocks need not be written again. */
export interface KnownPack {
  id: number
  index: PackIndex
  /** Hex digests of blocks known to be bad here: these do not count. */
  damaged: ReadonlySet<string>
}

/** Takes blocks in: writes those the store does not have, and notes which packs the snapshot needs. */
export interface Intake {
  chunk(bytes: Uint8Array, digest: Uint8Array): void
  block(bytes: Uint8Array, digest: Uint8Array, codec: Codec, kind: Kind): void
  /** Whether the block need not be written. */
  knows(digests: Uint8Array, at: number): boolean
  /** Takes a block that is known, without its bytes. */
  reuse(digest: Uint8Array, length: number): void
  /** Starts writing what was taken in; waits for the write before. */
  flush(): Promise<void>
  /** Waits for what was flushed last. */
  written(): Promise<void>
  /** Waits for all writes. */
  settled(): Promise<void>
  /** The pack, of those known or written, that holds the block; -1 if none. */
  packOf(digest: Uint8Array): number
  /** Blocks were copied out of `packs` into new ones: `moved` says which pack has each now. */
  relocate(packs: Iterable<number>, moved: DigestMap): void
  /** Ids of packs, known before or written now, that hold what was taken in. */
  needed(): Set<number>
  /** Per known pack, one byte a block: 1 where it was needed. */
  marks(slot: number): Uint8Array
  /** Bytes taken in that the store already had. */
  readonly reusedBytes: number
}

export function createIntake(known: readonly KnownPack[], writer: BlockWriter): Intake {
  const blocks: DigestMap = createDigestMap(known.reduce((sum, pack) => sum + pack.index.blocks, 1024))
  for (const [slot, { index, damaged }] of known.entries()) {
    for (let entry = 0; entry < index.blocks; entry++) {
      if (damaged.size > 0 && damaged.has(Buffer.from(index.digest(entry)).toString('hex'))) continue
      blocks.add(index.bytes, index.digestAt(entry), placeOf(slot, entry))
    }
  }
  const marks = known.map(({ index }) => new Uint8Array(index.blocks))
  const needed = new Set<number>()
  let reusedBytes = 0
  let relocated: DigestMap | null = null
  let writing: Promise<void> = Promise.resolve()

  // Packs written now have the slots behind the known ones, in the order of their ids.
  function idOf(slot: number): number {
    return slot < known.length ? known[slot]!.id : slot - known.length
  }

  function take(bytes: Uint8Array, digest: Uint8Array, codec: Codec, kind: Kind): void {
    const place = blocks.get(digest, 0)
    if (place === -1) {
      const id = writer.packId
      writer.append(bytes, digest, codec, kind)
      blocks.add(digest, 0, placeOf(known.length + id, 0))
      needed.add(id)
      return
    }
    note(place, bytes.length)
  }

  function note(place: number, length: number): void {
    const slot = slotOf(place)
    needed.add(idOf(slot))
    reusedBytes += length
    if (slot < known.length) marks[slot]![entryOf(place)] = 1
  }

  return {
    chunk: (bytes, digest) => take(bytes, digest, CODEC_RAW, KIND.chunk),
    block: take,
    knows: (digests, at) => blocks.get(digests, at) !== -1,
    reuse(digest, length) {
      note(blocks.get(digest, 0), length)
    },
    async flush() {
      await writing
      await writer.rollOver()
      writing = writer.flush()
      writing.catch(() => {})
    },
    written: () => writing,
    async settled() {
      await writing
    },
    packOf(digest) {
      const now = relocated?.get(digest, 0) ?? -1
      if (now !== -1) return now
      const place = blocks.get(digest, 0)
      return place === -1 ? -1 : idOf(slotOf(place))
    },
    relocate(packs, moved) {
      relocated = moved
      for (const id of packs) needed.delete(id)
    },
    needed: () => needed,
    marks: (slot) => marks[slot]!,
    get reusedBytes() {
      return reusedBytes
    },
  }
}
