// Takes a store apart into values that a lie can change, and puts it together again with every checksum, CID and
// reference right. The only thing wrong with what it makes is what was changed.

import { CID } from 'multiformats/cid'
import { blake3 } from '../../../src/format/blake3.ts'
import { blockId, CODEC_DAG_CBOR, type Codec, cidOf, cidText } from '../../../src/format/cid.ts'
import { compressBlock, decompressBlock } from '../../../src/format/compress.ts'
import { fromHex, toHex } from '../../../src/format/hex.ts'
import { openJson, sealJson } from '../../../src/format/json-file.ts'
import { FOOTER_BYTES, HEADER_BYTES } from '../../../src/format/limits.ts'
import { parsePackFooter, parsePackIndex } from '../../../src/format/pack.ts'
import { decodeValue, encodeValue } from '../../../src/format/value.ts'
import { type CraftedBlock, craftPack } from '../../support/craft.ts'

/** What a block says. Copies of one block in several packs share it. */
export interface Content {
  /** Hex digest that it had. Links name it by this until the store is sealed. */
  was: string
  codec: Codec
  kind: number
  bytes: Uint8Array
  /** Of dag-cbor: decoded. Sealing encodes it anew. */
  value?: unknown
}

export interface Copy {
  content: Content
  compressed: boolean
  /** What the index says in place of the truth, and the bytes that lie there. */
  lie: Partial<CraftedBlock>
}

export interface LoosePack {
  was: string
  wasBytes: number
  /** 64 bytes. */
  header: Uint8Array
  copies: Copy[]
}

export type Json = Record<string, unknown>

export interface LooseStore {
  /** STORE.json, HEAD.json and HEAD.prev.json. */
  json: Map<string, Json>
  packs: LoosePack[]
  contents: Map<string, Content>
}

export type StoreFiles = ReadonlyMap<string, Uint8Array>

const JSON_FILES = ['STORE.json', 'HEAD.json', 'HEAD.prev.json']

export function takeApart(files: StoreFiles): LooseStore {
  const loose: LooseStore = { json: new Map(), packs: [], contents: new Map() }
  for (const [path, bytes] of files) {
    if (JSON_FILES.includes(path)) {
      const opened = openJson(bytes)
      if (opened.ok) loose.json.set(path, opened.fields)
    } else if (path.startsWith('packs/')) loose.packs.push(takePackApart(path, bytes, loose.contents))
  }
  return loose
}

function takePackApart(path: string, bytes: Uint8Array, contents: Map<string, Content>): LoosePack {
  const was = path.slice('packs/'.length, -'.pack'.length)
  const footer = bytes.slice(-FOOTER_BYTES)
  const header = bytes.slice(0, HEADER_BYTES)
  const { indexOffset, indexBytes } = parsePackFooter(footer, bytes.length, path)
  const raw = bytes.slice(indexOffset, indexOffset + indexBytes)
  const storeId = bytes.slice(16, 32)
  const index = parsePackIndex({ name: was, header, index: raw, footer, fileBytes: bytes.length, storeId, where: path })
  // As they were written: the order of digests depends on the time in commit records.
  const order = Array.from({ length: index.blocks }, (_, i) => i).toSorted((a, b) => index.offset(a) - index.offset(b))
  const copies = order.map((i): Copy => {
    const digest = toHex(index.digest(i))
    const stored = bytes.slice(index.offset(i), index.offset(i) + index.storedLength(i))
    const compressed = index.compression(i) === 1
    let content = contents.get(digest)
    if (content === undefined) {
      const block = compressed ? decompressBlock(stored, index.rawLength(i)).slice() : stored
      content = { was: digest, codec: index.codec(i) as Codec, kind: index.kind(i), bytes: block }
      if (content.codec === CODEC_DAG_CBOR) content.value = decodeValue(block, 80)
      contents.set(digest, content)
    }
    return { content, compressed, lie: {} }
  })
  return { was, wasBytes: bytes.length, header, copies }
}

