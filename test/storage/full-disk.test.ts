import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { writeFileDurable } from '../../src/durable.ts'
import { isHoldfastError } from '../../src/errors.ts'
import { loadSnapshot, openStore, persistSnapshot } from '../../src/open.ts'
import { startChild } from '../fs/children.ts'
import { contentOf, expectLoads, expectRecovers, temps } from '../support/health.ts'
import { mountTmpfs } from '../support/mounted.ts'
import { rejects } from '../support/rejects.ts'

const page = 4096

/** Fills the disk but for `leave` pages. */
function fill(disk: string, leave: number): () => void {
  const ballast = join(disk, 'ballast')
  const { bfree, bsize } = statfsSync(disk)
  const pages = Math.floor((bfree * bsize) / page) - leave
  const descriptor = openSync(ballast, 'w')
  const bytes = Buffer.alloc(page)
  for (let index = 0; index < pages; index += 1) writeSync(descriptor, bytes)
  closeSync(descriptor)
  return () => rmSync(ballast)
}

describe('on a full disk', () => {
  test('a persist that does not fit is NO_SPACE; the snapshot before stays, and with room all goes on', async (context) => {
    const disk = mountTmpfs(context, 'size=8m')
    const path = join(disk, 'store')
    const store = await openStore(path, { compression: 'none' })
    await store.persist({ blobs: contentOf(1, 1_000_000) })
    const free = fill(disk, 100)
    const { bfree } = statfsSync(disk)
    const error = await rejects(store.persist({ blobs: contentOf(2, 1_000_000) }), 'NO_SPACE')
    expect([error.kind, error.details.code]).toEqual(['environment', 'ENOSPC'])
    expect(temps(path)).toEqual([])
    expect(readdirSync(join(path, 'packs'))).toHaveLength(1)
    // Nothing of the attempt is left, not even a page.
    expect(statfsSync(disk).bfree).toBe(bfree)
    await expectLoads(path, 1, 1_000_000)
    free()
    await store.persist({ blobs: contentOf(2, 1_000_000) })
    await store.close()
    await expectLoads(path, 2, 1_000_000)
    await expectRecovers(path, 3, 1_000_000)
  })

  test('wherever the space ends, a persist is done or it is not', async (context) => {
    const disk = mountTmpfs(context, 'size=8m')
    const path = join(disk, 'store')
    await persistSnapshot(path, { blobs: contentOf(1, 50_000) })
    let current = 1
    const outcomes: string[] = []
    for (let leave = 0; leave <= 40; leave += 1) {
      const free = fill(disk, leave)
      const next = 100 + leave
      const packs = readdirSync(join(path, 'packs'))
      try {
        await persistSnapshot(path, { blobs: contentOf(next, 50_000), keepLast: 2 })
        current = next
        outcomes.push('done')
      } catch (error) {
        if (!isHoldfastError(error, 'NO_SPACE')) throw error
        outcomes.push('full')
        // Also one that was complete, when it was HEAD for which there was no room.
        expect(packs).toEqual(expect.arrayContaining(readdirSync(join(path, 'packs'))))
      }
      expect(temps(path)).toEqual([])
      await expectLoads(path, current, 50_000)
      free()
    }
    // Both were seen, so that the edge between them was crossed.
    expect([outcomes[0], outcomes.at(-1)]).toEqual(['full', 'done'])
    await expectRecovers(path, 999, 50_000)
  })

  test('a store that could not be created is no store, and is created when there is room', async (context) => {
    const disk = mountTmpfs(context, 'size=8m')
    for (let leave = 0; leave <= 8; leave += 1) {
      const path = join(disk, `store-${leave}`)
      const free = fill(disk, leave)
      const created = await persistSnapshot(path, { blobs: contentOf(1, 50_000) }).then(
        () => true,
        (error: unknown) => {
          if (!isHoldfastError(error, 'NO_SPACE')) throw error
          return false
        },
      )
      await expectLoads(path, created ? 1 : null, 50_000)
      free()
      await expectRecovers(path, 2, 50_000)
    }
  })

  test('to the last page gc gives back what only HEAD.prev.json still needs', async (context) => {
    const disk = mountTmpfs(context, 'size=8m')
    const path = join(disk, 'store')
    {
      await using store = await openStore(path, { keepLast: 1, compression: 'none' })
      await store.persist({ blobs: contentOf(1, 1_000_000) })
      await store.persist({ blobs: contentOf(2, 1_000_000) })
    }
    expect(readdirSync(join(path, 'packs'))).toHaveLength(2)
    const free = fill(disk, 0)
    expect(statfsSync(disk).bfree).toBe(0)
    await using store = await openStore(path, { keepLast: 1, compression: 'none' })
    await rejects(store.tag('x'), 'NO_SPACE')
    const { done, freedBytes } = await store.gc()
    expect(done).toBe(true)
    expect(freedBytes).toBeGreaterThan(1_000_000)
    expect(readdirSync(join(path, 'packs'))).toHaveLength(1)
    expect(statfsSync(disk).bfree * page).toBeGreaterThan(900_000)
    expect(readdirSync(path)).toContain('HEAD.prev.json')
    await expectLoads(path, 2, 1_000_000)
    expect(await store.verify()).toMatchObject({ ok: true, problems: [] })
    await store.tag('x')
    free()
    await store.close()
    await expectRecovers(path, 3, 1_000_000)
  })

  test('to the last page, in which nothing can go, gc is NO_SPACE and changes nothing', async (context) => {
    const disk = mountTmpfs(context, 'size=8m')
    const path = join(disk, 'store')
    await using store = await openStore(path, { keepLast: 10, compression: 'none' })
    await store.persist({ blobs: { ...contentOf(1, 500_000), more: Buffer.alloc(800_000, 'x') } })
    await store.persist({ blobs: contentOf(1, 500_000) })
    await store.forget(1)
    await store.gc({ dryRun: true })
    const free = fill(disk, 0)
    const packs = readdirSync(join(path, 'packs'))
    await rejects(store.gc({ complete: true }), 'NO_SPACE')
    expect(readdirSync(join(path, 'packs'))).toEqual(packs)
    expect(readdirSync(path)).toContain('HEAD.prev.json')
    expect(temps(path)).toEqual([])
    await expectLoads(path, 1, 500_000)
    free()
    expect(await store.gc({ complete: true })).toMatchObject({ done: true, deadBytes: 0 })
    await expectLoads(path, 1, 500_000)
  })

  test('what dead writers left is removed first, to make room', async (context) => {
    const disk = mountTmpfs(context, 'size=8m')
    const path = join(disk, 'store')
    await persistSnapshot(path, { blobs: contentOf(1, 500_000) })
    const child = await startChild('temp', join(path, 'tmp'))
    writeFileSync(child.path, Buffer.alloc(2_000_000))
    const free = fill(disk, 20)
    // Its writer lives: it is not ours to remove.
    await rejects(persistSnapshot(path, { blobs: contentOf(2, 500_000) }), 'NO_SPACE')
    expect(statSync(child.path).size).toBe(2_000_000)
    await child.kill()
    await persistSnapshot(path, { blobs: contentOf(2, 500_000) })
    await expectLoads(path, 2, 500_000)
    free()
    await expectRecovers(path, 3, 500_000)
  })

  test('a snapshot can be loaded and verified, and laid out as a file it is NO_SPACE', async (context) => {
    const disk = mountTmpfs(context, 'size=8m')
    const path = join(disk, 'store')
    await persistSnapshot(path, { blobs: contentOf(1, 500_000) })
    const free = fill(disk, 10)
    const store = await openStore(path)
    expect((await store.verify()).ok).toBe(true)
    await store.close()
    const snapshot = await loadSnapshot(path, { required: true })
    await rejects(snapshot!.blob('index').file(), 'NO_SPACE')
    expect(temps(path)).toEqual([])
    free()
    expect(readFileSync(await snapshot!.blob('index').file()).length).toBe(500_000)
    await snapshot!.dispose()
    await expectRecovers(path, 2, 500_000)
  })

  test('a durable write is NO_SPACE and leaves the old content, and nothing else', async (context) => {
    const disk = mountTmpfs(context, 'size=2m')
    const path = join(disk, 'file')
    await writeFileDurable(path, 'old')
    const free = fill(disk, 10)
    const before = readdirSync(disk)
    await rejects(writeFileDurable(path, Buffer.alloc(100_000)), 'NO_SPACE')
    const save = (temp: string) => writeFileSync(temp, Buffer.alloc(100_000))
    // The engine's own error, as it was thrown.
    await expect(writeFileDurable(path, save)).rejects.toMatchObject({ code: 'ENOSPC', syscall: 'write' })
    expect([readdirSync(disk), readFileSync(path, 'utf8')]).toEqual([before, 'old'])
    free()
    await writeFileDurable(path, Buffer.alloc(100_000))
    expect(statSync(path).size).toBe(100_000)
  })
})

describe('without a free inode', () => {
  test('a persist is NO_SPACE wherever it meets the end, and the snapshot before stays', async (context) => {
    const disk = mountTmpfs(context, 'size=8m,nr_inodes=60')
    const path = join(disk, 'store')
    await persistSnapshot(path, { blobs: contentOf(1, 50_000) })
    const ballast = join(disk, 'ballast')
    let current = 1
    const outcomes: string[] = []
    for (let leave = 0; leave <= 6; leave += 1) {
      mkdirSync(ballast)
      for (let left = statfsSync(disk).ffree; left > leave; left -= 1) writeFileSync(join(ballast, String(left)), '')
      try {
        await persistSnapshot(path, { blobs: contentOf(10 + leave, 50_000) })
        current = 10 + leave
        outcomes.push('done')
      } catch (error) {
        if (!isHoldfastError(error, 'NO_SPACE')) throw error
        outcomes.push('full')
      }
      expect(temps(path)).toEqual([])
      await expectLoads(path, current, 50_000)
      rmSync(ballast, { recursive: true })
    }
    expect([outcomes[0], outcomes.at(-1)]).toEqual(['full', 'done'])
    await expectRecovers(path, 99, 50_000)
  })
})
