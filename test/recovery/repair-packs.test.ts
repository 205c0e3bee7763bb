import { describe, expect, test } from 'vitest'
import { fixed } from '../../src/format/chunking.ts'
import { createDisk } from '../faulty-disk/disk.ts'
import { type DirectoryImage, keyOf } from '../faulty-disk/image.ts'
import { noise } from '../support/bytes.ts'
import { sample } from '../support/effort.ts'
import {
  actionsOf,
  badSectors,
  blocksOf,
  build,
  CHUNK,
  chunkOf,
  fileOf,
  filesOf,
  flipped,
  headOf,
  historyOf,
  labelOf,
  nameOf,
  open,
  packsOf,
  persisted,
  persistOf,
  placeOf,
  repaired,
  rotOnDisk,
  rotten,
  systemError,
  visit,
  withFiles,
  withRottenChunk,
} from '../support/lab.ts'
import { failure, rejects } from '../support/rejects.ts'

const MiB = 1024 * 1024

/** The first two share all of `index` but two chunks. */
const three = await build(async (store) => {
  await persisted('a1', 'a2', 'b1')(store)
  await store.tag('first', { at: 1 })
})
const packOf = Object.fromEntries(
  ['a1', 'a2', 'b1'].map((label) => [label, placeOf(three, chunkOf(label, Number(label[1]))).path]),
)
const names = Object.fromEntries(Object.entries(packOf).map(([label, path]) => [nameOf(path), label]))
const before = ['quarantine-file HEAD.json before-repair', 'quarantine-file HEAD.prev.json before-repair']

function changePack(label: string, change: (bytes: Uint8Array) => Uint8Array | null): DirectoryImage {
  return withFiles(three, { [packOf[label]!]: change(fileOf(three, packOf[label]!)) })
}

