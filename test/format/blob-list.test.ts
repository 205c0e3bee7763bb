import * as dagCbor from '@ipld/dag-cbor'
import { describe, expect, test } from 'vitest'
import { blake3 } from '../../src/format/blake3.ts'
import type { BlobEntry } from '../../src/format/blob-entry.ts'
import { decodeListBlock, encodeBlobList, isBefore } from '../../src/format/blob-list.ts'
import { content } from '../../src/format/chunking.ts'
import { CODEC_DAG_CBOR, CODEC_RAW, cidOf } from '../../src/format/cid.ts'
import { toHex } from '../../src/format/hex.ts'
import { encodeManifest } from '../../src/format/manifest.ts'
import { share } from '../support/effort.ts'
import { createRandom } from '../support/random.ts'
import { expectCode } from './expect-code.ts'
import { pattern } from './pattern.ts'

const entry = (seed: number): BlobEntry => ({
  root: { codec: CODEC_RAW, digest: pattern(32, seed) },
  size: seed % 1_000,
  chunking: content(),
})

function blobsOf(names: Iterable<string>): Map<string, BlobEntry> {
  return new Map([...names].map((name, i): [string, BlobEntry] => [name, entry(i)]))
}

const numbered = (count: number): string[] => Array.from({ length: count }, (_, i) => `notes/${i}.md`)

/** The list as section 4 of docs/format.md tells it, by another encoder. */
function byThePage(blobs: ReadonlyMap<string, BlobEntry>): Uint8Array[] {
  const fields = ({ root, size }: BlobEntry) => ({
    root: cidOf(root),
    size,
    chunking: { kind: 'content', average: 16_384 },
  })
  const bytes = (name: string): Buffer => Buffer.from(name)
  const names = [...blobs.keys()].sort(
    (a, b) => bytes(a).length - bytes(b).length || Buffer.compare(bytes(a), bytes(b)),
  )
  const blocks: Uint8Array[] = []
  let items: { name: string; count: number; value: unknown }[] = names.map((name) => ({
    name,
    count: 1,
    value: [name, fields(blobs.get(name)!)],
  }))
  for (let level = 0; level === 0 || items.length > 1; level++) {
    const parents: typeof items = []
    let open: typeof items = []
    for (const [i, item] of items.entries()) {
      open.push(item)
      const below = Buffer.from(blake3(bytes(item.name))).readUInt32BE(4 * level) < 0x05555555
      if (open.length < 256 && !(open.length >= 16 && below) && i < items.length - 1) continue
      const values = open.map(({ value }) => value)
      const block = new Uint8Array(
        dagCbor.encode(level === 0 ? Object.fromEntries(values as [string, unknown][]) : values),
      )
      blocks.push(block)
      const count = open.reduce((sum, each) => sum + each.count, 0)
      const link = cidOf({ codec: CODEC_DAG_CBOR, digest: blake3(block) })
      parents.push({ name: item.name, count, value: [count, link] })
      open = []
    }
    items = parents
  }
  return blocks
}

test.each([1, 15, 16, 257, 1_000, 6_000])('a list of %i blobs is that of the specification', (count) => {
  const blobs = blobsOf(numbered(count))
  const { root, blocks } = encodeBlobList(blobs)
  expect(blocks.map(({ block }) => toHex(block))).toEqual(byThePage(blobs).map(toHex))
  expect(root).toEqual({ count, digest: blocks.at(-1)!.digest })
})

test('names of any kind come back in the order of the list', () => {
  const names = ['10', '9', '__proto__', 'é', 'z', '\uFEFF', '\u{1F511}', 'constructor', ...numbered(400)]
  const blobs = blobsOf(names)
  const back = encodeBlobList(blobs).blocks.flatMap(({ block }) => {
    const decoded = decodeListBlock(block)
    return 'entries' in decoded ? decoded.entries : []
  })
  expect(new Map(back)).toEqual(blobs)
  for (const [i, [name]] of back.entries()) if (i > 0) expect(isBefore(back[i - 1]![0], name)).toBe(true)
})

