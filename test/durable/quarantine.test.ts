import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, test } from 'vitest'
import { quarantine } from '../../src/durable.ts'
import { nodeFileSystem } from '../../src/fs/node.ts'
import type { FileSystem } from '../../src/fs/port.ts'
import { quarantinePath } from '../../src/fs/quarantine.ts'
import { failure, rejects } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'
import { observe, systemError } from '../support/watched-disk.ts'

function put(directory: string, name: string): string {
  const path = join(directory, name)
  writeFileSync(path, `content of ${name}`)
  return path
}

describe('quarantine', () => {
  test('renames beside the original; the name says why and when, and a note says it in full', async () => {
    const root = scratch()
    const path = put(root, 'index.bin')
    const before = Date.now()
    const to = await quarantine(path, { reason: 'bad magic', details: { found: 7n } })
    expect(basename(to!)).toMatch(/^index\.bin\.bad-magic\.\d{4}-\d\d-\d\dT\d{6}\.\d{3}Z\.[0-9a-f]{16}$/)
    expect(dirname(to!)).toBe(root)
    expect(readFileSync(to!, 'utf8')).toBe('content of index.bin')
    const note = JSON.parse(readFileSync(`${to}.json`, 'utf8'))
    expect(note).toEqual({ original: path, reason: 'bad magic', time: expect.any(String), details: { found: '7' } })
    expect(Math.abs(Date.parse(note.time) - before)).toBeLessThan(60_000)
    expect(readdirSync(root)).toHaveLength(2)
  })

  test('takes directories with all that is in them, links as they are, and URLs', async () => {
    const root = scratch()
    mkdirSync(join(root, 'index'))
    put(join(root, 'index'), 'a')
    symlinkSync('index', join(root, 'link'))
    const link = await quarantine(pathToFileURL(join(root, 'link')), { reason: 'x' })
    expect(readlinkSync(link!)).toBe('index')
    const to = await quarantine(`${join(root, 'index')}/`, { reason: 'x' })
    expect(readdirSync(to!)).toEqual(['a'])
  })

  test('moves into another directory if asked, which is made', async () => {
    const root = scratch()
    const directory = join(root, 'later')
    const to = await quarantine(put(root, 'a'), { reason: 'x', directory })
    expect([dirname(to!), readdirSync(root)]).toEqual([directory, ['later']])
    const again = await quarantine(put(root, 'a'), { reason: 'x', directory: pathToFileURL(directory) })
    expect(readdirSync(directory).sort()).toEqual(
      [to, `${to}.json`, again, `${again}.json`].map((path) => basename(path!)).sort(),
    )
  })

  test('never puts two under one name', async () => {
    const root = scratch()
    const moved = new Set<string>()
    for (let round = 0; round < 30; round += 1) moved.add((await quarantine(put(root, 'a'), { reason: 'x' }))!)
    expect([moved.size, readdirSync(root).length]).toEqual([30, 60])
  })

  test('leaves what is in quarantine where it is, notes too', async () => {
    const root = scratch()
    const to = (await quarantine(put(root, 'a'), { reason: '***' }))!
    const before = readdirSync(root)
    expect(await quarantine(to, { reason: 'again' })).toBe(to)
    expect(await quarantine(`${to}.json`, { reason: 'again' })).toBe(`${to}.json`)
    expect(readdirSync(root)).toEqual(before)
  })

  test('of nothing is null, also when another process was faster', async () => {
    const root = scratch()
    expect(await quarantine(join(root, 'none'), { reason: 'x' })).toBeNull()
    const { fs: watched, log } = observe(root)
    expect(await quarantinePath(watched, join(root, 'none'), { reason: 'x', details: {}, now: new Date() })).toBeNull()
    expect(log).toEqual([])
    const path = put(root, 'a')
    const fs: FileSystem = {
      ...nodeFileSystem,
      async rename(from, to) {
        await nodeFileSystem.rename(from, join(root, 'taken'))
        return nodeFileSystem.rename(from, to)
      },
    }
    expect(await quarantinePath(fs, path, { reason: 'x', details: {}, now: new Date() })).toBeNull()
    expect(readdirSync(root)).toEqual(['taken'])
  })

  test('that cannot move it leaves it, and says so', async () => {
    const root = scratch()
    const path = put(root, 'a')
    const { fs } = observe(root, (line) => {
      if (line.startsWith('rename')) throw systemError('EACCES', 'rename')
    })
    await rejects(quarantinePath(fs, path, { reason: 'x', details: {}, now: new Date() }), 'IO_FAILED')
    expect(readdirSync(root)).toEqual(['a'])
  })

  test('that cannot be made durable says that it was moved', async () => {
    const root = scratch()
    const path = put(root, 'a')
    const options = { reason: 'x', details: {}, now: new Date() }
    let moved = false
    const { fs } = observe(root, (line) => {
      if (line.startsWith('syncDirectory') && moved) throw systemError('EIO', 'fsync')
      moved ||= line.startsWith('rename')
    })
    await rejects(quarantinePath(fs, path, options), 'COMMIT_UNKNOWN')
    expect(existsSync(path)).toBe(false)
  })

  test('whose note cannot be made durable does not move it', async () => {
    const root = scratch()
    const path = put(root, 'a')
    const { fs } = observe(root, (line) => {
      if (line.startsWith('syncDirectory')) throw systemError('EIO', 'fsync')
    })
    await rejects(quarantinePath(fs, path, { reason: 'x', details: {}, now: new Date() }), 'IO_FAILED')
    expect(readdirSync(root)).toEqual(['a'])
  })

  test('wants a reason', async () => {
    const path = put(scratch(), 'a')
    for (const options of [undefined, {}, { reason: '' }, { reason: 7 }]) {
      expect(await failure(quarantine(path, options as { reason: string }))).toBeInstanceOf(TypeError)
    }
    expect(existsSync(path)).toBe(true)
  })
})
