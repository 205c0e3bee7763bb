import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { nodeFileSystem } from '../../src/fs/node.ts'
import type { FileSystem } from '../../src/fs/port.ts'
import { loadSnapshot, openStore, persistSnapshot, type Snapshot } from '../../src/index.ts'
import { directoryStorage } from '../../src/storage/directory/storage.ts'
import { collect, noise, sameBytes } from '../support/bytes.ts'
import { eventually } from '../support/eventually.ts'
import { collectGarbage } from '../support/garbage.ts'
import { scratch } from '../support/scratch.ts'
import { kinds } from '../support/storages.ts'
import { storeOver } from '../support/store-over.ts'
import { files } from '../support/tree.ts'

const MIB = 1024 * 1024

describe.each(kinds)('a snapshot of a $name store', ({ open, name }) => {
  test('that is read slowly stays as it was while a hundred persists and deletions go by', async () => {
    const store = await open({ keepLast: 1 })
    const bytes = noise(9 * MIB, 1)
    await store.persist({ blobs: { a: bytes, b: 'text of the first', c: noise(100_000, 2) }, metadata: { n: 1 } })
    const snapshot = (await store.load())!
    const stream = snapshot.blob('a').stream()
    const parts: Uint8Array[] = []
    for (let i = 0; i < 100; i++) {
      await store.persist({ blobs: { a: noise(5000, i), b: `text ${i}` } })
      if (i % 20 !== 0) continue
      const step = await stream.next()
      if (!step.done) parts.push(step.value)
    }
    expect((await store.snapshots()).map(({ sequence }) => sequence)).toEqual([101])
    if (name === 'directory') {
      const packs = files(join(store.location, 'packs'))
      expect(packs.length).toBeLessThan(20)
    }
    for await (const part of stream) parts.push(part)
    expect(sameBytes(Buffer.concat(parts), bytes)).toBe(true)
    expect(sameBytes(await snapshot.blob('a').bytes(), bytes)).toBe(true)
    expect(await snapshot.blob('b').text()).toBe('text of the first')
    expect(sameBytes(readFileSync(await snapshot.blob('c').file()), noise(100_000, 2))).toBe(true)
    await snapshot.blob('b').writeTo(join(scratch(), 'x'))
    await snapshot.dispose()
  })

  test('is of one generation, however many persists go by while it is opened and read', async () => {
    const store = await open({ keepLast: 1 })
    const contents = (n: number) => ({ a: noise(20_000 + n, n), b: `generation ${n}`, c: noise(300, n) })
    await store.persist({ blobs: contents(0), metadata: { n: 0 } })
    let stop = false
    let reads = 0
    const seen = new Set<number>()

    async function reader(): Promise<void> {
      while (!stop) {
        await using snapshot = (await store.load())! as Snapshot<string, { n: number }>
        const { n } = snapshot.metadata
        const expected = contents(n)
        expect(sameBytes(await snapshot.blob('a').bytes(), expected.a)).toBe(true)
        expect(await snapshot.blob('b').text()).toBe(expected.b)
        expect(sameBytes(await collect(snapshot.blob('c').stream()), expected.c)).toBe(true)
        seen.add(n)
        reads += 1
      }
    }
    const readers = [reader(), reader(), reader()]
    for (let n = 1; n <= 60; n++) await store.persist({ blobs: contents(n), metadata: { n } })
    stop = true
    await Promise.all(readers)
    expect(reads).toBeGreaterThan(20)
    expect(seen.size).toBeGreaterThan(3)
  })
})

test('a snapshot outlives the store object it was loaded from', async () => {
  const path = join(scratch(), 'store')
  const store = await openStore(path, { keepLast: 1 })
  await store.persist({ blobs: { a: 'first' } })
  const snapshot = (await loadSnapshot(path))!
  const other = (await store.load())!
  await store.close()
  const again = await openStore(path, { keepLast: 1 })
  for (let i = 0; i < 5; i++) await again.persist({ blobs: { a: `later ${i}` } })
  await again.close()
  expect(await snapshot.blob('a').text()).toBe('first')
  expect(await other.blob('a').text()).toBe('first')
  expect(readFileSync(await snapshot.blob('a').file(), 'utf8')).toBe('first')
  await snapshot.dispose()
  await other.dispose()
})

