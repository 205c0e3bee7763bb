// Whoever saves, the store stays its owner's, and its group's.

import { chmodSync, chownSync, lstatSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { writeFileDurable } from '../../src/durable.ts'
import { openStore, setAside } from '../../src/index.ts'
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
