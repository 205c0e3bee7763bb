// `snapshots --max-age`, and the snapshots that can be written down.

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openStore } from '../../src/index.ts'
import { scratch } from '../support/scratch.ts'
import { files, tree } from '../support/tree.ts'
import { done, holdfast } from './holdfast.ts'

test('--max-age has an exit code of its own, and a document', async () => {
  const store = join(scratch(), 'store')
  await using opened = await openStore(store)
  await opened.persist({ blobs: { a: 'one' } })
  const young = await done(['snapshots', '--max-age', '1h', '-s', store, '--json'])
  expect(young.document).toMatchObject({ tooOld: false, maxAgeMs: 3_600_000 })
  const old = await holdfast(['snapshots', '--max-age', '1ms', '-s', store, '--json'])
  expect(old.exit).toBe(16)
  expect(old.document.tooOld).toBe(true)
  expect(old.document.ageMs).toBeGreaterThan(1)
  // For cron: no word while all is well.
  expect(await holdfast(['snapshots', '--max-age', '1h', '-q', '-s', store])).toMatchObject({ exit: 0, stdout: '' })
  const told = await holdfast(['snapshots', '--max-age', '1ms', '-q', '-s', store])
  expect(told.stdout).toMatch(/^too old: the current snapshot is \d+ (ms|s|min) old\n/m)
})

test('a snapshot is meant by its number, a tag, or as so many before the current one', async () => {
  const store = join(scratch(), 'store')
  {
    await using opened = await openStore(store, { keepLast: 10 })
    for (const text of ['one', 'two', 'three', 'four']) await opened.persist({ blobs: { a: text } })
    await opened.tag('v1', { at: 1 })
    await opened.tag('2', { at: 3 })
    await opened.rollback(2)
    await opened.persist({ blobs: { a: 'six' } })
  }
  const content = async (at: string) => (await holdfast(['cat', 'a', '--at', at, '-s', store])).stdout
  expect(await content('2')).toBe('two')
  expect(await content('tag:2')).toBe('three')
  expect(await content('v1')).toBe('one')
  expect(await content('current')).toBe('six')
  expect(await content('current~1')).toBe('two')
  // 3 and 4 were stepped over by the rollback.
  expect(await content('current~2')).toBe('two')
  expect(await content('current~3')).toBe('one')
  const { exit, failure } = await holdfast(['show', 'current~4', '-s', store, '--json'])
  expect([exit, failure.code]).toEqual([15, 'SNAPSHOT_NOT_FOUND'])
  const environment = await done(['snapshots', '--json'], { env: { HOLDFAST_STORE: store } })
  expect(environment.document.store).toBe(store)
  expect((await holdfast(['snapshots', '--json'], { env: { HOLDFAST_STORE: '' } })).exit).toBe(2)
})

test('a save by hand drops nothing, and forget drops what it is told to', async () => {
  const store = join(scratch(), 'store')
  for (const input of ['1', '2', '3', '4', '5']) await done(['persist', '--init', 'a=-', '-s', store], { input })
  await done(['tag', 'v1', '--at', '2', '-s', store])
  const kept = async () =>
    (await done(['snapshots', '-s', store, '--json'])).document.snapshots.map(
      ({ sequence }: { sequence: number }) => sequence,
    )
  expect(await kept()).toEqual([5, 4, 3, 2, 1])
  const policy = ['forget', '--keep-last', '2', '-s', store, '--json']
  const planned = await done([...policy, '--dry-run'])
  expect(planned.document).toMatchObject({
    dryRun: true,
    dropped: [3, 1],
    kept: [{ sequence: 5 }, { sequence: 4 }, { sequence: 2 }],
  })
  expect(planned.document.kept[2].reasons).toEqual(['tag v1'])
  expect(await kept()).toEqual([5, 4, 3, 2, 1])
  expect((await done(policy)).document).toMatchObject({ dropped: [3, 1], freesBytes: planned.document.freesBytes })
  expect(await kept()).toEqual([5, 4, 2])
  for (const [name, code] of Object.entries({
    current: 'SNAPSHOT_CURRENT',
    2: 'SNAPSHOT_TAGGED',
    9: 'SNAPSHOT_NOT_FOUND',
  })) {
    expect(await holdfast(['forget', name, '-s', store, '--json'])).toMatchObject({ exit: 15, failure: { code } })
  }
  expect((await holdfast(['forget', '-s', store])).exit).toBe(2)
  expect((await done(['forget', 'tag:v1', 'current~1', '-s', store, '--json'])).document.dropped).toEqual([4, 2])
  const saved = await done(['persist', 'a=-', '--keep-last', '1', '-s', store, '--json'], { input: '6' })
  expect(saved.document.dropped).toEqual([5])
})

