// What takes space, what differs, and what was moved aside.

import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openStore } from '../../src/index.ts'
import { noise } from '../support/bytes.ts'
import { scratch } from '../support/scratch.ts'
import { done, holdfast } from './holdfast.ts'

async function storeOfTwo(): Promise<string> {
  const path = join(scratch(), 'store')
  await using store = await openStore(path)
  await store.persist({ blobs: { same: noise(100_000, 1), 'old\u001b': noise(50_000, 2) } })
  await store.persist({ blobs: { same: noise(100_000, 1), new: noise(30_000, 3) } })
  return path
}

test('stats adds up, and diff names what differs', async () => {
  const store = await storeOfTwo()
  const { document } = await done(['stats', '-s', store, '--json'])
  const [current, older] = document.snapshots
  expect(current.addedBytes + older.addedBytes).toBe(document.liveBytes)
  const planned = await done(['forget', '1', '--dry-run', '-s', store, '--json'])
  expect(planned.document.freesBytes).toBe(older.freesBytes)
  const compared = await done(['diff', 'current~1', '-s', store, '--json', '--ranges'])
  expect(compared.document).toMatchObject({ from: 1, to: 2, unchanged: 1, newBytes: 30_000 })
  expect(compared.document.blobs.map(({ name, change }: { name: string; change: string }) => [name, change])).toEqual([
    ['new', 'added'],
    ['old\u001b', 'removed'],
  ])
  const [{ stdout: numbers }, { stdout: differences }] = await Promise.all([
    done(['stats', '-s', store]),
    done(['diff', '1', '2', '-s', store]),
  ])
  expect(numbers).toMatch(/^SNAPSHOT +SIZE +ADDED +FREES/)
  expect(numbers).toMatch(/^ {7}2 .* current$/m)
  expect(differences).toContain('removed  48.8 KiB       0 B       0 B  old\\x1b\n')
})

test('stats and report show what they can where a pack cannot be read, and end with 13; with damage, with 10', async () => {
  const store = await storeOfTwo()
  const packs = join(store, 'packs')
  const name = readdirSync(packs)[0]!
  const page = join(scratch(), 'report.html')
  rmSync(join(packs, name))
  mkdirSync(join(packs, name))
  const unread = await holdfast(['stats', '-s', store, '--json'])
  expect(unread).toMatchObject({ exit: 13, document: { uncounted: [{ what: 'pack', code: 'IO_FAILED' }] } })
  const text = await holdfast(['stats', '-s', store])
  expect(text).toMatchObject({ exit: 13, stderr: '' })
  expect(text.stdout).toMatch(/^Not counted: pack [0-9a-f]{12}, .* it is a directory/m)
  expect(text.stdout).toContain('not read')
  const report = await holdfast(['report', '-o', page, '-s', store, '--json'])
  expect(report).toMatchObject({ exit: 13, document: { ok: null, uncounted: [{ what: 'pack' }], damaged: [] } })
  expect(readFileSync(page, 'utf8')).toContain('Not counted')
  rmdirSync(join(packs, name))
  const [gone, goneReport] = await Promise.all([
    holdfast(['stats', '-s', store, '--json']),
    holdfast(['report', '-o', page, '-s', store, '--json']),
  ])
  expect(gone).toMatchObject({ exit: 10, document: { uncounted: [{ code: 'PACK_MISSING' }] } })
  expect(goneReport).toMatchObject({ exit: 10, document: { ok: null } })
})

