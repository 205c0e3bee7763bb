// Snapshots of so many blobs that their list has blocks of its own.

import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { isDamage } from '../../src/errors.ts'
import { type BlobInput, memory } from '../../src/index.ts'
import { noise } from '../support/bytes.ts'
import { rejects } from '../support/rejects.ts'
import { quickScratch } from '../support/scratch.ts'
import { copyOf, expectTidy, storeAt } from '../support/store-directory.ts'

const COUNT = 300
const MANY = 3_000
const nameOf = (i: number): string => `notes/${String(i).padStart(5, '0')}.md`

/** Blobs of 1,000 bytes that do not compress. `changed`: by number, the version of its content. */
function notes(changed: Record<number, number> = {}, count = COUNT): [string, BlobInput][] {
  return Array.from({ length: count }, (_, i) => [nameOf(i), noise(1_000, 10_000 * (changed[i] ?? 0) + i)])
}

async function expectNotes(path: string, changed: Record<number, number> = {}): Promise<void> {
  await using store = storeAt(path)
  await using snapshot = (await store.load())!
  expect(snapshot.names).toEqual(notes().map(([name]) => name))
  for (const [name, source] of notes(changed)) {
    expect(Buffer.compare(await snapshot.blob(name).bytes(), source as Uint8Array)).toBe(0)
  }
}

test('a change of one of very many blobs costs about that blob', async () => {
  const path = join(quickScratch(), 'store')
  await using store = storeAt(path, { compression: 'none' })
  await store.persist({ blobs: notes({}, MANY) })
  const { bytes } = await store.persist({ blobs: notes({ 777: 1 }, MANY) })
  // The file, a leaf of 63 entries on average and 256 at most, two list nodes, the manifest and a commit record.
  expect(bytes.written).toBeLessThan(40_000)
  const again = await store.persist({ blobs: notes({ 777: 1 }, MANY) })
  expect(again).toMatchObject({ unchanged: true, bytes: { written: 0 } })
  const fewer = await store.persist({ blobs: notes({ 777: 1 }, MANY - 1) })
  expect(fewer.bytes.written).toBeLessThan(60_000)
})

test('many blobs come back after a change, a rollback and a repair of a lost HEAD', async () => {
  const path = join(quickScratch(), 'store')
  {
    await using store = storeAt(path)
    await store.persist({ blobs: notes() })
    await store.persist({ blobs: notes({ 5: 1 }) })
    await store.rollback(1)
  }
  await expectNotes(path)
  const whole = copyOf(path)
  rmSync(join(path, 'HEAD.json'))
  rmSync(join(path, 'HEAD.prev.json'))
  {
    await using store = storeAt(path)
    expect(await store.repair()).toMatchObject({ applied: true })
    expect(await store.verify()).toMatchObject({ ok: true })
  }
  await expectNotes(path, { 5: 1 })
  expect(await storeAt(whole).verify()).toMatchObject({ ok: true })
  await expectTidy(whole)
})

test('small packs are merged, packs are deleted, and the list stays whole', async () => {
  const path = join(quickScratch(), 'store')
  const changed: Record<number, number> = {}
  let compacted = 0
  for (let n = 1; n <= 12; n++) {
    // A process of its own: nothing is remembered.
    await using store = storeAt(path, { keepLast: 2 })
    changed[(n * 37) % COUNT] = n
    const { bytes } = await store.persist({ blobs: notes(changed) })
    compacted += bytes.compacted
  }
  expect(compacted).toBeGreaterThan(0)
  await expectNotes(path, changed)
  expect(await storeAt(path).verify()).toMatchObject({ ok: true })
  expect(readdirSync(join(path, 'packs')).length).toBeLessThan(11)
})

/** Flips a byte in the stored leaf that lists `name`: leaves are not compressed, and nothing else has the name. */
function damageLeaf(path: string, name: string): void {
  for (const pack of readdirSync(join(path, 'packs'))) {
    const file = join(path, 'packs', pack)
    const bytes = readFileSync(file)
    const at = bytes.indexOf(name)
    if (at === -1) continue
    bytes[at]! ^= 1
    writeFileSync(file, bytes)
    return
  }
  throw new Error(`no leaf names ${name}`)
}

test('a damaged leaf is damage of its snapshot, is told by verify, and is written again by the next persist', async () => {
  const path = join(quickScratch(), 'store')
  await using writer = storeAt(path)
  await writer.persist({ blobs: notes() })
  damageLeaf(path, nameOf(150))
  await using reader = storeAt(path)
  await rejects(reader.load(), 'SNAPSHOT_DAMAGED')
  expect(await storeAt(path).verify()).toMatchObject({ ok: false, snapshots: [{ intact: false, manifestLost: true }] })
  // The writer knows the list by heart, and is told that what it knows is not there any more.
  expect(await writer.persist({ blobs: notes() })).toMatchObject({ unchanged: false })
  await expectNotes(path)
})

test('a damaged leaf that another process finds is written again, too', async () => {
  const path = join(quickScratch(), 'store')
  await storeAt(path).persist({ blobs: notes() })
  damageLeaf(path, nameOf(150))
  await using store = storeAt(path)
  await store.persist({ blobs: notes({ 1: 1 }) }).catch(async (error: unknown) => {
    // Its leaf was reused before it was read.
    if (!isDamage(error)) throw error
    await store.persist({ blobs: notes({ 1: 1 }) })
  })
  await expectNotes(path, { 1: 1 })
})

test('a blob that is laid out as a file stays while a snapshot has it, wherever its list is', async () => {
  const path = join(quickScratch(), 'store')
  await using store = storeAt(path)
  await store.persist({ blobs: notes() })
  let file: string
  {
    await using snapshot = (await store.load())!
    file = await snapshot.blob(nameOf(3)).file()
  }
  // Most of the list of this snapshot is in the pack of the one before.
  await store.persist({ blobs: notes({ 290: 1 }) })
  expect(store.warnings).toEqual([])
  expect(existsSync(file)).toBe(true)
})

test('a store in memory has many blobs, too, in any order and under any names', async () => {
  const store = memory()
  const names = ['__proto__', '7', '10', 'é', '\uFEFF', ...Array.from({ length: 400 }, (_, i) => `n${i}`)]
  await store.persist({ blobs: names.toReversed().map((name, i): [string, BlobInput] => [name, `${i}`]) })
  await using snapshot = (await store.load())!
  expect(new Set(snapshot.names)).toEqual(new Set(names))
  expect(await snapshot.blob('__proto__').text()).toBe('404')
})

test('256 blobs more or less go from one kind of manifest to the other, and back', async () => {
  const path = join(quickScratch(), 'store')
  await using store = storeAt(path)
  for (const count of [256, 257, 256]) {
    const { manifest } = await store.persist({ blobs: notes({}, count) })
    await using snapshot = (await store.load())!
    expect(snapshot.manifest).toBe(manifest)
    expect(snapshot.names.length).toBe(count)
  }
  expect(await store.verify()).toMatchObject({ ok: true })
})
