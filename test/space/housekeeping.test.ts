// What an open store does behind its persists: when it begins, what it leaves, and that nobody waits for it.

import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { clock } from '../../src/clock.ts'
import { autosave } from '../../src/engines/autosave.ts'
import { plain } from '../../src/engines/plain.ts'
import type { Head } from '../../src/format/head.ts'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { fixed, memory, openStore, persistSnapshot, type Store, type StoreOptions } from '../../src/index.ts'
import { insideOf } from '../../src/inside.ts'
import { createHousekeeping } from '../../src/space/housekeeping.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import { noise, sameBytes } from '../support/bytes.ts'
import { share } from '../support/effort.ts'
import { createRandom } from '../support/random.ts'
import { makeScratch, quickScratch } from '../support/scratch.ts'
import { kinds } from '../support/storages.ts'
import { storeOver } from '../support/store-over.ts'

const MIB = 1024 * 1024
const OPTIONS: StoreOptions = { compression: 'none', keepLast: 1, packBytesMax: MIB }

const housekeepingOf = (store: Store) => insideOf(store, 'a test').housekeeping

/** A timer of ours that was started and neither stopped nor run. */
interface Pending {
  ms: number
  run: () => void
  isUnref: boolean
}

/** Timers that begin housekeeping are kept, not started. Others run as always. */
function holdTimers(): Map<unknown, Pending> {
  const held = new Map<unknown, Pending>()
  const { startTimer, stopTimer } = clock
  onTestFinished(() => void Object.assign(clock, { startTimer, stopTimer }))
  clock.startTimer = (run, ms) => {
    if (!String(run).includes('now()')) return startTimer(run, ms)
    const pending = { ms, run, isUnref: false }
    const timer = {
      unref() {
        pending.isUnref = true
      },
    }
    held.set(timer, pending)
    return timer as unknown as NodeJS.Timeout
  }
  clock.stopTimer = (timer) => {
    if (!held.delete(timer)) stopTimer(timer)
  }
  return held
}

/** Chunks that change each time, each second time, and so on: in each pack some live long. */
function blobAt(n: number, count = 600): Uint8Array {
  const bytes = new Uint8Array(count * 4096)
  for (let i = 0; i < count; i++) bytes.set(noise(4096, i * 1000 + Math.floor((n + i) / (1 + (i % 8)))), i * 4096)
  return bytes
}

/**
 * An eighth of the chunks never changes, and all others always do: of the first pack an eighth stays, of the others
 * nothing.
 */
function mostlyNew(n: number): Uint8Array {
  const bytes = new Uint8Array(1400 * 4096)
  for (let i = 0; i < 1400; i++) bytes.set(noise(4096, i % 8 === 0 ? i : i * 1000 + n), i * 4096)
  return bytes
}

async function persistBlob(store: Store, n: number, count?: number): Promise<{ compacted: number }> {
  const { bytes } = await store.persist({ blobs: { a: { source: blobAt(n, count), chunking: fixed(4096) } } })
  return bytes
}

async function headOf(store: Store): Promise<Head> {
  return (await insideOf(store, 'a test').ctx.storage.readHead())!.head
}

