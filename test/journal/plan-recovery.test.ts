import { describe, expect, test } from 'vitest'
import type { JournalHead } from '../../src/journal/find-chain.ts'
import { planRecovery, type ReadPlan, type RecoveryPlan } from '../../src/journal/plan-recovery.ts'
import { type FoundSegment, headOf, nameOf, type Segment, scan, seenAt, segment, type Written } from './build.ts'

// Every cell of the table in docs/format.md, section 11, by name.

async function plan(found: readonly (FoundSegment | Segment)[], head: JournalHead, from = 1): Promise<RecoveryPlan> {
  return planRecovery(await Promise.all(found.map((each) => scan(each))), head, from)
}

async function read(found: readonly (FoundSegment | Segment)[], head: JournalHead, from = 1): Promise<ReadPlan> {
  const planned = await plan(found, head, from)
  if (planned.state !== 'read') throw new Error(`it is ${JSON.stringify(planned)}`)
  return planned
}

const clean = { damage: [], lost: [], torn: null, openEnd: false, garbage: [] }

function broken(of: Segment, change: (bytes: Uint8Array) => void): FoundSegment {
  const bytes = of.bytes.slice()
  change(bytes)
  return { name: of.name, bytes }
}

/** One flipped bit somewhere in the frame: in its header, or in its payload. */
function flip(of: Segment, { offset }: Written, where: 'header' | 'payload' = 'payload'): FoundSegment {
  const at = offset + (where === 'header' ? 20 : 130)
  return broken(of, (bytes) => {
    bytes[at] = bytes[at]! ^ 1
  })
}

function cut(of: Segment, bytes: number): FoundSegment {
  return { name: of.name, bytes: of.bytes.slice(0, bytes) }
}

/** Three batches: entries 1 and 2, 3, and 4 to 6 on more than one page. */
function three(): { one: Segment; frames: [Written, Written, Written]; head: JournalHead } {
  const one = segment(1)
  const frames: [Written, Written, Written] = [one.entries(10, 20), one.entries(100), one.entries(3000, 3000, 3000)]
  return { one, frames, head: headOf(one, one) }
}

describe('a segment that has a successor', () => {
  function two(): { one: Segment; last: Written; next: Segment; head: JournalHead } {
    const { one } = three()
    const last = one.frames.at(-1)!
    const next = segment(2, { previous: one.ended('last'), copied: true })
    next.entries(3000, 3000, 3000)
    next.seal()
    next.entries(5)
    return { one, last, next, head: headOf(one, next) }
  }

  test('is read to the end that its successor recorded', async () => {
    const { one, next, head } = two()
    const planned = await read([one, next], head)
    expect(planned).toMatchObject({ ...clean, last: 7 })
    expect(planned.chain.map(({ frames }) => frames.length)).toEqual([2, 3])
    expect(planned.chain[0]!.end).toBe(one.frames[2]!.offset)
  })

  test('is void behind that end, whatever is there', async () => {
    const { one, last, next, head } = two()
    expect(await read([flip(one, last), next], head)).toMatchObject({ ...clean, last: 7 })
    expect(await read([cut(one, last.offset), next], head)).toMatchObject({ ...clean, last: 7 })
    expect(await read([{ ...one, unreadable: [last.offset] }, next], head)).toMatchObject({ ...clean, last: 7 })
  })

  test('is damaged when anything below that end is bad, and says which entries are lost', async () => {
    const { one, next, head } = two()
    for (const where of ['header', 'payload'] as const) {
      const planned = await read([flip(one, one.frames[0]!, where), next], head)
      expect(planned).toMatchObject({ lost: [{ first: 1, last: 2 }], last: 7, torn: null })
      expect(planned.damage).toMatchObject([{ segment: one.name, at: one.frames[0]!.offset }])
    }
    const short = await read([cut(one, one.frames[1]!.offset), next], head)
    expect(short).toMatchObject({ lost: [{ first: 3, last: 3 }], damage: [{ at: one.frames[1]!.offset }] })
  })

  test('is damaged when it is missing', async () => {
    const { next, head } = two()
    const planned = await read([next], head)
    expect(planned.lost).toEqual([{ first: 1, last: 3 }])
    expect(planned.damage).toEqual([{ segment: nameOf(1), at: 0, reason: 'the file is missing' }])
  })

  test('loses no entry when only its own header, or that of its successor, is damaged', async () => {
    const { one, next, head } = two()
    const withoutHeader = (of: Segment): FoundSegment => broken(of, (bytes) => bytes.fill(0xee, 60, 70))
    for (const found of [
      [withoutHeader(one), next],
      [one, withoutHeader(next)],
    ]) {
      const planned = await read(found, head)
      expect(planned).toMatchObject({ lost: [], last: 7 })
      expect(planned.damage).toMatchObject([{ at: 0, reason: 'its header is damaged' }])
    }
  })
})

