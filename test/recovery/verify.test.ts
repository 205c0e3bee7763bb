import { describe, expect, test } from 'vitest'
import { fixed } from '../../src/format/chunking.ts'
import { sealJson } from '../../src/format/json-file.ts'
import type { VerifyReport } from '../../src/recovery/verify.ts'
import type { Store } from '../../src/store.ts'
import { createDisk } from '../faulty-disk/disk.ts'
import { type DirectoryImage, keyOf } from '../faulty-disk/image.ts'
import { noise } from '../support/bytes.ts'
import { sample } from '../support/effort.ts'
import {
  badSectors,
  blocksOf,
  build,
  chunkOf,
  fileOf,
  headBytes,
  headOf,
  labelOf,
  nameOf,
  open,
  packsOf,
  persisted,
  persistOf,
  placeOf,
  rotOnDisk,
  rotten,
  systemError,
  twoWholeCopies,
  visit,
  withFiles,
  withRottenChunk,
} from '../support/lab.ts'
import { failure, rejects } from '../support/rejects.ts'

async function verifyOf(image: DirectoryImage, level: 'quick' | 'full' = 'full'): Promise<VerifyReport> {
  const { result, image: after } = await visit(image, (store) => store.verify({ level }))
  expect(keyOf(after), 'verify wrote to the disk').toBe(keyOf(image))
  return result
}

/** What verify says of each snapshot: `intact`, the damaged blobs, or `lost`. */
function healthIn(report: VerifyReport): Record<number, string> {
  const said = report.snapshots.map(({ sequence, intact, damagedBlobs, manifestLost }) => {
    if (manifestLost) return [sequence, 'lost'] as const
    return [sequence, intact ? 'intact' : damagedBlobs.join()] as const
  })
  return Object.fromEntries(said)
}

/** The same, found out by loading every blob of every snapshot. */
async function healthByLoading(store: Store): Promise<Record<number, string>> {
  const found: Record<number, string> = {}
  for (const { sequence } of await store.snapshots()) {
    const loading = store.load({ at: sequence })
    if (
      (await loading.then(
        () => null,
        (error) => error,
      )) !== null
    ) {
      found[sequence] = 'lost'
      continue
    }
    await using snapshot = (await loading)!
    const damaged: string[] = []
    for (const name of snapshot.names) {
      const read = await snapshot
        .blob(name)
        .bytes()
        .catch(() => null)
      if (read === null) damaged.push(name)
    }
    found[sequence] = damaged.length === 0 ? 'intact' : damaged.join()
  }
  return found
}

const one = await build(persisted('a1'))
const three = await build(persisted('a1', 'a2', 'b1'))

describe('a healthy store', () => {
  test.each(['quick', 'full'] as const)('is ok at level %s', async (level) => {
    const report = await verifyOf(three, level)
    expect(report).toMatchObject({ ok: true, level, revision: 3, problems: [], advice: '' })
    expect(healthIn(report)).toEqual({ 3: 'intact', 2: 'intact', 1: 'intact' })
  })

  test('has every block and every stored byte checked at level full, and none at level quick', async () => {
    const blocks = packsOf(three).flatMap((path) => blocksOf(three, path))
    const bytes = blocks.reduce((sum, block) => sum + block.bytes, 0)
    expect((await verifyOf(three, 'full')).checked).toEqual({ packs: 3, blocks: blocks.length, bytes })
    expect((await verifyOf(three, 'quick')).checked).toEqual({ packs: 0, blocks: 0, bytes: 0 })
  })

  test('may also be one that was never made, or whose creation was cut short', async () => {
    const disk = createDisk()
    expect(await open(disk).verify()).toMatchObject({ ok: true, revision: null, snapshots: [], advice: '' })
    expect(disk.image().entries.size).toBe(0)
    const cutShort = withFiles(await build(persisted('a1'), {}), { 'STORE.json': null })
    const [pack] = packsOf(cutShort)
    const empty = { ...headOf(cutShort), revision: 0, sequence: 0, current: null, snapshots: [], packs: [], writes: [] }
    const begun = withFiles(cutShort, { [pack!]: null, 'HEAD.json': headBytes(empty), 'HEAD.prev.json': null })
    expect(await verifyOf(begun)).toMatchObject({ ok: true, revision: null })
  })

  test('may have every block twice', async () => {
    const image = await twoWholeCopies()
    expect(headOf(image).snapshots.map(({ packs }) => packs.length)).toEqual([1, 1])
    expect(await verifyOf(image)).toMatchObject({ ok: true, problems: [] })
  })

  test('is ok when orphans of a dead writer lie about', async () => {
    const orphan = packsOf(three)[0]!
    const before = await build(persisted('a1'))
    const report = await verifyOf(withFiles(before, { [orphan]: fileOf(three, orphan) }))
    expect(report).toMatchObject({ ok: true, problems: [] })
  })
})

