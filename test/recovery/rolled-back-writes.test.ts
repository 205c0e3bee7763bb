// Every entry that swaps HEAD refuses an old HEAD that was put back, and leaves all files as they are. A swap would
// hide that newer packs lie beside it.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openEngine } from '../../src/engines/live.ts'
import { plain } from '../../src/engines/plain.ts'
import { openStore } from '../../src/open.ts'
import { replicate } from '../../src/replicate.ts'
import type { Store } from '../../src/store.ts'
import type { Journal } from '../../src/store-journal/options.ts'
import { failure, rejects } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'

const KEEP = { keepLast: 10 }

/** @param journal whether the store has one */
async function makeRolledBack(journal = false): Promise<string> {
  const rolledBack = join(scratch(), 'store')
  await using store = await openStore(rolledBack, KEEP)
  let old = Buffer.alloc(0)
  let opened: Journal | null = null
  for (const text of ['one', 'two', 'three', 'four']) {
    await store.persist({ blobs: { text }, ...(opened === null ? {} : { covers: opened.last }) })
    if (text === 'two') {
      if (journal) opened = await store.openJournal()
      await opened?.append(Buffer.from('entry')).durable
      await store.tag('kept', { at: 1 })
      old = readFileSync(join(rolledBack, 'HEAD.json'))
    }
  }
  await opened?.close()
  await store.close()
  writeFileSync(join(rolledBack, 'HEAD.json'), old)
  return rolledBack
}

function filesIn(path: string): Map<string, string> {
  const files = readdirSync(path, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  return new Map(
    files
      .map(({ parentPath, name }) => join(parentPath, name).slice(path.length))
      .filter((name) => !name.endsWith('.lock'))
      .map((name) => [name, readFileSync(join(path, name)).toString('hex')]),
  )
}

const engine = plain<{ texts: string[] }>({
  name: 'texts',
  save: ({ texts }) => JSON.stringify(texts),
  restore: async ({ blob }) => ({ texts: await blob('index').json<string[]>() }),
})

const writes: [string, (store: Store) => Promise<unknown>][] = [
  ['persist', (store) => store.persist({ blobs: { text: 'five' } })],
  ['tag', (store) => store.tag('x')],
  ['untag', (store) => store.untag('kept')],
  ['rollback', (store) => store.rollback(1)],
  ['forget', (store) => store.forget('kept')],
  ['gc', (store) => store.gc()],
  ['openJournal', (store) => store.openJournal()],
  ['openJournal, starting over', (store) => store.openJournal({ startOver: true })],
  [
    'openEngine',
    (store) => openEngine(store, engine, { startOver: true, create: () => ({ texts: [] }), apply: () => undefined }),
  ],
  [
    'replicate',
    async (store) => {
      await using from = await openStore(join(scratch(), 'from'))
      await from.persist({ blobs: { text: 'from' } })
      await replicate(from, store, { onto: 'append' })
    },
  ],
]

test.each(writes)('%s', async (_name, write) => {
  const path = await makeRolledBack()
  const before = filesIn(path)
  const store = await openStore(path, KEEP)
  await rejects(write(store), 'STORE_ROLLED_BACK')
  expect(filesIn(path)).toEqual(before)
  const report = await store.verify()
  expect(report.problems.map(({ code }) => code)).toContain('STORE_ROLLED_BACK')
  await store.repair({ rolledBack: 'newer' })
  expect((await store.snapshots()).map(({ sequence }) => sequence)).toEqual([4, 3, 2, 1])
  await store.close()
})

test('to start over, with a journal that HEAD names', async () => {
  const path = await makeRolledBack(true)
  const before = filesIn(path)
  const store = await openStore(path, KEEP)
  await rejects(store.openJournal({ startOver: true }), 'STORE_ROLLED_BACK')
  expect(filesIn(path)).toEqual(before)
  await store.close()
})

test('a first entry, of a journal that was open when the old HEAD was put back', async () => {
  const path = await makeRolledBack()
  const old = readFileSync(join(path, 'HEAD.json'))
  const store = await openStore(path, KEEP)
  await store.repair({ rolledBack: 'newer' })
  const journal = await store.openJournal()
  writeFileSync(join(path, 'HEAD.json'), old)
  const error = await failure(journal.append(Buffer.from('entry')).durable)
  expect((error as Error).message).toMatch(/an old HEAD was put back/)
  expect(readFileSync(join(path, 'HEAD.json')).equals(old)).toBe(true)
  await journal.close().catch(() => undefined)
  await store.repair({ rolledBack: 'newer' })
  expect((await store.snapshots()).map(({ sequence }) => sequence)).toEqual([4, 3, 2, 1])
  await store.close()
})
