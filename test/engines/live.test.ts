import { describe, expect, test } from 'vitest'
import { clock } from '../../src/clock.ts'
import type { EngineAdapter } from '../../src/engines/adapter.ts'
import { type LiveEngine, type OpenEngineOptions, openEngine } from '../../src/engines/live.ts'
import type { Store } from '../../src/index.ts'
import { openOn, STORE } from '../explore/model.ts'
import { crashStates } from '../faulty-disk/crash-states.ts'
import { createDisk, type Process } from '../faulty-disk/disk.ts'
import { filesBelow } from '../faulty-disk/image.ts'
import type { Pending } from '../faulty-disk/names.ts'
import { randomFor, sample, share } from '../support/effort.ts'
import { type Change, disk, type Ledger, ledger } from './ledger.ts'

const plain: OpenEngineOptions<Ledger, Change> = {
  create: () => ({ applied: [] }),
  apply: (engine, { add }) => void engine.applied.push(add),
  onError: () => undefined,
}

async function waitFor(condition: () => boolean): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    if (tries === 2000) throw new Error('it did not come to that')
    await clock.sleep(5)
  }
}

async function openOnProcess(
  process: Process,
  options: Partial<OpenEngineOptions<Ledger, Change>> = {},
): Promise<LiveEngine<Ledger, Change> & { store: Store }> {
  const store = openOn(process)
  const live = await openEngine<Ledger, Change>(store, ledger, { ...plain, ...options })
  return Object.assign(live, { store })
}

test('changes are there after the process was killed, each once, with and without a snapshot between', async () => {
  const made = disk()
  const killed = made.start()
  const live = await openOnProcess(killed)
  for (const add of [1, 2, 3]) expect(await live.change({ add })).toEqual({ sequence: add })
  await live.save()
  expect(live.lag()).toMatchObject({ entries: 0, pendingBytes: 0, journalError: null })
  await live.change({ add: 4 }, { watermark: 'offset 4' })
  expect(live.lag()).toMatchObject({ entries: 1 })
  killed.kill()
  const again = await openOnProcess(made.start())
  expect(again.engine.applied).toEqual([1, 2, 3, 4])
  expect(again.replayed.entries).toBe(1)
  expect(again.watermark).toBe('offset 4')
  expect(await again.change({ add: 5 })).toEqual({ sequence: 5 })
  await again.close()
  const third = await openOnProcess(made.start())
  expect(third.engine.applied).toEqual([1, 2, 3, 4, 5])
  expect(third.replayed.entries).toBe(0)
  expect(third.watermark).toBe('offset 4')
  await third.close()
})

test('a change is seen by queries before it is durable, and changes keep the order of their calls', async () => {
  const live = await openOnProcess(disk().start())
  const under = [1, 2, 3].map((add) => live.change({ add }))
  expect(live.engine.applied).toEqual([1, 2, 3])
  expect((await Promise.all(under)).map(({ sequence }) => sequence)).toEqual([1, 2, 3])
  await live.close()
})

test('what cannot be kept is refused, and nothing is applied', async () => {
  const live = await openOnProcess(disk().start())
  const wrong = { add: Number.NaN } as Change
  await expect(live.change(wrong)).rejects.toMatchObject({ code: 'METADATA_INVALID' })
  const watermark = [1] as never
  await expect(live.change({ add: 1 }, { watermark })).rejects.toMatchObject({ code: 'METADATA_INVALID' })
  expect(live.engine.applied).toEqual([])
  expect(live.last).toBe(0)
  await live.close()
})

test('wrong options are refused before anything is opened', async () => {
  const made = disk()
  const store = openOn(made.start())
  const wrong: [object | undefined, string][] = [
    [undefined, 'create is missing'],
    [{ apply: plain.apply }, 'create is missing'],
    [{ create: plain.create }, 'apply is missing'],
    [{ ...plain, aply: 1 }, 'did you mean apply'],
    [{ ...plain, create: () => undefined }, 'create gave no engine'],
    [{ ...plain, changes: {} }, 'changes.version'],
    [{ ...plain, changes: { version: 2, upgrade: 'x' } }, 'upgrade must be a function'],
    [{ ...plain, saveAfterBytes: '5' }, 'saveAfterBytes'],
    [{ ...plain, maxJournalBytes: '5' }, 'maxJournalBytes'],
  ]
  for (const [options, words] of wrong) {
    await expect(openEngine(store, ledger, options as never)).rejects.toThrow(words)
  }
  const live = await openEngine<Ledger, Change>(store, ledger, plain)
  await expect(live.change({ add: 1 }, { watermak: 1 } as never)).rejects.toThrow('did you mean watermark')
  await expect(live.change({ add: 1 }, null as never)).rejects.toThrow(TypeError)
  expect(live.engine.applied).toEqual([])
  await live.close()
})

