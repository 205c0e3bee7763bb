// Blob lists whose every digest is right, and which lie.

import { expect, test } from 'vitest'
import { noise } from '../support/bytes.ts'
import { type CraftedBlock, cbor, chunk, craftStore, linkTo } from '../support/craft.ts'
import { type Files, readingStore } from '../support/reading-store.ts'
import { rejects } from '../support/rejects.ts'

const content = chunk(noise(100, 1))
const entry = { root: linkTo(content), size: 100, chunking: { kind: 'content', average: 16_384 } }

const leaf = (...names: string[]): CraftedBlock => cbor(Object.fromEntries(names.map((name) => [name, entry])), 3)
const parent = (...children: [number, CraftedBlock][]): CraftedBlock =>
  cbor(
    children.map(([count, child]) => [count, linkTo(child)]),
    3,
  )

function listed(count: number, blocks: readonly CraftedBlock[]): Files {
  const blobs = [count, linkTo(blocks.at(-1)!)]
  const top = cbor({ format: 'holdfast-manifest', version: 2, blobs, metadata: {} }, 3)
  // No pack has a block twice.
  const once = new Map([content, ...blocks].map((block) => [linkTo(block).toString(), block]))
  return craftStore(top, [...once.values()], { older: true })
}

const [ab, cd, ef] = [leaf('a', 'b'), leaf('c', 'd'), leaf('ee', 'ff')]

/** `count` leaves below as many nodes of one child as make the list `depth` deep. */
function tower(depth: number): CraftedBlock[] {
  const blocks: CraftedBlock[] = [ab, cd]
  let sides: [CraftedBlock, CraftedBlock] = [ab, cd]
  for (let level = 2; level < depth; level++) {
    sides = [parent([2, sides[0]]), parent([2, sides[1]])]
    blocks.push(...sides)
  }
  return [...blocks, parent([2, sides[0]], [2, sides[1]])]
}

test.each<[string, string[], Files]>([
  ['of one leaf', ['a', 'b'], listed(2, [ab])],
  ['of leaves at two depths', ['a', 'b', 'c', 'd', 'ee', 'ff'], uneven()],
  ['four deep', ['a', 'b', 'c', 'd'], listed(4, tower(4))],
])('a list %s is read', async (_, names, files) => {
  const store = readingStore(files)
  await using snapshot = (await store.load())!
  expect(snapshot.names).toEqual(names)
  for (const name of names) expect(await snapshot.blob(name).bytes()).toEqual(new Uint8Array(noise(100, 1)))
  expect((await store.verify()).snapshots[0]).toMatchObject({ sequence: 2, intact: true })
})

function uneven(): Files {
  const below = parent([2, ab], [2, cd])
  return listed(6, [ab, cd, ef, below, parent([4, below], [2, ef])])
}

const typed = Array.from({ length: 13 }, (_, n) =>
  cbor({ [`${n}`.padStart(2, '0')]: { ...entry, type: 't'.repeat(1_000_000) } }, 3),
)

test.each<[string, Files]>([
  ['says fewer blobs than it has', listed(3, [ab, cd, parent([2, ab], [2, cd])])],
  ['says more blobs than it has', listed(5, [ab, cd, parent([2, ab], [2, cd])])],
  ['has a part that says fewer', listed(4, [ab, cd, parent([1, ab], [3, cd])])],
  ['has a leaf that says more', listed(3, [ab])],
  ['names a leaf twice', listed(4, [ab, parent([2, ab], [2, ab])])],
  ['has its leaves in another order', listed(4, [ab, cd, parent([2, cd], [2, ab])])],
  ['has long names before short ones', listed(4, [ef, cd, parent([2, ef], [2, cd])])],
  ['has a root of one child', listed(2, [ab, parent([2, ab])])],
  ['is five deep', listed(4, tower(5))],
  ['has a chunk in the place of a leaf', listed(4, [ab, parent([2, ab], [2, { ...content, codec: 0x71 }])])],
  ['lacks a leaf', listed(4, [ab, parent([2, ab], [2, cd])])],
  ['has types of 13 MB', listed(13, [...typed, parent(...typed.map((each): [number, CraftedBlock] => [1, each]))])],
])('a list that %s is damaged', async (_, files) => {
  const store = readingStore(files)
  await rejects(store.load(), 'SNAPSHOT_DAMAGED')
  await using older = (await store.load({ fallback: true }))!
  expect(older).toMatchObject({ sequence: 1, skipped: [{ sequence: 2 }] })
  const { snapshots } = await store.verify()
  expect(snapshots).toMatchObject([{ sequence: 2, intact: false, manifestLost: true }, { intact: true }])
})