describe('a damaged pack without another copy', () => {
  test('a chunk that one snapshot needs: that one goes, the good blocks of the pack are rescued', async () => {
    const { history, report, image } = await repaired(withRottenChunk(three, chunkOf('a1', 1)))
    expect(history).toEqual(['3 b1 current', '2 a2'])
    expect(actionsOf(report, names)).toEqual([
      'rescue-blocks a1',
      'renew-records',
      ...before,
      'quarantine-pack a1 damaged',
      'drop-snapshot 1',
    ])
    expect(headOf(image)).toMatchObject({ current: 3, sequence: 3, damaged: [] })
    const needed = ['b1', 'a2'].map((label) => nameOf(packOf[label]!))
    expect(headOf(image).packs.map(({ name }) => name)).toEqual(expect.arrayContaining(needed))
    expect(headOf(image).packs).toHaveLength(3)
  })

  test('a repair that may not drop a snapshot is refused, and changes nothing', async () => {
    const image = withRottenChunk(three, chunkOf('a1', 1))
    const { image: after } = await visit(image, async (store) => {
      const error = await rejects(store.repair({ mayDrop: false }), 'SNAPSHOT_DAMAGED')
      expect(error.details.sequences).toEqual([1])
      expect(actionsOf(await store.repair({ mayDrop: false, dryRun: true }), names)).toContain('drop-snapshot 1')
      await expect(store.repair({ mayDrop: 'no' as never })).rejects.toThrow(TypeError)
    })
    for (const [path, bytes] of filesOf(image)) expect(filesOf(after).get(path), path).toEqual(bytes)
    // One that drops nothing is done.
    const { report } = await repaired(withFiles(three, { 'HEAD.json': null }), { mayDrop: false })
    expect(report.snapshots).toEqual([3, 2, 1])
  })

  test('a chunk that two snapshots share: both go, with the pack that only they needed', async () => {
    const { history, report } = await repaired(withRottenChunk(three, chunkOf('a1', 0)))
    expect(history).toEqual(['3 b1 current'])
    expect(actionsOf(report, names).slice(2).sort()).toEqual([
      'drop-snapshot 1',
      'drop-snapshot 2',
      'quarantine-pack a1 damaged',
      'quarantine-pack a2 unneeded',
    ])
  })

  test('the current snapshot: the newest that is whole takes its place, and the plan says so', async () => {
    const { history, report } = await repaired(withRottenChunk(three, chunkOf('b1', 1)))
    expect(history).toEqual(['2 a2 current', '1 a1 first'])
    expect(report.actions.at(-1)).toEqual({
      action: 'set-current',
      from: 3,
      to: 2,
      why: 'it is the newest that is whole',
    })
  })

  test.each<[string, (bytes: Uint8Array) => Uint8Array | null]>([
    ['its header has a flipped bit', (bytes) => flipped(bytes, 20)],
    ['its header is gone', (bytes) => bytes.map((byte, i) => (i < 64 ? 0 : byte))],
    ['its revision has a flipped bit', (bytes) => flipped(bytes, 37)],
    ['its footer has a flipped bit', (bytes) => flipped(bytes, -50)],
    ['its footer is gone', (bytes) => bytes.map((byte, i) => (i >= bytes.length - 64 ? 0 : byte))],
    ['its footer is cut off', (bytes) => bytes.slice(0, -64)],
    ['its footer is cut short', (bytes) => bytes.slice(0, -1)],
    ['its fan-out has a flipped bit', (bytes) => flipped(bytes, bytes.length - 64 - 9 * 56 - 500)],
    ['something follows it', (bytes) => Buffer.concat([bytes, noise(100, 5)])],
  ])('when %s, nothing is lost: every block is rescued', async (_name, damage) => {
    expect(blocksOf(three, packOf.a1!)).toHaveLength(9)
    const { history, report } = await repaired(changePack('a1', damage))
    expect(history).toEqual(['3 b1 current', '2 a2', '1 a1 first'])
    expect(actionsOf(report, names)).toEqual([
      'rescue-blocks a1',
      'renew-records',
      ...before,
      'quarantine-pack a1 damaged',
    ])
  })

  test('an entry of its index: only what needs that block goes', async () => {
    const bytes = fileOf(three, packOf.a1!)
    const { digest } = placeOf(three, chunkOf('a1', 1))
    const entries = bytes.length - 64 - 9 * 56
    const entry = blocksOf(three, packOf.a1!).findIndex((block) => block.digest === digest)
    for (const at of [0, 33, 37, 41, 44, 45]) {
      const { history } = await repaired(rotten(three, packOf.a1!, entries + entry * 56 + at))
      expect(history, `byte ${at} of the entry`).toEqual(['3 b1 current', '2 a2'])
    }
    // What it is, and a byte that must be zero, say nothing about the block.
    for (const at of [46, 47, 50]) {
      const { history } = await repaired(rotten(three, packOf.a1!, entries + entry * 56 + at))
      expect(history, `byte ${at} of the entry`).toEqual(['3 b1 current', '2 a2', '1 a1 first'])
    }
  })

  test('cut short within its index: what is listed before the cut is rescued', async () => {
    const path = packOf.a1!
    const blocks = blocksOf(three, path)
    const needed = ['a2', 'b1'].flatMap((label) => [0, 1, 2, 3].map((i) => placeOf(three, chunkOf(label, i)).digest))
    // The last entries in the order of digests.
    const cut = [...blocks.keys()].reverse().findIndex((i) => needed.includes(blocks[i]!.digest))
    const { history } = await repaired(changePack('a1', (bytes) => bytes.slice(0, bytes.length - 64 - cut * 56)))
    expect(history.slice(0, 2)).toEqual(['3 b1 current', '2 a2'])
    const less = await repaired(changePack('a1', (bytes) => bytes.slice(0, bytes.length - 64 - (cut + 1) * 56)))
    expect(less.history).toEqual(['3 b1 current'])
  })

  test('cut off before its index, emptied, or missing: what is left needs nothing of it', async () => {
    for (const damage of [(bytes: Uint8Array) => bytes.slice(0, 2000), () => new Uint8Array(0)]) {
      expect((await repaired(changePack('a1', damage))).history).toEqual(['3 b1 current'])
    }
    const { history, report } = await repaired(changePack('a1', () => null))
    expect(history).toEqual(['3 b1 current'])
    expect(actionsOf(report, names)).toEqual([
      ...before,
      'quarantine-pack a2 unneeded',
      'forget-pack a1',
      'drop-snapshot 2',
      'drop-snapshot 1',
    ])
  })

  test('a commit record: nothing is dropped, and the record is written anew', async () => {
    const record = blocksOf(three, packOf.a2!).find(({ kind }) => kind === 4)!
    const { history, image } = await repaired(rotten(three, packOf.a2!, record.offset + 5))
    expect(history).toEqual(['3 b1 current', '2 a2', '1 a1 first'])
    const lost = withFiles(image, { 'HEAD.json': null, 'HEAD.prev.json': null })
    expect((await repaired(lost)).history).toEqual(['3 b1 current', '2 a2', '1 a1'])
  })

  test('wherever its bit flips, what could be loaded before can be loaded after', async () => {
    for (const label of ['a1', 'a2']) {
      const path = packOf[label]!
      const places = Array.from({ length: Math.ceil((fileOf(three, path).length - 3) / 307) }, (_, i) => 3 + 307 * i)
      for (const at of sample('flipped bits', places, places.length / 3)) {
        const damaged = rotten(three, path, at)
        const { result } = await visit(damaged, (store) => store.verify())
        const whole = result.snapshots.filter(({ intact }) => intact).map(({ sequence }) => sequence)
        const { report } = await repaired(damaged)
        expect(report.snapshots).toEqual(expect.arrayContaining(whole))
      }
    }
  })

  test('all of them: no snapshot is left, and the store stays one that had some', async () => {
    const damaged = packsOf(three).reduce((image, path) => {
      return withFiles(image, { [path]: fileOf(image, path).map((byte, i) => (i >= 64 ? byte ^ 0x55 : byte)) })
    }, three)
    const { history, image, report } = await repaired(damaged)
    expect(history).toEqual([])
    expect(report.actions.at(-1)).toMatchObject({ action: 'set-current', from: 3, to: null })
    const { result } = await visit(image, async (store) => {
      await rejects(store.load(), 'SNAPSHOT_DAMAGED')
      await rejects(
        store.restore(() => 1, { fallback: true }),
        'SNAPSHOT_DAMAGED',
      )
      await rejects(store.load({ at: 1 }), 'SNAPSHOT_DAMAGED')
      expect(await store.snapshots()).toEqual([])
      await store.persist(persistOf('a3'))
      return await historyOf(store)
    })
    expect(result).toEqual(['4 a3 current'])
  })
})

