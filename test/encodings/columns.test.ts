// Files are cut into columns and put together again by the code that the workers run. It is compared with a plain one,
// which goes record by record.

import fc from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { columnBlobs, measure } from '../../src/encodings/columns.ts'
import type { SavedEngine } from '../../src/encodings/engine-state.ts'
import type { Region } from '../../src/format/regions.ts'
import { strideOf } from '../../src/format/regions.ts'
import { SHARED_PARTS } from '../../src/load/blob.ts'
import { joinColumns } from '../../src/load/join-columns.ts'
import type { SavedFile } from '../../src/local/saved-file.ts'
import { sharedPool, WorkerFailed } from '../../src/workers/pool.ts'
import { HEADROOM_BYTES } from '../../src/workers/shared-parts.ts'
import { collect, noise, sameBytes } from '../support/bytes.ts'
import { rounds, share } from '../support/effort.ts'
import { eventually } from '../support/eventually.ts'
import { createRandom } from '../support/random.ts'

type Columns = Record<string, Buffer>

/** A file with these regions, and its columns, made the plain way. */
function made(regions: readonly Region[], seed: number): { file: Buffer; columns: Columns } {
  const r = createRandom(seed)
  const file: Buffer[] = []
  const columns: Record<string, Buffer[]> = {}
  const put = (column: string, bytes: Buffer): void => {
    columns[column] ??= []
    columns[column].push(bytes)
    file.push(bytes)
  }
  for (const { count, fields, tail } of regions) {
    for (const { column } of fields) columns[column] ??= []
    if (tail !== undefined) columns[tail.column] ??= []
    for (let n = 0; n < count; n++) {
      const record = Buffer.from(noise(strideOf({ fields }), r.below(2 ** 30)))
      let size = 0
      if (tail !== undefined) {
        const number = r.below(10) === 0 ? r.below(300) : r.below(3)
        size = number * tail.times
        if (tail.width === 2) record.writeInt16LE(number, tail.at)
        else record.writeInt32LE(number, tail.at)
      }
      let at = 0
      for (const field of fields) {
        put(field.column, record.subarray(at, at + field.size))
        at += field.size
      }
      if (size > 0) put(tail!.column, Buffer.from(noise(size, r.below(2 ** 30))))
    }
  }
  const joined = Object.entries(columns).map(([name, parts]) => [name, Buffer.concat(parts)] as const)
  return { file: Buffer.concat(file), columns: Object.fromEntries(joined) }
}

function savedFile(bytes: Buffer): SavedFile {
  return {
    size: bytes.length,
    async read(target, position) {
      const part = bytes.subarray(position, position + target.length)
      target.set(part)
      return part.length
    },
    release: async () => undefined,
  }
}

async function cut(bytes: Buffer, regions: readonly Region[]): Promise<Columns> {
  const file = savedFile(bytes)
  const measured = await measure(file, regions)
  expect(measured.end).toBe(bytes.length)
  const columns: Columns = {}
  for (const [name, blob] of Object.entries(columnBlobs(file, measured, {}))) {
    const { source } = blob as { source: AsyncIterable<Uint8Array> }
    const parts: Buffer[] = []
    for await (const part of source) parts.push(Buffer.from(part))
    columns[name] = Buffer.concat(parts)
  }
  return columns
}

/** Columns in parts, of memory that is overwritten as soon as it may be. */
function saved(columns: Columns, seed: number, partBytesMax: number): SavedEngine {
  async function* shared(bytes: Buffer): AsyncGenerator<Uint8Array> {
    const r = createRandom(seed)
    const given: Uint8Array[] = []
    for (let at = 0; at < bytes.length; ) {
      const length = 1 + r.below(partBytesMax)
      const part = bytes.subarray(at, at + length)
      const memory = new Uint8Array(new SharedArrayBuffer(HEADROOM_BYTES + part.length), HEADROOM_BYTES)
      memory.set(part)
      given.push(memory)
      given.at(-3)?.fill(0xee)
      yield memory
      at += part.length
    }
  }
  async function* stream(bytes: Buffer): AsyncGenerator<Uint8Array> {
    for await (const part of shared(bytes)) yield Uint8Array.from(part)
  }
  const blob = (name: string) => ({
    size: columns[name]!.length,
    stream: () => stream(columns[name]!),
    ...(seed % 2 === 0 ? { [SHARED_PARTS]: () => shared(columns[name]!) } : {}),
  })
  return { blob } as unknown as SavedEngine
}

