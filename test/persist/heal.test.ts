// What a persist does about blocks that are known to be bad: they are recorded, written again, and never relied on
// again.

import { existsSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { fixed } from '../../src/format/chunking.ts'
import { fromHex } from '../../src/format/hex.ts'
import { DIGEST_BYTES, FOOTER_BYTES, HEADER_BYTES } from '../../src/format/limits.ts'
import { KIND, type PackIndex, parsePackFooter, parsePackIndex } from '../../src/format/pack.ts'
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
  headOf as headIn,
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
import { quickScratch } from '../support/scratch.ts'
import {
  type Contents,
  contentsOf,
  contentsOfGeneration,
  fingerprint,
  generation,
  headOf,
  loadContents,
  storeAt,
} from '../support/store-directory.ts'

function packPath(path: string, name: string): string {
  return join(path, 'packs', `${name}.pack`)
}

function indexOf(path: string, name: string): PackIndex {
  const bytes = new Uint8Array(readFileSync(packPath(path, name)))
  const footer = bytes.subarray(bytes.length - FOOTER_BYTES)
  const { indexOffset, indexBytes } = parsePackFooter(footer, bytes.length, name)
  return parsePackIndex({
    name,
    header: bytes.subarray(0, HEADER_BYTES),
    index: bytes.subarray(indexOffset, indexOffset + indexBytes),
    footer,
    fileBytes: bytes.length,
    storeId: fromHex(headOf(path).storeId, 16),
    where: name,
  })
}

/** Spoils the first block of this kind in a pack. Answers its digest. */
function spoil(path: string, name: string, kind: number): string {
  const index = indexOf(path, name)
  const entry = Array.from({ length: index.blocks }, (_, i) => i).find((i) => index.kind(i) === kind)!
  const bytes = readFileSync(packPath(path, name))
  bytes[index.offset(entry) + 3]! ^= 0x10
  writeFileSync(packPath(path, name), bytes)
  return Buffer.from(index.digest(entry)).toString('hex')
}

function digestsIn(path: string, name: string): string[] {
  const index = indexOf(path, name)
  return Array.from({ length: index.blocks }, (_, i) => Buffer.from(index.digest(i)).toString('hex'))
}

/** A store with one snapshot, in one pack. */
async function oneSnapshot(): Promise<{ path: string; pack: string }> {
  const path = join(quickScratch(), 'store')
  await using store = storeAt(path)
  await store.persist(generation(1))
  return { path, pack: headOf(path).packs[0]!.name }
}

describe('a bad block that a load has met', () => {
  test('is recorded in HEAD by the next persist, written again, and whole from then on', async () => {
    const { path, pack } = await oneSnapshot()
    const digest = spoil(path, pack, KIND.chunk)
    await using store = storeAt(path)
    await using before = (await store.load())!
    await expect(contentsOf(before)).rejects.toMatchObject({
      code: 'BLOB_DAMAGED',
      message: expect.stringContaining(digest.slice(0, 16)),
      details: { block: digest, pack },
    })
    const healed = await store.persist(generation(1))
    expect(healed).toMatchObject({ unchanged: false, sequence: 2 })
    // Only the one block is written again, with the records.
    expect(healed.bytes.reused).toBeGreaterThan(4_000)
    const head = headOf(path)
    expect(head.damaged).toEqual([{ pack, digests: [digest] }])
    expect(digestsIn(path, head.packs.find(({ name }) => name !== pack)!.name)).toContain(digest)
    expect(await loadContents(path)).toEqual(contentsOfGeneration(2, 1))
  })

  test('heals the older snapshots too: their copy is bad, and the good one is looked for in packs they did not need', async () => {
    const { path, pack } = await oneSnapshot()
    const digest = spoil(path, pack, KIND.chunk)
    await using store = storeAt(path)
    await expect(store.restore(contentsOf)).rejects.toMatchObject({ code: 'BLOB_DAMAGED' })
    await store.persist(generation(1))
    const older = headOf(path).snapshots.find(({ sequence }) => sequence === 1)!
    expect(older.packs).toEqual([headOf(path).packs.find(({ name }) => name === pack)!.id])
    await using fresh = storeAt(path)
    await using snapshot = (await fresh.load({ at: 1 }))!
    expect(await contentsOf(snapshot)).toEqual(contentsOfGeneration(1, 1))
    const file = await snapshot.blob('small').file()
    expect(fingerprint(readFileSync(file))).toBe(fingerprint(generation(1).blobs.small))
    expect(digest).toHaveLength(2 * DIGEST_BYTES)
  })

  test('stays recorded, and is never relied on again by another process', async () => {
    const { path, pack } = await oneSnapshot()
    spoil(path, pack, KIND.chunk)
    await using store = storeAt(path)
    await expect(store.restore(contentsOf)).rejects.toMatchObject({ code: 'BLOB_DAMAGED' })
    await store.persist(generation(2))
    expect(headOf(path).damaged).toMatchObject([{ pack }])
    // Another store object has seen nothing: what HEAD says is enough.
    await using other = storeAt(path)
    await other.persist(generation(1))
    expect(await loadContents(path)).toEqual(contentsOfGeneration(3, 1))
    expect(headOf(path).damaged).toMatchObject([{ pack }])
  })
})

describe('a bad block that nobody has met yet', () => {
  test.each([
    ['the manifest', KIND.manifest],
    ['a node', KIND.node],
    ['the segments', KIND.segments],
  ])('and is %s of the current snapshot, which a persist reads, is written again by it', async (_, kind) => {
    const { path, pack } = await oneSnapshot()
    const digest = spoil(path, pack, kind)
    await using store = storeAt(path)
    expect(await store.persist(generation(1))).toMatchObject({ unchanged: false })
    expect(await loadContents(path)).toEqual(contentsOfGeneration(2, 1))
    expect(headOf(path).damaged).toEqual([{ pack, digests: [digest] }])
  })

  test('and is the manifest, does not keep other content from being persisted', async () => {
    const { path, pack } = await oneSnapshot()
    spoil(path, pack, KIND.manifest)
    await storeAt(path).persist(generation(2))
    expect(await loadContents(path)).toEqual(contentsOfGeneration(2, 2))
  })
})

describe('a whole pack', () => {
  test('whose index is bad is written again, as far as the content still needs it', async () => {
    const { path, pack } = await oneSnapshot()
    const bytes = readFileSync(packPath(path, pack))
    bytes[bytes.length - 30]! ^= 1
    writeFileSync(packPath(path, pack), bytes)
    await using store = storeAt(path)
    await expect(store.load()).rejects.toMatchObject({ code: 'SNAPSHOT_DAMAGED' })
    expect(await store.persist(generation(1))).toMatchObject({ unchanged: false, bytes: { reused: 0 } })
    expect(await loadContents(path)).toEqual(contentsOfGeneration(2, 1))
    // Evidence, and what the older snapshot is in.
    expect(readFileSync(packPath(path, pack)).equals(bytes)).toBe(true)
  })

  test('that is cut short under a persist that relies on it stops the persist', async () => {
    const { path, pack } = await oneSnapshot()
    await using store = storeAt(path)
    const bytes = readFileSync(packPath(path, pack))
    async function* source() {
      yield noise(500, 1)
      // Once its index has been read.
      writeFileSync(packPath(path, pack), bytes.subarray(0, bytes.length - 1))
    }
    const { revision } = headOf(path)
    await expect(
      store.persist({ ...generation(1), blobs: { ...generation(1).blobs, small: source() } }),
    ).rejects.toMatchObject({ code: 'PACK_DAMAGED', message: expect.stringContaining('nothing was committed') })
    expect(headOf(path).revision).toBe(revision)
    writeFileSync(packPath(path, pack), bytes)
    expect(await loadContents(path)).toEqual(contentsOfGeneration(1, 1))
  })
})

describe('rot in small packs', () => {
  const growing = (n: number) => ({ blobs: { [`blob ${n}`]: noise(3_000, n) }, chunking: fixed(512) })

  test.each<[string, (path: string, pack: string) => void]>([
    ['a bad chunk', (path, pack) => void spoil(path, pack, KIND.chunk)],
    ['a bad manifest', (path, pack) => void spoil(path, pack, KIND.manifest)],
    ['a bad index', (path, pack) => truncateSync(packPath(path, pack), 900)],
    ['nothing in it at all', (path, pack) => rmSync(packPath(path, pack))],
  ])('(%s) does not keep the others from being merged, and is left as it is', async (_, ruin) => {
    const path = join(quickScratch(), 'store')
    await using store = storeAt(path, { keepLast: 100 })
    await store.persist(growing(1))
    const [first] = headOf(path).packs
    ruin(path, first!.name)
    const lying = () => (existsSync(packPath(path, first!.name)) ? readFileSync(packPath(path, first!.name)) : null)
    const before = lying()
    for (let n = 2; n <= 40; n++) await store.persist(growing(n))
    const { packs } = headOf(path)
    expect(packs.length).toBeLessThan(20)
    expect(packs.map(({ name }) => name)).toContain(first!.name)
    expect(lying()).toEqual(before)
    // It is told once, not at every persist.
    expect(store.warnings.filter(({ code }) => code === 'COMPACTION_SKIPPED').length).toBeLessThan(2)
    for (let n = 2; n <= 40; n++) {
      await using snapshot = (await store.load({ at: n }))!
      const blobs: Contents['blobs'] = { [`blob ${n}`]: fingerprint(noise(3_000, n)) }
      expect(await contentsOf(snapshot)).toMatchObject({ sequence: n, blobs })
    }
    const reading = store.restore(contentsOf, { at: 1 })
    await expect(reading).rejects.toMatchObject({ kind: 'damaged' })
  })
})

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
    expect(headIn(image).damaged).toEqual(recorded)
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
    expect(headIn(image).damaged).toEqual(recorded)
  })
})

test('nothing is recorded when nothing was looked at, and a persist that does not know counts on what it has', async () => {
  const { image } = await visit(damaged, (store) => store.persist(persistOf('a3')))
  expect(headIn(image).damaged).toEqual([])
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
  expect(headIn(image)).toMatchObject({ damaged: [], retired: [{ name: nameOf(shared.path) }, {}] })
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
    expect(headIn(image).damaged).toEqual([{ pack: nameOf(path), digests: [] }])
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
    expect(headIn(later.image).damaged).toEqual([{ pack: nameOf(path), digests: [] }])
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
  expect(headIn(disk.image()).sequence).toBe(2)
  await store.persist(persistOf('a3'))
  for (const snapshot of opened) await snapshot!.dispose()
  expect((await visit(disk.image(), (fresh) => labelOf(fresh))).result).toBe('a3')
})