describe('what a rollback stepped over', () => {
  const stepped = build(async (store) => {
    await persisted('a1', 'b1', 'c1')(store)
    await store.rollback(1)
  })

  test('keeps its mark', async () => {
    const { history } = await repaired(withRottenChunk(await stepped, chunkOf('b1', 1)))
    expect(history).toEqual(['4 a1 current', '3 c1 abandoned', '1 a1'])
  })

  test('becomes current only when nothing else is whole, and the plan warns of it', async () => {
    const { history, report } = await repaired(withRottenChunk(await stepped, chunkOf('a1', 1)))
    expect(history).toEqual(['3 c1 current abandoned', '2 b1 abandoned'])
    expect(report.actions.at(-1)).toMatchObject({
      action: 'set-current',
      to: 3,
      why: expect.stringMatching(/rollback/),
    })
  })
})

describe('a damaged pack of which there are other copies', () => {
  async function healed(): Promise<DirectoryImage> {
    const damaged = withRottenChunk(three, chunkOf('a1', 1))
    const { image } = await visit(damaged, async (store) => {
      await store.verify()
      await store.persist(persistOf('a1'))
    })
    return image
  }

  test('in packs that HEAD names: no snapshot goes', async () => {
    const image = await healed()
    const { history, report } = await repaired(image)
    expect(history).toEqual(['4 a1 current', '3 b1', '2 a2', '1 a1 first'])
    expect(actionsOf(report, names)).toEqual([
      'rescue-blocks a1',
      'renew-records',
      ...before,
      'quarantine-pack a1 damaged',
    ])
  })

  test('in a pack that HEAD does not name: that one is adopted', async () => {
    const healing = await healed()
    const good = packsOf(healing).find((path) => !packsOf(three).includes(path))!
    const image = withFiles(withRottenChunk(three, chunkOf('a1', 1)), { [good]: fileOf(healing, good) })
    const { history, report, image: after } = await repaired(image)
    expect(history).toEqual(['3 b1 current', '2 a2', '1 a1 first'])
    expect(actionsOf(report, { ...names, [nameOf(good)]: 'orphan' })).toContain('adopt-pack orphan')
    expect(headOf(after).packs.map(({ name }) => name)).toContain(nameOf(good))
  })

  test('in a pack that awaits deletion: they are copied, since its name never comes back', async () => {
    const labels = ['a1', 'b1', 'c1', 'd1', 'e1', 'f1', 'g1', 'h1', 'i1']
    const image = await build(persisted(...labels), { keepLast: 20 })
    const { retired, packs } = headOf(image)
    expect(retired.length).toBeGreaterThan(0)
    const merged = packs.toSorted((a, b) => b.bytes - a.bytes)[0]!
    // The copy that counts is the damaged one; the retired packs are as they were.
    const path = `packs/${merged.name}.pack`
    const { digest } = placeOf(image, chunkOf('a1', 1))
    const rot = rotten(image, path, blocksOf(image, path).find((block) => block.digest === digest)!.offset)
    const { history, report, image: after } = await repaired(rot)
    expect(history).toHaveLength(9)
    expect(report.actions.filter(({ action }) => action === 'rescue-blocks').length).toBeGreaterThan(1)
    expect(headOf(after).retired.map(({ name }) => name)).toEqual(retired.map(({ name }) => name))
  })
})

