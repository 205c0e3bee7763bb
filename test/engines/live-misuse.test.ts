// What a caller may get wrong with a live engine or a journal, and is told of.

import { afterEach, describe, expect, test } from 'vitest'
import { clock } from '../../src/clock.ts'
import type { EngineAdapter } from '../../src/engines/adapter.ts'
import { type LiveEngine, type OpenEngineOptions, openEngine } from '../../src/engines/live.ts'
import { memory, type Store } from '../../src/index.ts'

type List = unknown[]

const list: EngineAdapter<List> = {
  name: 'list',
  layout: 1,
  options: {},
  revision: ({ length }) => length,
  save: (engine) => ({ blobs: { list: JSON.stringify(engine) }, captured: true }),
  restore: async (saved) => JSON.parse(await saved.blob('list').text()) as List,
}

const stores: Store[] = []
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close()
})

function fresh(): Store {
  const store = memory()
  stores.push(store)
  return store
}

function open(
  options: Partial<OpenEngineOptions<List, unknown>> = {},
  store = fresh(),
): Promise<LiveEngine<List, unknown>> {
  return openEngine<List, unknown>(store, list, {
    create: () => [],
    apply: (engine, change) => engine.push(change),
    everyMs: 1_000_000,
    ...options,
  })
}

describe('openEngine', () => {
  test('refuses options that it would ignore', async () => {
    const store = fresh()
    for (const [name, value] of [
      ['alongside', {}],
      ['restored', null],
      ['signals', ['SIGTERM']],
    ] as const) {
      await expect(open({ [name]: value } as object, store)).rejects.toThrow(`unknown option ${name}`)
    }
    const changes = { version: 1, upgade: () => 0 } as never
    await expect(open({ changes }, store)).rejects.toThrow('did you mean upgrade')
    await expect(open({ saveAfterBytes: Number.NaN }, store)).rejects.toThrow('got NaN')
    // The journal was let go each time.
    await expect(open({ everyMs: -1 }, store)).rejects.toThrow(RangeError)
    await (await open({}, store)).close()
  })
})

describe('inside a promise of apply', () => {
  test('what would wait for it is refused', async () => {
    for (const call of ['save', 'rollback', 'close'] as const) {
      let found: unknown
      const apply = async (engine: List, change: unknown): Promise<void> => {
        await clock.sleep(1)
        found = await live[call](1 as never).catch((error: unknown) => error)
        engine.push(change)
      }
      const live: LiveEngine<List, unknown> = await open({ apply })
      await live.change(1)
      expect(found, call).toBeInstanceOf(TypeError)
      if (call !== 'save') expect((found as Error).message).toContain(`apply called ${call}`)
      await live.close()
    }
  })

  test('an apply that never ends does not keep the engine from being closed', async () => {
    const store = fresh()
    const live = await open(
      { apply: () => new Promise(() => undefined), deadlineMs: 50, saveLimitMs: 60_000, onError: () => undefined },
      store,
    )
    void live.change(1)
    await expect(live.close()).rejects.toMatchObject({
      name: 'TimeoutError',
      message: expect.stringMatching(/apply did not end within 50 ms .* in the journal/) as string,
    })
    // The journal is free.
    const again = await open({}, store)
    expect(again.engine).toEqual([])
    await again.close()
  })
})

describe('after it was closed', () => {
  test('an engine refuses all that would do something', async () => {
    const live = await open()
    await live.change(1)
    await live.close()
    await live.close()
    for (const call of [live.change(2), live.save(), live.rollback(1)]) {
      await expect(call).rejects.toMatchObject({ code: 'STORE_CLOSED' })
    }
    await live.durable(1)
    expect(live.lag()).toMatchObject({ entries: 0, stopped: true })
  })

  test('a journal refuses all that would do something', async () => {
    const store = fresh()
    const journal = await store.openJournal()
    await journal.append(Buffer.from('a')).durable
    await journal.close()
    const closed = { code: 'STORE_CLOSED' }
    expect(() => journal.append(Buffer.from('b'))).toThrow(expect.objectContaining(closed))
    expect(() => journal.skip(1)).toThrow(expect.objectContaining(closed))
    await expect(journal.rollback(1)).rejects.toMatchObject(closed)
    await expect(journal.read()[Symbol.asyncIterator]().next()).rejects.toMatchObject(closed)
    await journal.close()
  })
})

test('wrong options of calls are refused, and named', async () => {
  const live = await open()
  await expect(live.save({ deadlineMS: 1 } as never)).rejects.toThrow('save: unknown option deadlineMS')
  await expect(live.save({ deadlineMs: -1 })).rejects.toThrow('save: deadlineMs')
  await expect(live.rollback(undefined as never)).rejects.toThrow(TypeError)
  await live.close()
  const journal = await fresh().openJournal()
  for (const wrong of [-1, '5', undefined, Number.NaN]) {
    expect(() => journal.assertTakes(wrong as number)).toThrow(RangeError)
  }
  expect(() => journal.append(Buffer.from('a'), { aplied: true } as never)).toThrow('did you mean applied')
  for (const wrong of ['a', [1], null, new DataView(new ArrayBuffer(1))]) {
    expect(() => journal.append(wrong as never)).toThrow(TypeError)
  }
})

test('an entry whose bytes were transferred is refused, and those after it are taken', async () => {
  const journal = await fresh().openJournal()
  const gone = new Uint8Array(8)
  structuredClone(gone.buffer, { transfer: [gone.buffer] })
  expect(() => journal.append(gone)).toThrow(TypeError)
  await journal.flush()
  expect(journal.last).toBe(0)
  expect(journal.append(Buffer.from('a')).sequence).toBe(1)
  await journal.flush()
  const data: string[] = []
  for await (const entry of journal.read({ after: 0 })) data.push(Buffer.from(entry.data).toString())
  expect(data).toEqual(['a'])
})

test('changes that would not come back as they are, are refused before they are applied', async () => {
  const live = await open()
  const cycle: Record<string, unknown> = {}
  cycle.cycle = cycle
  for (const wrong of [
    undefined,
    { a: undefined },
    cycle,
    10n,
    new Map(),
    new Set(),
    new Date(),
    Number.NaN,
    () => 1,
    new Float32Array(1),
    '\ud800',
    new Error('x'),
  ]) {
    await expect(live.change(wrong)).rejects.toMatchObject({ code: 'METADATA_INVALID' })
  }
  const given = { text: 'before' }
  const change = live.change(given)
  given.text = 'after'
  await change
  expect(live.engine).toEqual([{ text: 'before' }])
  await live.close()
})
