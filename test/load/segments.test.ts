// Sequential reads verify by segments. What is damaged, or what lies, is found by the chunks as before.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { fixed, type HoldfastError, isHoldfastError, openStore } from '../../src/index.ts'
import { sharedPool, WorkerFailed } from '../../src/workers/pool.ts'
import { noise, sameBytes } from '../support/bytes.ts'
import { eventually } from '../support/eventually.ts'
import { createRandom } from '../support/random.ts'
import { scratch } from '../support/scratch.ts'
import { files } from '../support/tree.ts'

const MIB = 1024 * 1024
const CHUNK = 12_000

const data = noise(10 * MIB + 777, 5)

/** A store with `data` in one pack, in which `spoil` may change bytes: their positions are those of the blob. */
async function stored(spoil: number[] = [], compression: 'none' | 'auto' = 'none'): Promise<string> {
  const path = join(scratch(), 'store')
  await using store = await openStore(path, { compression })
  await store.persist({ blobs: { a: { source: data, chunking: fixed(CHUNK) } } })
  const [pack] = files(join(path, 'packs'))
  const file = join(path, 'packs', pack!)
  const bytes = readFileSync(file)
  // The chunks come first, in their order.
  const at = bytes.indexOf(data.subarray(0, 64))
  expect(sameBytes(bytes.subarray(at, at + data.length), data)).toBe(true)
  for (const position of spoil) bytes[at + position]! ^= 1
  writeFileSync(file, bytes)
  return path
}

/** What a stream gives, and how it ends. */
async function streamed(path: string, range: { start?: number; end?: number } = {}): Promise<[Buffer, unknown]> {
  await using store = await openStore(path)
  await using snapshot = (await store.load())!
  const parts: Uint8Array[] = []
  try {
    for await (const part of snapshot.blob('a').stream(range)) parts.push(part)
  } catch (error) {
    return [Buffer.concat(parts), error]
  }
  return [Buffer.concat(parts), null]
}

async function withThreads(): Promise<void> {
  const pool = sharedPool()!
  pool.startUp()
  await eventually(() => expect(pool.isUp).toBe(true))
}

afterEach(() => {
  vi.restoreAllMocks()
  vi.unstubAllEnvs()
})

describe.each(['threads', 'no threads'])('with %s', (threads) => {
  async function ready(): Promise<void> {
    if (threads === 'threads') await withThreads()
    else vi.stubEnv('HOLDFAST_WORKERS', '0')
  }

  test('a flipped bit anywhere: what comes before its chunk is given, and the error names the chunk', async () => {
    await ready()
    const r = createRandom(7)
    for (const position of [0, 4 * MIB - 1, 4 * MIB, 8 * MIB + 5, data.length - 1, r.below(data.length)]) {
      const path = await stored([position])
      const [given, error] = await streamed(path)
      const chunk = Math.floor(position / CHUNK) * CHUNK
      expect(isHoldfastError(error, 'BLOB_DAMAGED'), `${position}: ${error}`).toBe(true)
      expect((error as HoldfastError).details).toMatchObject({ position: chunk })
      // A chunk may begin in a segment that is whole.
      const good = Math.max(chunk, Math.floor(position / (4 * MIB)) * 4 * MIB)
      expect(given.length, `${position}`).toBe(good)
      expect(sameBytes(given, data.subarray(0, good))).toBe(true)
    }
  })

  test('ranges around a bad chunk read, and ranges over it do not', async () => {
    await ready()
    const path = await stored([5 * MIB])
    const chunk = Math.floor((5 * MIB) / CHUNK) * CHUNK
    const ranges = [
      [0, chunk],
      [chunk + CHUNK, data.length],
      [4 * MIB, chunk],
      [chunk + CHUNK, 8 * MIB],
    ]
    for (const [start, end] of ranges) {
      const [given, error] = await streamed(path, { start: start!, end: end! })
      expect(error).toBe(null)
      expect(sameBytes(given, data.subarray(start, end))).toBe(true)
    }
    const [given, error] = await streamed(path, { start: 3 * MIB + 1, end: chunk + 1 })
    expect(sameBytes(given, data.subarray(3 * MIB + 1, chunk))).toBe(true)
    expect(isHoldfastError(error, 'BLOB_DAMAGED')).toBe(true)
  })

  test('verify finds each bad block', async () => {
    await ready()
    const path = await stored([3, 4 * MIB + 1, data.length - 1])
    await using store = await openStore(path)
    const { ok, problems } = await store.verify()
    expect(ok).toBe(false)
    expect(problems).toContainEqual(expect.objectContaining({ code: 'PACK_DAMAGED', blockCount: 3 }))
  })
})

test('a worker that dies with the memory it was lent: it is filled again', async () => {
  await withThreads()
  const path = await stored()
  const give = vi.spyOn(sharedPool()!, 'give').mockImplementation(async (_job, moved) => {
    structuredClone(0, { transfer: moved! })
    throw new WorkerFailed('made up')
  })
  // The next ones are lent nothing.
  give.mockImplementationOnce(async (_job, moved) => {
    structuredClone(0, { transfer: moved! })
    vi.stubEnv('HOLDFAST_WORKERS', '0')
    throw new WorkerFailed('made up')
  })
  const [given, error] = await streamed(path)
  expect(error).toBe(null)
  expect(give).toHaveBeenCalled()
  expect(sameBytes(given, data)).toBe(true)
})

test('a stream of whole segments lends a worker each of them once', async () => {
  await withThreads()
  const path = await stored()
  const give = vi.spyOn(sharedPool()!, 'give')
  const [given] = await streamed(path)
  expect(sameBytes(given, data)).toBe(true)
  expect(give.mock.calls.map(([job]) => (job.kind === 'check' ? job.parts.length / 2 : job.kind))).toEqual([1, 1, 1])
})
