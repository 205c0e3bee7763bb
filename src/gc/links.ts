// Walks all blocks that a snapshot needs, by what its manifest and its nodes name. That is remembered in this form:
//
//    then for each link:
//    kk          kind: 00 a block of the manifest, 01 a segments block, 02 a chunk, 03 a node
//    …           digest (32)

import { BadBlock, type BlockSource, type DamageContext } from '../blocks/block-source.ts'
import type { LinkCache } from '../blocks/link-cache.ts'
import { readManifest } from '../blocks/read-manifest.ts'
import { STEPS, type Turn } from '../event-loop.ts'
import type { BlobEntry } from '../format/blob-entry.ts'
import { CODEC_RAW } from '../format/cid.ts'
import { decodeNode } from '../format/dag.ts'
import { DAG_DEPTH_MAX, DIGEST_BYTES } from '../format/limits.ts'

const LINK = {
  /** Of the manifest's blob list. */
  list: 0,
  /** A blob can be loaded without its segments block, so it need not exist. */
  segments: 1,
  chunk: 2,
  node: 3,
} as const

const LINK_BYTES = 1 + DIGEST_BYTES

type Walk = ReturnType<LinkCache['walk']>

/** The key of a digest in maps. */
function digestKey(digests: Uint8Array, at: number): string {
  return Buffer.from(digests.buffer, digests.byteOffset + at, DIGEST_BYTES).toString('latin1')
}

/** What one walk does with the blocks that it meets. */
interface Marking<Pack> {
  what: DamageContext
  /** What earlier walks of the open store have read. */
  remembered: Walk | undefined
  turn: Turn
  /** Marks the block with this digest, and answers its pack. Throws `BadBlock` when no pack has it. */
  mark(digests: Uint8Array, at: number): Pack
  /**
   * The packs of a node and of all below it, by key. Snapshots share most of their nodes, and a few nodes that name
   * each other many times may stand for terabytes: each is walked once.
   */
  below: { get(key: string): Iterable<Pack> | undefined; set(key: string, packs: ReadonlySet<Pack>): void }
}

/** Marks a manifest and all blocks that it needs, and answers their packs. */
export async function markReachable<Pack>(
  source: BlockSource,
  manifest: Uint8Array,
  { what, remembered, turn, mark, below }: Marking<Pack>,
): Promise<Set<Pack>> {
  const packs = new Set([mark(manifest, 0)])
  await follow(await manifestLinks(source, manifest, what, remembered, turn), packs, 1)
  return packs

  /** Marks what `links` name, and all below it, and adds the packs that it is in. */
  async function follow(links: Uint8Array, found: Set<Pack>, depth: number): Promise<void> {
    for (let at = 0; at < links.length; at += LINK_BYTES) {
      const kind = links[at]
      if (kind === LINK.node) for (const pack of await walk(links, at + 1, depth)) found.add(pack)
      // A blob can be loaded without its segments block, so it need not exist.
      else if (kind !== LINK.segments || source.find(links, at + 1) !== -1) found.add(mark(links, at + 1))
    }
  }

  async function walk(digests: Uint8Array, at: number, depth: number): Promise<Iterable<Pack>> {
    const key = digestKey(digests, at)
    const known = below.get(key)
    if (known !== undefined) return known
    if (depth > DAG_DEPTH_MAX) throw new BadBlock(`${what.what} has a tree that is too deep`)
    const found = new Set([mark(digests, at)])
    await turn()
    const node = digests.subarray(at, at + DIGEST_BYTES)
    await follow(await nodeLinks(source, node, what, remembered), found, depth + 1)
    below.set(key, found)
    return found
  }
}

/** Of a manifest: its blob list, and for each blob its segments block and its root. */
async function manifestLinks(
  source: BlockSource,
  digest: Uint8Array,
  what: DamageContext,
  walk: Walk | undefined,
  turn: Turn,
): Promise<Uint8Array> {
  const key = digestKey(digest, 0)
  const known = walk?.get(key)
  if (known !== undefined) return known
  const list: Uint8Array[] = []
  const { blobs } = await readManifest(source, digest, what, (block) => void list.push(block))
  // The first one is the manifest itself.
  const links = new Uint8Array((list.length - 1 + 2 * blobs.size) * LINK_BYTES)
  let at = 0
  function put(kind: number, link: Uint8Array): void {
    links[at] = kind
    links.set(link, at + 1)
    at += LINK_BYTES
  }
  for (const block of list.slice(1)) put(LINK.list, block)
  let count = 0
  for (const entry of blobs.values()) {
    if (++count % STEPS === 0) await turn()
    if (entry.segments !== undefined) put(LINK.segments, entry.segments)
    put(kindOf(entry.root), entry.root.digest)
  }
  const made = links.slice(0, at)
  walk?.add(key, made)
  return made
}

/** Of a node: its children. */
async function nodeLinks(
  source: BlockSource,
  digest: Uint8Array,
  what: DamageContext,
  walk: Walk | undefined,
): Promise<Uint8Array> {
  const key = digestKey(digest, 0)
  const known = walk?.get(key)
  if (known !== undefined) return known
  const { codec, count, digests } = decodeNode(await source.read(digest, what), what.what)
  const kind = kindOf({ codec })
  const links = new Uint8Array(count * LINK_BYTES)
  for (let i = 0; i < count; i++) {
    links[i * LINK_BYTES] = kind
    links.set(digests.subarray(i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES), i * LINK_BYTES + 1)
  }
  walk?.add(key, links)
  return links
}

function kindOf({ codec }: Pick<BlobEntry['root'], 'codec'>): number {
  return codec === CODEC_RAW ? LINK.chunk : LINK.node
}
