import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { nodeFileSystem } from '../../src/fs/node.ts'
import type { FileSystem } from '../../src/fs/port.ts'
import { nextHead } from '../../src/history/next-head.ts'
import { loadSnapshot } from '../../src/index.ts'
import { directoryStorage } from '../../src/storage/directory/storage.ts'
import type { Store } from '../../src/store.ts'
import { noise, sameBytes } from '../support/bytes.ts'
import { rejects } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'
import { directoryAt } from '../support/storages.ts'
import { storeOver } from '../support/store-over.ts'

function storeOn(fs: FileSystem, path: string): Store {
  return storeOver(directoryStorage({ fs, path, readOnly: false, lock: 'os' }), fs)
}

async function textIn(path: string): Promise<string> {
  const snapshot = await loadSnapshot(path, { required: true })
  const text = await snapshot!.blob('text').text()
  await snapshot!.dispose()
  return text
}

/** HEAD and the one before. */
function headsIn(path: string): string[] {
  return ['HEAD.json', 'HEAD.prev.json'].map((name) => readFileSync(join(path, name), 'utf8'))
}

async function storeOfTwo(): Promise<string> {
  const path = join(scratch(), 'store')
  await using store = storeOn(nodeFileSystem, path)
  for (const text of ['one', 'two']) await store.persist({ blobs: { text } })
  return path
}

describe('HEAD', () => {
  test('is not replaced before what it names is durable', async () => {
    const path = await storeOfTwo()
    const before = headsIn(path)
    await directoryAt(path).write({ waitMs: 0 }, async (session) => {
      let durable = (): void => {}
      const ready = new Promise<void>((resolve) => {
        durable = resolve
      })
      const swapped = session.swapHead(nextHead(session.stored!.head, {}), () => ready)
      await sleep(100)
      expect(headsIn(path)).toEqual(before)
      durable()
      await swapped
    })
    expect(headsIn(path)[0]).not.toBe(before[0])
    expect(headsIn(path)[1]).toBe(before[0])
  })

  test('is not replaced when what it names cannot be made durable', async () => {
    const path = await storeOfTwo()
    const before = headsIn(path)
    await directoryAt(path).write({ waitMs: 0 }, async (session) => {
      const ready = () => Promise.reject(new Error('no pack'))
      await expect(session.swapHead(nextHead(session.stored!.head, {}), ready)).rejects.toThrow('no pack')
    })
    expect(headsIn(path)).toEqual(before)
    expect(readdirSync(join(path, 'tmp'))).toEqual([])
  })

  test.each([
    [
      'replaced',
      (path: string, text: string) => {
        writeFileSync(`${path}~`, text)
        renameSync(`${path}~`, path)
      },
    ],
    ['written over', (path: string, text: string) => writeFileSync(path, text)],
    ['removed', (path: string) => rmSync(path)],
  ])('that was %s by a writer whom no lock keeps out is left as it is', async (_, change) => {
    const path = await storeOfTwo()
    const head = join(path, 'HEAD.json')
    const storage = directoryStorage({ fs: nodeFileSystem, path, readOnly: false, lock: 'none' })
    const other = readFileSync(join(path, 'HEAD.prev.json'), 'utf8')
    await storage.write({ waitMs: 0 }, async (session) => {
      change(head, other)
      const before = readdirSync(path).includes('HEAD.json') ? headsIn(path) : null
      await rejects(session.swapHead(nextHead(session.stored!.head, {})), 'HEAD_CONFLICT')
      if (before === null) expect(readdirSync(path)).not.toContain('HEAD.json')
      else expect(headsIn(path)).toEqual(before)
    })
    expect(readdirSync(join(path, 'tmp'))).toEqual([])
  })

  test('is replaced, and that is not acknowledged, when the lock was gone by then', async () => {
    const path = await storeOfTwo()
    const head = join(path, 'HEAD.json')
    await using store = storeOn(
      {
        ...nodeFileSystem,
        async rename(from, to) {
          await nodeFileSystem.rename(from, to)
          if (to === head) rmSync(join(path, 'writer.lock'))
        },
      },
      path,
    )
    await rejects(store.persist({ blobs: { text: 'three' } }), 'COMMIT_UNKNOWN')
    expect(await textIn(path)).toBe('three')
    expect(readdirSync(join(path, 'tmp'))).toEqual([])
  })

  test('before HEAD is believed when it is of the same store, and no other', async () => {
    const [path, other] = [await storeOfTwo(), await storeOfTwo()]
    const previous = (): Promise<number | undefined> =>
      directoryAt(path).write({ waitMs: 0 }, async (session) => session.previous?.revision)
    expect(await previous()).toBe(1)
    copyFileSync(join(other, 'HEAD.prev.json'), join(path, 'HEAD.prev.json'))
    expect(await previous()).toBeUndefined()
  })
})

