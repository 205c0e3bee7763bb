import { blake3 } from '../../src/format/blake3.ts'
import { type BlockId, CODEC_DAG_CBOR, CODEC_RAW, type Codec, cidOf, cidText } from '../../src/format/cid.ts'
import { encodeHead } from '../../src/format/head.ts'
import { fromHex, toHex } from '../../src/format/hex.ts'
import { ENTRY_BYTES, FANOUT_BYTES, FOOTER_BYTES } from '../../src/format/limits.ts'
import { encodePackHeader, KIND } from '../../src/format/pack.ts'
import { encodeStoreFile } from '../../src/format/store-file.ts'
import { encodeValue } from '../../src/format/value.ts'
import type { Files } from './reading-store.ts'

// Stores made by somebody who means harm: every checksum is right, and what it covers is not. Nothing here asserts
// anything, as the encoders of `src/format/` do.

const storeId = 'ab'.repeat(16)
const time = '2026-01-02T03:04:05.678Z'

/** A block as it lies in the pack and as the index describes it; defaults make it an honest one. */
export interface CraftedBlock {
  bytes: Uint8Array
  codec?: Codec
  kind?: number
  /** What lies in the pack in place of `bytes`. */
  stored?: Uint8Array
  compression?: number
  /** What the index says. */
  digest?: Uint8Array
  rawLength?: number
  storedLength?: number
  offset?: number
  reserved?: number
  check?: Uint8Array
}

export function chunk(bytes: Uint8Array): CraftedBlock {
  return { bytes, codec: CODEC_RAW, kind: KIND.chunk }
}

/** A dag-cbor block, from a value or from bytes. */
export function cbor(value: unknown, kind: number = KIND.node): CraftedBlock {
  return { bytes: value instanceof Uint8Array ? value : encodeValue(value, 'crafted'), codec: CODEC_DAG_CBOR, kind }
}

export function idOf({ bytes, codec = CODEC_RAW }: CraftedBlock): BlockId {
  return { codec, digest: blake3(bytes) }
}

export function linkTo(block: CraftedBlock): ReturnType<typeof cidOf> {
  return cidOf(idOf(block))
}

/** `[length, link]` for each child. */
export function node(children: readonly (readonly [number, CraftedBlock])[]): CraftedBlock {
  return cbor(children.map(([length, child]) => [length, linkTo(child)]))
}

export function segments(...digests: Uint8Array[]): CraftedBlock {
  return cbor({ length: 4_194_304, digests: new Uint8Array(Buffer.concat(digests)) }, KIND.segments)
}

/** An honest manifest but for what `blobs` says. */
export function manifest(blobs: Record<string, object>, rest: object = {}): CraftedBlock {
  return cbor({ format: 'holdfast-manifest', version: 1, blobs, metadata: {}, ...rest }, KIND.manifest)
}

export interface CraftOptions {
  /** Changes the pack before it is sealed. */
  tamper?: (parts: { header: Uint8Array; index: Uint8Array; footer: Uint8Array }) => void
  /** Keeps the order in which the blocks were given, in place of ascending digests. */
  unsorted?: boolean
  /** A snapshot before it, which is sound. */
  older?: boolean
}

/** A store whose current snapshot has this manifest, all in one pack. */
export function craftStore(top: CraftedBlock, blocks: readonly CraftedBlock[], options: CraftOptions = {}): Files {
  const packs = [craftPack([...blocks, top], options)]
  const snapshots = [snapshotOf(2, top, [1])]
  if (options.older === true) {
    const honest = chunk(Buffer.from('the older one'))
    const olderTop = manifest({
      blob: { root: linkTo(honest), size: 13, chunking: { kind: 'content', average: 16_384 } },
    })
    packs.push(craftPack([honest, olderTop], {}))
    snapshots.push(snapshotOf(1, olderTop, [2]))
  }
  return filesWith(packs, snapshots)
}

/**
 * A store whose current snapshot needs all of these packs. Its manifest is in the first one, and the last one is looked
 * into next.
 */
