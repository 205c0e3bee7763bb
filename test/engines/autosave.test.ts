import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import MiniSearch from 'minisearch'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type EngineAdapter, persistEngine, restoreEngine } from '../../src/engines/adapter.ts'
import { type AutosaveOptions, autosave, startEngine } from '../../src/engines/autosave.ts'
import { minisearch } from '../../src/engines/minisearch.ts'
import { memory, openStore, type Store } from '../../src/index.ts'
import { followGlobals } from '../support/follow-globals.ts'
import { scratch } from '../support/scratch.ts'
import { type Counter, counter } from './counter.ts'
import { textDocument } from './text.ts'

/** A store whose saves can be held up and made to fail. */
interface Trial {
  store: Store
  /** When each save was tried. */
  saves: number[]
  /** Holds saves up until the function given is called. */
  hold(): () => void
  fail(error: Error | null): void
  /** How many saves there were at once. */
  most(): number
  /** No save goes on. */
  idle(): boolean
}

function trial(): Trial {
  const inner = memory()
  const saves: number[] = []
  let gate: Promise<void> = Promise.resolve()
  let failure: Error | null = null
  let running = 0
  let held = false
  let most = 0
  const store: Store = {
    ...inner,
    async persist(options) {
      running += 1
      most = Math.max(most, running)
      saves.push(performance.now())
      try {
        await Promise.race([
          gate,
          new Promise((_, reject) => options.signal?.addEventListener('abort', () => reject(options.signal!.reason))),
        ])
        if (failure !== null) throw failure
        return await inner.persist(options)
      } finally {
        running -= 1
      }
    },
  }
  return {
    store,
    saves,
    hold() {
      let open = (): void => {}
      held = true
      gate = new Promise((resolve) => {
        open = () => {
          held = false
          resolve()
        }
      })
      return open
    },
    idle: () => running === 0 || held,
    fail(error) {
      failure = error
    },
    most: () => most,
  }
}

async function saved(store: Store): Promise<number | undefined> {
  return (await restoreEngine(store, counter))?.engine.count
}

