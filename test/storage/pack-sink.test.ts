import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { createTemp } from '../../src/fs/temps.ts'
import { createPackSink } from '../../src/storage/directory/pack-sink.ts'
import { rejects } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'

const MiB = 1024 * 1024

/** A sink whose temp fails in its first fsync, as a kernel does that reports a failed write-back once. */
async function sinkThatFailsOnce() {
  const packs = join(scratch(), 'packs')
  mkdirSync(packs)
  const temp = await createTemp(nodeFileSystem, join(packs, '..'), { mode: 0o600, lock: false })
  let syncs = 0
  const sync = async (): Promise<void> => {
    syncs += 1
    if (syncs === 1) throw Object.assign(new Error('EIO: made up, fsync'), { code: 'EIO', syscall: 'fsync' })
    await temp.file.sync()
  }
  const sink = createPackSink({
    fs: nodeFileSystem,
    temp: { ...temp, file: { ...temp.file, sync } },
    packs,
    directory: await nodeFileSystem.openDirectory(packs),
    unlessUnsynced: (work) => work,
    done: () => temp.file.closeSync(),
  })
  return { sink, packs, syncs: () => syncs }
}

test('a large pack is fsynced while more of it is written, and a failure of that fsync fails its commit', async () => {
  const { sink, packs, syncs } = await sinkThatFailsOnce()
  for (let i = 0; i < 10; i++) await sink.write([new Uint8Array(4 * MiB)], i * 4 * MiB)
  expect(syncs()).toBe(1)
  const error = await rejects(sink.commit('name'), 'IO_FAILED')
  expect(error.details.code).toBe('EIO')
  await sink.discard()
  expect(readdirSync(packs)).toEqual([])
})
