import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ChunkRun } from '../../src/blocks/blob-dag.ts'
import type { DedupWriter } from '../../src/blocks/dedup-writer.ts'
import { createPreviousChunks, type KnownRun } from '../../src/persist/previous-blob.ts'
import { noise } from '../support/bytes.ts'
import { rounds } from '../support/effort.ts'

const DIGEST = 32
const MIB = 1024 * 1024

interface Blob {
  lengths: number[]
  ends: number[]
  digests: Uint8Array
  size: number
}

function blobOf(lengths: number[]): Blob {
  let end = 0
  const ends = lengths.map((length) => {
    end += length
    return end
  })
  return { lengths, ends, digests: noise(lengths.length * DIGEST, 1), size: end }
}

/** The chunks in nodes of the sizes given, the last ones again and again; notes how many chunks were asked for. */
async function* nodesOf(blob: Blob, sizes: number[], noted: { chunks: number }): AsyncGenerator<ChunkRun, void> {
  for (let at = 0, turn = 0; at < blob.lengths.length; turn++) {
    const count = Math.min(sizes[turn % sizes.length]!, blob.lengths.length - at)
    noted.chunks += count
    yield {
      offset: at === 0 ? 0 : blob.ends[at - 1]!,
      count,
      lengths: Float64Array.from(blob.lengths.slice(at, at + count)),
      digests: blob.digests.slice(at * DIGEST, (at + count) * DIGEST),
    }
    at += count
  }
}

/** The same by looking through all of them. */
function chunksBetween({ ends }: Blob, from: number, to: number): [first: number, last: number] {
  const first = ends.findIndex((end) => end > from)
  const last = ends.findLastIndex((end) => end <= to) + 1
  return first === -1 || last <= first ? [0, 0] : [first, last]
}

function flat(run: KnownRun): { ends: number[]; digests: Uint8Array; start: number } {
  return {
    ends: run.parts.flatMap(({ ends, first, last }) => [...ends.subarray(first, last)]),
    digests: Buffer.concat(run.parts.map((part) => part.digests.subarray(part.first * DIGEST, part.last * DIGEST))),
    start: run.parts[0]!.start,
  }
}

const shapes = fc.record({
  lengths: fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 80 }),
  nodes: fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 5 }),
  steps: fc.array(fc.integer({ min: 0, max: 60 }), { minLength: 1, maxLength: 40 }),
  atBoundaries: fc.boolean(),
})

