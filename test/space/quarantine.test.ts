import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { memory, openStore } from '../../src/index.ts'
import { failure, rejects } from '../support/rejects.ts'
import { quickScratch } from '../support/scratch.ts'

/** A store with two foreign files in quarantine, and a file of somebody else's. */
async function withTwo(): Promise<{ path: string; names: string[] }> {
  const path = join(quickScratch(), 'store')
  await using store = await openStore(path)
  await store.persist({ blobs: { a: 'a' } })
  for (const text of ['one', 'two']) {
    writeFileSync(join(path, 'packs', `${text}.pack`), text)
    await using again = await openStore(path, { onWarning: () => undefined })
    await again.persist({ blobs: { a: text } })
  }
  writeFileSync(join(path, 'quarantine', 'mine.txt'), 'mine')
  const names = readdirSync(join(path, 'quarantine')).filter((name) => !/json$|mine/.test(name))
  expect(names).toHaveLength(2)
  return { path, names: names.sort() }
}

test('quarantine lists what was moved aside, with what its note says', async () => {
  const { path, names } = await withTwo()
  await using store = await openStore(path, { readOnly: true })
  const files = await store.quarantine.list()
  expect(files.map(({ name }) => name)).toEqual(names)
  expect(files[0]).toMatchObject({ bytes: 3, isDirectory: false, reason: 'not-a-pack' })
  expect(files[0]!.original).toMatch(/packs.one\.pack$/)
  expect(files[0]!.time!.getTime()).toBeGreaterThan(Date.now() - 60_000)
  expect(await store.quarantine.show(names[1]!)).toEqual(files[1])
  for (const name of ['nothing', 'mine.txt', '../HEAD.json', `${names[0]}.json`]) {
    await rejects(store.quarantine.show(name), 'NOT_IN_QUARANTINE')
    await rejects(store.quarantine.extract(name, join(path, '..', 'out')), 'NOT_IN_QUARANTINE')
  }
})

test('quarantine copies a file out, whole', async () => {
  const { path, names } = await withTwo()
  await using store = await openStore(path)
  const to = join(path, '..', 'out')
  await store.quarantine.extract(names[0]!, to)
  expect(readFileSync(to, 'utf8')).toBe('one')
  expect(readFileSync(join(path, 'quarantine', names[0]!), 'utf8')).toBe('one')
  expect(await failure(store.quarantine.extract(names[0]!, join(path, 'HEAD.json')))).toBeInstanceOf(TypeError)
})

test('quarantine deletes what is named or old, and nothing else', async () => {
  const { path, names } = await withTwo()
  await using store = await openStore(path)
  const there = (): string[] => readdirSync(join(path, 'quarantine')).sort()
  const before = there()
  await rejects(store.quarantine.discard({ names: [names[0]!, 'nothing'] }), 'NOT_IN_QUARANTINE')
  expect(await store.quarantine.discard({ olderThan: new Date(Date.now() - 3_600_000) })).toEqual([])
  expect(there()).toEqual(before)
  expect(await store.quarantine.discard({ names: [names[0]!] })).toEqual([names[0]])
  expect(there()).toEqual(['mine.txt', names[1]!, `${names[1]}.json`].sort())
  expect(await store.quarantine.discard({ olderThan: new Date(Date.now() + 1000) })).toEqual([names[1]])
  expect(there()).toEqual(['mine.txt'])
  await using reader = await openStore(path, { readOnly: true })
  await rejects(reader.quarantine.discard({ olderThan: new Date() }), 'READ_ONLY')
})

test('quarantine of a store whose HEAD is damaged can be looked at and emptied', async () => {
  const { path, names } = await withTwo()
  writeFileSync(join(path, 'HEAD.json'), '{')
  await using store = await openStore(path)
  expect(await store.quarantine.list()).toHaveLength(2)
  expect(await store.quarantine.discard({ names })).toEqual(names)
})

test('a store without quarantine has an empty one', async () => {
  const path = join(quickScratch(), 'store')
  await using store = await openStore(path)
  expect(await store.quarantine.list()).toEqual([])
  expect(existsSync(path)).toBe(false)
  expect(await memory().quarantine.list()).toEqual([])
  mkdirSync(path)
  expect(await store.quarantine.list()).toEqual([])
})

test.each([
  ['nothing', undefined],
  ['neither', {}],
  ['both', { names: [], olderThan: new Date() }],
  ['a number', { olderThan: 5 }],
  ['no date', { olderThan: new Date(Number.NaN) }],
  ['one name', { names: 'a' }],
])('discard with %s is a TypeError', async (_, which) => {
  expect(await failure(memory().quarantine.discard(which as never))).toBeInstanceOf(TypeError)
})
