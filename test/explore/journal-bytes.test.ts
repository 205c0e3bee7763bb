// Searches: a journal of three segments in which every byte is flipped, every page and sector is zeroed, replaced or
// unreadable, and every segment is cut at every length. What a crash cannot leave is damage, with exactly the entries
// that cannot be read. What a crash can leave is never damage, and never loses an acknowledged entry.

import { beforeAll, describe, expect, test } from 'vitest'
import type { JournalHead } from '../../src/journal/find-chain.ts'
import { planRecovery, type ReadPlan, type RecoveryPlan } from '../../src/journal/plan-recovery.ts'
import { planSkip } from '../../src/journal/plan-repair.ts'
import type { SegmentFacts } from '../../src/journal/scan.ts'
import type { Range } from '../../src/journal/segment.ts'
import { headOf, type Segment, scan, seenAt, segment, type Written } from '../journal/build.ts'
import { effort, randomFor, sample } from '../support/effort.ts'

const PAGE = 4096
const SECTOR = 512

/** Batches of many sizes, a next frame, a swap with a copied frame, a seal, and a last batch that nothing proves. */
function journal(): { segments: [Segment, Segment, Segment]; head: JournalHead } {
  const one = segment(1)
  one.entries(10, 20)
  one.entries(100)
  one.entries(3000, 3000, 3000)
  const two = segment(2, { previous: one.ended(), named: 'next' })
  one.next(two.name)
  two.entries(5000)
  two.entries(1, 0, 1)
  const three = segment(3, { previous: two.ended('last'), copied: true })
  three.entries(1, 0, 1)
  const seal = three.seal()
  three.entries(9000)
  three.entries(50, 60)
  three.entries(4500)
  return { segments: [one, two, three], head: headOf(one, three, seenAt(three, seal)) }
}

const { segments, head } = journal()
const [, , last] = segments
const lastFrame = last.frames.at(-1)!
const lastEntry = lastFrame.last
let facts: SegmentFacts[]

beforeAll(async () => {
  facts = await Promise.all(segments.map((each) => scan(each)))
})

/** The plan when the segment of this index has other bytes. */
async function planWith(
  index: number,
  bytes: Uint8Array,
  unreadable: number[] = [],
  from: JournalHead = head,
): Promise<RecoveryPlan> {
  const changed = await scan({ name: segments[index]!.name, bytes, unreadable })
  return planRecovery(
    facts.map((each, i) => (i === index ? changed : each)),
    from,
  )
}

/** Where a segment's content ends by what its successor recorded. */
function recordedEnd(index: number): number {
  return segments[index + 1]?.header.previous?.end ?? Number.POSITIVE_INFINITY
}

type Outcome = 'unchanged' | 'damage' | 'torn' | 'vanished'

/** What changing the bytes of one region has to give. */
function expectedOf(index: number, bytes: Uint8Array): { outcome: Outcome; lost: Range[] } {
  const of = segments[index]!
  const end = recordedEnd(index)
  const differs = (from: number, to: number): boolean =>
    Buffer.compare(bytes.subarray(from, to), of.bytes.subarray(from, to)) !== 0
  const touched = of.frames.filter((frame) => frame.offset < end && differs(frame.offset, frame.end))
  const isHeaderTouched = differs(0, of.headerEnd)
  if (touched.length === 0 && !isHeaderTouched) return { outcome: 'unchanged', lost: [] }
  if (!isHeaderTouched && touched.length === 1 && touched[0] === lastFrame) {
    const isGone = bytes.subarray(lastFrame.offset).every((byte) => byte === 0)
    return { outcome: isGone ? 'vanished' : 'torn', lost: [] }
  }
  const lost = touched.filter(({ kind }) => kind === 'entries').filter((frame) => frame !== lastFrame)
  return { outcome: 'damage', lost: lost.map(({ first, last: to }) => ({ first, last: to })) }
}

const tally: Record<Outcome, number> = { unchanged: 0, damage: 0, torn: 0, vanished: 0 }