describe('every file of a store that is missing, cut short or foreign is named', () => {
  const cases: [string, (image: DirectoryImage) => DirectoryImage, Partial<VerifyReport['problems'][number]>][] = [
    [
      'HEAD.json is missing',
      (image) => withFiles(image, { 'HEAD.json': null }),
      { code: 'HEAD_MISSING', what: 'HEAD.json' },
    ],
    [
      'HEAD.json is cut short',
      (image) => withFiles(image, { 'HEAD.json': fileOf(image, 'HEAD.json').slice(0, 100) }),
      { code: 'HEAD_DAMAGED', what: 'HEAD.json' },
    ],
    [
      'HEAD.json is empty',
      (image) => withFiles(image, { 'HEAD.json': new Uint8Array(0) }),
      { code: 'HEAD_DAMAGED', what: 'HEAD.json' },
    ],
    [
      'HEAD.json is larger than any',
      (image) => withFiles(image, { 'HEAD.json': new Uint8Array(17 * 1024 * 1024) }),
      { code: 'HEAD_DAMAGED', what: 'HEAD.json' },
    ],
    [
      'STORE.json is missing',
      (image) => withFiles(image, { 'STORE.json': null }),
      { code: 'STORE_DAMAGED', what: 'STORE.json' },
    ],
    [
      'STORE.json is cut short',
      (image) => withFiles(image, { 'STORE.json': fileOf(image, 'STORE.json').slice(0, 50) }),
      { code: 'STORE_DAMAGED', what: 'STORE.json' },
    ],
    [
      'HEAD.prev.json is cut short',
      (image) => withFiles(image, { 'HEAD.prev.json': fileOf(image, 'HEAD.prev.json').slice(0, 50) }),
      { code: 'HEAD_DAMAGED', what: 'HEAD.prev.json' },
    ],
    ['a pack is missing', (image) => withFiles(image, { [packsOf(image)[0]!]: null }), { code: 'PACK_MISSING' }],
    [
      'a pack is empty',
      (image) => withFiles(image, { [packsOf(image)[0]!]: new Uint8Array(0) }),
      { code: 'PACK_DAMAGED' },
    ],
    [
      'a pack is cut short by a byte',
      (image) => withFiles(image, { [packsOf(image)[0]!]: fileOf(image, packsOf(image)[0]!).slice(0, -1) }),
      { code: 'PACK_DAMAGED' },
    ],
    [
      'a pack has a byte too much',
      (image) =>
        withFiles(image, { [packsOf(image)[0]!]: Buffer.concat([fileOf(image, packsOf(image)[0]!), Buffer.of(0)]) }),
      { code: 'PACK_DAMAGED' },
    ],
  ]
  test.each(cases)('%s', async (_name, damage, expected) => {
    for (const level of ['quick', 'full'] as const) {
      const report = await verifyOf(damage(three), level)
      expect(report.ok).toBe(false)
      expect(report.problems[0]).toMatchObject(expected)
      expect(report.advice).not.toBe('')
    }
  })

  test('another store’s HEAD, STORE and spare HEAD are not taken for this one’s', async () => {
    const other = await build(persisted('b1'))
    for (const file of ['HEAD.json', 'STORE.json', 'HEAD.prev.json']) {
      const report = await verifyOf(withFiles(three, { [file]: fileOf(other, file) }))
      expect(report).toMatchObject({
        ok: false,
        problems: [{ code: 'STORE_DAMAGED', what: expect.stringMatching(/^HEAD(\.prev)?\.json$/) }],
      })
      expect(report.problems[0]!.message).toMatch(/store/)
    }
  })

  test('some other program’s JSON in place of HEAD is a problem of the store', async () => {
    for (const content of [Buffer.from('{"name":"x"}'), sealJson({ format: 'x' })]) {
      const report = await verifyOf(withFiles(three, { 'HEAD.json': content }))
      expect(report).toMatchObject({ ok: false, revision: null, problems: [{ what: 'HEAD.json' }] })
    }
  })

  test('what is not a store at all is no damaged store', async () => {
    const image = withFiles(createDisk().image(), { 'STORE.json': Buffer.from('{"name":"x"}') })
    await rejects(
      visit(image, (store) => store.verify()),
      'NOT_A_STORE',
    )
  })
})