/** The files of the store, sealed. Throws when a lie cannot be written down, which is none that a store could hold. */
export function putTogether(loose: LooseStore): Map<string, Uint8Array> {
  const seal = createSeal(loose)
  const files = new Map<string, Uint8Array>()
  for (const pack of loose.packs) {
    const { name, bytes } = seal.pack(pack)
    files.set(`packs/${name}.pack`, bytes)
  }
  for (const [path, fields] of loose.json) files.set(path, sealJson(seal.json(fields) as Json))
  return files
}

/**
 * Digests and names as they are once everything below has been sealed. What names itself keeps the name that it had.
 */
function createSeal({ packs, contents }: LooseStore) {
  const digests = new Map<Content, Uint8Array>()
  const sealed = new Map<LoosePack, { name: string; bytes: Uint8Array }>()
  const underWay = new Set<object>()
  const packNamed = new Map(packs.map((pack) => [pack.was, pack]))
  const texts = new Map<string, Content>()
  for (const content of contents.values()) {
    texts.set(cidText({ codec: content.codec, digest: fromHex(content.was, 32) }), content)
  }

  function digestOf(content: Content): Uint8Array {
    const known = digests.get(content)
    if (known !== undefined) return known
    if (underWay.has(content)) return fromHex(content.was, 32)
    underWay.add(content)
    if (content.value !== undefined) content.bytes = encodeValue(relinked(content.value), 'lie')
    underWay.delete(content)
    const digest = blake3(content.bytes)
    digests.set(content, digest)
    return digest
  }

  function relinked(value: unknown): unknown {
    if (value instanceof CID) {
      const { codec, digest } = blockId(value)
      const target = contents.get(toHex(digest))
      return target === undefined ? value : cidOf({ codec, digest: digestOf(target) })
    }
    if (value instanceof Uint8Array) {
      const target = value.length === 32 ? packNamed.get(toHex(value)) : undefined
      return target === undefined ? value : fromHex(packOf(target).name, 32)
    }
    if (Array.isArray(value)) return inOrder(value.map(relinked), value)
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([key, inside]) => [key, relinked(inside)]))
  }

  function packOf(pack: LoosePack): { name: string; bytes: Uint8Array } {
    const known = sealed.get(pack)
    if (known !== undefined) return known
    if (underWay.has(pack)) return { name: pack.was, bytes: new Uint8Array(0) }
    underWay.add(pack)
    const blocks = pack.copies.map((copy): CraftedBlock => {
      const { content, compressed, lie } = copy
      const digest = digestOf(content)
      const stored = compressed && lie.stored === undefined ? compressBlock(content.bytes) : null
      const { bytes, codec, kind } = content
      const packed = stored === null ? {} : { stored: stored.slice(), compression: 1 }
      return { bytes, codec, kind: kind as number, digest, ...packed, ...lie }
    })
    underWay.delete(pack)
    const made = craftPack(blocks, {}, pack.header)
    sealed.set(pack, made)
    return made
  }

  function json(value: unknown): unknown {
    if (typeof value === 'string') return renamed(value)
    if (Array.isArray(value)) return value.map(json)
    if (typeof value !== 'object' || value === null) return value
    const changed = Object.fromEntries(Object.entries(value).map(([key, inside]) => [key, json(inside)]))
    const pack = packNamed.get((value as { name?: string }).name ?? '')
    // A length that nobody lied about is that of the pack as it is now.
    if (pack !== undefined && changed.bytes === pack.wasBytes) changed.bytes = packOf(pack).bytes.length
    return changed
  }

  function renamed(text: string): string {
    const pack = packNamed.get(text)
    if (pack !== undefined) return packOf(pack).name
    const linked = texts.get(text)
    if (linked !== undefined) return cidText({ codec: linked.codec, digest: digestOf(linked) })
    const content = contents.get(text)
    return content === undefined ? text : toHex(digestOf(content))
  }

  return { pack: packOf, json }
}

/** Lists of pack names ascend. A list that did, does. */
function inOrder(now: unknown[], before: unknown[]): unknown[] {
  const isNames = now.length > 1 && now.every((item) => item instanceof Uint8Array && item.length === 32)
  if (!isNames) return now
  const names = before as Uint8Array[]
  const ascended = names.every((name, i) => i === 0 || Buffer.compare(names[i - 1]!, name) < 0)
  return ascended ? (now as Uint8Array[]).toSorted(Buffer.compare) : now
}
