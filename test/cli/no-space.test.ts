// What is said where there is no room: whose room it is, how much is free, and what helps.

import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { roomFor, type Target } from '../../src/cli/no-space.ts'
import { openStore } from '../../src/index.ts'
import { noise } from '../support/bytes.ts'
import { mountTmpfs } from '../support/mounted.ts'
import { scratch } from '../support/scratch.ts'
import { holdfast } from './holdfast.ts'

test('it is told whose room it is, and gc helps for that of the store alone', () => {
  const location = '/srv/store'
  const target: Target = { path: '/srv/out', bytes: 5_000_000, elsewhere: 'with -o' }
  const of = (path: string | null, verb = 'restore', given: Target | null = target) =>
    roomFor(path, false, { verb, location, target: given })
  expect(of('/srv/store/tmp/x')).toMatchObject({ for: 'store', next: 'gc', neededBytes: null })
  // A collection that finds no room does not need another collection.
  expect(of('/srv/store/tmp/x', 'gc')).toMatchObject({ for: 'store', next: 'quarantine' })
  expect(of('/srv/store2/x', 'persist', null)).toMatchObject({ for: 'other', next: null })
  for (const path of ['/srv/out', '/srv/out/a', '/srv/.out.12-0-abc.tmp.d/a', null]) {
    const room = of(path)
    expect(room).toMatchObject({ for: 'target', next: null, neededBytes: 5_000_000 })
    expect(room!.advice).toMatch(/about 4\.8 MiB are to be written\. Make room there, or choose another place with -o$/)
  }
  expect(of(join(tmpdir(), 'x'), 'persist', null)!.advice).toContain('TMPDIR')
  expect(roomFor('/srv/out', true, { verb: 'restore', location, target })!.advice).toContain('quota')
  // An object of a bucket is on no disk of ours.
  expect(roomFor(null, false, { verb: 'persist', location: 's3://b/p', target: null })).toBeNull()
})

test('on a full file system, each verb says what is full and what helps', async (context) => {
  const store = join(scratch(), 'store')
  await using opened = await openStore(store)
  await opened.persist({ blobs: { a: noise(3_000_000, 1) } })
  const disk = mountTmpfs(context, 'size=1m')
  const writing: [string[], string | null][] = [
    [['restore', '-o', join(disk, 'out'), '-s', store], 'with -o'],
    [['copy', join(disk, 'copy'), '-s', store], 'for the copy'],
    [['materialize', '--files-dir', join(disk, 'files'), '-s', store], 'with --files-dir'],
    [['persist', '--init', 'a=-', '-s', join(disk, 'store')], null],
  ]
  for (const [args, elsewhere] of writing) {
    const { exit, failure } = await holdfast([...args, '--json'], { input: noise(3_000_000, 1) })
    expect(exit, args.join(' ')).toBe(13)
    expect(failure).toMatchObject({ code: 'NO_SPACE', details: { for: elsewhere === null ? 'store' : 'target' } })
    expect(failure.details.freeBytes).toBeLessThan(1_100_000)
    expect(failure.details.directory.startsWith(disk)).toBe(true)
    if (elsewhere === null) expect(failure.next).toBe(`holdfast gc --store ${join(disk, 'store')}`)
    else expect([failure.next, failure.message.endsWith(elsewhere)]).toEqual([null, true])
  }
})
