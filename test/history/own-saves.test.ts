import { expect, test } from 'vitest'
import { emptyHead } from '../../src/format/empty-head.ts'
import type { Head } from '../../src/format/head.ts'
import { noteSave, ownWay } from '../../src/history/own-saves.ts'

const isOwn = (now: Head, from: number | null): boolean => ownWay(now, from) !== null
const storeOf = (digit: string): string => digit.repeat(32)

/** A HEAD with these writes, newest first. */
function head(storeId: string, current: number | null, ...writes: string[]): Head {
  return { ...emptyHead(storeId), current, writes }
}

test('saves one after the other are our own, from any of them on', () => {
  const store = storeOf('a')
  noteSave(head(store, 1, 'w1'), null).done()
  noteSave(head(store, 2, 'w2', 'w1'), 1).done()
  const now = head(store, 2, 'w2', 'w1')
  expect([null, 1, 2, 7].map((from) => isOwn(now, from))).toEqual([true, true, true, false])
})

test('a save of another process breaks the chain, and so does its rollback', () => {
  const store = storeOf('b')
  noteSave(head(store, 1, 'w1'), null).done()
  expect(isOwn(head(store, 2, 'theirs', 'w1'), 1)).toBe(false)
  noteSave(head(store, 3, 'w3', 'theirs', 'w1'), 2).done()
  expect(isOwn(head(store, 3, 'w3', 'theirs', 'w1'), 1)).toBe(false)
  expect(isOwn(head(store, 3, 'w3', 'theirs', 'w1'), 2)).toBe(true)
  const rolledBack = head(store, 1, 'rolled', 'w3', 'theirs', 'w1')
  expect([3, 2].map((from) => isOwn(rolledBack, from))).toEqual([false, false])
})

test('of a save whose outcome was not known, HEAD says whether it was done', () => {
  const store = storeOf('c')
  noteSave(head(store, 1, 'w1'), null).done()
  // The swap failed, perhaps.
  noteSave(head(store, 2, 'w2', 'w1'), 1)
  expect(isOwn(head(store, 2, 'w2', 'w1'), 1)).toBe(true)
  // It was not done, and another process gave the same sequence to its own snapshot.
  expect(isOwn(head(store, 2, 'theirs', 'w1'), 1)).toBe(false)
  // It was not done, and was tried again.
  noteSave(head(store, 2, 'w3', 'w1'), 1).done()
  expect(isOwn(head(store, 2, 'w3', 'w1'), 1)).toBe(true)
})

test('a rollback of this process is its own, and tells when it was called', () => {
  const store = storeOf('d')
  noteSave(head(store, 1, 'w1'), null).done()
  noteSave(head(store, 2, 'w2', 'w1'), 1).done()
  noteSave(head(store, 3, 'w3', 'w2', 'w1'), 2, 1_000).done()
  noteSave(head(store, 4, 'w4', 'w3', 'w2', 'w1'), 3, 2_000).done()
  noteSave(head(store, 5, 'w5', 'w4', 'w3', 'w2', 'w1'), 4).done()
  const now = head(store, 5, 'w5', 'w4', 'w3', 'w2', 'w1')
  expect([null, 1, 2, 3, 4, 5].map((from) => ownWay(now, from)?.rolledBackMs)).toEqual([
    ...[2_000, 2_000, 2_000, 2_000],
    ...[null, null],
  ])
})
