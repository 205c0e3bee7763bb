// Sealed lies in blocks: nodes, segments, manifests, commit records and chunks that say what is not so.

import { CID } from 'multiformats/cid'
import { blake3 } from '../../../src/format/blake3.ts'
import { blockId, CODEC_DAG_CBOR, CODEC_RAW, cidOf } from '../../../src/format/cid.ts'
import { fromHex, toHex } from '../../../src/format/hex.ts'
import { SEGMENT_BYTES } from '../../../src/format/limits.ts'
import { KIND } from '../../../src/format/pack.ts'
import { noise } from '../../support/bytes.ts'
import type { Random } from '../../support/random.ts'
import { oddNumber, withOddField } from './odd-values.ts'
import type { Content, LooseStore } from './take-apart.ts'

/** Changes the store; answers what it did, or null when there was nothing to lie about. */
export type Lie = (loose: LooseStore, random: Random) => string | null

type Children = [number, CID][]

export const liesInBlocks: readonly Lie[] = [
  lieAboutChildren,
  lieAboutChildren,
  lieAboutChildren,
  lieInManifest,
  lieInManifest,
  lieInSegments,
  lieInCommit,
  lieInChunk,
  lieAnywhere,
  replaceBlock,
  regroupChildren,
]

function some(loose: LooseStore, random: Random, ...kinds: number[]): Content | null {
  const found = [...loose.contents.values()].filter(({ kind }) => kinds.includes(kind))
  return found.length === 0 ? null : random.pick(found)
}

function linkOf({ codec, was }: Content): CID {
  return cidOf({ codec, digest: fromHex(was, 32) })
}

function linksOf(loose: LooseStore): CID[] {
  return [...loose.contents.values()].map(linkOf)
}

function targetOf(loose: LooseStore, link: unknown): Content | undefined {
  return link instanceof CID ? loose.contents.get(toHex(blockId(link).digest)) : undefined
}

function lieAboutChildren(loose: LooseStore, random: Random): string | null {
  const node = some(loose, random, KIND.node)
  if (node === null) return null
  const children = childrenOf(node).map(([length, link]): [number, CID] => [length, link])
  if (children.length === 0) return null
  const at = random.below(children.length)
  const other = random.below(children.length)
  const child = children[at]!
  const [name, next] = random.pick<[string, () => Children]>([
    ['a length', () => children.with(at, [oddNumber(random, child[0]), child[1]])],
    ['two lengths, in sum rightly', () => shifted(children, at, other, 1 + random.below(3))],
    ['a child less', () => children.toSpliced(at, 1)],
    ['a child twice', () => children.toSpliced(at, 0, child)],
    ['a child many times', () => Array.from({ length: 100 + random.below(925) }, () => child)],
    ['two children in turn', () => children.with(at, children[other]!).with(other, child)],
    ['another child', () => children.with(at, [child[0], random.pick(linksOf(loose))])],
    ['another child of right length', () => children.with(at, strangerIn(loose, random))],
    ['no children', () => []],
    ['a node below itself', () => children.with(at, [child[0], linkOf(node)])],
    ['a child of the other codec', () => children.with(at, [child[0], otherCodec(child[1])])],
    ['a node in the place of a chunk', () => children.with(at, [totalOf(node), linkOf(node)])],
    ['one child', () => [child]],
    ['an empty child', () => children.toSpliced(at, 0, [0, cidOf({ codec: CODEC_RAW, digest: emptyIn(loose) })])],
  ])
  node.value = next()
  if (random.chance(0.4)) resizeAbove(loose, node)
  return `a node has ${name}`
}

function shifted(children: Children, at: number, other: number, by: number): Children {
  const [a, b] = [children[at]!, children[other]!]
  if (at === other) return children
  return children.with(at, [a[0] + by, a[1]]).with(other, [b[0] - by, b[1]])
}

function strangerIn(loose: LooseStore, random: Random): [number, CID] {
  const chunk = some(loose, random, KIND.chunk)!
  return [chunk.bytes.length, linkOf(chunk)]
}

function otherCodec(link: CID): CID {
  const { codec, digest } = blockId(link)
  return cidOf({ codec: codec === CODEC_RAW ? CODEC_DAG_CBOR : CODEC_RAW, digest })
}

function totalOf(node: Content): number {
  return childrenOf(node).reduce((sum, [length]) => sum + length, 0)
}

