import { describe, expect, test } from 'vitest'
import type { Warning } from '../../src/progress.ts'
import { createDisk } from '../faulty-disk/disk.ts'
import {
  badSectors,
  build,
  chunkOf,
  fileOf,
  headOf,
  open,
  packsOf,
  persisted,
  persistOf,
  placeOf,
  visit,
  withFiles,
  withRottenChunk,
} from '../support/lab.ts'
import { failure, rejects } from '../support/rejects.ts'

const four = await build(persisted('a1', 'b1', 'c1', 'd1'), { keepLast: 10 })
const lastTwoBad = withRottenChunk(withRottenChunk(four, chunkOf('d1', 1)), chunkOf('c1', 1))

describe('fallback', () => {
  test('gives the newest intact snapshot, with an account of what was passed over and why', async () => {
    const warnings: Warning[] = []
    const { result } = await visit(
      lastTwoBad,
      async (store) => {
        await using snapshot = await store.load({ fallback: true })
        return { sequence: snapshot!.sequence, skipped: snapshot!.skipped }
      },
      { onWarning: (warning) => warnings.push(warning) },
    )
    const { snapshots } = headOf(four)
    expect(result.sequence).toBe(2)
    expect(result.skipped).toMatchObject([
      {
        sequence: 4,
        manifest: snapshots[0]!.manifest,
        error: { code: 'BLOB_DAMAGED', details: { blob: 'index', sequence: 4 } },
      },
      {
        sequence: 3,
        manifest: snapshots[1]!.manifest,
        error: { code: 'BLOB_DAMAGED', details: { blob: 'index', sequence: 3 } },
      },
    ])
    expect(warnings.map(({ code, details }) => [code, details.sequence])).toEqual([
      ['FALLBACK', 4],
      ['FALLBACK', 3],
    ])
  })

  test('and restore give the same account', async () => {
    const { result } = await visit(lastTwoBad, async (store) => {
      const restored = await store.restore(
        async (snapshot) =>
          Buffer.from(await snapshot.blob('docs').bytes()).toString() + (await snapshot.blob('index').bytes()).length,
        { fallback: true },
      )
      await restored!.snapshot.dispose()
      return restored!
    })
    expect(result.value).toBe('docs of b12048')
    expect(result.skipped.map(({ sequence }) => sequence)).toEqual([4, 3])
    expect(result.snapshot.skipped).toBe(result.skipped)
  })

  test('looks only at the blobs that are asked for', async () => {
    const { result } = await visit(lastTwoBad, async (store) => {
      await using snapshot = await store.load({ fallback: true, blobs: ['docs'] })
      return snapshot!.sequence
    })
    expect(result).toBe(4)
  })

  test('is not taken unasked: damage throws', async () => {
    await rejects(
      visit(lastTwoBad, (store) => store.restore((snapshot) => snapshot.blob('index').bytes())),
      'BLOB_DAMAGED',
    )
  })

  test('passes over a manifest and a pack that are lost', async () => {
    const { path } = placeOf(four, chunkOf('d1', 1))
    const image = withFiles(four, { [path]: fileOf(four, path).slice(0, 100) })
    const { result } = await visit(image, async (store) => {
      await using snapshot = await store.load({ fallback: true })
      return snapshot!
    })
    expect(result.sequence).toBe(3)
    expect(result.skipped).toMatchObject([{ sequence: 4, error: { code: 'SNAPSHOT_DAMAGED' } }])
  })

  test('when nothing is intact, throws the damage of the newest with the account of all', async () => {
    const none = packsOf(four).reduce((image, path) => withFiles(image, { [path]: new Uint8Array(0) }), four)
    const error = await rejects(
      visit(none, (store) => store.load({ fallback: true })),
      'SNAPSHOT_DAMAGED',
    )
    expect(error.details.skipped).toMatchObject([{ sequence: 4 }, { sequence: 3 }, { sequence: 2 }, { sequence: 1 }])
    expect(error.message).toMatch(/4 tried/)
  })

  test('never chooses what a rollback stepped over', async () => {
    const image = await build(
      async (store) => {
        await persisted('a1', 'b1', 'c1')(store)
        await store.rollback(1)
        await store.persist(persistOf('d1'))
      },
      { keepLast: 10 },
    )
    const { result } = await visit(withRottenChunk(image, chunkOf('d1', 1)), async (store) => {
      await using snapshot = await store.load({ fallback: true })
      return snapshot!
    })
    expect(result).toMatchObject({ sequence: 4, skipped: [{ sequence: 5 }] })
  })

  test('is for damage only: not for an error of the engine, of the schema, or of the disk', async () => {
    const boom = new Error('engine')
    expect(
      await failure(
        visit(four, (store) =>
          store.restore(
            () => {
              throw boom
            },
            { fallback: true },
          ),
        ),
      ),
    ).toBe(boom)
    await rejects(
      visit(four, (store) => store.load({ fallback: true, blobs: ['nothing'] })),
      'BLOB_NOT_FOUND',
    )
    const { path, offset } = placeOf(four, chunkOf('d1', 1))
    const through = badSectors((file) => (file.endsWith(path) ? [offset, offset + 1] : null))
    await rejects(
      visit(four, (store) => store.load({ fallback: true }), { through }),
      'IO_FAILED',
    )
  })
})

