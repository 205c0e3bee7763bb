// Replay equals never having crashed: random changes, saves, kills, starts that fall back, and rollbacks. After each
// start the engine answers as one does that was given the changes of its line one after the other.

import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import MiniSearch from 'minisearch'
import { expect, test } from 'vitest'
import type { EngineAdapter } from '../../src/engines/adapter.ts'
import { type LiveEngine, openEngine } from '../../src/engines/live.ts'
import { minisearch } from '../../src/engines/minisearch.ts'
import { type UsearchLike, type UsearchOptions, usearch } from '../../src/engines/usearch.ts'
import { isHoldfastError, openStore, type Store } from '../../src/index.ts'
import { randomFor, share } from '../support/effort.ts'
import type { Random } from '../support/random.ts'
import { scratch } from '../support/scratch.ts'
import { nativeEngine, skipVisibly, vector } from './native.ts'

type Change = { put: number; seed: number } | { drop: number }

interface Kind<Engine> {
  adapter: EngineAdapter<Engine>
  create: () => Engine
  apply: (engine: Engine, change: Change) => void
  answers: (engine: Engine) => unknown
}

const IDS = 20

/** The dice of some steps: two saves, a rollback, and a kill. So that each happens in a run of any seed. */
const SURE: ReadonlyMap<number, number> = new Map([
  [70, 0],
  [71, 0],
  [72, 11],
  [90, 6],
])

interface Run<Engine> {
  path: string
  store: Store
  live: LiveEngine<Engine, Change>
}

function unlessGap(error: unknown): null {
  if (isHoldfastError(error, 'JOURNAL_GAP')) return null
  throw error
}

async function replayEquals<Engine>(kind: Kind<Engine>, seed: string, steps: number): Promise<void> {
  const random = randomFor(seed)
  const root = scratch()
  /** The changes that the engine has, and those that each snapshot has. */
  let line: Change[] = []
  const lines = new Map<number, Change[]>()
  const done = { kills: 0, fallbacks: 0, rollbacks: 0, replayed: 0 }
  let at = 0

  async function open(path: string): Promise<Run<Engine>> {
    const store = await openStore(path, { keepLast: 6, onWarning: () => undefined })
    const live = await openEngine<Engine, Change>(store, kind.adapter, {
      create: kind.create,
      apply: kind.apply,
      everyMs: 1_000_000,
      keepLast: 6,
      onSave: ({ sequence }) => lines.set(sequence, [...line]),
    })
    done.replayed += live.replayed.entries
    return { path, store, live }
  }

  function compare({ live }: Run<Engine>): void {
    const reference = kind.create()
    for (const change of line) kind.apply(reference, change)
    expect(kind.answers(live.engine)).toEqual(kind.answers(reference))
  }

  /** What a killed process leaves is what lies there, while it still has it open. */
  async function killed(run: Run<Engine>, damage: (path: string) => Promise<void>): Promise<Run<Engine>> {
    at += 1
    const path = join(root, `${at}`)
    cpSync(run.path, path, { recursive: true })
    await close(run)
    await damage(path)
    return await open(path)
  }

  async function close({ store, live }: Run<Engine>): Promise<void> {
    const kept = new Map(lines)
    await live.close()
    await store.close()
    // What it saved on its way out is in the directory that is left.
    lines.clear()
    for (const [sequence, of] of kept) lines.set(sequence, of)
  }

  async function rolledBack(run: Run<Engine>): Promise<Run<Engine>> {
    await run.live.close()
    const [current, ...older] = await run.store.snapshots()
    const targets = older.filter(({ sequence }) => lines.has(sequence))
    if (current !== undefined && targets.length > 0) {
      // A damaged one is refused: then the newest that is not.
      for (const { sequence } of [random.pick(targets), ...targets]) {
        const made = await run.store.rollback(sequence).catch(unlessDamaged)
        if (made === null) continue
        line = [...lines.get(sequence)!]
        lines.set(made.sequence, [...line])
        done.rollbacks += 1
        break
      }
    }
    await run.store.close()
    return await open(run.path)
  }

  let run = await open(join(root, '0'))
  for (let step = 0; step < steps; step++) {
    const change = changeOf(random)
    await run.live.change(change)
    line.push(change)
    const dice = SURE.get(step) ?? random.below(100)
    if (dice < 6) await run.live.save()
    else if (dice < 9) {
      run = await killed(run, async () => undefined)
      done.kills += 1
    } else if (dice < 11 && lines.size > 1) {
      // The start may fall back: the newest snapshot needs what is damaged.
      const before = run
      const fallen = await killed(run, async (path) => {
        if (await rot(path, random)) done.fallbacks += 1
      }).catch(unlessGap)
      // It would have to fall back further than the journal goes: that is refused. Goes on with what is whole.
      run = fallen ?? (await open(before.path))
    } else if (dice < 13) run = await rolledBack(run)
    else continue
    compare(run)
  }
  compare(run)
  await close(run)
  expect(done.kills).toBeGreaterThan(0)
  expect(done.rollbacks).toBeGreaterThan(0)
  expect(done.replayed).toBeGreaterThan(0)
  // Of few steps, none may have had a pack that could be spared.
  if (steps >= 400) expect(done.fallbacks).toBeGreaterThan(0)
}

