// What a second try says after an unknown outcome holds after a power loss, also where the first try has left nothing
// to do.

import { expect, test } from 'vitest'
import { replicate } from '../../src/replicate.ts'
import type { Store } from '../../src/store.ts'
import { leastState } from '../faulty-disk/crash-states.ts'
import { createDisk } from '../faulty-disk/disk.ts'
import { observe, openOn, persistOf, STORE } from './model.ts'

const entries: [string, (store: Store) => Promise<unknown>, 'answers' | 'SNAPSHOT_NOT_FOUND'][] = [
  ['persist', (store) => store.persist(persistOf('d/1')), 'answers'],
  ['tag', (store) => store.tag('best', { at: 1 }), 'answers'],
  ['untag', (store) => store.untag('first'), 'SNAPSHOT_NOT_FOUND'],
  ['rollback', (store) => store.rollback(2), 'answers'],
  ['forget by number', (store) => store.forget([2]), 'SNAPSHOT_NOT_FOUND'],
  ['forget by policy', (store) => store.forget({ keep: { last: 1 } }), 'answers'],
  ['gc', (store) => store.gc({ budgetBytes: 0, complete: true }), 'answers'],
  ['repair', (store) => store.repair(), 'answers'],
  ['replicate', (store) => replicateFromElsewhere(store), 'answers'],
]

const elsewhere = openOn(createDisk().start())

async function replicateFromElsewhere(store: Store): Promise<void> {
  if ((await elsewhere.snapshots()).length === 0) await elsewhere.persist(persistOf('e/1'))
  await replicate(elsewhere, store, { onto: 'append' })
}

test.each(entries)('%s', async (name, run, second) => {
  const disk = createDisk()
  const process = disk.start()
  const store = openOn(process, { keepLast: 20 })
  for (const label of ['a/1', 'b/1', 'a/2', 'c/1']) await store.persist(persistOf(label))
  await store.tag('first', { at: 1 })
  if (name === 'gc') await store.forget([2])
  if (name === 'repair') await process.fs.unlink(`${STORE}/HEAD.json`)
  disk.settle()

  let isReplaced = false
  disk.onCall = (call) => {
    if (call.name === 'rename' && call.path.endsWith('/HEAD.json')) isReplaced = true
    return isReplaced && call.name === 'syncDirectory' && call.path === STORE ? { error: 'EIO', lose: true } : undefined
  }
  await expect(run(store)).rejects.toMatchObject({ code: 'COMMIT_UNKNOWN' })
  disk.onCall = null
  const error = await run(store).then(
    () => null,
    (thrown: { code: string }) => thrown,
  )
  expect(error?.code ?? 'answers').toBe(second)
  const said = await observe(openOn(createDisk(disk.image()).start()))
  expect(await observe(openOn(createDisk(leastState(disk.pending())).start()))).toBe(said)
})
