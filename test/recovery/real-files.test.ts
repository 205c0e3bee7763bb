import { copyFileSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openStore } from '../../src/open.ts'
import { noise } from '../support/bytes.ts'
import { collectGarbage } from '../support/garbage.ts'
import { scratch } from '../support/scratch.ts'
import { files, tree } from '../support/tree.ts'

const MiB = 1024 * 1024

function packsIn(path: string): string[] {
  return readdirSync(join(path, 'packs')).map((name) => join(path, 'packs', name))
}

function rot(path: string, at: number): void {
  const bytes = readFileSync(path)
  bytes[at]! ^= 1
  writeFileSync(path, bytes)
}

test('verify, scrub and a repair of a healthy store leave every file and directory untouched', async () => {
  const path = join(scratch(), 'store')
  await using store = await openStore(path)
  for (const text of ['one', 'two']) await store.persist({ blobs: { text } })
  const before = tree(path)
  expect(await store.verify()).toMatchObject({ ok: true })
  expect(await store.scrub()).toMatchObject({ ok: true })
  expect(await store.repair()).toMatchObject({ ok: true, applied: false })
  expect(tree(path)).toEqual(before)
})

test('a store of files is verified, repaired and written to again', async () => {
  const path = join(scratch(), 'store')
  {
    await using store = await openStore(path)
    // A pack each, of which nothing is in another.
    for (const [seed, text] of ['one', 'two', 'three'].entries())
      await store.persist({ blobs: { text, index: noise(100_000, seed) } })
  }
  const [pack] = packsIn(path)
  const evidence = readFileSync(pack!)
  evidence[70]! ^= 1
  rot(pack!, 70)
  writeFileSync(join(path, 'HEAD.json'), 'junk')
  await using store = await openStore(path)
  expect(await store.verify()).toMatchObject({ ok: false, revision: null })
  const report = await store.repair()
  expect(report.applied).toBe(true)
  expect(report.snapshots.length).toBe(2)
  expect(Object.values(report.quarantined).map((to) => readFileSync(to))).toEqual(
    expect.arrayContaining([evidence, Buffer.from('junk')]),
  )
  for (const to of Object.values(report.quarantined))
    expect(readFileSync(`${to}.json`, 'utf8')).toMatch(/"reason": "damaged"/)
  expect(await store.verify()).toMatchObject({ ok: true })
  await store.persist({ blobs: { text: 'four' } })
  expect(await store.verify()).toMatchObject({ ok: true })
  expect(files(join(path, 'tmp'))).toEqual([])
})

test('an old HEAD that is copied back is noticed, and both ways on work', async () => {
  for (const [rolledBack, expected] of [
    ['newer', 'four'],
    ['older', 'one'],
  ] as const) {
    const path = join(scratch(), 'store')
    await using store = await openStore(path, { keepLast: 9 })
    await store.persist({ blobs: { text: 'one' } })
    copyFileSync(join(path, 'HEAD.json'), join(path, '..', 'backup'))
    for (const text of ['two', 'three', 'four']) await store.persist({ blobs: { text } })
    renameSync(join(path, '..', 'backup'), join(path, 'HEAD.json'))
    await expect(store.persist({ blobs: { text: 'five' } })).rejects.toMatchObject({ code: 'STORE_ROLLED_BACK' })
    await store.repair({ rolledBack })
    await using snapshot = await store.load()
    expect(await snapshot!.blob('text').text()).toBe(expected)
    expect(await store.verify()).toMatchObject({ ok: true })
  }
})

test('verify holds a few megabytes, however large the store is', async () => {
  const path = join(scratch(), 'store')
  const blob = noise(128 * MiB, 5)
  {
    await using store = await openStore(path, { packBytesMax: 16 * MiB })
    await store.persist({ blobs: { blob } })
  }
  await using store = await openStore(path)
  collectGarbage()
  const before = process.memoryUsage().arrayBuffers
  let most = 0
  let progresses = 0
  const report = await store.verify({
    onProgress: () => {
      collectGarbage()
      most = Math.max(most, process.memoryUsage().arrayBuffers - before)
      progresses += 1
    },
  })
  expect(report).toMatchObject({ ok: true, checked: { packs: 8 } })
  expect(progresses).toBeGreaterThan(8)
  // Two steps of 4 MiB, whatever the size of the store.
  expect(most).toBeLessThan(24 * MiB)
})
