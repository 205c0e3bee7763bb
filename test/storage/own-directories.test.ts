// A store's own directories are never links: what is written, moved or deleted through one would lie outside of the
// store.

import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { isHoldfastError } from '../../src/errors.ts'
import { rejects } from '../support/rejects.ts'
import { quickScratch } from '../support/scratch.ts'
import { storeAt } from '../support/store-directory.ts'

test.each(['files', 'files/.tmp', 'quarantine'])('%s as a link out of the store is not followed', async (name) => {
  const home = quickScratch()
  const path = join(home, 'store')
  const outside = join(home, 'outside')
  mkdirSync(outside)
  const store = storeAt(path)
  await store.persist({ blobs: { a: 'one' } })
  await using snapshot = (await store.load())!
  const { cid } = snapshot.blob('a')
  if (name === 'files/.tmp') mkdirSync(join(path, 'files'))
  rmSync(join(path, name), { recursive: true, force: true })
  symlinkSync(outside, join(path, name))
  // What a collector would take for a laid-out file that nobody needs.
  const laidOut = cid.replace(/.{6}$/, 'aaaaaa')
  for (const file of [laidOut, `${laidOut}.lock`]) writeFileSync(join(outside, file), 'mine')
  const before = readdirSync(outside).sort()

  await rejects(snapshot.blob('a').file(), 'IO_FAILED')
  await store.persist({ blobs: { a: 'two' }, keepLast: 1 })
  expect(readdirSync(outside).sort()).toEqual(before)

  // A repair moves things aside.
  writeFileSync(join(path, 'HEAD.json'), 'not a HEAD')
  await store.repair().catch((error: unknown) => {
    if (!isHoldfastError(error, 'IO_FAILED')) throw error
    expect(readFileSync(join(path, 'HEAD.json'), 'utf8')).toBe('not a HEAD')
  })
  expect(readdirSync(outside).sort()).toEqual(before)
})
