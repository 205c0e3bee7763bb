import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Head } from '../../src/format/head.ts'
import { sealJson } from '../../src/format/json-file.ts'
import { filesOf } from '../support/reading-store.ts'
import { rejects } from '../support/rejects.ts'
import { quickScratch } from '../support/scratch.ts'
import {
  contentsOfGeneration,
  expectTidy,
  generation,
  headOf,
  loadContents,
  storeAt,
} from '../support/store-directory.ts'

/** A store with two snapshots. */
async function twoSnapshots(): Promise<string> {
  const path = join(quickScratch(), 'store')
  await using store = storeAt(path)
  for (const seed of [1, 2]) await store.persist(generation(seed))
  return path
}

type Change = (fields: Record<string, unknown>) => void

/** Writes one of the JSON files anew, changed and with a checksum that fits. */
function edit(path: string, name: string, change: Change): void {
  const { checksum: _, ...fields } = JSON.parse(readFileSync(join(path, name), 'utf8')) as Record<string, unknown>
  change(fields)
  writeFileSync(join(path, name), sealJson(fields))
}

/** Every use of the store is refused with this error, and not a byte of it changes. */
async function expectRefused(path: string, error: object, { fallback = true } = {}): Promise<void> {
  const before = filesOf(path)
  await using store = storeAt(path)
  await expect(store.load()).rejects.toMatchObject(error)
  await expect(store.restore(() => 1, { fallback })).rejects.toMatchObject(error)
  await expect(store.snapshots()).rejects.toMatchObject(error)
  await expectUnwritable(path, error)
  expect(filesOf(path)).toEqual(before)
}

/** As `expectRefused`, for what writes alone. */
async function expectUnwritable(path: string, error: object): Promise<void> {
  await using store = storeAt(path)
  const files = () => new Map([...filesOf(path)].filter(([name]) => name !== 'writer.lock'))
  const before = files()
  await expect(store.persist(generation(3))).rejects.toMatchObject(error)
  await expect(store.tag('here')).rejects.toMatchObject(error)
  await expect(store.rollback(1)).rejects.toMatchObject(error)
  expect(files()).toEqual(before)
}

describe('a store without', () => {
  test('HEAD.json is an error that says what to do; putting HEAD.prev.json in its place loses nothing either', async () => {
    const path = await twoSnapshots()
    rmSync(join(path, 'HEAD.json'))
    const message = expect.stringMatching(/repair\(\).*setAside\(\)/)
    const details = { path: join(path, 'HEAD.json') }
    await expectRefused(path, { code: 'HEAD_MISSING', kind: 'damaged', message, details }, { fallback: false })
    cpSync(join(path, 'HEAD.prev.json'), join(path, 'HEAD.json'))
    expect(await loadContents(path)).toEqual(contentsOfGeneration(1, 1))
    await rejects(storeAt(path).persist(generation(3)), 'STORE_ROLLED_BACK')
    await storeAt(path).repair({ rolledBack: 'newer' })
    expect(await loadContents(path)).toEqual(contentsOfGeneration(2, 2))
  })

  test('STORE.json is an error that says what to do', async () => {
    const path = await twoSnapshots()
    rmSync(join(path, 'STORE.json'))
    const message = expect.stringMatching(/STORE\.json.*setAside\(\)/)
    await expectRefused(path, { code: 'STORE_DAMAGED', kind: 'damaged', message })
  })

  test.each([
    ['both', ['HEAD.json', 'STORE.json']],
    ['both, and HEAD.prev.json', ['HEAD.json', 'STORE.json', 'HEAD.prev.json']],
    ['both, and its packs', ['HEAD.json', 'STORE.json', 'packs']],
  ])('%s is no fresh start', async (_, names) => {
    const path = await twoSnapshots()
    for (const name of names) rmSync(join(path, name), { recursive: true })
    await using store = storeAt(path)
    await expect(store.load()).rejects.toMatchObject({ code: 'STORE_DAMAGED', kind: 'damaged' })
    await expect(store.persist(generation(3))).rejects.toMatchObject({ code: 'STORE_DAMAGED' })
  })

  test('HEAD.prev.json works, and has one again after the next persist', async () => {
    const path = await twoSnapshots()
    rmSync(join(path, 'HEAD.prev.json'))
    expect(await loadContents(path)).toEqual(contentsOfGeneration(2, 2))
    await storeAt(path).persist(generation(3))
    expectTidy(path)
  })

  test('tmp/ and writer.lock works', async () => {
    const path = await twoSnapshots()
    rmSync(join(path, 'tmp'), { recursive: true })
    rmSync(join(path, 'writer.lock'))
    expect(await loadContents(path)).toEqual(contentsOfGeneration(2, 2))
    expect((await storeAt(path).persist(generation(3))).sequence).toBe(3)
  })
})

