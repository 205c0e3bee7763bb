// 5,000 stores: see test/explore/stores.test.ts.

import { test, vi } from 'vitest'
import { searchStores } from '../../explore/fuzz/search.ts'

vi.mock('node:crypto', async (original) => {
  const { randomBytes } = await import('../../faulty-disk/determinism.ts')
  return { ...(await original<object>()), randomBytes }
})

test('any store, whatever happened to it, is judged alike by all operations: listed', async () => {
  await searchStores('listed', 5_000, 5_000)
})
