import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { scratch } from '../support/scratch.ts'
import { done, holdfast } from './holdfast.ts'

test('a file goes in, and comes back', async () => {
  const directory = scratch()
  const store = join(directory, 'store')
  writeFileSync(join(directory, 'in'), 'some text')
  const { document } = await done(['persist', '--init', `a=${join(directory, 'in')}`, '-s', store, '--json'])
  expect(document).toMatchObject({ holdfast: 1, command: 'persist', sequence: 1, unchanged: false })
  const listed = await done(['snapshots', '-s', store, '--json'])
  expect(listed.document.snapshots).toMatchObject([{ sequence: 1, current: true, size: 9 }])
  const shown = await done(['show', '-s', store, '--json'])
  expect(shown.document.blobs).toMatchObject([{ name: 'a', size: 9 }])
  expect((await done(['cat', 'a', '-s', store])).stdout).toBe('some text')
  await done(['restore', '-o', join(directory, 'out'), '-s', store, '--json'])
  expect(readFileSync(join(directory, 'out/a'), 'utf8')).toBe('some text')
})

test('a mistyped path is no store, and never becomes one', async () => {
  const directory = scratch()
  for (const verb of [['snapshots'], ['persist', `a=${import.meta.filename}`], ['tag', 'v1'], ['verify'], ['repair']]) {
    const { exit, failure } = await holdfast([...verb, '-s', join(directory, 'sotre'), '--json'])
    expect(exit).toBe(15)
    expect(failure).toMatchObject({ code: 'STORE_NOT_FOUND', kind: 'input' })
  }
  expect(() => readFileSync(join(directory, 'sotre'))).toThrow('ENOENT')
})
