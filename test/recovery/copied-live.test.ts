// What docs/recovery.md says of a copy that was made by hand while somebody wrote.

import { copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
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

/**
 * Copies a store in the wrong order: HEAD first, and packs after so many persists, which deleted some that HEAD names.
 */
async function copyHeadFirst(later: number, keepLast: number): Promise<string> {
  const root = scratch()
  const [from, to] = [join(root, 'live'), join(root, 'copy')]
  await using store = await openStore(from, { keepLast })
  const persist = async (n: number) => await store.persist({ blobs: { text: `${n}`, more: noise(50_000, n) } })
  for (let n = 1; n <= 3; n++) await persist(n)
  mkdirSync(to)
  for (const name of HEADS) copyFileSync(join(from, name), join(to, name))
  for (let n = 4; n < 4 + later; n++) await persist(n)
  cpSync(join(from, 'packs'), join(to, 'packs'), { recursive: true })
  return to
}

test('HEAD before packs loads nothing when all its packs are gone, and repair adopts what came after it', async () => {
  await using copy = await openStore(await copyHeadFirst(7, 2))
  await expect(copy.load()).rejects.toMatchObject({ code: 'SNAPSHOT_DAMAGED' })
  const plan = await copy.repair({ dryRun: true })
  expect(plan).toMatchObject({ ok: false, choice: null, offers: null, snapshots: [10, 9, 8] })
  // Who may want to look for the packs of the old HEAD first says so.
  await expect(copy.repair({ mayDrop: false })).rejects.toMatchObject({ code: 'SNAPSHOT_DAMAGED' })
  expect(await copy.repair()).toMatchObject({ applied: true, snapshots: [10, 9, 8] })
  await using snapshot = (await copy.load())!
  expect(await snapshot.blob('text').text()).toBe('10')
  expect(await copy.verify()).toMatchObject({ ok: true })
  expect(await copy.persist({ blobs: { text: '11' } })).toMatchObject({ unchanged: false })
})

test('when a part of what HEAD names is whole, repair asks, and says what each way keeps', async () => {
  const path = await copyHeadFirst(4, 6)
  await using copy = await openStore(path)
  // One of the old HEAD's own is lost, the others are whole: both histories have something.
  const offers = { newer: [7, 6, 5, 4, 3, 2], older: [3, 2] }
  const lost = (await copy.stats()).packs[0]!.pack
  rmSync(join(path, 'packs', `${lost}.pack`))
  expect(await copy.repair({ dryRun: true })).toMatchObject({ choice: 'newer-or-older', actions: [], offers })
  const refused = copy.repair()
  await expect(refused).rejects.toMatchObject({ code: 'STORE_ROLLED_BACK', details: offers })
  await expect(refused).rejects.toThrow("and keeps 7, 6, 5, 4, 3 and 1 more; repair({ rolledBack: 'older'")
  expect(await copy.repair({ rolledBack: 'newer' })).toMatchObject({ snapshots: offers.newer, offers: null })
  expect(await copy.verify()).toMatchObject({ ok: true })
})

test('when nothing is whole on either side, repair asks all the same', async () => {
  const path = join(scratch(), 'store')
  await using store = await openStore(path, { keepLast: 6 })
  const persist = async (n: number) => await store.persist({ blobs: { text: `${n}`, same: noise(50_000, 1) } })
  await persist(1)
  const old = readFileSync(join(path, 'HEAD.json'))
  const needed = readdirSync(join(path, 'packs'))
  for (let n = 2; n < 6; n++) await persist(n)
  writeFileSync(join(path, 'HEAD.json'), old)
  rmSync(join(path, 'HEAD.prev.json'))
  for (const name of needed) rmSync(join(path, 'packs', name))
  await using damaged = await openStore(path)
  expect(await damaged.repair({ dryRun: true })).toMatchObject({
    choice: 'newer-or-older',
    offers: { newer: [], older: [] },
  })
})
