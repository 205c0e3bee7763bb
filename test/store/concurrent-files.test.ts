import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { noise } from '../support/bytes.ts'
import { type Child, start } from '../support/processes.ts'
import { scratch } from '../support/scratch.ts'
import { fingerprint, listing, storeAt } from '../support/store-directory.ts'

const user = (path: string): Child => start(new URL('child.mjs', import.meta.url), path, 'file', 'index')
const index = noise(6 * 1024 * 1024, 1)

async function stored(): Promise<string> {
  const path = join(scratch(), 'store')
  await using store = storeAt(path, { keepLast: 1 })
  await store.persist({ blobs: { index } })
  return path
}

/** Makes the blob unneeded: only the one snapshot is kept. */
async function persistAnother(path: string, seed: number): Promise<void> {
  await using store = storeAt(path, { keepLast: 1 })
  await store.persist({ blobs: { other: noise(1_000, seed) } })
}

test('two processes that lay out the same blob at the same time get the same whole file', async () => {
  const path = await stored()
  const users = [user(path), user(path), user(path)]
  for (const one of users) expect(await one.hear()).toBe('ready')
  for (const one of users) one.say('lay it out')
  const files = await Promise.all(users.map((one) => one.hear()))
  expect(new Set(files).size).toBe(1)
  expect(fingerprint(readFileSync(files[0]!))).toBe(fingerprint(index))
  expect(statSync(files[0]!).mode & 0o222).toBe(0)
  expect(listing(path, 'files/.tmp')).toEqual([])
  expect(listing(path, 'quarantine')).toEqual([])
})

test('a file that another process uses is not deleted, though no snapshot needs it; afterwards it is', async () => {
  const path = await stored()
  const using = user(path)
  await using.hear()
  using.say('lay it out')
  const file = await using.hear()
  for (const seed of [2, 3]) await persistAnother(path, seed)
  expect(fingerprint(readFileSync(file))).toBe(fingerprint(index))
  using.say('stop')
  await using.end()
  await persistAnother(path, 4)
  expect(readdirSync(join(path, 'files')).filter((name) => name.startsWith('baf'))).toEqual([])
})

test('a file used by a process that was killed is deleted by the next persist', async () => {
  const path = await stored()
  const using = user(path)
  await using.hear()
  using.say('lay it out')
  const file = await using.hear()
  await using.kill()
  await persistAnother(path, 2)
  expect(existsSync(file)).toBe(false)
})

test('files that are not ours stay where they are, also in a directory that was given to us', async () => {
  const path = await stored()
  const filesDir = scratch()
  const strangers = ['notes.txt', 'bafkr4i', 'data.lock']
  for (const name of strangers) writeFileSync(join(filesDir, name), 'precious')
  await using store = storeAt(path, { keepLast: 1, filesDir })
  const snapshot = (await store.load())!
  const file = await snapshot.blob('index').file()
  await snapshot.dispose()
  await store.persist({ blobs: { other: 'content' } })
  expect(existsSync(file)).toBe(false)
  expect(readdirSync(filesDir)).toEqual(expect.arrayContaining(strangers))
})

test('a file that was changed is put aside and laid out anew, and whoever has it open keeps what they have', async () => {
  const path = await stored()
  await using store = storeAt(path)
  const first = (await store.load())!
  const file = await first.blob('index').file()
  await first.dispose()
  chmodSync(file, 0o600)
  const damaged = readFileSync(file)
  damaged[4_500_000]! ^= 1
  writeFileSync(file, damaged)
  await using second = (await store.load())!
  expect(await second.blob('index').file()).toBe(file)
  expect(fingerprint(readFileSync(file))).toBe(fingerprint(index))
  const aside = listing(path, 'quarantine')
  expect(aside).toHaveLength(2)
  expect(aside.find((name) => name.endsWith('.json'))).toBeDefined()
  expect(readFileSync(join(path, 'quarantine', aside.find((name) => !name.endsWith('.json'))!)).equals(damaged)).toBe(
    true,
  )
})
