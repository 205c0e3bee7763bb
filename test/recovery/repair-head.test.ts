import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { createDisk } from '../faulty-disk/disk.ts'
import { type DirectoryImage, keyOf } from '../faulty-disk/image.ts'
import {
  actionsOf,
  build,
  expectSound,
  fileOf,
  filesOf,
  flipped,
  headBytes,
  headOf,
  labelOf,
  nameOf,
  open,
  packsOf,
  persisted,
  persistOf,
  repaired,
  twoWholeCopies,
  visit,
  withFiles,
} from '../support/lab.ts'
import { rejects } from '../support/rejects.ts'

/** Three snapshots; the tag was there one write ago. */
const three = await build(async (store) => {
  await persisted('a1', 'a2')(store)
  await store.tag('good', { at: 1 })
  await store.persist(persistOf('b1'))
})
const other = await build(persisted('b2', 'b3'))
const nothing = { 'HEAD.json': null, 'HEAD.prev.json': null, 'STORE.json': null }

describe('a store in which nothing is wrong is left exactly as it is', () => {
  const stores: [string, () => Promise<DirectoryImage>][] = [
    ['with snapshots and tags', async () => three],
    [
      'with a rollback',
      () =>
        build(async (store) => {
          await persisted('a1', 'a2', 'b1')(store)
          await store.rollback(1)
        }),
    ],
    [
      'with retired packs',
      async () => {
        const image = await build(persisted('a1', 'b1'), { keepLast: 1 })
        expect(headOf(image).retired.length).toBeGreaterThan(0)
        expect(packsOf(image).length).toBeGreaterThan(headOf(image).packs.length)
        return image
      },
    ],
    [
      'with folded packs',
      () => build(persisted('a1', 'b1', 'c1', 'd1', 'e1', 'f1', 'g1', 'h1', 'a2', 'b2'), { keepLast: 20 }),
    ],
    [
      'with the same blocks in several packs',
      () =>
        build(async (store) => {
          await store.persist(persistOf('a1'))
          await store.rollback(1)
          await store.persist(persistOf('a1'))
        }),
    ],
    [
      'with an orphan of a writer that died',
      async () => {
        const before = await build(persisted('a1'))
        const { image } = await visit(before, persisted('b1'))
        const orphan = packsOf(image).find((path) => !packsOf(before).includes(path))!
        return withFiles(before, { [orphan]: fileOf(image, orphan) })
      },
    ],
    ['with every block twice', twoWholeCopies],
    ['without a spare HEAD', async () => withFiles(three, { 'HEAD.prev.json': null })],
  ]
  test.each(stores)('%s', async (_name, make) => {
    const image = await make()
    for (const dryRun of [true, false]) {
      const { result, image: after } = await visit(image, (store) => store.repair({ dryRun }))
      expect(result).toMatchObject({ ok: true, applied: false, actions: [], choice: null, quarantined: {} })
      expect(keyOf(after)).toBe(keyOf(image))
    }
  })

  test('opened read-only', async () => {
    const { result } = await visit(three, (store) => store.repair(), { readOnly: true })
    expect(result.ok).toBe(true)
  })

  test('that was never made, or whose creation was cut short', async () => {
    const disk = createDisk()
    expect(await open(disk).repair()).toMatchObject({ ok: true, snapshots: [] })
    expect(disk.image().entries.size).toBe(0)
    const empty = { ...headOf(three), revision: 0, sequence: 0, current: null, snapshots: [], packs: [], writes: [] }
    const begun = withFiles(createDisk().image(), { 'HEAD.json': headBytes(empty) })
    const { result, image } = await visit(begun, (store) => store.repair())
    expect(result.ok).toBe(true)
    expect(keyOf(image)).toBe(keyOf(begun))
  })
})