describe('chunks of the snapshot before', () => {
  test('are what a look through all of them says, wherever nodes and windows begin', async () => {
    await fc.assert(
      fc.asyncProperty(shapes, async ({ lengths, nodes, steps, atBoundaries }) => {
        const blob = blobOf(lengths)
        const chunks = nodesOf(blob, nodes, { chunks: 0 })
        const previous = createPreviousChunks({ size: blob.size, chunks, segments: new Uint8Array(), isChecked: true })
        let from = 0
        for (const step of steps) {
          if (atBoundaries) from = [0, ...blob.ends].findLast((end) => end <= from)!
          const to = from + step
          await previous.advance(from, to)
          const [first, last] = chunksBetween(blob, from, to)
          const start = first === 0 ? 0 : blob.ends[first - 1]!

          const known = previous.candidates(from, to, from - 5)
          if (last === first) expect(known).toBeNull()
          else {
            expect(known).toEqual({
              start: start - from + 5,
              ends: Float64Array.from(blob.ends.slice(first, last), (end) => end - from + 5),
              digests: new Uint8Array(blob.digests.subarray(first * DIGEST, last * DIGEST)),
              lastIsFinal: last === lengths.length,
            })
          }
          for (const final of [false, true]) {
            const trusted = last === lengths.length && !(final && blob.size === to) ? last - 1 : last
            const run = previous.runFrom(from, to, final)
            if (last === first || start !== from || trusted === first) expect(run).toBeNull()
            else {
              expect(run?.end).toBe(blob.ends[trusted - 1])
              const { ends, digests, start: found } = flat(run!)
              expect([ends, found]).toEqual([blob.ends.slice(first, trusted), start])
              expect(Buffer.compare(digests, blob.digests.subarray(first * DIGEST, trusted * DIGEST))).toBe(0)
            }
          }
          from = to
        }
        await previous.settled()
      }),
      rounds(400),
    )
  })

  test('are read no further than some MiB ahead, and forgotten behind', async () => {
    const blob = blobOf(Array(1000).fill(MIB))
    const noted = { chunks: 0 }
    const chunks = nodesOf(blob, [8], noted)
    const previous = createPreviousChunks({ size: blob.size, chunks, segments: new Uint8Array(), isChecked: true })
    for (let at = 0; at < 500 * MIB; at += 4 * MIB) {
      await previous.advance(at, at + 4 * MIB)
      expect(previous.runFrom(at, at + 4 * MIB, false)?.end).toBe(at + 4 * MIB)
      await new Promise((resolve) => setImmediate(resolve))
      expect(noted.chunks).toBeLessThanOrEqual(at / MIB + 4 + 16 + 8)
    }
    await previous.settled()
    expect(previous.runFrom(0, 4 * MIB, false)).toBeNull()
  })

  test('that cannot be read because the disk fails are told of when they are come to, not before', async () => {
    const blob = blobOf(Array(40).fill(MIB))
    async function* failing(): AsyncGenerator<ChunkRun, void> {
      for await (const run of nodesOf(blob, [4], { chunks: 0 })) {
        if (run.offset >= 20 * MIB) throw new Error('the disk fails')
        yield run
      }
    }
    const previous = createPreviousChunks({
      size: blob.size,
      chunks: failing(),
      segments: new Uint8Array(),
      isChecked: true,
    })
    for (let at = 0; at < 20 * MIB; at += 4 * MIB) {
      await previous.advance(at, at + 4 * MIB)
      // It has been met by now, ahead.
      await new Promise((resolve) => setImmediate(resolve))
      expect(previous.runFrom(at, at + 4 * MIB, false)?.end).toBe(at + 4 * MIB)
    }
    await expect(previous.advance(20 * MIB, 24 * MIB)).rejects.toThrow('the disk fails')
    await previous.settled()
  })

  test('that end early, because they cannot be read, are good as far as they go', async () => {
    const blob = blobOf(Array(20).fill(10))
    const noted = { chunks: 0 }
    async function* half(): AsyncGenerator<ChunkRun, void> {
      for await (const run of nodesOf(blob, [5], noted)) {
        if (run.offset >= 100) return
        yield run
      }
    }
    const previous = createPreviousChunks({
      size: blob.size,
      chunks: half(),
      segments: new Uint8Array(),
      isChecked: true,
    })
    await previous.advance(0, 150)
    expect(previous.runFrom(0, 150, false)?.end).toBe(100)
    expect(previous.candidates(0, 150, 0)).toMatchObject({ lastIsFinal: false })
    await previous.advance(100, 200)
    expect(previous.runFrom(100, 200, true)).toBeNull()
    expect(previous.candidates(100, 200, 0)).toBeNull()
  })

  test('are known only when the store has each of them', async () => {
    const blob = blobOf(Array(20).fill(10))
    const chunks = nodesOf(blob, [3, 4], { chunks: 0 })
    const previous = createPreviousChunks({ size: blob.size, chunks, segments: new Uint8Array(), isChecked: true })
    await previous.advance(0, 150)
    const run = previous.runFrom(0, 150, false)!
    for (let lacking = 0; lacking < 16; lacking++) {
      const lacks = blob.digests.subarray(lacking * DIGEST, (lacking + 1) * DIGEST)
      const knows = (digests: Uint8Array, at: number): boolean =>
        Buffer.compare(digests.subarray(at, at + DIGEST), lacks) !== 0
      expect(previous.allKnown(run, { has: knows } as DedupWriter)).toBe(lacking >= 15)
    }
  })

  test('of nodes that claim more than a window can hold are not followed', async () => {
    const blob = blobOf(Array(200_000).fill(1))
    const noted = { chunks: 0 }
    const previous = createPreviousChunks({
      size: blob.size,
      chunks: nodesOf(blob, [1024], noted),
      segments: new Uint8Array(),
      isChecked: true,
    })
    await previous.advance(0, 150_000)
    expect(noted.chunks).toBeLessThan(70_000)
  })
})
