// Whatever is wrong about a CAR file, it is refused at once and nothing changes: no snapshot, no file, no lock that
// stays.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { encode } from '@ipld/dag-cbor'
import { CID } from 'multiformats/cid'
import { create as multihash } from 'multiformats/hashes/digest'
import { expect, test } from 'vitest'
import { exportCar, importCar } from '../../src/car/index.ts'
import { blake3 } from '../../src/format/blake3.ts'
import type { BlobEntry } from '../../src/format/blob-entry.ts'
import { CODEC_DAG_CBOR, CODEC_RAW } from '../../src/format/cid.ts'
import { createDagBuilder } from '../../src/format/dag.ts'
import { decodeManifest, encodeManifest } from '../../src/format/manifest.ts'
import { encodeSegments } from '../../src/format/segments.ts'
import { fixed, memory, openStore } from '../../src/index.ts'
import { collect, noise, sameBytes } from '../support/bytes.ts'
import { blockOf, type Car, type CarBlock, decodeCar, encodeCar, header, section, varint } from '../support/car.ts'
import { sample } from '../support/effort.ts'
import { failure, rejects } from '../support/rejects.ts'
import { quickScratch } from '../support/scratch.ts'

async function goodCar(): Promise<Car> {
  await using store = memory()
  const blob = { source: noise(60_000, 1), chunking: fixed(512) }
  await store.persist({ blobs: { a: blob, b: 'one chunk', zeros: { ...blob, source: new Uint8Array(4096) } } })
  await using snapshot = (await store.load())!
  return decodeCar(await collect(exportCar(snapshot)))
}

const good = await goodCar()
const [manifest, ...below] = good.blocks as [CarBlock, ...CarBlock[]]
const other = blockOf(CODEC_RAW, noise(100, 9))
const sha256 = CID.createV1(0x71, multihash(0x12, new Uint8Array(32)))

/** The good file with another manifest in it. */
function withManifest(change: (blobs: Map<string, BlobEntry>) => unknown, blocks = below): Uint8Array {
  const decoded = decodeManifest(manifest.bytes)
  if (!('blobs' in decoded)) throw new Error('no list is expected')
  change(decoded.blobs)
  const root = blockOf(CODEC_DAG_CBOR, encodeManifest(decoded).block)
  return encodeCar({ roots: [root.cid], blocks: [root, ...blocks] })
}

function withRoot(value: unknown): Uint8Array {
  const root = blockOf(CODEC_DAG_CBOR, encode(value))
  return encodeCar({ roots: [root.cid], blocks: [root] })
}

function swapped(i: number, j: number): CarBlock[] {
  const blocks = [...good.blocks]
  ;[blocks[i], blocks[j]] = [blocks[j]!, blocks[i]!]
  return blocks
}

const { roots, blocks } = good
const bytesOf = (more: Uint8Array): Uint8Array => Buffer.concat([header(roots), more])

