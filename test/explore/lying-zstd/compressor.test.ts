import { afterEach, describe, expect, test, vi } from 'vitest'
import { fixed } from '../../../src/format/chunking.ts'
import type { Warning } from '../../../src/progress.ts'
import { sharedPool } from '../../../src/workers/pool.ts'
import { sameBytes } from '../../support/bytes.ts'
import { createRandom } from '../../support/random.ts'
import { kinds } from '../../support/storages.ts'
import { told } from './lies.ts'

vi.mock('../../../src/format/codec.ts', async (original) => {
  const real = await original<typeof import('../../../src/format/codec.ts')>()
  const { lying } = await import('./lies.ts')
  return { ...real, compressFrame: lying(real.compressFrame) }
})
vi.mock('../../../src/workers/generated.ts', async (original) => {
  const { lyingWorker } = await import('./worker.ts')
  return { ...(await original<object>()), WORKER_SOURCE: await lyingWorker() }
})

const MIB = 1024 * 1024

/** Text that shrinks, in which each block differs, and between two seeds all of them. */
function text(bytes: number, seed: number): Uint8Array {
  const { below } = createRandom(seed)
  const lines: string[] = []
  for (let length = 0; length < bytes; length += lines.at(-1)!.length) {
    lines.push(`{"id":${below(1e9)},"title":"entry number ${below(1e6)}","tags":["a","b"]}\n`)
  }
  return new Uint8Array(Buffer.from(lines.join('').slice(0, bytes)))
}

afterEach(() => {
  vi.unstubAllEnvs()
})

describe.each(kinds)('over a compressor that lies, in a $name store', ({ open }) => {
  test.each([
    ['on the main thread', '0', MIB],
    ['in worker threads', undefined, 9 * MIB],
  ] as const)('every acknowledged snapshot reads back, and one warning says so: %s', async (_, workers, bytes) => {
    vi.stubEnv('HOLDFAST_WORKERS', workers)
    const jobs = workers === '0' ? null : vi.spyOn(sharedPool()!, 'run')
    const warnings: Warning[] = []
    const store = await open({ keepLast: 10, onWarning: (warning) => warnings.push(warning) })
    const kept = new Map<number, Uint8Array>()
    for (let i = 1; i <= 3; i++) {
      const blob = text(bytes, i)
      const saved = await store.persist({ blobs: { blob, small: text(5000, i) }, chunking: fixed(8192) })
      kept.set(saved.sequence, blob)
      // What it was honest about is compressed all the same.
      expect(saved.bytes.written).toBeLessThan(bytes)
      expect(warnings.map(({ code }) => code)).toEqual(['COMPRESSION_FAILED'])
      expect(warnings.pop()!.details.chunks).toBeGreaterThan(5)
    }
    for (const [at, blob] of kept) {
      await using snapshot = (await store.load({ at }))!
      expect(sameBytes(await snapshot.blob('blob').bytes(), blob)).toBe(true)
      expect(sameBytes(await snapshot.blob('small').bytes(), text(5000, at))).toBe(true)
    }
    expect((await store.verify()).ok).toBe(true)
    if (jobs === null) return
    // That it was the workers who were lied to.
    const answers = await Promise.all(jobs.mock.results.map(({ value }) => value))
    expect(answers.filter((answer) => (answer.failures?.chunks ?? 0) > 0).length).toBeGreaterThan(3)
    jobs.mockRestore()
  })
})

test('every lie was told', () => {
  for (const [lie, times] of told) expect(times, lie).toBeGreaterThan(0)
})
