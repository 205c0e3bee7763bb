// Files of a store that an editor or git has laid out anew: repair knows that nothing else was changed.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { originalOf } from '../../src/format/json-file.ts'
import { openStore } from '../../src/index.ts'
import { rejects } from '../support/rejects.ts'
import { quickScratch } from '../support/scratch.ts'

const changes: [string, (text: string) => string][] = [
  ['line ends of Windows', (text) => text.replaceAll('\n', '\r\n')],
  ['no line ends', (text) => JSON.stringify(JSON.parse(text))],
  ['another layout', (text) => `${JSON.stringify(JSON.parse(text), null, 4)}\n\n`],
  ['no last line end', (text) => text.trimEnd()],
  ['a byte-order mark', (text) => `\ufeff${text}`],
]

async function store() {
  const path = join(quickScratch(), 'store')
  const opened = await openStore(path, { keepLast: 5, onWarning: () => undefined })
  for (const a of ['one', 'two', 'three']) await opened.persist({ blobs: { a } })
  await opened.tag('gölden ☃', { at: 1 })
  await opened.persist({ blobs: { a: 'four' }, keepLast: 2 })
  return { opened, path }
}

describe.each(changes)('%s', (_name, change) => {
  test('in HEAD.json: repair keeps the tags and all that it says', async () => {
    const { opened, path } = await store()
    const head = join(path, 'HEAD.json')
    const before = await opened.snapshots()
    writeFileSync(head, change(readFileSync(head, 'utf8')))
    const error = await rejects(opened.load(), 'HEAD_DAMAGED')
    expect(error.message).toMatch(/line ends or its layout.*repair\(\)/)
    const { actions } = await opened.repair()
    expect(actions.map(({ action }) => action)).toEqual(['quarantine-file', 'restore-head'])
    expect(actions[1]).toMatchObject({ from: 'HEAD.json', loses: expect.stringContaining('nothing') })
    expect(await opened.snapshots()).toEqual(before)
    expect((await opened.verify()).ok).toBe(true)
    expect((await opened.persist({ blobs: { a: 'five' } })).unchanged).toBe(false)
    await opened.close()
  })

  test('in all three files', async () => {
    const { opened, path } = await store()
    const before = await opened.snapshots()
    for (const name of ['HEAD.json', 'HEAD.prev.json', 'STORE.json']) {
      writeFileSync(join(path, name), change(readFileSync(join(path, name), 'utf8')))
    }
    await opened.repair()
    expect(await opened.snapshots()).toEqual(before)
    expect((await opened.verify()).ok).toBe(true)
    await opened.close()
  })

  test('in HEAD.prev.json, where HEAD.json is lost', async () => {
    const { opened, path } = await store()
    const previous = join(path, 'HEAD.prev.json')
    writeFileSync(previous, change(readFileSync(previous, 'utf8')))
    writeFileSync(join(path, 'HEAD.json'), '')
    await opened.repair()
    const snapshots = await opened.snapshots()
    expect(snapshots.map(({ sequence }) => sequence)).toEqual([4, 3, 2, 1])
    expect(snapshots.at(-1)!.tags).toEqual(['gölden ☃'])
    await opened.close()
  })
})

test('a changed digit, or text without a checksum, is no matter of layout', async () => {
  const { opened, path } = await store()
  const text = readFileSync(join(path, 'HEAD.json'), 'utf8')
  for (const changed of [text.replace('"sequence": 4', '"sequence": 5'), '{}', '[]', '', text.slice(0, 100)]) {
    expect(changed).not.toBe(text)
    expect(originalOf(Buffer.from(changed.replaceAll('\n', '\r\n')))).toBeNull()
  }
  expect(Buffer.from(originalOf(Buffer.from(text))!).toString()).toBe(text)
  await opened.close()
})
