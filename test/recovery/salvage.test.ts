import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createPackCache } from '../../src/blocks/pack-cache.ts'
import { BLOCK, entriesByOffset, scanPack } from '../../src/blocks/scan-pack.ts'
import { HoldfastError } from '../../src/errors.ts'
import { blake3 } from '../../src/format/blake3.ts'
import { encodeCommit } from '../../src/format/commit.ts'
import { ENTRY_BYTES, FANOUT_BYTES, FOOTER_BYTES, HEADER_BYTES } from '../../src/format/limits.ts'
import { encodePackHeader, KIND, type PackIndex } from '../../src/format/pack.ts'
import { createPackIndex } from '../../src/format/pack-builder.ts'
import { ioError } from '../../src/fs/io.ts'
import { type SalvagedPack, type SalvageOptions, salvagePack } from '../../src/recovery/salvage.ts'
import type { PackFile, Storage } from '../../src/storage/port.ts'
import { noise } from '../support/bytes.ts'
import { rounds } from '../support/effort.ts'
import { systemError } from '../support/lab.ts'
import { rejects } from '../support/rejects.ts'

const storeId = noise(16, 1)
const MiB = 1024 * 1024

interface Built {
  name: string
  bytes: Uint8Array
  index: PackIndex
  indexOffset: number
}

function buildPack(blocks: readonly Uint8Array[], kind: number = KIND.chunk): Built {
  const header = encodePackHeader({ storeId, revision: 1, nonce: noise(16, 2) })
  const builder = createPackIndex()
  let position = HEADER_BYTES
  for (const block of blocks) {
    builder.add({
      digest: blake3(block),
      offset: position,
      storedLength: block.length,
      rawLength: block.length,
      codec: kind === KIND.chunk ? 0x55 : 0x71,
      compression: 0,
      kind,
      check: null,
    })
    position += block.length
  }
  const { trailer, name, index } = builder.finish(header, position)
  return { name, bytes: new Uint8Array(Buffer.concat([header, ...blocks, trailer])), index, indexOffset: position }
}

/** A storage of one pack, which counts what is read of it. */
function holding(
  name: string,
  bytes: Uint8Array,
  fail: (position: number, length: number) => Error | null = () => null,
) {
  const seen = { readBytes: 0, longest: 0, open: 0 }
  async function openPack(): Promise<PackFile> {
    seen.open += 1
    return {
      name,
      bytes: bytes.length,
      async read(target, position) {
        const error = fail(position, target.length)
        if (error !== null) throw ioError(error, 'reading')
        seen.readBytes += target.length
        seen.longest = Math.max(seen.longest, target.length)
        if (position + target.length > bytes.length) throw new HoldfastError('PACK_DAMAGED', 'cut short')
        target.set(bytes.subarray(position, position + target.length))
      },
      async close() {
        seen.open -= 1
      },
      closeSync() {
        seen.open -= 1
      },
    }
  }
  return { storage: { openPack } as unknown as Storage, seen }
}

async function survey(name: string, bytes: Uint8Array, options: Partial<SalvageOptions> = {}) {
  const { storage, seen } = holding(name, bytes)
  const shelf = createPackCache(storage)
  const surveyed = await salvagePack(name, {
    packCache: shelf,
    storeId,
    recorded: undefined,
    unreadableIsLost: false,
    ...options,
  })
  await surveyed!.pack.release()
  return { surveyed: surveyed!, seen }
}

function goodBlocks({ intactIndex: good }: SalvagedPack): string[] {
  return Array.from({ length: good.blocks }, (_, i) => Buffer.from(good.digest(i)).toString('hex'))
}

function hexOf(blocks: readonly Uint8Array[]): string[] {
  return blocks.map((block) => Buffer.from(blake3(block)).toString('hex')).sort()
}

const blocks = Array.from({ length: 40 }, (_, i) => noise(100 + 37 * i, i + 10))
const pack = buildPack(blocks)
const digests = new Set(hexOf(blocks))

