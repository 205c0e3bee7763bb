import { randomBytes } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { createPackWriter } from '../../src/blocks/pack-writer.ts'
import { blake3 } from '../../src/format/blake3.ts'
import { CODEC_RAW } from '../../src/format/cid.ts'
import { HEADER_BYTES } from '../../src/format/limits.ts'
import { KIND } from '../../src/format/pack.ts'
import { nodeFileSystem } from '../../src/fs/node.ts'
import type { FileSystem } from '../../src/fs/port.ts'
import { directoryStorage } from '../../src/storage/directory/storage.ts'
import { scratch } from '../support/scratch.ts'

test('what is discarded while its pack becomes durable is gone when that is said, and nothing of it goes on', async () => {
  const path = join(scratch(), 'store')
  let underWay = 0
  let synced = 0
  const fs: FileSystem = {
    ...nodeFileSystem,
    async openDirectory(at) {
      const directory = await nodeFileSystem.openDirectory(at)
      return {
        ...directory,
        async sync() {
          underWay += 1
          await sleep(50)
          await directory.sync().finally(() => {
            underWay -= 1
            synced += 1
          })
        },
      }
    },
  }
  const storage = directoryStorage({ fs, path, readOnly: false, lock: 'os' })
  await storage.write({ waitMs: 0 }, async (session) => {
    // Those of the directories that were made.
    synced = 0
    const writer = createPackWriter({
      storeId: randomBytes(16),
      revision: 1,
      firstPackId: 1,
      packBytesMax: 2 ** 20,
      createPack: session.createPack,
    })
    const bytes = randomBytes(1000)
    writer.append(bytes, blake3(bytes), CODEC_RAW, KIND.chunk, null)
    const durable = (await writer.finish()).seal()
    while (underWay === 0) await sleep(1)
    expect(readdirSync(join(path, 'packs'))).toHaveLength(1)
    await writer.discard()
    expect({ underWay, synced }).toEqual({ underWay: 0, synced: 1 })
    expect(readdirSync(join(path, 'packs'))).toEqual([])
    await durable
  })
  expect(readdirSync(join(path, 'tmp'))).toEqual([])
})

test('memory of a caller may be used again once a flush has resolved, that of a Buffer too', async () => {
  const storage = directoryStorage({ fs: nodeFileSystem, path: join(scratch(), 'store'), readOnly: false, lock: 'os' })
  await storage.write({ waitMs: 0 }, async (session) => {
    const writer = createPackWriter({
      storeId: randomBytes(16),
      revision: 1,
      firstPackId: 1,
      packBytesMax: 2 ** 20,
      createPack: session.createPack,
    })
    const memory = Buffer.alloc(1000)
    for (const fill of [1, 2]) {
      memory.fill(fill)
      writer.append(memory, blake3(memory), CODEC_RAW, KIND.chunk, null)
      await writer.flush()
    }
    const { packs, seal } = await writer.finish()
    await seal()
    const pack = await storage.openPack(packs[0]!.name)
    const bytes = new Uint8Array(2000)
    await pack.read(bytes, HEADER_BYTES)
    await pack.close()
    expect(bytes.filter((byte) => byte === 1)).toHaveLength(1000)
  })
})
