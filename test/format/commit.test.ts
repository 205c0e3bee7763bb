import * as dagCbor from '@ipld/dag-cbor'
import { expect, test } from 'vitest'
import { CODEC_DAG_CBOR, CODEC_RAW, cidOf } from '../../src/format/cid.ts'
import { type CommitRecord, decodeCommit, encodeCommit } from '../../src/format/commit.ts'
import { expectCode } from './expect-code.ts'
import { flips, pattern, prefixes } from './pattern.ts'

const commit: CommitRecord = {
  store: pattern(16, 1),
  sequence: 42,
  manifest: { codec: CODEC_DAG_CBOR, digest: pattern(32, 2) },
  time: '2025-01-31T23:59:59.999Z',
  message: 'nightly — \uFEFF',
  packs: [new Uint8Array(32).fill(1), new Uint8Array(32).fill(0x20)],
}
const fields = { ...commit, format: 'holdfast-commit', version: 1, manifest: cidOf(commit.manifest) }

test('a record is the dag-cbor map of the specification, and comes back equal', () => {
  const block = encodeCommit(commit)
  expect(block).toEqual(new Uint8Array(dagCbor.encode(fields)))
  expect(decodeCommit(block)).toEqual(commit)
  const { message: _, ...bare } = { ...commit, packs: [] }
  expect(decodeCommit(encodeCommit(bare))).toEqual(bare)
})

test('every shortened record is refused; every flipped byte is refused, or is what it says', () => {
  const block = encodeCommit(commit)
  for (const bytes of prefixes(block)) expectCode(() => decodeCommit(bytes), 'SNAPSHOT_DAMAGED')
  for (const bytes of flips(block, [1, 2, 4, 8, 16, 32, 64, 128])) {
    let back: CommitRecord
    try {
      back = decodeCommit(bytes)
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
    expect(encodeCommit(back)).toEqual(bytes)
  }
})

test('what contradicts the format is damage when read, and a bug when written', () => {
  const rawManifest = { codec: CODEC_RAW, digest: pattern(32, 2) } as const
  const wrong: Partial<CommitRecord>[] = [
    { store: pattern(15, 1) },
    { sequence: 0 },
    { sequence: -1 },
    { sequence: 1.5 },
    { manifest: rawManifest },
    { time: '2025-01-31' },
    { time: '2025-02-30T00:00:00.000Z' },
    { time: '2025-01-31T23:59:59Z' },
    { time: '2025-01-31T23:59:59.999+01:00' },
    { packs: [pattern(31, 1)] },
    { packs: [...commit.packs].reverse() },
    { packs: [commit.packs[0]!, commit.packs[0]!] },
  ]
  for (const change of wrong) {
    expect(() => encodeCommit({ ...commit, ...change }), JSON.stringify(change)).toThrow(/bug/)
    const changed = { ...fields, ...change, ...(change.manifest ? { manifest: cidOf(change.manifest) } : {}) }
    expectCode(() => decodeCommit(new Uint8Array(dagCbor.encode(changed))), 'SNAPSHOT_DAMAGED')
  }
  const foreign = [
    { store: 'text' },
    { sequence: '1' },
    { manifest: 'bafy' },
    { time: 1 },
    { message: 1 },
    { packs: {} },
    { packs: ['text'] },
    { parent: 1 },
    { format: 'holdfast-manifest' },
    { version: 0 },
  ]
  for (const change of foreign) {
    expectCode(() => decodeCommit(new Uint8Array(dagCbor.encode({ ...fields, ...change }))), 'SNAPSHOT_DAMAGED')
  }
  expectCode(() => decodeCommit(new Uint8Array(dagCbor.encode({ ...fields, version: 2 }))), 'VERSION_UNSUPPORTED')
  expectCode(() => encodeCommit({ ...commit, message: '\uDC00' }), 'METADATA_INVALID')
})
