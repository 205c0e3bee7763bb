import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type BlobInput, type Chunking, content, fixed, memory } from '../../src/index.ts'
import { collect, noise, sameBytes, split } from '../support/bytes.ts'
import { effort, rounds, sample } from '../support/effort.ts'
import { createRandom } from '../support/random.ts'
import { kinds } from '../support/storages.ts'

const MIB = 1024 * 1024
const SEGMENT = 4 * MIB

/** Any text that may name a blob. */
const anyName = fc
  .string({ unit: 'binary', minLength: 1, maxLength: 40 })
  .filter((name) => !name.includes('\0') && Buffer.byteLength(name) <= 1024)

const anyChunking: fc.Arbitrary<Chunking> = fc.oneof(
  fc.integer({ min: 512, max: 2048 }).map((bytes) => fixed(bytes)),
  fc.constantFrom(4096, 8192, 16_384).map((averageBytes) => content({ averageBytes })),
)

const anyBytes = fc
  .tuple(fc.integer({ min: 0, max: 60_000 }), fc.integer({ min: 0, max: 2 ** 31 }), fc.boolean())
  .map(([length, seed, flat]) => (flat ? new Uint8Array(length).fill(seed) : noise(length, seed)))

describe.each(kinds)('in a $name store', ({ name, using }) => {
  test('any blobs come back byte for byte', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.tuple(anyName, anyBytes, anyChunking), { selector: ([blob]) => blob, maxLength: 6 }),
        async (blobs) => {
          await using({}, async (store) => {
            const given = blobs.map(([blob, source, chunking]) => [blob, { source, chunking }] as const)
            const saved = await store.persist({ blobs: given })
            const snapshot = await store.load()
            expect(snapshot!.manifest).toBe(saved.manifest)
            expect([...snapshot!.names].sort()).toEqual(blobs.map(([blob]) => blob).sort())
            for (const [blob, bytes, chunking] of blobs) {
              const loaded = snapshot!.blob(blob)
              expect({ ...loaded }).toMatchObject({ name: blob, size: bytes.length, chunking })
              expect(sameBytes(await loaded.bytes(), bytes)).toBe(true)
              expect(sameBytes(await collect(loaded.stream()), bytes)).toBe(true)
            }
            await snapshot!.dispose()
          })
        },
      ),
      rounds(name === 'memory' ? 60 : 20),
    )
  })

  // How blobs are cut does not depend on the storage: a quick run tries one.
  test.runIf(effort === 1 || name === kinds[0]!.name)('a blob of any length around a boundary comes back', async () => {
    for (const [chunking, lengths] of boundaries()) {
      await using({}, async (store) => {
        const blobs = new Map(lengths.map((length) => [`${length}`, noise(length, length + 1)]))
        const saved = await store.persist({ blobs, chunking })
        const snapshot = await store.load()
        for (const [length, bytes] of blobs) {
          const blob = snapshot!.blob(length)
          expect(blob.size).toBe(bytes.length)
          expect(blob.cid).toBe(saved.blobs[length]!.cid)
          expect(sameBytes(await blob.bytes(), bytes), `${length} bytes`).toBe(true)
          expect(sameBytes(await collect(blob.stream()), bytes), `${length} bytes as a stream`).toBe(true)
        }
        await snapshot!.dispose()
      })
    }
  })
})

/** Lengths one below, at and one above each size that something is cut by. Of long ones a quick run has half. */
function boundaries(): [Chunking, number[]][] {
  const around = (...sizes: number[]): number[] => {
    const all = [...new Set(sizes.flatMap((size) => [size - 1, size, size + 1]).filter((size) => size >= 0))]
    const long = all.filter((length) => length > 2 * MIB)
    const chosen = sample(`long ones around ${sizes}`, long, long.length / 2)
    return all.filter((length) => length <= 2 * MIB || chosen.includes(length))
  }
  return [
    [content({ averageBytes: 4096 }), around(0, 1024, 4096, 16_384, 16_384 + 1024)],
    [content(), around(4096, 16_384, 65_536, SEGMENT, 2 * SEGMENT)],
    [content({ averageBytes: MIB }), around(MIB / 4, MIB, SEGMENT, SEGMENT + MIB / 4)],
    // Nodes of 64 to 1,024 children, and of the nodes above them.
    [fixed(512), around(0, 512, 64 * 512, 1024 * 512, 1025 * 512, 2048 * 512, SEGMENT)],
    [fixed(700), around(700, SEGMENT)],
    [fixed(MIB), around(MIB, SEGMENT, SEGMENT + MIB)],
  ]
}

test('a blob of seventy thousand chunks, with nodes above nodes above nodes, comes back', async () => {
  const store = memory({ compression: 'none' })
  const bytes = noise(70_001 * 512 + 3, 1)
  await store.persist({ blobs: { a: bytes }, chunking: fixed(512) })
  const blob = (await store.load())!.blob('a')
  expect(sameBytes(await blob.bytes(), bytes)).toBe(true)
  for (const start of [0, 511, 512, 30_000 * 512 + 7, 70_001 * 512 - 1, bytes.length - 1]) {
    const end = Math.min(start + 2000, bytes.length)
    expect(sameBytes(await collect(blob.stream({ start, end })), bytes.subarray(start, end)), `from ${start}`).toBe(
      true,
    )
  }
  await store.close()
})

describe('the parts a stream comes in', () => {
  test('do not change what is stored, wherever it is split', async () => {
    const whole = memory()
    await fc.assert(
      fc.asyncProperty(
        fc.tuple(anyBytes, anyChunking, fc.array(fc.nat(60_000), { maxLength: 12 }), fc.boolean()),
        async ([bytes, chunking, cuts, isAsync]) => {
          const positions = cuts.map((cut) => Math.min(cut, bytes.length))
          const parts = isAsync ? asAsync(split(bytes, positions)) : split(bytes, positions)
          const expected = await whole.persist({ blobs: { a: bytes }, chunking })
          const store = memory()
          const { manifest } = await store.persist({ blobs: { a: parts }, chunking })
          expect(manifest).toBe(expected.manifest)
        },
      ),
      rounds(150),
    )
  })

  test('may be single bytes, empty, or larger than a segment', async () => {
    const small = noise(3000, 1)
    const large = noise(2 * SEGMENT + 5000, 2)
    const r = createRandom(3)
    const splits: [Uint8Array, number[]][] = [
      [small, [...small.keys()]],
      [small, [0, 0, 5, 5, 5, 3000, 3000]],
      [large, [SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT]],
      [large, [2 * SEGMENT + 1]],
      [large, Array.from({ length: 500 }, () => r.below(large.length))],
    ]
    for (const [bytes, positions] of splits) {
      const expected = await cidOf(bytes)
      expect(await cidOf([...split(bytes, positions)])).toBe(expected)
      expect(await cidOf(asAsync(split(bytes, positions)))).toBe(expected)
    }
  })
})

async function cidOf(input: BlobInput): Promise<string> {
  const store = memory()
  const { blobs } = await store.persist({ blobs: { a: input } })
  return blobs.a!.cid
}

async function* asAsync<T>(parts: Iterable<T>): AsyncGenerator<T> {
  for (const part of parts) {
    await null
    yield part
  }
}
