import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { loadSnapshot, openStore } from '../../src/index.ts'
import { noise } from '../support/bytes.ts'
import { scratch } from '../support/scratch.ts'

// An open store knows what it wrote last without reading it back. What lies on the disk may have been damaged since.

test('a manifest that went bad behind an open store is written anew by a persist of the same', async () => {
  const path = join(scratch(), 'store')
  await using store = await openStore(path, { compression: 'none' })
  const data = noise(10_000, 1)
  const first = await store.persist({ blobs: { data }, metadata: { generation: 1 } })
  const [pack] = readdirSync(join(path, 'packs'))
  const file = join(path, 'packs', pack!)
  const bytes = readFileSync(file)
  // The metadata is in the manifest alone.
  bytes[bytes.indexOf('generation')]! ^= 1
  writeFileSync(file, bytes)
  const second = await store.persist({ blobs: { data }, metadata: { generation: 1 } })
  expect(second).toMatchObject({ unchanged: false, manifest: first.manifest })
  await using snapshot = (await loadSnapshot(path, { required: true }))!
  expect(snapshot.metadata).toEqual({ generation: 1 })
  expect(await snapshot.blob('data').bytes()).toEqual(new Uint8Array(data))
})

test('a compressed blob written by an open store is read by it, and by others', async () => {
  const path = join(scratch(), 'store')
  await using store = await openStore(path)
  const text = (word: string) => JSON.stringify(Array.from({ length: 2000 }, (_, i) => ({ i, word })))
  for (const word of ['one', 'two', 'three']) {
    await store.persist({ blobs: { text: text(word), small: word } })
    for (const reader of [store, await openStore(path)]) {
      await using snapshot = (await reader.load())!
      expect(await snapshot.blob('text').text()).toBe(text(word))
    }
  }
})

test('what a caller does to what it was given about snapshots changes nothing in the store', async () => {
  const path = join(scratch(), 'store')
  await using store = await openStore(path)
  await store.persist({ blobs: { text: 'one' } })
  await store.tag('kept')
  const [info] = await store.snapshots()
  ;(info!.tags as string[]).push('made up')
  expect((await store.snapshots())[0]!.tags).toEqual(['kept'])
  await store.persist({ blobs: { text: 'two' } })
  expect((await store.snapshots()).map(({ tags }) => tags)).toEqual([[], ['kept']])
})
