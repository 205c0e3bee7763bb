import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { fromHex } from '../../src/format/hex.ts'
import { encodePackHeader } from '../../src/format/pack.ts'
import { noise } from '../support/bytes.ts'
import { filesOf } from '../support/reading-store.ts'
import { quickScratch } from '../support/scratch.ts'
import {
  contentsOf,
  contentsOfGeneration,
  copyOf,
  expectTidy,
  generation,
  headOf,
  listing,
  loadContents,
  storeAt,
} from '../support/store-directory.ts'

async function stored(count = 1, keepLast = 1): Promise<string> {
  const path = join(quickScratch(), 'store')
  await using store = storeAt(path, { keepLast })
  for (let seed = 1; seed <= count; seed++) await store.persist(generation(seed))
  return path
}

/** Leaves a pack that HEAD does not name, meant for this revision. Answers its file name. */
function orphan(path: string, revision: number, storeId = headOf(path).storeId): string {
  const file = `${randomBytes(32).toString('hex')}.pack`
  const header = encodePackHeader({ storeId: fromHex(storeId, 16), revision, nonce: randomBytes(16) })
  writeFileSync(join(path, 'packs', file), Buffer.concat([header, noise(500, revision)]))
  return file
}

const has = (path: string, file: string): boolean => existsSync(join(path, 'packs', file))

describe('a pack that HEAD does not name', () => {
  test('and that was meant for this revision or an earlier one is garbage', async () => {
    const path = await stored(3)
    const { revision } = headOf(path)
    const orphans = [orphan(path, revision), orphan(path, revision - 1), orphan(path, 0)]
    // Also by a persist that has nothing to write.
    expect(await storeAt(path, { keepLast: 1 }).persist(generation(3))).toMatchObject({ unchanged: true })
    expect(orphans.filter((file) => has(path, file))).toEqual([])
    expect(await loadContents(path)).toEqual(contentsOfGeneration(3, 3))
  })

  test('and that was meant for the next revision is left by writers without locks, until HEAD has passed it', async () => {
    const path = await stored()
    const file = orphan(path, headOf(path).revision + 1)
    await using store = storeAt(path, { lock: 'none' })
    await store.persist(generation(1))
    expect(has(path, file)).toBe(true)
    await store.persist(generation(2))
    expect(has(path, file)).toBe(false)
    expect(await loadContents(path)).toEqual(contentsOfGeneration(2, 2))
  })

  test('and that was meant for the next revision was left by a dead writer, when a lock keeps the others out', async () => {
    const path = await stored()
    const file = orphan(path, headOf(path).revision + 1)
    await storeAt(path).persist(generation(1))
    expect(has(path, file)).toBe(false)
  })

  test('and that was meant for a later revision says that an old HEAD was put back: nothing is written, nothing deleted', async () => {
    const path = await stored(3)
    const old = copyOf(path)
    await using store = storeAt(path, { keepLast: 1 })
    for (const seed of [4, 5, 6]) await store.persist(generation(seed))
    for (const name of ['HEAD.json', 'HEAD.prev.json']) cpSync(join(old, name), join(path, name))
    const { revision } = headOf(path)
    // Garbage, if HEAD were believed.
    orphan(path, revision)
    const files = () => new Map([...filesOf(path)].filter(([name]) => name !== 'writer.lock'))
    const before = files()
    const error = { code: 'STORE_ROLLED_BACK', kind: 'damaged', details: { revision, newest: revision + 3 } }
    for (const act of [
      () => store.persist(generation(7)),
      () => store.persist(generation(3)),
      () => store.tag('here'),
      () => store.rollback(3),
    ]) {
      await expect(act()).rejects.toMatchObject(error)
    }
    expect(files()).toEqual(before)
    // Reading what the old HEAD says is as good as ever, if it is still there: here retention took it.
    await expect(loadContents(path)).rejects.toMatchObject({ kind: 'damaged' })
  })

  test('and that is of another store goes to quarantine, with the reason beside it', async () => {
    const path = await stored()
    const other = await stored()
    const [foreign] = listing(other, 'packs')
    cpSync(join(other, 'packs', foreign!), join(path, 'packs', foreign!))
    const bytes = readFileSync(join(path, 'packs', foreign!))
    await using store = storeAt(path, { keepLast: 1 })
    await store.persist(generation(2))
    expectTidy(path)
    const [moved, note] = listing(path, 'quarantine')
    expect(note).toBe(`${moved}.json`)
    expect(moved).toMatch(new RegExp(`^${foreign}\\.other-store\\.[0-9TZ.-]+\\.[0-9a-f]+$`))
    expect(readFileSync(join(path, 'quarantine', moved!)).equals(bytes)).toBe(true)
    expect(JSON.parse(readFileSync(join(path, 'quarantine', note!), 'utf8'))).toMatchObject({
      original: join(path, 'packs', foreign!),
      reason: 'other-store',
      details: { storeId: headOf(other).storeId, expected: headOf(path).storeId },
    })
    expect(store.warnings).toMatchObject([{ code: 'QUARANTINED', details: { reason: 'other-store' } }])
  })
})