test('a change inside apply is refused: the journal would have the two in another order', async () => {
  const made = disk()
  const killed = made.start()
  const inner: Promise<unknown>[] = []
  const apply = (engine: Ledger, { add }: Change): void => {
    engine.applied.push(add)
    if (add === 1) inner.push(live.change({ add: 2 }).catch((error: unknown) => error))
  }
  const live: LiveEngine<Ledger, Change> = await openOnProcess(killed, { apply })
  await live.change({ add: 1 })
  expect(await inner[0]).toBeInstanceOf(TypeError)
  await live.change({ add: 3 })
  killed.kill()
  const again = await openOnProcess(made.start())
  expect(again.engine.applied).toEqual([1, 3])
  await again.close()
})

describe('when apply throws', () => {
  test('nothing is journalled, and the caller gets the error', async () => {
    const made = disk()
    const killed = made.start()
    const apply = (engine: Ledger, { add }: Change): void => {
      if (add < 0) throw new Error('no')
      engine.applied.push(add)
    }
    const live = await openOnProcess(killed, { apply })
    await expect(live.change({ add: -1 })).rejects.toThrow('no')
    expect(await live.change({ add: 1 })).toEqual({ sequence: 1 })
    killed.kill()
    const again = await openOnProcess(made.start())
    expect(again.engine.applied).toEqual([1])
    await again.close()
  })

  test('and the engine moved all the same, nothing of it is saved', async () => {
    for (const bad of [
      (engine: Ledger) => {
        engine.applied.push(99)
        throw new Error('half done')
      },
      async (engine: Ledger) => {
        engine.applied.push(99)
        throw new Error('half done')
      },
    ]) {
      const made = disk()
      const killed = made.start()
      const apply = (engine: Ledger, change: Change): unknown =>
        change.add < 0 ? bad(engine) : engine.applied.push(change.add)
      const live = await openOnProcess(killed, { apply })
      await live.change({ add: 1 })
      await expect(live.change({ add: -1 })).rejects.toMatchObject({ code: 'ENGINE_UNSOUND', details: { sequence: 2 } })
      await expect(live.change({ add: 2 })).rejects.toMatchObject({ code: 'ENGINE_UNSOUND' })
      await expect(live.save()).rejects.toMatchObject({ code: 'ENGINE_UNSOUND' })
      killed.kill()
      const again = await openOnProcess(made.start())
      expect(again.engine.applied).toEqual([1])
      await again.close()
    }
  })

  test('in a replay, the start stops, or leaves the change out when told to', async () => {
    const made = disk()
    const killed = made.start()
    const live = await openOnProcess(killed)
    for (const add of [1, 2, 3]) await live.change({ add })
    killed.kill()
    const apply = (engine: Ledger, { add }: Change): void => {
      if (add === 2) throw new Error('no')
      engine.applied.push(add)
    }
    await expect(openOnProcess(made.start(), { apply })).rejects.toMatchObject({
      code: 'REPLAY_FAILED',
      details: { sequence: 2 },
    })
    const skipped: unknown[] = []
    const onReplayError = (entry: { sequence: number; change: unknown }): 'skip' => {
      skipped.push(entry)
      return 'skip'
    }
    const again = await openOnProcess(made.start(), { apply, onReplayError })
    expect(again.engine.applied).toEqual([1, 3])
    expect(skipped).toEqual([{ sequence: 2, change: { add: 2 } }])
    expect(again.replayed).toMatchObject({ entries: 3, skipped: [2] })
    await again.close()
  })

  test('what a start left out is left out for ever, also by a start that falls back', async () => {
    const made = disk()
    const killed = made.start()
    const live = await openOnProcess(killed)
    await live.change({ add: 1 })
    await live.save()
    for (const add of [2, 3]) await live.change({ add })
    killed.kill()
    const apply = (engine: Ledger, { add }: Change): void => {
      if (add === 2) throw new Error('no')
      engine.applied.push(add)
    }
    const packs = filesBelow(made.image(), `${STORE}/packs`)
    const second = made.start()
    const skipping = await openOnProcess(second, { apply, onReplayError: async () => 'skip' as const })
    // It is saved before anything is acknowledged.
    expect(skipping.lag().entries).toBe(0)
    await skipping.change({ add: 4 })
    second.kill()
    made.settle()
    const newest = filesBelow(made.image(), `${STORE}/packs`).filter((pack) => !packs.includes(pack))
    const process = made.start()
    for (const pack of newest) await process.fs.unlink(`${STORE}/packs/${pack}`)
    const third = await openOnProcess(process)
    expect(third.engine.applied).toEqual([1, 3, 4])
    await third.close()
  })

  test('a start that cannot record what it left out does not start', async () => {
    const made = disk()
    const killed = made.start()
    const live = await openOnProcess(killed)
    for (const add of [1, 2]) await live.change({ add })
    killed.kill()
    const apply = (engine: Ledger, { add }: Change): void => {
      if (add === 2) throw new Error('no')
      engine.applied.push(add)
    }
    const onReplayError = (): 'skip' => {
      made.onCall = ({ name }) => (name === 'write' ? { error: 'ENOSPC' } : undefined)
      return 'skip'
    }
    await expect(openOnProcess(made.start(), { apply, onReplayError })).rejects.toMatchObject({
      code: 'NO_SPACE',
    })
    made.onCall = null
    // The lock was let go.
    const again = await openOnProcess(made.start())
    expect(again.engine.applied).toEqual([1, 2])
    await again.close()
  })

  test('in a replay, and the engine moved all the same, the change cannot be left out', async () => {
    const made = disk()
    const killed = made.start()
    const live = await openOnProcess(killed)
    await live.change({ add: 1 })
    killed.kill()
    const apply = (engine: Ledger): void => {
      engine.applied.push(99)
      throw new Error('half done')
    }
    const opening = openOnProcess(made.start(), { apply, onReplayError: () => 'skip' })
    await expect(opening).rejects.toMatchObject({ code: 'REPLAY_FAILED', details: { sequence: 1 } })
    const mistyped = openOnProcess(made.start(), { apply, onReplayError: () => 'Skip' as never })
    await expect(mistyped).rejects.toThrow("answers 'skip' or 'stop'")
  })
})

