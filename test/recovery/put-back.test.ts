// What anybody does who has lost HEAD.json: HEAD.prev.json is put in its place. The newest acknowledged snapshot must
// survive that.

import { execFileSync } from 'node:child_process'
import { copyFileSync, linkSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { openStore } from '../../src/open.ts'
import { rejects } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'

/** File systems count times in steps of up to 10 ms. */
const TICK_MS = 20

const options = { keepLast: 10, onWarning: () => undefined }

async function storeOf(...texts: string[]): Promise<string> {
  const path = join(scratch(), 'store')
  for (const text of texts) await save(path, text)
  await sleep(TICK_MS)
  return path
}

async function save(path: string, text: string): Promise<void> {
  await using store = await openStore(path, options)
  await store.persist({ blobs: { a: text } })
}

const ways: [string, (head: string, previous: string) => void][] = [
  ['copied over it', (head, previous) => copyFileSync(previous, head)],
  [
    'copied to where it was',
    (head, previous) => {
      rmSync(head)
      copyFileSync(previous, head)
    },
  ],
  ['copied with its times', (head, previous) => void execFileSync('cp', ['-p', previous, head])],
  ['renamed', (head, previous) => renameSync(previous, head)],
]

describe.each(ways)('HEAD.prev.json %s', (_name, putBack) => {
  test('leaves the newest snapshot where it is, and every write asks', async () => {
    const path = await storeOf('one', 'two', 'three')
    const packs = readdirSync(join(path, 'packs'))
    putBack(join(path, 'HEAD.json'), join(path, 'HEAD.prev.json'))
    await using store = await openStore(path, options)
    expect((await store.load())!.sequence).toBe(2)
    for (const write of [
      () => store.persist({ blobs: { a: 'four' } }),
      () => store.tag('x'),
      () => store.rollback(1),
      () => store.repair(),
    ]) {
      await rejects(write(), 'STORE_ROLLED_BACK')
      expect(readdirSync(join(path, 'packs'))).toEqual(packs)
    }
    expect(await store.verify()).toMatchObject({ ok: false, problems: [{ code: 'STORE_ROLLED_BACK' }] })
    expect(await store.repair({ rolledBack: 'newer' })).toMatchObject({ applied: true, snapshots: [3, 2, 1] })
    expect(await (await store.load())!.blob('a').text()).toBe('three')
    await store.persist({ blobs: { a: 'four' } })
    expect((await store.verify()).ok).toBe(true)
  })

  test('goes on without the newest if told to, and keeps it in quarantine', async () => {
    const path = await storeOf('one', 'two', 'three')
    putBack(join(path, 'HEAD.json'), join(path, 'HEAD.prev.json'))
    await using store = await openStore(path, options)
    const { actions } = await store.repair({ rolledBack: 'older' })
    expect(actions).toContainEqual(expect.objectContaining({ action: 'quarantine-pack', reason: 'newer-than-head' }))
    expect((await store.persist({ blobs: { a: 'four' } })).unchanged).toBe(false)
    expect((await store.verify()).ok).toBe(true)
  })
})

describe('a writer that died between its two renames', () => {
  test.each<[string, (head: string, previous: string) => void | Promise<void>]>([
    ['leaves two names of one file', linkSync],
    [
      'or, without second names, a copy that is younger than HEAD',
      async (head, previous) => {
        await sleep(TICK_MS)
        copyFileSync(head, previous)
      },
    ],
  ])('%s, and what it had written is nobody’s', async (_name, leave) => {
    const path = await storeOf('one', 'two')
    const [head, previous] = [join(path, 'HEAD.json'), join(path, 'HEAD.prev.json')]
    copyFileSync(head, `${head}.old`)
    await save(path, 'three')
    renameSync(`${head}.old`, head)
    rmSync(previous)
    await leave(head, previous)
    await save(path, 'four')
    await using store = await openStore(path, options)
    expect((await store.snapshots()).map(({ sequence }) => sequence)).toEqual([3, 2, 1])
    expect(readdirSync(join(path, 'packs'))).toHaveLength(3)
  })
})
