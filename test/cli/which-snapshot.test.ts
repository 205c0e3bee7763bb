// Every verb that takes a snapshot refuses what is no way to write one (2), and says what there is instead of one that
// is not there (15).

import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openStore } from '../../src/index.ts'
import { scratch } from '../support/scratch.ts'
import { tree } from '../support/tree.ts'
import { holdfast } from './holdfast.ts'

const NOT_A_SNAPSHOT = ['0', '-1', 'current~x', 'tag:', '99999999999999999999', '']
const NOT_THERE: [string, RegExp][] = [
  ['9', /^there is no snapshot 9; .* keeps 2, 1$/],
  ['9e9', /^no snapshot is tagged "9e9"; .* has the tags kept, and keeps 2, 1$/],
  ['current~99', /^current~99 is not there: before the current snapshot, .* keeps 1 snapshot$/],
  ['tag:0', /^no snapshot is tagged "0"/],
]

test('each of them', async () => {
  const directory = scratch()
  const store = join(directory, 'store')
  {
    await using opened = await openStore(store)
    await opened.persist({ blobs: { a: 'one' } })
    await opened.tag('kept')
    await opened.persist({ blobs: { a: 'two' } })
  }
  const verbs: Record<string, (at: string) => string[]> = {
    show: (at) => ['show', at],
    diff: (at) => ['diff', at],
    'diff to': (at) => ['diff', 'current', at],
    cat: (at) => ['cat', 'a', `--at=${at}`],
    restore: (at) => ['restore', '-o', join(directory, 'out'), `--at=${at}`],
    materialize: (at) => ['materialize', `--at=${at}`],
    export: (at) => ['export', at, '-o', join(directory, 'x.car')],
    tag: (at) => ['tag', 'new', `--at=${at}`],
    rollback: (at) => ['rollback', at],
    forget: (at) => ['forget', at],
    'expected head': (at) => ['persist', 'a=-', `--expected-head=${at}`],
  }
  const before = tree(store)
  for (const [i, [name, args]] of Object.entries(verbs).entries()) {
    // Each verb gets some of them, and all are met by several.
    const wrong = [NOT_A_SNAPSHOT[i % NOT_A_SNAPSHOT.length]!, NOT_A_SNAPSHOT[(i + 3) % NOT_A_SNAPSHOT.length]!]
    const [absent, said] = NOT_THERE[i % NOT_THERE.length]!
    const json = name === 'cat' ? [] : ['--json']
    const [refused, alsoRefused, missing] = await Promise.all(
      [...wrong, absent].map((at) => holdfast([...args(at), '-s', store, ...json], { input: 'x' })),
    )
    expect([refused!.exit, alsoRefused!.exit], `${name}: ${wrong.join(', ')}\n${refused!.stderr}`).toEqual([2, 2])
    if (name === 'expected head' || (name === 'forget' && /^9e9|tag:/.test(absent))) continue
    expect(missing!.exit, `${name} ${absent}: ${missing!.stderr}`).toBe(15)
    if (name !== 'cat')
      expect(missing!.failure).toMatchObject({ code: 'SNAPSHOT_NOT_FOUND', message: expect.stringMatching(said) })
  }
  const after = tree(store)
  delete before['writer.lock']
  delete after['writer.lock']
  expect(Object.keys(after)).toEqual(Object.keys(before))
})