const FILES: [what: string, reason: string, car: Uint8Array][] = [
  ['nothing', 'truncated', new Uint8Array(0)],
  ['text', 'truncated', Buffer.from('this is no CAR file, and has never been one')],
  ['a header of other things', 'header', section(encode({ version: 1, roots: 'none' }))],
  ['a CAR of version 2', 'header', Buffer.concat([section(encode({ version: 2 })), new Uint8Array(40)])],
  ['a header of a terabyte', 'limit', Buffer.concat([varint(2 ** 40), new Uint8Array(1000)])],
  ['a header of a megabyte', 'limit', section(new Uint8Array(1_000_000))],
  ['no root', 'roots', encodeCar({ roots: [], blocks })],
  ['two roots', 'roots', encodeCar({ roots: [...roots, ...roots], blocks })],
  ['a root that is a chunk', 'roots', encodeCar({ roots: [other.cid], blocks: [other] })],
  ['a root by another hash', 'cid', encodeCar({ roots: [sha256], blocks })],
  ['a root that is no manifest', 'structure', withRoot({ hello: 'world' })],
  ['a root that is not canonical', 'structure', notCanonical()],
  ['a root that is somewhere else', 'order', encodeCar({ roots, blocks: swapped(0, 1) })],
  ['no block', 'incomplete', encodeCar({ roots, blocks: [] })],
  ['a block less at its end', 'incomplete', encodeCar({ roots, blocks: blocks.slice(0, -1) })],
  ['a block less in its middle', 'order', encodeCar({ roots, blocks: blocks.filter((_, i) => i !== 5) })],
  ['a block twice', 'order', encodeCar({ roots, blocks: [...blocks.slice(0, 5), blocks[4]!, ...blocks.slice(5)] })],
  ['a block of nothing', 'order', encodeCar({ roots, blocks: [...blocks.slice(0, 5), other, ...blocks.slice(5)] })],
  ['blocks in another order', 'order', encodeCar({ roots, blocks: swapped(4, 5) })],
  ['a block of nothing at its end', 'trailing', encodeCar({ roots, blocks: [...blocks, other] })],
  ['zeros at its end', 'trailing', Buffer.concat([encodeCar(good), new Uint8Array(10)])],
  ['a block of no length', 'malformed', bytesOf(varint(0))],
  ['a block that is shorter than its CID', 'malformed', bytesOf(Buffer.concat([varint(10), manifest.cid.bytes]))],
  ['a block of a petabyte', 'limit', bytesOf(Buffer.concat([varint(2 ** 50), manifest.cid.bytes]))],
  ['a block of 17 MiB', 'limit', bytesOf(section(manifest.cid.bytes, new Uint8Array(17 * 2 ** 20)))],
  [
    'a CID of a petabyte',
    'limit',
    bytesOf(Buffer.concat([varint(100), Uint8Array.of(1, 0x71, 0x1e), varint(2 ** 40), new Uint8Array(20)])),
  ],
  ['a length without an end', 'malformed', bytesOf(new Uint8Array(20).fill(255))],
  [
    'a block of another codec',
    'cid',
    bytesOf(section(CID.createV1(0x70, manifest.cid.multihash).bytes, manifest.bytes)),
  ],
  ['a block of another hash', 'cid', bytesOf(section(sha256.bytes, manifest.bytes))],
  ['a manifest of other bytes', 'digest', bytesOf(section(manifest.cid.bytes, below[0]!.bytes))],
  ['a chunk of other bytes', 'digest', encodeCar({ roots, blocks: blocks.map(changed(isChunk)) })],
  ['segments of other bytes', 'digest', encodeCar({ roots, blocks: blocks.map(changed(isSegments)) })],
  [
    'a blob that is larger than it says',
    'structure',
    withManifest((blobs) => Object.assign(blobs.get('a')!, { size: 59_999 })),
  ],
  [
    'a blob that is smaller than it says',
    'structure',
    withManifest((blobs) => Object.assign(blobs.get('a')!, { size: 60_512 })),
  ],
  [
    'a chunk that is longer than it says',
    'structure',
    withManifest((blobs) => Object.assign(blobs.get('b')!, { size: 8 })),
  ],
  ['a chunk of two lengths', 'structure', twoLengths()],
  [
    'a node that is segments, too',
    'structure',
    withManifest((b) => Object.assign(b.get('a')!, { segments: b.get('a')!.root.digest })),
  ],
  [
    'segments of another blob',
    'structure',
    withManifest((b) => Object.assign(b.get('zeros')!, { segments: b.get('a')!.segments! })),
  ],
  ['segments that are not those of the chunks', 'segments', wrongSegments()],
  ['a root with a single child', 'structure', singleChild()],
  ['a list of blobs that lacks one', 'structure', shortList()],
]

function isChunk({ cid }: CarBlock): boolean {
  return cid.code === CODEC_RAW
}

function isSegments({ cid, bytes }: CarBlock): boolean {
  return cid.code === CODEC_DAG_CBOR && bytes[0] === 0xa2
}

function changed(is: (block: CarBlock) => boolean): (block: CarBlock) => CarBlock {
  return (block) => {
    if (!is(block)) return block
    const bytes = Uint8Array.from(block.bytes)
    bytes[bytes.length - 1]! ^= 1
    return { cid: block.cid, bytes }
  }
}

function notCanonical(): Uint8Array {
  // The first number is written in two bytes where one is enough.
  const at = Buffer.from(manifest.bytes).indexOf(Buffer.concat([Buffer.from('version'), Uint8Array.of(1)])) + 7
  const bytes = Buffer.concat([manifest.bytes.subarray(0, at), Uint8Array.of(0x18, 1), manifest.bytes.subarray(at + 1)])
  const root = blockOf(CODEC_DAG_CBOR, bytes)
  return encodeCar({ roots: [root.cid], blocks: [root, ...below] })
}

