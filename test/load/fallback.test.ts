import { existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { Snapshot } from '../../src/load/snapshot.ts'
import {
  contentsOf,
  contentsOfGeneration,
  generation,
  headOf,
  quickScratch,
  storeAt,
  type TestStore,
} from '../support/store-directory.ts'

/** Snapshots 1 to `count`, each in a pack of its own. */
async function history(count: number): Promise<TestStore> {
  const store = storeAt(join(quickScratch(), 'store'), { keepLast: 10 })
  for (let seed = 1; seed <= count; seed++) await store.persist(generation(seed))
  return store
}

/** Flips a bit in the first chunk of the blob data of these snapshots. */
function damage(store: TestStore, ...sequences: number[]): void {
  const { snapshots, packs } = headOf(store.location)
  for (const sequence of sequences) {
    const { pack } = snapshots.find((snapshot) => snapshot.sequence === sequence)!
    const path = join(store.location, 'packs', `${packs.find(({ id }) => id === pack)!.name}.pack`)
    const bytes = readFileSync(path)
    bytes[100]! ^= 4
    writeFileSync(path, bytes)
  }
}

const fallback = { fallback: true }

describe('falling back', () => {
  test.each([
    [[4], 3],
    [[4, 3], 2],
    [[4, 2], 3],
    [[4, 3, 2], 1],
    [[3, 2, 1], 4],
  ])('passes over exactly the damaged snapshots: of %j it takes %i', async (damaged, taken) => {
    await using store = await history(4)
    damage(store, ...damaged)
    const passed = damaged.filter((sequence) => sequence > taken)
    const because = passed.map((sequence) => ({
      sequence,
      manifest: headOf(store.location).snapshots.find((s) => s.sequence === sequence)!.manifest,
      error: { code: 'BLOB_DAMAGED', kind: 'damaged', details: { sequence, blob: 'small' } },
    }))
    const restored = (await store.restore(contentsOf, fallback))!
    expect(restored.value).toEqual(contentsOfGeneration(taken, taken))
    expect(restored.skipped).toMatchObject(because)
    await restored.snapshot.dispose()
    await using loaded = await store.load(fallback)
    expect(loaded).toMatchObject({ sequence: taken, skipped: because })
    const warned = passed.map((sequence) => ({ code: 'FALLBACK', details: { sequence } }))
    expect(store.warnings).toMatchObject([...warned, ...warned])
  })

  test('ends with the damage of the snapshot that was asked for, when no older one is intact', async () => {
    await using store = await history(3)
    damage(store, 1, 2, 3)
    for (const attempt of [() => store.load(fallback), () => store.restore(contentsOf, fallback)]) {
      await expect(attempt()).rejects.toMatchObject({
        code: 'BLOB_DAMAGED',
        message: expect.stringContaining('no older snapshot'),
        details: { sequence: 3, skipped: [{ sequence: 3 }, { sequence: 2 }, { sequence: 1 }] },
      })
    }
  })

  test('is not done unasked', async () => {
    await using store = await history(2)
    damage(store, 2)
    await expect(store.restore(contentsOf)).rejects.toMatchObject({ code: 'BLOB_DAMAGED', details: { sequence: 2 } })
    expect(store.warnings).toEqual([])
  })

  test('begins at the snapshot that was asked for, and ends at the oldest that is acceptable', async () => {
    await using store = await history(4)
    damage(store, 3)
    await using loaded = await store.load({ ...fallback, at: 3 })
    expect(loaded?.sequence).toBe(2)
    damage(store, 4)
    await expect(store.load({ ...fallback, minSequence: 3 })).rejects.toMatchObject({
      kind: 'damaged',
      details: { skipped: [{ sequence: 4 }, { sequence: 3 }] },
    })
  })

  test('never chooses what a rollback stepped over, also after retention has dropped what is older', async () => {
    await using store = await history(4)
    await store.rollback(2)
    damage(store, 2)
    await using before = await store.load(fallback)
    expect(before).toMatchObject({ sequence: 1, skipped: [{ sequence: 5 }, { sequence: 2 }] })
    // Keeps the new one, 5, and 2.
    await store.persist({ ...generation(6), keepLast: 3 })
    damage(store, 6)
    expect(headOf(store.location).snapshots.map(({ sequence, abandoned }) => [sequence, abandoned])).toEqual(
      expect.arrayContaining([
        [6, false],
        [5, false],
        [2, false],
      ]),
    )
    await expect(store.load(fallback)).rejects.toMatchObject({
      details: { skipped: [{ sequence: 6 }, { sequence: 5 }, { sequence: 2 }] },
    })
  })

  test('looks only at the blobs that were asked for', async () => {
    await using store = await history(2)
    damage(store, 2)
    await using loaded = await store.load({ ...fallback, blobs: ['large'] })
    expect(loaded).toMatchObject({ sequence: 2, skipped: [] })
    await using other = await store.load({ ...fallback, blobs: ['small'] })
    expect(other).toMatchObject({ sequence: 1 })
  })
})

describe('what moves on to an older snapshot', () => {
  const read = (snapshot: Snapshot) => snapshot.blob('small').bytes()

  test.each<[string, (snapshot: Snapshot) => Promise<unknown>]>([
    ['as it is', read],
    [
      'wrapped in an error of the engine',
      async (snapshot) => {
        try {
          return await read(snapshot)
        } catch (cause) {
          throw new TypeError('the engine cannot parse this', { cause })
        }
      },
    ],
    [
      'replaced by an error that does not know its cause',
      async (snapshot) => {
        await read(snapshot).catch(() => {
          throw new Error('unexpected end of input')
        })
      },
    ],
    [
      'met in a stream',
      async (snapshot) => {
        for await (const _ of snapshot.blob('small').stream());
      },
    ],
    ['met while laying out a file', (snapshot) => snapshot.blob('small').file()],
    ['met while writing to a path', (snapshot) => snapshot.blob('small').writeTo(join(quickScratch(), 'copy'))],
  ])('is damage %s', async (_, use) => {
    await using store = await history(2)
    damage(store, 2)
    const used: number[] = []
    const restored = await store.restore(async (snapshot) => {
      used.push(snapshot.sequence)
      await use(snapshot)
      return 'done'
    }, fallback)
    expect(restored).toMatchObject({ value: 'done', skipped: [{ sequence: 2, error: { code: 'BLOB_DAMAGED' } }] })
    expect(used).toEqual([2, 1])
    await restored!.snapshot.dispose()
  })

  test('is not an error of the engine, which comes through as it was thrown', async () => {
    await using store = await history(2)
    const mine = new Error('this engine wants another version')
    let uses = 0
    const restoring = store.restore(async (snapshot) => {
      uses += 1
      await read(snapshot)
      throw mine
    }, fallback)
    await expect(restoring).rejects.toBe(mine)
    expect(uses).toBe(1)
    expect(store.warnings).toEqual([])
  })

  test('is not metadata that does not fit the schema, nor a blob that is not there', async () => {
    await using store = await history(2)
    await expect(
      store.restore(read, { ...fallback, metadataSchema: z.object({ seed: z.string() }) }),
    ).rejects.toMatchObject({ code: 'SCHEMA_MISMATCH' })
    await expect(store.restore(read, { ...fallback, blobs: ['index'] })).rejects.toMatchObject({
      code: 'BLOB_NOT_FOUND',
    })
    expect(store.warnings).toEqual([])
  })
})

test.runIf(process.platform === 'linux')('a snapshot that was passed over does not keep its packs open', async () => {
  await using store = await history(3)
  damage(store, 2, 3)
  await using loaded = await store.load(fallback)
  expect(loaded?.sequence).toBe(1)
  const links = readdirSync('/proc/self/fd').map((fd) => `/proc/self/fd/${fd}`)
  // The one that listed them is closed again.
  const open = links.filter((link) => existsSync(link)).map((link) => readlinkSync(link))
  expect(open.filter((path) => path.startsWith(store.location))).toEqual([
    join(store.location, 'packs', `${headOf(store.location).packs[0]!.name}.pack`),
  ])
})
