import { createHash } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { CODEC_DAG_CBOR, cidText } from '../../src/format/cid.ts'
import { encodeHead, type Head } from '../../src/format/head.ts'
import { packHead, unpackHead } from '../../src/storage/object/head-bytes.ts'
import { createRandom } from '../support/random.ts'
import { rejects } from '../support/rejects.ts'

const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
const hex = (text: string, bytes: number): string =>
  digest(text)
    .toString('hex')
    .slice(0, 2 * bytes)

/** Packs of 256 MiB; each snapshot needs all but a few of them, as after years of retention. */
function headOf(packs: number, snapshots: number): Head {
  const random = createRandom(1)
  const isLost = (id: number): boolean => id > 0 && random.below(1_000) === 0
  return {
    storeId: hex('store', 16),
    revision: 123_456,
    sequence: 100_000,
    current: 100_000,
    snapshots: Array.from({ length: snapshots }, (_, i) => ({
      sequence: 100_000 - i,
      manifest: cidText({ codec: CODEC_DAG_CBOR, digest: digest(`manifest ${i}`) }),
      time: '2026-01-31T23:59:59.999Z',
      tags: [],
      abandoned: false,
      pack: 50_000,
      packs: Array.from({ length: packs }, (_, id) => 50_000 + id).filter((id) => !isLost(id - 50_000)),
      size: 2 ** 41,
    })),
    packs: Array.from({ length: packs }, (_, i) => ({
      id: 50_000 + i,
      name: hex(`pack ${i}`, 32),
      bytes: 268_435_456 - random.below(2 ** 16),
      blocks: 16_000 + random.below(2 ** 10),
      live: 200_000_000 + random.below(2 ** 25),
      key: `${(100_000 + 2 * i).toString(16).padStart(16, '0')}-${hex(`key ${i}`, 16)}`,
    })),
    retired: [],
    damaged: [],
    writes: Array.from({ length: 64 }, (_, i) => hex(`write ${i}`, 8)),
    floor: 90_000,
  }
}

test('a HEAD of 10,000 packs and 100 snapshots is below 1 MiB', async () => {
  const sizes: Record<string, number> = {}
  for (const packs of [1_000, 4_096, 10_000]) {
    for (const snapshots of [3, 100]) {
      const head = headOf(packs, snapshots)
      const bytes = await packHead(head)
      sizes[`${packs} packs, ${snapshots} snapshots`] = bytes.length
      // `toEqual` would take seconds for the million numbers of the largest.
      expect(isDeepStrictEqual(await unpackHead(bytes, 'x'), { head, unknown: [] })).toBe(true)
    }
  }
  expect(sizes['10000 packs, 100 snapshots']).toBeLessThan(2 ** 20)
  // docs/scale.md has them.
  const documented = [79, 85, 322, 329, 784, 795]
  for (const [i, bytes] of Object.values(sizes).entries()) expect(bytes / 1024 / documented[i]!).toBeCloseTo(1, 1)
})

test('a small HEAD is stored as it is, and each of the two forms is read', async () => {
  const head = headOf(3, 3)
  expect(await packHead(head)).toEqual(encodeHead(head))
  expect((await unpackHead(gzipSync(encodeHead(head)), 'x')).head).toEqual(head)
})

test('what cannot be decompressed is damage, and so is what would fill the memory', async () => {
  const bytes = await packHead(headOf(1_000, 3))
  for (const damaged of [bytes.subarray(0, 1_000), Buffer.concat([bytes.subarray(0, 500), bytes.subarray(501)])]) {
    await rejects(unpackHead(damaged, 'x'), 'HEAD_DAMAGED')
  }
  const error = await rejects(unpackHead(gzipSync(Buffer.alloc(2 ** 26)), 'x'), 'HEAD_DAMAGED')
  expect((error.cause as NodeJS.ErrnoException).code).toBe('ERR_BUFFER_TOO_LARGE')
})