/** A second blob is the first chunk of the first one, one byte longer. */
function twoLengths(): Uint8Array {
  const chunk = below.find(isChunk)!
  return withManifest((blobs) => {
    const root = { codec: CODEC_RAW, digest: chunk.cid.multihash.digest } as const
    blobs.set('aa', { root, size: chunk.bytes.length - 1, chunking: { kind: 'fixed', size: 512 } })
  })
}

function wrongSegments(): Uint8Array {
  const block = blockOf(CODEC_DAG_CBOR, encodeSegments(blake3(noise(10, 1))))
  const at = below.findIndex(isSegments)
  return withManifest(
    (blobs) => Object.assign(blobs.get('a')!, { segments: block.cid.multihash.digest }),
    [...below.slice(0, at), block, ...below.slice(at + 1)],
  )
}

function singleChild(): Uint8Array {
  const at = below.findIndex(({ cid }) => cid.code === CODEC_DAG_CBOR)
  const node = blockOf(CODEC_DAG_CBOR, encode([[60_000, below[at]!.cid]]))
  return withManifest(
    (blobs) => Object.assign(blobs.get('a')!, { root: { codec: CODEC_DAG_CBOR, digest: node.cid.multihash.digest } }),
    [...below.slice(0, at), node, ...below.slice(at)],
  )
}

/** 300 blobs are in a list, of which the first leaf goes. */
function shortList(): Uint8Array {
  const empty = blockOf(CODEC_RAW, new Uint8Array(0))
  const entry: BlobEntry = {
    root: { codec: CODEC_RAW, digest: empty.cid.multihash.digest },
    size: 0,
    chunking: { kind: 'fixed', size: 512 },
  }
  const whole = encodeManifest({
    blobs: new Map(Array.from({ length: 300 }, (_, i) => [`blob ${i}`, entry])),
    metadata: {},
  })
  const list = whole.list.map(({ block }) => blockOf(CODEC_DAG_CBOR, block))
  const leaves = list.slice(0, -1)
  const link = (block: CarBlock, count: number): unknown => [count, block.cid]
  // The count of the root is that of all, and the second leaf is named in place of the first one.
  const root = blockOf(CODEC_DAG_CBOR, encode([link(leaves[1]!, 10), link(leaves[2]!, 290)]))
  const top = blockOf(
    CODEC_DAG_CBOR,
    encode({ format: 'holdfast-manifest', version: 2, blobs: [300, root.cid], metadata: {} }),
  )
  return encodeCar({ roots: [top.cid], blocks: [top, root, leaves[1]!, empty, leaves[2]!] })
}

test.each(FILES)('a file with %s is refused, and nothing changes (%s)', async (_what, reason, car) => {
  const path = join(quickScratch(), 'store')
  await using store = await openStore(path)
  await store.persist({ blobs: { a: 'what was there before' } })
  const head = readFileSync(join(path, 'HEAD.json'))
  const packs = readdirSync(join(path, 'packs'))
  const error = await rejects(importCar(store, car), 'CAR_INVALID')
  expect(error.details.reason, error.message).toBe(reason)
  expect(error.kind).toBe('input')
  expect(readFileSync(join(path, 'HEAD.json')).equals(head)).toBe(true)
  expect(readdirSync(join(path, 'packs'))).toEqual(packs)
  expect(readdirSync(join(path, 'tmp'))).toEqual([])
  await importCar(store, encodeCar(good))
  expect(await store.verify()).toMatchObject({ ok: true, problems: [] })
})

test('a manifest of a newer version is no damage', async () => {
  await using store = memory()
  const car = withRoot({ format: 'holdfast-manifest', version: 3, blobs: {}, metadata: {} })
  await rejects(importCar(store, car), 'VERSION_UNSUPPORTED')
})

/** A few hundred bytes, so that each of them can be tried. */
async function smallCar(): Promise<Uint8Array> {
  await using store = memory()
  const blobs = { a: { source: noise(1024, 1), chunking: fixed(512) }, b: '' }
  await store.persist({ blobs })
  await using snapshot = (await store.load())!
  return await collect(exportCar(snapshot))
}

test('every file that is cut short is refused', async () => {
  await using store = memory()
  const car = await smallCar()
  const lengths = new Set([0, ...sample('cut CAR files', [...car.keys()], car.length / 5), car.length - 1])
  for (const length of lengths) await rejects(importCar(store, car.subarray(0, length)), 'CAR_INVALID')
  expect(await store.snapshots()).toEqual([])
})

