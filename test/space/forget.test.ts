import { describe, expect, test } from 'vitest'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { fixed, memory, type Store } from '../../src/index.ts'
import { noise } from '../support/bytes.ts'
import { build, expectSound, headOf, persisted, visit, withFiles } from '../support/lab.ts'
import { failure, rejects } from '../support/rejects.ts'
import { kinds } from '../support/storages.ts'
import { storeOver } from '../support/store-over.ts'
import { watch } from '../support/watched.ts'
import { bytesOf } from './brute.ts'

async function sequences(store: Store): Promise<number[]> {
  return (await store.snapshots()).map(({ sequence }) => sequence)
}

async function five(store: Store): Promise<void> {
  for (let n = 1; n <= 5; n++) await store.persist({ blobs: { a: noise(5000, n) }, metadata: { n }, keepLast: 20 })
}

describe.each(kinds)('forget in a $name store', ({ open, storage }) => {
  test('drops what is named by number, and answers what stays and why', async () => {
    const store = await open()
    await five(store)
    await store.tag('v1', { at: 4 })
    const answer = await store.forget([3, 1])
    expect(answer).toMatchObject({
      dropped: [3, 1],
      kept: [
        { sequence: 5, reasons: ['current'] },
        { sequence: 4, reasons: ['tag v1'] },
        { sequence: 2, reasons: ['not named'] },
      ],
    })
    expect(answer.freesBytes).toBeGreaterThan(10_000)
    expect(await sequences(store)).toEqual([5, 4, 2])
    await rejects(store.load({ at: 3 }), 'SNAPSHOT_NOT_FOUND')
    for (const at of [5, 4, 2]) {
      await using snapshot = await store.load({ at })
      expect(Buffer.compare(await snapshot!.blob('a').bytes(), noise(5000, at))).toBe(0)
    }
    // The numbers of what is gone are not given again.
    expect((await store.persist({ blobs: { a: 'six' }, keepLast: 20 })).sequence).toBe(6)
  })

  test('drops what is named by its tags, and by nothing less', async () => {
    const store = await open()
    await five(store)
    await store.tag('v1', { at: 2 })
    await store.tag('v2', { at: 2 })
    expect(await rejects(store.forget(2), 'SNAPSHOT_TAGGED')).toMatchObject({
      details: { sequence: 2, tags: ['v1', 'v2'] },
    })
    expect(await rejects(store.forget('v1'), 'SNAPSHOT_TAGGED')).toMatchObject({ details: { tags: ['v2'] } })
    await rejects(store.forget([1, 2]), 'SNAPSHOT_TAGGED')
    expect(await sequences(store)).toEqual([5, 4, 3, 2, 1])
    expect((await store.forget(['v2', 'v1', 2])).dropped).toEqual([2])
    expect(await sequences(store)).toEqual([5, 4, 3, 1])
    await rejects(store.forget('v1'), 'SNAPSHOT_NOT_FOUND')
  })

  test('refuses the current snapshot, whatever names it, and drops nothing', async () => {
    const store = await open()
    await five(store)
    await store.tag('now')
    await rejects(store.forget([1, 5]), 'SNAPSHOT_CURRENT')
    await rejects(store.forget('now'), 'SNAPSHOT_CURRENT')
    await store.rollback(2)
    await rejects(store.forget(6), 'SNAPSHOT_CURRENT')
    expect((await store.forget(3)).dropped).toEqual([3])
    expect(await sequences(store)).toEqual([6, 5, 4, 2, 1])
  })

  test('applies a policy: tagged ones and the current one stay', async () => {
    const store = await open()
    await five(store)
    await store.tag('v1', { at: 1 })
    const answer = await store.forget({ keep: { last: 2 } })
    expect(answer.dropped).toEqual([3, 2])
    expect(answer.kept).toEqual([
      { sequence: 5, reasons: ['current', 'last 1'] },
      { sequence: 4, reasons: ['last 2'] },
      { sequence: 1, reasons: ['tag v1'] },
    ])
    expect(await sequences(store)).toEqual([5, 4, 1])
    expect(await store.forget({ keep: { last: 2 } })).toMatchObject({ dropped: [], freesBytes: 0 })
  })

  test('as a dry run answers the same and writes nothing', async () => {
    const watched = watch(storage())
    const store = storeOver(watched.storage, nodeFileSystem)
    await five(store)
    watched.log.length = 0
    const would = await store.forget([1, 2], { dryRun: true })
    expect(await sequences(store)).toEqual([5, 4, 3, 2, 1])
    await rejects(store.forget(5, { dryRun: true }), 'SNAPSHOT_CURRENT')
    expect(watched.log).toEqual([])
    expect(await store.forget([1, 2])).toEqual(would)
    expect(watched.log.filter((step) => step === 'swapHead')).toHaveLength(1)
  })

  test('is refused when somebody else moved HEAD', async () => {
    const store = await open()
    await five(store)
    await rejects(store.forget(1, { expectedHead: 4 }), 'HEAD_CONFLICT')
    await rejects(store.forget(1, { expectedHead: 4, dryRun: true }), 'HEAD_CONFLICT')
    expect((await store.forget(1, { expectedHead: 5 })).dropped).toEqual([1])
  })

  test('plans again when somebody persisted while it counted', async () => {
    const inner = storage()
    const other = storeOver(inner, nodeFileSystem, { keepLast: 20 })
    await five(other)
    let raced = false
    const store = storeOver(
      {
        ...inner,
        async write(options, task) {
          if (!raced) {
            raced = true
            await other.persist({ blobs: { a: 'meanwhile' } })
          }
          return await inner.write(options, task)
        },
      },
      nodeFileSystem,
    )
    expect((await store.forget({ keep: { last: 2 } })).dropped).toEqual([4, 3, 2, 1])
    expect(await sequences(store)).toEqual([6, 5])
  })

  test('of a store that holds nothing is an error', async () => {
    const store = await open()
    await rejects(store.forget(1), 'SNAPSHOT_NOT_FOUND')
    await rejects(store.forget({ keep: { last: 1 } }), 'SNAPSHOT_NOT_FOUND')
  })
})

