import { expect, test } from 'vitest'
import { encodeHead, type Head, type HeadPack, type HeadSnapshot, parseHead } from '../../src/format/head.ts'
import { nextHead } from '../../src/history/next-head.ts'

const manifest = 'bafyr4ie2nvmdoragpkenkyhrsgp357kurdqzcdffji55ndcvqcgw2e5ihe'
const name = (id: number): string => id.toString(16).padStart(64, '0')
const pack = (id: number, live: number | null = null): HeadPack => ({
  id,
  name: name(id),
  bytes: 1000 + id,
  blocks: 1,
  live,
})

function snapshot(sequence: number, packs: number[]): HeadSnapshot {
  const time = new Date(0).toISOString()
  return { sequence, manifest, time, tags: [], abandoned: false, pack: packs.at(-1)!, packs, size: 1 }
}

const head: Head = {
  storeId: '00'.repeat(16),
  revision: 7,
  sequence: 4,
  current: 4,
  snapshots: [snapshot(4, [1, 3]), snapshot(3, [1, 2])],
  packs: [pack(1), pack(2), pack(3, 500)],
  retired: [{ name: name(9), bytes: 9, revision: 6 }],
  damaged: [{ pack: name(2), digests: ['aa'.repeat(32)] }],
  writes: ['00000000000000ff'],
}

test('a write without changes is a new revision by a new writer, and nothing else', () => {
  const next = nextHead(head, {})
  expect(next).toEqual({ ...head, revision: 8, writes: [expect.stringMatching(/^[0-9a-f]{16}$/), ...head.writes] })
  expect(nextHead(head, {}).writes[0]).not.toBe(next.writes[0])
})

test('a snapshot that is added becomes current, and its sequence is never given again', () => {
  const next = nextHead(head, { current: 5, snapshots: [snapshot(5, [1, 4]), ...head.snapshots], written: [pack(4)] })
  expect(next).toMatchObject({ revision: 8, sequence: 5, current: 5, packs: [pack(1), pack(2), pack(3, 500), pack(4)] })
  expect(next.retired).toEqual(head.retired)
  const dropped = nextHead({ ...next, sequence: 8 }, {})
  expect(dropped.sequence).toBe(8)
})

test('a pack that no snapshot is said to need stays: HEAD is wrong about it, and something may load from it', () => {
  const wrong = { ...head, packs: [...head.packs, pack(8)] }
  const next = nextHead(wrong, { snapshots: [snapshot(4, [1, 3])] })
  expect(next.packs).toEqual([pack(1), pack(3, 500), pack(8)])
})

test('packs that no snapshot needs any more are retired by the same write', () => {
  const next = nextHead(head, { snapshots: [snapshot(4, [1, 3])] })
  expect(next.packs).toEqual([pack(1), pack(3, 500)])
  expect(next.retired).toEqual([...head.retired, { name: name(2), bytes: 1002, revision: 8 }])
  // Evidence about what is gone is of no use.
  expect(next.damaged).toEqual([])
})

test('a pack that is written and needed by nobody is retired as well, never forgotten', () => {
  const next = nextHead(head, { written: [pack(4)] })
  expect(next.packs).toEqual(head.packs)
  expect(next.retired.at(-1)).toEqual({ name: name(4), bytes: 1004, revision: 8 })
})

test('a retired pack leaves the list only when its file is gone', () => {
  expect(nextHead(head, { gone: new Set([name(8)]) }).retired).toEqual(head.retired)
  expect(nextHead(head, { gone: new Set([name(9)]) }).retired).toEqual([])
})

test('measurements replace the ones before, where there are new ones', () => {
  const next = nextHead(head, {
    live: new Map([
      [1, 10],
      [3, 0],
    ]),
  })
  expect(next.packs.map(({ live }) => live)).toEqual([10, null, 0])
})

test('blocks that were found bad are added to those that were known', () => {
  const damaged = new Map([
    [name(2), new Set(['bb'.repeat(32), 'aa'.repeat(32), '00'.repeat(32)])],
    [name(3), new Set(['cc'.repeat(32)])],
    [name(5), new Set(['dd'.repeat(32)])],
  ])
  expect(nextHead(head, { damaged }).damaged).toEqual([
    { pack: name(2), digests: ['00'.repeat(32), 'aa'.repeat(32), 'bb'.repeat(32)] },
    { pack: name(3), digests: ['cc'.repeat(32)] },
  ])
})

test('the ids of the last 64 writes are kept, newest first', () => {
  let next = head
  const seen = [...head.writes]
  for (let i = 0; i < 100; i++) {
    next = nextHead(next, {})
    seen.unshift(next.writes[0]!)
  }
  expect(next.writes).toEqual(seen.slice(0, 64))
  expect(next.revision).toBe(107)
})

test('more snapshots than a HEAD can hold are refused', () => {
  const many = Array.from({ length: 1025 }, (_, i) => snapshot(2000 - i, [1]))
  expect(() => nextHead(head, { current: 2000, snapshots: many })).toThrow(
    expect.objectContaining({ code: 'LIMIT_EXCEEDED' }),
  )
  expect(nextHead(head, { current: 2000, snapshots: many.slice(1) }).snapshots).toHaveLength(1024)
})

test('what comes out can be written and read', () => {
  const next = nextHead(head, {
    current: 5,
    snapshots: [snapshot(5, [3, 4])],
    written: [pack(4)],
    live: new Map([[3, 1]]),
  })
  expect(parseHead(encodeHead(next), 'test').head).toEqual(next)
})

test('nothing of the HEAD before is changed', () => {
  const before = structuredClone(head)
  nextHead(head, { snapshots: [snapshot(9, [4])], current: 9, written: [pack(4)], live: new Map([[1, 1]]) })
  expect(head).toEqual(before)
})
