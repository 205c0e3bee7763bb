import { describe, expect, test } from 'vitest'
import { fixed } from '../../src/format/chunking.ts'
import type { PersistOptions } from '../../src/persist/options.ts'
import type { Store } from '../../src/store.ts'
import { createDisk } from '../faulty-disk/disk.ts'
import type { DirectoryImage } from '../faulty-disk/image.ts'
import { noise } from '../support/bytes.ts'
import {
  blocksOf,
  build,
  CHUNK,
  chunkOf,
  fileOf,
  headOf,
  historyOf,
  labelOf,
  nameOf,
  open,
  packsOf,
  persisted,
  persistOf,
  placeOf,
  rotOnDisk,
  rotten,
  visit,
  withFiles,
  withRottenChunk,
} from '../support/lab.ts'

const two = await build(persisted('a1', 'a2'))
const shared = placeOf(two, chunkOf('a1', 0))
const damaged = withRottenChunk(two, chunkOf('a1', 0))
const recorded = [{ pack: nameOf(shared.path), digests: [shared.digest] }]

describe.each<[string, (store: Store) => Promise<unknown>]>([
  ['verify', (store) => store.verify()],
  ['scrub', (store) => store.scrub()],
  ['a load', (store) => labelOf(store)],
])('a bad block found by %s', (_name, find) => {
  test('is recorded by the next persist of the same store object, whatever that persists', async () => {
    const { image } = await visit(damaged, async (store) => {
      await find(store)
      await store.persist(persistOf('b1'))
    })
    expect(headOf(image).damaged).toEqual(recorded)
  })

  test('is written again by a persist of the same content, and that heals every snapshot that needs it', async () => {
    const { result, image } = await visit(damaged, async (store) => {
      await find(store)
      return await store.persist(persistOf('a2'))
    })
    expect(result.unchanged).toBe(false)
    const healed = await visit(image, async (store) => [await historyOf(store), await store.verify()] as const)
    expect(healed.result[0]).toEqual(['3 a2 current', '2 a2', '1 a1'])
    expect(healed.result[1]).toMatchObject({
      ok: true,
      problems: [{ code: 'PACK_DAMAGED', hasGoodCopy: true, recorded: true }],
    })
    expect(headOf(image).damaged).toEqual(recorded)
  })
})

test('nothing is recorded when nothing was looked at, and a persist that does not know counts on what it has', async () => {
  const { image } = await visit(damaged, (store) => store.persist(persistOf('a3')))
  expect(headOf(image).damaged).toEqual([])
  expect((await visit(image, (store) => labelOf(store))).result).toBe('BLOB_DAMAGED')
})

test('the record is heeded by later processes', async () => {
  const { image } = await visit(damaged, async (store) => {
    await store.verify()
    await store.persist(persistOf('b1'))
  })
  const later = await visit(image, async (store) => {
    await store.persist(persistOf('a1'))
    return await labelOf(store)
  })
  expect(later.result).toBe('a1')
})

test('a record goes with its pack, when no snapshot needs that any more', async () => {
  const { image } = await visit(damaged, async (store) => {
    await store.verify()
    await store.persist({ ...persistOf('b1'), keepLast: 2 })
    await store.persist({ ...persistOf('b2'), keepLast: 2 })
  })
  expect(headOf(image)).toMatchObject({ damaged: [], retired: [{ name: nameOf(shared.path) }, {}] })
})

test('a manifest, a node and a digest list that are bad heal in the same way', async () => {
  const bad = packsOf(two).reduce((image, path) => {
    const structure = blocksOf(two, path).filter(({ kind }) => kind !== 0 && kind !== 4)
    return structure.reduce((seen, { offset }) => rotten(seen, path, offset + 4), image)
  }, two)
  const { image } = await visit(bad, async (store) => {
    expect(await historyOf(store)).toEqual(['2 SNAPSHOT_DAMAGED current', '1 SNAPSHOT_DAMAGED'])
    await store.verify()
    await store.persist(persistOf('a1'))
    await store.persist(persistOf('a2'))
  })
  const { result } = await visit(image, async (store) => [await historyOf(store), await store.verify()] as const)
  expect(result[0]).toEqual(['4 a2 current', '3 a1', '2 a2'])
  expect(result[1].ok).toBe(true)
})