describe('garbage in packs/', () => {
  test('that is named like a pack goes to quarantine; what is not is left alone', async () => {
    const path = await stored()
    const packs = join(path, 'packs')
    writeFileSync(join(packs, 'empty.pack'), '')
    writeFileSync(join(packs, 'short.pack'), noise(63, 1))
    writeFileSync(join(packs, `${'0'.repeat(64)}.pack`), noise(5_000, 2))
    mkdirSync(join(packs, 'directory.pack'))
    writeFileSync(join(packs, 'directory.pack', 'inside'), 'kept')
    symlinkSync(join(path, 'nowhere'), join(packs, 'dangling.pack'))
    writeFileSync(join(path, 'precious'), 'not ours')
    symlinkSync(join(path, 'precious'), join(packs, 'link.pack'))
    writeFileSync(join(packs, 'notes.txt'), 'mine')
    await using store = storeAt(path, { keepLast: 1 })
    await store.persist(generation(2))
    expect(await loadContents(path)).toEqual(contentsOfGeneration(2, 2))
    expect(listing(path, 'packs').filter((name) => !/^[0-9a-f]{64}\.pack$/.test(name))).toEqual(['notes.txt'])
    const moved = listing(path, 'quarantine').filter((name) => !name.endsWith('.json'))
    expect(moved).toHaveLength(6)
    expect(moved.every((name) => name.includes('.not-a-pack.'))).toBe(true)
    expect(readFileSync(join(path, 'precious'), 'utf8')).toBe('not ours')
    expect(store.warnings.map(({ code }) => code)).toEqual(Array(6).fill('QUARANTINED'))
  })

  test.runIf(process.platform === 'linux')('that is a pipe does not hold up a writer for ever', async () => {
    const path = await stored()
    execFileSync('mkfifo', [join(path, 'packs', 'pipe.pack')])
    await storeAt(path, { keepLast: 1 }).persist(generation(2))
    expect(await loadContents(path)).toEqual(contentsOfGeneration(2, 2))
    expectTidy(path)
  })
})

test.each(['packs', 'tmp'])(
  '%s that is a link to somewhere else is refused by a writer, and nothing happens there',
  async (name) => {
    const path = await stored()
    const elsewhere = join(quickScratch(), 'elsewhere')
    renameSync(join(path, name), elsewhere)
    symlinkSync(elsewhere, join(path, name))
    writeFileSync(join(elsewhere, `${'1'.repeat(24)}.holdfast-tmp`), 'somebody else')
    const before = filesOf(elsewhere)
    await using store = storeAt(path, { keepLast: 1 })
    await expect(store.persist(generation(2))).rejects.toMatchObject({
      code: 'STORE_DAMAGED',
      details: { path: join(path, name) },
      message: expect.stringContaining('must be a real directory'),
    })
    expect(filesOf(elsewhere)).toEqual(before)
  },
)

test('content that goes back and forth while its packs are retired and deleted is always there', async () => {
  const path = join(quickScratch(), 'store')
  await using store = storeAt(path, { keepLast: 1 })
  const names = new Set<string>()
  for (let n = 1; n <= 40; n++) {
    // A B A B C A …
    const seed = [1, 2, 1, 2, 3][n % 5]!
    const { sequence, manifest } = await store.persist(generation(seed))
    const head = headOf(path)
    expect(await loadContents(path)).toEqual(contentsOfGeneration(sequence, seed))
    expect(head.snapshots[0]).toMatchObject({ manifest })
    // A name that was retired never comes back: another process may be about to delete it.
    for (const { name } of head.packs) names.add(name)
    const retired = new Set(head.retired.map(({ name }) => name))
    expect(head.packs.filter(({ name }) => retired.has(name))).toEqual([])
    expectTidy(path)
  }
  expect(names.size).toBeGreaterThan(25)
  expect(listing(path, 'packs').length).toBeLessThan(4)
})

test('content that comes back while its pack is retired and not yet deleted is written again', async () => {
  const path = await stored(2)
  const [retired] = headOf(path).retired
  expect(listing(path, 'packs')).toContain(`${retired!.name}.pack`)
  const { bytes } = await storeAt(path, { keepLast: 1 }).persist(generation(1))
  expect(bytes.reused).toBe(0)
  expect(headOf(path).packs.map(({ name }) => name)).not.toContain(retired!.name)
  expect(await loadContents(path)).toEqual(contentsOfGeneration(3, 1))
})

test('an open snapshot outlives its packs', async () => {
  const path = await stored(1)
  await using store = storeAt(path, { keepLast: 1 })
  await using snapshot = (await store.load())!
  const before = new Set(readdirSync(join(path, 'packs')))
  for (const seed of [2, 3, 4]) await store.persist(generation(seed))
  expect(listing(path, 'packs').filter((name) => before.has(name))).toEqual([])
  expect(await contentsOf(snapshot)).toEqual(contentsOfGeneration(1, 1))
})
