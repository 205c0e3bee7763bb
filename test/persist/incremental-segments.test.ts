import { describe, expect, test } from 'vitest'
import { type Chunking, content, fixed, memory, type PersistResult } from '../../src/index.ts'
import { noise, sameBytes } from '../support/bytes.ts'

// The same property as in `incremental.test.ts`, with segments of the real size.

const MIB = 1024 * 1024
const SEGMENT = 4 * MIB

async function fresh(bytes: Uint8Array, chunking: Chunking): Promise<PersistResult> {
  const store = memory()
  const result = await store.persist({ blobs: { a: bytes }, chunking })
  await store.close()
  return result
}

const base = noise(13 * MIB + 12_345, 1)
const patch = noise(3000, 2)

function overwritten(bytes: Uint8Array, at: number): Uint8Array {
  const copy = bytes.slice()
  copy.set(patch.subarray(0, Math.min(patch.length, copy.length - at)), at)
  return copy
}

function spliced(bytes: Uint8Array, at: number, remove: number, insert: Uint8Array): Uint8Array {
  return Buffer.concat([bytes.subarray(0, at), insert, bytes.subarray(at + remove)])
}

// One after the other, each on what the one before left.
const steps: [string, (bytes: Uint8Array) => Uint8Array][] = [
  ['one byte in the first segment', (b) => overwritten(b, 100).slice()],
  ['bytes across the border of two segments', (b) => overwritten(b, 2 * SEGMENT - 1500)],
  ['the last bytes', (b) => overwritten(b, b.length - 3000)],
  ['an insertion in the second segment', (b) => spliced(b, SEGMENT + 7, 0, patch)],
  ['a deletion at the start of the third', (b) => spliced(b, 2 * SEGMENT, 777, new Uint8Array())],
  ['a cut at the end of a segment', (b) => b.slice(0, 2 * SEGMENT)],
  ['a byte more', (b) => spliced(b, b.length, 0, patch.subarray(0, 1))],
  ['a segment more', (b) => spliced(b, b.length, 0, noise(SEGMENT, 3))],
  ['a byte less', (b) => b.slice(0, -1)],
  ['a cut to one byte below a segment', (b) => b.slice(0, SEGMENT - 1)],
  ['exactly one segment', (b) => spliced(b, b.length, 0, patch.subarray(0, 1))],
  ['two segments', (b) => spliced(b, b.length, 0, b)],
  ['the base again', () => base],
]

describe.each<[string, Chunking]>([
  ['content chunks', content()],
  ['fixed chunks', fixed(4096)],
  ['fixed chunks that straddle segments', fixed(100_000)],
])('with %s', (_, chunking) => {
  test('each edit of a blob of many MiB gives the snapshot of a first persist', async () => {
    const store = memory()
    let bytes: Uint8Array = base
    await store.persist({ blobs: { a: bytes }, chunking })
    for (const [what, edit] of steps) {
      bytes = edit(bytes)
      const { manifest, blobs } = await store.persist({ blobs: { a: bytes }, chunking })
      expect({ what, manifest, blobs }).toEqual({ what, ...pick(await fresh(bytes, chunking)) })
      const snapshot = await store.load()
      expect(sameBytes(await snapshot!.blob('a').bytes(), bytes), what).toBe(true)
      await snapshot!.dispose()
    }
    await store.close()
  })
})

test('only what an edit touches is written', async () => {
  const store = memory({ compression: 'none' })
  const first = await store.persist({ blobs: { a: base } })
  expect(first.bytes.written).toBeGreaterThan(base.length)
  const edited = await store.persist({ blobs: { a: overwritten(base, 5 * MIB) } })
  // A few chunks of at most 64 KiB, a node or two, the segments, the manifest and the pack's own index.
  expect(edited.bytes.written).toBeGreaterThan(3000)
  expect(edited.bytes.written).toBeLessThan(300_000)
  expect(edited.bytes.reused).toBeGreaterThan(base.length - 300_000)
  expect(edited.bytes.reused).toBeLessThanOrEqual(base.length)
  const inserted = await store.persist({ blobs: { a: spliced(base, 5 * MIB, 0, patch) } })
  expect(inserted.bytes.written).toBeLessThan(300_000)
  await store.close()
})

function pick({ manifest, blobs }: PersistResult): Pick<PersistResult, 'manifest' | 'blobs'> {
  return { manifest, blobs }
}
