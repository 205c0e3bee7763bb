// What docs/recovery.md says of a copy that was made while somebody wrote.

import { copyFileSync, cpSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openStore } from '../../src/index.ts'
import { noise } from '../support/bytes.ts'
import { scratch } from '../support/scratch.ts'

const HEADS = ['STORE.json', 'HEAD.prev.json', 'HEAD.json']

/** Copies a store in the documented order, with a persist before HEAD is copied, and some after it. */
async function copyLive({ packsAgain, later }: { packsAgain: boolean; later: number }): Promise<string> {
  const root = scratch()
  const [from, to] = [join(root, 'live'), join(root, 'copy')]
  const copyPacks = (): void => cpSync(join(from, 'packs'), join(to, 'packs'), { recursive: true })
  await using store = await openStore(from, { keepLast: 5 })
  const persist = async (n: number) => await store.persist({ blobs: { text: `${n}`, more: noise(100_000, n) } })
  await persist(1)
  await persist(2)
  mkdirSync(to)
  copyPacks()
  await persist(3)
  for (const name of HEADS) copyFileSync(join(from, name), join(to, name))
  for (let n = 0; n < later; n++) await persist(4 + n)
  if (packsAgain) copyPacks()
  return to
}

test('packs, then HEAD, then packs again is whole, where one snapshot came after HEAD', async () => {
  await using copy = await openStore(await copyLive({ packsAgain: true, later: 1 }))
  expect(await copy.verify()).toMatchObject({ ok: true })
  expect(await copy.persist({ blobs: { text: '5' } })).toMatchObject({ sequence: 4 })
  expect(await copy.verify()).toMatchObject({ ok: true })
})

test('and asks before it is written to, where several came', async () => {
  await using copy = await openStore(await copyLive({ packsAgain: true, later: 3 }))
  await using snapshot = (await copy.load())!
  expect(await snapshot.blob('text').text()).toBe('3')
  const { problems, snapshots } = await copy.verify()
  expect(problems.map(({ code }) => code)).toEqual(['STORE_ROLLED_BACK'])
  expect(snapshots.every(({ intact }) => intact)).toBe(true)
  await expect(copy.persist({ blobs: { text: '5' } })).rejects.toMatchObject({ code: 'STORE_ROLLED_BACK' })
  await copy.repair({ rolledBack: 'older' })
  expect(await copy.persist({ blobs: { text: '5' } })).toMatchObject({ unchanged: false })
  expect(await copy.verify()).toMatchObject({ ok: true })
})

test('packs before HEAD alone lacks the newest snapshot, which verify tells and repair drops', async () => {
  await using copy = await openStore(await copyLive({ packsAgain: false, later: 1 }))
  const { ok, problems } = await copy.verify()
  expect(ok).toBe(false)
  expect(problems.map(({ code }) => code)).toContain('PACK_MISSING')
  await copy.repair()
  await using snapshot = (await copy.load())!
  expect(await snapshot.blob('text').text()).toBe('2')
})
