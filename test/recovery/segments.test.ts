// The segments block of a blob only makes it quick to verify: without it the blob loads, and a repair makes it anew.

import { expect, test } from 'vitest'
import { KIND } from '../../src/format/pack.ts'
import { sameBytes } from '../support/bytes.ts'
import { blobsOf, blocksOf, build, headOf, packsOf, persisted, repaired, rotten, visit } from '../support/lab.ts'

const one = await build(persisted('a1'))
const [path] = packsOf(one)
const segments = blocksOf(one, path!).find(({ kind }) => kind === KIND.segments)!
const damaged = rotten(one, path!, segments.offset + 40)

test('one flipped bit in it: every way to read gives the bytes, and verify says what is damaged', async () => {
  await visit(damaged, async (store) => {
    await using snapshot = await store.load({ fallback: true })
    expect(snapshot!.sequence).toBe(1)
    expect(sameBytes(await snapshot!.blob('index').bytes(), blobsOf('a1').index!)).toBe(true)
    expect(await store.verify()).toMatchObject({
      ok: false,
      problems: [{ code: 'PACK_DAMAGED', blockCount: 1 }],
      snapshots: [{ intact: true }],
    })
  })
})

test('a repair makes it anew and keeps the snapshot', async () => {
  const { report, image, history } = await repaired(damaged)
  expect(report.actions).toContainEqual({ action: 'rebuild-segments', blocks: 1 })
  expect(history).toEqual(['1 a1 current'])
  const blocks = packsOf(image).flatMap((pack) => blocksOf(image, pack))
  expect(blocks.some(({ digest }) => digest === segments.digest)).toBe(true)
  expect(headOf(image).snapshots[0]!.packs.length).toBeGreaterThan(0)
})
