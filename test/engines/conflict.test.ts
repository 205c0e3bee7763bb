// autosave replaces only snapshots that this process restored or made, and stops when somebody else moved HEAD.

import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test, vi } from 'vitest'
import { persistEngine, restoreEngine } from '../../src/engines/adapter.ts'
import { type AutosaveOptions, autosave, startEngine } from '../../src/engines/autosave.ts'
import { memory, openStore, type Store } from '../../src/index.ts'
import { eventually } from '../support/eventually.ts'
import { scratch } from '../support/scratch.ts'
import { type Counter, counter } from './counter.ts'

const create = (): Counter => ({ count: 0 })
const never = { everyMs: 1e6, retryMs: 1, retryLimitMs: 1 }

async function saved(store: Store): Promise<number | undefined> {
  await using restored = await restoreEngine(store, counter)
  return restored?.engine.count
}

/** Rolls back as another process does: it knows nothing of what this one saved. */
async function rollbackElsewhere(path: string): Promise<void> {
  vi.resetModules()
  const other = await import('../../src/index.ts')
  await using store = await other.openStore(path)
  await store.rollback(1)
}

/** A saver whose store was rolled back behind its back: to somebody else it is the same as another save. */
async function rolledBack(options: AutosaveOptions<Counter> = {}) {
  const path = join(scratch(), 'store')
  const store = await openStore(path)
  await persistEngine(store, counter, { count: 1 })
  await persistEngine(store, counter, { count: 2 })
  const { engine, restored } = await startEngine(store, counter, { create })
  const told: [code: string, retryInMs: number][] = []
  const onError: AutosaveOptions<Counter>['onError'] = (error, { retryInMs }) =>
    told.push([(error as { code: string }).code, retryInMs])
  const saver = autosave(store, counter, engine, { ...never, restored, onError, ...options })
  await rollbackElsewhere(path)
  engine.count = 3
  saver.changed()
  return { store, saver, told }
}

const conflict = { code: 'HEAD_CONFLICT', details: { own: false } }

describe('when somebody else moved HEAD', () => {
  test('flush rejects, it is told once, lag() shows it, and nothing is saved over it, ever', async () => {
    const { store, saver, told } = await rolledBack()
    await expect(saver.flush()).rejects.toMatchObject(conflict)
    saver.changed()
    await expect(saver.flush()).rejects.toMatchObject(conflict)
    await expect(saver.flush({ deadlineMs: 100 })).rejects.toMatchObject(conflict)
    expect(saver.lag()).toMatchObject({ changes: 2, failures: 1, stopped: true, saving: false, error: conflict })
    await expect(saver.close()).rejects.toMatchObject(conflict)
    expect(told).toEqual([['HEAD_CONFLICT', Number.POSITIVE_INFINITY]])
    expect(await saved(store)).toBe(1)
  })

  test('a save in the background is not tried again', async () => {
    const { store, saver, told } = await rolledBack({ everyMs: 1, quietMs: 0 })
    await eventually(() => expect(told.length).toBe(1))
    await new Promise((resolve) => setTimeout(resolve, 30))
    expect(told.length).toBe(1)
    expect(await saved(store)).toBe(1)
    await expect(saver.close()).rejects.toMatchObject(conflict)
  })

  test('the process warning names the next step', async () => {
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    try {
      const { saver } = await rolledBack({ onError: undefined } as object)
      await expect(saver.close()).rejects.toMatchObject(conflict)
      expect(warned).toHaveBeenCalledTimes(1)
      expect(warned.mock.calls[0]![0]).toMatch(/restore the engine .* onConflict: 'overwrite'/)
    } finally {
      warned.mockRestore()
    }
  })

  test("onConflict: 'overwrite' saves over it", async () => {
    const { store, saver, told } = await rolledBack({ onConflict: 'overwrite' })
    await saver.close()
    expect([await saved(store), told]).toEqual([3, []])
  })

  test.each([
    ['that the engine was restored from', 1],
    ['that was empty when the engine was made', null],
  ])('a save of another process in a store %s is a conflict', async (_what, first) => {
    const path = join(scratch(), 'store')
    if (first !== null) await persistEngine(path, counter, { count: first })
    await using store = await openStore(path)
    const { engine, restored } = await startEngine(store, counter, { create })
    const saver = autosave(store, counter, engine, { ...never, restored, onError: () => {} })
    const other = fileURLToPath(new URL('other-process.mjs', import.meta.url))
    await promisify(execFile)(process.execPath, [other, path, '100'])
    engine.count = 2
    saver.changed()
    await expect(saver.flush()).rejects.toMatchObject(conflict)
    await expect(saver.close()).rejects.toMatchObject(conflict)
    expect(await saved(store)).toBe(100)
    await restored?.dispose()
  })
})