test('no flipped bit anywhere in a store goes unnoticed', async () => {
  const image = await build((store) => store.persist({ blobs: { a: 'some text', b: 'some other' } }))
  const [pack] = packsOf(image)
  for (const path of ['STORE.json', 'HEAD.json', 'HEAD.prev.json', pack!]) {
    const missed: number[] = []
    const { length } = fileOf(image, path)
    for (const at of sample('flipped bits', [...Array(length).keys()], length / 5)) {
      const { result } = await visit(rotten(image, path, at), (store) => store.verify())
      if (result.ok || result.problems.length === 0) missed.push(at)
    }
    expect(missed, `bytes of ${path}`).toEqual([])
  }
})

test('level quick sees every flipped bit but those in the bytes of blobs, and nothing is wrong in what it does not read', async () => {
  const image = await build((store) => store.persist({ blobs: { a: 'some text', b: 'some other' } }))
  const [pack] = packsOf(image)
  const chunks = blocksOf(image, pack!).filter(({ kind }) => kind === 0)
  const { length } = fileOf(image, pack!)
  const places = Array.from({ length: Math.ceil(length / 5) }, (_, i) => 5 * i)
  for (const at of sample('flipped bits, level quick', places, places.length / 3)) {
    const { result } = await visit(rotten(image, pack!, at), (store) => store.verify({ level: 'quick' }))
    const isUnread = chunks.some(({ offset, bytes }) => at >= offset && at < offset + bytes)
    expect([at, result.ok]).toEqual([at, isUnread])
  }
})

describe('the affected snapshots and blobs', () => {
  test('a chunk that two snapshots share damages the blob in both, and nothing else', async () => {
    const report = await verifyOf(withRottenChunk(three, chunkOf('a1', 0)))
    expect(healthIn(report)).toEqual({ 3: 'intact', 2: 'index', 1: 'index' })
    const { digest, path } = placeOf(three, chunkOf('a1', 0))
    expect(report.problems.at(-1)).toEqual({
      code: 'PACK_DAMAGED',
      what: `pack ${nameOf(path)}`,
      message: expect.stringMatching(/^1 of the \d+ blocks of pack .* are not what was written$/),
      pack: nameOf(path),
      blocks: [digest],
      blockCount: 1,
      hasGoodCopy: false,
    })
  })

  test('a chunk of one snapshot damages that one only', async () => {
    expect(healthIn(await verifyOf(withRottenChunk(three, chunkOf('a2', 2))))).toEqual({
      3: 'intact',
      2: 'index',
      1: 'intact',
    })
  })

  test('are those that cannot be loaded, whichever block or file is damaged', async () => {
    const damages = packsOf(three).flatMap((path) => [
      withFiles(three, { [path]: null }),
      withFiles(three, { [path]: fileOf(three, path).slice(0, 200) }),
      rotten(three, path, -100),
      rotten(three, path, 3),
      ...blocksOf(three, path).map(({ offset }) => rotten(three, path, offset + 2)),
    ])
    for (const damaged of damages) {
      const { result: loads } = await visit(damaged, healthByLoading)
      const report = await verifyOf(damaged)
      expect(healthIn(report)).toEqual(loads)
      expect(report.ok).toBe(false)
    }
    expect(damages.length).toBeGreaterThan(30)
  })

  test('are none when another pack has a good copy, which is still told', async () => {
    const image = await twoCopies()
    const damaged = withRottenChunk(image, chunkOf('a1', 0))
    const report = await verifyOf(damaged)
    expect(healthIn(report)).toEqual({ 2: 'intact', 1: 'intact' })
    expect(report).toMatchObject({ ok: false, problems: [{ code: 'PACK_DAMAGED', hasGoodCopy: true, blockCount: 1 }] })
    expect(report.advice).toMatch(/Every snapshot can be loaded in full/)
    const both = packsOf(damaged).reduce((seen, path) => {
      const block = blocksOf(image, path).find(({ digest }) => digest === placeOf(image, chunkOf('a1', 0)).digest)!
      return rotten(seen, path, block.offset)
    }, image)
    expect(healthIn(await verifyOf(both))).toEqual({ 2: 'index', 1: 'index' })
  })

  test('at level quick are those of the bad blocks that HEAD records', async () => {
    const { image } = await visit(withRottenChunk(three, chunkOf('a1', 0)), async (store) => {
      await store.verify()
      await store.persist({ ...persistOf('c1'), keepLast: 9 })
    })
    const report = await verifyOf(image, 'quick')
    expect(healthIn(report)).toEqual({ 4: 'intact', 3: 'intact', 2: 'index', 1: 'index' })
    expect(report.ok).toBe(false)
    expect(report.problems.at(-1)).toMatchObject({ code: 'PACK_DAMAGED', recorded: true, hasGoodCopy: false })
  })

  test('of a pack with nothing good in it, no more blocks are listed than people read', async () => {
    const image = await build((store) =>
      store.persist({
        blobs: {
          index: { source: new Uint8Array(300 * 512).map((_, i) => i >> 9), chunking: { kind: 'fixed', size: 512 } },
        },
      }),
    )
    const [path] = packsOf(image)
    const bytes = new Uint8Array(fileOf(image, path!))
    const blocks = blocksOf(image, path!)
    for (const block of blocks) for (let i = 0; i < block.bytes; i++) bytes[block.offset + i]! ^= 0xff
    const report = await verifyOf(withFiles(image, { [path!]: bytes }))
    const problem = report.problems.find(({ blocks }) => blocks !== undefined)!
    expect(problem.blocks).toHaveLength(100)
    expect(problem.blockCount).toBe(blocks.length)
  })
})