test('a pack in which nothing is wrong is whole', async () => {
  const { surveyed, seen } = await survey(pack.name, pack.bytes)
  expect(surveyed).toMatchObject({ intact: true, why: '', header: { revision: 1 } })
  expect(goodBlocks(surveyed)).toEqual(hexOf(blocks))
  expect(seen.open).toBe(0)
})

test('one that is not there is null, and one that may not be opened is an error', async () => {
  const missing = { openPack: async () => Promise.reject(new HoldfastError('PACK_MISSING', 'x')) } as unknown as Storage
  const options = { storeId, recorded: undefined, unreadableIsLost: false }
  expect(await salvagePack('x', { ...options, packCache: createPackCache(missing) })).toBeNull()
  const denied = {
    openPack: async () => Promise.reject(ioError(systemError('EACCES', 'open'), 'opening')),
  } as unknown as Storage
  await rejects(salvagePack('x', { ...options, packCache: createPackCache(denied) }), 'IO_FAILED')
})

describe('a damaged index', () => {
  const entriesAt = pack.indexOffset + FANOUT_BYTES

  test('loses no more than the blocks whose entries are damaged, wherever its bytes are', async () => {
    const damage = fc.array(fc.tuple(fc.nat(FANOUT_BYTES + 40 * ENTRY_BYTES - 1), fc.integer({ min: 1, max: 255 })), {
      minLength: 1,
      maxLength: 20,
    })
    await fc.assert(
      fc.asyncProperty(damage, async (flips) => {
        const bytes = pack.bytes.slice()
        for (const [at, mask] of flips) bytes[pack.indexOffset + at]! ^= mask
        const { surveyed } = await survey(pack.name, bytes)
        const touched = new Set(flips.map(([at]) => Math.floor((at - FANOUT_BYTES) / ENTRY_BYTES)))
        const untouched = Array.from({ length: 40 }, (_, i) => i).filter((i) => !touched.has(i))
        const found = new Set(goodBlocks(surveyed))
        for (const i of untouched) expect(found).toContain(Buffer.from(pack.index.digest(i)).toString('hex'))
        // Whatever is called good has the bytes that it says.
        for (const digest of found) expect(digests).toContain(digest)
        for (let i = 0; i < surveyed.intactIndex.blocks; i++) {
          const at = surveyed.intactIndex.offset(i)
          const stored = bytes.subarray(at, at + surveyed.intactIndex.storedLength(i))
          expect(Buffer.from(blake3(stored)).toString('hex')).toBe(
            Buffer.from(surveyed.intactIndex.digest(i)).toString('hex'),
          )
        }
      }),
      rounds(200),
    )
  })

  test('of random bytes gives nothing, and breaks nothing', async () => {
    const bytes = pack.bytes.slice()
    bytes.set(noise(FANOUT_BYTES + 40 * ENTRY_BYTES, 77), pack.indexOffset)
    expect((await survey(pack.name, bytes)).surveyed).toMatchObject({ intact: false, intactIndex: { blocks: 0 } })
  })

  test('that points to the same bytes again and again does not make anybody read them again and again', async () => {
    const bytes = new Uint8Array(HEADER_BYTES + 4 * MiB + FANOUT_BYTES + 5000 * ENTRY_BYTES + FOOTER_BYTES)
    bytes.set(pack.bytes.subarray(0, HEADER_BYTES))
    const indexOffset = HEADER_BYTES + 4 * MiB
    const view = new DataView(bytes.buffer)
    for (let i = 0; i < 5000; i++) {
      const at = indexOffset + FANOUT_BYTES + i * ENTRY_BYTES
      bytes.set(noise(32, i), at)
      view.setUint32(at + 32, HEADER_BYTES, true)
      view.setUint32(at + 36, 4 * MiB, true)
      view.setUint32(at + 40, 4 * MiB, true)
      bytes[at + 44] = 0x55
    }
    const footer = bytes.length - FOOTER_BYTES
    view.setUint32(footer, indexOffset, true)
    view.setUint32(footer + 8, FANOUT_BYTES + 5000 * ENTRY_BYTES, true)
    view.setUint32(footer + 16, 5000, true)
    bytes.set(pack.bytes.subarray(-8), bytes.length - 8)
    const { surveyed, seen } = await survey(pack.name, bytes)
    expect(surveyed.intactIndex.blocks).toBe(0)
    expect(seen.readBytes).toBeLessThan(4 * bytes.length)
  })

  test('with lengths beyond any block, or beyond the data, is not followed there', async () => {
    for (const [offset, stored, raw] of [
      [64, 2 ** 32 - 1, 2 ** 32 - 1],
      [64, 16 * MiB + 1, 16 * MiB + 1],
      [2 ** 32 - 1, 100, 100],
      [0, 64, 64],
      [pack.indexOffset - 1, 2, 2],
      [64, 100, 200],
    ] as const) {
      const bytes = pack.bytes.slice()
      const view = new DataView(bytes.buffer)
      view.setUint32(entriesAt + 32, offset, true)
      view.setUint32(entriesAt + 36, stored, true)
      view.setUint32(entriesAt + 40, raw, true)
      const { surveyed, seen } = await survey(pack.name, bytes)
      expect(surveyed.intactIndex.blocks).toBe(39)
      expect(seen.longest).toBeLessThanOrEqual(bytes.length)
    }
  })

  test('that says a digest twice gives it once', async () => {
    const bytes = pack.bytes.slice()
    bytes.copyWithin(entriesAt + ENTRY_BYTES, entriesAt, entriesAt + ENTRY_BYTES)
    expect((await survey(pack.name, bytes)).surveyed.intactIndex.blocks).toBe(39)
  })
})