describe('the last segment', () => {
  test('is damaged when its file is missing, since it was durable before it was named', async () => {
    const { one, head } = three()
    const next = segment(2, { previous: one.ended() })
    const planned = await read([one], { ...head, tail: next.name })
    expect(planned).toMatchObject({ damage: [{ segment: next.name, reason: 'the file is missing' }], openEnd: true })
  })

  test('is damaged when its header is bad or zero', async () => {
    const { one, head } = three()
    for (const byte of [0, 0x55]) {
      const planned = await read([broken(one, (bytes) => bytes.fill(byte, 0, 4096))], head)
      expect(planned).toMatchObject({ damage: [{ at: 0, reason: 'its header is damaged' }], lost: [], last: 6 })
    }
  })

  test('has a clean end at the end of the file, and at zeros up to it', async () => {
    const { one, head } = three()
    expect(await read([one], head)).toMatchObject({ ...clean, last: 6 })
    const zeros = { name: one.name, bytes: new Uint8Array(Buffer.concat([one.bytes, new Uint8Array(10_000)])) }
    expect(await read([zeros], head)).toMatchObject({ ...clean, last: 6 })
  })

  test('is damaged when it ends before what HEAD has seen', async () => {
    const { one, frames, head } = three()
    const seen = seenAt(one, frames[2])
    const planned = await read([cut(one, frames[2].offset)], { ...head, seen })
    expect(planned).toMatchObject({ lost: [{ first: 4, last: 6 }], last: 3 })
    expect(planned.damage).toMatchObject([{ at: frames[2].offset }])
    expect(await read([one], { ...head, seen })).toMatchObject(clean)
    // What HEAD has not seen may be gone.
    const before = { ...head, seen: seenAt(one, frames[1]) }
    expect(await read([cut(one, frames[2].offset)], before)).toMatchObject({ ...clean, last: 3 })
  })

  test('has a torn tail when the batch at its end is bad and no header follows', async () => {
    const { one, frames, head } = three()
    const [, , last] = frames
    const torn = { segment: one.name, at: last.offset, bytes: last.end - last.offset, entries: true }
    expect(await read([flip(one, last, 'header')], head)).toMatchObject({ ...clean, torn, last: 3 })
    const short = cut(one, last.offset + 300)
    expect(await read([short], head)).toMatchObject({ ...clean, torn: { ...torn, bytes: 300 }, last: 3 })
  })

  test('has a torn tail when the last header is good and what follows it is not', async () => {
    const { one, frames, head } = three()
    const [, , last] = frames
    expect(await read([flip(one, last, 'payload')], head)).toMatchObject({
      ...clean,
      torn: { at: last.offset, entries: true },
      last: 3,
    })
  })

  test('is damaged when a header stands inside the frame whose header is good', async () => {
    const { one, frames, head } = three()
    const [, second, last] = frames
    // As if the last batch, on three pages, had another frame written over its second page.
    const other = segment(1)
    other.entries(10, 20)
    other.entries(100)
    other.entries(1)
    other.entries(1)
    const inside = broken(one, (bytes) =>
      bytes.set(other.bytes.subarray(last.offset + 4096, last.offset + 8192), last.offset + 4096),
    )
    const planned = await read([inside], head)
    expect(planned.damage).toMatchObject([{ segment: one.name, at: last.offset }])
    expect(second.end).toBe(last.offset)
  })

  test('is damaged when a header follows what is bad, its frame good or bad', async () => {
    const { one, frames, head } = three()
    const [first, second, last] = frames
    for (const where of ['header', 'payload'] as const) {
      expect(await read([flip(one, second, where)], head)).toMatchObject({
        lost: [{ first: 3, last: 3 }],
        damage: [{ segment: one.name, at: second.offset }],
        torn: null,
        last: 6,
      })
    }
    const both = broken(one, (bytes) => {
      bytes[first.offset + 20] = 0xff
      bytes[last.offset + 130] = bytes[last.offset + 130]! ^ 1
    })
    const planned = await read([both], head)
    expect(planned).toMatchObject({ lost: [{ first: 1, last: 2 }], torn: { at: last.offset }, last: 3 })
    const headerOnly = broken(one, (bytes) => {
      bytes[second.offset + 20] = 0xff
      bytes[last.offset + 130] = bytes[last.offset + 130]! ^ 1
    })
    expect(await read([headerOnly], head)).toMatchObject({
      lost: [{ first: 3, last: 3 }],
      damage: [{ at: second.offset }],
      torn: { at: last.offset },
      last: 2,
    })
  })

  test('has a torn tail of no entries when the bad frame was a seal', async () => {
    const { one, head } = three()
    const seal = one.seal()
    expect(await read([flip(one, seal)], head)).toMatchObject({ ...clean, torn: { at: seal.offset, entries: false } })
    expect(await read([cut(one, seal.offset + 150)], head)).toMatchObject({
      ...clean,
      torn: { at: seal.offset, entries: false },
      last: 6,
    })
  })

  test('is damaged when a seal or a next frame is good and something before it is not', async () => {
    const { one, frames, head } = three()
    one.seal()
    expect(await read([flip(one, frames[2])], head)).toMatchObject({
      lost: [{ first: 4, last: 6 }],
      damage: [{ at: frames[2].offset }],
      torn: null,
    })
    const other = three()
    const two = segment(2, { previous: other.one.ended(), named: 'next' })
    other.one.next(two.name)
    expect(await read([flip(other.one, other.frames[2]), two], other.head)).toMatchObject({
      lost: [{ first: 4, last: 6 }],
      torn: null,
    })
  })

  test('ends cleanly in the successor that a good next frame names, when there is no frame in it yet', async () => {
    const { one, head } = three()
    const two = segment(2, { previous: one.ended(), named: 'next' })
    one.next(two.name)
    const planned = await read([one, two], head)
    expect(planned).toMatchObject({ ...clean, last: 6 })
    expect(planned.chain.map(({ name }) => name.number)).toEqual([1, 2])
  })

  test('has a torn tail of no entries when its next frame is torn, and the successor is garbage', async () => {
    const { one, head } = three()
    const two = segment(2, { previous: one.ended(), named: 'next' })
    const next = one.next(two.name)
    expect(await read([flip(one, next), two], head)).toMatchObject({
      ...clean,
      torn: { at: next.offset, entries: false },
      last: 6,
      garbage: [two.name],
    })
    expect(await read([cut(one, next.offset), two], head)).toMatchObject({ ...clean, garbage: [two.name] })
  })

  test('is damaged, with no entry lost, when its next frame is bad or absent and there is a frame in the successor', async () => {
    const { one, head } = three()
    const two = segment(2, { previous: one.ended(), named: 'next' })
    const next = one.next(two.name)
    two.entries(7)
    for (const found of [flip(one, next), cut(one, next.offset)]) {
      const planned = await read([found, two], head)
      expect(planned).toMatchObject({ lost: [], last: 7, torn: null, garbage: [] })
      expect(planned.damage).toContainEqual({
        segment: one.name,
        at: next.offset,
        reason: 'the frame that names the next segment is damaged',
      })
    }
  })

  test('leads over several next frames to the last one', async () => {
    const { one, head } = three()
    const two = segment(2, { previous: one.ended(), named: 'next' })
    one.next(two.name)
    two.entries(1)
    const last = segment(3, { previous: two.ended(), named: 'next' })
    two.next(last.name)
    last.entries(1, 1)
    const planned = await read([last, one, two], head)
    expect(planned).toMatchObject({ ...clean, last: 9 })
    expect(planned.chain.map(({ name }) => name.number)).toEqual([1, 2, 3])
  })
})

