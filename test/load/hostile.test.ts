import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { isHoldfastError } from '../../src/errors.ts'
import { blake3 } from '../../src/format/blake3.ts'
import { DAG_DEPTH_MAX } from '../../src/format/limits.ts'
import type { Snapshot } from '../../src/load/snapshot.ts'
import { noise } from '../support/bytes.ts'
import { cpuTimer } from '../support/cpu-time.ts'
import {
  type CraftedBlock,
  type CraftOptions,
  cbor,
  chunk,
  craftStore,
  linkTo,
  manifest,
  node,
  segments,
} from '../support/craft.ts'
import { type Files, readingStore } from '../support/reading-store.ts'
import { quickScratch } from '../support/scratch.ts'
import { contentsOf, storeAt } from '../support/store-directory.ts'

const chunking = { kind: 'content', average: 16_384 }
const [a, b, c] = [chunk(noise(5_000, 1)), chunk(noise(6_000, 2)), chunk(noise(7_000, 3))]
const bytes = Buffer.concat([a.bytes, b.bytes, c.bytes])
const root = node([
  [5_000, a],
  [6_000, b],
  [7_000, c],
])
const segment = segments(blake3(bytes))
const honest = { root: linkTo(root), size: 18_000, segments: linkTo(segment), chunking }
const all = [a, b, c, root, segment]

/** How reading everything in a store ends. Whatever happens must happen fast, and in little memory. */
async function outcome(files: Files, fallback = false): Promise<unknown> {
  const before = process.memoryUsage().rss
  const cpuMs = cpuTimer()
  const store = readingStore(files)
  const use = async (snapshot: Snapshot) => {
    const whole = await contentsOf(snapshot)
    for (const name of snapshot.names) {
      const parts: Uint8Array[] = []
      for await (const part of snapshot.blob(name).stream()) parts.push(part)
      expect(Buffer.concat(parts).length).toBe(snapshot.blob(name).size)
    }
    return whole
  }
  const restored = await store.restore(use, { fallback }).catch((error: unknown) => {
    if (!isHoldfastError(error)) throw error
    return error
  })
  expect(cpuMs()).toBeLessThan(10_000)
  expect(process.memoryUsage().rss - before).toBeLessThan(200 * 1024 * 1024)
  return isHoldfastError(restored) ? restored : restored?.snapshot
}

function craft(entry: object, blocks: readonly CraftedBlock[] = all, options: CraftOptions = {}): Files {
  return craftStore(manifest({ blob: entry }), blocks, { older: true, ...options })
}

async function expectDamaged(files: Files): Promise<void> {
  expect(await outcome(files)).toMatchObject({ kind: 'damaged' })
  expect(await outcome(files, true)).toMatchObject({ sequence: 1, skipped: [{ sequence: 2 }] })
}

/**
 * Segments only make it quick to verify a blob: its chunks decide, whichever way it is read, and verify says the same.
 */
async function expectReadByChunks(files: Files): Promise<void> {
  expect(await outcome(files)).toMatchObject({ sequence: 2 })
  const store = readingStore(files)
  await using snapshot = (await store.load({ fallback: true }))!
  expect(Buffer.from(await snapshot.blob('blob').bytes()).equals(bytes)).toBe(true)
  expect(snapshot.sequence).toBe(2)
  expect((await store.verify()).snapshots[0]).toMatchObject({ sequence: 2, intact: true })
}

test('a crafted store that is honest can be read', async () => {
  const snapshot = (await readingStore(craft(honest)).load())!
  expect(Buffer.from(await snapshot.blob('blob').bytes()).equals(bytes)).toBe(true)
  expect(await outcome(craft(honest))).toMatchObject({ sequence: 2 })
})

