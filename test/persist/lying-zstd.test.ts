// A compressor that lies: wrong bytes, a wrong length, the frame of an older block, an exception. Searched for an
// acknowledged snapshot that does not read back.

import { afterEach, expect, test, vi } from 'vitest'
import type { Zstd } from '../../src/format/libzstd.ts'
import type { Warning } from '../../src/progress.ts'
import { createRandom } from '../faulty-disk/random.ts'

type Lie = 'none' | 'flipped' | 'shortened' | 'older' | 'throws' | 'other-content'
const LIES: Lie[] = ['none', 'flipped', 'shortened', 'older', 'throws', 'other-content']

/** The codec that holdfast gets, with lies in what `compress` answers. */
function lying(honest: Zstd, lie: () => Lie): Zstd {
  let older: Uint8Array | undefined
  return {
    decompress: honest.decompress,
    compress(bytes) {
      const frame = honest.compress(bytes)
      const before = older ?? frame
      older = frame
      const wrong = frame.slice()
      switch (lie()) {
        case 'flipped':
          wrong[wrong.length >> 1]! ^= 0x10
          return wrong
        case 'shortened':
          return wrong.subarray(0, wrong.length - 1)
        case 'older':
          return before
        case 'throws':
          throw new Error('a lying compressor')
        case 'other-content': {
          const other = Uint8Array.from(bytes)
          other[0]! ^= 1
          return honest.compress(other)
        }
        default:
          return frame
      }
    },
  }
}

afterEach(() => {
  vi.doUnmock('../../src/format/libzstd.ts')
  vi.doUnmock('node:zlib')
  vi.unstubAllEnvs()
})

async function openLying(lie: () => Lie, warnings: Warning[]) {
  vi.resetModules()
  // No worker threads: they are built from a string, in which nothing can be replaced.
  vi.stubEnv('HOLDFAST_WORKERS', '0')
  // A Node without zstd of its own, whichever this is.
  vi.doMock('node:zlib', () => ({
    default: {},
    constants: {},
    zstdCompressSync: undefined,
    zstdDecompressSync: undefined,
  }))
  vi.doMock('../../src/format/libzstd.ts', async (original) => {
    const { instantiateZstd } = await original<typeof import('../../src/format/libzstd.ts')>()
    return {
      instantiateZstd: (...args: Parameters<typeof instantiateZstd>) => lying(instantiateZstd(...args), lie),
    }
  })
  const { memory } = await import('../../src/index.ts')
  return memory({ onWarning: (warning) => warnings.push(warning) })
}

function text(bytes: number, seed: number): string {
  let out = ''
  for (let i = 0; out.length < bytes; i++) out += `{"id":${i * seed},"title":"entry number ${i % 89}"}\n`
  return out
}

test.each(LIES.filter((lie) => lie !== 'none'))(
  'a compressor that always lies (%s): nothing is unreadable',
  async (lie) => {
    const warnings: Warning[] = []
    await using store = await openLying(() => lie, warnings)
    const blobs = { a: text(400_000, 1), b: text(200_000, 3) }
    await store.persist({ blobs })
    await using snapshot = (await store.load())!
    expect(await snapshot.blob('a').text()).toBe(blobs.a)
    expect(await snapshot.blob('b').text()).toBe(blobs.b)
    expect((await store.verify({ level: 'full' })).ok).toBe(true)
    expect(warnings).toMatchObject([{ code: 'COMPRESSION_FAILED', details: { chunks: expect.any(Number) } }])
  },
)

test('a compressor that lies now and then: every snapshot reads back, and most of it is compressed', async () => {
  const seed = Number(process.env.HOLDFAST_SEED ?? Date.now() % 2 ** 31)
  const random = createRandom(seed)
  const warnings: Warning[] = []
  await using store = await openLying(() => LIES[random.below(10)] ?? 'none', warnings)
  for (let turn = 1; turn <= 12; turn++) {
    const bytes = text(150_000 + random.below(300_000), turn)
    await store.persist({ blobs: { a: bytes } })
    await using snapshot = (await store.load())!
    expect(await snapshot.blob('a').text(), `seed ${seed}, turn ${turn}`).toBe(bytes)
  }
  expect((await store.verify({ level: 'full' })).ok, `seed ${seed}`).toBe(true)
})
