import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { zstdIsNative } from '../../src/format/codec.ts'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { memory, openStore, type StoreOptions } from '../../src/index.ts'
import { readNative } from '../../src/native.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import { sharedPool } from '../../src/workers/pool.ts'
import { collect, noise, sameBytes } from '../support/bytes.ts'
import { sample } from '../support/effort.ts'
import { eventually } from '../support/eventually.ts'
import { failure, rejects } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'
import { kinds } from '../support/storages.ts'
import { storeOver } from '../support/store-over.ts'
import { watch } from '../support/watched.ts'

const MIB = 1024 * 1024

/** Text that shrinks, in which each chunk differs. */
function text(bytes: number): Uint8Array {
  let out = ''
  for (let i = 0; out.length < bytes; i++) out += `{"id":${i},"title":"entry number ${i}","tags":["a","b"]}\n`
  return new Uint8Array(Buffer.from(out.slice(0, bytes)))
}

const packages: [what: string, readNative: typeof import('../../src/native.ts').readNative][] = [
  [
    'does not load',
    () => {
      throw new Error('Cannot find module')
    },
  ],
  // The same with a section of no meaning at its end: it would work.
  ['is another build', (name, file) => Buffer.concat([readNative(name, file), Uint8Array.of(0, 1, 0)])],
]

test.skipIf(zstdIsNative).each(packages)(
  'where the package that writes zstd %s, `zstd` is refused, `auto` does without, and it is read all the same',
  async (_, readNative) => {
    const path = join(scratch(), 'store')
    await using store = await openStore(path)
    expect((await store.persist({ blobs: { a: text(MIB) } })).bytes.written).toBeLessThan(MIB / 2)
    vi.resetModules()
    vi.doMock('../../src/native.ts', async (original) => ({
      ...(await original<typeof import('../../src/native.ts')>()),
      readNative,
    }))
    const without = await import('../../src/index.ts')
    vi.doUnmock('../../src/native.ts')
    const persisted = without.memory({ compression: 'zstd' }).persist({ blobs: { a: 'x' } })
    const error = await rejects(persisted, 'COMPRESSION_UNSUPPORTED')
    expect(error.kind).toBe('unsupported')
    expect(error.details.node).toBe(process.version)
    const { bytes } = await without.memory().persist({ blobs: { a: text(MIB) } })
    expect(bytes.written).toBeGreaterThan(MIB)
    await using snapshot = await without.loadSnapshot(path)
    expect(sameBytes(await snapshot!.blob('a').bytes(), text(MIB))).toBe(true)
  },
)

