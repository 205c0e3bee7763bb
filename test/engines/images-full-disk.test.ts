// Images on a disk without room: they go first, and a save that fits without them is done.

import { closeSync, existsSync, openSync, readdirSync, rmSync, statfsSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { persistEngine, restoreEngine } from '../../src/engines/adapter.ts'
import { openStore } from '../../src/index.ts'
import { noise } from '../support/bytes.ts'
import { mountTmpfs } from '../support/mounted.ts'
import { rejects } from '../support/rejects.ts'
import { change, fileAdapter, fileEngine } from './file-engine.ts'

const PAGE = 4096
/** A file of a MiB. */
const RECORDS = 2048

/** Fills the disk but for `leave` bytes. */
function fill(disk: string, leave: number): void {
  const { bfree, bsize } = statfsSync(disk)
  const descriptor = openSync(join(disk, 'ballast'), 'w')
  for (let left = bfree * bsize - leave; left >= PAGE; left -= PAGE) writeSync(descriptor, Buffer.alloc(PAGE))
  closeSync(descriptor)
}

function imagesIn(path: string): string[] {
  const files = join(path, 'files')
  return existsSync(files) ? readdirSync(files).filter((name) => name.endsWith('.image')) : []
}

test('an image goes when a persist has no room, and the persist goes on', async (context) => {
  const disk = mountTmpfs(context, 'size=16m')
  const path = join(disk, 'store')
  const store = await openStore(path, { compression: 'none' })
  const engine = fileEngine(RECORDS)
  await persistEngine(store, fileAdapter(), engine)
  expect(imagesIn(path)).toHaveLength(1)
  fill(disk, 600_000)
  await store.persist({ blobs: { other: noise(1_200_000, 5) } })
  expect(imagesIn(path)).toEqual([])
  expect((await store.verify()).ok).toBe(true)
  await store.close()
})

test('an image that is mapped stays, and the persist is NO_SPACE', async (context) => {
  const disk = mountTmpfs(context, 'size=16m')
  const path = join(disk, 'store')
  const store = await openStore(path, { compression: 'none' })
  await persistEngine(store, fileAdapter(), fileEngine(RECORDS))
  const restored = (await restoreEngine(store, fileAdapter({ mapped: true })))!
  fill(disk, 600_000)
  await rejects(store.persist({ blobs: { other: noise(1_200_000, 5) } }), 'NO_SPACE')
  expect(imagesIn(path)).toHaveLength(1)
  expect(restored.engine.bytes.length).toBeGreaterThan(1_000_000)
  await restored.dispose()
  await store.close()
})

test('a save with no room for the file, or for what is new beside it, is done without an image', async (context) => {
  const disk = mountTmpfs(context, 'size=16m')
  for (const leave of [400_000, 1_150_000]) {
    const path = join(disk, 'store')
    const engine = fileEngine(RECORDS)
    await persistEngine(path, fileAdapter(), engine, { compression: 'none', image: 'none' })
    // A fifth of it.
    for (let record = 0; record < RECORDS / 5; record++) change(engine, record, 3)
    fill(disk, leave)
    const { bytes } = await persistEngine(path, fileAdapter(), engine, { compression: 'none', attempts: 1 })
    expect([leave, bytes.image, imagesIn(path)]).toEqual([leave, 0, []])
    rmSync(join(disk, 'ballast'))
    const restored = (await restoreEngine(path, fileAdapter()))!
    expect(restored.engine.bytes.equals(engine.bytes)).toBe(true)
    await restored.dispose()
    rmSync(path, { recursive: true })
  }
})