describe('without a descriptor for a directory', () => {
  function tooMany(path: string): Error {
    return Object.assign(new Error(`EMFILE: too many open files, open '${path}'`), {
      code: 'EMFILE',
      syscall: 'open',
      path,
    })
  }

  test.each(['', 'packs'])('("%s") nothing is committed, and it is said why', async (part) => {
    const path = await storeOfTwo()
    const before = headsIn(path)
    const full = join(path, part)
    const store = storeOn(
      {
        ...nodeFileSystem,
        openDirectory: (at) => (at === full ? Promise.reject(tooMany(at)) : nodeFileSystem.openDirectory!(at)),
      },
      path,
    )
    // Known to this process as durable, so that nothing else asks for a directory.
    const error = await rejects(store.persist({ blobs: { text: 'three' } }), 'IO_FAILED')
    expect(error.details).toMatchObject({ code: 'EMFILE', path: full })
    expect(headsIn(path)).toEqual(before)
    expect(readdirSync(join(path, 'tmp'))).toEqual([])
    expect(readdirSync(join(path, 'packs'))).toHaveLength(2)
    await store.close()
  })

  test('after the rename of HEAD a commit is known all the same: both were opened before', async () => {
    const path = await storeOfTwo()
    let replaced = false
    const store = storeOn(
      {
        ...nodeFileSystem,
        async rename(from, to) {
          await nodeFileSystem.rename(from, to)
          if (to === join(path, 'HEAD.json')) replaced = true
        },
        open: (at, how, mode) => (replaced ? Promise.reject(tooMany(at)) : nodeFileSystem.open(at, how, mode)),
        openDirectory: (at) => (replaced ? Promise.reject(tooMany(at)) : nodeFileSystem.openDirectory!(at)),
        syncDirectory: (at) => (replaced ? Promise.reject(tooMany(at)) : nodeFileSystem.syncDirectory(at)),
      },
      path,
    )
    expect(await store.persist({ blobs: { text: 'three' } })).toMatchObject({ sequence: 3 })
    expect(replaced).toBe(true)
    expect(await textIn(path)).toBe('three')
    await store.close()
  })
})