async function check(index: number, bytes: Uint8Array, what: string): Promise<void> {
  const { outcome, lost } = expectedOf(index, bytes)
  const plan = await planWith(index, bytes)
  if (plan.state !== 'read') throw new Error(`${what}: ${JSON.stringify(plan)}`)
  tally[outcome] += 1
  const seen =
    plan.damage.length > 0 ? 'damage' : plan.torn !== null ? 'torn' : plan.last < lastEntry ? 'vanished' : 'unchanged'
  expect({ outcome: seen, lost: plan.lost }, what).toEqual({ outcome, lost: merged(lost) })
  if (outcome === 'torn') {
    const at = lastFrame.offset
    expect(plan.torn, what).toEqual({ segment: last.name, at, bytes: bytes.length - at, entries: true })
  }
  if (outcome === 'damage') await checkSkipped(index, bytes, plan, what)
}

/** Once HEAD records the damage the journal is read in spite of it, with every entry that is not lost. */
async function checkSkipped(index: number, bytes: Uint8Array, plan: ReadPlan, what: string): Promise<void> {
  const skipped = await planWith(index, bytes, [], { ...head, lost: planSkip(plan, null) })
  if (skipped.state !== 'read') throw new Error(`${what}: ${JSON.stringify(skipped)}`)
  expect({ damage: skipped.damage, lost: skipped.lost, last: skipped.last }, what).toEqual({
    damage: [],
    lost: [],
    last: plan.last,
  })
  expect(skipped.chain, what).toEqual(plan.chain)
}

function merged(ranges: readonly Range[]): Range[] {
  const all: Range[] = []
  for (const range of ranges) {
    const before = all.at(-1)
    if (before !== undefined && before.last + 1 === range.first) before.last = range.last
    else all.push({ first: range.first, last: range.last })
  }
  return all
}

/** Offsets whose bytes are not padding, and some of those that are. */
function offsetsOf({ bytes }: Segment): number[] {
  const offsets: number[] = []
  for (let at = 0; at < bytes.length; at++) if (bytes[at] !== 0 || at % 61 === 0) offsets.push(at)
  return offsets
}

describe.each([0, 1, 2])('segment %i', (index) => {
  const of = segments[index]!

  test('every flipped byte is told for what it is', async () => {
    for (const at of sample(`journal flips ${index}`, offsetsOf(of), 100)) {
      const bytes = of.bytes.slice()
      bytes[at] = bytes[at]! ^ (1 << (at & 7))
      await check(index, bytes, `flip at ${at}`)
    }
  })

  test.each([PAGE, SECTOR])(
    'every %i bytes that are zeroed, noise, or from elsewhere are told for what they are',
    async (size) => {
      const random = randomFor('journal pages')
      for (let at = 0; at < of.bytes.length; at += size) {
        const elsewhere = segments[(index + 1) % 3]!.bytes
        const replacements: [string, Uint8Array][] = [
          ['zeros', new Uint8Array(size)],
          ['noise', random.bytes(size)],
          ['the page before', of.bytes.slice(Math.max(0, at - PAGE), Math.max(0, at - PAGE) + size)],
          ['another segment', elsewhere.slice(at % elsewhere.length, (at % elsewhere.length) + size)],
        ]
        for (const [what, replacement] of replacements) {
          const bytes = of.bytes.slice()
          bytes.set(replacement, at)
          await check(index, bytes, `${what} at ${at}`)
        }
      }
    },
  )

  test('no page that cannot be read is called torn or damaged', async () => {
    for (let at = 0; at < of.bytes.length; at += PAGE) {
      const plan = await planWith(index, of.bytes, [at])
      expect(plan.state, `at ${at}`).toBe(at < recordedEnd(index) ? 'unreadable' : 'read')
    }
  })

  test('every length that it is cut to is told for what it is', async () => {
    const lengths = Array.from({ length: of.bytes.length }, (_, i) => i).filter((i) => i % 4 === 0 || i % PAGE < 200)
    for (const length of sample(`journal cuts ${index}`, lengths, 100)) {
      const plan = await planWith(index, of.bytes.slice(0, length))
      if (plan.state !== 'read') throw new Error(`cut at ${length}: ${JSON.stringify(plan)}`)
      const isGone = ({ end }: Written): boolean => end > length && end <= recordedEnd(index)
      const gone = of.frames.filter((frame) => frame.kind === 'entries' && isGone(frame))
      const isProven = length < Math.min(recordedEnd(index), index === 2 ? head.seen!.offset : of.bytes.length)
      if (isProven) {
        expect(plan.damage, `cut at ${length}`).not.toEqual([])
        // What HEAD did not see may have been there or not: nobody knows.
        const isKnown = ({ last: to }: Written): boolean =>
          index < 2 || (length >= of.headerEnd && to <= head.seen!.sequence)
        // Without the header that ends the segment before, that one still has the frame that was copied.
        const known = gone.filter(isKnown)
        expect(plan.lost, `cut at ${length}`).toEqual(merged(known))
      } else {
        expect(plan.damage, `cut at ${length}`).toEqual([])
        expect(plan.last).toBe(gone.length === 0 ? lastEntry : gone[0]!.first - 1)
        tally[gone.length === 0 ? 'unchanged' : 'vanished'] += 1
      }
    }
  })
})

