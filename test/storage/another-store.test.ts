// A store object that has seen snapshots writes nothing into another store that was put in the place of its own. It
// loads from there.

import { cpSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openStore } from '../../src/open.ts'
import type { Store } from '../../src/store.ts'
import { rejects } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'

const calls: [string, (store: Store) => Promise<unknown>][] = [
  ['persist', (store) => store.persist({ blobs: { text: 'more' }, expectedHead: 1 })],
  ['tag', (store) => store.tag('x')],
  ['forget', (store) => store.forget({ keep: { last: 1 } })],
  ['gc', (store) => store.gc()],
  ['openJournal', (store) => store.openJournal()],
]

test('every write says so, and the other store stays as it is', async () => {
  const [path, other] = [join(scratch(), 'store'), join(scratch(), 'other')]
  for (const at of [path, other]) {
    await using store = await openStore(at)
    await store.persist({ blobs: { text: at } })
  }
  await using store = await openStore(path)
  await (await store.load())!.dispose()
  renameSync(path, `${path}.old`)
  cpSync(other, path, { recursive: true })
  for (const [name, call] of calls) {
    const error = await rejects(call(store), 'HEAD_CONFLICT')
    expect(error.message, name).toMatch(/another store is in the place of the one/)
  }
  {
    await using snapshot = await store.load({ required: true })
    expect(snapshot!.sequence).toBe(1)
    expect(await snapshot!.blob('text').text()).toBe(other)
  }
  expect(await rejects(store.tag('x'), 'HEAD_CONFLICT')).toBeDefined()
  rmSync(path, { recursive: true })
  renameSync(`${path}.old`, path)
  expect(await store.persist({ blobs: { text: 'more' } })).toMatchObject({ sequence: 2 })
})
