// What the code under test makes of the inputs that the vectors document. `make.ts` writes it down once; the tests
// compare it with what was written down.

import { blake3 } from '../../src/format/blake3.ts'
import type { BlobEntry } from '../../src/format/blob-entry.ts'
import { decodeListBlock } from '../../src/format/blob-list.ts'
import { type Chunking, content, cutter, fixed } from '../../src/format/chunking.ts'
import { type BlockId, CODEC_DAG_CBOR, CODEC_RAW, cidOf, cidText } from '../../src/format/cid.ts'
import { encodeCommit } from '../../src/format/commit.ts'
import { createDagBuilder } from '../../src/format/dag.ts'
import { gearTable } from '../../src/format/gear.ts'
import { encodeHead, type Head } from '../../src/format/head.ts'
import { fromHex, toHex } from '../../src/format/hex.ts'
import { encodeManifest, type Manifest } from '../../src/format/manifest.ts'
import { encodePackHeader, KIND } from '../../src/format/pack.ts'
import { createPackIndex } from '../../src/format/pack-builder.ts'
import { encodeSegments } from '../../src/format/segments.ts'
import { encodeStoreFile } from '../../src/format/store-file.ts'
import { pattern } from '../format/pattern.ts'

const utf8 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))

export const storeId = '0f1e2d3c4b5a69788796a5b4c3d2e1f0'
const time = '2025-01-31T23:59:59.999Z'

export interface ChunkingVector {
  pattern: string
  gear: { digest: string; entries: Record<string, string> }
  cuts: {
    chunking: Chunking
    input: { length: number; seed: number } | { length: number; fill: number }
    lengths: number[]
  }[]
}

export function chunkingVector(chunkings: Chunking[]): ChunkingVector {
  const table = gearTable()
  const bytes = Buffer.alloc(2048)
  table.forEach((value, byte) => {
    bytes.writeBigUInt64LE(value, byte * 8)
  })
  const cuts: ChunkingVector['cuts'] = []
  const inputs = [
    { length: 0, seed: 1 },
    { length: 1, seed: 1 },
    { length: 300_000, seed: 1 },
    { length: 100_000, fill: 0 },
  ]
  for (const chunking of chunkings) {
    for (const input of inputs) {
      if (chunking.kind === 'fixed' && input.length > 100_000) continue
      cuts.push({
        chunking,
        input: input as ChunkingVector['cuts'][number]['input'],
        lengths: cutAll(inputBytes(input), chunking),
      })
    }
  }
  return {
    pattern:
      'seed: x = (1664525 x + 1013904223) mod 2^32 from x = seed, one byte a step, its top eight bits. fill: that byte, repeated.',
    gear: {
      digest: toHex(blake3(bytes)),
      entries: Object.fromEntries(
        [0, 1, 97, 128, 255].map((byte) => [byte, table[byte]!.toString(16).padStart(16, '0')]),
      ),
    },
    cuts,
  }
}

export function inputBytes(input: { length: number; seed?: number; fill?: number }): Uint8Array {
  return input.seed === undefined
    ? new Uint8Array(input.length).fill(input.fill ?? 0)
    : pattern(input.length, input.seed)
}

export function cutAll(bytes: Uint8Array, chunking: Chunking): number[] {
  const cut = cutter(chunking)
  const lengths: number[] = []
  let at = 0
  do {
    const length = cut(bytes, at, bytes.length)
    lengths.push(length)
    at += length
  } while (at < bytes.length)
  return lengths
}

export interface DagVector {
  blobs: { input: { length: number; seed: number }; chunking: Chunking; root: string; size: number; nodes: string[] }[]
  synthetic: { chunks: string; root: string; size: number; count: number; nodes: number; digestOfNodeDigests: string }
}