describe('a segment that was made for a swap and is not in the chain', () => {
  test('is garbage while it has nothing, or only the copied frame and its seal', async () => {
    const { one, head } = three()
    const empty = segment(2, { previous: one.ended() })
    const copied = segment(3, { previous: one.ended('last'), copied: true })
    copied.entries(3000, 3000, 3000)
    const torn = cut(copied, copied.bytes.length - 5000)
    for (const found of [empty, torn, copied]) {
      expect(await read([one, found], head)).toMatchObject({ ...clean, last: 6, garbage: [found.name] })
    }
    copied.seal()
    expect(await read([one, copied], head)).toMatchObject({ ...clean, garbage: [copied.name] })
    const unwritten = broken(copied, (bytes) => bytes.fill(0, 0, 4096))
    expect(await read([one, unwritten], head)).toMatchObject({ ...clean, garbage: [copied.name] })
  })

  test('says that an old HEAD was put back when it has any further frame', async () => {
    const { one, head } = three()
    const copied = segment(2, { previous: one.ended('last'), copied: true })
    copied.entries(3000, 3000, 3000)
    copied.seal()
    copied.entries(1)
    expect(await plan([one, copied], head)).toEqual({ state: 'rolledBack', segment: copied.name })
    const fresh = segment(2, { previous: one.ended() })
    fresh.entries(1)
    expect(await plan([one, fresh], head)).toEqual({ state: 'rolledBack', segment: fresh.name })
  })

  test('is nothing when it is older than the first that HEAD needs', async () => {
    const old = segment(1)
    old.entries(1)
    const two = segment(2, { previous: old.ended() })
    two.entries(1)
    expect(await read([old, two], headOf(two, two))).toMatchObject({ damage: [], lost: [], garbage: [old.name] })
  })
})