describe('a HEAD that is lost', () => {
  const losses: [string, Record<string, Uint8Array | null>][] = [
    ['missing', { 'HEAD.json': null }],
    ['empty', { 'HEAD.json': new Uint8Array(0) }],
    ['cut short', { 'HEAD.json': fileOf(three, 'HEAD.json').slice(0, 300) }],
    ['with a flipped bit', { 'HEAD.json': flipped(fileOf(three, 'HEAD.json'), 200) }],
    ['larger than any', { 'HEAD.json': new Uint8Array(17 * 1024 * 1024) }],
    ['of another store', { 'HEAD.json': fileOf(other, 'HEAD.json') }],
    ['of another program', { 'HEAD.json': Buffer.from('{"name":"x"}') }],
  ]

  test.each(losses)(
    '%s: is rebuilt from its spare and the commit records of what came after it',
    async (_name, loss) => {
      const damaged = withFiles(three, loss)
      const { history, report, image } = await repaired(damaged)
      // The tag was in the spare.
      expect(history).toEqual(['3 b1 current', '2 a2', '1 a1 good'])
      expect(report.actions).toContainEqual({
        action: 'restore-head',
        from: 'HEAD.prev.json',
        why: expect.any(String),
        loses: 'tags and rollbacks made after that HEAD',
      })
      expect(headOf(image)).toMatchObject({ sequence: 1003, current: 3 })
      expect(headOf(image).revision).toBeGreaterThan(1_000_000)
      expect(fileOf(image, 'HEAD.prev.json')).toEqual(fileOf(three, 'HEAD.prev.json'))
    },
  )

  test.each(losses)('%s, and no spare: is rebuilt from commit records alone', async (_name, loss) => {
    const { history, report } = await repaired(withFiles(three, { ...loss, 'HEAD.prev.json': null }))
    expect(history).toEqual(['3 b1 current', '2 a2', '1 a1'])
    const restore = report.actions.find(({ action }) => action === 'restore-head')
    expect(restore).toMatchObject({ from: 'commit records', loses: expect.stringMatching(/^all tags and rollbacks/) })
  })

  test('with a damaged spare: that one goes to quarantine too', async () => {
    const spare = flipped(fileOf(three, 'HEAD.prev.json'), 30)
    const { history, report } = await repaired(withFiles(three, { 'HEAD.json': null, 'HEAD.prev.json': spare }))
    expect(history).toEqual(['3 b1 current', '2 a2', '1 a1'])
    expect(actionsOf(report)).toContain('quarantine-file HEAD.prev.json damaged')
  })

  test('with STORE.json lost as well: the packs say which store it is', async () => {
    const { history, image } = await repaired(withFiles(three, nothing))
    expect(history).toEqual(['3 b1 current', '2 a2', '1 a1'])
    expect(headOf(image).storeId).toBe(headOf(three).storeId)
  })

  test('with its spare several writes old: what was made since is adopted', async () => {
    const old = await build(persisted('a1'))
    const { image } = await visit(old, persisted('a2', 'b1'))
    const { history } = await repaired(
      withFiles(image, { 'HEAD.json': null, 'HEAD.prev.json': fileOf(old, 'HEAD.json') }),
    )
    expect(history).toEqual(['3 b1 current', '2 a2', '1 a1'])
  })

  test('keeps what a rollback stepped over as it was', async () => {
    const image = await build(
      async (store) => {
        await persisted('a1', 'a2', 'b1')(store)
        await store.rollback(1)
        await store.persist(persistOf('b2'))
      },
      { keepLast: 10 },
    )
    const { history } = await repaired(withFiles(image, { 'HEAD.json': null }))
    expect(history).toEqual(['5 b2 current', '4 a1', '3 b1 abandoned', '2 a2 abandoned', '1 a1'])
  })

  test('is rebuilt without a rollback that only it knew of', async () => {
    const image = await build(async (store) => {
      await persisted('a1', 'a2')(store)
      await store.rollback(1)
    })
    const { history } = await repaired(withFiles(image, { 'HEAD.json': null }))
    expect(history).toEqual(['2 a2 current', '1 a1'])
  })

  test('is rebuilt with messages and times', async () => {
    const image = await build((store) => store.persist({ ...persistOf('a1'), message: 'first' }))
    const { image: after } = await repaired(withFiles(image, nothing))
    const [before] = headOf(image).snapshots
    expect(headOf(after).snapshots).toMatchObject([{ message: 'first', time: before!.time, size: before!.size }])
  })

  test('is rebuilt from records that folding moved', async () => {
    const labels = ['a1', 'b1', 'c1', 'd1', 'e1', 'f1', 'g1', 'h1', 'a2', 'b2']
    const image = await build(persisted(...labels), { keepLast: 20 })
    expect(headOf(image).packs.length).toBeLessThan(8)
    const { history } = await repaired(withFiles(image, nothing))
    expect(history).toEqual(labels.map((label, i) => `${i + 1} ${label}${i === 9 ? ' current' : ''}`).reverse())
  })

  test('names no pack that nobody needs: those move to quarantine', async () => {
    const image = await build(persisted('a1', 'b1', 'c1', 'd1'), { keepLast: 2 })
    const [first] = packsOf(image)
    // An incomplete one: the snapshot that it told of cannot be completed.
    const cut = withFiles(image, { ...nothing, [first!]: fileOf(image, first!).slice(0, 500) })
    const { report, history } = await repaired(cut)
    expect(actionsOf(report, { [nameOf(first!)]: 'first' })).toContain('quarantine-pack first damaged')
    expect(history.length).toBeGreaterThanOrEqual(1)
  })

  test('of two snapshots that were given the same sequence, has the one made later', async () => {
    const start = await build(persisted('a1'))
    const dead = await visit(start, persisted('b1'))
    await sleep(5)
    const alive = await visit(start, persisted('c1'))
    const all = Object.fromEntries(packsOf(dead.image).map((path) => [path, fileOf(dead.image, path)]))
    const { history } = await repaired(withFiles(alive.image, { ...all, ...nothing }))
    expect(history).toEqual(['2 c1 current', '1 a1'])
    // Unless that one is not whole.
    const c1 = packsOf(alive.image).find((path) => !packsOf(start).includes(path))!
    const broken = withFiles(alive.image, { ...all, ...nothing, [c1]: flipped(fileOf(alive.image, c1), 70) })
    expect((await repaired(broken)).history).toEqual(['2 b1 current', '1 a1'])
  })

  test('is not rebuilt from nothing', async () => {
    const image = withFiles(three, { 'HEAD.json': Buffer.from('junk'), 'HEAD.prev.json': null, 'STORE.json': null })
    const empty = withFiles(image, Object.fromEntries(packsOf(image).map((path) => [path, null])))
    await rejects(
      visit(empty, (store) => store.repair()),
      'NOT_A_STORE',
    )
  })

  test('and all packs with it: the store stays one that had snapshots', async () => {
    const packs = Object.fromEntries(packsOf(three).map((path) => [path, null]))
    const { history, image } = await repaired(withFiles(three, { ...packs, 'HEAD.json': null }))
    expect(history).toEqual([])
    await rejects(
      visit(image, (store) => store.load()),
      'SNAPSHOT_DAMAGED',
    )
    await rejects(
      visit(image, (store) => store.load({ fallback: true })),
      'SNAPSHOT_DAMAGED',
    )
  })
})

