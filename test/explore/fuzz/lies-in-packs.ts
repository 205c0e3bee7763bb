// Sealed lies in packs: an index, a header or a set of blocks that is not what a writer leaves.

import { KIND } from '../../../src/format/pack.ts'
import { noise } from '../../support/bytes.ts'
import type { Random } from '../../support/random.ts'
import type { Lie } from './lies-in-blocks.ts'
import { EDGES, oddNumber } from './odd-values.ts'
import type { Copy, LoosePack, LooseStore } from './take-apart.ts'

export const liesInPacks: readonly Lie[] = [lieInIndex, lieInIndex, lieInIndex, badCopy, blockLess, lieInHeader]

function someCopy({ packs }: LooseStore, random: Random): { pack: LoosePack; copy: Copy } | null {
  const pack = packs.length === 0 ? null : random.pick(packs)
  return pack === null || pack.copies.length === 0 ? null : { pack, copy: random.pick(pack.copies) }
}

/** A 32-bit field of an index. */
function uint32(random: Random, honest: number): number {
  const odd = random.chance(0.5) ? oddNumber(random, honest) : honest + random.pick([-64, -1, 1, 64])
  return Math.max(0, Math.floor(odd)) % 2 ** 32
}

function lieAbout({ content, lie }: Copy, random: Random): string {
  const length = content.bytes.length
  const [name, change] = random.pick<[string, Copy['lie']]>([
    ['another raw length', { rawLength: uint32(random, length) }],
    ['another stored length', { storedLength: uint32(random, length) }],
    ['other lengths', ((other) => ({ rawLength: other, storedLength: other }))(uint32(random, length))],
    ['another place', { offset: uint32(random, 64 + random.below(2_000)) }],
    ['the place of another', { offset: 64 }],
    ['another kind', { kind: random.pick([KIND.chunk, KIND.node, KIND.segments, KIND.manifest, KIND.commit, 5, 255]) }],
    ['another codec', { codec: random.pick([0x55, 0x71, 0x70]) as 0x55 }],
    ['compression that it has not', { compression: random.pick([1, 2]) }],
    ['noise compressed', { compression: 1, stored: noise(30, random.below(100)) }],
    ['a byte that must be zero', { reserved: 1 }],
    ['other bytes', { stored: noise(length, random.below(1_000)) }],
  ])
  Object.assign(lie, change)
  return name
}

function lieInIndex(loose: LooseStore, random: Random): string | null {
  const found = someCopy(loose, random)
  return found === null
    ? null
    : `an index gives a block of kind ${found.copy.content.kind} ${lieAbout(found.copy, random)}`
}

/** Another pack has a copy of the block that lies, while the first is good. */
function badCopy(loose: LooseStore, random: Random): string | null {
  const found = someCopy(loose, random)
  const others = loose.packs.filter(
    (pack) => found !== null && !pack.copies.some(({ content }) => content === found.copy.content),
  )
  if (found === null || others.length === 0) return null
  const copy: Copy = { ...found.copy, lie: {} }
  random.pick(others).copies.push(copy)
  return `a second copy of a block has ${lieAbout(copy, random)}`
}

function blockLess(loose: LooseStore, random: Random): string | null {
  const found = someCopy(loose, random)
  if (found === null) return null
  found.pack.copies.splice(found.pack.copies.indexOf(found.copy), 1)
  return `a pack lacks a block of kind ${found.copy.content.kind}`
}

function lieInHeader(loose: LooseStore, random: Random): string | null {
  if (loose.packs.length === 0) return null
  const pack = random.pick(loose.packs)
  const header = pack.header.slice()
  const view = new DataView(header.buffer)
  const name = random.pick(['revision', 'store', 'version', 'zeros'])
  if (name === 'revision') {
    const revision = Math.max(0, Math.floor(random.pick(EDGES)))
    view.setBigUint64(32, random.chance(0.2) ? 2n ** 64n - 1n : BigInt(revision), true)
  } else if (name === 'store') header.set(noise(16, random.below(100)), 16)
  else if (name === 'version') view.setUint16(8, random.pick([0, 2, 65_535]), true)
  else header[12 + random.below(4)] = 1
  pack.header = header
  return `a pack's header has another ${name}`
}