test('blocks are rescued into several packs when they are more than one may hold', async () => {
  const big = noise(10 * MiB, 3)
  const blobs = (label: string) => ({
    blobs: {
      big: { source: big, chunking: fixed(65_536) },
      index: { source: chunkOf(label, 0), chunking: fixed(CHUNK) },
    },
  })
  const image = await build(async (store) => {
    await store.persist(blobs('a1'))
    await store.persist(blobs('b1'))
  })
  expect(packsOf(image)).toHaveLength(2)
  const damaged = withRottenChunk(image, chunkOf('a1', 0))
  const { result, image: after } = await visit(damaged, (store) => store.repair(), { packBytesMax: MiB })
  expect(result).toMatchObject({ applied: true, snapshots: [2] })
  const { packs, snapshots } = headOf(after)
  expect(packs.length).toBeGreaterThanOrEqual(4)
  expect(snapshots[0]!.packs).toHaveLength(packs.length)
  const check = async (store: Parameters<typeof historyOf>[0]) => {
    await using snapshot = await store.load()
    expect(Buffer.compare(await snapshot!.blob('big').bytes(), big)).toBe(0)
    return (await store.verify()).ok
  }
  expect((await visit(after, check)).result).toBe(true)
  // Their commit record is as good as any.
  const lost = withFiles(after, { 'HEAD.json': null, 'HEAD.prev.json': null })
  const rebuilt = await visit(lost, (store) => store.repair())
  expect(rebuilt.result.snapshots).toEqual([2])
  expect((await visit(rebuilt.image, check)).result).toBe(true)
})

test('a snapshot that lies in several packs is kept while all of them are whole', async () => {
  const image = await build(
    async (store) => {
      await store.persist({ blobs: { index: { source: noise(10 * MiB, 8), chunking: fixed(65_536) } } })
      await store.persist(persistOf('a1'))
    },
    { packBytesMax: MiB },
  )
  const first = headOf(image).snapshots.find(({ sequence }) => sequence === 1)!
  expect(first.packs.length).toBeGreaterThanOrEqual(3)
  for (const id of first.packs) {
    const { name } = headOf(image).packs.find((pack) => pack.id === id)!
    const path = `packs/${name}.pack`
    const chunk = blocksOf(image, path).find(({ kind }) => kind === 0)
    if (chunk === undefined) continue
    const { result, image: after } = await visit(rotten(image, path, chunk.offset), (store) => store.repair())
    expect(result.snapshots).toEqual([2])
    expect((await visit(after, (store) => labelOf(store))).result).toBe('a1')
    // Its other packs had no other use; they are evidence all the same.
    const aside = [...filesOf(after).keys()].filter((file) => /\.pack\.(damaged|unneeded)\.[^/]*[0-9a-f]$/.test(file))
    expect(aside).toHaveLength(first.packs.length)
  }
})

