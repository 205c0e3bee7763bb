// Whoever saves, the store stays its owner's, and its group's.

import nodeFs, { chmodSync, chownSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { writeFileDurable } from '../../src/durable.ts'
import { memory, openStore, setAside } from '../../src/index.ts'
import { rejects } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'

const USER = 12_345
const GROUP = 23_456

function below(path: string): string[] {
  return readdirSync(path, { recursive: true, encoding: 'utf8' }).map((name) => join(path, name))
}

describe.skipIf(process.geteuid?.() !== 0)('what root makes in the directory of another user', () => {
  test('becomes that user’s: packs, HEAD, lock, files, quarantine', async () => {
    const path = join(scratch(), 'store')
    mkdirSync(path, { mode: 0o700 })
    chownSync(path, USER, GROUP)
    const store = await openStore(path)
    for (let i = 0; i < 3; i++) await store.persist({ blobs: { a: `${i}` }, keepLast: 1 })
    await store.tag('good')
    await store.materialize()
    await store.close()
    expect(below(path).length).toBeGreaterThan(6)
    for (const name of below(path))
      expect([name, lstatSync(name).uid, lstatSync(name).gid]).toEqual([name, USER, GROUP])
  })

  test('becomes that user’s: a durable file', async () => {
    const path = scratch()
    chownSync(path, USER, GROUP)
    await writeFileDurable(join(path, 'below', 'file'), 'x', { makeDirectories: true })
    for (const name of below(path))
      expect([name, lstatSync(name).uid, lstatSync(name).gid]).toEqual([name, USER, GROUP])
  })
})

describe.skipIf(process.geteuid?.() !== 0)('what root puts in the place of another user’s file', () => {
  test('becomes that user’s: a durable file, a blob that is written out', async () => {
    const path = scratch()
    const [file, blob] = [join(path, 'file'), join(path, 'blob')]
    for (const each of [file, blob]) {
      writeFileSync(each, 'old')
      chownSync(each, USER, GROUP)
    }
    await writeFileDurable(file, 'new')
    await using store = memory()
    await store.persist({ blobs: { a: 'new' } })
    await using snapshot = await store.load()
    await snapshot!.blob('a').writeTo(blob)
    for (const each of [file, blob]) {
      expect(readFileSync(each, 'utf8')).toBe('new')
      expect([lstatSync(each).uid, lstatSync(each).gid]).toEqual([USER, GROUP])
    }
  })

  test('is the directory’s owner’s where the file was root’s', async () => {
    const path = scratch()
    writeFileSync(join(path, 'file'), 'old')
    chownSync(path, USER, GROUP)
    await writeFileDurable(join(path, 'file'), 'new')
    expect(lstatSync(join(path, 'file')).uid).toBe(USER)
  })
})

describe.skipIf(process.geteuid?.() !== 0)('where root may not give files away', () => {
  test.each(['fchownSync', 'lchownSync'] as const)('nothing stays of what was made (%s)', async (call) => {
    const path = scratch()
    chownSync(path, USER, GROUP)
    const spy = vi.spyOn(nodeFs, call).mockImplementation(() => {
      throw Object.assign(new Error('EPERM: made up'), { code: 'EPERM', syscall: 'chown' })
    })
    syncBuiltinESMExports()
    onTestFinished(() => {
      spy.mockRestore()
      syncBuiltinESMExports()
    })
    const make =
      call === 'fchownSync'
        ? writeFileDurable(join(path, 'file'), 'x')
        : writeFileDurable(join(path, 'below', 'file'), 'x', { makeDirectories: true })
    await rejects(make, 'IO_FAILED')
    expect(readdirSync(path)).toEqual([])
  })
})

test('lock, files and notes have the bits of the directory, whatever the umask', async () => {
  const root = scratch()
  const path = join(root, 'store')
  mkdirSync(path)
  chmodSync(root, 0o770)
  chmodSync(path, 0o770)
  const umask = process.umask(0o077)
  try {
    const store = await openStore(path)
    await store.persist({ blobs: { a: 'x' } })
    await store.materialize()
    await store.close()
    await setAside(path, { reason: 'x' })
  } finally {
    process.umask(umask)
  }
  for (const name of below(root)) {
    const { mode } = lstatSync(name)
    expect([name, (mode >> 3) & 0o7]).toEqual([name, (mode >> 6) & 0o7])
  }
})
