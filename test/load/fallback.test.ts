// Falling back to an older snapshot: what is passed over, what is not a reason for it, and where it ends.

import { existsSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { encodeHead } from '../../src/format/head.ts'
import type { Snapshot } from '../../src/load/snapshot.ts'
import type { Warning } from '../../src/progress.ts'
import { createDisk } from '../faulty-disk/disk.ts'
import {
  badSectors,
  build,
  chunkOf,
  fileOf,
  headOf as headIn,
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
import { quickScratch } from '../support/scratch.ts'
import {
  contentsOf,
  contentsOfGeneration,
  generation,
  headOf,
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

const four = await build(persisted('a1', 'b1', 'c1', 'd1'), { keepLast: 10 })
const lastTwoBad = withRottenChunk(withRottenChunk(four, chunkOf('d1', 1)), chunkOf('c1', 1))

describe('fallback', () => {
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
    expect(headIn(disk.image()).sequence).toBeGreaterThan(1000)
    await rejects(open(disk).load({ minSequence: 4 }), 'STORE_ROLLED_BACK')
    await using snapshot = await open(disk).load({ minSequence: 3 })
    expect(snapshot!.sequence).toBe(3)
  })

  test('refuses an empty place, where snapshots were seen before', async () => {
    await rejects(open(createDisk()).load({ minSequence: 5 }), 'NO_SNAPSHOT')
    expect(await open(createDisk()).load({ minSequence: 0 })).toBeNull()
  })
})

describe('a HEAD that cannot be read, beside a good HEAD.prev.json', () => {
  test.each<[string, Uint8Array | null, 'HEAD_DAMAGED' | 'HEAD_MISSING']>([
    ['is empty', new Uint8Array(0), 'HEAD_DAMAGED'],
    ['is full of zeros', new Uint8Array(900), 'HEAD_DAMAGED'],
    ['is cut short', null, 'HEAD_DAMAGED'],
    ['is missing', null, 'HEAD_MISSING'],
  ])('that %s', async (name, bytes, code) => {
    const { location } = await history(3)
    const head = join(location, 'HEAD.json')
    if (name === 'is missing') rmSync(head)
    else writeFileSync(head, bytes ?? readFileSync(head).subarray(0, 300))
    const warnings: Warning[] = []
    await using store = storeAt(location, { keepLast: 10, onWarning: (warning) => warnings.push(warning) })
    for (const read of [() => store.load(), () => store.snapshots(), () => store.persist(generation(4))]) {
      const error = await rejects(read(), code)
      expect(error.message).toMatch(/repair\(\)/)
    }
    await rejects(store.load({ fallback: true, minSequence: 3 }), 'STORE_ROLLED_BACK')
    expect(warnings.splice(0)).toMatchObject([{ code: 'FALLBACK' }])
    await using snapshot = await store.load(fallback)
    expect(snapshot!.sequence).toBe(2)
    expect(await contentsOf(snapshot!)).toEqual(contentsOfGeneration(2, 2))
    expect(warnings.splice(0)).toMatchObject([{ code: 'FALLBACK', details: { error: { code } } }])
    expect((await store.restore((each) => each.sequence, fallback))!.value).toBe(2)
  })

  test('and damage in its snapshot too, is fallen back from twice', async () => {
    const written = await history(3)
    damage(written, 2)
    writeFileSync(join(written.location, 'HEAD.json'), '')
    await using store = storeAt(written.location, { onWarning: () => undefined })
    await using snapshot = await store.load(fallback)
    expect(snapshot).toMatchObject({ sequence: 1, skipped: [{ sequence: 2 }] })
  })

  test.each(['missing', 'damaged', 'of another store', 'of a store that holds nothing'])(
    'is an error when that one is %s',
    async (state) => {
      const { location } = await history(1)
      const [head, previous] = ['HEAD.json', 'HEAD.prev.json'].map((name) => join(location, name)) as [string, string]
      if (state === 'missing') rmSync(previous)
      if (state === 'damaged') writeFileSync(previous, '{')
      if (state === 'of another store') {
        writeFileSync(previous, readFileSync(join((await history(2)).location, 'HEAD.prev.json')))
      }
      writeFileSync(head, '')
      await using store = storeAt(location, { onWarning: () => undefined })
      await rejects(store.load(fallback), 'HEAD_DAMAGED')
    },
  )
})

const HOUR_MS = 3_600_000

/** A history whose snapshot n was made `hours[n - 1]` hours ago; a negative number is in the future. */
async function agedHistory(...hours: number[]): Promise<TestStore> {
  const { location, close } = await history(hours.length)
  await close()
  const head = headOf(location)
  const snapshots = head.snapshots.map((snapshot) => {
    const timeMs = Date.now() - hours[snapshot.sequence - 1]! * HOUR_MS
    return { ...snapshot, time: new Date(timeMs).toISOString() }
  })
  writeFileSync(join(location, 'HEAD.json'), encodeHead({ ...head, snapshots }))
  return storeAt(location, { keepLast: 10 })
}

describe('how far fallback goes back', () => {
  test('is told: how old each is, and with which one it goes on', async () => {
    await using store = await agedHistory(50, 30, 3, 1)
    damage(store, 3, 4)
    await using loaded = await store.load(fallback)
    expect(loaded).toMatchObject({ sequence: 2, skipped: [{ sequence: 4 }, { sequence: 3 }] })
    expect(Math.round(loaded!.ageMs / HOUR_MS)).toBe(30)
    expect(loaded!.skipped.map(({ ageMs }) => Math.round(ageMs / HOUR_MS))).toEqual([1, 3])
    expect(store.warnings).toMatchObject([
      {
        code: 'FALLBACK',
        details: { sequence: 4, next: 3 },
        message: expect.stringMatching(/snapshot 3, 3 hours old$/),
      },
      {
        code: 'FALLBACK',
        details: { sequence: 3, next: 2 },
        message: expect.stringMatching(/snapshot 2, 30 hours old$/),
      },
    ])
    expect(Math.round((store.warnings[1]!.details.ageMs as number) / HOUR_MS)).toBe(30)
  })

  test.each([
    ['an age', { maxAgeMs: 10 * HOUR_MS }],
    ['a sequence', { minSequence: 3 }],
    ['either', { maxAgeMs: 100 * HOUR_MS, minSequence: 3 }],
  ])('can be limited by %s', async (_, limits) => {
    await using store = await agedHistory(50, 30, 3, 1)
    damage(store, 4)
    await using loaded = await store.load({ fallback: limits })
    expect(loaded!.sequence).toBe(3)
    damage(store, 3)
    for (const attempt of [
      () => store.load({ fallback: limits }),
      () => store.restore(contentsOf, { fallback: limits }),
    ]) {
      const error = await rejects(attempt(), 'BLOB_DAMAGED')
      expect(error.details.skipped).toMatchObject([{ sequence: 4 }, { sequence: 3 }])
      expect(error.message).toMatch(/snapshot 2, 30 hours old, is beyond what may be taken/)
    }
  })

  test('does not concern the snapshot that was asked for', async () => {
    await using store = await agedHistory(50, 30)
    await using loaded = await store.load({ fallback: { maxAgeMs: HOUR_MS, minSequence: 10 } })
    expect(loaded!.sequence).toBe(2)
  })

  test('counts a snapshot from the future as new', async () => {
    await using store = await agedHistory(-50, 3)
    damage(store, 2)
    await using loaded = await store.load({ fallback: { maxAgeMs: 0 } })
    expect(loaded).toMatchObject({ sequence: 1, ageMs: 0 })
  })

  test('limits the way to HEAD.prev.json too', async () => {
    await using store = await agedHistory(50, 30)
    const { location } = store
    // HEAD.prev.json is one write older: its snapshot is 1, of now.
    writeFileSync(join(location, 'HEAD.json'), '')
    await using again = storeAt(location)
    await rejects(again.load({ fallback: { minSequence: 2 } }), 'HEAD_DAMAGED')
    await using loaded = await again.load({ fallback: { minSequence: 1 } })
    expect(loaded!.sequence).toBe(1)
    expect(again.warnings).toMatchObject([{ code: 'FALLBACK', details: { sequence: null, next: 1 } }])
  })

  test.each([
    ['text', 'yes'],
    ['null', null],
    ['an unknown limit', { maxAge: 5 }],
    ['a negative age', { maxAgeMs: -1 }],
    ['a sequence that is none', { minSequence: 1.5 }],
  ])('as %s is a TypeError', async (_, wrong) => {
    await using store = await history(1)
    expect(await failure(store.load({ fallback: wrong as never }))).toBeInstanceOf(TypeError)
  })
})
