import { expect, test } from 'vitest'
import type { Head } from '../../src/format/head.ts'
import type { PackClaim } from '../../src/gc/pack-claims.ts'
import { planSweep } from '../../src/gc/plan-sweep.ts'

const storeId = '00'.repeat(16)
const other = 'ff'.repeat(16)
const name = (digit: string): string => digit.repeat(64)

function headWith(options: { revision?: number; named?: string[]; retired?: string[] }): Head {
  const { revision = 10, named = [], retired = [] } = options
  return {
    storeId,
    revision,
    sequence: 0,
    current: null,
    snapshots: [],
    packs: named.map((pack, id) => ({ id, name: pack, bytes: 1, blocks: 1, live: null })),
    retired: retired.map((pack) => ({ name: pack, bytes: 1, revision: 9 })),
    damaged: [],
    writes: [],
  }
}

function plan(claims: Record<string, PackClaim | null>, head: Head, previous: Head | null = headWith({ revision: 9 })) {
  return planSweep(head, previous, new Map(Object.entries(claims)))
}

const nothing = { delete: [], quarantine: [], future: [] }

test('what HEAD names is left alone, whatever it claims to be', () => {
  const claims = {
    [name('a')]: { storeId, revision: 1 },
    [name('b')]: { storeId: other, revision: 99 },
    [name('c')]: { unreadable: 'rot' },
    [name('d')]: null,
  }
  expect(plan(claims, headWith({ named: Object.keys(claims) }))).toEqual(nothing)
})

test.each<[string, string[], Head | null, string[]]>([
  ['both HEADs say so', ['a'], headWith({ revision: 9, retired: [name('a')] }), ['a']],
  ['only the newer one says so', ['a'], headWith({ revision: 9, named: [name('a')] }), []],
  ['the older one does not know it', ['a'], headWith({ revision: 9 }), []],
  ['there is no older one', ['a'], null, []],
  ['only some are in both', ['a', 'b'], headWith({ revision: 9, retired: [name('b'), name('c')] }), ['b']],
])('of retired packs those are deleted of which %s', (_, retired, previous, deleted) => {
  const claims = Object.fromEntries(retired.map((digit) => [name(digit), null]))
  const head = headWith({ retired: retired.map(name) })
  expect(plan(claims, head, previous)).toEqual({ ...nothing, delete: deleted.map(name) })
})

test('a file that is no pack is not deleted under the name of a retired one', () => {
  const head = headWith({ retired: [name('a'), name('b')] })
  const claims = { [name('a')]: { unreadable: 'it has 3 bytes' }, [name('b')]: { storeId, revision: 3 } }
  expect(plan(claims, head, head)).toEqual({
    ...nothing,
    delete: [name('b')],
    quarantine: [{ name: name('a'), reason: 'not-a-pack', details: { why: 'it has 3 bytes' } }],
  })
})

test.each<[string, PackClaim, Partial<ReturnType<typeof plan>>]>([
  ['of an earlier revision is garbage', { storeId, revision: 3 }, { delete: [name('a')] }],
  ['of this revision is garbage', { storeId, revision: 10 }, { delete: [name('a')] }],
  ['of the next revision may be named any moment', { storeId, revision: 11 }, {}],
  [
    'of a later revision shows that HEAD is old',
    { storeId, revision: 12 },
    { future: [{ name: name('a'), revision: 12 }] },
  ],
  [
    'of another store is moved aside',
    { storeId: other, revision: 3 },
    {
      quarantine: [{ name: name('a'), reason: 'other-store', details: { storeId: other, expected: storeId } }],
    },
  ],
  [
    'of another store is no sign of the future',
    { storeId: other, revision: 99 },
    {
      quarantine: [{ name: name('a'), reason: 'other-store', details: { storeId: other, expected: storeId } }],
    },
  ],
  [
    'that is none is moved aside',
    { unreadable: 'it has 3 bytes' },
    { quarantine: [{ name: name('a'), reason: 'not-a-pack', details: { why: 'it has 3 bytes' } }] },
  ],
])('a pack that HEAD does not name and that is %s', (_, claim, expected) => {
  expect(plan({ [name('a')]: claim }, headWith({}))).toEqual({ ...nothing, ...expected })
})

test('once anything is of the future nothing is touched', () => {
  const claims: Record<string, PackClaim | null> = {
    [name('a')]: { storeId, revision: 3 },
    [name('b')]: { unreadable: 'rot' },
    [name('c')]: { storeId, revision: 12 },
    [name('d')]: { storeId, revision: 40 },
    [name('e')]: null,
  }
  const head = headWith({ retired: [name('e')] })
  expect(plan(claims, head, headWith({ revision: 9, retired: [name('e')] }))).toEqual({
    ...nothing,
    future: [
      { name: name('c'), revision: 12 },
      { name: name('d'), revision: 40 },
    ],
  })
})

test('a HEAD before that is newer is of the future too', () => {
  const claims = { [name('a')]: { storeId, revision: 3 } }
  expect(plan(claims, headWith({}), headWith({ revision: 11 }))).toEqual({
    ...nothing,
    future: [{ name: 'HEAD.prev.json', revision: 11 }],
  })
  expect(plan(claims, headWith({}), headWith({ revision: 10 })).future).toEqual([])
})
