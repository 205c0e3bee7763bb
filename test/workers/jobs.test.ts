import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { blake3 } from '../../src/format/blake3.ts'
import { type Chunking, chunkBytesMax, content, cutter, fixed } from '../../src/format/chunking.ts'
import { gearTable } from '../../src/format/gear.ts'
import { DIGEST_BYTES } from '../../src/format/limits.ts'
import { GEAR_WASM } from '../../src/workers/generated.ts'
import { type KnownChunks, type Region, runJob, type Tools } from '../../src/workers/jobs.ts'
import { chunkerOver, sharedMemory } from '../../src/workers/wasm.ts'
import { rounds } from '../support/effort.ts'

const GEAR_BYTES = 2048
const DATA = 4096
const ROOM = 2 * 1024 * 1024
const CHUNKS = 8192
const region: Region = { endsAt: DATA + ROOM, digestsAt: DATA + ROOM + CHUNKS * 4 }
const memory = sharedMemory(region.digestsAt + CHUNKS * DIGEST_BYTES)
const view = new DataView(memory.buffer)
for (const [byte, gear] of gearTable().entries()) view.setBigUint64(byte * 8, gear, true)
const bytes = new Uint8Array(memory.buffer)
const tools: Tools = { memory: bytes, blake3, cutOne: chunkerOver(Buffer.from(GEAR_WASM, 'base64'), memory) }

function reference(data: Uint8Array, chunking: Chunking, final: boolean): number[] {
  const cut = cutter(chunking)
  const ends: number[] = []
  for (let at = 0; at < data.length && (final || data.length - at >= chunkBytesMax(chunking)); ) {
    at += cut(data, at, data.length)
    ends.push(at)
  }
  return ends
}

function load(data: Uint8Array): void {
  expect(GEAR_BYTES).toBeLessThan(DATA)
  bytes.set(data, DATA)
}

function results(count: number): { ends: number[]; digests: string[] } {
  const ends = [...new Uint32Array(memory.buffer, region.endsAt, count)].map((end) => end - DATA)
  const digests = ends.map((_, i) => {
    const at = region.digestsAt + i * DIGEST_BYTES
    return Buffer.from(bytes.slice(at, at + DIGEST_BYTES)).toString('hex')
  })
  return { ends, digests }
}

function digestsOf(data: Uint8Array, ends: readonly number[]): string[] {
  return ends.map((end, i) => Buffer.from(blake3(data.subarray(i === 0 ? 0 : ends[i - 1]!, end))).toString('hex'))
}

/** Random bytes with stretches of one value, where no boundary is found. */
function randomBytes(length: number, seed: number): Uint8Array {
  const data = new Uint8Array(length)
  let state = seed | 1
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0
    data[i] = (i >>> 15) % 5 === seed % 5 ? seed & 255 : state >>> 24
  }
  return data
}

const chunkings: Chunking[] = [
  content({ averageBytes: 4096 }),
  content(),
  content({ averageBytes: 65_536 }),
  fixed(512),
  fixed(4096),
  fixed(1164),
]

describe('WebAssembly on shared memory', () => {
  test.each(chunkings)('cuts where the reference cuts: %o', (chunking) => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 700_000 }), fc.nat(), fc.boolean(), (length, seed, final) => {
        const data = randomBytes(length, seed)
        load(data)
        const job = { kind: 'cut', start: DATA, end: DATA + length, final, chunking, region } as const
        const count = runJob(job, tools)
        const expected = reference(data, chunking, final)
        expect(results(count).ends).toEqual(expected)
        runJob({ kind: 'hash', start: DATA, count, region }, tools)
        expect(results(count).digests).toEqual(digestsOf(data, expected))
      }),
      rounds(40),
    )
  })

  test('lengths around the smallest, the average and the longest chunk are cut as the reference cuts them', () => {
    for (const around of [1024, 4096, 16_384]) {
      for (let length = around - 3; length <= around + 3; length++) {
        for (const value of [0, 7, -1]) {
          const data = value === -1 ? randomBytes(length, 3) : new Uint8Array(length).fill(value)
          load(data)
          const chunking = content({ averageBytes: 4096 })
          const count = runJob({ kind: 'cut', start: DATA, end: DATA + length, final: true, chunking, region }, tools)
          expect(results(count).ends).toEqual(reference(data, chunking, true))
        }
      }
    }
  })
})

describe('following the chunks of the previous snapshot', () => {
  test.each(chunkings)('gives what a full scan gives, after any edit: %o', (chunking) => {
    const edit = fc.record({
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      remove: fc.integer({ min: 0, max: 40_000 }),
      insert: fc.integer({ min: 0, max: 40_000 }),
    })
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 400_000 }),
        fc.nat(),
        fc.array(edit, { maxLength: 4 }),
        fc.boolean(),
        fc.boolean(),
        (length, seed, edits, final, lastIsKnownToEnd) => {
          const before = randomBytes(length, seed)
          let after = Buffer.from(before)
          for (const [i, { at, remove, insert }] of edits.entries()) {
            const from = Math.floor(at * after.length)
            after = Buffer.concat([
              after.subarray(0, from),
              randomBytes(insert, seed + i + 1),
              after.subarray(from + remove),
            ])
          }
          const ends = reference(before, chunking, true)
          const known: KnownChunks = {
            start: DATA,
            ends: Float64Array.from(lastIsKnownToEnd ? ends : ends.slice(0, -1), (end) => end + DATA),
            digests: Buffer.concat(digestsOf(before, ends).map((hex) => Buffer.from(hex, 'hex'))),
            lastIsFinal: lastIsKnownToEnd,
          }
          load(after)
          const end = DATA + after.length
          const count = runJob({ kind: 'follow', start: DATA, end, final, chunking, region, known }, tools)
          const found = results(count)
          const expected = reference(after, chunking, final)
          // Where more is to come, a known chunk may be taken that a scan would have to wait for: only then is there
          // more.
          expect(found.ends.slice(0, expected.length)).toEqual(expected)
          if (final) expect(found.ends.length).toBe(expected.length)
          expect(found.digests).toEqual(digestsOf(after, found.ends))
          const more = Buffer.concat([after, randomBytes(chunkBytesMax(chunking), seed + 99)])
          expect(reference(more, chunking, true).slice(0, found.ends.length)).toEqual(
            final ? reference(more, chunking, true).slice(0, found.ends.length) : found.ends,
          )
        },
      ),
      rounds(150),
    )
  })
})