/** Two packs with the same blocks, and no record of any damage. */
async function twoCopies(): Promise<DirectoryImage> {
  const one = await build(persisted('a1'))
  const { image } = await visit(withRottenChunk(one, chunkOf('a1', 0)), async (store) => {
    await store.verify()
    await store.persist(persistOf('a1'))
  })
  // The first copy is as it was, and nobody remembers that it was not.
  const [path] = packsOf(one)
  const head = { ...headOf(image), damaged: [] }
  return withFiles(image, { [path!]: fileOf(one, path!), 'HEAD.json': headBytes(head) })
}

describe('what HEAD says', () => {
  test.each([
    [
      'the size of a pack',
      (image: DirectoryImage) =>
        changedHead(image, ({ packs }) => {
          packs[0]!.bytes += 1
        }),
    ],
    [
      'the number of its blocks',
      (image: DirectoryImage) =>
        changedHead(image, ({ packs }) => {
          packs[0]!.blocks += 1
        }),
    ],
    [
      'the size of a snapshot',
      (image: DirectoryImage) =>
        changedHead(image, ({ snapshots }) => {
          snapshots[0]!.size += 1
        }),
    ],
  ])('is compared with what is there: %s', async (_name, change) => {
    expect(await verifyOf(change(three))).toMatchObject({ ok: false, problems: [{ code: 'HEAD_DAMAGED' }] })
  })

  test('must list, for each snapshot, the packs that hold its blocks: others may be deleted', async () => {
    const image = changedHead(three, ({ snapshots }) => {
      const second = snapshots.find(({ sequence }) => sequence === 2)!
      second.packs = [second.pack]
    })
    const report = await verifyOf(image)
    expect(report).toMatchObject({ ok: false, problems: [{ code: 'HEAD_DAMAGED', what: 'snapshot 2' }] })
    expect(report.problems[0]!.message).toContain(nameOf(placeOf(three, chunkOf('a1', 0)).path))
  })
})

function changedHead(image: DirectoryImage, change: (head: ReturnType<typeof headOf>) => void): DirectoryImage {
  const head = headOf(image)
  change(head)
  return withFiles(image, { 'HEAD.json': headBytes(head) })
}

