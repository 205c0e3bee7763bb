// Images: when they are kept, what a restore makes of good, bad and missing ones, and that nothing of it can lose a
// snapshot.

import {
  chmodSync,
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { type EngineState, persistEngine, restoreEngine } from '../../src/engines/adapter.ts'
import { plain } from '../../src/engines/plain.ts'
import { destroyStore, openStore, type PersistOptions, type Store, type Warning } from '../../src/index.ts'
import { imagesOf } from '../../src/local/images.ts'
import { eventually } from '../support/eventually.ts'
import { collectGarbage } from '../support/garbage.ts'
import { rejects } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'
import { change, type FileEngine, fileAdapter, fileEngine } from './file-engine.ts'

const ALONE = { attempts: 1 }

/** Paths of the images of a store. */
function imagesIn(path: string): string[] {
  const files = join(path, 'files')
  if (!existsSync(files)) return []
  return readdirSync(files).flatMap((name) => (name.endsWith('.image') ? [join(files, name)] : []))
}

/** What lies in `files/` besides images and locks, and in the folder of temporary files. */
function leftIn(path: string): string[] {
  const files = join(path, 'files')
  if (!existsSync(files)) return []
  const others = readdirSync(files).filter((name) => !/\.image(\.lock)?$/.test(name) && name !== '.tmp')
  return [...others, ...(existsSync(join(files, '.tmp')) ? readdirSync(join(files, '.tmp')) : [])]
}

function overwrite(path: string, bytes: Uint8Array): void {
  chmodSync(path, 0o600)
  writeFileSync(path, bytes)
  chmodSync(path, 0o444)
}

/** Flips a byte in the middle of each pack. */
function spoilPacks(path: string): void {
  for (const name of readdirSync(join(path, 'packs'))) {
    const bytes = readFileSync(join(path, 'packs', name))
    for (let at = 64; at < bytes.length - 2000; at += 3000) bytes[at]! ^= 1
    writeFileSync(join(path, 'packs', name), bytes)
  }
}

async function restoredBytes(
  store: string | Store,
  options: Parameters<typeof restoreEngine>[2] = {},
): Promise<Buffer> {
  const restored = (await restoreEngine(store, fileAdapter(), options))!
  await restored.dispose()
  return restored.engine.bytes
}

async function saved(engine: FileEngine, path = join(scratch(), 'store')): Promise<string> {
  await persistEngine(path, fileAdapter(), engine)
  return path
}

/** The store, with `before` called as a snapshot is about to be persisted. */
function watching(store: Store, before: () => unknown): Store {
  return Object.assign(Object.create(store) as Store, {
    async persist(options: PersistOptions) {
      await before()
      return await store.persist(options)
    },
  })
}

test('a save keeps the file as an image that nobody can write to, in a store that is new and in one that is there', async () => {
  const path = join(scratch(), 'store')
  const engine = fileEngine(100)
  for (const seed of [1, 2]) {
    engine.bytes = fileEngine(100, seed).bytes
    const { bytes } = await persistEngine(path, fileAdapter(), engine)
    expect(bytes.image).toBe(engine.bytes.length)
    const [image, ...others] = imagesIn(path)
    expect(others).toEqual([])
    expect(readFileSync(image!).equals(engine.bytes)).toBe(true)
    expect(statSync(image!).mode & 0o222).toBe(0)
    expect(leftIn(path)).toEqual([])
  }
})

test('a restore loads the image itself, and reads no pack', async () => {
  const engine = fileEngine(300)
  const path = await saved(engine)
  spoilPacks(path)
  const loads = vi.fn()
  const { engine: again, dispose } = (await restoreEngine(path, fileAdapter({ loads })))!
  expect(again.bytes.equals(engine.bytes)).toBe(true)
  expect(loads).toHaveBeenCalledWith(imagesIn(path)[0])
  await dispose()
})

test('the record names the file by content, whether an image is kept or not', async () => {
  const engine = fileEngine(50)
  const manifests = []
  for (const image of ['last', 'none', 'always'] as const) {
    const path = join(scratch(), 'store')
    const { manifest, bytes } = await persistEngine(path, fileAdapter(), engine, { image })
    expect([image, imagesIn(path).length, bytes.image > 0]).toEqual([image, image === 'none' ? 0 : 1, image !== 'none'])
    manifests.push(manifest)
  }
  expect(new Set(manifests).size).toBe(1)
})

test.each<[string, (path: string) => void]>([
  ['missing', (image) => rmSync(image)],
  ['missing with its lock', (image) => [image, `${image}.lock`].forEach((path) => void rmSync(path))],
  ['empty', (image) => overwrite(image, new Uint8Array(0))],
  ['short', (image) => truncateSync(image, statSync(image).size - 1)],
  ['long', (image) => overwrite(image, Buffer.concat([readFileSync(image), Buffer.of(0)]))],
  ['of other bytes', (image) => overwrite(image, readFileSync(image).fill(0, 1000, 1001))],
  ['of zeros, as after a power loss', (image) => overwrite(image, new Uint8Array(statSync(image).size))],
])('an image that is %s is put together from the columns, and is there for the next restore', async (_, damage) => {
  const engine = fileEngine(400)
  const path = await saved(engine)
  const [image] = imagesIn(path)
  damage(image!)
  expect((await restoredBytes(path)).equals(engine.bytes)).toBe(true)
  expect(imagesIn(path)).toEqual([image])
  expect(readFileSync(image!).equals(engine.bytes)).toBe(true)
  expect(statSync(image!).mode & 0o222).toBe(0)
  expect(leftIn(path)).toEqual([])
})

test('an image that had to be put together is not kept if none is wanted', async () => {
  const engine = fileEngine(40)
  const path = join(scratch(), 'store')
  await persistEngine(path, fileAdapter(), engine, { image: 'none' })
  expect((await restoredBytes(path, { image: 'none' })).equals(engine.bytes)).toBe(true)
  expect(imagesIn(path)).toEqual([])
})

test('a wrong image and bad columns are damage, and an older snapshot is found', async () => {
  const [older, newer] = [fileEngine(300, 1), fileEngine(300, 2)]
  const path = await saved(older)
  const before = new Set(readdirSync(join(path, 'packs')))
  await saved(newer, path)
  for (const name of readdirSync(join(path, 'packs')).filter((pack) => !before.has(pack))) {
    const bytes = readFileSync(join(path, 'packs', name))
    writeFileSync(join(path, 'packs', name), bytes.fill(1, 5000, 5010))
  }
  for (const image of imagesIn(path)) rmSync(image)
  await rejects(restoreEngine(path, fileAdapter()), 'BLOB_DAMAGED')
  expect((await restoredBytes(path, { fallback: true, onWarning: () => undefined })).equals(older.bytes)).toBe(true)
  expect(leftIn(path)).toEqual([])
})

test('columns that make another file than the one recorded are damage, not an engine', async () => {
  const path = join(scratch(), 'store')
  const store = await openStore(path)
  const engine = fileEngine(30)
  await persistEngine(store, fileAdapter(), engine, { image: 'none' })
  const snapshot = (await store.load())!
  const { engine: record } = snapshot.metadata as { engine: { file: { digest: Uint8Array } } }
  const digest = record.file.digest.map((byte, i) => (i === 0 ? byte ^ 1 : byte))
  const metadata = { engine: { ...record, file: { ...record.file, digest } } }
  await store.persist({ blobs: snapshot.names.map((name) => [name, snapshot.blob(name)] as const), metadata })
  await snapshot.dispose()
  await rejects(restoreEngine(store, fileAdapter()), 'SNAPSHOT_DAMAGED')
  expect(imagesIn(path)).toEqual([])
  expect(leftIn(path)).toEqual([])
  await store.close()
})

test('a file that changes after it was hashed is SOURCE_CHANGED, and nothing is committed', async () => {
  const path = join(scratch(), 'store')
  const store = await openStore(path)
  await persistEngine(store, fileAdapter(), fileEngine(10))
  let fd = -1
  const save = (to: string, bytes: Buffer): void => {
    writeFileSync(to, bytes)
    fd = openSync(to, 'r+')
  }
  const changing = watching(store, () => {
    writeSync(fd, 'x', 50_000)
    closeSync(fd)
  })
  await rejects(persistEngine(changing, fileAdapter({ save }), fileEngine(300), ALONE), 'SOURCE_CHANGED')
  expect((await store.snapshots()).length).toBe(1)
  expect(leftIn(path)).toEqual([])
  await store.close()
})

test('a save of the same file takes its blobs over unread, and what is alongside makes a new snapshot', async () => {
  const path = join(scratch(), 'store')
  const store = await openStore(path)
  const engine = fileEngine(300)
  const first = await persistEngine(store, fileAdapter(), engine, { alongside: { metadata: { n: 1 } } })
  // Where the blobs were read, this would be SOURCE_CHANGED.
  let fd = -1
  const save = (to: string, bytes: Buffer): void => {
    writeFileSync(to, bytes)
    fd = openSync(to, 'r+')
  }
  const spoiling = watching(store, () => {
    writeSync(fd, 'x', 50_000)
    closeSync(fd)
  })
  const image = 'none'
  const same = await persistEngine(spoiling, fileAdapter({ save }), engine, {
    image,
    alongside: { metadata: { n: 1 } },
  })
  expect(same).toMatchObject({ unchanged: true, bytes: { written: 0, image: 0, reused: first.bytes.total } })
  const other = await persistEngine(spoiling, fileAdapter({ save }), engine, {
    image,
    alongside: { metadata: { n: 2 } },
  })
  expect(other).toMatchObject({ unchanged: false, sequence: 2, bytes: { reused: first.bytes.total } })
  expect(other.bytes.written).toBeLessThan(5000)
  expect(other.blobs).toEqual(first.blobs)
  expect((await store.verify()).ok).toBe(true)
  for (const each of imagesIn(path)) rmSync(each)
  expect((await restoredBytes(store)).equals(engine.bytes)).toBe(true)
  await store.close()
})

test('what an adapter saves beside the file is read, though the file is the same', async () => {
  const path = join(scratch(), 'store')
  let beside = 'one'
  const adapter = plain<object>({
    name: 'mine',
    revision: () => beside,
    save: async (_, { saveFile }) => ({ blobs: { beside }, file: await saveFile((to) => writeFileSync(to, 'kelp')) }),
    restore: async (blobs) => ({ beside: await blobs.blob('beside').text(), at: await blobs.file() }),
  })
  for (beside of ['one', 'two']) {
    await persistEngine(path, adapter, {})
    const restored = (await restoreEngine(path, adapter))!
    expect(restored.engine).toMatchObject({ beside })
    await restored.dispose()
  }
})

test('blobs are not taken over from another engine, other options or another split', async () => {
  const path = join(scratch(), 'store')
  const engine = fileEngine(100)
  const ours = fileAdapter()
  await persistEngine(path, ours, engine)
  for (const other of [
    { name: 'another' },
    { layout: 2 },
    { options: { dim: 4 } },
    {
      save: async (...args: Parameters<typeof ours.save>): Promise<EngineState> => ({
        ...(await ours.save(...args)),
        regions: undefined,
      }),
    },
    // The same blobs, cut otherwise.
    {
      save: async (...args: Parameters<typeof ours.save>): Promise<EngineState> => ({
        ...(await ours.save(...args)),
        chunking: { kind: 'fixed', size: 700 },
      }),
    },
  ]) {
    const adapter = { ...ours, ...other }
    const result = await persistEngine(path, adapter, engine)
    expect([Object.keys(other), result.unchanged]).toEqual([Object.keys(other), false])
    const restored = (await restoreEngine(path, adapter))!
    expect(restored.engine.bytes.equals(engine.bytes)).toBe(true)
    await restored.dispose()
    await persistEngine(path, ours, engine)
  }
})

test('a good image and bad columns: restored with a warning, and the next save writes the bad blocks again', async () => {
  const path = join(scratch(), 'store')
  const engine = fileEngine(2000)
  const warnings: Warning[] = []
  const store = await openStore(path, { onWarning: (warning) => warnings.push(warning), compression: 'none' })
  await persistEngine(store, fileAdapter(), engine)
  const [pack] = readdirSync(join(path, 'packs'))
  const bytes = readFileSync(join(path, 'packs', pack!))
  writeFileSync(join(path, 'packs', pack!), bytes.fill(1, 100_000, 100_010))
  expect((await store.scrub({ maxBytes: bytes.length })).problems).not.toEqual([])
  expect((await restoredBytes(store)).equals(engine.bytes)).toBe(true)
  expect(warnings).toMatchObject([{ code: 'IMAGE_ALONE', details: { packs: [pack!.slice(0, -'.pack'.length)] } }])
  const again = await persistEngine(store, fileAdapter(), engine)
  expect(again.bytes.written).toBeGreaterThan(4000)
  expect(again.bytes.written).toBeLessThan(100_000)
  for (const each of imagesIn(path)) rmSync(each)
  expect((await restoredBytes(store)).equals(engine.bytes)).toBe(true)
  await store.close()
})

test('a good image and a pack that is missing: restored with a warning, and the next save writes it again', async () => {
  const path = join(scratch(), 'store')
  const engine = fileEngine(500)
  await persistEngine(path, fileAdapter(), engine)
  const [first] = readdirSync(join(path, 'packs'))
  await persistEngine(path, fileAdapter(), engine, { alongside: { metadata: { new: true } } })
  unlinkSync(join(path, 'packs', first!))
  const warnings: Warning[] = []
  const store = await openStore(path, { onWarning: (warning) => warnings.push(warning) })
  expect((await restoredBytes(store)).equals(engine.bytes)).toBe(true)
  expect(warnings).toMatchObject([{ code: 'IMAGE_ALONE' }])
  const again = await persistEngine(store, fileAdapter(), engine, { alongside: { metadata: { new: true } } })
  expect(again.bytes.written).toBeGreaterThan(engine.bytes.length / 2)
  for (const each of imagesIn(path)) rmSync(each)
  expect((await restoredBytes(store)).equals(engine.bytes)).toBe(true)
  await store.close()
})

test('the saver keeps its image from being removed until HEAD names it', async () => {
  const path = await saved(fileEngine(10, 1))
  const store = await openStore(path)
  const removed: number[] = []
  const clearing = watching(store, async () => {
    const other = imagesOf(await openStore(path))!
    removed.push(await other.free())
  })
  await persistEngine(clearing, fileAdapter(), fileEngine(10, 2))
  // The one of the save before, and not the new one.
  expect(removed).toEqual([1])
  expect(imagesIn(path)).toHaveLength(1)
  expect(await imagesOf(store)!.free()).toBe(1)
  await store.close()
})

test("kept are the current snapshot's image and that of the one restored last", async () => {
  const path = join(scratch(), 'store')
  const engines = [1, 2, 3, 4].map((seed) => fileEngine(20, seed))
  for (const engine of engines.slice(0, 3)) await persistEngine(path, fileAdapter(), engine, { keepLast: 10 })
  const has = (): boolean[] =>
    engines.map(({ bytes }) => imagesIn(path).some((image) => readFileSync(image).equals(bytes)))
  expect(has()).toEqual([false, false, true, false])
  // Put together, and kept.
  await restoredBytes(path, { at: 1 })
  expect(has()).toEqual([true, false, true, false])
  await persistEngine(path, fileAdapter(), engines[3]!, { keepLast: 10, image: 'none' })
  expect(has()).toEqual([true, false, false, false])
  await restoredBytes(path, { at: 2 })
  await persistEngine(path, fileAdapter(), engines[3]!, { keepLast: 10 })
  // The first removes what was there before it, the second is of the same file.
  await persistEngine(path, fileAdapter(), engines[3]!, { keepLast: 10, alongside: { metadata: { n: 1 } } })
  expect(has()).toEqual([false, true, false, true])
})

test('a file that is mapped stays until its engine is collected', async () => {
  const path = await saved(fileEngine(20))
  let restored = await restoreEngine(path, fileAdapter({ mapped: true }))
  await restored!.dispose()
  const images = imagesOf(await openStore(path))!
  expect(await images.free()).toBe(0)
  expect(imagesIn(path)).toHaveLength(1)
  restored = null
  await eventually(async () => {
    collectGarbage()
    expect(await images.free()).toBe(1)
  })
})

test('with a temporaryDirectory there is no image, and nothing of it is left there', async () => {
  const temporaryDirectory = scratch()
  const path = join(scratch(), 'store')
  const seen: string[] = []
  const save = (to: string, bytes: Buffer): void => {
    seen.push(to)
    writeFileSync(to, bytes)
  }
  const adapter = fileAdapter({ temporaryDirectory, save, loads: (from) => seen.push(from) })
  const engine = fileEngine(20)
  expect((await persistEngine(path, adapter, engine)).bytes.image).toBe(0)
  const restored = (await restoreEngine(path, adapter))!
  expect(restored.engine.bytes.equals(engine.bytes)).toBe(true)
  await restored.dispose()
  expect(seen.map((each) => each.startsWith(temporaryDirectory))).toEqual([true, true])
  expect([readdirSync(temporaryDirectory), imagesIn(path), leftIn(path)]).toEqual([[], [], []])
})

test.each<[string, (path: string, bytes: Buffer) => void]>([
  [
    'fails',
    (path, bytes) => {
      if (path.includes('/store/')) throw new Error('no space')
      writeFileSync(path, bytes)
    },
  ],
  ['writes a part', (path, bytes) => writeFileSync(path, path.includes('/store/') ? bytes.subarray(0, 5000) : bytes)],
  [
    'fails later',
    async (path, bytes) => {
      await new Promise((resolve) => setTimeout(resolve, 5))
      if (path.includes('/store/')) throw new Error('no space')
      writeFileSync(path, bytes)
    },
  ],
])('an engine that %s where the store is saves into the directory for temporary files', async (_, save) => {
  const path = await saved(fileEngine(20, 1))
  const engine = fileEngine(20, 2)
  const result = await persistEngine(path, fileAdapter({ save }), engine, ALONE)
  expect(result.bytes.image).toBe(0)
  expect((await restoredBytes(path)).equals(engine.bytes)).toBe(true)
  expect(leftIn(path)).toEqual([])
})

test('an engine that cannot save anywhere says so once', async () => {
  const path = await saved(fileEngine(20))
  const save = vi.fn(() => {
    throw new Error('no space')
  })
  await rejects(persistEngine(path, fileAdapter({ save }), fileEngine(20), ALONE), 'SOURCE_FAILED')
  expect(save.mock.calls.length).toBeLessThanOrEqual(3)
})

test('a read-only store uses the image that is there, and makes none', async () => {
  const engine = fileEngine(20)
  const path = await saved(engine)
  const files = (): string[] => readdirSync(join(path, 'files')).sort()
  const before = files()
  const loads = vi.fn()
  const read = async (): Promise<void> => {
    const restored = (await restoreEngine(path, fileAdapter({ loads }), { readOnly: true }))!
    expect(restored.engine.bytes.equals(engine.bytes)).toBe(true)
    await restored.dispose()
  }
  await read()
  expect(files()).toEqual(before)
  const [image] = imagesIn(path)
  rmSync(image!)
  await read()
  expect(loads.mock.calls.map(([from]) => from === image)).toEqual([true, false])
  expect(imagesIn(path)).toEqual([])
})

test('images lie where blobs are laid out, if that is elsewhere', async () => {
  const [path, filesDir] = [join(scratch(), 'store'), scratch()]
  const engine = fileEngine(20)
  await persistEngine(path, fileAdapter(), engine, { filesDir })
  expect(readdirSync(filesDir).filter((name) => name.endsWith('.image'))).toHaveLength(1)
  expect(imagesIn(path)).toEqual([])
  expect((await restoredBytes(path, { filesDir, readOnly: true })).equals(engine.bytes)).toBe(true)
})

test('a store that is destroyed takes its images along', async () => {
  const path = await saved(fileEngine(20))
  await destroyStore(path)
  expect(existsSync(path)).toBe(false)
})

test('a directory with files of others in it gets no folder of ours', async () => {
  const path = scratch()
  writeFileSync(join(path, 'letter.txt'), 'mine')
  await expect(persistEngine(path, fileAdapter(), fileEngine(5))).rejects.toThrow()
  expect(readdirSync(path)).toEqual(['letter.txt'])
})

test('what is checked beforehand is put together from its blobs', async () => {
  const path = join(scratch(), 'store')
  const engine = fileEngine(30)
  const loads = vi.fn()
  const { bytes } = await persistEngine(path, fileAdapter({ loads }), engine, { check: true })
  expect([loads.mock.calls.length, bytes.image]).toEqual([1, engine.bytes.length])
  expect((await restoredBytes(path)).equals(engine.bytes)).toBe(true)
})

test('a small change writes little, and the next restore is of the new state', async () => {
  const path = join(scratch(), 'store')
  const engine = fileEngine(3000)
  await persistEngine(path, fileAdapter(), engine, { compression: 'none' })
  change(engine, 1500)
  const { bytes } = await persistEngine(path, fileAdapter(), engine, { compression: 'none' })
  expect(bytes.written).toBeLessThan(50_000)
  for (let n = 0; n < 2; n++) {
    expect((await restoredBytes(path)).equals(engine.bytes)).toBe(true)
    for (const image of imagesIn(path)) rmSync(image)
  }
})

test('an engine of `plain` that saves into a path has an image, and is one blob', async () => {
  const path = join(scratch(), 'store')
  const adapter = plain<{ text: string }>({
    name: 'mine',
    save: ({ text }, { saveFile }) => saveFile((to) => writeFileSync(to, text)),
    restore: async (blobs) => ({ text: readFileSync(await blobs.file(), 'utf8') }),
  })
  const result = await persistEngine(path, adapter, { text: 'kelp' })
  expect([Object.keys(result.blobs), result.bytes.image]).toEqual([['engine/index'], 4])
  for (let n = 0; n < 2; n++) {
    const restored = (await restoreEngine(path, adapter))!
    expect(restored.engine.text).toBe('kelp')
    await restored.dispose()
    for (const image of imagesIn(path)) rmSync(image)
  }
})

test('a second file in one save, a file of another save, and a file where none was saved are refused', async () => {
  const path = join(scratch(), 'store')
  const save = (adapter: Parameters<typeof plain<object>>[0]['save']): Promise<unknown> =>
    persistEngine(
      path,
      plain<object>({ name: 'mine', save: adapter, restore: (blobs) => blobs.file().then(() => ({})) }),
      {},
    )
  const write = (to: string): void => writeFileSync(to, 'x')
  await expect(
    save(async (_, { saveFile }) => {
      await saveFile(write)
      return await saveFile(write)
    }),
  ).rejects.toThrow('an engine saves one file')
  await expect(save(() => ({ blobs: {}, file: { size: 1, read: async () => 0 } }))).rejects.toThrow('context.saveFile')
  await save(() => 'bytes alone')
  const adapter = plain<object>({ name: 'mine', save: () => '', restore: (blobs) => blobs.file().then(() => ({})) })
  await rejects(restoreEngine(path, adapter), 'ENGINE_MISMATCH')
  await expect(persistEngine(path, adapter, {}, { image: 'lasts' as 'last' })).rejects.toThrow(TypeError)
})

test('materialize puts the image there without the adapter, and beside it what it is not made of', async () => {
  const path = join(scratch(), 'store')
  const engine = fileEngine(100)
  const store = await openStore(path)
  await persistEngine(store, fileAdapter(), engine, { image: 'none', alongside: { blobs: { docs: 'kelp' } } })
  await expect(store.materialize({ images: 'yes' as unknown as true })).rejects.toThrow(TypeError)
  const { files, image } = await store.materialize({ images: true })
  expect([Object.keys(files), image]).toEqual([['docs'], imagesIn(path)[0]])
  expect(readFileSync(image!).equals(engine.bytes)).toBe(true)
  expect((await store.materialize({ blobs: ['docs'] })).image).toBe(null)
  await store.close()
  const loads = vi.fn()
  const restored = (await restoreEngine(path, fileAdapter({ loads }), { readOnly: true }))!
  expect(loads).toHaveBeenCalledWith(image)
  await restored.dispose()
  const nowhere = await openStore(path, { lock: 'none' })
  await rejects(nowhere.materialize({ images: true }), 'FILES_UNSUPPORTED')
})