describe('by the clock', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'] })
    followGlobals()
  })
  afterEach(() => {
    trials.length = 0
    vi.useRealTimers()
    vi.restoreAllMocks()
  })

  const quick = { everyMs: 1000, quietMs: 100, quietLimitMs: 500, retryMs: 50, retryLimitMs: 200 }

  const trials: Trial[] = []

  /** Time passes, a step at a time, and with it whatever a save waits for besides. */
  async function pass(ms: number): Promise<void> {
    for (let left = ms; ; left -= 50) {
      await vi.advanceTimersByTimeAsync(Math.max(0, Math.min(left, 50)))
      for (let n = 0; n < 5 || !trials.every(({ idle }) => idle()); n++) await setImmediate()
      if (left <= 50) return
    }
  }

  function newTrial(): Trial {
    const tried = trial()
    trials.push(tried)
    return tried
  }

  async function started(
    options: AutosaveOptions<Counter> = {},
  ): Promise<Trial & { engine: Counter; saver: ReturnType<typeof autosave>; change(): void }> {
    const tried = newTrial()
    const engine = { count: 0 }
    await persistEngine(tried.store, counter, engine)
    tried.saves.length = 0
    const restored = await restoreEngine(tried.store, counter)
    const saver = autosave(tried.store, counter, engine, { ...quick, restored, ...options })
    return {
      ...tried,
      engine,
      saver,
      change() {
        engine.count += 1
        saver.changed()
      },
    }
  }

  test('saves a change after everyMs, and nothing more until the next', async () => {
    const { saves, store, change, saver } = await started()
    change()
    await pass(999)
    expect(saves.length).toBe(0)
    await pass(1)
    expect(saves.length).toBe(1)
    expect(await saved(store)).toBe(1)
    await pass(60_000)
    expect(saves.length).toBe(1)
    change()
    await pass(1000)
    expect(saves.length).toBe(2)
    await saver.close()
  })

  test('coalesces many changes into one save', async () => {
    const { saves, store, change, saver } = await started()
    for (let n = 0; n < 100; n++) change()
    await pass(5000)
    expect(saves.length).toBe(1)
    expect(await saved(store)).toBe(100)
    await saver.close()
  })

  test('saves after so many changes without waiting for the clock', async () => {
    const { saves, change, saver } = await started({ afterChanges: 3, everyMs: 100_000 })
    change()
    change()
    await pass(5000)
    expect(saves.length).toBe(0)
    change()
    await pass(100)
    expect(saves.length).toBe(1)
    change()
    await pass(5000)
    expect(saves.length).toBe(1)
    await saver.close()
  })

  test('waits for a quiet moment', async () => {
    const { saves, change, saver } = await started()
    change()
    await pass(950)
    change()
    await pass(99)
    expect(saves.length).toBe(0)
    await pass(1)
    expect(saves.length).toBe(1)
    await saver.close()
  })

  test('waits for a quiet moment no longer than the limit', async () => {
    const { saves, change, saver } = await started()
    for (let n = 0; n < 149; n++) {
      change()
      await pass(10)
    }
    expect(saves.length).toBe(0)
    change()
    await pass(10)
    expect(saves.length).toBe(1)
    await saver.close()
  })

  test('never saves twice at once, and saves again what changed meanwhile', async () => {
    const { saves, store, change, saver, hold, most } = await started()
    const release = hold()
    change()
    await pass(1000)
    expect([saves.length, saver.lag().saving]).toEqual([1, true])
    change()
    // Only the limit of the save under way: its end will look at what is due.
    expect(vi.getTimerCount()).toBe(1)
    await pass(10_000)
    expect(saves.length).toBe(1)
    release()
    await pass(0)
    expect(await saved(store)).toBe(1)
    // It is not older than the save that did not have it; when it came was not noted.
    expect(saver.lag()).toMatchObject({ changes: 1, behindMs: 10_000 })
    await pass(1000)
    expect(saves.length).toBe(2)
    expect(await saved(store)).toBe(2)
    expect([saver.lag().changes, most()]).toEqual([0, 1])
    await saver.close()
  })

  test('backs off after errors, tells each, and keeps the last visible until a save works', async () => {
    const told: unknown[] = []
    const { saves, store, change, saver, fail } = await started({
      onError: (error, next) => told.push([(error as Error).message, next]),
    })
    fail(new Error('disk on fire'))
    change()
    await pass(1000)
    expect(saves.length).toBe(1)
    expect(saver.lag()).toMatchObject({ failures: 1, error: new Error('disk on fire'), changes: 1 })
    await pass(1000)
    const since = saves.map((at) => Math.round(at - saves[0]!))
    expect(since).toEqual([0, 50, 150, 350, 550, 750, 950])
    expect(told.slice(0, 4)).toEqual([
      ['disk on fire', { failures: 1, retryInMs: 50 }],
      ['disk on fire', { failures: 2, retryInMs: 100 }],
      ['disk on fire', { failures: 3, retryInMs: 200 }],
      ['disk on fire', { failures: 4, retryInMs: 200 }],
    ])
    fail(null)
    await pass(200)
    expect(await saved(store)).toBe(1)
    expect(saver.lag()).toMatchObject({ failures: 0, error: null, changes: 0 })
    await saver.close()
  })

  test('warns the process of an error that nobody listens for', async () => {
    const { change, saver, fail } = await started()
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    try {
      fail(new Error('disk on fire'))
      change()
      await pass(1000)
      expect(warned).toHaveBeenCalledWith('saving counter failed (1 in a row): disk on fire', {
        type: 'HoldfastWarning',
        code: 'AUTOSAVE_FAILED',
      })
    } finally {
      warned.mockRestore()
      fail(null)
      await saver.close()
    }
  })

  test('says how old the durable snapshot is, and how far the engine is ahead', async () => {
    const { change, saver } = await started()
    await pass(300)
    expect(saver.lag()).toMatchObject({ ageMs: 300, changes: 0, behindMs: 0, failures: 0, error: null, saving: false })
    change()
    await pass(200)
    change()
    await pass(100)
    expect(saver.lag()).toMatchObject({ ageMs: 600, changes: 2, behindMs: 300 })
    await pass(700)
    expect(saver.lag()).toMatchObject({ ageMs: 0, changes: 0, behindMs: 0 })
    await saver.close()
    const fresh = autosave(memory(), counter, { count: 0 }, quick)
    expect(fresh.lag().ageMs).toBeNull()
    await fresh.close()
    expect(fresh.lag().ageMs).toBe(0)
  })

  test('asks an engine that can tell whether it changed, and saves only then', async () => {
    const { store, saves } = newTrial()
    const engine = { count: 0 }
    const adapter = { ...counter, revision: ({ count }: Counter) => count }
    const saver = autosave(store, adapter, engine, quick)
    await pass(1000)
    expect(saves.length).toBe(1)
    await pass(10_000)
    expect(saves.length).toBe(1)
    engine.count = 1
    await pass(1000)
    expect(saves.length).toBe(2)
    await saver.flush()
    await saver.close()
    expect(saves.length).toBe(2)
  })

  test('saves by the clock what can tell nothing, and writes nothing when it is the same', async () => {
    const results: boolean[] = []
    const { store, saves } = newTrial()
    const saver = autosave(
      store,
      counter,
      { count: 0 },
      { ...quick, onSave: ({ unchanged }) => results.push(unchanged) },
    )
    await pass(3000)
    expect(saves.length).toBe(3)
    expect(results).toEqual([false, true, true])
    await saver.close()
  })

  test('does not take an engine for saved that was changed between its restore and autosave', async () => {
    const { store } = newTrial()
    const adapter = { ...counter, revision: ({ count }: Counter) => count }
    await persistEngine(store, adapter, { count: 1 })
    const restored = (await restoreEngine(store, adapter))!
    restored.engine.count = 2
    const saver = autosave(store, adapter, restored.engine, { ...quick, restored })
    await saver.close()
    expect(await saved(store)).toBe(2)
  })

  test('flush saves at once, once for all who ask, and not at all when nothing changed', async () => {
    const { saves, store, change, saver } = await started()
    change()
    await Promise.all([saver.flush(), saver.flush(), saver.flush()])
    expect(saves.length).toBe(1)
    expect(await saved(store)).toBe(1)
    await saver.flush()
    expect(saves.length).toBe(1)
    await saver.close()
    expect(saves.length).toBe(1)
  })

  test('flush does not take a save that captured before for its own', async () => {
    const { saves, store, change, saver, hold } = await started()
    const release = hold()
    change()
    await pass(1000)
    expect(saves.length).toBe(1)
    change()
    const flushed = Promise.all([saver.flush(), saver.flush()])
    release()
    await flushed
    expect(await saved(store)).toBe(2)
    expect(saves.length).toBe(2)
    await saver.close()
  })

  test('flush follows up on a save under way that failed', async () => {
    const { saves, store, change, saver, hold, fail } = await started({ onError: () => {} })
    const release = hold()
    change()
    await pass(1000)
    fail(new Error('disk on fire'))
    const flushed = saver.flush()
    release()
    await expect(flushed).rejects.toThrow('disk on fire')
    expect(saves.length).toBe(2)
    fail(null)
    await saver.flush()
    expect(await saved(store)).toBe(1)
    await saver.close()
  })

  test('flush gives up at its deadline, commits nothing of that save, and a later save works', async () => {
    const { store, change, saver, hold } = await started({ onError: () => {} })
    const release = hold()
    change()
    const flushed = saver.flush({ deadlineMs: 300 })
    const failed = expect(flushed).rejects.toMatchObject({
      code: 'SAVE_TIMEOUT',
      name: 'TimeoutError',
      message: expect.stringMatching(/not saved within 300 ms .*; 1 change is in no snapshot.* save again/) as string,
      details: { limit: 'deadlineMs', limitMs: 300, changes: 1, journalled: false },
    })
    await pass(300)
    await failed
    expect(saver.lag()).toMatchObject({ changes: 1, failures: 1, saving: false })
    expect(await saved(store)).toBe(0)
    release()
    await pass(1000)
    expect(await saved(store)).toBe(1)
    await saver.close()
  })

  test('a save that hangs is given up after saveLimitMs, and tried again', async () => {
    const { store, saves, change, saver, hold } = await started({ saveLimitMs: 300, onError: () => {} })
    const release = hold()
    change()
    await pass(1000)
    expect(saver.lag()).toMatchObject({ failures: 0, saving: true })
    await pass(300)
    expect(saver.lag()).toMatchObject({ failures: 1, saving: false, error: { code: 'SAVE_TIMEOUT' } })
    release()
    await pass(1000)
    expect(saves.length).toBe(2)
    expect(await saved(store)).toBe(1)
    await saver.close()
  })

  test('await using flushes, and rejects when that fails', async () => {
    const { store, change, saver } = await started()
    {
      await using disposed = saver
      change()
      expect(disposed.lag().changes).toBe(1)
    }
    expect(await saved(store)).toBe(1)

    const failing = await started({ onError: () => {} })
    failing.fail(new Error('disk on fire'))
    failing.change()
    await expect(failing.saver.close()).rejects.toThrow('disk on fire')
    await pass(100_000)
    expect(failing.saves.length).toBe(1)
  })

  test('leaves what its callbacks throw to the process, and goes on', async () => {
    const uncaught = vi.fn()
    const listeners = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    process.once('uncaughtException', uncaught)
    try {
      const { saves, change, saver } = await started({
        onSave: () => {
          throw new Error('of the callback')
        },
      })
      change()
      await pass(1000)
      expect(uncaught).toHaveBeenCalledTimes(1)
      expect(saver.lag()).toMatchObject({ failures: 0, changes: 0 })
      expect(saves.length).toBe(1)
      process.once('uncaughtException', uncaught)
      await saver.close()
    } finally {
      process.removeAllListeners('uncaughtException')
      for (const listener of listeners) process.on('uncaughtException', listener)
    }
  })

  test('refuses options that make no sense', () => {
    for (const options of [{ everyMs: 0 }, { afterChanges: 0 }, { quietMs: -1 }, { deadlineMs: Number.NaN }]) {
      expect(() => autosave(memory(), counter, { count: 0 }, options)).toThrow(RangeError)
    }
    const saver = autosave(memory(), counter, { count: 0 })
    expect(() => saver.changed(0)).toThrow(RangeError)
  })
})