test('what a repair moved aside is listed, shown, copied out, and deleted when it is asked to', async () => {
  const store = await storeOfTwo()
  const damaged = readFileSync(join(store, 'HEAD.json')).subarray(0, 100)
  truncateSync(join(store, 'HEAD.json'), 100)
  await done(['repair', '-s', store])
  const { document } = await done(['quarantine', '-s', store, '--json'])
  const found = document.files.find(({ original }: { original: string }) => original?.endsWith('HEAD.json'))
  const target = join(scratch(), 'HEAD.json')
  await done(['quarantine', 'show', found.name, '-s', store, '--json'])
  await done(['quarantine', 'extract', found.name, '-o', target, '-s', store, '--json'])
  expect(readFileSync(target)).toEqual(damaged)
  const again = await holdfast(['quarantine', 'extract', found.name, '-o', target, '-s', store, '--json'])
  expect(again).toMatchObject({ exit: 15, failure: { code: 'TARGET_EXISTS' } })

  const young = ['quarantine', 'discard', '--older-than', '1h', '-s', store, '--json']
  expect((await done(young)).document.discarded).toEqual([])
  const discard = ['quarantine', 'discard', found.name, '-s', store, '--json']
  expect((await done([...discard, '--dry-run'])).document).toMatchObject({ dryRun: true, discarded: [found.name] })
  expect(existsSync(join(store, 'quarantine', found.name))).toBe(true)
  expect((await done(discard)).document).toMatchObject({ dryRun: false, discarded: [found.name] })
  expect(existsSync(join(store, 'quarantine', found.name))).toBe(false)
  expect(await holdfast(discard)).toMatchObject({ exit: 15, failure: { code: 'NOT_IN_QUARANTINE' } })
  for (const wrong of [['discard'], ['frob'], ['show'], ['extract', 'x'], ['list', 'x']]) {
    expect((await holdfast(['quarantine', ...wrong, '-s', store, '--json'])).exit, wrong.join()).toBe(2)
  }
})

test('a copy is a store, the next run copies what is new, and damage in the source is said', async () => {
  const store = await storeOfTwo()
  const to = join(scratch(), 'copy')
  const first = await done(['copy', to, '-s', store, '--json'])
  expect(first.document).toMatchObject({ to, sequence: 2, damaged: [] })
  expect(first.document.copiedBytes).toBe(first.document.bytes)
  await done(['persist', 'same=-', '-s', store], { input: 'three' })
  const second = await done(['copy', to, '-s', store, '--json'])
  expect(second.document.sequence).toBe(3)
  expect(second.document.copiedBytes).toBeLessThan(first.document.copiedBytes / 10)
  expect((await done(['cat', 'same', '-s', to])).stdout).toBe('three')
  await done(['verify', '-s', to])
  expect((await holdfast(['copy', store, '-s', store, '--json'])).exit).toBe(2)

  for (const name of readdirSync(join(store, 'packs'))) {
    const path = join(store, 'packs', name)
    const bytes = readFileSync(path)
    bytes[200]! ^= 1
    writeFileSync(path, bytes)
  }
  const damaged = await holdfast(['copy', join(scratch(), 'copy'), '-s', store, '--json'])
  expect(damaged.exit).toBe(10)
  expect(damaged.document.damaged.length).toBeGreaterThan(0)
})

test('a report is a page that is replaced by the next one, and no other file is', async () => {
  const store = await storeOfTwo()
  const directory = scratch()
  const page = join(directory, 'report.html')
  const args = ['report', '-o', page, '-s', store, '--json']
  const { document } = await done(args)
  expect(document).toMatchObject({ file: page, verify: 'none', redact: false, current: 2, ok: null })
  expect(readFileSync(page).length).toBe(document.bytes)
  expect((await done([...args, '--verify', 'quick', '--redact'])).document).toMatchObject({ ok: true, redact: true })
  expect(readFileSync(page, 'utf8')).not.toContain('same')

  const other = join(directory, 'precious.html')
  writeFileSync(other, '<!doctype html>\n<p>precious</p>')
  for (const target of [other, directory]) {
    const refused = await holdfast(['report', '-o', target, '-s', store, '--json'])
    expect(refused).toMatchObject({ exit: 15, failure: { code: 'TARGET_EXISTS' } })
  }
  expect((await holdfast(['report', '-o', join(store, 'report.html'), '-s', store, '--json'])).exit).toBe(2)

  const [pack] = readdirSync(join(store, 'packs')).map((name) => join(store, 'packs', name))
  const bytes = readFileSync(pack!)
  bytes[200]! ^= 1
  writeFileSync(pack!, bytes)
  const damaged = await holdfast([...args, '--verify', 'full'])
  expect(damaged).toMatchObject({ exit: 10, document: { ok: false } })
  expect(readFileSync(page, 'utf8')).toContain('PACK_DAMAGED')
})
