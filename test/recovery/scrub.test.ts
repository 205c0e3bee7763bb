import { describe, expect, test } from 'vitest'
import { fixed } from '../../src/format/chunking.ts'
import type { ScrubReport } from '../../src/recovery/scrub.ts'
import type { Store } from '../../src/store.ts'
import { createDisk } from '../faulty-disk/disk.ts'
import { type DirectoryImage, keyOf } from '../faulty-disk/image.ts'
import { noise } from '../support/bytes.ts'
import {
  badSectors,
  blocksOf,
  build,
  chunkOf,
  fileOf,
  nameOf,
  open,
  packsOf,
  persisted,
  persistOf,
  placeOf,
  rotOnDisk,
  rotten,
  visit,
  withFiles,
} from '../support/lab.ts'
import { failure } from '../support/rejects.ts'

const MiB = 1024 * 1024

/** Three packs, one of them of several steps. */
const large = await build(async (store) => {
  await persisted('a1', 'b1')(store)
  await store.persist({ blobs: { index: { source: noise(10 * MiB, 1), chunking: fixed(65_536) } } })
})

function digestsIn(image: DirectoryImage): string[] {
  return packsOf(image).flatMap((path) => blocksOf(image, path).map(({ digest }) => digest))
}

/** A bit flipped in every block. */
function allRotten(image: DirectoryImage): DirectoryImage {
  const changes = packsOf(image).map((path) => {
    const bytes = new Uint8Array(fileOf(image, path))
    for (const { offset } of blocksOf(image, path)) bytes[offset]! ^= 1
    return [path, bytes] as const
  })
  return withFiles(image, Object.fromEntries(changes))
}

function badIn(report: ScrubReport): string[] {
  return report.problems.flatMap(({ blocks }) => blocks ?? [])
}

/** Slices until a round is complete. */
async function round(slice: () => Promise<ScrubReport>): Promise<ScrubReport[]> {
  const reports = [await slice()]
  while (reports.at(-1)!.cursor !== null) reports.push(await slice())
  return reports
}

describe('a round', () => {
  test('is one slice without limits, and checks every stored byte', async () => {
    const blocks = packsOf(large).flatMap((path) => blocksOf(large, path))
    const bytes = blocks.reduce((sum, block) => sum + block.bytes, 0)
    const { result, image } = await visit(large, (store) => store.scrub())
    expect(result).toEqual({
      ok: true,
      problems: [],
      checked: { blocks: blocks.length, bytes },
      journal: 'none',
      cursor: null,
    })
    expect(keyOf(image)).toBe(keyOf(large))
  })

  test.each([
    ['bytes', { maxBytes: 1 }],
    ['milliseconds', { maxMs: 0.000001 }],
  ])('in slices of few %s meets every block exactly once', async (_name, limits) => {
    const { result } = await visit(allRotten(large), (store) => round(() => store.scrub(limits)))
    expect(result.flatMap(badIn).sort()).toEqual(digestsIn(large).sort())
    expect(result.length).toBeGreaterThanOrEqual(5)
    for (const { checked } of result) {
      expect(checked.blocks).toBeGreaterThan(0)
      expect(checked.bytes).toBeLessThanOrEqual(4 * MiB)
    }
  })

  test('stops at about the bytes asked for', async () => {
    const { result } = await visit(large, (store) => round(() => store.scrub({ maxBytes: 5 * MiB })))
    expect(result.length).toBeLessThanOrEqual(3)
  })

  test('begins anew after it is complete', async () => {
    const { result } = await visit(large, async (store) => {
      const first = await round(() => store.scrub({ maxBytes: 1 }))
      const second = await round(() => store.scrub({ maxBytes: 1 }))
      return [first, second].map((reports) => reports.map(({ cursor }) => cursor))
    })
    expect(result[1]).toEqual(result[0])
  })

  test('goes on where it was after a restart, with the cursor kept', async () => {
    const disk = createDisk(allRotten(large))
    let cursor: string | null = null
    const seen: string[] = []
    do {
      const report: ScrubReport = await open(disk).scrub({ maxBytes: 1, cursor })
      seen.push(...badIn(report))
      cursor = report.cursor
    } while (cursor !== null)
    expect(seen.sort()).toEqual(digestsIn(large).sort())
  })

  test('can be begun anew at any time', async () => {
    const { result } = await visit(large, async (store) => {
      const first = await store.scrub({ maxBytes: 1 })
      await store.scrub({ maxBytes: 1 })
      return [first.cursor, (await store.scrub({ maxBytes: 1, cursor: null })).cursor]
    })
    expect(result[1]).toBe(result[0])
  })
})

