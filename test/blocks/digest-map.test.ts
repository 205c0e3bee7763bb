import { describe, expect, test } from 'vitest'
import { openBlockSource } from '../../src/blocks/block-source.ts'
import { createDigestMap } from '../../src/blocks/digest-map.ts'
import { createMergedIndex } from '../../src/blocks/merged-index.ts'
import type { OpenPack } from '../../src/blocks/pack-cache.ts'
import { CODEC_RAW } from '../../src/format/cid.ts'
import { KIND, type PackIndex } from '../../src/format/pack.ts'
import { createPackIndex } from '../../src/format/pack-builder.ts'
import { noise } from '../support/bytes.ts'

const DIGEST = 32

function digestsOf(count: number, seed: number): Uint8Array {
  return noise(count * DIGEST, seed)
}

function indexOf(digests: Uint8Array): PackIndex {
  const builder = createPackIndex()
  const count = digests.length / DIGEST
  const entry = { storedLength: 1, rawLength: 1, codec: CODEC_RAW, compression: 0, kind: KIND.chunk, check: null }
  for (let i = 0; i < count; i++) builder.add({ ...entry, digest: digests, digestAt: i * DIGEST, offset: 64 + i })
  return builder.finish(new Uint8Array(64), 64 + count).index
}

describe('a digest map', () => {
  test('finds each digest among many, and none that was not given', () => {
    const map = createDigestMap()
    const given = digestsOf(30_000, 1)
    const others = digestsOf(30_000, 2)
    const all = Array.from({ length: 30_000 }, (_, i) => i)
    const value = (i: number): number => 2 ** 32 - 1 - i
    expect(all.filter((i) => !map.add(given, i * DIGEST, value(i)))).toEqual([])
    expect(map.size).toBe(30_000)
    expect(all.filter((i) => map.get(given, i * DIGEST) !== value(i))).toEqual([])
    expect(all.filter((i) => map.get(others, i * DIGEST) !== -1)).toEqual([])
  })

  test('keeps the first value of a digest', () => {
    const map = createDigestMap()
    const digest = digestsOf(1, 3)
    expect(map.add(digest, 0, 7)).toBe(true)
    expect(map.add(digest, 0, 8)).toBe(false)
    expect([map.get(digest, 0), map.size]).toEqual([7, 1])
  })

  test('tells digests apart that begin alike, and one that differs in any byte', () => {
    const map = createDigestMap()
    const digests = digestsOf(200, 4)
    for (let i = 0; i < 200; i++) digests.set([0xff, 0xff, 0xff, 0xff], i * DIGEST)
    for (let i = 0; i < 200; i++) map.add(digests, i * DIGEST, i)
    for (let i = 0; i < 200; i++) expect(map.get(digests, i * DIGEST)).toBe(i)
    for (let byte = 0; byte < DIGEST; byte++) {
      const other = digests.slice(0, DIGEST)
      other[byte]! ^= 1
      expect(map.get(other, 0)).toBe(-1)
    }
  })

  test('that is empty finds nothing', () => {
    expect(createDigestMap().get(digestsOf(1, 5), 0)).toBe(-1)
  })
})

describe('a block table', () => {
  test('says in which pack and row a block is; of two packs with it, in the first', () => {
    const [first, both, second] = [digestsOf(3000, 6), digestsOf(10, 7), digestsOf(5000, 8)]
    const indexes = [indexOf(Buffer.concat([first, both])), indexOf(Buffer.concat([both, second]))]
    const table = createMergedIndex(100)
    table.add(0, indexes[0]!, 0, 3010)
    for (let from = 0; from < 5010; from += 1000) table.add(1, indexes[1]!, from, Math.min(from + 1000, 5010))
    const check = (digests: Uint8Array, packNumber: number): void => {
      for (let at = 0; at < digests.length; at += DIGEST) {
        expect(table.find(digests, at)).toEqual({ packNumber, entry: indexes[packNumber]!.find(digests, at) })
      }
    }
    check(first, 0)
    check(both, 0)
    check(second, 1)
    expect(table.find(digestsOf(1, 9), 0)).toBeNull()
  })

  test('that is kept while packs come and go finds each block where it is now, as a new one would', () => {
    const [gone, moved, both, stays, news] = [
      digestsOf(1000, 20),
      digestsOf(1000, 21),
      digestsOf(1000, 22),
      digestsOf(5000, 23),
      digestsOf(1000, 24),
    ]
    const first = indexOf(Buffer.concat([gone, moved, both]))
    const second = indexOf(Buffer.concat([both, stays]))
    const third = indexOf(Buffer.concat([moved, news]))
    const table = createMergedIndex(100)
    for (const [packNumber, index] of [first, second].entries()) table.add(packNumber, index, 0, index.blocks)
    expect(table.renumber([second, third])).toBe(true)
    expect([table.has(0), table.has(1)]).toEqual([true, false])
    table.add(1, third, 0, 1500)
    table.add(1, third, 1500, third.blocks)
    const indexes = [second, third]
    for (const [digests, packNumber] of [
      [moved, 1],
      [both, 0],
      [stays, 0],
      [news, 1],
      [both, 0],
    ] as const) {
      for (let at = 0; at < digests.length; at += DIGEST) {
        expect(table.find(digests, at)).toEqual({ packNumber, entry: indexes[packNumber]!.find(digests, at) })
      }
    }
    for (let at = 0; at < gone.length; at += DIGEST) expect(table.find(gone, at)).toBeNull()
    // What is gone is kept for the table. So a table is made anew when it is most of what it holds.
    expect(table.renumber([third])).toBe(false)
    expect(table.find(stays, 0)).toEqual({ packNumber: 0, entry: second.find(stays, 0) })
  })

  test('is not confused by a pack without blocks, nor by its being asked for twice at once', async () => {
    const digests = [digestsOf(20_000, 10), new Uint8Array(0), digestsOf(40_000, 11)]
    const packs = digests.map((own, i): OpenPack => {
      const index = indexOf(own)
      return { name: `${i}`, index: async () => index } as OpenPack
    })
    const source = await openBlockSource(packs)
    await Promise.all([source.expectLookups(1e9), source.expectLookups(1e9)])
    for (const packNumber of [0, 2]) {
      for (let at = 0; at < digests[packNumber]!.length; at += 97 * DIGEST) {
        const entry = source.indexes[packNumber]!.find(digests[packNumber]!, at)
        expect(source.find(digests[packNumber]!, at)).toBe(packNumber * 2 ** 32 + entry)
      }
    }
  })
})