describe('what cannot be read is told apart from what is wrong', () => {
  const { path, offset, digest } = placeOf(three, chunkOf('a1', 0))
  const through = badSectors((file) => (file.endsWith(path) ? [offset, offset + 512] : null))

  test('a bad sector takes the blocks on it and no others', async () => {
    const { result } = await visit(three, (store) => store.verify(), { through })
    expect(healthIn(result)).toEqual({ 3: 'intact', 2: 'index', 1: 'index' })
    const problem = result.problems.find(({ pack }) => pack !== undefined)
    expect(problem).toMatchObject({ code: 'IO_FAILED', blocks: [digest], blockCount: 1, hasGoodCopy: false })
    expect(problem!.message).toMatch(/EIO/)
    expect(result.problems.map(({ code }) => code)).not.toContain('PACK_DAMAGED')
    expect(result.advice).toMatch(/says nothing about what is in it/)
  })

  test('an orphan that cannot be read is told, and everything else is looked at', async () => {
    const orphan = packsOf(three).find((pack) => !packsOf(one).includes(pack))!
    const image = withFiles(one, { [orphan]: fileOf(three, orphan) })
    const bad = badSectors((file) => (file.endsWith(orphan) ? [0, 1] : null))
    const { result } = await visit(image, (store) => store.verify(), { through: bad })
    expect(result).toMatchObject({ ok: false, revision: 1, problems: [{ code: 'IO_FAILED', pack: nameOf(orphan) }] })
    expect(healthIn(result)).toEqual({ 1: 'intact' })
  })

  test('also when what is not read happens to be zeros', async () => {
    const zeros = { blobs: { index: new Uint8Array(512) } }
    const image = await build((store) => store.persist(zeros))
    const place = placeOf(image, zeros.blobs.index)
    const bad = badSectors((file) => (file.endsWith(place.path) ? [place.offset, place.offset + 512] : null))
    const { result } = await visit(image, (store) => store.verify(), { through: bad })
    expect(result).toMatchObject({ ok: false, snapshots: [{ intact: false }] })
  })

  test('a good copy in another pack serves, for loads too', async () => {
    const image = await twoCopies()
    const first = placeOf(image, chunkOf('a1', 0))
    const bad = badSectors((file) => (file.endsWith(first.path) ? [first.offset, first.offset + 512] : null))
    const { result } = await visit(image, async (store) => [await store.verify(), await labelOf(store)] as const, {
      through: bad,
    })
    expect(healthIn(result[0])).toEqual({ 2: 'intact', 1: 'intact' })
    expect(result[0].problems).toMatchObject([{ code: 'IO_FAILED', hasGoodCopy: true }])
    expect(result[1]).toBe('a1')
  })

  test('a node that cannot be read, at level quick', async () => {
    const node = packsOf(three)
      .flatMap((pack) => blocksOf(three, pack).map((block) => ({ ...block, pack })))
      .find(({ kind }) => kind === 1)!
    const bad = badSectors((file) => (file.endsWith(node.pack) ? [node.offset, node.offset + 1] : null))
    const { result } = await visit(three, (store) => store.verify({ level: 'quick' }), { through: bad })
    expect(new Set(result.problems.map(({ code }) => code))).toEqual(new Set(['IO_FAILED']))
    expect(result.snapshots.some(({ intact }) => !intact)).toBe(true)
  })

  test.each(['HEAD.json', 'HEAD.prev.json', 'STORE.json'])('%s', async (file) => {
    const bad = badSectors((opened) => (opened.endsWith(`/${file}`) ? [0, 1] : null))
    const { result } = await visit(three, (store) => store.verify(), { through: bad })
    expect(result).toMatchObject({ ok: false, revision: null, problems: [{ code: 'IO_FAILED', what: file }] })
  })

  test('a pack that may not be opened is not counted among the damaged ones, and nothing is written anew because of it', async () => {
    const disk = createDisk(three)
    let denied = true
    const store = open(disk, {
      through: (fs) => ({
        ...fs,
        async open(opened, how, mode) {
          if (denied && opened.endsWith(path)) throw systemError('EACCES', 'open')
          return await fs.open(opened, how, mode)
        },
      }),
    })
    const report = await store.verify()
    expect(report.problems).toContainEqual(expect.objectContaining({ code: 'IO_FAILED', pack: nameOf(path) }))
    denied = false
    expect(await store.persist(persistOf('b1'))).toMatchObject({ unchanged: true })
    expect((await store.persist(persistOf('a1'))).bytes.written).toBeLessThan(3000)
    expect(headOf(disk.image()).damaged).toEqual([])
  })
})

