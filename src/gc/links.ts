// Which blocks a manifest or a node names, in the form in which they are remembered:
//
//    then for each link:
//    kk          kind: 00 a block of the manifest, 01 a segments block, 02 a chunk, 03 a node
//    …           digest (32)

import type { BlockSource, DamageContext } from '../blocks/block-source.ts'
import type { LinkCache } from '../blocks/link-cache.ts'
import { readManifest } from '../blocks/read-manifest.ts'
import { STEPS, type Turn } from '../event-loop.ts'
import type { BlobEntry } from '../format/blob-entry.ts'
import { CODEC_RAW } from '../format/cid.ts'
import { decodeNode } from '../format/dag.ts'
import { DIGEST_BYTES } from '../format/limits.ts'

export const LINK = {
  /** Of the manifest's blob list. */
  list: 0,
  /** A blob can be loaded without its segments block, so it need not exist. */
  segments: 1,
  chunk: 2,
  node: 3,
} as const

export const LINK_BYTES = 1 + DIGEST_BYTES

type Walk = ReturnType<LinkCache['walk']>

/** The key of a digest in maps. */
export function digestKey(digests: Uint8Array, at: number): string {
  return Buffer.from(digests.buffer, digests.byteOffset + at, DIGEST_BYTES).toString('latin1')
}

/** Of a manifest: its blob list, and for each blob its segments block and its root. */
export async function manifestLinks(
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
export async function nodeLinks(
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