test('changes of an earlier version are upgraded, and of a newer one refused', async () => {
  const made = disk()
  const killed = made.start()
  const live = await openOnProcess(killed)
  await live.change({ add: 1 })
  killed.kill()
  const seen: unknown[] = []
  const versions: unknown[] = []
  const apply: typeof plain.apply = (engine, { add }, { version, replay }) => {
    versions.push([version, replay])
    engine.applied.push(add)
  }
  const upgrade = (change: unknown, version: number): Change => {
    seen.push([change, version])
    return { add: 100 }
  }
  const second = made.start()
  const newer = await openOnProcess(second, { apply, changes: { version: 2, upgrade } })
  expect(newer.engine.applied).toEqual([100])
  expect(seen).toEqual([[{ add: 1 }, 1]])
  await newer.change({ add: 2 })
  expect(versions).toEqual([
    [1, true],
    [2, false],
  ])
  second.kill()
  await expect(openOnProcess(made.start())).rejects.toMatchObject({ code: 'VERSION_UNSUPPORTED' })
})

test('one process has an engine open, and another waits for it when told to', async () => {
  const made = disk()
  const first = made.start()
  const live = await openOnProcess(first)
  await live.change({ add: 1 })
  await expect(openOnProcess(made.start())).rejects.toMatchObject({ code: 'JOURNAL_LOCKED' })
  const waiting = openOnProcess(made.start(), { lockWaitMs: 10_000 })
  await live.close()
  const second = await waiting
  expect(second.engine.applied).toEqual([1])
  await second.close()
})

test('a journal that failed is healed by a snapshot, and no change is lost or repeated', async () => {
  const made = disk()
  const killed = made.start()
  const live = await openOnProcess(killed)
  await live.change({ add: 1 })
  made.onCall = ({ name, path }) =>
    name === 'dataSync' && path.endsWith('.log') ? { error: 'EIO', lose: true } : undefined
  await expect(live.change({ add: 2 })).rejects.toMatchObject({ code: 'CHANGE_UNKNOWN' })
  made.onCall = null
  await live.save()
  expect(live.lag()).toMatchObject({ entries: 0, journalError: null })
  expect(await live.change({ add: 3 })).toEqual({ sequence: 3 })
  killed.kill()
  const again = await openOnProcess(made.start())
  expect(again.engine.applied).toEqual([1, 2, 3])
  await again.close()
})