/** What an earlier lie left of a node's children. */
function childrenOf({ value }: Content): Children {
  return Array.isArray(value) ? value.filter((child) => Array.isArray(child) && child.length === 2) : []
}

function emptyIn({ packs, contents }: LooseStore): Uint8Array {
  const digest = blake3(new Uint8Array(0))
  if (contents.has(toHex(digest)) || packs.length === 0) return digest
  const content: Content = { was: toHex(digest), codec: CODEC_RAW, kind: KIND.chunk, bytes: new Uint8Array(0) }
  contents.set(content.was, content)
  packs[0]!.copies.push({ content, compressed: false, lie: {} })
  return digest
}

/** What stands above a node says its size, so that only the node itself lies. */
function resizeAbove(loose: LooseStore, node: Content): void {
  const total = totalOf(node)
  for (const content of loose.contents.values()) {
    if (content.kind === KIND.node) {
      for (const child of childrenOf(content)) if (targetOf(loose, child[1]) === node) child[0] = total
    } else if (content.kind === KIND.manifest) {
      for (const blob of blobsIn(content.value)) if (targetOf(loose, blob.root) === node) blob.size = total
    }
  }
}

interface LooseBlob {
  root: CID
  size: number
  segments?: CID
  chunking: unknown
}

function blobsIn(manifest: unknown): LooseBlob[] {
  // A leaf of a blob list is the map itself.
  const isManifest = (manifest as { format?: unknown } | null)?.format !== undefined
  const blobs = isManifest ? (manifest as { blobs?: unknown }).blobs : manifest
  if (typeof blobs !== 'object' || blobs === null || Array.isArray(blobs)) return []
  return Object.values(blobs).filter((blob): blob is LooseBlob => typeof blob === 'object' && blob !== null)
}

function lieInManifest(loose: LooseStore, random: Random): string | null {
  const manifest = some(loose, random, KIND.manifest)
  if (manifest === null || !hasBlobs(manifest)) return null
  const value = structuredLinks(manifest.value) as { blobs: Record<string, LooseBlob>; [field: string]: unknown }
  const names = Object.keys(value.blobs)
  const blob = value.blobs[random.pick(names)]!
  const other = value.blobs[random.pick(names)]!
  const [name, change] = random.pick<[string, () => unknown]>([
    [
      'another size',
      () => {
        blob.size = oddNumber(random, blob.size)
      },
    ],
    [
      'the size of nothing',
      () => {
        blob.size = 0
      },
    ],
    [
      'the root of another blob',
      () => {
        blob.root = other.root
      },
    ],
    ['another root and its size', () => Object.assign(blob, { root: other.root, size: other.size })],
    [
      'any root',
      () => {
        blob.root = random.pick(linksOf(loose))
      },
    ],
    ['the segments of another blob', () => Object.assign(blob, { segments: other.segments ?? other.root })],
    ['any segments', () => Object.assign(blob, { segments: random.pick(linksOf(loose)) })],
    ['no segments', () => delete blob.segments],
    [
      'another chunking',
      () => {
        blob.chunking = random.pick<unknown>([
          { kind: 'fixed', size: 512 },
          { kind: 'fixed', size: 16_777_216 },
          { kind: 'fixed', size: 1 },
          { kind: 'content', average: 16_384 },
        ])
      },
    ],
    [
      'a newer version',
      () => {
        value.version = 3
      },
    ],
    [
      'a blob more',
      () => {
        value.blobs[random.pick(['', '__proto__', '../up', 'x'.repeat(2_000), 'more'])] = blob
      },
    ],
    ['a blob less', () => delete value.blobs[random.pick(names)]],
    ['an odd field', () => Object.assign(value, withOddField(random, value, linksOf(loose)))],
  ])
  change()
  manifest.value = value
  return `a manifest has ${name}`
}

/** Its blobs are not in a list. */
function hasBlobs({ value }: Content): boolean {
  const blobs = (value as { blobs?: unknown }).blobs
  return typeof blobs === 'object' && blobs !== null && !Array.isArray(blobs)
}

/** A copy that shares nothing but links and bytes. */
function structuredLinks(value: unknown): unknown {
  if (value instanceof CID || value instanceof Uint8Array) return value
  if (Array.isArray(value)) return value.map(structuredLinks)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, inside]) => [key, structuredLinks(inside)]))
}

