import * as dagCbor from '@ipld/dag-cbor'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { assertBlobName, type BlobEntry } from '../../src/format/blob-entry.ts'
import { content, fixed } from '../../src/format/chunking.ts'
import { CODEC_DAG_CBOR, CODEC_RAW, cidOf } from '../../src/format/cid.ts'
import { BLOB_BYTES_MAX } from '../../src/format/limits.ts'
import { decodeManifest, encodeManifest as encodeBlocks, type Manifest } from '../../src/format/manifest.ts'
import { isWellFormed } from '../../src/format/value.ts'
import { expectCode } from './expect-code.ts'
import { flips, pattern, prefixes } from './pattern.ts'

/** Of up to 256 blobs: they are in the manifest itself. */
const encodeManifest = (manifest: Manifest): Uint8Array => encodeBlocks(manifest).block

const digest = (seed: number): Uint8Array => pattern(32, seed)
const small: BlobEntry = { root: { codec: CODEC_RAW, digest: digest(1) }, size: 100, chunking: content() }
const large: BlobEntry = {
  root: { codec: CODEC_DAG_CBOR, digest: digest(2) },
  size: 5_000_000,
  segments: digest(3),
  chunking: fixed(4096),
  type: 'application/octet-stream',
}
const manifest: Manifest = {
  blobs: new Map([
    ['index', large],
    ['docs', small],
  ]),
  metadata: { engine: 'test', generation: 7 },
  watermark: { lsn: 2n ** 60n },
}

/** The manifest as @ipld/dag-cbor would see it, to be damaged in some field. */
const plain = () => ({
  format: 'holdfast-manifest' as unknown,
  version: 1 as unknown,
  blobs: {
    docs: {
      root: cidOf(small.root) as unknown,
      size: 100 as unknown,
      chunking: { kind: 'content', average: 16_384 } as unknown,
    } as Record<string, unknown>,
  } as Record<string, unknown>,
  metadata: {} as unknown,
})

test('a manifest is the dag-cbor map of the specification', () => {
  const block = encodeManifest({ blobs: new Map([['docs', small]]), metadata: {} })
  expect(block).toEqual(new Uint8Array(dagCbor.encode(plain())))
})

test('every manifest comes back equal, and equal manifests have equal bytes', () => {
  const name = fc
    .string({ unit: 'binary', minLength: 1, maxLength: 40 })
    .filter((s) => isWellFormed(s) && !s.includes('\0'))
  const names = fc.uniqueArray(fc.oneof(name, fc.constantFrom('__proto__', '7', '\uFEFF', '..', 'a/b')), {
    maxLength: 20,
  })
  fc.assert(
    fc.property(names, fc.boolean(), (names, withWatermark) => {
      const blobs = names.map((name, i): [string, BlobEntry] => [name, i % 2 ? small : large])
      const given: Manifest = { blobs: new Map(blobs), metadata: { names } }
      if (withWatermark) given.watermark = null
      const block = encodeManifest(given)
      const back = decodeManifest(block) as Manifest
      expect(back).toEqual(given)
      expect(Object.hasOwn(back, 'watermark')).toBe(withWatermark)
      expect(encodeManifest(back)).toEqual(block)
      expect(encodeManifest({ ...given, blobs: new Map(blobs.reverse()) })).toEqual(block)
    }),
  )
})

test('every shortened manifest is refused; every flipped byte is refused, or is what it says', () => {
  const block = encodeManifest(manifest)
  for (const bytes of prefixes(block)) expectCode(() => decodeManifest(bytes), 'SNAPSHOT_DAMAGED')
  for (const bytes of flips(block, [1, 2, 4, 8, 16, 32, 64, 128])) {
    let back: Manifest
    try {
      back = decodeManifest(bytes) as Manifest
    } catch (error) {
      expectCode(
        () => {
          throw error
        },
        'SNAPSHOT_DAMAGED',
        'VERSION_UNSUPPORTED',
      )
      continue
    }
    expect(encodeManifest(back)).toEqual(bytes)
  }
})