test('each kind of outcome was met', () => {
  for (const outcome of Object.keys(tally) as Outcome[]) expect(tally[outcome], outcome).toBeGreaterThan(0)
})

describe('what a crash can leave', () => {
  const random = randomFor('journal crashes')

  /** Each sector of what was being written is old, new, zeros or noise; the length is old, new, or between. */
  function crashed(durable: Uint8Array, written: Uint8Array): Uint8Array {
    const length = random.pick([
      durable.length,
      written.length,
      durable.length + random.below(written.length - durable.length),
    ])
    const bytes = new Uint8Array(length)
    bytes.set(durable)
    const mood = random.pick([0, 0.5, 0.9])
    for (let at = durable.length; at < length; at += SECTOR) {
      const isNew = random.chance(mood)
      const sector = isNew
        ? written.subarray(at, at + SECTOR)
        : random.pick([new Uint8Array(SECTOR), random.bytes(SECTOR)])
      bytes.set(sector.subarray(0, length - at), at)
    }
    return bytes
  }

  const count = Math.ceil(1500 * effort)

  test('of the last frame, of whatever kind, is a clean end or a torn tail, and loses nothing acknowledged', async () => {
    for (const kind of ['small', 'large', 'seal', 'next'] as const) {
      for (let i = 0; i < count; i++) {
        const made = journal()
        const tail = made.segments[2]
        const acknowledged = tail.frames.at(-1)!.last
        const durable = tail.bytes
        if (kind === 'small') tail.entries(1, 1)
        else if (kind === 'large') tail.entries(3000, 3000, 8000)
        else if (kind === 'seal') tail.seal()
        else tail.next({ number: 4, id: 'ab'.repeat(16) })
        const found = { name: tail.name, bytes: crashed(durable, tail.bytes) }
        const isThere = Buffer.compare(found.bytes, tail.bytes) === 0
        // The successor is durable before the frame that names it is written.
        if (kind === 'next' && isThere) continue
        const plan = planRecovery([facts[0]!, facts[1]!, await scan(found)], made.head)
        expect(plan).toMatchObject({ state: 'read', damage: [], lost: [] })
        if (plan.state === 'read') expect(plan.last).toBe(isThere ? tail.frames.at(-1)!.last : acknowledged)
      }
    }
  })

  test('of a segment that was being made for a swap is garbage', async () => {
    for (let i = 0; i < count; i++) {
      const made = segment(4, { previous: last.ended('last'), copied: true })
      made.entries(4500)
      made.seal()
      const found = { name: made.name, bytes: crashed(new Uint8Array(0), made.bytes) }
      const plan = planRecovery([...facts, await scan(found)], head)
      expect(plan).toMatchObject({ state: 'read', damage: [], lost: [], last: lastEntry, garbage: [made.name] })
    }
  })

  test('of a segment that was being made for a next frame is garbage', async () => {
    for (let i = 0; i < count / 4; i++) {
      const made = segment(4, { previous: last.ended(), named: 'next' })
      const found = { name: made.name, bytes: crashed(new Uint8Array(0), made.bytes) }
      const plan = planRecovery([...facts, await scan(found)], head)
      expect(plan).toMatchObject({ state: 'read', damage: [], lost: [], last: lastEntry, garbage: [made.name] })
    }
  })
})