export function dagVector(): DagVector {
  const blobs = [
    { input: { length: 0, seed: 1 }, chunking: content() },
    { input: { length: 100, seed: 1 }, chunking: content() },
    { input: { length: 1300, seed: 1 }, chunking: fixed(512) },
    { input: { length: 60_000, seed: 1 }, chunking: content({ averageBytes: 4096 }) },
  ].map(({ input, chunking }) => {
    const bytes = inputBytes(input)
    const nodes: string[] = []
    const builder = createDagBuilder((block) => nodes.push(toHex(block)))
    let at = 0
    for (const length of cutAll(bytes, chunking)) {
      builder.push(length, blake3(bytes.subarray(at, at + length)), 0)
      at += length
    }
    const { root, size } = builder.finish()
    return { input, chunking, root: cidText(root), size, nodes }
  })
  const digests: Uint8Array[] = []
  const builder = createDagBuilder((_block, digest) => digests.push(digest))
  for (let i = 0; i < 100_000; i++) builder.push(1 + (i % 65_536), blake3(utf8(`chunk ${i}`)), 0)
  const { root, size, chunks } = builder.finish()
  return {
    blobs,
    synthetic: {
      chunks:
        'for i from 0 to 99999: length 1 + i % 65536, digest BLAKE3 of the text "chunk " and i in decimal. Nodes in the order in which they end.',
      root: cidText(root),
      size,
      count: chunks,
      nodes: digests.length,
      digestOfNodeDigests: toHex(blake3(Buffer.concat(digests))),
    },
  }
}

const digestOf = (text: string): Uint8Array => blake3(utf8(text))
const rawId = (text: string): BlockId => ({ codec: CODEC_RAW, digest: digestOf(text) })
const nodeId = (text: string): BlockId => ({ codec: CODEC_DAG_CBOR, digest: digestOf(text) })

export const sampleManifest: Manifest = {
  blobs: new Map([
    ['docs', { root: rawId('docs'), size: 1000, chunking: content(), type: 'application/json' }],
    ['index', { root: nodeId('index'), size: 10_000_000, segments: digestOf('segments'), chunking: fixed(4096) }],
    ['__proto__', { root: rawId(''), size: 0, chunking: content({ averageBytes: 4096 }) }],
  ]),
  metadata: {
    engine: 'hnswlib-node',
    generation: 7,
    negative: -10,
    ratio: 0.5,
    big: 2n ** 64n - 1n,
    none: null,
    yes: true,
    'clé \u{1F511}': 'na\u00EFve \uFEFF',
    bytes: Uint8Array.of(0, 1, 255),
    list: [1, [2, {}], 'three'],
    link: cidOf(rawId('link')),
  },
  watermark: { lsn: 123_456_789_012 },
}

export interface RecordVector {
  note: string
  segments: { size: number; block: string; cid: string }
  manifest: { block: string; cid: string }
  commit: { block: string; cid: string }
}

export function recordVector(): RecordVector {
  const withCid = (block: Uint8Array): { block: string; cid: string } => ({
    block: toHex(block),
    cid: cidText({ codec: CODEC_DAG_CBOR, digest: blake3(block) }),
  })
  const { block: manifest } = encodeManifest(sampleManifest)
  return {
    note: 'segments: digests are BLAKE3 of the texts "segment 0", "segment 1", "segment 2". manifest, commit: see compute.ts.',
    segments: {
      size: 10_000_000,
      ...withCid(encodeSegments(Buffer.concat([digestOf('segment 0'), digestOf('segment 1'), digestOf('segment 2')]))),
    },
    manifest: withCid(manifest),
    commit: withCid(
      encodeCommit({
        store: fromHex(storeId, 16),
        sequence: 3,
        manifest: { codec: CODEC_DAG_CBOR, digest: blake3(manifest) },
        time,
        message: 'nightly',
        packs: [new Uint8Array(32).fill(0x11), new Uint8Array(32).fill(0x22)],
      }),
    ),
  }
}

/** 3,000 small blobs, of which some have a type. */
export const manyBlobs: Manifest = {
  blobs: new Map(
    Array.from({ length: 3_000 }, (_, i): [string, BlobEntry] => [
      `notes/${i}.md`,
      {
        root: rawId(`note ${i}`),
        size: i % 1_000,
        chunking: content(),
        ...(i % 100 === 0 ? { type: 'text/markdown' } : {}),
      },
    ]),
  ),
  metadata: { notes: 3_000 },
}