describe('a manifest that lies about', () => {
  const single = { root: linkTo(a), size: 5_000, chunking }

  test.each<[string, object]>([
    ['the size of a blob: larger', { ...honest, size: 18_001 }],
    ['the size of a blob: smaller', { ...honest, size: 17_999 }],
    ['the size of a blob: nothing', { ...honest, size: 0 }],
    ['the size of a blob: more than there is memory', { ...honest, size: 2 ** 40 }],
    ['the size of a blob: more than a blob may have', { ...honest, size: 2 ** 52 }],
    ['the size of a blob: negative', { ...honest, size: -1 }],
    ['the size of a blob: a part', { ...honest, size: 18_000.5 }],
    ['the size of a single chunk: larger', { ...single, size: 5_001 }],
    ['the size of a single chunk: smaller', { ...single, size: 4_999 }],
    ['the size of a single chunk: nothing', { ...single, size: 0 }],
    ['the size of a single chunk: more than a chunk may have', { ...single, size: 2 ** 31 }],
    ['what a root is: a chunk as a node', { ...honest, root: linkTo({ ...a, codec: 0x71 }) }],
    [
      'what a root is: a node as a chunk',
      { ...single, root: linkTo({ ...root, codec: 0x55 }), size: root.bytes.length + 1 },
    ],
    ['segments: none', { root: honest.root, size: 18_000, chunking }],
    ['segments: some for a single chunk', { ...single, segments: honest.segments }],
    ['its chunking', { ...honest, chunking: { kind: 'guess', average: 16_384 } }],
    ['its chunks: smaller than they are', { ...single, size: 5_000, chunking: { kind: 'fixed', size: 512 } }],
    ['its fields', { ...honest, mood: 'good' }],
  ])('%s', async (_, entry) => {
    await expectDamaged(craft(entry))
  })

  test.each<[string, CraftedBlock]>([
    ['of another blob of the same size', segments(blake3(noise(18_000, 9)))],
    ['too many', segments(blake3(bytes), blake3(bytes))],
    ['too few', segments()],
    ['of another length', cbor({ length: 4_194_303, digests: blake3(bytes) })],
    ['of another form: a node', root],
    ['of a blob of which there are none', cbor({ not: 'there' })],
  ])('segments: digests %s, is read by its chunks', async (name, lie) => {
    const blocks = name.includes('none') || all.includes(lie) ? all : [...all, lie]
    await expectReadByChunks(craft({ ...honest, segments: linkTo(lie) }, blocks))
  })
})

test('a blob that says it is empty over a chunk that is not is damaged, whichever way it is read', async () => {
  const files = craft({ root: linkTo(a), size: 0, chunking })
  const snapshot = (await readingStore(files).load())!
  await expect(snapshot.blob('blob').bytes()).rejects.toMatchObject({ code: 'BLOB_DAMAGED' })
  await expect(snapshot.blob('blob').stream().next()).rejects.toMatchObject({ code: 'BLOB_DAMAGED' })
  await expect(readingStore(files).load({ fallback: true })).resolves.toMatchObject({ sequence: 1 })
  expect((await readingStore(files).verify()).snapshots[0]).toMatchObject({ intact: false })
})