describe('a store that is open while its directory', () => {
  test.each<[string, (path: string) => void]>([
    ['is removed', (path) => rmSync(path, { recursive: true })],
    ['is renamed', (path) => renameSync(path, `${path}.elsewhere`)],
    [
      'is emptied',
      (path) => {
        for (const name of readdirSync(path)) rmSync(join(path, name), { recursive: true })
      },
    ],
    [
      'is replaced by an empty one',
      (path) => {
        renameSync(path, `${path}.away`)
        mkdirSync(path)
      },
    ],
    [
      'loses its files but not its folders',
      (path) => {
        for (const name of readdirSync(path, { recursive: true, encoding: 'utf8' })) {
          if (name.includes('.')) rmSync(join(path, name))
        }
      },
    ],
  ])('%s, does not start afresh', async (_, take) => {
    for (const see of ['load', 'persist']) {
      const path = await storeOfTwo()
      await using store = storeOn(nodeFileSystem, path)
      if (see === 'persist') await store.persist({ blobs: { text: 'three' } })
      else await (await store.load())!.dispose()
      take(path)
      const before = existsSync(path) ? readdirSync(path, { recursive: true }).sort() : null
      const missing = { code: 'HEAD_MISSING' }
      await expect(store.load()).rejects.toMatchObject(missing)
      await expect(store.persist({ blobs: { text: 'four' } })).rejects.toMatchObject(missing)
      await expect(store.tag('good')).rejects.toMatchObject(missing)
      await expect(store.rollback(1)).rejects.toMatchObject(missing)
      await expect(store.materialize()).rejects.toMatchObject(missing)
      await expect(store.snapshots()).rejects.toMatchObject(missing)
      await expect(store.scrub()).rejects.toMatchObject(missing)
      await expect(store.repair()).rejects.toMatchObject({ code: 'NOT_A_STORE' })
      expect(await store.verify()).toMatchObject({ ok: false, problems: [missing] })
      const after = existsSync(path) ? readdirSync(path, { recursive: true }).sort() : null
      expect(after?.filter((name) => name !== 'writer.lock') ?? null).toEqual(before)
      // Opened anew, it does.
      await using fresh = storeOn(nodeFileSystem, path)
      expect(await fresh.persist({ blobs: { text: 'four' } })).toMatchObject({ sequence: 1 })
    }
  })

  test('is replaced by another store, writes nothing into that one', async () => {
    const [path, other] = [await storeOfTwo(), await storeOfTwo()]
    await using store = storeOn(nodeFileSystem, path)
    await store.persist({ blobs: { text: 'three' } })
    renameSync(path, `${path}.away`)
    renameSync(other, path)
    await rejects(store.persist({ blobs: { text: 'four' } }), 'HEAD_CONFLICT')
    expect(await textIn(path)).toBe('two')
    expect(await textIn(`${path}.away`)).toBe('three')
  })

  test('loses a pack that the next snapshot builds on, commits nothing, and writes it anew then', async () => {
    const path = await storeOfTwo()
    await using store = storeOn(nodeFileSystem, path)
    const large = noise(100_000, 1)
    await store.persist({ blobs: { large, text: 'three' } })
    const before = headsIn(path)
    async function* meanwhile(): AsyncGenerator<Uint8Array> {
      rmSync(join(path, 'packs'), { recursive: true })
      mkdirSync(join(path, 'packs'))
      yield Buffer.from('four')
    }
    await rejects(store.persist({ blobs: { large, text: meanwhile() } }), 'PACK_MISSING')
    expect(headsIn(path)).toEqual(before)
    expect(await store.persist({ blobs: { large, text: 'four' } })).toMatchObject({ sequence: 4 })
    expect(await textIn(path)).toBe('four')
    await using snapshot = await loadSnapshot(path, { required: true })
    expect(sameBytes(await snapshot!.blob('large').bytes(), large)).toBe(true)
  })

  test('is reached by a link that leads elsewhere now, waits for the writers that are there', async () => {
    const [first, second] = [await storeOfTwo(), await storeOfTwo()]
    const link = join(scratch(), 'link')
    const unlocked = (path: string) => directoryStorage({ fs: nodeFileSystem, path, readOnly: false, lock: 'none' })
    const through = unlocked(link)
    symlinkSync(first, link)
    await through.write({ waitMs: 0 }, async () => undefined)
    rmSync(link)
    symlinkSync(second, link)
    await unlocked(second).write({ waitMs: 0 }, async () => {
      await rejects(
        through.write({ waitMs: 0 }, async () => undefined),
        'STORE_LOCKED',
      )
    })
    // And the one that it left keeps it waiting no more.
    await unlocked(first).write({ waitMs: 0 }, async () => await through.write({ waitMs: 0 }, async () => undefined))
  })

  test('gets a link in the place of one of its own, refuses to write', async () => {
    const path = await storeOfTwo()
    await using store = storeOn(nodeFileSystem, path)
    await store.persist({ blobs: { text: 'three' } })
    renameSync(join(path, 'tmp'), join(path, 'elsewhere'))
    symlinkSync(join(path, 'elsewhere'), join(path, 'tmp'))
    await rejects(store.persist({ blobs: { text: 'four' } }), 'STORE_DAMAGED')
    expect(await textIn(path)).toBe('three')
  })
})
