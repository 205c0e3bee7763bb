// Live engines whose `apply` gives a promise, and changes whose outcome is unknown.

import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { clock } from '../../src/clock.ts'
import type { EngineAdapter } from '../../src/engines/adapter.ts'
import { type LiveEngine, type OpenEngineOptions, openEngine } from '../../src/engines/live.ts'
import { createChanges } from '../../src/engines/live-changes.ts'
import { memory } from '../../src/index.ts'
import { openOn, STORE } from '../explore/model.ts'
import type { Process } from '../faulty-disk/disk.ts'
import { scratch } from '../support/scratch.ts'
import { disk } from './ledger.ts'

/** An engine that is between two states while it applies a change. */
interface Slow {
  applied: number[]
  half: number | null
}

type Change = { add: number }

const slow: EngineAdapter<Slow> = {
  name: 'slow',
  layout: 1,
  options: {},
  revision: ({ applied, half }) => `${applied.length} ${half}`,
  save: (engine) => ({ blobs: { state: JSON.stringify(engine) }, captured: true }),
  restore: async (saved) => JSON.parse(await saved.blob('state').text()) as Slow,
}

async function apply(engine: Slow, { add }: Change): Promise<void> {
  if (engine.half !== null) throw new Error(`${engine.half} is being applied`)
  engine.half = add
  await clock.sleep(1)
  engine.half = null
  engine.applied.push(add)
}

const plain: OpenEngineOptions<Slow, Change> = {
  create: () => ({ applied: [], half: null }),
  apply,
  onError: () => undefined,
  everyMs: 1_000_000,
}

function openOnProcess(
  process: Process,
  options: Partial<OpenEngineOptions<Slow, Change>> = {},
  adapter = slow,
): Promise<LiveEngine<Slow, Change>> {
  return openEngine<Slow, Change>(openOn(process), adapter, { ...plain, ...options })
}

const upTo = (last: number): number[] => Array.from({ length: last }, (_, i) => i + 1)

test('changes are applied one after the other, and a save captures the engine between two of them', async () => {
  const made = disk()
  const killed = made.start()
  const captured: Slow[] = []
  const watching: EngineAdapter<Slow> = {
    ...slow,
    save: (engine, context) => {
      captured.push(structuredClone(engine))
      return slow.save(engine, context)
    },
  }
  const live = await openOnProcess(killed, {}, watching)
  const under = upTo(40).map((add) => live.change({ add }))
  // Many changes wait: a save is not the last.
  await live.save()
  expect(live.engine.applied.length).toBeLessThan(20)
  const done = Promise.all(under)
  while (live.engine.applied.length < 35) await live.save()
  await done
  expect(captured.length).toBeGreaterThan(3)
  expect(captured.every(({ half }) => half === null)).toBe(true)
  expect((await done).map(({ sequence }) => sequence)).toEqual(upTo(40))
  killed.kill()
  const again = await openOnProcess(made.start())
  expect(again.engine).toEqual({ applied: upTo(40), half: null })
  expect(again.replayed.entries).toBeLessThan(40)
  expect(again.replayed.bytes).toBeGreaterThan(0)
  await again.close()
  // What waited is applied before it ends.
  const third = await openOnProcess(made.start())
  const last = [41, 42].map((add) => third.change({ add }))
  await third.close()
  await Promise.all(last)
  const fourth = await openOnProcess(made.start())
  expect(fourth.engine.applied).toEqual(upTo(42))
  await fourth.close()
})

test('a change that is refused later than at once is not journalled, and the engine must not have moved', async () => {
  const made = disk()
  const killed = made.start()
  const refusing = async (engine: Slow, change: Change): Promise<void> => {
    await clock.sleep(1)
    if (change.add === -2) engine.applied.push(-2)
    if (change.add < 0) throw new Error('no')
    engine.applied.push(change.add)
  }
  const live = await openOnProcess(killed, { apply: refusing })
  const under = [live.change({ add: -1 }), live.change({ add: 1 })]
  await expect(under[0]).rejects.toThrow('no')
  expect(await under[1]).toEqual({ sequence: 1 })
  await expect(live.change({ add: -2 })).rejects.toMatchObject({ code: 'ENGINE_UNSOUND', details: { sequence: 2 } })
  await expect(live.save()).rejects.toMatchObject({ code: 'ENGINE_UNSOUND' })
  killed.kill()
  const again = await openOnProcess(made.start(), { apply: refusing })
  expect(again.engine.applied).toEqual([1])
  await again.close()
})

test('a change inside apply is refused, also behind an await', async () => {
  const inner: unknown[] = []
  const nested = async (engine: Slow, change: Change): Promise<void> => {
    await clock.sleep(1)
    if (change.add === 1) inner.push(await live.change({ add: 2 }).catch((error: unknown) => error))
    engine.applied.push(change.add)
  }
  const live: LiveEngine<Slow, Change> = await openOnProcess(disk().start(), { apply: nested })
  await live.change({ add: 1 })
  expect(inner[0]).toBeInstanceOf(TypeError)
  await live.change({ add: 3 })
  expect(live.engine.applied).toEqual([1, 3])
  await live.close()
})

