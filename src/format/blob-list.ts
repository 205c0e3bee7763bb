// The blob list of a manifest of version 2: its entries, cut into blocks by their names, so that new content in one
// blob is one new block on each level.
//
// A leaf is dag-cbor, a map { name: entry }. A list node is dag-cbor, a list of [count, link]: blobs below the child,
// and its CID.

import { blake3 } from './blake3.ts'
import { type BlobEntry, entryFields, parseEntries } from './blob-entry.ts'
import { CODEC_DAG_CBOR, cidOf } from './cid.ts'
import { BLOBS_MAX, BLOCK_BYTES_MAX, LIST_ITEMS_MAX, LIST_ITEMS_MIN } from './limits.ts'
import { damagedRecord, isFields, linkIn } from './record.ts'
import { decodeValue, encodeStrict, type StrictValue } from './value.ts'

/** A block ends after an item whose name's digest, four bytes of it big-endian, is below this: 63 items on average. */
const LIST_END_BELOW = 0x05555555

/** A part of the list: a leaf or a list node, and how many blobs are below it. */
export interface ListLink {
  count: number
  digest: Uint8Array
}

/** A block that belongs to a manifest. */
export interface ListBlock {
  block: Uint8Array
  digest: Uint8Array
}

interface Item<Value> {
  value: Value
  /** Digest of the name of the last blob in or below it. */
  nameDigest: Uint8Array
}

/** The list of at least one blob. `blocks`: its leaves and list nodes, children before parents. */
export function encodeBlobList(blobs: ReadonlyMap<string, BlobEntry>): { root: ListLink; blocks: ListBlock[] } {
  const blocks: ListBlock[] = []
  const add = (value: StrictValue, count: number, nameDigest: Uint8Array): Item<ListLink> => {
    const block = encodeStrict(value)
    const digest = blake3(block)
    blocks.push({ block, digest })
    return { value: { count, digest }, nameDigest }
  }
  const entries = inListOrder(blobs).map(({ name, bytes }) => ({
    value: [name, blobs.get(name)!] as const,
    nameDigest: blake3(bytes),
  }))
  let level = cutLevel(entries, 0).map(({ items, last }) => add(entryFields(items), items.length, last))
  for (let depth = 1; level.length > 1; depth++) {
    level = cutLevel(level, depth).map(({ items, last }) => {
      const links = items.map(({ count, digest }) => [count, cidOf({ codec: CODEC_DAG_CBOR, digest })])
      const count = items.reduce((sum, link) => sum + link.count, 0)
      return add(links, count, last)
    })
  }
  return { root: level[0]!.value, blocks }
}

/** What goes into one block, and the digest of its last name. */
interface Cut<Value> {
  items: Value[]
  last: Uint8Array
}

/** Cuts the items of a level into those of each block. */
function cutLevel<Value>(items: readonly Item<Value>[], level: number): Cut<Value>[] {
  const cuts: Cut<Value>[] = []
  let open: Value[] = []
  for (const [i, { value, nameDigest }] of items.entries()) {
    open.push(value)
    const { length } = open
    const ends = length === LIST_ITEMS_MAX || (length >= LIST_ITEMS_MIN && endsBlock(nameDigest, level))
    if (!ends && i < items.length - 1) continue
    cuts.push({ items: open, last: nameDigest })
    open = []
  }
  return cuts
}

/** Each level has four bytes of its own: by the same ones, every leaf would end its parent. */
function endsBlock(nameDigest: Uint8Array, level: number): boolean {
  return Buffer.from(nameDigest.buffer, nameDigest.byteOffset).readUInt32BE(4 * level) < LIST_END_BELOW
}

/** In the order of the keys of a dag-cbor map: shorter names first, then byte by byte. */
function inListOrder(blobs: ReadonlyMap<string, BlobEntry>): { name: string; bytes: Buffer }[] {
  const names = [...blobs.keys()].map((name) => ({ name, bytes: Buffer.from(name) }))
  return names.sort((a, b) => compareNames(a.bytes, b.bytes))
}

/** Below 0 if `a` comes first in the list. */
function compareNames(a: Buffer, b: Buffer): number {
  return a.length - b.length || Buffer.compare(a, b)
}

/** Whether `before` comes before `name` in the list. */
export function isBefore(before: string, name: string): boolean {
  return compareNames(Buffer.from(before), Buffer.from(name)) < 0
}

/** A map in a leaf, its entries, and their maps for the chunking. */
const DEPTH_MAX = 3

/**
 * A leaf (`entries`, in the list's order) or a list node (`children`), whose digest has been checked. Throws
 * `SNAPSHOT_DAMAGED`.
 */
export function decodeListBlock(block: Uint8Array): { entries: [string, BlobEntry][] } | { children: ListLink[] } {
  const what = 'block of a blob list'
  if (block.length > BLOCK_BYTES_MAX) throw damagedRecord(what, `it has ${block.length} bytes`)
  const value = decodeValue(block, DEPTH_MAX)
  if (!Array.isArray(value) && !isFields(value)) throw damagedRecord(what, 'it is neither a map nor a list')
  const items = Array.isArray(value) ? value.length : Object.keys(value).length
  if (items === 0 || items > LIST_ITEMS_MAX) throw damagedRecord(what, `it has ${items} items`)
  if (Array.isArray(value)) return { children: value.map((child) => parseListLink(child, what)) }
  // An object gives names that are integers first.
  return { entries: parseEntries(value).sort(([a], [b]) => (isBefore(a, b) ? -1 : 1)) }
}

/** A decoded `[count, link]`. Throws `SNAPSHOT_DAMAGED`. */
export function parseListLink(value: unknown, what: string): ListLink {
  if (!Array.isArray(value) || value.length !== 2)
    throw damagedRecord(what, 'it has something else in place of [count, link]')
  const [count, link] = value as unknown[]
  if (!Number.isInteger(count) || (count as number) < 1 || (count as number) > BLOBS_MAX) {
    throw damagedRecord(what, `it has a part of ${String(count)} blobs`)
  }
  const { codec, digest } = linkIn(link, what)
  if (codec !== CODEC_DAG_CBOR) throw damagedRecord(what, 'it has a part that is not dag-cbor')
  return { count: count as number, digest }
}