export function craftStoreOf(top: CraftedBlock, packs: readonly CraftedPack[]): Files {
  return filesWith(packs, [
    snapshotOf(
      2,
      top,
      packs.map((_, i) => i + 1),
    ),
  ])
}

function filesWith(packs: readonly CraftedPack[], snapshots: readonly ReturnType<typeof snapshotOf>[]): Files {
  const head = encodeHead({
    storeId,
    revision: 2,
    sequence: 2,
    current: 2,
    snapshots: [...snapshots],
    packs: packs.map(({ name, bytes }, i) => ({ id: i + 1, name, bytes: bytes.length, blocks: 1, live: null })),
    retired: [],
    damaged: [],
    writes: [],
  })
  return new Map([
    ['STORE.json', encodeStoreFile({ storeId, created: time })],
    ['HEAD.json', head],
    ...packs.map(({ name, bytes }): [string, Uint8Array] => [`packs/${name}.pack`, bytes]),
  ])
}

function snapshotOf(sequence: number, top: CraftedBlock, packs: readonly number[]) {
  const text = cidText(idOf(top))
  return { sequence, manifest: text, time, tags: [], abandoned: false, pack: packs[0]!, packs: [...packs], size: 0 }
}

export interface CraftedPack {
  name: string
  bytes: Uint8Array
}

/** A pack of these blocks, sealed. `header`: 64 bytes, by default those of the store that `craftStore` makes. */
export function craftPack(
  blocks: readonly CraftedBlock[],
  options: CraftOptions,
  header: Uint8Array = encodePackHeader({ storeId: fromHex(storeId, 16), revision: 2, nonce: new Uint8Array(16) }),
): CraftedPack {
  const data: Uint8Array[] = []
  let position = header.length
  const entries = blocks.map((block) => {
    const stored = block.stored ?? block.bytes
    const entry = new Uint8Array(ENTRY_BYTES)
    const view = new DataView(entry.buffer)
    entry.set(block.digest ?? blake3(block.bytes))
    view.setUint32(32, block.offset ?? position, true)
    view.setUint32(36, block.storedLength ?? stored.length, true)
    view.setUint32(40, block.rawLength ?? block.bytes.length, true)
    entry[44] = block.codec ?? CODEC_RAW
    entry[45] = block.compression ?? 0
    entry[46] = block.kind ?? KIND.chunk
    entry[47] = block.reserved ?? 0
    if (block.compression !== undefined) entry.set(block.check ?? blake3(stored).subarray(0, 8), 48)
    data.push(stored)
    position += stored.length
    return entry
  })
  if (options.unsorted !== true) entries.sort((a, b) => Buffer.compare(a.subarray(0, 32), b.subarray(0, 32)))
  const index = new Uint8Array(FANOUT_BYTES + ENTRY_BYTES * entries.length)
  for (const [i, entry] of entries.entries()) index.set(entry, FANOUT_BYTES + i * ENTRY_BYTES)
  const fanout = new DataView(index.buffer)
  const counts = new Uint32Array(256)
  for (const entry of entries) counts[entry[0]!]! += 1
  let upTo = 0
  for (let byte = 0; byte < 256; byte++) {
    upTo += counts[byte]!
    fanout.setUint32(4 * byte, upTo, true)
  }
  const footer = new Uint8Array(FOOTER_BYTES)
  const view = new DataView(footer.buffer)
  view.setBigUint64(0, BigInt(position), true)
  view.setBigUint64(8, BigInt(index.length), true)
  view.setUint32(16, entries.length, true)
  footer.set([0x0a, 0x4b, 0x43, 0x41, 0x50, 0x46, 0x48, 0x89], 56)
  options.tamper?.({ header, index, footer })
  const digest = blake3(Buffer.concat([header, index]))
  footer.set(digest, 24)
  return { name: toHex(digest), bytes: new Uint8Array(Buffer.concat([header, ...data, index, footer])) }
}