export interface ListVector {
  note: string
  manifest: { block: string; cid: string }
  root: string
  /** Of each block: how many items it has. */
  items: number[]
  first: string
  digestOfDigests: string
}

export function listVector(): ListVector {
  const { block, list } = encodeManifest(manyBlobs)
  const items = list.map((part) => decodeListBlock(part.block))
  return {
    note:
      'Blobs: for i from 0 to 2999, the name "notes/", i in decimal, ".md"; root the raw CID of the text "note " and i; size i % 1000; content-defined ' +
      'chunking of average 16384; if i % 100 is 0 the type text/markdown. Metadata { notes: 3000 }. items, digestOfDigests: of the blocks of the list, ' +
      'level by level, leaves first. first: the first leaf. root: the last block.',
    manifest: { block: toHex(block), cid: cidText({ codec: CODEC_DAG_CBOR, digest: blake3(block) }) },
    root: toHex(list.at(-1)!.block),
    items: items.map((part) => ('entries' in part ? part.entries : part.children).length),
    first: toHex(list[0]!.block),
    digestOfDigests: toHex(blake3(Buffer.concat(list.map(({ digest }) => digest)))),
  }
}

export interface PackVector {
  name: string
  storeId: string
  revision: number
  nonce: string
  blocks: { text: string; digest: string; offset: number; length: number; kind: number }[]
  header: string
  data: string
  fanout: string
  entries: string
  footer: string
}

export function packVector(): PackVector {
  const nonce = '000102030405060708090a0b0c0d0e0f'
  const revision = 1
  const header = encodePackHeader({ storeId: fromHex(storeId, 16), revision, nonce: fromHex(nonce, 16) })
  const builder = createPackIndex()
  const blocks: PackVector['blocks'] = []
  let offset = 64
  for (const text of ['hold', 'fast']) {
    const { length } = text
    const digest = digestOf(text)
    const lengths = { storedLength: length, rawLength: length }
    builder.add({ digest, offset, ...lengths, codec: CODEC_RAW, compression: 0, kind: KIND.chunk, check: null })
    blocks.push({ text, digest: toHex(digest), offset, length, kind: KIND.chunk })
    offset += length
  }
  const { trailer, name } = builder.finish(header, offset)
  return {
    ...{ name, storeId, revision, nonce, blocks },
    header: toHex(header),
    data: toHex(utf8('holdfast')),
    fanout: toHex(trailer.subarray(0, 1024)),
    entries: toHex(trailer.subarray(1024, -64)),
    footer: toHex(trailer.subarray(-64)),
  }
}

export const sampleHead: Head = {
  storeId,
  revision: 1,
  sequence: 1,
  current: 1,
  snapshots: [
    {
      sequence: 1,
      manifest: cidText(nodeId('manifest')),
      time,
      message: 'first',
      tags: ['latest'],
      abandoned: false,
      pack: 1,
      packs: [1],
      size: 8,
    },
  ],
  packs: [{ id: 1, name: '0123456789abcdef'.repeat(4), bytes: 1272, blocks: 2, live: null }],
  retired: [],
  damaged: [],
  writes: ['00112233445566ff', '8899aabbccddeeff'],
}

export interface JsonVector {
  store: string
  head: string
}

export function jsonVector(): JsonVector {
  return {
    store: Buffer.from(encodeStoreFile({ storeId, created: time })).toString(),
    head: Buffer.from(encodeHead(sampleHead)).toString(),
  }
}

export interface ZstdVector {
  inputs: string
  frames: { by: string; input: string; rawLength: number; digest: string; frame: string }[]
}

export function frameInput(name: string): Uint8Array {
  if (name === 'squares') return utf8(Array.from({ length: 1000 }, (_, i) => `${i * i}`).join(','))
  if (name === 'lines') return utf8(Array.from({ length: 40_000 }, (_, i) => `line ${i % 97}\n`).join(''))
  if (name === 'zeros') return new Uint8Array(300_000)
  return pattern(2000, 8)
}
