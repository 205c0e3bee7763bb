import * as dagCbor from '@ipld/dag-cbor'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { blake3 } from '../../src/format/blake3.ts'
import { type BlockId, CODEC_DAG_CBOR, CODEC_RAW, cidOf, sameBlock } from '../../src/format/cid.ts'
import { createDagBuilder, decodeNode } from '../../src/format/dag.ts'
import { toHex } from '../../src/format/hex.ts'
import { BLOB_BYTES_MAX } from '../../src/format/limits.ts'
import { effort, rounds } from '../support/effort.ts'
import { expectCode } from './expect-code.ts'
import { flips, pattern, prefixes } from './pattern.ts'

interface Child {
  length: number
  id: BlockId
}

/** Chunks with made-up lengths and digests; `seed` tells them apart. */
function chunks(count: number, seed: number, lengthMax = 70_000): Child[] {
  const numbers = new DataView(pattern(count * 4, seed).buffer)
  return Array.from({ length: count }, (_, i) => ({
    length: 1 + (numbers.getUint32(i * 4) % lengthMax),
    id: { codec: CODEC_RAW, digest: blake3(Buffer.from(`${seed}:${i}`)) },
  }))
}

// Straight from docs/format.md, section 3: whole levels, one after the other, encoded by @ipld/dag-cbor.
function reference(leaves: Child[]): { root: BlockId; nodes: string[] } {
  const nodes: string[] = []
  let level = leaves
  while (level.length > 1) {
    const next: Child[] = []
    let children: Child[] = []
    level.forEach((child, i) => {
      children.push(child)
      const first = Buffer.from(child.id.digest).readUInt32BE(0)
      const full = children.length === 1024 || (children.length >= 64 && first < 0x01555555)
      if (!full && i + 1 < level.length) return
      const block = dagCbor.encode(children.map(({ length, id }) => [length, cidOf(id)]))
      const digest = blake3(block)
      nodes.push(toHex(block))
      next.push({
        length: children.reduce((sum, { length }) => sum + length, 0),
        id: { codec: CODEC_DAG_CBOR, digest },
      })
      children = []
    })
    level = next
  }
  return { root: level[0]!.id, nodes }
}

function build(leaves: Child[]): { root: BlockId; size: number; chunks: number; blocks: Uint8Array[] } {
  const blocks: Uint8Array[] = []
  const builder = createDagBuilder((block, digest) => {
    expect(digest).toEqual(blake3(block))
    blocks.push(block)
  })
  // One reused array, as a hasher would hand over.
  const scratch = new Uint8Array(40)
  for (const { length, id } of leaves) {
    scratch.set(id.digest, 5)
    builder.push(length, scratch, 5)
  }
  return { ...builder.finish(), blocks }
}

describe('building', () => {
  test('the nodes and the root are those of the specification, in every shape', () => {
    for (const count of [1, 2, 3, 63, 64, 65, 300, 1023, 1024, 1025, 5000, 40_000]) {
      for (const seed of effort === 1 || count < 2000 ? [1, 2] : [1]) {
        const leaves = chunks(count, seed)
        const expected = reference(leaves)
        const built = build(leaves)
        expect(built.blocks.map(toHex).sort(), `${count} chunks`).toEqual(expected.nodes.sort())
        expect(sameBlock(built.root, expected.root), `${count} chunks`).toBe(true)
        expect(built.chunks).toBe(count)
        expect(built.size).toBe(leaves.reduce((sum, { length }) => sum + length, 0))
      }
    }
  })

  test('a node ends at 1,024 children when no digest ends it, and at 64 when each one would', () => {
    const same = (first: number, count: number): Child[] =>
      Array.from({ length: count }, () => ({
        length: 512,
        id: { codec: CODEC_RAW, digest: new Uint8Array(32).fill(first) },
      }))
    for (const [first, count, sizes] of [
      [0xff, 2050, [1024, 1024, 2, 3]],
      [0x00, 130, [64, 64, 2, 3]],
      [0xff, 1024, [1024]],
      [0xff, 1025, [1024, 1, 2]],
    ] as const) {
      const { blocks } = build(same(first, count))
      expect(blocks.map((block) => decodeNode(block, 'test').count)).toEqual(sizes)
    }
  })

  test('the threshold is exactly 0x01555555', () => {
    const digest = (first: number): Uint8Array => {
      const bytes = new Uint8Array(32).fill(0xff)
      new DataView(bytes.buffer).setUint32(0, first)
      return bytes
    }
    const run = (first: number): number =>
      decodeNode(
        build(
          Array.from({ length: 65 }, (_, i) => ({
            length: 1,
            id: { codec: CODEC_RAW, digest: i === 63 ? digest(first) : digest(0xffffffff) },
          })),
        ).blocks[0]!,
        'test',
      ).count
    expect(run(0x01555554)).toBe(64)
    expect(run(0x01555555)).toBe(65)
  })

  test('every length takes its shortest form', () => {
    const lengths = [1, 23, 24, 255, 256, 65_535, 65_536, 16_777_216]
    const leaves = lengths.map((length, i): Child => ({ length, id: { codec: CODEC_RAW, digest: pattern(32, i) } }))
    expect(toHex(build(leaves).blocks[0]!)).toBe(reference(leaves).nodes[0])
  })

  test('a changed chunk changes one node and the path above it', () => {
    const before = chunks(40_000, 3)
    const after = before.slice()
    after.splice(20_000, 1, ...chunks(2, 4))
    const old = new Set(build(before).blocks.map(toHex))
    const fresh = build(after).blocks.filter((block) => !old.has(toHex(block)))
    expect(fresh.length).toBeLessThanOrEqual(6)
  })

  test('a blob of one chunk, or of none of the bytes, is its chunk', () => {
    const digest = blake3(new Uint8Array(0))
    expect(build([{ length: 0, id: { codec: CODEC_RAW, digest } }])).toEqual({
      root: { codec: CODEC_RAW, digest },
      size: 0,
      chunks: 1,
      blocks: [],
    })
  })

  test('misuse is a bug: no chunk, an empty chunk among others, anything after the end', () => {
    const digest = pattern(32, 1)
    expect(() => createDagBuilder(() => {}).finish()).toThrow(/bug/)
    const twice = createDagBuilder(() => {})
    twice.push(1, digest, 0)
    expect(() => twice.push(0, digest, 0)).toThrow(/bug/)
    twice.finish()
    expect(() => twice.finish()).toThrow(/bug/)
    expect(() => twice.push(1, digest, 0)).toThrow(/bug/)
    const empty = createDagBuilder(() => {})
    empty.push(0, digest, 0)
    expect(() => empty.push(1, digest, 0)).toThrow(/bug/)
    expect(() => createDagBuilder(() => {}).push(-1, digest, 0)).toThrow(/bug/)
    expect(() => createDagBuilder(() => {}).push(1.5, digest, 0)).toThrow(/bug/)
  })

  test('a blob beyond the limit is refused', () => {
    const builder = createDagBuilder(() => {})
    builder.push(BLOB_BYTES_MAX, pattern(32, 1), 0)
    expect(expectCode(() => builder.push(1, pattern(32, 1), 0), 'LIMIT_EXCEEDED')).toMatchObject({ limit: 'blobBytes' })
  })
})