async function joined(
  columns: Columns,
  regions: readonly Region[],
  seed: number,
  partBytesMax = 3000,
): Promise<Buffer> {
  return Buffer.from(await collected(joinColumns(saved(columns, seed, partBytesMax), regions, undefined)))
}

/** A part is copied before the next is asked for, and later than the turn in which it came. */
async function collected(parts: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  async function* copies(): AsyncGenerator<Uint8Array> {
    for await (const part of parts) {
      await new Promise((resolve) => setImmediate(resolve))
      yield Uint8Array.from(part)
    }
  }
  return await collect(copies())
}

const field = fc.record({ column: fc.constantFrom('a', 'b', 'c'), size: fc.integer({ min: 1, max: 60 }) })
const region = fc
  .record({
    count: fc.integer({ min: 0, max: 60 }),
    fields: fc.array(field, { minLength: 1, maxLength: 4 }),
    tail: fc.option(
      fc.record({
        column: fc.constantFrom('a', 'd'),
        width: fc.constantFrom(2 as const, 4 as const),
        times: fc.integer({ min: 0, max: 50 }),
      }),
    ),
  })
  .map(({ count, fields, tail }): Region => {
    if (tail === null) return { count, fields }
    const all = [{ column: 'n', size: tail.width }, ...fields]
    return { count, fields: all, tail: { ...tail, at: 0, multipleOf: Math.max(tail.times, 1) } }
  })
const regions = fc.array(region, { minLength: 1, maxLength: 4 })

async function withThreads(): Promise<void> {
  const pool = sharedPool()!
  pool.startUp()
  await eventually(() => expect(pool.isUp).toBe(true))
}

afterEach(() => {
  vi.restoreAllMocks()
  vi.unstubAllEnvs()
})

test('any file is cut as the plain way does, and put together again', async () => {
  vi.stubEnv('HOLDFAST_WORKERS', '0')
  await fc.assert(
    fc.asyncProperty(regions, fc.nat(), async (shape, seed) => {
      const { file, columns } = made(shape, seed)
      expect(await cut(file, shape)).toEqual(columns)
      expect((await joined(columns, shape, seed)).equals(file)).toBe(true)
    }),
    rounds(100),
  )
})

/** As hnswlib has it, with records whose tails are long, and one as usearch has it: 50 MB, or half of them in a quick run. */
const large: Region[] = [
  { count: 1, fields: [{ column: 'a', size: 96 }] },
  { count: share(9000, 4500), fields: [{ column: 'b', size: 700 }] },
  {
    count: share(20_000, 10_000),
    fields: [
      { column: 'n', size: 10 },
      { column: 'c', size: 132 },
      { column: 'd', size: 400 },
    ],
    tail: { column: 'e', at: 4, width: 4, times: 68, multipleOf: 68 },
  },
  {
    count: share(12_000, 6000),
    fields: [
      { column: 'f', size: 130 },
      { column: 'b', size: 777 },
    ],
  },
]

const { file, columns } = made(large, 3)

describe.each(['threads', 'no threads'])('with %s', (threads) => {
  test('a file of many parts is cut and put together again', async () => {
    if (threads === 'threads') await withThreads()
    else vi.stubEnv('HOLDFAST_WORKERS', '0')
    const give = vi.spyOn(sharedPool() ?? { give: () => undefined }, 'give')
    const found = await cut(file, large)
    for (const [name, bytes] of Object.entries(columns)) expect(sameBytes(found[name]!, bytes), name).toBe(true)
    const kinds = (): Set<string> => new Set(give.mock.calls.map(([job]) => (job as { kind: string }).kind))
    for (const [seed, partBytesMax] of [
      [2, 5_000_000],
      [4, 200_000],
      [3, 5_000_000],
    ]) {
      expect(sameBytes(await joined(columns, large, seed!, partBytesMax), file)).toBe(true)
    }
    expect([...kinds()].sort()).toEqual(threads === 'threads' ? ['cut-column', 'join-columns'] : [])
  })
})