describe('a pack whose footer is gone', () => {
  const cut = pack.bytes.slice(0, -FOOTER_BYTES)

  test('is read with what HEAD says of it', async () => {
    const { surveyed } = await survey(pack.name, cut, { recorded: { bytes: pack.bytes.length, blocks: 40 } })
    expect(surveyed.intact).toBe(false)
    expect(goodBlocks(surveyed)).toEqual(hexOf(blocks))
  })

  test('gives what is good of it, whatever else is lost', async () => {
    for (const rotten of [0, 20, 39]) {
      const bytes = cut.slice(0, -10)
      bytes[pack.index.offset(rotten)]! ^= 1
      const { surveyed } = await survey(pack.name, bytes, { recorded: { bytes: pack.bytes.length, blocks: 40 } })
      const bad = Buffer.from(pack.index.digest(rotten)).toString('hex')
      const found = goodBlocks(surveyed)
      expect(found).not.toContain(bad)
      // The entry of the last digest ends in the ten bytes that are gone.
      expect(found.length).toBe(rotten === 39 ? 39 : 38)
    }
  })

  test('gives nothing when nobody says where its index is, and when what is said cannot be', async () => {
    for (const said of [
      undefined,
      { bytes: 0, blocks: 0 },
      { bytes: pack.bytes.length, blocks: 2 ** 31 },
      { bytes: 2 ** 32 - 1, blocks: 40 },
    ]) {
      const { surveyed, seen } = await survey(pack.name, cut, { recorded: said })
      expect(surveyed).toMatchObject({ intact: false, intactIndex: { blocks: 0 } })
      expect(seen.readBytes).toBeLessThan(1000)
    }
  })

  test('and its header with it, likewise', async () => {
    const bytes = cut.slice()
    bytes.fill(0, 0, HEADER_BYTES)
    const { surveyed } = await survey(pack.name, bytes, { recorded: { bytes: pack.bytes.length, blocks: 40 } })
    expect(surveyed.header).toBeNull()
    expect(goodBlocks(surveyed)).toEqual(hexOf(blocks))
  })
})

