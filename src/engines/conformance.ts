// What every adapter promises, as tests that any test runner can run:
//
//    for (const { name, run } of engineConformance({ adapter, create, add, answers })) test(name, run)

import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { mkdtemp, open, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { clock } from '../clock.ts'
import { isHoldfastError, memory, type Store } from '../index.ts'
import { type EngineAdapter, persistEngine, restoreEngine } from './adapter.ts'
import { engineRecord } from './engine-record.ts'

/** One adapter, and an engine to try it on. */
export interface ConformanceSubject<Engine> {
  adapter: EngineAdapter<Engine>
  /** A new engine with nothing in it. */
  create(): Engine | Promise<Engine>
  /** Adds the documents numbered `first` to `first + count - 1`; the same number is always the same document. */
  add(engine: Engine, first: number, count: number): void
  /** Changes documents that are there; what to, depends only on their numbers. Leave out what the engine cannot do. */
  update?(engine: Engine, first: number, count: number): void
  remove?(engine: Engine, first: number, count: number): void
  /** All that can be asked of the engine: results with scores, counts, suggestions. Compared with `deepStrictEqual`. */
  answers(engine: Engine): unknown
  /** Frees what is not garbage-collected. */
  close?(engine: Engine): void | Promise<void>
  /** Adapters of other options, that must not restore what `adapter` saved. */
  others?: readonly EngineAdapter<Engine>[]
  /** Equal engines give equal bytes; default true. False for engines that build in several threads. */
  deterministic?: boolean
  /** Documents of the large engine; default 5,000. */
  large?: number
  /** Filled engines of as many other options as there are: each must come back. */
  shapes?(): Iterable<ConformanceShape<Engine>> | AsyncIterable<ConformanceShape<Engine>>
}

/** A filled engine of some options. */
export interface ConformanceShape<Engine> {
  /** Its options, for the message of a failure. */
  name: string
  adapter: EngineAdapter<Engine>
  engine: Engine
  /** All that can be asked of it, compared with `deepStrictEqual`. */
  answers(engine: Engine): unknown
  /** The engine after its own save and load. Where that answers differently, the adapter may answer as it does. */
  own?(engine: Engine): Engine | Promise<Engine>
  /**
   * Changes that both engines must take alike after the restore. Leave it out where the engine's own load does not go
   * on alike.
   */
  change?(engine: Engine): unknown
}

/** One test, for any test runner. `run` rejects when the adapter fails it. */
export interface ConformanceTest {
  name: string
  run(): Promise<void>
}

const SMALL = 200
const LARGE = 5000
/** Bytes flipped, one at a time. */
const DAMAGES = 12
/** Failed shapes that are named in a message. */
const NAMED_SHAPES_MAX = 10

/** The tests. Each is on its own, and needs no more than `memory()` and a temporary directory. */
export function engineConformance<Engine>(subject: ConformanceSubject<Engine>): ConformanceTest[] {
  const { adapter, others = [], deterministic = true, large = LARGE } = subject

  async function build(count: number): Promise<Engine> {
    const engine = await subject.create()
    if (count > 0) subject.add(engine, 0, count)
    return engine
  }

  async function restored(store: Store): Promise<Engine> {
    const found = await restoreEngine(store, adapter)
    ok(found !== null, 'there is a snapshot, and restoreEngine gave null')
    await found.dispose()
    return found.engine
  }

  async function sameAnswers(a: Engine, b: Engine, message: string): Promise<void> {
    deepStrictEqual(await subject.answers(b), await subject.answers(a), message)
  }

  async function close(...engines: Engine[]): Promise<void> {
    for (const engine of engines) await subject.close?.(engine)
  }

  async function roundTrip(count: number): Promise<void> {
    const store = memory()
    const engine = await build(count)
    await persistEngine(store, adapter, engine)
    const again = await restored(store)
    await sameAnswers(engine, again, 'the restored engine answers differently')
    await close(engine, again)
  }

  /** Everything that can be done to an engine that has documents up to `first`. */
  function workOn(engine: Engine, first: number): void {
    subject.add(engine, first, 40)
    subject.update?.(engine, first - 30, 20)
    subject.remove?.(engine, first - 60, 20)
    subject.add(engine, first + 40, 10)
  }

  const tests: Record<string, () => Promise<void>> = {
    async 'gives null before anything was persisted'() {
      strictEqual(await restoreEngine(memory(), adapter), null)
    },

    'restores an engine that answers as before': () => roundTrip(SMALL),

    'restores an empty engine that can be added to': async () => {
      const store = memory()
      const engine = await build(0)
      await persistEngine(store, adapter, engine)
      const again = await restored(store)
      await sameAnswers(engine, again, 'the restored empty engine answers differently')
      subject.add(engine, 0, SMALL)
      subject.add(again, 0, SMALL)
      if (deterministic) await sameAnswers(engine, again, 'added to, the restored empty engine answers differently')
      await close(engine, again)
    },

    'restores a large engine': () => roundTrip(large),

    async 'restores an engine in which documents were changed and removed, and the two go on alike'() {
      const store = memory()
      const engine = await build(SMALL)
      workOn(engine, SMALL)
      await persistEngine(store, adapter, engine)
      const again = await restored(store)
      await sameAnswers(engine, again, 'after changes, the restored engine answers differently')
      workOn(engine, SMALL + 50)
      workOn(again, SMALL + 50)
      if (deterministic) await sameAnswers(engine, again, 'changed after the restore, the engine answers differently')
      await close(engine, again)
    },

    async 'leaves the engine as it is'() {
      const engine = await build(SMALL)
      const before = await subject.answers(engine)
      await persistEngine(memory(), adapter, engine)
      deepStrictEqual(await subject.answers(engine), before)
      await close(engine)
    },

    async 'writes nothing when nothing changed'() {
      const store = memory()
      const engine = await build(SMALL)
      await persistEngine(store, adapter, engine)
      const second = await persistEngine(store, adapter, engine)
      deepStrictEqual([second.unchanged, second.bytes.written], [true, 0])
      await close(engine)
    },

    async 'commits the same when it is checked beforehand'() {
      const store = memory()
      const engine = await build(SMALL)
      const expected = await subject.answers(engine)
      const checked = await persistEngine(store, adapter, engine, { check: true })
      const again = await restored(store)
      deepStrictEqual(await subject.answers(again), expected, 'the restored engine answers differently')
      const unchecked = await persistEngine(store, adapter, engine)
      deepStrictEqual([unchecked.manifest, unchecked.unchanged], [checked.manifest, true])
      await close(engine, again)
    },

    async 'keeps name, layout and options with the snapshot'() {
      const store = memory()
      const engine = await build(SMALL)
      await persistEngine(store, adapter, engine)
      const snapshot = (await store.load({ required: true }))!
      const record = engineRecord(snapshot.metadata)
      deepStrictEqual(
        [record?.name, record?.layout, record?.options],
        [adapter.name, adapter.layout, { ...adapter.options }],
      )
      await snapshot.dispose()
      await close(engine)
    },

    async 'does not touch a snapshot of another engine, of other options, or of a newer layout'() {
      const store = memory()
      const engine = await build(SMALL)
      await persistEngine(store, adapter, engine)
      const changed: Partial<EngineAdapter<Engine>>[] = [
        { name: `not ${adapter.name}` },
        { options: { ...adapter.options, conformance: 'another option' } },
        { layout: adapter.layout - 1 },
        ...others.map((other) => ({ options: other.options })),
      ]
      for (const change of changed) {
        let touched = false
        const other: EngineAdapter<Engine> = {
          ...adapter,
          ...change,
          restore() {
            touched = true
            throw new Error('the adapter was called')
          },
        }
        await rejects(() => restoreEngine(store, other), 'ENGINE_MISMATCH')
        strictEqual(touched, false, 'the adapter was given the snapshot of another')
      }
      await close(engine)
    },

    async 'meets damage with an error of kind damaged, or with the right answers'() {
      const directory = await mkdtemp(join(tmpdir(), 'holdfast-conformance-'))
      try {
        const engine = await build(SMALL)
        // Otherwise it would be restored from its image, and no pack would be read.
        await persistEngine(directory, adapter, engine, { image: 'none' })
        const expected = await subject.answers(engine)
        let refused = 0
        for (let n = 0; n < DAMAGES; n++) {
          const mend = await flipByte(directory, (n + 0.5) / DAMAGES)
          try {
            const found = await restoreEngine(directory, adapter, { image: 'none' })
            ok(found !== null, 'a damaged store looks like a fresh start')
            deepStrictEqual(await subject.answers(found.engine), expected, 'a damaged snapshot gave other answers')
            await found.dispose()
            await close(found.engine)
          } catch (error) {
            if (!isHoldfastError(error) || error.kind !== 'damaged') throw error
            refused += 1
          }
          await mend()
        }
        ok(refused > 0, 'no damage was noticed')
        await close(engine)
      } finally {
        await rm(directory, { recursive: true, force: true })
      }
    },

    async 'answers while it is saved'() {
      const engine = await build(SMALL)
      const expected = await subject.answers(engine)
      let saving = true
      const save = persistEngine(memory(), adapter, engine).finally(() => {
        saving = false
      })
      let asked = 0
      do {
        deepStrictEqual(await subject.answers(engine), expected)
        asked += 1
        await clock.nextTurn()
      } while (saving)
      await save
      ok(asked > 0)
      await close(engine)
    },

    async 'saves one state while it is changed: sidecar and engine agree, or the save is refused'() {
      const engine = await build(SMALL)
      let count = SMALL
      let saving = true
      const store = memory()
      const save = persistEngine(store, adapter, engine, { alongside: () => ({ metadata: { count } }) }).then(
        () => true,
        (error: unknown) => {
          if (isHoldfastError(error, 'SOURCE_CHANGED')) return false
          throw error
        },
      )
      save
        .finally(() => {
          saving = false
        })
        .catch(() => {})
      // The first change comes before the save had a chance to go on.
      do {
        subject.add(engine, count, 1)
        count += 1
        await clock.nextTurn()
      } while (saving)
      if (!(await save)) return await close(engine)
      const found = await restoreEngine(store, adapter)
      const then = await build(found!.snapshot.metadata.count as number)
      if (deterministic) await sameAnswers(then, found!.engine, 'the engine is of another moment than its sidecar')
      await found!.dispose()
      await close(engine, then, found!.engine)
    },
  }
  const { shapes } = subject
  if (shapes !== undefined) {
    tests['brings back an engine of any options'] = async () => {
      const failures: string[] = []
      let count = 0
      for await (const shape of shapes()) {
        count += 1
        try {
          await comesBack(shape)
        } catch (error) {
          failures.push(`${shape.name}: ${error instanceof Error ? error.message : String(error)}`)
        }
        await close(shape.engine)
      }
      ok(count > 0, 'there are no shapes')
      const named = failures.slice(0, NAMED_SHAPES_MAX).join('\n')
      strictEqual(failures.length, 0, `${failures.length} of ${count} shapes do not come back:\n${named}`)
    }
  }

  async function comesBack({ adapter, engine, answers, own, change }: ConformanceShape<Engine>): Promise<void> {
    const store = memory({ compression: 'none' })
    await persistEngine(store, adapter, engine)
    const found = await restoreEngine(store, adapter)
    ok(found !== null)
    // Not before: an engine may be changed by being asked.
    const expected = await answers(engine)
    const restored = await answers(found.engine)
    if (isDeepStrictEqual(restored, expected)) {
      await change?.(found.engine)
      await change?.(engine)
      deepStrictEqual(await answers(found.engine), await answers(engine), 'changed later, it answers differently')
    } else {
      // What the engine's own load does not bring back, an adapter need not.
      const loaded = await own?.(engine)
      deepStrictEqual(restored, loaded === undefined ? expected : await answers(loaded), 'it answers differently')
    }
    await found.dispose()
    await close(found.engine)
  }

  if (deterministic) {
    tests['writes nothing when a restored engine is saved, time and again'] = async () => {
      const store = memory()
      const engine = await build(SMALL)
      workOn(engine, SMALL)
      await persistEngine(store, adapter, engine)
      for (let n = 0; n < 3; n++) {
        const again = await restored(store)
        const saved = await persistEngine(store, adapter, again)
        deepStrictEqual([saved.unchanged, saved.bytes.written], [true, 0], `after ${n + 1} restores`)
        await close(again)
      }
      await close(engine)
    }
    tests['gives equal engines equal snapshots'] = async () => {
      const engines = [await build(SMALL), await build(SMALL)]
      const saved = [
        await persistEngine(memory(), adapter, engines[0]!),
        await persistEngine(memory(), adapter, engines[1]!),
      ]
      strictEqual(saved[1]!.manifest, saved[0]!.manifest)
      await close(...engines)
    }
  }
  return Object.entries(tests).map(([name, run]) => ({ name: `${adapter.name}: ${name}`, run }))
}

async function rejects(work: () => Promise<unknown>, code: 'ENGINE_MISMATCH'): Promise<void> {
  try {
    await work()
  } catch (error) {
    ok(isHoldfastError(error, code), `expected ${code}, got ${String(error)}`)
    return
  }
  throw new Error(`expected ${code}, and nothing was thrown`)
}

/** Flips a byte of the store's packs, `at` (0 to 1) of the way through; gives a function that flips it back. */
async function flipByte(directory: string, at: number): Promise<() => Promise<void>> {
  const packs = join(directory, 'packs')
  const names = (await readdir(packs)).sort()
  const path = join(packs, names[Math.floor(at * names.length)]!)
  async function flip(): Promise<void> {
    const file = await open(path, 'r+')
    try {
      const { size } = await file.stat()
      const position = Math.floor(((at * names.length) % 1) * size)
      const { buffer } = await file.read(Buffer.alloc(1), 0, 1, position)
      buffer[0]! ^= 0x40
      await file.write(buffer, 0, 1, position)
    } finally {
      await file.close()
    }
  }
  await flip()
  return flip
}