describe('a node that lies about', () => {
  const withRoot = (lie: CraftedBlock, size = 18_000, more: CraftedBlock[] = []) =>
    craft({ ...honest, root: linkTo(lie), size }, [...all, lie, ...more])

  test.each<[string, CraftedBlock, number?]>([
    [
      'the length of a chunk, in sum rightly',
      node([
        [5_001, a],
        [5_999, b],
        [7_000, c],
      ]),
    ],
    [
      'the length of a chunk: too small',
      node([
        [4_999, a],
        [6_000, b],
        [7_000, c],
      ]),
      17_999,
    ],
    [
      'the length of a chunk: nothing',
      node([
        [5_000, a],
        [0, b],
        [7_000, c],
      ]),
      12_000,
    ],
    [
      'the length of a chunk: too large',
      node([
        [5_000, a],
        [2 ** 30, b],
      ]),
      5_000 + 2 ** 30,
    ],
    [
      'the length of a chunk: negative',
      cbor([
        [-1, linkTo(a)],
        [18_001, linkTo(b)],
      ]),
    ],
    [
      'the length of a chunk: huge',
      cbor([
        [2n ** 63n, linkTo(a)],
        [1, linkTo(b)],
      ]),
    ],
    ['its children: one only', node([[5_000, a]]), 5_000],
    ['its children: none', cbor([]), 0],
    [
      'its children: some that are not there',
      node([
        [5_000, a],
        [13_000, chunk(noise(13_000, 8))],
      ]),
    ],
    [
      'its children: chunks and nodes',
      node([
        [5_000, a],
        [18_000, root],
      ]),
      23_000,
    ],
    ['its children: no pairs', cbor([linkTo(a), linkTo(b)])],
    [
      'its children: triples',
      cbor([
        [5_000, linkTo(a), 1],
        [6_000, linkTo(b), 1],
      ]),
      11_000,
    ],
    [
      'its children: more than a node may have',
      node(Array.from({ length: 1_025 }, () => [5_000, a] as const)),
      1_025 * 5_000,
    ],
    [
      'the length of a node below',
      node([
        [9_000, root],
        [27_000, root],
      ]),
      36_000,
    ],
  ])('%s', async (_, lie, size) => {
    await expectDamaged(withRoot(lie, size))
  })

  test.each<[string, number[]]>([
    ['4 billion children', [0x9a, 0xff, 0xff, 0xff, 0xff]],
    ['18 quintillion children', [0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]],
    ['children without end', [0x9f]],
    ['a string of 4 GiB', [0x7a, 0xff, 0xff, 0xff, 0xff]],
    ['a map of 4 billion', [0xba, 0xff, 0xff, 0xff, 0xff]],
    ['nothing at all', []],
    ['lists in lists in lists', Array(60_000).fill(0x81)],
  ])('how much there is in it: %s', async (_, head) => {
    await expectDamaged(withRoot(cbor(Uint8Array.from(head))))
    // And in the place of the segments and of the manifest.
    const lie = cbor(Uint8Array.from(head))
    await expectReadByChunks(craft({ ...honest, segments: linkTo(lie) }, [...all, lie]))
    expect(await outcome(craftStore(lie, []))).toMatchObject({ kind: 'damaged' })
  })

  test('the form of its bytes: longer than need be, or followed by more', async () => {
    const canonical = root.bytes
    // The list's length in two bytes in place of one.
    await expectDamaged(withRoot(cbor(Uint8Array.of(0x98, canonical[0]! & 0x1f, ...canonical.subarray(1)))))
    await expectDamaged(withRoot(cbor(Uint8Array.of(...canonical, 0))))
  })

  test('how deep it is', async () => {
    function tower(levels: number): { top: CraftedBlock; floors: CraftedBlock[] } {
      const floors: CraftedBlock[] = []
      let top = node([[5_000, a]])
      floors.push(top)
      for (let level = 2; level < levels; level++) {
        top = node([[5_000, top]])
        floors.push(top)
      }
      top = node([
        [5_000, top],
        [5_000, top],
      ])
      return { top, floors }
    }
    const size = 10_000
    const digests = segments(blake3(Buffer.concat([a.bytes, a.bytes])))
    const at = (levels: number) => {
      const { top, floors } = tower(levels)
      const entry = { ...honest, root: linkTo(top), size, segments: linkTo(digests) }
      return craft(entry, [a, digests, top, ...floors])
    }
    expect(await outcome(at(DAG_DEPTH_MAX))).toMatchObject({ sequence: 2 })
    await expectDamaged(at(DAG_DEPTH_MAX + 1))
    await expectDamaged(at(500))
  })

  test('how much it stands for: a terabyte out of a few blocks is no reason to fill the memory', async () => {
    const blocks = [a]
    let top = a
    let size = 5_000
    for (let level = 0; level < 3; level++) {
      const below = top
      const length = size
      top = node(Array.from({ length: 600 }, () => [length, below] as const))
      size *= 600
      blocks.push(top)
    }
    const digests = cbor({ length: 4_194_304, digests: new Uint8Array(32 * Math.ceil(size / 4_194_304)) })
    const files = craft({ ...honest, root: linkTo(top), size, segments: linkTo(digests) }, [...blocks, digests])
    const snapshot = (await readingStore(files).load())!
    const blob = snapshot.blob('blob')
    expect(blob.size).toBe(1_080_000_000_000)
    await expect(blob.bytes()).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
    await expect(blob.text()).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
    // A part of it is as good as any.
    const start = 5_000 * 123_456_789
    for await (const part of blob.stream({ start, end: start + 5_000 })) {
      expect(Buffer.compare(part, a.bytes)).toBe(0)
    }
    await snapshot.dispose()

    // Nor is it for a writer, who looks at the blob before to see what is new, and at all of them to see what is
    // needed.
    const path = quickScratch()
    mkdirSync(join(path, 'packs'))
    for (const [name, content] of files) writeFileSync(join(path, name), content)
    await using store = storeAt(path, { keepLast: 30 })
    const cpuMs = cpuTimer()
    for (let n = 0; n < 10; n++) await store.persist({ blobs: { blob: noise(40_000, n) } })
    expect(cpuMs()).toBeLessThan(20_000)
    expect((await store.snapshots()).length).toBe(12)
  })
})

