import { expect, test } from 'vitest'
import type { Head } from '../../src/format/head.ts'
import type { FileStat } from '../../src/fs/port.ts'
import { isPutBack } from '../../src/storage/directory/put-back.ts'

const head = { storeId: 'a', revision: 7, writes: ['x'] } as unknown as Head

function file(ino: bigint, ctimeNs: bigint) {
  return { head, stat: { kind: 'file', dev: 1n, ino, ctimeNs, mtimeNs: ctimeNs } as unknown as FileStat }
}

test.each([
  ['two names of one file', file(1n, 5n), file(1n, 5n), false],
  ['HEAD.json is the older file', file(1n, 5n), file(2n, 6n), false],
  ['HEAD.json is the newer file', file(1n, 6n), file(2n, 5n), true],
  ['both are of one tick of the clock', file(1n, 5n), file(2n, 5n), true],
])('%s', (_, current, previous, expected) => {
  expect(isPutBack(current, previous)).toBe(expected)
})
