import { spawnSync } from 'node:child_process'
import { chmodSync, chownSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { quarantine, reapOrphans, writeFileDurable } from '../../src/durable.ts'
import { checkDirectory } from '../../src/fs/check-directory.ts'
import { loadSnapshot, openStore, persistSnapshot } from '../../src/open.ts'
import { sameBytes } from '../support/bytes.ts'
import { contentOf, expectLoads, expectRecovers, temps } from '../support/health.ts'
import { mountTmpfs, remount } from '../support/mounted.ts'
import { rejects } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'
import { tree } from '../support/tree.ts'

const child = fileURLToPath(new URL('unprivileged.mjs', import.meta.url))

describe('on a file system that was mounted read-only', () => {
  test('a store loads, verifies and writes nothing, opened read-only or not; a persist says why it cannot', async (context) => {
    const disk = mountTmpfs(context, 'size=16m')
    const path = join(disk, 'store')
    await persistSnapshot(path, { blobs: contentOf(1) })
    await persistSnapshot(path, { blobs: contentOf(2) })
    remount(disk, 'ro')
    const before = tree(disk)
    for (const readOnly of [true, false]) {
      const store = await openStore(path, { readOnly })
      const restored = await store.restore(async (snapshot) => snapshot.blob('index').bytes(), { fallback: true })
      expect(sameBytes(restored!.value, contentOf(2).index!)).toBe(true)
      expect(restored!.skipped).toEqual([])
      await restored!.snapshot.dispose()
      expect((await store.verify()).ok).toBe(true)
      expect((await store.snapshots()).map(({ sequence }) => sequence)).toEqual([2, 1])
      const blobs = contentOf(3)
      const refused = await rejects(store.persist({ blobs }), readOnly ? 'READ_ONLY' : 'IO_FAILED')
      if (!readOnly) {
        expect(refused.details.code).toBe('EROFS')
        expect(refused.message).toContain('readOnly: true')
      }
      await store.close()
    }
    await expectLoads(path, 2)
    expect(tree(disk)).toEqual(before)
    remount(disk, 'rw')
    await expectRecovers(path, 3)
  })

  test('blobs are laid out as files elsewhere, and nothing is written on the medium', async (context) => {
    const disk = mountTmpfs(context, 'size=16m')
    const path = join(disk, 'store')
    await persistSnapshot(path, { blobs: contentOf(1) })
    remount(disk, 'ro')
    const before = tree(disk)
    const filesDir = join(scratch(), 'files')
    const snapshot = await loadSnapshot(path, { readOnly: true, filesDir, required: true })
    const file = await snapshot!.blob('index').file()
    expect(file.startsWith(filesDir)).toBe(true)
    expect(sameBytes(readFileSync(file), contentOf(1).index!)).toBe(true)
    await snapshot!.dispose()
    expect(tree(disk)).toEqual(before)
  })

  test('what was laid out before is found there: materialize, then ship the image', async (context) => {
    const disk = mountTmpfs(context, 'size=16m')
    const path = join(disk, 'store')
    const store = await openStore(path)
    await store.persist({ blobs: contentOf(1) })
    const { files } = await store.materialize()
    await store.close()
    remount(disk, 'ro')
    const before = tree(disk)
    expect(sameBytes(readFileSync(files.index!), contentOf(1).index!)).toBe(true)
    for (const options of [{ readOnly: true }, { readOnly: true, filesDir: join(path, 'files') }, {}]) {
      const snapshot = await loadSnapshot(path, { ...options, required: true })
      expect(await snapshot!.blob('index').file()).toBe(files.index)
      await snapshot!.dispose()
    }
    expect(tree(disk)).toEqual(before)
  })

  test('and not laid out before, a blob is no file there, and that is said', async (context) => {
    const disk = mountTmpfs(context, 'size=16m')
    const path = join(disk, 'store')
    await persistSnapshot(path, { blobs: contentOf(1) })
    remount(disk, 'ro')
    const snapshot = await loadSnapshot(path, { readOnly: true, required: true })
    await rejects(snapshot!.blob('index').file(), 'FILES_UNSUPPORTED')
    await snapshot!.dispose()
    const writable = await loadSnapshot(path, { required: true })
    expect((await rejects(writable!.blob('index').file(), 'IO_FAILED')).details.code).toBe('EROFS')
    await writable!.dispose()
  })

  test('and damaged since it was laid out, a file is not given out', async (context) => {
    const disk = mountTmpfs(context, 'size=16m')
    const path = join(disk, 'store')
    const store = await openStore(path)
    await store.persist({ blobs: contentOf(1) })
    const { files } = await store.materialize()
    await store.close()
    const bytes = readFileSync(files.index!)
    bytes[bytes.length - 1]! ^= 1
    chmodSync(files.index!, 0o600)
    writeFileSync(files.index!, bytes)
    remount(disk, 'ro')
    const snapshot = await loadSnapshot(path, { readOnly: true, required: true })
    await rejects(snapshot!.blob('index').file(), 'FILES_UNSUPPORTED')
    expect(sameBytes(await snapshot!.blob('index').bytes(), contentOf(1).index!)).toBe(true)
    await snapshot!.dispose()
  })

  test('turned so between two persists of one open store, that store goes on when it is writable again', async (context) => {
    const disk = mountTmpfs(context, 'size=16m')
    const path = join(disk, 'store')
    const store = await openStore(path)
    await store.persist({ blobs: contentOf(1) })
    remount(disk, 'ro')
    await rejects(store.persist({ blobs: contentOf(2) }), 'IO_FAILED')
    await expectLoads(path, 1)
    remount(disk, 'rw')
    await store.persist({ blobs: contentOf(2) })
    await store.close()
    await expectLoads(path, 2)
    await expectRecovers(path, 3)
  })

  test('no store can be made there, and what holds is told', async (context) => {
    const disk = mountTmpfs(context, 'size=16m')
    remount(disk, 'ro')
    expect(await loadSnapshot(join(disk, 'store'))).toBeNull()
    await rejects(persistSnapshot(join(disk, 'store'), { blobs: contentOf(1) }), 'IO_FAILED')
    const report = await checkDirectory(join(disk, 'store'))
    expect(report.checks.filter(({ ok }) => !ok).map(({ name }) => name)).toEqual([
      'writable',
      'free-space',
      'file-system',
    ])
    expect(report.checks.find(({ name }) => name === 'writable')).toMatchObject({
      detail: expect.stringContaining('EROFS'),
      advice: expect.stringContaining('readOnly: true'),
    })
  })

  test('durable files stay as they were', async (context) => {
    const disk = mountTmpfs(context, 'size=16m')
    const path = join(disk, 'file')
    await writeFileDurable(path, 'old')
    remount(disk, 'ro')
    expect((await rejects(writeFileDurable(path, 'new'), 'IO_FAILED')).details.code).toBe('EROFS')
    expect((await rejects(quarantine(path, { reason: 'x' }), 'IO_FAILED')).details.code).toBe('EROFS')
    expect(await reapOrphans(path)).toEqual({ removed: [], kept: [] })
    expect([readdirSync(disk), readFileSync(path, 'utf8')]).toEqual([['file'], 'old'])
  })
})

test('a store opened read-only gives out the files that are laid out there, keeps them from collectors, and writes nothing', async () => {
  const path = join(scratch(), 'store')
  const store = await openStore(path, { keepLast: 1 })
  await store.persist({ blobs: contentOf(1) })
  const { files } = await store.materialize({ blobs: ['index'] })
  const before = tree(path)
  const snapshot = await loadSnapshot(path, { readOnly: true, required: true })
  expect(await snapshot!.blob('index').file()).toBe(files.index)
  await rejects(snapshot!.blob('ids').file(), 'FILES_UNSUPPORTED')
  expect(tree(path)).toEqual(before)
  await store.persist({ blobs: contentOf(2) })
  expect(sameBytes(readFileSync(files.index!), contentOf(1).index!)).toBe(true)
  await snapshot!.dispose()
  await store.persist({ blobs: contentOf(3) })
  expect(existsSync(files.index!)).toBe(false)
  await store.close()
})

describe('in a directory that may not be written any more', () => {
  test.each(['store', 'packs', 'tmp'])(
    '(%s) a user who is not root loads, and is told what fails',
    async (which, ...rest) => {
      void rest
      const path = join(scratch(), 'store')
      const root = process.geteuid?.() === 0
      const directory = which === 'store' ? path : join(path, which)
      await persistSnapshot(path, { blobs: contentOf(1) })
      if (root) giveAway(join(path, '..'))
      chmodSync(directory, 0o500)
      // As root nothing is refused, so that a child gives its rights up after it has loaded its code.
      const { status, stdout, stderr } = spawnSync(process.execPath, [child, path], { encoding: 'utf8' })
      chmodSync(directory, 0o700)
      expect([status, stderr]).toEqual([0, ''])
      expect(JSON.parse(stdout)).toEqual({
        uid: root ? 65534 : process.geteuid?.(),
        loads: true,
        readOnlyLoads: true,
        persist: { code: 'IO_FAILED', systemCode: 'EACCES' },
        durable: which === 'store' ? { code: 'IO_FAILED', systemCode: 'EACCES' } : 'written',
      })
      expect(temps(path)).toEqual([])
      expect(readdirSync(join(path, 'packs'))).toHaveLength(1)
      expect(existsSync(join(path, 'config.json'))).toBe(which !== 'store')
      await expectLoads(path, 1)
      await expectRecovers(path, 2)
    },
  )
})

function giveAway(path: string): void {
  chownSync(path, 65534, 65534)
  for (const entry of readdirSync(path, { recursive: true, encoding: 'utf8' }))
    chownSync(join(path, entry), 65534, 65534)
}