describe('a manifest', () => {
  const other = (fields: object) => craftStore(cbor(fields, 3), all, { older: true })
  const sound = { format: 'holdfast-manifest', version: 1, blobs: { blob: honest }, metadata: {} }

  test.each<[string, object]>([
    ['of another format', { ...sound, format: 'holdfast-commit' }],
    ['without a version', { ...sound, version: undefined }],
    ['with a version that is none', { ...sound, version: 0 }],
    ['without blobs', { ...sound, blobs: undefined }],
    ['with blobs in a list', { ...sound, blobs: [honest] }],
    ['with metadata in a list', { ...sound, metadata: [] }],
    ['with a field that nobody knows', { ...sound, mood: 'good' }],
    ['with a blob whose name is too long', { ...sound, blobs: { ['x'.repeat(1_025)]: honest } }],
    ['with a blob whose name has a NUL', { ...sound, blobs: { 'a\0b': honest } }],
  ])('%s is damaged', async (_, fields) => {
    await expectDamaged(other(withoutUndefined(fields)))
  })

  test('of a newer version is unsupported, and falling back does not hide that', async () => {
    const files = other({ ...sound, version: 3, requires: ['more'] })
    for (const fallback of [false, true]) {
      expect(await outcome(files, fallback)).toMatchObject({ code: 'VERSION_UNSUPPORTED', kind: 'unsupported' })
    }
  })

  test('that is a chunk, or a chunk that is a manifest, is judged by what it says', async () => {
    await expectDamaged(craftStore({ ...chunk(noise(3_000, 4)), codec: 0x71 }, all, { older: true }))
  })

  test('names blobs as it likes, and none of them leads out of a directory', async () => {
    const names = ['__proto__', 'constructor', '../../evil', '/etc/passwd', 'site/../../evil', 'site/ok']
    const blobs = JSON.parse(`{${names.map((name) => `${JSON.stringify(name)}: 0`).join()}}`) as Record<string, unknown>
    for (const name of names) {
      Object.defineProperty(blobs, name, { value: honest, enumerable: true, configurable: true, writable: true })
    }
    const snapshot = (await readingStore(other({ ...sound, blobs })).load())!
    expect([...snapshot.names].sort()).toEqual([...names].sort())
    for (const name of names) expect((await snapshot.blob(name).bytes()).length).toBe(18_000)
    expect(({} as { size?: number }).size).toBeUndefined()
    const target = join(quickScratch(), 'out')
    await expect(snapshot.directory('site').writeTo(target)).rejects.toMatchObject({ code: 'BLOB_NAME_INVALID' })
    expect(existsSync(target)).toBe(false)
  })
})

describe('a pack whose seal is right and whose index lies', () => {
  const edited = (change: Partial<CraftedBlock>) => craft(honest, [{ ...a, ...change }, b, c, root, segment])

  test.each<[string, Files]>([
    ['about where a block is: beyond the data', edited({ offset: 1_000_000 })],
    ['about where a block is: in the header', edited({ offset: 0 })],
    ['about where a block is: in the middle of another', edited({ offset: 100 })],
    ['about how long a block is', edited({ storedLength: 4_999, rawLength: 4_999 })],
    ['about how long a block is, uncompressed', edited({ rawLength: 6_000 })],
    ['about how long a block is: 4 GiB', edited({ storedLength: 0xffffffff, rawLength: 0xffffffff })],
    ['about how long a block is: 4 GiB when decompressed', edited({ rawLength: 0xffffffff, compression: 1 })],
    ['about the codec', edited({ codec: 0x70 as 0x71 })],
    ['about the kind', edited({ kind: 9 })],
    ['about the compression', edited({ compression: 2 })],
    ['in what must be zero', edited({ reserved: 1 })],
    ['about the digest of a block', edited({ digest: blake3(noise(10, 7)) })],
    ['about the order of its entries', craft(honest, [...all, chunk(noise(10, 6))], { unsorted: true })],
    ['by naming a block twice', craft(honest, [a, ...all])],
    ['about its fan-out', craft(honest, all, { tamper: ({ index }) => put(index, 255 * 4, index[255 * 4]! + 1) })],
    [
      'about its fan-out, which does not ascend',
      craft(honest, all, { tamper: ({ index }) => void index.fill(9, 0, 4) }),
    ],
    ['about how many there are', craft(honest, all, { tamper: ({ footer }) => put(footer, 16, footer[16]! + 1) })],
    [
      'about how many there are: 4 billion',
      craft(honest, all, { tamper: ({ footer }) => void footer.fill(0xff, 8, 20) }),
    ],
    ['about where it is', craft(honest, all, { tamper: ({ footer }) => put(footer, 0, footer[0]! ^ 1) })],
    ['about the hash', craft(honest, all, { tamper: ({ header }) => put(header, 10, 0x12) })],
    ['about the store', craft(honest, all, { tamper: ({ header }) => put(header, 16, header[16]! ^ 1) })],
  ])('%s', async (_, files) => {
    await expectDamaged(files)
  })

  test('is of a newer version: falling back does not hide that', async () => {
    const files = craft(honest, all, { tamper: ({ header }) => put(header, 8, 2) })
    for (const fallback of [false, true]) {
      expect(await outcome(files, fallback)).toMatchObject({ code: 'VERSION_UNSUPPORTED', kind: 'unsupported' })
    }
  })
})

