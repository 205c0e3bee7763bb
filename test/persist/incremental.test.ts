import { describe, expect, test, vi } from 'vitest'
import { type Chunking, content, fixed, memory } from '../../src/index.ts'
import type { Store } from '../../src/store.ts'
import { noise, sameBytes } from '../support/bytes.ts'
import { sample, seeded, share } from '../support/effort.ts'
import type { Random } from '../support/random.ts'

// What a persist reuses of the snapshot before depends on segments alone, so with small segments small blobs have many
// borders, and thousands of edits take seconds. `incremental-segments.test.ts` has segments of the real size.

const SEGMENT = 16_384

vi.mock(import('../../src/format/limits.ts'), async (original) => ({
  ...(await original()),
  SEGMENT_BYTES: 16_384 as 4_194_304,
}))

const chunkings: [string, Chunking][] = [
  ['fixed chunks that divide a segment', fixed(512)],
  ['fixed chunks that straddle segments', fixed(700)],
  ['content chunks shorter than a segment', content({ averageBytes: 4096 })],
  ['content chunks longer than a segment', content({ averageBytes: 16_384 })],
]

/** Positions where mistakes would hide: the end, borders of segments and chunks, and anywhere. */
function somewhere(r: Random, size: number): number {
  const near = r.below(5) - 2
  const at = r.pick([
    size + near,
    near,
    r.below(Math.ceil(size / SEGMENT) + 1) * SEGMENT + near,
    r.below(Math.ceil(size / 512) + 1) * 512 + near,
    r.below(size + 1),
    r.below(size + 1),
  ])
  return Math.max(0, Math.min(size, at))
}

function bytesFor(r: Random, length: number): Uint8Array {
  // Runs of one byte make chunks of the greatest length, which repeat.
  return r.below(4) === 0 ? new Uint8Array(length).fill(r.below(2)) : noise(length, r.below(1e9))
}

function splice(bytes: Uint8Array, at: number, remove: number, insert: Uint8Array): Uint8Array {
  return Buffer.concat([bytes.subarray(0, at), insert, bytes.subarray(at + remove)])
}

const edits: Record<string, (r: Random, bytes: Uint8Array, older: Uint8Array) => Uint8Array> = {
  overwrite(r, bytes) {
    const at = somewhere(r, bytes.length)
    const length = Math.min(bytes.length - at, r.pick([1, 2, 511, 5000]))
    return splice(bytes, at, length, bytesFor(r, length))
  },
  insert: (r, bytes) => splice(bytes, somewhere(r, bytes.length), 0, bytesFor(r, r.pick([1, 512, 700, 3000, SEGMENT]))),
  delete: (r, bytes) =>
    splice(bytes, somewhere(r, bytes.length), r.pick([1, 512, 700, 3000, SEGMENT]), new Uint8Array()),
  append: (r, bytes) => splice(bytes, bytes.length, 0, bytesFor(r, r.pick([1, 100, 700, 512, SEGMENT, 20_000]))),
  truncate: (r, bytes) => bytes.slice(0, somewhere(r, bytes.length)),
  'truncate to whole segments': (r, bytes) => bytes.slice(0, r.below(Math.floor(bytes.length / SEGMENT) + 1) * SEGMENT),
  'fill up to whole segments': (r, bytes) =>
    splice(bytes, bytes.length, 0, bytesFor(r, (SEGMENT - (bytes.length % SEGMENT)) % SEGMENT)),
  'swap two segments'(_, bytes) {
    return Buffer.concat([
      bytes.subarray(SEGMENT, 2 * SEGMENT),
      bytes.subarray(0, SEGMENT),
      bytes.subarray(2 * SEGMENT),
    ])
  },
  'repeat the beginning': (r, bytes) => splice(bytes, bytes.length, 0, bytes.slice(0, somewhere(r, bytes.length))),
  'go back': (_r, _bytes, older) => older,
  empty: () => new Uint8Array(),
}

/** What the same content gives in a store that knows nothing. */
async function freshManifest(blobs: Record<string, Uint8Array>, chunking: Chunking): Promise<string> {
  const store = memory()
  const { manifest } = await store.persist({ blobs, chunking })
  await store.close()
  return manifest
}

async function expectStored(store: Store, blobs: Record<string, Uint8Array>): Promise<void> {
  const snapshot = await store.load()
  for (const [name, bytes] of Object.entries(blobs)) {
    expect(sameBytes(await snapshot!.blob(name).bytes(), bytes)).toBe(true)
  }
  await snapshot!.dispose()
}