describe('packs that HEAD does not name', () => {
  test('one that is damaged so that it seems to be of a later HEAD keeps nobody from writing', async () => {
    const orphan = await visit(three, persisted('c1'))
    const path = packsOf(orphan.image).find((each) => !packsOf(three).includes(each))!
    const image = withFiles(three, { [path]: flipped(fileOf(orphan.image, path), 35) })
    await rejects(
      visit(image, (store) => store.persist(persistOf('c2'))),
      'STORE_ROLLED_BACK',
    )
    const { report, history } = await repaired(image)
    expect(actionsOf(report, { [nameOf(path)]: 'orphan' })).toContain('quarantine-pack orphan damaged')
    expect(history).toEqual(['3 b1 current', '2 a2', '1 a1 first'])
  })

  test('one whose header is damaged is found by the commit records that name it', async () => {
    const damaged = changePack('a1', (bytes) => bytes.map((byte, i) => (i < 64 ? 0 : byte)))
    const lost = withFiles(damaged, { 'HEAD.json': null, 'HEAD.prev.json': null })
    // Its own record counts as well, once somebody says that the pack is ours.
    expect((await repaired(lost)).history).toEqual(['3 b1 current', '2 a2', '1 a1'])
  })

  test('strangers are left for the next write, which moves them aside', async () => {
    const strangers = {
      [`packs/${'0'.repeat(64)}.pack`]: noise(500, 1),
      'packs/backup.pack': noise(30, 1),
    }
    const image = withFiles(withRottenChunk(three, chunkOf('a1', 1)), strangers)
    const { result, image: after } = await visit(image, (store) => store.repair())
    expect(result.snapshots).toEqual([3, 2])
    for (const path of Object.keys(strangers)) expect(filesOf(after).has(path)).toBe(true)
    const { image: later } = await visit(after, (store) => store.persist(persistOf('c1')))
    const aside = [...filesOf(later).keys()].filter((path) => path.includes('not-a-pack') && !path.endsWith('.json'))
    expect(aside).toHaveLength(2)
  })
})

describe('the order in which evidence is kept', () => {
  test('a pack is in quarantine before HEAD stops naming it, and a copied block is durable and named before that', async () => {
    const disk = createDisk(withRottenChunk(three, chunkOf('a1', 1)))
    const steps: string[] = []
    disk.onChange = ({ name, path }) => {
      if (name !== 'rename') return
      const [from, to] = path.split(' ')
      if (to!.endsWith('/HEAD.json')) steps.push('HEAD')
      else if (to!.includes('/packs/')) steps.push('new pack')
      else if (from!.includes('/packs/')) steps.push('quarantine')
    }
    await open(disk).repair()
    expect(steps).toEqual(['new pack', 'HEAD', 'quarantine', 'HEAD'])
  })

  test('what a repair took out of HEAD is in the copy of it', async () => {
    const { image } = await repaired(withRottenChunk(three, chunkOf('a1', 1)))
    const copy = [...filesOf(image)].find(([path]) => /quarantine\/HEAD\.json\.before-repair\..*[0-9a-f]$/.test(path))
    expect(copy![1]).toEqual(fileOf(three, 'HEAD.json'))
    const note = fileOf(image, `${copy![0]}.json`)
    expect(JSON.parse(Buffer.from(note).toString())).toMatchObject({
      original: '/srv/store/HEAD.json',
      reason: 'before-repair',
    })
  })

  test('a repair can be taken back: what is in quarantine is put where it was', async () => {
    const damaged = withRottenChunk(three, chunkOf('a1', 0))
    const { report, image } = await repaired(damaged)
    const back = Object.entries(report.quarantined).map(([name, to]) => {
      const path = name.endsWith('.json') ? name : `packs/${name}.pack`
      return [path, fileOf(image, to.slice('/srv/store/'.length))] as const
    })
    const undone = withFiles(image, Object.fromEntries(back))
    expect((await visit(undone, historyOf)).result).toEqual((await visit(damaged, historyOf)).result)
    const { image: later } = await visit(undone, (store) => store.persist({ ...persistOf('c1'), keepLast: 9 }))
    expect((await visit(later, historyOf)).result).toHaveLength(4)
  })

  test('the next writes delete nothing of what was moved aside', async () => {
    const { image } = await repaired(withRottenChunk(three, chunkOf('a1', 0)))
    const aside = [...filesOf(image)].filter(([path]) => path.startsWith('quarantine/'))
    const { image: later } = await visit(image, persisted('c1', 'c2', 'c3', 'c4', 'c5'))
    for (const [path, bytes] of aside) expect(fileOf(later, path)).toEqual(bytes)
  })
})

