import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { blake3 } from '../../src/format/blake3.ts'
import { decodeListBlock } from '../../src/format/blob-list.ts'
import { content } from '../../src/format/chunking.ts'
import { CODEC_DAG_CBOR, type Codec, cidText } from '../../src/format/cid.ts'
import { decodeCommit, encodeCommit } from '../../src/format/commit.ts'
import { decodeNode } from '../../src/format/dag.ts'
import { parseHead } from '../../src/format/head.ts'
import { fromHex, toHex } from '../../src/format/hex.ts'
import { decodeManifest } from '../../src/format/manifest.ts'
import { parsePackIndex } from '../../src/format/pack.ts'
import { decodeSegments } from '../../src/format/segments.ts'
import { parseStoreFile } from '../../src/format/store-file.ts'
import {
  type ChunkingVector,
  chunkingVector,
  cutAll,
  type DagVector,
  dagVector,
  inputBytes,
  type JsonVector,
  jsonVector,
  type ListVector,
  listVector,
  manyBlobs,
  type PackVector,
  packVector,
  type RecordVector,
  recordVector,
  sampleHead,
  sampleManifest,
} from '../vectors/compute.ts'

// The committed files are what stores out there look like. When one of these tests fails, the code has changed the
// format: change the code back, or the format's version. Never run `make.ts` to make them pass.

function committed<Vector>(name: string): Vector {
  return JSON.parse(readFileSync(new URL(`../vectors/${name}`, import.meta.url), 'utf8')) as Vector
}

const bytesOf = (hex: string): Uint8Array => fromHex(hex, hex.length / 2)

test('the Gear table and the chunk boundaries are the committed ones', () => {
  const vector = committed<ChunkingVector>('chunking.json')
  for (const { chunking, input, lengths } of vector.cuts) expect(cutAll(inputBytes(input), chunking)).toEqual(lengths)
  const chunkings = [...new Map(vector.cuts.map(({ chunking }) => [JSON.stringify(chunking), chunking])).values()]
  expect(chunkings.length).toBe(5)
  expect(chunkingVector(chunkings)).toEqual(vector)
})

test('nodes and roots are the committed ones', () => {
  const vector = committed<DagVector>('dag.json')
  expect(dagVector()).toEqual(vector)
  for (const { nodes, root, size } of vector.blobs) {
    const last = nodes.at(-1)
    if (last === undefined) continue
    expect(decodeNode(bytesOf(last), 'vector').total).toBe(size)
    expect(cidText({ codec: CODEC_DAG_CBOR, digest: blake3(bytesOf(last)) })).toBe(root)
  }
})

test('segments, manifest and commit record are the committed ones, and are read from them', () => {
  const vector = committed<RecordVector>('records.json')
  expect(recordVector()).toEqual(vector)
  expect(decodeManifest(bytesOf(vector.manifest.block))).toEqual(sampleManifest)
  expect(decodeCommit(bytesOf(vector.commit.block))).toMatchObject({ sequence: 3, message: 'nightly' })
  expect(decodeSegments(bytesOf(vector.segments.block), vector.segments.size, 'vector').length).toBe(96)
})

test('a blob list is the committed one, and is read from it', () => {
  const vector = committed<ListVector>('blob-list.json')
  expect(listVector()).toEqual(vector)
  const manifest = decodeManifest(bytesOf(vector.manifest.block))
  expect(manifest).toEqual({
    list: { count: 3_000, digest: blake3(bytesOf(vector.root)) },
    metadata: manyBlobs.metadata,
  })
  const root = decodeListBlock(bytesOf(vector.root))
  expect('children' in root && root.children.reduce((sum, { count }) => sum + count, 0)).toBe(3_000)
  const first = decodeListBlock(bytesOf(vector.first))
  for (const [name, entry] of 'entries' in first ? first.entries : []) expect(manyBlobs.blobs.get(name)).toEqual(entry)
})