describe('compression', () => {
  test.each(kinds)(
    'what shrinks is written smaller to a $name store, and comes back in every way',
    async ({ open }) => {
      const store = await open()
      const bytes = text(9 * MIB)
      const saved = await store.persist({ blobs: { a: bytes, b: noise(MIB, 1), small: 'x', empty: '' } })
      expect(saved.bytes.written).toBeLessThan(4 * MIB)
      const snapshot = (await store.load())!
      expect(sameBytes(await snapshot.blob('a').bytes(), bytes)).toBe(true)
      expect(sameBytes(await collect(snapshot.blob('a').stream()), bytes)).toBe(true)
      for (const [start, end] of [
        [0, 1],
        [5 * MIB - 3, 5 * MIB + 3],
        [9 * MIB - 1, 9 * MIB],
      ] as const) {
        const range = await collect(snapshot.blob('a').stream({ start, end }))
        expect(sameBytes(range, bytes.subarray(start, end))).toBe(true)
      }
      expect(sameBytes(await snapshot.blob('b').bytes(), noise(MIB, 1))).toBe(true)
      expect(await snapshot.blob('small').text()).toBe('x')
    },
  )

  test('manifests do not depend on it', async () => {
    const manifests = new Set<string>()
    for (const compression of ['none', 'zstd', 'auto'] as const) {
      const { manifest } = await memory({ compression }).persist({ blobs: { a: text(MIB) } })
      manifests.add(manifest)
    }
    expect(manifests.size).toBe(1)
  })

  test('what does not shrink is written as it is', async () => {
    const { bytes } = await memory({ compression: 'zstd' }).persist({ blobs: { a: noise(4 * MIB, 1) } })
    expect(bytes.written).toBeGreaterThan(4 * MIB)
    expect(bytes.written).toBeLessThan(4.1 * MIB)
  })

  test('a stream of what shrank a thousandfold stays in parts of bounded size', async () => {
    const store = memory()
    await store.persist({ blobs: { a: new Uint8Array(64 * MIB) }, metadata: {} })
    const distinct = new Uint8Array(64 * MIB)
    const words = new Uint32Array(distinct.buffer)
    for (let i = 0; i < words.length; i += 4096) words[i] = i
    await store.persist({ blobs: { a: distinct } })
    let length = 0
    for await (const part of (await store.load())!.blob('a').stream()) {
      expect(part.length).toBeLessThanOrEqual(4 * MIB)
      length += part.length
    }
    expect(length).toBe(64 * MIB)
  })

  test.each(['0', undefined])('damage among them is found and named (HOLDFAST_WORKERS=%s)', async (workers) => {
    const directory = join(scratch(), 'store')
    const bytes = text(MIB)
    await using store = await openStore(directory)
    await store.persist({ blobs: { a: bytes } })
    const [pack] = readdirSync(join(directory, 'packs'))
    const path = join(directory, 'packs', pack!)
    const stored = readFileSync(path)
    stored[Math.floor(stored.length / 2)]! ^= 1
    writeFileSync(path, stored)
    sharedPool()!.startUp()
    await eventually(() => expect(sharedPool()!.isUp).toBe(true))
    vi.stubEnv('HOLDFAST_WORKERS', workers)
    try {
      await using snapshot = (await store.load())!
      const error = await rejects(snapshot.blob('a').bytes(), 'BLOB_DAMAGED')
      expect(error.details).toMatchObject({ blob: 'a', pack: pack!.replace('.pack', '') })
      const error2 = await rejects(collect(snapshot.blob('a').stream()), 'BLOB_DAMAGED')
      expect(error2.details.block).toBe(error.details.block)
    } finally {
      vi.unstubAllEnvs()
    }
  })

  test('on the main thread they are decompressed a little at a time: the event loop turns meanwhile', async () => {
    vi.stubEnv('HOLDFAST_WORKERS', '0')
    try {
      await using store = memory()
      await store.persist({ blobs: { a: text(16 * MIB) } })
      await using snapshot = (await store.load())!
      for (const work of [() => snapshot.blob('a').bytes(), () => store.verify()]) {
        let turns = 0
        let done = false
        const turn = (): void => {
          turns += 1
          if (!done) setImmediate(turn)
        }
        turn()
        await work()
        done = true
        // One for each 128 KiB, rounded up to whole chunks.
        expect(turns).toBeGreaterThan(100)
      }
    } finally {
      vi.unstubAllEnvs()
    }
  })

  test('blocks of either kind are folded together, whoever writes', async () => {
    const watched = watch(memoryStorage())
    const kept = new Map<number, Uint8Array>()
    let folds = 0
    for (let i = 1; i <= 40; i++) {
      const compression: StoreOptions['compression'] = i % 3 === 0 ? 'none' : 'zstd'
      const store = storeOver(watched.storage, nodeFileSystem, { compression, keepLast: 12 })
      const bytes = Buffer.concat([text(20_000 + i), noise(5000, i)])
      const saved = await store.persist({ blobs: { a: bytes } })
      kept.set(saved.sequence, bytes)
      if (saved.bytes.compacted > 0) folds += 1
      const infos = await store.snapshots()
      for (const { sequence } of new Set([infos[0]!, ...sample(`folded ${i}`, infos, 2), infos.at(-1)!])) {
        await using snapshot = (await store.load({ at: sequence }))!
        expect(sameBytes(await snapshot.blob('a').bytes(), kept.get(sequence)!)).toBe(true)
      }
    }
    expect(folds).toBeGreaterThan(1)
  })
})

test('no other compression is accepted', async () => {
  expect(await failure(openStore(scratch(), { compression: 'brotli' as 'none' }))).toBeInstanceOf(TypeError)
  expect(() => memory({ compression: true as unknown as 'none' })).toThrow(TypeError)
})