test('index and sidecar agree in every snapshot, though the engine changes all the while', async () => {
  const options = { fields: ['title', 'text'] }
  const adapter = minisearch(MiniSearch, options)
  const engine = new MiniSearch(options)
  const sidecar = new Map<number, string>()
  const store = memory({ keepLast: 1000 })
  let saves = 0
  await using saver = autosave(store, adapter, engine, {
    everyMs: 1,
    // A save that pauses while the engine grows takes ever longer.
    cpuShare: 1,
    quietMs: 0,
    quietLimitMs: 0,
    alongside: () => ({ blobs: { titles: JSON.stringify([...sidecar]) }, watermark: sidecar.size }),
    onSave: () => {
      saves += 1
    },
    onError: (error) => {
      throw error
    },
  })
  for (let n = 0; saves < 12; n++) {
    const document = textDocument(n)
    engine.add(document)
    sidecar.set(n, document.title)
    if (n % 3 === 2) {
      engine.discard(n - 1)
      sidecar.delete(n - 1)
    }
    saver.changed()
    if (n % 5 === 0) await setImmediate()
  }
  const history = await store.snapshots()
  expect(history.length).toBeGreaterThanOrEqual(12)
  for (const { sequence } of history) {
    const restored = (await restoreEngine(store, adapter, { at: sequence }))!
    const titles = new Map(JSON.parse(await restored.snapshot.blob('titles').text()) as [number, string][])
    expect(restored.engine.documentCount).toBe(titles.size)
    expect(restored.snapshot.watermark).toBe(titles.size)
    expect([...titles.keys()].filter((id) => !restored.engine.has(id))).toEqual([])
    await restored.dispose()
  }
})