test('a dry run of a save says what would be written and dropped, and makes nothing', async () => {
  const path = join(scratch(), 'store')
  const first = ['persist', '--init', 'a=-', '--dry-run', '-s', path]
  expect((await done(first, { input: '1' })).stdout).toMatch(
    /^Would save snapshot 1: 1 blob, 1 B; [\d.]+ KiB would be written\.\n/,
  )
  expect(existsSync(path)).toBe(false)
  const mistyped = ['persist', 'a=-', '--dry-run', '-s', path, '--json']
  expect(await holdfast(mistyped, { input: '1' })).toMatchObject({ exit: 15, failure: { code: 'STORE_NOT_FOUND' } })
  for (const input of ['1', '2', '3']) await done(['persist', '--init', 'a=-', '-s', path], { input })
  const before = tree(path)
  const save = ['persist', 'a=-', '--keep-last', '2', '-s', path]
  const { stdout } = await done([...save, '-n', '--quiet'], { input: '4' })
  expect(stdout).toContain('\nWould drop 2 snapshots: 2, 1.\n')
  expect(stdout).toMatch(/^ {3}4 {2}current, last 1$/m)
  expect(stdout).toMatch(/^ {3}3 {2}last 2$/m)
  const planned = await done([...save, '-n', '--json'], { input: '4' })
  expect(tree(path)).toEqual(before)
  const { document } = await done([...save, '--json'], { input: '4' })
  const { durationMs } = document
  expect(document).toEqual({ ...planned.document, dryRun: false, durationMs })
  expect(document.kept).toEqual([
    { sequence: 4, reasons: ['current', 'last 1'] },
    { sequence: 3, reasons: ['last 2'] },
  ])
  const same = await done(['persist', 'a=-', '-n', '-s', path], { input: '4' })
  expect(same.stdout).toBe('Nothing would be written: snapshot 4 has exactly this.\n')
})

test('gc gives back what was forgotten, and erases it when it is told to', async () => {
  const store = join(scratch(), 'store')
  const secret = 'a marker that nobody else writes'
  await done(['persist', '--init', 'a=-', '-s', store], { input: `${secret} ${'x'.repeat(100_000)}` })
  await done(['persist', 'a=-', '-s', store], { input: 'two' })
  await done(['forget', '1', '-s', store])
  const planned = await done(['gc', '--complete', '--dry-run', '-s', store, '--json'])
  expect(planned.document).toMatchObject({ dryRun: true, done: true, deadBytes: 0 })
  const { document } = await done(['gc', '--complete', '-s', store, '--json'])
  expect(document).toMatchObject({ done: true, deadBytes: 0, freedBytes: planned.document.freedBytes })
  for (const path of files(store)) expect(readFileSync(join(store, path)).includes(secret), path).toBe(false)
  expect((await done(['gc', '-s', store])).stdout).toBe('There is nothing to give back.\n')
})

test('metadata and a watermark go in and come out as DAG-JSON', async () => {
  const store = join(scratch(), 'store')
  const metadata = '{"bytes":{"/":{"bytes":"AQI"}},"n":9007199254740993,"s":"\\u001b"}'
  await done(
    ['persist', '--init', 'a=-', '--metadata', metadata, '--watermark', '"10"', '-m', 'by hand', '-s', store],
    { input: 'x' },
  )
  const { stdout, document } = await done(['show', '-s', store, '--json'])
  expect(stdout).toContain(`"metadata":${metadata.replace('\\u001b', '\\u001b')}`)
  expect(document).toMatchObject({ watermark: '10', snapshot: { message: 'by hand' } })
  for (const wrong of [
    ['--metadata', '{'],
    ['--metadata', '[]'],
    ['--metadata', '@/nope'],
    ['--chunking', 'fixed:3'],
  ]) {
    const ran = await holdfast(['persist', 'a=-', ...wrong, '-s', store, '--json'], { input: 'y' })
    expect(ran).toMatchObject({ exit: 2, failure: { code: 'USAGE' } })
  }
  const conflict = await holdfast(['persist', 'a=-', '--expected-head', 'none', '-s', store, '--json'], { input: 'y' })
  expect(conflict).toMatchObject({ exit: 12, failure: { code: 'HEAD_CONFLICT' } })
  await done(['persist', 'a=-', '--expected-head', 'current', '-s', store], { input: 'y' })
  for (const verb of [
    ['rollback', '1'],
    ['tag', 'v1'],
    ['forget', '1'],
  ]) {
    const ran = await holdfast([...verb, '--expected-head', '1', '-s', store, '--json'])
    expect(ran, verb[0]).toMatchObject({ exit: 12, failure: { code: 'HEAD_CONFLICT' } })
  }
})
