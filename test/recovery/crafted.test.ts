import { describe, expect, test } from 'vitest'
import { isHoldfastError } from '../../src/errors.ts'
import { blake3 } from '../../src/format/blake3.ts'
import { fixed } from '../../src/format/chunking.ts'
import { CODEC_DAG_CBOR, cidText, parseCid } from '../../src/format/cid.ts'
import { encodeCommit } from '../../src/format/commit.ts'
import { createDagBuilder } from '../../src/format/dag.ts'
import type { HeadSnapshot } from '../../src/format/head.ts'
import { fromHex } from '../../src/format/hex.ts'
import { HEADER_BYTES } from '../../src/format/limits.ts'
import { encodeManifest } from '../../src/format/manifest.ts'
import { encodePackHeader, KIND } from '../../src/format/pack.ts'
import { createPackIndex } from '../../src/format/pack-builder.ts'
import { encodeSegments } from '../../src/format/segments.ts'
import type { DirectoryImage } from '../faulty-disk/image.ts'
import { noise } from '../support/bytes.ts'
import * as crafted from '../support/craft.ts'
import { build, fileOf, headBytes, headOf, persisted, repaired, visit, withFiles } from '../support/lab.ts'
import { rejects } from '../support/rejects.ts'

/* Stores that no writer of ours makes: everything has the digest that it should, and what it says is not so. */

interface Block {
  bytes: Uint8Array
  kind: number
  /** What the index says; default the truth. */
  length?: number | undefined
}

function packOf(image: DirectoryImage, blocks: readonly Block[]): { name: string; bytes: Uint8Array } {
  const header = encodePackHeader({ storeId: fromHex(headOf(image).storeId, 16), revision: 1, nonce: noise(16, 2) })
  const builder = createPackIndex()
  let position = HEADER_BYTES
  for (const { bytes, kind, length = bytes.length } of blocks) {
    const codec = kind === KIND.chunk ? 0x55 : CODEC_DAG_CBOR
    builder.add({
      digest: blake3(bytes),
      offset: position,
      storedLength: length,
      rawLength: length,
      codec,
      compression: 0,
      kind,
      check: null,
    })
    position += bytes.length
  }
  const { trailer, name } = builder.finish(header, position)
  return { name, bytes: new Uint8Array(Buffer.concat([header, ...blocks.map(({ bytes }) => bytes), trailer])) }
}

/** The store with one more snapshot, in a pack of its own. */
function withSnapshot(
  image: DirectoryImage,
  blocks: readonly Block[],
  manifest: Uint8Array,
  size: number,
): DirectoryImage {
  const pack = packOf(image, [...blocks, { bytes: manifest, kind: KIND.manifest }])
  const head = headOf(image)
  const snapshot: HeadSnapshot = {
    ...head.snapshots[0]!,
    sequence: 2,
    manifest: cidText({ codec: CODEC_DAG_CBOR, digest: blake3(manifest) }),
    pack: 99,
    packs: [99],
    size,
  }
  const next = {
    ...head,
    sequence: 2,
    current: 2,
    snapshots: [snapshot, ...head.snapshots],
    packs: [
      ...head.packs,
      { id: 99, name: pack.name, bytes: pack.bytes.length, blocks: blocks.length + 1, live: null },
    ],
  }
  return withFiles(image, { [`packs/${pack.name}.pack`]: pack.bytes, 'HEAD.json': headBytes(next) })
}

const one = await build(persisted('a1'))
const chunks = [noise(512, 1), noise(512, 2)]
const content = Buffer.concat(chunks)

/** A blob of two chunks, of which the lists say what is given. */
function blobOf(
  lengths: readonly number[],
  size: number,
  segments: readonly Uint8Array[],
  indexLength?: number,
  extra: (manifest: Uint8Array) => readonly Block[] = () => [],
): DirectoryImage {
  const nodes: Uint8Array[] = []
  const dag = createDagBuilder((block) => nodes.push(block))
  for (const [i, chunk] of chunks.entries()) dag.push(lengths[i]!, blake3(chunk), 0)
  const { root } = dag.finish()
  const list = encodeSegments(Buffer.concat(segments))
  const blobs = new Map([['x', { root, size, segments: blake3(list), chunking: fixed(512) }]])
  const { block: manifest } = encodeManifest({ blobs, metadata: {} })
  const blocks = [
    ...chunks.map((bytes) => ({ bytes, kind: KIND.chunk, length: indexLength })),
    ...nodes.map((bytes) => ({ bytes, kind: KIND.node })),
    { bytes: list, kind: KIND.segments },
    ...extra(manifest),
  ]
  return withSnapshot(one, blocks, manifest, size)
}