test('a journal that failed on a full disk goes on by itself when there is room again', async () => {
  const made = disk()
  const live = await openOnProcess(made.start(), { everyMs: 1_000_000, retryMs: 5, retryLimitMs: 20 })
  await live.change({ add: 1 })
  made.onCall = ({ name }) => (name === 'write' ? { error: 'ENOSPC' } : undefined)
  await expect(live.change({ add: 2 })).rejects.toMatchObject({ code: 'CHANGE_UNKNOWN' })
  await waitFor(() => live.lag().failures > 1)
  await expect(live.change({ add: 3 })).rejects.toMatchObject({ code: 'JOURNAL_FAILED' })
  made.onCall = null
  await waitFor(() => live.lag().journalError === null)
  expect(await live.change({ add: 4 })).toEqual({ sequence: 3 })
  expect(live.engine.applied).toEqual([1, 2, 4])
  await live.close()
})

test('a full disk does not keep an engine from starting, or the error says what to do and nothing is lost', async () => {
  for (const isSealed of [true, false]) {
    const made = disk()
    const killed = made.start()
    const live = await openOnProcess(killed)
    for (const add of [1, 2]) await live.change({ add })
    // A seal follows after a moment of idleness.
    if (isSealed) await clock.sleep(500)
    killed.kill()
    made.onCall = ({ name }) => (name === 'write' ? { error: 'ENOSPC' } : undefined)
    const process = made.start()
    if (isSealed) {
      const again = await openOnProcess(process)
      expect(again.engine.applied).toEqual([1, 2])
      await expect(again.change({ add: 3 })).rejects.toMatchObject({ code: 'CHANGE_UNKNOWN' })
      process.kill()
    } else {
      const opening = openOnProcess(process)
      await expect(opening).rejects.toMatchObject({ code: 'NO_SPACE' })
      await expect(opening).rejects.toThrow('open the store readOnly')
      const reader = openOn(made.start(), { readOnly: true })
      const readOnly = await openEngine<Ledger, Change>(reader, ledger, plain)
      expect(readOnly.engine.applied).toEqual([1, 2])
      await readOnly.close()
    }
    made.onCall = null
    const last = await openOnProcess(made.start())
    expect(last.engine.applied).toEqual([1, 2])
    await last.close()
  }
})

test('an owner whose lock file was deleted saves nothing over what the next owner acknowledged', async () => {
  const made = disk()
  const first = made.start()
  const live = await openOnProcess(first)
  await live.change({ add: 1 })
  await first.fs.unlink(`${STORE}/journal.lock`)
  const second = made.start()
  const other = await openOnProcess(second)
  await expect(live.change({ add: 2 })).rejects.toMatchObject({ code: 'CHANGE_UNKNOWN' })
  await other.change({ add: 3 })
  await expect(live.close()).rejects.toMatchObject({ code: 'JOURNAL_LOCKED' })
  second.kill()
  const again = await openOnProcess(made.start())
  expect(again.engine.applied).toEqual([1, 3])
  await again.close()
})

test('a journal that is full refuses a change before it is applied, until a save succeeds', async () => {
  const made = disk()
  type Big = { add: number; filler: string }
  const live = await openEngine<Ledger, Big>(openOn(made.start()), ledger, {
    create: () => ({ applied: [] }),
    apply: (engine, { add }) => void engine.applied.push(add),
    onError: () => undefined,
    quietMs: 1_000_000,
    maxJournalBytes: 1024 * 1024,
  })
  const filler = 'x'.repeat(250_000)
  for (const add of [1, 2, 3, 4]) await live.change({ add, filler })
  await expect(live.change({ add: 5, filler })).rejects.toMatchObject({ code: 'JOURNAL_FULL' })
  expect(live.engine.applied).toEqual([1, 2, 3, 4])
  await live.save()
  await live.change({ add: 5, filler })
  expect(live.engine.applied).toEqual([1, 2, 3, 4, 5])
  await live.close()
})