describe.each(chunkings)('with %s', (_, chunking) => {
  test.each([1, 2, 3])(
    'a snapshot of any edit is that of a first persist of the same bytes (seed %i)',
    async (seed) => {
      const r = seeded('edits', seed)
      const store = memory()
      const log: string[] = []
      let bytes: Uint8Array = noise(3 * SEGMENT + 100, seed)
      let older = bytes
      for (let i = 0; i < share(250, 20); i++) {
        const name = r.pick(Object.keys(edits))
        const next = edits[name]!(r, bytes, older).slice(0, 8 * SEGMENT + 300)
        log.push(`${name}: ${bytes.length} to ${next.length}`)
        older = bytes
        bytes = next
        const { manifest } = await store.persist({ blobs: { a: bytes }, chunking })
        expect(manifest, log.slice(-3).join(', ')).toBe(await freshManifest({ a: bytes }, chunking))
        if (i % 10 === 0) await expectStored(store, { a: bytes })
      }
      await store.close()
    },
  )

  test('a blob that ended with a segment grows', async () => {
    for (const segments of [1, 2]) {
      for (const more of [1, 100, 511, 512, 700, SEGMENT - 1, SEGMENT, SEGMENT + 1]) {
        const before = noise(segments * SEGMENT, segments)
        const after = Buffer.concat([before, noise(more, 9)])
        const store = memory()
        await store.persist({ blobs: { a: before }, chunking })
        const { manifest } = await store.persist({ blobs: { a: after }, chunking })
        expect(manifest, `${segments} segments and ${more} bytes`).toBe(await freshManifest({ a: after }, chunking))
      }
    }
  })

  test('a blob is cut where a chunk, a segment or neither ends', async () => {
    const before = noise(3 * SEGMENT + 1000, 4)
    const ends = Array.from({ length: Math.floor(before.length / 331) + 1 }, (_, i) => 331 * i)
    for (const end of sample('cut', ends, 20)) {
      const store = memory()
      await store.persist({ blobs: { a: before }, chunking })
      const after = before.slice(0, end)
      const { manifest } = await store.persist({ blobs: { a: after }, chunking })
      expect(manifest, `${end} bytes`).toBe(await freshManifest({ a: after }, chunking))
    }
  })

  test('segments change in every pattern', async () => {
    const before = noise(6 * SEGMENT + 77, 5)
    for (const pattern of sample('patterns', [...Array(2 ** 7).keys()], 16)) {
      const after = before.slice()
      for (let segment = 0; segment < 7; segment++) if ((pattern >> segment) & 1) after[segment * SEGMENT + 50]! ^= 1
      const store = memory()
      await store.persist({ blobs: { a: before }, chunking })
      const { manifest, unchanged } = await store.persist({ blobs: { a: after }, chunking })
      expect(manifest, `pattern ${pattern}`).toBe(await freshManifest({ a: after }, chunking))
      expect(unchanged).toBe(pattern === 0)
    }
  })
})

test('several blobs are edited, renamed, added and removed together', async () => {
  const r = seeded('several', 11)
  const store = memory()
  let blobs: Record<string, Uint8Array> = { a: noise(2 * SEGMENT, 1), b: noise(100, 2), c: noise(3 * SEGMENT + 5, 3) }
  for (let i = 0; i < share(60, 12); i++) {
    const [from, to] = [r.pick(Object.keys(blobs)), r.pick(['a', 'b', 'c', 'd'])]
    const bytes = blobs[from]!
    const next = { ...blobs, [to]: edits[r.pick(Object.keys(edits))]!(r, bytes, bytes).slice(0, 5 * SEGMENT) }
    if (Object.keys(next).length > 3) delete next[from]
    blobs = next
    const { manifest } = await store.persist({ blobs, chunking: content({ averageBytes: 4096 }) })
    expect(manifest).toBe(await freshManifest(blobs, content({ averageBytes: 4096 })))
    await expectStored(store, blobs)
  }
})

test('a blob whose chunking changes is cut anew', async () => {
  const store = memory()
  const bytes = noise(4 * SEGMENT + 9, 1)
  const seen = new Set<string>()
  for (const chunking of [fixed(512), fixed(1024), content({ averageBytes: 4096 }), content(), fixed(512)]) {
    const { manifest } = await store.persist({ blobs: { a: bytes }, chunking })
    expect(manifest).toBe(await freshManifest({ a: bytes }, chunking))
    seen.add(manifest)
    await expectStored(store, { a: bytes })
  }
  expect(seen.size).toBe(4)
})