test('a worker that dies over a part: the part is read and done again', async () => {
  await withThreads()
  const pool = sharedPool()!
  const give = pool.give.bind(pool)
  let calls = 0
  vi.spyOn(pool, 'give').mockImplementation(async (job, moved) => {
    const done = await give(job, moved)
    if (++calls % 3 === 0) throw new WorkerFailed('made up, when it was done')
    return done
  })
  const found = await cut(file, large)
  for (const [name, bytes] of Object.entries(columns)) expect(sameBytes(found[name]!, bytes), name).toBe(true)
  expect(sameBytes(await joined(columns, large, 2, 5_000_000), file)).toBe(true)
  expect(calls).toBeGreaterThan(20)
})

test('columns that do not fit together are refused: one too short, too long, or with a number that makes no sense', async () => {
  const shape: Region[] = [
    {
      count: 50,
      fields: [
        { column: 'n', size: 4 },
        { column: 'a', size: 30 },
      ],
      tail: { column: 'd', at: 0, width: 4, times: 7, multipleOf: 7 },
    },
  ]
  const { columns } = made(shape, 1)
  for (const name of Object.keys(columns)) {
    const bytes = columns[name]!
    await expect(joined({ ...columns, [name]: bytes.subarray(0, -1) }, shape, 1)).rejects.toThrow('shorter')
    await expect(joined({ ...columns, [name]: Buffer.concat([bytes, bytes]) }, shape, 1)).rejects.toThrow('longer')
  }
  const wrong = Buffer.from(columns.n!)
  wrong.writeInt32LE(-1, 40)
  await expect(joined({ ...columns, n: wrong }, shape, 1)).rejects.toThrow('does not fit')
})

test('a file that is cut short, or has a number that makes no sense, is measured to be so', async () => {
  const shape: Region[] = [
    {
      count: 50,
      fields: [{ column: 'n', size: 4 }],
      tail: { column: 'd', at: 0, width: 4, times: 1, multipleOf: 5 },
    },
  ]
  const whole = Buffer.concat(Array.from({ length: 50 }, (_, n) => Buffer.from([5, 0, 0, 0, n, n, n, n, n])))
  expect((await measure(savedFile(whole), shape)).end).toBe(whole.length)
  for (const bytes of [1, 5, 6, 9]) {
    expect((await measure(savedFile(whole.subarray(0, -bytes)), shape)).end).toBeGreaterThan(whole.length - bytes)
  }
  const wrong = Buffer.from(whole)
  wrong.writeInt32LE(6, 9 * 30)
  expect((await measure(savedFile(wrong), shape)).end).toBe(null)
})

test('a region of several columns is read once, unless the smaller ones are too large to be kept', async () => {
  const fields = [
    { column: 'links', size: 100 },
    { column: 'vectors', size: 1000 },
    { column: 'labels', size: 8 },
  ]
  const small: Region[] = [{ count: 2000, fields }]
  const large: Region[] = [{ count: 20_000, fields: fields.map((each) => ({ ...each, size: 10 * each.size })) }]
  expect(await timesRead(small)).toBe(1)
  // The links: 20 MB.
  expect(await timesRead(large)).toBe(2)

  async function timesRead(regions: readonly Region[]): Promise<number> {
    const size = regions.reduce((sum, region) => sum + region.count * strideOf(region), 0)
    let bytes = 0
    const read = async (target: Uint8Array, position: number): Promise<number> => {
      const got = Math.min(target.length, size - position)
      bytes += got
      return got
    }
    const measured = await measure({ size, read }, regions)
    for (const blob of Object.values(columnBlobs({ size, read }, measured, {}))) {
      let length = 0
      for await (const part of (blob as { source: AsyncIterable<Uint8Array> }).source) length += part.length
      expect(length).toBeGreaterThan(0)
    }
    return Math.round(bytes / size)
  }
})