test('a pack is the committed one, and is read from it', () => {
  const vector = committed<PackVector>('pack.json')
  expect(packVector()).toEqual(vector)
  const index = parsePackIndex({
    name: vector.name,
    header: bytesOf(vector.header),
    index: bytesOf(vector.fanout + vector.entries),
    footer: bytesOf(vector.footer),
    fileBytes: 64 + 8 + 1024 + 2 * 56 + 64,
    storeId: bytesOf(vector.storeId),
    where: 'vector',
  })
  for (const { text, digest, offset, length } of vector.blocks) {
    const i = index.find(bytesOf(digest), 0)
    expect([index.offset(i), index.storedLength(i)]).toEqual([offset, length])
    expect(
      Buffer.from(bytesOf(vector.data))
        .toString()
        .slice(offset - 64, offset - 64 + length),
    ).toBe(text)
    expect(toHex(blake3(Buffer.from(text)))).toBe(digest)
  }
})

test('STORE.json and HEAD.json are the committed ones, and are read from them', () => {
  const vector = committed<JsonVector>('json-files.json')
  expect(jsonVector()).toEqual(vector)
  expect(parseStoreFile(Buffer.from(vector.store), 'STORE.json').storeId).toBe(sampleHead.storeId)
  expect(parseHead(Buffer.from(vector.head), 'HEAD.json')).toEqual({ head: sampleHead, unknown: [] })
})

test('the worked example of docs/format.md is the committed one', () => {
  const page = readFileSync(new URL('../../docs/format.md', import.meta.url), 'utf8')
  const example = page.slice(page.indexOf('## 9. Worked example'))
  const blocks = [...example.matchAll(/```(?:json)?\n([\s\S]*?)```/g)].map(([, text]) => text!)
  // Each line begins with hex digits, which fill 32 columns or end before the first thing that is not hex.
  const hexOf = (text: string): string => {
    const lines = text.split('\n').map((line) => /^(?:(?:[0-9a-f]{2})+(?: |$))*/.exec(line)![0])
    return lines.join('').replaceAll(' ', '')
  }
  const node = committed<DagVector>('dag.json').blobs[2]!
  expect(hexOf(blocks[0]!)).toBe(node.nodes[0])
  expect(example).toContain(node.root)
  const pack = committed<PackVector>('pack.json')
  expect(hexOf(blocks[1]!)).toBe(pack.header + pack.data + pack.entries + pack.footer)
  expect(example).toContain(pack.name)
  expect(blocks[2]).toBe(committed<JsonVector>('json-files.json').head)

  const gear = (b: number) =>
    Buffer.from(blake3(Buffer.concat([Buffer.from('holdfast gear v1'), Buffer.from([b])]))).readBigUInt64LE(0)
  for (const b of [0, 1, 255]) {
    expect(example).toContain(`\`gear[${b}]\` is \`0x${gear(b).toString(16).padStart(16, '0')}\``)
  }
  const bytes = new Uint8Array(65_536)
  for (let i = 0; i < 2048; i++) bytes.set(blake3(new Uint8Array(Uint32Array.of(i).buffer)), 32 * i)
  let end = 0
  const ends = cutAll(bytes, content({ averageBytes: 4096 })).map((length) => (end += length))
  expect(blocks[3]).toBe(`${ends.join(', ')}\n`)

  const record = Buffer.from(hexOf(blocks[4]!), 'hex')
  expect(example).toContain(`of ${record.length} bytes, with the digest\n\`${toHex(blake3(record))}\``)
  const commit = {
    store: Buffer.from(sampleHead.storeId, 'hex'),
    sequence: 1,
    manifest: { codec: CODEC_DAG_CBOR as Codec, digest: blake3(Buffer.from('manifest')) },
    time: '2025-01-31T23:59:59.999Z',
    message: 'first',
    packs: [blake3(Buffer.from('other pack'))],
  }
  expect(toHex(encodeCommit(commit))).toBe(toHex(record))
})