describe('a node that says a length at a limit', () => {
  const shared = { x: { source: content, chunking: fixed(512) } }
  const lengths = [2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 512, Number.MAX_SAFE_INTEGER - 512]

  test.each(
    lengths.flatMap((length): [number, number][] => [
      [length, length + 512],
      [length, 1_024],
    ]),
  )('%i, in a blob of %i bytes: a repair keeps the snapshot that shares its chunks', async (length, size) => {
    const sound = await build((store) => store.persist({ blobs: shared }))
    const [first, second] = chunks.map((bytes) => crafted.chunk(bytes))
    const lying = crafted.node([
      [length, first!],
      [512, second!],
    ])
    const list = crafted.segments(blake3(content))
    const blob = { root: crafted.linkTo(lying), size, segments: crafted.linkTo(list), chunking: fixed(512) }
    const blocks = [
      { bytes: lying.bytes, kind: KIND.node },
      { bytes: list.bytes, kind: KIND.segments },
    ]
    const image = withSnapshot(sound, blocks, crafted.manifest({ x: blob }).bytes, 1_024)
    expect(await loadsAt(image, 1)).toBe(true)
    expect(await loadsAt(image, 2)).toBe(false)
    const { image: after } = await visit(image, (store) => store.repair())
    expect(await loadsAt(after, 1)).toBe(true)
    const { result } = await visit(after, async (store) => [await store.snapshots(), await store.verify()] as const)
    expect(result[0].map(({ sequence }) => sequence)).toEqual([1])
    expect(result[1]).toMatchObject({ ok: true, problems: [] })
  })

  async function loadsAt(image: DirectoryImage, at: number): Promise<boolean> {
    const { result } = await visit(image, async (store) => {
      try {
        await using snapshot = await store.load({ at })
        return Buffer.compare(await snapshot!.blob('x').bytes(), content) === 0
      } catch (error) {
        if (isHoldfastError(error)) return false
        throw error
      }
    })
    return result
  }
})

/** The commit record of snapshot 2, for a manifest. */
function recordOf(manifest: Uint8Array): Block {
  const store = fromHex(headOf(one).storeId, 16)
  const [{ time }] = headOf(one).snapshots as [HeadSnapshot]
  const block = { codec: CODEC_DAG_CBOR, digest: blake3(manifest) } as const
  return { bytes: encodeCommit({ store, sequence: 2, manifest: block, time, packs: [] }), kind: KIND.commit }
}

test.each<[string, (manifest: Uint8Array) => readonly Block[], object[]]>([
  ['that agrees', (manifest) => [recordOf(manifest)], []],
  ['that agrees beside one of a writer that died', (manifest) => [recordOf(noise(9, 9)), recordOf(manifest)], []],
  ['of another manifest', () => [recordOf(noise(9, 9))], [{ code: 'HEAD_DAMAGED', what: 'snapshot 2' }]],
  ['that is none', () => [{ bytes: noise(99, 9), kind: KIND.commit }], [{ code: 'PACK_DAMAGED' }]],
])('verify reads commit records, at both levels: one %s', async (_name, extra, problems) => {
  const image = blobOf([512, 512], 1024, [blake3(content)], undefined, extra)
  for (const level of ['quick', 'full'] as const) {
    const { result } = await visit(image, (store) => store.verify({ level }))
    expect(result.problems).toMatchObject(problems)
    expect(result.problems).toHaveLength(problems.length)
  }
})

describe('sizes that do not add up', () => {
  test('a blob as it should be is the one that the others are compared with', async () => {
    const { result } = await visit(blobOf([512, 512], 1024, [blake3(content)]), async (store) => {
      await using snapshot = await store.load()
      expect(Buffer.compare(await snapshot!.blob('x').bytes(), content)).toBe(0)
      return await store.verify()
    })
    expect(result).toMatchObject({ ok: true, problems: [] })
  })

  test.each<[string, DirectoryImage]>([
    ['a chunk is longer than its list says', blobOf([500, 524], 1024, [blake3(content)])],
    ['a node holds less than the manifest says', blobOf([512, 512], 1025, [blake3(content)])],
  ])('%s: neither loads nor passes, and a repair drops it', async (_name, image) => {
    for (const level of ['quick', 'full'] as const) {
      const { result } = await visit(image, async (store) => {
        await using snapshot = await store.load()
        const error = await snapshot!
          .blob('x')
          .bytes()
          .catch((reason: unknown) => reason)
        expect(error).toMatchObject({ kind: 'damaged' })
        return await store.verify({ level })
      })
      expect(result).toMatchObject({
        ok: false,
        snapshots: [
          { sequence: 2, intact: false, damagedBlobs: ['x'] },
          { sequence: 1, intact: true },
        ],
      })
    }
    expect((await repaired(image)).history).toEqual(['1 a1 current'])
  })
})