describe('startEngine', () => {
  const create = (): Counter => ({ count: 0 })

  test('makes a new engine when nothing was persisted, and says to replay everything', async () => {
    const { engine, restored, replay } = await startEngine(memory(), counter, { create, source: { watermark: 5 } })
    expect([engine.count, restored, replay]).toEqual([0, null, { after: undefined, state: 'fresh', by: undefined }])
  })

  test('restores the newest snapshot and says what to replay', async () => {
    const store = memory()
    await persistEngine(store, counter, { count: 3 }, { alongside: { watermark: 3 } })
    await persistEngine(store, counter, { count: 5 }, { alongside: { watermark: 5 } })
    const started = await startEngine(store, counter, { create, source: { watermark: 9 } })
    expect([started.engine.count, started.replay]).toEqual([5, { after: 5, state: 'behind', by: 4 }])
    const current = await startEngine(store, counter, { create, source: { watermark: 5 } })
    expect(current.replay).toEqual({ after: 5, state: 'current', by: undefined })
  })

  test('passes over snapshots that know more than the source, as after a restore of its backup', async () => {
    const store = memory()
    await persistEngine(store, counter, { count: 3 }, { alongside: { watermark: 3 } })
    await persistEngine(store, counter, { count: 5 }, { alongside: { watermark: 5 } })
    const onlyOlder = await startEngine(store, counter, { create, source: { watermark: 4 } })
    expect([onlyOlder.engine.count, onlyOlder.replay]).toEqual([3, { after: 3, state: 'behind', by: 1 }])
    await expect(
      startEngine(store, counter, { create, source: { watermark: 4, ahead: 'refuse' } }),
    ).rejects.toMatchObject({
      code: 'SNAPSHOT_AHEAD',
    })
  })

  test('does not know what to replay when no watermark was persisted', async () => {
    const store = memory()
    await persistEngine(store, counter, { count: 3 })
    const { replay } = await startEngine(store, counter, { create, source: { watermark: 4 } })
    expect(replay).toEqual({ after: undefined, state: 'unknown', by: undefined })
  })
})

