import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { content, fixed } from '../../src/format/chunking.ts'
import { noise } from '../support/bytes.ts'
import { quickScratch } from '../support/scratch.ts'
import { contentsOf, fingerprint, storeAt } from '../support/store-directory.ts'

/** Scribbles over shared memory for as long as it runs. */
const scribble = `
  const { workerData, parentPort } = require('node:worker_threads')
  const bytes = new Uint8Array(workerData)
  parentPort.postMessage('scribbling')
  for (let n = 1; ; n = (n * 48271) % 2147483647) bytes[n % bytes.length] = n
`

/** Everything that was stored agrees with itself, read whole, as a stream, and as a file. Answers the fingerprint. */
async function consistent(path: string): Promise<string> {
  await using store = storeAt(path)
  await using snapshot = (await store.load())!
  const { blobs } = await contentsOf(snapshot)
  const parts: Uint8Array[] = []
  for await (const part of snapshot.blob('live').stream()) parts.push(part)
  expect(fingerprint(Buffer.concat(parts))).toBe(blobs.live)
  await snapshot.blob('live').file()
  return blobs.live!
}

test.each([
  ['content', content()],
  ['fixed', fixed(4096)],
])(
  'a buffer that another thread writes to all the time is stored as it was when it was copied (%s)',
  async (_, chunking) => {
    const path = join(quickScratch(), 'store')
    const live = new Uint8Array(new SharedArrayBuffer(9 * 1024 * 1024 + 123))
    live.set(noise(live.length, 1))
    const worker = new Worker(scribble, { eval: true, workerData: live.buffer })
    await new Promise((resolve) => worker.once('message', resolve))
    try {
      await using store = storeAt(path, { keepLast: 1 })
      const seen = new Set<string>()
      for (let n = 0; n < 3; n++) {
        const { unchanged } = await store.persist({ blobs: { live }, chunking })
        expect(unchanged).toBe(false)
        seen.add(await consistent(path))
      }
      // Otherwise it was not written to.
      expect(seen.size).toBe(3)
    } finally {
      await worker.terminate()
    }
  },
)

test('a buffer that its owner reuses as soon as the persist has begun is stored whole, old or new byte by byte', async () => {
  const path = join(quickScratch(), 'store')
  await using store = storeAt(path)
  const live = noise(20 * 1024 * 1024, 1)
  const persisting = store.persist({
    blobs: { live },
    onProgress: ({ phase }) => {
      if (phase === 'reading') live.fill(7)
    },
  })
  await persisting
  const first = await consistent(path)
  expect(first).not.toBe(fingerprint(noise(live.length, 1)))
  // The parts of a stream are the persist's until it asks for the next one, and no longer.
  async function* parts() {
    const part = new Uint8Array(1024 * 1024)
    for (let n = 0; n < 12; n++) {
      part.set(noise(part.length, n))
      yield part
    }
  }
  await store.persist({ blobs: { live: parts() } })
  const whole = Buffer.concat(Array.from({ length: 12 }, (_, n) => noise(1024 * 1024, n)))
  expect(await consistent(path)).toBe(fingerprint(whole))
})