describe('a page that cannot be read', () => {
  test('is neither torn nor damaged', async () => {
    const { one, frames, head } = three()
    for (const at of [0, frames[1].offset, frames[2].offset, frames[2].offset + 4096]) {
      expect(await plan([{ ...one, unreadable: [at] }], head)).toMatchObject({ state: 'unreadable', segment: one.name })
    }
  })

  test('in a segment that may be the successor leaves open whether the tail is torn', async () => {
    const { one, head } = three()
    const two = segment(2, { previous: one.ended(), named: 'next' })
    const next = one.next(two.name)
    two.entries(1)
    const hidden = { ...two, unreadable: [two.frames[0]!.offset] }
    expect(await plan([flip(one, next), hidden], head)).toMatchObject({ state: 'unreadable', segment: two.name })
  })
})

test('sequences that a hole explains are not lost, others are', async () => {
  const { one } = three()
  const holes = [{ first: 7, last: 9, snapshot: 4 }]
  const two = segment(2, { previous: one.ended(), first: 10, holes })
  two.entries(1)
  expect(await read([one, two], headOf(one, two))).toMatchObject({ ...clean, last: 10 })
})

test('entries before the first that matters are not missed', async () => {
  const { one, frames, head } = three()
  const facts = await scan(flip(one, frames[0]), frames[1].offset)
  expect(planRecovery([facts], head, 3)).toMatchObject({ ...clean, last: 6 })
  const planned = await read([flip(one, frames[0])], head, 3)
  expect(planned.lost).toEqual([])
})