test('a pack whose blocks lie over the same bytes again and again is damaged', async () => {
  const many = Array.from({ length: 2_000 }, (_, i) => ({
    ...chunk(noise(5_000, 100 + i)),
    offset: 64,
    stored: new Uint8Array(0),
    storedLength: 5_000,
  }))
  const files = craft(honest, [...all, ...many])
  await expectDamaged(files)
  expect((await outcome(files, false)) as Error).toMatchObject({ message: expect.stringMatching(/blocks overlap/) })
})

test('a block whose stored bytes are more than a block may have is damaged, before there is room made for them', async () => {
  const hole = new Uint8Array(17 * 1024 * 1024)
  const block = { ...chunk(noise(5_000, 99)), stored: hole, compression: 1 }
  await expectDamaged(craft(honest, [...all, block]))
})

test('three nodes that name each other a thousand times are walked once by verify', async () => {
  // 10 x 1,000 x 1,000 chunks of 5,000 bytes.
  const leaf = node(Array.from({ length: 1_000 }, () => [5_000, a] as const))
  const middle = node(Array.from({ length: 1_000 }, () => [5_000_000, leaf] as const))
  const top = node(Array.from({ length: 10 }, () => [5_000_000_000, middle] as const))
  const entry = { ...honest, root: linkTo(top), size: 50_000_000_000 }
  const cpuMs = cpuTimer()
  const report = await readingStore(craft(entry, [...all, leaf, middle, top])).verify()
  expect(report.snapshots[0]).toMatchObject({ sequence: 2, intact: true })
  expect(cpuMs()).toBeLessThan(3_000)
})

describe('a compressed block', () => {
  /** A frame of runs: each block of 4 bytes stands for up to 128 KiB of one byte. */
  function runs(declared: number, blocks: number, each = 131_072): Uint8Array {
    const head = Buffer.alloc(4 + 1 + 1 + 8)
    head.writeUInt32LE(0xfd2fb528, 0)
    // Eight bytes of content size, a window of 8 MiB.
    head[4] = 0xc0
    head[5] = 13 << 3
    head.writeBigUInt64LE(BigInt(declared), 6)
    const body = Buffer.alloc(4 * blocks)
    for (let i = 0; i < blocks; i++) {
      body.writeUIntLE((each << 3) | (1 << 1) | (i === blocks - 1 ? 1 : 0), 4 * i, 3)
      body[4 * i + 3] = 0x41
    }
    return new Uint8Array(Buffer.concat([head, body]))
  }

  const compressed = (stored: Uint8Array, rawLength: number, raw: Uint8Array) =>
    craft({ root: linkTo(chunk(raw)), size: raw.length, chunking }, [
      { ...chunk(raw), stored, rawLength, compression: 1 },
    ])

  const plain = new Uint8Array(50_000).fill(0x41)

  test('that is honest can be read', async () => {
    expect(await outcome(compressed(runs(50_000, 1, 50_000), 50_000, plain))).toMatchObject({ sequence: 2 })
  })

  test.each<[string, Uint8Array, number]>([
    ['2 GiB out of 64 KiB, declared as 50,000 bytes', runs(50_000, 16_384), 50_000],
    ['2 GiB out of 64 KiB, declared as such', runs(2 ** 31, 16_384), 50_000],
    ['2 GiB out of 64 KiB, in the index too', runs(2 ** 31, 16_384), 2 ** 31],
    ['16 MiB out of 512 bytes, where a chunk of 50,000 bytes is meant', runs(2 ** 24, 128), 2 ** 24],
    ['less than is declared', runs(50_000, 1, 49_999), 50_000],
    ['more than is declared', runs(50_000, 1, 50_001), 50_000],
    ['no frame', noise(500, 1), 50_000],
    ['nothing', new Uint8Array(0), 50_000],
    ['two frames', Buffer.concat([runs(50_000, 1, 50_000), runs(50_000, 1, 50_000)]), 50_000],
  ])('that gives %s is damaged', async (_, stored, rawLength) => {
    await expectDamaged(compressed(stored, rawLength, plain))
  })

  test('whose check does not fit is not decompressed at all', async () => {
    const block = { ...chunk(plain), stored: runs(50_000, 1, 50_000), compression: 1, check: new Uint8Array(8) }
    await expectDamaged(craft({ root: linkTo(chunk(plain)), size: 50_000, chunking }, [block]))
  })
})

function put(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value
}

function withoutUndefined(fields: object): object {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
}
