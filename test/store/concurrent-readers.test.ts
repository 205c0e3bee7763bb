import { join } from 'node:path'
import { expect, test } from 'vitest'
import { noise } from '../support/bytes.ts'
import { blobsOf, verify } from '../support/content.mjs'
import { type Child, start } from '../support/processes.ts'
import { scratch } from '../support/scratch.ts'
import { expectTidy, headOf, storeAt } from '../support/store-directory.ts'

const writer = (path: string, keepLast: number): Child =>
  start(new URL('../support/writer.mjs', import.meta.url), path, String(keepLast))
const reader = (path: string): Child => start(new URL('../support/reader.mjs', import.meta.url), path)

test('a snapshot that is read slowly stays whole while a hundred persists by another process delete all it lies in', async () => {
  const path = join(scratch(), 'store')
  await using store = storeAt(path)
  const large = noise(3 * 1024 * 1024, 1)
  await store.persist({ blobs: { large } })
  await using snapshot = (await store.load())!
  const packs = headOf(path).packs.map(({ name }) => name)

  const other = writer(path, 1)
  await other.hear()
  other.say('1')
  let at = 0
  const step = 64 * 1024
  for (let persists = 0; persists < 100 || at < large.length; persists++) {
    await other.hear()
    if (at >= large.length) continue
    for await (const part of snapshot.blob('large').stream({ start: at, end: at + step })) {
      expect(Buffer.compare(part, large.subarray(at, at + part.length))).toBe(0)
      at += part.length
    }
  }
  await other.kill()
  expect(headOf(path).packs.map(({ name }) => name)).not.toEqual(expect.arrayContaining(packs))
  // And all at once, from files that have no name any more.
  expect(Buffer.compare(await snapshot.blob('large').bytes(), large)).toBe(0)
  await store.persist({ blobs: { small: 'last' }, keepLast: 1 })
  expectTidy(path)
})

test('readers in other processes see whole snapshots, and never an older one after a newer, under a writer that keeps only one', async () => {
  const path = join(scratch(), 'store')
  await using store = storeAt(path, { keepLast: 1 })
  await store.persist({ blobs: blobsOf(1), metadata: { n: 1 } })
  const readers = [reader(path), reader(path)]
  for (const one of readers) expect(await one.hear()).toBe('ready')
  const other = writer(path, 1)
  await other.hear()
  other.say('2')
  for (let persists = 0; persists < 60; persists++) await other.hear()
  for (const one of readers) await one.end()
  await other.kill()
  for (const one of readers) {
    const seen = JSON.parse(one.said().at(-1)!) as { loads: number; nulls: number; distinct: number }
    expect(seen.nulls).toBe(0)
    expect(seen.distinct).toBeGreaterThan(5)
  }
  await using snapshot = (await store.load())!
  expect(await verify(snapshot)).toBeGreaterThan(60)
})
