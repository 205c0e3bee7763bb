import fc from 'fast-check'
import { expect, test } from 'vitest'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { content, fixed, type Store } from '../../src/index.ts'
import { noise, sameBytes } from '../support/bytes.ts'
import { rounds, share } from '../support/effort.ts'
import { type Kind, kinds } from '../support/storages.ts'
import { storeOver } from '../support/store-over.ts'
import { watch } from '../support/watched.ts'

// Any sequence of operations, compared after each step with a model that keeps everything in plain objects.

interface Kept {
  sequence: number
  blobs: Map<string, Uint8Array>
  tags: Set<string>
  abandoned: boolean
}

interface Model {
  kept: Kept[]
  current: number | null
  last: number
  /** What a persist may build on: names and bytes given before. */
  pool: Uint8Array[]
}

type Step =
  | { do: 'persist'; picks: number[]; keepLast: number; fresh: boolean }
  | { do: 'tag'; at: number; name: string }
  | { do: 'untag'; name: string }
  | { do: 'rollback'; at: number }

const KEEP_LAST = 4
const tagNames = ['x', 'y', 'z']

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('persist' as const),
      picks: fc.array(fc.nat(11), { minLength: 0, maxLength: 4 }),
      keepLast: fc.constantFrom(1, 2, KEEP_LAST, KEEP_LAST, 12),
      fresh: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('tag' as const), at: fc.nat(20), name: fc.constantFrom(...tagNames) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('untag' as const), name: fc.constantFrom(...tagNames) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('rollback' as const), at: fc.nat(20) }) },
)

/** Sizes from nothing to several chunks, so that packs of many sizes arise and are folded. */
function poolBytes(pick: number, seed: number): Uint8Array {
  return noise([0, 1, 600, 5000, 5000, 20_000, 40_000, 90_000, 300, 300, 700, 150_000][pick]!, seed)
}

function sameBlobs(a: ReadonlyMap<string, Uint8Array>, b: ReadonlyMap<string, Uint8Array>): boolean {
  return a.size === b.size && [...a].every(([name, bytes]) => b.has(name) && sameBytes(bytes, b.get(name)!))
}

async function carryOut(step: Step, store: Store, model: Model): Promise<void> {
  const chosen = (at: number): Kept | undefined => model.kept[at % Math.max(1, model.kept.length)]
  if (step.do === 'persist') {
    const blobs = new Map(
      step.picks.map((pick, i) => {
        const bytes = step.fresh ? poolBytes(pick, model.last * 100 + i) : model.pool[pick]!
        if (step.fresh) model.pool[pick] = bytes
        return [`blob ${pick}`, bytes]
      }),
    )
    const current = model.kept.find(({ sequence }) => sequence === model.current)
    const { sequence, unchanged } = await store.persist({
      blobs,
      keepLast: step.keepLast,
      chunking: content({ averageBytes: 4096 }),
    })
    expect(unchanged).toBe(current !== undefined && sameBlobs(current.blobs, blobs))
    if (unchanged) return
    expect(sequence).toBe(model.last + 1)
    model.last = sequence
    model.current = sequence
    model.kept.unshift({ sequence, blobs, tags: new Set(), abandoned: false })
    let good = 0
    model.kept = model.kept.filter((kept, age) => {
      const counts = kept.abandoned ? age < step.keepLast : ++good <= step.keepLast
      return counts || kept.tags.size > 0 || kept.sequence === sequence
    })
  } else if (step.do === 'tag') {
    const target = chosen(step.at)
    if (target === undefined) return
    await store.tag(step.name, { at: target.sequence })
    for (const { tags } of model.kept) tags.delete(step.name)
    target.tags.add(step.name)
  } else if (step.do === 'untag') {
    const target = model.kept.find(({ tags }) => tags.has(step.name))
    if (target === undefined) return
    await store.untag(step.name)
    target.tags.delete(step.name)
  } else {
    const target = chosen(step.at)
    if (target === undefined || target.sequence === model.current) return
    const { sequence } = await store.rollback(target.sequence)
    model.last = sequence
    model.current = sequence
    for (const kept of model.kept) kept.abandoned ||= kept.sequence > target.sequence
    target.abandoned = false
    model.kept.unshift({ sequence, blobs: target.blobs, tags: new Set(), abandoned: false })
  }
}

async function expectSame(store: Store, model: Model): Promise<void> {
  const snapshots = await store.snapshots()
  expect(snapshots.map(({ sequence, tags, abandoned, current }) => ({ sequence, tags, abandoned, current }))).toEqual(
    model.kept.map(({ sequence, tags, abandoned }) => ({
      sequence,
      tags: [...tags].sort(),
      abandoned,
      current: sequence === model.current,
    })),
  )
  for (const { sequence, blobs } of model.kept) {
    await using snapshot = (await store.load({ at: sequence }))!
    expect(new Set(snapshot.names)).toEqual(new Set(blobs.keys()))
    for (const [name, bytes] of blobs) expect(sameBytes(await snapshot.blob(name).bytes(), bytes)).toBe(true)
  }
}

test.each<[Kind['name'], number, number]>([
  ['memory', 60, 45],
  ['directory', 8, 30],
])(
  'any history of a %s store is as its model says, every byte of it, after every step',
  async (name, numRuns, maxLength) => {
    const kind = kinds.find((k) => k.name === name)!
    await fc.assert(
      fc.asyncProperty(fc.array(anyStep, { minLength: 10, maxLength, size: 'max' }), async (steps) => {
        const watched = watch(kind.storage())
        let store = storeOver(watched.storage, nodeFileSystem, { compression: 'none' })
        const model: Model = {
          kept: [],
          current: null,
          last: 0,
          pool: Array.from({ length: 12 }, (_, i) => poolBytes(i, i)),
        }
        for (const [i, step] of steps.entries()) {
          await carryOut(step, store, model)
          await expectSame(store, model)
          // Another process would begin with nothing in memory.
          if (i % 7 === 6) store = storeOver(watched.storage, nodeFileSystem, { compression: 'none' })
        }
        if (model.kept.length > 0) {
          const { ok } = await store.verify()
          expect(ok).toBe(true)
          const { packs } = await watched.head()
          expect(packs.length).toBeLessThan(40)
        }
      }),
      { ...rounds(numRuns), endOnFailure: true },
    )
  },
)

test('chunks of fixed size as well', async () => {
  await kinds[1]!.using({ keepLast: 10 }, async (store) => {
    const kept = new Map<number, Uint8Array>()
    for (let i = 0; i < share(60, 30); i++) {
      const bytes = noise(3000 + 700 * (i % 9), i % 13)
      const { sequence } = await store.persist({ blobs: { a: bytes, b: noise(i, 1) }, chunking: fixed(512) })
      kept.set(sequence, bytes)
      for (const { sequence } of await store.snapshots()) {
        await using snapshot = (await store.load({ at: sequence }))!
        expect(sameBytes(await snapshot.blob('a').bytes(), kept.get(sequence)!)).toBe(true)
      }
    }
  })
})