test('equal blobs have an equal list, in whatever order they are given', () => {
  const blobs = [...blobsOf(numbered(500))]
  expect(encodeBlobList(new Map(blobs.toReversed()))).toEqual(encodeBlobList(new Map(blobs)))
})

test('up to 256 blobs are in the manifest, and their bytes are those of version 1', () => {
  const { block, list } = encodeManifest({ blobs: blobsOf(numbered(256)), metadata: {} })
  expect(list).toEqual([])
  expect(dagCbor.decode<object>(block)).toMatchObject({ version: 1 })
  const more = encodeManifest({ blobs: blobsOf(numbered(257)), metadata: {} })
  expect(more.list.length).toBeGreaterThan(1)
  expect(dagCbor.decode<object>(more.block)).toMatchObject({ version: 2 })
})

const digests = (blobs: ReadonlyMap<string, BlobEntry>): Set<string> =>
  new Set(encodeBlobList(blobs).blocks.map(({ digest }) => toHex(digest)))
const missingFrom = (before: Set<string>, after: Set<string>): number =>
  [...after].filter((digest) => !before.has(digest)).length

test('other content of one blob is one new block on each level', () => {
  const blobs = blobsOf(numbered(8_000))
  const before = digests(blobs)
  for (const name of ['notes/0.md', 'notes/777.md', 'notes/7999.md']) {
    const after = digests(new Map([...blobs, [name, entry(99_999)]]))
    expect(after.size).toBe(before.size)
    // Leaves, list nodes, and a root.
    expect(missingFrom(before, after)).toBe(3)
  }
})

test('a blob more or less is a few new blocks', () => {
  const random = createRandom(7)
  const blobs = blobsOf(numbered(8_000))
  const before = digests(blobs)
  const times = share(8, 2)
  for (let i = 0; i < times; i++) {
    const more = new Map([...blobs, [`notes/${random.below(8_000)}-new.md`, entry(99_999)]])
    expect(missingFrom(before, digests(more))).toBeLessThan(16)
    const less = new Map(blobs)
    less.delete(`notes/${random.below(8_000)}.md`)
    expect(missingFrom(before, digests(less))).toBeLessThan(16)
  }
})

describe('a block of a list is refused that is', () => {
  const fields = { root: cidOf(entry(1).root), size: 1, chunking: { kind: 'content', average: 16_384 } }
  const link = cidOf({ codec: CODEC_DAG_CBOR, digest: pattern(32, 1) })
  const many = Array.from({ length: 257 }, (_, i) => i)
  test.each<[string, unknown]>([
    ['text', 'leaf'],
    ['a link', link],
    ['bytes', new Uint8Array(3)],
    ['an empty leaf', {}],
    ['an empty node', []],
    ['a leaf of 257 entries', Object.fromEntries(many.map((i) => [`n${i}`, fields]))],
    ['a node of 257 children', many.map(() => [1, link])],
    ['a leaf with an entry that is none', { a: { ...fields, more: 1 } }],
    ['a leaf with a name that is none', { 'a\0': fields }],
    ['a node with a child that is a link', [link]],
    ['a node with a child of three parts', [[1, link, 1]]],
    ['a node with a child of no blobs', [[0, link]]],
    ['a node with a child of 65,537 blobs', [[65_537, link]]],
    ['a node with a child of a BigInt of blobs', [[2n ** 60n, link]]],
    ['a node with a child that is raw', [[1, cidOf(entry(1).root)]]],
    ['a node with a child that is text', [[1, 'bafy']]],
  ])('%s', (_, value) => {
    expectCode(() => decodeListBlock(new Uint8Array(dagCbor.encode(value))), 'SNAPSHOT_DAMAGED')
  })
})