describe('a pack with more bad blocks than HEAD should list', () => {
  const many: PersistOptions = {
    blobs: {
      index: { source: noise(300 * CHUNK, 9), chunking: fixed(CHUNK) },
    },
  }

  async function allBad(): Promise<{ before: DirectoryImage; bad: DirectoryImage; path: string }> {
    const before = await build((store) => store.persist(many))
    const [path] = packsOf(before)
    const bytes = new Uint8Array(fileOf(before, path!))
    for (const { kind, offset, bytes: length } of blocksOf(before, path!)) {
      if (kind === 0) for (let i = 0; i < length; i++) bytes[offset + i]! ^= 0xff
    }
    return { before, bad: withFiles(before, { [path!]: bytes }), path: path! }
  }

  test('is recorded as a whole, and nothing of it is counted on', async () => {
    const { before, bad, path } = await allBad()
    const { result, image } = await visit(bad, async (store) => {
      await store.verify()
      return await store.persist({ ...many, message: 'again' })
    })
    expect(headOf(image).damaged).toEqual([{ pack: nameOf(path), digests: [] }])
    // Also what is good in it, such as the nodes.
    const chunks = new Set(
      blocksOf(before, path)
        .filter(({ kind }) => kind !== 4)
        .map(({ digest }) => digest),
    )
    const again = packsOf(image).find((pack) => pack !== path)!
    expect(
      blocksOf(image, again)
        .filter(({ kind }) => kind !== 4)
        .map(({ digest }) => digest),
    ).toEqual(
      blocksOf(before, path)
        .filter(({ kind }) => kind !== 4)
        .map(({ digest }) => digest),
    )
    expect(chunks.size).toBeGreaterThan(256)
    expect(result.bytes.reused).toBe(0)
    expect((await visit(image, (store) => store.verify())).result).toMatchObject({ ok: true })
    const later = await visit(image, async (store) => {
      await store.verify()
      await store.persist(persistOf('a1'))
    })
    expect(headOf(later.image).damaged).toEqual([{ pack: nameOf(path), digests: [] }])
  })
})

test('a pack that loses its index, and one that is gone, are done without', async () => {
  const disk = createDisk(two)
  const store = open(disk)
  const [first, second] = packsOf(two)
  // Both are open, with indexes that were good.
  const opened = [await store.load({ at: 1 }), await store.load({ at: 2 })]
  for (const snapshot of opened) await snapshot!.blob('index').bytes()
  await rotOnDisk(disk, first!, fileOf(two, first!).length - 70)
  await disk.start().fs.unlink(`/srv/store/${second}`)
  await store.scrub()
  await store.persist(persistOf('a2'))
  for (const snapshot of opened) await snapshot!.dispose()
  const { result } = await visit(disk.image(), (fresh) => labelOf(fresh))
  expect(result).toBe('a2')
})

test('a persist that finds a pack gone fails, commits nothing, and succeeds when tried again', async () => {
  const disk = createDisk(two)
  const store = open(disk)
  const opened = [await store.load({ at: 1 }), await store.load({ at: 2 })]
  for (const snapshot of opened) await snapshot!.blob('index').bytes()
  await disk.start().fs.unlink(`/srv/store/${shared.path}`)
  await expect(store.persist(persistOf('a3'))).rejects.toMatchObject({ code: 'PACK_MISSING' })
  expect(headOf(disk.image()).sequence).toBe(2)
  await store.persist(persistOf('a3'))
  for (const snapshot of opened) await snapshot!.dispose()
  expect((await visit(disk.image(), (fresh) => labelOf(fresh))).result).toBe('a3')
})