test.each([{}, { fallback: true }])(
  'a snapshot whose packs are deleted while it is opened is not damaged: the newest one is opened (%o)',
  async (options) => {
    const path = join(scratch(), 'store')
    await using writer = await openStore(path, { keepLast: 1 })
    await writer.persist({ blobs: { text: 'the first' } })
    let last = 'the first'
    const fs: FileSystem = {
      ...nodeFileSystem,
      async open(at, how, mode) {
        // As if this reader had been stopped for long after its look at HEAD.
        for (let n = 2; last === 'the first' && at.endsWith('.pack') && existsSync(at); n++) {
          await writer.persist({ blobs: { text: `number ${n}` } })
          if (!existsSync(at)) last = `number ${n}`
        }
        return await nodeFileSystem.open(at, how, mode)
      },
    }
    const warnings: unknown[] = []
    await using reader = storeOver(directoryStorage({ fs, path, readOnly: true, lock: 'os' }), fs, {
      onWarning: (warning) => warnings.push(warning),
    })
    await using snapshot = await reader.load({ ...options, required: true })
    expect(last).not.toBe('the first')
    expect(await snapshot!.blob('text').text()).toBe(last)
    expect(snapshot!.skipped).toEqual([])
    expect(warnings).toEqual([])
  },
)

test.each(['HEAD.json', 'STORE.json'])(
  'a store that is made just after a reader looked for its %s is there or is not, and never damaged',
  async (name) => {
    const path = join(scratch(), 'store')
    let made = false
    const fs: FileSystem = {
      ...nodeFileSystem,
      async open(at, how, mode) {
        const opening = nodeFileSystem.open(at, how, mode)
        await opening.catch(() => undefined)
        if (!made && at === join(path, name)) {
          made = true
          await persistSnapshot(path, { blobs: { text: 'the first' } })
        }
        return await opening
      },
    }
    await using reader = storeOver(directoryStorage({ fs, path, readOnly: true, lock: 'os' }), fs)
    await using snapshot = await reader.load()
    expect(made).toBe(true)
    if (snapshot !== null) expect(await snapshot.blob('text').text()).toBe('the first')
  },
)

test.runIf(process.platform === 'linux')(
  'snapshots that are disposed, and those that fail, give their descriptors back',
  async () => {
    const path = join(scratch(), 'store')
    const store = await openStore(path)
    for (let i = 0; i < 4; i++) await store.persist({ blobs: { a: noise(10_000, i) } })
    const open = (): number => openIn(path)
    const before = open()
    const snapshots = await Promise.all(Array.from({ length: 20 }, () => store.load()))
    expect(open()).toBeGreaterThan(before)
    await Promise.all(snapshots.map((snapshot) => snapshot!.dispose()))
    expect(open()).toBe(before)
    for (let i = 0; i < 5; i++) {
      await store.persist({ blobs: { a: noise(10_000, 50 + i) } })
      await store.load({ at: 1 }).catch(() => null)
      await store
        .restore(() => {
          throw new Error('engine')
        })
        .catch(() => null)
      await store.load({ blobs: ['nothing'] }).catch(() => null)
    }
    expect(open()).toBe(before)
    await store.close()
  },
)

test.runIf(process.platform === 'linux')(
  'snapshots that are forgotten give their descriptors back some day and are warned of once, blobs that are not keep them',
  async () => {
    const warnings = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
    onTestFinished(() => warnings.mockRestore())
    const path = join(scratch(), 'store')
    await persistSnapshot(path, { blobs: { a: 'text' } })
    const before = openIn(path)
    const blob = await (async () => (await loadSnapshot(path))!.blob('a'))()
    await (async () => void (await (await loadSnapshot(path))!.blob('a').file()))()
    const held = openIn(path)
    expect(held).toBeGreaterThan(before + 1)
    const collected = async (): Promise<number> => {
      collectGarbage()
      await new Promise((resolve) => setTimeout(resolve, 10))
      return openIn(path)
    }
    await eventually(async () => expect(await collected()).toBeLessThan(held))
    expect(await blob.text()).toBe('text')
    expect(openIn(path)).toBeGreaterThan(before)
    await (async () => void (await loadSnapshot(path)))()
    await (await loadSnapshot(path))!.dispose()
    await eventually(async () => expect(await collected()).toBeLessThan(held))
    const codes = warnings.mock.calls.map(([, options]) => (options as { code?: string }).code)
    expect(codes).toEqual(['SNAPSHOT_NOT_DISPOSED'])
    expect(warnings.mock.calls[0]![0]).toContain(`of ${path} was never disposed`)
  },
)

/** Descriptors of this process that lead below a directory, deleted files among them. */
function openIn(directory: string): number {
  return readdirSync('/proc/self/fd').filter((descriptor) => {
    try {
      return readlinkSync(`/proc/self/fd/${descriptor}`).startsWith(directory)
    } catch {
      return false
    }
  }).length
}