describe('compressed blocks', () => {
  const { frames } = JSON.parse(readFileSync(new URL('../vectors/zstd.json', import.meta.url), 'utf8'))
  const [{ frame, rawLength, digest }] = frames
  const stored = Buffer.from(frame, 'hex')

  function compressedPack(damage: (bytes: Uint8Array, offset: number) => void): { name: string; bytes: Uint8Array } {
    const header = encodePackHeader({ storeId, revision: 1, nonce: noise(16, 2) })
    const builder = createPackIndex()
    const check = blake3(stored).subarray(0, 8)
    builder.add({
      digest: Buffer.from(digest, 'hex'),
      offset: HEADER_BYTES,
      storedLength: stored.length,
      rawLength,
      codec: 0x55,
      compression: 1,
      kind: KIND.chunk,
      check,
    })
    const { trailer, name } = builder.finish(header, HEADER_BYTES + stored.length)
    const bytes = new Uint8Array(Buffer.concat([header, stored, trailer]))
    damage(bytes, HEADER_BYTES)
    return { name, bytes }
  }

  test('are checked and kept like others, also when the index is damaged', async () => {
    for (const at of [-1, 70]) {
      const { name, bytes } = compressedPack((all) => {
        if (at !== -1) all[HEADER_BYTES + stored.length + at]! ^= 1
      })
      const { surveyed } = await survey(name, bytes)
      expect(surveyed.intact).toBe(at === -1)
      expect(goodBlocks(surveyed)).toEqual([digest])
    }
  })

  test('are bad with any bit flipped', async () => {
    for (let at = 0; at < stored.length; at += 97) {
      const { name, bytes } = compressedPack((all, offset) => {
        all[offset + at]! ^= 4
      })
      expect((await survey(name, bytes)).surveyed).toMatchObject({ intact: false, intactIndex: { blocks: 0 } })
    }
  })
})

describe('commit records', () => {
  const commit = (store: Uint8Array, sequence: number): Uint8Array =>
    encodeCommit({
      store,
      sequence,
      manifest: { codec: 0x71, digest: noise(32, 3) },
      time: '2025-01-31T23:59:59.999Z',
      packs: [],
    })

  test('of this store are found, also when the index is damaged; others are not believed', async () => {
    const junk = noise(200, 9)
    const records = buildPack([commit(storeId, 1), commit(noise(16, 99), 2), commit(storeId, 3), junk], KIND.commit)
    const whole = await survey(records.name, records.bytes)
    expect(whole.surveyed.records.map(({ sequence }) => sequence).sort()).toEqual([1, 3])
    const bytes = records.bytes.slice()
    bytes[bytes.length - 30]! ^= 1
    const damaged = await survey(records.name, bytes)
    expect(damaged.surveyed.intact).toBe(false)
    expect(damaged.surveyed.records.map(({ sequence }) => sequence).sort()).toEqual([1, 3])
  })
})

describe('a disk that fails', () => {
  async function surveyOn(fail: (position: number, length: number) => Error | null, unreadableIsLost: boolean) {
    const { storage, seen } = holding(pack.name, pack.bytes, fail)
    const shelf = createPackCache(storage)
    try {
      const surveyed = await salvagePack(pack.name, {
        packCache: shelf,
        storeId,
        recorded: undefined,
        unreadableIsLost,
      })
      await surveyed!.pack.release()
      return surveyed!
    } finally {
      expect(seen.open).toBe(0)
    }
  }
  const sectorOf = (entry: number) => (position: number, length: number) =>
    position < pack.index.offset(entry) + 1 && position + length > pack.index.offset(entry)
      ? systemError('EIO', 'read')
      : null

  test('is an error by default', async () => {
    const error = await rejects(surveyOn(sectorOf(5), false), 'IO_FAILED')
    expect(error.details).toMatchObject({ code: 'EIO', pack: pack.name })
  })

  test('loses what it does not give when told so, and nothing else', async () => {
    const surveyed = await surveyOn(sectorOf(5), true)
    expect(goodBlocks(surveyed)).toEqual(
      goodBlocks({ intactIndex: pack.index } as SalvagedPack).filter((_, i) => i !== 5),
    )
  })

  test('and is never lost for a reason that passes', async () => {
    const busy = (position: number) => (position === 64 ? systemError('EMFILE', 'read') : null)
    await rejects(surveyOn(busy, true), 'IO_FAILED')
  })
})