describe('decoding refuses', () => {
  const docs = (changes: Record<string, unknown>) => {
    const fields = plain()
    const entry = { ...(fields.blobs.docs as object), ...changes }
    return {
      ...fields,
      blobs: { docs: Object.fromEntries(Object.entries(entry).filter(([, value]) => value !== undefined)) },
    }
  }
  const nodeRoot = cidOf(large.root)
  const cases: [name: string, fields: unknown][] = [
    ['a list', []],
    ['a link', nodeRoot],
    ['another format', { ...plain(), format: 'holdfast-commit' }],
    ['no version', { ...plain(), version: null }],
    ['version 0', { ...plain(), version: 0 }],
    ['version 1.5', { ...plain(), version: 1.5 }],
    ['a map of blobs in version 2', { ...plain(), version: 2 }],
    ['a list of blobs in version 2 that is no link', { ...plain(), version: 2, blobs: [1, 2] }],
    ['a blob list that is raw', { ...plain(), version: 2, blobs: [1, cidOf(small.root)] }],
    ['a blob list of no blobs', { ...plain(), version: 2, blobs: [0, nodeRoot] }],
    ['a blob list of 65,537 blobs', { ...plain(), version: 2, blobs: [65_537, nodeRoot] }],
    ['a blob list of half a blob', { ...plain(), version: 2, blobs: [1.5, nodeRoot] }],
    ['an unknown field', { ...plain(), parent: null }],
    ['blobs that are a list', { ...plain(), blobs: [] }],
    ['blobs that are bytes', { ...plain(), blobs: new Uint8Array(2) }],
    ['metadata that is a list', { ...plain(), metadata: [] }],
    ['metadata that is a link', { ...plain(), metadata: nodeRoot }],
    ['a name with a NUL', { ...plain(), blobs: { 'a\0': plain().blobs.docs } }],
    ['a name of 1,025 bytes', { ...plain(), blobs: { [`${'é'.repeat(512)}x`]: plain().blobs.docs } }],
    ['an entry that is a list', { ...plain(), blobs: { docs: [] } }],
    ['an entry with an unknown field', docs({ time: 1 })],
    ['an entry without a root', docs({ root: undefined })],
    ['an entry without a chunking', docs({ chunking: undefined })],
    ['a root that is text', docs({ root: 'bafy' })],
    ['a negative size', docs({ size: -1 })],
    ['a size with a fraction', docs({ size: 1.5 })],
    ['a size beyond the limit', docs({ root: nodeRoot, segments: nodeRoot, size: BLOB_BYTES_MAX + 1 })],
    ['a size as a large integer', docs({ size: 2n ** 60n })],
    ['a single chunk beyond its chunking', docs({ size: 65_537 })],
    ['segments without nodes', docs({ segments: nodeRoot })],
    ['nodes without segments', docs({ root: nodeRoot })],
    ['segments that are raw', docs({ root: nodeRoot, segments: cidOf(small.root) })],
    ['segments that are null', docs({ root: nodeRoot, segments: null })],
    ['a chunking that is unknown', docs({ chunking: { kind: 'other' } })],
    ['a type that is a number', docs({ type: 1 })],
  ]
  test.each(cases)('%s', (_name, fields) => {
    expectCode(() => decodeManifest(new Uint8Array(dagCbor.encode(fields))), 'SNAPSHOT_DAMAGED')
  })

  test('a newer version, whatever else it has', () => {
    const newer = new Uint8Array(dagCbor.encode({ ...plain(), version: 3, more: 1 }))
    expect(expectCode(() => decodeManifest(newer), 'VERSION_UNSUPPORTED')).toMatchObject({ version: 3 })
  })

  test('65,537 blobs', () => {
    const entry = plain().blobs.docs
    const blobs = Object.fromEntries(Array.from({ length: 65_537 }, (_, i) => [`b${i}`, entry]))
    expectCode(() => decodeManifest(new Uint8Array(dagCbor.encode({ ...plain(), blobs }))), 'SNAPSHOT_DAMAGED')
  })

  test('blobs that add up to more than 2^53 - 1 bytes', () => {
    const entry = { ...(plain().blobs.docs as object), root: nodeRoot, segments: nodeRoot, size: BLOB_BYTES_MAX }
    const blobs = Object.fromEntries(Array.from({ length: 4200 }, (_, i) => [`b${i}`, entry]))
    expectCode(() => decodeManifest(new Uint8Array(dagCbor.encode({ ...plain(), blobs }))), 'SNAPSHOT_DAMAGED')
  })
})

