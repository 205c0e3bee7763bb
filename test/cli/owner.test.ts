// A store that belongs to another user: root leaves every file to that user, and others are refused before they change
// anything.

import { chmodSync, chownSync, lstatSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { persistSnapshot } from '../../src/index.ts'
import { scratch } from '../support/scratch.ts'
import { tree } from '../support/tree.ts'
import { done, holdfast } from './holdfast.ts'

const USER = 1000
const OTHER = 1001

function below(path: string): string[] {
  return [path, ...readdirSync(path, { recursive: true, encoding: 'utf8' }).map((name) => join(path, name))]
}

async function storeOfUser(): Promise<string> {
  const home = scratch()
  const store = join(home, 'store')
  await persistSnapshot(store, { blobs: { a: 'one' } })
  await persistSnapshot(store, { blobs: { a: 'two' } })
  chmodSync(home, 0o755)
  for (const path of below(store)) chownSync(path, USER, USER)
  return store
}

describe.skipIf(process.geteuid?.() !== 0)('a store of another user', () => {
  test('stays that user’s, whatever root does, and that user goes on', async () => {
    const store = await storeOfUser()
    for (const args of [
      ['tag', 'v1'],
      ['persist', 'a=-'],
      ['rollback', 'current~1'],
      ['materialize'],
      ['untag', 'v1'],
      ['repair'],
    ]) {
      await done([...args, '-s', store], { input: 'three' })
    }
    for (const path of below(store))
      expect([path, lstatSync(path).uid, lstatSync(path).gid]).toEqual([path, USER, USER])
    await done(['persist', 'a=-', '-s', store], { input: 'four', uid: USER, gid: USER })
    await done(['verify', '-s', store], { uid: USER, gid: USER })
  })

  test('a new store in that user’s directory is that user’s', async () => {
    const home = scratch()
    chownSync(home, USER, USER)
    await done(['persist', '--init', 'a=-', '-s', join(home, 'store')], { input: 'one' })
    for (const path of below(join(home, 'store'))) expect([path, lstatSync(path).uid]).toEqual([path, USER])
  })

  test('is not written by a third user, even one who could', async () => {
    const store = await storeOfUser()
    for (const path of below(store)) chmodSync(path, 0o777)
    const before = tree(store)
    for (const args of [['tag', 'v1'], ['persist', 'a=-'], ['rollback', 'current~1'], ['materialize'], ['repair']]) {
      const ran = await holdfast([...args, '-s', store, '--json'], { input: 'x', uid: OTHER, gid: OTHER })
      expect(ran).toMatchObject({ exit: 15, failure: { code: 'OTHER_OWNER', details: { owner: USER, user: OTHER } } })
    }
    expect(tree(store)).toEqual(before)
    const listed = await done(['snapshots', '-s', store, '--json'], { uid: OTHER, gid: OTHER })
    expect(listed.document.snapshots).toHaveLength(2)
  })

  test('that cannot be read is 13 for others', async () => {
    const store = await storeOfUser()
    chmodSync(store, 0o700)
    const { exit, failure } = await holdfast(['snapshots', '-s', store, '--json'], { uid: OTHER, gid: OTHER })
    expect([exit, failure.code, failure.details.code]).toEqual([13, 'IO_FAILED', 'EACCES'])
  })
})
