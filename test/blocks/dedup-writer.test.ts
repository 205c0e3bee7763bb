// Where the blocks are that a persist reuses.

import { expect, test } from 'vitest'
import { type BlockSource, placeOf } from '../../src/blocks/block-source.ts'
import { createDedupWriter } from '../../src/blocks/dedup-writer.ts'
import { CODEC_DAG_CBOR } from '../../src/format/cid.ts'
import { KIND } from '../../src/format/pack.ts'

const digest = new Uint8Array(32).fill(7)
const block = new Uint8Array(100)
const ids = new Map([
  ['a', 1],
  ['b', 2],
])

/** Two packs that have the block, of which the second one's copy is found first, as when its index is read first. */
function setUp() {
  const bad = new Map<string, Set<string>>()
  const index = { blocks: 3, isRegular: true, rawLength: () => block.length, find: () => 1 }
  let found = placeOf(1, 1)
  const source = { packs: [{ name: 'a' }, { name: 'b' }], indexes: [index, index], find: () => found }
  const writer = {} as never
  const dedup = createDedupWriter({ source: source as unknown as BlockSource, ids, damaged: [bad], writer })
  dedup.block(block, digest, CODEC_DAG_CBOR, KIND.manifest)
  // The other index was read since.
  found = placeOf(0, 1)
  return { dedup, bad }
}

test('a reused block is in the pack that is needed for it, whichever copy is found later', () => {
  const { dedup } = setUp()
  expect([...dedup.needed()]).toEqual([2])
  expect(dedup.packOf(digest)).toBe(2)
})

test('a copy that turns out to be bad is none, and the other one is reused in its place', () => {
  const { dedup, bad } = setUp()
  bad.set('b', new Set(['07'.repeat(32)]))
  expect(dedup.packOf(digest)).toBe(-1)
  dedup.block(block, digest, CODEC_DAG_CBOR, KIND.manifest)
  expect(dedup.packOf(digest)).toBe(1)
  expect(dedup.needed()).toContain(1)
})

test('what is not needed is nowhere', () => {
  const { dedup } = setUp()
  dedup.moved([2], { get: () => -1 } as never)
  expect(dedup.packOf(digest)).toBe(-1)
})