describe('scanning', () => {
  test('goes through blocks in the order in which they lie, from any of them on', async () => {
    const order = [...entriesByOffset(pack.index)]
    expect(order.map((entry) => pack.index.offset(entry))).toEqual(
      order.map((entry) => pack.index.offset(entry)).toSorted((a, b) => a - b),
    )
    for (const from of [0, 1, 39, 40, 41]) {
      const { storage } = holding(pack.name, pack.bytes)
      let blocksSeen = 0
      for await (const step of scanPack(await storage.openPack(pack.name), pack.index, from)) {
        blocksSeen += step.blocks
        expect(step.bad.size).toBe(0)
        expect(step.done).toBe(from + blocksSeen)
      }
      expect(blocksSeen).toBe(Math.max(0, 40 - from))
    }
  })

  test('tells blocks that are wrong from those that are not given', async () => {
    const bytes = pack.bytes.slice()
    bytes[pack.index.offset(3)]! ^= 1
    const { storage } = holding(pack.name, bytes, (position, length) => {
      const bad = pack.index.offset(7)
      return position <= bad && position + length > bad ? systemError('EIO', 'read') : null
    })
    const found = new Map<number, number>()
    for await (const { bad } of scanPack(await storage.openPack(pack.name), pack.index))
      for (const [entry, state] of bad) found.set(entry, state)
    expect([...found].sort()).toEqual([
      [3, BLOCK.wrong],
      [7, BLOCK.unreadable],
    ])
  })

  test('that is left early waits for the read under way, so that the file may be closed', async () => {
    const large = buildPack(Array.from({ length: 6 }, (_, i) => noise(2 * MiB, i)))
    let reading = 0
    const file: PackFile = {
      name: large.name,
      bytes: large.bytes.length,
      async read(target, position) {
        reading += 1
        await new Promise((resolve) => setTimeout(resolve, 5))
        target.set(large.bytes.subarray(position, position + target.length))
        reading -= 1
      },
      close: async () => undefined,
      closeSync: () => undefined,
    }
    for await (const _step of scanPack(file, large.index)) break
    expect(reading).toBe(0)
  })
})

describe('a shelf of open packs', () => {
  test('reads an index again after a read of it failed, and keeps none that is damaged', async () => {
    let failing = true
    const { storage, seen } = holding(pack.name, pack.bytes, () => (failing ? systemError('EIO', 'read') : null))
    const shelf = createPackCache(storage)
    const [first, second] = [await shelf.open(pack.name, storeId), await shelf.open(pack.name, storeId)]
    await rejects(Promise.all([first.index(), second.index()]), 'IO_FAILED')
    failing = false
    expect((await first.index()).blocks).toBe(40)
    expect(await second.index()).toBe(await first.index())
    expect(seen.open).toBe(1)
    await first.release()
    await first.release()
    expect(seen.open).toBe(1)
    await second.release()
    expect(seen.open).toBe(0)
  })

  test('opens a pack again that could not be opened', async () => {
    let failing = true
    const { storage } = holding(pack.name, pack.bytes)
    const shelf = createPackCache({
      ...storage,
      openPack: async (name) => {
        if (failing) throw ioError(systemError('EMFILE', 'open'), 'opening')
        return await storage.openPack(name)
      },
    } as Storage)
    await rejects(Promise.all([shelf.open(pack.name, storeId), shelf.open(pack.name, storeId)]), 'IO_FAILED')
    failing = false
    await (await shelf.open(pack.name, storeId)).release()
  })
})