describe('while writers are at work', () => {
  test('packs that are retired and deleted after HEAD was read are no damage', async () => {
    const disk = createDisk(await build(persisted('a1'), { keepLast: 1 }))
    const writer = open(disk, { keepLast: 1, process: 'writer' })
    let writes = 0
    disk.gate = async ({ process, name, path }) => {
      if (process !== 'verifier' || name !== 'open' || !path.includes('/packs/') || writes >= 6) return
      // Two persists: one retires the pack, the next deletes it.
      await writer.persist(persistOf(writes++ % 2 === 0 ? 'b1' : 'a1'))
      await writer.persist(persistOf(writes++ % 2 === 0 ? 'b1' : 'a1'))
    }
    const process = disk.start('verifier')
    const report = await open(disk, { through: () => process.fs }).verify()
    expect(process.openFiles()).toEqual([])
    expect(writes).toBe(6)
    expect(report).toMatchObject({ ok: true, problems: [], revision: headOf(disk.image()).revision })
  })

  test('packs that go once they are open stay readable', async () => {
    const disk = createDisk(await build(persisted('a1'), { keepLast: 1 }))
    const writer = open(disk, { keepLast: 1, process: 'writer' })
    const [pack] = packsOf(disk.image())
    const report = await open(disk, { process: 'verifier' }).verify({
      onProgress: () => undefined,
    })
    expect(report.ok).toBe(true)
    let gone = false
    let reads = 0
    disk.gate = async ({ process, name, path }) => {
      // Header, footer and index; the fourth is of blocks.
      if (process !== 'second' || name !== 'read' || !path.endsWith(pack!) || ++reads !== 4) return
      for (const label of ['b1', 'b2', 'b3']) await writer.persist(persistOf(label))
      gone = !packsOf(disk.image()).includes(pack!)
    }
    expect(await open(disk, { process: 'second' }).verify()).toMatchObject({ ok: true, problems: [], revision: 1 })
    expect(gone).toBe(true)
  })

  test('an orphan that goes while it is looked at is no problem', async () => {
    const orphan = packsOf(three).find((pack) => !packsOf(one).includes(pack))!
    const disk = createDisk(withFiles(one, { [orphan]: fileOf(three, orphan) }))
    disk.gate = async ({ process, name, path }) => {
      if (process !== 'verifier' || name !== 'open' || !path.endsWith(orphan)) return
      await disk.start().fs.unlink(`/srv/store/${orphan}`)
    }
    expect(await open(disk, { process: 'verifier' }).verify()).toMatchObject({ ok: true, problems: [] })
    expect(packsOf(disk.image())).not.toContain(orphan)
  })

  test('a store that is written to without end is not called damaged', async () => {
    const disk = createDisk(await build(persisted('a1'), { keepLast: 1 }))
    const writer = open(disk, { keepLast: 1, process: 'writer' })
    let change = 0
    disk.gate = async ({ process, name, path }) => {
      if (process !== 'verifier' || name !== 'open' || !path.includes('/packs/')) return
      for (let i = 0; i < 2; i++) await writer.persist(persistOf(`b${++change}`))
      for (let i = 0; i < 2; i++) await writer.persist(persistOf(`a${++change}`))
    }
    await rejects(open(disk, { process: 'verifier' }).verify(), 'SNAPSHOT_GONE')
  })

  test('an old HEAD beside newer packs, or a newer spare, is told', async () => {
    const old = await build(persisted('a1'))
    const { image: later } = await visit(old, persisted('a2', 'b1', 'b2'))
    const putBack = withFiles(later, { 'HEAD.json': fileOf(old, 'HEAD.json') })
    for (const image of [putBack, withFiles(putBack, { 'HEAD.prev.json': null })]) {
      const report = await verifyOf(image)
      expect(report).toMatchObject({ ok: false, problems: [{ code: 'STORE_ROLLED_BACK', what: 'HEAD.json' }] })
      expect(report.advice).toMatch(/rolledBack/)
    }
    // Tags make no packs.
    const { image: tagged } = await visit(old, async (store) => {
      for (const name of ['x', 'y', 'z']) await store.tag(name)
    })
    const report = await verifyOf(withFiles(tagged, { 'HEAD.json': fileOf(old, 'HEAD.json') }))
    expect(report).toMatchObject({ ok: false, problems: [{ code: 'STORE_ROLLED_BACK' }] })
  })
})