describe('while packs come and go', () => {
  test('between slices, every pack that stays is met once, and nothing is called missing', async () => {
    const disk = createDisk(await build(persisted('a1', 'b1', 'a2'), { keepLast: 3 }))
    const stays = packsOf(disk.image())
    const writer = open(disk, { keepLast: 2 })
    const scrubber = open(disk)
    let change = 0
    const met: (string | undefined)[] = []
    for (;;) {
      const report = await scrubber.scrub({ maxBytes: 1 })
      expect(report).toMatchObject({ ok: true, problems: [] })
      met.push(report.cursor?.split(':')[0])
      if (report.cursor === null) break
      await writer.persist(persistOf(`b${++change}`))
    }
    expect(new Set(met).size).toBe(met.length)
    expect(change).toBeGreaterThan(1)
    expect(stays.length).toBe(3)
  })

  test('a pack that goes in the midst of a slice is no damage', async () => {
    const disk = createDisk(await build(persisted('a1'), { keepLast: 1 }))
    const writer = open(disk, { keepLast: 1 })
    let writes = 0
    disk.gate = async ({ process, name, path }) => {
      if (process !== 'scrubber' || name !== 'open' || !path.includes('/packs/') || writes > 0) return
      for (const label of ['b1', 'b2', 'b3']) await writer.persist(persistOf(label))
      writes += 1
    }
    expect(await open(disk, { process: 'scrubber' }).scrub()).toMatchObject({ ok: true, problems: [] })
    expect(writes).toBe(1)
  })

  test('a cursor in a pack that is gone goes on with the next', async () => {
    const names = packsOf(large).map(nameOf)
    const { result } = await visit(allRotten(large), (store) => store.scrub({ cursor: `${'0'.repeat(63)}1:5` }))
    expect(result.checked.blocks).toBe(digestsIn(large).length)
    const last = await visit(large, (store) => store.scrub({ cursor: `${'f'.repeat(64)}:5` }))
    expect(last.result).toEqual({
      ok: true,
      problems: [],
      checked: { blocks: 0, bytes: 0 },
      journal: 'none',
      cursor: null,
    })
    const beyond = await visit(large, (store) => store.scrub({ cursor: `${names.at(-1)}:4000000000` }))
    expect(beyond.result).toMatchObject({ ok: true, checked: { blocks: 0 }, cursor: null })
  })
})

const image = await build(persisted('a1', 'a2', 'b1'))
const place = placeOf(image, chunkOf('a1', 0))

describe('what it finds', () => {
  test('are bad blocks, with their pack and digest', async () => {
    const { result } = await visit(rotten(image, place.path, place.offset), (store) => store.scrub())
    expect(result).toMatchObject({
      ok: false,
      problems: [{ code: 'PACK_DAMAGED', pack: nameOf(place.path), blocks: [place.digest], blockCount: 1 }],
    })
  })

  test('is what HEAD does not know yet: what it knows is told, and is ok', async () => {
    const healed = await visit(rotten(image, place.path, place.offset), async (store) => {
      await store.scrub()
      await store.persist(persistOf('a2'))
    })
    expect((await visit(healed.image, (store) => store.scrub())).result).toMatchObject({
      ok: true,
      problems: [{ code: 'PACK_DAMAGED', recorded: true }],
    })
  })

  test.each<[string, (bytes: Uint8Array) => Uint8Array | null, string]>([
    ['a pack that is missing', () => null, 'PACK_MISSING'],
    ['a pack that is cut short', (bytes) => bytes.slice(0, 300), 'PACK_DAMAGED'],
    [
      'a pack whose index is damaged',
      (bytes) => bytes.map((byte, i) => (i === bytes.length - 100 ? byte ^ 1 : byte)),
      'PACK_DAMAGED',
    ],
  ])('%s, and it goes on with the next', async (_name, damage, code) => {
    const changed = withFiles(allRotten(image), { [place.path]: damage(fileOf(image, place.path)) })
    const { result } = await visit(changed, (store) => store.scrub())
    expect(result.problems.filter(({ pack }) => pack === nameOf(place.path))).toMatchObject([{ code }])
    const others = packsOf(image)
      .filter((path) => path !== place.path)
      .flatMap((path) => blocksOf(image, path))
    expect(badIn(result).sort()).toEqual(others.map(({ digest }) => digest).sort())
  })

  test('may also be a bad sector, which is not called damage', async () => {
    const through = badSectors((path) => (path.endsWith(place.path) ? [place.offset, place.offset + 1] : null))
    const { result } = await visit(image, (store) => store.scrub(), { through })
    expect(result.problems).toMatchObject([{ code: 'IO_FAILED', blocks: [place.digest] }])
  })

  test('is read from the disk, not from what this process has in memory', async () => {
    const disk = createDisk(image)
    const store = open(disk)
    const snapshot = await store.load()
    await snapshot!.blob('index').bytes()
    const [pack] = packsOf(image)
    await rotOnDisk(disk, pack!, fileOf(image, pack!).length - 80)
    expect((await store.scrub()).problems).toMatchObject([{ code: 'PACK_DAMAGED', pack: nameOf(pack!) }])
    await snapshot!.dispose()
  })
})

test('a store that was never made has nothing to check', async () => {
  const disk = createDisk()
  expect(await open(disk).scrub()).toEqual({
    ok: true,
    problems: [],
    checked: { blocks: 0, bytes: 0 },
    journal: 'none',
    cursor: null,
  })
  expect(disk.image().entries.size).toBe(0)
})

test.each([
  [{ cursor: 'nonsense' }, TypeError],
  [{ cursor: `${'a'.repeat(64)}:-1` }, TypeError],
  [{ maxBytes: 0 }, RangeError],
  [{ maxMs: Number.NaN }, RangeError],
])('refuses %j', async (options, type) => {
  expect(await failure(visit(large, (store) => store.scrub(options)))).toBeInstanceOf(type)
})

test('an abort ends a slice with the signal’s reason, leaves no file open, and what was found bad is noted', async () => {
  const reason = new Error('enough')
  const disk = createDisk(allRotten(large))
  const process = disk.start('scrubber')
  const aborter = new AbortController()
  const store: Store = open(disk, { through: () => process.fs })
  let reads = 0
  disk.onCall = ({ name, path }) => {
    if (name === 'read' && path.includes('/packs/') && ++reads === 6) aborter.abort(reason)
    return undefined
  }
  expect(await failure(store.scrub({ signal: aborter.signal }))).toBe(reason)
  expect(process.openFiles()).toEqual([])
  disk.onCall = null
  expect(await failure(store.scrub({ signal: AbortSignal.abort(reason) }))).toBe(reason)
})