/** A snapshot that is damaged does not become the current one. */
function unlessDamaged(error: unknown): null {
  if (isHoldfastError(error) && error.kind === 'damaged') return null
  throw error
}

function changeOf(random: Random): Change {
  const id = random.below(IDS)
  return random.chance(0.7) ? { put: id, seed: random.below(1_000_000) } : { drop: id }
}

/** Damages the pack that was written last, unless no snapshot were left then that a start may fall back to. */
async function rot(path: string, random: Random): Promise<boolean> {
  const head = JSON.parse(readFileSync(join(path, 'HEAD.json'), 'utf8')) as { packs: { id: number; name: string }[] }
  const newest = head.packs.reduce((a, b) => (a.id > b.id ? a : b))
  const pack = join(path, 'packs', readdirSync(join(path, 'packs')).find((name) => name.includes(newest.name))!)
  const before = readFileSync(pack)
  const bytes = Buffer.from(before)
  for (let i = 0; i < 20; i++) bytes[random.below(bytes.length)]! ^= 1
  writeFileSync(pack, bytes)
  const store = await openStore(path, { readOnly: true, onWarning: () => undefined })
  const line = (await store.snapshots()).filter(({ abandoned }) => !abandoned).slice(0, 3)
  const { snapshots } = await store.verify()
  await store.close()
  const isLeft = line.some(({ sequence }) => snapshots.some((each) => each.sequence === sequence && each.intact))
  if (!isLeft) writeFileSync(pack, before)
  return isLeft
}

const words = ['kelp', 'wrack', 'dulse', 'laver', 'agar', 'nori']
const searchOptions = { fields: ['text'], storeFields: ['text'] }

const text: Kind<MiniSearch> = {
  adapter: minisearch(MiniSearch, searchOptions),
  create: () => new MiniSearch(searchOptions),
  apply(engine, change) {
    const id = 'put' in change ? change.put : change.drop
    // Not discarded: what is left of a discarded document counts in the scores until the next clean-up, which is at no
    // fixed time.
    if (engine.has(id)) engine.remove({ id, ...engine.getStoredFields(id) })
    if ('put' in change) engine.add({ id, text: `${words[change.seed % 6]} ${words[(change.seed >> 3) % 6]}` })
  },
  // Ids and scores: they say that nothing is there twice.
  answers: (engine) => words.map((word) => engine.search(word).map(({ id, score }) => [id, Math.round(score * 1e6)])),
}

test('MiniSearch that was replayed answers as one that never crashed', async () => {
  await replayEquals(text, 'live minisearch', share(400, 150))
})

interface Index extends UsearchLike {
  add(key: bigint, vector: Float32Array, threads: number): void
  remove(key: bigint): number
  search(query: Float32Array, count: number, threads: number): { keys: BigUint64Array; distances: Float32Array }
  contains(key: bigint): boolean
  size(): number
}

const native = nativeEngine<{ Index: new (options: UsearchOptions) => Index }>('usearch')
if (native === null) skipVisibly('usearch behind a journal', '`npm run engines` first')
else {
  const DIM = 16
  // Enough to look at all there is, so that what is found does not depend on the order of building.
  const options = { dimensions: DIM, metric: 'l2sq', expansion_add: 400, expansion_search: 400 }
  const vectorOf = (seed: number): Float32Array => Float32Array.from(vector(seed, DIM))
  const vectors: Kind<Index> = {
    adapter: usearch(native.Index, options),
    create: () => new native.Index(options),
    apply(engine, change) {
      const id = BigInt('put' in change ? change.put : change.drop)
      if (engine.contains(id)) engine.remove(id)
      // In one thread: several build in any order.
      if ('put' in change) engine.add(id, vectorOf(change.seed), 1)
    },
    answers(engine) {
      const size = Number(engine.size())
      if (size === 0) return []
      return [1, 2, 3, 4].map((query) => {
        const { keys, distances } = engine.search(vectorOf(query), Math.min(size, IDS), 1)
        return [...keys].map((key, i) => [Number(key), Math.round(distances[i]! * 1e4)])
      })
    },
  }

  test('usearch that was replayed answers as one that never crashed', async () => {
    await replayEquals(vectors, 'live usearch', share(400, 150))
  })
}
