import { execFileSync } from 'node:child_process'
import { lstatSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { putDatabase } from '../../src/local/put-database.ts'
import { rejects } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'

const write = vi.fn(async (path: string) => writeFileSync(path, 'new'))

describe.skipIf(process.platform === 'win32')('a restored database', () => {
  test('takes the place of the one behind a link, and the link stays', async () => {
    const root = scratch()
    mkdirSync(join(root, 'data'))
    writeFileSync(join(root, 'data', 'live.db'), 'old')
    symlinkSync(join('data', 'live.db'), join(root, 'link'))
    await putDatabase(join(root, 'link'), write)
    expect(lstatSync(join(root, 'link')).isSymbolicLink()).toBe(true)
    expect(readFileSync(join(root, 'link'), 'utf8')).toBe('new')
    expect(readdirSync(join(root, 'data')).sort()).toEqual(['live.db', 'live.db.old'])
    expect(readdirSync(root).sort()).toEqual(['data', 'link'])
  })

  test.each<[string, (root: string, path: string) => void]>([
    ['a pipe at its path', (_, path) => void execFileSync('mkfifo', [path])],
    ['a link that leads nowhere', (_, path) => symlinkSync('nowhere', path)],
    ['a directory of that name', (_, path) => mkdirSync(path)],
    [
      'a directory where the old one is to be kept',
      (_, path) => mkdirSync(join(`${path}.old`, 'mine'), { recursive: true }),
    ],
    ['a link out where the new one is to be made', (root, path) => symlinkSync(join(root, 'outside'), `${path}.new`)],
    ['a link where its log would be', (root, path) => symlinkSync(join(root, 'outside'), `${path}-wal`)],
  ])('is refused before it is written: %s', async (_, prepare) => {
    const root = scratch()
    writeFileSync(join(root, 'outside'), 'outside')
    prepare(root, join(root, 'live.db'))
    const before = readdirSync(root, { recursive: true })
    write.mockClear()
    await rejects(putDatabase(join(root, 'live.db'), write), 'IO_FAILED')
    expect(write).not.toHaveBeenCalled()
    expect(readdirSync(root, { recursive: true })).toEqual(before)
    expect(readFileSync(join(root, 'outside'), 'utf8')).toBe('outside')
  })
})
