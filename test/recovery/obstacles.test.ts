// Something else lies in the place of a part of the store. Loads do not need the part, and verify does not call the
// store sound.

import { mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { isHoldfastError } from '../../src/errors.ts'
import { failure, rejects } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'
import { storeAt } from '../support/store-directory.ts'

async function stored(): Promise<string> {
  const path = join(scratch(), 'store')
  await using store = storeAt(path)
  await store.persist({ blobs: { a: 'one' } })
  await store.persist({ blobs: { a: 'two' } })
  return path
}

function linkAway(path: string): void {
  const away = join(scratch(), 'away')
  mkdirSync(join(path, '..'), { recursive: true })
  try {
    renameSync(path, away)
  } catch {
    mkdirSync(away)
  }
  symlinkSync(away, path)
}

function replace(make: (path: string) => void): (path: string) => void {
  return (path) => {
    rmSync(path, { recursive: true, force: true })
    make(path)
  }
}

test.each<[what: string, how: string, lay: (path: string) => void, said: RegExp]>([
  ['packs/', 'a link', linkAway, /is a symbolic link; it must be a real directory/],
  ['tmp/', 'a link', linkAway, /is a symbolic link; it must be a real directory/],
  ['tmp/', 'a file', replace((path) => writeFileSync(path, '')), /is a file; it must be a real directory/],
  ['files/', 'a link', linkAway, /is a symbolic link; it must be a real directory/],
  ['quarantine/', 'a link', linkAway, /is a symbolic link; it must be a real directory/],
  ['quarantine/', 'a file', replace((path) => writeFileSync(path, '')), /is a file; it must be a real directory/],
  ['writer.lock', 'a directory', replace((path) => mkdirSync(path)), /is a directory; it must be a regular file/],
])('verify tells of %s that is %s; snapshots are loaded all the same', async (what, _how, lay, said) => {
  const path = await stored()
  lay(join(path, what.replace('/', '')))
  await using store = storeAt(path)
  await using snapshot = (await store.load())!
  expect(await snapshot.blob('a').text()).toBe('two')
  for (const level of ['quick', 'full'] as const) {
    const report = await store.verify({ level })
    expect(report.ok).toBe(false)
    expect(report.snapshots.every(({ intact }) => intact)).toBe(true)
    expect(report.problems).toMatchObject([
      { code: 'STORE_DAMAGED', what, obstacle: true, message: expect.stringMatching(said) as string },
    ])
    expect(report.advice).toContain(what)
  }
})

test.each(['packs', 'tmp'])('what verify tells of %s/ is what a persist meets', async (name) => {
  const path = await stored()
  linkAway(join(path, name))
  await using store = storeAt(path)
  const error = await failure(store.persist({ blobs: { a: 'three' } }))
  const { problems } = await store.verify()
  expect(isHoldfastError(error) && [error.code, error.message]).toEqual([problems[0]!.code, problems[0]!.message])
})

test.each(['HEAD.json', 'STORE.json'])('a directory in the place of %s is an error with what to do', async (name) => {
  const path = await stored()
  replace((at) => mkdirSync(at))(join(path, name))
  await using store = storeAt(path)
  for (const work of [() => store.load(), () => store.persist({ blobs: { a: 'x' } }), () => store.repair()]) {
    const error = await failure(work())
    expect(error).toMatchObject({
      code: 'IO_FAILED',
      message: expect.stringMatching(/EISDIR.*move it away.*repair\(\)/),
    })
  }
  rmSync(join(path, name), { recursive: true })
  await store.repair()
  await using snapshot = (await store.load())!
  expect(await snapshot.blob('a').text()).toMatch(/one|two/)
})

function packsOf(path: string): string[] {
  return readdirSync(join(path, 'packs')).map((name) => join(path, 'packs', name))
}

test('packs that were moved to another disk, and are links now, are read and built on', async () => {
  const path = await stored()
  const away = scratch()
  for (const [i, pack] of packsOf(path).entries()) {
    const moved = join(away, `${i}.pack`)
    renameSync(pack, moved)
    symlinkSync(moved, pack)
  }
  await using store = storeAt(path)
  expect((await store.verify()).problems).toEqual([])
  // It builds on what the older snapshot has.
  await store.persist({ blobs: { a: 'one', b: 'three' } })
  await using snapshot = (await store.load())!
  expect([await snapshot.blob('a').text(), await snapshot.blob('b').text()]).toEqual(['one', 'three'])
  expect((await store.verify()).problems).toEqual([])
})

test('a directory in the place of a pack cannot be read, and is not called damage', async () => {
  const path = await stored()
  for (const pack of packsOf(path)) {
    rmSync(pack)
    mkdirSync(pack)
  }
  await using store = storeAt(path)
  const { ok, problems } = await store.verify()
  expect(ok).toBe(false)
  expect(problems.some(({ what }) => what.startsWith('snapshot'))).toBe(true)
  expect(new Set(problems.map(({ code }) => code))).toEqual(new Set(['IO_FAILED']))
  await rejects(store.load(), 'IO_FAILED')
})
