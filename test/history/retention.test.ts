import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Keep, keepPolicy, type Policy } from '../../src/history/keep.ts'
import { planRetention } from '../../src/history/retention.ts'

interface Snapshot {
  sequence: number
  time: string
  tags: string[]
  abandoned: boolean
}

/** `9 8a 7t 6at`: sequences, newest first; `a` abandoned, `t` tagged. All are of one hour. */
function history(text: string): Snapshot[] {
  return text.split(' ').map((word) => ({
    sequence: Number.parseInt(word, 10),
    time: '2026-11-20T12:00:00.000Z',
    tags: word.includes('t') ? ['tag'] : [],
    abandoned: word.includes('a'),
  }))
}

function kept(snapshots: readonly Snapshot[], current: number, policy: Policy): Snapshot[] {
  return planRetention(snapshots, current, policy).kept.map(({ snapshot }) => snapshot)
}

function policy(keep: Keep): Policy {
  return keepPolicy('test', keep)
}

test.each([
  ['keeps all there are', '2 1', 2, 3, '2 1'],
  ['keeps the newest', '5 4 3 2 1', 5, 3, '5 4 3'],
  ['keeps one', '5 4 3 2 1', 5, 1, '5'],
  ['keeps tagged ones besides', '5 4 3t 2 1t', 5, 2, '5 4 3t 1t'],
  ['counts tagged ones among the newest', '5t 4t 3 2 1', 5, 3, '5t 4t 3'],
  ['keeps the current one however old it is', '5 4 3 2 1', 1, 2, '5 4 1'],
  ['keeps what was just stepped over, so that the rollback can be taken back', '4 3a 2a 1', 4, 3, '4 3a 2a 1'],
  ['does not count abandoned ones among the good', '5 4a 3a 2 1', 5, 3, '5 4a 3a 2 1'],
  ['drops abandoned ones that are old', '6 5 4 3a 2a 1', 6, 3, '6 5 4'],
  ['drops abandoned ones by their age among all', '6 5 4a 3a 2 1', 6, 3, '6 5 4a 2'],
  ['keeps an abandoned one that is tagged', '6 5 4 3 2at 1', 6, 2, '6 5 2at'],
  ['keeps the good ones behind a hundred abandoned', '9 8a 7a 6a 5a 4a 3a 2 1', 9, 2, '9 8a 2'],
])('retention by last %s', (_, before, current, last, after) => {
  expect(kept(history(before), current, policy({ last }))).toEqual(history(after))
})

test('every rule keeps the newest of each of its periods, and the reasons say which', () => {
  const times = [
    '2027-01-01T09:30:00.000Z',
    '2027-01-01T09:10:00.000Z',
    '2027-01-01T08:59:59.999Z',
    '2026-12-31T23:59:59.999Z',
    '2026-12-31T23:00:00.000Z',
    '2026-12-28T00:00:00.000Z',
    '2026-12-27T23:59:59.999Z',
    '2026-11-30T12:00:00.000Z',
    '2025-06-01T12:00:00.000Z',
    '2024-06-01T12:00:00.000Z',
  ]
  const snapshots = times.map((time, i) => ({ sequence: 20 - i, time, tags: i === 4 ? ['v1'] : [], abandoned: false }))
  const keep = policy({ last: 2, hourly: 2, daily: 2, weekly: 2, monthly: 2, yearly: 3 })
  const plan = planRetention(snapshots, 20, keep)
  expect(plan.kept.map(({ snapshot, reasons }) => [snapshot.sequence, ...reasons])).toEqual([
    [
      20,
      'current',
      'last 1',
      'hourly 2027-01-01T09',
      'daily 2027-01-01',
      'weekly 2026-W53',
      'monthly 2027-01',
      'yearly 2027',
    ],
    [19, 'last 2'],
    [18, 'hourly 2027-01-01T08'],
    [17, 'daily 2026-12-31', 'monthly 2026-12', 'yearly 2026'],
    [16, 'tag v1'],
    [14, 'weekly 2026-W52'],
    [12, 'yearly 2025'],
  ])
  expect(plan.dropped.map(({ sequence }) => sequence)).toEqual([15, 13, 11])
})

test.each([
  ['2026-01-01', '2026-W01'],
  ['2027-01-03', '2026-W53'],
  ['2027-01-04', '2027-W01'],
  ['2024-12-30', '2025-W01'],
  ['2023-01-01', '2022-W52'],
  ['2020-12-31', '2020-W53'],
  ['1970-01-01', '1970-W01'],
  ['0001-01-01', '0001-W01'],
])('the ISO week of %s is %s', (day, week) => {
  const plan = planRetention(
    [{ sequence: 1, time: `${day}T12:00:00.000Z`, tags: [], abandoned: false }],
    null,
    policy({ weekly: 1 }),
  )
  expect(plan.kept[0]!.reasons).toEqual([`weekly ${week}`])
})

const HOUR_MS = 3_600_000
const START_MS = Date.UTC(2026, 10, 20)