describe('behind a persist', () => {
  test('packs that are mostly garbage are rewritten, and not in the persist itself', async () => {
    await using store = memory(OPTIONS)
    for (let n = 0; n < 5; n++) expect((await persistBlob(store, n)).compacted).toBe(0)
    const { packBytes, liveBytes } = await store.stats()
    expect(packBytes).toBeGreaterThan(2 * liveBytes + MIB)
    await housekeepingOf(store).now()
    const after = await store.stats()
    expect(after.packBytes).toBeLessThanOrEqual(2 * after.liveBytes + MIB)
    expect(after.retired).toMatchObject({ count: 0 })
    await using snapshot = (await store.load())!
    expect(sameBytes(await snapshot.blob('a').bytes(), blobAt(4))).toBe(true)
    // Nothing was written since: HEAD is not even read.
    const { revision } = await headOf(store)
    await housekeepingOf(store).now()
    expect((await headOf(store)).revision).toBe(revision)
  })

  test('a persist rewrites nothing, and what it leaves is rewritten later', async () => {
    await using store = memory({ ...OPTIONS, packBytesMax: 64 * MIB })
    for (let n = 0; n < 4; n++) {
      const { bytes } = await store.persist({ blobs: { a: { source: mostlyNew(n), chunking: fixed(4096) } } })
      expect(bytes.compacted).toBe(0)
    }
    const before = await store.stats()
    expect(before.packBytes).toBeGreaterThan(1.7 * before.liveBytes)
    await housekeepingOf(store).now()
    const after = await store.stats()
    expect(after.packBytes).toBeLessThan(1.1 * after.liveBytes)
  })

  test('where little is garbage HEAD stays, and nobody is locked out', async () => {
    const storage = memoryStorage()
    await using store = storeOver(storage, nodeFileSystem, { ...OPTIONS, packBytesMax: 64 * MIB })
    await persistBlob(store, 0)
    const changed = blobAt(0)
    changed[100] = 1
    await store.persist({ blobs: { a: { source: changed, chunking: fixed(4096) } } })
    const { revision } = await headOf(store)
    const write = vi.spyOn(storage, 'write')
    await housekeepingOf(store).now()
    expect((await headOf(store)).revision).toBe(revision)
    expect(write).not.toHaveBeenCalled()
  })

  test('after a look that took long it rests long', async () => {
    const held = holdTimers()
    await using store = memory()
    const { ctx } = insideOf(store, 'a test')
    let tookMs = 0
    const { monotonicMs } = clock
    onTestFinished(() => void Object.assign(clock, { monotonicMs }))
    clock.monotonicMs = () => monotonicMs() + tookMs
    const housekeeping = createHousekeeping(
      ctx,
      (look) => look(),
      async () => {
        tookMs += 4000
      },
      new AbortController().signal,
    )
    housekeeping.noteWrite(1000, true)
    await housekeeping.now()
    housekeeping.noteWrite(1000, true)
    const [rested] = [...held.values()]
    expect(rested!.ms).toBeGreaterThan(79_000)
    expect(rested!.ms).toBeLessThan(82_000)
  })

  test('whoever looks for garbage waits for a save that runs, but not long', async () => {
    await using store = memory(OPTIONS)
    const housekeeping = housekeepingOf(store)
    expect(housekeeping.pause()).toBeUndefined()
    let end = (): void => undefined
    const save = housekeeping.during(
      () =>
        new Promise<void>((resolve) => {
          end = resolve
        }),
    )
    const order: string[] = []
    const paused = housekeeping.pause()!.then(() => order.push('went on'))
    order.push('saved')
    end()
    await save
    await paused
    expect(order).toEqual(['saved', 'went on'])
    // One that takes very long.
    const long = housekeeping.during(
      () =>
        new Promise<void>((resolve) => {
          end = resolve
        }),
    )
    await housekeeping.pause()
    end()
    await long
    await expect(housekeeping.during(() => Promise.reject(new Error('no')))).rejects.toThrow('no')
    expect(housekeeping.pause()).toBeUndefined()
    // A persist is one.
    const during = vi.spyOn(housekeeping, 'during')
    await persistBlob(store, 0)
    expect(during).toHaveBeenCalledTimes(1)
  })

  test('it begins a second after much was written, and else a minute after, and keeps no process alive', async () => {
    const held = holdTimers()
    await using store = memory({ ...OPTIONS, keepLast: 2 })
    await persistBlob(store, 0)
    await persistBlob(store, 1)
    // No snapshot was dropped, so nothing became garbage.
    expect([...held.values()]).toEqual([])
    await persistBlob(store, 2)
    const [first] = [...held.values()]
    expect(first!.ms).toBeGreaterThan(900)
    expect(first!.ms).toBeLessThanOrEqual(1000)
    expect(first!.isUnref).toBe(true)
    await housekeepingOf(store).now()
    expect(held.size).toBe(0)
    await store.persist({ blobs: { a: 'a little' } })
    const [late] = [...held.values()]
    expect(late!.ms).toBeGreaterThan(59_000)
    // Much more makes it sooner, and not later. It rests after the look before.
    await persistBlob(store, 3)
    await persistBlob(store, 4)
    const [soon] = [...held.values()]
    expect(held.size).toBe(1)
    expect(soon!.ms).toBeLessThan(30_000)
    await store.forget([(await store.snapshots())[1]!.sequence])
    expect(held.size).toBe(1)
    held.clear()
    soon!.run()
    await housekeepingOf(store).now()
    const { packBytes, liveBytes } = await store.stats()
    expect(packBytes).toBeLessThanOrEqual(2 * liveBytes + MIB)
  })

  test('a process that has written ends at once', () => {
    const program = `
      import { memory, openStore } from 'holdfast'
      const store = await openStore(process.argv[1], { keepLast: 1 })
      for (let n = 0; n < 3; n++) await store.persist({ blobs: { a: String(n) } })
      console.log(Math.round(performance.now()))
      process.on('exit', () => console.log(Math.round(performance.now())))`
    const args = ['--input-type=module', '-e', program, join(quickScratch(), 'store')]
    const cwd = fileURLToPath(new URL('../..', import.meta.url))
    const said = execFileSync(process.execPath, args, { cwd, encoding: 'utf8', timeout: 50_000 })
    const [writtenMs, exitMs] = said.trim().split('\n').map(Number)
    expect(exitMs! - writtenMs!).toBeLessThan(900)
  })

  test('a gc that is asked for does not wait for a timer that keeps no process alive', async () => {
    const { sleep } = clock
    onTestFinished(() => void Object.assign(clock, { sleep }))
    let isResting = (): void => undefined
    const resting = new Promise<void>((resolve) => {
      isResting = resolve
    })
    // As in a process in which nothing else is alive: such a timer never fires, but a signal ends it.
    clock.sleep = (ms, options) => {
      if (options?.ref !== false) return sleep(ms, options)
      isResting()
      return new Promise((_, reject) => options.signal?.addEventListener('abort', () => reject(new Error('aborted'))))
    }
    await using store = memory(OPTIONS)
    for (let n = 0; n < 5; n++) await persistBlob(store, n)
    const working = housekeepingOf(store).now()
    await resting
    expect(await store.gc()).toMatchObject({ done: true })
    await working
  })

  test('a store that is closed begins nothing, and ends what was begun', async () => {
    const held = holdTimers()
    const path = join(makeScratch(), 'store')
    const store = await openStore(path, { ...OPTIONS, packBytesMax: 64 * MIB })
    for (let n = 0; n < 3; n++) await persistBlob(store, n, 4000)
    expect(held.size).toBe(1)
    const head = readFileSync(join(path, 'HEAD.json'))
    const working = housekeepingOf(store).now()
    await new Promise((resolve) => setTimeout(resolve, 5))
    await store.close()
    await working
    expect(held.size).toBe(0)
    expect(readFileSync(join(path, 'HEAD.json')).equals(head)).toBe(true)
    expect(readdirSync(join(path, 'tmp'))).toEqual([])
    await using again = await openStore(path)
    expect(await again.verify()).toMatchObject({ ok: true, problems: [] })
  })

  test('its last read of HEAD, too, is what whoever closes the store waits for', async () => {
    await using store = memory()
    const { ctx } = insideOf(store, 'a test')
    const order: string[] = []
    const housekeeping = createHousekeeping(
      ctx,
      async (operation) => {
        await operation()
        order.push('operation ended')
      },
      async () => {
        order.push('collected')
      },
      new AbortController().signal,
    )
    vi.spyOn(ctx.storage, 'readHead').mockImplementation(async () => {
      await new Promise((resolve) => setTimeout(resolve, 20))
      order.push('has read HEAD')
      return null
    })
    housekeeping.noteWrite(1000, true)
    await housekeeping.now()
    expect(order).toEqual(['collected', 'has read HEAD', 'operation ended'])
  })

  test('a save because of a signal ends it, and it is made up for later', async () => {
    const held = holdTimers()
    await using store = memory({ ...OPTIONS, packBytesMax: 64 * MIB })
    for (let n = 0; n < 3; n++) await persistBlob(store, n, 2000)
    held.clear()
    const { revision } = await headOf(store)
    const housekeeping = housekeepingOf(store)
    const working = housekeeping.now()
    const interrupt = vi.spyOn(housekeeping, 'interrupt')
    // Ours as well, and for good, so that autosave leaves the process alone.
    process.on('SIGUSR2', () => undefined)
    const engine = plain({ name: 'text', save: () => Buffer.from('engine'), restore: async () => ({}) })
    const saves = autosave(store, engine, {}, { signals: ['SIGUSR2'], everyMs: 1_000_000 })
    saves.changed()
    process.emit('SIGUSR2', 'SIGUSR2')
    await saves.flush()
    await working
    expect(interrupt).toHaveBeenCalledTimes(1)
    expect((await headOf(store)).revision).toBe(revision + 1)
    expect(held.size).toBe(1)
    await saves.close()
    await housekeeping.now()
    const { packBytes, liveBytes } = await store.stats()
    expect(packBytes).toBeLessThanOrEqual(2 * liveBytes + 64 * MIB)
  })

  test('damage is said once and changes nothing', async () => {
    const warnings: string[] = []
    const storage = memoryStorage()
    await using store = storeOver(storage, nodeFileSystem, { ...OPTIONS, onWarning: ({ code }) => warnings.push(code) })
    for (let n = 0; n < 3; n++) await persistBlob(store, n)
    const { revision } = await headOf(store)
    const write = storage.write.bind(storage)
    storage.write = () => Promise.reject(new Error('the disk is gone'))
    await housekeepingOf(store).now()
    storage.write = write
    expect(warnings).toEqual(['COMPACTION_SKIPPED'])
    expect((await headOf(store)).revision).toBe(revision)
    await housekeepingOf(store).now()
    expect((await headOf(store)).revision).toBeGreaterThan(revision)
  })
})

