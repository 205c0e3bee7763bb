// A pack that cannot be read, or is for a newer version: what other packs have is read all the same, by every way to
// read. Only what they lack is an error, and it says what is wrong with the pack.

import { expect, test } from 'vitest'
import { blake3 } from '../../src/format/blake3.ts'
import type { FileSystem } from '../../src/fs/port.ts'
import { imageOf } from '../explore/fuzz/images.ts'
import { createDisk } from '../faulty-disk/disk.ts'
import { noise } from '../support/bytes.ts'
import {
  type CraftedBlock,
  type CraftedPack,
  chunk,
  craftPack,
  craftStoreOf,
  linkTo,
  manifest,
  node,
  segments,
} from '../support/craft.ts'
import { open, systemError } from '../support/lab.ts'
import { rejects } from '../support/rejects.ts'

const parts = [chunk(noise(5_000, 1)), chunk(noise(6_000, 2)), chunk(noise(7_000, 3))]
const bytes = Buffer.concat(parts.map((part) => part.bytes))
const root = node(parts.map((part) => [part.bytes.length, part]))
const segment = segments(blake3(bytes))
const top = manifest({
  blob: {
    root: linkTo(root),
    size: bytes.length,
    segments: linkTo(segment),
    chunking: { kind: 'content', average: 16_384 },
  },
})

/** The pack that is looked into after the one with the manifest. */
function newer(blocks: readonly CraftedBlock[]): CraftedPack {
  return craftPack(blocks, { tamper: ({ header }) => header.set([2], 8) })
}

interface Disk {
  packs: CraftedPack[]
  failing: boolean
}

/** The last pack cannot be read while `disk.failing`. */
function storeOn(disk: Disk) {
  const last = `/srv/store/packs/${disk.packs.at(-1)!.name}.pack`
  const through = (fs: FileSystem): FileSystem => ({
    ...fs,
    async open(path, kind, mode) {
      const file = await fs.open(path, kind, mode)
      if (path !== last) return file
      return {
        ...file,
        async read(target, position) {
          if (disk.failing) throw systemError('EIO', 'read')
          return await file.read(target, position)
        },
      }
    },
  })
  return open(createDisk(imageOf(craftStoreOf(top, disk.packs))), { through })
}

async function everyWay(store: ReturnType<typeof storeOn>): Promise<void> {
  // A snapshot for each: what one of them has read, the other one does not see.
  for (const way of ['bytes', 'stream'] as const) {
    await using snapshot = (await store.load())!
    const blob = snapshot.blob('blob')
    if (way === 'bytes') expect(Buffer.compare(await blob.bytes(), bytes)).toBe(0)
    else {
      const streamed: Uint8Array[] = []
      for await (const part of blob.stream()) streamed.push(part)
      expect(Buffer.compare(Buffer.concat(streamed), bytes)).toBe(0)
    }
  }
}

const first = craftPack([top], {})
const rest = craftPack([...parts, root], {})
const oneBad = craftPack([parts[0]!, wrong(parts[1]!), parts[2]!, root], {})

test.each<[string, Disk]>([
  ['segments in a pack of a newer version', { packs: [first, rest, newer([segment])], failing: false }],
  ['segments in a pack that cannot be read', { packs: [first, rest, craftPack([segment], {})], failing: true }],
  ['another copy of a chunk in a newer pack', { packs: [first, rest, newer([segment, parts[1]!])], failing: false }],
  [
    'a bad copy before it',
    { packs: [craftPack([top, segment], {}), craftPack(parts, {}), oneBad, newer([])], failing: false },
  ],
])('%s: the blob is read', async (_, disk) => {
  await using store = storeOn(disk)
  await everyWay(store)
})

/** Other bytes lie there. */
function wrong(block: CraftedBlock): CraftedBlock {
  return { ...block, stored: noise(block.bytes.length, 99) }
}

test('what only a newer pack has is VERSION_UNSUPPORTED, and no damage', async () => {
  const packs = [first, craftPack([parts[0]!, parts[1]!, root], {}), newer([parts[2]!])]
  await using store = storeOn({ packs, failing: false })
  await rejects(everyWay(store), 'VERSION_UNSUPPORTED')
  await rejects(store.load({ fallback: true }), 'VERSION_UNSUPPORTED')
})

test('what only an unreadable pack has is IO_FAILED, also where another copy is bad, and reads again with the disk', async () => {
  const disk = { packs: [first, oneBad, craftPack([parts[1]!], {})], failing: true }
  await using store = storeOn(disk)
  await using snapshot = (await store.load())!
  for (let turn = 0; turn < 3; turn++) await rejects(snapshot.blob('blob').bytes(), 'IO_FAILED')
  disk.failing = false
  expect(Buffer.compare(await snapshot.blob('blob').bytes(), bytes)).toBe(0)
})