test('every file with another byte in it is refused', async () => {
  await using store = memory()
  const car = await smallCar()
  for (const at of sample('wrong CAR files', [...car.keys()], car.length / 5)) {
    const wrong = Uint8Array.from(car)
    wrong[at]! ^= 1 << (at % 8)
    await rejects(importCar(store, wrong), 'CAR_INVALID')
  }
  expect(await store.snapshots()).toEqual([])
  await importCar(store, car)
})

test('a few blocks that stand for a terabyte are imported in no time, and exported again', async () => {
  const zeros = new Uint8Array(4096)
  const chunk = blockOf(CODEC_RAW, zeros)
  const nodes: CarBlock[] = []
  // Each level names the one below hundreds of times.
  let child = { ...chunk, length: 4096 }
  for (let level = 0; level < 3; level++) {
    const node = blockOf(CODEC_DAG_CBOR, encode(Array.from({ length: 700 }, () => [child.length, child.cid])))
    nodes.unshift(node)
    child = { ...node, length: child.length * 700 }
  }
  const size = child.length
  const segments = blockOf(CODEC_DAG_CBOR, encodeSegments(new Uint8Array(32 * Math.ceil(size / 4_194_304))))
  const root = blockOf(
    CODEC_DAG_CBOR,
    encodeManifest({
      blobs: new Map([
        [
          'zeros',
          {
            root: { codec: CODEC_DAG_CBOR, digest: nodes[0]!.cid.multihash.digest },
            size,
            segments: segments.cid.multihash.digest,
            chunking: { kind: 'fixed', size: 4096 },
          },
        ],
      ]),
      metadata: {},
    }).block,
  )
  const car = encodeCar({ roots: [root.cid], blocks: [root, ...nodes, chunk, segments] })
  await using store = memory()
  await importCar(store, car)
  await using snapshot = (await store.load())!
  expect(snapshot.size).toBe(4096 * 700 ** 3)
  expect(sameBytes(await collect(exportCar(snapshot)), car)).toBe(true)
})

test('a tree that is deeper than the format allows is refused', async () => {
  const chunks = [noise(512, 1), noise(512, 2)].map((bytes) => blockOf(CODEC_RAW, bytes))
  let node = blockOf(CODEC_DAG_CBOR, encode(chunks.map(({ cid }) => [512, cid])))
  const nodes = [node]
  for (let level = 0; level < 9; level++) {
    node = blockOf(CODEC_DAG_CBOR, encode([[1024, node.cid]]))
    nodes.unshift(node)
  }
  const car = withManifest(
    (blobs) => {
      blobs.get('a')!.root = { codec: CODEC_DAG_CBOR, digest: node.cid.multihash.digest }
      blobs.get('a')!.size = 1024
    },
    [...nodes, ...chunks],
  )
  await using store = memory()
  const { details, message } = await rejects(importCar(store, car), 'CAR_INVALID')
  expect([details.reason, message]).toEqual(['structure', expect.stringContaining('deeper')])
})

test('a source that fails, stalls or is no source leaves no lock', async () => {
  await using store = memory({ lockWaitMs: 100 })
  const car = encodeCar(good)
  async function* failing(): AsyncGenerator<Uint8Array> {
    yield car.subarray(0, 1000)
    throw new Error('the line is dead')
  }
  const error = await rejects(importCar(store, failing()), 'SOURCE_FAILED')
  expect(error.message).toContain('the line is dead')

  const abort = new AbortController()
  const reason = new Error('enough')
  async function* stalling(): AsyncGenerator<Uint8Array> {
    yield car.subarray(0, 1000)
    setTimeout(() => abort.abort(reason), 20)
    await new Promise(() => undefined)
  }
  expect(await failure(importCar(store, stalling(), { signal: abort.signal }))).toBe(reason)
  await rejects(importCar(store, { file: '/does/not/exist.car' }), 'IO_FAILED')
  expect(await failure(importCar(store, 7 as never))).toBeInstanceOf(TypeError)
  expect(await failure(importCar({} as never, car))).toBeInstanceOf(TypeError)
  expect((await importCar(store, car)).sequence).toBe(1)
})

// `createDagBuilder` says what the nodes above are like when holdfast makes them.
test('the nodes of these tests are nodes', () => {
  const made: Uint8Array[] = []
  const builder = createDagBuilder((block) => void made.push(block))
  for (const n of [1, 2]) builder.push(512, blake3(noise(512, n)), 0)
  builder.finish()
  const chunks = [1, 2].map((n) => [512, blockOf(CODEC_RAW, noise(512, n)).cid])
  expect(sameBytes(made[0]!, encode(chunks))).toBe(true)
})