describe('encoding refuses', () => {
  test('metadata and watermarks that are not strict values, with their paths', () => {
    const blobs = new Map<string, BlobEntry>()
    const details = expectCode(
      () => encodeManifest({ blobs, metadata: { fields: [{ weight: -0 }] } }),
      'METADATA_INVALID',
    )
    expect(details).toMatchObject({ path: 'metadata.fields[0].weight' })
    expect(
      expectCode(() => encodeManifest({ blobs, metadata: {}, watermark: [Number.NaN] }), 'METADATA_INVALID'),
    ).toMatchObject({ path: 'watermark[0]' })
    for (const metadata of [[], null, 'text', 5]) {
      expectCode(() => encodeManifest({ blobs, metadata: metadata as never }), 'METADATA_INVALID')
    }
    const type = { ...small, type: '\uD800' }
    expect(
      expectCode(() => encodeManifest({ blobs: new Map([['a', type]]), metadata: {} }), 'METADATA_INVALID'),
    ).toMatchObject({
      path: 'blobs["a"].type',
    })
  })

  test('metadata 64 deep comes back; 65 deep is refused', () => {
    let metadata: Record<string, unknown> = {}
    for (let depth = 1; depth < 64; depth++) metadata = { in: metadata }
    expect(decodeManifest(encodeManifest({ blobs: new Map(), metadata })).metadata).toEqual(metadata)
    expectCode(() => encodeManifest({ blobs: new Map(), metadata: { in: metadata } }), 'METADATA_INVALID')
  })

  test('names that are not names', () => {
    for (const name of ['', 'a\0b', '\uD800', 'x'.repeat(1025), 'é'.repeat(513)]) {
      expect(expectCode(() => assertBlobName(name), 'BLOB_NAME_INVALID')).toMatchObject({ name })
      expectCode(() => encodeManifest({ blobs: new Map([[name, small]]), metadata: {} }), 'BLOB_NAME_INVALID')
    }
    for (const name of ['.', '..', '/etc/passwd', 'a b', '__proto__', 'x'.repeat(1024), 'é'.repeat(512), '\uFEFF']) {
      assertBlobName(name)
    }
    for (const name of [undefined, null, 5, {}, new String('a')]) expect(() => assertBlobName(name)).toThrow(TypeError)
  })

  test('more than the limits', () => {
    const many = new Map(Array.from({ length: 65_537 }, (_, i) => [`b${i}`, small]))
    expect(expectCode(() => encodeManifest({ blobs: many, metadata: {} }), 'LIMIT_EXCEEDED')).toMatchObject({
      limit: 'blobs',
    })
    const text = 'x'.repeat(16_777_216)
    expect(expectCode(() => encodeManifest({ blobs: new Map(), metadata: { text } }), 'LIMIT_EXCEEDED')).toMatchObject({
      limit: 'manifestBytes',
      max: 16_777_216,
    })
  })

  test('entries that contradict themselves, as a bug', () => {
    const { segments: _, ...withoutSegments } = large
    for (const entry of [withoutSegments, { ...small, segments: digest(1) }, { ...small, size: -1 }]) {
      expect(() => encodeManifest({ blobs: new Map([['a', entry]]), metadata: {} })).toThrow(/bug/)
    }
  })
})