describe('decoding', () => {
  const encode = (children: unknown): Uint8Array => new Uint8Array(dagCbor.encode(children))
  const raw = cidOf({ codec: CODEC_RAW, digest: pattern(32, 1) })
  const node = cidOf({ codec: CODEC_DAG_CBOR, digest: pattern(32, 2) })

  test('every node that is built is read back', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 1500 }), fc.nat(), (count, seed) => {
        const leaves = chunks(count, seed)
        const first = decodeNode(build(leaves).blocks[0]!, 'test')
        expect(first.codec).toBe(CODEC_RAW)
        expect(first.total).toBe(first.lengths.reduce((a, b) => a + b))
        for (let i = 0; i < first.count; i++) {
          expect(first.lengths[i]).toBe(leaves[i]!.length)
          expect(first.digests.slice(i * 32, i * 32 + 32)).toEqual(leaves[i]!.id.digest)
        }
      }),
      rounds(30),
    )
  })

  test('what is not exactly a node is refused, and the error says where', () => {
    const wrong: [name: string, block: Uint8Array][] = [
      ['nothing', new Uint8Array(0)],
      ['no children', encode([])],
      ['a map', encode({ a: 1 })],
      ['too many children', encode(Array.from({ length: 1025 }, () => [1, raw]))],
      [
        'children of two kinds',
        encode([
          [1, raw],
          [1, node],
        ]),
      ],
      [
        'an empty child',
        encode([
          [1, raw],
          [0, raw],
        ]),
      ],
      ['a negative length', encode([[-1, raw]])],
      ['a chunk of more than a block', encode([[16_777_217, raw]])],
      [
        'more than the largest blob',
        encode([
          [BLOB_BYTES_MAX, node],
          [1, node],
        ]),
      ],
      ['a length of 2^63', encode([[2n ** 63n, node]])],
      ['a child of three', encode([[1, raw, 1]])],
      ['a child that is no pair', encode([raw])],
      ['a link that is text', encode([[1, raw.toString()]])],
      ['bytes after it', Uint8Array.of(...encode([[1, raw]]), 0)],
      ['a count in a longer form', Uint8Array.of(0x98, 1, ...encode([[1, raw]]).subarray(1))],
      ['a length in a longer form', Uint8Array.of(0x81, 0x82, 0x18, 1, ...encode([[1, raw]]).subarray(3))],
      ['an indefinite list', Uint8Array.of(0x9f, ...encode([[1, raw]]).subarray(1), 0xff)],
      ['too many bytes', new Uint8Array(65_537).fill(0x81)],
      ['a count beyond its bytes', Uint8Array.of(0x99, 4, 0)],
    ]
    for (const [name, block] of wrong) {
      expect(
        expectCode(() => decodeNode(block, 'blob x'), 'SNAPSHOT_DAMAGED'),
        name,
      ).toMatchObject({ where: 'blob x' })
    }
  })

  test('every shortened node is refused; every flipped byte is refused, or is what it says', () => {
    const block = build([...chunks(3, 5), { length: 200, id: { codec: CODEC_RAW, digest: pattern(32, 3) } }]).blocks[0]!
    for (const bytes of prefixes(block)) expectCode(() => decodeNode(bytes, 'test'), 'SNAPSHOT_DAMAGED')
    let accepted = 0
    for (const bytes of flips(block, [1, 2, 4, 8, 16, 32, 64, 128])) {
      let children: ReturnType<typeof decodeNode>
      try {
        children = decodeNode(bytes, 'test')
      } catch (error) {
        expectCode(() => {
          throw error
        }, 'SNAPSHOT_DAMAGED')
        continue
      }
      accepted++
      const links = Array.from(children.lengths, (length, i) => [
        length,
        cidOf({ codec: children.codec, digest: children.digests.slice(i * 32, i * 32 + 32) }),
      ])
      expect(encode(links)).toEqual(bytes)
    }
    // Digests and lengths: all that a node may freely say.
    expect(accepted).toBeGreaterThanOrEqual(4 * 32 * 8)
  })
})
