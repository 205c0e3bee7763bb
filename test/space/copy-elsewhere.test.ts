// A store is not copied or replicated onto itself, whatever the name.

import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openStore } from '../../src/open.ts'
import { replicate } from '../../src/replicate.ts'
import { mountAgain } from '../support/mounted.ts'
import { failure } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'

async function storeWithLinks() {
  const base = scratch()
  const path = join(base, 'store')
  const store = await openStore(path)
  await store.persist({ blobs: { text: 'one' } })
  symlinkSync('store', join(base, 'link'))
  mkdirSync(join(base, 'deep'))
  symlinkSync('../store/packs', join(base, 'deep/packs'))
  return { base, path, store }
}

test.each(['store', 'link', 'store/packs/z', 'link/new/deeper', 'deep/packs', 'deep/packs/z', 'deep/../store'])(
  'copy into %s is refused',
  async (to) => {
    const { base, store } = await storeWithLinks()
    await expect(store.copy(join(base, to))).rejects.toThrow(TypeError)
    expect(await store.snapshots()).toHaveLength(1)
    await store.close()
  },
)

test('copy into a directory beside it is made', async () => {
  const { base, store } = await storeWithLinks()
  expect(await store.copy(join(base, 'store.copy'))).toMatchObject({ packs: 1 })
  await store.close()
})

test('replicate from one object of a directory to another one is refused', async () => {
  const { base, path, store } = await storeWithLinks()
  for (const other of [path, join(base, 'link')]) {
    await using to = await openStore(other)
    await expect(replicate(store, to)).rejects.toThrow(/is the directory of .* itself/)
  }
  await store.close()
})

test('a second mount of the store is the store: no target, and no source beside it', async (context) => {
  const { base, path, store } = await storeWithLinks()
  const mounted = mountAgain(context, base)
  for (const to of ['store', 'store/new']) await expect(store.copy(join(mounted, to))).rejects.toThrow(TypeError)
  for (const directory of [mounted, join(mounted, 'store')]) {
    expect(await failure(store.persist({ blobs: { all: { directory, exclude: ['link', 'deep'] } } }))).toMatchObject({
      code: 'SOURCE_FAILED',
      details: { store: path },
    })
  }
  await store.close()
})