describe('minSequence', () => {
  test('is satisfied by the current snapshot', async () => {
    const { result } = await visit(four, async (store) => {
      await using snapshot = await store.load({ minSequence: 4 })
      return snapshot!.sequence
    })
    expect(result).toBe(4)
  })

  test('refuses an older store than was seen before, with a choice of snapshot or without', async () => {
    const error = await rejects(
      visit(four, (store) => store.load({ minSequence: 5 })),
      'STORE_ROLLED_BACK',
    )
    expect(error.details).toEqual({ sequence: 4, minSequence: 5 })
    await rejects(
      visit(four, (store) => store.load({ minSequence: 5, at: 2 })),
      'STORE_ROLLED_BACK',
    )
    await rejects(
      visit(four, (store) => store.restore(() => 1, { minSequence: 5 })),
      'STORE_ROLLED_BACK',
    )
  })

  test('is no bound for a snapshot that is asked for by name', async () => {
    const { result } = await visit(four, async (store) => {
      await using snapshot = await store.load({ minSequence: 4, at: 2 })
      return snapshot!.sequence
    })
    expect(result).toBe(2)
  })

  test('is where fallback stops', async () => {
    const error = await rejects(
      visit(lastTwoBad, (store) => store.load({ fallback: true, minSequence: 3 })),
      'BLOB_DAMAGED',
    )
    expect(error.details.skipped).toMatchObject([{ sequence: 4 }, { sequence: 3 }])
    const { result } = await visit(lastTwoBad, async (store) => {
      await using snapshot = await store.load({ fallback: true, minSequence: 2 })
      return snapshot!.sequence
    })
    expect(result).toBe(2)
  })

  test('sees through the numbers that a repair jumped to', async () => {
    // The newest snapshot is lost for good, and with it HEAD.
    const { path } = placeOf(four, chunkOf('d1', 1))
    const lost = withFiles(four, { 'HEAD.json': null, [path]: null })
    const disk = createDisk(lost)
    await open(disk).repair()
    expect(headOf(disk.image()).sequence).toBeGreaterThan(1000)
    await rejects(open(disk).load({ minSequence: 4 }), 'STORE_ROLLED_BACK')
    await using snapshot = await open(disk).load({ minSequence: 3 })
    expect(snapshot!.sequence).toBe(3)
  })

  test('refuses an empty place, where snapshots were seen before', async () => {
    await rejects(open(createDisk()).load({ minSequence: 5 }), 'NO_SNAPSHOT')
    expect(await open(createDisk()).load({ minSequence: 0 })).toBeNull()
  })
})