test.each<[string, Uint8Array[]]>([
  ['more segments than the blob has', [blake3(content), blake3(content)]],
  ['segments of other bytes', [blake3(noise(1024, 9))]],
])('a blob with %s loads by its chunks, verify says so, and a repair has nothing to do', async (_name, digests) => {
  const image = blobOf([512, 512], 1024, digests)
  const { result } = await visit(image, async (store) => {
    await using snapshot = await store.load({ fallback: true })
    expect(snapshot!.sequence).toBe(2)
    expect(Buffer.compare(await snapshot!.blob('x').bytes(), content)).toBe(0)
    expect(await store.verify()).toMatchObject({ ok: true, snapshots: [{ intact: true }, { intact: true }] })
    return await store.repair()
  })
  expect(result).toMatchObject({ ok: true, actions: [] })
})

describe('a persist after a snapshot that lies', () => {
  const source = Buffer.concat([noise(512, 1), noise(512, 3)])

  test('hashes the chunks that it reuses: what is acknowledged can be read', async () => {
    // The segments are those of `source`, the chunks are others.
    const image = blobOf([512, 512], 1024, [blake3(source)])
    await visit(image, async (store) => {
      const persist = { blobs: { x: { source, chunking: fixed(512) } } }
      for (let turn = 0; turn < 2; turn++) {
        await store.persist(persist)
        await using snapshot = await store.load()
        expect(Buffer.compare(await snapshot!.blob('x').bytes(), source)).toBe(0)
      }
      expect((await store.verify()).snapshots[0]).toMatchObject({ intact: true })
    })
  })

  test('does not reuse a copy of another length', async () => {
    const image = blobOf([512, 512], 1024, [blake3(content)], 511)
    await visit(image, async (store) => {
      await store.persist({ blobs: { x: { source: content, chunking: fixed(512) } } })
      await using snapshot = await store.load()
      expect(Buffer.compare(await snapshot!.blob('x').bytes(), content)).toBe(0)
      // The good copy that a later pack has is found by the snapshot before, too.
      await using before = await store.load({ at: 2 })
      expect(Buffer.compare(await before!.blob('x').bytes(), content)).toBe(0)
      expect((await store.verify()).snapshots).toMatchObject([{ intact: true }, { intact: true }, { intact: true }])
    })
  })
})

describe('a manifest of a newer version', () => {
  const image = withSnapshot(one, [], newerManifest(), 0)

  test('is told by verify, and stops a repair: it is for the newer version to judge', async () => {
    const { result } = await visit(image, (store) => store.verify())
    expect(result).toMatchObject({ ok: false, problems: [{ code: 'VERSION_UNSUPPORTED', what: 'snapshot 2' }] })
    await rejects(
      visit(image, (store) => store.repair()),
      'VERSION_UNSUPPORTED',
    )
  })
})

function newerManifest(): Uint8Array {
  const { block: manifest } = encodeManifest({ blobs: new Map(), metadata: {} })
  // "version": 1 → 3; the key is followed by its value, one byte.
  const at = Buffer.from(manifest).indexOf('version') + 'version'.length
  const newer = new Uint8Array(manifest)
  newer[at] = 3
  return newer
}

test('of more snapshots than a HEAD can hold, a rebuilt one has the newest, and those with tags', async () => {
  const tagged = await visit(one, (store) => store.tag('release'))
  const [first] = headOf(one).snapshots
  const records = Array.from({ length: 1_200 }, (_, i) => ({
    bytes: encodeCommit({
      store: fromHex(headOf(one).storeId, 16),
      sequence: i + 1,
      manifest: parseCid(first!.manifest),
      time: '2025-01-31T23:59:59.999Z',
      packs: [],
    }),
    kind: KIND.commit,
  }))
  const pack = packOf(one, records)
  const lost = withFiles(tagged.image, {
    [`packs/${pack.name}.pack`]: pack.bytes,
    'HEAD.prev.json': fileOf(tagged.image, 'HEAD.json'),
    'HEAD.json': null,
  })
  const { result, image } = await visit(lost, (store) => store.repair())
  expect(result.snapshots).toEqual([...Array.from({ length: 1_023 }, (_, i) => 1_200 - i), 1])
  expect(headOf(image).snapshots.at(-1)).toMatchObject({ sequence: 1, tags: ['release'] })
  const dropped = result.actions.filter(({ action }) => action === 'drop-snapshot')
  expect(dropped).toHaveLength(1_200 - 1_024)
  expect(dropped[0]).toMatchObject({ why: 'a store keeps at most 1024 snapshots' })
  expect((await visit(image, (store) => store.verify())).result.ok).toBe(true)
})