describe('a HEAD that', () => {
  test('names a manifest that is nowhere is a damaged snapshot, and fallback finds the one before', async () => {
    const path = await twoSnapshots()
    const nowhere = 'bafyr4ihdb57fdysx5h35urvxz64ros7zvywshber7id6t6c6fek37jgyfe'
    edit(path, 'HEAD.json', (head) => {
      const [current] = head.snapshots as { manifest: string }[]
      current!.manifest = nowhere
    })
    await using store = storeAt(path)
    await expect(store.load()).rejects.toMatchObject({ code: 'SNAPSHOT_DAMAGED', details: { manifest: nowhere } })
    await using snapshot = await store.load({ fallback: true })
    expect(snapshot).toMatchObject({ sequence: 1, skipped: [{ sequence: 2, error: { code: 'SNAPSHOT_DAMAGED' } }] })
    // And the store can be written to: what cannot be read is taken in afresh.
    expect(await store.persist(generation(2))).toMatchObject({ sequence: 3, unchanged: false })
    expect(await loadContents(path)).toEqual(contentsOfGeneration(3, 2))
  })

  test('belongs to another store is refused', async () => {
    const path = await twoSnapshots()
    const other = await twoSnapshots()
    cpSync(join(other, 'HEAD.json'), join(path, 'HEAD.json'))
    await expectRefused(path, { code: 'STORE_DAMAGED', message: expect.stringContaining('two stores were mixed') })
  })

  test('contradicts itself is damaged, though its checksum is right', async () => {
    const original = await twoSnapshots()
    const contradictions: ((head: Head) => void)[] = [
      (head) => Object.assign(head, { current: 7 }),
      (head) => Object.assign(head, { current: null }),
      (head) => Object.assign(head, { snapshots: [] }),
      (head) => Object.assign(head, { packs: [] }),
      (head) => Object.assign(head, { sequence: 1 }),
      (head) => head.snapshots.reverse(),
      (head) => Object.assign(head.snapshots[0]!, { manifest: 'bafkr4i' }),
      (head) => Object.assign(head.packs[0]!, { name: '../../etc/passwd' }),
      (head) => Object.assign(head.packs[0]!, { bytes: -1 }),
      (head) => Object.assign(head.packs[0]!, { id: 2 ** 60 }),
    ]
    for (const contradict of contradictions) {
      const path = join(quickScratch(), 'store')
      cpSync(original, path, { recursive: true })
      edit(path, 'HEAD.json', contradict as unknown as Change)
      await expect(storeAt(path).load(), contradict.toString()).rejects.toMatchObject({ code: 'HEAD_DAMAGED' })
    }
  })

  test('is larger than any HEAD may be is damaged, and not read', async () => {
    const path = await twoSnapshots()
    for (const name of ['HEAD.json', 'STORE.json']) {
      const copy = join(quickScratch(), 'store')
      cpSync(path, copy, { recursive: true })
      writeFileSync(join(copy, name), Buffer.alloc(17 * 1024 * 1024, 0x20))
      await expect(storeAt(copy).load(), name).rejects.toMatchObject({ kind: 'damaged' })
    }
    // It is only a copy.
    writeFileSync(join(path, 'HEAD.prev.json'), Buffer.alloc(17 * 1024 * 1024, 0x20))
    await storeAt(path).persist(generation(3))
    expectTidy(path)
  })
})

describe('a store of a newer version', () => {
  test.each([
    ['HEAD.json', 'version', 4],
    ['HEAD.json', 'requires', ['telepathy']],
    ['STORE.json', 'version', 2],
    ['STORE.json', 'requires', ['telepathy']],
  ])('by %s with another %s is neither read nor written', async (name, field, value) => {
    const path = await twoSnapshots()
    edit(path, name, (fields) => Object.assign(fields, { [field]: value }))
    await expectRefused(path, {
      code: 'VERSION_UNSUPPORTED',
      kind: 'unsupported',
      message: expect.stringMatching(/newer holdfast/),
    })
  })

  test.each<[string, (head: Head) => void]>([
    ['a field', (head) => Object.assign(head, { mood: 'good' })],
    ['a field of its snapshots', (head) => Object.assign(head.snapshots[1]!, { mood: 'good' })],
    ['a field of its packs', (head) => Object.assign(head.packs[0]!, { mood: 'good' })],
  ])('by a HEAD with %s that this one does not know is read, and not written', async (_, change) => {
    const path = await twoSnapshots()
    edit(path, 'HEAD.json', change as unknown as Change)
    expect(await loadContents(path)).toEqual(contentsOfGeneration(2, 2))
    await expectUnwritable(path, { code: 'VERSION_UNSUPPORTED', message: expect.stringContaining('mood') })
  })

  test('by unknown fields of STORE.json alone is read and written: nobody writes that file again', async () => {
    const path = await twoSnapshots()
    edit(path, 'STORE.json', (fields) => Object.assign(fields, { mood: 'good' }))
    const before = readFileSync(join(path, 'STORE.json'))
    await storeAt(path).persist(generation(3))
    expect(await loadContents(path)).toEqual(contentsOfGeneration(3, 3))
    expect(readFileSync(join(path, 'STORE.json'))).toEqual(before)
  })

  test('is not one whose HEAD.prev.json alone is newer', async () => {
    const path = await twoSnapshots()
    edit(path, 'HEAD.prev.json', (fields) => Object.assign(fields, { version: 4 }))
    await storeAt(path).persist(generation(3))
    expect(headOf(path).sequence).toBe(3)
  })
})

test('JSON of some other program in the place of STORE.json is not a store', async () => {
  const path = await twoSnapshots()
  writeFileSync(join(path, 'STORE.json'), '{"name": "package"}\n')
  await expectRefused(path, { code: 'NOT_A_STORE', kind: 'unsupported' })
})
