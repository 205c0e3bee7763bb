// A pack whose index does not place its blocks as writers do: no chunk of it is built on unread, so what is persisted
// next can be read.

import { expect, test } from 'vitest'
import { blake3 } from '../../src/format/blake3.ts'
import { fixed } from '../../src/format/chunking.ts'
import { compressBlock } from '../../src/format/compress.ts'
import { prepareCompression } from '../../src/format/compression.ts'
import { imageOf } from '../explore/fuzz/images.ts'
import { createDisk } from '../faulty-disk/disk.ts'
import { noise, sameBytes } from '../support/bytes.ts'
import { type CraftedBlock, chunk, craftStore, linkTo, manifest, node, segments } from '../support/craft.ts'
import { open, visit } from '../support/lab.ts'

prepareCompression()
const text = chunk(Buffer.from('a line of text that is compressed\n'.repeat(16)).subarray(0, 512))
const frame = compressBlock(text.bytes)!.slice()
const compressed = { ...text, stored: frame, compression: 1 }
const [one, two] = [chunk(noise(512, 1)), chunk(noise(512, 2))]
const content = Buffer.concat([one.bytes, text.bytes, two.bytes])
const root = node([one, text, two].map((part) => [512, part]))
const segment = segments(blake3(content))
const entry = { root: linkTo(root), size: content.length, segments: linkTo(segment), chunking: fixed(512) }
const persisted = { blobs: { blob: { source: content, chunking: fixed(512) } } }

function storeWith(...chunks: readonly CraftedBlock[]) {
  return imageOf(craftStore(manifest({ blob: entry }), [...chunks, root, segment]))
}

/** What another process reads after a persist of the same content to such a store, and what the persist wrote. */
async function persistTo(chunks: readonly CraftedBlock[]) {
  const disk = createDisk(storeWith(...chunks))
  const store = open(disk)
  const { sequence, bytes } = await store.persist(persisted)
  expect(await store.persist(persisted)).toMatchObject({ sequence, unchanged: true })
  await store.close()
  const { result } = await visit(disk.image(), async (fresh) => {
    await using snapshot = await fresh.load()
    const whole = sameBytes(await snapshot!.blob('blob').bytes(), content)
    return { whole, again: await fresh.persist(persisted) }
  })
  expect(result).toMatchObject({ whole: true, again: { sequence, unchanged: true } })
  return bytes
}

test('a regular one is built on', async () => {
  const { result } = await visit(storeWith(one, compressed, two), (store) => store.persist(persisted))
  expect(result).toMatchObject({ unchanged: true, bytes: { written: 0 } })
})

test.each<[string, CraftedBlock[]]>([
  ['a chunk is said to be compressed', [{ ...one, compression: 1 }, compressed, two]],
  ['a compressed chunk is said to be shorter', [one, { ...compressed, storedLength: frame.length - 3 }, two]],
  ['a chunk is said to lie elsewhere', [one, compressed, { ...two, offset: 64 }]],
  ['a chunk is said to begin a byte later', [{ ...one, offset: 65 }, compressed, two]],
  [
    'there are bytes between the blocks',
    [
      one,
      {
        ...compressed,
        stored: Buffer.concat([frame, frame]),
        storedLength: frame.length,
        check: blake3(frame).subarray(0, 8),
      },
      two,
    ],
  ],
])('%s: all chunks are written again, and read', async (_, chunks) => {
  expect((await persistTo(chunks)).written).toBeGreaterThan(1024)
})

test('a regular one that gives a chunk another length: the chunk is written again', async () => {
  const { written } = await persistTo([one, { ...compressed, rawLength: 600 }, two])
  // With the manifest, the record and the index.
  expect(written).toBeGreaterThan(0)
  expect((await persistTo([one, { ...compressed, rawLength: 600 }, { ...two, offset: 64 }])).written).toBeGreaterThan(
    written + 1024,
  )
})