describe('STORE.json', () => {
  test('is made anew whatever else lies in the directory, as long as HEAD is good', async () => {
    const [pack] = packsOf(three)
    const image = withFiles(three, { 'STORE.json': null, [`${pack}.old`]: fileOf(three, pack!) })
    await rejects(
      visit(image, (store) => store.persist({ blobs: {} })),
      'STORE_DAMAGED',
    )
    const { history } = await repaired(image)
    expect(history).toHaveLength(3)
  })

  test.each<[string, Record<string, Uint8Array | null>]>([
    ['HEAD.json is lost and a pack is empty', { 'HEAD.json': null, [packsOf(three)[0]!]: new Uint8Array(0) }],
    [
      'both HEADs are lost beside a foreign file',
      { 'HEAD.json': null, 'HEAD.prev.json': null, notes: Buffer.from('x') },
    ],
  ])('is made anew where %s too, as the dry repair says', async (_, changes) => {
    const image = withFiles(three, { 'STORE.json': null, ...changes })
    const { result: dry } = await visit(image, (store) => store.repair({ dryRun: true }))
    const { report, history } = await repaired(image)
    expect(report.actions).toEqual(dry.actions)
    expect(report.applied).toBe(true)
    expect(history.length).toBe(dry.snapshots.length)
  })

  test.each<[string, Uint8Array | null]>([
    ['missing', null],
    ['with a flipped bit', flipped(fileOf(three, 'STORE.json'), 100)],
    ['of another store', fileOf(other, 'STORE.json')],
    ['of another program', Buffer.from('{"name":"x"}')],
  ])('%s: is written anew, and nothing else is lost', async (_name, bytes) => {
    const { history, image, report } = await repaired(withFiles(three, { 'STORE.json': bytes }))
    expect(history).toEqual(['3 b1 current', '2 a2', '1 a1 good'])
    expect(headOf(image)).toMatchObject({ revision: headOf(three).revision + 1, sequence: 3 })
    expect(report.actions.at(-1)).toMatchObject({ action: 'restore-store-file' })
  })
})