test('a save is due when the changes have so many bytes, after a start too', async () => {
  const made = disk()
  type Big = { add: number; filler: string }
  const saves: number[] = []
  const open = (process: Process, saveAfterBytes: number) =>
    openEngine<Ledger, Big>(openOn(process), ledger, {
      create: () => ({ applied: [] }),
      apply: (engine, { add }) => void engine.applied.push(add),
      everyMs: 1_000_000,
      saveAfterBytes,
      onSave: ({ sequence }) => saves.push(sequence),
    })
  const killed = made.start()
  const live = await open(killed, 10_000)
  const filler = 'x'.repeat(1000)
  for (let add = 1; add <= 9; add++) await live.change({ add, filler })
  expect(saves).toEqual([])
  await live.change({ add: 10, filler })
  await waitFor(() => saves.length === 1)
  for (let add = 11; add <= 15; add++) await live.change({ add, filler })
  expect(saves).toHaveLength(1)
  killed.kill()
  const again = await open(made.start(), 5000)
  expect(again.replayed.entries).toBe(5)
  await waitFor(() => saves.length === 2)
  expect(again.lag().entries).toBe(0)
  await again.close()
})

test('an engine whose blobs are read later is saved while changes come in', async () => {
  const made = disk()
  const killed = made.start()
  const store = openOn(killed)
  const late: EngineAdapter<Ledger> = {
    ...ledger,
    save: (engine) => ({
      blobs: {
        applied: (async function* () {
          await clock.sleep(5)
          yield Buffer.from(JSON.stringify(engine.applied))
        })(),
      },
    }),
  }
  const live = await openEngine<Ledger, Change>(store, late, plain)
  let add = 0
  const changing = (async () => {
    while (add < 60) {
      await live.change({ add: ++add })
      await clock.sleep(1)
    }
  })()
  await live.save()
  await changing
  killed.kill()
  const again = await openOnProcess(made.start())
  expect(again.engine.applied).toEqual(Array.from({ length: 60 }, (_, i) => i + 1))
  expect(again.replayed.entries).toBeLessThan(60)
  await again.close()
})

test('a power loss at any moment loses no acknowledged change, and applies none twice', async () => {
  const random = randomFor('live power loss')
  const made = disk()
  const points: { pending: Pending; acknowledged: number; given: number }[] = []
  let acknowledged = 0
  let given = 0
  made.onChange = () => points.push({ pending: made.pending(), acknowledged, given })
  let process = made.start()
  let live = await openOnProcess(process)
  for (let round = 0; round < 4; round++) {
    for (let i = 0; i < 3; i++) {
      given += 2
      const under = [live.change({ add: given - 1 }), live.change({ add: given })]
      await Promise.all(under)
      acknowledged = given
    }
    if (round === 1) await live.save()
    if (round === 2) {
      process.kill()
      process = made.start()
      live = await openOnProcess(process)
    }
  }
  await live.close()
  made.onChange = null
  made.kill()
  let states = 0
  for (const point of sample('live power loss', points, 40)) {
    for (const image of crashStates(point.pending, { limit: share(8, 2), random }).states) {
      const crashed = createDisk(image)
      const again = await openOnProcess(crashed.start())
      const { applied } = again.engine
      expect(applied).toEqual(applied.map((_, i) => i + 1))
      expect(applied.length).toBeGreaterThanOrEqual(point.acknowledged)
      expect(applied.length).toBeLessThanOrEqual(point.given)
      crashed.kill()
      states += 1
    }
  }
  expect(states).toBeGreaterThan(50)
})

test('a start that falls back to an older snapshot loses no change', async () => {
  const random = randomFor('live fallback')
  let replayed = 0
  for (let round = 0; round < 6; round++) {
    const made = disk()
    const killed = made.start()
    const live = await openOnProcess(killed)
    const packs = (): string[] => filesBelow(made.image(), `${STORE}/packs`)
    for (const add of [1, 2, 3]) await live.change({ add })
    await live.save()
    const before = packs()
    for (const add of [4, 5]) await live.change({ add })
    await live.save()
    const newest = packs().filter((pack) => !before.includes(pack))
    await live.change({ add: 6 })
    killed.kill()
    made.settle()
    for (const pack of newest) for (let bits = 0; bits < 4; bits++) made.rot(`${STORE}/packs/${pack}`, random)
    const again = await openOnProcess(made.start())
    expect(again.engine.applied).toEqual([1, 2, 3, 4, 5, 6])
    replayed = Math.max(replayed, again.replayed.entries)
    await again.close()
    const third = await openOnProcess(made.start())
    expect(third.engine.applied).toEqual([1, 2, 3, 4, 5, 6])
    await third.close()
  }
  // From the older one, at least once.
  expect(replayed).toBe(3)
})