describe('signals', () => {
  test.each([
    ['SIGTERM', /signals must be an array/],
    [['SIGTRM'], /did you mean SIGTERM/],
    [['sigint'], /did you mean SIGINT/],
    [[15], /did you mean SIGTERM/],
    [['SIGKILL'], /no process can listen for it/],
  ])('%j are refused at once', (signals, message) => {
    const options = { signals: signals as unknown as NodeJS.Signals[] }
    expect(() => autosave(memory(), counter, { count: 0 } as Counter, options)).toThrow(message)
  })

  const temporary: string[] = []
  afterEach(async () => {
    for (const path of temporary.splice(0)) await rm(path, { recursive: true, force: true })
  })

  async function run(
    mode: string,
    signal: NodeJS.Signals,
    again = 0,
  ): Promise<{ count: number | undefined; end: unknown; failures: number }> {
    const path = await mkdtemp(join(tmpdir(), 'holdfast-autosave-'))
    temporary.push(path)
    const child = spawn(process.execPath, [fileURLToPath(new URL('autosave-child.mjs', import.meta.url)), path, mode], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await new Promise((resolve) => child.stdout.once('data', resolve))
    const ended = new Promise((resolve) => child.once('exit', (code, by) => resolve(by ?? code)))
    let output = ''
    child.stdout.on('data', (text) => {
      output += text
    })
    child.kill(signal)
    for (let n = 0; n < again; n++) {
      await new Promise((resolve) => setTimeout(resolve, 100))
      child.kill(signal)
    }
    const end = await ended
    await using store = await openStore(path)
    return { count: await saved(store), end, failures: output.split('failed').length - 1 }
  }

  test('are flushed on when asked for, and end the process as they would have', async () => {
    expect(await run('signals', 'SIGTERM')).toEqual({ count: 7, end: 'SIGTERM', failures: 0 })
  })

  test('are left alone when not asked for', async () => {
    expect(await run('none', 'SIGTERM')).toEqual({ count: undefined, end: 'SIGTERM', failures: 0 })
  })

  test('are left to another listener once the engine is saved', async () => {
    expect(await run('listener', 'SIGINT')).toEqual({ count: 7, end: 42, failures: 0 })
  })

  test('that come again during the flush do not cost the save', async () => {
    expect(await run('slow', 'SIGTERM', 2)).toEqual({ count: 7, end: 'SIGTERM', failures: 0 })
  })

  test('end a process that is stuck in its flush at the deadline, and that is told once', async () => {
    expect(await run('stuck', 'SIGTERM')).toEqual({ count: undefined, end: 'SIGTERM', failures: 1 })
  })

  test('are refused in a worker thread, which they never reach', async () => {
    const url = new URL('../../dist/engines/autosave.js', import.meta.url).href
    const code = `import(${JSON.stringify(url)}).then(({ autosave }) => autosave('unused', { save() {}, restore() {} }, {}, { signals: ['SIGTERM'] }))`
    const worker = new Worker(code, { eval: true })
    const [error] = (await once(worker, 'error')) as [Error]
    expect([error.name, error.message]).toEqual(['TypeError', expect.stringContaining('worker thread')])
  })
})

describe('a process that ends', () => {
  function endOf(mode: string): string {
    const child = fileURLToPath(new URL('autosave-child.mjs', import.meta.url))
    return spawnSync(process.execPath, [child, join(scratch(), 'store'), mode], { encoding: 'utf8' }).stderr
  }

  test('with changes that were not saved says so, by itself and by process.exit()', () => {
    for (const mode of ['ends', 'exits']) expect(endOf(mode)).toMatch(/AUTOSAVE_UNSAVED.*changes of counter/)
  })

  test('after the last save says nothing', () => {
    expect(endOf('closes')).toBe('')
  })
})

describe('checkEvery', () => {
  test('checks the first save and every n-th after it, and one that failed again', async () => {
    const checks: boolean[] = []
    let broken = true
    const adapter: EngineAdapter<Counter> = {
      ...counter,
      async restore(saved, { check }) {
        checks.push(check === true)
        if (broken) throw new Error('not to be restored')
        return { count: Number(await saved.blob('count').text()) }
      },
    }
    const engine = { count: 0 }
    const store = memory()
    const saver = autosave(store, adapter, engine, { checkEvery: 3, everyMs: 1e6, onError: () => undefined })
    async function save(): Promise<void> {
      engine.count += 1
      saver.changed()
      await saver.flush()
    }
    await expect(save()).rejects.toMatchObject({ code: 'ENGINE_CHECK_FAILED' })
    expect(await store.load()).toBeNull()
    broken = false
    const checksAfter: number[] = []
    for (let n = 0; n < 7; n++) {
      await save()
      checksAfter.push(checks.length)
    }
    expect(checksAfter).toEqual([2, 2, 2, 3, 3, 3, 4])
    expect(checks.every(Boolean)).toBe(true)
    await saver.close()
  })

  test('must be a whole number', () => {
    for (const checkEvery of [0, -1, 1.5, Number.NaN]) {
      expect(() => autosave(memory(), counter, { count: 0 }, { checkEvery })).toThrow(RangeError)
    }
  })
})