describe('what this process has in memory is not believed', () => {
  test('an index that rots while a snapshot is open is found, and persists do not count on that pack', async () => {
    const disk = createDisk(await build(persisted('a1')))
    const store = open(disk)
    const snapshot = await store.load()
    await snapshot!.blob('index').bytes()
    const [pack] = packsOf(disk.image())
    await rotOnDisk(disk, pack!, fileOf(disk.image(), pack!).length - 100)
    expect(await store.verify({ level: 'quick' })).toMatchObject({
      ok: false,
      problems: [{ code: 'PACK_DAMAGED', pack: nameOf(pack!) }, {}],
    })
    await store.persist({ ...persistOf('a1'), message: 'again' })
    const { result } = await visit(disk.image(), (fresh) => labelOf(fresh))
    expect(result).toBe('a1')
    await snapshot!.dispose()
  })

  test('a pack that is deleted under an open snapshot is missing, and the next persist does without it', async () => {
    const disk = createDisk(await build(persisted('a1')))
    const store = open(disk)
    const snapshot = await store.load()
    const [pack] = packsOf(disk.image())
    await disk.start().fs.unlink(`/srv/store/${pack}`)
    expect(await store.verify()).toMatchObject({ ok: false, problems: [{ code: 'PACK_MISSING' }, {}] })
    await store.persist(persistOf('a1'))
    const { result } = await visit(disk.image(), (fresh) => labelOf(fresh))
    expect(result).toBe('a1')
    await snapshot!.dispose()
  })
})

describe('options', () => {
  test('progress grows to the number of stored bytes', async () => {
    const seen: number[] = []
    let total = 0
    const { result } = await visit(three, (store) =>
      store.verify({
        onProgress(progress) {
          if (progress.phase !== 'verifying') return
          seen.push(progress.bytes)
          total = progress.totalBytes
        },
      }),
    )
    expect(seen).toEqual(seen.toSorted((a, b) => a - b))
    expect(seen.at(-1)).toBe(total)
    expect(total).toBe(result.checked.bytes)
  })

  test('an abort ends it at once', async () => {
    const blob = { source: noise(20 * 1024 * 1024, 1), chunking: fixed(65_536) }
    const image = await build((store) => store.persist({ blobs: { blob } }))
    const aborter = new AbortController()
    let steps = 0
    const onProgress = (): void => {
      steps += 1
      aborter.abort(new Error('enough'))
    }
    await failure(visit(image, (store) => store.verify({ signal: aborter.signal, onProgress })))
    expect(steps).toBe(1)
  })

  test('an abort ends it with the signal’s reason and leaves no file open, whenever it comes', async () => {
    const reason = new Error('enough')
    const before = await failure(visit(three, (store) => store.verify({ signal: AbortSignal.abort(reason) })))
    expect(before).toBe(reason)
    for (let calls = 1; calls < 30; calls++) {
      const disk = createDisk(three)
      const aborter = new AbortController()
      const process = disk.start('verifier')
      let count = 0
      disk.onCall = () => {
        if (++count === calls) aborter.abort(reason)
        return undefined
      }
      const store = open(disk, { through: () => process.fs })
      const outcome = await store.verify({ signal: aborter.signal }).catch((error: unknown) => error)
      if (count < calls) break
      expect(outcome === reason || (outcome as VerifyReport).ok === true).toBe(true)
      expect(process.openFiles()).toEqual([])
    }
  })

  test('a level that there is not is refused', async () => {
    expect(await failure(visit(three, (store) => store.verify({ level: 'deep' as 'full' })))).toBeInstanceOf(TypeError)
  })

  test('a store opened read-only can be verified', async () => {
    const { result, image } = await visit(three, (store) => store.verify(), { readOnly: true })
    expect(result.ok).toBe(true)
    expect(keyOf(image)).toBe(keyOf(three))
  })
})