describe('a disk that does not give what is on it', () => {
  const { path, offset } = placeOf(three, chunkOf('a1', 1))
  const through = badSectors((file) => (file.endsWith(path) ? [offset, offset + 10] : null))

  test('stops the repair: what cannot be read today may be read tomorrow', async () => {
    for (const dryRun of [true, false]) {
      const disk = createDisk(three)
      const error = await rejects(open(disk, { through }).repair({ dryRun }), 'IO_FAILED')
      expect(error.message).toMatch(/unreadable: 'lost'/)
      expect(keyOf(disk.image())).toBe(keyOf(three))
    }
  })

  test('unless told that it is lost', async () => {
    const { result, image } = await visit(three, (store) => store.repair({ unreadable: 'lost' }), { through })
    expect(result).toMatchObject({ applied: true, snapshots: [3, 2] })
    expect((await visit(image, historyOf)).result).toEqual(['3 b1 current', '2 a2'])
    // The disk was right all the while: the pack is in quarantine as it was.
    const aside = [...filesOf(image)].find(([file]) => /\.pack\.damaged\.[^/]*[0-9a-f]$/.test(file))
    expect(aside![1]).toEqual(fileOf(three, path))
  })

  test.each(['EACCES', 'EMFILE'])('and a %s never counts as lost', async (code) => {
    const disk = createDisk(three)
    const denied = open(disk, {
      through: (fs) => ({
        ...fs,
        async open(file, how, mode) {
          if (file.endsWith(path)) throw systemError(code, 'open')
          return await fs.open(file, how, mode)
        },
      }),
    })
    await rejects(denied.repair({ unreadable: 'lost' }), 'IO_FAILED')
    expect(keyOf(disk.image())).toBe(keyOf(three))
  })

  test.each(['HEAD.json', 'HEAD.prev.json', 'STORE.json'])('also when it is %s', async (file) => {
    const bad = badSectors((opened) => (opened.endsWith(`/${file}`) ? [0, 1] : null))
    await rejects(
      visit(three, (store) => store.repair(), { through: bad }),
      'IO_FAILED',
    )
  })
})