test('what forget frees is what only the dropped snapshots have, which is more than the sum where they share', async () => {
  const image = await build(
    async (store) => {
      for (const label of ['a1', 'a2', 'b1', 'b2', 'a1']) {
        await store.persist({ blobs: { index: noise(3000, label.charCodeAt(0)), own: label }, chunking: fixed(512) })
      }
    },
    { keepLast: 20, compression: 'none' },
  )
  const { result } = await visit(image, async (store) => {
    const frees = async (...which: number[]): Promise<number> =>
      (await store.forget(which, { dryRun: true })).freesBytes!
    return { first: await frees(1), third: await frees(3), both: await frees(3, 4), most: await frees(1, 2, 3, 4) }
  })
  // Snapshot 5 is 1 again.
  expect(result.first).toBe(0)
  expect(result.third).toBe(bytesOf(image, [3], [1, 2, 4, 5]))
  expect(result.both).toBe(bytesOf(image, [3, 4], [1, 2, 5]))
  expect(result.both).toBeGreaterThan(2 * result.third + 3000)
  expect(result.most).toBe(bytesOf(image, [1, 2, 3, 4], [5]))
})

test('forget drops a damaged snapshot, and does not guess what that frees', async () => {
  const image = await build(persisted('a1', 'b1', 'c1'), { keepLast: 20 })
  const head = headOf(image)
  const { pack } = head.snapshots.find(({ sequence }) => sequence === 1)!
  const { name } = head.packs.find(({ id }) => id === pack)!
  const damaged = withFiles(image, { [`packs/${name}.pack`]: null })
  const { result, image: after } = await visit(damaged, (store) => store.forget(1))
  expect(result).toMatchObject({ dropped: [1], freesBytes: null })
  expect(headOf(after).snapshots.map(({ sequence }) => sequence)).toEqual([3, 2])
  await expectSound(after)
})

test.each([
  ['nothing', undefined],
  ['null', null],
  ['an empty list', []],
  ['an object', {}],
  ['a policy and more', { keep: { last: 1 }, last: 2 }],
  ['a wrong policy', { keep: { lst: 1 } }],
  ['a list of what is neither number nor text', [null]],
  ['a promise', Promise.resolve(1)],
])('forget of %s is a TypeError', async (_, which) => {
  const store = memory()
  await five(store)
  expect(await failure(store.forget(which as never))).toBeInstanceOf(TypeError)
  expect(await sequences(store)).toEqual([5, 4, 3, 2, 1])
})
