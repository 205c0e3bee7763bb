import { describe, expect, test } from 'vitest'
import { type DirectoryImage, keyOf } from '../faulty-disk/image.ts'
import {
  actionsOf,
  build,
  chunkOf,
  fileOf,
  filesOf,
  headOf,
  historyOf,
  nameOf,
  packsOf,
  persisted,
  persistOf,
  placeOf,
  repaired,
  rotten,
  visit,
  withFiles,
} from '../support/lab.ts'
import { rejects } from '../support/rejects.ts'

/** What an operator does who copies HEAD.json back from a backup. */
function putBack(
  image: DirectoryImage,
  old: DirectoryImage,
  also: Record<string, Uint8Array | null> = {},
): DirectoryImage {
  return withFiles(image, { 'HEAD.json': fileOf(old, 'HEAD.json'), ...also })
}

const old = await build(persisted('a1', 'a2'), { keepLast: 10 })
const { image: now } = await visit(
  old,
  async (store) => {
    await persisted('b1', 'b2')(store)
    await store.tag('newest')
    await store.persist(persistOf('c1'))
  },
  { keepLast: 10 },
)
const withSpare = putBack(now, old)
const withoutSpare = putBack(now, old, { 'HEAD.prev.json': fileOf(old, 'HEAD.prev.json') })

describe.each([
  ['with a newer spare beside it', withSpare],
  ['with packs alone to tell', withoutSpare],
])('an old HEAD, %s', (_name, image) => {
  test('is noticed by the next write, which changes nothing and deletes nothing', async () => {
    for (const write of ['persist', 'tag', 'rollback'] as const) {
      const { image: after } = await visit(image, async (store) => {
        const writes = {
          persist: () => store.persist(persistOf('d1')),
          tag: () => store.tag('x'),
          rollback: () => store.rollback(1),
        }
        const error = await rejects(writes[write](), 'STORE_ROLLED_BACK')
        expect(error.message).toMatch(/repair\(\{ rolledBack: 'newer' \}\).*repair\(\{ rolledBack: 'older' \}\)/)
      })
      for (const [path, bytes] of filesOf(image)) {
        if (path !== 'writer.lock') expect(filesOf(after).get(path)).toEqual(bytes)
      }
    }
  })

  test('still loads', async () => {
    expect((await visit(image, historyOf)).result).toEqual(['2 a2 current', '1 a1'])
  })

  test('is not repaired before somebody says which way to go on', async () => {
    const { result } = await visit(image, (store) => store.repair({ dryRun: true }))
    expect(result).toMatchObject({
      ok: false,
      applied: false,
      choice: 'newer-or-older',
      actions: [],
      snapshots: [2, 1],
    })
    const { image: after } = await visit(image, async (store) => {
      const error = await rejects(store.repair(), 'STORE_ROLLED_BACK')
      expect(error.message).toMatch(/'newer'.*'older'/)
    })
    expect(packsOf(after)).toEqual(packsOf(image))
    expect(fileOf(after, 'HEAD.json')).toEqual(fileOf(image, 'HEAD.json'))
  })

  test('gives way to the newer snapshots', async () => {
    const { history, image: after } = await repaired(image, { rolledBack: 'newer' })
    expect(history.map((line) => line.replace(' newest', ''))).toEqual(['5 c1 current', '4 b2', '3 b1', '2 a2', '1 a1'])
    expect(headOf(after).sequence).toBe(1005)
    expect(headOf(after).revision).toBeGreaterThan(headOf(now).revision + 1000)
  })

  test('stays, and what came after it moves to quarantine', async () => {
    const { history, image: after, report } = await repaired(image, { rolledBack: 'older' })
    expect(history).toEqual(['2 a2 current', '1 a1'])
    const newer = packsOf(image).filter((path) => !packsOf(old).includes(path))
    expect(newer.length).toBe(3)
    for (const path of newer) {
      expect(report.actions).toContainEqual(
        expect.objectContaining({ action: 'quarantine-pack', pack: nameOf(path), reason: 'newer-than-head' }),
      )
    }
    // No sequence that the newer ones had is given out again.
    expect(headOf(after).sequence).toBeGreaterThan(1000)
  })
})

test('a newer spare knows of tags that commit records do not', async () => {
  const { history } = await repaired(withSpare, { rolledBack: 'newer' })
  expect(history[1]).toBe('4 b2 newest')
})

test('an old HEAD of which only tags came after goes back to them', async () => {
  const { image: tagged } = await visit(old, async (store) => {
    for (const name of ['x', 'y', 'z']) await store.tag(name)
  })
  const image = putBack(tagged, old)
  await rejects(
    visit(image, (store) => store.persist(persistOf('d1'))),
    'STORE_ROLLED_BACK',
  )
  expect((await repaired(image, { rolledBack: 'newer' })).history).toEqual(['2 a2 current x y', '1 a1'])
  expect((await repaired(image, { rolledBack: 'older' })).history).toEqual(['2 a2 current', '1 a1'])
})

test('a newer pack that has the only good copy of a block is adopted, also by the older HEAD', async () => {
  const { image: later } = await visit(
    rotten(old, placeOf(old, chunkOf('a1', 0)).path, placeOf(old, chunkOf('a1', 0)).offset),
    async (store) => {
      await store.verify()
      await store.persist(persistOf('b1'))
      await store.persist(persistOf('a2'))
      await store.persist(persistOf('b2'))
    },
    { keepLast: 10 },
  )
  const image = putBack(later, old, { 'HEAD.prev.json': null })
  const { history, report } = await repaired(image, { rolledBack: 'older' })
  expect(history).toEqual(['2 a2 current', '1 a1'])
  expect(actionsOf(report).filter((line) => line.startsWith('adopt-pack'))).toHaveLength(1)
})

test('an answer to a question that nobody asked changes nothing', async () => {
  for (const rolledBack of ['newer', 'older'] as const) {
    const { result, image } = await visit(now, (store) => store.repair({ rolledBack }))
    expect(result).toMatchObject({ ok: true, applied: false })
    expect(keyOf(image)).toBe(keyOf(now))
  }
})

test('a HEAD that is one write old, put back from its spare, is no rollback: its packs look like those of a writer that died', async () => {
  const image = withFiles(now, { 'HEAD.json': fileOf(now, 'HEAD.prev.json') })
  const { result, image: after } = await visit(image, (store) => store.persist(persistOf('d1')))
  expect(result.sequence).toBe(5)
  expect((await visit(after, (store) => store.verify())).result.ok).toBe(true)
})