describe('within one process the last call wins', () => {
  test('a save by hand is no conflict, before autosave begins, between its saves, and by another store object', async () => {
    const path = join(scratch(), 'store')
    await using store = await openStore(path)
    const { engine, restored } = await startEngine(store, counter, { create })
    await persistEngine(store, counter, { count: 1 })
    const saver = autosave(store, counter, engine, { ...never, restored })
    for (const [count, location] of [
      [2, store],
      [4, path],
    ] as const) {
      engine.count = count
      saver.changed()
      await saver.flush()
      expect(await saved(store)).toBe(count)
      await persistEngine(location, counter, { count: count + 1 })
      expect(await saved(store)).toBe(count + 1)
    }
    engine.count = 6
    saver.changed()
    await saver.close()
    expect(await saved(store)).toBe(6)
  })

  test('a save by hand over a rollback does not hide the rollback', async () => {
    const { store, saver } = await rolledBack()
    await persistEngine(store, counter, { count: 50 })
    await expect(saver.close()).rejects.toMatchObject(conflict)
    expect(await saved(store)).toBe(50)
  })

  test('a rollback is no conflict for what is called after it', async () => {
    const store = memory()
    for (const count of [1, 2]) await persistEngine(store, counter, { count })
    const { engine, restored } = await startEngine(store, counter, { create })
    const told: unknown[] = []
    const saver = autosave(store, counter, engine, { ...never, restored, onError: (error) => told.push(error) })
    await store.rollback(1)
    engine.count = 3
    saver.changed()
    await saver.flush()
    expect(await saved(store)).toBe(3)
    await store.rollback(1)
    await persistEngine(store, counter, { count: 4 })
    engine.count = 5
    saver.changed()
    await saver.close()
    expect([await saved(store), told]).toEqual([5, []])
  })

  test('the clock does not save over a rollback what was changed before it; the next call does', async () => {
    const store = memory()
    for (const count of [1, 2]) await persistEngine(store, counter, { count })
    const { engine, restored } = await startEngine(store, counter, { create })
    const told: unknown[] = []
    const onError = (error: unknown) => told.push(error)
    const saver = autosave(store, counter, engine, { everyMs: 60, quietMs: 50, restored, onError })
    engine.count = 3
    saver.changed()
    await store.rollback(1)
    await eventually(() => expect(told.length).toBe(1))
    expect(told[0]).toMatchObject({ code: 'HEAD_CONFLICT', details: { own: true } })
    expect(saver.lag()).toMatchObject({ stopped: true, changes: 1 })
    expect(await saved(store)).toBe(1)
    await saver.flush()
    expect(await saved(store)).toBe(3)
    expect(saver.lag()).toMatchObject({ stopped: false, changes: 0 })
    engine.count = 4
    saver.changed()
    await eventually(async () => expect(await saved(store)).toBe(4))
    await saver.close()
  })

  test('a signal does not undo a rollback that came after all changes', async () => {
    const kill = vi.spyOn(process, 'kill').mockImplementation(() => true)
    try {
      const store = memory()
      for (const count of [1, 2]) await persistEngine(store, counter, { count })
      const { engine, restored } = await startEngine(store, counter, { create })
      const told: unknown[] = []
      const onError = (error: unknown) => told.push(error)
      const saver = autosave(store, counter, engine, { ...never, restored, onError, signals: ['SIGUSR2'] })
      engine.count = 3
      saver.changed()
      await store.rollback(1)
      process.emit('SIGUSR2')
      await eventually(() => expect(told.length).toBe(1))
      expect(await saved(store)).toBe(1)
      await saver.close()
      expect(await saved(store)).toBe(3)
    } finally {
      kill.mockRestore()
    }
  })

  test('two autosaves of one store take turns', async () => {
    const store = memory()
    const savers = [1, 2].map((count) => autosave(store, counter, { count }, { ...never, restored: null }))
    for (let turn = 0; turn < 3; turn++) {
      for (const saver of savers) {
        saver.changed()
        await saver.flush()
      }
    }
    expect(await saved(store)).toBe(2)
    for (const saver of savers) await saver.close()
  })
})

