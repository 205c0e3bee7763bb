// Small stores that ask for much: time or memory without a bound. Every checksum is right. The size of each is drawn by
// the seed, up to the largest that is listed here.

import { blake3 } from '../../../src/format/blake3.ts'
import { compressBlock } from '../../../src/format/compress.ts'
import { toHex } from '../../../src/format/hex.ts'
import { KIND } from '../../../src/format/pack.ts'
import { noise } from '../../support/bytes.ts'
import { type CraftedBlock, cbor, chunk, craftStore, linkTo, manifest, node, segments } from '../../support/craft.ts'
import { filesOf } from '../../support/lab.ts'
import type { Random } from '../../support/random.ts'
import { baseStores } from './base-stores.ts'
import { type Json, putTogether, takeApart } from './take-apart.ts'

type Files = ReadonlyMap<string, Uint8Array>
/** `size`: from 0 to 1, the largest. */
type Bomb = (size: number, random: Random) => Files | Promise<Files>

const chunking = { kind: 'fixed', size: 512 }
const honest = chunk(noise(512, 1))

export const BOMBS: Readonly<Record<string, Bomb>> = {
  'a CID of many digits': (size) =>
    headOf((head) => {
      const [snapshot] = head.snapshots as Json[]
      snapshot!.manifest = `b${'a'.repeat(200_000 * size)}`
    }),
  'a pack of many names': (size) =>
    headOf((head) => {
      const [pack] = head.packs as Json[]
      pack!.name = 'ab'.repeat(1_000_000 * size)
    }),
  '`requires` nested deep': async (size) => {
    const files = new Map(filesOf((await baseStores())[0]!.image))
    const deep = `${'['.repeat(10_000 * size)}${']'.repeat(10_000 * size)}`
    for (const name of ['STORE.json', 'HEAD.json', 'HEAD.prev.json']) {
      files.set(name, resealed(files.get(name)!, '"requires": []', `"requires": ${deep}`))
    }
    return files
  },
  'many wrong entries in HEAD': (size) =>
    headOf((head) => {
      head.writes = Array.from({ length: 1_000_000 * size }, () => 7)
    }),
  'many wrong packs in HEAD': (size) =>
    headOf((head) => {
      head.packs = Array.from({ length: 100_000 * size }, (_, id) => ({ id: -1 - id }))
    }),
  'many unknown fields in HEAD': (size) =>
    headOf((head) => {
      for (let i = 0; i < 50_000 * size; i++) head[`f${i}`] = 0
    }),
  'many packs that are not there': (size) =>
    headOf((head) => {
      const packs = head.packs as Json[]
      for (let id = 100; id < 5_000 * size; id++) {
        packs.push({ id, name: id.toString(16).padStart(64, '0'), bytes: 4_000, blocks: 2, live: null })
      }
    }),
  'many compressed blocks of no bytes': (size) => {
    const blocks = Array.from(
      { length: 200_000 * size },
      (_, i): CraftedBlock => ({
        ...chunk(new Uint8Array(0)),
        digest: digestOf(i),
        compression: 1,
        check: new Uint8Array(8),
      }),
    )
    return withBlocks(blocks)
  },
  'many blocks over the same bytes': (size) => {
    const frame = compressBlock(new Uint8Array(16_777_216))!.slice()
    const blocks = Array.from(
      { length: 20_000 * size },
      (_, i): CraftedBlock => ({
        ...chunk(new Uint8Array(0)),
        digest: digestOf(i),
        stored: i === 0 ? frame : new Uint8Array(0),
        offset: 64,
        storedLength: frame.length,
        rawLength: 16_777_216,
        compression: 1,
        check: blake3(frame).subarray(0, 8),
      }),
    )
    return withBlocks(blocks)
  },
  'nodes that name each other many times': (size) => {
    const blocks = [honest]
    let [below, total] = [honest, 512]
    for (let level = 0; level < 3; level++) {
      const [child, length] = [below, total]
      const children = Math.max(2, Math.floor(1_000 * size))
      below = node(Array.from({ length: children }, () => [length, child] as const))
      total *= children
      blocks.push(below)
    }
    return treeOf(below, total, blocks)
  },
  'two nodes below each other, many levels': (size) => {
    const blocks = [honest]
    let [below, total] = [honest, 512]
    for (let level = 0; level < 7; level++) {
      const [child, length] = [below, total]
      const children = 2 + Math.floor(20 * size)
      below = node(Array.from({ length: children }, () => [length, child] as const))
      total *= children
      blocks.push(below)
    }
    return treeOf(below, total, blocks)
  },
  'metadata of many empty things': (size) => metadataOf(16_000_000 * size, 0x40),
  'metadata of many empty lists': (size) => metadataOf(16_000_000 * size, 0x80),
  'metadata of many empty maps': (size) => metadataOf(8_000_000 * size, 0xa0),
  'a chunk that grows much': () => {
    const zeros = chunk(new Uint8Array(16_777_216))
    const large = { ...zeros, stored: compressBlock(zeros.bytes)!.slice(), compression: 1 }
    const blob = { root: linkTo(large), size: 16_777_216, chunking: { kind: 'fixed', size: 16_777_216 } }
    return craftStore(manifest({ large: blob }), [large])
  },
}

/** A sealed JSON file with another text in the place of one, and a checksum for it. */
function resealed(bytes: Uint8Array, from: string, to: string): Uint8Array {
  const covered = Buffer.from(bytes)
    .toString()
    .replace(/"checksum": .*/s, '')
    .replace(from, to)
  return Buffer.from(`${covered}"checksum": "${toHex(blake3(Buffer.from(covered)))}"\n}\n`)
}

async function headOf(change: (head: Json) => void): Promise<Files> {
  const [base] = await baseStores()
  const loose = takeApart(filesOf(base!.image))
  change(loose.json.get('HEAD.json')!)
  return putTogether(loose)
}

function digestOf(i: number): Uint8Array {
  const digest = new Uint8Array(32)
  new DataView(digest.buffer).setUint32(0, i * 21_000)
  new DataView(digest.buffer).setUint32(4, i)
  return digest
}

function withBlocks(blocks: readonly CraftedBlock[]): Files {
  return craftStore(manifest({ one: { root: linkTo(honest), size: 512, chunking } }), [honest, ...blocks])
}

function treeOf(root: CraftedBlock, size: number, blocks: CraftedBlock[]): Files {
  const count = Math.max(1, Math.ceil(size / 4_194_304))
  const list = count < 100_000 ? segments(...Array.from({ length: count }, () => new Uint8Array(32))) : segments()
  const blob = { root: linkTo(root), size, segments: linkTo(list), chunking }
  return craftStore(manifest({ blob }), [...blocks, list])
}

/** The bytes of a manifest whose metadata is a list of so many items of one byte each. */
function metadataOf(count: number, item: number): Files {
  const items = Math.floor(Math.min(count, 16_777_216 - 200))
  const before = cbor(
    { format: 'holdfast-manifest', version: 1, blobs: {}, metadata: { x: 'ITEMS' } },
    KIND.manifest,
  ).bytes
  const at = Buffer.from(before).indexOf('eITEMS')
  const list = new Uint8Array(5 + items).fill(item)
  list[0] = 0x9a
  new DataView(list.buffer).setUint32(1, items)
  const bytes = Buffer.concat([before.subarray(0, at), list, before.subarray(at + 6)])
  return craftStore(cbor(new Uint8Array(bytes), KIND.manifest), [])
}