describe('others', () => {
  test('a writer that is at work keeps a repair out, and is not disturbed by a dry run', async () => {
    const disk = createDisk(withRottenChunk(three, chunkOf('a1', 1)))
    const repairer = open(disk, { lockWaitMs: 20 })
    async function* whileWriting() {
      yield chunkOf('c1', 0)
      await rejects(repairer.repair(), 'STORE_LOCKED')
      expect((await repairer.repair({ dryRun: true })).snapshots).toEqual([3, 2])
      yield chunkOf('c1', 1)
    }
    await open(disk).persist({ blobs: { index: whileWriting() } })
    expect(await repairer.repair()).toMatchObject({ applied: true, snapshots: [4, 3, 2] })
  })

  test('a read-only store is planned for, and not touched', async () => {
    const damaged = withRottenChunk(three, chunkOf('a1', 1))
    const { result } = await visit(damaged, (store) => store.repair({ dryRun: true }), { readOnly: true })
    expect(result.snapshots).toEqual([3, 2])
    const disk = createDisk(damaged)
    await rejects(open(disk, { readOnly: true }).repair(), 'READ_ONLY')
    expect(keyOf(disk.image())).toBe(keyOf(damaged))
  })

  test('options that there are not are refused', async () => {
    expect(await failure(visit(three, (store) => store.repair({ rolledBack: 'x' as 'newer' })))).toBeInstanceOf(
      TypeError,
    )
    expect(await failure(visit(three, (store) => store.repair({ unreadable: 'x' as 'lost' })))).toBeInstanceOf(
      TypeError,
    )
  })

  test('an abort before anything is changed changes nothing', async () => {
    const damaged = withRottenChunk(three, chunkOf('a1', 1))
    const reason = new Error('enough')
    const disk = createDisk(damaged)
    const process = disk.start()
    const aborter = new AbortController()
    const store = open(disk, { through: () => process.fs })
    const seen: number[] = []
    const repairing = store.repair({
      signal: aborter.signal,
      onProgress(progress) {
        if (progress.phase !== 'verifying') return
        seen.push(progress.bytes)
        aborter.abort(reason)
      },
    })
    expect(await failure(repairing)).toBe(reason)
    expect(seen.length).toBeGreaterThan(0)
    expect(process.openFiles()).toEqual([])
    expect(keyOf(disk.image())).toBe(keyOf(damaged))
  })

  test('a plan made while others write is made again', async () => {
    const disk = createDisk(await build(persisted('a1'), { keepLast: 1 }))
    const writer = open(disk, { keepLast: 1 })
    let writes = 0
    disk.gate = async ({ process, name, path }) => {
      if (process !== 'planner' || name !== 'open' || !path.includes('/packs/') || writes > 0) return
      writes += 1
      for (const label of ['b1', 'c1', 'd1']) await writer.persist(persistOf(label))
    }
    const report = await open(disk, { process: 'planner' }).repair({ dryRun: true })
    expect(report).toMatchObject({ ok: true, actions: [], snapshots: [4] })
    expect(writes).toBe(1)
  })

  test('a plan is not made while others write without end, and a repair then waits for the lock', async () => {
    const disk = createDisk(await build(persisted('a1'), { keepLast: 1 }))
    const writer = open(disk, { keepLast: 1 })
    let writes = 0
    let most = Number.POSITIVE_INFINITY
    disk.gate = async ({ process, name, path }) => {
      if (process !== 'planner' || name !== 'open' || !path.includes('/packs/') || writes >= most) return
      await writer.persist(persistOf(`b${++writes}`))
    }
    await rejects(open(disk, { process: 'planner' }).repair({ dryRun: true }), 'HEAD_CONFLICT')
    most = writes + 20
    expect(await open(disk, { process: 'planner' }).repair()).toMatchObject({ ok: true, applied: false })
  })

  test('what this process has in memory is not believed', async () => {
    const disk = createDisk(three)
    const store = open(disk)
    await using snapshot = await store.load({ at: 1 })
    await snapshot!.blob('index').bytes()
    await rotOnDisk(disk, packOf.a1!, fileOf(three, packOf.a1!).length - 40)
    expect(actionsOf(await store.repair(), names)).toContain('quarantine-pack a1 damaged')
    expect(await labelOf(store, 1)).toBe('a1')
  })

  test('blocks that were misread once are counted on again after a repair that found them good', async () => {
    const { path, offset } = placeOf(three, chunkOf('b1', 0))
    let misread = true
    const disk = createDisk(withRottenChunk(three, chunkOf('a1', 1)))
    const store = open(disk, {
      through: (fs) => ({
        ...fs,
        async open(file, how, mode) {
          const opened = await fs.open(file, how, mode)
          if (!file.endsWith(path)) return opened
          return {
            ...opened,
            async read(target, position) {
              const got = await opened.read(target, position)
              if (misread && position <= offset && position + got > offset) target[offset - position]! ^= 1
              return got
            },
          }
        },
      }),
    })
    expect((await store.verify()).problems.map(({ pack }) => pack)).toContain(nameOf(path))
    misread = false
    await store.repair()
    expect(await store.persist(persistOf('b1'))).toMatchObject({ unchanged: true })
  })

  test('bad blocks that HEAD records are forgotten with their pack', async () => {
    const { image } = await visit(withRottenChunk(three, chunkOf('a1', 1)), async (store) => {
      await store.verify()
      await store.persist(persistOf('c1'))
    })
    expect(headOf(image).damaged).toHaveLength(1)
    expect(headOf((await repaired(image)).image).damaged).toEqual([])
  })
})