test('one-shot persists start nothing, and the store stays small all the same', async () => {
  const held = holdTimers()
  const path = join(makeScratch(), 'store')
  let compacted = 0
  for (let n = 0; n < 4; n++) {
    const blobs = { a: { source: mostlyNew(n), chunking: fixed(4096) } }
    const { bytes } = await persistSnapshot(path, { blobs, ...OPTIONS, packBytesMax: 64 * MIB })
    compacted += bytes.compacted
    expect(held.size).toBe(0)
  }
  expect(compacted).toBeGreaterThan(0)
  await using store = await openStore(path, { readOnly: true })
  const { packBytes, liveBytes } = await store.stats()
  expect(packBytes).toBeLessThan(1.5 * liveBytes)
})

test.each(kinds.filter(({ supports }) => !supports.alone))(
  'where there are other writers nothing is begun, and persists rewrite in their own swap ($name)',
  async (kind) => {
    const held = holdTimers()
    const store = await kind.open({ ...OPTIONS, packBytesMax: 64 * MIB })
    let compacted = 0
    for (let n = 0; n < 6; n++) compacted += (await persistBlob(store, n, 2000)).compacted
    expect(compacted).toBeGreaterThan(0)
    expect([...held.values()]).toEqual([])
  },
)

/** Bytes of the packs that HEAD names. */
function packBytesOf(head: Head): number {
  return head.packs.reduce((sum, { bytes }) => sum + bytes, 0)
}