describe('what autosave may replace first', () => {
  test('is what was current when an older snapshot was restored on purpose', async () => {
    const store = memory()
    for (const count of [1, 2, 3]) await persistEngine(store, counter, { count })
    const restored = (await restoreEngine(store, counter, { at: 1 }))!
    expect(restored.snapshot.currentSequence).toBe(3)
    const saver = autosave(store, counter, { count: 9 }, { ...never, restored })
    saver.changed()
    await saver.close()
    expect(await saved(store)).toBe(9)
  })

  test('is what it saved itself from the second save on, when it was not told what was restored', async () => {
    const path = join(scratch(), 'store')
    await using store = await openStore(path)
    await persistEngine(store, counter, { count: 1 })
    const saver = autosave(store, counter, { count: 2 }, { ...never, onError: () => {} })
    await saver.flush()
    await rollbackElsewhere(path)
    saver.changed()
    await expect(saver.close()).rejects.toMatchObject(conflict)
    expect(await saved(store)).toBe(1)
  })

  test('is anything when it was not told what was restored', async () => {
    const store = memory()
    await persistEngine(store, counter, { count: 1 })
    const saver = autosave(store, counter, { count: 2 }, never)
    await saver.close()
    expect(await saved(store)).toBe(2)
  })
})

describe("startEngine({ onMismatch: 'create' })", () => {
  const other = { ...counter, options: { fields: ['title'] } }

  test('makes a new engine, which autosave saves over the one that did not fit', async () => {
    const store = memory()
    await persistEngine(store, counter, { count: 1 })
    await expect(startEngine(store, other, { create })).rejects.toMatchObject({ code: 'ENGINE_MISMATCH' })
    const { engine, restored, replay } = await startEngine(store, other, { create, onMismatch: 'create' })
    expect([engine.count, restored, replay.state]).toEqual([0, null, 'fresh'])
    const saver = autosave(store, other, engine, { ...never, restored })
    engine.count = 5
    saver.changed()
    await saver.close()
    expect((await restoreEngine(store, other))?.engine.count).toBe(5)
  })

  test('does not save over what came after', async () => {
    const path = join(scratch(), 'store')
    await using store = await openStore(path)
    await persistEngine(store, counter, { count: 1 })
    const { engine, restored } = await startEngine(store, other, { create, onMismatch: 'create' })
    await persistEngine(store, counter, { count: 2 })
    await rollbackElsewhere(path)
    const saver = autosave(store, other, engine, { ...never, restored, onError: () => {} })
    saver.changed()
    await expect(saver.close()).rejects.toMatchObject(conflict)
  })
})

test('other values of onConflict and onMismatch are refused', async () => {
  expect(() => autosave(memory(), counter, create(), { onConflict: 'ask' as 'stop' })).toThrow(TypeError)
  await expect(startEngine(memory(), counter, { create, onMismatch: 'ask' as 'throw' })).rejects.toThrow(TypeError)
})