test('a change that was being applied when the journal failed has a number, and is durable with a snapshot', async () => {
  const made = disk()
  const killed = made.start()
  const live = await openOnProcess(killed, { retryMs: 5, retryLimitMs: 20 })
  await live.change({ add: 1 })
  // Nothing more is written to this segment, although it could be.
  let isFull = true
  made.onCall = ({ name, path }) => {
    if (name !== 'write' || !path.startsWith(STORE) || !isFull) return undefined
    isFull = !path.endsWith('.log')
    return { error: 'ENOSPC' }
  }
  const under = [live.change({ add: 2 }), live.change({ add: 3 })]
  const failed = await Promise.all(
    under.map((each) =>
      each.then(
        () => 'acknowledged',
        (error: { details: object }) => error.details,
      ),
    ),
  )
  expect(failed).toMatchObject([{ sequence: 2 }, { sequence: 3 }])
  await Promise.all([live.durable(2), live.durable(3)])
  made.onCall = null
  expect(await live.change({ add: 5 })).toEqual({ sequence: 4 })
  killed.kill()
  const again = await openOnProcess(made.start())
  expect(again.engine.applied).toEqual([1, 2, 3, 5])
  await again.close()
})

test('who asks whether a change is durable learns when it is, or that it will not be', async () => {
  const made = disk()
  const live = await openOnProcess(made.start(), { retryMs: 1_000_000 })
  for (const wrong of [0, 1, -1, 1.5, '1', undefined, Number.NaN]) {
    await expect(live.durable(wrong as number)).rejects.toThrow(RangeError)
  }
  const change = live.change({ add: 1 })
  await clock.sleep(2)
  await live.durable(1)
  await change
  made.onCall = ({ name }) => (name === 'dataSync' || name === 'sync' ? { error: 'EIO' } : undefined)
  await expect(live.change({ add: 2 })).rejects.toMatchObject({ code: 'CHANGE_UNKNOWN', details: { sequence: 2 } })
  const asked = live.durable(2).catch((error: unknown) => error)
  await expect(live.close()).rejects.toThrow()
  expect(await asked).toMatchObject({ code: 'STORE_CLOSED' })
})

test('a capture that waited is before the next change, however late in the turn it begins', async () => {
  const store = memory()
  const journal = await store.openJournal()
  const engine: Slow = { applied: [], half: null }
  const { change, ready, close } = createChanges<Slow, Change>({
    journal,
    options: plain,
    engine: () => engine,
    revision: () => undefined,
    onApplied: () => undefined,
  })
  const under = [1, 2, 3, 4].map((add) => change({ add }))
  expect(ready()).toBeInstanceOf(Promise)
  await ready()
  for (let i = 0; i < 50; i++) await undefined
  expect(ready()).toBeUndefined()
  expect(engine).toEqual({ applied: [1], half: null })
  await Promise.all(under)
  await close(1000)
  await store.close()
})

test('lag tells what a start would replay, and for how long changes were held back', async () => {
  const made = disk()
  let isChanging = true
  const late: EngineAdapter<Slow> = {
    ...slow,
    save: (engine) => ({
      blobs: {
        state: (async function* () {
          await clock.sleep(20)
          yield Buffer.from(JSON.stringify(engine))
        })(),
      },
    }),
  }
  const live = await openOnProcess(made.start(), {}, late)
  await live.change({ add: 1 })
  expect(live.lag()).toMatchObject({ entries: 1, heldMs: 0 })
  expect(live.lag().bytes).toBeGreaterThan(0)
  expect(live.lag().replayMs).toBeGreaterThan(0)
  const changing = (async () => {
    for (let add = 2; isChanging; add++) await live.change({ add })
  })()
  await live.save()
  isChanging = false
  await changing
  expect(live.lag().heldMs).toBeGreaterThan(10)
  await live.save()
  expect(live.lag()).toMatchObject({ entries: 0, bytes: 0, replayMs: 0 })
  await live.close()
})

test('an adapter may be an object of a class', async () => {
  class Adapter implements EngineAdapter<Slow> {
    readonly name = 'slow'
    readonly layout = 1
    readonly options = {}
    #asked = 0
    save(engine: Slow) {
      return { blobs: { state: JSON.stringify(engine) }, captured: true as const }
    }
    async restore(saved: Parameters<typeof slow.restore>[0]): Promise<Slow> {
      return JSON.parse(await saved.blob('state').text()) as Slow
    }
    revision({ applied }: Slow): number {
      this.#asked += 1
      return applied.length
    }
    get asked(): number {
      return this.#asked
    }
  }
  const adapter = new Adapter()
  const live = await openOnProcess(disk().start(), {}, adapter)
  await live.change({ add: 1 })
  await live.save()
  const { asked } = adapter
  // Nothing changed, which only the revision tells.
  await live.save()
  expect(adapter.asked).toBeGreaterThan(asked)
  expect(live.lag().changes).toBe(0)
  await live.close()
})

test('a process that ends without saving lost nothing, and is not warned of it', () => {
  const path = join(scratch(), 'store')
  const run = () =>
    spawnSync(process.execPath, [fileURLToPath(new URL('live-exit.mjs', import.meta.url)), path], { encoding: 'utf8' })
  expect(run()).toMatchObject({ stdout: '["kelp"]\n', stderr: '' })
  expect(run()).toMatchObject({ stdout: '["kelp","kelp"]\n', stderr: '' })
})