test.each(Array.from({ length: share(20) }, (_, i) => i + 1))(
  'whatever is written, dropped and tagged, packs keep their bounds (history %i)',
  async (seed) => {
    const r = createRandom(seed)
    const storage = memoryStorage()
    await using store = storeOver(storage, nodeFileSystem, { ...OPTIONS, keepLast: 1 + r.below(4) })
    const kept = new Map<number, Uint8Array>()
    const pages = 20 + r.below(600)
    const bytes = noise(pages * 4096, seed)
    const persists = 30 + r.below(60)
    for (let i = 0; i < persists; i++) {
      const changes = r.below(10) === 0 ? pages : r.below(3) === 0 ? r.below(pages) : r.below(10)
      for (let j = 0; j < changes; j++) bytes.set(noise(64, i * 1000 + j), r.below(pages) * 4096)
      const size = r.below(8) === 0 ? (1 + r.below(pages)) * 4096 : bytes.length
      const blob = bytes.slice(0, size)
      const { sequence } = await store.persist({ blobs: { a: { source: blob, chunking: fixed(4096) } } })
      kept.set(sequence, blob)
      if (r.below(8) === 0) await store.tag(`t${r.below(4)}`)
      if (r.below(12) === 0) {
        const others = (await store.snapshots()).filter(({ current, tags }) => !current && tags.length === 0)
        const named = others.slice(0, 1 + r.below(3)).map((each) => each.sequence)
        if (named.length > 0) await store.forget(named)
      }
      if (r.below(4) > 0) continue
      await housekeepingOf(store).now()
      const { liveBytes } = await store.stats()
      expect(packBytesOf(await headOf(store)), `after ${i} persists`).toBeLessThanOrEqual(2 * liveBytes + MIB)
    }
    await housekeepingOf(store).now()
    const head = await headOf(store)
    const { liveBytes } = await store.stats()
    expect(packBytesOf(head)).toBeLessThanOrEqual(2 * liveBytes + MIB)
    // Packs that are full, and eight at most of each size below: sizes differ by a factor of four.
    expect(head.packs.length).toBeLessThanOrEqual((3 * packBytesOf(head)) / MIB + 8 * Math.log2(persists + 1))

    const { done } = await store.gc()
    expect(done).toBe(true)
    const after = await store.stats()
    expect(packBytesOf(await headOf(store))).toBeLessThanOrEqual(1.5 * after.liveBytes + MIB)
    for (const { sequence } of await store.snapshots()) {
      await using snapshot = (await store.load({ at: sequence }))!
      expect(sameBytes(await snapshot.blob('a').bytes(), kept.get(sequence)!)).toBe(true)
    }
    expect(await store.verify()).toMatchObject({ ok: true, problems: [] })
  },
)