function lieInSegments(loose: LooseStore, random: Random): string | null {
  const segments = some(loose, random, KIND.segments)
  if (segments === null) return null
  segments.value = random.chance(0.6)
    ? { length: SEGMENT_BYTES, digests: noise(32, random.below(1_000)) }
    : withOddField(random, segments.value)
  return 'segments are odd'
}

function lieInCommit(loose: LooseStore, random: Random): string | null {
  const commit = some(loose, random, KIND.commit)
  if (commit === null) return null
  commit.value = withOddField(random, commit.value, linksOf(loose))
  return 'a commit record is odd'
}

function lieAnywhere(loose: LooseStore, random: Random): string | null {
  const block = some(loose, random, KIND.node, KIND.segments, KIND.manifest, KIND.commit)
  if (block === null) return null
  block.value = withOddField(random, block.value, linksOf(loose))
  return `a field of a block of kind ${block.kind} is odd`
}

/**
 * A chunk of other bytes. Its segments are as wrong as a bad bit of memory leaves them, or right, so that nothing is a
 * lie.
 */
function lieInChunk(loose: LooseStore, random: Random): string | null {
  const chunk = some(loose, random, KIND.chunk)
  if (chunk === null) return null
  const length = random.chance(0.6) ? chunk.bytes.length : random.pick([0, 1, 511, 513, 5_000])
  chunk.bytes = noise(length, random.below(1_000_000))
  if (length === 0 || random.chance(0.5)) return `a chunk has ${length} other bytes`
  for (const content of loose.contents.values()) {
    if (content.kind === KIND.manifest) for (const blob of blobsIn(content.value)) resegment(loose, blob)
  }
  return `a chunk has ${length} other bytes, and its segments know`
}

function resegment(loose: LooseStore, blob: LooseBlob): void {
  const segments = targetOf(loose, blob.segments)
  if (segments?.kind !== KIND.segments || blob.size > SEGMENT_BYTES) return
  const bytes = bytesBelow(loose, blob.root)
  if (bytes !== null && bytes.length > 0) segments.value = { length: SEGMENT_BYTES, digests: blake3(bytes) }
}

/** Null: an earlier lie makes it endless, or too much for one segment. */
function bytesBelow(loose: LooseStore, root: unknown): Uint8Array | null {
  const parts: Uint8Array[] = []
  let [steps, left] = [10_000, SEGMENT_BYTES]
  return gather(root, 8) ? Buffer.concat(parts) : null

  function gather(link: unknown, levels: number): boolean {
    steps -= 1
    if (levels === 0 || steps < 0 || left < 0) return false
    const content = targetOf(loose, link)
    if (content === undefined) return true
    if (content.kind === KIND.node && Array.isArray(content.value)) {
      return childrenOf(content).every(([, below]) => gather(below, levels - 1))
    }
    parts.push(content.bytes)
    left -= content.bytes.length
    return left >= 0
  }
}

/** One block stands where another of any kind was, under its own digest: what names the one names the other. */
function replaceBlock(loose: LooseStore, random: Random): string | null {
  const all = [...loose.contents.values()]
  if (all.length === 0) return null
  const [block, other] = [random.pick(all), random.pick(all)]
  if (random.chance(0.5) || other.value === undefined || block.value === undefined) {
    delete block.value
    block.bytes = other.value === undefined || random.chance(0.5) ? noise(40, random.below(1_000)) : other.bytes
  } else block.value = other.value
  return `a block of kind ${block.kind} says what one of kind ${other.kind} does`
}

/** The children of a node are those of two nodes below it: a tree that no writer makes, and that says the same. */
function regroupChildren(loose: LooseStore, random: Random): string | null {
  const node = some(loose, random, KIND.node)
  if (node === null || childrenOf(node).length < 2) return null
  const children = childrenOf(node)
  const cut = 1 + random.below(children.length - 1)
  const pack = loose.packs.find(({ copies }) => copies.some(({ content }) => content === node))!
  node.value = [children.slice(0, cut), children.slice(cut)].map((part, i) => {
    const was = toHex(blake3(Buffer.from(`${node.was} ${i} ${cut}`)))
    const below: Content = { ...node, was, value: part }
    loose.contents.set(was, below)
    pack.copies.push({ content: below, compressed: false, lie: {} })
    return [totalOf(below), linkOf(below)]
  })
  return 'a tree is higher than need be'
}