/** Oldest first, as they are made; at times a clock that jumps anywhere. */
const anyTimes = fc
  .array(
    fc.oneof(
      { weight: 9, arbitrary: fc.integer({ min: 0, max: 40 * HOUR_MS }) },
      { weight: 1, arbitrary: fc.constantFrom('1970', '2099') },
    ),
    { minLength: 1, maxLength: 60 },
  )
  .map((steps) => {
    let nowMs = START_MS
    return steps.map((step) => {
      if (typeof step === 'string') return new Date(Date.UTC(Number(step), 0, 1)).toISOString()
      nowMs += step
      return new Date(nowMs).toISOString()
    })
  })

const count = fc.integer({ min: 0, max: 5 })
const anyKeep = fc
  .record({ last: count, hourly: count, daily: count, weekly: count, monthly: count, yearly: count })
  .filter((keep) => Object.values(keep).some((places) => places > 0))
  .map(policy)

const anyMarks = fc.record({ abandoned: fc.boolean(), tags: fc.constantFrom<string[]>([], [], [], ['tag']) })

const anyHistory = anyTimes.chain((times) =>
  fc
    .array(anyMarks, { minLength: times.length, maxLength: times.length })
    .map((marks) => times.map((time, i) => ({ sequence: i + 1, time, ...marks[i]! })).reverse()),
)

test('planning again changes nothing', () => {
  fc.assert(
    fc.property(anyHistory, anyKeep, fc.nat(), (snapshots, keep, pick) => {
      const current = snapshots[pick % snapshots.length]!.sequence
      const once = planRetention(snapshots, current, keep)
      const again = planRetention(
        once.kept.map(({ snapshot }) => snapshot),
        current,
        keep,
      )
      // What a rule kept at a place that it does not have any more for something older is kept by the same rule.
      expect(again).toEqual({ kept: once.kept, dropped: [] })
    }),
  )
})

test('pruning at every save keeps what one pruning at the end keeps', () => {
  fc.assert(
    fc.property(anyTimes, anyKeep, (times, keep) => {
      const all = times.map((time, i) => ({ sequence: i + 1, time, tags: [], abandoned: false }))
      let pruned: Snapshot[] = []
      for (const snapshot of all) pruned = kept([snapshot, ...pruned], snapshot.sequence, keep)
      expect(pruned).toEqual(kept([...all].reverse(), all.length, keep))
    }),
  )
})

test('whatever the times say, the newest, the tagged and the current are there, in order, and each is kept or dropped', () => {
  fc.assert(
    fc.property(anyHistory, anyKeep, fc.nat(), (snapshots, keep, pick) => {
      const current = snapshots[pick % snapshots.length]!
      const plan = planRetention(snapshots, current.sequence, keep)
      const stay = plan.kept.map(({ snapshot }) => snapshot)
      const newest = snapshots.filter(({ abandoned }) => !abandoned).slice(0, keep.last)
      for (const each of [current, ...newest, ...snapshots.filter(({ tags }) => tags.length > 0)]) {
        expect(stay).toContain(each)
      }
      expect(stay).toEqual(snapshots.filter((snapshot) => stay.includes(snapshot)))
      expect(plan.dropped).toEqual(snapshots.filter((snapshot) => !stay.includes(snapshot)))
      const extra = stay.filter(({ sequence, tags }) => sequence !== current.sequence && tags.length === 0)
      const places = Object.values(keep).reduce((sum, each) => sum + each, 0)
      expect(extra.filter(({ abandoned }) => !abandoned).length).toBeLessThanOrEqual(places)
      expect(extra.every((snapshot) => !snapshot.abandoned || snapshots.indexOf(snapshot) < keep.last)).toBe(true)
    }),
  )
})

test('a clock that jumps for one save and comes back costs at most two places in a rule', () => {
  const rule = fc.constantFrom(
    'hourly' as const,
    'daily' as const,
    'weekly' as const,
    'monthly' as const,
    'yearly' as const,
  )
  const steady = fc.array(fc.integer({ min: 0, max: 40 * HOUR_MS }), { minLength: 2, maxLength: 60 })
  fc.assert(
    fc.property(
      steady,
      rule,
      fc.integer({ min: 1, max: 5 }),
      fc.nat(),
      fc.constantFrom(1970, 2099),
      (steps, name, places, pick, year) => {
        let nowMs = START_MS
        const right = steps.map((step, i) => {
          nowMs += step
          return { sequence: i + 1, time: new Date(nowMs).toISOString(), tags: [], abandoned: false }
        })
        const wrong = pick % right.length
        const jumped = right.map((each, i) =>
          i === wrong ? { ...each, time: new Date(Date.UTC(year, 0, 1)).toISOString() } : each,
        )
        const without = right.filter((_, i) => i !== wrong).reverse()
        const stay = kept([...jumped].reverse(), right.length, policy({ [name]: places + 2 })).map(
          ({ sequence }) => sequence,
        )
        for (const { sequence } of kept(without, 0, policy({ [name]: places }))) expect(stay).toContain(sequence)
      },
    ),
  )
})

test('a store that nobody writes to loses nothing: the plan knows no time but that of the snapshots', () => {
  const snapshots = ['1999-12-31', '1999-12-30'].map((day, i) => ({
    sequence: 2 - i,
    time: `${day}T00:00:00.000Z`,
    tags: [],
    abandoned: false,
  }))
  expect(planRetention(snapshots, 2, policy({ daily: 2 })).dropped).toEqual([])
})