describe('two stores mixed', () => {
  test('a spare HEAD of the other one moves aside', async () => {
    const { history } = await repaired(withFiles(three, { 'HEAD.prev.json': fileOf(other, 'HEAD.prev.json') }))
    expect(history).toEqual(['3 b1 current', '2 a2', '1 a1 good'])
  })

  test('packs of the other one, however many, do not decide whose store it is', async () => {
    const many = await build(persisted('c1', 'd1', 'e1', 'f1', 'g1'), { keepLast: 9 })
    const strangers = Object.fromEntries(packsOf(many).map((path) => [path, fileOf(many, path)]))
    const mixed = withFiles(three, { ...strangers, 'HEAD.json': null })
    const { result, image } = await visit(mixed, (store) => store.repair())
    expect(result.snapshots).toEqual([3, 2, 1])
    expect(headOf(image).storeId).toBe(headOf(three).storeId)
    // The next write moves them aside.
    const { image: after } = await visit(image, (store) => store.persist(persistOf('a3')))
    const aside = [...filesOf(after).keys()].filter((path) => path.includes('other-store') && !path.endsWith('.json'))
    expect(aside).toHaveLength(packsOf(many).length)
  })

  test('both HEADs of the other one do not outvote STORE.json and the packs', async () => {
    const heads = { 'HEAD.json': fileOf(other, 'HEAD.json'), 'HEAD.prev.json': fileOf(other, 'HEAD.prev.json') }
    const { image, history } = await repaired(withFiles(three, heads))
    expect(headOf(image).storeId).toBe(headOf(three).storeId)
    expect(history[0]).toBe('3 b1 current')
  })

  test('decided by the packs when the files disagree', async () => {
    const mixed = withFiles(three, { 'HEAD.json': fileOf(other, 'HEAD.json'), 'HEAD.prev.json': null })
    expect((await repaired(mixed)).history).toEqual(['3 b1 current', '2 a2', '1 a1'])
  })
})

test('a spare HEAD that is damaged is put aside, and there is a new one', async () => {
  const { history, image } = await repaired(withFiles(three, { 'HEAD.prev.json': Buffer.from('junk') }))
  expect(history).toEqual(['3 b1 current', '2 a2', '1 a1 good'])
  expect(headOf(image, 'HEAD.prev.json').revision).toBe(headOf(three).revision)
})

describe('a HEAD that says what is not so is corrected', () => {
  test.each<[string, (head: ReturnType<typeof headOf>) => void]>([
    [
      'the size of a pack',
      ({ packs }) => {
        packs[0]!.bytes += 1
      },
    ],
    [
      'the blocks of a pack',
      ({ packs }) => {
        packs[0]!.blocks += 1
      },
    ],
    [
      'the size of a snapshot',
      ({ snapshots }) => {
        snapshots[0]!.size += 1
      },
    ],
    [
      'which packs a snapshot needs',
      ({ snapshots }) => {
        snapshots[1]!.packs = [snapshots[1]!.pack]
      },
    ],
  ])('%s', async (_name, change) => {
    const head = headOf(three)
    change(head)
    const { report, history } = await repaired(withFiles(three, { 'HEAD.json': headBytes(head) }))
    expect(report.actions.filter(({ action }) => action === 'correct-head')).toHaveLength(1)
    expect(history).toEqual(['3 b1 current', '2 a2', '1 a1 good'])
  })
})

test('a newer version’s HEAD is not touched', async () => {
  const text = Buffer.from(fileOf(three, 'HEAD.json')).toString().replace('"version": 3', '"version": 4')
  const { sealJson } = await import('../../src/format/json-file.ts')
  const fields = JSON.parse(text)
  delete fields.checksum
  const image = withFiles(three, { 'HEAD.json': sealJson(fields) })
  await rejects(
    visit(image, (store) => store.repair()),
    'VERSION_UNSUPPORTED',
  )
  const unknown = withFiles(three, {
    'HEAD.json': sealJson({ ...fields, version: 3, surprise: true }),
    'STORE.json': null,
  })
  await rejects(
    visit(unknown, (store) => store.repair()),
    'VERSION_UNSUPPORTED',
  )
})

test('after a repair the numbers of the lost HEAD are not given out again', async () => {
  // Two snapshots that the spare and the records both do not tell of any more.
  const { image } = await repaired(withFiles(three, { 'HEAD.json': null }))
  const { result } = await visit(image, async (store) => {
    const { sequence } = await store.persist(persistOf('a3'))
    return [sequence, await labelOf(store)]
  })
  expect(result).toEqual([1004, 'a3'])
  await expectSound(image)
})
